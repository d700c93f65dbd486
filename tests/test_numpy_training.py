"""Tests of the training loop and of evaluation in batches."""

from functools import partial

import numpy as np
import pytest
import torch

from assignment1_perceptron_mlp.numpy_layers import cross_entropy_backward, cross_entropy_forward
from assignment1_perceptron_mlp.numpy_mlp import MLP
from assignment1_perceptron_mlp.numpy_optim import SGD, Adam
from assignment1_perceptron_mlp.numpy_training import evaluate, fit, train_step
from assignment1_perceptron_mlp.schedules import ReduceOnPlateau, WarmupCosine

SIZES = (6, 16, 3)


def make_data(num_examples=240, seed=0, dtype=np.float32):
    """Return x (N, 6) and y (N,): three clouds, one per class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, num_examples)
    centres = np.random.default_rng(99).normal(size=(3, 6)) * 2
    return (centres[y] + rng.normal(size=(num_examples, 6))).astype(dtype), y


X, Y = make_data()


def make_mlp(seed=1, dtype=np.float32, **kwargs):
    return MLP(SIZES, rng=np.random.default_rng(seed), dtype=dtype, **kwargs)


def run_fit(model=None, x=None, y=None, optimizer=None, **kwargs):
    """Call fit with small defaults."""
    model = model or make_mlp()
    train = make_data() if x is None else (x, y)
    kwargs = {"num_epochs": 3, "batch_size": 32, "rng": np.random.default_rng(2), **kwargs}
    return fit(model, optimizer or SGD(model.parameters(), 0.1, 0.9), train, **kwargs)


def test_fit_learns_and_returns_one_history_entry_per_evaluation():
    x_val, y_val = make_data(seed=5)
    model = make_mlp()
    before = evaluate(model, x_val, y_val)[1]
    history = run_fit(model, val=(x_val, y_val), num_epochs=5)
    assert history.keys() == {
        "epoch", "step", "learning_rate", "train_loss", "seconds", "val_loss", "val_accuracy",
    }  # fmt: skip
    np.testing.assert_array_equal(history["step"], [7, 14, 21, 28, 35])  # 240 // 32 = 7 per epoch
    assert all(values.shape == (5,) for values in history.values())
    assert (np.diff(history["seconds"]) > 0).all()
    assert history["train_loss"][-1] < history["train_loss"][0] / 2
    assert history["val_accuracy"][-1] > max(0.85, before)


def test_the_history_holds_what_happened():
    x_val, y_val = make_data(50, seed=5)
    model = make_mlp(dropout=0.3, batchnorm=True)
    history = run_fit(model, val=(x_val, y_val), num_epochs=2, schedule=lambda t: 0.1 / (1 + t))
    np.testing.assert_array_equal(history["epoch"], [1, 2])
    np.testing.assert_allclose(history["learning_rate"], [0.1 / 7, 0.1 / 14])
    loss, accuracy = evaluate(model, x_val, y_val)  # on validation data, dropout switched off
    assert (history["val_loss"][-1], history["val_accuracy"][-1]) == (loss, accuracy)
    assert (loss, accuracy) != evaluate(model, *make_data())
    halves = run_fit(num_epochs=2, eval_every=5)
    np.testing.assert_allclose(halves["epoch"], [5 / 7, 10 / 7, 2])


def test_the_training_loss_is_the_mean_since_the_last_entry():
    losses = []

    def spy(model, optimizer, x, y):
        losses.append(train_step(model, optimizer, x, y))
        return losses[-1]

    history = run_fit(num_epochs=2, step=spy)
    expected = [np.mean(losses[:7]), np.mean(losses[7:])]
    np.testing.assert_allclose(history["train_loss"], expected, rtol=1e-12)


def watch(**kwargs):
    """Return the examples' numbers (first feature) of every batch that a fit trained on."""
    x, y = make_data()
    x[:, 0] = np.arange(len(x))
    seen = []

    def spy(model, optimizer, x, y):
        seen.append((x[:, 0].astype(int), y))
        return 1.0

    run_fit(x=x, y=y, step=spy, **kwargs)
    for numbers, labels in seen:  # features and labels keep together
        np.testing.assert_array_equal(labels, y[numbers])
    return [numbers for numbers, _ in seen]


