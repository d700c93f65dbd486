"""Data sets as arrays: real files where they are, else a download (full) or a stand-in (quick)."""

import numbers
from dataclasses import dataclass

import numpy as np

from shared.data.catalogue import files_there, find, find_source
from shared.data.download import check, fetch
from shared.environment import data_root, note_input


@dataclass(frozen=True)
class LabelledData:
    """Examples x and labels y (N,) int64, for training and for the test.

    x: images (N, H, W) or (N, H, W, 3) uint8, 0 to 255; or a tuple of N texts.
    """

    x_train: np.ndarray | tuple[str, ...]
    y_train: np.ndarray
    x_test: np.ndarray | tuple[str, ...]
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


def _read(name: str) -> tuple:
    """Return the content of a data set, its title, is_stand_in and a note on the source."""
    data_set, root = find(name), data_root()
    if find_source(name) == "stand-in":
        note = "the real data is not in the data folder"
        return data_set.stand_in(), data_set.stand_in_title, True, note
    if not any(files_there(name)):
        fetch(data_set, root)
    check(data_set, root)
    note = "real data, checksums verified"
    return data_set.read(root / data_set.folder), data_set.title, False, note


def _load_examples(name: str, train_size: int | None, test_size: int | None) -> LabelledData:
    """Return the first examples of a data set; print their number and source."""
    for argument, size in (("train_size", train_size), ("test_size", test_size)):
        whole = isinstance(size, numbers.Integral) and not isinstance(size, bool)
        if size is not None and not (whole and size > 0):
            raise ValueError(f"{argument} is {size!r}; it must be a positive whole number or None")
    (x_train, y_train, x_test, y_test, class_names), title, is_stand_in, note = _read(name)
    train, test = slice(train_size), slice(test_size)
    arrays = (x_train[train], y_train[train], x_test[test], y_test[test])
    sizes = (len(arrays[1]), len(arrays[3]))
    counts = [f"{sizes[0]:,} training", f"{sizes[1]:,} test"]
    for i, asked in enumerate((train_size, test_size)):
        if asked and asked > sizes[i]:
            counts[i] += f" (all there are; {asked:,} asked for)"
    print(f"{title}: {' and '.join(counts)} examples · {note}")
    note_input(f"{title}: {sizes[0]} training and {sizes[1]} test examples")
    return LabelledData(*arrays, class_names, title, is_stand_in)


def load_mnist(train_size: int | None = None, test_size: int | None = None) -> LabelledData:
    """Return the first examples of MNIST: x (N, 28, 28), 0 background to 255 ink."""
    return _load_examples("mnist", train_size, test_size)


def load_cifar10(train_size: int | None = None, test_size: int | None = None) -> LabelledData:
    """Return the first examples of CIFAR-10: x (N, 32, 32, 3) RGB, batches 1 to 5 in order."""
    return _load_examples("cifar10", train_size, test_size)


def load_imdb(train_size: int | None = None, test_size: int | None = None) -> LabelledData:
    """Return the first film reviews as texts, labels 0 (negative) and 1 (positive) alternating."""
    return _load_examples("imdb", train_size, test_size)


def load_text() -> TextData:
    """Return Tiny Shakespeare, or in its place the prose of Python's documentation."""
    text, title, is_stand_in, note = _read("text")
    print(f"{title}: {len(text):,} characters, {len(set(text))} different · {note}")
    note_input(f"{title}: {len(text)} characters")
    return TextData(text, title, is_stand_in)
