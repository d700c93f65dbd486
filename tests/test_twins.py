"""Assignment 1's network and its torch twin: one start gives one run, whatever the optimiser."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from assignment1_perceptron_mlp.numpy_layers import cross_entropy_backward, cross_entropy_forward
from assignment1_perceptron_mlp.numpy_mlp import MLP
from assignment1_perceptron_mlp.numpy_optim import SGD, Adam
from assignment1_perceptron_mlp.numpy_training import train_step
from assignment2_pytorch_cnn_rnn.twins import (
    decay_groups,
    from_state_dict,
    gradients_of,
    largest_difference,
    to_state_dict,
    torch_mlp,
    twin,
)

SIZES = [(2, 3), (2, 20, 2), (5, 5, 5, 5), (3, 7, 1, 4)]


def make_mlp(sizes=(2, 20, 2), dtype=np.float64, seed=0):
    mlp = MLP(sizes, dtype=dtype, rng=np.random.default_rng(seed))
    for name, p in mlp.parameters().items():
        if name[0] == "b":  # biases of 0 would hide a mistake
            p[:] = np.random.default_rng(seed + 1).normal(size=p.shape)
    return mlp


def batch(sizes, n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, sizes[0])), rng.integers(sizes[-1], size=n)


@pytest.mark.parametrize("sizes", SIZES)
def test_names_and_shapes_travel_both_ways(sizes):
    parameters = make_mlp(sizes).parameters()
    state = to_state_dict(parameters)
    theirs = torch_mlp(sizes, torch.float64).state_dict()
    assert {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in theirs.items()}
    back = from_state_dict(state)
    assert back.keys() == parameters.keys()
    for name, p in parameters.items():
        np.testing.assert_array_equal(back[name], p)


def test_more_than_nine_layers_keep_their_order():
    sizes = (3,) * 13
    mlp = make_mlp(sizes)
    x, _ = batch(sizes, 4)
    np.testing.assert_allclose(
        mlp.forward(x), twin(mlp)(torch.tensor(x)).detach(), rtol=1e-12, atol=1e-12
    )


def test_what_travelled_is_a_copy():
    mlp = make_mlp()
    model = twin(mlp)
    state, back = to_state_dict(mlp.parameters()), from_state_dict(model.state_dict())
    for p in mlp.parameters().values():
        p += 1
    assert largest_difference(mlp, model) > 0.9
    assert torch.equal(state["0.weight"], model.state_dict()["0.weight"])
    with torch.no_grad():
        model[0].weight.zero_()
    assert back["W1"].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_twin_has_the_dtype_of_its_origin(dtype):
    model = twin(make_mlp(dtype=dtype))
    assert {p.dtype for p in model.parameters()} == {torch.tensor(np.zeros(1, dtype)).dtype}


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("sizes", SIZES)
def test_outputs_and_gradients_agree(sizes, n):
    mlp = make_mlp(sizes)
    model, (x, y) = twin(mlp), batch(sizes, n)
    loss, cache = cross_entropy_forward(mlp.forward(x, train=True), y)
    mlp.backward(cross_entropy_backward(cache))
    logits = model(torch.tensor(x))
    theirs = F.cross_entropy(logits, torch.tensor(y))
    theirs.backward()
    np.testing.assert_allclose(logits.detach(), mlp.forward(x), rtol=1e-10, atol=1e-12)
    assert abs(theirs.item() - loss) < 1e-10
    for name, gradient in gradients_of(model).items():
        np.testing.assert_allclose(gradient, mlp.gradients()[name], rtol=1e-10, atol=1e-12)


PAIRS = {
    "SGD": (lambda p: SGD(p, 0.1), lambda m: torch.optim.SGD(m.parameters(), lr=0.1)),
    "Nesterov": (
        lambda p: SGD(p, 0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
        lambda m: torch.optim.SGD(decay_groups(m, 0.01), lr=0.1, momentum=0.9, nesterov=True),
    ),
    "Adam": (lambda p: Adam(p, 0.01), lambda m: torch.optim.Adam(m.parameters(), lr=0.01)),
    "AdamW": (
        lambda p: Adam(p, 0.01, weight_decay=0.1),
        lambda m: torch.optim.AdamW(decay_groups(m, 0.1), lr=0.01),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_hundred_steps_end_in_the_same_place(name):
    mlp = make_mlp()
    model, start = twin(mlp), make_mlp()
    ours, theirs = PAIRS[name][0](mlp.parameters()), PAIRS[name][1](model)
    for step in range(100):
        x, y = batch((2, 2), 8, seed=step)
        train_step(mlp, ours, x, y)
        loss = F.cross_entropy(model(torch.tensor(x)), torch.tensor(y))
        theirs.zero_grad()
        loss.backward()
        theirs.step()
    assert largest_difference(mlp, model) < 1e-10
    assert largest_difference(start, model) > 0.1


def test_vectors_do_not_decay():
    model = torch_mlp((2, 3, 2))
    matrices, vectors = decay_groups(model, 0.1)
    assert [p.ndim for p in matrices["params"]] == [2, 2] and matrices["weight_decay"] == 0.1
    assert [p.ndim for p in vectors["params"]] == [1, 1] and vectors["weight_decay"] == 0
    count = len(matrices["params"]) + len(vectors["params"])
    assert count == len(list(model.parameters()))


@pytest.mark.parametrize("name", ["gamma1", "W", "W0", "V1", "b1 ", ""])
def test_names_that_are_not_ours_are_refused(name):
    with pytest.raises(ValueError, match=r"named .*names must be W1, b1, W2"):
        to_state_dict({name: np.zeros((2, 2))})


@pytest.mark.parametrize("name", ["weight", "1.weight", "0.gamma", "0.1.weight", "x.weight"])
def test_names_that_are_not_of_such_a_network_are_refused(name):
    with pytest.raises(ValueError, match=r"named .*names must be 0\.weight"):
        from_state_dict({name: torch.zeros(2, 2)})


def test_a_missing_key_and_a_wrong_shape_are_named():
    state = to_state_dict(make_mlp().parameters())
    model = torch_mlp((2, 20, 2), torch.float64)
    with pytest.raises(RuntimeError, match=r"2\.bias"):
        model.load_state_dict({name: t for name, t in state.items() if name != "2.bias"})
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict(state | {"0.weight": state["0.weight"].T})
    with pytest.raises(ValueError, match="they must match"):
        largest_difference(make_mlp((2, 2)), model)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0, 2)])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match="2 or more sizes"):
        torch_mlp(sizes)


def test_the_last_layer_has_no_relu():
    assert isinstance(torch_mlp((2, 3, 4, 5))[-1], nn.Linear) and len(torch_mlp((2, 3))) == 1
