"""The networks of notebook 06: sizes, layers, what their maps mean, what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from assignment2_pytorch_cnn_rnn.cifar_nets import (
    ReducedVGG,
    ThreeConv,
    check_images,
    class_activation_maps,
    conv_block,
    count_parameters,
)
from assignment2_pytorch_cnn_rnn.speed import WAYS, fastest_way, step_seconds


def batch(n=2, height=32, width=32, dtype=torch.float32):
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(0)).to(dtype)


def nets():
    return [ThreeConv((4, 6, 8)), ReducedVGG(4), ThreeConv((4, 6, 8), batchnorm=False)]


def test_the_reduced_vgg_has_the_size_of_the_course():
    convolutions = 9 * (3 * 64 + 64 * 128 + 128 * 256 + 256**2 + 256 * 512 + 3 * 512**2)
    norms = 2 * (64 + 128 + 2 * 256 + 4 * 512)  # gamma and beta
    assert count_parameters(ReducedVGG()) == convolutions + norms + 512 * 10 + 10
    assert round(count_parameters(ReducedVGG()) / 1e6, 2) == 9.23


def test_the_vgg_is_the_plan():
    kinds = [layer for layer in ReducedVGG(2).features if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in kinds] == [2, 4, 8, 8, 16, 16, 16, 16]
    pools = [layer for layer in ReducedVGG(2).features if isinstance(layer, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride, p.padding) for p in pools] == [(3, 2, 1)] * 5
    x = batch(1)
    sizes = []
    for layer in ReducedVGG(2).features:
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            sizes.append(tuple(x.shape[2:]))
    assert sizes == [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]


@pytest.mark.parametrize("n", [1, 4])
def test_every_parameter_gets_a_gradient(n):
    for net in nets():
        net.eval()  # a batch of one has no variance at 1 × 1
        out = net(batch(n))
        assert out.shape == (n, 10)
        out.square().sum().backward()
        for name, p in net.named_parameters():
            assert p.grad is not None and p.grad.abs().sum() > 0, name


def test_training_and_evaluation_differ_only_with_batch_norm():
    with_norm, without = ThreeConv((4, 6, 8)), ThreeConv((4, 6, 8), batchnorm=False)
    for net, differs in ((with_norm, True), (without, False)):
        train, evaluated = net.train()(batch(8)), net.eval()(batch(8))
        assert torch.allclose(train, evaluated) != differs
    one, many = with_norm(batch(8)[:1]), with_norm(batch(8))[:1]
    torch.testing.assert_close(one, many)  # in evaluation an answer is one's own


def test_pooling_before_relu_is_pooling_after():
    torch.manual_seed(0)
    conv, pool, relu = conv_block(3, 5, batchnorm=False, pool=True)
    x = batch(2, 9, 7)
    assert torch.equal(relu(pool(conv(x))), pool(relu(conv(x))))
    assert conv.bias is not None and conv_block(3, 5)[0].bias is None


def test_the_sum_of_a_class_activation_map_is_the_logit():
    net = ThreeConv((4, 6, 8), num_classes=5).double().eval()
    x = batch(3, dtype=torch.float64)
    maps = class_activation_maps(net, x)
    assert maps.shape == (3, 5, 4, 4)
    torch.testing.assert_close(maps.sum(dim=(2, 3)) + net.head.bias, net(x))
    only = torch.zeros(1, 8, 4, 4).double()
    only[:, :, 1, 2] = net.features(x)[:1, :, 1, 2]  # one place alone
    alone = net.head(only.flatten(1)) - net.head.bias
    torch.testing.assert_close(maps[:1, :, 1, 2], alone)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 1, 32, 32), r"x has shape \(2, 1, 32, 32\); it must be \(N, 3, H, W\)"),
        (torch.zeros(3, 32, 32), r"x has shape \(3, 32, 32\)"),
        (torch.zeros(0, 3, 32, 32), r"x has shape \(0, 3, 32, 32\)"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), r"x is torch.uint8; it must be floats"),
        (torch.zeros(2, 3, 3, 32), r"x has images of 3 × 32; it must be 32 × 32"),
    ],
)
def test_what_is_no_photograph_is_refused(x, message):
    for net in nets():
        with pytest.raises(ValueError, match=message):
            net(x)


def test_other_refusals():
    with pytest.raises(ValueError, match=r"x has images of 28 × 28; it must be 32 × 32"):
        ReducedVGG(2)(batch(1, 28, 28))
    with pytest.raises(ValueError, match=r"images of 3 × 9; at least 4 pixels"):
        check_images(batch(1, 3, 9), smallest=4)
    for width in (0, 2.5, True):
        with pytest.raises(ValueError, match=r"width is .*; it must be a whole number, 1 or more"):
            ReducedVGG(width)
    with pytest.raises(ValueError, match=r"second is 0; it must be a whole number"):
        ThreeConv((4, 0, 8))


def test_a_step_is_timed_and_changes_nothing():
    net, x, y = ThreeConv((2, 2, 2)), batch(4), torch.tensor([0, 1, 2, 3])
    before = {name: p.clone() for name, p in net.state_dict().items()}
    way, seconds = fastest_way(net, x, y, num_steps=1)
    assert seconds.keys() == WAYS.keys() and seconds[way] == min(seconds.values()) > 0
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_each_way_computes_in_its_type_and_layout():
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 10, 3)

        def forward(self, x):
            out = self.conv(x)
            last = x.is_contiguous(memory_format=torch.channels_last)
            seen.append((out.dtype == torch.bfloat16, last, self.training))
            return out.mean(dim=(2, 3))

    for way in WAYS:
        step_seconds(Spy().eval(), batch(2), torch.tensor([0, 1]), way, num_steps=2)
    expected = [(b, last, True) for b in (False, True) for last in (False, True) for _ in range(3)]
    assert seen == expected
