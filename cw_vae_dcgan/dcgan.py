"""A deep convolutional GAN for photographs of 32 × 32: its networks, and what keeps D in bounds.

Shapes: images (N, 3, 32, 32) from −1 to 1, the range of tanh; latent vectors z (N, LATENT) from a
standard normal; the discriminator's answers are logits (N,), above 0 for "real". The losses are
those of assignment3_lstm_gan/gan.py.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from assignment3_lstm_gan.gan import LATENT, SLOPE, check_latent
from shared.features import check_images

SHAPE = (3, 32, 32)
INIT_STD = 0.02  # of the weights at the start
NORMS = ("none", "batch", "spectral")  # what a discriminator may have


def transposed_conv2d(x, weight, stride=1, padding=0):
    """Return images (N, C_out, H', W'): each number of x stamps its kernel, and stamps add up.

    It is what a convolution with this weight does to a gradient on its way back. The stamps lie
    stride pixels apart; H' = (H − 1) · stride + k − 2 · padding.

    Args: x: (N, C_in, H, W). weight: (C_in, C_out, k, k), as torch's ConvTranspose2d has it.
        stride: 1 or more. padding: pixels cut off on each side.
    Source: Dumoulin and Visin 2016, chapter 4.
    """
    N, _, H, W = x.shape
    _, C_out, k_h, k_w = weight.shape
    out = x.new_zeros(N, C_out, (H - 1) * stride + k_h, (W - 1) * stride + k_w)
    for i in range(k_h):  # one number of every stamp at a time
        for j in range(k_w):
            part = torch.einsum("nchw,cd->ndhw", x, weight[:, :, i, j])
            out[:, :, i : i + stride * H : stride, j : j + stride * W : stride] += part
    return out[:, :, padding : out.shape[2] - padding, padding : out.shape[3] - padding]


def power_iteration(matrix, v, num_steps=1):
    """Return u (m,) and v (n,), both of length 1; u · matrix v tends to the largest singular value.

    Args: matrix: (m, n). v: (n,), a first guess that is not 0. num_steps: 1 or more.
    Source: Miyato et al. 2018, algorithm 1; it begins with u, we with v, as torch does.
    """
    for _ in range(num_steps):
        u = F.normalize(matrix @ v, dim=0)
        v = F.normalize(matrix.T @ u, dim=0)
    return u, v


class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value, estimated one step per forward pass.

    The weight (C_out, …) is read as a matrix (C_out, the rest). u and v are remembered between
    passes: the weight moves little from step to step, so one step of the iteration is enough.
    Nothing is improved in evaluation mode. Gradients flow through σ, not through u and v.
    """

    def __init__(self, weight, warm_up=15):
        super().__init__()
        matrix = weight.detach().flatten(1)
        u, v = power_iteration(matrix, torch.randn(matrix.shape[1]).to(matrix), warm_up)
        self.register_buffer("u", u)
        self.register_buffer("v", v)

    def forward(self, weight):
        with torch.autocast(weight.device.type, enabled=False):  # bf16 is too coarse for σ
            matrix = weight.flatten(1)
            if self.training:
                with torch.no_grad():  # new tensors: an earlier pass still needs the old ones
                    self.u, self.v = power_iteration(matrix, self.v)
            return weight / (self.u @ (matrix @ self.v))


def spectral_norm(layer):
    """Return the layer; from now on its weight passes through SpectralNorm whenever it is used."""
    return parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))


def small_start(layer) -> None:
    """Draw the weights of one layer from N(0, 0.02²), batch norm's γ from N(1, 0.02²).

    Source: Radford et al. 2016, section 4.
    """
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(layer.weight, 0.0, INIT_STD)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, INIT_STD)
        nn.init.zeros_(layer.bias)


