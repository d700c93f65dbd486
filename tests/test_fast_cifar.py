"""The record recipe's parts do what they say, each alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from assignment2_pytorch_cnn_rnn.cifar_nets import count_parameters
from assignment2_pytorch_cnn_rnn.fast_cifar import (
    ConvGroup,
    FastNet,
    dirac_start_,
    each_view_logits,
    fast_norm,
    patch_covariance,
    view_logits,
    views,
    whitening_conv,
    whitening_filters,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def correlated(n=40, channels=3, height=9, width=11, shift=0.0):
    """Images whose colours and neighbours say nearly the same."""
    noise = torch.randn(n, channels, height + 2, width + 2, generator=seeded(), dtype=torch.float64)
    smooth = nn.functional.avg_pool2d(noise, 3, 1)
    return smooth + smooth.mean(dim=1, keepdim=True) + shift


@pytest.mark.parametrize("n", [1, 501])  # 501: more than one part
def test_the_covariance_is_that_of_all_patches(n):
    x = correlated(n, 2, 5, 4, shift=3_000.0)
    patches = torch.stack(
        [
            x[i, :, h : h + 2, w : w + 2].flatten()
            for i in range(n)
            for h in range(4)
            for w in range(3)
        ]
    )
    expected = torch.cov(patches.T, correction=0)
    torch.testing.assert_close(patch_covariance(x, 2), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
def test_whitened_patches_are_uncorrelated(kernel_size):
    x = correlated()
    filters = whitening_filters(x, kernel_size, eps=1e-12)
    D = 3 * kernel_size**2
    assert filters.shape == (2 * D, 3, kernel_size, kernel_size)
    assert torch.equal(filters[D:], -filters[:D]) and filters.dtype == torch.float64
    z = nn.functional.conv2d(x, filters[:D]).transpose(0, 1).flatten(1)  # (D, places)
    torch.testing.assert_close(torch.cov(z, correction=0), torch.eye(D).double(), rtol=0, atol=1e-6)


def test_eps_keeps_faint_directions_small():
    x = correlated(channels=1).expand(-1, 3, -1, -1)  # three equal colours: two directions are void
    z = nn.functional.conv2d(x, whitening_filters(x, 1, eps=0.01)[:3]).var(dim=(0, 2, 3))
    assert (z < 1).all() and (z < 1e-6).sum() == 2


def test_of_a_whitening_layer_only_the_bias_is_trained():
    conv = whitening_conv(correlated().float())
    assert conv.weight.shape == (24, 3, 2, 2) and not conv.weight.requires_grad
    assert conv.bias.requires_grad and conv.bias.abs().sum() == 0
    assert conv(correlated().float()).shape == (40, 24, 8, 10)


@pytest.mark.parametrize(("in_channels", "out_channels"), [(3, 5), (4, 4), (5, 3)])
def test_dirac_filters_copy_their_input(in_channels, out_channels):
    torch.manual_seed(0)
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    dirac_start_(conv)
    x = correlated(2, in_channels).float()
    copied = min(in_channels, out_channels)
    torch.testing.assert_close(conv(x)[:, :copied], x[:, :copied])
    if out_channels > in_channels:
        rest = conv.weight[in_channels:]
        assert rest.std() > 0 and rest.abs().max() <= (1 / (9 * in_channels)) ** 0.5  # torch's own
    assert conv.weight.requires_grad


def test_fast_norm():
    bn = fast_norm(3)
    x = correlated(shift=5.0).float()
    out = bn(x)
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.std(dim=(0, 2, 3)), torch.ones(3), rtol=0, atol=1e-3)
    torch.testing.assert_close(bn.running_mean, 0.4 * x.mean(dim=(0, 2, 3)))
    for scale, trained in ((False, ["bias"]), (True, ["weight", "bias"])):
        named = fast_norm(3, scale).named_parameters()
        assert [name for name, p in named if p.requires_grad] == trained


@pytest.mark.parametrize("dirac", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("act", [nn.GELU, nn.ReLU])
def test_the_network_has_the_recipes_shape(dirac, scale, act):
    x = torch.randn(4, 3, 32, 32, generator=seeded())
    net = FastNet(x, (8, 10, 12), dirac=dirac, scale=scale, act=act)
    assert net(x).shape == (4, 10)
    assert [tuple(group(torch.zeros(1, c, s, s)).shape[1:]) for group, c, s in zip(
        net.body[2:5], (24, 8, 10), (31, 15, 7), strict=True)] == [
        (8, 15, 15), (10, 7, 7), (12, 3, 3)]  # fmt: skip
    net(x).square().sum().backward()
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert ("body.0.weight" in frozen) and len(frozen) == (1 if scale else 7)
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
    copied = torch.equal(net.body[2][0].weight[1, 1, 1, 1], torch.tensor(1.0))
    assert copied == dirac and isinstance(net.body[1], act)


def test_the_full_size_and_the_learnt_stem():
    x = torch.randn(20, 3, 32, 32, generator=seeded())
    weights = 9 * (24 * 64 + 64**2 + 64 * 256 + 3 * 256**2) + 256 * 10
    assert count_parameters(FastNet(x)) == 24 + weights + 2 * (64 + 256 + 256)
    learnt = FastNet(None, (4, 4, 4))
    assert learnt.body[0].weight.requires_grad and learnt.body[0].weight.shape == (24, 3, 2, 2)


@pytest.mark.parametrize("how", ["one", "mirror", "six"])
def test_views(how):
    x = correlated(2, height=6, width=7)
    found = views(x, how)
    assert len(found) == {"one": 1, "mirror": 2, "six": 6}[how]
    assert sum(weight for weight, _ in found) == 1
    assert all(view.shape == x.shape for _, view in found)
    assert torch.equal(found[0][1], x)
    if how == "six":
        _, mirrored, up_left, _, down_right, _ = (view for _, view in found)
        assert torch.equal(mirrored, x.flip(3))
        assert torch.equal(up_left[:, :, 1:, 1:], x[:, :, :-1, :-1])
        assert torch.equal(down_right[:, :, :-1, :-1], x[:, :, 1:, 1:])


def test_the_answers_to_the_views_are_averaged():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 63, 5))
    net.double()
    x = correlated(7)
    got = view_logits(net, x, "six", batch_size=3)
    assert net.training  # as it was
    net.eval()
    expected = sum(weight * net(view) for weight, view in views(x, "six"))
    torch.testing.assert_close(got, expected.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(view_logits(net, x, "one"), net(x).float())
    each = each_view_logits(net, x, "mirror", batch_size=2)
    torch.testing.assert_close(each, torch.stack([net(x), net(x.flip(3))]).float())


def test_wrong_input_is_refused():
    x = torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"kernel_size is 9; it must be 1 … 8"):
        whitening_filters(x, 9)
    with pytest.raises(ValueError, match=r"eps is 0; it must be above 0"):
        whitening_filters(x, eps=0)
    with pytest.raises(ValueError, match=r"x has shape \(0, 3, 8, 8\)"):
        whitening_filters(x[:0])
    with pytest.raises(ValueError, match=r"x has images of 8 × 8; it must be 32 × 32"):
        FastNet(None, (2, 2, 2))(x)
    with pytest.raises(ValueError, match=r"third is 0"):
        FastNet(None, (2, 2, 0))
    with pytest.raises(ValueError, match=r"how is 'all'; it must be one, mirror or six"):
        views(x, "all")
    assert ConvGroup(3, 4)(x).shape == (2, 4, 4, 4)
