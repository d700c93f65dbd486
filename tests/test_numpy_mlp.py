"""Tests of the multi-layer perceptron: gradients of whole networks, its parts, bad input."""

import numpy as np
import pytest
import torch

from assignment1_perceptron_mlp.numpy_layers import cross_entropy_backward, cross_entropy_forward
from assignment1_perceptron_mlp.numpy_mlp import (
    MLP,
    Activation,
    BatchNorm,
    Dropout,
    Linear,
    Sequential,
    init_weight,
)
from assignment1_perceptron_mlp.numpy_optim import SGD
from assignment1_perceptron_mlp.numpy_training import evaluate, fit, train_step
from shared.checks import compare_gradients, numerical_gradient

TORCH_ACTIVATIONS = {"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh}


class FixedMasks(np.random.Generator):
    """A Generator whose random() repeats, so that every forward drops the same entries."""

    def __init__(self, seed):
        super().__init__(np.random.PCG64(seed))
        self.seed = seed

    def random(self, shape, dtype):
        return np.random.default_rng((self.seed, *shape)).random(shape, dtype)


class MaskLayer(torch.nn.Module):
    """Multiply by the mask that FixedMasks makes."""

    def __init__(self, p, seed):
        super().__init__()
        self.p, self.seed = p, seed

    def forward(self, x):
        kept = FixedMasks(self.seed).random(tuple(x.shape), np.float32) >= self.p
        return x * torch.tensor(kept / (1 - self.p))


def make_model(layer_sizes, activation="relu", batchnorm=False, dropout=0.0, seed=0):
    """Return a float64 MLP with fixed masks; biases and scales are moved off their start values."""
    model = MLP(
        layer_sizes,
        activation=activation,
        batchnorm=batchnorm,
        dropout=dropout,
        dtype=np.float64,
        rng=FixedMasks(seed),
    )
    rng = np.random.default_rng((seed, 1))
    for p in model.parameters().values():
        if p.ndim == 1:
            p += 0.3 * rng.normal(size=p.shape)
    return model


def torch_twin(model, activation, batchnorm, dropout, seed=0):
    """Return the torch.nn.Sequential with the same parameters, and them by our names."""
    parameters, modules, named = model.parameters(), [], {}
    depth = len(model.layer_sizes) - 1
    for i in range(1, depth + 1):
        W = parameters[f"W{i}"]
        linear = torch.nn.Linear(*W.shape, bias=f"b{i}" in parameters, dtype=torch.float64)
        named[f"W{i}"] = linear.weight
        if f"b{i}" in parameters:
            named[f"b{i}"] = linear.bias
        modules.append(linear)
        if i < depth and batchnorm:
            modules.append(torch.nn.BatchNorm1d(W.shape[1], dtype=torch.float64))
            named |= {f"gamma{i}": modules[-1].weight, f"beta{i}": modules[-1].bias}
        if i < depth:
            modules.append(TORCH_ACTIVATIONS[activation]())
        if i < depth and dropout:
            modules.append(MaskLayer(dropout, seed))
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(torch.tensor(parameters[name].T if name[0] == "W" else parameters[name]))
    return torch.nn.Sequential(*modules), named


def loss_and_gradients(model, x, y):
    """Return the training loss and the gradients of all parameters."""
    loss, cache = cross_entropy_forward(model.forward(x, train=True), y)
    model.backward(cross_entropy_backward(cache))
    return loss, model.gradients()


NETWORKS = [
    # layer_sizes, activation, batchnorm, dropout
    ((2, 2), "relu", False, 0.0),
    ((2, 20, 2), "relu", False, 0.0),
    ((3, 1, 2), "relu", False, 0.0),
    ((3, 5, 4), "sigmoid", False, 0.0),
    ((3, 5, 4), "tanh", False, 0.0),
    ((3, 6, 5, 4), "relu", False, 0.0),
    ((3, 6, 5, 4, 4, 3), "tanh", False, 0.0),
    ((3, 6, 4), "relu", True, 0.0),
    ((3, 6, 5, 4), "sigmoid", True, 0.0),
    ((3, 6, 5, 4), "tanh", False, 0.4),
    ((3, 6, 5, 4), "relu", True, 0.4),
]


CASES = [(N, *network) for network in NETWORKS for N in (1, 4, 9) if N > 1 or not network[2]]


@pytest.mark.parametrize(("N", "layer_sizes", "activation", "batchnorm", "dropout"), CASES)
def test_network_against_differences_and_torch(N, layer_sizes, activation, batchnorm, dropout):
    rng = np.random.default_rng((N, len(layer_sizes)))
    model = make_model(layer_sizes, activation, batchnorm, dropout)
    x, y = rng.normal(size=(N, layer_sizes[0])), rng.integers(layer_sizes[-1], size=N)
    y[0], y[-1] = 0, layer_sizes[-1] - 1
    loss, grads = loss_and_gradients(model, x, y)

    twin, named = torch_twin(model, activation, batchnorm, dropout)
    loss_torch = torch.nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(y))
    loss_torch.backward()
    by_torch = {n: (p.grad.T if n[0] == "W" else p.grad).numpy() for n, p in named.items()}
    np.testing.assert_allclose(loss, loss_torch.item(), rtol=1e-12)
    compare_gradients(grads, by_torch, tolerance=1e-10, verbose=False)

    def f(_):
        return cross_entropy_forward(model.forward(x, train=True), y)[0]

    differences = {n: numerical_gradient(f, p, 1e-6) for n, p in model.parameters().items()}
    compare_gradients(grads, differences, tolerance=1e-6, verbose=False)


