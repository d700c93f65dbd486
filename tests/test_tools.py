"""The tools: what they refuse, that they name it, and that they leave everything else alone."""

from __future__ import annotations

import ast
import base64
import errno
import io
import json
import os
import re
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
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
    new_raw_cell,
)
from PIL import Image

from shared.source_hash import code_hash, source_hash
from tools import badges, cards, check_notebooks, lower_bounds, run_notebooks, site, sync_cells
from tools.notebook_state import (
    ROOT,
    changed_modules,
    code_of,
    find_notebooks,
    is_setup,
    module_hashes,
    output_problems,
    save,
    write_together,
)

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
    cells[0].metadata.update(sync_cells.FOLDED)
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
    for name in ("tools", "shared"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__py*"))
    ground = tmp_path / "shared" / "environment.py"
    text = ground.read_text(encoding="utf-8")
    ground.write_text(text.replace("assignment1_perceptron_mlp", "demo"), encoding="utf-8")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "targets.toml").write_text("target = []\n", encoding="utf-8")
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
    assert list(module_hashes(nb, project)) == ["demo/__init__.py", "demo/layers.py", "other.py"]
    assert changed_modules(nb, project) == []
    (project / "other.py").write_text("base = 1  # one\n", encoding="utf-8")
    assert changed_modules(nb, project) == []
    (project / "other.py").write_text("base = 2\n", encoding="utf-8")
    assert changed_modules(nb, project) == ["other.py"]


def test_modules_that_come_or_go_have_changed(project, notebook):
    nb = nbformat.read(notebook, 4)
    (project / "other.py").unlink()
    del nb.metadata["course"]["modules"]["demo/layers.py"]
    assert changed_modules(nb, project) == ["demo/layers.py", "other.py"]
    del nb.metadata["course"]  # nothing is known of a notebook that never ran
    assert changed_modules(nb, project) == []


@pytest.mark.parametrize(
    "source",
    [
        "import demo.layers",
        "import demo.layers as used",
        "import os, demo.layers",
        "from demo import layers",
        "from demo.layers import double",
        "def later():\n    from demo.layers import Net",
        "%matplotlib inline\nfrom demo import layers",
    ],
)
def test_imports_of_every_form_are_found(project, source):
    found = module_hashes(make_notebook("import os", source, "import sys"), project)
    assert list(found) == ["demo/__init__.py", "demo/layers.py", "other.py"]


def test_imports_in_a_circle_and_beside_a_module(project):
    module = project / "demo" / "layers.py"
    module.write_text("from demo import layers\nfrom .other import base\n", encoding="utf-8")
    found = module_hashes(make_notebook("import demo.layers"), project)
    assert list(found) == ["demo/__init__.py", "demo/layers.py"]


def test_set_up_cell_and_markdown_do_not_make_outputs_stale(notebook):
    nb = nbformat.read(notebook, 4)
    nb.cells[0].source += " New text."
    nb.cells[1].source = SETUP.replace("(set COURSE_REPO", "(elsewhere")
    nb.cells.append(new_raw_cell("raw (text"))
    assert output_problems(nb) == []
    nb.cells.pop()
    nb.cells[-1].source = "print((2, 4))"
    assert "code cells changed" in output_problems(nb)[0]


def test_magics_and_broken_cells_still_have_a_hash():
    assert code_of(make_notebook("%matplotlib inline\nimport os"))
    assert module_hashes(make_notebook("def f(:"), ROOT) == {}
    one, other = (code_of(make_notebook(source)) for source in ("def f(:", "def g(:"))
    assert code_hash(one) != code_hash(other)


# sync_cells


def test_quotation_is_filled_in_from_stubs(project, notebook):
    nb = nbformat.read(notebook, 4)
    nb.cells[3].source = "# from layers.py\nSCALE = 0\nSHIFT = 0\ndef double(): ...\nclass Net: ..."
    save(nb, notebook)
    assert sync_cells.sync(notebook, True, project) == []
    assert nbformat.read(notebook, 4).cells[3].source == QUOTED
    assert sync_cells.sync(notebook, False, project) == []


def test_a_constant_after_a_function_stands_apart(project):
    source = "# from layers.py\ndef double(): ...\nSCALE = 0"
    wanted = sync_cells.quoted(source, project / "demo", project)
    assert wanted.endswith("return SCALE * x  # here\n\n\n# how much\nSCALE = 2")


def test_definitions_of_every_form_have_their_names():
    (node,) = ast.parse("a, (b, *c) = d[e].f = 1").body
    assert sync_cells.names_of(node) == ["a", "b", "c"]
    assert sync_cells.definitions("# top\nx = 1\n# end") == {"x": "# top\nx = 1"}


def test_equal_cells_leave_the_file_alone(project, notebook):
    notebook.write_text(json.dumps(json.loads(notebook.read_text("utf-8")), indent=2), "utf-8")
    before = notebook.read_bytes()
    assert sync_cells.sync(notebook, True, project) == []
    assert notebook.read_bytes() == before


def test_changed_quotation_is_named_with_a_diff(project, notebook):
    nb = nbformat.read(notebook, 4)
    nb.cells[3].source = QUOTED.replace("SCALE * x", "SCALE + x")
    save(nb, notebook)
    (problem,) = sync_cells.sync(notebook, False, project)
    assert problem.startswith("01_demo.ipynb, cell 4: double differs from layers.py")
    lines = [line.strip() for line in problem.split("\n")]
    assert lines[1:] == ["-    return SCALE + x  # here", "+    return SCALE * x  # here"]


