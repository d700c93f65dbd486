"""Say of each exercise in a learner's copy: passes, fails with got and expected, or not written.

An exercise is judged on its own: its cell is the learner's, all others are the notebook's, and of
those only the ones that the check needs are run, in a fresh kernel and the quick profile.
"""

import argparse
import ast
import fnmatch
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from shared.environment import build_folder
from tools.exercises import Exercise, defined, exercises, is_edited, mark, read_copy
from tools.kernel import Failed, Kernel, Stopped
from tools.needed_cells import needed
from tools.notebook_state import ROOT, print_anywhere

SECONDS = 120  # for one exercise
PASSES, FAILS, TO_WRITE = "passes", "fails", "not written"
CHECK_CALL = re.compile(r"(check|compare|assert)_")


def page_of(nb, copy=None) -> dict[str, str]:
    """Return {id: code} of a notebook, with the cells that a learner added in their place.

    Cells that are not code are empty.
    """
    code = {cell.id: cell.source if cell.cell_type == "code" else "" for cell in nb.cells}
    if copy is None:
        return code
    added, after = {}, ""
    for cell in copy.cells:
        if cell.id in code:
            after = cell.id
        elif cell.cell_type == "code" and cell.id not in copy.metadata["exercises"]["given"]:
            added.setdefault(after, {})[cell.id] = cell.source
    page = dict(added.get("", {}))
    for cell, source in code.items():
        page |= {cell: source, **added.get(cell, {})}
    return page


def cells_for(page: dict[str, str], cell: str) -> dict[str, str]:
    """Return {id: code} of the cells that a cell needs, in order, and of itself."""
    ids, sources = list(page), list(page.values())
    target = ids.index(cell)
    return {ids[n]: sources[n] for n in [*needed(sources, target), target]}


def judge_function(kernel: Kernel, page: dict, exercise: Exercise, own: str) -> tuple[str, str]:
    """Return the verdict on `own`, a learner's cell, and a line that explains it."""
    try:
        here = defined(own)
    except SyntaxError as error:
        return FAILS, f"SyntaxError: {error.msg}, in line {error.lineno} of the cell"
    if missing := [name for name in exercise.name.split(", ") if name not in here]:
        return FAILS, f"the cell defines no {' and no '.join(missing)}"
    page = page | {exercise.cell: own}
    try:
        for cell in exercise.checks:  # the second is for those who pass the first
            kernel.cells(cells_for(page, cell), SECONDS)
    except Stopped as error:
        return FAILS, str(error)
    except Failed as error:
        if error.name == "NotImplementedError":
            return TO_WRITE, ""
        ids = list(page)
        before = ids.index(error.cell) < ids.index(exercise.cell)
        return FAILS, "a cell before it fails: " * before + str(error)
    return PASSES, ""


def watched(source: str) -> tuple[str, int]:
    """Return a cell that notes which of its checks it reaches, and how many checks it has."""
    source, checks = TransformerManager().transform_cell(source), []  # magics become calls
    lines = source.encode().splitlines()
    for node in ast.walk(ast.parse(source)):
        calls = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        called = ast.unparse(node.value.func).rpartition(".")[2] if calls else ""
        if isinstance(node, ast.Assert) or CHECK_CALL.match(called):
            checks.append(node)
    checks.sort(key=lambda node: (-node.lineno, -node.col_offset))  # from the end
    for number, node in enumerate(checks):
        line, at = lines[node.lineno - 1], node.col_offset
        lines[node.lineno - 1] = line[:at] + f"_reached.add({number}); ".encode() + line[at:]
    return "_reached = set()\n" + b"\n".join(lines).decode(), len(checks)


