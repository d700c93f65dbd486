"""The data sets that there are, and which of them the data folder has."""

import os
from collections.abc import Sequence

from shared.data.cifar10 import CIFAR10
from shared.data.description import DataError, DataSet
from shared.data.imdb import IMDB
from shared.data.mnist import MNIST
from shared.data.text import TEXT
from shared.environment import current_profile, data_root

DATA_SETS = {data_set.name: data_set for data_set in (MNIST, CIFAR10, IMDB, TEXT)}


def find(name: str) -> DataSet:
    """Return the description of a data set."""
    if name not in DATA_SETS:
        raise ValueError(f"name is {name!r}; it must be one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


def files_there(name: str) -> list[bool]:
    """Return, for each file of a data set, whether the data folder has it."""
    folder = os.environ.get("COURSE_DATA")
    if folder and not data_root().is_dir():
        raise DataError(f"COURSE_DATA is {folder!r}; it must name an existing folder")
    return [path.is_file() for path in find(name).paths(data_root())]


def find_source(name: str) -> str:
    """Return what a loader would read now: "real", "stand-in" or "missing" (wholly or partly)."""
    there = files_there(name)
    if current_profile() == "quick" and not any(there):
        return "stand-in"
    return "real" if all(there) else "missing"


def available_sources() -> dict[str, str]:
    """Return what a loader would read now for each data set; "unusable" where it would raise."""
    sources = {}
    for name in DATA_SETS:
        try:
            sources[name] = find_source(name)
        except DataError:
            sources[name] = "unusable"
    return sources


def describe_sources(names: str | Sequence[str]) -> str:
    """Return a phrase for the profile line, such as "MNIST (real)" or a stand-in's title."""
    phrases = []
    for name in (names,) if isinstance(names, str) else names:
        data_set, source = find(name), find_source(name)
        is_stand_in = source == "stand-in"
        phrases.append(data_set.stand_in_title if is_stand_in else f"{data_set.title} ({source})")
    return ", ".join(phrases)
