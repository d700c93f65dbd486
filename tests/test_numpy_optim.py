"""Tests of the NumPy optimisers, schedules and clipping: torch is the witness for each."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assignment1_perceptron_mlp.numpy_optim import (
    SGD,
    Adam,
    adam_update,
    blocks,
    clip_gradients,
    sgd_update,
)

SHAPES = [{"W1": (1, 1), "b1": (1,)}, {"W1": (7, 5), "b1": (5,), "W2": (5, 3), "b2": (3,)}]
# More than one block of 32,768 numbers: rows that divide evenly, that do not, that are longer.
LARGE = [{"W1": (1024, 96)}, {"W1": (701, 103), "b1": (70_001,)}, {"W1": (3, 40_000), "s": ()}]


def random_arrays(rng, shapes):
    """Return {name: standard normal float64 array}."""
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def torch_groups(tensors, weight_decay):
    """Return torch's parameter groups: matrices with weight decay, vectors without."""
    return [
        {"params": [p for p in tensors.values() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in tensors.values() if p.ndim <= 1], "weight_decay": 0.0},
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


@pytest.mark.parametrize("shapes", LARGE)
def test_every_row_of_a_large_matrix_makes_its_step_once(shapes):
    worst = worst_difference(
        lambda params: SGD(params, 0.1, 0.9, 0.05, nesterov=True),
        lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
        shapes,
        0.05,
        [0.1, 0.3, 0.2],
    )
    assert worst <= 1e-12
    worst = worst_difference(
        lambda params: Adam(params, 0.1, weight_decay=0.05),
        lambda groups: torch.optim.AdamW(groups, lr=0.1),
        shapes,
        0.05,
        [0.1, 0.3, 0.2],
    )
    assert worst <= 1e-12


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=0, max_size=3), st.integers(1, 300))
def test_blocks_hold_every_row_once_and_are_no_larger_than_asked(shape, size):
    array = np.zeros(shape)
    for rows in blocks(array, size):
        array[rows] += 1
        assert array.ndim == 0 or array[rows].size <= max(size, array[:1].size)
    np.testing.assert_array_equal(array, np.ones(shape))


def test_blocks_are_as_large_as_they_may_be():
    assert blocks(np.zeros((5, 4)), 8) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert blocks(np.zeros(70_000)) == [slice(i, i + 32_768) for i in (0, 32_768, 65_536)]


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


# ---- the formulas themselves ----


def test_sgd_update_by_hand():
    w, g, v = np.array([1.0]), np.array([2.0]), np.array([10.0])
    sgd_update(w, g, v, 0.1, momentum=0.5, weight_decay=3.0)
    assert (w[0], g[0], v[0]) == (1 - 0.1 * 10, 2, 0.5 * 10 + (2 + 3 * 1))
    w, v = np.array([1.0]), np.array([10.0])
    sgd_update(w, g, v, 0.1, momentum=0.5, nesterov=True)
    assert (w[0], v[0]) == (1 - 0.1 * (2 + 0.5 * 7), 7)
    w = np.array([1.0])
    sgd_update(w, g, None, 0.1)  # without momentum there is no velocity
    assert w[0] == 0.8


def test_adam_update_by_hand():
    w, g, m, v = (np.array([number]) for number in (1.0, -2.0, 0.0, 0.0))
    adam_update(w, g, m, v, 1, 0.1, (0.9, 0.99), 1e-8)
    np.testing.assert_allclose([m[0], v[0]], [-0.2, 0.04], rtol=1e-14)
    np.testing.assert_allclose(w, 1.1, rtol=1e-8)  # the first step is the rate, whatever g is
    adam_update(w, g, m, v, 2, 0.1, (0.9, 0.99), 1e-8, weight_decay=0.5)
    np.testing.assert_allclose(w, 1.1 * 0.95 + 0.1, rtol=1e-8)
    assert g[0] == -2


