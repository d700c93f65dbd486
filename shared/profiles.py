"""The profile cell: how much of a notebook's work to do, quick or full."""

from __future__ import annotations

import os
import platform
from types import SimpleNamespace

import numpy as np
import torch

PROFILES = ("quick", "full")


def current_profile() -> str:
    """Return "quick" or "full" from the environment variable COURSE_PROFILE, default quick."""
    profile = os.environ.get("COURSE_PROFILE") or "quick"
    if profile not in PROFILES:
        raise ValueError(f"COURSE_PROFILE is {profile!r}; it must be quick or full")
    return profile


def device_name() -> str:
    """Return the device that torch would train on here: "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_profile(*, quick: dict, full: dict, data: tuple[str, ...] = ()) -> SimpleNamespace:
    """Return the settings of the current profile as attributes, and print one line about the run.

    Args:
        quick, full: the same keys, all about cost: sizes, epochs, seeds.
        data: the data sets that the notebook loads, such as ("mnist",); none means generated.
    Returns: the chosen settings with `profile` ("quick" or "full") and `is_full` added.
    Raises: ValueError when the keys differ or COURSE_PROFILE is neither quick nor full.
    """
    from shared.data import describe_sources  # here, since shared.data asks for the profile

    if quick.keys() != full.keys():
        odd = ", ".join(sorted(quick.keys() ^ full.keys()))
        raise ValueError(f"the profiles quick and full must have the same keys; only one has {odd}")
    profile = current_profile()
    source = describe_sources(data) if data else "generated in this notebook"
    count = torch.get_num_threads()
    threads = f"{count} thread{'s' * (count > 1)}"
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    print(
        f"{profile} profile · data: {source} · {device_name()}, {threads} · "
        f"{versions}, torch {torch.__version__}"
    )
    settings = quick if profile == "quick" else full
    return SimpleNamespace(profile=profile, is_full=profile == "full", **settings)
