"""The yardstick of generated images, on cases whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from shared.features import FeatureNet
from shared.generative_metrics import (
    Yardstick,
    class_entropy,
    coverage,
    duplicates_share,
    frechet_distance,
    gaussian_distance,
    nearest,
    neighbour_distances,
    precision_recall,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def covariance(dim, seed):
    a = rng(seed).normal(size=(dim, dim))
    return a @ a.T / dim


# the Fréchet distance


def test_one_dimension_in_closed_form():
    got = gaussian_distance([1.0], [[4.0]], [-2.0], [[9.0]])
    assert got == pytest.approx(3**2 + (2 - 3) ** 2)


@pytest.mark.parametrize("dim", [1, 2, 5, 64])
def test_gaussians_that_commute(dim):
    """Diagonal covariances: the squared differences of means and of deviations, summed."""
    a, b = rng(1).uniform(0, 3, (2, dim))
    mean = rng(2).normal(size=dim)
    expected = (mean**2).sum() + ((a - b) ** 2).sum()
    got = gaussian_distance(np.zeros(dim), np.diag(a**2), mean, np.diag(b**2))
    assert got == pytest.approx(expected, rel=1e-10)
    q, _ = np.linalg.qr(rng(3).normal(size=(dim, dim)))  # turning both changes nothing
    turned = (q @ np.diag(s**2) @ q.T for s in (a, b))
    cov_a, cov_b = turned
    assert gaussian_distance(np.zeros(dim), cov_a, q @ mean, cov_b) == pytest.approx(expected)


@pytest.mark.parametrize("dim", [2, 7, 30])
def test_gaussians_that_do_not_commute(dim):
    """scipy's root of a product is a witness that knows nothing of ours."""
    cov_a, cov_b = covariance(dim, 1), covariance(dim, 2)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = 1.0 + np.trace(cov_a + cov_b - 2 * root)
    mean = np.zeros(dim)
    mean[0] = 1
    assert gaussian_distance(mean, cov_a, np.zeros(dim), cov_b) == pytest.approx(expected, rel=1e-6)
    swapped = gaussian_distance(np.zeros(dim), cov_b, mean, cov_a)
    assert swapped == pytest.approx(expected, rel=1e-6)


def test_flat_gaussians_are_no_problem():
    flat = np.diag([1.0, 0.0, 0.0])
    assert gaussian_distance(np.zeros(3), flat, np.zeros(3), flat) == pytest.approx(0, abs=1e-12)
    assert gaussian_distance(np.zeros(3), flat, np.zeros(3), 4 * flat) == pytest.approx(1)


def test_frechet_distance_of_samples_nears_that_of_their_gaussians():
    cov_a, cov_b, mean = covariance(4, 1), covariance(4, 2), np.array([1.0, 0, 0, 2])
    expected = gaussian_distance(np.zeros(4), cov_a, mean, cov_b)
    a = rng(5).multivariate_normal(np.zeros(4), cov_a, 40_000)
    b = rng(6).multivariate_normal(mean, cov_b, 40_000)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=0.02)
    assert frechet_distance(a[:20_000], a[20_000:]) < 0.001 * expected


@pytest.mark.parametrize("shape", [(2, 1), (5, 1), (40, 3), (10, 30)])
def test_a_set_against_itself_is_at_distance_0(shape):
    x = rng().normal(size=shape)
    assert frechet_distance(x, rng(1).permutation(x)) == pytest.approx(0, abs=1e-10)
    moved = frechet_distance(x + 3_000, x + 3_001)  # far from 0, and one apart in each direction
    assert moved == pytest.approx(shape[1], rel=1e-6)


def test_float32_features_are_measured_in_float64():
    x = (rng().normal(size=(500, 8)) * 1e-3 + 3_000).astype(np.float32)
    y = (rng(1).normal(size=(500, 8)) * 1e-3 + 3_000).astype(np.float32)
    assert frechet_distance(x, y) == pytest.approx(
        frechet_distance(x.astype(np.float64), y.astype(np.float64)), rel=1e-12
    )


