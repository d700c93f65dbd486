"""The game on densities that are known, the losses against torch's, the course's networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_game import play
from torch import nn
from torch.nn import functional as F

from assignment3_lstm_gan.gan import (
    LATENT,
    Discriminator,
    Generator,
    check_digits,
    discriminator_loss,
    game_value,
    generate,
    generator_loss,
    interpolate,
    interpolate_on_sphere,
    jensen_shannon,
    optimal_discriminator,
    saturating_loss,
)

LN2 = math.log(2)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(x, mean, std):
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


# the game


@pytest.fixture
def grid():
    return np.linspace(-8, 8, 4_001)


@pytest.mark.parametrize(("mean", "std"), [(0, 1), (1, 1), (-2, 0.5), (0, 1.4)])
def test_no_discriminator_beats_the_optimal_one(grid, mean, std):
    p, q, dx = gaussian(grid, 0, 1), gaussian(grid, mean, std), grid[1] - grid[0]
    best = optimal_discriminator(p, q)
    value = game_value(best, p, q, dx)
    assert value == pytest.approx(-2 * LN2 + 2 * jensen_shannon(p, q, dx), abs=1e-5)
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1, 0.4):
        for _ in range(5):
            other = np.clip(best + size * rng.normal(size=best.shape), 1e-9, 1 - 1e-9)
            assert game_value(other, p, q, dx) < value
    if mean == 0 and std == 1:
        assert value == pytest.approx(-2 * LN2, abs=1e-9) and (best == 0.5).all()


def test_jensen_shannon_at_its_ends(grid):
    p, dx = gaussian(grid, -4, 0.5), grid[1] - grid[0]
    assert jensen_shannon(p, p, dx) == pytest.approx(0, abs=1e-12)
    far = gaussian(grid, 4, 0.5)
    assert jensen_shannon(p, far, dx) == pytest.approx(LN2, rel=1e-3)
    q = gaussian(grid, -3.5, 0.6)
    assert jensen_shannon(p, q, dx) == pytest.approx(jensen_shannon(q, p, dx))


# losses


def test_losses_where_the_discriminator_cannot_tell():
    zero = torch.zeros(5, dtype=torch.float64)
    assert discriminator_loss(zero, zero).item() == pytest.approx(LN2)
    assert discriminator_loss(zero, zero, 0.9).item() == pytest.approx(LN2)
    assert generator_loss(zero).item() == pytest.approx(LN2)
    assert saturating_loss(zero).item() == pytest.approx(-LN2)


@pytest.mark.parametrize("label", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_losses_are_torchs_cross_entropy(n, label):
    real, fake = (3 * torch.randn(n, generator=seeded(s), dtype=torch.float64) for s in (1, 2))
    targets = torch.full_like(real, label)
    expected = F.binary_cross_entropy_with_logits(real, targets)
    expected = (expected + F.binary_cross_entropy_with_logits(fake, 0 * fake)) / 2
    torch.testing.assert_close(discriminator_loss(real, fake, label), expected)
    expected = F.binary_cross_entropy_with_logits(fake, 0 * fake + 1)
    torch.testing.assert_close(generator_loss(fake), expected)
    expected = -F.binary_cross_entropy_with_logits(fake, 0 * fake)
    torch.testing.assert_close(saturating_loss(fake), expected)


def test_losses_of_different_numbers_of_images():
    real, fake = torch.tensor([2.0]), torch.tensor([1.0, -1.0, 3.0])
    expected = (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
    torch.testing.assert_close(discriminator_loss(real, fake), expected)


def test_losses_of_a_sure_discriminator_stay_finite_and_one_keeps_its_gradient():
    logits = torch.tensor([-200.0], requires_grad=True)
    (grad,) = torch.autograd.grad(generator_loss(logits), logits)
    assert grad.item() == pytest.approx(-1) and generator_loss(logits).item() == pytest.approx(200)
    (grad,) = torch.autograd.grad(saturating_loss(logits), logits)
    assert abs(grad.item()) < 1e-30
    assert math.isfinite(discriminator_loss(logits, -logits).item())


def test_both_generator_losses_pull_the_same_way():
    logits = torch.linspace(-4, 4, 9, requires_grad=True)
    for loss in (generator_loss, saturating_loss):
        (grad,) = torch.autograd.grad(loss(logits), logits)
        assert (grad < 0).all()


# networks


def count(net):
    return sum(p.numel() for p in net.parameters())


def test_the_courses_networks():
    generator, discriminator = Generator(), Discriminator()
    sizes = [(m.in_features, m.out_features) for m in generator.net if isinstance(m, nn.Linear)]
    assert sizes == [(100, 128), (128, 256), (256, 512), (512, 1024), (1024, 784)]
    norms = [m.num_features for m in generator.net if isinstance(m, nn.BatchNorm1d)]
    assert norms == [256, 512, 1024]
    assert all(m.eps == 1e-5 for m in generator.net if isinstance(m, nn.BatchNorm1d))
    slopes = [m.negative_slope for net in (generator, discriminator) for m in net.net
              if isinstance(m, nn.LeakyReLU)]  # fmt: skip
    assert slopes == [0.2] * 6 and isinstance(generator.net[-1], nn.Tanh)
    assert count(discriminator) == 784 * 512 + 512 + 512 * 256 + 256 + 256 + 1
    linear = sum(a * b + b for a, b in sizes)
    assert count(generator) == linear + 2 * (256 + 512 + 1024)


@pytest.mark.parametrize("n", [2, 4, 64])
def test_shapes_and_ranges(n):
    generator, discriminator = Generator((16, 24)), Discriminator((12,), dropout=0.3)
    images = generator(10 * torch.randn(n, LATENT, generator=seeded()))
    assert images.shape == (n, 1, 28, 28) and images.abs().max() <= 1
    assert discriminator(images).shape == (n,)
    assert discriminator(images[:1]).shape == (1,)
    assert [m.p for m in discriminator.net if isinstance(m, nn.Dropout)] == [0.3]


def test_dropout_is_for_training_only():
    discriminator, x = Discriminator((40,), dropout=0.5), torch.rand(3, 1, 28, 28)
    assert not torch.equal(discriminator(x), discriminator(x))
    discriminator.eval()
    assert torch.equal(discriminator(x), discriminator(x))


def test_generate_is_in_evaluation_mode_and_gives_the_mode_back():
    generator = Generator((16, 24))
    z = torch.randn(1_003, LATENT, generator=seeded())
    before = generator.net[3].running_mean.clone()
    images = generate(generator, z)
    assert generator.training and torch.equal(before, generator.net[3].running_mean)
    assert images.shape == (1_003, 1, 28, 28) and not images.requires_grad
    assert images.min() >= 0 and images.max() <= 1
    torch.testing.assert_close(generate(generator, z[7:8]), images[7:8])  # alone or among others
    assert not generate(generator.eval(), z[:2]).requires_grad and not generator.training


def test_batch_norms_eps_reaches_every_norm():
    norms = [m.eps for m in Generator(bn_eps=0.8).net if isinstance(m, nn.BatchNorm1d)]
    assert norms == [0.8] * 3


# bad input


@pytest.mark.parametrize(
    "z", [torch.zeros(3, 99), torch.zeros(100), [[0.0]], torch.zeros(3, 100).long()]
)
def test_wrong_latent_vectors_are_refused(z):
    with pytest.raises(ValueError, match=r"^z is .*; it must be floats \(N, 100\)$"):
        Generator((8,))(z)


@pytest.mark.parametrize(
    "x",
    [torch.zeros(3, 784), torch.zeros(3, 28, 28), torch.zeros(3, 1, 28, 28).byte(), [1]],
)
def test_what_is_no_batch_of_digits_is_refused(x):
    for function in (Discriminator((8,)), check_digits):
        with pytest.raises(ValueError, match=r"^x is .*; it must be floats \(N, 1, 28, 28\)$"):
            function(x)


def test_digits_in_the_wrong_range_are_refused():
    x = torch.rand(4, 1, 28, 28, generator=seeded())
    check_digits(2 * x - 1)
    for wrong in (x, 255 * x, 4 * x - 2, x * math.nan):
        with pytest.raises(ValueError, match=r"^x goes from .*; beside tanh it must go from -1 to"):
            check_digits(wrong)
    with pytest.raises(ValueError, match="x holds no images"):
        check_digits(x[:0])


# walks


@pytest.mark.parametrize("walk", [interpolate, interpolate_on_sphere])
def test_walks_begin_and_end_where_they_should(walk):
    a, b = torch.randn(2, LATENT, generator=seeded(), dtype=torch.float64)
    path = walk(a, 3 * b, 9)
    assert path.shape == (9, LATENT)
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[-1], 3 * b)


def test_straight_line_and_arc():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    torch.testing.assert_close(interpolate(a, b, 3)[1], torch.tensor([1.0, 1.0]))
    arc = interpolate_on_sphere(a, b, 5)
    torch.testing.assert_close(arc.norm(dim=1), torch.full((5,), 2.0))
    torch.testing.assert_close(arc[2], torch.tensor([math.sqrt(2), math.sqrt(2)]))
    for same in (a, -a):
        with pytest.raises(ValueError, match="between 0 and π"):
            interpolate_on_sphere(a, same, 3)


# the whole


def test_a_tiny_game_learns_a_known_image():
    """Real images are one grey; the generator's images, which begin around 0, go there."""
    torch.manual_seed(0)
    generator, discriminator = Generator((16, 16)), Discriminator((16,))
    real, z = torch.full((16, 1, 28, 28), -0.6), torch.randn(50, LATENT)
    start = 2 * generate(generator, z) - 1
    play(generator, discriminator, real, LATENT, 150)
    end = 2 * generate(generator, z) - 1
    assert (end + 0.6).abs().mean() < 0.6 * (start + 0.6).abs().mean()
