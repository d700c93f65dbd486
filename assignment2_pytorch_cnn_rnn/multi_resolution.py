"""Handwritten digits on canvases of several sizes, and networks that read them.

A digit of MNIST keeps its size; the canvas around it is larger, and the digit lies anywhere on it.
Pictures are made when they are needed, from the digits and the places where they are pasted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from shared.training import autocast

DIGIT = 28  # rows and columns of a digit of MNIST
SIZES = (32, 48, 64)  # of the canvases, the course's


def check_pasted(digits, labels, sizes, places) -> None:
    """Raise ValueError unless each digit lies on its canvas, or covers it. Shapes: PastedDigits."""
    if digits.ndim != 4 or digits.shape[1:] != (1, DIGIT, DIGIT) or len(digits) == 0:
        raise ValueError(f"digits is {tuple(digits.shape)}; it must be (N, 1, {DIGIT}, {DIGIT})")
    if not digits.is_floating_point():
        raise ValueError(f"digits is {digits.dtype}; it must be floating point")
    shapes = [tuple(v.shape) for v in (labels, sizes, places)]
    N = len(digits)
    if shapes != [(N,), (N,), (N, 2)]:
        raise ValueError(f"labels, sizes, places are {shapes}; need ({N},), ({N},), ({N}, 2)")
    room = (sizes - DIGIT)[:, None]
    if (places < room.clamp(max=0)).any() or (places > room.clamp(min=0)).any():
        raise ValueError(
            "places has a digit that leaves its canvas; draw_places draws allowed ones"
        )


def check_pictures(x, halvings: int) -> None:
    """Raise ValueError unless x is (N, 1, H, W) and large enough to be halved that often."""
    if x.ndim != 4 or x.shape[1] != 1 or min(x.shape[2:]) < 2**halvings:
        needed = f"(N, 1, H, W) with H and W {2**halvings} or more"
        raise ValueError(f"x is {tuple(x.shape)}; it must be {needed}")


def draw_sizes(
    num_digits: int, generator: torch.Generator, sizes: Sequence[int] = SIZES
) -> torch.Tensor:
    """Return a canvas size for each digit, (N,): each size equally often, in random order."""
    if num_digits < 1 or not sizes or min(sizes) < 1:
        raise ValueError(f"num_digits is {num_digits} and sizes {sizes}; all must be 1 or more")
    order = torch.randperm(num_digits, generator=generator)
    return torch.as_tensor(sizes)[order % len(sizes)]


def draw_places(sizes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the row and column of each digit's upper left corner, (N, 2), all equally likely.

    Args: sizes: (N,), the canvas of each digit. On a canvas smaller than the digit places are 0 or
        negative, and the digit loses a part of its margin.
    """
    room = (sizes - DIGIT)[:, None]  # (N, 1): places from 0 to room, or from room to 0
    u = torch.rand(len(sizes), 2, generator=generator, dtype=torch.float64)
    return (u * (room.abs() + 1)).long() + room.clamp(max=0)


def paste(digits: torch.Tensor, size: int, places: torch.Tensor) -> torch.Tensor:
    """Return pictures (N, 1, size, size): each digit on an empty canvas, at its own place.

    Args: digits: (N, 1, 28, 28). places: (N, 2), row and column of the upper left corner.
    """
    margin = max(DIGIT - size, 0)  # what sticks out of a small canvas is cut off at the end
    canvas = digits.new_zeros(len(digits), size + 2 * margin, size + 2 * margin)
    rows, columns = (places[:, i, None] + margin + torch.arange(DIGIT) for i in (0, 1))  # (N, 28)
    n = torch.arange(len(digits))[:, None, None]
    canvas[n, rows[:, :, None], columns[:, None, :]] = digits[:, 0]
    return canvas[:, None, margin : margin + size, margin : margin + size]


