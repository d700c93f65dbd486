"""The runs of a sweep on a Dask cluster: compared first, sent once, taken back as they finish.

It uses distributed's Client and not joblib's Dask backend. That one sends what a function has
closed over, such as 60,000 digits, again with every run; and it hands results out in the order of
the runs, so that a long run would keep later ones, long finished, from being kept.
"""

from __future__ import annotations

import importlib
import os
import queue
import threading
import uuid
from collections.abc import Callable
from functools import partial
from operator import methodcaller

from shared import environment
from shared.source_hash import imported_hashes

SECONDS_TO_ANSWER = 4  # for a scheduler; twice that where it accepts, and then says nothing
_found_alike: set[tuple] = set()  # notebooks' versions and modules that this worker has, too


def difference(versions: str, modules: tuple, dask_worker=None) -> str:
    """Return in what this process, a worker, is not like the notebook's; "" where it is.

    Args: modules: pairs of a module's name and its code hash; dask_worker: given by Client.run.
    """
    from distributed import get_worker  # here: an extra, which few need

    if environment.versions() != versions:
        return f"it has {environment.versions()}, the notebook {versions}"
    try:
        for name, _ in modules:
            importlib.import_module(name)
    except ImportError as error:
        return f"it cannot import {name}: {error}"
    here = imported_hashes()
    if here is None:
        return "a module of ours changed after it imported it; start it again"
    if other := [name for name, code in modules if here.get(name) != code]:
        return f"its code is not the notebook's in {', '.join(other)}"
    threads = (dask_worker or get_worker()).state.nthreads
    return f"it makes {threads} runs at once; start it with --nthreads 1" if threads > 1 else ""


def _refuse(worker: str, difference: object) -> None:
    raise RuntimeError(f"the worker {worker} cannot make this notebook's runs: {difference}")


def _on_worker(expected: tuple, variables: dict, call: Callable, runs: dict, i: int) -> dict:
    """Make run i. A worker that came late is compared here."""
    from distributed import get_worker  # here, as above

    if expected not in _found_alike:
        if found := difference(*expected):
            _refuse(get_worker().address, found)
        _found_alike.add(expected)
    os.environ.update(variables)
    return call(*runs[i])


def _connect(address: str):
    """Return a client of the scheduler at `address`.

    Raises: ConnectionError where none answers in time.
    """
    from distributed import Client  # here, as above

    found = queue.SimpleQueue()

    def ask() -> None:
        try:
            found.put(Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False))
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
    """Raise what kept a task from its end."""
    from distributed import KilledWorker  # here, as above

    try:
        task.result()
    except KilledWorker as error:
        what = f"the run of setting {name!r} with seed {seed}"
        raise RuntimeError(f"{what} ended every worker that took it: {error}") from error


def run_all(address: str, call: Callable, runs: dict[int, tuple], finish: Callable) -> None:
    """Make each run on the cluster; call finish(i, call(*runs[i])) here as soon as it is made.

    Whatever ends this early, Ctrl-C too, takes back the runs that have not begun.
    Raises: ConnectionError, RuntimeError where a worker differs or dies again and again,
        TypeError where the run cannot be sent, and what a run itself raises.
    """
    try:
        import cloudpickle  # here, as above; distributed brings it, and dask
        import dask  # here, as above
        from distributed import as_completed  # here, as above
    except ImportError:
        raise ImportError(
            'COURSE_CLUSTER needs the package distributed: pip install -e ".[cluster]"'
        ) from None

    modules = imported_hashes()
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
        # A task, so that the scheduler makes it again where a worker dies with its copy. Both
        # kinds of tasks are functions of libraries: a scheduler needs no modules of ours.
        name = uuid.uuid4().hex
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            sent = client.submit(cloudpickle.loads, work, key=f"data-{name}")
        tasks = {
            client.submit(methodcaller("__call__", i), sent, key=(f"run-{name}", i)): i
            for i in runs
        }
        done = as_completed(tasks, loop=client.loop, with_results=True, raise_errors=False)
        for task, result in done:
            i = tasks[task]
            if task.status != "finished":
                _fail(task, *runs[i])
            task.release()  # else it is made again where the worker dies that holds the result
            finish(i, result)
