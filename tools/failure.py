"""What went wrong in a kernel, in one line; `failure` is sent there as text and runs alone."""


def failure() -> str:
    """Return the kernel's last error in one line, with got and expected where it compared two.

    It looks at the last line of a cell that the error went through, and evaluates both sides of
    an assertion, or both arguments of an `assert_…(got, expected)`, where they failed.
    """
    import ast
    import linecache
    import sys
    import traceback

    import numpy as np

    def short(value) -> str:
        text = " ".join(repr(value).split())
        return text if len(text) <= 60 else text[:57] + "…"

    def number(value) -> str:
        return f"{value:.6g}" if isinstance(value, float | np.floating) else short(value)

    def pair(got, expected, sign: str = "") -> str:
        try:
            plain = [getattr(v, "detach", lambda v=v: v)() for v in (got, expected)]
            a, b = (np.asarray(value) for value in plain)
        except (ValueError, TypeError, RuntimeError):
            a = b = np.empty(0, object)
        if a.shape != b.shape and a.ndim and b.ndim:
            return f"got shape {a.shape}, expected {b.shape}"
        if sign or 0 in (a.size, b.size) or {a.dtype.kind, b.dtype.kind} - set("biuf"):
            return f"got {number(got)}, expected {sign}{number(expected)}"
        a, b = np.broadcast_arrays(a.astype(float), b.astype(float))
        with np.errstate(invalid="ignore"):
            gap = np.where((a == b) | np.isnan(a) & np.isnan(b), 0, np.abs(a - b))
        at = np.unravel_index(np.argmax(gap), a.shape)  # argmax finds a NaN first
        place = f"at {tuple(int(i) for i in at)} " if at else ""
        return f"{place}got {a[at]:.6g}, expected {b[at]:.6g}"

    def in_words(test: ast.expr, value) -> str:
        """Say which part of an asserted expression is false."""
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            return in_words(next(part for part in test.values if not value(part)), value)
        if isinstance(test, ast.Compare) and len(test.ops) > 1:  # a < b < c is a < b and b < c
            lefts = [test.left, *test.comparators[:-1]]
            triples = zip(lefts, test.ops, test.comparators, strict=True)
            parts = [ast.Compare(left, [op], [right]) for left, op, right in triples]
            return in_words(next(part for part in parts if not value(part)), value)
        if isinstance(test, ast.Compare):
            signs = {"Lt": "< ", "LtE": "≤ ", "Gt": "> ", "GtE": "≥ ", "NotEq": "another than "}
            sign = signs.get(type(test.ops[0]).__name__, "")
            return pair(value(test.left), value(test.comparators[0]), sign)
        if isinstance(test, ast.Call) and len(test.args) >= 2:
            name = ast.unparse(test.func).rpartition(".")[2]
            if name in ("allclose", "isclose", "array_equal", "equal"):
                return pair(value(test.args[0]), value(test.args[1]))
        return f"expected {ast.unparse(test)}"

    error = sys.last_value
    said = " ".join(str(error).split())
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if "ipykernel" in frame.f_code.co_filename or "<ipython" in frame.f_code.co_filename
    ]
    if not frames:
        return f"{type(error).__name__}: {said}"
    frame, line = frames[-1]
    lines = linecache.getlines(frame.f_code.co_filename)
    if not isinstance(error, AssertionError):
        inner = list(traceback.walk_tb(error.__traceback__))[-1][0] is frame
        where = f" (in the line `{lines[line - 1].strip()}`)" if inner else ""
        return f"{type(error).__name__}: {said[:200]}{where}"

    def value(node: ast.expr):
        code = compile(ast.fix_missing_locations(ast.Expression(node)), "<check>", "eval")
        return eval(code, {**frame.f_globals, **frame.f_locals})

    def covers(node: ast.AST) -> bool:
        return isinstance(node, ast.Assert | ast.Expr) and node.lineno <= line <= node.end_lineno

    try:
        nodes = [node for node in ast.walk(ast.parse("".join(lines))) if covers(node)]
        node = max(nodes, key=lambda node: (node.lineno, node.col_offset))
        if isinstance(node, ast.Assert):
            own = f"{said}; " if node.msg is not None else ""
            return own + in_words(node.test, value)
        if ast.unparse(node.value.func).rpartition(".")[2].startswith("assert_"):
            got, expected = value(ast.List(node.value.args, ast.Load()))[:2]
            return pair(got, expected)
    except Exception:  # the second evaluation is a kindness: where it fails, the error speaks
        pass
    return said[:200] or f"the line `{lines[line - 1].strip()}`"
