"""Optimisers that change parameters in place: the formulas as functions, the books as classes.

Names and meanings are torch's. weight_decay λ adds λ w to the gradient of every matrix w, which is
the gradient of the penalty (λ/2)‖w‖²; a course that writes λ‖w‖² has weight_decay = 2λ. Vectors
(biases, batch-norm scales and shifts) are not decayed. Schedules of the rate are in schedules.py.
"""

from __future__ import annotations

import math

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import check_number


def sgd_update(w, g, v, learning_rate, momentum=0.0, weight_decay=0.0, nesterov=False):
    """Make one step of gradient descent in place: v ← momentum · v + g, w ← w − learning_rate · v.

    w, g, v: parameter, gradient and velocity of one shape, NumPy arrays or torch tensors. v starts
    at 0 and is not used (None will do) without momentum.
    """
    if weight_decay:
        g = g + weight_decay * w  # a new array: the caller's g stays as it is
    if momentum:
        v *= momentum
        v += g
        g = g + momentum * v if nesterov else v  # nesterov: where the velocity will carry it
    w -= learning_rate * g


def adam_update(w, g, m, v, t, learning_rate, betas, eps, weight_decay=0.0):
    """Make step t = 1, 2 … of Adam in place, with decoupled weight decay (torch's AdamW).

    w, g, m, v: parameter, gradient and running means of g and g², of one shape; m, v start at 0.
    Source: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019 for the decay.
    """
    b1, b2 = betas
    m += (1 - b1) * (g - m)
    v += (1 - b2) * (g * g - v)
    m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)  # means that began at 0 are too small
    if weight_decay:
        w *= 1 - learning_rate * weight_decay
    w -= learning_rate * m_hat / (v_hat**0.5 + eps)


def check_parameters(params):
    """Raise ValueError unless params is {name: float array}, not empty."""
    if not isinstance(params, dict) or not params:
        raise ValueError(f"params is {params!r}; it must be a dict of arrays, not empty")
    for name, p in params.items():
        if not isinstance(p, np.ndarray) or not np.issubdtype(p.dtype, np.floating):
            kind = p.dtype if isinstance(p, np.ndarray) else type(p).__name__
            raise ValueError(f"params[{name!r}] is {kind}; it must be an array of floats")


def check_gradients_match(params, grads):
    """Raise ValueError unless grads has the keys and shapes of params."""
    if not isinstance(grads, dict):
        raise ValueError(f"grads is a {type(grads).__name__}; it must be a dict of arrays")
    if params.keys() != grads.keys():
        raise ValueError(f"grads has keys {list(grads)}; it must have {list(params)}")
    for name, p in params.items():
        if np.shape(grads[name]) != p.shape:
            raise ValueError(f"grads[{name!r}] has shape {np.shape(grads[name])}, not {p.shape}")


def blocks(array, size=32_768):
    """Return slices of whole rows, about size numbers each: a block's arithmetic, temporaries
    included, stays in the processor's cache, which halves the time for a large matrix."""
    if array.ndim == 0:
        return [...]
    rows = max(1, size * len(array) // max(1, array.size))
    return [slice(start, start + rows) for start in range(0, len(array), rows)]


class SGD:
    """Gradient descent with momentum: sgd_update for every parameter, block by block."""

    def __init__(self, params, learning_rate, momentum=0.0, weight_decay=0.0, nesterov=False):
        check_parameters(params)
        check_number("learning_rate", learning_rate)
        check_number("momentum", momentum, 0, 1)
        check_number("weight_decay", weight_decay)
        if nesterov and not momentum:
            raise ValueError(f"nesterov is {nesterov}; it needs a momentum above 0")
        self.params, self.learning_rate = params, learning_rate
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.velocity = {name: np.zeros_like(p) for name, p in params.items()} if momentum else {}

    def step(self, grads):
        """Change the parameters in place by one step; grads is left as it is."""
        check_number("learning_rate", self.learning_rate)  # a schedule may have changed it
        check_gradients_match(self.params, grads)
        for name, w in self.params.items():
            g, v = np.asarray(grads[name]), self.velocity.get(name)
            decay = self.weight_decay if w.ndim > 1 else 0.0
            rates = (self.learning_rate, self.momentum, decay, self.nesterov)
            for rows in blocks(w):
                sgd_update(w[rows], g[rows], None if v is None else v[rows], *rates)


class Adam:
    """Adam with decoupled weight decay: adam_update for every parameter, block by block."""

    def __init__(self, params, learning_rate=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        check_parameters(params)
        check_number("learning_rate", learning_rate)
        check_number("weight_decay", weight_decay)
        check_number("eps", eps, 0, ends="()")
        if np.shape(betas) != (2,):
            raise ValueError(f"betas is {betas!r}; it must be two numbers")
        check_number("beta1", betas[0], 0, 1)
        check_number("beta2", betas[1], 0, 1)
        self.params, self.learning_rate = params, learning_rate
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.m = {name: np.zeros_like(p) for name, p in params.items()}
        self.v = {name: np.zeros_like(p) for name, p in params.items()}
        self.t = 0

    def step(self, grads):
        """Change the parameters in place by one step; grads is left as it is."""
        check_number("learning_rate", self.learning_rate)  # a schedule may have changed it
        check_gradients_match(self.params, grads)
        self.t += 1
        for name, w in self.params.items():
            g, m, v = np.asarray(grads[name]), self.m[name], self.v[name]
            decay = self.weight_decay if w.ndim > 1 else 0.0
            rates = (self.t, self.learning_rate, self.betas, self.eps, decay)
            for rows in blocks(w):
                adam_update(w[rows], g[rows], m[rows], v[rows], *rates)


def clip_gradients(grads, max_norm):
    """Scale all gradients in place so that their joint norm is at most max_norm; return the norm
    before.  Source: Pascanu et al. 2013."""
    check_number("max_norm", max_norm, 0, ends="()")
    squares = (np.square(g, dtype=np.float64).sum() for g in grads.values())  # float32 overflows
    norm = math.sqrt(sum(squares))
    if not math.isfinite(norm):
        raise FloatingPointError(f"the norm of the gradients is {norm}; no scaling can repair it")
    if norm > max_norm:
        for g in grads.values():
            g *= max_norm / norm
    return norm
