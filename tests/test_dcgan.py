"""Transposed convolutions, spectral norms and the networks of the DCGAN, against torch and SVD."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_game import play
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from assignment3_lstm_gan.gan import LATENT, generate
from cw_vae_dcgan.dcgan import (
    Discriminator,
    Generator,
    SpectralNorm,
    appearance,
    power_iteration,
    spectral_norm,
    to_tanh_range,
    transposed_conv2d,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


# transposed convolution

SIZES = [  # (N, C_in, C_out, H, W, k, stride, padding)
    (2, 3, 4, 5, 5, 4, 2, 1),
    (1, 1, 1, 1, 1, 4, 1, 0),
    (4, 2, 3, 3, 7, 3, 1, 1),
    (2, 5, 1, 4, 2, 2, 3, 0),  # stamps that do not touch
    (3, 1, 2, 2, 5, 5, 3, 2),
    (1, 2, 2, 6, 3, 1, 2, 0),
    (1, 2, 2, 3, 3, 4, 4, 1),
]


@pytest.mark.parametrize("size", SIZES)
def test_transposed_convolution_is_torchs(size):
    N, C_in, C_out, H, W, k, stride, padding = size
    x, weight = normal(N, C_in, H, W), normal(C_in, C_out, k, k, seed=1)
    expected = F.conv_transpose2d(x, weight, stride=stride, padding=padding)
    torch.testing.assert_close(transposed_conv2d(x, weight, stride, padding), expected)
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)  # not contiguous
    torch.testing.assert_close(transposed_conv2d(turned, weight, stride, padding), expected)


@pytest.mark.parametrize("size", SIZES)
def test_transposed_convolution_is_the_gradient_of_a_convolution(size):
    N, C_in, C_out, H, W, k, stride, padding = size
    dout, weight = normal(N, C_in, H, W), normal(C_in, C_out, k, k, seed=1)
    result = transposed_conv2d(dout, weight, stride, padding)
    image = normal(*result.shape, seed=2).requires_grad_()
    out = F.conv2d(image, weight, stride=stride, padding=padding)  # from C_out to C_in channels
    assert out.shape == dout.shape
    (dimage,) = torch.autograd.grad(out, image, dout)
    torch.testing.assert_close(result, dimage)
    torch.testing.assert_close((out * dout).sum(), (image * result).sum())  # ⟨Ax, y⟩ = ⟨x, Aᵀy⟩


def test_transposed_convolution_has_gradients_of_its_own():
    x, weight = normal(2, 2, 3, 3).requires_grad_(), normal(2, 3, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: transposed_conv2d(a, b, 2, 1), (x, weight))


def test_a_torch_layer_with_our_weights():
    layer, x = nn.ConvTranspose2d(4, 6, 4, 2, 1, bias=False), normal(3, 4, 5, 4, dtype=torch.float)
    torch.testing.assert_close(transposed_conv2d(x, layer.weight, 2, 1), layer(x))


# spectral norm


@pytest.mark.parametrize("shape", [(3, 3), (1, 7), (7, 1), (16, 48), (40, 9)])
@pytest.mark.parametrize("shift", [0, 3_000])
def test_power_iteration_finds_the_largest_singular_value(shape, shift):
    matrix = normal(*shape) + shift
    u, v = power_iteration(matrix, normal(shape[1], seed=1), 3_000)
    assert u.shape == shape[:1] and v.shape == shape[1:]
    torch.testing.assert_close(u.norm() * v.norm(), torch.tensor(1.0).double())
    expected = torch.linalg.svdvals(matrix)[0]
    torch.testing.assert_close(u @ matrix @ v, expected, rtol=1e-6, atol=0)


def test_the_estimate_never_falls():
    matrix, v, before = normal(12, 20), normal(20, seed=1), 0.0
    for _ in range(30):
        u, v = power_iteration(matrix, v)
        sigma = float(u @ matrix @ v)
        assert sigma >= before - 1e-12
        before = sigma
    assert sigma <= float(torch.linalg.svdvals(matrix)[0]) + 1e-12


def pair(make, seed=0):
    """Return a layer under our spectral norm and its twin under torch's, at the same u and v."""
    torch.manual_seed(seed)
    ours, theirs = make().double(), make().double()
    theirs.load_state_dict(ours.state_dict())
    spectral_norm(ours)
    parametrizations.spectral_norm(theirs)
    mine, state = (layer.parametrizations.weight[0] for layer in (ours, theirs))
    state._u, state._v = mine.u.clone(), mine.v.clone()
    return ours, theirs


LAYERS = {
    "conv": (lambda: nn.Conv2d(3, 5, 4, 2, 1), (2, 3, 8, 6)),
    "one filter": (lambda: nn.Conv2d(4, 1, 4), (1, 4, 4, 4)),
    "linear": (lambda: nn.Linear(7, 3), (4, 7)),
}


@pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
def test_spectral_norm_is_torchs_in_training_and_in_evaluation(make, shape):
    ours, theirs = pair(make)
    x = normal(*shape)
    for mode in (True, True, False, True, False):  # each pass in training moves u and v
        ours.train(mode), theirs.train(mode)
        got, expected = ours(x), theirs(x)
        torch.testing.assert_close(got, expected)
        ours.zero_grad(), theirs.zero_grad()
        got.square().sum().backward()
        expected.square().sum().backward()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)


def test_after_many_passes_the_largest_singular_value_is_one():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Conv2d(3, 6, 4).double())
    with torch.no_grad():
        for _ in range(300):
            layer(normal(1, 3, 4, 4))
        sigma = torch.linalg.svdvals(layer.weight.flatten(1))[0]
    assert sigma == pytest.approx(1, rel=1e-6)


def test_two_passes_before_one_backward():
    """D sees real and drawn images before it learns; the second pass moves u and v."""
    torch.manual_seed(0)
    layer, x = spectral_norm(nn.Linear(4, 3).double()), normal(5, 4)
    (layer(x) + layer(2 * x)).sum().backward()
    assert layer.parametrizations.weight.original.grad.isfinite().all()


def test_evaluation_leaves_u_and_v_alone_and_both_are_stored():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(6, 5))
    start = layer.parametrizations.weight[0].u.clone()
    layer.eval()(torch.ones(1, 6))
    assert torch.equal(start, layer.parametrizations.weight[0].u)
    layer.train()(torch.ones(1, 6))
    assert not torch.equal(start, layer.parametrizations.weight[0].u)
    assert {"parametrizations.weight.0.u", "parametrizations.weight.0.v"} <= set(layer.state_dict())


def test_sigma_is_not_computed_in_bf16():
    torch.manual_seed(0)
    weight = normal(20, 30, dtype=torch.float)
    norm, same = SpectralNorm(weight).eval(), normal(1, 1)
    plain = norm(weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(norm(weight), plain)
    assert same.dtype == torch.float64


# networks


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("width", [1, 4, 6])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_generators_layers(width, batch_norm):
    net = Generator(width, batch_norm)
    convs = [m for m in net.net if isinstance(m, nn.ConvTranspose2d)]
    channels = [(m.in_channels, m.out_channels) for m in convs]
    w = width
    assert channels == [(100, 4 * w), (4 * w, 2 * w), (2 * w, w), (w, 3)]
    assert all(m.kernel_size == (4, 4) for m in convs)
    norms = [m.num_features for m in net.net if isinstance(m, nn.BatchNorm2d)]
    assert norms == ([4 * w, 2 * w, w] if batch_norm else [])
    weights = 16 * sum(a * b for a, b in channels)
    assert count(net) == weights + 7 * w * (2 if batch_norm else 1) + 3  # γ and β, or biases
    assert isinstance(net.net[-1], nn.Tanh)


@pytest.mark.parametrize("norm", ["none", "batch", "spectral"])
def test_the_discriminators_layers(norm):
    w, net = 3, Discriminator(3, norm)
    convs = [m for m in net.net if isinstance(m, nn.Conv2d)]
    channels = [(m.in_channels, m.out_channels) for m in convs]
    assert channels == [(3, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 1)]
    norms = [m.num_features for m in net.net if isinstance(m, nn.BatchNorm2d)]
    assert norms == ([2 * w, 4 * w] if norm == "batch" else [])
    weights, biases = 16 * sum(a * b for a, b in channels), 7 * w + 1
    assert count(net) == weights + biases + (6 * w if norm == "batch" else 0)
    assert [m.negative_slope for m in net.net if isinstance(m, nn.LeakyReLU)] == [0.2] * 3
    assert sum(hasattr(m, "parametrizations") for m in convs) == (4 if norm == "spectral" else 0)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("norm", ["none", "batch", "spectral"])
def test_shapes_and_ranges(n, norm):
    generator, discriminator = Generator(3), Discriminator(3, norm)
    images = generator(10 * normal(n, LATENT, dtype=torch.float))
    assert images.shape == (n, 3, 32, 32) and images.abs().max() <= 1
    assert discriminator(images).shape == (n,)
    last = generator.to(memory_format=torch.channels_last)(normal(n, LATENT, dtype=torch.float))
    assert discriminator.to(memory_format=torch.channels_last)(last).shape == (n,)


def test_the_start():
    torch.manual_seed(0)
    for net in (Generator(16), Discriminator(16), Generator(16, False), Discriminator(16, "none")):
        for layer in net.net:
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.15)
                assert abs(layer.weight.mean().item()) < 0.003
                assert layer.bias is None or (layer.bias == 0).all()
            elif isinstance(layer, nn.BatchNorm2d):
                assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)
                assert layer.weight.std() > 0 and (layer.bias == 0).all()


