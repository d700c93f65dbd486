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
