"""Digits on canvases of several sizes, and the networks that read them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from assignment2_pytorch_cnn_rnn.multi_resolution import (
    FixedNet,
    PastedDigits,
    VariableNet,
    accumulate,
    draw_places,
    draw_sizes,
    paste,
    paste_all,
    resize,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def num_parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.fixture
def data():
    """Fifty digits of noise, with labels 0 to 9, on canvases of three sizes."""
    digits = torch.rand(50, 1, 28, 28, generator=seeded(1)) + 0.1
    return paste_all(digits, torch.arange(50) % 10, seeded(2))


# ---- sizes and places ----


def test_sizes_are_equally_frequent_and_in_random_order():
    sizes = draw_sizes(301, seeded())
    counts = sizes.unique(return_counts=True)
    assert counts[0].tolist() == [32, 48, 64] and sorted(counts[1].tolist()) == [100, 100, 101]
    assert sizes.shape == (301,) and len(sizes[:20].unique()) == 3
    assert torch.equal(sizes, draw_sizes(301, seeded()))
    assert not torch.equal(sizes, draw_sizes(301, seeded(1)))
    assert draw_sizes(4, seeded(), (40,)).tolist() == [40] * 4


@pytest.mark.parametrize(("size", "low", "high"), [(32, 0, 4), (28, 0, 0), (24, -4, 0)])
def test_places_are_all_equally_likely(size, low, high):
    places = draw_places(torch.full((6_000,), size), seeded())
    assert places.shape == (6_000, 2) and places.dtype == torch.int64
    for column in places.T:
        values, counts = column.unique(return_counts=True)
        assert values.tolist() == list(range(low, high + 1))
        assert (abs(counts / 6_000 - 1 / len(values)) < 0.03).all()
    both = (places[:, 0] == places[:, 1]).float().mean()  # rows and columns are independent
    assert abs(both - 1 / (high - low + 1)) < 0.03


def test_places_fit_sizes_that_are_mixed():
    sizes = torch.tensor([24, 32, 64, 128]).repeat(200)
    places = draw_places(sizes, seeded())
    for size in (24, 32, 64, 128):
        found = places[sizes == size]
        assert found.min() >= min(size - 28, 0) and found.max() <= max(size - 28, 0)
        assert found.max() - found.min() > 0.9 * abs(size - 28)


# ---- pictures ----


@pytest.mark.parametrize("size", [20, 24, 28, 29, 48])
def test_paste_is_the_loop(size):
    digits = torch.rand(7, 1, 28, 28, generator=seeded())
    places = draw_places(torch.full((7,), size), seeded(1))
    expected = np.zeros((7, 1, size, size), dtype=np.float32)
    for n in range(7):
        for i in range(28):
            for j in range(28):
                row, column = places[n, 0] + i, places[n, 1] + j
                if 0 <= row < size and 0 <= column < size:
                    expected[n, 0, row, column] = digits[n, 0, i, j]
    np.testing.assert_array_equal(paste(digits, size, places), expected)


def test_paste_takes_one_digit_non_contiguous_float64():
    digits = torch.rand(3, 1, 28, 28, dtype=torch.float64).transpose(2, 3)[1:2]
    x = paste(digits, 32, torch.tensor([[4, 0]]))
    assert x.shape == (1, 1, 32, 32) and x.dtype == torch.float64
    torch.testing.assert_close(x[:, :, 4:, :28], digits)
    assert x[:, :, :4].sum() == x[:, :, :, 28:].sum() == 0


def test_resize_averages_what_gets_smaller():
    x = torch.rand(2, 1, 64, 64, generator=seeded())
    for size in (28, 64, 100):
        small = resize(x, size)
        assert small.shape == (2, 1, size, size)
        assert (abs(small.mean(dim=(2, 3)) - x.mean(dim=(2, 3))) < 0.02).all()
    torch.testing.assert_close(resize(x, 64), x)
    torch.testing.assert_close(resize(torch.ones(1, 1, 48, 48), 28), torch.ones(1, 1, 28, 28))
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)
    assert (abs(resize(stripes, 16)[..., 1:-1] - 0.5) < 0.05).all()  # grey, and no stripes


def test_pictures_holds_every_digit_once(data):
    assert len(data) == 50
    chosen = torch.tensor([3, 40, 7, 9, 11, 0])
    found = []
    for x, y in data.pictures(chosen):
        size = x.shape[-1]
        assert x.shape == (len(y), 1, size, size) and len(y) > 0
        part = chosen[data.sizes[chosen] == size]
        assert torch.equal(y, data.labels[part])
        assert torch.equal(x, paste(data.digits[part], size, data.places[part]))
        found += part.tolist()
    assert sorted(found) == sorted(chosen.tolist())


def test_pictures_moves_digits_only_for_a_generator(data):
    every = torch.arange(50)
    first, again = ([x for x, _ in data.pictures(every)] for _ in range(2))
    moved, moved_again = ([x for x, _ in data.pictures(every, seeded(3))] for _ in range(2))
    for kept, same, other, equal in zip(first, again, moved, moved_again, strict=True):
        assert torch.equal(kept, same) and torch.equal(other, equal)
        assert not torch.equal(kept, other)
        sums = kept.sum(dim=(1, 2, 3))  # all of each digit is there, elsewhere
        torch.testing.assert_close(other.sum(dim=(1, 2, 3)), sums)


def test_paste_all_draws_from_its_generator(data):
    other = paste_all(data.digits, data.labels, seeded(2))
    assert torch.equal(other.sizes, data.sizes) and torch.equal(other.places, data.places)
    assert paste_all(data.digits, data.labels, seeded(2), sizes=(24,)).sizes.unique() == 24


# ---- networks ----


def test_parameters_are_the_courses():
    for pooling in ("max", "mean"):
        assert num_parameters(VariableNet(pooling)) == 29_029
    assert num_parameters(FixedNet(28)) == 29_066
    assert num_parameters(FixedNet(64)) == 64_266
    assert num_parameters(VariableNet("max", norm=True)) == 29_029 + 2 * (16 + 32 + 81)


def test_fixed_net_reads_one_size():
    assert FixedNet(28)(torch.rand(4, 1, 28, 28)).shape == (4, 10)
    assert FixedNet(64)(torch.rand(1, 1, 64, 64)).shape == (1, 10)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        FixedNet(28)(torch.rand(1, 1, 48, 48))


@pytest.mark.parametrize(
    ("pooling", "pool"), [("max", F.adaptive_max_pool2d), ("mean", F.adaptive_avg_pool2d)]
)
@pytest.mark.parametrize("norm", [False, True])
def test_variable_net_pools_over_all_places(pooling, pool, norm):
    model = VariableNet(pooling, norm=norm).double().eval()
    for H, W in ((28, 28), (8, 8), (40, 72), (33, 21)):
        x = torch.rand(3, 1, H, W, dtype=torch.float64)
        expected = model.linear(pool(model.features(x), 1).flatten(start_dim=1))
        torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_layers_are_convolution_pooling_norm_relu():
    model = VariableNet("max", norm=True).double().eval()
    x = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    h = x
    for n in (0, 4, 8):
        conv, norm = model.features[n], model.features[n + 2]
        h = F.conv2d(h, conv.weight, conv.bias, padding=1)
        h = F.relu(norm(F.max_pool2d(h, 2)))
    torch.testing.assert_close(model.features(x), h, rtol=1e-12, atol=1e-12)
    assert h.shape == (2, 81, 4, 4)


def test_max_pooling_does_not_see_the_canvas():
    digits = torch.zeros(1, 1, 28, 28, dtype=torch.float64)
    digits[:, :, 4:24, 4:24] = torch.rand(20, 20, dtype=torch.float64)
    model = VariableNet("max").double()
    places = torch.tensor([[16, 16]])
    logits = [model(paste(digits, size, places + shift)) for size, shift in
              ((64, 0), (96, 0), (96, 24), (128, 40))]  # fmt: skip
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], rtol=0, atol=1e-12)


# ---- one step over several sizes ----


def gradients(model):
    return [p.grad.clone() for p in model.parameters()]


def test_accumulate_is_the_gradient_of_the_mean(data):
    model = VariableNet("mean").double()
    parts = [(x.double(), y) for x, y in data.pictures(torch.arange(50))]
    loss = accumulate(model, parts)
    found = gradients(model)
    logits = torch.cat([model(x) for x, _ in parts])
    expected = F.cross_entropy(logits, torch.cat([y for _, y in parts]))
    model.zero_grad()
    expected.backward()
    assert abs(loss - expected.item()) < 1e-12
    for got, wanted in zip(found, gradients(model), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-14)


def test_accumulate_adds_and_does_not_step(data):
    model = VariableNet("max").double()
    before = [p.clone() for p in model.parameters()]
    parts = [(x.double(), y) for x, y in data.pictures(torch.arange(20))]
    accumulate(model, parts)
    once = gradients(model)
    accumulate(model, parts)
    for p, kept, first in zip(model.parameters(), before, once, strict=True):
        assert torch.equal(p, kept)
        torch.testing.assert_close(p.grad, 2 * first)


def test_accumulate_in_bfloat16_is_near(data):
    model = VariableNet("max")
    parts = list(data.pictures(torch.arange(30)))
    exact = accumulate(model, parts)
    assert abs(accumulate(model, parts, torch.bfloat16) - exact) < 0.02
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


# ---- bad input ----


def test_arguments_are_checked(data):
    def pasted(**changed):
        names = ("digits", "labels", "sizes", "places")
        return PastedDigits(**{name: getattr(data, name) for name in names} | changed)

    with pytest.raises(ValueError, match=r"digits is \(50, 28, 28\); it must be"):
        pasted(digits=data.digits[:, 0])
    with pytest.raises(ValueError, match=r"digits is torch\.uint8"):
        pasted(digits=(data.digits * 100).to(torch.uint8))
    with pytest.raises(ValueError, match=r"need \(50,\), \(50,\), \(50, 2\)"):
        pasted(labels=data.labels[:10])
    with pytest.raises(ValueError, match=r"digits is \(0, 1, 28, 28\)"):
        pasted(digits=data.digits[:0])
    with pytest.raises(ValueError, match="num_digits is 0"):
        paste_all(data.digits[:0], data.labels[:0], seeded())
    for shift in (-40, 40):
        with pytest.raises(ValueError, match="leaves its canvas"):
            pasted(places=data.places + shift)
    with pytest.raises(ValueError, match="num_digits is 0"):
        draw_sizes(0, seeded())
    with pytest.raises(ValueError, match=r"sizes \(32, 0\)"):
        draw_sizes(5, seeded(), (32, 0))
    with pytest.raises(ValueError, match="pooling is 'sum'; it must be max or mean"):
        VariableNet("sum")


@pytest.mark.parametrize("shape", [(1, 1, 7, 32), (2, 3, 32, 32), (1, 32, 32)])
def test_variable_net_says_what_it_reads(shape):
    with pytest.raises(ValueError, match=r"it must be \(N, 1, H, W\) with H and W 8 or more"):
        VariableNet("max")(torch.rand(shape))
