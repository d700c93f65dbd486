"""Blanks and hints: what a learner writes, the words for each step, what a skeleton covers."""

from __future__ import annotations

import re
import textwrap

import pytest

from tools.hints import blank, hints

LEFT = ["# your code", "raise NotImplementedError"]


def hints_of(body: str) -> tuple[list[str], str]:
    """Return the steps and the skeleton for a function with this body."""
    text = hints("def f(x):\n" + textwrap.indent(body, "    "), "here")
    order, skeleton, solution = re.findall(r"</summary>\n\n(.*?)\n\n</details>", text, re.DOTALL)
    assert order.startswith("`f`:\n\n") and solution == "The cell as it was: here"
    head, *lines = skeleton.removeprefix("```python\n").removesuffix("\n```").split("\n")
    assert head == "def f(…):"
    return order.split("\n")[2:], textwrap.dedent("\n".join(lines))


@pytest.mark.parametrize(
    ("body", "steps", "skeleton"),
    [
        ("y = x + 1\nreturn y", ["find `y`", "return `y`"], "y = ...\nreturn y"),
        ("y: int = x\nreturn y", ["take `y` from `x`", "return `y`"], "y: int = x\nreturn y"),
        (
            "x += 2 * x\nreturn (x, x + 1)",
            ["change `x`", "return one expression of `x`"],
            "x += ...\nreturn (x, ...)",
        ),
        ("x[0] = x[1]\nreturn", ["set `x[0]`", "return"], "x[0] = ...\nreturn"),
        ("(a, b), c = g(x)\nreturn a, 3", ["find `(a, b), c`", "return `a`, `3`"], None),
        (
            "a = check_it(x)\nb = checker(x)\nreturn np.dot(a, b)",
            ["take `a` from `check_it(x)`", "find `b`", "return one expression of `a`, `b`"],
            "a = check_it(x)\nb = ...\nreturn ...",
        ),
        (
            "for i, row in enumerate(x):\n    g(row)\nreturn x",
            ["for every `i, row`", "  call something", "return `x`"],
            "for i, row in ...:\n    ...\nreturn x",
        ),
        (
            "while x > 1:\n    x //= 2\nelse:\n    x = 1 - x\nreturn x",
            ["again and again", "  change `x`", "  find `x`", "return `x`"],
            "while ...:\n    x //= 2\nelse:\n    x = ...\nreturn x",
        ),
        (
            "if x > k * x:  # rarely\n    y = -x  # a sign\nelse:\n    y = 2 * x\nreturn y",
            [
                "where a condition on `x`, `k` holds: rarely",
                *("  find `y`: a sign", "  find `y`", "return `y`"),
            ],
            "if ...:  # rarely\n    y = ...  # a sign\nelse:\n    y = ...\nreturn y",
        ),
        (
            "check_batch(x)\nif x < 0:  # never\n    raise ValueError(x)\nreturn x * 2",
            [
                "refuse what cannot be",
                "refuse what cannot be: never",
                "return one expression of `x`",
            ],
            "check_batch(x)\nif ...:  # never\n    raise ...\nreturn ...",
        ),
        (
            "if x < 0:\n    raise ValueError(x)\nelse:\n    y = 2 * x\nreturn y",
            ["where a condition on `x` holds", "  raise", "  find `y`", "return `y`"],
            "if ...:\n    raise ...\nelse:\n    y = ...\nreturn y",
        ),
        (
            "with np.errstate(all='ignore'):\n    y = x / 0\nreturn y",
            ["under a setting", "  find `y`", "return `y`"],
            "with np.errstate(all='ignore'):\n    y = ...\nreturn y",
        ),
        # comments: above a step, beside it, a tool's remark
        (
            "# why\ny = 1 + x  # (N,)\nz = (y +  # first\n     1)  # noqa: E501\nreturn z",
            ["find `y`: why; (N,)", "find `z`: first", "return `z`"],
            "# why\ny = ...  # (N,)\nz = (...)  # noqa: E501\nreturn z",
        ),
        # of a single statement the outer form stays
        ("return x + 2 * x", ["return one expression of `x`"], "return ... + ..."),
        ("return 2 * x if x > 1 else -x", None, "return ... if ... else ..."),
        ("return (x + 1).sum(axis=0)", None, "return (...).sum(axis=0)"),
        ("return np.dot(x, 3)", None, "return np.dot(..., 3)"),
        ("return -x", None, "return ..."),
        ("return x", None, "return x"),
        ("for n in x:\n    y = 2 * n", None, "for n in x:\n    y = ..."),
    ],
)
def test_steps_and_skeleton(body, steps, skeleton):
    said, code = hints_of(body)
    if steps is not None:
        assert said == [re.sub(r"^( *)", r"\1- ", step) for step in steps]
    if skeleton is not None:
        assert code == skeleton


def test_several_functions_have_their_hints_in_order():
    text = hints(
        "def a(x):\n    y = (x +\n        1)\n    return y\ndef b(x):\n    return -x", "here"
    )
    titles = ["Hint 1: the steps, in order", "Hint 2: the skeleton", "Solution"]
    assert re.findall("<summary>(.+?)</summary>", text) == titles
    assert (
        "`a`:\n\n- find `y`\n- return `y`\n\n`b`:\n\n- return one expression of `x`\n\n</details>"
        in text
    )
    assert "def a(…):\n    y = (...)\n    return y\n\n\ndef b(…):\n    return ...\n```" in text


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        (["def f(x):", "    # first", "    # of all", "    return x"], ["def f(x):"]),
        (["def f(x):", '    """Doc."""', "    return x"], ["def f(x):", '    """Doc."""']),
        (["async def f(x):", "    check_x(x)", "    return x"], ["async def f(x):"]),
        (["def f(x):", "    @cache", "    def g():", "        1", "    g()"], ["def f(x):"]),
        (["def f(x):", "    if x:", "        raise E", "    else:", "        g()"], ["def f(x):"]),
        (["def f(x):", "    if x:", "        print(x)", "        raise E"], ["def f(x):"]),
        (["k = 2", "def f(x):", "    return (x +", "            1)"], ["k = 2", "def f(x):"]),
    ],
)
def test_a_body_is_taken_out(source, kept):
    left = [*kept, *(f"    {line}" for line in LEFT)]
    assert blank("\n".join([*source, "", "end = 1"])).split("\n") == [*left, "", "end = 1"]


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return x",
        'def f(x):\n    """Say nothing."""',
        "def f(x):\n    check_x(x)\n    if x < 0:\n        raise ValueError",
        "k = 2",
    ],
)
def test_what_is_short_or_only_refuses_stays(source):
    assert blank(source) == source


def test_of_a_class_the_methods_are_written_and_the_start_stays():
    start = "class A:\n    def __init__(self):\n        "
    method, written = "\n\n    def b(self):\n        ", "\n        ".join(LEFT)
    assert blank(f"{start}self.a = 1{method}return 2") == f"{start}self.a = 1{method}{written}"
    assert blank(f"{start}self.a = 1") == f"{start}{written}"
    long, kept = "# once\n        # more\n        return 2", f"{start}self.a = 1"
    two, blanked = f"{method}{long}" * 2, f"{method}{written}" * 2
    assert blank(f"{kept}{two}") == f"{kept}{blanked}"
