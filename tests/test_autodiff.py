"""Every row of autodiff's table against finite differences and torch, and the awkward cases."""

import weakref
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes

from assignment1_perceptron_mlp import autodiff
from assignment1_perceptron_mlp.autodiff import (
    RULES,
    Tensor,
    add_operation,
    apply,
    concatenate,
    cross_entropy,
    log_softmax,
    maximum,
    no_grad,
    topological_order,
    unbroadcast,
    where,
)
from shared.checks import compare_gradients, numerical_gradient

BUILT_IN = set(RULES)  # before any test adds a row
fast = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
shapes = array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4)
pairs = mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4)


def values(shape, seed, low=-2.0, high=2.0, shift=0.0):
    """Return distinct numbers, none of them 0 or equal to those of another shift, shuffled."""
    grid = np.linspace(low, high, 2 * int(np.prod(shape)) + 2)[1::2] + 0.004 + shift
    return np.random.default_rng(seed).permutation(grid[: int(np.prod(shape))]).reshape(shape)


def check_operation(ours, theirs, *arrays):
    """Compare our gradients of Σ w ∘ f(arrays) with torch's and with finite differences."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    twins = [torch.tensor(a.copy(), requires_grad=True) for a in arrays]
    y, y_torch = ours(*tensors), theirs(*twins)
    np.testing.assert_allclose(y.data, y_torch.detach().numpy(), rtol=1e-12, atol=1e-14)
    w = np.random.default_rng(0).normal(size=y.shape)
    y.backward(w)
    y_torch.backward(torch.tensor(w))
    got = {f"input {i}": t.grad for i, t in enumerate(tensors)}
    expected = {f"input {i}": t.grad.numpy() for i, t in enumerate(twins)}
    assert all(isinstance(grad, np.ndarray) for grad in got.values())
    compare_gradients(got, expected, tolerance=1e-11, verbose=False)

    def loss(_):
        return (w * ours(*(Tensor(t.data) for t in tensors)).data).sum()

    numeric = {name: numerical_gradient(loss, t.data) for name, t in zip(got, tensors, strict=True)}
    compare_gradients(got, numeric, tolerance=1e-6, verbose=False)


ELEMENTWISE = {  # name: (ours, torch's, lowest input, highest input)
    "negative": (lambda x: -x, lambda x: -x, -2, 2),
    "exp": (Tensor.exp, torch.exp, -2, 2),
    "log": (Tensor.log, torch.log, 0.2, 3),
    "sqrt": (Tensor.sqrt, torch.sqrt, 0.2, 3),
    "tanh": (Tensor.tanh, torch.tanh, -2, 2),
    "sigmoid": (Tensor.sigmoid, torch.sigmoid, -9, 9),
    "relu": (Tensor.relu, torch.relu, -2, 2),
}
BINARY = {
    "add": (lambda a, b: a + b, lambda a, b: a + b, -2, 2),
    "subtract": (lambda a, b: a - b, lambda a, b: a - b, -2, 2),
    "multiply": (lambda a, b: a * b, lambda a, b: a * b, -2, 2),
    "divide": (lambda a, b: a / b, lambda a, b: a / b, 0.5, 3),
    "power": (lambda a, b: a**b, lambda a, b: a**b, 0.5, 2),
    "maximum": (maximum, torch.maximum, -2, 2),
}
REDUCTIONS = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax}
TESTED_BELOW = {"where", "matmul", "log_softmax", "reshape", "transpose", "getitem", "concatenate"}


def test_every_row_of_the_table_is_tested():
    assert {*ELEMENTWISE, *BINARY, *REDUCTIONS, *TESTED_BELOW} == BUILT_IN


@pytest.mark.parametrize("name", ELEMENTWISE)
@fast
@given(shape=shapes, seed=seeds)
def test_elementwise_operations(name, shape, seed):
    ours, theirs, low, high = ELEMENTWISE[name]
    check_operation(ours, theirs, values(shape, seed, low, high))


@pytest.mark.parametrize("name", BINARY)
@fast
@given(broadcast=pairs, seed=seeds)
def test_operations_of_two_inputs_under_every_broadcast(name, broadcast, seed):
    ours, theirs, low, high = BINARY[name]
    a, b = (
        values(shape, seed + i, low, high, shift=0.003 * i)
        for i, shape in enumerate(broadcast.input_shapes)
    )
    check_operation(ours, theirs, a, b)


@fast
@given(broadcast=mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3), seed=seeds)
def test_where_under_every_broadcast(broadcast, seed):
    c, a, b = (values(shape, seed + i) for i, shape in enumerate(broadcast.input_shapes))
    check_operation(
        lambda a, b: where(c > 0, a, b), lambda a, b: torch.where(torch.tensor(c > 0), a, b), a, b
    )


@pytest.mark.parametrize("name", REDUCTIONS)
@fast
@given(
    data=st.data(), shape=array_shapes(max_dims=3, max_side=4), seed=seeds, keepdims=st.booleans()
)
def test_reductions_over_every_choice_of_axes(name, data, shape, seed, keepdims):
    axes = data.draw(st.lists(st.sampled_from(range(len(shape))), min_size=1, unique=True))
    axis = data.draw(st.sampled_from([None, axes[0], axes[0] - len(shape), tuple(axes)]))
    every = tuple(range(len(shape)))
    check_operation(
        lambda x: getattr(x, name)(axis=axis, keepdims=keepdims),
        lambda x: REDUCTIONS[name](x, dim=every if axis is None else axis, keepdim=keepdims),
        values(shape, seed),
    )


@fast
@given(
    batch=mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3),
    sizes=st.tuples(*[st.integers(1, 4)] * 3),
    vectors=st.tuples(st.booleans(), st.booleans()),
    seed=seeds,
)
def test_matmul_of_matrices_batches_and_vectors(batch, sizes, vectors, seed):
    n, k, m = sizes
    shape_a = (k,) if vectors[0] else (*batch.input_shapes[0], n, k)
    shape_b = (k,) if vectors[1] else (*batch.input_shapes[1], k, m)
    a, b = values(shape_a, seed), values(shape_b, seed + 1)
    check_operation(lambda a, b: a @ b, lambda a, b: a @ b, a, b)


@fast
@given(data=st.data(), shape=array_shapes(max_dims=3, max_side=4), seed=seeds)
def test_log_softmax_on_every_axis(data, shape, seed):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    check_operation(
        lambda x: log_softmax(x, axis=axis),
        lambda x: torch.log_softmax(x, dim=axis),
        values(shape, seed),
    )


@fast
@given(N=st.integers(1, 5), K=st.integers(1, 5), seed=seeds, offset=st.sampled_from([0.0, 3e3]))
def test_cross_entropy(N, K, seed, offset):
    labels = np.random.default_rng(seed).integers(0, K, N)
    logits = values((N, K), seed) + offset
    twin = torch.tensor(logits, requires_grad=True)
    torch.nn.functional.cross_entropy(twin, torch.tensor(labels)).backward()
    x = Tensor(logits, requires_grad=True)
    cross_entropy(x, labels).backward()
    np.testing.assert_allclose(x.grad, twin.grad.numpy(), atol=1e-12)
    probs = np.exp(logits - offset) / np.exp(logits - offset).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(x.grad, (probs - np.eye(K)[labels]) / N, atol=1e-12)


@fast
@given(data=st.data(), shape=array_shapes(max_dims=3, max_side=4), seed=seeds)
def test_reshape_and_transpose(data, shape, seed):
    x = values(shape, seed)
    new = data.draw(st.sampled_from([(-1,), (x.size, 1), (1, *shape), shape[::-1]]))
    check_operation(lambda x: x.reshape(*new), lambda x: x.reshape(new), x)
    check_operation(lambda x: x.reshape(new), lambda x: x.reshape(new), x)
    axes = data.draw(st.permutations(range(len(shape))))
    signed = [axis - len(shape) if data.draw(st.booleans()) else axis for axis in axes]
    check_operation(lambda x: x.transpose(*signed), lambda x: x.permute(axes), x)
    check_operation(lambda x: x.T, lambda x: x.permute(*range(len(shape))[::-1]), x)


@pytest.mark.parametrize(
    "index",
    [
        2,
        (1, 2),
        slice(1, 3),
        (slice(None), -1),
        (..., None, slice(None, None, 2)),
        ([0, 0, 2], [1, 1, 3]),
        np.array([2, 2, 2]),
        np.arange(12).reshape(3, 4) % 3 == 0,
        slice(0, 0),
    ],
    ids=str,
)
def test_indexing(index):
    as_torch = torch.tensor(index) if isinstance(index, np.ndarray) else index
    check_operation(lambda x: x[index], lambda x: x[as_torch], values((3, 4), 0))


@fast
@given(
    data=st.data(),
    shape=array_shapes(max_dims=3, max_side=3),
    sizes=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    seed=seeds,
)
def test_concatenate(data, shape, sizes, seed):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    pieces = []
    for i, size in enumerate(sizes):
        piece_shape = list(shape)
        piece_shape[axis] = size
        pieces.append(values(tuple(piece_shape), seed + i))
    check_operation(
        lambda *xs: concatenate(xs, axis=axis), lambda *xs: torch.cat(xs, dim=axis), *pieces
    )


@fast
@given(broadcast=pairs, seed=seeds)
def test_unbroadcast_is_the_adjoint_of_broadcasting(broadcast, seed):
    shape, result = broadcast.input_shapes[0], broadcast.result_shape
    x, g = values(shape, seed), values(result, seed + 1)
    np.testing.assert_allclose(
        (np.broadcast_to(x, result) * g).sum(), (x * unbroadcast(g, shape)).sum(), atol=1e-12
    )


def test_reflected_operators_and_constants():
    x = np.array([[0.5, 1.5], [2.5, 3.5]])
    W = np.array([[1.0, 2.0], [3.0, 4.0]])
    for ours in (
        lambda t: 2 + t,
        lambda t: 2 - t,
        lambda t: 2 * t,
        lambda t: 2 / t,
        lambda t: 2**t,
        lambda t: t**2,
    ):
        check_operation(ours, ours, x)
    check_operation(lambda t: W @ t, lambda t: torch.tensor(W) @ t, x)
    check_operation(lambda t: W + t, lambda t: torch.tensor(W) + t, x)


def test_power_at_zero_matches_torch():
    for exponent in (0.0, 1.0, 2.0, 3.0):
        a, b = Tensor([0.0, 2.0], True), Tensor([exponent, exponent], True)
        (a**b).sum().backward()
        a_torch = torch.tensor([0.0, 2.0], dtype=torch.float64, requires_grad=True)
        (a_torch ** torch.tensor(exponent)).sum().backward()
        np.testing.assert_allclose(a.grad, a_torch.grad.numpy())
        assert np.isfinite(b.grad).all()


def test_ties_share_the_gradient_as_in_torch():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    ours, twin = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    (ours.max(axis=1).sum() + maximum(ours, 2.0).sum()).backward()
    (twin.amax(dim=1).sum() + torch.maximum(twin, torch.tensor(2.0).double()).sum()).backward()
    np.testing.assert_allclose(ours.grad, twin.grad.numpy())


def test_a_value_used_twice_gets_both_gradients():
    x = Tensor([3.0], requires_grad=True)
    y = x * x
    (y + y * x).sum().backward()
    assert x.grad == pytest.approx(2 * 3 + 3 * 9)
    assert y.grad == pytest.approx(1 + 3)  # inner tensors keep theirs too


def test_a_long_chain_needs_no_recursion():
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(10_000):
        y = y + x * 1e-4
    assert len(topological_order(y)) == 20_001
    y.backward()
    assert x.grad == pytest.approx(2.0)
    for _ in range(30_000):  # and one that is never walked can be forgotten
        x = x + 1.0
    del x


def test_a_second_backward_needs_retain_graph_and_accumulates():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).exp().sum()
    y.backward(retain_graph=True)
    once = x.grad.copy()
    y.backward()
    np.testing.assert_allclose(x.grad, 2 * once)
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    x.zero_grad()
    assert x.grad is None


def test_a_freed_part_of_another_graph_is_refused():
    x = Tensor([1.0], requires_grad=True)
    trunk = x.exp()
    first, second = trunk * 2, trunk * 3
    first.backward()
    with pytest.raises(RuntimeError, match="freed"):
        second.backward()


def test_backward_frees_the_arrays_that_only_the_graph_held():
    x = Tensor(np.ones(1000), requires_grad=True)
    hidden = x.exp()
    held, loss = weakref.ref(hidden.data), hidden.log().sum()
    del hidden
    assert held() is not None
    loss.backward()
    assert held() is None


def test_overlapping_slices_add_up():
    x = Tensor(np.zeros(5), requires_grad=True)
    (x[0:3].sum() + 2 * x[1:5].sum() + x[::-1][0]).backward()
    np.testing.assert_array_equal(x.grad, [1, 3, 3, 2, 3])


def test_a_zero_size_axis():
    x, W = np.zeros((0, 3)), values((3, 2), 0)
    check_operation(
        lambda x, W: (x @ W).tanh().sum(axis=0), lambda x, W: (x @ W).tanh().sum(0), x, W
    )
    check_operation(lambda x: x.sum(), torch.sum, x)
    check_operation(lambda x: x + np.ones((1, 3)), lambda x: x + 1, x)
    t = Tensor(np.zeros((3, 0)), requires_grad=True)
    t.mean(axis=0).sum().backward()
    assert t.grad.shape == (3, 0)


def test_inputs_that_are_not_contiguous():
    x = values((6, 8), 0)[::2, ::-3]
    check_operation(lambda x: (x.T @ x).exp(), lambda x: (x.T @ x).exp(), x)
    check_operation(lambda x: x.T.reshape(-1)[1:], lambda x: x.T.reshape(-1)[1:], x)


def test_zero_dimensional_tensors_keep_array_gradients():
    x = Tensor(2.0, requires_grad=True)
    (x * x + x).backward()
    assert isinstance(x.grad, np.ndarray) and x.grad.shape == () and x.grad == 5
    assert (x * 3).item() == 6.0 and isinstance((x * 3).item(), float)


def test_float32_stays_float32_beside_numbers_and_arrays():
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    y = (2.0 * x + np.arange(3.0)) ** 2 / np.float64(3)
    z = maximum(y, 1).mean() + y.max() + x.sigmoid().sum() + where([True, False, True], y, 0).sum()
    z.backward()
    assert (y.dtype, z.dtype, x.grad.dtype) == (np.float32,) * 3
    assert (y.grad.dtype, z.grad.dtype) == (np.float32,) * 2
    assert Tensor([1, 2]).dtype == np.float64  # integers cannot have a gradient


def test_a_condition_gets_no_gradient():
    c = Tensor([[1.0], [0.0]], requires_grad=True)
    where(c, Tensor([1.0, 2.0], requires_grad=True), 3.0).sum().backward()
    np.testing.assert_array_equal(c.grad, [[0], [0]])


def test_gradients_share_no_memory():
    a, b = Tensor(np.ones(3), requires_grad=True), Tensor(np.ones(3), requires_grad=True)
    (a + b).sum().backward()
    a.grad *= 10
    np.testing.assert_array_equal(b.grad, np.ones(3))


def test_no_grad_and_detach_stay_outside_the_graph():
    x = Tensor([1.0, 2.0], requires_grad=True)
    with no_grad():
        with no_grad():
            pass
        y = x * 2
    assert not y.requires_grad and y.inputs == ()
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (x * 2).requires_grad  # switched on again, after an error too
    (x * x.detach()).sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 2])
    assert np.shares_memory(x.detach().data, x.data)


def test_gradients_that_nobody_needs_are_never_computed():
    def refuse(g, y, a, b):
        raise AssertionError("the gradient of a constant was computed")

    product = add_operation("test product", np.multiply, lambda g, y, a, b: g * b, refuse)
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    product(x, np.full(3, 4.0)).sum().backward()
    np.testing.assert_array_equal(x.grad, np.full((2, 3), 4.0))


def test_an_own_operation_with_an_option_and_broadcasting():
    leaky = add_operation(
        "test leaky",
        lambda x, slope: np.where(x > 0, x, slope * x),
        lambda g, y, x, slope: g * np.where(x > 0, 1, slope),
    )
    check_operation(
        lambda x: leaky(x, slope=0.2),
        lambda x: torch.nn.functional.leaky_relu(x, 0.2),
        values((3, 4), 0),
    )
    scale = add_operation(
        "test scale", np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a
    )
    check_operation(scale, torch.mul, values((3, 4), 0), values((4,), 1))


X = Tensor(np.ones((2, 3)), requires_grad=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: X + np.ones(4), r"add does not work for shapes \(2, 3\) and \(4,\)"),
        (lambda: X @ X, r"matmul does not work for shapes \(2, 3\) and \(2, 3\)"),
        (lambda: concatenate([X, X[:, :2]]), r"concatenate .* shapes \(2, 3\) and \(2, 2\)"),
        (lambda: X.reshape(4), r"reshape does not work for shapes \(2, 3\)"),
        (lambda: X.sum(axis=2), r"sum does not work for shapes \(2, 3\): axis 2"),
        (lambda: X.transpose(0, 0), r"transpose does not work for shapes \(2, 3\)"),
        (lambda: Tensor(np.zeros(0)).max(), r"max does not work for shapes \(0,\)"),
        (lambda: X.backward(), r"gradient has shape \(\); it must be \(2, 3\)"),
        (lambda: X.backward(np.ones(3)), r"gradient has shape \(3,\); it must be \(2, 3\)"),
        (lambda: Tensor([1.0]).backward(), "requires_grad=True"),
        (lambda: cross_entropy(X, np.array([0, 3])), r"label 3; labels must be 0 … 2"),
        (lambda: cross_entropy(X, np.array([0])), r"y has shape \(1,\); it must be \(2,\)"),
        (lambda: cross_entropy(X, np.array([0.0, 1.0])), "labels must be integers"),
        (lambda: cross_entropy(X[0], np.array([0])), r"logits has shape \(3,\)"),
        (lambda: add_operation("test empty", np.exp), "gradients of 'test empty' is empty"),
        (lambda: unbroadcast(np.ones((2, 3)), (2, 2)), r"\(2, 3\) does not fit .* \(2, 2\)"),
        (lambda: Tensor("ten"), "data has dtype <U3; a tensor holds real numbers"),
        (lambda: Tensor(None), "data has dtype object"),
        (lambda: Tensor([1j]), "data has dtype complex128"),
        (lambda: bool(X), r"shape \(2, 3\) is neither true nor false"),
        (lambda: concatenate([]), "tensors is empty"),
    ],
)
def test_bad_input_is_named_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: X.sum(0, True, 5, 7), "takes from 1 to 3 positional arguments but 5 were given"),
        (lambda: X.exp(2), "takes 1 positional argument but 2 were given"),
        (lambda: X.mean(axes=0), "unexpected keyword argument 'axes'"),
        (lambda: log_softmax(X), "missing 1 required positional argument: 'axis'"),
        (lambda: maximum(X, X, X), "takes 2 positional arguments but 3 were given"),
        (lambda: apply("add", X), "add takes 2 inputs; it was given 1"),
        (lambda: apply("exp", X, 2.0), "exp takes 1 inputs; it was given 2"),
        (lambda: np.asarray(X), r"take its numbers with \.data"),
        (lambda: Tensor(X), r"take its numbers with \.data"),
        (lambda: X * [X[0, 0], 1.0], r"take its numbers with \.data"),
        (lambda: np.sin(X), "does not support ufuncs"),
        (lambda: len(Tensor(1.0)), "unsized"),
        (lambda: list(Tensor(1.0)), "unsized"),
    ],
)
def test_an_argument_too_many_or_of_the_wrong_kind_is_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_wrong_own_gradient_names_the_operation_and_both_shapes():
    wrong = add_operation(
        "test wrong", np.multiply, lambda g, y, a, b: g, lambda g, y, a, b: g[:1, :2]
    )
    message = r"gradient 1 of test wrong: .* shape \(1, 2\) .* input of shape \(2, 3\)"
    with pytest.raises(ValueError, match=message):
        wrong(X, X).sum().backward()


def test_truth_is_that_of_the_only_number():
    assert [bool(Tensor(v)) for v in (0.0, 2.0, [0.0], [[-1.0]])] == [False, True, False, True]


def test_rows_can_be_walked_and_counted():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    first, second = x
    (first * 2 + second).sum().backward()
    assert len(x) == 2
    np.testing.assert_array_equal(x.grad, [[2, 2], [1, 1]])


def test_what_a_tensor_says_about_itself():
    x = Tensor([[1, 2]], requires_grad=True)
    assert (x.shape, x.ndim, x.dtype, x.name, x.inputs) == ((1, 2), 2, np.float64, "leaf", ())
    assert repr(x.exp()).endswith("name='exp', requires_grad=True)") and "[[1., 2.]]" in repr(x)
    kept = np.ones(3, np.float32)
    assert Tensor(kept).data is kept  # no copy: an optimiser changes the weights in place
    y = x * 3
    assert (y.name, y.inputs[0], y.requires_grad) == ("multiply", x, True)
    constant = Tensor([1.0]) * 3
    assert (constant.name, constant.inputs, constant.requires_grad) == ("leaf", (), False)


def test_a_rule_replaced_after_the_forward_pass_leaves_that_pass_alone():
    double = add_operation("test replaced", lambda x: 2 * x, lambda g, y, x: 2 * g)
    x = Tensor([1.0], requires_grad=True)
    y = double(x)
    add_operation("test replaced", lambda x: 5 * x, lambda g, y, x: 5 * g)
    y.backward()
    assert x.grad == 2 and double(x).data == 5


def test_a_leaf_shares_its_gradient_with_no_array_of_the_graph():
    W = np.ones(3)
    returns = {"g": lambda g, y, a, b: g, "y": lambda g, y, a, b: y, "b": lambda g, y, a, b: b}
    for what, gradient in returns.items():
        half = add_operation("test borrowed", np.add, gradient, lambda g, y, a, b: g)
        a, b = Tensor(np.zeros(3), requires_grad=True), Tensor(W, requires_grad=True)
        y = half(a, b)
        y.backward(np.ones(3))
        for other in (y.data, y.grad, b.data, b.grad):
            assert not np.shares_memory(a.grad, other), what
    x = Tensor(np.zeros((2, 3)), requires_grad=True)
    given = np.ones((2, 3))
    x.backward(given)
    assert x.grad is not given and not np.shares_memory(x.grad, given)
    y = x.reshape(6)
    y.backward(np.ones(6))  # reshape hands down a view of what y keeps
    assert not np.shares_memory(x.grad, y.grad)


def test_arrays_are_freed_while_the_walk_goes_on():
    alive = []

    def look(g, y, x):
        alive.append(held() is not None)
        return g

    early = add_operation("test early", np.copy, look)
    x = Tensor(np.ones(1000), requires_grad=True)
    hidden = early(x).exp()
    held, loss = weakref.ref(hidden.data), hidden.log().sum()
    del hidden
    loss.backward()
    assert alive == [False]


def test_no_grad_is_restored_where_it_was_off_before():
    x = Tensor([1.0], requires_grad=True)
    with no_grad():
        with no_grad():
            pass
        assert not (x * 2).requires_grad


def test_concatenate_keeps_float32_beside_arrays_and_joins_any_number():
    x = Tensor(np.ones((1, 2), np.float32), requires_grad=True)
    y = concatenate([np.zeros((1, 2)), np.zeros((1, 2)), x, [[5.0, 6.0]]])
    assert y.dtype == np.float32 and y.data.tolist() == [[0, 0], [0, 0], [1, 1], [5, 6]]
    assert concatenate([np.zeros((2, 1)), np.ones((2, 1))], axis=1).data.tolist() == [[0, 1]] * 2


def test_lists_work_where_arrays_do():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert (x * [1, 2]).data.tolist() == [[1, 4], [3, 8]]
    assert x.reshape([4]).shape == (4,) and x.transpose([1, 0]).data[0, 1] == 3
    assert Tensor([5.0]).reshape().shape == ()
    assert cross_entropy(x, [1, 0]).item() == cross_entropy(x, np.array([1, 0])).item()
    x.sum(axis=0).backward([1, 2])
    np.testing.assert_array_equal(x.grad, [[1, 2], [1, 2]])


STEPS = {  # a step of a random expression in a, b (2, 3); m is autodiff or torch
    "add": lambda m, a, b: a + b,
    "subtract": lambda m, a, b: a - 2 * b,
    "multiply": lambda m, a, b: a * b,
    "divide": lambda m, a, b: a / (b * b + 1),
    "power": lambda m, a, b: (a * a + 1) ** b.sigmoid(),
    "negative": lambda m, a, b: -a,
    "exp, log": lambda m, a, b: (a.exp() + 1).log(),
    "sqrt": lambda m, a, b: (a * a + b * b + 0.1).sqrt(),
    "tanh": lambda m, a, b: a.tanh(),
    "relu": lambda m, a, b: a.relu() + 0.1 * b,
    "maximum": lambda m, a, b: m.maximum(a, b),
    "matmul": lambda m, a, b: (a @ b.T).sigmoid() @ a,
    "batch": lambda m, a, b: (a.reshape(2, 3, 1) @ b.reshape(2, 1, 3)).sum(2),
    "vector": lambda m, a, b: (a @ b[0]).reshape(2, 1) * b,
    "mean": lambda m, a, b: a - a.mean(0),
    "total": lambda m, a, b: b * a.sum(),
    "log_softmax": lambda m, a, b: m.log_softmax(a, 1),
    "getitem": lambda m, a, b: a[[1, 1]] * b[:, 1:2],
    "rearrange": lambda m, a, b: a.T.reshape(2, 3),
    "join": lambda m, a, b: (m.concatenate([a, b, a], 1) * 0.5)[:, 2:5],
}


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_against_torch_and_finite_differences(seed):
    rng = np.random.default_rng(seed)
    leaves = [rng.normal(size=shape) for shape in ((2, 3), (3,), (2, 1), (2, 3))]
    plan = [
        (str(rng.choice(list(STEPS))), *rng.integers(0, 4 + 8 * i // 10, size=2)) for i in range(10)
    ]

    def expression(m, *inputs):
        values = [inputs[0] + inputs[1], inputs[0] * inputs[2], inputs[3], inputs[0]]
        for name, i, j in plan:
            new = STEPS[name](m, values[i % len(values)], values[j % len(values)])
            values.append(new.tanh() + 0.5 * values[-1])  # stays small, and uses the last again
        return values[-1] + values[0] + values[1] * values[2]  # every leaf takes part

    check_operation(partial(expression, autodiff), partial(expression, torch), *leaves)


@pytest.mark.parametrize("other", [None, "a", 1j, [[1], [1, 2]]])
def test_what_is_no_number_is_refused_beside_a_tensor(other):
    for operation in (lambda a: a + other, lambda a: other * a, lambda a: maximum(a, other)):
        with pytest.raises(ValueError, match=r"real numbers|inhomogeneous"):
            operation(Tensor([1.0]))


def test_a_rule_must_hold_functions():
    for functions in ((np.exp, 3), (3, np.exp)):
        with pytest.raises(ValueError, match="'cube' is given 3; every rule must be a function"):
            add_operation("cube", *functions)
    assert "cube" not in autodiff.RULES


def test_cross_entropy_takes_lists():
    loss = cross_entropy([[0, 0], [0, 0]], [0, 1])
    np.testing.assert_allclose(loss.data, np.log(2))


def test_log_softmax_subtracts_the_largest_of_each_row():
    logits = np.array([[2e4, 1e4], [-3e4, -1e4]])  # one maximum for all would lose the second row
    got = log_softmax(Tensor(logits), axis=1).data
    np.testing.assert_array_equal(got, torch.log_softmax(torch.tensor(logits), dim=1).numpy())


def test_indexing_gives_gradients_in_the_dtype_of_its_input():
    x = Tensor(np.ones((3, 2), np.float32), requires_grad=True)
    y = x * x
    y[[0, 0, 2]].sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, [[4, 4], [0, 0], [2, 2]])


def test_a_detached_tensor_asks_for_no_gradient():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x.detach()).sum()
    y.backward()
    assert not x.detach().requires_grad
    np.testing.assert_array_equal(x.grad, [1, 2])  # one factor only


def test_a_leafs_gradient_shares_no_memory_with_the_callers_array():
    x, gradient = Tensor(np.ones((2, 3)), requires_grad=True), np.ones((3, 2))
    x.transpose().backward(gradient)
    gradient[:] = 5
    np.testing.assert_array_equal(x.grad, np.ones((2, 3)))