class Generator(nn.Module):
    """z (N, LATENT) → images (N, 3, 32, 32), −1 … 1, by four transposed convolutions.

    Args: width: channels before the last layer; there are four times as many at the start.
        batch_norm: whether it follows each layer but the last.
    """

    def __init__(self, width=64, batch_norm=True):
        super().__init__()
        check_width(width)
        channels, layers = (LATENT, 4 * width, 2 * width, width), []
        for i in range(3):  # sides 1 → 4 → 8 → 16
            stride, padding = (1, 0) if i == 0 else (2, 1)
            layers.append(
                nn.ConvTranspose2d(
                    channels[i], channels[i + 1], 4, stride, padding, bias=not batch_norm
                )
            )
            if batch_norm:
                layers.append(nn.BatchNorm2d(channels[i + 1]))
            layers.append(nn.ReLU())
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh())
        self.apply(small_start)

    def forward(self, z):
        check_latent(z)
        return self.net(z[:, :, None, None])  # each z is an image of one pixel, LATENT colours


class Discriminator(nn.Module):
    """Images (N, 3, 32, 32) → logits (N,), by four convolutions, of stride 2 but the last.

    Args: width: channels after the first layer. norm: "none"; "batch", after the second and third
        layer; or "spectral", in every layer.
    """

    def __init__(self, width=64, norm="batch"):
        super().__init__()
        check_width(width)
        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; it must be one of {', '.join(NORMS)}")
        channels, layers = (3, width, 2 * width, 4 * width), []
        for i in range(3):  # sides 32 → 16 → 8 → 4
            has_norm = norm == "batch" and i > 0
            layers.append(nn.Conv2d(channels[i], channels[i + 1], 4, 2, 1, bias=not has_norm))
            if has_norm:
                layers.append(nn.BatchNorm2d(channels[i + 1]))
            layers.append(nn.LeakyReLU(SLOPE))
        self.net = nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 4), nn.Flatten(0))
        self.apply(small_start)
        if norm == "spectral":
            for layer in self.net:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def forward(self, x):
        check_shape(x)
        return self.net(x)


def check_width(width) -> None:
    """Raise ValueError unless width is a whole number, 1 or more."""
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise ValueError(f"width is {width!r}; it must be a whole number, 1 or more")


def check_shape(x) -> None:
    """Raise ValueError unless x is a floating tensor (N, 3, 32, 32)."""
    if not torch.is_tensor(x) or tuple(x.shape[1:]) != SHAPE or not x.is_floating_point():
        kind, size = getattr(x, "dtype", type(x).__name__), tuple(getattr(x, "shape", ()))
        raise ValueError(f"x is {kind} {size}; it must be floats (N, 3, 32, 32)")


def to_tanh_range(images):
    """Return bytes (N, 3, 32, 32), 0 … 255, as floats from −1 to 1, the range of tanh."""
    if not torch.is_tensor(images) or images.dtype != torch.uint8 or images.shape[1:] != SHAPE:
        kind = getattr(images, "dtype", type(images).__name__)
        size = tuple(getattr(images, "shape", ()))
        raise ValueError(f"images is {kind} {size}; it must be uint8 (N, 3, 32, 32)")
    return images.float() / 127.5 - 1


def appearance(images) -> dict[str, float]:
    """Return four figures about the looks of images, each a mean over all of them.

    chroma: how far the strongest colour of a pixel is above the weakest; 0 is grey.
    contrast: the standard deviation of an image's brightness.
    edges: the mean difference in brightness between neighbouring pixels.
    grain: the share of the brightness's power in the finest waves, shorter than four pixels.

    Args: images: (N, 3, H, W) float, 0 … 1, H and W even.
    """
    images = check_images(images)
    chroma = images.amax(dim=1) - images.amin(dim=1)  # (N, H, W)
    grey = images.mean(dim=1)
    across, down = grey.diff(dim=2).abs().mean(), grey.diff(dim=1).abs().mean()
    centred = grey - grey.mean(dim=(1, 2), keepdim=True)
    power = torch.fft.fft2(centred).abs() ** 2
    rows, columns = (torch.fft.fftfreq(size).abs() for size in grey.shape[1:])  # cycles per pixel
    fine = (rows[:, None] > 0.25) | (columns > 0.25)
    return {
        "chroma": chroma.mean().item(),
        "contrast": grey.std(dim=(1, 2), unbiased=False).mean().item(),
        "edges": ((across + down) / 2).item(),
        "grain": (power[:, fine].sum() / power.sum().clamp(min=1e-12)).item(),
    }
