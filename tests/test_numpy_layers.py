"""Tests of the layers against finite differences and torch, on ordinary and awkward inputs."""

import math

import numpy as np
import pytest
import torch

from assignment1_perceptron_mlp import numpy_layers as layers
from shared.checks import compare_gradients, numerical_gradient

F = torch.nn.functional
ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
SHAPES = [(1, 1), (1, 5), (4, 1), (4, 3), (17, 6)]  # (N, D); batches of 1 and of 4 are among them


def rng_for(*key):
    """Return a Generator that depends on the numbers in key only."""
    return np.random.default_rng(key)


def leaf(x):
    """Return x as a torch tensor that collects its gradient."""
    return torch.tensor(np.ascontiguousarray(x), requires_grad=True)


def assert_both(got, f, arrays, expected):
    """Compare got with finite differences of f() in arrays (≤ 1e-6) and with torch (≤ 1e-10)."""
    differences = {name: numerical_gradient(lambda _: f(), arrays[name]) for name in got}
    compare_gradients(got, differences, tolerance=1e-6, verbose=False)
    compare_gradients(got, expected, tolerance=1e-10, eps=1e-6, verbose=False)


def away_from_zero(x, distance=0.01):
    """Move entries off the kink of ReLU, where a central difference has no meaning."""
    return np.where(np.abs(x) < distance, distance, x)


# ---- linear ----


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("M", [1, 4])
@pytest.mark.parametrize(("N", "D"), SHAPES)
def test_linear_against_differences_and_torch(N, D, M, bias):
    rng = rng_for(N, D, M)
    arrays = {"x": rng.normal(size=(N, D)), "W": rng.normal(size=(D, M)), "b": rng.normal(size=M)}
    dout = rng.normal(size=(N, M))
    x, W, b = arrays["x"], arrays["W"], arrays["b"] if bias else None

    out, cache = layers.linear_forward(x, W, b)
    got = dict(zip("xWb", layers.linear_backward(dout, cache), strict=True))
    tensors = {name: leaf(array) for name, array in arrays.items()}
    out_torch = F.linear(tensors["x"], tensors["W"].T, tensors["b"] if bias else None)
    out_torch.backward(torch.tensor(dout))
    np.testing.assert_allclose(out, out_torch.detach().numpy(), rtol=1e-12, atol=1e-12)
    if not bias:
        del got["b"]
    assert_both(
        got,
        lambda: float((layers.linear_forward(x, W, b)[0] * dout).sum()),
        arrays,
        {name: tensors[name].grad.numpy() for name in got},
    )


def test_linear_leaves_its_inputs_alone():
    rng = rng_for(0)
    x, W, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)
    kept = [a.copy() for a in (x, W, b)]
    out, cache = layers.linear_forward(x, W, b)
    first = layers.linear_backward(np.ones_like(out), cache)
    second = layers.linear_backward(np.ones_like(out), cache)  # a second backward is the same
    for a, c in zip((x, W, b), kept, strict=True):
        np.testing.assert_array_equal(a, c)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)


def test_linear_without_dx():
    rng = rng_for(1)
    x, W, dout = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=(4, 2))
    cache = layers.linear_forward(x, W)[1]
    dx, dW, db = layers.linear_backward(dout, cache, need_dx=False)
    assert dx is None
    np.testing.assert_array_equal(dW, x.T @ dout)
    np.testing.assert_array_equal(db, dout.sum(axis=0))


def test_linear_on_an_input_shifted_by_3000():
    rng = rng_for(2)
    x, W, dout = rng.normal(size=(4, 3)) + 3_000, rng.normal(size=(3, 2)), rng.normal(size=(4, 2))
    tensors = [leaf(x), leaf(W)]
    (tensors[0] @ tensors[1]).backward(torch.tensor(dout))
    cache = layers.linear_forward(x, W)[1]
    dx, dW, _ = layers.linear_backward(dout, cache)
    np.testing.assert_allclose(dx, tensors[0].grad.numpy(), rtol=1e-10)
    np.testing.assert_allclose(dW, tensors[1].grad.numpy(), rtol=1e-10)
    difference = numerical_gradient(lambda W: float((x @ W * dout).sum()), W, step=1e-3)
    np.testing.assert_allclose(dW, difference, rtol=1e-6)


