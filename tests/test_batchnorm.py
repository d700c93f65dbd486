"""Tests of batch normalisation: torch as witness, awkward shapes and inputs, running statistics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assignment1_perceptron_mlp.numpy_layers import batchnorm_backward, batchnorm_forward

SHAPES = [(2, 1), (2, 3), (3, 2), (4, 1), (4, 5), (33, 7), (128, 64), (5, 300)]


def random_layer(rng, num_features, dtype=np.float64):
    """Return gamma, beta, running_mean, running_var, each (D,), as after some training."""
    gamma, beta, running_mean = rng.normal(size=(3, num_features)).astype(dtype)
    return gamma, beta, running_mean, rng.uniform(0.5, 2.0, num_features).astype(dtype)


def torch_witness(x, dout, layer, train, momentum=0.1, eps=1e-5):
    """Return torch's out, dx, dgamma, dbeta, running_mean, running_var in float64."""
    gamma, beta, running_mean, running_var = (torch.tensor(p, dtype=torch.float64) for p in layer)
    bn = torch.nn.BatchNorm1d(x.shape[1], eps=eps, momentum=momentum, dtype=torch.float64)
    with torch.no_grad():
        bn.weight.copy_(gamma)
        bn.bias.copy_(beta)
        bn.running_mean.copy_(running_mean)
        bn.running_var.copy_(running_var)
    bn.train(train)
    x = torch.tensor(np.ascontiguousarray(x), dtype=torch.float64, requires_grad=True)
    out = bn(x)
    out.backward(torch.tensor(np.ascontiguousarray(dout), dtype=torch.float64))
    tensors = (out.detach(), x.grad, bn.weight.grad, bn.bias.grad, bn.running_mean, bn.running_var)
    return [tensor.numpy() for tensor in tensors]


def numpy_layer(x, dout, layer, train, momentum=0.1, eps=1e-5):
    """Return the same six arrays from the functions under test; the layer is left unchanged."""
    gamma, beta, running_mean, running_var = (p.copy() for p in layer)
    out, cache = batchnorm_forward(
        x, gamma, beta, running_mean, running_var, momentum, eps, train=train
    )
    return [out, *batchnorm_backward(dout, cache), running_mean, running_var]


def compare(got, expected, rtol, atol):
    names = ("out", "dx", "dgamma", "dbeta", "running_mean", "running_var")
    for name, a, b in zip(names, got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_torch_in_float64(shape, train):
    rng = np.random.default_rng(0)
    x, dout = 3 * rng.normal(size=(2, *shape)) + 1
    layer = random_layer(rng, shape[1])
    compare(numpy_layer(x, dout, layer, train), torch_witness(x, dout, layer, train), 1e-10, 1e-11)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 12),
    d=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    momentum=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    eps=st.sampled_from([1e-5, 1e-3, 0.1]),
    train=st.booleans(),
)
def test_agrees_with_torch_for_any_shape_momentum_and_eps(n, d, seed, momentum, eps, train):
    rng = np.random.default_rng(seed)
    x, dout = rng.normal(size=(2, n, d))
    layer = random_layer(rng, d)
    got = numpy_layer(x, dout, layer, train, momentum, eps)
    expected = torch_witness(x, dout, layer, train, momentum, eps)
    # Two nearly equal entries make 1 / sqrt(var + eps) large: compare with the size of dx's parts.
    scale = np.abs(dout).sum() * np.abs(layer[0]).max() / np.sqrt(eps)
    compare(got, expected, 1e-10, 1e-13 * scale)


