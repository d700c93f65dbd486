"""Tests of the perceptron rule, its loss, the margin, Novikoff's bound and the bad inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from assignment1_perceptron_mlp.perceptron import (
    BatchPerceptron,
    Perceptron,
    add_ones,
    count_mistakes,
    fewest_mistakes,
    margins,
    mistake_bound,
    nearest_to_origin,
    perceptron_loss,
    perceptron_loss_gradient,
    perceptron_pass,
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


def whole_numbers(rng, num_examples=14):
    """Return x (N, 2), y (N,) on a coarse lattice: many scores of 0, many equal counts."""
    return rng.integers(-2, 3, size=(num_examples, 2)), rng.choice([-1, 1], size=num_examples)


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
    path, is_mistake = perceptron_pass(w, x, y, 0.1)
    w_torch, before = torch.tensor(w, requires_grad=True), w
    optimiser = torch.optim.SGD([w_torch], lr=0.1)
    for i in range(len(x)):
        optimiser.zero_grad()
        torch.relu(-y[i] * (torch.from_numpy(x[i]) @ w_torch)).backward()
        optimiser.step()
        np.testing.assert_allclose(path[i], w_torch.detach().numpy(), rtol=1e-12, atol=1e-14)
        assert is_mistake[i] == (y[i] * (before @ x[i]) <= 0)
        before = path[i]
    assert path.shape == (50, 3) and is_mistake.dtype == bool and 0 < is_mistake.sum() < 50


def test_zero_weights_count_as_mistakes_and_are_left():
    x, y = np.array([[1.0, 1.0]]), np.array([1.0])
    w = np.zeros(2)
    assert count_mistakes(w, x, y) == 1 and perceptron_loss(w, x, y) == 0.0
    np.testing.assert_array_equal(perceptron_loss_gradient(w, x, y), [-1.0, -1.0])
    path, is_mistake = perceptron_pass(w, x, y, 0.5)
    assert is_mistake.tolist() == [True]
    np.testing.assert_array_equal(path, [[0.5, 0.5]])
    np.testing.assert_array_equal(w, [0.0, 0.0])  # the caller's array is not changed


def test_a_score_of_zero_is_wrong_for_both_classes():
    for model in (Perceptron(), BatchPerceptron()):
        model.w = np.array([1.0, -1.0])  # the boundary is x = 1
        assert model.predict([[1.0], [1.5], [0.5]]).tolist() == [-1, 1, -1]
        assert model.score([[1.0], [1.5]]).tolist() == [0.0, 0.5]
        assert model.accuracy([[1.0], [1.5]], [1, 1]) == 0.5
        assert model.accuracy([[1.0], [0.5]], [-1, -1]) == 0.5


# ---- training, against a slow and plain second implementation ----


def fit_slowly(x, y, rate, num_epochs, rng=None):
    """Return {variant: w}, the mistakes of each pass, and whether the last pass had none."""
    x = [[*map(float, row), 1.0] for row in x]
    w, visited, pocket, fewest, counts = [0.0] * len(x[0]), [], None, len(x) + 1, []

    def is_wrong(w, i):
        return y[i] * sum(a * b for a, b in zip(w, x[i], strict=True)) <= 0

    for _ in range(num_epochs):
        counts.append(0)
        for i in range(len(x)) if rng is None else rng.permutation(len(x)):
            if is_wrong(w, i):
                w = [a + rate * y[i] * b for a, b in zip(w, x[i], strict=True)]
                counts[-1] += 1
                left = sum(is_wrong(w, j) for j in range(len(x)))
                if left < fewest:
                    pocket, fewest = w, left
            visited.append(w)
        if counts[-1] == 0:
            break
    averaged = [sum(column) / len(visited) for column in zip(*visited, strict=True)]
    return {"last": w, "averaged": averaged, "pocket": pocket}, counts, counts[-1] == 0


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("variant", Perceptron.variants)
def test_fit_agrees_with_a_plain_loop(variant, shuffled):
    ended = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        if seed % 2:
            x, y = whole_numbers(rng)
        else:
            x, y = two_clouds(rng, n_per_class=10, distance=rng.uniform(1, 6))
        num_epochs = int(rng.integers(1, 8))
        orders = [np.random.default_rng(seed) if shuffled else None for _ in range(2)]
        kept, counts, converged = fit_slowly(x, y, 0.5, num_epochs, orders[0])
        model = Perceptron(0.5, num_epochs, variant).fit(x, y, orders[1])
        assert model.mistakes_per_epoch == counts and model.converged is converged
        np.testing.assert_allclose(model.w, kept[variant], rtol=1e-12, atol=1e-12)
        ended.add((converged, counts[-1] == 1))
    assert ended == {(True, False), (False, False), (False, True)}  # one mistake is not none


def test_batch_agrees_with_a_plain_loop():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = two_clouds(rng, n_per_class=10, distance=rng.uniform(1, 6))
        z = y[:, None] * np.column_stack([x, np.ones(len(x))])
        w, path, counts, losses = np.zeros(3), [], [], []
        for _ in range(12):
            wrong = z @ w <= 0
            counts.append(int(wrong.sum()))
            losses.append(float(-(z @ w)[wrong].sum() / len(x)))
            if not wrong.any():
                break
            w = w + 0.5 * z[wrong].sum(axis=0) / len(x)
            path.append(w)
        for variant, wanted in (("last", w), ("averaged", np.mean(path, axis=0))):
            model = BatchPerceptron(0.5, 12, variant).fit(x, y)
            np.testing.assert_allclose(model.w, wanted, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(model.loss_per_epoch, losses, rtol=1e-12, atol=1e-14)
            assert model.mistakes_per_epoch == counts
            assert model.converged == bool((z @ w > 0).all())


def test_batch_that_converges_in_its_last_step_says_so():
    model = BatchPerceptron(num_epochs=1).fit([[2.0, -3.0]], [1])
    assert model.converged and model.mistakes_per_epoch == [1] and model.loss_per_epoch == [0.0]


def test_pocket_keeps_the_first_of_equals():
    x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 1.0])
    rows = np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 0.0]])  # 2, 1, 1, 1 mistakes
    assert fewest_mistakes(rows, x, y).tolist() == [1.0, -1.0]
    assert fewest_mistakes(rows[::-1], x, y).tolist() == [1.0, 0.0]


def test_separates_what_is_separable_with_every_variant():
    for seed in range(5):
        x, y = two_clouds(np.random.default_rng(seed))
        for variant in Perceptron.variants:
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
        batch = BatchPerceptron().fit([[2.0, -3.0]], [label])
        assert batch.predict([[2.0, -3.0]]) == label and batch.mistakes_per_epoch == [1, 0]


def test_learning_rate_changes_no_decision_from_zero():
    x, y = two_clouds(np.random.default_rng(1), distance=3.0)
    for make in (Perceptron, BatchPerceptron):
        slow, fast = make(2.0**-7, 30).fit(x, y), make(1.0, 30).fit(x, y)
        assert slow.mistakes_per_epoch == fast.mistakes_per_epoch
        np.testing.assert_array_equal(slow.w * 2**7, fast.w)  # powers of two scale exactly


def test_defaults_are_the_course_s_settings():
    for model in (Perceptron(), BatchPerceptron()):
        assert (model.learning_rate, model.num_epochs, model.variant) == (0.01, 100, "last")


def test_order_is_fixed_without_rng_and_new_in_each_pass_with_it():
    x, y = two_clouds(np.random.default_rng(3), distance=1.0)
    fixed = [Perceptron(num_epochs=4).fit(x, y).w for _ in range(2)]
    shuffled = [Perceptron(num_epochs=4).fit(x, y, np.random.default_rng(s)).w for s in (0, 0, 1)]
    np.testing.assert_array_equal(*fixed)
    np.testing.assert_array_equal(shuffled[0], shuffled[1])
    assert not np.array_equal(shuffled[0], shuffled[2])


def test_fit_again_starts_again():
    x, y = two_clouds(np.random.default_rng(3), distance=1.0)
    for model in (Perceptron(num_epochs=3), BatchPerceptron(num_epochs=3)):
        first = model.fit(x, y).w
        np.testing.assert_array_equal(model.fit(x, y).w, first)
        assert len(model.mistakes_per_epoch) == 3


def test_xor_cycles_and_never_converges():
    x = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    model = Perceptron(learning_rate=1.0, num_epochs=50).fit(x, [-1, 1, 1, -1])
    assert not model.converged and min(model.mistakes_per_epoch) > 0
    assert np.linalg.norm(model.w) < 10  # the cycling theorem: the weights stay bounded


def test_non_contiguous_float32_input_and_lists():
    x, y = two_clouds(np.random.default_rng(4), num_features=4)
    view = np.repeat(x, 2, axis=1).astype(np.float32)[:, ::2]
    assert not view.flags["C_CONTIGUOUS"]
    for make in (Perceptron, BatchPerceptron):
        model = make().fit(view, y)
        np.testing.assert_array_equal(model.w, make().fit(view.copy(), y).w)
        np.testing.assert_array_equal(model.w, make().fit(view.tolist(), y.tolist()).w)
        assert model.predict(view).shape == (len(y),)


def test_lists_do_where_arrays_do():
    w, x, y = [1.0, -2.0], [[1, 0], [0, 1], [1, 1]], [1, 1, -1]
    arrays = np.array(w), np.array(x), np.array(y)
    for function in (margins, count_mistakes, perceptron_loss, perceptron_loss_gradient):
        np.testing.assert_array_equal(function(w, x, y), function(*arrays))
    assert margins(w, x, y).tolist() == [1.0, -2.0, 1.0]
    assert separation(w, x, y) == separation(*arrays)
    np.testing.assert_array_equal(perceptron_pass(w, x, y, 1)[0], perceptron_pass(*arrays, 1)[0])
    np.testing.assert_allclose(widest_margin(x[:2], y[:2])[1], np.sqrt([0.5, 0.5]))
    assert mistake_bound([[3, 4], [3, 0]], [1, 1]) == pytest.approx(25 / 9)


# ---- margin and bound ----


@pytest.mark.parametrize(
    ("z", "nearest"),
    [
        ([[3, 4]], [3, 4]),
        ([[2, -1], [2, 5]], [2, 0]),  # inside an edge
        ([[1, 1], [4, 1], [1, 9]], [1, 1]),  # a corner
        ([[-1, -1], [2, -1], [-1, 2]], [0, 0]),  # the origin is inside
        ([[0, 0], [0, 0]], [0, 0]),
    ],
)
@pytest.mark.parametrize("unit", [1.0, 1e-12, 1e12])
def test_nearest_point_of_a_convex_hull(z, nearest, unit):
    z, nearest = unit * np.array(z), unit * np.array(nearest)
    y = np.resize([1, -1], len(z))  # the second half of the classes is mirrored
    got = nearest_to_origin(y[:, None] * z, y)
    np.testing.assert_allclose(got, nearest, atol=1e-12 * unit, rtol=1e-9)


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
        np.testing.assert_allclose(np.linalg.norm(nearest_to_origin(x, y)), gamma, rtol=1e-9)


def test_updates_never_exceed_novikoffs_bound():
    rng = np.random.default_rng(0)
    for _ in range(40):
        distance, scale = rng.uniform(2, 10), rng.uniform(0.1, 1.0)
        x, y = two_clouds(rng, distance=distance, scale=scale)
        x = x + rng.normal(size=2)
        try:
            bound = mistake_bound(add_ones(x), y)
        except ValueError:
            continue
        model = Perceptron(num_epochs=200).fit(x, y, rng)
        assert sum(model.mistakes_per_epoch) <= bound


@pytest.mark.parametrize("num_examples", [1, 2, 7, 30])
def test_bound_is_reached_by_orthogonal_examples(num_examples):
    x, y = np.eye(num_examples), np.where(np.arange(num_examples) % 2, 1, -1)
    _, is_mistake = perceptron_pass(np.zeros(len(x)), x, y, 1.0)
    np.testing.assert_allclose(mistake_bound(x, y), num_examples)
    assert is_mistake.sum() == num_examples


def test_separation_is_negative_where_one_example_is_wrong():
    assert separation([0, 2], [[0, 3], [0, -1]], [1, 1]) == -1.0  # of unit length, and the worst


def test_margin_refuses_classes_that_overlap():
    x, y = two_clouds(np.random.default_rng(0), distance=0.5)
    for overlapping, labels in ((add_ones(x), y), ([[1, 1], [1, 1]], [1, -1]), ([[0, 0]], [1])):
        with pytest.raises(ValueError, match="linearly separable"):
            widest_margin(overlapping, labels)
        with pytest.raises(ValueError, match="linearly separable"):
            mistake_bound(overlapping, labels)
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
        ([[0, 0], [0, np.nan], [np.inf, 0]], Y, r"x must be finite.*got nan at \(1, 1\)"),
        ([[0, 0], [0, 0], [-np.inf, 0]], Y, r"x must be finite.*got -inf at \(2, 0\)"),
        ([[1e200, 0], [0, 0], [0, 0]], Y, r"below 1e100, got 1e\+200 at \(0, 0\)"),
        ([[1], [2, 3], [4]], Y, "x must be an array of numbers, got"),
        ([["a", "b"]] * 3, Y, "x must hold real numbers, got dtype <U1"),
        (np.ones((3, 2), complex), Y, "x must hold real numbers, got dtype complex128"),
        (None, Y, "x must hold real numbers, got dtype object"),
        (torch.ones(3, 2, requires_grad=True), Y, "x must be an array of numbers, got"),
        (X, Y[:2], r"y must have shape \(3,\).*got \(2,\)"),
        (X, Y[:, None], r"y must have shape \(3,\).*got \(3, 1\)"),
        (X, [0, 1, 1], r"y must hold only -1 and \+1, got 0 at 0"),
        (X, [1, -1, 2], "got 2 at 2"),
        (X, [1, np.nan, -1], r"y must be finite.*got nan at \(1,\)"),
        (X, [True, False, True], "got 0 at 1"),
        (X, ["a", "b", "a"], "y must hold real numbers"),
    ],
)
def test_fit_names_what_is_wrong(make, x, y, message):
    for door in (make().fit, nearest_to_origin, widest_margin, mistake_bound):
        with pytest.raises(ValueError, match=message):
            door(x, y)


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
    with pytest.raises(ValueError, match=r"y must have shape \(3,\)"):
        model.accuracy(X, Y[:, None])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(learning_rate=0.0), "learning_rate must be a finite number > 0, got 0.0"),
        (dict(learning_rate=-0.1), "learning_rate .* got -0.1"),
        (dict(learning_rate=np.nan), "learning_rate must be a finite number > 0, got nan"),
        (dict(learning_rate=np.inf), "learning_rate .* got inf"),
        (dict(learning_rate="0.1"), "learning_rate .* got '0.1'"),
        (dict(learning_rate=True), "learning_rate .* got True"),
        (dict(num_epochs=0), "num_epochs must be an integer ≥ 1, got 0"),
        (dict(num_epochs=1.5), "num_epochs must be an integer ≥ 1, got 1.5"),
        (dict(num_epochs=True), "num_epochs must be an integer ≥ 1, got True"),
        (dict(num_epochs=None), "num_epochs must be an integer ≥ 1, got None"),
        (dict(variant="best"), r"variant must be one of .*, got 'best'"),
        (dict(variant=["last"]), r"variant must be one of .*, got \['last'\]"),
    ],
)
@pytest.mark.parametrize("make", [Perceptron, BatchPerceptron])
def test_settings_are_checked(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_batch_has_no_pocket_and_a_seed_is_no_generator():
    with pytest.raises(ValueError, match=r"variant must be one of \('last', 'averaged'\)"):
        BatchPerceptron(variant="pocket")
    with pytest.raises(ValueError, match=r"rng must be None or np.random.default_rng.*got 0"):
        Perceptron().fit(X, Y, 0)


def one_pass(w, x, y):
    return perceptron_pass(w, x, y, 1.0)


@pytest.mark.parametrize(
    "function",
    [margins, count_mistakes, perceptron_loss, perceptron_loss_gradient, separation, one_pass],
)
@pytest.mark.parametrize(
    ("w", "x", "y", "message"),
    [
        (np.ones(3), X, Y, r"w must have shape \(2,\).*got \(3,\)"),
        (np.ones((2, 1)), X, Y, r"w must have shape \(2,\).*got \(2, 1\)"),
        (np.ones(2), X, Y[:, None], r"y must have shape \(3,\).*got \(3, 1\)"),
        (np.ones(2), X[:0], Y[:0], r"x must have shape .* got \(0, 2\)"),
        ([1, np.nan], X, Y, r"w must be finite.*got nan at \(1,\)"),  # no mistake, were it let in
        (np.ones(2), X + np.nan, Y, "x must be finite"),
        (np.ones(2), X, Y - 1, "y must hold only"),
    ],
)
def test_formulas_name_what_is_wrong(function, w, x, y, message):
    with pytest.raises(ValueError, match=message):
        function(w, x, y)


@pytest.mark.parametrize("rate", [0, -1.0, np.nan, "1"])
def test_a_pass_checks_its_rate(rate):
    with pytest.raises(ValueError, match="learning_rate must be a finite number > 0"):
        perceptron_pass(np.ones(2), X, Y, rate)
