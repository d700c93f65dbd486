"""What a training step counts, and how long it takes on n devices: the arithmetic of scaling.md.

A step's bytes of gradients go around a ring of n devices in n pieces: each device sends
2 (n − 1) pieces of B / n bytes, one after the other, each with a latency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

BUCKET = 25 * 2**20  # bytes of gradients that DistributedDataParallel sends together
BACKWARD = 2 / 3  # of a step's operations: gradients of weights and of inputs, after one forward


@dataclass(frozen=True)
class Link:
    """A connection between two devices: bytes/s in each direction, seconds before a message."""

    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Counted:
    """What one image costs in training, and what a step costs for the parameters.

    forward, step: operations per image, a multiplication and an addition are two. activations:
    bytes per image kept for the backward pass. gradients: bytes.
    """

    parameters: int
    forward: int
    step: int
    activations: int
    gradients: int


def count(make_model: Callable[[], nn.Module], size: int, images: int = 2) -> Counted:
    """Count a model's training on images (3, size, size), in float32, without computing it."""
    with torch.device("meta"):
        model = make_model()
        x = torch.empty(images, 3, size, size)
        y = torch.empty(images, dtype=torch.int64)
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor):
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor  # alive, so that no other gets its place
        return tensor

    with FlopCounterMode(display=False) as forward, FlopCounterMode(display=False) as step:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = F.cross_entropy(model(x), y)
        forward_flops = forward.get_total_flops()
        loss.backward()
    parameters = sum(p.numel() for p in model.parameters())
    held = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return Counted(
        parameters,
        forward_flops // images,
        step.get_total_flops() // images,
        held // images,
        4 * parameters,
    )


def ring_bytes(num_bytes: float, n: int) -> float:
    """Return the bytes that each of n devices sends to sum up num_bytes over all of them.

    Source: Patarasuk and Yuan 2009: no algorithm sends less.
    """
    return 2 * (n - 1) / n * num_bytes


def ring_seconds(num_bytes: float, n: int, link: Link) -> float:
    """Return the seconds of a ring all-reduce of num_bytes over n devices."""
    return 2 * (n - 1) * link.latency + ring_bytes(num_bytes, n) / link.bandwidth


def step_seconds(compute: float, num_bytes: float, n: int, link: Link, overlap: bool) -> float:
    """Return the seconds of a step on n devices.

    Without overlap the gradients are summed up after the backward pass. With overlap they travel
    meanwhile, all but the last bucket, which is ready only when the pass ends.

    Args: compute: seconds of a step's forward and backward pass on each device.
    """
    if not overlap:
        return compute + ring_seconds(num_bytes, n, link)
    last = min(num_bytes, BUCKET)
    backward = BACKWARD * compute
    early = 2 * (n - 1) * link.latency * (num_bytes > last)
    early += ring_bytes(num_bytes - last, n) / link.bandwidth
    return compute - backward + max(backward, early) + ring_seconds(last, n, link)


def efficiency(compute: float, num_bytes: float, n: int, link: Link, overlap: bool) -> float:
    """Return the share of n devices' time that computes."""
    return compute / step_seconds(compute, num_bytes, n, link, overlap)


def most_devices(works: Callable[[int], bool], limit: int = 4096) -> int:
    """Return the largest of 1, 2, 4, … limit up to which works(n) holds for each."""
    n = 1
    while 2 * n <= limit and works(2 * n):
        n *= 2
    return n


def fit_link(times: dict[int, float]) -> Link:
    """Return latency and bandwidth of a ring of two from {bytes: seconds} of two sizes or more.

    For n = 2 the time is 2 · latency + bytes / bandwidth; the smallest size gives the latency.
    """
    small, large = min(times), max(times)
    if small == large or times[large] <= times[small]:
        raise ValueError(f"times is {times}; it needs two sizes, the larger one slower")
    bandwidth = (large - small) / (times[large] - times[small])
    return Link(bandwidth, max(0.0, times[small] - small / bandwidth) / 2)
