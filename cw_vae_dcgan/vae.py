"""Variational autoencoders for images whose values lie in 0 … 1; all losses in nats per image.

Images are (N, C, H, W) floats, codes z (N, Z). An encoder gives mu and log_var of a Gaussian for
each image, a decoder gives the logits of a Bernoulli for each pixel.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

ZERO = torch.zeros(())  # mean and log-variance of a standard normal


def kl_normal(mu, log_var, mu_0=ZERO, log_var_0=ZERO):
    """Return KL(N(mu, var) ‖ N(mu_0, var_0)) in nats, one number per entry of mu.

    Args: mu, log_var: (N, Z) or any shape. mu_0, log_var_0: tensors that fit it, a standard normal
        where not given.
    Source: Kingma & Welling 2014, appendix B, for the standard normal.
    """
    var, var_0 = log_var.exp(), log_var_0.exp()
    return 0.5 * (log_var_0 - log_var + (var + (mu - mu_0) ** 2) / var_0 - 1)


def log_normal(z, mu=ZERO, log_var=ZERO):
    """Return log N(z; mu, var), summed over the last axis. z: (…, N, Z) → (…, N)."""
    squares = (z - mu) ** 2 / log_var.exp()
    return -0.5 * (squares + log_var + math.log(2 * math.pi)).sum(dim=-1)


def reparameterise(mu, log_var, noise):
    """Return z = mu + sigma · noise, a draw from N(mu, sigma²) that mu and log_var can learn from.

    Args: mu, log_var: (N, Z). noise: (…, N, Z), standard normal.
    Source: Kingma & Welling 2014, section 2.4.
    """
    sigma = (0.5 * log_var).exp()
    return mu + sigma * noise


def bernoulli_nats(logits, x):
    """Return −log p(x | z), summed over pixels, in float32: (…, N, C, H, W) → (…, N).

    The log of a Bernoulli is x log p + (1 − x) log(1 − p) = x·logit − log(1 + e^logit).
    """
    logits = logits.float()
    return (F.softplus(logits) - x * logits).flatten(-3).sum(dim=-1)


def grey_floor(x):
    """Return the fewest nats (N,) that bernoulli_nats can reach on images x, where p = x."""
    return -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(dim=(-3, -2, -1))


class VAE(nn.Module):
    """An encoder and a decoder that share a code of num_latents numbers, Z.

    Args:
        encoder: images (N, C, H, W) → (N, 2Z): mu beside log_var.
        decoder: codes (N, Z) → logits (N, C, H, W).
    """

    def __init__(self, encoder, decoder, num_latents):
        super().__init__()
        self.encoder, self.decoder, self.num_latents = encoder, decoder, num_latents

    def encode(self, x):
        """Return mu and log_var of q(z | x), each (N, Z), in float32."""
        mu, log_var = self.encoder(x).float().chunk(2, dim=1)
        return mu, log_var

    def decode(self, z):
        """Return the logits of p(x | z), (N, C, H, W)."""
        return self.decoder(z)


def elbo_terms(model, x, noise, shown=None):
    """Return reconstruction (N,) and KL (N, Z) in nats; both summed are the negative ELBO.

    Args: x: (N, C, H, W), 0 … 1. noise: (N, Z). shown: what the encoder sees; x where None.
    """
    mu, log_var = model.encode(x if shown is None else shown)
    logits = model.decode(reparameterise(mu, log_var, noise))
    return bernoulli_nats(logits, x), kl_normal(mu, log_var)


def beta_at(step, beta=1.0, warmup_steps=0):
    """Return the weight of the KL term at a step: a straight line from 0, then beta.

    Source: Bowman et al. 2016, section 3.1.
    """
    check_weight("beta", beta)
    check_weight("warmup_steps", warmup_steps)
    return beta * min(1.0, step / warmup_steps) if warmup_steps else beta


def draw_noise(mu, generator, *repeats):
    """Return standard normal noise (*repeats, N, Z), where mu (N, Z) lives and of its type."""
    return torch.randn((*repeats, *mu.shape), generator=generator, dtype=mu.dtype).to(mu.device)


@torch.no_grad()
def evaluate_vae(model, x, seed=0, batch_size=1_000):
    """Return reconstruction and KL in nats per image, one draw of z each; the mode is restored.

    Returns: reconstruction, kl, negative_elbo (their sum), unit_kl (Z,) mean KL of each unit,
        and mu (N, Z).
    """
    check_images(x)
    was_training, generator = model.training, torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    model.eval()
    nats, unit_kl, mus = 0.0, 0.0, []
    for part in x.split(batch_size):
        part = part.to(device)
        mu, log_var = model.encode(part)
        z = reparameterise(mu, log_var, draw_noise(mu, generator))
        nats += bernoulli_nats(model.decode(z), part).sum().item()
        unit_kl = unit_kl + kl_normal(mu, log_var).sum(dim=0).cpu() / len(x)
        mus.append(mu.cpu())
    model.train(was_training)
    found = {"reconstruction": nats / len(x), "kl": unit_kl.sum().item()}
    found["negative_elbo"] = found["reconstruction"] + found["kl"]
    return found | {"unit_kl": unit_kl.numpy(), "mu": torch.cat(mus).numpy()}


def active_units(mu, threshold=0.01):
    """Return which units of the code are in use, (Z,) bool: mu (N, Z) must vary over the images.

    Source: Burda, Grosse & Salakhutdinov 2016, section 5.2.
    """
    return torch.as_tensor(mu).var(dim=0) > threshold


def importance_bound(log_joint, mu, log_var, k, generator):
    """Return log(1/k Σ p(x, z_i) / q(z_i | x)) in nats, (N,), with k draws z_i from q(z | x).

    Its mean is never above log p(x) and rises with k; k = 1 is the ELBO.

    Args:
        log_joint: z (k, N, Z) → log p(x, z), (k, N).
        mu, log_var: (N, Z), of q(z | x).
    Source: Burda, Grosse & Salakhutdinov 2016, equation 8.
    """
    check_whole("k", k)
    z = reparameterise(mu, log_var, draw_noise(mu, generator, k))
    log_weights = log_joint(z) - log_normal(z, mu, log_var)  # (k, N)
    return torch.logsumexp(log_weights, dim=0) - math.log(k)


@torch.no_grad()
def importance_nats(model, x, k, seed=0, batch_size=100):
    """Return the importance-weighted bound on −log p(x), mean over the images, in nats."""
    check_images(x)
    was_training, generator = model.training, torch.Generator().manual_seed(seed)
    device, total = next(model.parameters()).device, 0.0
    model.eval()
    for part in x.to(device).split(batch_size):
        mu, log_var = model.encode(part)

        def log_joint(z, part=part):
            logits = model.decode(z.flatten(0, 1)).view(*z.shape[:2], *part.shape[1:])
            return log_normal(z) - bernoulli_nats(logits, part)

        total -= importance_bound(log_joint, mu, log_var, k, generator).sum().item()
    model.train(was_training)
    return total / len(x)


def check_images(x):
    """Raise ValueError unless x is a float tensor (N, C, H, W) with values from 0 to 1."""
    if not torch.is_tensor(x) or not x.is_floating_point() or x.ndim != 4 or 0 in x.shape:
        found = f"{x.dtype} {tuple(x.shape)}" if torch.is_tensor(x) else type(x).__name__
        raise ValueError(f"x is {found}; it must be a float tensor (N, C, H, W), none of them 0")
    low, high = x.min().item(), x.max().item()
    if not (0 <= low and high <= 1):
        raise ValueError(f"x goes from {low:g} to {high:g}; a Bernoulli needs values from 0 to 1")


def check_whole(name, value):
    """Raise ValueError unless value is a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number, 1 or more")


def check_weight(name, value):
    """Raise ValueError unless value is a finite number of 0 or more."""
    if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
        raise ValueError(f"{name} is {value!r}; it must be a finite number, 0 or more")
