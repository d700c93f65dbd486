"""Plausible wrong bodies of a function: a sign, an axis, a missing mean, one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

from tools.hints import FUNCTIONS, body_of, refuses, to_write

FLIPPED = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Gt: ast.Lt, ast.Lt: ast.Gt},
    **{ast.GtE: ast.Lt, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
}
OTHER = {"mean": "sum", "sum": "mean", "maximum": "minimum", "minimum": "maximum"}
OTHER |= {"max": "min", "min": "max", "sin": "cos", "cos": "sin", "zeros": "ones", "sqrt": "square"}


def has_no_sign(node: ast.AST) -> bool:
    """Say whether a node is an absolute value or a square, which a sign does not change."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Pow) and ast.unparse(node.right) == "2"
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("abs", "np.abs", "np.square")


def versions(node: ast.AST, parent: ast.AST) -> Iterator[ast.AST]:
    """Yield wrong replacements of one node of a syntax tree."""
    if isinstance(node, ast.BinOp):
        left, right = node.left, node.right
        if isinstance(node.op, ast.Add | ast.Sub):
            yield ast.BinOp(left, FLIPPED[type(node.op)](), right)
            yield from (left, right)  # a term is forgotten
        swapped = isinstance(node.op, ast.Div | ast.MatMult)
        if swapped or (isinstance(node.op, ast.Sub) and not has_no_sign(parent)):
            yield ast.BinOp(right, node.op, left)
        if isinstance(node.op, ast.Mult | ast.Div):
            yield left  # a factor is forgotten
        if isinstance(node.op, ast.Mult):
            yield right
        if isinstance(node.op, ast.Pow):
            yield left
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield node.operand
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in FLIPPED:
        yield ast.Compare(node.left, [FLIPPED[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value
    elif isinstance(node, ast.Call):
        yield from calls(node)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        yield ast.Tuple([node.elts[1], node.elts[0], *node.elts[2:]], node.ctx)
    elif isinstance(node, ast.AugAssign):
        if isinstance(node.op, ast.Add | ast.Sub):
            yield ast.AugAssign(node.target, FLIPPED[type(node.op)](), node.value)
        yield ast.Pass()  # the line is forgotten
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        yield ast.Pass()
    elif isinstance(node, ast.If) and not refuses(node):
        yield ast.If(ast.Constant(True), node.body, node.orelse)
        yield ast.If(ast.Constant(False), node.body, node.orelse)


def calls(node: ast.Call) -> Iterator[ast.Call]:
    """Yield wrong versions of a call: another function, another axis, an option forgotten."""
    if isinstance(node.func, ast.Attribute) and node.func.attr in OTHER:
        other = ast.Attribute(node.func.value, OTHER[node.func.attr], ast.Load())
        yield ast.Call(other, node.args, node.keywords)
    for k, option in enumerate(node.keywords):
        rest = [*node.keywords[:k], *node.keywords[k + 1 :]]
        if option.arg in ("axis", "dim"):
            other = 0 if ast.unparse(option.value) != "0" else 1
            changed = ast.keyword(option.arg, ast.Constant(other))
            yield ast.Call(node.func, node.args, [*rest, changed])
        if option.arg in ("axis", "dim", "keepdims", "keepdim"):
            yield ast.Call(node.func, node.args, rest)


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Yield (parent, field, index) of every node below, but not in what refuses arguments."""
    if refuses(node):
        return
    for name, value in ast.iter_fields(node):
        for k, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(item, ast.AST) and not refuses(item):
                yield node, name, k
                yield from places(item)


def get(parent: ast.AST, name: str, k: int | None) -> ast.AST:
    return getattr(parent, name) if k is None else getattr(parent, name)[k]


def put(parent: ast.AST, name: str, k: int | None, item: ast.AST) -> None:
    if k is None:
        setattr(parent, name, item)
    else:
        getattr(parent, name)[k] = item


def header(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]


def statement_of(tree: ast.AST, wanted: ast.AST) -> ast.stmt:
    """Return the innermost statement that holds a node."""
    holding = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and wanted in ast.walk(n)]
    return holding[-1]  # ast.walk goes outside in


def wrong_bodies(source: str) -> Iterator[tuple[str, str]]:
    """Yield (what was changed, cell) for every wrong version of the functions of a quoted cell."""
    tree, seen = ast.parse(source), {ast.unparse(ast.parse(source))}
    lines = {function.lineno for function in to_write(source)}
    for function in (node for node in ast.walk(tree) if getattr(node, "lineno", 0) in lines):
        if not isinstance(function, FUNCTIONS):
            continue
        tops = [(function, "body", function.body.index(top)) for top in body_of(function)]
        inner = [place for _, _, k in tops for place in places(function.body[k])]
        for parent, name, k in [*tops, *inner]:
            old = get(parent, name, k)
            if refuses(old):
                continue
            before = header(statement_of(function, old))
            for new in versions(old, parent):
                put(parent, name, k, copy.deepcopy(new))
                cell = ast.unparse(ast.fix_missing_locations(tree))
                after = header(statement_of(function, get(parent, name, k)))
                put(parent, name, k, old)
                if cell not in seen:
                    seen.add(cell)
                    yield f"{function.name}: {before} → {after}", cell
