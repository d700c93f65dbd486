"""A generative adversarial network for digits: the game, its two networks, and what walks z.

Shapes: images (N, 1, 28, 28) from −1 to 1, the range of tanh; latent vectors z (N, LATENT) from a
standard normal; the discriminator's answers are logits (N,), above 0 for "real".
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

LATENT = 100  # numbers that one image is made from
SHAPE = (1, 28, 28)
PIXELS = math.prod(SHAPE)
SLOPE = 0.2  # of LeakyReLU, where its input is negative


def game_value(d, p, q, dx):
    """Return V(D, G) = ∫ p ln D + q ln(1 − D) dx, nats.

    Args: d: (M,) what the discriminator says, between 0 and 1; p, q: (M,) densities of the data and
        of the generator, each at the same M places, dx apart.
    Source: Goodfellow et al. 2014, equation 1.
    """
    d = np.clip(d, 1e-12, 1 - 1e-12)  # where one density is next to nothing, D rounds to 0 or 1
    return ((p * np.log(d) + q * np.log(1 - d)) * dx).sum()


def optimal_discriminator(p, q):
    """Return D* = p / (p + q), the best answer (M,) to densities p and q (M,)."""
    return p / (p + q)


def jensen_shannon(p, q, dx):
    """Return the Jensen-Shannon divergence of densities p, q (M,), from 0 to ln 2 nats."""
    middle = (p + q) / 2
    return 0.5 * ((p * np.log(p / middle) + q * np.log(q / middle)) * dx).sum()


def discriminator_loss(real_logits, fake_logits, real_label=1.0):
    """Return the mean of −ln D(x) over real and of −ln(1 − D(x)) over fake images, nats.

    It is −V/2, so ln 2 where D answers 1/2 to everything.

    Args: real_logits, fake_logits: (N,). real_label: what D should say of real images; less than 1
        is one-sided label smoothing.
    """
    real_loss = -real_label * F.logsigmoid(real_logits)
    real_loss = real_loss - (1 - real_label) * F.logsigmoid(-real_logits)  # ln(1 − D)
    fake_loss = -F.logsigmoid(-fake_logits)
    return (real_loss.mean() + fake_loss.mean()) / 2


def generator_loss(fake_logits):
    """Return the mean of −ln D(G(z)), nats: the non-saturating loss. fake_logits: (N,)."""
    return -F.logsigmoid(fake_logits).mean()


def saturating_loss(fake_logits):
    """Return the mean of ln(1 − D(G(z))), nats: the game as it stands. fake_logits: (N,)."""
    return F.logsigmoid(-fake_logits).mean()


class Generator(nn.Module):
    """z (N, LATENT) → images (N, 1, 28, 28), −1 … 1; batch norm from the second hidden layer on.

    Args: widths: of the hidden layers. bn_eps: what batch norm adds to the variance.
    """

    def __init__(self, widths=(128, 256, 512, 1024), bn_eps=1e-5):
        super().__init__()
        layers, before = [], LATENT
        for width in widths:
            layers.append(nn.Linear(before, width))
            if before != LATENT:
                layers.append(nn.BatchNorm1d(width, eps=bn_eps))
            layers.append(nn.LeakyReLU(SLOPE))
            before = width
        self.net = nn.Sequential(*layers, nn.Linear(before, PIXELS), nn.Tanh())

    def forward(self, z):
        check_latent(z)
        return self.net(z).view(-1, *SHAPE)


class Discriminator(nn.Module):
    """Images (N, 1, 28, 28) → logits (N,): above 0 for "real".

    Args: widths: of the hidden layers. dropout: share of hidden units left out in training.
    """

    def __init__(self, widths=(512, 256), dropout=0.0):
        super().__init__()
        layers, before = [nn.Flatten()], PIXELS
        for width in widths:
            layers += [nn.Linear(before, width), nn.LeakyReLU(SLOPE)]
            if dropout:
                layers.append(nn.Dropout(dropout))
            before = width
        self.net = nn.Sequential(*layers, nn.Linear(before, 1))

    def forward(self, x):
        check_shape(x)
        return self.net(x).squeeze(1)


def check_latent(z) -> None:
    """Raise ValueError unless z is (N, LATENT), floating."""
    if not torch.is_tensor(z) or z.ndim != 2 or z.shape[1] != LATENT or not z.is_floating_point():
        kind, size = getattr(z, "dtype", type(z).__name__), tuple(getattr(z, "shape", ()))
        raise ValueError(f"z is {kind} {size}; it must be floats (N, {LATENT})")


def check_shape(x) -> None:
    """Raise ValueError unless x is a floating tensor (N, 1, 28, 28)."""
    if not torch.is_tensor(x) or tuple(x.shape[1:]) != SHAPE or not x.is_floating_point():
        kind, size = getattr(x, "dtype", type(x).__name__), tuple(getattr(x, "shape", ()))
        raise ValueError(f"x is {kind} {size}; it must be floats (N, 1, 28, 28)")


def check_digits(x) -> None:
    """Raise ValueError unless x (N, 1, 28, 28) can be real images beside those of tanh.

    Digits from 0 to 1 are refused: D would tell them by their grey alone.
    """
    check_shape(x)
    if len(x) == 0:
        raise ValueError("x holds no images; it must hold 1 or more")
    low, high = x.min().item(), x.max().item()
    if not (-1 <= low < 0 and high <= 1):  # NaN is refused, too
        raise ValueError(
            f"x goes from {low:.4g} to {high:.4g}; beside tanh it must go from -1 to 1: 2 x − 1"
        )


@torch.no_grad()
def generate(generator, z):
    """Return images (N, 1, 28, 28), 0 … 1, in evaluation mode; the mode comes back afterwards."""
    was_training = generator.training
    generator.eval()
    try:
        images = torch.cat([generator(part) for part in z.split(1_000)])
    finally:
        generator.train(was_training)
    return (images + 1) / 2


def interpolate(a, b, num):
    """Return num points (num, LATENT) on the straight line from a to b (LATENT,), both included."""
    share = torch.linspace(0, 1, num, dtype=a.dtype, device=a.device)[:, None]
    return (1 - share) * a + share * b


def interpolate_on_sphere(a, b, num):
    """Return num points (num, LATENT) on the arc from a to b (LATENT,), in equal angles.

    Where a and b are equally long, so is every point; the straight line takes a short cut near 0.
    They may not point the same way or opposite ways.
    Source: White 2016, section 2.1.
    """
    share = torch.linspace(0, 1, num, dtype=a.dtype, device=a.device)[:, None]
    angle = torch.arccos(F.cosine_similarity(a, b, dim=0).clamp(-1, 1))
    if not 1e-4 < angle < math.pi - 1e-4:
        raise ValueError(f"a and b are {float(angle):.3g} apart; it must be between 0 and π")
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