# ---- activations ----


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 4)])
def test_activations_against_differences_and_torch(name, shape):
    forward = getattr(layers, f"{name}_forward")
    backward = getattr(layers, f"{name}_backward")
    rng = rng_for(*shape)
    x, dout = away_from_zero(3 * rng.normal(size=shape)), rng.normal(size=shape)
    x_torch = leaf(x)
    out_torch = ACTIVATIONS[name](x_torch)
    out_torch.backward(torch.tensor(dout))
    out, cache = forward(x)
    np.testing.assert_allclose(out, out_torch.detach().numpy(), rtol=1e-12, atol=1e-15)
    assert_both(
        {"x": backward(dout, cache)},
        lambda: float((forward(x)[0] * dout).sum()),
        {"x": x},
        {"x": x_torch.grad.numpy()},
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_far_from_zero_neither_overflow_nor_warn(name, dtype):
    x = np.array([[-1e4, -3_000, -1e-30, 0, 1e-30, 3_000, 1e4]], dtype)
    out, cache = getattr(layers, f"{name}_forward")(x)
    dx = getattr(layers, f"{name}_backward")(np.ones_like(x), cache)
    x_torch = leaf(x)
    ACTIVATIONS[name](x_torch).sum().backward()
    np.testing.assert_allclose(out, ACTIVATIONS[name](x_torch).detach().numpy(), atol=1e-7)
    np.testing.assert_allclose(dx, x_torch.grad.numpy(), atol=1e-7)
    assert np.isfinite(dx).all()


def test_sigmoid_of_whole_numbers_and_of_lists_of_them():
    x = np.array([-3, 0, 2])
    np.testing.assert_allclose(layers.sigmoid(x), torch.sigmoid(torch.tensor(x)), rtol=1e-6)


def test_relu_has_gradient_zero_at_zero_as_in_torch():
    cache = layers.relu_forward(np.zeros((2, 2)))[1]
    np.testing.assert_array_equal(layers.relu_backward(np.ones((2, 2)), cache), np.zeros((2, 2)))


# ---- softmax ----


@pytest.mark.parametrize(("N", "K"), SHAPES)
@pytest.mark.parametrize("shift", [0, 3_000, -3_000, "a different one for each row"])
def test_softmax_and_log_softmax_are_torchs(N, K, shift):
    logits = 2 * rng_for(N, K).normal(size=(N, K))
    logits += 3_000 * np.arange(N)[:, None] if isinstance(shift, str) else shift
    kept, as_torch = logits.copy(), torch.tensor(logits)
    probs = layers.softmax(logits)
    np.testing.assert_allclose(probs, F.softmax(as_torch, dim=1), rtol=1e-9)
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-14)
    log_probs = layers.log_softmax(logits)
    np.testing.assert_allclose(log_probs, F.log_softmax(as_torch, dim=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(logits, kept)


@pytest.mark.filterwarnings("error:overflow")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_huge_logits_is_one_hot(dtype):
    probs = layers.softmax(np.array([[1e4, -1e4, 0], [-1e4, -1e4, 1e4]], dtype))
    np.testing.assert_array_equal(probs, [[1, 0, 0], [0, 0, 1]])


# ---- cross-entropy ----


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("K", [2, 3, 10])
@pytest.mark.parametrize("N", [1, 4, 33])
@pytest.mark.parametrize("shift", [0, 3_000])
def test_cross_entropy_against_differences_and_torch(N, K, label_smoothing, shift):
    rng = rng_for(N, K)
    logits, y = 2 * rng.normal(size=(N, K)) + shift, rng.integers(K, size=N)
    y[0], y[-1] = 0, K - 1  # labels at the ends of the range
    logits_torch = leaf(logits)
    loss_torch = F.cross_entropy(logits_torch, torch.tensor(y), label_smoothing=label_smoothing)
    loss_torch.backward()
    loss, cache = layers.cross_entropy_forward(logits, y, label_smoothing)
    dlogits = layers.cross_entropy_backward(cache)
    assert isinstance(loss, float)
    np.testing.assert_allclose(loss, loss_torch.item(), rtol=1e-10)
    np.testing.assert_allclose(dlogits.sum(axis=1), 0, atol=1e-15)  # a shift changes nothing
    assert_both(
        {"logits": dlogits},
        lambda: layers.cross_entropy_forward(logits, y, label_smoothing)[0],
        {"logits": logits},
        {"logits": logits_torch.grad.numpy()},
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("y", [[0, 1, 2], [2, 2, 0]])
def test_cross_entropy_of_huge_logits_is_finite_and_torchs(dtype, y):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0], [0, 1e4, 1e4]], dtype)
    logits_torch = leaf(logits)
    loss_torch = F.cross_entropy(logits_torch, torch.tensor(y))
    loss_torch.backward()
    loss, cache = layers.cross_entropy_forward(logits, np.array(y))
    np.testing.assert_allclose(loss, loss_torch.item(), rtol=1e-6)
    np.testing.assert_allclose(
        layers.cross_entropy_backward(cache), logits_torch.grad.numpy(), atol=1e-7
    )