@pytest.mark.parametrize("shape", [(3, 2), (4, 5), (33, 7)])
@pytest.mark.parametrize("train", [True, False])
def test_gradients_agree_with_finite_differences(shape, train):
    rng = np.random.default_rng(1)
    x, dout = rng.normal(size=(2, *shape))
    layer = random_layer(rng, shape[1])
    _, dx, dgamma, dbeta, _, _ = numpy_layer(x, dout, layer, train)

    def loss():
        return (numpy_layer(x, dout, layer, train)[0] * dout).sum()

    for array, gradient in ((x, dx), (layer[0], dgamma), (layer[1], dbeta)):
        for index in np.ndindex(array.shape):
            kept, slopes = array[index], []
            for step in (2e-3, 1e-3):
                values = []
                for sign in (1, -1):
                    array[index] = kept + sign * step
                    values.append(loss())
                array[index] = kept
                slopes.append((values[0] - values[1]) / (2 * step))
            slope = (4 * slopes[1] - slopes[0]) / 3  # Richardson: the error is O(step⁴)
            assert abs(slope - gradient[index]) <= 1e-7 * max(1.0, abs(slope))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("train", [True, False])
def test_input_shifted_by_3000_keeps_its_precision(dtype, train):
    rng = np.random.default_rng(2)
    x, dout = rng.normal(size=(2, 64, 5)).astype(dtype)
    x += dtype(3000)
    layer = random_layer(rng, 5, dtype)
    layer[2][:] = 3000
    got = numpy_layer(x, dout, layer, train)
    expected = torch_witness(x, dout, layer, train)  # float64 on the very same numbers
    tolerance = 3e-5 if dtype == np.float32 else 1e-8
    compare(got, expected, tolerance, tolerance)
    assert got[0].std() > 0.1


