"""The synthetic rainfall field, and the reader for a user's own table."""

import numpy as np
import pytest

from assignment1_perceptron_mlp.rainfall import (
    EXTENT,
    LOWER_PENINSULA,
    UPPER_PENINSULA,
    bump,
    inside,
    load_rainfall_csv,
    on_land,
    rainfall_formula,
    save_rainfall_csv,
    synthetic_rainfall,
    true_rainfall,
)

GOOD_ROWS = [f"{-84 - 0.01 * i},{43 + 0.01 * i},{800 + i}" for i in range(12)]


def write_csv(folder, lines):
    path = folder / "own.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_places_known_to_be_land_and_water():
    land = {"Lansing": (-84.6, 42.7), "Marquette": (-87.5, 46.4), "Traverse City": (-85.6, 44.7)}
    water = {"Lake Michigan": (-87.0, 43.5), "Lake Huron": (-82.6, 44.8), "Ohio": (-83.0, 41.62)}
    assert on_land(list(land.values())).all()  # a list of pairs works
    assert not on_land(np.array(list(water.values()))).any()


def test_inside_counts_crossed_edges():
    """A C-shaped polygon: its two arms are inside, the bay between them and the outside are not."""
    c = np.array([(0, 0), (3, 0), (3, 1), (1, 1), (1, 2), (3, 2), (3, 3), (0, 3)], dtype=float)
    points = np.array([(2, 0.5), (2, 2.5), (0.5, 1.5), (2, 1.5), (-1, 1.5), (4, 0.5), (2, 4)])
    assert inside(points, c).tolist() == [True, True, True, False, False, False, False]
    slanted = np.array([(0, 0), (4, 4), (0, 4)], dtype=float)  # above the diagonal
    assert inside(np.array([(1, 2), (2, 1), (1, 1.1), (1, 0.9)]), slanted).tolist() == [1, 0, 1, 0]


def test_the_shares_of_land_are_those_of_the_outlines():
    def area(polygon):
        (x1, y1), (x2, y2) = polygon.T, np.roll(polygon, -1, axis=0).T
        return abs((x1 * y2 - x2 * y1).sum()) / 2  # the shoelace formula

    lon_lat = synthetic_rainfall(20_000).lon_lat
    share = inside(lon_lat, LOWER_PENINSULA).mean()
    lower, upper = area(LOWER_PENINSULA), area(UPPER_PENINSULA)
    assert abs(share - lower / (lower + upper)) < 0.015  # four standard errors


def test_seed_fixes_the_data_and_points_are_on_land():
    first, second = synthetic_rainfall(500, seed=3), synthetic_rainfall(500, seed=3)
    np.testing.assert_array_equal(first.lon_lat, second.lon_lat)
    np.testing.assert_array_equal(first.rainfall, second.rainfall)
    assert not np.array_equal(first.rainfall, synthetic_rainfall(500, seed=4).rainfall)
    assert first.lon_lat.shape == (500, 2)
    assert first.rainfall.shape == (500,)
    assert on_land(first.lon_lat).all()
    assert first.name == "synthetic rainfall field"
    west, east, south, north = EXTENT
    assert ((first.lon_lat >= (west, south)) & (first.lon_lat <= (east, north))).all()
    assert synthetic_rainfall(np.int64(1)).lon_lat.shape == (1, 2)


def test_noise_has_the_stated_variance_and_no_pattern():
    data = synthetic_rainfall(20_000, noise_std=30)
    noise = data.rainfall - true_rainfall(data.lon_lat)
    assert data.noise_variance == 900
    assert abs(noise.var() / data.noise_variance - 1) < 0.04  # four standard errors
    assert abs(noise.mean()) < 0.85
    assert abs(np.corrcoef(noise, data.lon_lat[:, 0])[0, 1]) < 0.03
    assert abs((noise > 30).mean() - 0.1587) < 0.011  # a Gaussian's share above one deviation
    assert synthetic_rainfall(10).noise_variance == 2500
    exact = synthetic_rainfall(10, noise_std=0)
    np.testing.assert_array_equal(exact.rainfall, true_rainfall(exact.lon_lat))


