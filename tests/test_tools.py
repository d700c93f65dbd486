"""The tools: what they refuse, that they name it, and that they leave everything else alone."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import badges
import check_notebooks
import run_notebooks
import sync_cells
from notebook_state import (
    ROOT,
    changed_modules,
    code_of,
    find_notebooks,
    module_hashes,
    output_problems,
    save,
)
from shared.source_hash import code_hash, source_hash

SETUP = (ROOT / "tools" / "setup_cell.py").read_text(encoding="utf-8").strip()
MODULE = '''"""A module."""

from functools import cache

from other import base

# how much
SCALE = 2
SHIFT: int = 1


# doubles, and remembers
@cache
def double(x):
    """Twice x."""
    return SCALE * x  # here


class Net:
    """A net."""

    size = 3
'''
QUOTED = """# from layers.py
# how much
SCALE = 2
SHIFT: int = 1


# doubles, and remembers
@cache
def double(x):
    \"\"\"Twice x.\"\"\"
    return SCALE * x  # here


class Net:
    \"\"\"A net.\"\"\"

    size = 3"""


def make_notebook(*sources: str):
    """Return a notebook of these code cells as a full run would store it."""
    cells = [new_code_cell(source) for source in (SETUP, *sources)]
    for count, cell in enumerate(cells, 1):
        cell.execution_count = count
    cells[-1].metadata["tags"] = ["nbval-check-output"]
    cells[-1].outputs = [new_output("stream", name="stdout", text="(2, 3)\n")]
    nb = new_notebook(cells=[new_markdown_cell("# Is it so?\n\nWe shall see."), *cells])
    nb.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python"}
    nb.metadata["kernelspec"]["name"] = "python3"
    return nb


def seal(nb, root: Path):
    """Say in the metadata that the outputs are those of the present code."""
    nb.metadata["course"] = {"profile": "full", "seconds": 1.0, "code": code_hash(code_of(nb))}
    nb.metadata["course"]["modules"] = module_hashes(nb, root)
    return nb


@pytest.fixture
def project(tmp_path):
    """A small project with one package, one module and one notebook that passes every check."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__py*"))
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "README.md").write_text("# Demo\n\nOne notebook.\n", encoding="utf-8")
    (folder / "layers.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "other.py").write_text("base = 1\n", encoding="utf-8")
    profile = "from demo.layers import cache\n\nRUN = choose_profile(quick={}, full={})"
    save(seal(make_notebook(profile, QUOTED, "print((2, 3))"), tmp_path), folder / "01_demo.ipynb")
    return tmp_path


@pytest.fixture
def notebook(project):
    return project / "demo" / "01_demo.ipynb"


# source_hash: what counts as a change


def test_hash_ignores_comments_formatting_and_docstrings():
    plain = "def f(x, y=None):\n    return x + 1\n"
    dressed = (
        '"""Doc."""\n\n\ndef f(\n    x, y=None\n):  # why\n    """Add."""\n    return (x + 1)\n'
    )
    assert code_hash(plain) == code_hash(dressed)


@pytest.mark.parametrize("change", ["x + 2", "x - 1", "f'{x}'", "x + 1.0", "None", "x + True"])
def test_hash_sees_every_change_of_meaning(change):
    assert code_hash("f = lambda x: x + 1") != code_hash(f"f = lambda x: {change}")


def test_hash_is_the_same_for_every_python_version(tmp_path):
    source = (
        "@d\nclass A(B):\n    def f(self, *a: int, k='s') -> str:\n        return f'{a!r:>{k}}'\n"
    )
    path = tmp_path / "a.py"
    path.write_text(source, encoding="utf-8")
    assert source_hash(path) == code_hash(source) == "10a6617899cda8ed"


# notebook_state: what the stored outputs belong to


def test_modules_are_found_however_deep(project, notebook):
    nb = nbformat.read(notebook, 4)
    assert list(module_hashes(nb, project)) == ["demo/layers.py", "other.py"]
    assert changed_modules(nb, project) == []
    (project / "other.py").write_text("base = 1  # one\n", encoding="utf-8")
    assert changed_modules(nb, project) == []
    (project / "other.py").write_text("base = 2\n", encoding="utf-8")
    assert changed_modules(nb, project) == ["other.py"]


def test_set_up_cell_and_markdown_do_not_make_outputs_stale(notebook):
    nb = nbformat.read(notebook, 4)
    nb.cells[0].source += " New text."
    nb.cells[1].source = SETUP.replace('COURSE_REPO = ""', 'COURSE_REPO = "elsewhere"')
    assert output_problems(nb) == []
    nb.cells[-1].source = "print((2, 4))"
    assert "code cells changed" in output_problems(nb)[0]


def test_magics_and_broken_cells_still_have_a_hash():
    assert code_of(make_notebook("%matplotlib inline\nimport os"))
    assert module_hashes(make_notebook("def f(:"), ROOT) == {}


# sync_cells


def test_quotation_is_filled_in_from_stubs(project, notebook):
    nb = nbformat.read(notebook, 4)
    nb.cells[3].source = "# from layers.py\nSCALE = 0\nSHIFT = 0\ndef double(): ...\nclass Net: ..."
    save(nb, notebook)
    assert sync_cells.sync(notebook, True, project) == []
    assert nbformat.read(notebook, 4).cells[3].source == QUOTED
    assert sync_cells.sync(notebook, False, project) == []


def test_equal_cells_leave_the_file_alone(project, notebook):
    before = notebook.read_bytes()
    assert sync_cells.sync(notebook, True, project) == []
    assert notebook.read_bytes() == before


def test_changed_quotation_is_named_with_a_diff(project, notebook):
    nb = nbformat.read(notebook, 4)
    nb.cells[3].source = QUOTED.replace("SCALE * x", "SCALE + x")
    save(nb, notebook)
    (problem,) = sync_cells.sync(notebook, False, project)
    assert problem.startswith("01_demo.ipynb, cell 4: double differs from layers.py")
    assert "-    return SCALE + x" in problem and "+    return SCALE * x" in problem


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("# from layers.py\ndef treble(): ...", "layers.py does not define `def treble():"),
        ("# from layers.py\nimport numpy", "layers.py does not define `import numpy`"),
        ("# from layers.py\n", "it names no definition of layers.py"),
        ("# from nothing.py\nx = 1", "there is no nothing.py"),
        ("# from layers.py\ndef f(:", "invalid syntax"),
    ],
)
def test_impossible_quotation_is_refused(project, notebook, source, message):
    nb = nbformat.read(notebook, 4)
    nb.cells[3].source = source
    save(nb, notebook)
    (problem,) = sync_cells.sync(notebook, False, project)
    assert problem.startswith("01_demo.ipynb, cell 4: ") and message in problem


