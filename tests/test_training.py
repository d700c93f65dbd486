"""The torch loop trains on what it is given, in the order it is given, and validates beside it."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from torch import nn

from shared import training
from shared.training import batches, evaluate, fit, to_tensor


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(n=64, seed=0):
    """Two classes that a line separates, x (n, 2)."""
    x = torch.randn(n, 2, generator=seeded(seed))
    return x, (x[:, 0] + 0.5 * x[:, 1] > 0).long()


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(2, 2)


@pytest.mark.parametrize("shape", [(3, 5, 4), (3, 5, 4, 3), (1, 2, 2, 1)])
def test_images_change_their_layout_in_one_place(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    x = to_tensor(images)
    assert x.dtype == torch.float32 and x.is_contiguous()
    colours = images[..., None] if images.ndim == 3 else images
    assert x.shape == (shape[0], colours.shape[3], *shape[1:3])
    for n in range(shape[0]):
        for c in range(colours.shape[3]):
            np.testing.assert_allclose(x[n, c], colours[n, :, :, c] / 255, rtol=1e-6)


def test_images_are_standardised_per_colour():
    images = np.random.default_rng(0).integers(0, 256, (4, 2, 3, 3), dtype=np.uint8)
    x = to_tensor(images, (0.1, 0.2, 0.3), (1.0, 2.0, 4.0))
    np.testing.assert_allclose(x[:, 1], (images[..., 1] / 255 - 0.2) / 2, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(x[:, 2], (images[..., 2] / 255 - 0.3) / 4, rtol=1e-5, atol=1e-7)
    view = images[::-1]  # not contiguous
    np.testing.assert_allclose(to_tensor(view)[0], to_tensor(images)[-1])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 3)), r"images is float64 \(2, 3, 3\); it must be uint8"),
        (np.zeros((3, 3), np.uint8), r"images is uint8 \(3, 3\)"),
        (np.zeros((0, 3, 3), np.uint8), r"\(0, 3, 3\)"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        to_tensor(images)
    for std in (0, -1.0, (1.0, 0.0, 1.0)):
        with pytest.raises(ValueError, match=r"std is .*; it must be above 0"):
            to_tensor(np.zeros((1, 2, 2, 3), np.uint8), std=std)


@pytest.mark.parametrize(("n", "size"), [(10, 3), (9, 3), (1, 1), (7, 7)])
def test_batches_visit_every_example_at_most_once(n, size):
    found = list(batches(n, size, seeded()))
    assert [len(batch) for batch in found] == [size] * (n // size)
    assert len(set(torch.cat(found).tolist())) == n // size * size


def test_batches_are_shuffled_anew_each_epoch():
    generator = seeded()
    first, second = (torch.cat(list(batches(50, 5, generator))) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.arange(50))


def test_fit_is_the_plain_loop():
    """The loop that a notebook writes out gives the same weights, to the last bit."""
    x, y = problem()
    model, plain = linear(), linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    by_hand = torch.optim.SGD(plain.parameters(), 0.1, momentum=0.9)
    history = fit(model, optimizer, (x, y), num_epochs=3, batch_size=10, generator=seeded(1))
    generator, means = seeded(1), []
    for _ in range(3):
        losses = []
        for batch in batches(len(x), 10, generator):
            loss = nn.functional.cross_entropy(plain(x[batch]), y[batch])
            by_hand.zero_grad()
            loss.backward()
            by_hand.step()
            losses.append(loss.item())
        means.append(np.mean(losses))
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    np.testing.assert_array_equal(history["train_loss"], means)
    np.testing.assert_array_equal(history["step"], [6, 12, 18])
    np.testing.assert_array_equal(history["epoch"], [1, 2, 3])
    np.testing.assert_array_equal(history["learning_rate"], [0.1] * 3)
    assert (np.diff(history["seconds"]) > 0).all() and history["seconds"][0] > 0


def test_validation_is_measured_on_the_validation_data():
    train, val = problem(), problem(30, seed=5)
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    history = fit(model, optimizer, train, val, num_epochs=2, batch_size=8, generator=seeded())
    loss, accuracy = evaluate(model, *val)
    assert (history["val_loss"][-1], history["val_accuracy"][-1]) == (loss, accuracy)
    assert loss != evaluate(model, *train)[0]
    assert model.training


def test_training_is_in_training_mode_and_evaluation_is_not():
    model, modes = linear().eval(), []
    model.register_forward_hook(lambda module, *_: modes.append(module.training))
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    options = dict(num_epochs=2, batch_size=32, generator=seeded())
    fit(model, optimizer, problem(), problem(10), **options)
    assert modes == [True, True, False] * 2


def test_training_and_validation_have_the_loss_they_were_given():
    model, (x, y) = linear(), problem()

    def doubled(logits, y):
        return 2 * nn.functional.cross_entropy(logits, y)

    assert evaluate(model, x, y, doubled)[0] == pytest.approx(2 * evaluate(model, x, y)[0])
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    options = dict(num_epochs=1, batch_size=64, generator=seeded(), loss_fn=doubled)
    history = fit(model, optimizer, (x, y), (x, y), **options)
    for name in ("train_loss", "val_loss"):
        assert history[name][0] == pytest.approx(2 * evaluate(model, x, y)[0])


def test_the_seconds_are_those_of_training_alone(monkeypatch):
    clock = [0.0]

    def augment(x, _):
        clock[0] += 1
        return x

    def slow_evaluation(*_, **__):
        clock[0] += 100
        return 0.0, 0.0

    monkeypatch.setattr(training.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(training, "evaluate", slow_evaluation)
    model = linear()
    history = fit(
        model, torch.optim.SGD(model.parameters(), 0.1), problem(), problem(9), num_epochs=3,
        batch_size=16, generator=seeded(), augment=augment,
    )  # fmt: skip
    assert history["seconds"].tolist() == [4, 8, 12]


def test_the_schedule_sets_the_rate_of_each_step_and_group():
    seen, model = [], linear()
    optimizer = torch.optim.SGD([{"params": [p]} for p in model.parameters()], 9.0)
    optimizer.register_step_pre_hook(
        lambda o, *_: seen.append([group["lr"] for group in o.param_groups])
    )
    history = fit(
        model, optimizer, problem(20), num_epochs=2, batch_size=5, generator=seeded(),
        schedule=lambda step: 0.1 / (1 + step),
    )  # fmt: skip
    assert seen == [[0.1 / (1 + step)] * 2 for step in range(8)]
    assert history["learning_rate"][-1] == 0.1 / 8


def test_only_training_batches_are_augmented():
    shapes, shuffles = [], seeded()

    def augment(x, generator):
        assert generator is shuffles
        shapes.append(tuple(x.shape))
        return torch.zeros_like(x)  # what the model is trained on is not x

    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    options = dict(num_epochs=1, batch_size=16, generator=shuffles)
    history = fit(model, optimizer, problem(), problem(40), augment=augment, **options)
    assert shapes == [(16, 2)] * 4
    x, y = problem()
    assert history["train_loss"][0] == pytest.approx(evaluate(model, 0 * x, y)[0])
    assert history["val_loss"][-1] == evaluate(model, *problem(40))[0]


def test_gradients_are_clipped_before_the_step():
    model = linear()
    before = [p.detach().clone() for p in model.parameters()]
    x, y = problem(8)
    options = dict(num_epochs=1, batch_size=8, generator=seeded(), max_grad_norm=1e-3)
    fit(model, torch.optim.SGD(model.parameters(), 1.0), (x, 1 - y), **options)
    pairs = zip(model.parameters(), before, strict=True)
    moved = sum(((p.detach() - b) ** 2).sum().item() for p, b in pairs)
    assert math.sqrt(moved) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training(bad):
    model, count = linear(), []

    def loss_fn(logits, y):
        count.append(1)
        return logits.sum() * (bad if len(count) == 3 else 1.0)

    with pytest.raises(FloatingPointError, match=r"at step 2 \(learning rate 0.25\); lower the"):
        fit(
            model, torch.optim.SGD(model.parameters(), 0.25), problem(), num_epochs=1,
            batch_size=4, generator=seeded(), loss_fn=loss_fn,
        )  # fmt: skip
    assert all(p.isfinite().all() for p in model.parameters())


def test_evaluation_does_not_depend_on_batches_and_restores_the_mode():
    x, y = problem(23)
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    for mode in (True, False):
        model.train(mode)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        whole, parts = evaluate(model, x, y), evaluate(model, x, y, batch_size=4)
        np.testing.assert_allclose(whole, parts, rtol=1e-6)
        assert model.training == mode
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not any(p.grad is not None for p in model.parameters())


def test_evaluation_keeps_no_graph_and_restores_the_mode_after_a_failure():
    model, (x, y) = linear(), problem(4)

    def broken(logits, y):
        assert not logits.requires_grad and not model.training
        raise KeyError("loss")

    with pytest.raises(KeyError):
        evaluate(model, x, y, broken)
    assert model.training


def test_accuracy_counts_what_is_right_and_no_nan():
    class Given(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x

    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [3.0, 1.0], [math.nan, 0.0]])
    loss, accuracy = evaluate(Given(), logits, torch.tensor([0, 1, 1, 0]))
    assert accuracy == 0.5 and math.isnan(loss)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_regression_has_a_loss_and_no_accuracy(dtype):
    """Targets (N, 1) would meet the argmax (N,) in a table of N × N."""
    x = torch.randn(23, 2, generator=seeded()).to(dtype)
    y = x[:, :1] - 2.0  # (23, 1)
    model, mse = nn.Linear(2, 1, dtype=dtype), nn.functional.mse_loss
    expected = (model(x).float() - y).square().mean().item()
    loss, accuracy = evaluate(model, x, y, mse, batch_size=10)
    assert loss == pytest.approx(expected, rel=1e-6) and accuracy is None
    history = fit(
        model, torch.optim.SGD(model.parameters(), 0.1), (x, y), (x, y), num_epochs=2,
        batch_size=8, generator=seeded(), loss_fn=mse,
    )  # fmt: skip
    assert "val_accuracy" not in history and history["val_loss"].dtype == np.float64
    assert history["val_loss"][1] == evaluate(model, x, y, mse)[0] < expected


def test_bfloat16_comes_close_to_float32():
    losses = []

    def loss_fn(logits, y):
        if not model.training:  # evaluation: the loss itself is computed in float32
            assert logits.dtype == torch.float32
        return nn.functional.cross_entropy(logits, y)

    for dtype in (None, torch.bfloat16):
        model, seen = linear(), set()
        model.register_forward_hook(lambda m, _, out, s=seen: s.add((m.training, out.dtype)))
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        history = fit(
            model, optimizer, problem(), problem(32, 3), num_epochs=4, batch_size=16,
            generator=seeded(), dtype=dtype, loss_fn=loss_fn,
        )  # fmt: skip
        assert seen == {(mode, dtype or torch.float32) for mode in (True, False)}
        losses.append(history["val_loss"][-1])
        assert all(p.dtype == torch.float32 for p in model.parameters())
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_epochs": 0}, "num_epochs is 0; it must be 1 or more"),
        ({"batch_size": 0}, "batch_size is 0; it must be 1 … 64 examples"),
        ({"batch_size": 65}, "batch_size is 65"),
        ({"train": (torch.ones(3, 2), torch.ones(2))}, "train has 3 and 2 examples"),
        ({"val": (torch.ones(0, 2), torch.ones(0))}, "val has 0 and 0 examples"),
    ],
)
def test_refuses(options, message):
    model = linear()
    arguments = {"train": problem(), "num_epochs": 1, "batch_size": 8, "generator": seeded()}
    with pytest.raises(ValueError, match=message):
        fit(model, torch.optim.SGD(model.parameters(), 0.1), **{**arguments, **options})
    for sizes in ((1, 2), (0, 0)):
        with pytest.raises(ValueError, match=f"x has {sizes[0]} examples and y {sizes[1]}"):
            evaluate(model, torch.ones(sizes[0], 2), torch.ones(sizes[1]))


def test_the_loop_can_be_read_at_a_sitting():
    source = inspect.getsource(fit)
    body = source[source.rindex('"""') + 3 :].strip().splitlines()
    assert len(body) <= 40


def test_the_device_is_the_fastest_there_is(monkeypatch):
    monkeypatch.setattr(training, "device_name", lambda: "cuda")
    assert training.choose_device() == torch.device("cuda")
