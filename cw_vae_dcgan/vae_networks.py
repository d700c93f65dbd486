"""Encoders and decoders for variational autoencoders, and the weights that they start from."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn

from cw_vae_dcgan.vae import VAE, check_whole


def dense(sizes, activation):
    """Return linear layers with an activation between them, none after the last."""
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), activation()]
    return layers[:-1]


def mlp_vae(hidden=(512, 512), num_latents=20, activation=nn.SiLU, shape=(1, 28, 28)):
    """Return a VAE of dense layers; the decoder's hidden layers are the encoder's, backwards."""
    check_network(hidden, num_latents)
    pixels = math.prod(shape)
    encoder = nn.Sequential(nn.Flatten(), *dense([pixels, *hidden, 2 * num_latents], activation))
    decoder = dense([num_latents, *reversed(hidden), pixels], activation)
    return VAE(encoder, nn.Sequential(*decoder, nn.Unflatten(1, shape)), num_latents)


def conv_vae(channels=(16, 32), hidden=256, num_latents=20, activation=nn.SiLU):
    """Return a convolutional VAE for 28 × 28: each convolution halves the image, 28 → 14 → 7."""
    check_network((*channels, hidden), num_latents)
    c1, c2 = channels
    encoder = nn.Sequential(
        *(nn.Conv2d(1, c1, 4, stride=2, padding=1), activation()),  # (N, c1, 14, 14)
        *(nn.Conv2d(c1, c2, 4, stride=2, padding=1), activation(), nn.Flatten()),  # 7 × 7
        *dense([c2 * 7 * 7, hidden, 2 * num_latents], activation),
    )
    decoder = nn.Sequential(
        *dense([num_latents, hidden, c2 * 7 * 7], activation),
        *(activation(), nn.Unflatten(1, (c2, 7, 7))),
        *(nn.ConvTranspose2d(c2, c1, 4, stride=2, padding=1), activation()),  # (N, c1, 14, 14)
        nn.ConvTranspose2d(c1, 1, 4, stride=2, padding=1),  # (N, 1, 28, 28)
    )
    return VAE(encoder, decoder, num_latents)


def he_start(model):
    """Draw all weights anew so that a layer's answers are as large as its inputs; biases are 0.

    Source: He et al. 2015, equation 10; half that variance in a last layer, which has no ReLU.
    """
    for network in (model.encoder, model.decoder):
        layers = [layer for layer in network if hasattr(layer, "weight")]
        for layer in layers:
            fan_in = layer.weight[0].numel()  # numbers that one answer is a sum of
            if isinstance(layer, nn.ConvTranspose2d):
                fan_in = layer.weight[:, 0].numel() / math.prod(layer.stride)
            nn.init.normal_(layer.weight, 0, math.sqrt((1 if layer is layers[-1] else 2) / fan_in))
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def mean_start(model, images):
    """Let the decoder begin with the mean of images (N, C, H, W), by the bias of its last layer.

    A transposed convolution has one bias for all places, so there it is the mean over them too.
    """
    bias = [layer for layer in model.decoder if hasattr(layer, "weight")][-1].bias
    mean = images.mean(dim=0).flatten()
    bias.copy_(torch.logit(mean if len(bias) == len(mean) else mean.mean(), eps=1e-3))


def check_network(widths, num_latents):
    """Raise ValueError unless there is a layer, and all widths are 1 or more."""
    check_whole("num_latents", num_latents)
    if not widths:
        raise ValueError("hidden is empty; it must name the width of 1 layer or more")
    for width in widths:
        check_whole("a width", width)