def test_every_quotation_that_differs_is_named(project, notebook):
    nb = nbformat.read(notebook, 4)
    blank = new_code_cell(QUOTED.replace("size = 3", "\n    size = 3"))
    long = new_code_cell("# from layers.py\nclass Net:\n" + "    x = 1\n" * 20)
    nb.cells[3:4] = [new_code_cell("# from gone.py\nx = 1"), blank, long]
    save(nb, notebook)
    first, second, third = sync_cells.sync(notebook, False, project)
    assert first == "01_demo.ipynb, cell 4: there is no gone.py"
    assert second.startswith("01_demo.ipynb, cell 5: Net differs from layers.py")
    assert third.startswith("01_demo.ipynb, cell 6: Net differs") and len(third.split("\n")) == 7
    nb.cells[3:6] = [new_code_cell(QUOTED.replace("2\n", "2\n\n"))]
    save(nb, notebook)
    (problem,) = sync_cells.sync(notebook, False, project)
    assert problem.startswith("01_demo.ipynb, cell 4: the spacing differs from layers.py")


def test_only_the_notebooks_named_are_compared(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(sync_cells, "sync", lambda path, write: seen.append((path, write)) or [])
    monkeypatch.setattr(sys, "argv", ["sync_cells", "--write", str(tmp_path / "a.ipynb")])
    assert sync_cells.main() == 0 and seen == [(tmp_path / "a.ipynb", True)]
    assert capsys.readouterr().out == "Set-up and quoted cells of 1 notebooks agree.\n"


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
    assert (
        sync_cells.quoted(source, project / "demo", project)
        == "# from demo/layers.py\nSHIFT: int = 1"
    )


def test_quotations_are_as_ruff_format_leaves_them(tmp_path):
    save(make_notebook(QUOTED), tmp_path / "a.ipynb")
    ruff = [sys.executable, "-m", "ruff", "format", "--check", "--line-length=100"]
    done = subprocess.run([*ruff, "--isolated", str(tmp_path / "a.ipynb")], capture_output=True)
    assert done.returncode == 0, done.stdout


def test_the_set_up_cell_is_written_folded(project, notebook):
    old = new_code_cell("# Set-up of last year\nos.environ['COURSE_REPO']", id="kept")
    for first in ([old], []):
        nb = nbformat.read(notebook, 4)
        nb.cells[1:2] = first
        save(nb, notebook)
        before = notebook.read_bytes()
        (problem,) = sync_cells.sync(notebook, False, project)
        assert problem == "01_demo.ipynb: its first code cell is not tools/setup_cell.py, folded"
        assert notebook.read_bytes() == before
        assert sync_cells.sync(notebook, True, project) == []
        assert notebook.read_text(encoding="utf-8").endswith("}\n")
        nb = nbformat.read(notebook, 4)
        assert [cell.cell_type for cell in nb.cells] == ["markdown"] + 4 * ["code"]
        assert nb.cells[1].source == SETUP and is_setup(SETUP)
        assert nb.cells[1].id == "kept" or not first
        assert nb.cells[1].metadata == {
            "cellView": "form",
            "jupyter": {"source_hidden": True},
            "tags": ["setup"],
        }
        assert sync_cells.sync(notebook, False, project) == []
        nbformat.validate(nb)


def test_an_unfolded_set_up_cell_is_named(project, notebook):
    nb = nbformat.read(notebook, 4)
    nb.cells[1].metadata.pop("cellView")
    save(nb, notebook)
    assert len(sync_cells.sync(notebook, False, project)) == 1
    nb.cells[1].metadata.update(sync_cells.FOLDED)
    save(nb, notebook)
    assert sync_cells.sync(notebook, False, project) == []
    nb.cells[1].source += "\n# an old one"
    save(nb, notebook)
    assert len(sync_cells.sync(notebook, False, project)) == 1


# check_notebooks: every refusal fires


def test_complete_notebook_passes(project, notebook):
    assert list(check_notebooks.problems(notebook)) == []


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
        output_type="stream", name="stderr", text="a.py:3: look\nUserWarning: old\n"
    ),
    "output on stderr: ": _output(output_type="stream", name="stderr", text="\n"),
    "code cell 4 has count 7": _edit_last(lambda cell: cell.update(execution_count=7)),
    "code cell 4 has count None": _edit_last(lambda cell: cell.update(execution_count=None)),
    "its code cells changed": _edit_last(lambda cell: cell.update(source="print((2, 4))")),
    "not those of a full run": lambda nb: nb.metadata["course"].update(profile="quick"),
    "its outputs are not those": lambda nb: nb.metadata.pop("course"),
    "KB, more than 800": _output(output_type="stream", name="stdout", text="x" * 800_001),
    "kernelspec is not python3": lambda nb: nb.metadata["kernelspec"].update(name="mine"),
    "no cell is tagged": _edit_last(lambda cell: cell.metadata.pop("tags")),
    "cell 5: 41 lines, more than 40": _edit_last(lambda cell: cell.update(source="x = 1\n" * 41)),
    "cell 5: an exercise without a check": _edit_last(
        lambda cell: cell.metadata["tags"].append("exercise")
    ),
    "no cell calls choose_profile": lambda nb: nb.cells[2].update(source="profile = 'quick'"),
}


@pytest.mark.parametrize("room", ["home", "root", "tmp", "work", "Users", "content"])
@pytest.mark.parametrize("where", ["source", "output"])
def test_paths_of_a_machine_are_refused(project, notebook, room, where):
    nb, path = nbformat.read(notebook, 4), f"'/{room}/a.png'"
    if where == "source":
        nb.cells[-1].source = f"open({path})"
    else:
        data = {"text/html": f"<img src={path}>"}
        nb.cells[-1].outputs.append(new_output("display_data", data))
    save(nb, notebook)
    assert any(f"absolute path /{room}/" in said for said in check_notebooks.problems(notebook))


@pytest.mark.parametrize("message", REFUSALS)
def test_refusals(project, notebook, message):
    nb = nbformat.read(notebook, 4)
    REFUSALS[message](nb)
    save(nb, notebook)
    assert any(message in problem for problem in check_notebooks.problems(notebook))


def test_long_prose_forty_lines_and_an_empty_cell_are_allowed(project, notebook):
    nb = nbformat.read(notebook, 4)
    nb.cells[0].source += "\n\nMore." * 41
    nb.cells[-1].source = "\n".join(["x = 1"] * 40)
    nb.cells.insert(3, new_code_cell(" \n"))
    save(seal(nb, project), notebook)
    assert list(check_notebooks.problems(notebook)) == []


