"""Generated data that needs no file: two Gaussian clouds and palindromes."""

import numpy as np


def two_gaussians(
    n_per_class: int, distance: float, variance: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw two round Gaussian clouds whose means lie on the diagonal, either side of the origin.

    Args:
        n_per_class: examples per class, at least 1.
        distance: distance between the two means, 0 or more.
        variance: variance of each coordinate within a class, 0 or more.
        rng: source of randomness.

    Returns:
        x (2n, 2) float64 and y (2n,) int64 in {-1, +1}, shuffled together.
    """
    if n_per_class < 1:
        raise ValueError(f"n_per_class is {n_per_class}; it must be at least 1")
    for argument, value in (("distance", distance), ("variance", variance)):
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{argument} is {value}; it must be a finite number, 0 or more")
    y = rng.permutation(np.repeat([-1, 1], n_per_class))
    mean = distance / np.sqrt(8) * np.ones(2)  # of class +1, distance / 2 from the origin
    x = y[:, None] * mean + np.sqrt(variance) * rng.standard_normal((2 * n_per_class, 2))
    return x, y


def palindromes(num_examples: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Draw palindromes of digits 0 to 9: (num_examples, length) int64, each row == row[::-1].

    There are only 10 ** ceil(length / 2) different ones, so short lengths repeat examples.
    """
    for argument, value in (("num_examples", num_examples), ("length", length)):
        if value < 1:
            raise ValueError(f"{argument} is {value}; it must be at least 1")
    half = rng.integers(0, 10, size=(num_examples, (length + 1) // 2))
    return np.concatenate([half, half[:, : length // 2][:, ::-1]], axis=1)
