"""Hand-written layers against finite differences and torch autograd, and their awkward cases."""

import itertools

import numpy as np
import pytest
import torch

from assignment1_perceptron_mlp.torch_layers import (
    SGD,
    Linear,
    MSELoss,
    cosine_factor,
    fit,
    linear_backward,
    linear_forward,
    mse_backward,
    mse_forward,
    regression_net,
    relu_backward,
    relu_forward,
)
from shared.checks import compare_gradients, numerical_gradient


def make(N=4, sizes=(2, 7, 5, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    model = regression_net(sizes, generator, dtype=torch.float64)
    for p in model.parameters():
        p += 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    x = torch.randn(N, sizes[0], generator=generator, dtype=torch.float64)
    y = torch.randn(N, sizes[-1], generator=generator, dtype=torch.float64)
    return model, x, y


def gradients_by_hand(model, x, y):
    loss_fn = MSELoss()
    loss_fn.forward(model.forward(x), y)
    dx = model.backward(loss_fn.backward())
    named = {f"p{i}": g.mean(dim=0).numpy() for i, g in enumerate(model.gradients())}
    return named | {"x": dx.numpy() / len(x)}


@pytest.mark.parametrize("N", [1, 4])
@pytest.mark.parametrize("sizes", [(2, 1), (2, 100, 100, 1), (3, 4, 5, 2), (1, 1, 1)])
def test_gradients_agree_with_autograd(N, sizes):
    model, x, y = make(N, sizes)
    got = gradients_by_hand(model, x, y)
    leaves = [t.clone().requires_grad_() for t in [*model.parameters(), x]]
    *parameters, out = leaves
    for i in range(0, len(parameters), 2):
        out = torch.nn.functional.linear(out, *parameters[i : i + 2])
        out = out.relu() if i + 2 < len(parameters) else out
    torch.nn.functional.mse_loss(out, y).backward()
    expected = {name: leaf.grad.numpy() for name, leaf in zip(got, leaves, strict=True)}
    compare_gradients(got, expected, 1e-10)


@pytest.mark.parametrize("N", [1, 4])
def test_gradients_agree_with_finite_differences(N):
    model, x, y = make(N)
    got = gradients_by_hand(model, x, y)
    arrays = [t.numpy() for t in [*model.parameters(), x]]  # share memory with the tensors

    def loss(_):
        return mse_forward(model.forward(x), y).item()

    expected = {k: numerical_gradient(loss, a) for k, a in zip(got, arrays, strict=True)}
    compare_gradients(got, expected, 1e-6)


def test_batch_axis_is_kept_and_each_row_is_that_examples_gradient():
    model, x, y = make(N=4)
    loss_fn = MSELoss()
    loss_fn.forward(model.forward(x), y)
    model.backward(loss_fn.backward())
    together = model.gradients()
    for p, g in zip(model.parameters(), together, strict=True):
        assert g.shape == (4, *p.shape)
    for n in range(4):
        loss_fn.forward(model.forward(x[n : n + 1]), y[n : n + 1])
        model.backward(loss_fn.backward())
        for alone, g in zip(model.gradients(), together, strict=True):
            torch.testing.assert_close(alone[0], g[n])


def test_second_backward_replaces_the_first():
    model, x, y = make()
    first, second = gradients_by_hand(model, x, y), gradients_by_hand(model, x, y)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_non_contiguous_input_and_no_graph():
    model, _, y = make()
    x = torch.randn(2, 4, dtype=torch.float64).T
    assert not x.is_contiguous()
    out = model.forward(x)
    torch.testing.assert_close(out, model.forward(x.contiguous()))
    assert out.grad_fn is None
    assert mse_forward(out, y).grad_fn is None


def test_relu_is_flat_at_zero_as_in_torch():
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    x.relu().sum().backward()
    assert torch.equal(relu_backward(torch.ones(3), x.detach()), x.grad)
    assert relu_forward(x.detach()).tolist() == [0, 0, 2]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_step_equals_torch_sgd(momentum):
    model, x, y = make()
    copies = [p.clone().requires_grad_() for p in model.parameters()]
    theirs = torch.optim.SGD(copies, lr=0.1, momentum=momentum)
    ours, loss_fn = SGD(model.parameters(), 0.1, momentum), MSELoss()
    for _ in range(5):
        loss_fn.forward(model.forward(x), y)
        model.backward(loss_fn.backward())
        ours.step(model.gradients())
        W1, b1, W2, b2, W3, b3 = copies
        hidden = torch.relu(torch.relu(x @ W1.T + b1) @ W2.T + b2)
        theirs.zero_grad()
        ((hidden @ W3.T + b3 - y) ** 2).mean().backward()
        theirs.step()
    for p, q in zip(model.parameters(), copies, strict=True):
        torch.testing.assert_close(p, q.detach(), rtol=1e-10, atol=1e-12)


def test_initialisation_follows_he_and_the_generator():
    layer = Linear(400, 300, torch.Generator().manual_seed(0))
    assert layer.W.shape == (300, 400)
    assert abs(layer.W.std().item() / (2 / 400) ** 0.5 - 1) < 0.01
    assert not layer.b.any()
    assert torch.equal(layer.W, Linear(400, 300, torch.Generator().manual_seed(0)).W)


def fit_line(**changes):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 2, generator=generator)
    data = (x, x @ torch.tensor([[1.0], [-2.0]]))
    settings = {"train": data, "val": data, "num_epochs": 20, "batch_size": 10}
    settings |= {"learning_rate": 0.1, "generator": generator} | changes
    return fit(regression_net((2, 8, 1), generator), **settings)


@pytest.mark.parametrize("decay", [False, True])
def test_fit_learns_is_reproducible_and_takes_a_last_short_batch(decay):
    history = fit_line(decay=decay)
    assert {name: len(curve) for name, curve in history.items()} == {
        "train_loss": 20,
        "val_loss": 20,
    }
    assert history["val_loss"][-1] < 0.1 * history["val_loss"][0]
    assert history == fit_line(decay=decay)


def test_cosine_factor_falls_from_one_to_zero():
    values = [cosine_factor(p) for p in (0, 0.5, 1)]
    np.testing.assert_allclose(values, [1, 0.5, 0], atol=1e-12)
    assert all(a > b for a, b in itertools.pairwise(values))


def test_divergence_stops_with_the_step():
    with pytest.raises(FloatingPointError, match=r"loss is (inf|nan) at step \d+ .*rate 1000"):
        fit_line(learning_rate=1e3)


X, Y = torch.zeros(4, 2), torch.zeros(4, 1)
W, B = torch.zeros(3, 2), torch.zeros(3)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: linear_forward(torch.zeros(4, 5), W, B), r"x has shape \(4, 5\) and W \(3, 2\)"),
        (lambda: linear_forward(torch.zeros(2), W, B), r"x has shape \(2,\) and W \(3, 2\)"),
        (lambda: linear_forward(X, W, torch.zeros(2)), r"b has shape \(2,\) and W \(3, 2\)"),
        (lambda: linear_backward(torch.zeros(4, 2), X, W), r"dout has shape \(4, 2\).*\(4, 3\)"),
        (lambda: relu_backward(Y, X), r"dout has shape \(4, 1\).*\(4, 2\)"),
        (lambda: mse_forward(torch.zeros(4), Y), r"y_pred has shape \(4,\) and y \(4, 1\)"),
        (lambda: mse_backward(X, Y), r"y_pred has shape \(4, 2\) and y \(4, 1\)"),
        (lambda: mse_forward(X[:0], X[:0]), r"y_pred has shape \(0, 2\)"),
        (lambda: Linear(0, 3), "sizes are 0 and 3"),
        (lambda: regression_net((2,)), r"layer_sizes is \(2,\)"),
        (lambda: SGD([W], 0.0), "learning_rate is 0.0"),
        (lambda: SGD([W], float("nan")), "learning_rate is nan"),
        (lambda: SGD([W], 0.1, momentum=1.0), "momentum is 1.0"),
        (lambda: SGD([W], 0.1).step([]), "0 gradients for 1 parameters"),
        (lambda: SGD([W], 0.1).step([torch.zeros(4, 2, 3)]), r"\(4, 2, 3\).*\(3, 2\)"),
        (lambda: fit_line(train=(X, torch.zeros(3, 1))), r"train has x \(4, 2\) and y \(3, 1\)"),
        (lambda: fit_line(val=(X[:0], Y[:0])), r"val has x \(0, 2\) and y \(0, 1\)"),
        (lambda: fit_line(train=(X * torch.nan, Y)), "train holds nan or inf"),
        (lambda: fit_line(num_epochs=0), "num_epochs is 0"),
        (lambda: fit_line(batch_size=0), "batch_size is 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
