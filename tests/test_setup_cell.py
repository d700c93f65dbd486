"""The set-up cell, as a lone notebook on a strange machine meets it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

from tools.notebook_state import ROOT

CELL = ROOT / "tools" / "setup_cell.py"
# Runs the cell twice in one process, as a kernel would, with a stand-in for Colab's module.
DRIVER = """
import json, sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
from importlib.metadata import version
kept = ("numpy", "torch", "torchvision")
before = {name: version(name) for name in kept}
cell = open(sys.argv[1], encoding="utf-8").read()
exec(compile(cell, "cell", "exec"), {})
import shared, os
clone = os.stat("course").st_mtime_ns
exec(compile(cell, "cell", "exec"), {})
print(json.dumps({
    "untouched": before == {name: version(name) for name in kept},
    "numpy": __import__("numpy").__file__,
    "shared": shared.__file__,
    "second run did nothing": clone == os.stat("course").st_mtime_ns,
}))
"""


# Stands in for pip: prints what it was asked to do, and fails where FAIL is set.
PIP = """
import json, os, sys
_, *arguments = sys.argv
at = arguments.index("-c") + 1
constraints = open(arguments[at]).read().split()
arguments[at] = "FILE"
print(json.dumps([arguments, constraints, os.getcwd()]), flush=True)
sys.exit("FAIL" in os.environ)
"""


def git(*arguments: str, cwd: Path) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A git repository of the files of the working tree; the project's own git is only read."""
    target = tmp_path_factory.mktemp("repository")
    listed = git("ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.endswith(".ipynb"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    git("init", "--quiet", "--initial-branch=main", cwd=target)
    git("add", "--all", cwd=target)
    git("commit", "--quiet", "--message=copy", cwd=target)
    return target


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Path:
    """The Python of a fresh environment that sees today's packages, but not the collection."""
    folder = tmp_path_factory.mktemp("machine") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # Python 3.10 and 3.11 bring an old setuptools, which would hide the one among the packages.
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "setuptools"], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout
    here = sysconfig.get_path("purelib")  # as a plain path: its own .pth files are not followed
    Path(site.strip(), "packages.pth").write_text(here + "\n", encoding="utf-8")
    return python


def run(python: Path, cwd: Path, *arguments: str, **environment: str):
    kept = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COURSE_REPO", "COURSE_REF")
    }
    # An offline stand-in for pip's isolated build: setuptools comes from the packages we see.
    kept |= {
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    command = [str(python), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=kept | environment)


@pytest.mark.install
def test_lone_notebook_installs_the_collection(repository, machine, tmp_path):
    done = run(
        machine, tmp_path, "-c", DRIVER, str(CELL), COURSE_REPO=str(repository), COURSE_REF="main"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["untouched"] and result["second run did nothing"]
    assert Path(result["shared"]) == tmp_path / "course" / "shared" / "__init__.py"
    assert Path(result["numpy"]).is_relative_to(sysconfig.get_path("purelib"))
    assert [path.name for path in tmp_path.iterdir()] == ["course"]


def test_without_a_repository_one_sentence_says_what_to_do(tmp_path):
    done = run(Path(sys.executable), tmp_path, "-I", "-S", str(CELL))
    assert done.returncode == 1
    assert "set COURSE_REPO to the address of this collection" in done.stderr


def test_does_nothing_where_the_collection_is_installed(tmp_path):
    done = run(Path(sys.executable), tmp_path, str(CELL), COURSE_REPO="nowhere")
    assert done.returncode == 0 and not done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_a_clone_that_is_there_is_used(tmp_path):
    there = tmp_path / "course" / "tools"
    there.mkdir(parents=True)
    (there / "install_here.py").write_text("print('installing from', __file__)")
    done = run(Path(sys.executable), tmp_path, "-I", "-S", str(CELL), COURSE_REPO="nowhere")
    assert done.returncode == 0 and "installing from" in done.stdout


def test_the_branch_asked_for_is_fetched_without_its_history(tmp_path):
    repository, script = tmp_path / "repository", tmp_path / "repository/tools/install_here.py"
    script.parent.mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", cwd=repository)
    for branch in ("main", "v2"):
        script.write_text(f"print({branch!r})", encoding="utf-8")
        git("checkout", "--quiet", "-B", branch, cwd=repository)
        git("add", "--all", cwd=repository)
        git("commit", "--quiet", f"--message={branch}", cwd=repository)
    for folder, chosen in {"main": {}, "v2": {"COURSE_REF": "v2"}}.items():
        (tmp_path / folder).mkdir()
        chosen["COURSE_REPO"] = repository.as_uri()
        done = run(Path(sys.executable), tmp_path / folder, "-I", "-S", str(CELL), **chosen)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{folder}\n", "")
        commits = git("rev-list", "--count", "HEAD", cwd=tmp_path / folder / "course")
        assert commits == "1\n"


@pytest.mark.install
def test_pip_is_asked_to_keep_what_is_there(machine, tmp_path):
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()  # else the real one goes first
    (tmp_path / "pip" / "__main__.py").write_text(PIP, encoding="utf-8")
    before = sorted(ROOT.iterdir())
    script, found = str(ROOT / "tools" / "install_here.py"), {"PYTHONPATH": str(tmp_path)}
    done = run(machine, tmp_path, script, **found)
    assert done.returncode == 0, done.stderr
    arguments, constraints, folder = json.loads(done.stdout)
    assert arguments == ["install", "--quiet", "-c", "FILE", "-r", "requirements.txt"]
    assert constraints == [f"{name}=={version(name)}" for name in ("numpy", "torch", "torchvision")]
    assert Path(folder) == ROOT and sorted(ROOT.iterdir()) == before
    done = run(machine, tmp_path, script, **found, FAIL="1")
    assert done.returncode == 1
    assert f"could not install the collection beside {', '.join(constraints)}." in done.stderr


def test_is_short_and_a_form():
    lines = CELL.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 12 and lines[0].startswith("# @title Set-up: ")