@pytest.mark.parametrize("counts", [(2, 3, 4, 5), (2, 1, 3, 4)])
def test_a_run_out_of_order_is_said_once(notebook, counts):
    nb = nbformat.read(notebook, 4)
    for cell, count in zip(nb.cells[1:], counts, strict=True):
        cell.execution_count = count
    save(nb, notebook)
    assert list(check_notebooks.problems(notebook)) == [
        "not run in order from a fresh kernel: code cell 1 has count 2"
    ]


def test_exercises_are_quoted_or_checked(notebook):
    def problems(*cells: str) -> list[str]:
        nb = make_notebook(*cells)
        nb.cells[2].metadata["tags"] = ["exercise"]
        return list(check_notebooks.exercise_problems(nb))

    assert problems("answer = None", "print(answer)", "assert answer") == [
        "cell 3: an exercise without a check"
    ]
    assert problems("answer = None", "assert answer is None") == []
    assert problems("answer = None\nassert answer is None") == []
    assert problems("answer = None", "np.testing.assert_allclose(answer, 1)") == []
    assert problems("answer = None", "np.testing.check(answer)") == []
    assert problems("answer = None", "compare_numbers(answer, 1)") == []
    assert len(problems("answer = None", "print('asserted')  # to_compare_")) == 1
    assert problems(QUOTED, "print(1)") == []


def test_addresses_are_not_absolute_paths(project, notebook):
    nb = nbformat.read(notebook, 4)
    nb.cells[0].source = "[here](https://example.org/home/page), `../home/x`, $C:\\mathbb{R}$"
    save(nb, notebook)
    assert list(check_notebooks.problems(notebook)) == []


def command(tool: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"tools.{tool}", *arguments]


