"""Hand-written layers against finite differences and torch autograd, and their awkward cases."""

import numpy as np
import pytest
import torch

from assignment1_perceptron_mlp.schedules import Constant, WarmupCosine
from assignment1_perceptron_mlp.torch_layers import (
    PerExampleLinear,
    PositivePart,
    SquaredError,
    check_finite,
    mean_gradients,
    per_example_gradients,
    regression_net,
    train_regression,
    update,
)
from shared.checks import compare_gradients, numerical_gradient


def make(N=4, sizes=(2, 7, 5, 3), seed=0, rule=None):
    generator = torch.Generator().manual_seed(seed)
    net = regression_net(sizes, generator, dtype=torch.float64, rule=rule)
    for p in net.parameters():
        p += 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    x = torch.randn(N, sizes[0], generator=generator, dtype=torch.float64)
    y = torch.randn(N, sizes[-1], generator=generator, dtype=torch.float64)
    return net, x, y


def gradients_by_hand(net, x, y):
    loss_fn = SquaredError()
    loss_fn.forward(net.forward(x), y)
    dx = net.backward(loss_fn.backward())
    named = {f"p{i}": g.mean(dim=0).numpy() for i, g in enumerate(net.gradients())}
    return named | {"x": dx.numpy() / len(x)}


@pytest.mark.parametrize("rule", [None, per_example_gradients, mean_gradients])
@pytest.mark.parametrize("N", [1, 4])
@pytest.mark.parametrize("sizes", [(2, 1), (2, 100, 100, 1), (3, 4, 5, 2), (1, 1, 1)])
def test_gradients_agree_with_autograd(N, sizes, rule):
    net, x, y = make(N, sizes, rule=rule)
    got = gradients_by_hand(net, x, y)
    leaves = [t.clone().requires_grad_() for t in [*net.parameters(), x]]
    *parameters, out = leaves
    for i in range(0, len(parameters), 2):
        out = torch.nn.functional.linear(out, *parameters[i : i + 2])
        out = out.relu() if i + 2 < len(parameters) else out
    torch.nn.functional.mse_loss(out, y).backward()
    expected = {name: leaf.grad.numpy() for name, leaf in zip(got, leaves, strict=True)}
    compare_gradients(got, expected, 1e-10)


@pytest.mark.parametrize("N", [1, 4])
def test_gradients_agree_with_finite_differences(N):
    net, x, y = make(N)
    got = gradients_by_hand(net, x, y)
    arrays = [t.numpy() for t in [*net.parameters(), x]]  # share memory with the tensors

    def loss(_):
        return SquaredError().forward(net.forward(x), y).item()

    expected = {k: numerical_gradient(loss, a) for k, a in zip(got, arrays, strict=True)}
    compare_gradients(got, expected, 1e-6)


def test_batch_axis_is_kept_and_each_row_is_that_examples_gradient():
    net, x, y = make(N=4)
    gradients_by_hand(net, x, y)
    together = net.gradients()
    for p, g in zip(net.parameters(), together, strict=True):
        assert g.shape == (4, *p.shape)
    for n in range(4):
        gradients_by_hand(net, x[n : n + 1], y[n : n + 1])
        for alone, g in zip(net.gradients(), together, strict=True):
            torch.testing.assert_close(alone[0], g[n])


def test_mean_gradients_keeps_an_axis_of_length_one():
    net, x, y = make(N=4, rule=mean_gradients)
    gradients_by_hand(net, x, y)
    for p, g in zip(net.parameters(), net.gradients(), strict=True):
        assert g.shape == (1, *p.shape)


def test_second_backward_replaces_the_first():
    net, x, y = make()
    first, second = gradients_by_hand(net, x, y), gradients_by_hand(net, x, y)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_non_contiguous_input_and_no_graph():
    net, _, y = make()
    x = torch.randn(2, 4, dtype=torch.float64).T
    assert not x.is_contiguous()
    out = net.forward(x)
    torch.testing.assert_close(out, net.forward(x.contiguous()))
    assert out.grad_fn is None
    assert SquaredError().forward(out, y).grad_fn is None


def test_positive_part_is_flat_at_zero_as_in_torch():
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    x.relu().sum().backward()
    layer = PositivePart()
    assert layer.forward(x.detach()).tolist() == [0, 0, 2]
    assert torch.equal(layer.backward(torch.full((3,), 1.0)), x.grad)
    assert layer.parameters() == layer.gradients() == []


