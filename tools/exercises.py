"""Write a learner's copy of every notebook with exercises: build/exercises/<folder>/<notebook>.

The notebooks are the only source. In a copy the quoted functions tagged `exercise` have lost their
bodies; hints, made from the code itself, are folded below each. A copy that a learner has changed
is never written again.
"""

import argparse
import ast
import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_markdown_cell

from shared.environment import build_folder
from tools.check_notebooks import CHECK
from tools.hints import blank, hints
from tools.needed_cells import needed
from tools.notebook_state import ROOT, find_notebooks, print_anywhere, save
from tools.sync_cells import FIRST_LINE

SECTION = re.compile(r"^## Exercises", re.MULTILINE)
NUMBER = re.compile(r"^(?:\*\*)?(\d+)\.", re.MULTILINE)
JUDGES = re.compile(CHECK.pattern + r"|^\s*check_\w+\(", re.MULTILINE)
TRAINS = re.compile(r"(?<![.\w])(?<!def )(sweep|fit)\(")  # what a learner would wait for
FEWEST_CHECKS = 2  # cells that judge one exercise, where there are as many


@dataclass(frozen=True)
class Exercise:
    """Something to write: the cell's id, its name, and the ids of the cells that judge it.

    A quoted function is judged by cells below it, a starter cell at the end of the page by itself.
    """

    cell: str
    name: str
    checks: tuple[str, ...]

    @property
    def is_starter(self) -> bool:
        return self.checks == (self.cell,)


def is_quoted(cell) -> bool:
    return bool(FIRST_LINE.fullmatch(cell.source.partition("\n")[0]))


def sources(nb) -> list[str]:
    """Return the source of each cell, empty for those that are not code."""
    return [cell.source if cell.cell_type == "code" else "" for cell in nb.cells]


def defined(source: str) -> list[str]:
    """Return the functions and classes that a cell defines."""
    tree = ast.parse(TransformerManager().transform_cell(source))  # magics become calls
    return [node.name for node in tree.body if hasattr(node, "name")]


def checks_of(nb, position: int) -> list[int]:
    """Return the positions of the first cells below that judge the functions of this cell.

    A cell judges where it asserts or compares, is no quotation, and needs the exercise but no
    training. These are two, and what follows them under the same heading.
    """
    code, found = sources(nb), []
    for n in range(position + 1, len(nb.cells)):
        cell = nb.cells[n]
        heading = cell.cell_type == "markdown" and re.search("^#", cell.source, re.MULTILINE)
        if SECTION.search(cell.source) or (heading and len(found) >= FEWEST_CHECKS):
            break
        if JUDGES.search(code[n]) and not is_quoted(cell):
            before = needed(code, n)
            if position in before and not any(TRAINS.search(code[k]) for k in [*before, n]):
                found.append(n)
    return found


def starters(nb) -> list[tuple[int, str]]:
    """Return (position, name) of the starter cells in the section Exercises."""
    found, inside, name = [], False, ""
    for n, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            headings = re.findall(r"^## .*", cell.source, re.MULTILINE)
            inside = bool(SECTION.match(headings[-1])) if headings else inside
            numbers = NUMBER.findall(SECTION.split(cell.source)[-1])
            name = f"exercise {numbers[-1]}" if numbers else name
        elif cell.cell_type == "code" and inside and JUDGES.search(cell.source):
            found.append((n, name or f"exercise {len(found) + 1}"))
    return found


def exercises(nb) -> list[Exercise]:
    """Return what there is to write in a notebook, in its order."""
    ids, found = [cell.id for cell in nb.cells], []
    for n, cell in enumerate(nb.cells):
        if cell.cell_type == "code" and "exercise" in cell.metadata.get("tags", []):
            checks = tuple(ids[k] for k in checks_of(nb, n))
            found.append(Exercise(cell.id, ", ".join(defined(cell.source)), checks))
    return found + [Exercise(ids[n], name, (ids[n],)) for n, name in starters(nb)]