def test_evaluation_agrees_with_torch_in_evaluation_mode():
    rng = np.random.default_rng(0)
    model = make_model((3, 6, 5, 4), batchnorm=True, dropout=0.4)
    twin, _ = torch_twin(model, "relu", True, 0.0)
    x = rng.normal(size=(50, 3)) + 2
    for _ in range(3):  # running statistics collect on both sides
        batch = rng.normal(size=(16, 3)) + 2
        for layer in model.layers:
            if hasattr(layer, "p"):
                layer.p = 0.0
        np.testing.assert_allclose(
            model.forward(batch, train=True), twin(torch.tensor(batch)).detach(), rtol=1e-10
        )
    twin.eval()
    logits = model.forward(x)
    np.testing.assert_allclose(logits, twin(torch.tensor(x)).detach(), rtol=1e-10)
    np.testing.assert_array_equal(model.predict(x), logits.argmax(axis=1))


def test_dropout_acts_in_training_only():
    model = MLP((3, 50, 2), dropout=0.5, rng=np.random.default_rng(0))
    x = np.ones((4, 3), np.float32)
    assert not np.array_equal(model.forward(x, train=True), model.forward(x, train=True))
    np.testing.assert_array_equal(model.forward(x), model.forward(x))


def test_names_shapes_and_order_of_parameters():
    shapes = {n: p.shape for n, p in make_model((3, 6, 5, 2)).parameters().items()}
    assert list(shapes) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert shapes["W2"] == (6, 5) and shapes["b3"] == (2,)
    model = make_model((3, 6, 2), batchnorm=True)
    assert list(model.parameters()) == ["W1", "gamma1", "beta1", "W2", "b2"]  # no b1 to learn
    _, grads = loss_and_gradients(
        model, np.random.default_rng(0).normal(size=(4, 3)), np.arange(4) % 2
    )
    assert list(grads) == list(model.parameters())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batchnorm", [False, True])