def environment(project, **variables: str) -> dict[str, str]:
    """The variables of a plain shell, in which Python and its kernels find the small project."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("COURSE_", "ONLY", "REPO", "REF"))
    }
    return kept | {"PYTHONPATH": str(project)} | variables


def run_tool(project, tool: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    options = dict(cwd=project, env=environment(project, **variables), encoding="utf-8")
    return subprocess.run(command(tool, *arguments), capture_output=True, **options)


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


def test_only_the_notebooks_named_are_checked(project, notebook, monkeypatch, capsys):
    add(project, "02_new", "x = 1")
    monkeypatch.setattr(check_notebooks, "changed_modules", lambda nb: [])
    monkeypatch.setattr(sys, "argv", ["check_notebooks", str(notebook)])
    assert check_notebooks.main() == 0
    assert capsys.readouterr().out == "Checked 1 notebooks: no problem found.\n"
    monkeypatch.setattr(sys, "argv", ["check_notebooks"])
    monkeypatch.setattr(check_notebooks, "find_notebooks", lambda: [*project.rglob("*.ipynb")])
    assert check_notebooks.main() == 1
    *said, last = capsys.readouterr().out.splitlines()
    assert last == "Checked 2 notebooks: see above."
    assert said and all(line.startswith("demo/02_new.ipynb: ") for line in said)


# badges


def test_badges_are_written_once(project, notebook):
    badges.write("ann/course", "main", project)
    nb = nbformat.read(notebook, 4)
    assert "github/ann/course/blob/main/demo/01_demo.ipynb)" in nb.cells[0].source
    assert nb.cells[0].source.startswith("# Is it so?\n")
    assert nb.cells[0].source.endswith("We shall see.")
    assert '"COURSE_REPO", "https://github.com/ann/course"' in nb.cells[1].source
    assert "01_demo.ipynb" in (project / "demo" / "README.md").read_text(encoding="utf-8")
    assert list(check_notebooks.problems(notebook)) == []
    before = {path: path.read_bytes() for path in project.rglob("*.*") if path.is_file()}
    badges.write("ann/course", "main", project)
    assert {path: path.read_bytes() for path in before} == before
    badges.write("bob/fork", "v2", project)
    text = nbformat.read(notebook, 4).cells[0].source
    assert "bob/fork/blob/v2" in text and "ann" not in text
    setup = nbformat.read(notebook, 4).cells[1].source
    assert '"COURSE_REF", "v2"' in setup and "github.com/bob/fork" in setup
    assert setup + "\n" == (project / "tools" / "setup_cell.py").read_text(encoding="utf-8")


def test_badges_stand_below_the_title(project, notebook):
    colab = "https://colab.research.google.com"

    def badge(name: str) -> str:
        link = f"{colab}/github/ann/a.b/blob/v/2/demo/{name}.ipynb"
        return f"[![Open {name} in Colab]({colab}/assets/colab-badge.svg)]({link})"

    second = notebook.with_name("02_short.ipynb")
    nb = make_notebook("x = 1")
    save(new_notebook(cells=[*nb.cells[1:], new_markdown_cell("# Short")]), second)
    badges.write("ann/a.b", "v/2", project)
    assert nbformat.read(notebook, 4).cells[0].source == (
        f"# Is it so?\n\n<!-- colab -->\n{badge('01_demo')}\n<!-- /colab -->\n\nWe shall see."
    )
    assert nbformat.read(second, 4).cells[-1].source == (
        f"# Short\n\n<!-- colab -->\n{badge('02_short')}\n<!-- /colab -->"
    )
    lines = [f"{badge(name)} {name}  \n" for name in ("01_demo", "02_short")]
    assert (project / "demo" / "README.md").read_text(encoding="utf-8") == (
        f"# Demo\n\n<!-- colab -->\n{''.join(lines)}<!-- /colab -->\n\nOne notebook.\n"
    )


def call_badges(monkeypatch, *arguments: str, **variables: str) -> list[tuple[str, str]]:
    """Return what the command line would write, as (repo, ref)."""
    written = []
    monkeypatch.setattr(badges, "write", lambda *where: written.append(where))
    monkeypatch.setattr(sys, "argv", ["badges", *arguments])
    for name in ("REPO", "REF"):
        monkeypatch.setenv(name, variables.get(name, ""))
    badges.main()
    return written


def test_badges_take_arguments_or_the_environment(monkeypatch):
    assert call_badges(monkeypatch, REPO="ann/course") == [("ann/course", "main")]
    assert call_badges(monkeypatch, REPO="ann/my-course.2", REF="v2") == [("ann/my-course.2", "v2")]
    arguments = ("bob/fork", "--ref=v/3")
    assert call_badges(monkeypatch, *arguments, REPO="ann/course", REF="v2") == [
        ("bob/fork", "v/3")
    ]


@pytest.mark.parametrize("repo", ["", "ann", "ann/course/x", "https://github.com/ann/course"])
def test_badges_refuse_what_is_no_repository(monkeypatch, capsys, repo):
    with pytest.raises(SystemExit, match="2"):
        call_badges(monkeypatch, repo)
    assert "it must be owner/name" in capsys.readouterr().err


def test_badges_refuse_what_is_no_branch(monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        call_badges(monkeypatch, REPO="ann/course", REF='main"; touch harm')
    assert "it must be a branch or tag" in capsys.readouterr().err


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
    row = runs["demo/01_demo.ipynb"]
    assert row["title"] == "Is it so?" and row["profile"] == "quick"
    assert row["seconds"] == round(row["seconds"], 1) == nb.metadata["course"]["seconds"]
    page = (project / "build" / "index.html").read_text(encoding="utf-8")
    assert page.count('<h3><a href="demo/') == 4 and ">3 failed</span>" in page
    html = (project / "build/demo/02_fails.html").read_text(encoding="utf-8")
    assert 'class="error">' in html and "ZeroDivisionError" in html


def test_a_kernel_gives_figures_and_no_traces_of_earlier_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("OF_OURS", "also")
    prints = "print(1, flush=True)\nprint(2, flush=True)"
    draws = "import matplotlib.pyplot as plt\nfrom tqdm import tqdm\n\nplt.plot([*tqdm([1, 2])]);"
    names = ["COURSE_HEADLESS", "COURSE_PROFILE", "OF_OURS"]
    asks = f"import os\nprint(*map(os.environ.get, {names}))"
    nb = new_notebook(cells=[new_code_cell(source) for source in (prints, draws, asks)])
    nb.metadata["widgets"] = {"state": {}}
    nb.cells[0].metadata["execution"] = {"iopub.execute_input": "2020-01-01T00:00:00Z"}
    assert run_notebooks.execute(nb, tmp_path, "quick", "label") == ""
    assert [output.text for output in nb.cells[0].outputs] == ["1\n2\n"]
    assert ["image/png" in output.data for output in nb.cells[1].outputs] == [True]
    assert [output.text for output in nb.cells[2].outputs] == ["1 quick also\n"]
    assert [cell.execution_count for cell in nb.cells] == [1, 2, 3]
    assert [cell.metadata for cell in nb.cells] == 3 * [{}] and "widgets" not in nb.metadata


def test_cells_after_a_failure_lose_their_old_outputs(tmp_path):
    old = [new_output("stream", name="stdout", text="of an earlier run")]
    after = new_code_cell("x = 1", execution_count=2, outputs=old)
    nb = new_notebook(cells=[new_markdown_cell("# A"), new_code_cell("1 / 0"), after])
    problem = run_notebooks.execute(nb, tmp_path, "quick", "label")
    assert problem == "cell 2: ZeroDivisionError: division by zero"
    assert (nb.cells[2].outputs, nb.cells[2].execution_count) == ([], None)


def test_a_kernel_that_does_not_start_is_a_failure(tmp_path, monkeypatch):
    def no_kernel(client, env):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(run_notebooks.NotebookClient, "setup_kernel", no_kernel)
    problem = run_notebooks.execute(new_notebook(), tmp_path, "quick", "label")
    assert problem == "cell 0: RuntimeError: no kernel"


def test_an_interrupted_cell_ends_the_command(tmp_path):
    nb = new_notebook(cells=[new_code_cell("raise KeyboardInterrupt")])
    with pytest.raises(KeyboardInterrupt):
        run_notebooks.execute(nb, tmp_path, "quick", "label")


def test_errors_are_told_in_one_line_of_words():
    assert run_notebooks.in_words(ValueError("so\nand so")) == "ValueError: so"


def test_a_run_is_kept_with_its_modules_and_small_figures(project, notebook, monkeypatch):
    def draw(nb, folder, profile, label):
        assert (folder, profile, label) == (notebook.parent, "quick", "[1/1]")
        file = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(file, "PNG")
        data = {"image/png": base64.b64encode(file.getvalue()).decode()}
        nb.cells[-1].outputs = [new_output("display_data", data)]
        return ""

    def staged(path, profile):
        assert (path, profile) == (notebook, "quick")
        return [dict(id="a1_01.b", unit="s", mean=2.0, std=0, n=1, data="moons")]

    cleared = []
    monkeypatch.setattr(run_notebooks, "execute", draw)
    monkeypatch.setattr(run_notebooks, "clear_staged", lambda *of: cleared.append(of))
    monkeypatch.setattr(run_notebooks, "staged_records", staged)
    monkeypatch.setattr(run_notebooks.state, "module_hashes", lambda nb: {"demo/layers.py": "1"})
    monkeypatch.setattr(cards, "ROOT", project)
    before = notebook.read_bytes()
    run_notebooks.run(notebook, "quick", False, project / "build", "[1/1]")
    assert notebook.read_bytes() == before and cleared == [(notebook, "quick")]
    row = run_notebooks.run(notebook, "quick", True, project / "build", "[1/1]")
    assert (row["error"], row["page"], row["data"]) == ("", "demo/01_demo.html", "moons")
    assert row["seconds"] == round(row["seconds"], 1)
    assert row["headline"] == "b 2 ± 0 s (n = 1)"
    nb = nbformat.read(notebook, 4)
    assert nb.metadata["course"]["modules"] == {"demo/layers.py": "1"}
    assert nb.metadata["course"]["profile"] == "quick"
    assert nb.metadata["course"]["code"] == code_hash(code_of(nb))
    picture = base64.b64decode(nb.cells[-1].outputs[0].data["image/png"])
    assert Image.open(io.BytesIO(picture)).mode == "P"

    # but not where it failed, nor where the file changed meanwhile
    before = notebook.read_bytes()
    monkeypatch.setattr(run_notebooks, "execute", lambda *of: "cell 2: no")
    row = run_notebooks.run(notebook, "quick", True, project / "build", "[1/1]")
    assert row["error"] == "cell 2: no" and notebook.read_bytes() == before
    changed = before + b" "
    monkeypatch.setattr(run_notebooks, "execute", lambda *of: notebook.write_bytes(changed) * "")
    row = run_notebooks.run(notebook, "quick", True, project / "build", "[1/1]")
    assert "changed while it ran" in row["error"] and notebook.read_bytes() == changed


def test_headline_is_the_first_target_or_any_record(monkeypatch):
    monkeypatch.setattr(run_notebooks, "load_targets", lambda: [{"id": "a1_09.test_accuracy"}])
    same = {"mean": 0.98765, "std": 0.0012, "n": 3, "data": "MNIST"}
    loss = {"id": "a1_09.a_loss.late", "unit": "nats", **same}
    target = {"id": "a1_09.test_accuracy", "unit": "fraction", **same}
    assert run_notebooks.headline([]) == {"data": "", "headline": ""}
    figure = run_notebooks.headline([loss, target])
    assert figure == {"data": "MNIST", "headline": "test accuracy 0.9877 ± 0.0012 (n = 3)"}
    text = "a loss.late 0.9877 ± 0.0012 nats (n = 3)"
    assert run_notebooks.headline([loss])["headline"] == text


def recording(metric: str, *values: float) -> str:
    rows = [{"v": value} for value in values]
    return (
        "from shared.records import record\n\n"
        f"record('a1_01.{metric}', {rows}, 'v', data='two ± moons', setting='net', examples=9)"
    )


def test_evidence_moves_only_together_with_its_notebook(project):
    def recorded(name: str) -> list[str] | None:
        file = project / "reports" / "results" / f"a1_{name}.json"
        return [row["id"] for row in json.loads(file.read_text("utf-8"))] if file.exists() else None

    def stored(name: str) -> tuple[bytes, list[str] | None]:
        return (project / "demo" / f"{name}.ipynb").read_bytes(), recorded(name)

    kept = add(project, "01_demo", recording("b", 0.5), recording("a.x", 0.6), recording("a", 1))
    add(project, "02_fails", recording("new", 0.7).replace("1_01", "1_02"), "1 / 0")
    add(project, "03_records_no_more", "x = 1")
    edit = "open('04_edited.ipynb', 'a').write(' ')"
    edited = add(project, "04_edited", recording("new", 0.5).replace("1_01", "1_04"), edit)
    for name in ("01_demo", "02_fails", "03_records_no_more", "04_edited"):
        file = project / "reports" / "results" / f"a1_{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps([{"id": f"a1_{name[:2]}.old"}]), encoding="utf-8")
    left = project / "build" / "results" / "full" / "a1_01.of_a_failed_run.json"
    left.parent.mkdir(parents=True)
    left.write_text(json.dumps({"id": "a1_01.of_a_failed_run"}), encoding="utf-8")
    before = {name: stored(name) for name in ("02_fails", "04_edited")}
    done = run_tool(project, "run_notebooks", "--profile=full", "--in-place")
    assert done.returncode == 1
    assert "FAILED cell 4: ZeroDivisionError" in done.stdout and "left alone" in done.stdout
    assert done.stdout.count("FAILED") == 2

    assert recorded("01_demo") == ["a1_01.a", "a1_01.a.x", "a1_01.b"]
    assert nbformat.read(kept, 4).metadata["course"]["profile"] == "full"
    text = (project / "reports" / "results" / "a1_01_demo.json").read_text(encoding="utf-8")
    assert text.endswith("\n }\n]\n") and "two ± moons" in text
    assert stored("02_fails") == before["02_fails"]
    assert recorded("03_records_no_more") is None
    assert (edited.read_bytes()[:-1], recorded("04_edited")) == before["04_edited"]
    assert not list(project.rglob("*.part"))


def test_files_are_written_together_or_not_at_all(tmp_path, monkeypatch):
    old, gone, new = tmp_path / "old", tmp_path / "gone", tmp_path / "folder" / "new"
    old.write_text("1")
    gone.write_text("2")
    write_bytes, written = Path.write_bytes, []

    def until_the_disk_is_full(path, content):
        write_bytes(path, content[: 0 if written else None])
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", until_the_disk_is_full)
        with pytest.raises(OSError, match="No space"):
            write_together({gone: None, old: "3", new: "4"})
    assert (old.read_text(), gone.read_text()) == ("1", "2")
    assert sorted(tmp_path.rglob("*")) == [new.parent, gone, old]
    other = tmp_path / "another name of the old one"
    os.link(old, other)
    write_together({gone: None, tmp_path / "never": None, old: "3", new: "é\n"})
    assert other.read_text() == "1"  # the file is replaced, not written over
    other.unlink()
    assert old.read_text() == "3" and new.read_bytes() == "é\n".encode()
    assert sorted(tmp_path.rglob("*")) == [new.parent, new, old]


def test_a_notebook_is_written_after_its_evidence(notebook, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(run_notebooks, "staged_records", lambda path, profile: rows)
    monkeypatch.setattr(run_notebooks, "evidence_file", lambda path: tmp_path / "a.json")
    monkeypatch.setattr(run_notebooks.state, "write_together", lambda files: written.append(files))
    nb = nbformat.read(notebook, 4)
    rows = [{"id": "b"}, {"id": "a é"}]
    assert run_notebooks.keep(nb, notebook, notebook.read_bytes(), "full") == ""
    assert list(written[0]) == [tmp_path / "a.json", notebook]
    assert all(text.endswith(("}\n", "]\n")) for text in written[0].values())
    evidence = written[0][tmp_path / "a.json"]
    assert json.loads(evidence) == rows[::-1] and "é" in evidence
    rows.clear()
    run_notebooks.keep(nb, notebook, notebook.read_bytes(), "full")
    run_notebooks.keep(nb, notebook, notebook.read_bytes(), "quick")
    assert written[1][tmp_path / "a.json"] is None and list(written[2]) == [notebook]


def test_a_run_that_cannot_be_kept_says_so(project, notebook, monkeypatch):
    def no_space(files):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_notebooks.state, "write_together", no_space)
    nb, before = nbformat.read(notebook, 4), notebook.read_bytes()
    problem = run_notebooks.keep(nb, notebook, before + b" ", "quick")
    assert problem == "the file changed while it ran and was left alone; run it again"
    problem = run_notebooks.keep(nb, notebook, before, "quick")
    assert problem == "the run cannot be kept: OSError: [Errno 28] No space left on device"


def test_a_page_that_cannot_be_written_does_not_end_the_run(project, notebook):
    add(project, "01_demo", "x = 1")
    add(project, "02_other", recording("b", 0.5, 0.7).replace("a1_01", "a1_02"))
    (project / "build").mkdir()
    (project / "build" / "demo").write_text("a file where a folder should be", encoding="utf-8")
    done = run_tool(project, "run_notebooks", "--in-place", PYTHONIOENCODING="ascii")
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.count("FAILED its page cannot be made: ") == 2
    assert "b 0.6" not in done.stdout and "two ? moons" in done.stdout  # ascii has no ±
    assert not list(project.rglob("*.part"))
    index = (project / "build" / "index.html").read_text(encoding="utf-8")
    assert "02_other" in index and 'href="demo/' not in index and ">2 failed</span>" in index
    assert "its page cannot be made" in index
    assert nbformat.read(notebook, 4).metadata["course"]["profile"] == "quick"


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_full_disk_is_said(project):
    import resource  # here: Windows has none

    add(project, "01_demo", "x = 1")
    done = subprocess.run(
        command("run_notebooks"),
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000)),
    )
    assert done.returncode == 1 and done.stderr == ""
    assert "The site cannot be finished: OSError" in done.stdout  # MathJax is larger
    assert (project / "build" / "index.html").exists() and not list(project.rglob("*.part"))


def test_a_damaged_list_of_runs_starts_afresh(tmp_path, capsys):
    store = tmp_path / "runs.json"
    assert run_notebooks.earlier_rows(store) == {}
    rows = {"demo/01.ipynb": {"sections": []}, "demo/02.ipynb": {"title": "of an older version"}}
    run_notebooks.write_rows(rows, tmp_path)
    assert run_notebooks.earlier_rows(store) == {"demo/01.ipynb": {"sections": []}}
    assert capsys.readouterr().out == ""
    store.write_text(store.read_text()[:-9])
    assert run_notebooks.earlier_rows(store) == {}
    assert capsys.readouterr().out == f"{store} is damaged; the index starts afresh.\n"


def test_a_run_is_due_after_a_failure_or_a_change(notebook, tmp_path, monkeypatch):
    def due(**changes):
        return run_notebooks.is_due(notebook, "quick", row | changes, tmp_path)

    monkeypatch.setattr(run_notebooks, "made_from", lambda code, profile: "1")
    row = {"page": "demo.html", "error": "", "made_from": "1"}
    assert due()  # its page is no longer there
    (tmp_path / "demo.html").touch()
    assert not due()
    assert due(error="cell 2: no") and due(made_from="2") and due(page="")
    assert run_notebooks.is_due(notebook, "quick", {}, tmp_path)


def test_a_second_run_does_only_what_is_due(project):
    def due():
        printed = run_tool(project, "run_notebooks", "--due").stdout
        names = re.findall(r"^\[\d+/\d+\] demo/(\w+)\.ipynb", printed, re.MULTILINE)
        assert f"notebooks that are due: {len(names)};" in printed
        return names

    add(project, "01_demo", "from demo.layers import cache")
    add(project, "02_fails", "1 / 0")
    add(project, "03_other", "x = 1")
    assert due() == ["01_demo", "02_fails", "03_other"]
    assert due() == ["02_fails"]  # what failed is tried again
    add(project, "02_fails", "x = 1")
    (project / "demo" / "layers.py").write_text("def cache():\n    return 2\n", encoding="utf-8")
    assert due() == ["01_demo", "02_fails"]


def test_a_run_is_of_its_cells_modules_data_versions_and_profile(notebook, monkeypatch):
    def made(**changes):
        for name, value in (given | changes).items():
            home = run_notebooks.state if name == "module_hashes" else run_notebooks
            monkeypatch.setattr(home, name, lambda *arguments, value=value: value)
        return run_notebooks.made_from(notebook.read_bytes(), "quick")

    given = {"module_hashes": {"a.py": "1"}, "available_sources": [], "versions": "1"}
    first = made()
    assert first == made() != run_notebooks.made_from(notebook.read_bytes(), "full")
    seen = {made(module_hashes={}), made(available_sources=["MNIST"]), made(versions="2"), first}
    nb = nbformat.read(notebook, 4)
    nb.cells[-1].outputs, nb.cells[-1].execution_count = [], None
    save(nb, notebook)
    assert made() == first
    nb.cells[-1].metadata["tags"] = ["gallery"]
    save(nb, notebook)
    seen.add(made())
    nb.cells[-1] = new_raw_cell(nb.cells[-1].source, metadata=nb.cells[-1].metadata)
    save(nb, notebook)
    seen.add(made())
    nb.cells[0].source = "# Is it not so?"
    save(nb, notebook)
    assert len(seen | {made()}) == 7


def test_what_is_finished_is_kept_where_a_run_is_killed(project):
    add(project, "01_demo", "x = 1")
    add(project, "02_kills", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    assert run_tool(project, "run_notebooks").returncode != 0
    rows = json.loads((project / "build" / "runs.json").read_text(encoding="utf-8"))
    assert list(rows) == ["demo/01_demo.ipynb"]


def test_a_read_only_checkout_has_its_pages_elsewhere(project):
    elsewhere = project / "temporary"
    elsewhere.mkdir()
    add(project, "01_demo", recording("b", 0.5, 0.7))
    build = project / "demo" / "layers.py" / "build"  # a file is no folder
    done = run_tool(project, "run_notebooks", COURSE_BUILD=str(build), TMPDIR=str(elsewhere))
    assert done.returncode == 0 and f"{build} cannot be written" in done.stdout
    assert "b 0.6 ± 0.14 (n = 2)" in done.stdout
    (index,) = elsewhere.glob("*/index.html")
    assert f"Pages: {index}" in done.stdout and not (project / "build").exists()


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("target", ["run", "full", "site", "badges"])
def test_make_hands_values_over_unread(tmp_path, target):
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s|%s|%s" "$ONLY" "$REPO" "$REF"\n', encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / "venv" / "installed").touch()
    odd = """a'b" c; touch harm `touch harm` #"""
    values = [f"{name}={odd}" for name in ("ONLY", "REPO", "REF")]
    plain = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(  # without what a `make test` around this test hands down
        ["make", "-s", target, "VENV=venv", *values],
        cwd=tmp_path,
        env=plain,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "|".join([odd] * 3), done.stderr
    assert not (tmp_path / "harm").exists()


def test_full_runs_only_what_is_stale(project, notebook):
    done = run_tool(project, "run_notebooks", "--profile=full", "--in-place", "--stale")
    assert done.returncode == 0 and "Every stored output is up to date" in done.stdout
    path = add(project, "02_new", "# choose_profile(", "print((2, 3))")
    before = notebook.read_bytes()
    done = run_tool(project, "run_notebooks", "--profile=full", "--in-place", "--stale")
    assert done.returncode == 0 and "[1/1] demo/02_new.ipynb" in done.stdout
    assert notebook.read_bytes() == before
    assert list(check_notebooks.problems(path)) == []


def test_a_full_run_is_due_where_code_or_a_module_changed(project, notebook, monkeypatch):
    state, changed = run_notebooks.state, []
    monkeypatch.setattr(state, "ROOT", project)
    monkeypatch.setattr(state, "find_notebooks", lambda: [notebook])
    monkeypatch.setattr(state, "changed_modules", lambda nb: changed)
    one = {"demo/01_demo.ipynb": notebook}
    assert run_notebooks.choose("", stale=True) == {}
    assert run_notebooks.choose("", stale=False) == run_notebooks.choose("mo/*demo", False) == one
    assert run_notebooks.choose("02", stale=False) == {}
    changed.append("demo/layers.py")
    assert run_notebooks.choose("", stale=True) == one
    assert run_notebooks.choose("02", stale=True) == {}
    changed.clear()
    nb = nbformat.read(notebook, 4)
    nb.cells[-1].source = "pass"
    save(nb, notebook)
    assert run_notebooks.choose("", stale=True) == one


def test_the_index_lists_the_latest_runs_in_order(project, notebook, monkeypatch):
    add(project, "02_other", "x = 1")
    for module in (run_notebooks.state, cards, site):
        monkeypatch.setattr(module, "ROOT", project)
    row = dict(page="", thumbnail="", sections=[], data="", seconds=1.0, error="", headline="")
    row |= dict(profile="quick")
    for first in ("an old title", "a < b & c"):
        rows = {f"demo/{name}.ipynb": row | {"title": name} for name in ("02_other", "01_demo")}
        rows["demo/01_demo.ipynb"]["title"] = first
        run_notebooks.write_index(rows, project / "build", complete=False)
    html = (project / "build" / "index.html").read_text(encoding="utf-8")
    assert "an old title" not in html
    assert 0 < html.index("a &lt; b &amp; c") < html.index(">02_other<")
    kept = json.loads((project / "build" / "runs.json").read_text(encoding="utf-8"))
    assert {name: row["title"] for name, row in kept.items()} == {
        "demo/01_demo.ipynb": "a < b & c",
        "demo/02_other.ipynb": "02_other",
    }
    stored = {"demo/02_other.ipynb": row | {"title": "as it is stored"}}
    monkeypatch.setattr(run_notebooks, "with_stored", lambda rows, build: rows | stored)
    run_notebooks.write_index({}, project / "build")
    html = (project / "build" / "index.html").read_text(encoding="utf-8")
    assert 0 < html.index("a &lt; b &amp; c") < html.index("as it is stored")


def test_one_failure_makes_the_command_fail(monkeypatch, tmp_path, capsys):
    def run(path, profile, in_place, build, label):
        seen.append((path.name, profile, in_place, build, label))
        stored.append([*json.loads((tmp_path / "runs.json").read_text())])
        if interrupted:
            raise KeyboardInterrupt
        error = "cell 2: no" * (path.name == "a")
        return dict(title="t", page="", data="", seconds=1.0, error=error, headline="best 1")

    seen, stored, written, interrupted = [], [], [], []
    chosen = {"demo/a": tmp_path / "a", "demo/b": tmp_path / "b"}
    run_notebooks.write_rows({"demo/c": {"sections": []}}, tmp_path)
    monkeypatch.setattr(run_notebooks, "choose", lambda only, stale: chosen)
    monkeypatch.setattr(run_notebooks, "run", run)
    monkeypatch.setattr(
        run_notebooks, "write_index", lambda rows, *how, **and_how: written.append((how, and_how))
    )
    monkeypatch.setattr(sys, "argv", ["run_notebooks", f"--build={tmp_path}"])
    assert run_notebooks.main() == 1
    assert written == [((tmp_path,), {"complete": True})]
    assert seen == [
        ("a", "quick", False, tmp_path, "[1/2] demo/a"),
        ("b", "quick", False, tmp_path, "[2/2] demo/b"),
    ]
    assert stored == [["demo/c"], ["demo/c", "demo/a"]]  # kept where a run is killed
    printed = capsys.readouterr().out
    assert printed.count("FAILED") == 1 and "1.0  cell 2: no\n" in printed
    assert printed.count("best 1") == 1
    interrupted.append(True)
    assert run_notebooks.main() == 130
    assert "headline figure" not in capsys.readouterr().out  # no table of nothing
    assert written[1] == ((tmp_path,), {"complete": False})  # nobody waits for other pages


def test_an_index_that_cannot_be_written_is_said(monkeypatch, tmp_path, capsys):
    def no_space(rows, build, complete):
        raise OSError(errno.ENOSPC, "No space left on device")

    row = dict(title="t", page="", data="", seconds=1.0, error="", headline="best 1")
    monkeypatch.setattr(run_notebooks, "choose", lambda only, stale: {"demo/01.ipynb": tmp_path})
    monkeypatch.setattr(run_notebooks, "run", lambda *arguments: row)
    monkeypatch.setattr(run_notebooks, "write_index", no_space)
    monkeypatch.setattr(run_notebooks, "build_folder", lambda: tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_notebooks"])
    assert run_notebooks.main() == 1
    printed = capsys.readouterr().out
    assert "best 1" in printed and (tmp_path / "runs.json").exists()
    assert "The site cannot be finished: OSError: [Errno 28] No space left on device" in printed


@pytest.mark.parametrize(
    ("arguments", "asked", "code", "said"),
    [
        (["--only=nowhere"], ("nowhere", False), 1, "No notebook to run."),
        ([], ("of the environment", False), 1, "No notebook to run."),
        (["--only="], ("", False), 0, "No notebook to run."),
        (["--stale", "--only=01"], ("01", True), 0, "Every stored output is up to date."),
    ],
)
def test_unknown_pattern_is_an_error(arguments, asked, code, said, monkeypatch, capsys):
    chosen = []
    monkeypatch.setenv("ONLY", "of the environment")
    monkeypatch.setattr(run_notebooks, "choose", lambda *of: chosen.append(of) or {})
    monkeypatch.setattr(sys, "argv", ["run_notebooks", *arguments])
    assert run_notebooks.main() == code and capsys.readouterr().out == f"{said}\n"
    assert chosen == [asked]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_interrupt_leaves_the_notebook_as_it_was(project):
    flag = project / "started"
    path = add(
        project, "01_demo", f"open({str(flag)!r}, 'w').close()\nimport time", "time.sleep(60)"
    )
    before = path.read_bytes()
    options = dict(cwd=project, env=environment(project), stdout=subprocess.PIPE, text=True)
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command("run_notebooks", "--in-place"), **options
    ) as process:  # also where tests run in the background
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


def test_notebooks_lie_in_packages_and_are_found_in_reading_order(tmp_path):
    for folder in ("b", "a", "loose", "a/deeper"):
        (tmp_path / folder).mkdir(parents=True)
        for number in (3, 1, 4, 2, 5):
            (tmp_path / folder / f"0{number}_x.ipynb").touch()
        if folder != "loose":
            (tmp_path / folder / "__init__.py").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_notebooks(tmp_path)]
    assert found == [f"{folder}/0{number}_x.ipynb" for folder in "ab" for number in range(1, 6)]


