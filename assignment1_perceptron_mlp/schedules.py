"""Learning-rate schedules: each is called with the number of steps made so far and returns a rate.

They are frozen dataclasses: they print their numbers, compare by them, and can be a setting of a
sweep. `ReduceOnPlateau` alone changes while it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import check_number, check_whole

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """The same rate at every step."""

    learning_rate: float

    def __post_init__(self):
        check_number("learning_rate", self.learning_rate)

    def __call__(self, step):
        return self.learning_rate


@dataclass(frozen=True)
class PiecewiseLinear:
    """Straight lines between the points (knots, values), in steps; constant beyond the ends."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        for name, numbers in {"knots": self.knots, "values": self.values}.items():
            if not np.iterable(numbers):
                raise ValueError(f"{name} is {numbers!r}; it must be a sequence of numbers")
            object.__setattr__(self, name, tuple(numbers))  # a list works too
            for number in getattr(self, name):
                check_number(f"a {name.removesuffix('s')}", number)
        rising = all(a < b for a, b in zip(self.knots, self.knots[1:], strict=False))
        if not rising or not self.knots or len(self.knots) != len(self.values):
            raise ValueError(f"knots is {self.knots}; it must rise and be as long as values")

    def __call__(self, step):
        return float(np.interp(step, self.knots, self.values))


@dataclass(frozen=True)
class StepDecay:
    """Multiply the rate by gamma every step_size steps."""

    learning_rate: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self):
        check_number("learning_rate", self.learning_rate)
        check_number("gamma", self.gamma, 0, 1, "(]")
        check_whole(step_size=self.step_size)

    def __call__(self, step):
        return self.learning_rate * self.gamma ** (step // self.step_size)


@dataclass(frozen=True)
class WarmupCosine:
    """Rise in a straight line to learning_rate, then fall to 0 as half a cosine.

    Source: Loshchilov & Hutter 2017, equation 5; warm-up: Goyal et al. 2017.
    """

    learning_rate: float
    num_steps: int
    warmup_steps: int = 0

    def __post_init__(self):
        check_number("learning_rate", self.learning_rate)
        check_whole(num_steps=self.num_steps)
        check_whole(0, warmup_steps=self.warmup_steps)
        if self.warmup_steps > self.num_steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps}; it must be 0 … {self.num_steps}"
            )

    def __call__(self, step):
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        falling_steps = max(1, self.num_steps - self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / falling_steps)
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Triangular:
    """Cycle lr_min → lr_max → lr_min, half_cycle steps each way.  Source: Smith 2017."""

    lr_min: float
    lr_max: float
    half_cycle: int

    def __post_init__(self):
        check_number("lr_min", self.lr_min)
        check_number("lr_max", self.lr_max, self.lr_min)
        check_whole(half_cycle=self.half_cycle)

    def __call__(self, step):
        position = step % (2 * self.half_cycle) / self.half_cycle  # 0 … 2
        height = 1 - abs(position - 1)  # 0 at both ends, 1 at the top
        return self.lr_min + (self.lr_max - self.lr_min) * height


class ReduceOnPlateau:
    """A rate that is multiplied by factor when the validation loss has not fallen for longer than
    patience reports. Call it like any schedule; tell it each validation loss with update."""

    def __init__(self, learning_rate, factor=0.5, patience=2):
        check_number("learning_rate", learning_rate)
        check_number("factor", factor, 0, 1)
        check_whole(0, patience=patience)
        self.learning_rate, self.factor, self.patience = learning_rate, factor, patience
        self.best, self.waited = math.inf, 0

    def __repr__(self):
        numbers = f"{self.learning_rate}, factor={self.factor}, patience={self.patience}"
        return f"ReduceOnPlateau({numbers})"

    def __call__(self, step):
        return self.learning_rate

    def update(self, val_loss):
        """Count a report without improvement; after too many, lower the rate."""
        if val_loss < self.best:
            self.best, self.waited = val_loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.learning_rate *= self.factor
            self.waited = 0
