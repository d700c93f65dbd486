"""What Python source does, as a hash, and which of our source this process really runs.

Comments, formatting and docstrings do not change a hash, so that a better wording costs no run.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from pathlib import Path

from shared.environment import PACKAGES, ROOT


def source_hash(path: Path) -> str:
    """Return the code hash of the Python file at `path`, 16 hexadecimal digits."""
    return code_hash(Path(path).read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=4_096)
def code_hash(source: str) -> str:
    """Return the hash of the syntax tree of `source`; every Python version gives the same."""
    return hashlib.sha256(repr(_skeleton(ast.parse(source))).encode()).hexdigest()[:16]


def _skeleton(node):
    """Nested tuples of a tree without empty fields (ast.dump differs from version to version)."""
    if isinstance(node, list):
        return tuple(_skeleton(item) for item in node)
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        fields["body"] = node.body[ast.get_docstring(node) is not None :]
    return type(node).__name__, [(name, _skeleton(fields[name])) for name in sorted(fields)]


def _version(path: Path) -> tuple[int, int] | None:
    """Return when a file was last written and its size; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _ours() -> list[Path]:
    """Return the Python files of the collection, and those beside the running notebook."""
    packages = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    return [path.resolve() for path in (*Path.cwd().glob("*.py"), *packages)]


# Taken when the first package of ours is imported, so before any other module of ours is read.
_at_start = {path: _version(path) for path in _ours()}
_folders = {path.parent for path in _at_start}


@functools.cache  # thousands of modules, asked about after every run
def _resolved(file: str) -> Path:
    """Return the path of a module's file without links."""
    return Path(file).resolve()


def imported_hashes() -> dict[str, str] | None:
    """Return {module: code hash} of our modules that this process has imported.

    None where a file is not the one that was there at the start: then nobody can tell which
    code is running. Modules beside the notebook count as ours.
    """
    hashes, here = {}, Path.cwd().resolve()
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        path = _resolved(file)
        beside_us = path.parent in _folders or path.parent == here
        # torch has modules whose file is a bare name, and __main__ is the notebook itself
        if beside_us and Path(file).is_absolute() and name not in ("__main__", "__mp_main__"):
            if path not in _at_start or _at_start[path] != _version(path):
                return None
            hashes[name] = source_hash(path)
    return hashes
