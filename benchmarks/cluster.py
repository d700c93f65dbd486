"""A sweep in this process, on one worker and on two: runs a minute, and what sending a run costs.

OMP_NUM_THREADS=1 python -m benchmarks.cluster            the table, on the terminal
OMP_NUM_THREADS=1 python -m benchmarks.cluster --write    and into reports/cluster.md

It needs two idle cores, about two minutes, and the package distributed.
"""

import argparse
import datetime
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np

from assignment1_perceptron_mlp.numpy_mlp import MLP
from assignment1_perceptron_mlp.numpy_optim import SGD
from assignment1_perceptron_mlp.numpy_training import fit
from shared.environment import ROOT, hardware, num_threads, versions, write_atomically
from shared.experiments import sweep
from tools.cluster import local_cluster

NUM_EMPTY, DIGITS = 100, (60_000, 784)
REPORT = ROOT / "reports" / "cluster.md"
COLUMNS = (
    "where",
    "runs a minute",
    "÷ in process",
    "ms per run",
    "ms per sweep",
    "ms with 60,000 digits",
)
TEXT = """\
# A sweep on a Dask cluster

A run trains a network 784-300-10 on 5,000 examples for {epochs} epochs, about {seconds:.1f} s; the
sweep has {runs}. All three give the same losses, to the last bit. *ms per run* is what a run that
does nothing takes beyond the first, and *ms per sweep* what the first takes: connecting, comparing
versions and modules, sending; *with 60,000 digits*, where it has closed over {megabytes:.0f} MB.

{table}

Measured on {date} with `python -m benchmarks.cluster --write`; scheduler, workers and notebook
share one machine: {hardware}, threads per worker: {threads}. {versions}.
"""


def training(num_epochs: int) -> Callable[[int], dict]:
    """Return a run: it trains on random examples in the shape of digits."""
    rng = np.random.default_rng(0)
    x = rng.random((5_000, DIGITS[1]), dtype=np.float32)
    y = rng.integers(0, 10, len(x))

    def run_one(seed: int) -> dict:
        rng = np.random.default_rng(seed)
        model = MLP((DIGITS[1], 300, 10), rng=rng)
        optimizer = SGD(model.parameters(), learning_rate=0.1)
        history = fit(model, optimizer, (x, y), num_epochs=num_epochs, batch_size=128, rng=rng)
        return {"loss": history["train_loss"][-1]}

    return run_one


def timed(run_one: Callable[[int], dict], num_runs: int) -> tuple[float, list[dict]]:
    """Return the seconds that a sweep takes, and its rows."""
    start = time.perf_counter()
    rows = sweep(run_one, {"only": {}}, range(num_runs))
    return time.perf_counter() - start, rows


def measure(num_runs: int, num_epochs: int) -> dict:
    """Return a row's figures: a sweep of trainings, sweeps of runs that do nothing, the losses."""
    digits = np.ones(DIGITS, np.float32)
    empty = {"nothing": lambda seed: {}, "digits": lambda seed: {"first": digits[0, 0]}}
    timed(empty["nothing"], 8)  # modules are imported now
    seconds, rows = timed(training(num_epochs), num_runs)
    first = min(timed(empty["nothing"], 1)[0] for _ in range(3))
    many = timed(empty["nothing"], NUM_EMPTY)[0]
    return {
        "a minute": 60 * num_runs / seconds,
        "per run": 1e3 * (many - first) / (NUM_EMPTY - 1),
        "per sweep": 1e3 * first,
        "digits": 1e3 * min(timed(empty["digits"], 1)[0] for _ in range(2)),
        "seconds": np.mean([row["seconds"] for row in rows]),
        "losses": [row["loss"] for row in rows],
    }


@contextmanager
def workers(number: int):
    """Send sweeps to a cluster of so many workers; 0 leaves them here."""
    os.environ.pop("COURSE_CLUSTER", None)
    if not number:
        yield
        return
    with local_cluster(number) as cluster:
        os.environ["COURSE_CLUSTER"] = cluster.scheduler_address
        yield
        del os.environ["COURSE_CLUSTER"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    if num_threads() != 1:
        parser.error("set OMP_NUM_THREADS=1: workers have one thread, too")
    os.environ["TQDM_DISABLE"] = "1"
    found = {}
    for number, name in enumerate(("in process", "1 worker", "2 workers")):
        with workers(number):
            found[name] = measure(options.runs, options.epochs)
    home = found["in process"]
    assert all(row["losses"] == home["losses"] for row in found.values())
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    for name, row in found.items():
        ratio = f"{row['a minute'] / home['a minute']:.2f}"
        costs = [f"{row[key]:.{int(row[key] < 10)}f}" for key in ("per run", "per sweep", "digits")]
        lines.append([name, f"{row['a minute']:.1f}", ratio, *costs])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    print(table)
    if options.write:
        text = TEXT.format(
            table=table,
            runs=options.runs,
            epochs=options.epochs,
            seconds=home["seconds"],
            megabytes=4 * np.prod(DIGITS) / 1e6,
            date=datetime.date.today().isoformat(),
            hardware=hardware(),
            threads=num_threads(),
            versions=versions(),
        )
        write_atomically(REPORT, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
