"""The synthetic rainfall field, and the reader for a user's own table."""

import numpy as np
import pytest

from assignment1_perceptron_mlp.rainfall import (
    EXTENT,
    load_rainfall_csv,
    on_land,
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
    assert on_land(np.array(list(land.values()))).all()
    assert not on_land(np.array(list(water.values()))).any()


def test_seed_fixes_the_data_and_points_are_on_land():
    first, second = synthetic_rainfall(500, seed=3), synthetic_rainfall(500, seed=3)
    np.testing.assert_array_equal(first.lon_lat, second.lon_lat)
    np.testing.assert_array_equal(first.rainfall, second.rainfall)
    assert not np.array_equal(first.rainfall, synthetic_rainfall(500, seed=4).rainfall)
    assert first.lon_lat.shape == (500, 2)
    assert on_land(first.lon_lat).all()
    west, east, south, north = EXTENT
    assert ((first.lon_lat >= (west, south)) & (first.lon_lat <= (east, north))).all()


def test_noise_has_the_stated_variance():
    data = synthetic_rainfall(20_000, noise_std=50)
    noise = data.rainfall - true_rainfall(data.lon_lat)
    assert data.noise_variance == 2500
    assert abs(noise.var() / data.noise_variance - 1) < 0.04  # four standard errors
    assert abs(noise.mean()) < 1.5
    exact = synthetic_rainfall(10, noise_std=0)
    np.testing.assert_array_equal(exact.rainfall, true_rainfall(exact.lon_lat))


def test_lake_effects_are_there():
    lee, inland = true_rainfall(np.array([[-85.8, 43.5], [-83.8, 43.5]]))
    north_shore, south = true_rainfall(np.array([[-87.5, 46.8], [-87.5, 45.5]]))
    assert lee > inland + 100
    assert north_shore > south + 100


def test_csv_round_trip(tmp_path):
    data = synthetic_rainfall(50)
    path = save_rainfall_csv(tmp_path / "new" / "own.csv", data.lon_lat, rainfall=data.rainfall)
    loaded = load_rainfall_csv(path)
    np.testing.assert_allclose(loaded.lon_lat, data.lon_lat, rtol=1e-5)
    np.testing.assert_allclose(loaded.rainfall, data.rainfall, rtol=1e-5)
    assert loaded.noise_variance is None
    assert loaded.name == "own"


def test_columns_in_any_order_with_others_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "own.csv"
    lines = ["rainfall, name ,lat,lon", *[f"{800 + i},station,43,-84" for i in range(10)]]
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
        (["lon,lat,rainfall", "-184,43,800", *GOOD_ROWS], "lon is -184.*between -180 and 180"),
        (["lon,lat,rainfall", "-84,143,800", *GOOD_ROWS], "lat is 143.*between -90 and 90"),
    ],
)
def test_bad_csv_is_refused_in_one_sentence(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message) as error:
        load_rainfall_csv(write_csv(tmp_path, lines))
    assert "\n" not in str(error.value)


def test_missing_and_unreadable_files(tmp_path):
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
        (lambda: synthetic_rainfall(5, noise_std=-1), "noise_std is -1"),
        (lambda: synthetic_rainfall(5, noise_std=np.nan), "noise_std is nan"),
        (lambda: true_rainfall(np.zeros((4, 3))), r"lon_lat has shape \(4, 3\).*\(N, 2\)"),
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
