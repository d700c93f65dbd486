"""Tests of the NumPy optimisers, schedules and clipping: torch is the witness for each."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from assignment1_perceptron_mlp.numpy_optim import (
    SGD,
    Adam,
    ReduceOnPlateau,
    clip_gradients,
    constant,
    piecewise_linear,
    step_decay,
    triangular,
    warmup_cosine,
)

SHAPES = [{"W1": (1, 1), "b1": (1,)}, {"W1": (7, 5), "b1": (5,), "W2": (5, 3), "b2": (3,)}]


def random_arrays(rng, shapes):
    """Return {name: standard normal float64 array}."""
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def torch_groups(tensors, weight_decay):
    """Return torch's parameter groups: matrices with weight decay, vectors without."""
    return [
        {"params": [p for p in tensors.values() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in tensors.values() if p.ndim == 1], "weight_decay": 0.0},
    ]


def worst_difference(make_numpy, make_torch, shapes, weight_decay, rates, seed=0):
    """Take one step per rate with the same random gradients; return max |NumPy − torch|."""
    rng = np.random.default_rng(seed)
    params = random_arrays(rng, shapes)
    tensors = {n: torch.tensor(p, requires_grad=True) for n, p in params.items()}
    ours, theirs = make_numpy(params), make_torch(torch_groups(tensors, weight_decay))
    worst = 0.0
    for rate in rates:
        grads = random_arrays(rng, shapes)
        kept = {name: g.copy() for name, g in grads.items()}
        ours.learning_rate = rate
        ours.step(grads)
        for group in theirs.param_groups:
            group["lr"] = rate
        for name, p in tensors.items():
            p.grad = torch.tensor(kept[name])
        theirs.step()
        for name, p in tensors.items():
            np.testing.assert_array_equal(grads[name], kept[name])  # step leaves grads alone
            worst = max(worst, np.abs(params[name] - p.detach().numpy()).max())
    return worst


RATES = [0.1] * 10 + [0.03, 0.0, 0.3] * 4  # a schedule changes the rate between steps


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_equals_torch_step_by_step(shapes, momentum, nesterov, weight_decay):
    worst = worst_difference(
        lambda params: SGD(params, 0.1, momentum, weight_decay, nesterov),
        lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=momentum, nesterov=nesterov),
        shapes,
        weight_decay,
        RATES,
    )
    assert worst <= 1e-12


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)])
def test_adam_equals_torch_adamw_step_by_step(shapes, betas, weight_decay):
    worst = worst_difference(
        lambda params: Adam(params, 0.1, betas, weight_decay=weight_decay),
        lambda groups: torch.optim.AdamW(groups, lr=0.1, betas=betas),
        shapes,
        weight_decay,
        RATES,
    )
    assert worst <= 1e-12


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(0, 0.99),
    st.floats(0, 0.5),
    st.floats(1e-4, 0.5),
    st.integers(0, 9999),
)
def test_sgd_and_adam_equal_torch_for_any_shape_and_setting(d, m, momentum, decay, rate, seed):
    shapes = {"W1": (d, m), "b1": (m,)}
    ours = [
        lambda params: SGD(params, rate, momentum, decay),
        lambda params: Adam(params, rate, (momentum, 0.99), weight_decay=decay),
    ]
    theirs = [
        lambda groups: torch.optim.SGD(groups, lr=rate, momentum=momentum),
        lambda groups: torch.optim.AdamW(groups, lr=rate, betas=(momentum, 0.99)),
    ]
    for make_numpy, make_torch in zip(ours, theirs, strict=True):
        worst = worst_difference(make_numpy, make_torch, shapes, decay, [rate] * 5, seed)
        assert worst <= 1e-12


def test_weight_decay_alone_shrinks_matrices_and_spares_vectors():
    params = {"W1": np.ones((2, 2)), "b1": np.ones(2)}
    grads = {"W1": np.zeros((2, 2)), "b1": np.zeros(2)}
    SGD(params, 0.5, weight_decay=0.2).step(grads)
    np.testing.assert_allclose(params["W1"], 0.9)  # 1 − 0.5 · 0.2: the gradient of (λ/2)W² is λW
    np.testing.assert_array_equal(params["b1"], 1.0)


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.1, 0.9), lambda p: Adam(p, 0.1)])
def test_steps_are_in_place_and_keep_float32(make):
    W = np.ones((3, 2), np.float32)
    make({"W1": W}).step({"W1": np.ones((3, 2), np.float32)})
    assert W.dtype == np.float32
    assert (W < 1).all()


