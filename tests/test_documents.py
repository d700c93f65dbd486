"""What the documents promise: their commands are there, their links lead somewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.environment import ROOT

DOCUMENTS = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "TEACHING.md", "reports/README.md")
] + sorted(ROOT.glob("*/README.md"))
CODE = re.compile(r"```\w*\n(.+?)```|`([^`\n]+)`", re.DOTALL)
RUNS_QUICKLY = {  # so they are run as they stand; the others are asked for their options
    "shared.data list",
    "shared.data verify",
    "tools.doctor",
    "tools.lower_bounds",
    "tools.results check",
}


def code_in(document: Path) -> str:
    """All code of a document, a line each, comments removed."""
    found = CODE.findall(document.read_text("utf-8"))
    lines = "\n".join(block or span for block, span in found).splitlines()
    return "\n".join(line.partition("#")[0].rstrip() for line in lines)


def found(pattern: str) -> list[str]:
    """Everything of this pattern in the code of any document, each once."""
    return sorted({match for path in DOCUMENTS for match in re.findall(pattern, code_in(path))})


def test_the_search_finds_commands():
    assert "make run" in found(r"\bmake [a-z-]+") and len(found(r"-m (?:tools|shared)\.\S+")) > 3


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
@pytest.mark.parametrize("target", found(r"(?<=\bmake )[a-z-]+"))
def test_every_target_of_make_is_there(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", found(r"(?<=-m )(?:tools|shared)\.[\w.]+(?: [\w-]+)*"))
def test_every_command_of_ours_runs_or_knows_its_options(command):
    module, *words = command.split()
    named = ("mnist", "quick", "full", "03_mlp", "02_mlp_moons")  # values, not options
    words = [word for word in words if word not in named]
    if command in RUNS_QUICKLY or module == "shared.data":
        asked = words if command in RUNS_QUICKLY else ["list"]
        done = subprocess.run(
            [sys.executable, "-m", module, *asked], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert set(words) <= {"list", "fetch", "verify", "check"}
        return
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    known = set(re.findall(r"[\w-]+", done.stdout))
    assert set(words) <= known, f"{module} does not know {sorted(set(words) - known)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file(document):
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text("utf-8"))
    links += re.findall(r'(?:href|src)="([^"#]+)"', document.read_text("utf-8"))
    lost = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert lost == []
