"""The network of a record recipe for CIFAR-10, in parts, and the views it answers to.

Source: K. Jordan 2024, 94% on CIFAR-10 in 3.29 seconds on a single GPU; written anew from its text.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from assignment2_pytorch_cnn_rnn.cifar_nets import check_images, check_positive
from assignment2_pytorch_cnn_rnn.crop_flip import check_batch


def patch_covariance(x: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """Return the covariance (D, D) in float64 of all patches k × k of x (N, C, H, W), D = C k²."""
    D, count, total, products = x.shape[1] * kernel_size**2, 0, 0, 0
    for part in x.split(500):  # all patches at once would be D times the images
        patches = F.unfold(part.double(), kernel_size).transpose(1, 2).reshape(-1, D)  # (P, D)
        count += len(patches)
        total = total + patches.sum(dim=0)
        products = products + patches.T @ patches
    mean = total / count
    return products / count - mean.outer(mean)


@torch.no_grad()
def whitening_filters(x: torch.Tensor, kernel_size=2, eps=5e-4) -> torch.Tensor:
    """Return filters (2 D, C, k, k) whose outputs over x are uncorrelated, of variance about 1.

    D = C · k · k. They are the eigenvectors of the covariance of all patches k × k, each divided
    by √(its variance + eps); then the same once more with the sign turned.

    Args: x: (N, C, H, W) floats, the training images; eps keeps faint directions, noise, small.
    """
    check_batch(x)
    if not 1 <= kernel_size <= min(x.shape[2:]):
        raise ValueError(f"kernel_size is {kernel_size}; it must be 1 … {min(x.shape[2:])}")
    if eps <= 0:
        raise ValueError(f"eps is {eps}; it must be above 0")
    variances, vectors = torch.linalg.eigh(patch_covariance(x, kernel_size))  # a vector a column
    filters = (vectors / (variances + eps).sqrt()).T
    filters = filters.reshape(-1, x.shape[1], kernel_size, kernel_size)
    return torch.cat([filters, -filters]).to(x.dtype)


def whitening_conv(x: torch.Tensor, kernel_size=2, eps=5e-4) -> nn.Conv2d:
    """Return a convolution that whitens x (N, C, H, W); of it only the bias is trained."""
    filters = whitening_filters(x, kernel_size, eps)
    conv = nn.Conv2d(x.shape[1], len(filters), kernel_size)
    conv.weight = nn.Parameter(filters, requires_grad=False)
    nn.init.zeros_(conv.bias)
    return conv


@torch.no_grad()
def dirac_start_(conv: nn.Conv2d) -> None:
    """Let the first filters of a convolution copy their input; the others start as torch's do.

    Filter m, for m below the number of input channels, is 1 at channel m's middle and 0 elsewhere.
    """
    conv.reset_parameters()
    nn.init.dirac_(conv.weight[: conv.in_channels])


def fast_norm(channels: int, scale=False) -> nn.BatchNorm2d:
    """Return batch norm with quick running statistics; without scale its γ stays 1."""
    bn = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    bn.weight.requires_grad_(scale)
    return bn


class ConvGroup(nn.Sequential):
    """Conv, pool, norm, GELU, conv, norm, GELU: (N, C, H, W) → (N, M, H / 2, W / 2)."""

    def __init__(self, in_channels: int, out_channels: int, dirac=True, scale=False, act=nn.GELU):
        norm = partial(fast_norm, scale=scale)
        first, second = (
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
            for channels in (in_channels, out_channels)
        )
        if dirac:
            dirac_start_(first)
            dirac_start_(second)
        pool = nn.MaxPool2d(2)
        super().__init__(first, pool, norm(out_channels), act(), second, norm(out_channels), act())


class FastNet(nn.Module):
    """A frozen whitening layer, three groups of two convolutions, one linear layer: (N, K) logits.

    Args:
        x_train: (N, 3, H, W), from which the whitening filters are computed; None puts a learnt
            convolution of the same shape in their place.
        widths: channels of the three groups.
        dirac, scale, act: as in ConvGroup.
    """

    def __init__(
        self, x_train, widths=(64, 256, 256), num_classes=10, dirac=True, scale=False, act=nn.GELU
    ):
        super().__init__()
        first, second, third = widths
        check_positive(first=first, second=second, third=third, num_classes=num_classes)
        stem = nn.Conv2d(3, 24, 2) if x_train is None else whitening_conv(x_train)
        options = dict(dirac=dirac, scale=scale, act=act)
        self.body = nn.Sequential(
            stem,
            act(),
            ConvGroup(stem.out_channels, first, **options),
            ConvGroup(first, second, **options),
            ConvGroup(second, third, **options),
            nn.MaxPool2d(3),
            nn.Flatten(),
        )
        self.head = nn.Linear(third, num_classes, bias=False)

    def forward(self, x):
        check_images(x, exactly=32)
        return self.head(self.body(x)) / 9


def views(x: torch.Tensor, how: str = "six") -> list[tuple[float, torch.Tensor]]:
    """Return (weight, view) of x (N, C, H, W); the weights add up to 1.

    Args: how: "one"; "mirror": also mirrored; "six": those, and both moved by a pixel along each
        diagonal half as a whole, the two pairs with half of the weight.
    """
    check_batch(x)
    if how == "one":
        return [(1.0, x)]
    if how == "mirror":
        return [(0.5, x), (0.5, x.flip(3))]
    if how != "six":
        raise ValueError(f"how is {how!r}; it must be one, mirror or six")
    H, W = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    moved = [padded[:, :, i : i + H, i : i + W] for i in (0, 2)]
    return [(0.25, v) for v in (x, x.flip(3))] + [(0.125, v) for m in moved for v in (m, m.flip(3))]


@torch.no_grad()
def each_view_logits(model, x, how="six", batch_size=500) -> torch.Tensor:
    """Return the model's logits (V, N, K) for each of the views of x, in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        parts = [
            torch.stack([model(view).float() for _, view in views(part, how)])
            for part in x.split(batch_size)
        ]
    finally:
        model.train(was_training)
    return torch.cat(parts, dim=1)


def view_logits(model, x, how="six", batch_size=500) -> torch.Tensor:
    """Return the weighted mean (N, K) of the model's logits over the views of x."""
    weights = torch.tensor([weight for weight, _ in views(x[:1], how)])
    z = each_view_logits(model, x, how, batch_size)
    return torch.einsum("v,vnk->nk", weights.to(z), z)