# ---- schedules ----


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
    "constant": (constant(0.2), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    "step": (step_decay(0.2, 7, 0.3), lambda o: lr_scheduler.StepLR(o, 7, 0.3)),
    "cosine": (warmup_cosine(0.2, 50), lambda o: lr_scheduler.CosineAnnealingLR(o, 50)),
    "warm-up and cosine": (warmup_cosine(0.2, 50, 10), warmup_then_cosine),
    "linear": (
        piecewise_linear((0, 20), (0.2, 0.02)),
        lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=20),
    ),
    "triangular": (
        triangular(0.01, 0.2, 8),
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
    warm = warmup_cosine(0.4, num_steps=100, warmup_steps=20)
    assert warm(0) == pytest.approx(0.02)  # never 0, or the first step would be wasted
    assert warm(19) == warm(20) == pytest.approx(0.4)
    assert warm(60) == pytest.approx(0.2)
    assert warm(100) == warm(500) == pytest.approx(0.0)
    steps = step_decay(1.0, 10, 0.5)
    assert [steps(t) for t in (0, 9, 10, 19, 20)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    cycle = triangular(1e-5, 1e-1, 500)
    for t, rate in ((0, 1e-5), (500, 1e-1), (1000, 1e-5), (1250, 0.050005), (1500, 1e-1)):
        assert cycle(t) == pytest.approx(rate)
    lines = piecewise_linear([0, 5, 15], [0.0, 1.0, 0.2])
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


# ---- clipping ----


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 1e6])
@pytest.mark.parametrize("shapes", SHAPES)
def test_clip_gradients_equals_torch(shapes, max_norm):
    grads = random_arrays(np.random.default_rng(3), shapes)
    before = {name: g.copy() for name, g in grads.items()}
    tensors = [torch.zeros(g.shape, dtype=torch.float64) for g in grads.values()]
    for p, g in zip(tensors, grads.values(), strict=True):
        p.grad = torch.tensor(g)
    expected_norm = torch.nn.utils.clip_grad_norm_(tensors, max_norm).item()
    assert clip_gradients(grads, max_norm) == pytest.approx(expected_norm, rel=1e-12)
    for g, p in zip(grads.values(), tensors, strict=True):
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=1e-5)  # torch divides by norm + 1e-6
    if max_norm < expected_norm:
        clipped = np.sqrt(sum((g**2).sum() for g in grads.values()))
        assert clipped == pytest.approx(max_norm, rel=1e-12)
    else:
        for name, g in grads.items():
            np.testing.assert_array_equal(g, before[name])


# ---- bad input: one sentence that names the argument, the value and what is allowed ----

PARAMS = {"W1": np.zeros((3, 2)), "b1": np.zeros(2)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(PARAMS, -0.1), r"learning_rate is -0\.1; it must be 0 or more"),
        (lambda: SGD(PARAMS, np.nan), "learning_rate is nan; it must be 0 or more"),
        (lambda: Adam(PARAMS, np.inf), "learning_rate is inf; it must be 0 or more"),
        (lambda: SGD(PARAMS, 0.1, momentum=1.0), r"momentum is 1\.0; it must be in \[0, 1\)"),
        (lambda: SGD(PARAMS, 0.1, weight_decay=-1), "weight_decay is -1; it must be 0 or more"),
        (lambda: Adam(PARAMS, betas=(0.9, 1.0)), r"beta2 is 1\.0; it must be in \[0, 1\)"),
        (lambda: clip_gradients(PARAMS, 0), "max_norm is 0; it must be above 0"),
        (lambda: piecewise_linear([0, 5], [1.0]), r"knots is \[0, 5\]; it must rise"),
        (lambda: piecewise_linear([5, 0], [1.0, 2.0]), r"knots is \[5, 0\]; it must rise"),
        (lambda: piecewise_linear([], []), r"knots is \[\]; it must rise"),
        (lambda: step_decay(0.1, 0), "step_size is 0; it must be 1 or more"),
        (lambda: triangular(0.1, 0.2, 0), "half_cycle is 0; it must be 1 or more"),
        (lambda: warmup_cosine(0.1, 0), "num_steps is 0; it must be 1 or more"),
        (lambda: warmup_cosine(0.1, 5, 6), "warmup_steps is 6; it must be 0 … 5"),
        (lambda: ReduceOnPlateau(0.1, factor=2), r"factor is 2; it must be in \[0, 1\)"),
        (lambda: ReduceOnPlateau(0.1, patience=-1), "patience is -1; it must be 0 or more"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [SGD, Adam])
def test_gradients_that_do_not_fit_are_refused(make):
    optimizer = make({name: p.copy() for name, p in PARAMS.items()}, 0.1)
    with pytest.raises(ValueError, match=r"grads has keys \['W1'\]; it must have \['W1', 'b1'\]"):
        optimizer.step({"W1": np.zeros((3, 2))})
    with pytest.raises(ValueError, match=r"grads\['W1'\] has shape \(2, 3\), not \(3, 2\)"):
        optimizer.step({"W1": np.zeros((2, 3)), "b1": np.zeros(2)})
    np.testing.assert_array_equal(optimizer.params["W1"], 0)  # a refused step changes nothing
