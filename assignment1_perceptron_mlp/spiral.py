"""Gradient descent, momentum and Adam on a spiral landscape with an analytic gradient.

The function is y = r² (sin²φ + 1) with φ = 6θ + 2r, r = √(x₁² + x₂²), θ = atan2(x₂, x₁). Twelve
spiral ridges wind around its only stationary point, the minimum y = 0 at the origin. Everything
is vectorised over starting points: an array of points has shape (S, 2).
"""

from dataclasses import dataclass

import numpy as np

METHODS = ("gradient descent", "momentum", "adam")


def polar(x):
    """Return r (...) and φ = 6θ + 2r (...) of the points x (..., 2); at r = 0, θ is taken as 0."""
    x = np.asarray(x)
    if x.shape[-1:] != (2,):
        raise ValueError(f"x has shape {x.shape}; the last axis must hold 2 coordinates")
    r = np.hypot(x[..., 0], x[..., 1])
    return r, 6 * np.arctan2(x[..., 1], x[..., 0]) + 2 * r


def spiral(x):
    """Return y (...) = r² (sin²φ + 1) at the points x (..., 2)."""
    r, phi = polar(x)
    return r**2 * (np.sin(phi) ** 2 + 1)


def spiral_gradient(x):
    """Return dy/dx (..., 2) at x (..., 2): 2 (1 + sin²φ) x + sin 2φ (6 x⊥ + 2 r x).

    Nothing is divided by r, so the gradient at r = 0 is 0, which is the right value there.
    """
    x = np.asarray(x)
    r, phi = polar(x)
    x_perp = np.stack([-x[..., 1], x[..., 0]], axis=-1)  # x turned left by 90 degrees
    bowl = 2 * (1 + np.sin(phi) ** 2)[..., None] * x
    ridges = np.sin(2 * phi)[..., None] * (6 * x_perp + 2 * r[..., None] * x)
    return bowl + ridges


def gradient_descent_update(grad, state, learning_rate):
    """Return the change of x (S, 2) for the gradient grad (S, 2)."""
    return -learning_rate * grad, state


def momentum_update(grad, state, learning_rate, momentum=0.9):
    """Return the change of x (S, 2) and the new state, the velocity (S, 2)."""
    velocity = grad if state is None else momentum * state + grad
    return -learning_rate * velocity, velocity


def adam_update(grad, state, learning_rate, betas=(0.9, 0.999), eps=1e-8):
    """Return the change of x (S, 2) and the new state: both moments (S, 2) and the step count.

    Source: Kingma and Ba, 2015, algorithm 1.
    """
    mean, square, step = (0.0, 0.0, 0) if state is None else state
    step += 1
    mean = betas[0] * mean + (1 - betas[0]) * grad
    square = betas[1] * square + (1 - betas[1]) * grad**2
    mean_hat, square_hat = mean / (1 - betas[0] ** step), square / (1 - betas[1] ** step)
    return -learning_rate * mean_hat / (np.sqrt(square_hat) + eps), (mean, square, step)


UPDATES = dict(zip(METHODS, (gradient_descent_update, momentum_update, adam_update), strict=True))


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
    method: str = "gradient descent",
    num_steps: int = 2_000,
    tolerance: float = 1e-3,
    keep_path: bool = True,
) -> Descent:
    """Run one method from many starts at once, each until it ends on its own.

    A start ends as "converged" when y <= tolerance and as "overflow" when y is not finite.

    Args:
        x_start: (S, 2) finite floats, one row per start.
        keep_path: False saves the memory of `Descent.path`.
    Raises: ValueError naming the argument that is not allowed.
    """
    check_descent(x_start, learning_rate, method, num_steps, tolerance)
    x = np.array(x_start, dtype=np.float64)
    steps = np.full(len(x), num_steps)
    status = np.full(len(x), "out of steps", dtype="<U12")
    active, state, path = np.ones(len(x), dtype=bool), None, []
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is a result here
        for step in range(num_steps + 1):
            y = spiral(x)
            for name, ended in (("converged", y <= tolerance), ("overflow", ~np.isfinite(y))):
                status[active & ended], steps[active & ended] = name, step
                active &= ~ended
            if keep_path:
                path.append(x.copy())
            if step == num_steps or not active.any():
                break
            dx, state = UPDATES[method](spiral_gradient(x), state, learning_rate)
            x[active] += dx[active]
    return Descent(x, y, steps, status, np.stack(path) if keep_path else None)


def check_descent(x_start, learning_rate, method, num_steps, tolerance):
    """Raise ValueError for the first argument of `descend` that is not allowed."""
    x_start = np.asarray(x_start)
    if x_start.ndim != 2 or x_start.shape[1] != 2 or len(x_start) == 0:
        raise ValueError(f"x_start has shape {x_start.shape}; it must be (S, 2) with S >= 1")
    if not np.isfinite(x_start).all():
        row = int(np.argmin(np.isfinite(x_start).all(axis=1)))
        raise ValueError(f"x_start[{row}] is {x_start[row]}; every coordinate must be finite")
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    for name, value in (("learning_rate", learning_rate), ("tolerance", tolerance)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be a finite number above 0")
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; it must be at least 1")
