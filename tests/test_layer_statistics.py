"""What is measured at a layer is what autograd says there, and measuring changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from assignment2_pytorch_cnn_rnn.layer_statistics import layer_statistics


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )


X, Y = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 5


def test_by_hand():
    net = small_net().double()
    x = X.double()
    z1 = net[0](x)
    z1.retain_grad()
    z2 = net[4](net[3](net[2](net[1](z1))))
    z2.retain_grad()
    F.cross_entropy(z2, Y).backward()
    found = layer_statistics(small_net().double(), x, Y, learning_rate=0.3)
    layers = (net[0], z1), (net[4], z2)
    expected = (
        torch.stack([z.std() for _, z in layers]),
        torch.stack([6 * (z.grad**2).mean() ** 0.5 for _, z in layers]),
        torch.stack([0.3 * m.weight.grad.norm() / m.weight.norm() for m, _ in layers]),
    )
    torch.testing.assert_close(found, tuple(e.detach() for e in expected))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    net = small_net().train(training)
    before = {name: p.clone() for name, p in net.state_dict().items()}
    first = layer_statistics(net, X, Y)
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())
    assert net.training == training and all(p.grad is None for p in net.parameters())
    torch.testing.assert_close(layer_statistics(net, X, Y), first)
    assert not net[0]._forward_hooks


def test_hooks_go_even_where_the_forward_pass_fails():
    net = small_net()
    with pytest.raises(RuntimeError):
        layer_statistics(net, X[:, :2], Y)
    assert not net[0]._forward_hooks and not net[4]._forward_hooks


def test_a_frozen_layer_is_not_moved():
    net = small_net()
    net[0].weight.requires_grad_(False)
    z_std, dz_rms, update = layer_statistics(net, X, Y)
    assert update[0] == 0 < update[1] and dz_rms[0] > 0 and len(z_std) == 2


def test_layers_come_in_the_order_of_their_use():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(4, 5), nn.Linear(108, 4)
            nn.init.constant_(self.last.weight, 0.0)
            nn.init.constant_(self.last.bias, 0.0)

        def forward(self, x):
            return self.last(self.first(x.flatten(1)))

    z_std, _, _ = layer_statistics(Backwards(), X, Y)
    assert z_std[0] > 0 and z_std[1] == 0
