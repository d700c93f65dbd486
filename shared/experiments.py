"""The one way in which notebooks run ablations: every setting with every seed, kept on disk.

A finished run is found again only if nothing it can see has changed: its source, the globals it
reads (arrays by their content), the modules of this project behind them, profile and versions.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from shared import FOLDERS, ROOT
from shared.profiles import current_profile
from shared.source_hash import source_hash

PACKAGES = {"shared", *FOLDERS.values()}
CACHE = ROOT / "build" / "sweeps"


def _module_hashes(name: str | None, found: dict) -> dict:
    """Collect in found the hash of this project's module `name` and of those it imports."""
    module = sys.modules.get(name or "")
    if name in found or module is None or name.partition(".")[0] not in PACKAGES:
        return found
    found[name] = source_hash(Path(module.__file__))
    for value in list(vars(module).values()):
        attribute = "__name__" if isinstance(value, types.ModuleType) else "__module__"
        _module_hashes(getattr(value, attribute, None), found)
    return found


def _seen_by(function: types.FunctionType, seen: dict) -> dict:
    """Collect in seen the source of function and the value of every global that it reads."""
    key = f"{function.__qualname__}, line {function.__code__.co_firstlineno}"
    if key in seen:
        return seen
    try:
        source = inspect.getsource(function)
    except OSError:  # made by a decorator such as dataclass: there is no source to read
        seen[key] = (
            function.__code__.co_code,
            repr((function.__defaults__, function.__code__.co_consts)),
        )
        return seen
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    seen[key] = (source, joblib.hash((function.__defaults__, function.__kwdefaults__, cells)))
    codes = [function.__code__]
    for code in codes:  # grows: functions and comprehensions inside are read as well
        codes += [const for const in code.co_consts if isinstance(const, types.CodeType)]
    for name in sorted({name for code in codes for name in code.co_names}):
        value = function.__globals__.get(name)
        if getattr(value, "__module__", None) == function.__module__ and callable(value):
            methods = vars(value).values() if isinstance(value, type) else [value]
            for method in methods:
                if isinstance(method, types.FunctionType):
                    _seen_by(method, seen)
        elif isinstance(value, types.ModuleType) or callable(value):
            attribute = "__name__" if isinstance(value, types.ModuleType) else "__module__"
            _module_hashes(getattr(value, attribute, None), seen)
        elif value is not None:
            seen[name] = joblib.hash(value)
    return seen


def _timed_run(run_one: Callable, fingerprint: str, kwargs: dict) -> dict:
    """Run once; the cache's key is fingerprint and kwargs."""
    started = time.perf_counter()
    metrics = run_one(**kwargs)
    return {"seconds": time.perf_counter() - started, **metrics}


def sweep(
    run_one: Callable[..., dict],
    settings: Mapping[str, Mapping],
    seeds: Iterable[int],
    n_jobs: int = 1,
) -> list[dict]:
    """Run every setting with every seed and return one row per run, in that order.

    Args:
        run_one: a plain function; run_one(seed=…, **setting) returns a dict of metrics (numbers
            or small arrays such as curves). It may read globals.
        settings: {name: keyword arguments of run_one}; the name labels tables and curves.
        n_jobs: 1 runs in this process; other values, and joblib backends such as Dask, go to
            joblib.Parallel unchanged.
    Returns: rows {"setting": name, **setting, "seed", "seconds", **metrics}. Finished runs are
        kept in build/sweeps, so an interrupted sweep goes on where it stopped; `seconds` is the
        time the run took when it was made.
    """
    seeds = list(seeds)
    if not settings or not seeds:
        raise ValueError(f"sweep needs settings and seeds; got {len(settings)} and {len(seeds)}")
    place = Path(os.environ.get("COURSE_SWEEPS") or CACHE)
    versions = (sys.version_info[:2], np.__version__, torch.__version__, torch.get_num_threads())
    fingerprint = joblib.hash((_seen_by(run_one, {}), versions, current_profile()))
    cached = joblib.Memory(place, verbose=0).cache(_timed_run, ignore=["run_one"])
    runs = [(name, dict(setting), seed) for name, setting in settings.items() for seed in seeds]
    jobs = (
        joblib.delayed(cached)(run_one, fingerprint, {**setting, "seed": seed})
        for _, setting, seed in runs
    )
    finished = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    quiet = bool(os.environ.get("TQDM_DISABLE"))  # tqdm's notebook bar does not look itself
    pairs = zip(runs, finished, strict=True)
    bar = tqdm(pairs, total=len(runs), desc="runs", leave=False, disable=quiet)
    return [{"setting": name, **s, "seed": seed, **row} for (name, s, seed), row in bar]


def summarise(rows: list[dict], metric: str) -> dict[str, tuple[float, float, int]]:
    """Return {setting: (mean, standard deviation, n)} of a metric over seeds, NaN runs included.

    The deviation is the sample's (÷ n − 1), and 0 where all seeds agree.
    """
    groups: dict[str, list[float]] = {}
    for row in rows:
        if metric not in row:
            raise ValueError(f"metric is {metric!r}; the rows have {', '.join(row)}")
        groups.setdefault(row["setting"], []).append(float(row[metric]))
    stds = {n: float(np.std(v, ddof=1)) if len(set(v)) > 1 else 0.0 for n, v in groups.items()}
    return {name: (float(np.mean(v)), stds[name], len(v)) for name, v in groups.items()}
