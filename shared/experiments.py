"""The one way in which notebooks run ablations, and what one says about the rows afterwards.

`sweep` runs every setting with every seed and keeps finished runs on disk. A kept run is found
again only where it must come out the same: a notebook's state is what its executed cells made, so
the key is the sequence of cells executed in this kernel, the code of our modules as imported, the
profile, the versions, the data sets, the setting and the seed. Code is not looked into, but for
one thing: the asserts and prints that end a cell do not count, so that a claim may be put right
without a run. What the key cannot see is a file that a cell reads by itself; a loader of
ours notes what it reads.
"""

from __future__ import annotations

import ast
import datetime
import hashlib
import linecache
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from IPython import get_ipython
from tqdm.auto import tqdm

from shared import cluster, environment
from shared.data import available_sources
from shared.source_hash import code_hash, imported_hashes

_sweeps_in_cell = {"cell": None, "count": 0}


# Calls after which everything is as it was; any other may draw a random number, say.
_READS = frozenset(
    "abs all any bool enumerate float int isclose isfinite isinstance items keys len list max mean "
    "min print range round set sorted std str sum tuple values zip".split()
)


def _only_reads(code: ast.AST, names: Mapping) -> bool:
    """Return whether code changes nothing that `names`, the notebook's own, hold."""
    for node in ast.walk(code):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", None))
            if called not in _READS or called in names:  # a name of the notebook's may do anything
                return False
        if isinstance(node, ast.Name) and isinstance(names.get(node.id), Iterator):
            return False  # reading it takes something out of it
        if isinstance(node, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)):
            return False
    return True


def _without_checks(body: list[ast.stmt], names: Mapping) -> list[ast.stmt]:
    """Return statements without the asserts and prints that they end with.

    Those before the last statement that does something count: where one fails, the rest is not run.
    """
    while body:
        last = body[-1]
        if isinstance(last, ast.If):
            last.body, last.orelse = (_without_checks(b, names) for b in (last.body, last.orelse))
            if last.body or last.orelse or not _only_reads(last.test, names):
                last.body = last.body or [ast.Pass()]
                break
        else:
            printed = getattr(getattr(getattr(last, "value", None), "func", None), "id", None)
            tells = isinstance(last, ast.Assert) or (
                isinstance(last, ast.Expr) and printed == "print"
            )
            if not (tells and _only_reads(last, names)):
                break
        body = body[:-1]
    return body


def _cell_hash(source: str, names: Mapping) -> str:
    """Return the hash of what a cell does; "" where it does nothing but read."""
    try:
        tree = ast.parse(source)
        tree.body = _without_checks(tree.body, names)
        return code_hash(ast.unparse(tree)) if tree.body else ""
    except SyntaxError:  # a top-level await, say: its text is its code
        return hashlib.sha256(source.encode()).hexdigest()


def _is_running(shell, cell: str) -> bool:
    """Return whether we were called by the cell itself, and not by a widget's callback, say."""
    frame = sys._getframe()
    # a cell's own frame; some versions of IPython call it "<cell line: 1>"
    while frame and not (
        frame.f_globals is shell.user_ns and frame.f_code.co_name.startswith(("<module", "<cell"))
    ):
        frame = frame.f_back
    if not frame:
        return False
    source = "".join(linecache.getlines(frame.f_code.co_filename))
    return source.rstrip() in ("", cell.rstrip())  # "": under %%time there is no file


def _executed_cells() -> tuple[str, ...] | None:
    """Return the hash of every cell executed in this kernel, the running one last.

    Runs of the running cell that came directly before this one count once, so that a sweep which
    was interrupted goes on. None outside a notebook's cell.
    """
    shell = get_ipython()
    cells = shell.history_manager.input_hist_parsed[1:] if shell else []
    if not cells or not _is_running(shell, cells[-1]):
        return None
    hashes = [*filter(None, (_cell_hash(cell, shell.user_ns) for cell in cells))]
    while len(hashes) > 1 and hashes[-2] == hashes[-1]:
        hashes.pop()
    return tuple(hashes)


def _place_in_cell() -> int:
    """Return how many sweeps this execution of the cell has begun before."""
    shell = get_ipython()
    now = (id(shell), shell.execution_count)
    if _sweeps_in_cell["cell"] != now:
        _sweeps_in_cell.update(cell=now, count=0)
    _sweeps_in_cell["count"] += 1
    return _sweeps_in_cell["count"] - 1