def test_formula_by_hand():
    assert bump(0.0, 2.0) == 1
    np.testing.assert_allclose(bump(np.array([2.0, -4.0]), 2.0), np.exp([-0.5, -2.0]))
    # far from both ridges only the plane is left; on a crest the other ridge is negligible
    np.testing.assert_allclose(rainfall_formula(-70.0, 40.0), 800 + 100 - 180, atol=0.01)
    np.testing.assert_allclose(rainfall_formula(-85.8, 43.5), 812.5 + 9.6 + 170, atol=1e-6)
    np.testing.assert_allclose(rainfall_formula(-89.5, 47.04), 724 + 54 + 190, atol=0.5)
    # one width away: along and across the first ridge, across the second
    up = rainfall_formula(-85.8 - 0.25 * 1.8, 45.3)
    from_the_north = 190 * np.exp(-0.5 * (1.35 / 0.4) ** 2)  # the other ridge, 1.35 degrees away
    np.testing.assert_allclose(up, 767.5 + 15 + 170 * np.exp(-0.5) + from_the_north, atol=1e-6)
    side = rainfall_formula(-85.1, 43.5)
    np.testing.assert_allclose(side, 812.5 + 1.2 + 170 * np.exp(-0.5), atol=1e-6)
    south = rainfall_formula(-89.5, 46.8 + 0.24 - 0.4)
    np.testing.assert_allclose(south, 800 - 25 * 2.64 + 54 + 190 * np.exp(-0.5), atol=0.5)
    pairs = [(-85.8, 43.5), (-87.5, 46.8)]
    np.testing.assert_array_equal(true_rainfall(pairs), rainfall_formula(*np.array(pairs).T))


def test_csv_round_trip(tmp_path):
    data = synthetic_rainfall(50)
    path = save_rainfall_csv(tmp_path / "new" / "own.csv", data.lon_lat, rainfall=data.rainfall)
    loaded = load_rainfall_csv(path)
    np.testing.assert_allclose(loaded.lon_lat, data.lon_lat, rtol=1e-5)
    np.testing.assert_allclose(loaded.rainfall, data.rainfall, rtol=1e-5)
    assert loaded.noise_variance is None
    assert loaded.name == "own"


def test_six_digits_are_kept_and_ten_rows_are_enough(tmp_path):
    lon_lat, extra = np.full((10, 2), (-84.1234, 43.5678)), np.arange(10)
    path = save_rainfall_csv(tmp_path / "a.csv", lon_lat, rainfall=np.full(10, 876.543), n=extra)
    assert path.read_text(encoding="utf-8").splitlines()[:2] == [
        "lon,lat,rainfall,n",
        "-84.1234,43.5678,876.543,0",
    ]
    assert load_rainfall_csv(str(path)).lon_lat.shape == (10, 2)  # a string works as path
    assert len(load_rainfall_csv(path, min_rows=10).rainfall) == 10
    with pytest.raises(ValueError, match="10 rows of data; it needs 11 or more"):
        load_rainfall_csv(path, min_rows=11)
    assert save_rainfall_csv(path, [(-84, 43)], rainfall=[800]).exists()  # lists work


def test_limits_belong_to_what_is_allowed(tmp_path):
    lines = ["lon,lat,rainfall", "-180,-90,0", "180,90,0", *GOOD_ROWS]
    assert load_rainfall_csv(write_csv(tmp_path, lines)).lon_lat[1].tolist() == [180, 90]


def test_columns_in_any_order_with_others_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "own.csv"
    lines = ["rainfall, name ,lat ,lon", *[f"{800 + i},station,43,-84" for i in range(10)]]
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    data = load_rainfall_csv(path)
    assert data.lon_lat[0].tolist() == [-84, 43]
    assert data.rainfall[-1] == 809


