"""The gradient checker finds a right gradient right and a wrong one wrong."""

from __future__ import annotations

import numpy as np
import pytest

from shared.checks import compare_gradients, numerical_gradient


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 4), (0, 3)])
def test_numerical_gradient_of_a_known_function(shape):
    x = np.random.default_rng(0).normal(size=shape)
    kept = x.copy()
    gradient = numerical_gradient(lambda x: float((np.sin(x) * x).sum()), x)
    np.testing.assert_allclose(gradient, np.cos(x) * x + np.sin(x), rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(x, kept)


def test_numerical_gradient_of_a_view_sees_the_owner():
    W = np.arange(12.0).reshape(3, 4)
    gradient = numerical_gradient(lambda _: float((W**2).sum()), W[:, ::2])
    np.testing.assert_allclose(gradient, 2 * W[:, ::2], atol=1e-8)


def test_numerical_gradient_refuses_float32():
    with pytest.raises(ValueError, match="x has dtype float32; finite differences need float64"):
        numerical_gradient(np.sum, np.ones(2, np.float32))


def test_compare_prints_a_line_per_parameter(capsys):
    gradients = {"W": np.ones((2, 3)), "b": np.zeros(3), "none": np.zeros((0, 2))}
    assert compare_gradients(gradients, {k: v.copy() for k, v in gradients.items()}) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_compare_names_parameter_position_got_and_expected():
    got = {"W": np.ones((2, 3)), "b": np.array([0.0, 2.0])}
    with pytest.raises(AssertionError, match=r"b \(2,\).*at \(1,\) got 2, expected 1; allowed"):
        compare_gradients(got, {"W": np.ones((2, 3)), "b": np.array([0.0, 1.0])})


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0, 1 + 1e-5, np.nan, np.inf])
def test_compare_catches_a_wrong_factor(factor):
    expected = np.random.default_rng(1).normal(size=(4, 5))
    with pytest.raises(AssertionError):
        compare_gradients({"W": factor * expected}, {"W": expected})


def test_compare_refuses_other_names_and_shapes():
    with pytest.raises(ValueError, match=r"got has \['a'\], expected has \['b'\]"):
        compare_gradients({"a": np.ones(1)}, {"b": np.ones(1)})
    with pytest.raises(ValueError, match=r"a: got has shape \(1,\), expected has \(1, 1\)"):
        compare_gradients({"a": np.ones(1)}, {"a": np.ones((1, 1))})


def test_nothing_to_compare_is_no_success():
    with pytest.raises(ValueError, match="got is empty; nothing would be compared"):
        compare_gradients({}, {})


def test_the_error_is_relative_to_both_and_the_worst_of_all_is_returned(capsys):
    got = {"W": np.array([1.0, 2.0, 4.0]), "b": np.array([1e-5])}
    expected = {"W": np.array([1.0, 2.0 + 4e-7, 4.0 + 2e-7]), "b": np.array([2e-5])}
    with pytest.raises(AssertionError, match=r"b \(1,\).*at \(0,\) got 1e-05, expected 2e-05"):
        compare_gradients(got, expected)
    error = 4e-7 / (4.0 + 4e-7)  # of W; that of b is 1e-5 / eps
    assert compare_gradients({"W": got["W"]}, {"W": expected["W"]}) == pytest.approx(error)
    assert "at (1,) got 2, expected 2" in capsys.readouterr().out
    worst = compare_gradients(got, expected, tolerance=1e-1)
    assert worst == pytest.approx(1e-5 / 1e-3)  # the worst, though not the last of W
    turned = {name: expected[name] for name in ("b", "W")}
    assert compare_gradients(turned, {n: got[n] for n in turned}, tolerance=0.1) == worst
    assert compare_gradients(got, expected, 0.9, eps=1e-9) == pytest.approx(1 / 3)


def test_an_error_at_the_tolerance_is_allowed(capsys):
    worst = compare_gradients({"W": np.array([3.0])}, {"W": np.array([1.0])}, tolerance=0.5)
    assert worst == 0.5
    compare_gradients({"W": np.ones(1)}, {"W": np.ones(1)}, verbose=False)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_step_of_the_difference():
    calls = []

    def f(x):
        calls.append(float(x[0]))
        return float(x[0] ** 3)

    gradient = numerical_gradient(f, np.array([2.0]), step=0.5)
    assert sorted(calls) == [1.5, 2.5]
    assert gradient[0] == (2.5**3 - 1.5**3) / 1  # central: 12 + h²


@pytest.mark.parametrize(("got", "expected"), [(["a"], ["a", "b"]), (["a", "b"], ["a"])])
def test_a_parameter_that_only_one_side_has_is_refused(got, expected):
    with pytest.raises(ValueError, match="names must match"):
        compare_gradients(dict.fromkeys(got, np.ones(1)), dict.fromkeys(expected, np.ones(1)))