def test_dtype_is_kept_through_training(dtype, batchnorm):
    rng = np.random.default_rng(0)
    model = MLP((3, 6, 2), batchnorm=batchnorm, dropout=0.2, dtype=dtype, rng=rng)
    x, y = rng.normal(size=(8, 3)).astype(dtype), np.arange(8) % 2
    train_step(model, SGD(model.parameters(), 0.1, momentum=0.9), x, y)
    assert model.forward(x).dtype == dtype
    assert {a.dtype for a in model.parameters().values()} == {np.dtype(dtype)}
    assert {a.dtype for a in model.gradients().values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("first", ["batch norm", "activation", "dropout"])
def test_a_layer_other_than_linear_may_come_first(first):
    rng = np.random.default_rng(0)
    layer = {
        "batch norm": lambda: BatchNorm(3, np.float64),
        "activation": lambda: Activation("tanh"),
        "dropout": lambda: Dropout(0.4, FixedMasks(0)),
    }[first]()
    model = Sequential([layer, Linear(3, 2, "he", rng, np.float64)])
    assert model.layer_sizes == (3, 2)
    x, y = rng.normal(size=(6, 3)) + 5, np.arange(6) % 2
    _, grads = loss_and_gradients(model, x, y)

    def f(_):
        return cross_entropy_forward(model.forward(x, train=True), y)[0]

    assert len(grads) == (4 if first == "batch norm" else 2)
    differences = {n: numerical_gradient(f, p, 1e-6) for n, p in model.parameters().items()}
    compare_gradients(grads, differences, tolerance=1e-6, verbose=False)


def test_batch_norm_hands_its_momentum_and_eps_on_as_torch_means_them():
    x = 4 * np.random.default_rng(0).normal(size=(8, 3)) + 2
    ours = BatchNorm(3, np.float64, momentum=0.3, eps=0.5)
    theirs = torch.nn.BatchNorm1d(3, momentum=0.3, eps=0.5, dtype=torch.float64)
    np.testing.assert_allclose(ours.forward(x, True), theirs(torch.tensor(x)).detach(), rtol=1e-12)
    np.testing.assert_allclose(ours.running_mean, theirs.running_mean, rtol=1e-12)
    np.testing.assert_allclose(ours.running_var, theirs.running_var, rtol=1e-12)
    assert (BatchNorm(3, np.float64).momentum, BatchNorm(3, np.float64).eps) == (0.1, 1e-5)


def test_the_layers_stand_in_the_order_linear_batch_norm_activation_dropout():
    model = MLP((3, 6, 5, 2), batchnorm=True, dropout=0.2, rng=np.random.default_rng(0))
    kinds = [type(layer) for layer in model.layers]
    assert kinds == [Linear, BatchNorm, Activation, Dropout] * 2 + [Linear]
    assert model.layer_sizes == (3, 6, 5, 2)
    model = MLP((3, 6, 2), init=0.01, rng=np.random.default_rng(0))
    assert [type(layer) for layer in model.layers] == [Linear, Activation, Linear]
    assert max(np.abs(W).max() for n, W in model.parameters().items() if n[0] == "W") < 0.05
    assert not model.parameters()["b1"].any()


def test_the_first_layer_computes_no_gradient_of_the_data():
    model = make_model((3, 5, 2))
    model.forward(np.ones((4, 3)), train=True)
    asked = []
    first = model.layers[0]
    whole = first.backward
    first.backward = lambda dout, need_dx=True: asked.append(whole(dout, need_dx))
    model.backward(np.ones((4, 2)))
    assert asked == [None]
    assert whole(np.ones((4, 5))).shape == (4, 3)


def test_parameters_are_the_arrays_themselves():
    model = make_model((2, 3, 2))
    x = np.ones((1, 2))
    before = model.forward(x)
    model.parameters()["b2"][:] += 1
    np.testing.assert_allclose(model.forward(x), before + 1)


def test_backward_twice_does_not_accumulate():
    model = make_model((3, 5, 2))
    x, y = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 1, 1, 0])
    first = {n: g.copy() for n, g in loss_and_gradients(model, x, y)[1].items()}
    second = loss_and_gradients(model, x, y)[1]
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_non_contiguous_input_and_same_seed_give_the_same():
    x = np.random.default_rng(0).normal(size=(6, 8))[:, ::4]
    one, two = (MLP((2, 5, 3), rng=np.random.default_rng(3)) for _ in range(2))
    assert not x.flags.c_contiguous
    np.testing.assert_allclose(one.forward(x), two.forward(x.copy()), rtol=1e-12)


