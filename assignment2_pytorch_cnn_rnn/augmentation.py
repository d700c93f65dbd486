"""Augmentation of a whole batch at once: images (N, C, H, W), randomness from a torch.Generator."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def affine_matrices(angle, scale, shift, height, width):
    """Return theta (N, 2, 3), which says of each place of the new image where to look in the old.

    Args:
        angle: (N,) radians, clockwise on the screen. scale: (N,) factors above 0.
        shift: (N, 2) pixels to the right and down.
        height, width: of the image, pixels; theta counts from −1 to 1 along both.
    Source: Jaderberg et al. 2015, equation 1.
    """
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    A = torch.stack([cos, sin, -sin, cos], dim=1).view(-1, 2, 2)  # turned back and shrunk back
    b = -(A @ shift[:, :, None])  # (N, 2, 1): moved back first
    half = torch.tensor([width / 2, height / 2], dtype=A.dtype, device=A.device)
    return torch.cat([A * half / half[:, None], b / half[:, None]], dim=2)


def transform(x, theta, fill=0.0):
    """Return the images x (N, C, H, W) as theta (N, 2, 3) says, in x's type; what was outside is
    `fill`. Between four pixels the value is interpolated."""
    places = F.affine_grid(theta, x.shape, align_corners=False)  # (N, H, W, 2), −1 … 1
    return F.grid_sample(x - fill, places.to(x.dtype), align_corners=False) + fill


def uniform(num_examples, size, generator, device):
    """Return num_examples numbers from −size to size, drawn where the generator lives."""
    drawn = torch.rand(num_examples, generator=generator, device=generator.device)
    return (size * (2 * drawn - 1)).to(device)


def random_affine(x, generator, degrees=10.0, scale=0.1, shift=2.0, fill=0.0):
    """Return each image of a batch turned, scaled and moved at random, in its own way.

    Args:
        x: (N, C, H, W) floats.
        degrees: an angle from −degrees to degrees.
        scale: a factor from 1/(1 + scale) to 1 + scale; its logarithm is uniform.
        shift: from −shift to shift pixels along both axes.
        fill: the value of what comes in from outside, such as paper.
    """
    check_images(x, fill)
    check_sizes(degrees=degrees, scale=scale, shift=shift)
    N, (H, W) = len(x), x.shape[2:]
    angle = uniform(N, math.radians(degrees), generator, x.device)
    factor = torch.exp(uniform(N, math.log1p(scale), generator, x.device))
    moves = torch.stack([uniform(N, shift, generator, x.device) for _ in "xy"], dim=1)
    return transform(x, affine_matrices(angle, factor, moves, H, W), fill)


def check_images(x, fill=0.0):
    """Raise ValueError unless x is a batch of float images, (N, C, H, W) with 1 or more of each."""
    if not torch.is_tensor(x) or not x.is_floating_point() or x.ndim != 4 or 0 in x.shape:
        found = f"{x.dtype} {tuple(x.shape)}" if torch.is_tensor(x) else type(x).__name__
        raise ValueError(f"x is {found}; it must be a float tensor (N, C, H, W), none of them 0")
    if not math.isfinite(fill):
        raise ValueError(f"fill is {fill}; it must be a finite number")


def check_sizes(**sizes):
    """Raise ValueError for the first size that is not a finite number of 0 or more."""
    for name, size in sizes.items():
        if not (isinstance(size, (int, float)) and 0 <= size < math.inf):
            raise ValueError(f"{name} is {size!r}; it must be a finite number, 0 or more")
