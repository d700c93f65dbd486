"""A sweep runs every setting with every seed once, and never hands out a result that is stale.

A `Kernel` here is an IPython shell as Jupyter starts one; its cells are the notebook.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time

import joblib
import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from traitlets.config import Config

from shared import environment, experiments, source_hash
from shared.experiments import (
    Difference,
    best_value,
    paired_difference,
    show_table,
    summarise,
    sweep,
)


class Kernel:
    """A fresh kernel. `calls` grows by one entry per run that is really made."""

    def __init__(self, monkeypatch):
        self.calls, self.monkeypatch = [], monkeypatch
        quiet = Config({"HistoryManager": {"enabled": False, "hist_file": ":memory:"}})
        self.shell = InteractiveShell(config=quiet, user_ns={"calls": self.calls})

    def run(self, *cells):
        """Execute cells; return what the last one left in `rows`."""
        self.monkeypatch.setattr(experiments, "get_ipython", lambda: self.shell)
        for cell in cells:
            self.shell.run_cell(cell, store_history=True).raise_error()
        return self.shell.user_ns.get("rows")


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    return lambda: Kernel(monkeypatch)


IMPORTS = """
import functools
from dataclasses import dataclass
import numpy as np
import torch
from assignment1_perceptron_mlp import numpy_layers
from shared.experiments import sweep
"""
SWEEP = """
def run_one(seed, **setting):
    calls.append(seed)
    return {"value": float(f(2.0 + seed))}