def test_quotation_from_the_root(project):
    source = "# from demo/layers.py\nSHIFT = 0"
    assert sync_cells.quoted(source, project, project) == "# from demo/layers.py\nSHIFT: int = 1"


def test_quotations_are_as_ruff_format_leaves_them(tmp_path):
    save(make_notebook(QUOTED), tmp_path / "a.ipynb")
    ruff = [sys.executable, "-m", "ruff", "format", "--check", "--line-length=100"]
    done = subprocess.run([*ruff, "--isolated", str(tmp_path / "a.ipynb")], capture_output=True)
    assert done.returncode == 0, done.stdout


# check_notebooks: every refusal fires


def test_complete_notebook_passes(project, notebook):
    assert list(check_notebooks.problems(notebook, project)) == []


def _edit_last(change):
    return lambda nb: change(nb.cells[-1])


def _output(**fields):
    return _edit_last(lambda cell: cell.outputs.append(new_output(**fields)))


REFUSALS = {
    "widget state": lambda nb: nb.metadata.update(widgets={"state": {}}),
    "widget output": _output(
        output_type="display_data", data={"application/vnd.jupyter.widget-view+json": {}}
    ),
    "absolute path /home/": _output(output_type="stream", name="stdout", text="in /home/ann/x.py"),
    "absolute path /tmp/": _edit_last(lambda cell: cell.update(source="open('/tmp/x')")),
    "absolute path C:": _output(
        output_type="execute_result", data={"text/plain": "'C:\\\\Users\\\\ann'"}
    ),
    "error output, ValueError": _output(
        output_type="error", ename="ValueError", evalue="", traceback=[]
    ),
    "output on stderr: UserWarning: old": _output(
        output_type="stream", name="stderr", text="UserWarning: old"
    ),
    "code cell 4 has count 7": _edit_last(lambda cell: cell.update(execution_count=7)),
    "code cell 4 has count None": _edit_last(lambda cell: cell.update(execution_count=None)),
    "its code cells changed": _edit_last(lambda cell: cell.update(source="print((2, 4))")),
    "not those of a full run": lambda nb: nb.metadata["course"].update(profile="quick"),
    "its outputs are not those": lambda nb: nb.metadata.pop("course"),
    "KB, more than 800": _output(output_type="stream", name="stdout", text="x" * 800_001),
    "kernelspec is not python3": lambda nb: nb.metadata["kernelspec"].update(name="mine"),
    "no cell is tagged": _edit_last(lambda cell: cell.metadata.pop("tags")),
    "41 lines, more than 40": _edit_last(lambda cell: cell.update(source="x = 1\n" * 41)),
    "first code cell is not": lambda nb: nb.cells[1].update(source="import os"),
    "no cell calls choose_profile": lambda nb: nb.cells[2].update(source="RUN = None"),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_refusals(project, notebook, message):
    nb = nbformat.read(notebook, 4)
    REFUSALS[message](nb)
    save(nb, notebook)
    assert any(message in problem for problem in check_notebooks.problems(notebook, project))


def test_addresses_are_not_absolute_paths(project, notebook):
    nb = nbformat.read(notebook, 4)
    nb.cells[0].source = "[here](https://example.org/home/page), `../home/x`, $C:\\mathbb{R}$"
    save(nb, notebook)
    assert list(check_notebooks.problems(notebook, project)) == []


def run_tool(project, tool: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(project / "tools" / f"{tool}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=project)


def test_command_lines_exit_codes(project, notebook):
    assert run_tool(project, "check_notebooks").returncode == 0
    assert run_tool(project, "sync_cells", "--check").returncode == 0
    (project / "demo" / "layers.py").write_text(MODULE.replace("SCALE = 2", "SCALE = 3"))
    done = run_tool(project, "check_notebooks")
    assert done.returncode == 0
    assert "warning: changed since its full run: demo/layers.py" in done.stdout
    done = run_tool(project, "sync_cells", "--check")
    assert done.returncode == 1 and "SCALE differs from layers.py" in done.stdout
    nb = nbformat.read(notebook, 4)
    nb.cells[-1].source = "pass"
    save(nb, notebook)
    done = run_tool(project, "check_notebooks")
    assert done.returncode == 1 and "demo/01_demo.ipynb: its code cells changed" in done.stdout


# badges


def test_badges_are_written_once(project, notebook):
    badges.write("ann/course", "main", project)
    nb = nbformat.read(notebook, 4)
    assert "github/ann/course/blob/main/demo/01_demo.ipynb)" in nb.cells[0].source
    assert nb.cells[0].source.startswith("# Is it so?\n")
    assert nb.cells[0].source.endswith("We shall see.")
    assert 'COURSE_REPO = "https://github.com/ann/course"' in nb.cells[1].source
    assert "01_demo.ipynb" in (project / "demo" / "README.md").read_text(encoding="utf-8")
    assert list(check_notebooks.problems(notebook, project)) == []
    before = {path: path.read_bytes() for path in project.rglob("*.*") if path.is_file()}
    badges.write("ann/course", "main", project)
    assert {path: path.read_bytes() for path in before} == before
    badges.write("bob/fork", "v2", project)
    text = nbformat.read(notebook, 4).cells[0].source
    assert "bob/fork/blob/v2" in text and "ann" not in text


@pytest.mark.parametrize("repo", ["", "ann", "ann/course/x", "https://github.com/ann/course"])
def test_badges_refuse_what_is_no_repository(project, repo):
    done = run_tool(project, "badges", repo)
    assert done.returncode == 2 and "it must be owner/name" in done.stderr


# run_notebooks


def add(project, name: str, *sources: str) -> Path:
    path = project / "demo" / f"{name}.ipynb"
    save(make_notebook(*sources), path)
    return path


def test_run_goes_on_after_a_failure_and_names_it(project):
    add(project, "01_demo", "import os\n\nprint(os.environ['COURSE_PROFILE'])\nopen('layers.py')")
    failing = add(project, "02_fails", "x = 1", "x / 0", "x")
    add(project, "03_dies", "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nos._exit(1)")
    edited = add(project, "04_edited", "open('04_edited.ipynb', 'a').write(' ')")
    text = edited.read_text(encoding="utf-8")
    before = failing.read_bytes()
    done = run_tool(project, "run_notebooks", "--in-place")
    assert done.returncode == 1
    assert "02_fails.ipynb" in done.stdout
    assert "FAILED cell 4: ZeroDivisionError: division by zero" in done.stdout
    assert "FAILED cell 3: DeadKernelError" in done.stdout
    assert failing.read_bytes() == before
    assert "FAILED the file changed while it ran" in done.stdout
    assert edited.read_text(encoding="utf-8") == text + " "
    nb = nbformat.read(project / "demo" / "01_demo.ipynb", 4)
    assert nb.metadata["course"]["profile"] == "quick"
    assert nb.cells[2].outputs[0].text == "quick\n"
    assert [cell.execution_count for cell in nb.cells[1:]] == [1, 2]
    runs = json.loads((project / "build" / "runs.json").read_text(encoding="utf-8"))
    assert runs["demo/01_demo.ipynb"]["title"] == "Is it so?"
    page = (project / "build" / "index.html").read_text(encoding="utf-8")
    assert page.count('<a href="demo/') == 4 and "4 notebooks, 3 failed" in page
    assert "ZeroDivisionError" in (project / "build/demo/02_fails.html").read_text(encoding="utf-8")


def test_headline_is_the_first_target_recorded_in_this_run(project, monkeypatch):
    rows = [
        {
            "id": f"a1_09.{name}",
            "mean": 0.98765,
            "std": 0.0012,
            "n": 3,
            "unit": unit,
            "data": "MNIST",
        }
        for name, unit in [("loss", "nats"), ("earlier", "s"), ("test_accuracy", "fraction")]
    ]
    monkeypatch.setattr(run_notebooks, "records_for", lambda path, profile: rows)
    monkeypatch.setattr(run_notebooks, "load_targets", lambda: [{"id": "a1_09.test_accuracy"}])
    nb = make_notebook("x = 1")
    assert run_notebooks.headline(nb, project, "quick") == {"data": "", "headline": ""}
    nb.cells[-1].outputs[0].text = "recorded a1_09.loss: 1\nrecorded a1_09.test_accuracy: 2\n"
    figure = run_notebooks.headline(nb, project, "quick")
    assert figure == {"data": "MNIST", "headline": "test accuracy 0.9877 ± 0.0012 (n = 3)"}
    rows.pop()
    figure = run_notebooks.headline(nb, project, "quick")
    assert figure["headline"] == "loss 0.9877 ± 0.0012 nats (n = 3)"


def test_full_runs_only_what_is_stale(project, notebook):
    done = run_tool(project, "run_notebooks", "--profile=full", "--in-place", "--stale")
    assert done.returncode == 0 and "Every stored output is up to date" in done.stdout
    path = add(project, "02_new", "# choose_profile(", "print((2, 3))")
    before = notebook.read_bytes()
    done = run_tool(project, "run_notebooks", "--profile=full", "--in-place", "--stale")
    assert done.returncode == 0 and "[1/1] demo/02_new.ipynb" in done.stdout
    assert notebook.read_bytes() == before
    assert list(check_notebooks.problems(path, project)) == []


def test_unknown_pattern_is_an_error(project):
    done = run_tool(project, "run_notebooks", "--only", "nowhere")
    assert done.returncode == 1 and "No notebook to run" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_interrupt_leaves_the_notebook_as_it_was(project):
    flag = project / "started"
    path = add(
        project, "01_demo", f"open({str(flag)!r}, 'w').close()\nimport time", "time.sleep(60)"
    )
    before = path.read_bytes()
    command = [sys.executable, str(project / "tools" / "run_notebooks.py"), "--in-place"]
    options = dict(cwd=project, stdout=subprocess.PIPE, text=True)
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, **options) as process:  # also where tests run in the background
        deadline = time.monotonic() + 60
        while not flag.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Interrupted: 0 of 1 notebooks done" in printed
    assert path.read_bytes() == before


def test_every_notebook_of_the_collection_is_found():
    tracked = [path for path in ROOT.glob("*/[0-9][0-9]_*.ipynb")]
    assert find_notebooks() == sorted(tracked)


def test_figures_get_a_palette_and_photographs_do_not():
    plt.plot([0, 1], label="line")
    figure, photograph = io.BytesIO(), io.BytesIO()
    plt.savefig(figure, format="png")
    plt.close("all")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photograph, "PNG")
    stored = [base64.b64encode(file.getvalue()).decode() for file in (figure, photograph)]
    outputs = [new_output("display_data", {"image/png": png}) for png in stored]
    nb = new_notebook(cells=[new_code_cell("", outputs=outputs)])
    run_notebooks.shrink_figures(nb)
    small, same = (output.data["image/png"] for output in nb.cells[0].outputs)
    assert len(small) < 0.6 * len(stored[0])
    assert Image.open(io.BytesIO(base64.b64decode(small))).mode == "P"
    assert same == stored[1]