def test_input_shifted_by_3000_equals_a_shifted_bias():
    model = make_model((2, 7, 3), activation="tanh")
    x = np.random.default_rng(0).normal(size=(4, 2))
    expected = model.forward(x)
    model.parameters()["b1"][:] -= 3_000 * model.parameters()["W1"].sum(axis=0)
    np.testing.assert_allclose(model.forward(x + 3_000), expected, atol=1e-8)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 1_000])
def test_predict_does_not_depend_on_the_batch(batch_size):
    model = make_model((2, 7, 3))
    x = np.random.default_rng(0).normal(size=(23, 2))
    y_pred = model.predict(x, batch_size=batch_size)
    assert y_pred.shape == (23,)
    np.testing.assert_array_equal(y_pred, model.forward(x).argmax(axis=1))


@pytest.mark.parametrize(
    ("init", "std"),
    [("he", (2 / 400) ** 0.5), ("xavier", (2 / 700) ** 0.5), ("lecun", 0.05), (0.01, 0.01)],
)
def test_init_has_the_named_spread(init, std):
    W = init_weight(400, 300, init, np.random.default_rng(0))
    assert W.shape == (400, 300)
    assert W.std() == pytest.approx(std, rel=0.01) and abs(W.mean()) < 0.01 * std


def test_every_layer_draws_its_own_weights_from_the_generator():
    first, second = (MLP((4, 4, 4, 4), rng=np.random.default_rng(seed)) for seed in (0, 1))
    matrices = [p for model in (first, second) for p in model.parameters().values() if p.ndim == 2]
    assert len({p.tobytes() for p in matrices}) == 6


def test_depth_one_learns_what_a_line_can_and_depth_two_learns_xor():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([0, 1, 1, 0])
    accuracies = []
    for layer_sizes in [(2, 2), (2, 16, 2)]:
        rng = np.random.default_rng(0)
        model = MLP(layer_sizes, rng=rng)
        fit(model, SGD(model.parameters(), 0.3), (x, y), num_epochs=400, batch_size=4, rng=rng)
        accuracies.append(evaluate(model, x, y)[1])
    assert accuracies[0] <= 0.75 and accuracies[1] == 1.0


# ---- lists work where arrays do ----


def test_lists_work_where_arrays_do():
    model = make_model((2, 7, 3))
    x, y = np.random.default_rng(0).normal(size=(9, 2)).round(3), np.arange(9) % 3
    np.testing.assert_array_equal(model.forward(x.tolist()), model.forward(x))
    np.testing.assert_array_equal(model.predict(x.tolist()), model.predict(x))
    assert (
        loss_and_gradients(model, x.tolist(), y.tolist())[0] == loss_and_gradients(model, x, y)[0]
    )
    assert MLP([2, 7, 3], rng=np.random.default_rng(0)).layer_sizes == (2, 7, 3)


# ---- bad input: each error is one clear sentence ----


def raises(message):
    return pytest.raises(ValueError, match=message)


@pytest.mark.parametrize("shape", [(4, 3), (4,), (0, 2), (1, 4, 2)])
def test_wrong_shape_or_empty_batch(shape):
    model = MLP((2, 5, 2), rng=np.random.default_rng(0))
    with raises(r"x has shape .* must be \("):
        model.forward(np.zeros(shape))
    with raises(r"x has shape .*; it must be \(≥1, 2\)"):
        model.predict(np.zeros(shape))


def test_wrong_gradient_shape():
    model = MLP((2, 5, 3), rng=np.random.default_rng(0))
    model.forward(np.zeros((4, 2)), train=True)
    with raises(r"dlogits has shape \(4, 2\); it must be \(4, 3\)"):
        model.backward(np.zeros((4, 2)))