def test_a_row_does_not_feel_the_logits_of_another():
    logits, y = np.array([[1.0, 2.0, 0.5], [1e4, 1e4 + 1, 1e4 - 2]]), np.array([2, 0])
    alone = [layers.cross_entropy_forward(logits[[i]], y[[i]]) for i in range(2)]
    loss, cache = layers.cross_entropy_forward(logits, y)
    assert loss == pytest.approx((alone[0][0] + alone[1][0]) / 2, rel=1e-12)
    parts = [layers.cross_entropy_backward(one[1]) for one in alone]
    np.testing.assert_allclose(
        layers.cross_entropy_backward(cache), np.concatenate(parts) / 2, rtol=1e-12
    )


def test_cross_entropy_of_equal_logits_is_log_k_and_backward_can_be_repeated():
    loss, cache = layers.cross_entropy_forward(np.zeros((4, 10)), np.arange(4))
    assert loss == pytest.approx(math.log(10), rel=1e-15)
    first = layers.cross_entropy_backward(cache)
    np.testing.assert_array_equal(first, layers.cross_entropy_backward(cache))


@pytest.mark.parametrize(("K", "floor"), [(2, 0.313262), (10, 1.461150)])
def test_softmax_before_cross_entropy_has_a_floor(K, floor):
    certain = np.eye(K)  # the best that probabilities can say
    assert layers.cross_entropy_forward(certain, np.arange(K))[0] == pytest.approx(floor, abs=1e-6)
    assert floor == pytest.approx(math.log(1 + (K - 1) / math.e), abs=1e-6)


# ---- dropout ----


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (4, 5), (2, 3, 4)])
def test_dropout_backward_with_the_mask_held_fixed(p, shape):
    rng = rng_for(3, *shape)
    x, dout = rng.normal(size=shape), rng.normal(size=shape)
    out, cache = layers.dropout_forward(x, p, np.random.default_rng(7))
    kept = np.ones(shape) if p == 0 else np.random.default_rng(7).random(shape, np.float32) >= p
    x_torch = leaf(x)
    out_torch = x_torch * torch.tensor(kept / (1 - p))
    out_torch.backward(torch.tensor(dout))
    np.testing.assert_allclose(out, out_torch.detach().numpy(), rtol=1e-12)

    def f():
        return float((layers.dropout_forward(x, p, np.random.default_rng(7))[0] * dout).sum())

    got = {"x": layers.dropout_backward(dout, cache)}
    assert_both(got, f, {"x": x}, {"x": x_torch.grad.numpy()})


def test_dropout_keeps_the_mean_and_drops_the_right_share():
    x = np.ones((400, 500))
    out, _ = layers.dropout_forward(x, 0.3, np.random.default_rng(0))
    assert abs(out.mean() - 1) < 0.01 and abs((out == 0).mean() - 0.3) < 0.01
    np.testing.assert_allclose(out[out > 0], 1 / 0.7)


