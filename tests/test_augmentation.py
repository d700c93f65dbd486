"""Augmentation: where pixels go, within which bounds, and the same again from the same seed."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from assignment2_pytorch_cnn_rnn.augmentation import affine_matrices, random_affine, transform


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(*shape, dtype=torch.float32):
    return torch.rand(*shape, generator=seeded(9), dtype=dtype)


def moved(x, angle=0.0, scale=1.0, shift=(0.0, 0.0), fill=0.0):
    """One and the same change for every image of a batch."""
    same = torch.ones(len(x), dtype=x.dtype)
    shifts = torch.tensor([shift] * len(x), dtype=x.dtype)
    theta = affine_matrices(angle * same, scale * same, shifts, *x.shape[2:])
    return transform(x, theta, fill)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=3e-6)


@pytest.mark.parametrize("shape", [(1, 1, 28, 28), (4, 3, 6, 9), (2, 1, 7, 4), (1, 1, 1, 1)])
def test_nothing_changes_at_zero(shape):
    x = images(*shape)
    close(moved(x), x)
    close(random_affine(x, seeded(), degrees=0, scale=0, shift=0), x)


@pytest.mark.parametrize("fill", [0.0, 0.3, -2.0])
def test_known_shifts(fill):
    x = images(2, 3, 6, 9)
    close(moved(x, shift=(2, 0), fill=fill), F.pad(x, (2, -2, 0, 0), value=fill))
    close(moved(x, shift=(0, -1), fill=fill), F.pad(x, (0, 0, -1, 1), value=fill))
    half = moved(x, shift=(0.5, 0))
    close(half[..., 1:], (x[..., 1:] + x[..., :-1]) / 2)
    close(moved(x, shift=(100, 100), fill=fill), torch.full_like(x, fill))


@pytest.mark.parametrize("size", [7, 8])
def test_known_turns_are_clockwise(size):
    x = images(2, 1, size, size)
    close(moved(x, angle=math.pi / 2), torch.rot90(x, -1, (2, 3)))
    close(moved(x, angle=-math.pi / 2), torch.rot90(x, 1, (2, 3)))


def test_a_turn_keeps_distances_where_height_and_width_differ():
    x = torch.zeros(1, 1, 9, 21)
    x[0, 0, 4, 10] = x[0, 0, 4, 13] = 1.0
    turned = moved(x, angle=math.pi / 2)
    assert (turned > 0.5)[0, 0].nonzero().tolist() == [[4, 10], [7, 10]]
    close(moved(images(1, 2, 6, 9), angle=math.pi), images(1, 2, 6, 9).flip(2, 3))


def test_scaling_is_about_the_centre():
    x = torch.zeros(1, 1, 11, 11)
    x[0, 0, 5, 7] = x[0, 0, 2, 5] = 1.0
    larger = moved(x, scale=1.5)
    assert larger[0, 0, 5, 8] == pytest.approx(1)  # 2 to the right of the centre, then 3
    assert larger[0, 0].argmax(dim=1)[0] == 5 and larger[0, 0, 0, 5] > 0.6  # 3 above, then 4.5
    smaller = moved(x, scale=0.5)
    assert smaller[0, 0, 5, 6] == pytest.approx(1) and smaller.sum() < larger.sum()


def test_first_turned_and_scaled_then_moved():
    x = torch.zeros(1, 1, 15, 15)
    x[0, 0, 7, 9] = 1.0  # 2 to the right of the middle
    y = moved(x, angle=math.pi / 2, scale=2.0, shift=(1, 0))
    assert y.argmax().item() == (7 + 4) * 15 + 8  # 4 below the middle, then 1 to the right


def test_each_image_in_its_own_way_and_all_channels_alike():
    x = images(1, 1, 12, 12).expand(6, 2, 12, 12)
    y = random_affine(x, seeded())
    assert y.shape == x.shape and y.dtype == x.dtype
    assert torch.equal(y[:, 0], y[:, 1])
    assert not any(torch.equal(y[i], y[j]) for i in range(6) for j in range(i))


def test_the_same_seed_gives_the_same_images():
    x = images(3, 1, 10, 10)
    torch.manual_seed(1)
    first = random_affine(x, seeded(5))
    torch.rand(3)  # torch's own generator plays no part
    assert torch.equal(first, random_affine(x, seeded(5)))
    assert not torch.equal(first, random_affine(x, seeded(6)))


def test_draws_stay_within_their_bounds_and_fill_them(monkeypatch):
    seen = {}

    def spy(angle, scale, shift, *size):
        seen.update(angle=angle, scale=scale.log(), right=shift[:, 0], down=shift[:, 1])
        return affine_matrices(angle, scale, shift, *size)

    monkeypatch.setattr("assignment2_pytorch_cnn_rnn.augmentation.affine_matrices", spy)
    random_affine(images(4_000, 1, 2, 2), seeded(), degrees=10, scale=0.2, shift=3)
    bounds = dict(angle=math.radians(10), scale=math.log(1.2), right=3, down=3)
    for name, bound in bounds.items():
        assert 0.99 * bound < seen[name].abs().max() <= bound * (1 + 1e-6)
        assert abs(seen[name].mean()) < 0.05 * bound
    table = torch.corrcoef(torch.stack(list(seen.values())))
    assert (table - torch.eye(4)).abs().max() < 0.06  # drawn one independently of the other


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floats_and_layouts(dtype):
    x = images(2, 3, 8, 8).to(dtype)
    assert random_affine(x, seeded()).dtype == dtype
    x = images(2, 3, 8, 8).to(memory_format=torch.channels_last)
    close(random_affine(x, seeded()), random_affine(x.contiguous(), seeded()))


@pytest.mark.parametrize(
    "x",
    [torch.zeros(2, 28, 28), torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(0, 1, 4, 4),
     torch.zeros(1, 1, 0, 4), [[1.0]]],
)  # fmt: skip
def test_what_is_no_batch_of_images_is_refused(x):
    with pytest.raises(ValueError, match=r"^x is .*; it must be a float tensor \(N, C, H, W\)"):
        random_affine(x, seeded())


@pytest.mark.parametrize("name", ["degrees", "scale", "shift"])
@pytest.mark.parametrize("size", [-1, math.nan, math.inf, "2", None])
def test_sizes_are_checked(name, size):
    with pytest.raises(ValueError, match=f"^{name} is {size!r}; it must be a finite number, 0 or"):
        random_affine(images(1, 1, 4, 4), seeded(), **{name: size})


def test_fill_is_checked():
    with pytest.raises(ValueError, match=r"^fill is nan"):
        random_affine(images(1, 1, 4, 4), seeded(), fill=math.nan)
