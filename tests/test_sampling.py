"""Temperature, nucleus and writing, at their edges too."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assignment2_pytorch_cnn_rnn.char_rnn import init_rnn, rnn_forward
from assignment2_pytorch_cnn_rnn.sampling import generate, nucleus, temperature_probs

LOGITS = np.array([1.0, 3.0, -2.0, 3.0, 0.0])


def params_for(K=5, m=7, seed=0):
    return init_rnn(K, m, np.random.default_rng(seed), std=0.8, dtype=np.float64)


@pytest.mark.parametrize("temperature", [1e-3, 0.5, 1, 1.0, 3.0, 1e6])
def test_probabilities_sum_to_one_and_keep_the_order(temperature):
    probs = temperature_probs(LOGITS, temperature)
    assert probs.sum() == pytest.approx(1) and (probs >= 0).all()
    assert probs[1] == probs[3] >= probs[0] >= probs[4] >= probs[2]


def test_temperature_one_is_the_softmax_and_others_are_powers_of_it():
    probs = temperature_probs(LOGITS)
    np.testing.assert_allclose(probs, np.exp(LOGITS) / np.exp(LOGITS).sum())
    powers = probs**2
    np.testing.assert_allclose(temperature_probs(LOGITS, 0.5), powers / powers.sum())
    np.testing.assert_allclose(temperature_probs(LOGITS + 1e4, 0.7), temperature_probs(LOGITS, 0.7))


def test_the_limits_of_the_temperature():
    single = np.array([0.0, 2.0, 1.0])
    assert temperature_probs(single, 0).tolist() == [0, 1, 0]
    np.testing.assert_allclose(temperature_probs(single, 1e-3), [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(temperature_probs(single, 5e-324), [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(temperature_probs(single, 1e9), [1 / 3] * 3, atol=1e-6)
    assert temperature_probs(LOGITS, 0).tolist() == [0, 1, 0, 0, 0]  # the first of two


@pytest.mark.parametrize("temperature", [-1, -1e-9, math.nan, math.inf, "warm", None, True])
def test_other_temperatures_are_refused_in_one_sentence(temperature):
    with pytest.raises(ValueError, match=r"temperature is .*; it must be 0 or more") as caught:
        temperature_probs(LOGITS, temperature)
    assert "\n" not in str(caught.value)


def test_logits_must_be_finite():
    with pytest.raises(ValueError, match="logits has NaN"):
        temperature_probs(np.array([0.0, np.nan]), 0)


PROBS = np.array([0.1, 0.4, 0.05, 0.25, 0.2])


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (1e-9, {1}),
        (0.3, {1}),
        (0.41, {1, 3}),
        (0.64, {1, 3}),
        (0.8, {1, 3, 4}),
        (0.99, {0, 1, 2, 3, 4}),
    ],
)
def test_the_nucleus_is_the_fewest_that_reach_p(p, kept):
    cut = nucleus(PROBS, p)
    assert set(np.flatnonzero(cut)) == kept and cut.sum() == pytest.approx(1)
    members = sorted(kept)
    np.testing.assert_allclose(cut[members], PROBS[members] / PROBS[members].sum())
    assert cut is not PROBS and PROBS.sum() == pytest.approx(1)


def test_p_of_exactly_what_the_first_have_needs_no_more():
    assert np.flatnonzero(nucleus(np.array([0.25, 0.5, 0.25]), 0.5)).tolist() == [1]
    assert np.flatnonzero(nucleus(np.array([0.25, 0.5, 0.25]), 0.75)).tolist() == [0, 1]


def test_p_one_changes_nothing_and_ties_go_by_the_alphabet():
    np.testing.assert_array_equal(nucleus(PROBS, 1), PROBS)
    np.testing.assert_array_equal(nucleus(PROBS), PROBS)
    assert nucleus(np.full(4, 0.25), 0.5).tolist() == [0.5, 0.5, 0, 0]
    assert np.flatnonzero(nucleus(np.full(64, 1 / 64), 0.5)).tolist() == list(range(32))
    assert nucleus(np.array([1.0, 1e-20]), 1).tolist() == [1.0, 1e-20]
    assert nucleus(np.array([0.0, 1.0, 0.0]), 0.5).tolist() == [0, 1, 0]


@pytest.mark.parametrize("p", [0, -0.1, 1.1, math.nan, "all", None])
def test_other_p_are_refused_in_one_sentence(p):
    with pytest.raises(ValueError, match=r"p is .*; it must be in \(0, 1\]") as caught:
        nucleus(PROBS, p)
    assert "\n" not in str(caught.value)


def test_writing_without_heat_is_what_the_forward_pass_says():
    params = params_for()
    written, h = generate(params, [2, 0], 6, np.random.default_rng(0), temperature=0)
    read = np.array([2, 0, *written])[:, None]
    logits, cache = rnn_forward(params, read[:-1], np.zeros((1, 7)))
    np.testing.assert_array_equal(written, logits[1:, 0].argmax(axis=1))
    np.testing.assert_allclose(h, cache[1][-1, 0])


def test_a_state_carries_the_writing_on():
    params = params_for()
    whole, end = generate(params, [1], 12, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    first, h = generate(params, [1], 5, rng)
    second, h = generate(params, first[-1:], 7, rng, h=h)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    np.testing.assert_allclose(h, end)
    other, _ = generate(params, [1], 12, np.random.default_rng(3), h=np.full(7, 0.9))
    assert not np.array_equal(other, whole)


def test_writing_follows_the_probabilities():
    params = params_for(3, 2)
    params["W_hy"][:] = 0
    params["b_y"][:] = np.log([0.6, 0.3, 0.1])
    written, _ = generate(params, [0], 4000, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(written) / 4000, [0.6, 0.3, 0.1], atol=0.03)
    only, _ = generate(params, [0], 50, np.random.default_rng(0), p=0.5)
    assert not only.any()


def test_no_characters_asked_for_are_none():
    written, h = generate(params_for(), [1], 0, np.random.default_rng(0))
    assert written.shape == (0,) and not h.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(first=[]), "first has shape"),
        (dict(first=[5]), "first has values 5 … 5; it must be 0 … 4"),
        (dict(first=[-1]), "first has values -1"),
        (dict(num_characters=-1), "num_characters is -1"),
        (dict(rng=0), "rng is 0"),
        (dict(h=np.zeros(3)), r"h has shape \(3,\)"),
        (dict(temperature=-1), "temperature is -1"),
        (dict(p=0), "p is 0"),
    ],
)
def test_what_cannot_be_written_is_refused(options, message):
    arguments = {"first": [0], "num_characters": 2, "rng": np.random.default_rng(0), **options}
    with pytest.raises(ValueError, match=message):
        generate(params_for(), **arguments)
