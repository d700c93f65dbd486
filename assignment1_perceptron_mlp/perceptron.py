"""The perceptron: Rosenblatt's rule, its loss, Novikoff's bound, averaged and pocket weights.

The bias is the last weight: every example gets a last entry 1, so that `w` is one vector of D + 1
numbers and the hyperplane passes through the origin. Labels are -1 and +1. A score of exactly 0
counts as a mistake, which lets training leave w = 0.
"""

import numpy as np
from scipy.optimize import nnls

VARIANTS = ("last", "averaged", "pocket")


def check_x(x: np.ndarray, num_features: int | None = None) -> np.ndarray:
    """Return x (N, D) as finite float64 with N ≥ 1; with `num_features`, D must equal it."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x must have shape (N, D) with N ≥ 1 and D ≥ 1, got {x.shape}")
    if num_features is not None and x.shape[1] != num_features:
        raise ValueError(f"x must have {num_features} features as in fit, got shape {x.shape}")
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(f"x must be finite, got {x[row, column]} at ({row}, {column})")
    return x


def check_labels(y: np.ndarray, num_examples: int) -> np.ndarray:
    """Return y (N,) as float64 after checking its length and that it holds only -1 and +1."""
    y = np.asarray(y)
    if y.shape != (num_examples,):
        raise ValueError(f"y must have shape ({num_examples},) as x has rows, got {y.shape}")
    wrong = ~np.isin(y, (-1, 1))
    if wrong.any():
        raise ValueError(f"y must hold only -1 and +1, got {y[wrong][0]} at {wrong.argmax()}")
    return y.astype(np.float64)


def check_positive(learning_rate: float, num_epochs: int) -> None:
    """Raise unless learning_rate is finite and > 0, and num_epochs an integer ≥ 1."""
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be finite and > 0, got {learning_rate}")
    if num_epochs != int(num_epochs) or num_epochs < 1:
        raise ValueError(f"num_epochs must be an integer ≥ 1, got {num_epochs}")


def add_ones(x: np.ndarray) -> np.ndarray:
    """Return x (N, D) with a last column of ones, (N, D + 1): its weight is the bias."""
    return np.column_stack([x, np.ones(len(x))])


def margins(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return y_i (w · x_i), shape (N,): positive where correct. w: (D,); x: (N, D); y: (N,)."""
    if x.ndim != 2 or 0 in x.shape or w.shape != x.shape[1:] or y.shape != x.shape[:1]:
        raise ValueError(
            f"w, x, y must have shapes (D,), (N, D), (N,), got {w.shape}, {x.shape}, {y.shape}"
        )
    return y * (x @ w)