def test_statistics_of_many_float32_examples_are_summed_in_float64():
    rng = np.random.default_rng(12)
    x = (rng.normal(size=(200_000, 2)) + 30).astype(np.float32)
    running_mean, running_var = np.zeros(2), np.ones(2)
    batchnorm_forward(x, *np.ones((2, 2)), running_mean, running_var, momentum=1.0)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(running_mean, exact.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(running_var, exact.var(axis=0, ddof=1), rtol=1e-6)


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("train", [True, False])
def test_whole_numbers_are_normalised_as_the_same_floats(integer, train):
    rng = np.random.default_rng(13)
    x, dout = rng.integers(0, 200, size=(6, 3)).astype(integer), rng.normal(size=(6, 3))
    layer = random_layer(rng, 3)
    compare(
        numpy_layer(x, dout, layer, train),
        numpy_layer(x.astype(np.float64), dout, layer, train),
        2e-6 if integer == np.uint8 else 1e-12,
        2e-6 if integer == np.uint8 else 1e-12,
    )


@pytest.mark.parametrize("train", [True, False])
def test_float32_stays_float32(train):
    rng = np.random.default_rng(3)
    x, dout = rng.normal(size=(2, 16, 3)).astype(np.float32)
    layer = random_layer(rng, 3, np.float32)
    got = numpy_layer(x, dout, layer, train)
    assert [array.dtype for array in got] == [np.float32] * 6
    compare(got, torch_witness(x, dout, layer, train), 1e-4, 1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_non_contiguous_input(train):
    rng = np.random.default_rng(4)
    x, dout = rng.normal(size=(2, 6, 16))
    layer = random_layer(rng, 8)
    for view in (lambda a: a[:, ::2], lambda a: np.asfortranarray(a)[:, 8:], lambda a: a[::-1, :8]):
        assert not view(x).flags["C_CONTIGUOUS"]
        got = numpy_layer(view(x), view(dout), layer, train)
        compare(got, numpy_layer(view(x).copy(), view(dout).copy(), layer, train), 1e-12, 1e-13)


# ---- small batches ----


def test_batch_of_one_is_refused_in_training_and_works_in_evaluation():
    rng = np.random.default_rng(5)
    x, dout = rng.normal(size=(2, 1, 3))
    layer = random_layer(rng, 3)
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\).*2 or more"):
        numpy_layer(x, dout, layer, train=True)
    compare(numpy_layer(x, dout, layer, False), torch_witness(x, dout, layer, False), 1e-12, 1e-13)


def test_batch_of_two_keeps_only_signs():
    x = np.array([[0.3, -5.0], [2.0, 7.0]])
    layer = np.ones(2), np.zeros(2), np.zeros(2), np.ones(2)
    out, dx, *_ = numpy_layer(x, np.array([[1.0, 2.0], [3.0, -4.0]]), layer, True, eps=1e-12)
    np.testing.assert_allclose(out, np.sign(x - x.mean(axis=0)), atol=1e-10)
    np.testing.assert_allclose(dx, 0, atol=1e-10)


# ---- what must hold whatever the numbers ----


def test_gradient_is_orthogonal_to_ones_and_to_x_hat():
    rng = np.random.default_rng(6)
    x, dout = rng.normal(size=(2, 50, 4)) * 10
    layer = np.ones(4), np.zeros(4), np.zeros(4), np.ones(4)
    x_hat, dx, *_ = numpy_layer(x, dout, layer, True, eps=1e-10)
    np.testing.assert_allclose(dx.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose((dx * x_hat).sum(axis=0), 0, atol=1e-9)


def test_constant_feature_gives_beta_and_finite_gradients():
    rng = np.random.default_rng(7)
    x, dout = np.full((4, 2), 3000.0), rng.normal(size=(4, 2))
    layer = random_layer(rng, 2)
    out, dx, dgamma, *_ = numpy_layer(x, dout, layer, True)
    np.testing.assert_array_equal(out, np.tile(layer[1], (4, 1)))
    np.testing.assert_array_equal(dgamma, 0)
    assert np.isfinite(dx).all()


def test_arguments_are_left_alone_and_a_second_backward_is_the_same():
    rng = np.random.default_rng(8)
    x, dout = rng.normal(size=(2, 6, 3))
    gamma, beta, running_mean, running_var = random_layer(rng, 3)
    before = [a.copy() for a in (x, dout, gamma, beta)]
    out, cache = batchnorm_forward(x, gamma, beta, running_mean, running_var)
    first = batchnorm_backward(dout, cache)
    second = batchnorm_backward(dout, cache)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip((x, dout, gamma, beta), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert out.shape == x.shape


# ---- running statistics ----


def test_running_statistics_follow_torch_over_many_batches():
    rng = np.random.default_rng(9)
    running_mean, running_var = np.zeros(3), np.ones(3)
    bn = torch.nn.BatchNorm1d(3, momentum=0.3, dtype=torch.float64)
    for n in (2, 4, 32, 5):
        x = rng.normal(size=(n, 3)) * 4 + 2
        batchnorm_forward(x, np.ones(3), np.zeros(3), running_mean, running_var, momentum=0.3)
        bn(torch.from_numpy(x))
        np.testing.assert_allclose(running_mean, bn.running_mean.numpy(), rtol=1e-12)
        np.testing.assert_allclose(running_var, bn.running_var.numpy(), rtol=1e-12)


def test_biased_variance_normalises_and_unbiased_is_collected():
    x = np.array([[0.0], [2.0]])  # biased variance 1, unbiased 2
    running_mean, running_var = np.zeros(1), np.zeros(1)
    out, _ = batchnorm_forward(
        x, np.ones(1), np.zeros(1), running_mean, running_var, momentum=1.0, eps=0.0
    )
    np.testing.assert_array_equal(out, [[-1.0], [1.0]])
    np.testing.assert_array_equal(running_mean, [1.0])
    np.testing.assert_array_equal(running_var, [2.0])


def test_evaluation_reads_running_statistics_and_does_not_change_them():
    rng = np.random.default_rng(10)
    x, dout = rng.normal(size=(2, 6, 3))
    layer = random_layer(rng, 3)
    whole = numpy_layer(x, dout, layer, False)
    np.testing.assert_array_equal(whole[4], layer[2])
    np.testing.assert_array_equal(whole[5], layer[3])
    for i in range(len(x)):  # each example by itself: no influence of the others
        one = numpy_layer(x[i : i + 1], dout[i : i + 1], layer, False)
        np.testing.assert_allclose(one[0][0], whole[0][i], rtol=1e-13)
        np.testing.assert_allclose(one[1][0], whole[1][i], rtol=1e-13)
