"""Augmentation of whole batches at once: each image is moved, mirrored or cut by its own draw.

Every function takes x (N, C, H, W) and a torch.Generator, returns a new tensor of the same shape
and type, and changes nothing in place. Random numbers are drawn where the generator lives and
then brought to the images' device.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def check_batch(x: torch.Tensor) -> None:
    """Raise ValueError unless x is a batch of images (N, C, H, W), N ≥ 1."""
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; it must be (N, C, H, W) without empty axes"
        )


def windows_at(x: torch.Tensor, top: torch.Tensor, left: torch.Tensor, size: tuple[int, int]):
    """Return from each image of x (N, C, H, W) the window of `size` (h, w) at its own place.

    Args: top, left: (N,) whole numbers, the window's first row and column in each image.
    """
    windows = x.unfold(2, size[0], 1).unfold(3, size[1], 1)  # a view (N, C, H', W', h, w)
    return windows[torch.arange(len(x), device=x.device), :, top, left]  # a copy (N, C, h, w)


def random_crop(x: torch.Tensor, generator: torch.Generator, padding: int = 4, mode="reflect"):
    """Return x (N, C, H, W), each image moved by up to `padding` pixels down, up, left and right.

    Args:
        padding: pixels, 0 or more; with mode "reflect" less than H and W.
        mode: what comes in at the edge: "reflect", "replicate" or "constant" (zeros).
    """
    check_batch(x)
    N, _, H, W = x.shape
    if padding < 0 or (mode == "reflect" and padding >= min(H, W)):
        raise ValueError(f"padding is {padding}; it must be 0 … {min(H, W) - 1} for {H} × {W}")
    padded = F.pad(x, (padding,) * 4, mode=mode)
    draw = torch.randint(2 * padding + 1, (2, N), generator=generator, device=generator.device)
    top, left = draw.to(x.device)
    return windows_at(padded, top, left, (H, W))


def flip_where(x: torch.Tensor, flipped: torch.Tensor):
    """Return x (N, C, H, W) with images mirrored left to right where flipped (N,) is true."""
    return torch.where(flipped.to(x.device).view(-1, 1, 1, 1), x.flip(3), x)


def random_flip(x: torch.Tensor, generator: torch.Generator, p: float = 0.5):
    """Return x (N, C, H, W), each image mirrored left to right with probability p."""
    check_batch(x)
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}; it must be a probability, 0 … 1")
    return flip_where(x, torch.rand(len(x), generator=generator, device=generator.device) < p)


def flip_and_crop(x: torch.Tensor, generator: torch.Generator):
    """Return x (N, C, H, W) mirrored half of the time and moved by up to 4 pixels."""
    return random_crop(random_flip(x, generator), generator)
