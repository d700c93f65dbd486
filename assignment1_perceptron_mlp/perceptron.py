"""The perceptron: Rosenblatt's rule, its loss, Novikoff's bound, averaged and pocket weights.

The bias is the last weight: every example gets a last entry 1, so that `w` is one vector of D + 1
numbers and the hyperplane passes through the origin. Labels are -1 and +1. A score of exactly 0
counts as a mistake, which lets training leave w = 0. Lists do where arrays do.
"""

from numbers import Integral, Real

import numpy as np
from scipy.optimize import nnls

LARGEST = 1e100  # of a number that is let in: scores of larger ones would overflow


# ---- the doors: what is let in ----


def check_numbers(name: str, values) -> np.ndarray:
    """Return values as float64 of their own shape; each must be at most 1e100 in size."""
    try:
        values = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors with a gradient
        raise ValueError(f"{name} must be an array of numbers, got {error}") from error
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {values.dtype}")
    values = values.astype(np.float64)
    wrong = ~(np.abs(values) <= LARGEST)  # NaN included
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name} must be finite and below 1e100, got {values[where]} at {where}")
    return values


def check_x(x, num_features: int | None = None) -> np.ndarray:
    """Return x (N, D) as float64 with N ≥ 1 and D ≥ 1; with `num_features`, D must equal it."""
    x = check_numbers("x", x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x must have shape (N, D) with N ≥ 1 and D ≥ 1, got {x.shape}")
    if num_features is not None and x.shape[1] != num_features:
        raise ValueError(f"x must have {num_features} features as in fit, got shape {x.shape}")
    return x


def check_labels(y, num_examples: int) -> np.ndarray:
    """Return y (N,) as float64 after checking its length and that it holds only -1 and +1."""
    y = check_numbers("y", y)
    if y.shape != (num_examples,):
        raise ValueError(f"y must have shape ({num_examples},) as x has rows, got {y.shape}")
    wrong = np.abs(y) != 1
    if wrong.any():
        raise ValueError(f"y must hold only -1 and +1, got {y[wrong][0]:g} at {wrong.argmax()}")
    return y


def check_examples(x, y, rng=None) -> tuple[np.ndarray, np.ndarray]:
    """Return x (N, D), y (N,) as float64 after checking both; rng: None or a NumPy Generator."""
    if not (rng is None or isinstance(rng, np.random.Generator)):
        raise ValueError(f"rng must be None or np.random.default_rng(seed), got {rng!r}")
    x = check_x(x)
    return x, check_labels(y, len(x))


def check_batch(w, x, y, learning_rate=1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return w (D,), x (N, D), y (N,) as float64 after checking that they fit together."""
    check_learning_rate(learning_rate)
    w, x = check_numbers("w", w), check_x(x)
    if w.shape != x.shape[1:]:
        raise ValueError(
            f"w must have shape ({x.shape[1]},), a weight per column of x, got {w.shape}"
        )
    return w, x, check_labels(y, len(x))


def check_learning_rate(learning_rate: float) -> None:
    """Raise unless learning_rate is a number between 1e-100 and 1e100."""
    is_number = isinstance(learning_rate, Real) and not isinstance(learning_rate, bool)
    if not (is_number and 1 / LARGEST <= learning_rate <= LARGEST):
        raise ValueError(f"learning_rate must be a finite number > 0, got {learning_rate!r}")


def check_settings(learning_rate: float, num_epochs: int, variant: str, variants: tuple) -> None:
    """Raise unless learning_rate is > 0, num_epochs an integer ≥ 1, and variant one of variants."""
    check_learning_rate(learning_rate)
    if not isinstance(num_epochs, Integral) or isinstance(num_epochs, bool) or num_epochs < 1:
        raise ValueError(f"num_epochs must be an integer ≥ 1, got {num_epochs!r}")
    if variant not in variants:
        raise ValueError(f"variant must be one of {variants}, got {variant!r}")


# ---- the rule ----


def add_ones(x: np.ndarray) -> np.ndarray:
    """Return x (N, D) with a last column of ones, (N, D + 1): its weight is the bias."""
    return np.column_stack([x, np.ones(len(x))])


def margins(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return y_i (w · x_i), shape (N,): positive where correct. w: (D,); x: (N, D); y: (N,)."""
    w, x, y = check_batch(w, x, y)
    return y * (x @ w)


def count_mistakes(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> int:
    """Return how many of the N examples have a margin ≤ 0. w: (D,); x: (N, D); y: (N,)."""
    return int((margins(w, x, y) <= 0).sum())


def perceptron_pass(
    w: np.ndarray, x: np.ndarray, y: np.ndarray, learning_rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Visit the examples once, in order, and correct the weights on each mistake.

    Args:
        w: (D,) weights before the pass; the caller's array is left as it is.
        x: (N, D) examples, last column 1 where there is a bias.
        y: (N,) labels, -1 or +1.
        learning_rate: length of a correction, in units of one example.

    Returns:
        path (N, D): the weights after each visit; is_mistake (N,): where they were corrected.

    Source: F. Rosenblatt (1958); the rule as in A. Novikoff (1962).
    """
    w, x, y = check_batch(w, x, y, learning_rate)
    path, is_mistake = np.empty_like(x), np.zeros(len(x), dtype=bool)
    for i, (x_i, y_i) in enumerate(zip(x, y, strict=True)):
        if y_i * (w @ x_i) <= 0:
            w = w + learning_rate * y_i * x_i
            is_mistake[i] = True
        path[i] = w
    return path, is_mistake


def fewest_mistakes(candidates: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the first row of candidates (M, D) with the fewest mistakes on x (N, D), y (N,)."""
    mistakes = (y * (candidates @ x.T) <= 0).sum(axis=1)  # (M,), through (M, N)
    return candidates[mistakes.argmin()]


# ---- the loss ----


def perceptron_loss(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean of max(0, -y_i (w · x_i)) over the batch. w: (D,); x: (N, D); y: (N,)."""
    return float(np.maximum(0.0, -margins(w, x, y)).mean())


def perceptron_loss_gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dL/dw (D,) of `perceptron_loss`; at a score of 0 the subgradient of a mistake."""
    w, x, y = check_batch(w, x, y)
    is_mistake = margins(w, x, y) <= 0
    return -(is_mistake * y) @ x / len(x)


# ---- margin and bound ----


def separation(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Return the margin of w: the smallest y_i (w · x_i) / ‖w‖, negative if w does not separate."""
    m, length = margins(w, x, y), np.linalg.norm(w)
    if not length > 0:
        raise ValueError(f"w must not be zero, got {w}: it has no direction")
    return float(m.min() / length)


def nearest_to_origin(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the point (D,) nearest to 0 in the convex hull of the z_i = y_i x_i.

    It is Σ q_i z_i with q ≥ 0 and Σ q_i = 1. Non-negative least squares finds the a ≥ 0 that
    minimises ‖Σ a_i z_i‖² + (Σ a_i - 1)², and q = a / Σ a_i. x: (N, D); y: (N,).
    """
    x, y = check_examples(x, y)
    z = y[:, None] * x
    scale = np.linalg.norm(z, axis=1).max() or 1.0  # 1 where every example is 0
    a, _ = nnls(np.vstack([z.T / scale, np.ones(len(z))]), np.append(np.zeros(z.shape[1]), 1.0))
    return a / a.sum() @ z


def widest_margin(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the largest margin of any hyperplane through the origin, and its unit normal (D,).

    Args:
        x: (N, D) examples, last column 1 where there is a bias.
        y: (N,) labels, -1 or +1.

    Raises:
        ValueError: If no hyperplane through the origin separates the two classes.
    """
    p = nearest_to_origin(x, y)
    if count_mistakes(p, x, y) > 0:
        raise ValueError("x and y must be linearly separable, got classes that overlap")
    return separation(p, x, y), p / np.linalg.norm(p)


def mistake_bound(x: np.ndarray, y: np.ndarray) -> float:
    """Return Novikoff's bound (R / γ)² on the number of mistakes: R = max ‖x_i‖, γ the widest."""
    gamma, _ = widest_margin(x, y)
    return float((np.linalg.norm(x, axis=1).max() / gamma) ** 2)


# ---- classifiers ----


class LinearClassifier:
    """Predicts the side of a hyperplane. w: (D + 1,), the bias last; None before `fit`."""

    variants: tuple[str, ...] = ("last",)
    w: np.ndarray | None = None

    def __init__(self, learning_rate: float = 0.01, num_epochs: int = 100, variant: str = "last"):
        check_settings(learning_rate, num_epochs, variant, self.variants)
        self.learning_rate, self.num_epochs, self.variant = learning_rate, num_epochs, variant

    def score(self, x: np.ndarray) -> np.ndarray:
        """Return the scores (N,) of x (N, D), positive on the side of class +1."""
        if self.w is None:
            raise ValueError("w is None: call fit before score or predict")
        return add_ones(check_x(x, len(self.w) - 1)) @ self.w

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the classes (N,), -1 or +1, of x (N, D)."""
        return np.where(self.score(x) > 0, 1, -1)

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        """Return the fraction of examples with a strictly correct sign. x: (N, D); y: (N,)."""
        scores = self.score(x)
        return float((check_labels(y, len(scores)) * scores > 0).mean())


class Perceptron(LinearClassifier):
    """Rosenblatt's rule from w = 0, pass after pass, until a pass without a mistake.

    Kept are the "last" weights, their mean over all visits ("averaged", Freund & Schapire 1999),
    or the first with the fewest training mistakes ("pocket", Gallant 1990, with ratchet).
    """

    variants = ("last", "averaged", "pocket")

    def fit(self, x, y, rng: np.random.Generator | None = None):
        """Train on x (N, D), y (N,) and return self; with `rng` every pass has a new order.

        Sets w, mistakes_per_epoch (list of int), converged (the last pass made no mistake).
        """
        x, y = check_examples(x, y, rng)
        x = add_ones(x)  # (N, D + 1)
        last, total, pocket = np.zeros(x.shape[1]), 0.0, np.zeros(x.shape[1])
        self.mistakes_per_epoch, self.converged = [], False
        while len(self.mistakes_per_epoch) < self.num_epochs and not self.converged:
            order = np.arange(len(x)) if rng is None else rng.permutation(len(x))
            path, is_mistake = perceptron_pass(last, x[order], y[order], self.learning_rate)
            last, total = path[-1], total + path.sum(axis=0)
            if self.variant == "pocket":
                pocket = fewest_mistakes(np.vstack([pocket, path[is_mistake]]), x, y)
            self.mistakes_per_epoch.append(int(is_mistake.sum()))
            self.converged = not is_mistake.any()
        averaged = total / (len(x) * len(self.mistakes_per_epoch))
        self.w = {"last": last, "averaged": averaged, "pocket": pocket}[self.variant]
        return self


class BatchPerceptron(LinearClassifier):
    """The perceptron loss minimised from w = 0 by batch gradient descent: num_epochs steps at most.

    Stops when no mistake is left. The learning rate is per step, for the mean loss. Kept are the
    "last" weights, or their mean over all steps ("averaged").
    """

    variants = ("last", "averaged")

    def fit(self, x, y):
        """Train on x (N, D), y (N,) and return self.

        Sets w, converged (the last weights make no mistake), mistakes_per_epoch and
        loss_per_epoch (both before each step).
        """
        x, y = check_examples(x, y)
        x = add_ones(x)  # (N, D + 1)
        w, path = np.zeros(x.shape[1]), []
        self.mistakes_per_epoch, self.loss_per_epoch = [], []
        for _ in range(self.num_epochs):
            self.mistakes_per_epoch.append(count_mistakes(w, x, y))
            self.loss_per_epoch.append(perceptron_loss(w, x, y))
            if self.mistakes_per_epoch[-1] == 0:
                break
            w = w - self.learning_rate * perceptron_loss_gradient(w, x, y)
            path.append(w)
        self.converged = count_mistakes(w, x, y) == 0
        self.w = w if self.variant == "last" else np.mean(path, axis=0)
        return self
