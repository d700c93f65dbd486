"""The ground floor: where things lie, which profile runs, on what. It imports nothing of ours."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {  # the prefix of a metric's id, and the folder of its notebook
    "a1": "assignment1_perceptron_mlp",
    "a2": "assignment2_pytorch_cnn_rnn",
    "a3": "assignment3_lstm_gan",
    "cw": "cw_vae_dcgan",
}
PACKAGES = ("shared", *FOLDERS.values())
PROFILES = ("quick", "full")
_inputs: list[str] = []  # what this process has read that decides results
_said: set[str] = set()  # remarks that were made already


def current_profile() -> str:
    """Return "quick" or "full" from the environment variable COURSE_PROFILE, default quick."""
    profile = os.environ.get("COURSE_PROFILE") or "quick"
    if profile not in PROFILES:
        raise ValueError(f"COURSE_PROFILE is {profile!r}; it must be quick or full")
    return profile


def data_root() -> Path:
    """Return the data folder: $COURSE_DATA, where ~ is the home folder, else data/.

    A relative COURSE_DATA counts from the repository's root, wherever a notebook runs.
    """
    return ROOT / Path(os.environ.get("COURSE_DATA") or "data").expanduser()


def build_folder() -> Path:
    """Return a folder to write to: $COURSE_BUILD, else build/ in the repository's root.

    Where that cannot be written, as in a lecturer's read-only checkout, it is a folder among the
    temporary files, and a line says so once.
    """
    wanted = ROOT / Path(os.environ.get("COURSE_BUILD") or "build").expanduser()
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted
    except OSError as error:
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
        fallback = Path(tempfile.gettempdir()) / f"perceptron-to-dcgan-{user}"
        fallback.mkdir(mode=0o700, exist_ok=True)
        say_once(f"{wanted} cannot be written ({error.strerror}); using {fallback}")
        return fallback


def say_once(remark: str) -> None:
    """Print a remark the first time that it is made in this process."""
    if remark not in _said:
        _said.add(remark)
        print(remark)


def note_input(what: str) -> None:
    """Remember something read from outside, such as a data set's name and checksum.

    A kept run of a sweep is found again only where the same inputs were read before it.
    """
    _inputs.append(what)


def inputs() -> tuple[str, ...]:
    """Return what was noted in this process so far, each once, in order."""
    return tuple(dict.fromkeys(_inputs))


def device_name() -> str:
    """Return the device that torch would train on here: "cuda", "mps" or "cpu"."""
    import torch  # here: it takes seconds, and most of the tools need none of it

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def hardware() -> str:
    """Return the processor's name and number of cores, or the accelerator's name.

    A virtual machine may call several processors by one name without a number; then the family and
    the model stand beside it: "AMD EPYC (family 25, model 17), 2 cores".
    """
    import torch  # here, as above

    if device_name() == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = re.compile(r"^(cpu family|model|model name)\s*: (.+)", re.MULTILINE)
        first = dict(reversed(lines.findall(Path("/proc/cpuinfo").read_text())))  # of several
        name = first.get("model name", name)
        if {"cpu family", "model"} <= set(first) and not re.search(r"\d", name):
            name += f" (family {first['cpu family']}, model {first['model']})"
    return f"{name}, {os.cpu_count()} cores"


def num_threads() -> int:
    """Return the number of threads that torch computes with, which is NumPy's too by default."""
    import torch  # here, as above

    return torch.get_num_threads()


def versions() -> str:
    """Return the versions that results depend on: Python, NumPy and torch."""
    numpy, torch = map(importlib.metadata.version, ("numpy", "torch"))
    return f"Python {platform.python_version()}, NumPy {numpy}, torch {torch}"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file in one step: it is the old one or the new one, never half of it.

    Args: content: text is written as UTF-8. Missing folders are made.
    Raises: OSError, after which nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # one name per process, thread and moment, so that two writers never share a file
    mark = f"{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"
    part = path.with_name(f".{path.name}.{mark}.part")
    try:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