def test_batches_are_shuffled_anew_in_each_epoch_and_take_no_example_twice():
    seen = watch(num_epochs=2, batch_size=30)
    assert [len(numbers) for numbers in seen] == [30] * 16
    first, second = np.concatenate(seen[:8]), np.concatenate(seen[8:])
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(240))
        assert not np.array_equal(epoch, np.arange(240))
    assert not np.array_equal(first, second)
    seen = watch(num_epochs=1, batch_size=100)  # the short last batch is left out
    assert [len(numbers) for numbers in seen] == [100, 100]
    assert len(np.unique(np.concatenate(seen))) == 200
    assert [len(numbers) for numbers in watch(num_epochs=1, batch_size=240)] == [240]


def test_what_augment_returns_is_trained_on_and_gets_the_shuffling_rng():
    rng, given = np.random.default_rng(2), []

    def augment(x, generator):
        given.append(generator)
        return np.zeros_like(x)

    batches = []
    step = lambda model, optimizer, x, y: batches.append(x) or 1.0  # noqa: E731
    run_fit(num_epochs=1, augment=augment, rng=rng, step=step)
    assert not np.concatenate(batches).any()
    assert all(generator is rng for generator in given)


def test_the_schedule_is_asked_for_steps_0_to_the_last_but_one():
    asked, rates = [], []

    def schedule(step):
        asked.append(step)
        return 0.1 + step

    def spy(model, optimizer, x, y):
        rates.append(optimizer.learning_rate)
        return 1.0

    run_fit(num_epochs=2, schedule=schedule, step=spy)
    assert asked == list(range(14))
    np.testing.assert_allclose(rates, 0.1 + np.arange(14))


def test_training_time_leaves_evaluation_out(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    history = run_fit(num_epochs=2, val=make_data(50, seed=5))
    np.testing.assert_array_equal(history["seconds"], [7, 14])  # one tick for each batch


def test_without_validation_data_the_history_has_no_validation_entries():
    assert run_fit().keys() == {"epoch", "step", "learning_rate", "train_loss", "seconds"}


def test_evaluations_every_few_steps_include_the_last_step():
    history = run_fit(num_epochs=2, eval_every=5)
    np.testing.assert_array_equal(history["step"], [5, 10, 14])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_float32_fit_equals_the_plain_loop_bit_by_bit(dropout):
    x, y = make_data()
    fitted, plain = make_mlp(dropout=dropout), make_mlp(dropout=dropout)
    run_fit(fitted, num_epochs=4)
    params, rng = plain.parameters(), np.random.default_rng(2)
    velocity = {name: np.zeros_like(p) for name, p in params.items()}
    for _ in range(4):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - 31, 32):
            batch = order[start : start + 32]
            logits = plain.forward(x[batch], train=True)
            plain.backward(cross_entropy_backward(cross_entropy_forward(logits, y[batch])[1]))
            for name, gradient in plain.gradients().items():
                velocity[name] = 0.9 * velocity[name] + gradient
                params[name] -= 0.1 * velocity[name]
    for name, p in fitted.parameters().items():
        assert p.dtype == np.float32
        np.testing.assert_array_equal(p, params[name])


