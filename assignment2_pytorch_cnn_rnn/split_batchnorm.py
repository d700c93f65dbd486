"""Batch norm where a batch is split: over the images of all processes, or of each part alone.

torch.nn.SyncBatchNorm is the former on GPUs; it refuses to train on a CPU, so here it is written
out, for any device. The latter is what a plain nn.BatchNorm2d does in each of many processes,
computed in a single one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F


def mean_over_processes(x: torch.Tensor) -> torch.Tensor:
    """Return the mean of x over all processes, of x's shape, the same in each; no gradient."""
    total = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / dist.get_world_size()


class MeanOverProcesses(torch.autograd.Function):
    """The mean of x over all processes, of x's shape; on the way back the mean of the gradients."""

    @staticmethod
    def forward(ctx, x):
        return mean_over_processes(x)

    @staticmethod
    def backward(ctx, dout):
        return mean_over_processes(dout)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with the mean and variance of the whole batch, of which each process has a part.

    All parts have the same size. First the mean, then the mean square around it: E[x²] − E[x]² in
    one go would lose all digits where the mean is large.
    """

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        n = x.numel() // x.shape[1] * dist.get_world_size()  # numbers per channel
        if n < 2:
            raise ValueError(f"x has shape {tuple(x.shape)}; a variance needs 2 numbers or more")
        mean = MeanOverProcesses.apply(x.mean(dim=(0, 2, 3)))  # (C,)
        centred = x - mean.view(1, -1, 1, 1)
        var = MeanOverProcesses.apply(centred.square().mean(dim=(0, 2, 3)))  # (C,)
        follow_(self, mean, var * n / (n - 1))
        scale = self.weight / (var + self.eps).sqrt()
        return centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class GhostBatchNorm2d(nn.BatchNorm2d):
    """Batch norm as `parts` processes would compute it, each with its own images alone.

    Part r has the images r, r + parts, … of a batch, as shared out by train_ddp; the running
    statistics are those of part 0.
    """

    def __init__(self, num_features: int, parts: int = 1, **options):
        super().__init__(num_features, **options)
        self.parts = parts

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        N, C, H, W = x.shape
        if N % self.parts:
            raise ValueError(f"x has {N} images; {self.parts} parts must have the same size")
        first = x.detach()[:: self.parts].double().transpose(0, 1).flatten(1)  # (C, N H W / parts)
        follow_(self, first.mean(dim=1), first.var(dim=1))
        x = x.reshape(N // self.parts, self.parts * C, H, W)  # a channel of each part by itself
        weight, bias = self.weight.repeat(self.parts), self.bias.repeat(self.parts)
        out = F.batch_norm(x, None, None, weight, bias, training=True, eps=self.eps)
        return out.view(N, C, H, W)


@torch.no_grad()
def follow_(layer: nn.BatchNorm2d, mean: torch.Tensor, var: torch.Tensor) -> None:
    """Move a layer's running statistics towards mean and var (C,), as torch does."""
    layer.num_batches_tracked += 1
    layer.running_mean.lerp_(mean.to(layer.running_mean), layer.momentum)
    layer.running_var.lerp_(var.to(layer.running_var), layer.momentum)


def replace_batchnorm(model: nn.Module, make: Callable[[int], nn.BatchNorm2d]) -> nn.Module:
    """Put make(C) in the place of each BatchNorm2d inside a model; return the model, changed.

    The new layers take over the parameters and buffers themselves: an optimiser still knows them.
    """
    for name, layer in model.named_children():
        if isinstance(layer, nn.BatchNorm2d):
            new = make(layer.num_features).train(layer.training)
            for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(new, key, getattr(layer, key))
            setattr(model, name, new)
        else:
            replace_batchnorm(layer, make)
    return model