rows = sweep(run_one, {"only": {}}, (0, 1))
assert [row["value"] for row in rows] == [float(f(2.0)), float(f(3.0))], rows
"""
# Each is a cell before and after an edit, made so that `f` gives another value.
EDITS = {
    "constant": ("A = 2\ndef f(x): return A * x", "A = 3\ndef f(x): return A * x"),
    "partial": (
        "f = functools.partial(pow, exp=2)",
        "f = functools.partial(pow, exp=3)",
    ),
    "closure": (
        "def make(a): return lambda x: a * x\nf = make(2)",
        "def make(a): return lambda x: a * x\nf = make(3)",
    ),
    "closure of a library": ("f = np.poly1d([1, 2])", "f = np.poly1d([1, 3])"),
    "dict of functions": (
        "D = {'g': lambda x: x + 2}\ndef f(x): return D['g'](x)",
        "D = {'g': lambda x: x + 12}\ndef f(x): return D['g'](x)",
    ),
    "list of functions": (
        "L = [abs, np.sqrt]\ndef f(x): return L[0](x)",
        "L = [np.sqrt, abs]\ndef f(x): return L[0](x)",
    ),
    "cached function": (
        "@functools.cache\ndef f(x): return 2 * x",
        "@functools.cache\ndef f(x): return 3 * x",
    ),
    "decorator": (
        "def twice(g): return lambda x: 2 * g(x)\n@twice\ndef f(x): return x",
        "def twice(g): return lambda x: 3 * g(x)\n@twice\ndef f(x): return x",
    ),
    "class attribute": (
        "class M:\n    a = 2\n    def g(self, x): return self.a * x\nf = M().g",
        "class M:\n    a = 3\n    def g(self, x): return self.a * x\nf = M().g",
    ),
    "inherited method": (
        "class B:\n    def g(self, x): return 2 * x\nclass M(B): pass\ndef f(x): return M().g(x)",
        "class B:\n    def g(self, x): return 3 * x\nclass M(B): pass\ndef f(x): return M().g(x)",
    ),
    "static method": (
        "class M:\n    @staticmethod\n    def g(x): return 2 * x\ndef f(x): return M.g(x)",
        "class M:\n    @staticmethod\n    def g(x): return 3 * x\ndef f(x): return M.g(x)",
    ),
    "class method": (
        "class M:\n    @classmethod\n    def g(cls, x): return 2 * x\ndef f(x): return M.g(x)",
        "class M:\n    @classmethod\n    def g(cls, x): return 3 * x\ndef f(x): return M.g(x)",
    ),
    "property": (
        "class M:\n    @property\n    def a(self): return 2\ndef f(x): return M().a * x",
        "class M:\n    @property\n    def a(self): return 3\ndef f(x): return M().a * x",
    ),
    "instance": (
        "class M:\n    def __init__(self, a): self.a = a\nm = M(2)\ndef f(x): return m.a * x",
        "class M:\n    def __init__(self, a): self.a = a\nm = M(3)\ndef f(x): return m.a * x",
    ),
    "callable instance": (
        "class M:\n    def __call__(self, x): return 2 * x\nf = M()",
        "class M:\n    def __call__(self, x): return 3 * x\nf = M()",
    ),
    "dataclass default": (
        "@dataclass\nclass M:\n    a: int = 2\ndef f(x): return M().a * x",
        "@dataclass\nclass M:\n    a: int = 3\ndef f(x): return M().a * x",
    ),
    "metaclass": (
        "class T(type):\n    a = 2\nclass M(metaclass=T): pass\ndef f(x): return M.a * x",
        "class T(type):\n    a = 3\nclass M(metaclass=T): pass\ndef f(x): return M.a * x",
    ),
    "module": (
        "net = torch.nn.Linear(1, 1)\n_ = torch.nn.init.constant_(net.weight, 2.0)\n"
        "_ = torch.nn.init.zeros_(net.bias)\n"
        "def f(x): return net(torch.tensor([[x]])).item()",
        "net = torch.nn.Linear(1, 1)\n_ = torch.nn.init.constant_(net.weight, 3.0)\n"
        "_ = torch.nn.init.zeros_(net.bias)\n"
        "def f(x): return net(torch.tensor([[x]])).item()",
    ),
    "tensor": (
        "t = torch.tensor(2.0)\ndef f(x): return t * x",
        "t = torch.tensor(3.0)\ndef f(x): return t * x",
    ),
    "array": (
        "a = np.arange(3.0)\ndef f(x): return a.sum() * x",
        "a = np.arange(4.0)\ndef f(x): return a.sum() * x",
    ),
    "ufunc": (
        "g = np.exp\ndef f(x): return g(x)",
        "g = np.log\ndef f(x): return g(x)",
    ),
    "imported function": (
        "from math import sin as g\ndef f(x): return g(x)",
        "from math import cos as g\ndef f(x): return g(x)",
    ),
    "function of a project module": (
        "from assignment1_perceptron_mlp.numpy_layers import relu_forward as g\n"
        "def f(x): return g(np.array([-x]))[0][0]",
        "from assignment1_perceptron_mlp.numpy_layers import tanh_forward as g\n"
        "def f(x): return g(np.array([-x]))[0][0]",
    ),
    "swapped attribute of a project module": (
        "numpy_layers.extra = lambda x: 2 * x\ndef f(x): return numpy_layers.extra(x)",
        "numpy_layers.extra = lambda x: 3 * x\ndef f(x): return numpy_layers.extra(x)",
    ),
    "default argument": ("def f(x, a=2): return a * x", "def f(x, a=3): return a * x"),
    "default array": (
        "def f(x, a=np.ones(2)): return a.sum() * x",
        "def f(x, a=np.ones(3)): return a.sum() * x",
    ),
    "keyword default": ("def f(x, *, a=2): return a * x", "def f(x, *, a=3): return a * x"),
    "nested function": (
        "def f(x):\n    def g(y): return 2 * y\n    return g(x)",
        "def f(x):\n    def g(y): return 3 * y\n    return g(x)",
    ),
    "recursion": (
        "def f(x): return x if x < 1 else 2 + f(x - 1)",
        "def f(x): return x if x < 1 else 3 + f(x - 1)",
    ),
    "operator": ("import operator\nf = operator.neg", "import operator\nf = operator.abs"),
    "getattr by name": (
        "name = 'exp'\ndef f(x): return getattr(np, name)(x)",
        "name = 'sqrt'\ndef f(x): return getattr(np, name)(x)",
    ),
    "exec": ("exec('def f(x): return 2 * x')", "exec('def f(x): return 3 * x')"),
    "environment variable": (
        "import os\nos.environ['A_B_C'] = '2'\ndef f(x): return float(os.environ['A_B_C']) * x",
        "import os\nos.environ['A_B_C'] = '3'\ndef f(x): return float(os.environ['A_B_C']) * x",
    ),
    "magic": ("%env A_B_C=2\nimport os\ndef f(x): return float(os.environ['A_B_C']) * x",
              "%env A_B_C=3\nimport os\ndef f(x): return float(os.environ['A_B_C']) * x"),
}  # fmt: skip


@pytest.mark.parametrize("where", ["same kernel", "fresh kernel"])
@pytest.mark.parametrize("name", EDITS)
def test_no_edit_between_two_sweeps_comes_back_stale(kernel, name, where):
    before, after = EDITS[name]
    old = kernel()
    old.run(IMPORTS, before, SWEEP)
    assert len(old.calls) == 2
    new = old if where == "same kernel" else kernel()
    new.run(*([] if new is old else [IMPORTS]), after, SWEEP)  # SWEEP itself compares with f
    assert len(new.calls) == (4 if new is old else 2)


@pytest.mark.parametrize(
    ("make", "change"),
    [
        ("a = np.ones(2)\ndef f(x): return a.sum() * x", "a += 1"),
        ("a = [1]\ndef f(x): return sum(a) * x", "a.append(2)"),
        ("a = {'k': 1}\ndef f(x): return a['k'] * x", "a['k'] = 5"),
        ("t = torch.ones(2)\ndef f(x): return t.sum() * x", "t.mul_(3)"),
        ("class M:\n    a = 1\ndef f(x): return M.a * x", "M.a = 7"),
        ("rng = np.random.default_rng(0)\na = 1\ndef f(x): return a * x", "a = rng.normal()"),
    ],
)
def test_a_change_in_place_is_seen_each_time_it_is_made(kernel, make, change):
    notebook = kernel()
    for _ in range(3):  # the same cell, again and again: the state is another one each time
        notebook.run(*([IMPORTS, make] if not notebook.calls else [change]), SWEEP)
    assert len(notebook.calls) == 6


def test_a_notebook_run_again_makes_no_run_twice(kernel):
    cells = (IMPORTS, "t = torch.ones(3)\ndef f(x): return t.sum() * x", SWEEP, "1 + 1", SWEEP)
    first, again = kernel(), kernel()
    rows = first.run(*cells)
    assert len(first.calls) == 4
    assert again.run(*cells) == rows
    assert again.calls == []
    again.run(cells[-1], cells[-1])  # the running cell once more, and once more
    assert again.calls == []


def test_comments_and_formatting_cost_no_run(kernel):
    first, again = kernel(), kernel()
    first.run(IMPORTS, "def f(x): return 2 * x", SWEEP)
    again.run(IMPORTS + "# more\n", 'def f(x):\n    """Double."""\n    return 2*x  # ok', SWEEP)
    assert again.calls == []


def test_settings_are_told_apart(kernel):
    cell = """
