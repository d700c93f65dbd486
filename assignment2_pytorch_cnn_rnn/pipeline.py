"""From data to a trained model in plain PyTorch: a data set, loaders, a start, the training loop.

A data set follows Python's own protocol, len(dataset) and dataset[i]. A loader is whatever can be
looped over and gives batches (x, y). Randomness comes from a torch.Generator that is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from shared.training import batches

# ---- the line: y = slope · x + intercept + noise ----


def noisy_line(num_examples, generator, slope=2.0, intercept=0.5, noise=1.0):
    """Return x (N, 1) from U(-2, 2) and y (N, 1) = slope · x + intercept + e, e ~ N(0, noise²)."""
    x = 4 * torch.rand(num_examples, 1, generator=generator) - 2
    e = noise * torch.randn(num_examples, 1, generator=generator)
    return x, slope * x + intercept + e


def least_squares(x, y):
    """Return the slope and intercept with the smallest mean squared error. x, y: (N, 1)."""
    centred = x - x.mean()  # its sum is 0
    slope = (centred * y).sum() / (centred**2).sum()
    intercept = y.mean() - slope * x.mean()  # through the centre of the points
    return slope.item(), intercept.item()


def mse_gradient(x, y, slope, intercept):
    """Return dL/dslope, dL/dintercept of L = mean((slope · x + intercept - y)²). x, y: (N, 1)."""
    error = slope * x + intercept - y  # (N, 1)
    return 2 * (error * x).mean(), 2 * error.mean()


# ---- data sets and loaders ----


class Pairs:
    """A data set of inputs and targets: pairs[i] is (x_i, y_i)."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor):
        if len(x) != len(y) or len(x) == 0:
            raise ValueError(f"x has {len(x)} examples and y {len(y)}; equally many, 1 or more")
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Shuffle:
    """The indices 0 … num_examples - 1, in a new order at each pass; all drawn from generator."""

    def __init__(self, num_examples: int, generator: torch.Generator):
        self.num_examples, self.generator = num_examples, generator

    def __len__(self):
        return self.num_examples

    def __iter__(self):
        yield from torch.randperm(self.num_examples, generator=self.generator).tolist()


def stack(examples: list[tuple]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one batch, x (B, …) and y (B, …), of B pairs (x_i, y_i)."""
    xs, ys = zip(*examples, strict=True)
    return torch.stack(xs), torch.stack(ys)


def check_batch_size(batch_size, num_examples) -> None:
    """Raise ValueError unless batch_size is a whole number from 1 to num_examples."""
    whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
    if not whole or not 1 <= batch_size <= num_examples:
        raise ValueError(f"batch_size is {batch_size!r}; it must be 1 … {num_examples} examples")


class Loader:
    """Batches of a data set, in the order of the indices `order`; as stored where it is None."""

    def __init__(self, dataset, batch_size: int, order: Sequence | None = None, drop_last=False):
        check_batch_size(batch_size, len(dataset))
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.order = range(len(dataset)) if order is None else order

    def __len__(self):
        if self.drop_last:
            return len(self.order) // self.batch_size
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self):
        examples = []
        for index in self.order:
            examples.append(self.dataset[index])
            if len(examples) == self.batch_size:
                yield stack(examples)
                examples = []
        if examples and not self.drop_last:
            yield stack(examples)  # the last batch may be short


class TensorBatches:
    """Shuffled batches of tensors that lie in memory: indexed once per batch, not per example."""

    def __init__(self, x, y, batch_size: int, generator: torch.Generator):
        check_batch_size(batch_size, len(Pairs(x, y)))
        self.x, self.y, self.batch_size, self.generator = x, y, batch_size, generator

    def __len__(self):
        return len(self.x) // self.batch_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in batches(len(self.x), self.batch_size, self.generator):  # (B,) indices
            yield self.x[batch], self.y[batch]


# ---- a start, and the loop ----


def init_xavier(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw linear weights from U(-a, a), a = √(6 / (in + out)); set biases to 0; return the model.

    Source: Glorot & Bengio 2010, equation 16."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: Iterable,
    num_epochs: int,
    loss_fn: Callable = F.mse_loss,
) -> list[float]:
    """Train for num_epochs passes over the loader's batches; return the loss of every step."""
    model.train()
    losses = []
    for _ in range(num_epochs):
        for x, y in loader:
            loss = loss_fn(model(x), y)
            optimizer.zero_grad()  # forget the gradients of the step before
            loss.backward()  # adds dloss/dp to p.grad, for each parameter p
            optimizer.step()  # each p moves against its p.grad
            losses.append(loss.item())  # a number; the tensor would keep its graph
    return losses
