"""Layers of a network as pairs of NumPy functions: forward returns (out, cache), backward uses it.

Notation: N examples in the batch, D features in, M features out, K classes. `dout` is dL/dout, the
gradient of the loss L with respect to a layer's output; backward returns the gradients with respect
to its inputs and leaves the cache as it is. Arrays keep the dtype they come in: float32 for
training, float64 for gradient checks.

The functions are the formulas. What could go wrong without a word is checked at the doors: the
classes of numpy_mlp, `fit` and `evaluate`; here only the labels, the bias and a batch of one.
"""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np

# ---- checks: each raises ValueError with the name, the value and what is allowed ----


def check_shape(name, x, shape):
    """Raise ValueError unless x has this shape; None stands for any size from 1 on."""
    got = np.shape(x)
    sizes = zip(got, shape, strict=False)
    if len(got) != len(shape) or not all(n > 0 if m is None else n == m for n, m in sizes):
        wanted = ", ".join("≥1" if m is None else str(m) for m in shape)
        comma = "," if len(shape) == 1 else ""
        raise ValueError(f"{name} has shape {got}; it must be ({wanted}{comma})")


def check_features(x, num_features, name="x", finite=True):
    """Return x as an array; raise ValueError unless it is (N, num_features) real numbers."""
    try:
        x = np.asarray(x)
    except ValueError:
        raise ValueError(f"{name} has rows of unequal length; it must be an array") from None
    check_shape(name, x, (None, num_features))
    if x.dtype.kind not in "buif":
        raise ValueError(f"{name} has dtype {x.dtype}; it must be real numbers")
    if finite and not np.isfinite(x.sum(dtype=np.float64)):
        raise ValueError(f"{name} contains NaN or infinity; every feature must be finite")
    return x


def check_labels(y, num_examples, num_classes, name="y"):
    """Raise ValueError unless y is (num_examples,) integers from 0 to num_classes − 1."""
    y = np.asarray(y)
    check_shape(name, y, (num_examples,))
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"{name} has dtype {y.dtype}; labels must be integers")
    outside = (y < 0) | (y >= num_classes)
    if outside.any():
        bad = y[outside][0]
        raise ValueError(f"{name} contains the label {bad}; labels must be 0 … {num_classes - 1}")


def check_number(name, value, low=0, high=math.inf, ends="[)"):
    """Raise ValueError unless value is a number from low to high; "[" and "]" include the end."""
    if isinstance(value, Real) and not isinstance(value, bool):
        above = value >= low if ends[0] == "[" else value > low
        below = value <= high if ends[1] == "]" else value < high
        if above and below:
            return
    allowed = f"in {ends[0]}{low}, {high}{ends[1]}"
    if high == math.inf:
        allowed = f"{low} or more" if ends[0] == "[" else f"above {low}"
    raise ValueError(f"{name} is {value!r}; it must be {allowed}")


def check_whole(low=1, **numbers):
    """Raise ValueError unless each of the numbers is a whole number, low or more."""
    for name, value in numbers.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
            raise ValueError(f"{name} is {value!r}; it must be a whole number, {low} or more")


def check_rng(rng):
    """Raise ValueError unless rng is a NumPy Generator."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng is {rng!r}; it must be a Generator: np.random.default_rng(seed)")


# ---- linear ----


def linear_forward(x, W, b=None):
    """Return out = x W + b of shape (N, M). x: (N, D); W: (D, M); b: (M,) or None."""
    out = x @ W
    if b is not None:
        check_shape("b", b, W.shape[1:])  # another shape would broadcast without a word
        out += b
    return out, (x, W)


def linear_backward(dout, cache, need_dx=True):
    """Return dx (N, D), dW (D, M), db (M,) from dout (N, M); dx is None where not needed."""
    x, W = cache
    dx = dout @ W.T if need_dx else None  # (N, M) (M, D)
    dW = x.T @ dout  # (D, N) (N, M): the product sums over the examples
    db = dout.sum(axis=0)
    return dx, dW, db


# ---- activations: any shape, entry by entry ----


def relu_forward(x):
    """Return max(x, 0)."""
    out = np.maximum(x, 0)
    return out, out


def relu_backward(dout, cache):
    """Return dx = dout where the output was positive, else 0."""
    return dout * (cache > 0)


def sigmoid(x):
    """Return 1 / (1 + exp(−x)), written with tanh so that no exp can overflow."""
    return 0.5 * (np.tanh(0.5 * x) + 1)


def sigmoid_forward(x):
    """Return s = sigmoid(x)."""
    s = sigmoid(x)
    return s, s


def sigmoid_backward(dout, cache):
    """Return dx = dout · s (1 − s)."""
    s = cache
    return dout * s * (1 - s)


def tanh_forward(x):
    """Return t = tanh(x)."""
    t = np.tanh(x)
    return t, t


def tanh_backward(dout, cache):
    """Return dx = dout · (1 − t²)."""
    t = cache
    return dout * (1 - t**2)


# ---- softmax and cross-entropy ----


def softmax(logits):
    """Return probabilities (N, K), rows summing to 1."""
    shifted = logits - logits.max(axis=1, keepdims=True)  # ≤ 0, so that exp cannot overflow
    exps = np.exp(shifted)
    return exps / exps.sum(axis=1, keepdims=True)  # (N, K) / (N, 1)


def log_softmax(logits):
    """Return log(softmax(logits)) of shape (N, K), finite where a probability rounds to 0."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def cross_entropy_forward(logits, y, label_smoothing=0.0):
    """Return the mean cross-entropy in nats and a cache. logits: (N, K); y: (N,) integers.

    With label_smoothing s the target puts 1 − s + s/K on the true class and s/K on the others.
    """
    check_labels(y, *logits.shape)  # a label of −1 would mean the last class without a word
    log_probs = log_softmax(logits)
    of_true_class = log_probs[np.arange(len(y)), y]  # (N,)
    loss = -(1 - label_smoothing) * of_true_class.mean()
    if label_smoothing:
        loss -= label_smoothing * log_probs.mean()  # the mean over K classes: s/K for each
    return float(loss), (log_probs, y, label_smoothing)


