"""The runs of a sweep on a Dask cluster: compared first, sent once, taken back as they finish.

It uses distributed's Client and not joblib's Dask backend. That one sends what a function has
closed over, such as 60,000 digits, again with every run; and it hands results out in the order of
the runs, so that a long run would keep later ones, long finished, from being kept.
"""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import threading
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from operator import methodcaller

from shared import environment
from shared.source_hash import imported_hashes

SECONDS_TO_ANSWER = 4  # for a scheduler; twice that where it accepts, and then says nothing
_found_alike: set[tuple] = set()  # notebooks' versions and modules that this worker has, too
_comparing = threading.Lock()  # Python 3.11 may fail where two threads parse source at once


def _distributed():
    """Return the package distributed."""
    try:
        import distributed  # here: an extra, which few need
    except ImportError:
        raise ImportError(
            'COURSE_CLUSTER needs the package distributed: pip install -e ".[cluster]"'
        ) from None
    return distributed


def difference(versions: str, modules: tuple, dask_worker) -> str:
    """Return in what this process, a worker, is not like the notebook's; "" where it is.

    Args: modules: pairs of a module's name and its code hash; dask_worker: Client.run gives it.
    """
    threads = dask_worker.state.nthreads
    if threads > 1:
        return f"it makes {threads} runs at once; start it with --nthreads 1"
    if environment.versions() != versions:
        return f"it has {environment.versions()}, the notebook {versions}"
    with _comparing:
        try:
            for name, _ in modules:
                importlib.import_module(name)
        except ImportError as error:
            return f"it cannot import {name}: {error}"
        here = imported_hashes()
    if here is None:
        return "a module of ours changed after it imported it; start it again"
    other = [name for name, code in modules if here.get(name) != code]
    return f"its code is not the notebook's in {', '.join(other)}" if other else ""


def _refuse(worker: str, difference: object) -> None:
    raise RuntimeError(f"the worker {worker} cannot make this notebook's runs: {difference}")


def _on_worker(expected: tuple, variables: dict, call: Callable, runs: dict, i: int) -> dict:
    """Make run i. A worker that came late is compared here."""
    if expected not in _found_alike:
        worker = _distributed().get_worker()
        if found := difference(*expected, worker):
            _refuse(worker.address, found)
        _found_alike.add(expected)
    os.environ.update(variables)
    return call(*runs[i])


def _connect(address: str):
    """Return a client of the scheduler at `address`.

    Raises: ConnectionError where none answers in time.
    """
    found, make_client = queue.SimpleQueue(), _distributed().Client

    def ask() -> None:
        try:
            found.put(make_client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False))
        except Exception as error:  # an address that is none, a closed port, another server
            found.put(error)

    # in a thread, since a client waits without end for a server that accepts and says nothing
    threading.Thread(target=ask, daemon=True).start()
    try:
        client = found.get(timeout=2 * SECONDS_TO_ANSWER)
    except queue.Empty:
        client = TimeoutError()
    if isinstance(client, Exception):
        why = f"no Dask scheduler answers at COURSE_CLUSTER={address} ({type(client).__name__})"
        raise ConnectionError(f"{why}; start one, or unset it to run here")
    return client


def _fail(task, name: str, setting: dict, seed: int) -> None:
    """Raise what kept a task from its end: an error of the run itself, or of the cluster."""
    try:
        task.result()
    except (_distributed().KilledWorker, CancelledError) as error:
        what = f"the run of setting {name!r} with seed {seed}"
        raise RuntimeError(f"the cluster lost {what}: {error}") from error


def _send(client, work: bytes, runs: dict) -> dict:
    """Return {task: i}. The scheduler needs no module of ours: tasks are functions of libraries."""
    name, tasks = uuid.uuid4().hex, {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # once, and so meant
        # a task, not scattered data: it is made again where a worker dies with the only copy
        sent = client.submit(pickle.loads, work, key=f"data-{name}")
    for i in runs:  # in this order; two sweeps at once take turns
        call = methodcaller("__call__", i)
        tasks[client.submit(call, sent, key=(f"run-{name}", i), priority=-i)] = i
    return tasks


def run_all(address: str, call: Callable, runs: dict[int, tuple], finish: Callable) -> None:
    """Make each run on the cluster; call finish(i, call(*runs[i])) here as soon as it is made.

    Whatever ends this early, Ctrl-C too, takes back the runs that have not begun.

    Args: runs: {i: (name of the setting, setting, seed)}.
    Raises: ConnectionError; RuntimeError where a worker differs, or the cluster loses a run;
        TypeError where the function cannot be sent; and what a run itself raises.
    """
    as_completed, modules = _distributed().as_completed, imported_hashes()
    import cloudpickle  # here: it comes with distributed

    if modules is None:
        raise RuntimeError(
            "a module changed after this kernel imported it, so it cannot be compared with the "
            "workers'; restart the kernel"
        )
    expected = environment.versions(), tuple(modules.items())
    # on a worker a sweep inside a run stays there, and bars would fill a log
    variables = {"COURSE_PROFILE": environment.current_profile()}
    variables |= {"COURSE_CLUSTER": "", "TQDM_DISABLE": "1"}
    try:
        work = cloudpickle.dumps(partial(_on_worker, expected, variables, call, runs))
    except Exception as error:  # whatever an object raises that cannot be pickled
        raise TypeError(f"the run cannot be sent to a worker: {error}") from error

    with _connect(address) as client:
        found = client.run(difference, *expected, on_error="return")
        for worker, problem in found.items():
            if problem:
                _refuse(worker, problem)
        if not found:
            print(f"{address} has no workers yet; the runs wait for one.")
        tasks = _send(client, work, runs)
        del work  # as large as what it reads
        done = as_completed(tasks, loop=client.loop, with_results=True, raise_errors=False)
        for task, result in done:
            i = tasks[task]
            if task.status != "finished":
                _fail(task, *runs[i])
            task.release()  # else it is made again where the worker dies that holds the result
            finish(i, result)