def _plain(value):
    """Return a value as text that is equal in every kernel; of an object only what it is.

    What made the object is in the cells, so its kind is enough to tell settings apart.
    """
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    if isinstance(value, Mapping):
        return repr([(repr(key), _plain(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return type(value).__name__ + repr([_plain(item) for item in value])
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype != object:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return repr((str(value.dtype), np.shape(value), digest))
    return type(value).__qualname__


def _state() -> tuple | None:
    """Return all that decides a sweep's results but setting and seed; None: keep nothing."""
    cells = _executed_cells()
    if cells is None:
        return None
    modules = imported_hashes()
    if modules is None:
        environment.say_once(
            "A module changed after this kernel imported it: runs are not kept until it restarts."
        )
        return None
    data = (environment.inputs(), available_sources())
    versions = (environment.versions(), environment.current_profile())
    return cells, _place_in_cell(), sorted(modules.items()), data, versions


def _file(state: tuple, name: str, setting: dict, seed: int) -> Path:
    key = hashlib.sha256(repr((state, name, _plain(setting), seed)).encode()).hexdigest()
    return environment.build_folder() / "sweeps" / f"{key[:32]}.joblib"


def _kept(file: Path) -> dict | None:
    """Return a kept run; None where there is none or where it cannot be read."""
    if not file.exists():
        return None
    try:
        result = joblib.load(file)
        return result if "made" in result else None
    except Exception:  # whatever a damaged pickle raises: the run is made again
        environment.say_once(f"{file.name} among the kept runs is damaged; it is made again.")
        return None


def _keep(file: Path, result: dict, state: tuple) -> None:
    """Store a finished run, unless a module came in while it ran (its key would not know it)."""
    if sorted((imported_hashes() or {}).items()) != state[2]:
        return
    try:
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}.part")
        try:
            joblib.dump(result, part)
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        environment.say_once(f"Runs cannot be kept in {file.parent}: {error.strerror}.")


def _run(run_one: Callable[..., dict], name: str, setting: dict, seed: int) -> dict:
    """Run once, with the seconds it took and when and on what it was made."""
    started = time.perf_counter()
    try:
        metrics = run_one(**setting, seed=seed)
    except Exception as error:
        if hasattr(error, "add_note"):  # Python 3.11
            error.add_note(f"in the run of setting {name!r} with seed {seed}")
        raise
    if not isinstance(metrics, dict):
        raise TypeError(f"run_one returned {type(metrics).__name__}; it must return a dict")
    made = {
        "date": datetime.date.today().isoformat(),
        "device": environment.hardware(),
        "threads": environment.num_threads(),
    }
    return {"seconds": time.perf_counter() - started, **metrics, "made": made}


def sweep(
    run_one: Callable[..., dict],
    settings: Mapping[str, Mapping],
    seeds: Iterable[int],
    n_jobs: int = 1,
) -> list[dict]:
    """Run every setting with every seed and return one row per run, in that order.

    Args:
        run_one: run_one(seed=…, **setting) returns a dict of metrics (numbers or small arrays
            such as curves). It may read whatever the notebook has defined.
        settings: {name: keyword arguments of run_one}; the name labels tables and curves.
        n_jobs: 1 runs in this process; other values, and joblib's backends, go to joblib.Parallel
            unchanged. With COURSE_CLUSTER=tcp://… runs are made on that Dask cluster instead.
    Returns: rows {"setting": name, **setting, "seed", "seconds", **metrics, "made"}, where made is
        {"date", "device", "threads"} of the run itself. Finished runs are kept in build/sweeps,
        so an interrupted sweep goes on where it stopped; outside a notebook nothing is kept.
    """
    seeds = list(seeds)
    if not settings or not seeds:
        raise ValueError(f"sweep needs settings and seeds; got {len(settings)} and {len(seeds)}")
    runs = [(name, dict(setting), seed) for name, setting in settings.items() for seed in seeds]
    state = _state()
    files = [_file(state, *run) if state else None for run in runs]
    results = [_kept(file) if file else None for file in files]
    missing = [i for i, result in enumerate(results) if result is None]
    quiet = bool(os.environ.get("TQDM_DISABLE"))  # tqdm's notebook bar does not look itself
    with tqdm(total=len(runs), desc="runs", leave=False, disable=quiet) as bar:
        bar.update(len(runs) - len(missing))

        def finish(i: int, result: dict) -> None:
            results[i] = result
            if files[i]:
                _keep(files[i], result, state)
            bar.update()

        address = os.environ.get("COURSE_CLUSTER")
        if address and missing:
            cluster.run_all(address, partial(_run, run_one), {i: runs[i] for i in missing}, finish)
        else:
            made = joblib.Parallel(n_jobs, return_as="generator")(
                joblib.delayed(_run)(run_one, *runs[i]) for i in missing
            )
            for i, result in zip(missing, made, strict=True):
                finish(i, result)
    return [
        {"setting": name, **setting, "seed": seed, **result}
        for (name, setting, seed), result in zip(runs, results, strict=True)
    ]


def mean_and_std(values: Iterable[float]) -> tuple[float, float]:
    """Return the mean and the sample's standard deviation (÷ n − 1), 0 where all are equal."""
    values = [float(value) for value in values]
    spread = float(np.std(values, ddof=1)) if len(set(values)) > 1 else 0.0
    return float(np.mean(values)), spread


def _grouped(rows: list[dict], metric: str, key: str) -> dict:
    """Return {row[key]: [values of the metric]}, in order of appearance."""
    groups: dict = {}
    for row in rows:
        for name in (metric, key):
            if name not in row:
                raise ValueError(f"there is no {name!r} in the rows; they have {', '.join(row)}")
        groups.setdefault(row[key], []).append(float(row[metric]))
    return groups


def summarise(rows: list[dict], metric: str) -> dict[str, tuple[float, float, int]]:
    """Return {setting: (mean, standard deviation, n)} of a metric over seeds, NaN runs included."""
    groups = _grouped(rows, metric, "setting")
    return {name: (*mean_and_std(values), len(values)) for name, values in groups.items()}


def show_table(rows: list[dict], metrics: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of a sweep: a row per setting, `mean ± std` over seeds per metric, and n.

    Args: metrics: {metric: format}, such as {"val_accuracy": ".4f", "seconds": ".1f"}.
    """
    table = {}
    for metric, form in metrics.items():
        summary = summarise(rows, metric)
        table[metric.replace("_", " ")] = {
            name: f"{mean:{form}} ± {std:{form}}" if n > 1 else f"{mean:{form}}"
            for name, (mean, std, n) in summary.items()
        }
    table["n"] = {name: n for name, (_, _, n) in summary.items()}
    return pd.DataFrame(table).rename_axis("setting")


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, its standard error (NaN for one pair), and their number."""

    mean: float
    standard_error: float
    n: int

    @property
    def decided(self) -> bool:
        """Whether three pairs or more put the mean 2 standard errors or more away from 0."""
        return self.n >= 3 and self.mean != 0 and abs(self.mean) >= 2 * self.standard_error

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ± {self.standard_error:.4f} (n = {self.n})"


def paired_difference(rows: list[dict], metric: str, first: str, second: str) -> Difference:
    """Return first − second of a metric, paired by seed: what equal seeds share cancels.

    Raises: ValueError where a setting is not in the rows, or the two were not run with equal seeds.
    """
    by_seed: dict[str, dict] = {first: {}, second: {}}
    for row in rows:
        if row["setting"] in by_seed:
            by_seed[row["setting"]][row["seed"]] = float(row[metric])
    if not by_seed[first] or by_seed[first].keys() != by_seed[second].keys():
        seeds = {name: sorted(found) for name, found in by_seed.items()}
        raise ValueError(f"both settings need the same seeds, 1 or more; the rows have {seeds}")
    differences = [value - by_seed[second][seed] for seed, value in by_seed[first].items()]
    mean, std = mean_and_std(differences)
    n = len(differences)
    return Difference(mean, std / math.sqrt(n) if n > 1 else math.nan, n)


def best_value(rows: list[dict], metric: str, key: str, lowest: bool = False):
    """Return the value of row[key], such as a learning rate, that has the best mean metric.

    Args: lowest: whether the best mean is the lowest, as for a loss. NaN is never the best.
    Raises: AssertionError in the full profile where it is the smallest or the largest value tried:
        then the best may lie beyond, and the grid has to grow.
    """
    sign = -1 if lowest else 1
    means = {value: sign * np.mean(found) for value, found in _grouped(rows, metric, key).items()}
    finite = {value: mean for value, mean in means.items() if not math.isnan(mean)}
    if not finite:
        raise ValueError(f"every mean of {metric!r} is NaN; there is no best {key}")
    best = max(finite, key=finite.get)
    if environment.current_profile() == "full" and best in (min(means), max(means)):
        raise AssertionError(
            f"the best {key} is {best}, at the edge of {sorted(means)}; extend the grid"
        )
    return best
