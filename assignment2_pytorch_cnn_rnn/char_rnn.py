"""A recurrent network that reads and writes characters: forward, backward by hand, training.

Notation: T characters in time, B streams of text read side by side (the batch), K characters in the
alphabet, m hidden units. Parameters are a dict of arrays, in float32 for training and float64 for
gradient checks: W_xh (K, m), W_hh (m, m), b_h (m,), W_hy (m, K), b_y (K,). Hidden states are rows,
so h_t = tanh(W_xh[x_t] + h_{t-1} W_hh + b_h); a course that writes columns has the transposes.

The loss of a chunk is summed over its T characters and averaged over its B streams, in nats. With
B = 1 it is the course's; divided by T it is nats per character.
"""

from __future__ import annotations

import math
import time

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import (
    check_number,
    check_rng,
    check_shape,
    check_whole,
    log_softmax,
)
from assignment1_perceptron_mlp.numpy_optim import blocks, check_gradients_match, check_parameters


def init_rnn(K, m, rng, std=0.01, orthogonal=False, dtype=np.float32):
    """Return the parameters of a network for K characters with m hidden units.

    std: of all weights, as the course has it. orthogonal: W_hh turns the state without changing
    its length instead, the rows of W_xh have length 1 on average, and W_hy has std 1/√m.
    Source: KTH DD2424, assignment 4; Saxe et al. 2014 for the orthogonal start.
    """
    check_whole(K=K, m=m)
    check_number("std", std)
    check_rng(rng)
    shapes = {"W_xh": (K, m), "W_hh": (m, m), "b_h": (m,), "W_hy": (m, K), "b_y": (K,)}
    stds = dict.fromkeys(shapes, std)
    if orthogonal:
        stds |= {"W_xh": m**-0.5, "W_hh": 1.0, "W_hy": m**-0.5}
    params = {
        name: stds[name] * rng.normal(size=shape) if len(shape) > 1 else np.zeros(shape)
        for name, shape in shapes.items()
    }
    if orthogonal:
        params["W_hh"] = np.linalg.qr(params["W_hh"])[0]
    return {name: p.astype(dtype) for name, p in params.items()}


# ---- forward, loss, backward ----


def rnn_forward(params, x, h0, mask=None):
    """Return logits (T, B, K) and a cache.

    Args:
        x: (T, B) integers, 0 … K − 1. h0: (B, m) the state before the first character.
        mask: (T, B, m) factors for dropout between state and output, or None.
    The cache is (x, h, out, mask); h (T + 1, B, m) holds all states, h[0] = h0.
    """
    T, B = x.shape
    W_hh = params["W_hh"]
    a = params["W_xh"][x] + params["b_h"]  # (T, B, m): one-hot times W_xh is a row of W_xh
    h = np.empty((T + 1, B, len(W_hh)), W_hh.dtype)
    h[0] = h0
    for t in range(T):
        np.matmul(h[t], W_hh, out=h[t + 1])
        h[t + 1] += a[t]
        np.tanh(h[t + 1], out=h[t + 1])
    out = h[1:] if mask is None else h[1:] * mask  # (T, B, m)
    logits = out.reshape(T * B, -1) @ params["W_hy"] + params["b_y"]
    return logits.reshape(T, B, -1), (x, h, out, mask)


def sequence_loss(logits, y):
    """Return the loss, summed over time and averaged over streams, and dlogits (T, B, K).

    logits: (T, B, K); y: (T, B) integers, the characters that came next.
    """
    T, B, K = logits.shape
    log_probs = log_softmax(logits.reshape(T * B, K))
    rows, flat = np.arange(T * B), y.reshape(T * B)
    loss = -log_probs[rows, flat].sum(dtype=np.float64) / B
    dlogits = np.exp(log_probs, out=log_probs)  # the probabilities …
    dlogits[rows, flat] -= 1  # … minus the one-hot targets
    dlogits /= B
    return float(loss), dlogits.reshape(T, B, K)


def rnn_backward(params, dlogits, cache):
    """Return the gradients of all parameters and dh0 (B, m), from dlogits (T, B, K).

    Backpropagation through time: a state has two successors, the output of its own moment and the
    next state, so what comes back from both is added.
    """
    x, h, out, mask = cache
    T, B, K = dlogits.shape
    m, W_hh_T = h.shape[2], params["W_hh"].T
    flat = dlogits.reshape(T * B, K)
    dz = (flat @ params["W_hy"].T).reshape(T, B, m)  # from the outputs
    if mask is not None:
        dz *= mask
    slope = 1 - h[1:] ** 2  # tanh' (T, B, m)
    dh = np.zeros_like(h[0])  # from the next state; after the last there is none
    for t in reversed(range(T)):
        dz[t] += dh
        dz[t] *= slope[t]
        np.matmul(dz[t], W_hh_T, out=dh)
    flat_z = dz.reshape(T * B, m)
    one_hot = np.eye(K, dtype=dz.dtype)[x.reshape(T * B)]  # (T·B, K)
    grads = {
        "W_xh": one_hot.T @ flat_z,  # each row: the sum over the places of its character
        "W_hh": h[:-1].reshape(T * B, m).T @ flat_z,
        "b_h": flat_z.sum(axis=0),
        "W_hy": out.reshape(T * B, m).T @ flat,
        "b_y": flat.sum(axis=0),
    }
    return grads, dh


# ---- the course's update ----


