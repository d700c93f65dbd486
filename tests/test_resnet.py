"""Our residual networks: torchvision's numbers where they compare, and their own options."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from assignment2_pytorch_cnn_rnn.cifar_nets import count_parameters
from assignment2_pytorch_cnn_rnn.layer_statistics import layer_statistics
from assignment2_pytorch_cnn_rnn.resnet import BasicBlock, Residual, ResNet, ResNet9


def batch(n=2, height=32, width=32, dtype=torch.float32):
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(0)).to(dtype)


def for_small_images(model):
    """Give torchvision's network our stem."""
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


@pytest.fixture(scope="module")
def pair():
    """Torchvision's ResNet-18 with our stem, all its numbers away from the start, and our twin."""
    torch.manual_seed(0)
    theirs = for_small_images(resnet18(num_classes=10)).double()
    for name, p in theirs.state_dict().items():
        if p.is_floating_point():
            noise = 0.1 * torch.randn_like(p)
            p.add_(noise.abs() if "var" in name else noise)
    ours = ResNet().double()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def test_names_and_shapes_are_torchvisions(pair):
    theirs, ours = (
        {name: tuple(p.shape) for name, p in model.state_dict().items()} for model in pair
    )
    assert ours == theirs
    assert count_parameters(pair[1]) == count_parameters(pair[0]) == 11_173_962


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (9, 12)])
def test_outputs_gradients_and_buffers_are_torchvisions(pair, training, size):
    found = []
    for model in pair:
        model.train(training)
        model.zero_grad()
        x = batch(3, *size, dtype=torch.float64).requires_grad_()
        out = model(x)
        (out.sin()).sum().backward()
        grads = {name: p.grad.clone() for name, p in model.named_parameters()}
        buffers = {name: b.clone() for name, b in model.named_buffers()}
        found.append((out.detach(), x.grad, grads, buffers))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-11)


def test_a_state_dict_that_lacks_a_key_is_refused(pair):
    state = pair[0].state_dict()
    del state["layer2.0.downsample.0.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*layer2.0.downsample.0.weight"):
        ResNet().load_state_dict(state)


@pytest.mark.parametrize("batchnorm", [True, False])
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("down", ["stride", "pool"])
@pytest.mark.parametrize("blocks", [(1,), (2, 1), (1, 1, 1), (1, 1, 1, 1)])
def test_every_option_has_its_shape_and_its_gradients(blocks, down, skip, batchnorm):
    net = ResNet(blocks, 4, 7, batchnorm=batchnorm, skip=skip, down=down).eval()
    x = batch(2, 16, 24)
    maps = net.features(x)
    halvings = 2 ** (len(blocks) - 1)
    assert maps.shape == (2, 4 * halvings, 16 // halvings, 24 // halvings)
    out = net(x)
    assert out.shape == (2, 7)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(norms) == batchnorm
    projections = [name for name, _ in net.named_modules() if name.endswith("downsample")]
    assert len(projections) == (len(blocks) - 1 if skip else 0)
    biases = {m.bias is not None for m in net.modules() if isinstance(m, nn.Conv2d)}
    assert biases == {not batchnorm}


@pytest.mark.parametrize("down", ["stride", "pool"])
def test_strided_and_pooled_blocks_have_the_same_parameters(down):
    torch.manual_seed(0)
    block = BasicBlock(4, 6, 2, down=down).eval()
    assert [c.stride for c in (block.conv1, block.downsample[0])] == [
        ((2, 2) if down == "stride" else (1, 1))
    ] * 2
    assert count_parameters(block) == 9 * (4 * 6 + 36) + 4 * 6 + 3 * 12
    x = torch.randn(2, 4, 8, 8)
    full = block.conv1(x)
    if down == "pool":
        full = nn.functional.max_pool2d(full, 2)
    expected = block.bn2(block.conv2(block.bn1(full).relu()))
    side = block.downsample(nn.functional.max_pool2d(x, 2) if down == "pool" else x)
    torch.testing.assert_close(block(x), (expected + side).relu())


def test_the_skip_carries_the_input():
    for skip in (True, False):
        block = BasicBlock(4, 4, skip=skip).eval()
        nn.init.zeros_(block.bn2.weight)  # F(x) = 0
        x = torch.randn(2, 4, 5, 6)
        torch.testing.assert_close(block(x), x.relu() if skip else torch.zeros_like(x))


def test_depth_counts_as_in_the_paper():
    """He et al. 2016, §4.2: 6n + 2 layers with weights, besides the projections."""
    for n in (1, 3):
        net = ResNet((n, n, n), 4)
        layers = [
            name
            for name, m in net.named_modules()
            if isinstance(m, (nn.Conv2d, nn.Linear)) and "downsample" not in name
        ]
        assert len(layers) == 6 * n + 2


def test_he_start_keeps_the_signal():
    torch.manual_seed(0)
    net = ResNet((2,), 64, batchnorm=False, skip=False)
    z_std, _, _ = layer_statistics(net, batch(8), torch.zeros(8, dtype=torch.long))
    assert (z_std[1:-1] / z_std[0]).log2().abs().max() < 0.5
    assert all(m.bias.abs().sum() == 0 for m in net.modules() if isinstance(m, nn.Conv2d))


def test_resnet9_is_the_plan():
    assert (
        count_parameters(ResNet9(32))
        == 9 * (3 * 32 + 32 * 64 + 2 * 64**2 + 64 * 128 + 128 * 256 + 2 * 256**2)
        + 2 * (32 + 3 * 64 + 128 + 3 * 256)
        + 10 * 256
    )
    net = ResNet9(4).eval()
    maps = net.body(batch(3, 16, 24))
    assert maps.shape == (3, 32, 2, 3)
    out = net(batch(3, 16, 24))
    torch.testing.assert_close(out, maps.amax(dim=(2, 3)) @ net.head.weight.T / 8)
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in ResNet9(4, batchnorm=False).modules())


def test_a_residual_adds_its_input():
    x = torch.randn(3, 5)
    torch.testing.assert_close(Residual(nn.Tanh(), nn.Tanh())(x), x + x.tanh().tanh())


def test_wrong_settings_and_inputs_are_refused():
    with pytest.raises(ValueError, match=r"down is 'mean'; it must be one of stride, pool"):
        BasicBlock(4, 4, down="mean")
    for blocks in ((), (1, 1, 1, 1, 1)):
        with pytest.raises(ValueError, match=r"blocks is \(.*; it must be 1 … 4 whole numbers"):
            ResNet(blocks)
    with pytest.raises(ValueError, match=r"num_blocks is 0; it must be a whole number"):
        ResNet((1, 0), 4)
    with pytest.raises(ValueError, match=r"width is -1"):
        ResNet(width=-1)
    with pytest.raises(ValueError, match=r"width is 0"):
        ResNet9(0)
    with pytest.raises(ValueError, match=r"x has shape \(2, 1, 32, 32\)"):
        ResNet((1,), 4)(torch.zeros(2, 1, 32, 32))
    with pytest.raises(ValueError, match=r"images of 4 × 32; at least 8 pixels"):
        ResNet(width=2)(batch(2, 4, 32))
    with pytest.raises(ValueError, match=r"images of 4 × 4; at least 8 pixels"):
        ResNet9(2)(batch(2, 4, 4))
