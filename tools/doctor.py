"""What is here to run the notebooks with, what is missing, and what to do about it.

python -m tools.doctor    a line per topic; fails where something keeps notebooks from running

It also runs where no package is installed, so it imports packages where it needs them.
"""

import importlib.metadata
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator

from shared.environment import (
    ROOT,
    build_folder,
    current_profile,
    data_root,
    device_name,
    hardware,
    num_threads,
)
from tools.browser import chromium

OLDEST_PYTHON = (3, 10)
ENOUGH_DISK = 2e9  # bytes: pages, kept runs, data sets
INSTALL = f"{sys.executable} -m pip install -r requirements.txt"
Finding = tuple[str, str, str]  # "ok", "note" or "MISS"; what is found; what to do, or ""


def python() -> Finding:
    """Return whether this Python is new enough."""
    found = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return "MISS", found, "install Python {}.{} or newer".format(*OLDEST_PYTHON)
    return "ok", found, ""


def required() -> Iterator[tuple[str, str]]:
    """Yield (name, what is wrong with it) of each package that requirements.txt asks for here."""
    from packaging.requirements import Requirement  # here: where pip failed it may be missing

    for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text or text.startswith("-"):
            continue
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield wanted.name, "missing"
        else:
            old = not wanted.specifier.contains(version, prereleases=True)
            yield wanted.name, f"{version} is not {wanted.specifier}" if old else ""


def packages() -> Finding:
    """Return whether all packages are there, and new enough."""
    found = dict(required())
    if wrong := [f"{name} ({problem})" for name, problem in found.items() if problem]:
        return "MISS", ", ".join(wrong), INSTALL
    return "ok", f"all {len(found)} of requirements.txt", ""


def kernel() -> Finding:
    """Return whether Jupyter finds the kernel that the notebooks name."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel  # here, as above

    try:
        place = KernelSpecManager().get_kernel_spec("python3").resource_dir
    except NoSuchKernel:
        return (
            "MISS",
            "Jupyter has no kernel named python3",
            f"{sys.executable} -m pip install ipykernel",
        )
    return "ok", f"python3, in {place}", ""


def device() -> Finding:
    """Return what torch computes on."""
    return "ok", f"{device_name()}: {hardware()}, threads: {num_threads()}", ""


def seconds_of(product: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest time of several calls, in seconds."""
    product()  # the first call loads kernels
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return min(times)


def bfloat16() -> Finding:
    """Return whether a matrix product is faster in bfloat16 than in float32 on the processor."""
    import torch  # here: it takes seconds

    matrix = torch.rand(768, 768)
    half = matrix.bfloat16()
    ratio = seconds_of(lambda: half @ half) / seconds_of(lambda: matrix @ matrix)
    found = f"a matrix product takes {ratio:.2g} of the time that it takes in float32"
    if ratio < 0.8:
        return "ok", f"{found}: it pays here", ""
    return "note", f"{found}: it does not pay here", ""


def data() -> Finding:
    """Return which data sets are real here."""
    from shared.data.catalogue import DATA_SETS, DataError, files_there  # here, as above

    try:
        there = {data_set.title: files_there(name) for name, data_set in DATA_SETS.items()}
    except DataError as error:  # COURSE_DATA names no folder
        return "MISS", str(error), "set COURSE_DATA to a folder, or unset it"
    real = [title for title, files in there.items() if all(files)]
    part = [title for title, files in there.items() if any(files) and not all(files)]
    absent = [title for title, files in there.items() if not any(files)]
    found = f"{data_root()}: {', '.join(real) or 'nothing'}"
    if part:
        return "MISS", f"{found}; in part: {', '.join(part)}", "python -m shared.data fetch"
    if absent:
        found += f"; stand-ins for {', '.join(absent)}"
        return "note", found, "python -m shared.data fetch, for the full profile"
    return "ok", found, ""


def profile() -> Finding:
    """Return which profile a notebook would run in."""
    try:
        return "ok", f"{current_profile()} (COURSE_PROFILE=quick or full)", ""
    except ValueError as error:
        return "MISS", str(error), "export COURSE_PROFILE=quick"


def build() -> Finding:
    """Return where pages and kept runs are written, and how much room there is."""
    folder = build_folder()
    free = shutil.disk_usage(folder).free
    found = f"{folder}, {free / 1e9:.0f} GB free"
    return ("ok", found, "") if free > ENOUGH_DISK else ("MISS", found, "make room on this disk")


def browser() -> Finding:
    """Return whether there is a browser for the test of the pages, and for `make pdf`."""
    if command := chromium():
        return "ok", command[0], ""
    return "note", "no Chromium: `make pdf` cannot print, one test is skipped", "install Chromium"


TOPICS = (python, packages, kernel, device, bfloat16, profile, data, build, browser)


def main() -> int:
    """Print a line per topic; return 1 where something keeps notebooks from running."""
    failed = False
    for topic in TOPICS:
        try:
            state, found, advice = topic()
        except Exception as error:  # a package that is missing or broken: say it, and go on
            state, found, advice = "MISS", f"{type(error).__name__}: {error}", INSTALL
        failed |= state == "MISS"
        print(f"{state:<4} {topic.__name__:<8} {found}" + (f" → {advice}" if advice else ""))
    print("Something is missing; see above." if failed else "All notebooks can run here: make run")
    return int(failed)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")
    sys.exit(main())