def resize(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """Return pictures (N, 1, H, W) made size × size; what gets smaller is averaged, not skipped."""
    return F.interpolate(
        pictures, (size, size), mode="bilinear", antialias=True, align_corners=False
    )


@dataclass(frozen=True)
class PastedDigits:
    """Digits (N, 1, 28, 28), their labels (N,), canvas sizes (N,) and places (N, 2)."""

    digits: torch.Tensor
    labels: torch.Tensor
    sizes: torch.Tensor
    places: torch.Tensor

    def __post_init__(self):
        check_pasted(self.digits, self.labels, self.sizes, self.places)

    def __len__(self) -> int:
        return len(self.labels)

    def pictures(
        self, chosen: torch.Tensor, generator: torch.Generator | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (x (n, 1, R, R), y (n,)) for each canvas size R among the chosen digits.

        Args: chosen: indices. generator: draws new places; None leaves digits where they are.
        """
        for size in self.sizes[chosen].unique().tolist():
            part = chosen[self.sizes[chosen] == size]
            places = self.places[part]
            if generator is not None:
                places = draw_places(self.sizes[part], generator)
            yield paste(self.digits[part], size, places), self.labels[part]


def paste_all(
    digits: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    sizes: Sequence[int] = SIZES,
) -> PastedDigits:
    """Return the digits, each with a size and a place of its own."""
    drawn = draw_sizes(len(digits), generator, sizes)
    return PastedDigits(digits, labels, drawn, draw_places(drawn, generator))


def convolutions(widths: Sequence[int], norm: bool = False) -> nn.Sequential:
    """Return, for each width, convolution 3 × 3, max pooling 2 × 2, batch norm if wanted, ReLU.

    (N, 1, H, W) → (N, widths[-1], H // 8, W // 8) for three widths.
    """
    layers, C_in = [], 1
    for C in widths:
        layers += [nn.Conv2d(C_in, C, 3, padding=1), nn.MaxPool2d(2)]
        layers += [nn.BatchNorm2d(C)] if norm else []
        layers += [nn.ReLU()]
        C_in = C
    return nn.Sequential(*layers)


class FixedNet(nn.Module):
    """Convolutions, then a linear layer with a weight for every place: for one size of picture."""

    def __init__(self, size: int, widths: Sequence[int] = (16, 32, 64)):
        super().__init__()
        self.features = convolutions(widths)
        places = (size // 2 ** len(widths)) ** 2  # each layer halves rows and columns
        self.linear = nn.Linear(widths[-1] * places, 10)

    def forward(self, x):
        return self.linear(self.features(x).flatten(start_dim=1))


class VariableNet(nn.Module):
    """Convolutions, one number per channel by global pooling, then a linear layer."""

    def __init__(self, pooling: str, widths: Sequence[int] = (16, 32, 81), norm: bool = False):
        if pooling not in ("max", "mean"):
            raise ValueError(f"pooling is {pooling!r}; it must be max or mean")
        super().__init__()
        self.pooling, self.halvings = pooling, len(widths)
        self.features = convolutions(widths, norm)
        self.linear = nn.Linear(widths[-1], 10)

    def forward(self, x):
        check_pictures(x, self.halvings)
        h = self.features(x)  # (N, C, H', W'), of any height and width
        if self.pooling == "max":
            pooled = h.amax(dim=(2, 3))  # (N, C): each channel's best place
        else:
            pooled = h.mean(dim=(2, 3))
        return self.linear(pooled)  # (N, 10) logits


def accumulate(
    model: nn.Module,
    parts: Sequence[tuple[torch.Tensor, torch.Tensor]],
    dtype: torch.dtype | None = None,
) -> float:
    """Add the gradient of the mean loss over all digits to the parameters' .grad; return the loss.

    Args: parts: (x (n, 1, R, R), y (n,)) of each canvas size. dtype: as in shared.training.fit.
    """
    num_digits = sum(len(y) for _, y in parts)
    total = 0.0
    for x, y in parts:
        with autocast(dtype, x.device.type):
            loss = F.cross_entropy(model(x), y, reduction="sum") / num_digits
        loss.backward()  # adds to what the sizes before have left in .grad
        total += loss.item()
    return total
