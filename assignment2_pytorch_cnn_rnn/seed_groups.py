"""Train a group of seeds at once: their parameters are stacked along a first axis of size S.

Nothing mixes along that axis, so each seed learns what it would learn alone; `rows_per_seed` then
makes a row per seed out of the group's row of a sweep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional as F

Stack = dict[str, torch.Tensor]  # {name: (S, *shape)}


def stack_seeds(build: Callable, seeds: Sequence[int]) -> Stack:
    """Return the start parameters of build() for every seed, stacked.

    Each start is what build() gives after torch.manual_seed(seed); the random numbers of the
    caller go on as if nothing had been drawn.
    """
    if not len(seeds) or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds is {tuple(seeds)}; it must be 1 or more, all different")
    starts = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            starts.append({name: p.detach() for name, p in build().named_parameters()})
    return stack_weights(starts)


def stack_weights(networks: Sequence[Stack]) -> Stack:
    """Return the weights of S networks, {name: (*shape)} each, as one stack; a copy."""
    return {name: torch.stack([one[name] for one in networks]) for name in networks[0]}


def pick(stack: Stack, index) -> Stack:
    """Return the parameters of some seeds: an int for one network, a mask or list for a stack."""
    return {name: values[index].clone() for name, values in stack.items()}


def group_losses(model, stack: Stack, x, y) -> torch.Tensor:
    """Return each seed's mean cross-entropy in nats, (S,). x: (S, N, T); y: (S, N)."""
    logits = functional_call(model, stack, (x,))  # (S, N, K)
    return F.cross_entropy(logits.movedim(-1, 1), y, reduction="none").mean(dim=1)


@torch.no_grad()
def group_accuracy(model, stack: Stack, x, y, batch_size: int = 1_000) -> torch.Tensor:
    """Return each seed's share of right answers on the same examples, (S,) float64."""
    num_seeds, right = len(next(iter(stack.values()))), 0.0
    for x_part, y_part in zip(x.split(batch_size), y.split(batch_size), strict=True):
        logits = functional_call(model, stack, (x_part.expand(num_seeds, *x_part.shape),))
        found = (logits.argmax(dim=-1) == y_part) & logits.isfinite().all(dim=-1)
        right = right + found.double().sum(dim=1)
    return right / len(x)


def clip_per_seed(grads: list[torch.Tensor], max_norm: float | None):
    """Return the gradients, each seed's scaled to a joint norm of at most max_norm, and the norms
    before, (S,). None: as they are. The formula is torch.nn.utils.clip_grad_norm_'s.

    Not in place: the gradients of torch's two biases are one and the same tensor.
    """
    norms = torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)  # (S,)
    if max_norm is None:
        return grads, norms
    scale = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    return [grad * scale.view(-1, *[1] * (grad.ndim - 1)) for grad in grads], norms


def rmsprop_step(values, grad, square, learning_rate, alpha=0.99, eps=1e-8) -> None:
    """Change values and their running mean of squared gradients, in place.

    Source: Tieleman & Hinton 2012, lecture 6.5; torch.optim.RMSprop's formula and defaults.
    """
    square.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
    values.addcdiv_(grad, square.sqrt().add_(eps), value=-learning_rate)


class BatchDrawer:
    """Each seed draws its own batches from the same examples, with its own generator."""

    def __init__(self, x, y, batch_size, seeds):
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
        self.x, self.y, self.batch_size = x, y, batch_size
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(self):
        """Return x (S, N, T) and y (S, N), drawn with replacement."""
        size = (self.batch_size,)
        rows = [torch.randint(len(self.x), size, generator=g) for g in self.generators]
        rows = torch.stack(rows)
        return self.x[rows], self.y[rows]

    def keep(self, alive):
        """Forget the seeds that are done."""
        self.generators = [g for g, here in zip(self.generators, alive, strict=True) if here]


