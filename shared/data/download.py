"""Checked downloads: checksums, mirrors that fail or crawl, archives that cannot be trusted."""

import hashlib
import os
import platform
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm import tqdm

from shared.data.description import DataError, DataSet

PATIENCE = 30  # seconds to wait for an answer, and between two looks at the rate
SLOWEST = 4000  # bytes per second; a mirror below it is given up
DAY = 24 * 60 * 60  # seconds
HEADERS = {"User-Agent": "perceptron-to-dcgan"}  # Zenodo slows down requests' own name


def digest(path: Path, algorithm: str = "md5") -> str:
    """Return the checksum of a file as hexadecimal digits."""
    checksum = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            checksum.update(block)
    return checksum.hexdigest()


def _fault(path: Path, md5: str) -> str | None:
    """Return what is wrong with a file; None if nothing is."""
    try:
        found = digest(path) if path.is_file() else None
    except OSError as error:
        return f"unreadable ({error.strerror})"
    if found is None:
        return "missing"
    return f"damaged (MD5 expected {md5}, found {found})" if found != md5 else None


def find_faults(data_set: DataSet, root: Path) -> dict[Path, str]:
    """Return what is wrong, file -> fault, after checking every MD5; empty if all is well."""
    paths = data_set.paths(root)
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        faults = pool.map(_fault, paths.keys(), paths.values())
    return {path: fault for path, fault in zip(paths, faults, strict=True) if fault}


def check(data_set: DataSet, root: Path) -> None:
    """Raise DataError naming each missing or damaged file and the command that repairs it."""
    if faults := find_faults(data_set, root):
        listed = ", ".join(
            f"{path.relative_to(root).as_posix()} is {fault}" for path, fault in faults.items()
        )
        raise DataError(f"{listed}; to repair, run: python -m shared.data fetch {data_set.name}")


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


class _TooSlow(Exception):
    """A server sends, but so slowly that another is tried."""


def _get(url: str, path: Path) -> None:
    """Write what a server sends to a file, as long as it keeps up a certain rate."""
    with requests.get(url, stream=True, timeout=PATIENCE, headers=HEADERS) as response:
        response.raise_for_status()
        size = response.raw.length_remaining  # None where the server does not say
        bar = tqdm(total=size, unit="B", unit_scale=True, ncols=79, leave=False)
        with bar, open(path, "wb") as file:
            start, received = time.monotonic(), 0
            # read1 returns what has arrived; read would wait for a whole block, byte by byte
            while block := response.raw.read1(1 << 16, decode_content=True):
                file.write(block)
                bar.update(len(block))
                received += len(block)
                if (seconds := time.monotonic() - start) > PATIENCE:
                    if received < SLOWEST * seconds:
                        raise _TooSlow(f"{received / seconds:,.0f} bytes a second")
                    start, received = time.monotonic(), 0


def _download(data_set: DataSet, file: str, folder: Path) -> Path:
    """Download a file from the first mirror that delivers it with the right checksum."""
    algorithm, expected = data_set.downloads[file].split(":")
    failures = []
    for mirror in data_set.mirrors:
        host = urlsplit(mirror).netloc
        print(f"{data_set.title}: downloading {file} from {host}", flush=True)
        try:
            _get(mirror + file, folder / file)
        except requests.HTTPError as error:
            failures.append(f"{host} answered {error.response.status_code}")
        except _TooSlow as error:
            failures.append(f"{host} is too slow ({error})")
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failures.append(f"{host}: connection failed or broke off ({type(error).__name__})")
        else:
            found = digest(folder / file, algorithm)
            if found == expected:
                return folder / file
            failures.append(f"{host}: {algorithm.upper()} expected {expected}, found {found}")
    raise DataError(
        f"{data_set.title} could not be downloaded ({file}: {'; '.join(failures)}); with a "
        f"network connection run: python -m shared.data fetch {data_set.name}, or set COURSE_DATA "
        "to a folder that has it"
    )


def _is_abandoned(scratch: Path) -> bool:
    """Return whether the fetch that worked in .fetch-HOST-PROCESS-… was killed on its way."""
    match = re.fullmatch(r"\.fetch-(.*)-(\d{1,9})-\w+", scratch.name)
    if match and match[1] == platform.node() and os.name == "posix":  # elsewhere, kill would kill
        try:
            os.kill(int(match[2]), 0)  # sends nothing: it asks whether the process lives
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # it lives, and is another user's
    return time.time() - scratch.stat().st_mtime > DAY  # no fetch takes so long


@contextmanager
def _scratch_folder(root: Path) -> Iterator[Path]:
    """Lend a folder inside root for one fetch, and remove those that killed fetches left."""
    for scratch in root.glob(".fetch-*"):
        with suppress(FileNotFoundError):  # another fetch may be clearing up as well
            if _is_abandoned(scratch):
                shutil.rmtree(scratch, ignore_errors=True)
    prefix = f".fetch-{platform.node()}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=root) as scratch:
        yield Path(scratch)


def fetch(data_set: DataSet, root: Path) -> list[Path]:
    """Download what is missing or damaged in the folder root; return the files put there.

    All is downloaded, unpacked and checked in a scratch folder and moved into place only
    then, so that an interruption or a full disk leaves no half-written file.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _scratch_folder(root) as scratch:
            faults = find_faults(data_set, root)
            if not faults:
                return []
            target = scratch / data_set.folder
            target.mkdir(parents=True)
            for file in data_set.downloads:
                data_set.unpack(_download(data_set, file, scratch), target)
            check(data_set, scratch)
            (root / data_set.folder).mkdir(parents=True, exist_ok=True)
            for path in faults:
                os.replace(scratch / path.relative_to(root), path)
    except OSError as error:
        raise DataError(
            f"cannot write to the data folder {root} ({error.strerror or error}); set COURSE_DATA "
            "to a folder that has room and that you can write to"
        ) from error
    return list(faults)
