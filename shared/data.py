"""Data sets as arrays: real files where they are, else a download (full) or a stand-in (quick).

On the command line: python -m shared.data list | fetch [NAME...] | verify [NAME...]
"""

import csv
import numbers
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared import stand_ins
from shared.data_sources import SOURCES, DataError, check, fetch
from shared.environment import current_profile, data_root, note_input
from shared.generators import palindromes as palindromes
from shared.generators import two_gaussians as two_gaussians


@dataclass(frozen=True)
class ImageData:
    """Images x (N, H, W) or (N, H, W, 3) uint8, 0 to 255, and labels y (N,) int64."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    name: str
    is_stand_in: bool


@dataclass(frozen=True)
class TextClassificationData:
    """Tuples of N texts and labels y (N,) int64."""

    train_texts: tuple[str, ...]
    y_train: np.ndarray
    test_texts: tuple[str, ...]
    y_test: np.ndarray
    class_names: tuple[str, ...]
    name: str
    is_stand_in: bool


@dataclass(frozen=True)
class TextData:
    """One long text for language models."""

    text: str
    name: str
    is_stand_in: bool


def _is_there(name: str) -> list[bool]:
    """Return, for each file of a data set, whether the data folder has it."""
    folder = os.environ.get("COURSE_DATA")
    if folder and not data_root().is_dir():
        raise DataError(f"COURSE_DATA is {folder!r}; it must name an existing folder")
    return [(data_root() / file).is_file() for file in SOURCES[name]["files"]]


def find_source(name: str) -> str:
    """Return what a loader would read now: "real", "stand-in" or "missing" (wholly or partly)."""
    if name not in SOURCES:
        raise ValueError(f"name is {name!r}; it must be one of {', '.join(SOURCES)}")
    there = _is_there(name)
    if current_profile() == "quick" and not any(there):
        return "stand-in"
    return "real" if all(there) else "missing"


def describe_sources(names: tuple[str, ...]) -> str:
    """Return a phrase for the profile line, such as "MNIST (real)" or a stand-in's name."""
    phrases = [stand_ins.NAMES[name] for name in names]
    for i, name in enumerate(names):
        if (source := find_source(name)) != "stand-in":
            phrases[i] = f"{SOURCES[name]['title']} ({source})"
    return ", ".join(phrases)


def available_sources() -> dict[str, str]:
    """Return what a loader would read now for each data set; "unusable" where it would raise."""
    sources = {}
    for name in SOURCES:
        try:
            sources[name] = find_source(name)
        except DataError:
            sources[name] = "unusable"
    return sources


def _load(name: str, read_real: Callable, stand_in: Callable) -> tuple:
    """Return what the reader returns, then the name, is_stand_in and a note on the source."""
    note_input(f"{name}: {find_source(name)}")
    if find_source(name) == "stand-in":
        return stand_in(), stand_ins.NAMES[name], True, "the real data is not in the data folder"
    if not any(_is_there(name)):
        fetch(name, data_root())
    check(name, data_root())
    return read_real(data_root()), SOURCES[name]["title"], False, "real data, checksums verified"


def _load_examples(
    kind: type, name: str, read_real: Callable, stand_in: Callable, train_size, test_size
):
    """Return the first examples of a data set as a dataclass; print their number and source."""
    for argument, size in (("train_size", train_size), ("test_size", test_size)):
        whole = isinstance(size, numbers.Integral) and not isinstance(size, bool)
        if size is not None and not (whole and size > 0):
            raise ValueError(f"{argument} is {size!r}; it must be a positive whole number or None")
    (x_train, y_train, x_test, y_test, class_names), title, is_stand_in, note = _load(
        name, read_real, stand_in
    )
    train, test = slice(train_size), slice(test_size)
    arrays = (x_train[train], y_train[train], x_test[test], y_test[test])
    counts = [f"{len(arrays[1]):,} training", f"{len(arrays[3]):,} test"]
    for i, size in enumerate((train_size, test_size)):
        if size and size > len(arrays[2 * i + 1]):
            counts[i] += f" (all there are; {size:,} asked for)"
    print(f"{title}: {' and '.join(counts)} examples · {note}")
    return kind(*arrays, class_names, title, is_stand_in)


