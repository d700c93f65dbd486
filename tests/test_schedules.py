"""Tests of the learning-rate schedules: torch is the witness at every step."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from assignment1_perceptron_mlp.schedules import (
    Constant,
    PiecewiseLinear,
    ReduceOnPlateau,
    StepDecay,
    Triangular,
    WarmupCosine,
)


def torch_rates(make_scheduler, learning_rate, num_steps):
    """Return the rates that a torch scheduler gives before each of num_steps steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=learning_rate)
    scheduler, rates = make_scheduler(optimizer), []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def warmup_then_cosine(optimizer):
    """Compose torch's own linear warm-up over 10 steps and cosine over 40."""
    return lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=9),
            lr_scheduler.CosineAnnealingLR(optimizer, T_max=40),
        ],
        milestones=[10],
    )


SCHEDULES = {
    "constant": (Constant(0.2), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    "step": (StepDecay(0.2, 7, 0.3), lambda o: lr_scheduler.StepLR(o, 7, 0.3)),
    "cosine": (WarmupCosine(0.2, 50), lambda o: lr_scheduler.CosineAnnealingLR(o, 50)),
    "warm-up and cosine": (WarmupCosine(0.2, 50, 10), warmup_then_cosine),
    "linear": (
        PiecewiseLinear((0, 20), (0.2, 0.02)),
        lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=20),
    ),
    "triangular": (
        Triangular(0.01, 0.2, 8),
        lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.2, step_size_up=8, cycle_momentum=False),
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch steps composed schedules early
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_equal_torch_at_every_step(name):
    schedule, make_scheduler = SCHEDULES[name]
    expected = torch_rates(make_scheduler, 0.2, 50)
    np.testing.assert_allclose([schedule(t) for t in range(50)], expected, rtol=1e-12, atol=1e-15)


def test_schedules_at_their_knots():
    warm = WarmupCosine(0.4, num_steps=100, warmup_steps=20)
    assert warm(0) == pytest.approx(0.02)  # never 0, or the first step would be wasted
    assert warm(19) == warm(20) == pytest.approx(0.4)
    assert warm(60) == pytest.approx(0.2)
    assert warm(100) == warm(500) == pytest.approx(0.0)
    only_warmup = WarmupCosine(0.4, num_steps=5, warmup_steps=5)
    assert (only_warmup(4), only_warmup(5), only_warmup(6)) == (0.4, 0.4, 0.0)
    steps = StepDecay(1.0, 10, 0.5)
    assert [steps(t) for t in (0, 9, 10, 19, 20)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    cycle = Triangular(1e-5, 1e-1, 500)
    for t, rate in ((0, 1e-5), (500, 1e-1), (1000, 1e-5), (1250, 0.050005), (1500, 1e-1)):
        assert cycle(t) == pytest.approx(rate)
    lines = PiecewiseLinear([0, 5, 15], [0.0, 1.0, 0.2])
    for t, rate in ((0, 0.0), (5, 1.0), (10, 0.6), (15, 0.2), (99, 0.2)):
        assert lines(t) == pytest.approx(rate)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9]), min_size=1, max_size=30), st.integers(0, 3)
)
def test_reduce_on_plateau_equals_torch(val_losses, patience):
    ours = ReduceOnPlateau(0.1, factor=0.5, patience=patience)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=0, eps=0
    )
    for step, val_loss in enumerate(val_losses):
        ours.update(val_loss)
        theirs.step(val_loss)
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


