"""A synthetic field of annual rainfall over Michigan, and a reader for a user's own table.

The field is invented: its size and pattern are of the kind one finds around the Great Lakes (drier
to the north-east, wetter downwind of the lakes), but no number in it is a measurement. What it
offers instead is the truth: the noise-free value at every point and the variance of the noise.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import check_number, check_whole

COLUMNS = ("lon", "lat", "rainfall")
EXTENT = (-90.5, -82.3, 41.6, 47.6)  # west, east, south, north, in degrees

# Coarse outlines of the two peninsulas, (lon, lat) in degrees, some kilometres off in places.
# fmt: off
LOWER_PENINSULA = np.array([
    (-86.8, 41.8), (-86.5, 42.1), (-86.2, 42.8), (-86.3, 43.2), (-86.5, 43.7), (-86.4, 44.0),
    (-86.2, 44.6), (-86.1, 44.9), (-85.6, 45.2), (-85.6, 44.8), (-85.4, 45.2), (-85.0, 45.4),
    (-85.1, 45.6), (-84.7, 45.8), (-84.4, 45.6), (-83.8, 45.4), (-83.4, 45.1), (-83.3, 44.6),
    (-83.4, 44.2), (-83.9, 44.0), (-83.9, 43.7), (-83.3, 43.9), (-82.9, 44.1), (-82.6, 43.9),
    (-82.4, 43.0), (-82.5, 42.6), (-82.9, 42.4), (-83.2, 42.1), (-83.5, 41.7), (-84.8, 41.7),
])
UPPER_PENINSULA = np.array([
    (-90.4, 46.6), (-89.8, 46.8), (-89.2, 46.9), (-88.5, 47.3), (-87.8, 47.5), (-88.3, 47.1),
    (-88.5, 46.8), (-87.9, 46.9), (-87.4, 46.5), (-86.7, 46.4), (-86.0, 46.7), (-85.0, 46.8),
    (-85.0, 46.5), (-84.3, 46.5), (-83.9, 46.0), (-84.7, 45.9), (-85.5, 46.1), (-86.3, 45.9),
    (-86.6, 45.6), (-87.0, 45.8), (-87.6, 45.1), (-87.8, 45.4), (-87.8, 45.7), (-88.1, 45.9),
    (-88.8, 46.0), (-89.1, 46.1), (-90.1, 46.3),
])
# fmt: on


@dataclass(frozen=True)
class RainfallData:
    """Observations of annual rainfall.

    Attributes:
        lon_lat: (N, 2) float64, degrees east and north.
        rainfall: (N,) float64, mm per year.
        noise_variance: variance of the noise in mm², None where it is not known.
        name: what figures and records say.
    """

    lon_lat: np.ndarray
    rainfall: np.ndarray
    noise_variance: float | None
    name: str


def inside(lon_lat, polygon):
    """Return (N,) bool: which points lie inside a closed polygon (M, 2), by the even-odd rule."""
    x, y = lon_lat[:, 0, None], lon_lat[:, 1, None]
    (x1, y1), (x2, y2) = polygon.T, np.roll(polygon, -1, axis=0).T
    between = (y1 > y) != (y2 > y)  # (N, M): the edge crosses the point's parallel
    slope = (x2 - x1) / np.where(y1 == y2, 1.0, y2 - y1)
    return ((between & (x < x1 + slope * (y - y1))).sum(axis=1) % 2) == 1


def on_land(lon_lat):
    """Return (N,) bool: which points (N, 2) lie on one of the two peninsulas."""
    lon_lat = checked_points(lon_lat)
    return inside(lon_lat, LOWER_PENINSULA) | inside(lon_lat, UPPER_PENINSULA)


def bump(distance, width):
    """Return exp(-distance² / (2 width²)), both in degrees."""
    return np.exp(-0.5 * (distance / width) ** 2)


def rainfall_formula(lon, lat):
    """Return the noise-free rainfall in mm per year at lon and lat (N,), in degrees: a plane, a
    ridge downwind of Lake Michigan and one along Lake Superior."""
    plane = 800 - 25 * (lat - 44) - 12 * (lon + 85)  # drier to the north and the east
    michigan = 170 * bump(lon + 85.8 + 0.25 * (lat - 43.5), 0.7) * bump(lat - 43.5, 1.8)
    superior = 190 * bump(lat - 46.8 + 0.12 * (lon + 87.5), 0.4)
    return plane + michigan + superior


def true_rainfall(lon_lat):
    """Return `rainfall_formula` (N,) at the points lon_lat (N, 2)."""
    return rainfall_formula(*checked_points(lon_lat).T)


def synthetic_rainfall(num_observations: int, noise_std: float = 50.0, seed: int = 0):
    """Return `RainfallData`: points uniform on land, true rainfall plus N(0, noise_std²) mm.

    Raises:
        ValueError: fewer than one observation or a noise_std that is negative or not finite.
    """
    check_whole(num_observations=num_observations)
    check_whole(0, seed=seed)
    check_number("noise_std", noise_std)
    rng = np.random.default_rng(seed)
    west, east, south, north = EXTENT
    kept = np.empty((0, 2))
    while len(kept) < num_observations:  # about four in ten points of the box are on land
        points = rng.uniform((west, south), (east, north), size=(4 * num_observations, 2))
        kept = np.concatenate([kept, points[on_land(points)]])
    lon_lat = kept[:num_observations]
    rainfall = true_rainfall(lon_lat) + noise_std * rng.standard_normal(num_observations)
    return RainfallData(lon_lat, rainfall, noise_std**2, "synthetic rainfall field")


def checked_points(lon_lat):
    """Return lon_lat as (N, 2) float64, or raise ValueError where it is not, or not finite."""
    try:
        lon_lat = np.asarray(lon_lat, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"lon_lat is {lon_lat!r}; it must be (N, 2) numbers") from None
    if lon_lat.ndim != 2 or lon_lat.shape[1] != 2:
        raise ValueError(f"lon_lat has shape {lon_lat.shape}; it must be (N, 2)")
    if not np.isfinite(lon_lat).all():
        raise ValueError("lon_lat holds nan or inf; every coordinate must be finite")
    return lon_lat


def check_columns(found, file_name):
    """Raise ValueError unless each of lon, lat, rainfall is there exactly once."""
    for column in COLUMNS:
        if column not in found:
            raise ValueError(
                f"{file_name} lacks the column {column}; it needs {', '.join(COLUMNS)}, "
                f"found {', '.join(found) or 'none'}"
            )
        if found.count(column) > 1:
            raise ValueError(f"{file_name} has {found.count(column)} columns {column}; keep one")


def parse_row(row, where):
    """Return lon, lat, rainfall of one row as floats, or raise ValueError naming the place."""
    if None in row:  # where csv puts what is beyond the last column: decimal commas do this
        raise ValueError(f"{where} has more values than columns; decimals need a point")
    limits = {"lon": (-180, 180), "lat": (-90, 90), "rainfall": (0, np.inf)}
    values = []
    for column, (low, high) in limits.items():
        text = row[column]
        try:
            value = float(text)
        except (TypeError, ValueError):
            raise ValueError(f"{where}: {column} is {text!r}; it must be a number") from None
        if not (np.isfinite(value) and low <= value <= high):
            allowed = f"between {low} and {high}" if column != "rainfall" else "0 or more"
            raise ValueError(f"{where}: {column} is {text}; it must be finite and {allowed}")
        values.append(value)
    return values


def load_rainfall_csv(path, min_rows: int = 10) -> RainfallData:
    """Return the observations of a comma-separated file with columns lon, lat, rainfall.

    Args:
        path: the file; its first line names the columns, in any order, others are ignored.
        min_rows: fewer observations than this are refused.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a value is not allowed (with its line) or rows are too few.
    """
    check_whole(min_rows=min_rows)
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give a CSV with columns lon, lat, rainfall")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            check_columns(reader.fieldnames, path.name)
            rows = [parse_row(row, f"{path.name} line {reader.line_num}") for row in reader]
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text; save it as UTF-8 CSV") from None
    except csv.Error as error:
        raise ValueError(f"{path.name} cannot be read as CSV: {error}") from None
    if len(rows) < min_rows:
        raise ValueError(f"{path.name} has {len(rows)} rows of data; it needs {min_rows} or more")
    table = np.array(rows)  # (N, 3)
    return RainfallData(table[:, :2], table[:, 2], None, path.stem)


def save_rainfall_csv(path, lon_lat, **columns):
    """Write lon, lat and further columns (N,) to a CSV, making its folder; return the path.

    Raises:
        ValueError: a column is not as long as lon_lat, no numbers, or named lon or lat itself.
    """
    lon_lat = checked_points(lon_lat)
    for name, values in columns.items():
        if name in ("lon", "lat") or np.asarray(values).dtype.kind not in "biuf":
            raise ValueError(f"{name} is {values!r}; a further column must hold numbers")
        if np.shape(values) != (len(lon_lat),):
            raise ValueError(
                f"{name} has shape {np.shape(values)} and lon_lat {lon_lat.shape}; "
                f"{name} must be ({len(lon_lat)},)"
            )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = np.column_stack([lon_lat, *columns.values()])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["lon", "lat", *columns])
        writer.writerows([f"{value:.6g}" for value in row] for row in table)
    return path