def count_mistakes(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> int:
    """Return how many of the N examples have a margin ≤ 0. w: (D,); x: (N, D); y: (N,)."""
    return int((margins(w, x, y) <= 0).sum())


def perceptron_steps(w: np.ndarray, x: np.ndarray, y: np.ndarray, learning_rate: float):
    """Yield (w, is_mistake) after each example of one pass; the caller's w is left unchanged.

    Args:
        w: (D,) weights before the pass.
        x: (N, D) examples in the order of the pass, last column 1.
        y: (N,) labels, -1 or +1.
        learning_rate: length of a step, in units of one example.

    Source: F. Rosenblatt (1958); the rule as in A. Novikoff (1962).
    """
    margins(w, x, y)  # checks the shapes
    for x_i, y_i in zip(x, y, strict=True):
        is_mistake = bool(y_i * (w @ x_i) <= 0)
        if is_mistake:
            w = w + learning_rate * y_i * x_i
        yield w, is_mistake


def perceptron_loss(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean of max(0, -y_i (w · x_i)) over the batch. w: (D,); x: (N, D); y: (N,)."""
    return float(np.maximum(0.0, -margins(w, x, y)).mean())


def perceptron_loss_gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dL/dw (D,) of `perceptron_loss`; at a score of 0 the subgradient of a mistake."""
    is_mistake = margins(w, x, y) <= 0
    return -(is_mistake * y) @ x / len(x)


def separation(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Return the margin of w: the smallest y_i (w · x_i) / ‖w‖, negative if w does not separate."""
    if not w.any():
        raise ValueError(f"w must not be zero, got {w}: it has no direction")
    return float(margins(w, x, y).min() / np.linalg.norm(w))


def widest_margin(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the largest margin of any hyperplane through the origin, and its unit normal w (D,).

    The normal is the point nearest to the origin in the convex hull of the y_i x_i. Up to a
    factor it is Σ a_i y_i x_i, where a ≥ 0 minimises ‖Σ a_i y_i x_i‖² + (Σ a_i - 1)².

    Args:
        x: (N, D) examples, last column 1 where there is a bias.
        y: (N,) labels, -1 or +1.

    Raises:
        ValueError: If no hyperplane through the origin separates the two classes.
    """
    signed = y[:, None] * x / np.linalg.norm(x, axis=1).max()
    a, _ = nnls(np.vstack([signed.T, np.ones(len(x))]), np.append(np.zeros(x.shape[1]), 1.0))
    w = signed.T @ a
    if not (signed @ w).min() > 0:
        raise ValueError("x and y must be linearly separable, got classes that overlap")
    return separation(w, x, y), w / np.linalg.norm(w)


def mistake_bound(x: np.ndarray, margin: float) -> float:
    """Return Novikoff's bound (R / γ)² on the number of updates; R = max ‖x_i‖, γ = margin > 0."""
    if not margin > 0:
        raise ValueError(f"margin must be > 0, got {margin}")
    return float((np.linalg.norm(x, axis=1).max() / margin) ** 2)


class LinearClassifier:
    """Predicts the side of a hyperplane. w: (D + 1,), the bias last; None before `fit`."""

    w: np.ndarray | None = None

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
        y = check_labels(y, len(check_x(x)))
        return float((y * self.score(x) > 0).mean())


class Perceptron(LinearClassifier):
    """Rosenblatt's rule from w = 0: one update for each mistake, until a pass without any.

    The variant says which weights are kept: "last" the final ones, "averaged" the mean over all
    steps (Freund & Schapire 1999), "pocket" those with the fewest training mistakes (Gallant 1990).
    """

    def __init__(self, learning_rate: float = 0.01, num_epochs: int = 100, variant: str = "last"):
        check_positive(learning_rate, num_epochs)
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {VARIANTS}, got {variant!r}")
        self.learning_rate, self.num_epochs, self.variant = learning_rate, num_epochs, variant

    def fit(self, x, y, rng: np.random.Generator | None = None):
        """Train on x (N, D), y (N,) and return self; with `rng` every pass has a new order.

        Sets w, mistakes_per_epoch (list of int), converged (bool)."""
        x = add_ones(check_x(x))
        y = check_labels(y, len(x))
        w = total = best = np.zeros(x.shape[1])
        fewest, self.mistakes_per_epoch = len(x) + 1, []
        for _ in range(int(self.num_epochs)):
            order = np.arange(len(x)) if rng is None else rng.permutation(len(x))
            mistakes = 0
            for step in perceptron_steps(w, x[order], y[order], self.learning_rate):
                w, is_mistake = step
                mistakes += is_mistake
                if self.variant == "averaged":
                    total = total + w
                elif self.variant == "pocket" and is_mistake:
                    left = count_mistakes(w, x, y)
                    if left < fewest:
                        fewest, best = left, w
            self.mistakes_per_epoch.append(mistakes)
            if mistakes == 0:
                break
        self.converged = mistakes == 0
        self.w = {"last": w, "averaged": total, "pocket": best}[self.variant]
        return self


class BatchPerceptron(LinearClassifier):
    """The perceptron loss minimised from w = 0 by batch gradient descent: num_epochs steps at most.

    Stops when no mistake is left. The learning rate is per step, for the mean loss.
    """

    def __init__(self, learning_rate: float = 0.01, num_epochs: int = 100):
        check_positive(learning_rate, num_epochs)
        self.learning_rate, self.num_epochs = learning_rate, num_epochs

    def fit(self, x, y):
        """Train on x (N, D), y (N,) and return self.

        Sets w, converged (bool), mistakes_per_epoch and loss_per_epoch (both before each step)."""
        x = add_ones(check_x(x))
        y = check_labels(y, len(x))
        w = np.zeros(x.shape[1])
        self.mistakes_per_epoch, self.loss_per_epoch = [], []
        for _ in range(int(self.num_epochs)):
            self.mistakes_per_epoch.append(count_mistakes(w, x, y))
            self.loss_per_epoch.append(perceptron_loss(w, x, y))
            if self.mistakes_per_epoch[-1] == 0:
                break
            w = w - self.learning_rate * perceptron_loss_gradient(w, x, y)
        self.w, self.converged = w, count_mistakes(w, x, y) == 0
        return self
