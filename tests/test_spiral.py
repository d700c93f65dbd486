"""The spiral landscape: its gradient, its shape, and what becomes of a start."""

import numpy as np
import pytest
import torch

from assignment1_perceptron_mlp.spiral import (
    METHODS,
    descend,
    polar,
    spiral,
    spiral_gradient,
    squared_factor,
)
from shared.checks import compare_gradients, numerical_gradient


def torch_spiral(x):
    r = x.square().sum(-1).sqrt()
    phi = 6 * torch.atan2(x[..., 1], x[..., 0]) + 2 * r
    return r**2 * (phi.sin() ** 2 + 1)


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(-5, 5, size=(50, 2))


def test_values_by_hand():
    r, phi = polar([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(r, [5, 2, 0, 1])
    np.testing.assert_allclose(phi, [6 * np.arctan(4 / 3) + 10, 3 * np.pi + 4, 0, 6 * np.pi + 2])
    value = 25 * (np.sin(6 * np.arctan(4 / 3) + 10) ** 2 + 1)
    np.testing.assert_allclose(spiral([3, 4]), value)  # a list of integers works too


def test_gradient_agrees_with_finite_differences_and_torch(points):
    got = {"x": spiral_gradient(points)}
    compare_gradients(got, {"x": numerical_gradient(lambda x: spiral(x).sum(), points)}, 1e-6)
    x = torch.tensor(points, requires_grad=True)
    torch_spiral(x).sum().backward()
    compare_gradients(got, {"x": x.grad.numpy()}, 1e-10)


@pytest.mark.parametrize(
    "point", [(-3.0, 0.0), (-3.0, -0.0), (0.0, 2.0), (1e-3, -1e-3), (4.9, -4.9)]
)
def test_gradient_on_the_axes_and_across_the_branch_cut(point):
    x = np.array(point)
    compare_gradients({"x": spiral_gradient(x)}, {"x": numerical_gradient(spiral, x, 1e-6)}, 1e-6)


def test_integer_points_have_the_gradient_of_the_same_floats():
    np.testing.assert_array_equal(spiral_gradient([[3, -2]]), spiral_gradient([[3.0, -2.0]]))


def test_origin_is_the_minimum_and_has_gradient_zero():
    origin = np.zeros((1, 2))
    assert spiral(origin) == 0
    np.testing.assert_array_equal(spiral_gradient(origin), np.zeros((1, 2)))
    run = descend(origin, 0.01)
    assert run.status[0] == "converged"
    assert run.steps[0] == 0


def test_gradient_vanishes_nowhere_else_and_value_lies_between_two_bowls(points):
    r = np.hypot(*points.T)
    assert (np.hypot(*spiral_gradient(points).T) > 0.5 * r).all()
    assert ((r**2 <= spiral(points) + 1e-12) & (spiral(points) <= 2 * r**2 + 1e-12)).all()


@pytest.mark.parametrize("rate", [1e-3, 0.1, 1.0])
def test_squared_factor_is_what_one_step_does(points, rate):
    moved = points - rate * spiral_gradient(points)
    expected = (moved**2).sum(axis=1) / (points**2).sum(axis=1)
    np.testing.assert_allclose(squared_factor(*polar(points), rate), expected, rtol=1e-10)


@pytest.mark.parametrize("shape", [(2,), (7, 2), (3, 4, 2), (0, 2)])
def test_any_leading_shape(shape):
    x = np.ones(shape)
    assert spiral(x).shape == shape[:-1]
    assert spiral_gradient(x).shape == shape


HOW = [dict(method="sgd"), dict(method="sgd", momentum=0.8), dict(method="adam")]


@pytest.mark.parametrize("how", HOW)
def test_starts_do_not_depend_on_their_neighbours(how, points):
    together = descend(points[:4], 0.02, **how)
    assert len(set(together.steps)) > 1  # they end at different steps
    for i in range(4):
        alone = descend(points[i : i + 1], 0.02, **how)
        np.testing.assert_array_equal(alone.x[0], together.x[i])
        assert alone.y[0] == together.y[i]
        assert alone.steps[0] == together.steps[i]
        assert alone.status[0] == together.status[i]


def test_vectorised_descent_equals_a_plain_loop(points):
    run = descend(points[:1], 0.01, num_steps=50)
    x = points[0].copy()
    for step in range(51):
        np.testing.assert_allclose(run.path[step, 0], x, rtol=1e-12)
        x -= 0.01 * spiral_gradient(x)


@pytest.mark.parametrize(
    "how, optimiser",
    [
        (dict(momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.003, momentum=0.9)),
        (dict(momentum=0.5), lambda p: torch.optim.SGD(p, lr=0.003, momentum=0.5)),
        (dict(method="adam"), lambda p: torch.optim.Adam(p, lr=0.05)),
    ],
)
def test_methods_follow_torch(how, optimiser, points):
    start = points[:1]
    x = torch.tensor(start, requires_grad=True)
    torch_optimiser = optimiser([x])
    run = descend(start, torch_optimiser.param_groups[0]["lr"], num_steps=20, **how)
    for _ in range(20):
        torch_optimiser.zero_grad()
        torch_spiral(x).sum().backward()
        torch_optimiser.step()
    np.testing.assert_allclose(run.x, x.detach().numpy(), rtol=1e-8)


def test_each_outcome_is_named_and_counted():
    start = [[3.0, 2.0]]
    slow = descend(start, 1e-4, num_steps=7)
    assert slow.status[0] == "out of steps"
    assert slow.steps[0] == 7
    assert len(slow.path) == 8  # the start and 7 steps
    done = descend(start, 1e-2)
    assert done.status[0] == "converged"
    assert done.y[0] == spiral(done.x)[0] <= 1e-3 < spiral(done.path[-2])[0]
    assert done.steps[0] == len(done.path) - 1
    overflow = descend(start, 1.0)
    assert overflow.status[0] == "overflow"
    assert not np.isfinite(overflow.y[0])
    assert np.isfinite(spiral(overflow.path[-2])).all()
    assert overflow.steps[0] == len(overflow.path) - 1 < 20


def test_the_last_step_allowed_still_counts():
    steps = descend([[3.0, 2.0]], 0.01).steps[0]
    assert descend([[3.0, 2.0]], 0.01, num_steps=int(steps)).status[0] == "converged"
    assert descend([[3.0, 2.0]], 0.01, num_steps=int(steps) - 1).status[0] == "out of steps"


def test_a_value_equal_to_the_tolerance_has_converged():
    start = np.array([[0.3, 0.1]])
    assert descend(start, 0.01, tolerance=float(spiral(start)[0])).steps[0] == 0


def test_a_start_that_ended_rests_while_others_walk():
    run = descend([[0.05, 0.0], [3.0, 2.0]], 0.01)
    assert run.steps[0] < run.steps[1]
    resting = run.path[run.steps[0] :, 0]
    np.testing.assert_array_equal(resting, np.broadcast_to(run.x[0], resting.shape))
    assert spiral(run.x[0]) == run.y[0]


def test_path_can_be_left_out_and_the_start_stays(points):
    before = points.copy()
    kept, left_out = descend(points, 0.01), descend(points, 0.01, keep_path=False)
    assert left_out.path is None
    np.testing.assert_array_equal(kept.path[-1], left_out.x)
    np.testing.assert_array_equal(kept.path[0], before)
    np.testing.assert_array_equal(points, before)
    assert kept.path.shape == (kept.steps.max() + 1, len(points), 2)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x_start": np.zeros(2)}, r"x_start has shape \(2,\).*\(S, 2\)"),
        ({"x_start": np.zeros((0, 2))}, r"x_start has shape \(0, 2\)"),
        ({"x_start": np.zeros((4, 3))}, r"x_start has shape \(4, 3\)"),
        ({"x_start": np.zeros((1, 4, 2))}, r"x_start has shape \(1, 4, 2\)"),
        ({"x_start": np.array([[1.0, 1.0], [np.nan, 0.0]])}, r"x_start\[1\].*finite"),
        ({"x_start": [["a", "b"]]}, "x_start is.*numbers"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0.*above 0"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1"),
        ({"learning_rate": np.nan}, "learning_rate is nan"),
        ({"learning_rate": np.inf}, "learning_rate is inf"),
        ({"tolerance": -1.0}, "tolerance is -1.0"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"method": "newton"}, "method is 'newton'.*adam"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"momentum": 0.9, "method": "adam"}, "momentum is 0.9; it belongs to sgd"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_steps": 2.5}, "num_steps is 2.5"),
    ],
)
def test_bad_input(changes, message):
    arguments = {"x_start": np.ones((1, 2)), "learning_rate": 0.01} | changes
    with pytest.raises(ValueError, match=message):
        descend(**arguments)


def test_methods_are_those_that_descend_knows(points):
    for method in METHODS:
        assert descend(points[:1], 0.05, method).status[0] == "converged"


def test_points_need_two_coordinates():
    with pytest.raises(ValueError, match=r"x has shape \(5, 3\).*2 coordinates"):
        spiral(np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"x has shape \(\).*2 coordinates"):
        spiral_gradient(3.0)


@pytest.mark.parametrize("x", ["a", [["a", "b"]], [[1, 2], [1]], [1j, 2]])
def test_points_that_are_no_numbers(x):
    with pytest.raises(ValueError, match=r"x is .*; it must be numbers, two to a point"):
        spiral(x)
