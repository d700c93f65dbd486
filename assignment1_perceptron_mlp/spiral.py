"""Gradient descent, momentum and Adam on a spiral landscape with an analytic gradient.

The function is y = r² (sin²φ + 1) with φ = 6θ + 2r, r = √(x₁² + x₂²), θ = atan2(x₂, x₁). Twelve
spiral ridges wind around its only stationary point, the minimum y = 0 at the origin. Everything
is vectorised over starting points: an array of points has shape (S, 2).
"""

from dataclasses import dataclass

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import check_number, check_whole
from assignment1_perceptron_mlp.numpy_optim import adam_update, sgd_update

METHODS = ("sgd", "adam")
BETAS, EPS = (0.9, 0.999), 1e-8  # Adam's, as Kingma and Ba (2015) advise


def polar(x):
    """Return r (...) and φ = 6θ + 2r (...) of the points x (..., 2); at r = 0, θ is taken as 0."""
    x1, x2 = coordinates(x)
    r = np.hypot(x1, x2)
    return r, 6 * np.arctan2(x2, x1) + 2 * r


def spiral(x):
    """Return y (...) = r² (sin²φ + 1) at the points x (..., 2)."""
    r, phi = polar(x)
    return r**2 * (np.sin(phi) ** 2 + 1)


def spiral_gradient(x):
    """Return dy/dx (..., 2) = 2 (1 + sin²φ) x + sin 2φ (6 x⊥ + 2 r x) at x (..., 2)."""
    x1, x2 = coordinates(x)
    r, phi = polar(x)
    radial = 2 * (1 + np.sin(phi) ** 2) + 2 * r * np.sin(2 * phi)  # (...): along x
    turning = 6 * np.sin(2 * phi)  # (...): along x⊥ = (−x₂, x₁), x turned left by 90°
    return np.stack([radial * x1 - turning * x2, radial * x2 + turning * x1], axis=-1)


def squared_factor(r, phi, learning_rate):
    """Return q (...), by which one step of gradient descent from (r, φ) multiplies r²."""
    inwards = 2 * (1 + np.sin(phi) ** 2) + 2 * r * np.sin(2 * phi)
    sideways = 6 * np.sin(2 * phi)
    return (1 - learning_rate * inwards) ** 2 + (learning_rate * sideways) ** 2


@dataclass(frozen=True)
class Descent:
    """What became of S starts.

    Attributes:
        x: (S, 2) float64, the last point of each start.
        y: (S,) float64, the value there (inf or nan after an overflow).
        steps: (S,) int64, steps taken until the start ended.
        status: (S,) str, "converged", "overflow" or "out of steps".
        path: (T + 1, S, 2) float64 or None, every point; a start that ended repeats its last.
    """

    x: np.ndarray
    y: np.ndarray
    steps: np.ndarray
    status: np.ndarray
    path: np.ndarray | None


def descend(
    x_start,
    learning_rate: float,
    method: str = "sgd",
    momentum: float = 0.0,
    num_steps: int = 2_000,
    tolerance: float = 1e-3,
    keep_path: bool = True,
) -> Descent:
    """Run one method from many starts (S, 2) at once, each until it ends on its own.

    A start ends as "converged" when y <= tolerance and as "overflow" when y is not finite.
    momentum belongs to "sgd"; keep_path=False saves memory.
    Raises: ValueError naming the argument that is not allowed.
    """
    check_descent(x_start, learning_rate, method, momentum, num_steps, tolerance)
    x = np.array(x_start, dtype=np.float64)
    m, v = np.zeros_like(x), np.zeros_like(x)  # (S, 2): what a method remembers of each start
    steps, status = np.full(len(x), num_steps), np.full(len(x), "out of steps")
    active, path = np.ones(len(x), dtype=bool), []
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is a result here
        for step in range(num_steps + 1):
            y = spiral(x)
            for name, ended in (("converged", y <= tolerance), ("overflow", ~np.isfinite(y))):
                status[active & ended], steps[active & ended] = name, step
                active &= ~ended
            if keep_path:
                path.append(x)
            if step == num_steps or not active.any():
                break
            moved, grad = x.copy(), spiral_gradient(x)
            if method == "adam":
                adam_update(moved, grad, m, v, step + 1, learning_rate, BETAS, EPS)
            else:
                sgd_update(moved, grad, v, learning_rate, momentum)
            x = np.where(active[:, None], moved, x)  # a start that ended rests
    return Descent(x, y, steps, status, np.stack(path) if keep_path else None)


def coordinates(x):
    """Return x₁ and x₂ (...) of the points x (..., 2), or raise ValueError."""
    try:
        x = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"x is {x!r}; it must be numbers, two to a point") from None
    if x.shape[-1:] != (2,):
        raise ValueError(f"x has shape {x.shape}; the last axis must hold 2 coordinates")
    return x[..., 0], x[..., 1]


def check_descent(x_start, learning_rate, method, momentum, num_steps, tolerance):
    """Raise ValueError for the first argument of `descend` that is not allowed."""
    try:
        x_start = np.asarray(x_start, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"x_start is {x_start!r}; it must be (S, 2) numbers") from None
    if x_start.ndim != 2 or x_start.shape[1] != 2 or len(x_start) == 0:
        raise ValueError(f"x_start has shape {x_start.shape}; it must be (S, 2) with S >= 1")
    if not np.isfinite(x_start).all():
        row = int(np.argmin(np.isfinite(x_start).all(axis=1)))
        raise ValueError(f"x_start[{row}] is {x_start[row]}; every coordinate must be finite")
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    check_number("learning_rate", learning_rate, ends="()")
    check_number("tolerance", tolerance, ends="()")
    check_number("momentum", momentum, 0, 1)
    check_whole(num_steps=num_steps)
    if momentum and method == "adam":
        raise ValueError(f"momentum is {momentum}; it belongs to sgd, Adam has its betas")