def test_a_net_is_linear_layers_with_positive_parts_between():
    kinds = [type(layer) for layer in regression_net((2, 3, 4, 1)).layers]
    assert kinds == [PerExampleLinear, PositivePart] * 2 + [PerExampleLinear]
    shapes = [tuple(p.shape) for p in regression_net((2, 3, 1)).parameters()]
    assert shapes == [(3, 2), (3,), (1, 3), (1,)]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_updates_equal_torch_sgd(momentum):
    net, x, y = make()
    copies = [p.clone().requires_grad_() for p in net.parameters()]
    theirs = torch.optim.SGD(copies, lr=0.1, momentum=momentum)
    velocities = [torch.zeros_like(p) for p in net.parameters()]
    for _ in range(5):
        gradients_by_hand(net, x, y)
        update(net, velocities, 0.1, momentum)
        W1, b1, W2, b2, W3, b3 = copies
        hidden = torch.relu(torch.relu(x @ W1.T + b1) @ W2.T + b2)
        theirs.zero_grad()
        ((hidden @ W3.T + b3 - y) ** 2).mean().backward()
        theirs.step()
    for p, q in zip(net.parameters(), copies, strict=True):
        torch.testing.assert_close(p, q.detach(), rtol=1e-10, atol=1e-12)


def test_initialisation_follows_he_and_the_generator():
    layer = PerExampleLinear(400, 300, torch.Generator().manual_seed(0))
    assert layer.W.shape == (300, 400)
    assert layer.b.shape == (300,)
    assert abs(layer.W.std().item() / (2 / 400) ** 0.5 - 1) < 0.01
    assert not layer.b.any()
    assert torch.equal(layer.W, PerExampleLinear(400, 300, torch.Generator().manual_seed(0)).W)
    assert PerExampleLinear(2, 3, dtype=torch.float64).b.dtype == torch.float64


GENERATOR = torch.Generator().manual_seed(5)
LINE_X = torch.randn(64, 2, generator=GENERATOR)
LINE = (LINE_X, LINE_X @ torch.tensor([[1.0], [-2.0]]) + 0.5)


def train_line(**changes):
    generator = torch.Generator().manual_seed(0)
    settings = {"train": LINE, "val": LINE, "num_epochs": 20, "batch_size": 10}
    settings |= {"schedule": Constant(0.1), "generator": generator} | changes
    net = settings.pop("net", None) or regression_net((2, 8, 1), generator)
    return train_regression(net, **settings)


@pytest.mark.parametrize("schedule", [Constant(0.1), WarmupCosine(0.1, 140, 7)])
def test_training_learns_and_is_reproducible(schedule):
    history = train_line(schedule=schedule)
    assert {k: len(curve) for k, curve in history.items()} == {"train_loss": 20, "val_loss": 20}
    assert history["val_loss"][-1] < 0.1 * history["val_loss"][0]
    assert history == train_line(schedule=schedule)


def test_training_is_the_plain_loop_written_out():
    """Two epochs of three batches, the last one short: order, mean, momentum and schedule."""
    x, y = LINE[0][:25], LINE[1][:25]
    rates = []

    def schedule(step):
        rates.append(step)
        return 0.05 / (1 + step)

    net = regression_net((2, 1), torch.Generator().manual_seed(1))
    W, b = (p.clone() for p in net.parameters())
    history = train_regression(
        net,
        (x, y),
        LINE,
        num_epochs=2,
        batch_size=10,
        schedule=schedule,
        momentum=0.9,
        generator=torch.Generator().manual_seed(2),
    )
    generator, step, vW, vb = torch.Generator().manual_seed(2), 0, 0.0, 0.0
    train_losses, val_losses = [], []
    for _ in range(2):
        losses = []
        order = torch.randperm(25, generator=generator)
        for rows in (order[:10], order[10:20], order[20:]):
            error = x[rows] @ W.T + b - y[rows]
            losses.append((error**2).sum().item())
            vW = 0.9 * vW + 2 * error.T @ x[rows] / len(rows)
            vb = 0.9 * vb + 2 * error.mean(dim=0)
            W, b, step = W - 0.05 / (1 + step) * vW, b - 0.05 / (1 + step) * vb, step + 1
        train_losses.append(sum(losses) / 25)
        val_losses.append(((LINE[0] @ W.T + b - LINE[1]) ** 2).mean().item())
    torch.testing.assert_close(net.parameters(), [W, b])
    np.testing.assert_allclose(history["train_loss"], train_losses, rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], val_losses, rtol=1e-5)
    assert sorted(set(rates)) == [0, 1, 2, 3, 4, 5]