def run_one(seed, g, a=0):
    calls.append(seed)
    return {"value": float(np.sum(g(a)))}

rows = sweep(run_one, SETTINGS, (0,))
values = [row["value"] for row in rows]
"""
    start = IMPORTS + "SETTINGS = {'x': dict(g=lambda a: 1), 'y': dict(g=lambda a: 2)}"
    notebook = kernel()
    notebook.run(start, cell)
    assert notebook.shell.user_ns["values"] == [1, 2]
    notebook.run(start.replace("1)", "3)"), cell)
    assert notebook.shell.user_ns["values"] == [3, 2]
    for a in ("1", "1.0", "True", "'1'", "[1]", "(1,)", "{1: 2}", "None", "np.ones(2)", "{1}"):
        other = kernel()  # equal names, other values
        other.run(IMPORTS + "SETTINGS = None", f"SETTINGS = {{'x': dict(g=len, a={a})}}")
        assert other.calls == []


def test_plain_values_are_text_that_differs():
    values = [1, 1.0, True, "1", [1], (1,), {1: 2}, None, b"1", np.ones(2), np.zeros(2), np.ones(3)]
    values += [np.ones(2, "f4"), np.float32(1), {1: 3}, [1, [2]], [1, 2], {"a": np.ones(1)}]
    values += [{2: 2}, np.ones((1, 2)), np.zeros(5_000), np.eye(5_000)[2_500], [np.zeros(5_000)]]
    values += [np.zeros(2, "i4"), np.zeros(2, "f4"), np.zeros(2, "i8")]  # the same bytes, in part
    values += [[np.eye(5_000)[2_500]]]  # text that leaves out the middle would be equal
    texts = [experiments._plain(value) for value in values]
    assert len(set(texts)) == len(texts)
    assert experiments._plain(lambda: 1) == experiments._plain(lambda: 2) == "function"
    assert experiments._plain([lambda: 1]) == experiments._plain([lambda: 2])
    objects = [np.array([what], dtype=object) for what in (object(), object())]
    assert experiments._plain(objects[0]) == experiments._plain(objects[1])


def test_what_a_setting_is_counts_and_not_how_it_is_written(kernel, monkeypatch):
    cell = "import os\n" + SWEEP.replace("{}", "{'rate': float(os.environ['A_RATE'])}")
    cells, calls = (IMPORTS, "def f(x): return x", cell), []
    for rate in ("0.1", "0.2", "0.1"):
        monkeypatch.setenv("A_RATE", rate)
        notebook = kernel()
        assert [row["rate"] for row in notebook.run(*cells)] == [float(rate)] * 2
        calls.append(len(notebook.calls))
    assert calls == [2, 2, 0]


def test_equal_settings_of_two_names_are_two_runs(kernel):
    cell = """
def run_one(seed):
    calls.append(seed)
    return {"value": len(calls)}

rows = sweep(run_one, {"once": {}, "again": {}}, (0,))
"""
    again = kernel()
    assert [row["value"] for row in kernel().run(IMPORTS, cell)] == [1, 2]
    assert [row["value"] for row in again.run(IMPORTS, cell)] == [1, 2] and again.calls == []


ONE_CELL = IMPORTS + "def f(x): return x\n" + SWEEP


@pytest.mark.parametrize("cell", [ONE_CELL, "%%time\n" + ONE_CELL, ONE_CELL + "\n\n"])
def test_a_single_cell_that_is_run_again_makes_no_run_twice(kernel, cell):
    notebook = kernel()
    notebook.run(cell)
    notebook.run(cell, cell)
    assert len(notebook.calls) == 2


def test_a_cell_that_is_no_python_does_no_harm(kernel, capsys):
    first, again = kernel(), kernel()
    for notebook in (first, again):
        notebook.run(IMPORTS, "def f(x): return x")
        notebook.shell.run_cell("def f(x) return", store_history=True)
        notebook.run(SWEEP)
    assert len(first.calls) == 2 and again.calls == []


def test_the_order_of_cells_counts(kernel):
    start, double, square = "a = 3\ndef f(x): return a * x", "a = 2 * a", "a = a * a"
    first, other = kernel(), kernel()
    first.run(IMPORTS, start, double, square, SWEEP)
    other.run(IMPORTS, start, square, double, SWEEP)  # SWEEP itself compares with f
    assert len(first.calls) == len(other.calls) == 2


@pytest.mark.parametrize("where", ["same kernel", "fresh kernel"])
def test_an_edit_in_the_running_cell_counts(kernel, where):
    def cell(factor):
        return f"""