# neighbours


@pytest.mark.parametrize("k", [1, 2, 7])
@pytest.mark.parametrize("offset", [0, 3_000])
def test_nearest_is_what_the_definition_says(k, offset):
    x, pool = rng(1).normal(size=(23, 5)) + offset, rng(2).normal(size=(7, 5)) + offset
    table = np.linalg.norm(x[:, None] - pool[None], axis=2)  # (23, 7)
    distances, places = nearest(x, pool, k, rows=4)
    np.testing.assert_array_equal(places, np.argsort(table, axis=1)[:, :k])
    np.testing.assert_allclose(distances, np.sort(table, axis=1)[:, :k], rtol=1e-6)
    others = np.sort(np.linalg.norm(x[:, None] - x[None], axis=2), axis=1)
    np.testing.assert_allclose(neighbour_distances(x, k), others[:, k], rtol=1e-6)


def test_copies_are_at_distance_0():
    x = rng().normal(size=(30, 6)) + 1_000
    distances, places = nearest(x, rng(1).permutation(x))
    assert distances.max() == 0
    assert neighbour_distances(np.concatenate([x, x]), 1).max() == 0
    assert places.shape == (30, 1)


# precision and recall


def test_a_set_against_itself_has_precision_and_recall_1():
    x = rng().normal(size=(200, 6))
    assert precision_recall(x, x) == (1, 1)
    assert precision_recall(x + 3_000, x + 3_000) == (1, 1)
    assert precision_recall(x, x + 100) == (0, 0)


def test_two_draws_of_one_distribution():
    a, b = rng(1).normal(size=(2, 2_000, 4))
    precision, recall = precision_recall(a, b)
    assert 0.8 < precision < 1 and 0.8 < recall < 1 and abs(precision - recall) < 0.05


def test_balls_on_a_line():
    """Real 0, 1, 3; each reaches to its nearest other: balls of 1, 1 and 2."""
    real = np.array([[0.0], [1.0], [3.0]])
    fake = np.array([[-1.0], [-1.1], [4.9], [5.1]])
    precision, recall = precision_recall(real, fake, k=1)
    assert precision == 0.5  # −1 and 4.9 lie in a ball, −1.1 and 5.1 do not
    assert recall == 0  # the samples' balls are 0.1 and 0.2 wide
    assert coverage(real, fake, np.array([1.0, 0.1, 0.1, 2.2])) == pytest.approx(2 / 3)


def classes(num, seed=0, per_class=200):
    """Points of `num` classes far apart, (num · per_class, 3), and their labels."""
    x = rng(seed).normal(size=(num * per_class, 3))
    labels = np.repeat(np.arange(num), per_class)
    return x + 20 * np.stack([labels, labels % 3, labels % 2], axis=1), labels


@pytest.mark.parametrize("kept", [1, 4, 7])
def test_a_set_with_classes_removed_loses_recall_and_entropy(kept):
    real, _ = classes(10, seed=0)
    fake, labels = classes(10, seed=1)
    whole = precision_recall(real, fake), class_entropy(labels), frechet_distance(real, fake)
    left = fake[labels < kept]
    precision, recall = precision_recall(real, left)
    assert precision > 0.8 and whole[0][1] > 0.8
    assert recall == pytest.approx(kept / 10 * whole[0][1], abs=0.05)
    entropy = class_entropy(labels[labels < kept])
    assert entropy == pytest.approx(math.log(kept) / math.log(10)) and whole[1] == pytest.approx(1)
    assert frechet_distance(real, left) > 100 * whole[2]


def test_noise_around_the_real_points_loses_precision_first():
    real, fake = rng(1).normal(size=(2, 1_000, 4))
    precision, recall = precision_recall(real, 2.5 * fake)
    assert precision < 0.5 < recall


# entropy and duplicates