def test_validation_uses_the_validation_part_and_changes_nothing():
    other = (LINE[0] + 3, LINE[1] - 3)
    assert train_line(val=other)["train_loss"] == train_line()["train_loss"]
    assert train_line(val=other)["val_loss"] != train_line()["val_loss"]


def test_both_rules_train_alike():
    losses = []
    for rule in (per_example_gradients, mean_gradients):
        net = regression_net((2, 8, 1), torch.Generator().manual_seed(0), rule=rule)
        losses.append(train_line(net=net)["val_loss"])
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_divergence_stops_with_the_step():
    with pytest.raises(FloatingPointError, match=r"training loss is (inf|nan) at step \d+ .*1000;"):
        train_line(schedule=Constant(1e3))


def test_divergence_of_the_last_step_is_seen_in_validation():
    with pytest.raises(
        FloatingPointError, match=r"validation loss is (inf|nan) at step 1 .*1e\+30"
    ):
        train_line(schedule=Constant(1e30), batch_size=64, num_epochs=1)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_no_loss_that_is_not_finite_passes(loss):
    check_finite(1.0, "training", 3, 0.1)
    with pytest.raises(FloatingPointError, match=r"training loss is .* at step 3 .*0.1; lower"):
        check_finite(loss, "training", 3, 0.1)


X, Y = torch.zeros(4, 2), torch.zeros(4, 1)
MIXED = X.clone().index_fill_(0, torch.tensor([2]), torch.inf)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: PerExampleLinear(0, 3), "in_features is 0"),
        (lambda: PerExampleLinear(3, 0), "out_features is 0"),
        (lambda: PerExampleLinear(3, 2.5), "out_features is 2.5.*whole"),
        (lambda: regression_net((2,)), r"layer_sizes is \(2,\)"),
        (lambda: train_line(train=(X, torch.zeros(3, 1))), r"train has x \(4, 2\) and y \(3, 1\)"),
        (lambda: train_line(train=(X, torch.zeros(4))), r"y \(4,\).*\(N, 2\) and \(N, 1\)"),
        (lambda: train_line(train=(X[:, :1], Y)), r"train has x \(4, 1\)"),
        (lambda: train_line(train=(X[0], Y)), r"train has x \(2,\)"),
        (lambda: train_line(val=(X[:0], Y[:0])), r"val has x \(0, 2\) and y \(0, 1\)"),
        (lambda: train_line(val=(X, X)), r"val has x \(4, 2\) and y \(4, 2\)"),
        (lambda: train_line(train=(MIXED, Y)), "train holds nan or inf"),
        (lambda: train_line(val=(X, Y * torch.nan)), "val holds nan or inf"),
        (lambda: train_line(train=(X.numpy(), Y)), "train is not a pair of tensors"),
        (lambda: train_line(train=(X, Y, Y)), "train is not a pair of tensors"),
        (lambda: train_line(train=(X.double(), Y)), "train has torch.float64.*torch.float32"),
        (lambda: train_line(train=(X, Y.int())), "train has .*torch.int32.*torch.float32"),
        (lambda: train_line(num_epochs=0), "num_epochs is 0"),
        (lambda: train_line(batch_size=0), "batch_size is 0"),
        (lambda: train_line(batch_size=2.5), "batch_size is 2.5"),
        (lambda: train_line(momentum=1.0), "momentum is 1.0"),
        (lambda: train_line(momentum=-0.1), "momentum is -0.1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf"), "0.1"])
def test_a_schedule_with_a_bad_rate_is_refused_before_the_first_step(rate):
    net = regression_net((2, 1), torch.Generator().manual_seed(0))
    before = [p.clone() for p in net.parameters()]
    data, options = (torch.ones(4, 2), torch.ones(4, 1)), dict(num_epochs=1, batch_size=2)
    with pytest.raises(ValueError, match=r"learning_rate is .*; it must be 0 or more"):
        train_regression(net, data, data, schedule=lambda step: rate, **options)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("part", [None, 5, torch.ones(2, 2)])
def test_data_that_is_no_pair_is_named(part):
    net, good = regression_net((2, 1)), (torch.ones(4, 2), torch.ones(4, 1))
    options = dict(num_epochs=1, batch_size=2, schedule=Constant(0.1))
    with pytest.raises(ValueError, match="train is not a pair of tensors x, y"):
        train_regression(net, part, good, **options)
    with pytest.raises(ValueError, match="val is not a pair of tensors x, y"):
        train_regression(net, good, part, **options)