def mark(text: str) -> str:
    """Return a short hash of a cell's text; spaces at the ends of lines do not count."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def marks(nb) -> dict[str, str]:
    """Return {cell id: hash of its text}."""
    return {cell.id: mark(cell.source) for cell in nb.cells}


def link(target: Path, folder: Path) -> str:
    """Return the address of a file as seen from a folder."""
    try:
        return Path(os.path.relpath(target, folder)).as_posix()
    except ValueError:  # another drive, on Windows
        return target.as_uri()


def section_above(nb, cell: str) -> str:
    """Return the address, within a page, of the last heading above a cell."""
    above = nb.cells[: [item.id for item in nb.cells].index(cell)]
    text = "\n".join(item.source for item in above if item.cell_type == "markdown")
    headings = re.findall(r"^#+ (.+)", text, re.MULTILINE)
    return (
        "#" + quote(re.sub(r"\s+", "-", headings[-1].strip().replace("`", ""))) if headings else ""
    )


def links(path: Path, copy: Path, section: str) -> str:
    """Return the solution's links: the notebook, and its page where there is one."""
    page = copy.parents[2] / path.parent.name / f"{path.stem}.html"
    found = [f"[{path.name}]({link(path, copy.parent)}{section})"]
    if page.exists():
        found.append(f"[its page]({link(page, copy.parent)}{section})")
    return ", ".join(found)


def make_copy(path: Path, copy: Path):
    """Return the learner's notebook for `path`, to lie at `copy`; None without exercises."""
    nb = nbformat.read(path, 4)
    version = mark("".join(f"{cell.id} {cell.source}" for cell in nb.cells))
    todo = {exercise.cell: exercise for exercise in exercises(nb)}
    if all(exercise.is_starter for exercise in todo.values()):
        return None
    name = path.relative_to(path.parents[1]).as_posix()
    sections, cells = {cell: section_above(nb, cell) for cell in todo}, []
    for cell in nb.cells:
        cells.append(cell)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
        if cell.id in todo and not todo[cell.id].is_starter:
            text = hints(cell.source, links(path, copy, sections[cell.id]))
            cell.source = blank(cell.source)
            cells.append(new_markdown_cell(text, id=f"hints-{cell.id}"[:64]))
    written = ", ".join(f"`{e.name}`" for e in todo.values() if not e.is_starter)
    note = (
        f"*A copy to work in. To write: {written}, and the exercises at the end. "
        f"`make check NOTEBOOK={path.stem}` says what is right. What you write stays.*"
    )
    cells.insert(1, new_markdown_cell(note, id="a-copy-to-work-in"))
    nb.cells = cells
    nb.metadata.pop("widgets", None)
    nb.metadata.pop("course", None)
    nb.metadata["exercises"] = {"notebook": name, "version": version, "given": marks(nb)}
    return nb


def read_copy(copy: Path):
    """Return a learner's copy.

    Raises: ValueError, in one sentence, where the file is damaged or no such copy.
    """
    try:
        nb = nbformat.reads(copy.read_text(encoding="utf-8"), 4)
        marks(nb)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{copy.name} cannot be read ({error})") from None
    except Exception:  # nbformat has a dozen ways to say so
        raise ValueError(
            f"{copy.name} is damaged: no notebook, or one without its cells' ids"
        ) from None
    kept = nb.metadata.get("exercises", {})
    if not {"notebook", "version", "given"} <= set(kept):
        raise ValueError(f"{copy.name} is no learner's copy; `make exercises` writes those")
    return nb


def is_edited(nb) -> bool:
    """Say whether a learner has changed, added or removed a cell of a copy."""
    return marks(nb) != nb.metadata["exercises"]["given"]


def write_copy(path: Path, copy: Path) -> str:
    """Write the copy unless a learner's work is in it; return what was done, in a few words."""
    fresh = make_copy(path, copy)
    if fresh is None:
        return ""
    if not copy.exists():
        save_copy(fresh, copy)
        return "written"
    try:
        old = read_copy(copy)
    except ValueError as error:
        return f"kept as it is: {error}"
    then, now = old.metadata["exercises"], fresh.metadata["exercises"]
    if is_edited(old):
        renewed = "; the notebook has a new version, rename this copy to get it"
        return "kept: has your edits" + renewed * (then["version"] != now["version"])
    if then == now:
        return "up to date"
    save_copy(fresh, copy)
    return "written anew" + ": the notebook has a new version" * (then["version"] != now["version"])


def save_copy(nb, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    save(nb, copy)


def main() -> int:
    print_anywhere()
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    folder, count = build_folder() / "exercises", 0
    for path in find_notebooks():
        copy = folder / path.parent.name / path.name
        try:
            done = write_copy(path, copy)
        except OSError as error:
            print(f"{copy} cannot be written: {error.strerror}")
            return 1
        if done:
            count += 1
            print(f"{copy.relative_to(folder).as_posix():<62} {done}")
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    print(f"{count} notebooks with exercises in {shown}; `make lab` opens them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
