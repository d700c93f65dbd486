"""Batch norm of a batch in parts: over all of them, and over each alone."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn

from assignment2_pytorch_cnn_rnn.resnet import ResNet
from assignment2_pytorch_cnn_rnn.split_batchnorm import (
    GhostBatchNorm2d,
    GlobalBatchNorm2d,
    mean_over_processes,
    replace_batchnorm,
)


@pytest.fixture(scope="module", autouse=True)
def group_of_one():
    """Two processes are in test_train_ddp.py."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def images(*shape, shift=0.0, dtype=torch.float64):
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (x + shift).to(dtype).requires_grad_()


def start(layer):
    """Give a layer weights, biases and running statistics that are not 0 or 1."""
    with torch.no_grad():
        for n, tensor in enumerate((layer.weight, layer.bias, layer.running_mean)):
            tensor.copy_(torch.linspace(-1, 2, len(tensor)) + n)
        layer.running_var.copy_(torch.linspace(1, 2, layer.num_features))
    return layer.double()


def outcome(layer, x, steps=2):
    """Return a layer's output, gradients and buffers after some steps on the same x."""
    for _ in range(steps):
        x.grad = layer.weight.grad = layer.bias.grad = None
        out = layer(x)
        (out.sin() * torch.arange(out.numel()).view_as(out)).sum().backward()
    return [out, x.grad, layer.weight.grad, layer.bias.grad, *layer.buffers()]


@pytest.mark.parametrize("make", [GlobalBatchNorm2d, partial(GhostBatchNorm2d, parts=1)])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 3, 3), (8, 1, 1, 1), (3, 4, 1, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_one_process_and_one_part_are_torchs(make, shape, training):
    plain, ours = start(nn.BatchNorm2d(shape[1])), start(make(shape[1]))
    x = images(*shape)
    expected = outcome(plain.train(training), x)
    for got, wanted in zip(outcome(ours.train(training), x), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", [GlobalBatchNorm2d, partial(GhostBatchNorm2d, parts=2)])
def test_a_large_mean_costs_no_digits(make):
    x = images(8, 3, 6, 6, shift=3_000.0, dtype=torch.float32)
    layer = make(3)
    expected = outcome_of_exact(layer, x)
    torch.testing.assert_close(layer(x), expected.float(), rtol=0, atol=2e-3)
    assert ((layer.running_var - 1).abs() < 0.1).all()


def outcome_of_exact(layer, x):
    """The same in float64, part by part."""
    parts = getattr(layer, "parts", 1)
    out = torch.empty_like(x, dtype=torch.float64)
    for r in range(parts):
        out[r::parts] = nn.BatchNorm2d(x.shape[1]).double()(x.detach()[r::parts].double())
    return out


@pytest.mark.parametrize(("N", "parts"), [(6, 3), (6, 2), (4, 4), (2, 1)])
def test_ghosts_are_plain_layers_side_by_side(N, parts):
    x, ghost = images(N, 3, 4, 5), start(GhostBatchNorm2d(3, parts))
    alone = [start(nn.BatchNorm2d(3)) for _ in range(parts)]
    out = ghost(x)
    for r, layer in enumerate(alone):
        torch.testing.assert_close(out[r::parts], layer(x[r::parts]))
    for got, wanted in zip(ghost.buffers(), alone[0].buffers(), strict=True):  # those of part 0
        torch.testing.assert_close(got, wanted)
    weight = torch.randn(out.shape, dtype=torch.float64)
    (out * weight).sum().backward()
    got, x.grad = x.grad, None
    sum((layer(x[r::parts]) * weight[r::parts]).sum() for r, layer in enumerate(alone)).backward()
    torch.testing.assert_close(got, x.grad)
    torch.testing.assert_close(ghost.weight.grad, sum(layer.weight.grad for layer in alone))
    torch.testing.assert_close(ghost.bias.grad, sum(layer.bias.grad for layer in alone))


@pytest.mark.parametrize("make", [GlobalBatchNorm2d, partial(GhostBatchNorm2d, parts=2)])
def test_any_memory_layout(make):
    x = images(4, 3, 5, 6).detach()
    for other in (x.to(memory_format=torch.channels_last), x.mT.contiguous().mT):
        torch.testing.assert_close(make(3).double()(other), make(3).double()(x))


def test_what_cannot_be_normalised_is_refused():
    with pytest.raises(ValueError, match="a variance needs 2 numbers or more"):
        GlobalBatchNorm2d(3)(torch.ones(1, 3, 1, 1))
    with pytest.raises(ValueError, match="x has 5 images; 2 parts must have the same size"):
        GhostBatchNorm2d(3, 2)(torch.ones(5, 3, 2, 2))
    with pytest.raises(ValueError, match="expected 4D input"):
        GlobalBatchNorm2d(3)(torch.ones(5, 3))


def test_a_whole_network_gets_other_layers_and_keeps_its_weights():
    net = ResNet((1, 1), width=2).eval()
    nn.init.constant_(net.bn1.running_mean, 3.0)
    before = dict(net.state_dict(keep_vars=True))
    x = torch.randn(2, 3, 8, 8)
    expected = net(x)
    assert replace_batchnorm(net, partial(GhostBatchNorm2d, parts=2)) is net
    kinds = {type(layer) for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)}
    assert kinds == {GhostBatchNorm2d}
    assert not any(layer.training for layer in net.modules())
    after = net.state_dict(keep_vars=True)
    assert before.keys() == after.keys()
    assert all(after[name] is value for name, value in before.items())  # not copies
    torch.testing.assert_close(net(x), expected)


def test_the_mean_of_one_process_is_a_copy():
    x = images(2, 3)
    got = mean_over_processes(x)
    assert torch.equal(got, x) and got.data_ptr() != x.data_ptr() and not got.requires_grad
    assert torch.equal(mean_over_processes(x.mT), x.mT)
