"""A sweep on a Dask cluster gives the rows of home, whatever happens to its workers.

Scheduler and workers are real processes on the loopback, those of `make cluster`.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from test_experiments import IMPORTS, Kernel

from shared import cluster, environment
from shared.environment import ROOT
from shared.experiments import sweep

distributed = pytest.importorskip(
    "distributed", reason='no distributed here: pip install -e ".[cluster]"'
)
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows the latter kills as well


@pytest.fixture(scope="module")
def started():
    """The address of a cluster of two workers, once they have imported torch."""
    command = [sys.executable, "-m", "tools.cluster", "--workers", "2", "--dashboard", ":0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        yield re.fullmatch(r"export COURSE_CLUSTER=(tcp://127\.0\.0\.1:\d+)\n", line)[1]
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def address(started, monkeypatch, tmp_path):
    for name, value in (
        ("COURSE_CLUSTER", started),
        ("COURSE_BUILD", str(tmp_path / "build")),
        ("COURSE_PROFILE", "quick"),
        ("TQDM_DISABLE", "1"),
    ):
        monkeypatch.setenv(name, value)
    return started


@pytest.fixture
def kernel(address, monkeypatch):
    return lambda: Kernel(monkeypatch)


def pids(address):
    with distributed.Client(address, set_as_default=False) as client:
        return set(client.run(os.getpid).values())


def wait_for(condition, seconds=30):
    """Wait until condition() holds; the caller asserts what it waits for."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def values(rows):
    return [(row["setting"], row["seed"], row["value"]) for row in rows]


def test_rows_are_those_of_home_with_the_workers_own_threads(address, monkeypatch):
    images = np.random.default_rng(0).random((500, 784))

    def run_one(seed, power=1):
        images[0, 0] = 1.0  # as at home, a run may write
        time.sleep(0.2 * (seed == 0))  # the first is the last to be ready
        curve = np.random.default_rng(seed).normal(size=3) @ images[:3] ** power
        return {"value": float(curve.sum()), "curve": curve, "where": os.getpid()}

    settings = {"a": {}, "b": {"power": 2}}
    monkeypatch.setattr(environment, "num_threads", lambda: 77)  # here; there it is 1
    there = sweep(run_one, settings, (0, 1, 2))
    monkeypatch.delenv("COURSE_CLUSTER")
    here = sweep(run_one, settings, (0, 1, 2))
    assert values(there) == values(here)
    assert all((a["curve"] == b["curve"]).all() for a, b in zip(there, here, strict=True))
    assert [row["made"]["threads"] for row in there + here] == [1] * 6 + [77] * 6
    assert all(row["made"].keys() == {"date", "device", "threads"} for row in there)
    assert {row["where"] for row in there} <= pids(address)
    assert all(row["curve"].flags.writeable for row in there)


def test_workers_make_runs_at_once_in_the_notebooks_profile(
    address, monkeypatch, tmp_path, recwarn
):
    images = np.ones((4_000, 784))  # 25 MB, which could keep both runs where these are

    def run_one(seed):
        (tmp_path / str(seed)).touch()
        other, end = tmp_path / str(1 - seed), time.monotonic() + 20
        while not other.exists() and time.monotonic() < end:  # nobody goes on alone
            time.sleep(0.02)
        inside = sweep(lambda seed: {"value": 1}, {"inside": {}}, (0,))  # stays on the worker
        both = other.exists() and inside[0]["value"] == 1
        return {"value": both, "profile": environment.current_profile(), "sum": images.sum()}

    monkeypatch.setenv("COURSE_PROFILE", "full")
    rows = sweep(run_one, {"a": {}}, (0, 1))
    assert [(row["value"], row["profile"]) for row in rows] == [(True, "full")] * 2
    assert [str(warning.message) for warning in recwarn] == []


CELL = """
def run_one(seed):
    open(LOG, "a").write(f"{seed} ")
    return RUN(seed)

rows = sweep(run_one, {"a": {}}, SEEDS)
"""


def cells(log, body, seeds):
    """The cells of a notebook whose run of a seed writes down that it was made."""
    start = f"LOG, SEEDS = {str(log)!r}, {seeds}\nimport os, signal, time"
    return IMPORTS, start, f"def RUN(seed):\n{textwrap.indent(textwrap.dedent(body), '    ')}", CELL