# ---- as values: they print their numbers, compare by them and can be a sweep's setting ----


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Constant(0.2), "Constant(learning_rate=0.2)"),
        (PiecewiseLinear([0, 5], [0.1, 0]), "PiecewiseLinear(knots=(0, 5), values=(0.1, 0))"),
        (StepDecay(0.2, 7), "StepDecay(learning_rate=0.2, step_size=7, gamma=0.1)"),
        (WarmupCosine(0.2, 50), "WarmupCosine(learning_rate=0.2, num_steps=50, warmup_steps=0)"),
        (Triangular(0.01, 0.2, 8), "Triangular(lr_min=0.01, lr_max=0.2, half_cycle=8)"),
    ],
)
def test_schedules_are_values(schedule, text):
    assert repr(schedule) == text
    twin = pickle.loads(pickle.dumps(schedule))
    assert twin == schedule and hash(twin) == hash(schedule) and twin(3) == schedule(3)
    with pytest.raises(AttributeError):
        schedule.learning_rate = 1.0


def test_plateau_prints_its_present_rate_and_copies_are_independent():
    first = ReduceOnPlateau(0.1, patience=0)
    assert repr(first) == "ReduceOnPlateau(0.1, factor=0.5, patience=0)"
    second = copy.deepcopy(first)
    for val_loss in (1.0, 1.0):
        first.update(val_loss)
    assert (first(0), second(0)) == (0.05, 0.1)


# ---- bad input: one sentence that names the argument, the value and what is allowed ----


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PiecewiseLinear([0, 5], [1.0]), r"knots is \(0, 5\); it must rise"),
        (lambda: PiecewiseLinear([5, 0], [1.0, 2.0]), r"knots is \(5, 0\); it must rise"),
        (lambda: PiecewiseLinear([0, 0], [1.0, 2.0]), r"knots is \(0, 0\); it must rise"),
        (lambda: PiecewiseLinear([], []), r"knots is \(\); it must rise"),
        (lambda: PiecewiseLinear([0], [np.nan]), "a value is nan; it must be 0 or more"),
        (lambda: PiecewiseLinear([0, 1], [1, -1]), "a value is -1; it must be 0 or more"),
        (lambda: Constant(-0.1), r"learning_rate is -0\.1; it must be 0 or more"),
        (lambda: Constant("0.1"), r"learning_rate is '0\.1'; it must be 0 or more"),
        (lambda: StepDecay(0.1, 0), "step_size is 0; it must be a whole number, 1 or more"),
        (lambda: StepDecay(0.1, 2.5), r"step_size is 2\.5; it must be a whole number"),
        (lambda: StepDecay(0.1, 2, 1.5), r"gamma is 1\.5; it must be in \(0, 1\]"),
        (lambda: StepDecay(np.nan, 2), "learning_rate is nan; it must be 0 or more"),
        (lambda: Triangular(0.1, 0.2, 0), "half_cycle is 0; it must be a whole number"),
        (lambda: Triangular(0.2, 0.1, 5), r"lr_max is 0\.1; it must be 0\.2 or more"),
        (lambda: Triangular(-1, 0.1, 5), "lr_min is -1; it must be 0 or more"),
        (lambda: WarmupCosine(0.1, 0), "num_steps is 0; it must be a whole number, 1 or more"),
        (lambda: WarmupCosine(0.1, 5, 6), "warmup_steps is 6; it must be 0 … 5"),
        (lambda: WarmupCosine(0.1, 5, -1), "warmup_steps is -1; it must be a whole number, 0"),
        (lambda: WarmupCosine(np.inf, 5), "learning_rate is inf; it must be 0 or more"),
        (lambda: ReduceOnPlateau(0.1, factor=2), r"factor is 2; it must be in \[0, 1\)"),
        (lambda: ReduceOnPlateau(0.1, patience=-1), "patience is -1; it must be a whole number"),
        (lambda: ReduceOnPlateau(np.nan), "learning_rate is nan; it must be 0 or more"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_knots_that_are_no_sequence_of_numbers():
    with pytest.raises(ValueError, match="knots is 0; it must be a sequence of numbers"):
        PiecewiseLinear(0, (1,))
    with pytest.raises(ValueError, match="values is 1; it must be a sequence of numbers"):
        PiecewiseLinear((0,), 1)
    with pytest.raises(ValueError, match="a knot is 'b'; it must be 0 or more"):
        PiecewiseLinear((0, "b"), (1, 2))
