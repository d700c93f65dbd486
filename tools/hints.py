"""Take the body out of quoted definitions, and make hints of it: its order, then its skeleton."""

import ast
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
TO_WRITE = ("# your code", "raise NotImplementedError")


def to_write(source: str) -> list[ast.FunctionDef]:
    """Return the functions of a cell that a learner writes.

    Of a class these are its methods; `__init__` stays where there are others, for they use what
    it keeps. What only refuses arguments stays as well.
    """
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, FUNCTIONS):
            found.append(node)
        elif isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, FUNCTIONS)]
            found += [m for m in methods if m.name != "__init__"] or methods
    return [function for function in found if not all(map(refuses, body_of(function)))]


def refuses(node: ast.AST) -> bool:
    """Say whether a statement does no more than refuse arguments."""
    if isinstance(node, ast.If):
        return not node.orelse and all(isinstance(item, ast.Raise) for item in node.body)
    return isinstance(node, ast.Expr) and is_check(node.value)


def is_check(node: ast.AST) -> bool:
    """Say whether an expression calls one of our checks of arguments."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("check_")


def body_of(function: ast.FunctionDef) -> list[ast.stmt]:
    """Return the statements of a function after its docstring."""
    return function.body[ast.get_docstring(function) is not None :]


def span(function: ast.FunctionDef, lines: list[str]) -> tuple[int, int]:
    """Return the first line of the body and the line after it, counted from 0.

    Comments above the first statement belong to the body.
    """
    body = body_of(function)
    start = min(item.lineno for item in [body[0], *getattr(body[0], "decorator_list", [])]) - 1
    while lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return start, function.end_lineno


def blank(source: str) -> str:
    """Return the cell without bodies: signature, docstring and `raise NotImplementedError` stay."""
    lines = source.splitlines()
    for function in reversed(to_write(source)):
        if function.body[0].lineno > function.lineno:
            start, end = span(function, lines)
            indent = " " * function.body[0].col_offset
            lines[start:end] = [indent + line for line in TO_WRITE]
    return "\n".join(lines)


def comments(source: str) -> dict[int, str]:
    """Return {line: comment} of a source, lines counted from 1, without tool's remarks."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    return {n: re.sub(r"\s*(noqa|fmt): ?.*", "", text) for n, text in found.items()}


def quoted(node: ast.expr) -> str:
    """Return an expression in code quotes, a tuple without its parentheses."""
    text = ast.unparse(node)
    return f"`{text[1:-1]}`" if isinstance(node, ast.Tuple) and text[0] == "(" else f"`{text}`"


def step(node: ast.stmt) -> str:
    """Return what a statement does, in the words of a hint."""
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = getattr(node, "targets", None) or [node.target]
        names = ", ".join(map(quoted, targets))
        if isinstance(node, ast.AugAssign):
            return f"change {names}"
        if isinstance(targets[0], ast.Subscript):
            return f"set {names}"
        if isinstance(node.value, ast.Name) or is_check(node.value):
            return f"take {names} from {quoted(node.value)}"
        return f"find {names}"
    if isinstance(node, ast.For):
        return f"for every {quoted(node.target)}"
    if isinstance(node, ast.While):
        return "again and again"
    if isinstance(node, ast.If):
        about = f"where a condition on {names_in(node.test)} holds"
        return "refuse what cannot be" if refuses(node) else about
    if isinstance(node, ast.Return):
        return f"return {named(node.value)}" if node.value is not None else "return"
    if isinstance(node, ast.With):
        return "under a setting"
    if isinstance(node, ast.Expr):
        return "refuse what cannot be" if refuses(node) else "call something"
    return type(node).__name__.lower()


def named(value: ast.expr) -> str:
    """Return names as they are, and any other expression as what it is made of."""
    plain = value.elts if isinstance(value, ast.Tuple) else [value]
    if all(isinstance(item, ast.Name | ast.Constant) for item in plain):
        return ", ".join(map(quoted, plain))
    return f"one expression of {names_in(value)}"