def test_a_float64_fit_equals_torch_from_the_same_start():
    x, y = make_data(dtype=np.float64)
    model = make_mlp(dtype=np.float64)
    W = {n: torch.tensor(p, requires_grad=True) for n, p in model.parameters().items()}
    schedule = WarmupCosine(0.2, 21, 5)
    step_function = partial(train_step, label_smoothing=0.1, max_grad_norm=0.5)
    history = run_fit(model, x, y, schedule=schedule, step=step_function)
    optimizer = torch.optim.SGD(W.values(), lr=0.2, momentum=0.9)
    rng, x_torch, y_torch, losses = np.random.default_rng(2), *map(torch.tensor, (x, y)), []
    for step in range(21):
        if step % 7 == 0:
            order, losses = rng.permutation(len(x)), []
        batch = order[step % 7 * 32 :][:32]
        logits = torch.relu(x_torch[batch] @ W["W1"] + W["b1"]) @ W["W2"] + W["b2"]
        loss = torch.nn.functional.cross_entropy(logits, y_torch[batch], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        # clipped by hand: torch's own function divides by norm + 1e-6
        norm = torch.sqrt(sum((p.grad**2).sum() for p in W.values()))
        for p in W.values():
            p.grad *= min(1.0, 0.5 / norm)
        optimizer.param_groups[0]["lr"] = schedule(step)
        optimizer.step()
        losses.append(loss.item())
    assert history["train_loss"][-1] == pytest.approx(np.mean(losses), abs=1e-10)
    for name, p in model.parameters().items():
        np.testing.assert_allclose(p, W[name].detach().numpy(), atol=1e-10)


def test_the_same_seed_repeats_a_fit_exactly():
    first, second = make_mlp(dropout=0.5), make_mlp(dropout=0.5)
    run_fit(first)
    run_fit(second)
    for name, p in first.parameters().items():
        np.testing.assert_array_equal(p, second.parameters()[name])


def test_the_schedule_sets_the_rate_and_plateau_hears_each_validation_loss():
    history = run_fit(schedule=lambda step: 0.1 / (1 + step), eval_every=1, num_epochs=1)
    np.testing.assert_allclose(history["learning_rate"], 0.1 / np.arange(1, 8))
    told = []

    class Listening(ReduceOnPlateau):
        def update(self, val_loss):
            told.append(val_loss)
            super().update(val_loss)

    x_val, y_val = make_data(seed=5)
    history = run_fit(schedule=Listening(0.1, patience=0), val=(x_val, y_val), num_epochs=9)
    assert told == list(history["val_loss"])
    assert history["learning_rate"][-1] < 0.1


def test_augment_sees_training_batches_only():
    seen = []

    def augment(batch, rng):
        seen.append(batch.shape)
        return batch

    x_val, y_val = make_data(50, seed=5)
    run_fit(num_epochs=1, augment=augment, val=(x_val, y_val))
    assert seen == [(32, 6)] * 7


def test_train_step_returns_the_loss_before_the_step():
    x, y = make_data(64)
    model = make_mlp()
    before = cross_entropy_forward(model.forward(x), y)[0]
    assert train_step(model, SGD(model.parameters(), 0.1), x, y) == pytest.approx(before, rel=1e-6)
    assert cross_entropy_forward(model.forward(x), y)[0] < before


@pytest.mark.parametrize("batch_size", [1, 7, 239, 240, 5_000])
def test_evaluate_in_batches_equals_evaluate_at_once(batch_size):
    x, y = make_data(dtype=np.float64)
    model = make_mlp(dtype=np.float64, dropout=0.5, batchnorm=True)
    run_fit(model, x, y, num_epochs=1)
    logits = model.forward(x)
    loss, accuracy = evaluate(model, x, y, batch_size)
    assert loss == pytest.approx(cross_entropy_forward(logits, y)[0], rel=1e-12)
    assert accuracy == (logits.argmax(axis=1) == y).mean()


def test_evaluate_does_not_touch_the_model():
    x, y = make_data()
    model = make_mlp(dropout=0.5, batchnorm=True)
    run_fit(model, num_epochs=1)
    state = [layer.running_mean.copy() for layer in model.layers if hasattr(layer, "running_mean")]
    assert evaluate(model, x, y) == evaluate(model, x, y)
    after = [layer.running_mean for layer in model.layers if hasattr(layer, "running_mean")]
    np.testing.assert_array_equal(state, after)


def test_lists_work_where_arrays_do():
    x, y = make_data(64)
    model, twin = make_mlp(), make_mlp()
    assert evaluate(model, x.tolist(), y.tolist()) == pytest.approx(evaluate(model, x, y))
    run_fit(model, x.tolist(), y.tolist(), val=[x.tolist(), y.tolist()], num_epochs=1)
    run_fit(twin, x, y, num_epochs=1)
    np.testing.assert_allclose(model.parameters()["W1"], twin.parameters()["W1"], rtol=1e-4)


# ---- what is refused, and how ----


def test_an_example_without_finite_logits_counts_as_wrong():
    model = make_mlp()
    model.parameters()["b2"][:] = [np.nan, 0, 0]  # argmax of NaN is 0
    loss, accuracy = evaluate(model, X, np.zeros(len(X), int))
    assert np.isnan(loss) and accuracy == 0
    with pytest.raises(ValueError, match="x contains NaN or infinity"):
        evaluate(model, np.full((4, 6), np.nan), np.zeros(4, int))


@pytest.mark.parametrize("loss", [np.inf, -np.inf, np.nan])
def test_any_loss_that_is_not_finite_stops(loss):
    with pytest.raises(FloatingPointError, match=f"the loss is {loss} at step 0"):
        run_fit(step=lambda *arguments: loss)


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.1, float("nan"), "0.1"])
def test_bad_label_smoothing_is_refused(label_smoothing):
    with pytest.raises(ValueError, match=r"label_smoothing is .*; it must be in \[0, 1\]"):
        run_fit(step=partial(train_step, label_smoothing=label_smoothing))


