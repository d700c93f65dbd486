"""Gradient checks: finite differences, and a comparison that prints one line per parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def numerical_gradient(
    f: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-5
) -> np.ndarray:
    """Return df/dx of x's shape by central differences, (f(x + h) − f(x − h)) / 2h per entry.

    Args:
        f: takes x and returns a number. x is changed in place and restored between calls, so f
            may also read the same array from elsewhere, as a model reads its weights.
        x: float64, any shape. step: h, in the unit of x.
    Raises: ValueError unless x is float64: in float32 the difference is mostly rounding.
    """
    if x.dtype != np.float64:
        raise ValueError(f"x has dtype {x.dtype}; finite differences need float64")
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + step
        above = f(x)
        x[index] = kept - step
        gradient[index] = (above - f(x)) / (2 * step)
        x[index] = kept
    return gradient


def compare_gradients(
    got: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    tolerance: float = 1e-6,
    eps: float = 1e-3,
    verbose: bool = True,
) -> float:
    """Print the largest relative error of each parameter and return the largest of all.

    Args: got, expected: {parameter: array}, the same names and shapes. tolerance: the largest error
        allowed. eps: the size below which an entry's error counts as absolute.
    The error of an entry is |a − n| / max(eps, |a| + |n|): relative, but for entries smaller than
    eps, where the rounding of a finite difference (about 1e-11 at h = 1e-5) would dominate.
    Raises: AssertionError naming the parameter, position, got and expected, where an error is
        above tolerance or not a number; ValueError where names or shapes differ, or got is empty.
    """
    if not got:
        raise ValueError("got is empty; nothing would be compared")
    if got.keys() != expected.keys():
        raise ValueError(
            f"got has {sorted(got)}, expected has {sorted(expected)}; names must match"
        )
    worst = 0.0
    for name in got:
        a, n = (np.asarray(values, dtype=np.float64) for values in (got[name], expected[name]))
        if a.shape != n.shape:
            raise ValueError(f"{name}: got has shape {a.shape}, expected has {n.shape}")
        if a.size == 0:
            continue
        with np.errstate(invalid="ignore"):  # an infinite entry becomes NaN, and is refused
            error = np.abs(a - n) / np.maximum(eps, np.abs(a) + np.abs(n))
        where = np.unravel_index(np.argmax(error), error.shape)  # argmax finds a NaN first
        place = f"at {tuple(int(i) for i in where)} got {a[where]:.6g}, expected {n[where]:.6g}"
        line = f"{name:>10} {a.shape!s:<12} max relative error {error[where]:.1e} {place}"
        if not error[where] <= tolerance:
            raise AssertionError(f"{line}; allowed {tolerance:.0e}")
        if verbose:
            print(line)
        worst = max(worst, float(error[where]))
    return worst