def names_in(value: ast.expr) -> str:
    """Return the names in an expression, in code quotes."""
    names = [node.id for node in ast.walk(value) if isinstance(node, ast.Name) and node.id != "np"]
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def steps(body: list[ast.stmt], said: dict[int, str], depth: int = 0) -> Iterator[str]:
    """Yield a line for each statement, with its comment."""
    for node in body:
        inner = [*getattr(node, "body", []), *getattr(node, "orelse", [])]
        last = inner[0].lineno - 1 if inner else node.end_lineno
        notes = [said[n] for n in range(node.lineno, last + 1) if said.get(n)]
        if node.lineno - 1 in said and said.get(-(node.lineno - 1)):  # a comment of its own line
            notes.insert(0, said[node.lineno - 1])
        yield f"{'  ' * depth}- {step(node)}{': ' if notes else ''}{'; '.join(notes)}"
        if not all(isinstance(item, ast.Raise) for item in inner):
            yield from steps(inner, said, depth + 1)


def covered(node: ast.expr, fully: bool) -> list[ast.expr]:
    """Return the parts of an expression to cover with `...`; not fully: its outer form stays.

    Names, numbers and checks of arguments are not covered.
    """
    if isinstance(node, ast.Name | ast.Constant) or is_check(node):
        return []
    if isinstance(node, ast.Tuple):
        return [part for item in node.elts for part in covered(item, fully)]
    if fully:
        return [node]
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.IfExp):
        return [node.body, node.test, node.orelse]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        inner = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        inner = [part for part in inner if not isinstance(part, ast.Name)]
        return inner + [a for a in node.args if not isinstance(a, ast.Constant)]
    return [node]


def right_sides(body: list[ast.stmt], fully: bool) -> Iterator[ast.expr]:
    """Yield the expressions of these statements that a skeleton covers."""
    for node in body:
        parts = [getattr(node, name, None) for name in ("value", "iter", "test", "exc")]
        yield from (p for part in parts if part is not None for p in covered(part, fully))
        for inner in (getattr(node, "body", []), getattr(node, "orelse", [])):
            yield from right_sides(inner, fully)


def skeleton(source: str, function: ast.FunctionDef) -> str:
    """Return a function's body with `...` for what stands on right-hand sides."""
    lines, body = [line.encode() for line in source.splitlines()], body_of(function)
    fully = sum(isinstance(node, ast.stmt) for top in body for node in ast.walk(top)) > 1
    parts = sorted(right_sides(body, fully), key=lambda part: (-part.lineno, -part.col_offset))
    for part in parts:  # from the end, so that earlier positions stay
        first, last = part.lineno - 1, part.end_lineno - 1
        text = lines[first][: part.col_offset] + b"..." + lines[last][part.end_col_offset :]
        lines[first : last + 1] = [text] + [b""] * (last - first)
    start, end = span(function, source.splitlines())
    kept = "\n".join(line.decode() for line in lines[start:end] if line.strip())
    return f"def {function.name}(…):\n{textwrap.indent(textwrap.dedent(kept), '    ')}"


def folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def hints(source: str, solution: str) -> str:
    """Return the Markdown of a cell's hints: the order of the steps, a skeleton, the solution."""
    said = comments(source)
    own = [n for n, line in enumerate(source.splitlines(), 1) if line.lstrip().startswith("#")]
    said |= dict.fromkeys((-n for n in own), "own")  # lines that are a comment only
    functions = to_write(source)
    order = [f"`{f.name}`:\n\n" + "\n".join(steps(body_of(f), said)) for f in functions]
    code = "\n\n\n".join(skeleton(source, function) for function in functions)
    return "\n".join(
        [
            folded("Hint 1: the steps, in order", "\n\n".join(order)),
            folded("Hint 2: the skeleton", f"```python\n{code}\n```"),
            folded("Solution", f"The cell as it was: {solution}"),
        ]
    )
