"""Tests of the perceptron rule, its loss, the margin, Novikoff's bound and the bad inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from assignment1_perceptron_mlp.perceptron import (
    VARIANTS,
    BatchPerceptron,
    Perceptron,
    add_ones,
    count_mistakes,
    margins,
    mistake_bound,
    perceptron_loss,
    perceptron_loss_gradient,
    perceptron_steps,
    separation,
    widest_margin,
)


def two_clouds(rng, n_per_class=40, distance=8.0, num_features=2, scale=1.0):
    """Return x (2n, D) and y (2n,): two Gaussian clouds along the first axis, shuffled."""
    y = rng.permutation(np.repeat([-1, 1], n_per_class))
    x = scale * rng.normal(size=(len(y), num_features))
    x[:, 0] += y * distance / 2
    return x, y


def random_batch(rng, num_examples, num_features):
    """Return w (D,), x (N, D), y (N,) with no relation between them."""
    x = rng.normal(size=(num_examples, num_features))
    return rng.normal(size=num_features), x, rng.choice([-1, 1], size=num_examples)


# ---- the loss and its gradient ----


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 10_000))
def test_loss_and_gradient_agree_with_torch_and_finite_differences(n, d, seed):
    w, x, y = random_batch(np.random.default_rng(seed), n, d)
    w_torch = torch.tensor(w, requires_grad=True)
    loss = torch.relu(-torch.tensor(y) * (torch.tensor(x) @ w_torch)).mean()
    loss.backward()
    gradient = perceptron_loss_gradient(w, x, y)
    np.testing.assert_allclose(perceptron_loss(w, x, y), loss.item(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(gradient, w_torch.grad.numpy(), rtol=1e-10, atol=1e-14)
    # The loss is linear between its kinks: a step too short to cross one must be exact.
    step = 1e-3 * np.abs(x @ w).min() / (1 + np.abs(x).max())
    for i in range(d):
        ahead, behind = w.copy(), w.copy()
        ahead[i] += step
        behind[i] -= step
        slope = (perceptron_loss(ahead, x, y) - perceptron_loss(behind, x, y)) / (2 * step)
        assert abs(slope - gradient[i]) <= 1e-14 / step  # rounding only


def test_rule_is_stochastic_gradient_descent_on_the_loss():
    rng = np.random.default_rng(0)
    w, x, y = random_batch(rng, 50, 3)
    w_torch = torch.tensor(w, requires_grad=True)
    optimiser = torch.optim.SGD([w_torch], lr=0.1)
    for (w_rule, _), x_i, y_i in zip(perceptron_steps(w, x, y, 0.1), x, y, strict=True):
        optimiser.zero_grad()
        torch.relu(-y_i * (torch.from_numpy(x_i) @ w_torch)).backward()
        optimiser.step()
        np.testing.assert_allclose(w_rule, w_torch.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_zero_weights_count_as_mistakes_and_are_left():
    x, y = np.array([[1.0, 1.0]]), np.array([1.0])
    w = np.zeros(2)
    assert perceptron_loss(w, x, y) == 0.0
    np.testing.assert_array_equal(perceptron_loss_gradient(w, x, y), [-1.0, -1.0])
    stepped, is_mistake = next(perceptron_steps(w, x, y, 0.5))
    assert is_mistake
    np.testing.assert_array_equal(stepped, [0.5, 0.5])
    np.testing.assert_array_equal(w, [0.0, 0.0])  # the caller's array is not changed


# ---- training ----


def test_separates_what_is_separable_with_every_variant():
    for seed in range(5):
        x, y = two_clouds(np.random.default_rng(seed))
        for variant in VARIANTS:
            model = Perceptron(variant=variant, num_epochs=1000).fit(x, y)
            assert model.converged and model.mistakes_per_epoch[-1] == 0
            if variant != "averaged":
                assert model.accuracy(x, y) == 1.0
        batch = BatchPerceptron(num_epochs=20_000).fit(x, y)
        assert batch.converged and batch.accuracy(x, y) == 1.0


def test_one_example_and_one_class_and_int_labels():
    for label in (-1, 1):
        model = Perceptron().fit([[2.0, -3.0]], np.array([label], dtype=np.int8))
        assert model.predict([[2.0, -3.0]]) == label
        assert model.mistakes_per_epoch == [1, 0]
        assert BatchPerceptron().fit([[2.0, -3.0]], [label]).predict([[2.0, -3.0]]) == label


def test_learning_rate_changes_no_decision_from_zero():
    x, y = two_clouds(np.random.default_rng(1), distance=3.0)
    for make in (Perceptron, BatchPerceptron):
        slow, fast = make(2.0**-7, 30).fit(x, y), make(1.0, 30).fit(x, y)
        assert slow.mistakes_per_epoch == fast.mistakes_per_epoch
        np.testing.assert_array_equal(slow.w * 2**7, fast.w)  # powers of two scale exactly


def test_averaged_is_the_mean_direction_of_all_steps():
    x, y = two_clouds(np.random.default_rng(2), distance=1.0)
    w, total = np.zeros(3), np.zeros(3)
    for _ in range(3):
        for step, _ in perceptron_steps(w, add_ones(x), y, 0.01):
            w, total = step, total + step
    model = Perceptron(num_epochs=3, variant="averaged").fit(x, y)
    np.testing.assert_allclose(model.w / np.linalg.norm(model.w), total / np.linalg.norm(total))


def test_pocket_never_has_more_training_mistakes_than_the_last_weights():
    for seed in range(5):
        x, y = two_clouds(np.random.default_rng(seed), distance=1.0)
        last = Perceptron(num_epochs=5).fit(x, y)
        pocket = Perceptron(num_epochs=5, variant="pocket").fit(x, y)
        assert pocket.mistakes_per_epoch == last.mistakes_per_epoch  # it trains the same way
        assert count_mistakes(pocket.w, add_ones(x), y) <= count_mistakes(last.w, add_ones(x), y)


def test_order_is_fixed_without_rng_and_new_in_each_pass_with_it():
    x, y = two_clouds(np.random.default_rng(3), distance=1.0)
    fixed = [Perceptron(num_epochs=4).fit(x, y).w for _ in range(2)]
    shuffled = [Perceptron(num_epochs=4).fit(x, y, np.random.default_rng(s)).w for s in (0, 0, 1)]
    np.testing.assert_array_equal(*fixed)
    np.testing.assert_array_equal(shuffled[0], shuffled[1])
    assert not np.array_equal(shuffled[0], shuffled[2])


def test_xor_cycles_and_never_converges():
    x = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    model = Perceptron(learning_rate=1.0, num_epochs=50).fit(x, [-1, 1, 1, -1])
    assert not model.converged and min(model.mistakes_per_epoch) > 0
    assert np.linalg.norm(model.w) < 10  # the cycling theorem: the weights stay bounded


def test_non_contiguous_float32_input():
    x, y = two_clouds(np.random.default_rng(4), num_features=4)
    wide = np.repeat(x, 2, axis=1).astype(np.float32)
    view = wide[:, ::2]
    assert not view.flags["C_CONTIGUOUS"]
    model = Perceptron().fit(view, y)
    np.testing.assert_array_equal(model.w, Perceptron().fit(view.copy(), y).w)
    assert model.predict(view).shape == (len(y),)


# ---- margin and bound ----


@pytest.mark.parametrize("num_features", [2, 3, 10])
def test_widest_margin_is_the_hard_margin_svm(num_features):
    for seed in range(5):
        x, y = two_clouds(np.random.default_rng(seed), num_features=num_features, scale=0.5)
        x = add_ones(x)
        gamma, w = widest_margin(x, y)
        signed = y[:, None] * x  # with its mirror image the machine's own bias must be 0
        svm = SVC(kernel="linear", C=1e9, tol=1e-8).fit(
            np.vstack([signed, -signed]), np.repeat([1, -1], len(x))
        )
        assert separation(svm.coef_[0], x, y) <= gamma * (1 + 1e-9)
        np.testing.assert_allclose(separation(svm.coef_[0], x, y), gamma, rtol=1e-4)
        np.testing.assert_allclose(separation(w, x, y), gamma, rtol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(w), 1.0)


def test_updates_never_exceed_novikoffs_bound():
    rng = np.random.default_rng(0)
    for _ in range(40):
        distance, scale = rng.uniform(2, 10), rng.uniform(0.1, 1.0)
        x, y = two_clouds(rng, distance=distance, scale=scale)
        x = x + rng.normal(size=2)
        try:
            gamma, _ = widest_margin(add_ones(x), y)
        except ValueError:
            continue
        model = Perceptron(num_epochs=200).fit(x, y, rng)
        assert sum(model.mistakes_per_epoch) <= mistake_bound(add_ones(x), gamma)


@pytest.mark.parametrize("num_examples", [1, 2, 7, 30])
def test_bound_is_reached_by_orthogonal_examples(num_examples):
    x, y = np.eye(num_examples), np.where(np.arange(num_examples) % 2, 1, -1)
    gamma, _ = widest_margin(x, y)
    mistakes = sum(is_mistake for _, is_mistake in perceptron_steps(np.zeros(len(x)), x, y, 1.0))
    np.testing.assert_allclose(mistake_bound(x, gamma), num_examples)
    assert mistakes == num_examples


def test_margin_refuses_classes_that_overlap():
    x, y = two_clouds(np.random.default_rng(0), distance=0.5)
    with pytest.raises(ValueError, match="linearly separable"):
        widest_margin(add_ones(x), y)
    with pytest.raises(ValueError, match="margin must be > 0, got -1"):
        mistake_bound(x, -1.0)
    with pytest.raises(ValueError, match="w must not be zero"):
        separation(np.zeros(2), x, y)


# ---- bad input ----

X, Y = np.zeros((3, 2)), np.array([1, -1, 1])


@pytest.mark.parametrize("make", [Perceptron, BatchPerceptron])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros(3), Y, r"x must have shape \(N, D\).*got \(3,\)"),
        (np.zeros((0, 2)), np.zeros(0), r"N ≥ 1.*got \(0, 2\)"),
        (np.zeros((3, 0)), Y, r"D ≥ 1, got \(3, 0\)"),
        ([[0, 0], [0, np.nan], [0, 0]], Y, r"x must be finite, got nan at \(1, 1\)"),
        ([[0, 0], [0, 0], [-np.inf, 0]], Y, r"x must be finite, got -inf at \(2, 0\)"),
        (X, Y[:2], r"y must have shape \(3,\).*got \(2,\)"),
        (X, Y[:, None], r"y must have shape \(3,\).*got \(3, 1\)"),
        (X, [0, 1, 1], r"y must hold only -1 and \+1, got 0 at 0"),
        (X, [1, -1, 2], "got 2 at 2"),
        (X, [1, np.nan, -1], "got nan at 1"),
        (X, [True, False, True], "got False at 1"),
    ],
)
def test_fit_names_what_is_wrong(make, x, y, message):
    with pytest.raises(ValueError, match=message):
        make().fit(x, y)


def test_predict_names_what_is_wrong():
    with pytest.raises(ValueError, match="call fit before"):
        Perceptron().predict(X)
    model = Perceptron().fit(X + Y[:, None], Y)
    with pytest.raises(ValueError, match=r"x must have 2 features as in fit, got shape \(1, 3\)"):
        model.predict(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="x must be finite"):
        model.predict([[0.0, np.nan]])
    with pytest.raises(ValueError, match="y must hold only"):
        model.accuracy(X, [0, 0, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(learning_rate=0.0), "learning_rate must be finite and > 0, got 0.0"),
        (dict(learning_rate=np.nan), "learning_rate must be finite and > 0, got nan"),
        (dict(num_epochs=0), "num_epochs must be an integer ≥ 1, got 0"),
        (dict(num_epochs=1.5), "num_epochs must be an integer ≥ 1, got 1.5"),
    ],
)
@pytest.mark.parametrize("make", [Perceptron, BatchPerceptron])
def test_settings_are_checked(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_variant_is_checked():
    with pytest.raises(ValueError, match=r"variant must be one of .*, got 'best'"):
        Perceptron(variant="best")


@pytest.mark.parametrize(
    "function", [margins, count_mistakes, perceptron_loss, perceptron_loss_gradient, separation]
)
def test_shapes_that_do_not_fit_are_all_named(function):
    with pytest.raises(ValueError, match=r"got \(3,\), \(3, 2\), \(3,\)"):
        function(np.ones(3), X, Y)
    with pytest.raises(ValueError, match=r"got \(2,\), \(3, 2\), \(3, 1\)"):
        function(np.ones(2), X, Y[:, None])
    with pytest.raises(ValueError, match=r"got \(2,\), \(0, 2\), \(0,\)"):
        function(np.ones(2), X[:0], Y[:0])