def train_group(
    build: Callable, train, val, seeds: Sequence[int], *, learning_rate: float, num_steps: int,
    batch_size: int = 128, max_norm: float | None = 10.0, check_every: int = 100,
    enough: float = 0.999, start: Sequence[Stack] | None = None,
) -> dict:  # fmt: skip
    """Train one network per seed, all at once; one that is good enough on validation stops.

    Args:
        build: () → module that takes digits; see stack_seeds. start: the weights to begin with,
            of each seed, instead.
        train, val: (x (N, T), y (N,)). max_norm: clip before the step; None: never.
        enough: validation accuracy at which a seed stops. It is looked at every check_every steps.
    Returns: S values each, in the order of the seeds: "weights", as they were best on validation;
        "val_accuracy" with them; "solved_step", NaN where never; "steps" made, and the share of
        them that was "clipped"; and per check "curve", the validation accuracy, and "norm", of the
        last gradient before clipping, of a stopped seed its last one.
    """
    if num_steps < 1 or check_every < 1 or not learning_rate > 0:
        sizes = f"{num_steps}, {check_every} and {learning_rate}"
        raise ValueError(f"num_steps, check_every, learning_rate are {sizes}; all must be above 0")
    model, S = build(), len(seeds)
    best = stack_seeds(build, seeds) if start is None else stack_weights(start)
    stack = {name: values.clone().requires_grad_() for name, values in best.items()}
    squares = {name: torch.zeros_like(values) for name, values in best.items()}
    drawer, alive = BatchDrawer(*train, batch_size, seeds), torch.arange(S)
    accuracy, norms, solved_step = torch.full((3, S), torch.nan, dtype=torch.float64)
    highest, steps, clipped = torch.full((S,), -1.0).double(), torch.zeros(S), torch.zeros(S)
    curves, norm_curves = [], []
    for step in range(1, num_steps + 1):
        losses = group_losses(model, stack, *drawer.draw())
        grads = torch.autograd.grad(losses.sum(), list(stack.values()))
        grads, last_norms = clip_per_seed(list(grads), max_norm)  # before the step
        clipped[alive] += last_norms > (math.inf if max_norm is None else max_norm)
        with torch.no_grad():
            for name, grad in zip(stack, grads, strict=True):
                rmsprop_step(stack[name], grad, squares[name], learning_rate)
        if step % check_every and step < num_steps:
            continue
        now = group_accuracy(model, stack, *val)
        accuracy[alive], norms[alive], steps[alive] = now, last_norms.double(), float(step)
        better = now > highest[alive]
        for name, values in stack.items():
            best[name][alive[better]] = values.detach()[better]
        highest[alive] = torch.maximum(now, highest[alive])
        solved_step[alive[now >= enough]] = float(step)
        curves.append(accuracy.clone())
        norm_curves.append(norms.clone())
        going_on = now < enough
        if not going_on.any():
            break
        if not going_on.all():
            stack = {name: p.detach()[going_on].requires_grad_() for name, p in stack.items()}
            squares, alive = pick(squares, going_on), alive[going_on]
            drawer.keep(going_on)
    results = {"val_accuracy": highest, "solved_step": solved_step, "steps": steps}
    results["clipped"] = clipped / steps
    results |= {"curve": torch.stack(curves, dim=1), "norm": torch.stack(norm_curves, dim=1)}
    weights = [pick(best, i) for i in range(S)]
    return {"weights": weights} | {name: values.numpy() for name, values in results.items()}


def rows_per_seed(rows: list[dict]) -> list[dict]:
    """Return a row per seed from the rows of a sweep whose "seed" is a tuple of S seeds.

    Args: rows: each with "per_seed", {metric: S values, in the order of the seeds}. Its own
        "seconds", of the whole group, are shared out equally; everything else is repeated.
    """
    made = []
    for row in rows:
        seeds, per_seed = row["seed"], row["per_seed"]
        if wrong := [name for name, values in per_seed.items() if len(values) != len(seeds)]:
            raise ValueError(f"{', '.join(wrong)} of {row['setting']!r} need {len(seeds)} values")
        shared = {name: value for name, value in row.items() if name != "per_seed"}
        shared["seconds"] = row["seconds"] / len(seeds)
        for i, seed in enumerate(seeds):
            own = {name: values[i] for name, values in per_seed.items()}
            own = {
                k: v.item() if np.ndim(v) == 0 and hasattr(v, "item") else v for k, v in own.items()
            }
            made.append({**shared, "seed": seed, **own})
    return made