@pytest.mark.parametrize(
    ("labels", "num_classes", "expected"),
    [([0, 1, 2, 3], 4, 1), ([2] * 9, 10, 0), ([0, 1], 4, 0.5), ([0, 0, 0, 1], 2, 0.8112781)],
)
def test_class_entropy(labels, num_classes, expected):
    got = class_entropy(np.array(labels), num_classes)
    assert got == pytest.approx(expected) and got >= 0


def test_real_points_have_one_twin_in_a_hundred():
    real, other = rng(1).normal(size=(2, 3_000, 3))
    assert duplicates_share(real, real) == pytest.approx(0.01, abs=0.001)
    assert duplicates_share(real, other) < 0.03


def test_copies_are_duplicates():
    real, other = rng(1).normal(size=(2, 1_000, 3))
    assert duplicates_share(real, np.tile(other[:1], (1_000, 1))) == 1
    assert duplicates_share(real, np.tile(other[:20], (50, 1))) == 1
    half = np.concatenate([other[:500], np.tile(other[500:501], (500, 1))])
    assert duplicates_share(real, half) == pytest.approx(0.5, abs=0.03)


# bad input


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 2)), np.zeros((3, 2, 1))])
def test_features_of_a_wrong_shape_are_refused(bad):
    for function in (frechet_distance, precision_recall, nearest):
        with pytest.raises(ValueError, match=r"features have shapes .*each must be \(N, D\)"):
            function(bad, bad)


def test_other_bad_input_is_refused():
    x = rng().normal(size=(5, 2))
    with pytest.raises(ValueError, match=r"shapes \(5, 2\), \(5, 1\)"):
        frechet_distance(x, x[:, :1])
    with pytest.raises(ValueError, match="NaN or infinite"):
        frechet_distance(x, x * np.nan)
    with pytest.raises(ValueError, match="5 and 1 examples; each set needs 2 or more"):
        frechet_distance(x, x[:1])
    with pytest.raises(ValueError, match=r"k is 6; it must be 1 … 5"):
        nearest(x, x, 6)
    for k in (0, 5):
        with pytest.raises(ValueError, match=rf"k is {k}; it must be 1 … 4"):
            precision_recall(x, x, k)
    for labels in ([], [0.5], [-1], [10], [[1]]):
        with pytest.raises(ValueError, match=r"labels must be \(N,\) whole numbers, 0 … 9"):
            class_entropy(np.array(labels))


# the whole


@pytest.fixture(scope="module")
def yardstick():
    torch.manual_seed(0)
    net = FeatureNet((1, 12, 9), 10).eval()
    return Yardstick(net, torch.rand(60, 1, 12, 9, generator=torch.Generator().manual_seed(1)))


def test_yardstick_agrees_with_its_parts(yardstick):
    from_torch = torch.rand(60, 1, 12, 9, generator=torch.Generator().manual_seed(2))
    row = yardstick.measure(from_torch)
    fake = yardstick.net.features(from_torch).detach().numpy()
    assert row["frechet"] == pytest.approx(frechet_distance(yardstick.real, fake), rel=1e-4)
    assert row["frechet"] == yardstick.frechet(from_torch)
    both = precision_recall(yardstick.real, fake)
    assert (row["precision"], row["recall"]) == pytest.approx(both, abs=0.02)
    assert row["duplicates"] == pytest.approx(duplicates_share(yardstick.real, fake), abs=0.02)
    labels = yardstick.net(from_torch).argmax(dim=1).numpy()
    assert row["class_entropy"] == pytest.approx(class_entropy(labels))
    assert row.keys() == {"frechet", "precision", "recall", "class_entropy", "duplicates"}


def test_yardstick_wants_as_many_images_as_real_ones(yardstick):
    with pytest.raises(ValueError, match="there are 59 images; measure as many as real, 60"):
        yardstick.measure(torch.zeros(59, 1, 12, 9))
    assert yardstick.frechet(torch.rand(10, 1, 12, 9)) > 0  # a rough figure of few is allowed
