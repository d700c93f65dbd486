"""An all-reduce written out: how many devices in a ring sum up what each of them has."""

from __future__ import annotations

import numpy as np


def check_arrays(arrays: list[np.ndarray]) -> None:
    """Raise ValueError unless there are 1 or more arrays, all of one shape (size,)."""
    if not arrays or len({array.shape for array in arrays}) > 1 or arrays[0].ndim != 1:
        shapes = [array.shape for array in arrays]
        raise ValueError(f"arrays have shapes {shapes}; 1 or more, all of one (size,)")


def ring_all_reduce(arrays: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the sum of n arrays as each of n devices gets it, and the numbers that each sent.

    Args: arrays: device r's own is arrays[r], (size,), all of one size.
    Returns: n arrays (size,), and (n,) counts.
    Source: Patarasuk and Yuan 2009.
    """
    check_arrays(arrays)
    n, sums = len(arrays), [array.copy() for array in arrays]
    pieces = [np.array_split(array, n) for array in sums]  # views: pieces[r][k] is r's k-th
    sent = np.zeros(n, dtype=int)
    for step in range(n - 1):  # each piece goes around, and is summed up on its way
        for r in range(n):
            k = (r - step) % n
            pieces[(r + 1) % n][k] += pieces[r][k]
            sent[r] += pieces[r][k].size
    for step in range(n - 1):  # device r has the whole sum of piece r + 1: it goes around again
        for r in range(n):
            k = (r + 1 - step) % n
            pieces[(r + 1) % n][k][:] = pieces[r][k]
            sent[r] += pieces[r][k].size
    return sums, sent
