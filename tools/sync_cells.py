"""Keep set-up and quoted cells equal to what they repeat (--check by default, or --write).

The first code cell of every notebook is tools/setup_cell.py, folded away. A code cell whose first
line is `# from numpy_layers.py` (beside the notebook) or `# from shared/checks.py` (from the
root) holds definitions of that module, word for word; the names that the cell defines say which,
in the cell's order.
"""

import argparse
import ast
import difflib
import re
import sys
from pathlib import Path

import nbformat

from tools.notebook_state import ROOT, code_cells, find_notebooks, is_setup, print_anywhere, save

FIRST_LINE = re.compile(r"# from (\S+\.py)\s*")
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["setup"]}


def put_setup(nb, root: Path = ROOT) -> bool:
    """Make the first code cell the set-up cell; return whether that changed the notebook."""
    source = (root / "tools" / "setup_cell.py").read_text(encoding="utf-8").strip()
    first = next((n for n, cell in enumerate(nb.cells) if cell.cell_type == "code"), len(nb.cells))
    if not any(is_setup(cell.source) for cell in nb.cells[first : first + 1]):
        nb.cells.insert(first, nbformat.v4.new_code_cell())
    cell = nb.cells[first]
    changed = (cell.source, cell.metadata) != (source, FOLDED)
    cell.source, cell.metadata = source, nbformat.from_dict(FOLDED)
    return changed


def names_of(node: ast.stmt) -> list[str]:
    """Return the names that a top-level def, class or assignment defines, else []."""
    if isinstance(node, ast.Assign):
        leaves = [leaf for target in node.targets for leaf in ast.walk(target)]
        return [
            leaf.id for leaf in leaves if type(leaf) is ast.Name and type(leaf.ctx) is ast.Store
        ]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id]
    return [node.name] if hasattr(node, "name") else []


def definitions(source: str) -> dict[str, str]:
    """Return {name: text}, each with its decorators and the comments directly above."""
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body:
        start = min(item.lineno for item in [node, *getattr(node, "decorator_list", [])]) - 1
        while start and lines[start - 1].startswith("#"):
            start -= 1
        found |= dict.fromkeys(names_of(node), "\n".join(lines[start : node.end_lineno]))
    return found


def quoted(source: str, folder: Path, root: Path = ROOT) -> str:
    """Return what the quoted cell `source` of a notebook in `folder` should be.

    Raises:
        ValueError: The module, or a name that the cell defines, is not there.
    """
    text = source.splitlines()[0].rstrip()
    module = FIRST_LINE.fullmatch(text).group(1)
    path = (root if "/" in module else folder) / module
    if not path.is_file():
        raise ValueError(f"there is no {module}")
    known, after = definitions(path.read_text(encoding="utf-8")), None
    for node in ast.parse(source).body:
        if not names_of(node) or not set(names_of(node)) <= known.keys():
            raise ValueError(f"{module} does not define `{ast.unparse(node).splitlines()[0]}`")
        block = hasattr(node, "body")  # a def or a class: two blank lines around it
        text += "\n\n\n" if after is not None and (block or after) else "\n"
        text, after = text + known[names_of(node)[0]], block
    if after is None:
        raise ValueError(f"it names no definition of {module}")
    return text


def sync(path: Path, write: bool, root: Path = ROOT) -> list[str]:
    """Return a message for each cell that differs; with `write`, refresh it instead."""
    nb, problems = nbformat.read(path, 4), []
    changed = put_setup(nb, root)
    if changed and not write:
        problems.append(f"{path.name}: its first code cell is not tools/setup_cell.py, folded")
    for number, cell in code_cells(nb):
        if not FIRST_LINE.fullmatch(cell.source.partition("\n")[0]):
            continue
        try:
            wanted = quoted(cell.source, path.parent, root)
        except (ValueError, SyntaxError) as error:
            problems.append(f"{path.name}, cell {number}: {error}")
            continue
        if wanted != cell.source and write:
            cell.source, changed = wanted, True
        elif wanted != cell.source:
            names = [name for name, text in definitions(cell.source).items() if text not in wanted]
            diff = difflib.unified_diff(
                cell.source.split("\n"), wanted.split("\n"), n=0, lineterm=""
            )
            what = f"{', '.join(names) or 'the spacing'} differs from {cell.source.split()[2]}"
            problems.append(
                "\n    ".join([f"{path.name}, cell {number}: {what}", *list(diff)[3:9]])
            )
    if changed and write:
        save(nb, path)
    return problems


def main() -> int:
    print_anywhere()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail on a difference (default)")
    parser.add_argument("--write", action="store_true", help="refresh the cells")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all")
    options = parser.parse_args()
    paths = [path.resolve() for path in options.notebooks] or find_notebooks()
    problems = [problem for path in paths for problem in sync(path, options.write)]
    print("\n".join(problems or [f"Set-up and quoted cells of {len(paths)} notebooks agree."]))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
