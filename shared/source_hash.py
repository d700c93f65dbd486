"""A hash of what Python source does; comments, formatting and docstrings do not change it."""

import ast
import hashlib
from pathlib import Path


def source_hash(path: Path) -> str:
    """Return the code hash of the Python file at `path`, 16 hexadecimal digits."""
    return code_hash(Path(path).read_text(encoding="utf-8"))


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