def run_one(seed):
    calls.append(seed)
    return {{"value": {factor} * seed}}

rows = sweep(run_one, {{"only": {{}}}}, (1,))
"""

    old = kernel()
    assert old.run(IMPORTS, cell(2))[0]["value"] == 2
    new = old if where == "same kernel" else kernel()
    assert new.run(*([] if new is old else [IMPORTS]), cell(3))[0]["value"] == 3


def test_what_a_callback_runs_is_not_kept(kernel):
    values = []
    for slider in (7, 1):  # a widget changes what no cell changed, and trains when none is running
        notebook = kernel()
        notebook.run(IMPORTS, "a = 1\ndef f(x): return a * x", SWEEP)
        notebook.shell.user_ns["a"] = slider
        sweep, run_one = (notebook.shell.user_ns[name] for name in ("sweep", "run_one"))
        values += [row["value"] for row in sweep(run_one, {"only": {}}, (5,))]
    assert values == [49, 7]


def test_only_the_running_cell_keeps_runs(kernel):
    notebook = kernel()
    notebook.shell.user_ns.update(is_running=experiments._is_running, shell=notebook.shell)
    asked = "rows = [is_running(shell, text) for text in ('another()', In[-1], In[-1] + ' ')]"
    assert notebook.run(asked) == [False, True, True]


def test_two_sweeps_in_one_cell_are_two(kernel):
    notebook, again = kernel(), kernel()
    cell = """
values = []
for A in (2, 3):
    def f(x): return A * x
    def run_one(seed):
        calls.append(seed)
        return {"value": f(1)}
    rows = sweep(run_one, {"same name": {}}, (0,))
    values.append(rows[0]["value"])
"""
    notebook.run(IMPORTS, cell)
    assert notebook.shell.user_ns["values"] == [2, 3]
    again.run(IMPORTS, cell)
    assert again.shell.user_ns["values"] == [2, 3] and again.calls == []


def test_an_interrupted_sweep_goes_on_where_it_stopped(kernel):
    cell = """
def run_one(seed):
    calls.append(seed)
    if seed == 2 and len(calls) == 3:
        raise KeyboardInterrupt
    return {"value": seed}

