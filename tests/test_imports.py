"""Who imports whom: no circle, folders in their order, imports at the top of their modules."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter

import nbformat
import pytest

from shared.environment import FOLDERS, ROOT
from tools.notebook_state import code_of, find_notebooks, imported, module_file

ORDER = ["shared", *FOLDERS.values()]  # each may import itself and what stands before it
MAY_IMPORT = {folder: set(ORDER[: n + 1]) for n, folder in enumerate(ORDER)}
MAY_IMPORT["tools"] = {"shared", "tools"}
# Imports inside functions, each of a slow library or an extra, with its reason beside it.
INSIDE_FUNCTIONS = 14
WORKS_WITHOUT_PACKAGES = "tools.doctor"  # so it may import ours late, too
SENT_ELSEWHERE = "tools.failure"  # a function that a kernel gets as text, with its imports


def modules() -> dict[str, str]:
    """Return {dotted name: source} of every module of the collection."""
    found = {}
    for folder in MAY_IMPORT:
        for path in (ROOT / folder).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def imports(source: str) -> set[str]:
    """Return the modules and packages of ours that `source` imports."""
    ours = {name for name in imported(source) if name.partition(".")[0] in MAY_IMPORT}
    return {name for name in ours if module_file(name)}


def cycle_free(graph: dict[str, set[str]]) -> list[str]:
    return list(TopologicalSorter(graph).static_order())


def test_no_circle():
    graph = {name: imports(source) for name, source in modules().items()}
    assert len(graph) > 20 and sum(map(len, graph.values())) > 30
    cycle_free(graph)


def test_a_circle_would_be_found():
    with pytest.raises(ValueError, match="cycle"):
        cycle_free({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert imports("def f():\n    from shared import checks, data") == {
        "shared",
        "shared.checks",
        "shared.data",
    }
    assert imports("import shared.data as d\nfrom shared.environment import ROOT, numpy") == {
        "shared.data",
        "shared.environment",
    }


def test_imports_name_their_package():
    """`imported` leaves relative imports out, so there are none."""
    assert [name for name, text in modules().items() if re.search(r"^\s*from \.", text, re.M)] == []


def test_folders_import_only_earlier_ones():
    sources = modules() | {
        ".".join(path.relative_to(ROOT).parts): code_of(nbformat.read(path, 4))
        for path in find_notebooks()
    }
    wrong = [
        f"{name} imports {other}"
        for name, source in sources.items()
        for other in imports(source)
        if other.partition(".")[0] not in MAY_IMPORT[name.partition(".")[0]]
    ]
    assert wrong == []


def imports_inside_functions() -> dict[str, str]:
    """Return {module:line: source lines} of the imports that run only when a function is called."""
    found = {}
    for name, source in modules().items():
        lines = source.splitlines()
        for function in ast.walk(ast.parse(source)):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for node in ast.walk(function):
                    if isinstance(node, (ast.Import, ast.ImportFrom)):
                        text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                        found[f"{name}:{node.lineno}"] = text
    return found


def test_imports_inside_functions_are_few_and_give_a_reason():
    found = imports_inside_functions()
    found = {place: text for place, text in found.items() if not place.startswith(SENT_ELSEWHERE)}
    assert [place for place, text in found.items() if "#" not in text] == []
    ours = [place for place, text in found.items() if imports(text.strip())]
    assert [place for place in ours if not place.startswith(WORKS_WITHOUT_PACKAGES)] == []
    assert len(found) == INSIDE_FUNCTIONS, sorted(found)
