"""Where the real data sets come from: mirrors, checksums, checked downloads, safe unpacking."""

import csv
import gzip
import hashlib
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit

import pooch
import requests

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# name -> title, mirrors (in order), downloads (file -> checksum), files (path -> MD5)
SOURCES = tomllib.loads(Path(__file__).with_name("sources.toml").read_text(encoding="utf-8"))


class DataError(RuntimeError):
    """A data set cannot be used as it is; the message says which file and what to do."""


def digest(path: Path, algorithm: str = "md5") -> str:
    """Return the checksum of a file as hexadecimal digits."""
    checksum = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            checksum.update(block)
    return checksum.hexdigest()


def find_faults(name: str, root: Path) -> dict[str, str]:
    """Return what is wrong, file -> fault, after checking every MD5; empty if all is well."""
    files = SOURCES[name]["files"]
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        found = pool.map(lambda p: digest(p) if p.is_file() else None, map(root.joinpath, files))
    return {
        file: f"damaged (MD5 expected {expected}, found {actual})" if actual else "missing"
        for (file, expected), actual in zip(files.items(), found, strict=True)
        if actual != expected
    }


def check(name: str, root: Path) -> None:
    """Raise DataError naming each missing or damaged file and the command that repairs it."""
    if faults := find_faults(name, root):
        listed = ", ".join(f"{file} is {fault}" for file, fault in faults.items())
        raise DataError(f"{listed}; to repair, run: python -m shared.data fetch {name}")


def safe_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of an archive; refuse any member that could write elsewhere."""
    for member in archive:
        path = PureWindowsPath(member.name)  # knows drives and both kinds of slash
        if path.anchor or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise DataError(
                f"{Path(archive.name).name} is refused: its member {member.name!r} is a link or a "
                "device, or lies outside the target folder"
            )
        if member.isfile():
            yield member


def write_reviews(path: Path, rows: list[tuple[int, int, int, str]]) -> None:
    """Write (label, rating, id, text) rows as CSV, by id, negative before positive."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("label", "rating", "id", "text"))
        writer.writerows(sorted(rows, key=lambda row: (row[2], row[0])))


def _unpack_mnist(download: Path, folder: Path) -> None:
    with gzip.open(download) as source, open(folder / download.stem, "wb") as file:
        shutil.copyfileobj(source, file)


def _unpack_cifar10(download: Path, folder: Path) -> None:
    with tarfile.open(download) as archive:
        for member in safe_members(archive):
            with archive.extractfile(member) as source:
                with open(folder / Path(member.name).name, "wb") as file:
                    shutil.copyfileobj(source, file)


def _unpack_imdb(download: Path, folder: Path) -> None:
    rows: dict[str, list] = {"train": [], "test": []}
    pattern = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d+)_(\d+)\.txt")
    with tarfile.open(download) as archive:
        for member in safe_members(archive):
            if match := pattern.fullmatch(member.name):
                split, label, number, rating = match.groups()
                text = archive.extractfile(member).read().decode("utf-8")
                rows[split].append((int(label == "pos"), int(rating), int(number), text))
    for split in rows:
        write_reviews(folder / f"{split}.csv", rows[split])


def _unpack_text(download: Path, folder: Path) -> None:
    shutil.copy(download, folder)


UNPACK = {
    "mnist": _unpack_mnist,
    "cifar10": _unpack_cifar10,
    "imdb": _unpack_imdb,
    "text": _unpack_text,
}


def _download(name: str, file: str, folder: Path) -> Path:
    """Download a file from the first mirror that delivers it with the right checksum."""
    title, (algorithm, expected) = (
        SOURCES[name]["title"],
        SOURCES[name]["downloads"][file].split(":"),
    )
    failures = []
    for mirror in SOURCES[name]["mirrors"]:
        host = urlsplit(mirror).netloc
        print(f"{title}: downloading {file} from {host}", flush=True)
        get = pooch.HTTPDownloader(progressbar=True, chunk_size=1 << 16, timeout=30)
        try:
            get(mirror + file, str(folder / file), None)
        except requests.HTTPError as error:
            failures.append(f"{host} answered {error.response.status_code}")
        except requests.RequestException as error:
            failures.append(f"{host}: connection failed or broke off ({type(error).__name__})")
        else:
            found = digest(folder / file, algorithm)
            if found == expected:
                return folder / file
            failures.append(f"{host}: {algorithm.upper()} expected {expected}, found {found}")
    raise DataError(
        f"{title} could not be downloaded ({file}: {'; '.join(failures)}); with a network "
        f"connection run: python -m shared.data fetch {name}, or set COURSE_DATA to a folder "
        "that has it"
    )


def fetch(name: str, root: Path) -> list[str]:
    """Download what is missing or damaged in the folder root; return the files put there.

    All is downloaded, unpacked and checked in a scratch folder and moved into place only
    then, so that an interruption leaves no half-written file.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        faults = find_faults(name, root)
        if not faults:
            return []
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as scratch:
            target = Path(scratch) / Path(next(iter(faults))).parent  # one folder per data set
            target.mkdir(parents=True)
            for file in SOURCES[name]["downloads"]:
                UNPACK[name](_download(name, file, Path(scratch)), target)
            check(name, Path(scratch))
            for file in faults:
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(scratch) / file, root / file)
    except OSError as error:
        raise DataError(
            f"cannot write to the data folder {root} ({error.strerror}); set COURSE_DATA to a "
            "folder that you can write to"
        ) from error
    return list(faults)
