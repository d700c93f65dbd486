"""The character RNN: gradients against differences and torch, chunks, the course's update."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from assignment1_perceptron_mlp.numpy_optim import Adam
from assignment2_pytorch_cnn_rnn import char_rnn
from assignment2_pytorch_cnn_rnn.char_rnn import (
    AdaGrad,
    clip_values,
    evaluate_rnn,
    init_rnn,
    make_streams,
    rnn_backward,
    rnn_forward,
    sequence_loss,
    smooth_losses,
    train_rnn,
)
from shared.checks import compare_gradients, numerical_gradient

SHAPES = [(1, 1, 2, 1), (1, 4, 5, 3), (7, 1, 5, 3), (6, 4, 9, 8), (25, 1, 12, 10), (3, 2, 1, 4)]


def example(T, B, K, m, seed=0):
    """Parameters in float64 that are not small, x, y, h0 and a dropout mask."""
    rng = np.random.default_rng(seed)
    params = init_rnn(K, m, rng, std=0.5, dtype=np.float64)
    params["b_h"] += rng.normal(size=m)
    params["b_y"] += rng.normal(size=K)
    x, y = rng.integers(0, K, (2, T, B))
    mask = (rng.random((T, B, m)) < 0.7) / 0.7
    return params, x, y, rng.normal(size=(B, m)), mask


def by_hand(params, x, y, h0, mask=None):
    logits, cache = rnn_forward(params, x, h0, mask)
    loss, dlogits = sequence_loss(logits, y)
    grads, dh0 = rnn_backward(params, dlogits, cache)
    return loss, {**grads, "h0": dh0}, logits, cache


def by_torch(params, x, y, h0, mask=None):
    """The same from nn.RNN, a linear layer and cross entropy; gradients in our layout."""
    (T, B), (K, m) = x.shape, params["W_xh"].shape
    rnn, head = torch.nn.RNN(K, m).double(), torch.nn.Linear(m, K).double()
    p = {name: torch.from_numpy(value) for name, value in params.items()}
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(p["W_xh"].T)
        rnn.weight_hh_l0.copy_(p["W_hh"].T)
        rnn.bias_ih_l0.copy_(p["b_h"])
        rnn.bias_hh_l0.zero_()
        head.weight.copy_(p["W_hy"].T)
        head.bias.copy_(p["b_y"])
    start = torch.tensor(h0)[None].requires_grad_()
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(x), K).double()
    h, _ = rnn(one_hot, start)
    logits = head(h if mask is None else h * torch.from_numpy(mask))
    flat = logits.reshape(T * B, K), torch.from_numpy(y).reshape(T * B)
    loss = torch.nn.functional.cross_entropy(*flat, reduction="sum") / B
    loss.backward()
    grads = {
        "W_xh": rnn.weight_ih_l0.grad.T,
        "W_hh": rnn.weight_hh_l0.grad.T,
        "b_h": rnn.bias_ih_l0.grad,
        "W_hy": head.weight.grad.T,
        "b_y": head.bias.grad,
        "h0": start.grad[0],
    }
    return loss.item(), grads, logits.detach().numpy()


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_loss_and_gradients_are_torchs(shape, dropout):
    *arguments, mask = example(*shape)
    mask = mask if dropout else None
    loss, grads, logits, _ = by_hand(*arguments, mask)
    loss_torch, grads_torch, logits_torch = by_torch(*arguments, mask)
    assert abs(loss - loss_torch) < 1e-10
    np.testing.assert_allclose(logits, logits_torch, rtol=0, atol=1e-10)
    for name, g in grads.items():
        np.testing.assert_allclose(g, grads_torch[name], rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("shape", [(1, 1, 2, 1), (5, 1, 4, 3), (4, 3, 5, 4)])
def test_gradients_are_those_of_finite_differences(shape):
    params, x, y, h0, mask = example(*shape)
    _, grads, *_ = by_hand(params, x, y, h0, mask)

    def loss(_):
        return by_hand(params, x, y, h0, mask)[0]

    expected = {name: numerical_gradient(loss, p) for name, p in {**params, "h0": h0}.items()}
    assert compare_gradients(grads, expected, tolerance=1e-6, verbose=False) < 1e-6


def test_forward_and_backward_leave_their_arguments_alone():
    params, x, y, h0, mask = example(6, 4, 9, 8)
    kept = {name: p.copy() for name, p in {**params, "h0": h0, "mask": mask}.items()}
    first = by_hand(params, x, y, h0, mask)[1]
    second = by_hand(params, x, y, h0, mask)[1]
    for name, value in {**params, "h0": h0, "mask": mask}.items():
        np.testing.assert_array_equal(value, kept[name])
    for name, g in first.items():
        np.testing.assert_array_equal(g, second[name])


def test_streams_of_a_batch_know_nothing_of_each_other():
    params, x, y, h0, _ = example(6, 4, 9, 8)
    loss, grads, logits, _ = by_hand(params, x, y, h0)
    alone = [by_hand(params, x[:, [b]], y[:, [b]], h0[[b]]) for b in range(4)]
    assert loss == pytest.approx(np.mean([one[0] for one in alone]))
    np.testing.assert_allclose(logits, np.concatenate([one[2] for one in alone], axis=1))
    for name in params:
        np.testing.assert_allclose(grads[name], np.mean([one[1][name] for one in alone], axis=0))


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_two_chunks_with_the_state_carried_read_like_one(cut):
    params, x, _, h0, _ = example(6, 2, 9, 8)
    whole, cache = rnn_forward(params, x, h0)
    first, half = rnn_forward(params, x[:cut], h0)
    second, end = rnn_forward(params, x[cut:], half[1][-1])
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-13)
    np.testing.assert_allclose(end[1][-1], cache[1][-1], atol=1e-13)


def test_a_lookup_is_the_one_hot_product():
    params, x, *_ = example(6, 4, 9, 8)
    one_hot = np.eye(9)[x]
    np.testing.assert_allclose(params["W_xh"][x], one_hot @ params["W_xh"], atol=1e-15)


def test_float32_stays_float32():
    params = init_rnn(5, 4, np.random.default_rng(0))
    x = np.zeros((3, 2), int)
    logits, cache = rnn_forward(params, x, np.zeros((2, 4), np.float32))
    _, dlogits = sequence_loss(logits, x)
    grads, dh0 = rnn_backward(params, dlogits, cache)
    found = {logits.dtype, dlogits.dtype, dh0.dtype, cache[1].dtype}
    assert found | {g.dtype for g in grads.values()} == {np.dtype(np.float32)}


def test_huge_logits_give_a_finite_loss():
    logits = np.array([[[1e4, -1e4, 0.0]]])
    loss, dlogits = sequence_loss(logits, np.array([[1]]))
    assert loss == pytest.approx(2e4) and np.isfinite(dlogits).all()


def test_the_start_has_the_scale_that_it_says():
    params = init_rnn(65, 100, np.random.default_rng(0))
    assert {name: p.shape for name, p in params.items()} == {
        "W_xh": (65, 100), "W_hh": (100, 100), "b_h": (100,), "W_hy": (100, 65), "b_y": (65,),
    }  # fmt: skip
    for name in ("W_xh", "W_hh", "W_hy"):
        assert params[name].std() == pytest.approx(0.01, rel=0.05)
    assert not params["b_h"].any() and not params["b_y"].any()
    params = init_rnn(65, 100, np.random.default_rng(0), orthogonal=True, dtype=np.float64)
    np.testing.assert_allclose(params["W_hh"] @ params["W_hh"].T, np.eye(100), atol=1e-12)
    assert np.square(params["W_xh"]).sum(axis=1).mean() == pytest.approx(1, rel=0.1)
    assert params["W_hy"].std() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_adagrad_is_torchs(rate):
    rng = np.random.default_rng(0)
    params = {"W": rng.normal(size=(70, 600)), "b": rng.normal(size=5)}
    twins = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
    ours, theirs = AdaGrad(params, rate), torch.optim.Adagrad(twins.values(), rate)
    for _ in range(5):
        grads = {name: rng.normal(size=p.shape) for name, p in params.items()}
        kept = {name: g.copy() for name, g in grads.items()}
        for name, g in grads.items():
            twins[name].grad = torch.tensor(g)
        ours.step(grads)
        theirs.step()
        for name in params:
            np.testing.assert_allclose(params[name], twins[name].detach(), rtol=0, atol=1e-12)
            np.testing.assert_array_equal(grads[name], kept[name])


def test_values_are_clipped_one_by_one_in_place():
    g = np.array([-7.0, -5.0, 0.1, 5.0, 6.0])
    grads = {"b": g, "W": np.full((2, 2), 0.5)}
    clip_values(grads)
    assert grads["b"] is g and g.tolist() == [-5, -5, 0.1, 5, 5]
    assert (grads["W"] == 0.5).all()
    clip_values(grads, 0.2)
    assert g.tolist() == [-0.2, -0.2, 0.1, 0.2, 0.2]


@pytest.mark.parametrize(
    ("N", "B", "L"), [(11, 1, 10), (11, 2, 5), (11, 3, 3), (12, 3, 3), (2, 1, 1)]
)
def test_streams_are_stretches_of_the_text(N, B, L):
    ids = np.arange(N)
    x, y = make_streams(ids, B)
    assert x.shape == y.shape == (L, B)
    for b in range(B):
        assert x[:, b].tolist() == list(range(b * L, (b + 1) * L))
    assert (y == x + 1).all()


def snapshots(carry, ids, steps=5, length=4, batch_size=2):
    """The states before each step, with a rate of 0: the parameters never change."""
    params = init_rnn(6, 5, np.random.default_rng(1), std=0.7, dtype=np.float64)
    states = []
    train_rnn(
        params, AdaGrad(params, 0.0), ids, steps, length=length, batch_size=batch_size,
        carry=carry, watch=lambda step, p, h: states.append(h.copy()),
    )  # fmt: skip
    return params, states


def test_the_state_is_carried_on_until_the_text_ends():
    ids = np.random.default_rng(0).integers(0, 6, 27)  # two streams of 13: three chunks of 4
    params, states = snapshots(True, ids)
    x, _ = make_streams(ids, 2)
    _, cache = rnn_forward(params, x, np.zeros((2, 5)))
    assert len(states) == 6
    for step, place in enumerate((0, 4, 8)):
        np.testing.assert_allclose(states[step], cache[1][place], atol=1e-14)
    assert not states[3].any()  # the text from the beginning
    np.testing.assert_allclose(states[4], cache[1][4], atol=1e-14)
    assert not np.any(snapshots(False, ids)[1])


def test_a_last_chunk_that_fits_is_read():
    ids = np.random.default_rng(0).integers(0, 6, 25)  # two streams of 12: three chunks of 4
    _, states = snapshots(True, ids)
    assert states[1].any() and states[2].any() and not states[3].any()


def test_the_loss_of_each_chunk_is_per_character():
    ids = np.random.default_rng(0).integers(0, 6, 27)
    params = init_rnn(6, 5, np.random.default_rng(1), std=0.7, dtype=np.float64)
    history = train_rnn(params, AdaGrad(params, 0.0), ids, 3, length=4, batch_size=2)
    assert history["loss"].mean() == pytest.approx(evaluate_rnn(params, ids, 2, 12), rel=0.2)
    x, y = make_streams(ids, 2)
    logits, _ = rnn_forward(params, x[:12], np.zeros((2, 5)))
    assert history["loss"].mean() * 12 == pytest.approx(sequence_loss(logits, y[:12])[0])
    assert history["seconds"] > 0


@pytest.mark.parametrize("length", [1, 7, 100])
def test_evaluation_does_not_depend_on_the_chunks(length):
    ids = np.random.default_rng(0).integers(0, 6, 101)
    params = init_rnn(6, 5, np.random.default_rng(1), std=0.7, dtype=np.float64)
    x, y = make_streams(ids, 1)
    expected = sequence_loss(rnn_forward(params, x, np.zeros((1, 5)))[0], y)[0] / 100
    assert evaluate_rnn(params, ids, 1, length) == pytest.approx(expected)


def test_evaluation_goes_on_from_the_states_that_it_is_given():
    ids = np.random.default_rng(0).integers(0, 6, 101)
    params = init_rnn(6, 5, np.random.default_rng(1), std=0.7, dtype=np.float64)
    given = np.random.default_rng(2).normal(size=(3, 5))
    for batch_size in (1, 2, 3, 7):  # fewer streams than states, and more
        x, y = make_streams(ids, batch_size)
        h0 = given[np.arange(batch_size) % 3]
        expected = sequence_loss(rnn_forward(params, x, h0)[0], y)[0] / len(x)
        assert evaluate_rnn(params, ids, batch_size, 9, given) == pytest.approx(expected)
    zeros = evaluate_rnn(params, ids, 4, h=np.zeros((1, 5)))
    assert evaluate_rnn(params, ids, 4) == zeros != evaluate_rnn(params, ids, 4, h=given)


@pytest.mark.parametrize("shape", [(5,), (0, 5), (2, 4)])
def test_states_of_another_shape_are_refused(shape):
    params = init_rnn(6, 5, np.random.default_rng(1))
    with pytest.raises(ValueError, match=r"h has shape \(") as caught:
        evaluate_rnn(params, np.arange(6), h=np.zeros(shape))
    assert "\n" not in str(caught.value)


def test_training_returns_the_state_that_it_ended_in():
    ids = np.random.default_rng(0).integers(0, 6, 60)
    params = init_rnn(6, 5, np.random.default_rng(1), std=0.7, dtype=np.float64)
    x, _ = make_streams(ids, 2)
    h = train_rnn(params, AdaGrad(params, 0.0), ids, 3, length=4, batch_size=2)["h"]
    np.testing.assert_allclose(h, rnn_forward(params, x[:12], np.zeros((2, 5)))[1][1][-1])


def test_equal_seeds_give_equal_weights_with_dropout_too():
    ids = np.random.default_rng(0).integers(0, 6, 300)
    found = []
    for _ in range(2):
        params = init_rnn(6, 8, np.random.default_rng(1), orthogonal=True)
        options = dict(length=5, batch_size=3, dropout=0.5, rng=np.random.default_rng(2))
        train_rnn(params, Adam(params, 0.01), ids, 20, **options)
        found.append(params)
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_dropout_drops_its_share_and_keeps_the_mean(monkeypatch):
    masks = []

    def forward(params, x, h0, mask=None):
        masks.append(mask)
        return rnn_forward(params, x, h0, mask)

    monkeypatch.setattr(char_rnn, "rnn_forward", forward)
    ids = np.random.default_rng(0).integers(0, 6, 300)
    params = init_rnn(6, 50, np.random.default_rng(1))
    options = dict(length=10, batch_size=3, dropout=0.2, rng=np.random.default_rng(2))
    train_rnn(params, AdaGrad(params, 0.0), ids, 4, **options)
    mask = np.stack(masks)
    assert mask.dtype == np.float32 and mask.shape == (4, 10, 3, 50)
    np.testing.assert_allclose(np.unique(mask), [0, 1.25])
    assert (mask == 0).mean() == pytest.approx(0.2, abs=0.02)
    train_rnn(params, AdaGrad(params, 0.0), ids, 1)
    assert masks[-1] is None


def test_a_repeated_pattern_is_learnt():
    ids = np.tile([0, 1, 1, 2], 200)  # after a 1 only the character before it tells what comes
    params = init_rnn(3, 16, np.random.default_rng(0), std=0.1)
    history = train_rnn(params, AdaGrad(params), ids, 600)
    assert history["loss"][0] == pytest.approx(np.log(3), abs=0.1)
    assert evaluate_rnn(params, ids, 1) < 0.05


def test_the_schedule_sets_the_rate_and_clip_may_be_left_out():
    ids = np.random.default_rng(0).integers(0, 6, 300)
    params = init_rnn(6, 8, np.random.default_rng(1))
    optimizer, rates = AdaGrad(params, 1.0), [0.3, 0.2, 0.1]
    train_rnn(params, optimizer, ids, 3, clip=None, schedule=lambda step: rates[step])
    assert optimizer.learning_rate == 0.1


def test_a_text_shorter_than_a_chunk_is_one_chunk():
    params = init_rnn(3, 4, np.random.default_rng(0))
    history = train_rnn(params, AdaGrad(params), np.array([0, 1, 2, 0]), 3)
    assert history["loss"].shape == (3,)


def test_smooth_losses_are_the_courses():
    losses = np.array([4.0, 2.0, 3.0])
    expected = list(itertools.accumulate(25 * losses, lambda s, loss: 0.999 * s + 0.001 * loss))
    np.testing.assert_allclose(smooth_losses(losses), expected)
    assert smooth_losses(losses[:1], length=4).tolist() == [16.0]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([], int), r"ids has shape \(0,\)"),
        (np.array([1]), "ids has 1 character; there is nothing that comes after it"),
        (np.array([0, 3]), "ids has values 0 … 3; the network knows 0 … 2"),
        (np.array([-1, 2]), "ids has values -1 … 2"),
        (np.array([0.0, 1.0]), "ids has dtype float64; it must be integers"),
        (np.array([[0, 1]]), r"ids has shape \(1, 2\)"),
    ],
)
def test_what_is_no_text_is_refused_in_one_sentence(ids, message):
    params = init_rnn(3, 4, np.random.default_rng(0))
    for use in (
        lambda: train_rnn(params, AdaGrad(params), ids, 1),
        lambda: evaluate_rnn(params, ids),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(length=0), "length is 0"),
        (dict(batch_size=0), "batch_size is 0"),
        (dict(batch_size=30), "the text has 30 characters; 30 streams need more"),
        (dict(dropout=1.0), "dropout is 1.0"),
        (dict(dropout=0.5), "rng is None"),
        (dict(num_steps=0), "num_steps is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    params = init_rnn(3, 4, np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        train_rnn(params, AdaGrad(params), np.arange(30) % 3, **{"num_steps": 2, **options})


def test_a_start_needs_sizes_and_a_generator():
    rng = np.random.default_rng(0)
    for arguments, message in [
        ((0, 5, rng), "K is 0"), ((5, 0, rng), "m is 0"), ((5, 5, 7), "rng is 7"),
        ((5, 5, rng, -1.0), "std is -1.0"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            init_rnn(*arguments)


def test_a_loss_that_is_not_finite_stops_training():
    params = init_rnn(3, 4, np.random.default_rng(0))
    params["W_hy"][:] = np.nan
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        train_rnn(params, AdaGrad(params), np.arange(40) % 3, 2)