rows = sweep(run_one, {"a": {}}, (0, 1, 2, 3))
"""
    notebook = kernel()
    with pytest.raises(KeyboardInterrupt):
        notebook.run(IMPORTS, cell)
    rows = notebook.run(cell)
    assert notebook.calls == [0, 1, 2, 2, 3]
    assert [row["value"] for row in rows] == [0, 1, 2, 3]


def test_more_seeds_run_only_the_new_ones(kernel):
    first, more = kernel(), kernel()
    seeds = "SEEDS = {'quick': (0, 1), 'full': (0, 1)}"
    cell = SWEEP.replace("(0, 1))", "SEEDS['quick'])").split("assert")[0]
    first.run(IMPORTS, seeds, "def f(x): return x", cell)
    more.run(IMPORTS, seeds, "def f(x): return x", cell)
    assert more.calls == []


A_FACTOR = "factor = [2, 3]\nstream = iter(factor)\nrng = np.random.default_rng(0)"
F_STREAM = "def f(x, a=next(stream)): return a * x"


@pytest.mark.parametrize(
    "check",
    [
        "assert factor == [2, 3], 'a claim'",
        "assert min(factor) < max(factor) and all(a < 4 for a in factor)",
        "print(f'{factor[0]:.2f}', np.mean(factor))",
        "if len(factor) == 2:\n    assert factor[0] == 2\nelse:\n    print('none')",
        "# a remark",
    ],
)
def test_a_claim_may_be_put_right_without_a_run(kernel, check):
    first, again, none = kernel(), kernel(), kernel()
    first.run(IMPORTS, A_FACTOR + "\n" + check, F_STREAM, SWEEP)
    edited = check.replace("assert ", "assert 1 == 1 and ").replace("print(", "print('so', ")
    again.run(IMPORTS, A_FACTOR + "\n" + edited, F_STREAM, SWEEP)
    assert len(first.calls) == 2 and again.calls == []
    if "if" not in check:
        none.run(IMPORTS, A_FACTOR, edited, F_STREAM, SWEEP)  # in a cell of its own
        assert none.calls == []


@pytest.mark.parametrize(
    "check",
    [
        "assert next(stream)",
        "print(list(stream))",
        "assert sum(a for a in stream)",
        "assert (factor := [4])",
        "assert factor.append(5) is None",
        "assert rng.random() < 1",
        "print(rng.random())",
        "print(*map(factor.remove, [2]))",
        "assert all([factor.clear() is None])",
        "for a in factor:\n    print(a)",  # it leaves `a` behind
        "def g(x):\n    assert x",
        "if len(factor) == 2:\n    factor = [3, 3]",
        "if rng.random() < 2:\n    assert factor",
        "def max(x):\n    rng.random()\nassert max(1) is None",
        "assert factor, 'in the middle'\nfactor = [*factor]",
        "factor.reverse()",
    ],
)
def test_a_statement_that_does_more_than_read_counts(kernel, check):
    cells = (IMPORTS, A_FACTOR, check, "def f(x): return x", SWEEP)
    first, again, without = kernel(), kernel(), kernel()
    first.run(*cells)
    again.run(*cells)
    assert again.calls == []
    without.run(*cells[:2], *cells[3:])
    assert len(without.calls) == 2


def test_a_claim_that_stopped_its_cell_does_not_lend_its_runs(kernel):
    cell = "assert {}\nfactor = 3\nprint(factor)"
    stopped, mended = kernel(), kernel()
    stopped.run(IMPORTS, "factor = 2")
    with pytest.raises(AssertionError):
        stopped.run(cell.format("factor == 3"))
    assert stopped.run("def f(x): return factor * x", SWEEP)[0]["value"] == 4
    rows = mended.run(
        IMPORTS, "factor = 2", cell.format("factor == 2"), "def f(x): return factor * x", SWEEP
    )
    assert rows[0]["value"] == 6


def test_profile_versions_data_and_inputs_are_in_the_key(kernel, monkeypatch, tmp_path):
    cells = (IMPORTS, "def f(x): return x", SWEEP)

    def new_runs():
        notebook = kernel()
        notebook.run(*cells)
        return len(notebook.calls)

    assert new_runs() == 2 and new_runs() == 0
    monkeypatch.setenv("COURSE_PROFILE", "full")
    assert new_runs() == 2 and new_runs() == 0
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    assert new_runs() == 0
    monkeypatch.setattr(environment, "versions", lambda: "torch 99")
    assert new_runs() == 2
    monkeypatch.setattr(experiments, "available_sources", lambda: {"mnist": "real"})
    assert new_runs() == 2  # the real data came in: a stand-in's results are not theirs
    monkeypatch.setattr(environment, "_inputs", ["mnist: real"])
    assert new_runs() == 2 and new_runs() == 0


def test_outside_a_cell_nothing_is_kept(kernel, tmp_path):
    calls = []

    def run_one(seed):
        calls.append(seed)
        return {"value": seed}

    for _ in range(2):
        sweep(run_one, {"a": {}}, (0,))
    assert calls == [0, 0] and not (tmp_path / "build" / "sweeps").exists()
    notebook = kernel()
    notebook.run(IMPORTS)  # a widget's callback: the kernel is there, but no cell is running
    sweep(run_one, {"a": {}}, (0,))
    sweep(run_one, {"a": {}}, (0,))
    assert len(calls) == 4


def module_beside(monkeypatch, folder, name, text):
    """Write a module where the notebook lies, so that it can be imported; return its file."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    file = folder / f"{name}.py"
    file.write_text(text)
    return file


def test_a_module_may_run_a_sweep_while_the_cell_imports_it(kernel, monkeypatch, tmp_path):
    text = "from shared.experiments import sweep\n"
    text += "rows = sweep(lambda seed: {'value': seed}, {'a': {}}, (0,))\n"
    module_beside(monkeypatch, tmp_path, "sweep_at_import", text)
    fresh_files(monkeypatch)
    try:
        kernel().run("from sweep_at_import import rows")
        assert len(list((tmp_path / "build" / "sweeps").iterdir())) == 1
    finally:
        sys.modules.pop("sweep_at_import", None)


def test_a_module_edited_during_a_run_keeps_nothing_and_harms_nothing(
    kernel, monkeypatch, tmp_path
):
    module_beside(monkeypatch, tmp_path, "edited_helper", "A = 2\n")
    fresh_files(monkeypatch)
    cell = """
import edited_helper
def run_one(seed):
    open("edited_helper.py", "w").write("A = 30\\n")
    return {"value": edited_helper.A}

rows = sweep(run_one, {"a": {}}, (0,))
"""
    try:
        assert kernel().run(IMPORTS, cell)[0]["value"] == 2
        assert not list((tmp_path / "build").rglob("*.joblib"))
    finally:
        sys.modules.pop("edited_helper", None)


def fresh_files(monkeypatch):
    """Look at the files as a new process would."""
    now = {path: source_hash._version(path) for path in source_hash._ours()}
    monkeypatch.setattr(source_hash, "_at_start", now)
    monkeypatch.setattr(source_hash, "_folders", {path.parent for path in now})


