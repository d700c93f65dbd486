"""Convolutional networks for small photographs: three convolutions, and a VGG cut to size."""

from __future__ import annotations

import torch
from torch import nn

# The VGG of the course: channels in multiples of the width; "M" halves height and width.
VGG_PLAN = (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M")


def check_images(x: torch.Tensor, smallest: int = 1, exactly: int | None = None) -> None:
    """Raise ValueError unless x is a batch of colour images in floats, large enough for a network.

    Args: x: (N, 3, H, W), N ≥ 1. smallest: the least height and width in pixels; exactly: both.
    """
    if x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape:
        raise ValueError(f"x has shape {tuple(x.shape)}; it must be (N, 3, H, W) with N ≥ 1")
    if not x.is_floating_point():
        raise ValueError(f"x is {x.dtype}; it must be floats, see shared.training.to_tensor")
    if min(x.shape[2:]) < smallest:
        raise ValueError(f"x has images of {x.shape[2]} × {x.shape[3]}; at least {smallest} pixels")
    if exactly is not None and x.shape[2:] != (exactly, exactly):
        raise ValueError(
            f"x has images of {x.shape[2]} × {x.shape[3]}; it must be {exactly} × {exactly}"
        )


def check_positive(**numbers: int) -> None:
    """Raise ValueError for the first that is no whole number of 1 or more."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} is {number!r}; it must be a whole number, 1 or more")


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers of a model are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def conv_block(in_channels, out_channels, batchnorm=True, pool=False):
    """Return the layers conv 3 × 3, pooling if wanted, batch norm, ReLU, as a list.

    The largest of four, then ReLU, is the same as ReLU, then the largest; pooling first leaves a
    quarter of the numbers for the layers behind it.
    """
    layers = [nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not batchnorm)]
    if pool:
        layers.append(nn.MaxPool2d(2))
    if batchnorm:
        layers.append(nn.BatchNorm2d(out_channels))
    return [*layers, nn.ReLU()]


@torch.no_grad()
def he_start_(model: nn.Module) -> None:
    """Draw the weights of all convolutions from N(0, 2 / fan-in); biases start at 0.

    Source: He et al. 2015, equation 10.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                module.bias.zero_()


class ThreeConv(nn.Module):
    """Three convolutions, each with pooling, and one linear layer: (N, 3, 32, 32) → (N, K)."""

    def __init__(self, widths=(64, 128, 256), num_classes=10, batchnorm=True):
        super().__init__()
        first, second, third = widths
        check_positive(first=first, second=second, third=third, num_classes=num_classes)
        self.features = nn.Sequential(
            *conv_block(3, first, batchnorm, pool=True),
            *conv_block(first, second, batchnorm, pool=True),
            *conv_block(second, third, batchnorm, pool=True),
        )
        self.head = nn.Linear(third * 4 * 4, num_classes)

    def forward(self, x):
        check_images(x, exactly=32)
        maps = self.features(x)  # (N, M, 4, 4)
        return self.head(maps.flatten(1))


class ReducedVGG(nn.Module):
    """Eight convolutions and one linear layer: (N, 3, 32, 32) → (N, K).  Width 64 is the course's.

    Source: Simonyan & Zisserman 2015, as cut down by the course CS324.
    """

    def __init__(self, width=64, num_classes=10, batchnorm=True):
        super().__init__()
        check_positive(width=width, num_classes=num_classes)
        layers, channels = [], 3
        for item in VGG_PLAN:
            if item == "M":
                layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            else:
                layers += conv_block(channels, item * width, batchnorm)
                channels = item * width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x):
        check_images(x, exactly=32)
        return self.head(self.features(x).flatten(1))  # five halvings leave one place


def class_activation_maps(model: ThreeConv, x: torch.Tensor) -> torch.Tensor:
    """Return how much each place adds to each class's score: (N, K, 4, 4).

    The sum over the places of a map, plus the head's bias, is the class's logit.
    Source: Zhou et al. 2016, equation 2, where the head has the same weights at every place.
    """
    maps = model.features(x)  # (N, M, 4, 4)
    weights = model.head.weight.view(-1, *maps.shape[1:])  # (K, M, 4, 4)
    return torch.einsum("nmhw,kmhw->nkhw", maps, weights)
