"""Features, augmentations and the binary cross-entropy for CIFAR-10 in NumPy."""

import numpy as np
import pytest
import torch

from assignment1_perceptron_mlp.cifar_numpy import (
    as_images,
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    feature_statistics,
    one_hot,
    random_flip,
    random_shift,
    standardise,
)
from shared.checks import compare_gradients, numerical_gradient


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, size=(7, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("chunk_size", [1, 3, 1_000])
def test_feature_statistics_equal_numpys(images, chunk_size):
    mean, std = feature_statistics(images, chunk_size)
    assert mean.dtype == std.dtype == np.float32 and mean.shape == (32, 32, 3)
    np.testing.assert_allclose(mean, images.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, images.std(axis=0), rtol=1e-6)


def test_feature_statistics_of_shifted_and_constant_features(rng):
    x = rng.standard_normal((500, 3)) + 3_000
    x[:, 2] = 5
    mean, std = feature_statistics(x)
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, [x[:, 0].std(), x[:, 1].std(), 1], rtol=1e-6)
    assert not standardise(x, mean, std)[:, 2].any()


def test_standardise_gives_float32_rows_with_mean_0_and_std_1(images):
    mean, std = feature_statistics(images)
    kept = images.copy()
    x = standardise(images, mean, std)
    assert x.shape == (7, 3072) and x.dtype == np.float32
    assert np.array_equal(images, kept)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)
    wanted = (images.astype(np.float64) - mean) / std
    np.testing.assert_allclose(x, wanted.reshape(7, -1), rtol=1e-4, atol=1e-5)


def test_feature_statistics_sum_in_float64():
    x = 0.1 + 1e-4 * np.random.default_rng(0).normal(size=(5_000, 2))
    mean, std = feature_statistics(x, chunk_size=5_000)  # a float32 sum would be 1e-6 off
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=2e-7)
    np.testing.assert_allclose(std, x.std(axis=0), rtol=2e-6)


def test_standardise_leaves_float32_input_alone(rng):
    x = rng.standard_normal((6, 4), dtype=np.float32)
    kept = x.copy()
    standardise(x, *feature_statistics(x))
    np.testing.assert_array_equal(x, kept)


def test_standardise_refuses_what_does_not_fit(images):
    mean, std = feature_statistics(images)
    with pytest.raises(ValueError, match=r"x has shape \(7, 3072\), mean \(32, 32, 3\)"):
        standardise(images.reshape(7, -1), mean, std)
    with pytest.raises(ValueError, match=r"mean \(32, 32, 3\) and std \(3,\)"):
        standardise(images, mean, std[0, 0])
    with pytest.raises(ValueError, match="std has the entry 0"):
        standardise(images, mean, np.zeros_like(std))
    with pytest.raises(ValueError, match="N ≥ 1"):
        standardise(images[:0], mean, std)
    with pytest.raises(ValueError, match="N ≥ 1"):
        feature_statistics(images[:0])


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_random_flip_mirrors_about_half_of_the_images(rng, flat, dtype):
    images = rng.integers(0, 256, size=(400, 4, 5, 3)).astype(dtype)
    batch = images.reshape(400, -1) if flat else images
    kept = batch.copy()
    out = random_flip(batch, rng, (4, 5, 3))
    assert out.shape == batch.shape and out.dtype == dtype and np.array_equal(batch, kept)
    out = out.reshape(images.shape)
    mirrored = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(out, images, strict=True)])
    same = np.array([np.array_equal(a, b) for a, b in zip(out, images, strict=True)])
    assert (mirrored ^ same).all()
    assert 0.4 < mirrored.mean() < 0.6


@pytest.mark.parametrize("flat", [True, False])
def test_random_shift_moves_each_image_and_fills_with_zeros(rng, flat):
    images = rng.standard_normal((300, 5, 6, 3), dtype=np.float32)
    batch = images.reshape(300, -1) if flat else images
    kept = batch.copy()
    out = random_shift(batch, 2, rng, (5, 6, 3))
    assert out.shape == batch.shape and out.dtype == np.float32 and np.array_equal(batch, kept)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    found = []
    for image, moved in zip(padded, out.reshape(images.shape), strict=True):
        places = [(i, j) for i in range(5) for j in range(5)]
        match = [p for p in places if np.array_equal(image[p[0] :, p[1] :][:5, :6], moved)]
        assert len(match) == 1
        found += match
    assert len(set(found)) == 25  # every shift, among them none at all, occurs


def test_augmentations_of_one_image_and_of_a_view(rng):
    batch = rng.standard_normal((6, 3072), dtype=np.float32)[::2]  # not contiguous
    assert random_shift(batch[:1], 4, rng).shape == random_flip(batch[:1], rng).shape == (1, 3072)
    assert np.array_equal(random_shift(batch, 0, rng), batch)
    assert as_images(batch).shape == (3, 32, 32, 3)


def test_augmentations_repeat_with_the_same_seed(images):
    for augment in (random_flip, lambda x, rng: random_shift(x, 3, rng)):
        first, second = (augment(images, np.random.default_rng(1)) for _ in range(2))
        assert np.array_equal(first, second)