def test_updates_work_on_torch_tensors():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 2)) for _ in range(3)]
    tensors = [torch.tensor(a) for a in arrays]
    for update in (
        lambda w, g, v: sgd_update(w, g, v, 0.1, 0.9, 0.01, nesterov=True),
        lambda w, g, v: adam_update(w, g, v, v * v, 3, 0.1, (0.9, 0.99), 1e-8, 0.01),
    ):
        update(*arrays)
        update(*tensors)
        for a, tensor in zip(arrays, tensors, strict=True):
            np.testing.assert_allclose(a, tensor.numpy(), rtol=1e-12)


def test_lists_of_gradients_make_the_same_step():
    for make in (SGD, Adam):
        one, two = np.ones((2, 2)), np.ones((2, 2))
        make({"W1": one}, 0.1).step({"W1": np.eye(2)})
        make({"W1": two}, 0.1).step({"W1": np.eye(2).tolist()})
        np.testing.assert_array_equal(one, two)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_that_overflow_when_squared_are_clipped_and_not_lost(dtype):
    grads = {"W1": np.full((2, 2), 3e25, dtype), "b1": np.zeros(2, dtype)}
    assert clip_gradients(grads, 1.0) == pytest.approx(6e25, rel=1e-6)
    np.testing.assert_allclose(grads["W1"], 0.5, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_is_said_and_nothing_is_scaled(bad):
    grads = {"W1": np.array([[bad, 1.0]]), "b1": np.ones(2)}
    with pytest.raises(FloatingPointError, match=r"the norm of the gradients is (nan|inf)"):
        clip_gradients(grads, 1.0)
    np.testing.assert_array_equal(grads["b1"], 1)


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
        (lambda: SGD(PARAMS, 0.1, momentum=2), r"momentum is 2; it must be in \[0, 1\)"),
        (lambda: SGD(PARAMS, 0.1, nesterov=True), "nesterov is True; it needs a momentum"),
        (lambda: SGD(PARAMS, "0.1"), "learning_rate is '0.1'; it must be 0 or more"),
        (lambda: Adam(PARAMS, eps=0), "eps is 0; it must be above 0"),
        (lambda: Adam(PARAMS, eps=-1e-8), "eps is -1e-08; it must be above 0"),
        (lambda: Adam(PARAMS, betas=(-0.1, 0.9)), r"beta1 is -0\.1; it must be in \[0, 1\)"),
        (lambda: Adam(PARAMS, betas=0.9), r"betas is 0\.9; it must be two numbers"),
        (lambda: Adam(PARAMS, weight_decay=np.nan), "weight_decay is nan; it must be 0 or more"),
        (lambda: SGD({}, 0.1), r"params is \{\}; it must be a dict of arrays, not empty"),
        (lambda: SGD([np.zeros(2)], 0.1), "params is .*; it must be a dict of arrays"),
        (lambda: SGD({"W1": [0.0]}, 0.1), r"params\['W1'\] is list; it must be an array"),
        (lambda: Adam({"W1": np.zeros(2, int)}), r"params\['W1'\] is int64; it must be an array"),
        (lambda: clip_gradients(PARAMS, np.nan), "max_norm is nan; it must be above 0"),
        (lambda: clip_gradients(PARAMS, 0), "max_norm is 0; it must be above 0"),
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


@pytest.mark.parametrize("make", [SGD, Adam])
@pytest.mark.parametrize("rate", [np.nan, -1.0, np.inf])
def test_a_rate_set_later_is_checked_at_the_step(make, rate):
    optimizer = make({"W1": np.ones((2, 2))}, 0.1)
    optimizer.learning_rate = rate
    with pytest.raises(ValueError, match=r"learning_rate is .*; it must be 0 or more"):
        optimizer.step({"W1": np.ones((2, 2))})
    np.testing.assert_array_equal(optimizer.params["W1"], 1)


@pytest.mark.parametrize("make", [SGD, Adam])
def test_gradients_that_are_no_dict_or_have_other_keys(make):
    optimizer = make({"W": np.ones(2)}, 0.1)
    with pytest.raises(ValueError, match="grads is a list; it must be a dict of arrays"):
        optimizer.step([np.ones(2)])
    with pytest.raises(ValueError, match=r"grads has keys \[1, 'a'\]; it must have \['W'\]"):
        optimizer.step({1: np.ones(2), "a": np.ones(2)})