def test_dropout_does_nothing_in_evaluation():
    x = rng_for(4).normal(size=(4, 3))
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    out, cache = layers.dropout_forward(x, 0.5, rng, train=False)
    assert out is x and layers.dropout_backward(x, cache) is x
    assert rng.bit_generator.state == state


# ---- what must be left alone ----

CACHES = {  # forward passes on x (5, 3) and what their backward takes beside dout
    "linear": lambda x: layers.linear_forward(x, np.ones((3, 2)), np.ones(2)),
    "relu": layers.relu_forward,
    "sigmoid": layers.sigmoid_forward,
    "tanh": layers.tanh_forward,
    "dropout": lambda x: layers.dropout_forward(x, 0.5, np.random.default_rng(0)),
    "batchnorm": lambda x: layers.batchnorm_forward(
        x, 2 * np.ones(3), np.ones(3), np.zeros(3), np.ones(3)
    ),
    "batchnorm in evaluation": lambda x: layers.batchnorm_forward(
        x, 2 * np.ones(3), np.ones(3), np.zeros(3), np.ones(3), train=False
    ),
    "cross_entropy": lambda x: layers.cross_entropy_forward(x, np.array([0, 2, 1, 2, 0]), 0.1),
}


def arrays_of(*values):
    """Return all arrays in nested tuples."""
    found = []
    for value in values:
        if isinstance(value, tuple):
            found += arrays_of(*value)
        elif isinstance(value, np.ndarray):
            found.append(value)
    return found


@pytest.mark.parametrize("name", CACHES)
def test_forward_leaves_its_input_and_backward_its_cache_and_dout(name):
    x = rng_for(8).normal(size=(5, 3))
    kept_x = x.copy()
    out, cache = CACHES[name](x)
    np.testing.assert_array_equal(x, kept_x)
    dout = np.ones_like(out) + rng_for(9).random(np.shape(out))
    kept = [a.copy() for a in arrays_of(out, cache, dout, x)]
    backward = getattr(layers, f"{name.split()[0]}_backward")
    arguments = (cache,) if name == "cross_entropy" else (dout, cache)
    first, second = backward(*arguments), backward(*arguments)
    for a, b in zip(arrays_of(first), arrays_of(second), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(arrays_of(out, cache, dout, x), kept, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- dtype, memory layout ----


def every_output(x, W, dout, y):
    """Return all arrays that the layers make of these inputs."""
    outputs = []
    out, cache = layers.linear_forward(x, W)
    outputs += [out, *layers.linear_backward(dout, cache)]
    for name in ACTIVATIONS:
        out, cache = getattr(layers, f"{name}_forward")(x)
        outputs += [out, getattr(layers, f"{name}_backward")(x, cache)]
    outputs.append(layers.softmax(x))
    outputs.append(layers.cross_entropy_backward(layers.cross_entropy_forward(x, y)[1]))
    outputs.append(layers.cross_entropy_backward(layers.cross_entropy_forward(x, y, 0.1)[1]))
    out, cache = layers.dropout_forward(x, 0.5, np.random.default_rng(0))
    return [*outputs, out, layers.dropout_backward(x, cache)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(dtype):
    rng = rng_for(5)
    x, W, dout = (rng.normal(size=s).astype(dtype) for s in [(4, 3), (3, 2), (4, 2)])
    assert {a.dtype for a in every_output(x, W, dout, np.array([0, 2, 1, 2]))} == {np.dtype(dtype)}


@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2]])
def test_non_contiguous_input_gives_the_same(arrange):
    rng = rng_for(6)
    x, W, dout = rng.normal(size=(5, 3)), rng.normal(size=(3, 2)), rng.normal(size=(5, 2))
    y = np.array([0, 2, 1, 2, 0])
    plain, odd = every_output(x, W, dout, y), every_output(*map(arrange, (x, W, dout)), y)
    for expected, got in zip(plain, odd, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8, list])
def test_any_integer_type_and_a_list_are_labels(integer):
    logits = rng_for(7).normal(size=(3, 4))
    y = np.array([0, 3, 2])
    loss, cache = layers.cross_entropy_forward(
        logits, y.tolist() if integer is list else y.astype(integer)
    )
    assert loss == layers.cross_entropy_forward(logits, y)[0]
    assert layers.cross_entropy_backward(cache).shape == (3, 4)