def test_figures_get_a_palette_and_photographs_do_not():
    plt.plot([0, 1], label="line")
    figure, photograph = io.BytesIO(), io.BytesIO()
    plt.savefig(figure, format="png")
    plt.close("all")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels[..., 2] = 0  # a photograph without any blue
    Image.fromarray(pixels).save(photograph, "PNG")
    stored = [base64.b64encode(file.getvalue()).decode() for file in (figure, photograph)]
    outputs = [new_output("display_data", {"image/png": png}) for png in stored]
    nb = new_notebook(cells=[new_code_cell("", outputs=outputs)])
    run_notebooks.shrink_figures(nb)
    small, same = (output.data["image/png"] for output in nb.cells[0].outputs)
    assert len(small) < 0.6 * len(stored[0])
    assert Image.open(io.BytesIO(base64.b64decode(small))).mode == "P"
    assert same == stored[1]


# lower_bounds


def test_lowest_versions_are_those_of_the_requirements(tmp_path):
    (tmp_path / "dev.txt").write_text("# tools\npytest>=9\n-r base.txt\nruff >= 0.13  # lint\n")
    (tmp_path / "base.txt").write_text(
        'torch>=2.11,<3\n\ntomli>=2.0,<3; python_version < "3.11"  # reads\n-e .\n'
    )
    assert lower_bounds.lowest(tmp_path / "dev.txt") == [
        "pytest==9",
        "torch==2.11",
        'tomli==2.0; python_version < "3.11"',
        "ruff ==0.13",
    ]
    (tmp_path / "base.txt").write_text("torch\n")
    with pytest.raises(ValueError, match=r"base\.txt: 'torch' has no lower bound"):
        lower_bounds.lowest(tmp_path / "dev.txt")


def test_every_requirement_of_ours_has_a_lower_bound():
    done = subprocess.run(command("lower_bounds"), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert all("==" in line for line in done.stdout.splitlines())
    assert {"numpy", "pytest"} <= {line.partition("==")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(
    ("then", "now", "changed"),
    [
        ({"a.py": "1"}, {"a.py": "1"}, []),
        ({"a.py": "1"}, {"a.py": "2"}, ["a.py"]),
        ({}, {"b.py": "1", "a.py": "1"}, ["a.py", "b.py"]),  # imported since
        ({"a.py": "1"}, {}, ["a.py"]),  # imported no more
        (None, {"a.py": "1"}, []),  # nothing is known of the run
    ],
)
def test_modules_that_come_go_or_change_are_named(monkeypatch, then, now, changed):
    monkeypatch.setattr("tools.notebook_state.module_hashes", lambda nb, root: now)
    nb = new_notebook()
    if then is not None:
        nb.metadata["course"] = {"modules": then}
    assert changed_modules(nb) == changed
