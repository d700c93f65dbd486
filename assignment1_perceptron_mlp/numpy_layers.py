"""Layers of a network as pairs of NumPy functions: forward returns (out, cache), backward uses it.

Notation: N examples in the batch, D features in, K classes. `dout` is dL/dout, the gradient of the
loss L with respect to a layer's output; backward returns the gradients with respect to its inputs.
Arrays keep the dtype they come in: float32 for training, float64 for gradient checks.
"""

from __future__ import annotations

import numpy as np


def check_shape(name: str, x: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless x has this shape; None stands for any size from 1 on."""
    fits = x.ndim == len(shape) and all(
        n > 0 if want is None else n == want for n, want in zip(x.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("≥1" if want is None else str(want) for want in shape)
        comma = "," if len(shape) == 1 else ""
        raise ValueError(f"{name} has shape {x.shape}; it must be ({wanted}{comma})")


def linear_forward(x, W, b=None):
    """Return out = x W + b of shape (N, M). x: (N, D); W: (D, M); b: (M,) or None."""
    if x.ndim != 2 or len(x) == 0 or x.shape[1] != W.shape[0]:
        raise ValueError(f"x has shape {x.shape} and W {W.shape}; x must be (N ≥ 1, {W.shape[0]})")
    out = x @ W
    if b is not None:
        out += b
    return out, (x, W)


def linear_backward(dout, cache, need_dx=True):
    """Return dx (N, D), dW (D, M), db (M,) from dout (N, M); dx is None where not needed."""
    x, W = cache
    check_shape("dout", dout, (len(x), W.shape[1]))
    dx = dout @ W.T if need_dx else None
    return dx, x.T @ dout, dout.sum(axis=0)


def relu_forward(x):
    """Return max(x, 0), any shape."""
    out = np.maximum(x, 0)
    return out, out


def relu_backward(dout, cache):
    """Return dx = dout where the output was positive, else 0."""
    check_shape("dout", dout, cache.shape)
    return dout * (cache > 0)


def sigmoid_forward(x):
    """Return s = 1 / (1 + exp(−x)), written with tanh so that no exp can overflow."""
    out = 0.5 * (np.tanh(0.5 * x) + 1)
    return out, out


def sigmoid_backward(dout, cache):
    """Return dx = dout · s (1 − s), where s is the output."""
    check_shape("dout", dout, cache.shape)
    return dout * cache * (1 - cache)


def tanh_forward(x):
    """Return t = tanh(x), any shape."""
    out = np.tanh(x)
    return out, out


def tanh_backward(dout, cache):
    """Return dx = dout · (1 − t²), where t is the output."""
    check_shape("dout", dout, cache.shape)
    return dout * (1 - cache**2)


def softmax(logits):
    """Return probabilities (N, K), rows summing to 1. The row maximum is subtracted first,
    which changes nothing in exact arithmetic and keeps exp from overflowing."""
    check_shape("logits", logits, (None, None))
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def check_labels(y: np.ndarray, num_examples: int, num_classes: int) -> None:
    """Raise ValueError unless y is (num_examples,) integers from 0 to num_classes − 1."""
    check_shape("y", y, (num_examples,))
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y has dtype {y.dtype}; labels must be integers")
    if y.min() < 0 or y.max() >= num_classes:
        bad = y[(y < 0) | (y >= num_classes)][0]
        raise ValueError(f"y contains the label {bad}; labels must be 0 … {num_classes - 1}")


def cross_entropy_forward(logits, y, label_smoothing=0.0):
    """Return the mean cross-entropy in nats and a cache. logits: (N, K); y: (N,) integers.

    With label_smoothing s the target puts 1 − s + s/K on the true class and s/K on the others.
    """
    check_shape("logits", logits, (None, None))
    (N, K), rows = logits.shape, np.arange(len(logits))
    check_labels(y, N, K)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be in [0, 1]")
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -(1 - label_smoothing) * log_probs[rows, y].mean()
    if label_smoothing:
        loss -= label_smoothing * log_probs.mean()
    return float(loss), (log_probs, y, label_smoothing)


def cross_entropy_backward(cache):
    """Return dL/dlogits (N, K) = (probabilities − targets) / N."""
    log_probs, y, label_smoothing = cache
    N, K = log_probs.shape
    dlogits = np.exp(log_probs)
    dlogits[np.arange(N), y] -= 1 - label_smoothing
    dlogits -= label_smoothing / K
    dlogits /= N
    return dlogits


def dropout_forward(x, p, rng, train=True):
    """Set each entry to 0 with probability p and divide the others by 1 − p, so that the mean is
    kept and evaluation (train=False) needs no correction.  Source: Srivastava et al. 2014."""
    if not 0 <= p < 1:
        raise ValueError(f"p is {p}; the probability of dropping must be in [0, 1)")
    if not train or p == 0:
        return x, None
    mask = (rng.random(x.shape, dtype=np.float32) >= p).astype(x.dtype)
    mask /= 1 - p
    return x * mask, mask


def dropout_backward(dout, cache):
    """Return dx = dout · mask; the same entries that were dropped get no gradient."""
    return dout if cache is None else dout * cache


def batchnorm_forward(
    x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5, train=True
):
    """Normalise each feature over the batch, then scale and shift. x: (N, D), the others: (D,).

    In training the batch's own mean and variance are used, and the running ones move towards
    them *in place* by the fraction momentum. As in torch the batch is normalised with the biased
    variance (÷ N) and running_var collects the unbiased one (÷ N − 1).
    Raises: ValueError on a shape that does not fit, or for a batch of one in training, whose
        variance is 0.  Source: Ioffe & Szegedy 2015, algorithm 1.
    """
    check_shape("x", x, (None, len(gamma)))
    check_shape("beta", beta, gamma.shape)
    check_shape("running_mean", running_mean, gamma.shape)
    check_shape("running_var", running_var, gamma.shape)
    if train and len(x) == 1:
        raise ValueError(f"x has shape {x.shape}; in training batch norm needs 2 or more examples")
    if train:
        mean = x.mean(axis=0, dtype=np.float64)  # float64: x may sit far from zero
        centred = (x - mean).astype(x.dtype, copy=False)
        var = np.square(centred).mean(axis=0, dtype=np.float64)
        running_mean += momentum * (mean - running_mean)
        running_var += momentum * (var * len(x) / (len(x) - 1) - running_var)
    else:
        centred, var = x - running_mean, running_var
    inv_std = (1 / np.sqrt(var + eps)).astype(x.dtype)
    x_hat = centred * inv_std
    return gamma * x_hat + beta, (x_hat, inv_std, gamma, train)


def batchnorm_backward(dout, cache):
    """Return dx (N, D), dgamma (D,), dbeta (D,) from dout (N, D)."""
    x_hat, inv_std, gamma, train = cache
    check_shape("dout", dout, x_hat.shape)
    dgamma, dbeta = (dout * x_hat).sum(axis=0), dout.sum(axis=0)
    dx_hat = dout * gamma
    if train:  # the batch's mean and variance depend on x as well
        dx_hat -= dx_hat.mean(axis=0) + x_hat * (dx_hat * x_hat).mean(axis=0)
    return dx_hat * inv_std, dgamma, dbeta
