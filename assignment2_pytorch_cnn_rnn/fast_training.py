"""How the record recipe trains: alternating flips, shifts, Lookahead, fast shifts of batch norm.

Source: K. Jordan 2024, 94% on CIFAR-10 in 3.29 seconds on a single GPU; written anew from its text.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from assignment2_pytorch_cnn_rnn.crop_flip import flip_where, random_crop, random_flip
from shared.training import autocast, batches, check_fit, evaluate, not_finite

FLIPS = ("alternating", "random", "none")


class AlternatingFlip:
    """Mirror a random half of the images in one epoch, and the other half in the next.

    Two epochs show each image from both sides, which independent draws do half of the time.
    """

    def __init__(self, num_examples: int, generator: torch.Generator):
        draw = torch.rand(num_examples, generator=generator, device=generator.device)
        self.first = (draw < 0.5).cpu()

    def __call__(self, x: torch.Tensor, index: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return x (B, C, H, W), the images number index (B,), as they are seen in this epoch."""
        return flip_where(x, self.first[index.cpu()] ^ (epoch % 2 == 1))


class Lookahead:
    """Slow weights that follow the fast ones of a model, and pull them back.

    update moves slow ← decay · slow + (1 − decay) · fast, and puts them into the model.
    Running statistics of batch norm are weights here, too.  Source: Zhang et al. 2019, algorithm 1.
    """

    def __init__(self, model: nn.Module):
        state = model.state_dict()  # shares memory with the model
        self.fast = [p for p in state.values() if p.is_floating_point()]
        self.slow = [p.clone() for p in self.fast]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Mix once; decay 0 forgets the slow weights, 1 undoes what was learnt since."""
        if not 0 <= decay <= 1:
            raise ValueError(f"decay is {decay}; it must be 0 … 1")
        for slow, fast in zip(self.slow, self.fast, strict=True):
            slow.lerp_(fast, 1 - decay)
            fast.copy_(slow)


def param_groups(model: nn.Module, learning_rate: float, weight_decay: float, bias_factor=64.0):
    """Return two groups for an optimiser: batch norm's β at a rate bias_factor times as high.

    Args: weight_decay: as torch's SGD takes it, for the weights; the β get the same pull per step.
    """
    betas = [m.bias for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    ids = {id(p) for p in betas}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in ids]
    return [
        {"params": others, "lr": learning_rate, "weight_decay": weight_decay},
        {
            "params": betas,
            "lr": learning_rate * bias_factor,
            "weight_decay": weight_decay / bias_factor,
        },
    ]


@dataclass(frozen=True)
class Recipe:
    """Settings of a training, each of which can be left out.

    learning_rate: at the top, per step, for the mean loss; warmup, final: its rise takes this share
    of the steps, and it ends at this share of the top. weight_decay: as torch's SGD takes it.
    bias_factor: how many times as fast batch norm's β learn. shift: pixels. lookahead: how much of
    the slow weights is kept per step near the end; 0 is without.
    """

    learning_rate: float = 1.5
    momentum: float = 0.85
    weight_decay: float = 0.0013
    bias_factor: float = 64.0
    batch_size: int = 1_024
    label_smoothing: float = 0.2
    flips: str = "alternating"
    shift: int = 2
    lookahead: float = 0.95
    warmup: float = 0.23
    final: float = 0.07

    def __post_init__(self):
        if self.flips not in FLIPS:
            raise ValueError(f"flips is {self.flips!r}; it must be one of {', '.join(FLIPS)}")
        for name in ("momentum", "label_smoothing", "lookahead", "warmup", "final"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more, below 1")

    def rate(self, progress: float) -> float:
        """Return the share of learning_rate at a progress of 0 … 1: a fifth, up to 1, down."""
        return float(np.interp(progress, (0, self.warmup, 1), (0.2, 1, self.final)))


class Augment:
    """The recipe's flips and shifts for the images number index (B,), in an epoch from 0 on."""

    def __init__(self, recipe: Recipe, num_examples: int, generator: torch.Generator):
        self.recipe, self.generator = recipe, generator
        self.alternate = AlternatingFlip(num_examples, generator)

    def __call__(self, x: torch.Tensor, index: torch.Tensor, epoch: int) -> torch.Tensor:
        if self.recipe.flips == "alternating":
            x = self.alternate(x, index, epoch)
        elif self.recipe.flips == "random":
            x = random_flip(x, self.generator)
        return random_crop(x, self.generator, padding=self.recipe.shift)


def one_step(net, optimizer, x, y, label_smoothing=0.0, dtype=None) -> float:
    """Make one step on a batch and return its loss. x: (B, 3, H, W); y: (B,)."""
    with autocast(dtype, x.device.type):
        loss = F.cross_entropy(net(x), y, label_smoothing=label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train_fast(net, train, recipe, num_epochs, generator, val=None, dtype=None):
    """Train net in place by the recipe; return a history like that of shared.training.fit.

    Args: train, val: (x, y), x (N, 3, H, W) and y (N,). dtype: torch.bfloat16, or None.
    """
    check_fit(train, val, num_epochs, recipe.batch_size)
    (x, y), device = train, next(net.parameters()).device
    groups = param_groups(net, recipe.learning_rate, recipe.weight_decay, recipe.bias_factor)
    optimizer = torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    tops = [group["lr"] for group in optimizer.param_groups]
    augment, lookahead = Augment(recipe, len(x), generator), Lookahead(net)
    num_steps = num_epochs * (len(x) // recipe.batch_size)
    history, seconds, step = [], 0.0, 0
    for epoch in range(num_epochs):
        net.train()
        started, losses = time.perf_counter(), []
        for batch in batches(len(x), recipe.batch_size, generator):
            for group, top in zip(optimizer.param_groups, tops, strict=True):
                group["lr"] = top * recipe.rate(step / num_steps)
            x_batch, y_batch = augment(x[batch], batch, epoch).to(device), y[batch].to(device)
            losses.append(one_step(net, optimizer, x_batch, y_batch, recipe.label_smoothing, dtype))
            if not math.isfinite(losses[-1]):
                raise not_finite(losses[-1], step, optimizer)
            step += 1
            if recipe.lookahead and step % 5 == 0:  # more and more of the slow weights
                lookahead.update(recipe.lookahead**5 * (step / num_steps) ** 3)
        if recipe.lookahead and epoch == num_epochs - 1 and step >= 5:
            lookahead.update(1.0)  # the slow weights are the result
        seconds += time.perf_counter() - started
        history.append(dict(epoch=epoch + 1, train_loss=float(np.mean(losses)), seconds=seconds))
        if val is not None:
            history[-1]["val_accuracy"] = evaluate(net, *val, dtype=dtype)[1]
    return {key: np.array([row[key] for row in history]) for key in history[0]}