def _read_mnist(root: Path) -> tuple:
    from torchvision.datasets import mnist  # here: it takes seconds, and stand-ins need none

    raw, arrays = root / "MNIST" / "raw", []
    for split in ("train", "t10k"):
        arrays.append(mnist.read_image_file(str(raw / f"{split}-images-idx3-ubyte")).numpy())
        arrays.append(mnist.read_label_file(str(raw / f"{split}-labels-idx1-ubyte")).numpy())
    return *arrays, tuple("0123456789")


def _read_cifar10(root: Path) -> tuple:
    from torchvision.datasets import CIFAR10

    class CheckedCIFAR10(CIFAR10):
        def _check_integrity(self) -> bool:
            return True  # `check` has just hashed every file; twice more would take a second

    train, test = (CheckedCIFAR10(root, train=train) for train in (True, False))
    labels = [np.array(split.targets, dtype=np.int64) for split in (train, test)]
    return train.data, labels[0], test.data, labels[1], tuple(train.classes)


def _read_imdb(root: Path) -> tuple:
    columns = []
    for split in ("train", "test"):
        with open(root / "imdb" / f"{split}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns.append(tuple(row["text"] for row in rows))
        columns.append(np.array([int(row["label"]) for row in rows], dtype=np.int64))
    return *columns, ("negative", "positive")


def load_mnist(train_size: int | None = None, test_size: int | None = None) -> ImageData:
    """Return the first examples of MNIST: x (N, 28, 28), 0 background to 255 ink."""
    source = ("mnist", _read_mnist, stand_ins.mnist_digits)
    return _load_examples(ImageData, *source, train_size, test_size)


def load_cifar10(train_size: int | None = None, test_size: int | None = None) -> ImageData:
    """Return the first examples of CIFAR-10: x (N, 32, 32, 3) RGB, batches 1 to 5 in order."""
    source = ("cifar10", _read_cifar10, stand_ins.colour_shapes)
    return _load_examples(ImageData, *source, train_size, test_size)


def load_imdb(
    train_size: int | None = None, test_size: int | None = None
) -> TextClassificationData:
    """Return the first film reviews, labels 0 (negative) and 1 (positive) alternating."""
    source = ("imdb", _read_imdb, stand_ins.film_reviews)
    return _load_examples(TextClassificationData, *source, train_size, test_size)


def _read_text(root: Path) -> str:
    return (root / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")


def load_text() -> TextData:
    """Return Tiny Shakespeare, or in its place the prose of Python's documentation."""
    text, title, is_stand_in, note = _load("text", _read_text, stand_ins.documentation_text)
    print(f"{title}: {len(text):,} characters, {len(set(text))} different · {note}")
    return TextData(text, title, is_stand_in)


def main(arguments: list[str]) -> int:
    """Run one command, list, fetch or verify, and return the exit status."""
    command, *names = arguments or ["list"]
    unknown = [name for name in names if name not in SOURCES]
    if command not in ("list", "fetch", "verify") or unknown:
        what = f"data set {unknown[0]!r}" if unknown else f"command {command!r}"
        print(f"there is no {what}; use list, fetch or verify, and {', '.join(SOURCES)}")
        return 2
    print(f"data folder: {data_root()}")
    status = 0
    for name in names or SOURCES:
        try:
            if command == "fetch":
                fetched = fetch(name, data_root())
                state = f"{len(fetched)} files fetched and verified" if fetched else "already there"
            elif not any(there := _is_there(name)):
                state, status = "not there", status or int(name in names)
            elif command == "verify":
                check(name, data_root())
                state = f"{len(there)} files, every MD5 as expected"
            else:
                state = f"{sum(there)} of {len(there)} files there"
        except DataError as error:
            state, status = str(error), 1
        print(f"{name:8} {SOURCES[name]['title']:17} {state}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