@pytest.mark.parametrize("activation", ["swish", "", None])
def test_unknown_activation(activation):
    with raises(f"activation is {activation!r}; it must be one of relu, sigmoid, tanh"):
        MLP((2, 5, 2), activation=activation, rng=np.random.default_rng(0))


@pytest.mark.parametrize("init", ["kaiming", 0, -1.0, float("nan")])
def test_unknown_init(init):
    with raises(rf"init is {init!r}; it must be one of he, xavier, lecun or a number > 0"):
        MLP((2, 5, 2), init=init, rng=np.random.default_rng(0))


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2, float("nan")])
def test_bad_dropout(dropout):
    with raises(rf"dropout is {dropout}; it must be in \[0, 1\)"):
        MLP((2, 5, 2), dropout=dropout, rng=np.random.default_rng(0))


@pytest.mark.parametrize("layer_sizes", [(), (2,), (2, 0, 2), (2, -1)])
def test_bad_layer_sizes(layer_sizes):
    with raises(r"layer_sizes is .*; it needs 2 or more sizes ≥ 1"):
        MLP(layer_sizes, rng=np.random.default_rng(0))


def test_batch_of_one_with_batch_norm_in_training():
    model = MLP((2, 5, 2), batchnorm=True, rng=np.random.default_rng(0))
    with raises("in training batch norm needs 2 or more examples"):
        model.forward(np.zeros((1, 2), np.float32), train=True)
    assert model.forward(np.zeros((1, 2), np.float32)).shape == (1, 2)  # evaluation may


def rng_of_seed():
    return np.random.default_rng(0)


CONSTRUCTIONS = {
    "whole-number weights": (
        lambda: MLP((2, 5, 2), dtype=int, rng=rng_of_seed()),
        "dtype is int64; it must be a float type",
    ),
    "a seed as rng": (lambda: MLP((2, 2), rng=0), "rng is 0; it must be a Generator"),
    "a seed as dropout's rng": (lambda: Dropout(0.5, 0), "rng is 0; it must be a Generator"),
    "all dropped": (
        lambda: Dropout(1.0, rng_of_seed()),
        r"dropout is 1\.0; it must be in \[0, 1\)",
    ),
    "half a unit": (lambda: MLP((2, 2.5, 2), rng=rng_of_seed()), "it needs 2 or more sizes ≥ 1"),
    "init in a list": (
        lambda: MLP((2, 2), init=["he"], rng=rng_of_seed()),
        r"init is \['he'\]; it must be one of",
    ),
    "infinite init": (lambda: MLP((2, 2), init=np.inf, rng=rng_of_seed()), "init is inf"),
    "no hidden layer, unknown activation": (
        lambda: MLP((2, 2), activation="swish", rng=rng_of_seed()),
        "activation is 'swish'",
    ),
    "no hidden layer, bad dropout": (
        lambda: MLP((2, 2), dropout=2, rng=rng_of_seed()),
        r"dropout is 2; it must be in \[0, 1\)",
    ),
    "momentum 2": (
        lambda: BatchNorm(3, float, momentum=2),
        r"momentum is 2; it must be in \[0, 1\]",
    ),
    "eps 0": (lambda: BatchNorm(3, float, eps=0), "eps is 0; it must be above 0"),
    "whole-number batch norm": (lambda: BatchNorm(3, int), "dtype is int64"),
    "no features": (lambda: BatchNorm(0, float), "num_features is 0; it must be a whole number"),
    "no outputs": (
        lambda: Linear(3, 0, "he", rng_of_seed(), float),
        "out_features is 0; it must be a whole number",
    ),
    "no layers": (lambda: Sequential([]), "layers has 0 layers, none of them Linear"),
    "equal names": (
        lambda: Sequential(
            [Linear(3, 2, "he", rng_of_seed(), float), BatchNorm(2, float), BatchNorm(2, float)]
        ),
        "two batch norms follow the same Linear",
    ),
    "wrong width": (
        lambda: Sequential([Linear(3, 1, "he", rng_of_seed(), float), BatchNorm(4, float)]).forward(
            np.ones((2, 3))
        ),
        r"x has shape \(2, 1\); it must be \(≥1, 4\)",
    ),
    "text": (
        lambda: MLP((2, 2), rng=rng_of_seed()).forward([["a", "b"]]),
        "x has dtype <U1; it must be real numbers",
    ),
    "NaN": (
        lambda: MLP((2, 2), rng=rng_of_seed()).predict([[0.0, np.nan]]),
        "x contains NaN or infinity",
    ),
    "no batch": (
        lambda: MLP((2, 2), rng=rng_of_seed()).predict([[0.0, 1.0]], batch_size=0),
        "batch_size is 0; it must be a whole number",
    ),
}