@pytest.mark.parametrize("rate", [-0.1, np.nan])
def test_a_schedule_with_a_bad_rate_is_refused(rate):
    with pytest.raises(ValueError, match=r"learning_rate is .*; it must be 0 or more"):
        run_fit(schedule=lambda step: rate)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(y=np.zeros(9, int)), r"y has shape \(9,\); it must be \(8,\)"),
        (dict(y=np.zeros(7, int)), r"y has shape \(7,\); it must be \(8,\)"),
        (dict(y=np.full(8, 3)), "y contains the label 3; labels must be 0 … 2"),
        (dict(y=np.zeros(8)), "y has dtype float64; labels must be integers"),
        (dict(x=X[:8, :5]), r"x has shape \(8, 5\); it must be \(≥1, 6\)"),
        (dict(batch_size=0), "batch_size is 0; it must be a whole number, 1 or more"),
    ],
)
def test_evaluate_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(make_mlp(), **dict(x=X[:8], y=Y[:8]) | change)


def test_a_loss_that_is_not_finite_stops_with_the_step_named():
    model = make_mlp()
    with np.errstate(all="ignore"):
        with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step [1-9]\d*"):
            run_fit(model, optimizer=SGD(model.parameters(), 1e30), num_epochs=20)
    model.parameters()["W1"][0, 0] = np.nan
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 0 \(learning rate 0\.1"):
        run_fit(model, optimizer=Adam(model.parameters(), 0.1))


def bad(x=None, y=None, **kwargs):
    return {"x": x, "y": y, **kwargs}


BAD_INPUT = {
    "features": (bad(X[:, :5], Y), r"train's x has shape \(240, 5\); it must be \(≥1, 6\)"),
    "images": (
        bad(X.reshape(240, 2, 3), Y),
        r"train's x has shape \(240, 2, 3\); it must be \(≥1, 6\)",
    ),
    "empty": (bad(X[:0], Y[:0]), r"train's x has shape \(0, 6\); it must be \(≥1, 6\)"),
    "label count": (bad(X, Y[:-1]), r"train's y has shape \(239,\); it must be \(240,\)"),
    "label too high": (bad(X, Y + 1), r"the label 3; labels must be 0 … 2"),
    "label negative": (bad(X, Y - 1), r"the label -1; labels must be 0 … 2"),
    "label type": (bad(X, Y.astype(float)), "train's y has dtype float64; labels must be integers"),
    "NaN": (bad(np.where(X > 3, np.nan, X), Y), "train's x contains NaN or infinity"),
    "infinity": (bad(np.where(X > 3, np.inf, X), Y), "train's x contains NaN or infinity"),
    "batch of none": (
        bad(X, Y, batch_size=0),
        "batch_size is 0; it must be a whole number",
    ),
    "batch too large": (bad(X, Y, batch_size=241), "batch_size is 241; it must be 1 … 240"),
    "no epochs": (bad(X, Y, num_epochs=0), "num_epochs is 0; it must be a whole number, 1"),
    "eval_every": (bad(X, Y, eval_every=-1), "eval_every is -1; it must be a whole number, 1"),
    "NaN in x_val": (bad(X, Y, val=(X * np.nan, Y)), "val's x contains NaN or infinity"),
    "a seed": (bad(X, Y, rng=2), "rng is 2; it must be a Generator"),
    "half an epoch": (bad(X, Y, num_epochs=0.5), r"num_epochs is 0\.5; it must be a whole number"),
    "text": (bad(X.astype(str), Y), "train's x has dtype <U.*; it must be real numbers"),
    "y_val missing": (bad(X, Y, val=(X,)), r"val is a tuple; it must be a pair \(x, y\)"),
    "y_val None": (bad(X, Y, val=(X, None)), r"val's y has shape \(\); it must be \(240,\)"),
    "labels of val": (bad(X, Y, val=(X, Y + 1)), "val's y contains the label 3"),
    "no y_val": (bad(X, Y, val=X), r"val is a ndarray; it must be a pair \(x, y\)"),
    "deaf plateau": (
        bad(X, Y, schedule=ReduceOnPlateau(0.1)),
        "schedule is .* which follows the validation loss; val is None",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_in_one_sentence(case):
    arguments, message = BAD_INPUT[case]
    model = make_mlp()
    before = {name: p.copy() for name, p in model.parameters().items()}
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        run_fit(model, **arguments)
    for name, p in model.parameters().items():
        np.testing.assert_array_equal(p, before[name])  # refused before the first step


def test_evaluate_refuses_an_empty_set():
    with pytest.raises(ValueError, match=r"x has shape \(0, 6\); it must be \(≥1, 6\)"):
        evaluate(make_mlp(), X[:0], Y[:0])


@pytest.mark.parametrize("name", ["schedule", "augment", "step"])
def test_what_is_called_must_be_a_function(name):
    with pytest.raises(ValueError, match=rf"{name} is 0\.1; it must be a function"):
        run_fit(**{name: 0.1})


def test_a_step_that_forgets_its_loss():
    with pytest.raises(ValueError, match="step returned None; it must return the loss"):
        run_fit(step=lambda *arguments: None)


def test_the_optimizer_of_another_network_is_refused():
    with pytest.raises(ValueError, match="optimizer has other parameters"):
        run_fit(make_mlp(), optimizer=SGD(make_mlp().parameters(), 0.1))
    model = make_mlp()
    optimizer = SGD(model.parameters() | {"b2": np.zeros(3, np.float32)}, 0.1)  # one is another
    with pytest.raises(ValueError, match="optimizer has other parameters"):
        run_fit(model, optimizer=optimizer)


def test_an_optimizer_written_by_hand_needs_no_params():
    class Descent:
        learning_rate = 0.1

        def __init__(self, model):
            self.step = lambda grads: [
                p.__isub__(0.1 * grads[name]) for name, p in model.parameters().items()
            ]

    model, twin = make_mlp(), make_mlp()
    run_fit(model, optimizer=Descent(model))
    run_fit(twin, optimizer=SGD(twin.parameters(), 0.1))
    np.testing.assert_array_equal(model.parameters()["W1"], twin.parameters()["W1"])