def test_finished_runs_are_kept_at_home(kernel, monkeypatch, tmp_path):
    notebook = cells(tmp_path / "log", "return {'value': seed, 'where': os.getpid()}", (0, 1, 2))
    rows = kernel().run(*notebook)
    assert os.getpid() not in {row["where"] for row in rows}
    monkeypatch.setenv("COURSE_CLUSTER", "tcp://127.0.0.1:1")  # nobody is asked for kept runs
    assert kernel().run(*notebook) == rows
    monkeypatch.delenv("COURSE_CLUSTER")
    assert kernel().run(*notebook) == rows
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "1", "2"]


def test_a_run_that_the_scheduler_took_along_is_named():
    task = Future()
    task.cancel()
    with pytest.raises(RuntimeError, match="the cluster lost the run of setting 'a' with seed 2: "):
        cluster._fail(task, "a", {}, 2)


def test_a_failure_names_its_run_and_keeps_what_was_made(kernel, tmp_path):
    folder = tmp_path / "build" / "sweeps"
    body = f"""
    while seed == 0 and not os.path.exists({str(folder)!r}):
        time.sleep(0.02)
    return {{"value": 1 / seed}}
    """
    with pytest.raises(ZeroDivisionError) as failure:
        kernel().run(*cells(tmp_path / "log", body, (0, 1)))
    if sys.version_info >= (3, 11):
        assert failure.value.__notes__ == ["in the run of setting 'a' with seed 0"]
    assert len(list(folder.glob("*.joblib"))) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C in another way")
def test_ctrl_c_leaves_finished_runs_kept(address, kernel, tmp_path):
    go_on, folder = tmp_path / "go on", tmp_path / "build" / "sweeps"
    # the first two that begin, whichever they are, end at once
    body = f"""
    for n in (0, 1):
        try:
            os.close(os.open({str(tmp_path)!r} + f"/{{n}} has begun", os.O_CREAT | os.O_EXCL))
            return {{"value": seed}}
        except FileExistsError:
            pass
    end = time.monotonic() + 20
    while not os.path.exists({str(go_on)!r}) and time.monotonic() < end:
        time.sleep(0.02)
    return {{"value": seed}}
    """

    def press():
        wait_for(lambda: folder.exists() and len(list(folder.glob("*.joblib"))) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    notebook, seeds = kernel(), tuple(range(6))
    # a process that was started in the background ignores Ctrl-C, and we may be in one
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=press).start()
        with pytest.raises(KeyboardInterrupt):
            notebook.run(*cells(tmp_path / "log", body, seeds))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(list(folder.iterdir())) == 2
    with distributed.Client(address, set_as_default=False) as client:
        wait_for(
            lambda: not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        )
        assert not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    go_on.touch()  # the two runs in progress end, unheard
    assert values(notebook.run(CELL)) == [("a", seed, seed) for seed in seeds]
    log = (tmp_path / "log").read_text().split()
    assert log.count(log[0]) == log.count(log[1]) == 1


