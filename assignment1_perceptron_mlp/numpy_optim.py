"""Optimisers that change NumPy parameters in place, and learning-rate schedules.

Names and meanings are torch's. weight_decay λ adds λ W to the gradient of every matrix W, which is
the gradient of the penalty (λ/2)‖W‖²; a course that writes λ‖W‖² has weight_decay = 2λ. Vectors
(biases, batch-norm scales and shifts) are not decayed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Schedule = Callable[[int], float]


def check_gradients_match(params, grads):
    """Raise ValueError unless grads has the keys and shapes of params."""
    if params.keys() != grads.keys():
        raise ValueError(f"grads has keys {sorted(grads)}; it must have {sorted(params)}")
    for name, p in params.items():
        if grads[name].shape != p.shape:
            raise ValueError(f"grads[{name!r}] has shape {grads[name].shape}, not {p.shape}")


def check_rates(learning_rate, weight_decay, **fractions):
    """Raise ValueError for a negative rate, or a fraction outside [0, 1)."""
    for name, value in {"learning_rate": learning_rate, "weight_decay": weight_decay}.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; it must be 0 or more")
    for name, value in fractions.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; it must be in [0, 1)")


def check_whole(**numbers):
    """Raise ValueError for a number of steps below 1."""
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more")


def blocks(array, size=32_768):
    """Return slices of whole rows, about size numbers each: a block's arithmetic, temporaries
    included, stays in the processor's cache, which halves the time for a large matrix."""
    if array.ndim == 0:
        return [...]
    rows = max(1, size * len(array) // max(1, array.size))
    return [slice(start, start + rows) for start in range(0, len(array), rows)]


class SGD:
    """Gradient descent: v ← momentum · v + g, W ← W − learning_rate · v (nesterov looks ahead)."""

    def __init__(self, params, learning_rate, momentum=0.0, weight_decay=0.0, nesterov=False):
        check_rates(learning_rate, weight_decay, momentum=momentum)
        self.params, self.learning_rate = params, learning_rate
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.velocity = {name: np.zeros_like(p) for name, p in params.items()} if momentum else {}

    def step(self, grads):
        """Change the parameters in place by one step; grads is left as it is."""
        check_gradients_match(self.params, grads)
        for name, whole in self.params.items():
            for rows in blocks(whole):
                p, update = whole[rows], grads[name][rows]
                if self.weight_decay and p.ndim > 1:
                    update = update + self.weight_decay * p
                if self.momentum:
                    v = self.velocity[name][rows]
                    v *= self.momentum
                    v += update
                    update = update + self.momentum * v if self.nesterov else v
                p -= self.learning_rate * update


class Adam:
    """Adam with decoupled weight decay (torch's AdamW).

    Source: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019 for the decay.
    """

    def __init__(self, params, learning_rate=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        check_rates(learning_rate, weight_decay, beta1=betas[0], beta2=betas[1])
        self.params, self.learning_rate = params, learning_rate
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.m = {name: np.zeros_like(p) for name, p in params.items()}
        self.v = {name: np.zeros_like(p) for name, p in params.items()}
        self.t = 0

    def step(self, grads):
        """Change the parameters in place by one step; grads is left as it is."""
        check_gradients_match(self.params, grads)
        self.t += 1
        (b1, b2), t = self.betas, self.t
        for name, whole in self.params.items():
            for rows in blocks(whole):
                p, g, m, v = (a[rows] for a in (whole, grads[name], self.m[name], self.v[name]))
                m += (1 - b1) * (g - m)
                v += (1 - b2) * (g * g - v)
                if self.weight_decay and p.ndim > 1:
                    p *= 1 - self.learning_rate * self.weight_decay
                m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
                p -= self.learning_rate * m_hat / (np.sqrt(v_hat) + self.eps)


def clip_gradients(grads, max_norm):
    """Scale all gradients in place so that their joint norm is at most max_norm; return the norm
    before.  Source: Pascanu et al. 2013."""
    if not max_norm > 0:
        raise ValueError(f"max_norm is {max_norm}; it must be above 0")
    norm = math.sqrt(sum(float(np.vdot(g, g)) for g in grads.values()))
    if norm > max_norm:
        for g in grads.values():
            g *= max_norm / norm
    return norm


def constant(learning_rate: float) -> Schedule:
    """The same rate at every step."""
    return lambda step: learning_rate


def piecewise_linear(knots, values) -> Schedule:
    """Straight lines between (knots, values), in steps; constant beyond the ends."""
    if len(knots) != len(values) or len(knots) == 0 or list(knots) != sorted(knots):
        raise ValueError(f"knots is {list(knots)}; it must rise and be as long as values")
    return lambda step: float(np.interp(step, knots, values))


def step_decay(learning_rate: float, step_size: int, gamma: float = 0.1) -> Schedule:
    """Multiply the rate by gamma every step_size steps."""
    check_whole(step_size=step_size)
    return lambda step: learning_rate * gamma ** (step // step_size)


def warmup_cosine(learning_rate: float, num_steps: int, warmup_steps: int = 0) -> Schedule:
    """Rise in a straight line to learning_rate, then fall to 0 as half a cosine.

    Source: Loshchilov & Hutter 2017, equation 5; warm-up: Goyal et al. 2017.
    """
    check_whole(num_steps=num_steps)
    if not 0 <= warmup_steps <= num_steps:
        raise ValueError(f"warmup_steps is {warmup_steps}; it must be 0 … {num_steps}")

    def schedule(step):
        if step < warmup_steps:
            return learning_rate * (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
        return 0.5 * learning_rate * (1 + math.cos(math.pi * min(1.0, progress)))

    return schedule


def triangular(lr_min: float, lr_max: float, half_cycle: int) -> Schedule:
    """Cycle lr_min → lr_max → lr_min, half_cycle steps each way.  Source: Smith 2017."""
    check_whole(half_cycle=half_cycle)

    def schedule(step):
        position = step % (2 * half_cycle) / half_cycle
        return lr_min + (lr_max - lr_min) * (1 - abs(position - 1))

    return schedule


class ReduceOnPlateau:
    """A rate that is multiplied by factor when the validation loss has not fallen for longer than
    patience reports. Call it like any schedule; tell it each validation loss with update."""

    def __init__(self, learning_rate, factor=0.5, patience=2):
        check_rates(learning_rate, 0, factor=factor)
        if patience < 0:
            raise ValueError(f"patience is {patience}; it must be 0 or more")
        self.learning_rate, self.factor, self.patience = learning_rate, factor, patience
        self.best, self.waited = math.inf, 0

    def __call__(self, step):
        return self.learning_rate

    def update(self, val_loss):
        """Count a report without improvement; after too many, lower the rate."""
        if val_loss < self.best:
            self.best, self.waited = val_loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.learning_rate, self.waited = self.learning_rate * self.factor, 0