@pytest.mark.parametrize("case", CONSTRUCTIONS)
def test_doors_refuse_in_one_sentence(case):
    make, message = CONSTRUCTIONS[case]
    with raises(message):
        make()


@pytest.mark.parametrize("shape", [(1, 3), (4,), (4, 1), (3, 3)])
def test_a_gradient_that_would_broadcast_is_refused(shape):
    model = MLP((2, 5, 3), rng=np.random.default_rng(0))
    model.forward(np.zeros((4, 2)), train=True)
    with raises(r"dlogits has shape .*; it must be \(4, 3\)"):
        model.backward(np.zeros(shape))


def linear(fan_in, fan_out):
    return Linear(fan_in, fan_out, "he", np.random.default_rng(0), np.float32)


@pytest.mark.parametrize("layer_sizes", [5, None, "34", (3, True), (3, 2.5), (3, np.nan)])
def test_layer_sizes_that_are_no_whole_numbers(layer_sizes):
    with raises(r"layer_sizes is .*; it needs 2 or more sizes ≥ 1"):
        MLP(layer_sizes, rng=np.random.default_rng(0))


@pytest.mark.parametrize("dtype", [None, "float99", "int32", bool, complex, object, [3]])
def test_a_dtype_that_is_no_float(dtype):
    with raises(r"dtype is .*; it must be a float type"):
        MLP((2, 3), dtype=dtype, rng=np.random.default_rng(0))
    with raises("dtype is None; it must be a float type"):
        MLP((2, 3), dtype=None, rng=np.random.default_rng(0))


def test_true_is_no_standard_deviation():
    with raises("init is True; it must be one of he, xavier, lecun or a number > 0"):
        MLP((2, 3), init=True, rng=np.random.default_rng(0))


def test_layers_that_do_not_fit_each_other():
    with raises("layers has a Linear of 4 features after one of 3"):
        Sequential([linear(2, 3), Activation("relu"), linear(4, 2)])
    layer = linear(2, 2)
    with raises("layers holds a layer twice"):
        Sequential([layer, layer])


def test_backward_needs_a_forward_and_takes_a_list():
    model = MLP((2, 3), rng=np.random.default_rng(0))
    with raises("backward needs a forward"):
        model.backward(np.zeros((1, 3)))
    model.forward([[1.0, 2.0]], train=True)
    model.backward([[1.0, 0.0, -1.0]])
    assert model.gradients()["W1"].tolist() == [[1, 0, -1], [2, 0, -2]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_integers_become_floats_of_the_parameters(dtype):
    x = np.array([[0, 1], [1, 1]], dtype)
    model = Sequential([Dropout(0.5, np.random.default_rng(3)), linear(2, 2)])
    twin = Sequential([Dropout(0.5, np.random.default_rng(3)), linear(2, 2)])
    out = model.forward(x, train=True)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, twin.forward(x.astype(np.float32), train=True))


def test_batch_norm_takes_lists():
    out = BatchNorm(1, np.float64).forward([[1], [3]], train=True)
    np.testing.assert_allclose(out, [[-1], [1]], rtol=1e-4)
    with raises("x has rows of unequal length"):
        BatchNorm(2, np.float64).forward([[1, 2], [3]], train=True)