def test_augmentations_refuse_what_does_not_fit(rng, images):
    with pytest.raises(ValueError, match=r"batch has shape \(7, 100\); it must be \(N ≥ 1, 3072"):
        random_flip(np.zeros((7, 100)), rng)
    with pytest.raises(ValueError, match=r"batch has shape \(0, 3072\)"):
        random_flip(np.zeros((0, 3072)), rng)
    with pytest.raises(ValueError, match="max_shift is 32; it must be 0 … 31 pixels"):
        random_shift(images, 32, rng)
    with pytest.raises(ValueError, match="max_shift is 5; it must be 0 … 4 pixels"):
        random_shift(np.zeros((1, 5, 6, 3)), 5, rng, (5, 6, 3))


def test_one_hot_covers_the_ends_of_the_range():
    targets = one_hot(np.array([0, 2, 1]), 3)
    assert targets.dtype == np.float32
    assert np.array_equal(targets, [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    for bad in ([3], [-1]):
        with pytest.raises(ValueError, match=f"the label {bad[0]}; labels must be 0 … 2"):
            one_hot(np.array(bad), 3)
    with pytest.raises(ValueError, match="integers"):
        one_hot(np.array([0.0]), 3)
    with pytest.raises(ValueError, match="y has shape"):
        one_hot(np.array([], dtype=np.int64), 3)


@pytest.mark.parametrize("N", [1, 4])
def test_binary_cross_entropy_agrees_with_torch_and_finite_differences(rng, N):
    logits, targets = 3 * rng.standard_normal((N, 5)), one_hot(rng.integers(0, 5, N), 5, np.float64)
    loss, cache = binary_cross_entropy_forward(logits, targets)
    z = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(targets))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    got = {"logits": binary_cross_entropy_backward(cache)}
    compare_gradients(got, {"logits": z.grad.numpy()}, tolerance=1e-12, eps=1e-9, verbose=False)
    numeric = numerical_gradient(lambda v: binary_cross_entropy_forward(v, targets)[0], logits)
    compare_gradients(got, {"logits": numeric}, tolerance=1e-6, verbose=False)


def test_binary_cross_entropy_does_not_overflow_and_keeps_float32():
    logits = np.array([[1e4, -1e4]], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        loss, cache = binary_cross_entropy_forward(logits, np.array([[1, 0]], np.float32))
        wrong, _ = binary_cross_entropy_forward(logits, np.array([[0, 1]], np.float32))
    assert loss == 0 and wrong == 1e4
    assert binary_cross_entropy_backward(cache).dtype == np.float32


def test_binary_cross_entropy_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"targets has shape \(2, 3\); it must be \(2, 2\)"):
        binary_cross_entropy_forward(np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"targets go from 0.0 to 2.0"):
        binary_cross_entropy_forward(np.zeros((1, 2)), np.array([[0.0, 2.0]]))
    with pytest.raises(ValueError, match=r"targets go from -0.5 to 1.0"):
        binary_cross_entropy_forward(np.zeros((1, 2)), np.array([[-0.5, 1.0]]))
    with pytest.raises(ValueError, match="logits has shape"):
        binary_cross_entropy_forward(np.zeros((0, 2)), np.zeros((0, 2)))


@pytest.mark.parametrize("value", [0.1, 1e8 / 3, -7.3, 0.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_float_feature_gets_standard_deviation_one(value, dtype):
    x = np.full((3_001, 2), value, dtype)
    x[:, 1] = np.arange(3_001)
    mean, std = feature_statistics(x)
    assert std[0] == 1 and std[1] == pytest.approx(np.std(np.arange(3_001)), rel=1e-6)
    assert mean[0] == np.float32(dtype(value))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_statistics_of_what_is_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="x contains NaN or infinity"):
        feature_statistics(np.array([[1.0, 2.0], [value, 3.0]]))
    with pytest.raises(ValueError, match="chunk_size is 0; it must be a whole number, 1 or more"):
        feature_statistics(np.ones((2, 2)), chunk_size=0)


def test_lists_do_where_arrays_do(rng, images):
    mean, std = feature_statistics([[1, 2], [3, 2]])
    assert mean.tolist() == [2, 2] and std.tolist() == [1, 1]
    assert standardise([[1, 2], [3, 2]], [2, 2], [1, 1]).tolist() == [[-1, 0], [1, 0]]
    for augment in (random_flip, lambda batch, rng: random_shift(batch, 2, rng)):
        out = augment(images.tolist(), np.random.default_rng(1))
        np.testing.assert_array_equal(out, augment(images, np.random.default_rng(1)))
    loss, _ = binary_cross_entropy_forward([[0.0, 0.0]], [[1, 0]])
    assert loss == pytest.approx(np.log(2))


def test_more_arguments_that_are_refused_in_one_sentence(images):
    for augment in (random_flip, lambda batch, rng: random_shift(batch, 2, rng)):
        with pytest.raises(ValueError, match="rng is 0; it must be a Generator"):
            augment(images, 0)
    for max_shift in (-1, 1.5, "a", None):
        with pytest.raises(ValueError, match=r"max_shift is .*; it must be a whole number, 0"):
            random_shift(images, max_shift, np.random.default_rng(0))
    for num_classes in (0, 2.5, None):
        with pytest.raises(ValueError, match=r"num_classes is .*; it must be a whole number"):
            one_hot([0, 1], num_classes)