def silent_port():
    """A server that accepts and says nothing."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


@pytest.mark.parametrize("what", ["a closed port", "a silent port", "no address"])
def test_a_cluster_that_does_not_answer_is_one_sentence(monkeypatch, what):
    assert 2 * cluster.SECONDS_TO_ANSWER < 10
    monkeypatch.setattr(cluster, "SECONDS_TO_ANSWER", 1)
    server = silent_port()
    there = f"tcp://127.0.0.1:{server.getsockname()[1]}" if what != "no address" else "tcp:/here"
    if what == "a closed port":
        server.close()
    monkeypatch.setenv("COURSE_CLUSTER", there)
    start = time.monotonic()
    with pytest.raises(ConnectionError) as failure:
        sweep(lambda seed: {}, {"a": {}}, (0,))
    server.close()
    assert time.monotonic() - start < 2 + 2  # the second 2 for a busy machine
    text = str(failure.value)
    assert text.startswith(f"no Dask scheduler answers at COURSE_CLUSTER={there} (")
    assert "\n" not in text and failure.value.__cause__ is failure.value.__context__ is None


@pytest.mark.parametrize("when", ["at once", "late"])
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("versions", r"it has Python .+, the notebook Python 2, NumPy 1, torch 0"),
        ("code", r"its code is not the notebook's in shared\.experiments"),
        ("module", r"it cannot import my_helper: No module named 'my_helper'"),
    ],
)
def test_a_worker_that_differs_is_named(address, monkeypatch, tmp_path, capsys, what, said, when):
    hashes = cluster.imported_hashes()
    if what == "versions":
        monkeypatch.setattr(environment, "versions", lambda: "Python 2, NumPy 1, torch 0")
    else:
        name = {"code": "shared.experiments", "module": "my_helper"}[what]
        monkeypatch.setattr(cluster, "imported_hashes", lambda: hashes | {name: "other"})
    if when == "late":  # nobody is there to be asked
        monkeypatch.setattr(distributed.Client, "run", lambda *_, **__: {})
    with pytest.raises(RuntimeError, match=rf"the worker tcp://\S+ cannot make .+ runs: {said}$"):
        sweep(lambda seed: (tmp_path / "log").touch(), {"a": {}}, (0,))
    assert not (tmp_path / "log").exists()
    assert ("has no workers yet; the runs wait for one" in capsys.readouterr().out) == (
        when == "late"
    )


def test_a_worker_of_several_threads_is_named():
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=4))
    said = cluster.difference(environment.versions(), (), worker)
    assert said == "it makes 4 runs at once; start it with --nthreads 1"


def test_what_cannot_be_sent_compared_or_imported_is_named(address, monkeypatch):
    lock = threading.Lock()
    with pytest.raises(TypeError, match=r"cannot be sent to a worker: cannot pickle '_thread.lock"):
        sweep(lambda seed: {"value": lock}, {"a": {}}, (0,))
    monkeypatch.setattr(cluster, "imported_hashes", lambda: None)
    with pytest.raises(RuntimeError, match="restart the kernel"):
        sweep(lambda seed: {}, {"a": {}}, (0,))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match="pip install -e"):
        sweep(lambda seed: {}, {"a": {}}, (0,))


def test_an_unchanged_notebook_in_a_real_kernel(address, tmp_path):
    sources = [
        "import os\nfrom shared.experiments import show_table, sweep",
        "class Line:\n    slope = 2\ndef double(x):\n    return Line.slope * x",
        "def run_one(seed):\n    return {'v': double(seed), 'away': os.getpid() != HOME}",
        "HOME = os.getpid()\nrows = sweep(run_one, {'a': {}}, (1, 2))",
        "print([(row['v'], row['away']) for row in rows])",
    ]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in sources])
    environ = {**os.environ, "COURSE_BUILD": str(tmp_path / "build")}
    client = NotebookClient(nb, resources={"metadata": {"path": str(tmp_path)}})
    with client.setup_kernel(env=environ):
        for number, cell in enumerate(nb.cells):
            client.execute_cell(cell, number)
    assert [output.text for cell in nb.cells for output in cell.outputs] == [
        "[(2, True), (4, True)]\n"
    ]


# Last, since a worker that starts again imports torch again.


def test_killed_workers_lose_and_double_no_run(address, kernel, tmp_path):
    body = f"""
    import pathlib
    folder = pathlib.Path({str(tmp_path)!r})
    mine, other = folder / f"at{{seed}}", folder / f"at{{1 - seed}}"
    kept = lambda: len(list(folder.glob("build/sweeps/*.joblib")))
    if seed < 2 and not mine.exists():  # both workers die, once four runs are kept
        mine.touch()
        end = time.monotonic() + 20
        while not (other.exists() and kept() == 4) and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), {int(KILL)})
    time.sleep(0.3)  # long enough for both workers to take part
    return {{"value": seed}}
    """
    before = pids(address)
    rows = kernel().run(*cells(tmp_path / "log", body, (2, 3, 4, 5, 0, 1)))
    assert values(rows) == [("a", seed, seed) for seed in (2, 3, 4, 5, 0, 1)]
    assert len(list((tmp_path / "build" / "sweeps").iterdir())) == 6
    log = (tmp_path / "log").read_text().split()
    assert sorted(log) == ["0", "0", "1", "1", "2", "3", "4", "5"]
    wait_for(lambda: len(pids(address)) == 2)
    assert not before & pids(address)


def test_a_run_that_kills_its_workers_is_named(address):
    def allow(failures, dask_scheduler=None):
        dask_scheduler.allowed_failures = failures

    with distributed.Client(address, set_as_default=False) as client:
        client.run_on_scheduler(allow, 0)
        try:
            with pytest.raises(
                RuntimeError, match="lost the run of setting 'big' with seed 7: Att"
            ):
                sweep(lambda seed: os.kill(os.getpid(), KILL), {"big": {}}, (7,))
        finally:
            client.run_on_scheduler(allow, 3)
