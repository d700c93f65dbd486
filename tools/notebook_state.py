"""What the tools know about notebooks: where they are, what their code is, what they import."""

import ast
import os
import sys
from functools import cache
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from shared.environment import ROOT
from shared.source_hash import code_hash, source_hash


def print_anywhere() -> None:
    """Let a terminal that lacks a character show ? for it, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")


def find_notebooks(root: Path = ROOT) -> list[Path]:
    """Return every notebook that lies in a package of the collection, in reading order."""
    return sorted(path for path in root.glob("*/*.ipynb") if (path.parent / "__init__.py").exists())


def code_cells(nb) -> list[tuple[int, nbformat.NotebookNode]]:
    """Return (number, cell) of each code cell; numbers count all cells, from 1."""
    return [(n, cell) for n, cell in enumerate(nb.cells, 1) if cell.cell_type == "code"]


def is_setup(source: str) -> bool:
    """Say whether this is the set-up cell, the only one that speaks of the collection's address."""
    return "COURSE_REPO" in source


def code_of(nb) -> str:
    """Return the code cells as one plain Python source, without the set-up cell."""
    cells = [cell.source for _, cell in code_cells(nb) if not is_setup(cell.source)]
    return _plain("\n".join(cells))


@cache  # a page is asked for its code several times, and a module is imported by many pages
def _plain(source: str) -> str:
    """Return the source of cells as plain Python."""
    source = TransformerManager().transform_cell(source)  # magics become calls
    try:
        ast.parse(source)
    except SyntaxError:
        return f"broken = {source!r}"  # a bare string would be a docstring, and have no hash
    return source


@cache
def imported(source: str) -> frozenset[str]:
    """Return the dotted names that absolute imports anywhere in `source` may load."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def module_file(name: str, root: Path = ROOT) -> Path | None:
    """Return the file of the collection's module or package `name`; None where it has none."""
    place = root / name.replace(".", "/")
    files = [place.with_name(f"{place.name}.py"), place / "__init__.py"]
    return next((file for file in files if file.is_file()), None)


def module_hashes(nb, root: Path = ROOT) -> dict[str, str]:
    """Return {path: hash} of the collection's modules that the notebook imports, however deep."""
    hashes, seen, waiting = {}, set(), set(imported(code_of(nb)))
    while waiting:
        seen.add(name := waiting.pop())
        if path := module_file(name, root):
            hashes[path.relative_to(root).as_posix()] = source_hash(path)
            waiting |= imported(path.read_text(encoding="utf-8")) - seen
        if package := name.rpartition(".")[0]:  # importing a.b runs a/__init__.py first
            waiting |= {package} - seen
    return dict(sorted(hashes.items()))


def output_problems(nb) -> list[str]:
    """Return why the stored outputs are not those of a full run of the present code cells."""
    course = nb.metadata.get("course", {})
    if course.get("profile") != "full":
        return ["its outputs are not those of a full run; `make full` makes them"]
    if course["code"] != code_hash(code_of(nb)):
        return ["its code cells changed after its outputs were made; `make full` renews them"]
    return []


def changed_modules(nb, root: Path = ROOT) -> list[str]:
    """Return the modules that the notebook imports and that changed since its stored run."""
    now = module_hashes(nb, root)
    then = nb.metadata.get("course", {}).get("modules", now)
    return sorted(path for path in then.keys() | now.keys() if then.get(path) != now.get(path))


def write_together(files: dict[Path, str | None]) -> None:
    """Write these files, or none of them where one cannot be written; None removes a file.

    Each is replaced in one step: it is the old one or the new one, never half of it.
    """
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in files}
    try:
        for path, text in files.items():
            if text is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                parts[path].write_bytes(text.encode("utf-8"))
        for path, text in files.items():
            if text is None:
                path.unlink(missing_ok=True)
            else:
                os.replace(parts[path], path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def save(nb, path: Path) -> None:
    """Write the notebook in one step."""
    write_together({path: nbformat.writes(nb) + "\n"})
