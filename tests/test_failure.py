"""The one line that a learner reads of an error: every form of check, and errors of other kinds."""

from __future__ import annotations

import linecache
import sys
import warnings

import numpy as np
import pytest
import torch

from tools.failure import failure

CELL = "<ipython-input-1>"  # a name as a kernel gives it
LONG = f"invalid literal for int() with base 10: '{'a' * 300}"[:200]


def said(source: str, monkeypatch) -> str:
    """What is said of the error that a cell raises."""
    monkeypatch.setitem(linecache.cache, CELL, (len(source), None, source.splitlines(True), CELL))
    names = {"np": np, "torch": torch, **vars(np.testing)}
    with pytest.raises(Exception) as caught:
        exec(compile(source, CELL, "exec"), names)
    monkeypatch.setattr(sys, "last_value", caught.value, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a learner sees the line alone
        return failure()


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        # what is compared, and how
        ("assert 3 == 7", "got 3, expected 7"),
        ("assert 3 == 7, 'a\\nweek'", "a week; got 3, expected 7"),
        ("assert 1 / 3 > 0.5", "got 0.333333, expected > 0.5"),
        ("assert np.float32(2 / 3) >= 1 / 1", "got 0.666667, expected ≥ 1"),
        ("assert 3 < 2", "got 3, expected < 2"),
        ("assert [3] <= [2]", "got [3], expected ≤ [2]"),
        ("assert 3 != 3", "got 3, expected another than 3"),
        ("assert 0 < 5 < 3", "got 5, expected < 3"),
        ("assert 9 < 5 < 3", "got 9, expected < 5"),
        ("assert 2 and 2 > 3", "got 2, expected > 3"),
        ("assert 2 > 3 or 2 > 4", "expected 2 > 3 or 2 > 4"),
        ("assert not 'a'", "expected not 'a'"),
        ("assert {1} == {2}", "got {1}, expected {2}"),
        ("assert [1, [2]] == [1, [3]]", "got [1, [2]], expected [1, [3]]"),
        ("assert [] == 3", "got [], expected 3"),
        ("assert 3 == []", "got 3, expected []"),
        ("assert {0: np.eye(2)} == 2", "got {0: array([[1., 0.], [0., 1.]])}, expected 2"),
        ("assert 'y' == 'n'", "got 'y', expected 'n'"),
        (f"assert {'a' * 58!r} == 1", f"got {'a' * 58!r}, expected 1"),
        (f"assert {'a' * 59!r} == 1", f"got '{'a' * 56}…, expected 1"),
        # arrays: the place that differs most, or the shapes
        ("assert_allclose([1, 5, 3], [1, 2, 9])", "at (2,) got 3, expected 9"),
        ("assert_allclose([[1.0, 1 / 3]], [[1.0, 9.0]])", "at (0, 1) got 0.333333, expected 9"),
        ("assert_allclose(np.float64(1), 2)", "got 1, expected 2"),
        ("assert_allclose([1.0, 3.0], 1.0)", "at (1,) got 3, expected 1"),
        ("assert_allclose(np.zeros(2), np.zeros(3))", "got shape (2,), expected (3,)"),
        ("assert_allclose([1, np.nan, 5], [1, 2, 9])", "at (1,) got nan, expected 2"),
        (
            "assert_allclose([np.nan, -np.inf, 5], [np.nan, -np.inf, 9])",
            "at (2,) got 5, expected 9",
        ),
        ("assert_equal(np.uint8([3, 1]), np.uint8([1, 2]))", "at (0,) got 3, expected 1"),
        ("assert_equal(np.array([True, False]), [True, True])", "at (1,) got 0, expected 1"),
        ("assert_equal(['a', 'b'], ['a', 'c'])", "got ['a', 'b'], expected ['a', 'c']"),
        ("torch.testing.assert_close(torch.ones(2), torch.zeros(2))", "at (0,) got 1, expected 0"),
        ("x = torch.ones(1, requires_grad=True)\nassert x == 2", "at (0,) got 1, expected 2"),
        ("assert np.allclose([0, 0], [0, 1])", "at (1,) got 0, expected 1"),
        ("assert torch.equal(torch.zeros(1), torch.ones(1))", "at (0,) got 0, expected 1"),
        ("assert all([1, 0])", "expected all([1, 0])"),
        ("assert min(0, 1)", "expected min(0, 1)"),
        # where the check stands
        ("assert (\n    3\n    ==\n    7\n)", "got 3, expected 7"),
        ("assert_allclose(\n    1.0,\n    2.0,\n)", "got 1, expected 2"),
        ("print; assert 3 == 7", "got 3, expected 7"),
        ("b = 7\ndef f(a):\n    c = a + 1\n    assert c == b\nf(1)", "got 2, expected 7"),
        ("n = iter([1])\nassert next(n) == 2, 'two'", "two"),  # no second look is possible
        ("def check(): raise AssertionError('so\\nit is')\n\ncheck()", "so it is"),
        ("raise AssertionError", "the line `raise AssertionError`"),
        ("raise AssertionError(300 * 'a')", "a" * 200),
        # errors of other kinds
        ("x = 1\n\nx / 0\nx", "ZeroDivisionError: division by zero (in the line `x / 0`)"),
        ("raise KeyError('a')", "KeyError: 'a' (in the line `raise KeyError('a')`)"),
        ("int(300 * 'a')", f"ValueError: {LONG} (in the line `int(300 * 'a')`)"),
    ],
)
def test_an_error_is_told_in_one_line(cell, line, monkeypatch):
    assert said(cell, monkeypatch) == line


def test_an_error_inside_a_library_has_no_line_of_ours(monkeypatch):
    words = said("import json\njson.loads('{')", monkeypatch)
    assert words.startswith("JSONDecodeError: Expecting property name") and "line `" not in words


def test_an_error_outside_every_cell_is_named(monkeypatch):
    monkeypatch.setattr(sys, "last_value", ValueError("no\nmore"), raising=False)
    assert failure() == "ValueError: no more"