def test_evaluation_treats_each_image_alone():
    torch.manual_seed(0)
    generator, discriminator = Generator(4), Discriminator(4)
    z = normal(6, LATENT, dtype=torch.float)
    x = generate(generator, z)
    torch.testing.assert_close(generate(generator, z[2:3]), x[2:3])
    discriminator.eval()
    torch.testing.assert_close(discriminator(x)[2:3], discriminator(x[2:3]))


def test_batch_norm_keeps_images_apart_at_the_start():
    """Without it N(0, 0.02) shrinks z from layer to layer, and all images are nearly equal."""
    torch.manual_seed(0)
    z = normal(50, LATENT, dtype=torch.float)
    spread = [Generator(16, on)(z).std(dim=0).mean().item() for on in (True, False)]
    assert spread[0] > 10 * spread[1]


def test_spectral_norm_bounds_the_discriminators_slope():
    """Each layer's matrix has norm 1, so a convolution of stride 2 has one of at most 2."""
    torch.manual_seed(0)
    discriminator = Discriminator(4, "spectral")
    x = normal(1, 3, 32, 32, dtype=torch.float)
    for _ in range(100):
        discriminator(x)
    discriminator.eval()
    for _ in range(5):
        move = 0.1 * torch.randn_like(x)
        rise = (discriminator(x + move) - discriminator(x)).abs().item()
        assert rise <= 2**3 * move.norm().item()  # 2 × 2 windows meet at a pixel


# helpers


def test_bytes_become_the_range_of_tanh():
    images = torch.arange(256, dtype=torch.uint8).repeat(12).view(1, 3, 32, 32)
    x = to_tanh_range(images)
    assert x.dtype == torch.float and x.min() == -1 and x.max() == 1
    torch.testing.assert_close(255 * (x + 1) / 2, images.float())


def test_appearance_of_known_images():
    grey = torch.full((2, 3, 8, 8), 0.4)
    assert appearance(grey) == pytest.approx(dict.fromkeys(appearance(grey), 0), abs=1e-6)
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 1
    assert appearance(red)["chroma"] == 1 and appearance(red)["edges"] == 0
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    found = appearance(board.expand(3, 3, 8, 8).float())
    assert found == pytest.approx({"chroma": 0, "contrast": 0.5, "edges": 1, "grain": 1})
    columns = (torch.arange(8) % 2).float().expand(1, 3, 6, 8)
    assert appearance(columns)["edges"] == pytest.approx(0.5)  # across only
    assert appearance(columns)["grain"] == pytest.approx(1)
    wave = 0.5 + 0.5 * torch.sin(2 * math.pi * torch.arange(16) / 16)
    slow = appearance(wave.expand(1, 3, 16, 16))
    assert slow["grain"] == pytest.approx(0, abs=1e-6)
    assert slow["contrast"] == pytest.approx(0.5 / math.sqrt(2))


# bad input


@pytest.mark.parametrize("width", [0, -1, 2.5, True, "64"])
def test_a_wrong_width_is_refused(width):
    for make in (Generator, Discriminator):
        with pytest.raises(
            ValueError, match=r"^width is .*; it must be a whole number, 1 or more$"
        ):
            make(width)


def test_a_wrong_norm_is_refused():
    with pytest.raises(ValueError, match=r"^norm is 'layer'; it must be one of none, batch, spec"):
        Discriminator(2, "layer")


@pytest.mark.parametrize("z", [torch.zeros(3, 99), torch.zeros(3, 100, 1, 1), [[0.0]]])
def test_wrong_latent_vectors_are_refused(z):
    with pytest.raises(ValueError, match=r"^z is .*; it must be floats \(N, 100\)$"):
        Generator(1)(z)


@pytest.mark.parametrize(
    "x", [torch.zeros(3, 1, 28, 28), torch.zeros(3, 32, 32, 3), torch.zeros(2, 3, 32, 32).byte(), 1]
)
def test_what_is_no_batch_of_photographs_is_refused(x):
    with pytest.raises(ValueError, match=r"^x is .*; it must be floats \(N, 3, 32, 32\)$"):
        Discriminator(1)(x)


@pytest.mark.parametrize("x", [torch.zeros(2, 3, 32, 32), torch.zeros(2, 32, 32, 3).byte(), "x"])
def test_only_bytes_in_torchs_order_become_floats(x):
    with pytest.raises(ValueError, match=r"^images is .*; it must be uint8 \(N, 3, 32, 32\)$"):
        to_tanh_range(x)


# the whole


def test_a_tiny_game_learns_a_known_colour():
    """Real images are one green; the generator's, grey at the start, go there."""
    torch.manual_seed(0)
    generator, discriminator = Generator(2), Discriminator(2, "spectral")
    real = torch.tensor([-0.6, 0.6, -0.6])[:, None, None].expand(8, 3, 32, 32)
    z = normal(20, LATENT, dtype=torch.float)
    far = [(2 * generate(generator, z) - 1 - real[0]).abs().mean()]
    play(generator, discriminator, real, LATENT, 120)
    far.append((2 * generate(generator, z) - 1 - real[0]).abs().mean())
    assert far[1] < 0.6 * far[0]
