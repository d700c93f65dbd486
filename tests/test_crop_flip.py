"""Augmented batches hold each image moved, mirrored or left alone, by its own draw."""

from __future__ import annotations

import pytest
import torch

from assignment2_pytorch_cnn_rnn.crop_flip import (
    flip_and_crop,
    flip_where,
    random_crop,
    random_flip,
    windows_at,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n, height=5, width=7, dtype=torch.float32):
    """Images (n, 3, height, width) in which no number comes twice."""
    return torch.arange(n * 3 * height * width, dtype=dtype).view(n, 3, height, width)


def test_windows_lie_where_they_are_asked_for():
    x = images(4)
    top, left = torch.tensor([0, 1, 2, 0]), torch.tensor([3, 0, 2, 1])
    got = windows_at(x, top, left, (3, 4))
    for n in range(4):
        window = x[n, :, top[n] : top[n] + 3, left[n] : left[n] + 4]
        assert torch.equal(got[n], window)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant"])
@pytest.mark.parametrize("padding", [1, 2])
def test_every_crop_comes_and_nothing_else(mode, padding):
    x = images(1)
    padded = torch.nn.functional.pad(x, (padding,) * 4, mode=mode)
    places = range(2 * padding + 1)
    possible = {
        tuple(padded[0, :, i : i + 5, j : j + 7].flatten().tolist()) for i in places for j in places
    }
    got = random_crop(x.expand(600, -1, -1, -1), seeded(), padding, mode)
    assert {tuple(image.flatten().tolist()) for image in got} == possible


def test_images_are_moved_each_by_its_own_draw():
    x = images(1).expand(50, -1, -1, -1)
    crops = random_crop(x, seeded(), 2)
    assert len({tuple(c.flatten().tolist()) for c in crops}) > 10
    flips = random_flip(x, seeded())
    assert 10 < sum(torch.equal(f, x[0]) for f in flips) < 40


def test_no_padding_and_no_probability_change_nothing():
    x = images(3)
    assert torch.equal(random_crop(x, seeded(), 0), x)
    assert torch.equal(random_flip(x, seeded(), 0), x)
    assert torch.equal(random_flip(x, seeded(), 1), x.flip(3))


def test_a_flip_is_left_to_right():
    x = images(2)
    got = flip_where(x, torch.tensor([True, False]))
    assert torch.equal(got[0, :, :, 0], x[0, :, :, -1]) and torch.equal(got[1], x[1])


@pytest.mark.parametrize("function", [random_crop, random_flip, flip_and_crop])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_type_and_originals_are_kept(function, dtype):
    x = images(4).to(dtype)
    before = x.clone()
    got = function(x.transpose(2, 3), seeded())  # not contiguous
    assert got.shape == (4, 3, 7, 5) and got.dtype == dtype and torch.equal(x, before)


@pytest.mark.parametrize("function", [random_crop, random_flip, flip_and_crop])
def test_the_generator_decides(function):
    x = images(20, 9, 9)
    first, second, other = (function(x, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, other)
    generator = seeded()
    assert not torch.equal(function(x, generator), function(x, generator))  # a new draw
    state = torch.get_rng_state()
    function(x, generator)
    assert torch.equal(state, torch.get_rng_state())  # the global numbers are not used


def test_channels_last_stays():
    x = images(4, 8, 8).to(memory_format=torch.channels_last)
    assert flip_and_crop(x, seeded()).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(3, 5, 7), (0, 3, 5, 7), (2, 3, 0, 7)])
@pytest.mark.parametrize("function", [random_crop, random_flip])
def test_what_is_no_batch_is_refused(function, shape):
    with pytest.raises(ValueError, match=r"x has shape .*; it must be \(N, C, H, W\)"):
        function(torch.zeros(shape), seeded())


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r"padding is 5; it must be 0 … 4 for 5 × 7"):
        random_crop(images(1), seeded(), 5)
    with pytest.raises(ValueError, match=r"padding is -1"):
        random_crop(images(1), seeded(), -1)
    with pytest.raises(ValueError, match=r"p is 1.5; it must be a probability"):
        random_flip(images(1), seeded(), 1.5)