def test_a_module_edited_under_a_running_kernel_is_noticed(kernel, monkeypatch, tmp_path, capsys):
    folder = tmp_path / "beside"
    folder.mkdir()
    text = "def f(x):\n    return 2 * x\n"
    helper = module_beside(monkeypatch, folder, "helper_of_the_reader", text)
    monkeypatch.setattr(environment, "_said", set())
    cells = (IMPORTS, f"from {helper.stem} import f", SWEEP)
    try:
        fresh_files(monkeypatch)
        first = kernel()
        first.run(*cells)
        helper.write_text("def f(x):\n    return 3 * x\n")  # the kernel still runs 2 * x
        first.run("1", SWEEP)
        assert len(first.calls) == 4
        assert "runs are not kept until it restarts" in capsys.readouterr().out
        fresh_files(monkeypatch)
        del sys.modules[helper.stem]
        fresh = kernel()
        fresh.run(*cells)  # compares with the new f
        assert len(fresh.calls) == 2
        again = kernel()
        again.run(*cells)
        assert again.calls == []
    finally:
        sys.modules.pop(helper.stem, None)


def test_a_module_that_comes_in_during_a_run_is_not_in_the_key(kernel, monkeypatch, tmp_path):
    module_beside(monkeypatch, tmp_path, "late_helper", "A = 2\n")
    fresh_files(monkeypatch)
    cell = """
def run_one(seed):
    import late_helper
    calls.append(seed)
    return {"value": late_helper.A}

rows = sweep(run_one, {"a": {}}, (0,))
"""
    try:
        notebook = kernel()
        notebook.run(IMPORTS, cell)
        assert not list((tmp_path / "build").rglob("*.joblib"))
    finally:
        sys.modules.pop("late_helper", None)


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", None])
def test_a_damaged_kept_run_is_made_again(kernel, tmp_path, capsys, monkeypatch, content):
    monkeypatch.setattr(environment, "_said", set())
    cells = (IMPORTS, "def f(x): return x", SWEEP)
    rows = kernel().run(*cells)
    for file in (tmp_path / "build").rglob("*.joblib"):
        file.write_bytes(file.read_bytes()[:-20] if content is None else content)
    again = kernel()
    assert [row["value"] for row in again.run(*cells)] == [row["value"] for row in rows]
    assert len(again.calls) == 2
    printed = capsys.readouterr().out
    assert "is damaged; it is made again" in printed and "Traceback" not in printed


def test_a_file_that_is_no_kept_run_is_not_believed(kernel, tmp_path):
    cells = (IMPORTS, "def f(x): return x", SWEEP)
    kernel().run(*cells)
    for file in (tmp_path / "build").rglob("*.joblib"):
        joblib.dump({"value": 99}, file)
    again = kernel()
    assert [row["value"] for row in again.run(*cells)] == [2, 3] and len(again.calls) == 2


def test_a_folder_that_cannot_be_written_costs_only_the_keeping(kernel, monkeypatch, capsys):
    def full_disk(_, file):
        file.write_bytes(b"half a run")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(environment, "_said", set())
    monkeypatch.setattr(experiments.joblib, "dump", full_disk)
    rows = kernel().run(IMPORTS, "def f(x): return x", SWEEP)
    assert [row["value"] for row in rows] == [2, 3]
    assert capsys.readouterr().out.count("No space left on device") == 1
    assert not list((environment.build_folder() / "sweeps").iterdir())


def test_rows_say_what_when_and_on_what(kernel):
    def run_one(seed, rate):
        return {"value": rate * seed, "curve": np.full(3, seed)}

    rows = sweep(run_one, {"slow": {"rate": 1.0}, "fast": {"rate": 2.0}}, iter((1, 2)))
    assert [(r["setting"], r["seed"], r["rate"], r["value"]) for r in rows] == [
        ("slow", 1, 1.0, 1.0),
        ("slow", 2, 1.0, 2.0),
        ("fast", 1, 2.0, 2.0),
        ("fast", 2, 2.0, 4.0),
    ]
    assert all(0 < row["seconds"] < 10 and row["curve"].shape == (3,) for row in rows)
    made = {"date", "device", "threads"}
    assert all(row["made"].keys() == made and row["made"]["threads"] >= 1 for row in rows)


def test_seconds_that_a_run_measured_itself_come_first():
    (row,) = sweep(lambda seed: {"seconds": 5.0, "made": "by hand"}, {"a": {}}, (0,))
    assert row["seconds"] == 5.0 and row["made"]["threads"] >= 1


def test_kept_rows_keep_their_own_date_and_threads(kernel, monkeypatch):
    cells = (IMPORTS, "def f(x): return x", SWEEP)
    monkeypatch.setattr(environment, "num_threads", lambda: 77)
    kernel().run(*cells)
    monkeypatch.setattr(environment, "num_threads", lambda: 1)
    rows = kernel().run(*cells)
    assert [row["made"]["threads"] for row in rows] == [77, 77]