@pytest.mark.parametrize(
    "lines, message",
    [
        (["lon,lat,rain", *GOOD_ROWS], "lacks the column rainfall.*found lon, lat, rain"),
        ([""], "lacks the column lon.*found none"),
        (["lon,lat,rainfall"], "own.csv has 0 rows of data; it needs 10 or more"),
        (["lon,lat,rainfall", *GOOD_ROWS, "-84,43,wet"], "line 14: rainfall is 'wet'.*number"),
        (["lon,lat,rainfall", "-84,43", *GOOD_ROWS], "line 2: rainfall is None"),
        (["lon,lat,rainfall", "-84,43,nan", *GOOD_ROWS], "rainfall is nan.*finite and 0 or more"),
        (["lon,lat,rainfall", "-84,43,-1", *GOOD_ROWS], "rainfall is -1"),
        (["lon,lat,rainfall", "-84,43,inf", *GOOD_ROWS], "rainfall is inf.*finite"),
        (["lon,lat,rainfall", "184,43,800", *GOOD_ROWS], "lon is 184"),
        (["lon,lat,rainfall", "-84,-91,800", *GOOD_ROWS], "lat is -91"),
        (["lon,lat,rainfall", "-84,5,43,1,800", *GOOD_ROWS], "line 2 has more values.*a point"),
        (["lon,lat,lon,rainfall", *GOOD_ROWS], "own.csv has 2 columns lon"),
        (["lon;lat;rainfall", *GOOD_ROWS], "lacks the column lon.*found lon;lat;rainfall"),
        (["lon,rainfall", *GOOD_ROWS], "lacks the column lat"),
        (["lon,lat,rainfall", '"' + "8" * 140_000 + '",43,800'], "cannot be read as CSV: field"),
        (["lon,lat,rainfall", "-184,43,800", *GOOD_ROWS], "lon is -184.*between -180 and 180"),
        (["lon,lat,rainfall", "-84,143,800", *GOOD_ROWS], "lat is 143.*between -90 and 90"),
    ],
)
def test_bad_csv_is_refused_in_one_sentence(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message) as error:
        load_rainfall_csv(write_csv(tmp_path, lines))
    assert "\n" not in str(error.value)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a file"):
        load_rainfall_csv(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none.csv is not a file.*lon, lat, rainfall"):
        load_rainfall_csv(tmp_path / "none.csv")
    binary = tmp_path / "own.csv"
    binary.write_bytes(b"\xff\xfe\x00lon")
    with pytest.raises(ValueError, match="not UTF-8"):
        load_rainfall_csv(binary)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: synthetic_rainfall(0), "num_observations is 0"),
        (lambda: synthetic_rainfall(2.5), "num_observations is 2.5.*whole"),
        (lambda: synthetic_rainfall(5, noise_std=np.inf), "noise_std is inf"),
        (lambda: synthetic_rainfall(5, noise_std=-1), "noise_std is -1"),
        (lambda: synthetic_rainfall(5, noise_std=np.nan), "noise_std is nan"),
        (lambda: true_rainfall(np.zeros((4, 3))), r"lon_lat has shape \(4, 3\).*\(N, 2\)"),
        (lambda: true_rainfall(np.zeros((2, 4, 2))), r"lon_lat has shape \(2, 4, 2\)"),
        (lambda: save_rainfall_csv("x.csv", np.zeros(2)), r"lon_lat has shape \(2,\)"),
        (lambda: on_land(np.zeros(2)), r"lon_lat has shape \(2,\)"),
        (lambda: true_rainfall(np.array([[np.inf, 43.0]])), "lon_lat holds nan or inf"),
        (
            lambda: save_rainfall_csv("x.csv", np.zeros((4, 2)), rainfall=np.zeros(3)),
            r"rainfall has shape \(3,\) and lon_lat \(4, 2\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("points", ["a", [["a", "b"]], [[1, 2], [3]]])
def test_points_that_are_no_numbers(points):
    with pytest.raises(ValueError, match=r"lon_lat is .*; it must be \(N, 2\) numbers"):
        true_rainfall(points)


@pytest.mark.parametrize("min_rows", [0, -1, None, float("nan"), 2.5])
def test_min_rows_must_be_a_whole_number(tmp_path, min_rows):
    with pytest.raises(ValueError, match=r"min_rows is .*; it must be a whole number, 1 or more"):
        load_rainfall_csv(tmp_path / "own.csv", min_rows)


@pytest.mark.parametrize("seed", [-1, 1.5, "a", None])
def test_the_seed_must_be_a_whole_number(seed):
    with pytest.raises(ValueError, match=r"seed is .*; it must be a whole number, 0 or more"):
        synthetic_rainfall(5, seed=seed)


@pytest.mark.parametrize("column", [{"lon": [1.0]}, {"lat": [1.0]}, {"name": ["wet"]}])
def test_a_saved_column_holds_numbers_under_a_new_name(tmp_path, column):
    with pytest.raises(ValueError, match=r"is .*; a further column must hold numbers"):
        save_rainfall_csv(tmp_path / "own.csv", [[-84.0, 43.0]], **column)
    assert not (tmp_path / "own.csv").exists()


def test_spaces_after_the_commas_do_no_harm(tmp_path):
    lines = ["lon, lat, rainfall", *(f"{i}, {i / 2}, {10 * i}" for i in range(10))]
    data = load_rainfall_csv(write_csv(tmp_path, lines))
    assert data.lon_lat[2].tolist() == [2, 1] and data.rainfall[2] == 20