def cross_entropy_backward(cache):
    """Return dL/dlogits (N, K) = (probabilities − targets) / N."""
    log_probs, y, label_smoothing = cache
    N, K = log_probs.shape
    dlogits = np.exp(log_probs)  # a new array: the cache stays as it is
    dlogits[np.arange(N), y] -= 1 - label_smoothing
    dlogits -= label_smoothing / K
    dlogits /= N
    return dlogits


# ---- dropout ----


def dropout_forward(x, p, rng, train=True):
    """Set each entry to 0 with probability p and divide the others by 1 − p, so that the mean is
    kept and evaluation (train=False) needs no correction.  Source: Srivastava et al. 2014."""
    if not train or p == 0:
        return x, None
    mask = (rng.random(x.shape, dtype=np.float32) >= p).astype(x.dtype)
    mask /= 1 - p  # 0 or 1 / (1 − p)
    return x * mask, mask


def dropout_backward(dout, cache):
    """Return dx = dout · mask; the same entries that were dropped get no gradient."""
    return dout if cache is None else dout * cache


# ---- batch normalisation ----


def batch_statistics(x):
    """Return x − mean (N, D), mean (D,) and biased variance (D,) over the batch. x: (N, D)."""
    if len(x) < 2:
        raise ValueError(f"x has shape {x.shape}; in training batch norm needs 2 or more examples")
    mean = x.mean(axis=0, dtype=np.float64)  # float64: x may sit far from zero
    centred = (x - mean).astype(np.result_type(x, np.float32), copy=False)
    var = np.square(centred).mean(axis=0, dtype=np.float64)
    return centred, mean, var


def batchnorm_forward(
    x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5, train=True
):
    """Normalise each feature over the batch, then scale and shift. x: (N, D), the others: (D,).

    Training uses the batch's own mean and variance (÷ N) and moves the running ones *in place*
    towards them, by the fraction momentum; evaluation uses the running ones.
    Source: Ioffe & Szegedy 2015, algorithm 1; names and meanings are torch's.
    """
    if train:
        centred, mean, var = batch_statistics(x)
        unbiased = var * len(x) / (len(x) - 1)
        running_mean += momentum * (mean - running_mean)
        running_var += momentum * (unbiased - running_var)
    else:
        centred, var = x - running_mean, running_var
    inv_std = (1 / np.sqrt(var + eps)).astype(centred.dtype)  # (D,)
    x_hat = centred * inv_std  # (N, D), each column with mean 0 and variance 1
    return gamma * x_hat + beta, (x_hat, inv_std, gamma, train)


def batchnorm_backward(dout, cache):
    """Return dx (N, D), dgamma (D,), dbeta (D,) from dout (N, D)."""
    x_hat, inv_std, gamma, train = cache
    dgamma, dbeta = (dout * x_hat).sum(axis=0), dout.sum(axis=0)
    dx_hat = dout * gamma
    if train:  # the batch's mean and variance depend on x as well
        dx_hat -= dx_hat.mean(axis=0) + x_hat * (dx_hat * x_hat).mean(axis=0)
    return dx_hat * inv_std, dgamma, dbeta