def test_jobs_give_the_same_rows_and_a_failure_names_its_run(kernel):
    rows = [sweep(square, {"a": {}, "b": {"power": 3}}, (1, 2), n_jobs=n) for n in (1, 2)]
    assert [[row["value"] for row in each] for each in rows] == [[1, 4, 1, 8]] * 2
    with pytest.raises(ZeroDivisionError) as failure:
        sweep(lambda seed: 1 / seed, {"bad": {}}, (0,))
    if sys.version_info >= (3, 11):
        assert failure.value.__notes__ == ["in the run of setting 'bad' with seed 0"]
    with pytest.raises(TypeError, match="run_one returned int; it must return a dict"):
        sweep(lambda seed: seed, {"a": {}}, (0,))


def test_jobs_run_at_once_and_keep_their_places():
    both = threading.Barrier(2)

    def run_one(seed):
        both.wait(timeout=20)  # nobody goes on alone
        time.sleep(0.2 * (seed == 0))  # the first is the last to be ready
        return {"value": seed}

    with joblib.parallel_config(backend="threading"):
        rows = sweep(run_one, {"a": {}}, (0, 1), n_jobs=2)
    assert [row["value"] for row in rows] == [0, 1]


def test_the_bar_counts_kept_runs_too(kernel, monkeypatch):
    class Bar(list):
        def __init__(self, total, disable, **_):
            self.total, self.disable = total, disable
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n=1):
            self.append(n)

    bars, cells = [], (IMPORTS, "def f(x): return x", SWEEP)
    monkeypatch.setattr(experiments, "tqdm", Bar)
    kernel().run(*cells)
    monkeypatch.delenv("TQDM_DISABLE")
    kernel().run(*cells)
    assert [(bar.total, sum(bar), bar.disable) for bar in bars] == [(2, 2, True), (2, 2, False)]


def square(seed, power=2):
    return {"value": seed**power}


def test_refuses_nothing_to_do():
    with pytest.raises(ValueError, match="sweep needs settings and seeds; got 0 and 1"):
        sweep(square, {}, seeds=(0,))
    with pytest.raises(ValueError, match="got 1 and 0"):
        sweep(square, {"a": {}}, seeds=())


def test_in_a_real_kernel_an_unchanged_notebook_makes_no_run_twice(tmp_path):
    cells = [
        "import torch, pandas as pd\nfrom shared.experiments import sweep",
        "values, t = pd.DataFrame({'a': [1.0]}), torch.ones(2, requires_grad=True)",
        "def run_one(seed):\n    open('log', 'a').write('run\\n')\n"
        "    return {'v': float(values.values.sum() * t.sum().item()) + seed}",
        "rows = sweep(run_one, {'a': {}}, (0, 1))\nprint([row['v'] for row in rows])",
    ]
    environ = {**os.environ, "COURSE_BUILD": str(tmp_path / "build"), "TQDM_DISABLE": "1"}
    for _ in range(2):
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        client = NotebookClient(nb, resources={"metadata": {"path": str(tmp_path)}})
        with client.setup_kernel(env=environ):
            for number, cell in enumerate(nb.cells):
                client.execute_cell(cell, number)
        assert nb.cells[-1].outputs[0].text == "[2.0, 3.0]\n"
    assert (tmp_path / "log").read_text() == "run\nrun\n"


