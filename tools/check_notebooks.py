"""Check that every stored notebook is complete, made by its present code, and fit to publish."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

from tools.notebook_state import (
    changed_modules,
    code_cells,
    find_notebooks,
    output_problems,
    print_anywhere,
)
from tools.sync_cells import FIRST_LINE

MAX_KILOBYTES, MAX_LINES = 800, 40
CHECK = re.compile(r"\bassert\b|\.testing\.|\bcompare_")
ROOMS = ("home", "root", "tmp", "work", "Users", "content")  # where machines keep people's files
ABSOLUTE = re.compile(rf"(?<![\w./:-])/({'|'.join(ROOMS)})/|\b[A-Z]:\\+(Users|Temp)")


def texts(cell) -> Iterator[str]:
    """Yield the source of a cell and all text that its outputs show."""
    yield cell.source
    for output in cell.get("outputs", []):
        yield output.get("text", "") + "\n".join(output.get("traceback", []))
        yield from (str(v) for kind, v in output.get("data", {}).items() if "text" in kind)


def cell_problems(cell) -> Iterator[str]:
    """Yield what is wrong with one cell."""
    for found in filter(None, map(ABSOLUTE.search, texts(cell))):
        yield f"absolute path {found.group()}…"
    outputs = cell.get("outputs", [])
    for output in outputs:
        if output.output_type == "error":
            yield f"error output, {output.ename}"
        if output.get("name") == "stderr":
            last_line = output.text.strip().rpartition("\n")[2]
            yield f"output on stderr: {last_line[:60]}"
        if any("widget" in kind for kind in output.get("data", {})):
            yield "widget output"
    if cell.cell_type == "code" and len(cell.source.splitlines()) > MAX_LINES:
        yield f"{len(cell.source.splitlines())} lines, more than {MAX_LINES}"


def exercise_problems(nb) -> Iterator[str]:
    """Yield each exercise that is neither quoted nor checked, by itself or by the next cell."""
    cells = code_cells(nb)
    for n, (number, cell) in enumerate(cells):
        text = "\n".join(near.source for _, near in cells[n : n + 2])
        checked = FIRST_LINE.match(cell.source) or CHECK.search(text)
        if "exercise" in cell.metadata.get("tags", []) and not checked:
            yield f"cell {number}: an exercise without a check"


def problems(path: Path) -> Iterator[str]:
    """Yield one line for each thing that is wrong with a notebook."""
    nb = nbformat.read(path, 4)
    cells = [cell for _, cell in code_cells(nb)]
    tags = {tag for cell in cells for tag in cell.metadata.get("tags", [])}
    for number, cell in enumerate(nb.cells, 1):
        yield from (f"cell {number}: {problem}" for problem in cell_problems(cell))
    yield from exercise_problems(nb)
    yield from output_problems(nb)
    counts = [cell.execution_count for cell in cells if cell.source.strip()]
    for wanted, count in enumerate(counts, 1):
        if count != wanted:
            yield f"not run in order from a fresh kernel: code cell {wanted} has count {count}"
            break
    if "widgets" in nb.metadata:
        yield "widget state in its metadata"
    if path.stat().st_size > MAX_KILOBYTES * 1000:
        yield f"{path.stat().st_size // 1000} KB, more than {MAX_KILOBYTES}"
    if nb.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "its kernelspec is not python3"
    if "nbval-check-output" not in tags:
        yield "no cell is tagged nbval-check-output"
    if not any("choose_profile(" in cell.source for cell in cells):
        yield "no cell calls choose_profile"


def main() -> int:
    print_anywhere()
    paths, failed = [Path(name).resolve() for name in sys.argv[1:]] or find_notebooks(), False
    for path in paths:
        for problem in problems(path):
            print(f"{path.parent.name}/{path.name}: {problem}")
            failed = True
        if changed := changed_modules(nbformat.read(path, 4)):
            name = f"{path.parent.name}/{path.name}"
            print(f"{name}: warning: changed since its full run: {', '.join(changed)}")
    print(f"Checked {len(paths)} notebooks: {'see above' if failed else 'no problem found'}.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