def judge_starter(kernel: Kernel, page: dict, exercise: Exercise, own: str) -> tuple[str, str]:
    """Return the verdict on a changed starter cell, which holds its own check.

    It passes where it reaches all of its checks, or more than as it stood, and none fails.
    """

    def reached(source: str) -> tuple[int, int]:
        code, num_checks = watched(source)
        told = page | {exercise.cell: f"{code}\nprint(len(_reached))"}
        printed = kernel.cells(cells_for(told, exercise.cell), SECONDS)
        return int(printed.split()[-1]), num_checks

    try:
        now, num_checks = reached(own)
        if now < num_checks and now <= reached(page[exercise.cell])[0]:
            return TO_WRITE, "changed, but none of its checks is reached yet"
    except SyntaxError as error:
        return FAILS, f"SyntaxError: {error.msg}, in line {error.lineno} of the cell"
    except Stopped as error:
        return FAILS, str(error)
    except Failed as error:
        before = "a cell before it fails: " * (error.cell != exercise.cell)
        return FAILS, before + re.sub(r"_reached\.add\(\d+\); ", "", str(error))
    if not num_checks:
        return FAILS, "the cell has lost its checks"
    return PASSES, "" if now == num_checks else f"{now} of {num_checks} checks"


def verdicts(nb, copy, kernel: Kernel):
    """Yield (exercise, verdict, explanation) for a notebook and its learner's copy."""
    page, given = page_of(nb, copy), copy.metadata["exercises"]["given"]
    own = {cell.id: cell.source for cell in copy.cells}
    for exercise in exercises(nb):
        if exercise.cell not in own:
            yield exercise, FAILS, "its cell is no longer in this copy"
        elif given.get(exercise.cell) == mark(own[exercise.cell]):
            yield exercise, TO_WRITE, ""
        else:
            judge = judge_starter if exercise.is_starter else judge_function
            yield exercise, *judge(kernel, page, exercise, own[exercise.cell])


def check(copy_path: Path) -> int:
    """Print a line for each exercise of a learner's copy; return how many fail.

    Raises: ValueError, in one sentence, where it cannot be judged.
    """
    copy, start = read_copy(copy_path), time.monotonic()
    path = ROOT / copy.metadata["exercises"]["notebook"]
    if not path.is_file():
        raise ValueError(f"{copy_path.name} is a copy of {path.name}, which is no longer there")
    counts = {PASSES: 0, FAILS: 0, TO_WRITE: 0}
    print(copy.metadata["exercises"]["notebook"])
    with Kernel(copy_path.parent) as kernel:
        for exercise, verdict, why in verdicts(nbformat.read(path, 4), copy, kernel):
            counts[verdict] += 1
            print(f"  {exercise.name:<36} {verdict}{': ' if why else ''}{why}", flush=True)
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    print(f"  {said}; {time.monotonic() - start:.0f} seconds")
    return counts[FAILS]


def choose(wanted: str, folder: Path) -> list[Path]:
    """Return the copies that NOTEBOOK means: part of a name, or a file; "" is all with edits.

    Raises: ValueError, in one sentence, where there is none.
    """
    copies = {
        copy.relative_to(folder).as_posix(): copy for copy in sorted(folder.glob("*/*.ipynb"))
    }
    pattern = "*" + wanted.replace("\\", "/") + "*"
    found = [copy for name, copy in copies.items() if fnmatch.fnmatch(name, pattern)]
    if not found and Path(wanted).is_file():
        return [Path(wanted).resolve()]
    if not copies:
        raise ValueError("there are no learner's copies yet; `make exercises` writes them")
    if not found:
        stems = ", ".join(copy.stem for copy in copies.values())
        raise ValueError(f"no learner's copy matches NOTEBOOK={wanted}; there are {stems}")
    if not wanted and not (found := [copy for copy in found if is_edited_file(copy)]):
        raise ValueError("nothing is written yet in any learner's copy; `make lab` opens them")
    return found


def is_edited_file(copy: Path) -> bool:
    """Say whether a file is a copy with a learner's work in it, or cannot be read at all."""
    try:
        return is_edited(read_copy(copy))
    except ValueError:
        return True


def main() -> int:
    print_anywhere()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "notebook",
        nargs="?",
        default=os.environ.get("NOTEBOOK", ""),
        help="part of a copy's path, or a file (default: $NOTEBOOK, else all that are edited)",
    )
    failed = 0
    try:
        for copy in choose(parser.parse_args().notebook, build_folder() / "exercises"):
            failed += check(copy)
    except ValueError as error:
        print(f"Nothing to check: {error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.")
        return 130
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