def test_importing_the_ground_reads_no_module_first():
    """The files are noted before any module of ours is read, whichever package comes first."""
    code = (
        "import sys, assignment1_perceptron_mlp.numpy_layers\n"
        "names = [n for n in sys.modules if n.startswith(('shared', 'assignment'))]\n"
        "assert names.index('shared.source_hash') < names.index(\n"
        "    'assignment1_perceptron_mlp.numpy_layers'), names"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_summarise():
    rows = [{"setting": "a", "m": m} for m in (1, 2, 3)] + [{"setting": "b", "m": 5}]
    assert summarise(rows, "m") == {"a": (2.0, 1.0, 3), "b": (5.0, 0.0, 1)}
    assert summarise([{"setting": "c", "m": 0.1}] * 3, "m")["c"][1] == 0  # no rounding left over
    for values in ([math.nan, math.nan], [1.0, math.nan]):  # a lost run must not vanish
        assert math.isnan(summarise([{"setting": "a", "m": m} for m in values], "m")["a"][0])
    with pytest.raises(ValueError, match="there is no 'x' in the rows; they have setting, m"):
        summarise(rows, "x")


def test_show_table():
    rows = [{"setting": "a", "seed": i, "val_loss": v} for i, v in enumerate((1.0, 2.0, 3.0))]
    table = show_table([*rows, {"setting": "b", "seed": 0, "val_loss": 5.0}], {"val_loss": ".2f"})
    assert table.loc["a", "val loss"] == "2.00 ± 1.00" and table.loc["b", "val loss"] == "5.00"
    assert list(table["n"]) == [3, 1] and table.index.name == "setting"


def rows_of(**values):
    """Rows of settings a=…, b=… with one value per seed."""
    return [
        {"setting": name, "seed": seed, "m": value}
        for name, found in values.items()
        for seed, value in enumerate(found)
    ]


def test_differences_are_paired_by_seed():
    rows = rows_of(a=[1.0, 11.0, 21.0], b=[0.5, 10.0, 20.0])
    difference = paired_difference(rows[::-1], "m", "a", "b")  # the rows' order does not matter
    assert difference.mean == pytest.approx(2.5 / 3) and difference.n == 3
    assert difference.standard_error == pytest.approx(np.std([0.5, 1, 1], ddof=1) / math.sqrt(3))
    assert difference.decided and str(difference) == "+0.8333 ± 0.1667 (n = 3)"
    assert paired_difference(rows, "m", "b", "a").mean == -difference.mean
    assert paired_difference(rows, "m", "b", "a").decided
    mixed = paired_difference(rows[2::-1] + rows[3:], "m", "a", "b")  # seeds 2, 1, 0 and 0, 1, 2
    assert mixed.standard_error == pytest.approx(difference.standard_error)


@pytest.mark.parametrize(
    ("a", "decided"),
    [([1, 1], False), ([1, 1, 1], True), ([0, 0, 0], False), ([1, -1, 0.1], False)],
)
def test_what_is_decided(a, decided):
    assert paired_difference(rows_of(a=a, b=[0] * len(a)), "m", "a", "b").decided == decided
    one = paired_difference(rows_of(a=[5], b=[0]), "m", "a", "b")
    assert not one.decided and math.isnan(one.standard_error)


def test_two_standard_errors_decide():
    values = np.array([1.0, 2.0, 3.0]) - 2  # standard error 1 / √3
    for shift, decided in ((1.1, False), (1.2, True)):
        rows = rows_of(a=values + shift, b=[0, 0, 0])
        assert paired_difference(rows, "m", "a", "b").decided == decided
    assert Difference(2.0, 1.0, 3).decided and Difference(-2.0, 1.0, 3).decided


def test_pairs_need_equal_seeds():
    with pytest.raises(ValueError, match="need the same seeds"):
        paired_difference(rows_of(a=[1, 2], b=[1]), "m", "a", "b")
    with pytest.raises(ValueError, match="need the same seeds"):
        paired_difference(rows_of(a=[1, 2]), "m", "c", "d")
    shifted = [
        row | {"seed": row["seed"] + (row["setting"] == "b")} for row in rows_of(a=[1, 2], b=[1, 2])
    ]
    with pytest.raises(ValueError, match="need the same seeds"):
        paired_difference(shifted, "m", "a", "b")


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_best_value(monkeypatch, profile):
    monkeypatch.setenv("COURSE_PROFILE", profile)
    rows = [
        {"setting": "s", "seed": seed, "rate": rate, "m": m + seed}
        for rate, m in ((0.3, 2.0), (0.1, 1.0), (0.2, 5.0), (0.15, -3.0), (0.4, math.nan))
        for seed in (0, 1)
    ]
    assert best_value(rows, "m", "rate") == 0.2
    assert best_value(rows, "m", "rate", lowest=True) == 0.15
    edge = [row for row in rows if row["rate"] in (0.1, 0.2, 0.15)]
    if profile == "quick":
        assert best_value(edge, "m", "rate") == 0.2
    else:
        with pytest.raises(AssertionError, match=r"best rate is 0.2, at the edge of \[0.1, 0.15"):
            best_value(edge, "m", "rate")
        with pytest.raises(AssertionError, match="at the edge"):
            best_value([row for row in rows if row["rate"] >= 0.2], "m", "rate")
    # a value that ends in NaN was tried: the best beside it is not at the edge
    assert best_value([row for row in rows if row["rate"] in (0.1, 0.2, 0.4)], "m", "rate") == 0.2
    means = ((0.1, (0.0, 9.0)), (0.2, (6.0, 6.0)), (0.3, (5.0, 5.0)))  # 9 is one lucky seed
    lucky = [{"rate": rate, "m": m} for rate, found in means for m in found]
    assert best_value(lucky, "m", "rate") == 0.2
    with pytest.raises(ValueError, match="there is no 'depth' in the rows"):
        best_value(rows, "m", "depth")
    with pytest.raises(ValueError, match="every mean of 'm' is NaN"):
        best_value(rows_nan(), "m", "seed")


def rows_nan():
    return [{"setting": "a", "seed": seed, "m": math.nan} for seed in (0, 1)]


def test_kept_runs_are_plain_files(kernel, tmp_path):
    kernel().run(IMPORTS, "def f(x): return x", SWEEP)
    files = sorted(path.name for path in (tmp_path / "build" / "sweeps").iterdir())
    assert len(files) == 2 and all(name.endswith(".joblib") for name in files)
    assert json.dumps(files)
