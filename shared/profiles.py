"""The profile cell: how much of a notebook's work to do, quick or full."""

from __future__ import annotations

from types import SimpleNamespace

from shared.data import describe_sources
from shared.environment import current_profile, device_name, num_threads, versions


def choose_profile(*, quick: dict, full: dict, data: tuple[str, ...] | str = ()) -> SimpleNamespace:
    """Return the settings of the current profile as attributes, and print one line about the run.

    Args:
        quick, full: the same keys, all about cost: sizes, epochs, seeds.
        data: the data sets that the notebook loads, such as ("mnist",); none means generated.
    Returns: the chosen settings with `profile` ("quick" or "full") and `is_full` added.
    Raises: ValueError when the keys differ or COURSE_PROFILE is neither quick nor full.
    """
    if quick.keys() != full.keys():
        odd = ", ".join(sorted(quick.keys() ^ full.keys()))
        raise ValueError(f"the profiles quick and full must have the same keys; only one has {odd}")
    if taken := quick.keys() & {"profile", "is_full"}:
        raise ValueError(f"{', '.join(taken)} is set by choose_profile itself; name it otherwise")
    profile = current_profile()
    names = (data,) if isinstance(data, str) else tuple(data)
    source = describe_sources(names) if names else "generated in this notebook"
    threads = f"{num_threads()} thread{'s' * (num_threads() > 1)}"
    print(f"{profile} profile · data: {source} · {device_name()}, {threads} · {versions()}")
    settings = quick if profile == "quick" else full
    return SimpleNamespace(profile=profile, is_full=profile == "full", **settings)