class AdaGrad:
    """Steps divided by the root of all squared gradients so far.  Source: Duchi et al. 2011."""

    def __init__(self, params, learning_rate=0.1, eps=1e-10):
        check_parameters(params)
        check_number("learning_rate", learning_rate)
        check_number("eps", eps, 0, ends="()")
        self.params, self.learning_rate, self.eps = params, learning_rate, eps
        self.squares = {name: np.zeros_like(p) for name, p in params.items()}

    def step(self, grads):
        """Change the parameters in place by one step; grads is left as it is."""
        check_gradients_match(self.params, grads)
        for name, w in self.params.items():
            g, s = grads[name], self.squares[name]
            for rows in blocks(w):
                s[rows] += g[rows] * g[rows]
                w[rows] -= self.learning_rate * g[rows] / (np.sqrt(s[rows]) + self.eps)


def clip_values(grads, limit=5.0):
    """Cut every entry of the gradients to ± limit, in place.  Source: KTH DD2424, assignment 4."""
    for g in grads.values():
        np.clip(g, -limit, limit, out=g)


# ---- training and evaluation ----


def make_streams(ids, batch_size):
    """Return x and y (L, B): the text cut into B equal streams, y the character after x's."""
    L = (len(ids) - 1) // batch_size
    if L < 1:
        raise ValueError(f"the text has {len(ids)} characters; {batch_size} streams need more")
    x = ids[: L * batch_size].reshape(batch_size, L).T
    y = ids[1 : L * batch_size + 1].reshape(batch_size, L).T
    return np.ascontiguousarray(x), np.ascontiguousarray(y)


def check_ids(ids, K):
    """Raise ValueError unless ids is (N,) integers from 0 to K − 1, N at least 2."""
    kind = np.asarray(ids).dtype
    check_shape("ids", ids, (None,))
    if not np.issubdtype(kind, np.integer):
        raise ValueError(f"ids has dtype {kind}; it must be integers: encode the text first")
    if len(ids) < 2:
        raise ValueError("ids has 1 character; there is nothing that comes after it")
    if ids.min() < 0 or ids.max() >= K:
        raise ValueError(f"ids has values {ids.min()} … {ids.max()}; the network knows 0 … {K - 1}")


def train_rnn(
    params, optimizer, ids, num_steps, *, length=25, batch_size=1, clip=clip_values, carry=True,
    dropout=0.0, schedule=None, rng=None, watch=None,
):  # fmt: skip
    """Train on one chunk (length, batch_size) after the other, in the order of the text.

    Args:
        ids: (N,) the text. clip: changes the gradients in place, or None. schedule: step → rate.
        carry: whether the state at a chunk's end is that before the next one. At the text's end
            reading begins again, with zeros.
        rng: for dropout. watch(step, params, h): called before each step and after the last.
    Returns: {"loss": (num_steps,) nats per character of each chunk, "h": (batch_size, m) the last
        state, "seconds": without watch}.
    Raises: FloatingPointError where the loss is not finite.
    """
    K, m = params["W_xh"].shape
    check_ids(ids, K)
    check_whole(num_steps=num_steps, length=length, batch_size=batch_size)
    check_number("dropout", dropout, 0, 1)
    if dropout:
        check_rng(rng)
    x, y = make_streams(ids, batch_size)
    length = min(length, len(x))
    zeros = np.zeros((batch_size, m), params["W_hh"].dtype)
    h, place, mask, losses, seconds = zeros, 0, None, np.empty(num_steps), 0.0
    for step in range(num_steps):
        if place + length > len(x):
            h, place = zeros, 0
        if watch:
            watch(step, params, h)
        started = time.perf_counter()
        chunk = slice(place, place + length)
        if dropout:
            mask = rng.random((length, batch_size, m), dtype=np.float32) >= dropout
            mask = mask.astype(h.dtype) / h.dtype.type(1 - dropout)
        logits, cache = rnn_forward(params, x[chunk], h, mask)
        loss, dlogits = sequence_loss(logits, y[chunk])
        losses[step] = loss / length
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {step}; lower the learning rate")
        grads, _ = rnn_backward(params, dlogits, cache)
        if clip:
            clip(grads)
        if schedule:
            optimizer.learning_rate = schedule(step)
        optimizer.step(grads)
        h = cache[1][-1] if carry else zeros
        place += length
        seconds += time.perf_counter() - started
    if watch:
        watch(num_steps, params, h)
    return {"loss": losses, "h": h, "seconds": seconds}


def evaluate_rnn(params, ids, batch_size=16, length=100, h=None):
    """Return the nats per character on a text (N,), read in batch_size streams side by side.

    h: (any number, m) states to begin with, which the streams take in turn; zeros where None. A
        network that learnt with a carried state should be given one: train_rnn's last.
    """
    check_ids(ids, len(params["W_xh"]))
    x, y = make_streams(ids, min(batch_size, len(ids) - 1))
    m, total = len(params["W_hh"]), 0.0
    h = np.zeros((1, m), params["W_hh"].dtype) if h is None else h
    check_shape("h", h, (None, m))
    h = np.resize(h, (x.shape[1], m))  # its rows, again and again
    for place in range(0, len(x), length):
        logits, cache = rnn_forward(params, x[place : place + length], h)
        total += sequence_loss(logits, y[place : place + length])[0]
        h = cache[1][-1]
    return total / len(x)


def smooth_losses(losses, length=25, keep=0.999):
    """Return the running average that the course plots, in nats per chunk of length characters:
    s ← keep · s + (1 − keep) · loss, from the first loss on. losses: (steps,) per character."""
    smooth, s = np.empty(len(losses)), losses[0]
    for step, loss in enumerate(losses):
        s = smooth[step] = keep * s + (1 - keep) * loss
    return length * smooth
