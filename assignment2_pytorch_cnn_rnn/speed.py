"""How a training step is computed fastest on this machine: measured, not assumed."""

from __future__ import annotations

import copy
import time

import torch
from torch.nn import functional as F

from shared.training import autocast

# The memory layout of images, and the type in which a forward pass computes.
WAYS = {
    "plain": (torch.contiguous_format, None),
    "channels last": (torch.channels_last, None),
    "bfloat16": (torch.contiguous_format, torch.bfloat16),
    "channels last, bfloat16": (torch.channels_last, torch.bfloat16),
}


def step_seconds(model, x, y, way: str, num_steps: int = 3) -> float:
    """Return the shortest time of a forward and backward pass in one of WAYS, in seconds.

    Args: x: (N, C, H, W); y: (N,) labels. The model itself is left as it is.
    """
    layout, dtype = WAYS[way]
    model, x = copy.deepcopy(model).to(memory_format=layout).train(), x.to(memory_format=layout)
    times = []
    for _ in range(num_steps + 1):  # the first prepares and does not count
        started = time.perf_counter()
        with autocast(dtype, x.device.type):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        loss.item()  # wait for the device
        times.append(time.perf_counter() - started)
    return min(times[1:])


def fastest_way(model, x, y, num_steps: int = 3) -> tuple[str, dict[str, float]]:
    """Return the fastest of WAYS for this model and batch, and the seconds per step of each."""
    seconds = {way: step_seconds(model, x, y, way, num_steps) for way in WAYS}
    return min(seconds, key=seconds.get), seconds
