"""The spiral landscape: its gradient, its shape, and what becomes of a start."""

import numpy as np
import pytest
import torch

from assignment1_perceptron_mlp.spiral import METHODS, adam_update, descend, spiral, spiral_gradient
from shared.checks import compare_gradients, numerical_gradient


def torch_spiral(x):
    r = x.square().sum(-1).sqrt()
    phi = 6 * torch.atan2(x[..., 1], x[..., 0]) + 2 * r
    return r**2 * (phi.sin() ** 2 + 1)


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(-5, 5, size=(50, 2))


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


@pytest.mark.parametrize("shape", [(2,), (7, 2), (3, 4, 2), (0, 2)])
def test_any_leading_shape(shape):
    x = np.ones(shape)
    assert spiral(x).shape == shape[:-1]
    assert spiral_gradient(x).shape == shape


@pytest.mark.parametrize("method", METHODS)
def test_starts_do_not_depend_on_their_neighbours(method, points):
    together = descend(points[:4], 0.01, method)
    for i in range(4):
        alone = descend(points[i : i + 1], 0.01, method)
        np.testing.assert_array_equal(alone.x[0], together.x[i])
        assert alone.steps[0] == together.steps[i]
        assert alone.status[0] == together.status[i]


def test_vectorised_descent_equals_a_plain_loop(points):
    run = descend(points[:1], 0.01, num_steps=50)
    x = points[0].copy()
    for step in range(51):
        np.testing.assert_allclose(run.path[step, 0], x, rtol=1e-12)
        x -= 0.01 * spiral_gradient(x)


@pytest.mark.parametrize(
    "method, optimiser",
    [
        ("momentum", lambda p: torch.optim.SGD(p, lr=0.003, momentum=0.9)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.05)),
    ],
)
def test_methods_follow_torch(method, optimiser, points):
    start = points[:1]
    x = torch.tensor(start, requires_grad=True)
    torch_optimiser = optimiser([x])
    run = descend(start, torch_optimiser.param_groups[0]["lr"], method, num_steps=20)
    for _ in range(20):
        torch_optimiser.zero_grad()
        torch_spiral(x).sum().backward()
        torch_optimiser.step()
    np.testing.assert_allclose(run.x, x.detach().numpy(), rtol=1e-8)


def test_adam_starts_with_a_step_of_the_learning_rate():
    dx, _ = adam_update(np.array([[1e-3, -50.0]]), None, 0.1)
    np.testing.assert_allclose(dx, [[-0.1, 0.1]], rtol=1e-4)


def test_each_outcome_is_named():
    start = np.array([[3.0, 2.0]])
    assert descend(start, 1e-4).status[0] == "out of steps"
    assert descend(start, 1e-2).status[0] == "converged"
    overflow = descend(start, 1.0)
    assert overflow.status[0] == "overflow"
    assert overflow.steps[0] < 20
    assert len(overflow.path) == overflow.steps[0] + 1


def test_path_can_be_left_out(points):
    kept, left_out = descend(points, 0.01), descend(points, 0.01, keep_path=False)
    assert left_out.path is None
    np.testing.assert_array_equal(kept.path[-1], left_out.x)
    assert kept.path.shape == (kept.steps.max() + 1, len(points), 2)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x_start": np.zeros(2)}, r"x_start has shape \(2,\).*\(S, 2\)"),
        ({"x_start": np.zeros((0, 2))}, r"x_start has shape \(0, 2\)"),
        ({"x_start": np.zeros((4, 3))}, r"x_start has shape \(4, 3\)"),
        ({"x_start": np.array([[1.0, 1.0], [np.nan, 0.0]])}, r"x_start\[1\].*finite"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0.*above 0"),
        ({"learning_rate": np.inf}, "learning_rate is inf"),
        ({"tolerance": -1.0}, "tolerance is -1.0"),
        ({"method": "newton"}, "method is 'newton'.*adam"),
        ({"num_steps": 0}, "num_steps is 0"),
    ],
)
def test_bad_input(changes, message):
    arguments = {"x_start": np.ones((1, 2)), "learning_rate": 0.01} | changes
    with pytest.raises(ValueError, match=message):
        descend(**arguments)


def test_points_need_two_coordinates():
    with pytest.raises(ValueError, match=r"x has shape \(5, 3\).*2 coordinates"):
        spiral(np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"x has shape \(\).*2 coordinates"):
        spiral_gradient(3.0)
