"""What the tools know about notebooks: where they are, what their code is, what they import."""

import ast
import os
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from shared.source_hash import code_hash, source_hash

ROOT = Path(__file__).resolve().parent.parent


def find_notebooks(root: Path = ROOT) -> list[Path]:
    """Return every notebook that lies in a package of the collection, in reading order."""
    return sorted(path for path in root.glob("*/*.ipynb") if (path.parent / "__init__.py").exists())


def code_cells(nb) -> list[tuple[int, nbformat.NotebookNode]]:
    """Return (number, cell) of each code cell; numbers count all cells, from 1."""
    return [(n, cell) for n, cell in enumerate(nb.cells, 1) if cell.cell_type == "code"]


def is_setup(source: str) -> bool:
    return source.startswith("# Set-up") and "COURSE_REPO" in source


def code_of(nb) -> str:
    """Return the code cells as one plain Python source, without the set-up cell."""
    cells = [cell.source for _, cell in code_cells(nb) if not is_setup(cell.source)]
    source = TransformerManager().transform_cell("\n".join(cells))  # magics become calls
    try:
        ast.parse(source)
    except SyntaxError:
        return repr(source)
    return source


def imported(source: str) -> set[str]:
    """Return the dotted names that absolute imports anywhere in `source` may load."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_hashes(nb, root: Path = ROOT) -> dict[str, str]:
    """Return {path: hash} of the collection's modules that the notebook imports, however deep."""
    hashes, seen, waiting = {}, set(), imported(code_of(nb))
    while waiting:
        seen.add(name := waiting.pop())
        path = root / (name.replace(".", "/") + ".py")
        if path.is_file():
            hashes[path.relative_to(root).as_posix()] = source_hash(path)
            waiting |= imported(path.read_text(encoding="utf-8")) - seen
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


def save(nb, path: Path) -> None:
    """Write the notebook in one step: the file is the old one or the new one, never half of it."""
    part = path.with_suffix(".ipynb.part")
    nbformat.write(nb, part)
    os.replace(part, path)