# ---- bad input: what would otherwise go wrong without a word ----


@pytest.mark.parametrize("shape", [(4, 1), (4,), (1, 5), (1,), ()])
def test_linear_refuses_a_bias_that_would_broadcast(shape):
    with pytest.raises(ValueError, match=r"b has shape .*; it must be \(5,\)"):
        layers.linear_forward(np.zeros((4, 2)), np.zeros((2, 5)), np.zeros(shape))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 3], "y contains the label 3; labels must be 0 … 2"),
        ([0, -1, 2], "y contains the label -1; labels must be 0 … 2"),
        ([0.0, 1.0, 2.0], "y has dtype float64; labels must be integers"),
        ([True, False, True], "y has dtype bool; labels must be integers"),
        ([0, 1], r"y has shape \(2,\); it must be \(3,\)"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], r"y has shape \(3, 3\); it must be \(3,\)"),
    ],
)
def test_cross_entropy_refuses_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        layers.cross_entropy_forward(np.zeros((3, 3)), np.array(y))


NUMBERS = {
    "low": (lambda: layers.check_number("x", -0.5), r"x is -0\.5; it must be 0 or more"),
    "infinity": (lambda: layers.check_number("x", np.inf), "x is inf; it must be 0 or more"),
    "NaN": (lambda: layers.check_number("x", np.nan), "x is nan; it must be 0 or more"),
    "open low": (lambda: layers.check_number("x", 0, ends="()"), "x is 0; it must be above 0"),
    "open high": (lambda: layers.check_number("x", 1, 0, 1), r"x is 1; it must be in \[0, 1\)"),
    "text": (lambda: layers.check_number("x", "1"), "x is '1'; it must be 0 or more"),
    "None": (lambda: layers.check_number("x", None), "x is None; it must be 0 or more"),
    "half": (lambda: layers.check_whole(n=1.5), r"n is 1\.5; it must be a whole number, 1 or more"),
    "none": (lambda: layers.check_whole(n=0), "n is 0; it must be a whole number, 1 or more"),
    "seed": (lambda: layers.check_rng(0), r"rng is 0; it must be a Generator: np\.random\.default"),
    "text in x": (lambda: layers.check_features([["a"]], 1), "x has dtype <U1; it must be real"),
    "complex x": (lambda: layers.check_features([[1j]], 1), "x has dtype complex128; it must be"),
    "no examples": (
        lambda: layers.check_features(np.zeros((0, 2)), 2),
        r"x has shape \(0, 2\); it must be \(≥1, 2\)",
    ),
    "one dimension": (
        lambda: layers.check_features(np.zeros(2), 2),
        r"x has shape \(2,\); it must be \(≥1, 2\)",
    ),
    "infinity in x": (
        lambda: layers.check_features([[np.inf], [1.0]], 1),
        "x contains NaN or infinity",
    ),
    "rows of x": (lambda: layers.check_features([[1], [1, 2]], 1), "x has rows of unequal length"),
    "NaN in x": (lambda: layers.check_features([[1.0], [np.nan]], 1), "x contains NaN or infinity"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_checks_say_the_name_the_value_and_what_is_allowed(case):
    check, message = NUMBERS[case]
    with pytest.raises(ValueError, match=message):
        check()


def test_checks_let_the_ends_pass():
    layers.check_number("x", 0)
    layers.check_number("x", np.float32(0.5), 0, 1)
    layers.check_number("x", 1, 0, 1, "[]")
    layers.check_whole(n=1, m=np.int64(3))
    layers.check_whole(0, n=0)
    assert layers.check_features([[1, 2]], 2).shape == (1, 2)
    assert layers.check_features(np.array([[np.nan]]), 1, finite=False).shape == (1, 1)
    assert np.isfinite(layers.check_features(np.full((9, 1), 3e38, np.float32), 1)).all()


def test_true_is_no_number():
    with pytest.raises(ValueError, match="x is True; it must be 0 or more"):
        layers.check_number("x", True)
    with pytest.raises(ValueError, match="n is True; it must be a whole number, 1 or more"):
        layers.check_whole(n=True)
