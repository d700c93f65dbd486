"""What a data set is: one frozen description, filled in by one module for each data set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


class DataError(RuntimeError):
    """A data set cannot be used as it is; the message says which file and what to do."""


@dataclass(frozen=True)
class DataSet:
    """Where a data set comes from, how it is recognised, read, and what stands in for it.

    `read` and `stand_in` return the same kind of thing, so that a notebook cannot tell them
    apart: (x_train, y_train, x_test, y_test, class_names), or one string.
    """

    name: str  # on the command line and in choose_profile(data=...)
    title: str  # in printed lines
    stand_in_title: str
    mirrors: tuple[str, ...]  # tried in this order; the name of the download is appended
    downloads: Mapping[str, str]  # file at every mirror -> "algorithm:checksum"
    folder: str  # inside the data folder, as torchvision lays it out where it has the data set
    files: Mapping[str, str]  # file in that folder -> its MD5
    unpack: Callable[[Path, Path], None]  # (download, folder): writes the download's files there
    read: Callable[[Path], tuple | str]  # (folder): the real data
    stand_in: Callable[[], tuple | str]  # small, seeded, needing neither files nor network

    def paths(self, root: Path) -> dict[Path, str]:
        """Return where each file lies in the data folder `root`, and its MD5."""
        return {root / self.folder / file: md5 for file, md5 in self.files.items()}
