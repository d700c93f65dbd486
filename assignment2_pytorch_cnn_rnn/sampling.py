"""Writing with a recurrent network: temperature, nucleus, one character after the other."""

from __future__ import annotations

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import (
    check_number,
    check_rng,
    check_shape,
    check_whole,
)


def temperature_probs(logits, temperature=1.0):
    """Return softmax(logits / temperature) of shape (K,).

    temperature: 1 is what the network says, below 1 the likely gets likelier; 0 is the limit: all
    on the largest logit, on the first of several equal ones.
    """
    check_number("temperature", temperature)
    if not np.isfinite(logits).all():
        raise ValueError("logits has NaN or infinity; there is nothing to draw from")
    logits = np.asarray(logits, dtype=np.float64)
    if temperature == 0:
        return np.eye(len(logits))[np.argmax(logits)]
    with np.errstate(over="ignore"):  # −inf after the division is the right limit
        exps = np.exp((logits - logits.max()) / temperature)
    return exps / exps.sum()


def nucleus(probs, p=1.0):
    """Return probs (K,) with only the likeliest characters that make up p together, rescaled.

    Kept are the fewest, from the likeliest on, that sum to p or more; of equally likely ones those
    that come first in the alphabet. p = 1 changes nothing.
    Source: Holtzman et al. 2020, section 3.
    """
    check_number("p", p, 0, 1, "(]")
    if p == 1:
        return probs
    order = np.argsort(-probs, kind="stable")
    before = np.cumsum(probs[order]) - probs[order]  # what the likelier ones make up
    kept = order[before < p]
    cut = np.zeros_like(probs)
    cut[kept] = probs[kept]
    return cut / cut.sum()


def generate(params, first, num_characters, rng, *, h=None, temperature=1.0, p=1.0):
    """Return what the network writes after `first`: numbers (num_characters,), and the last state.

    Args:
        first: (N,) numbers of the text to go on from, one character or more.
        h: (m,) the state before the first of them; zeros where None.
        temperature, p: see temperature_probs and nucleus.
    """
    check_rng(rng)
    check_whole(0, num_characters=num_characters)
    K, m = params["W_xh"].shape
    check_shape("first", first, (None,))
    if min(first) < 0 or max(first) >= K:
        raise ValueError(f"first has values {min(first)} … {max(first)}; it must be 0 … {K - 1}")
    h = np.zeros(m, params["W_hh"].dtype) if h is None else np.asarray(h)
    check_shape("h", h, (m,))
    written = np.empty(num_characters, dtype=np.int64)
    given = list(first)
    for n in range(len(given) + num_characters - 1):
        x = given[n] if n < len(given) else written[n - len(given)]
        h = np.tanh(params["W_xh"][x] + h @ params["W_hh"] + params["b_h"])
        if n >= len(given) - 1:  # everything given is read: write
            logits = h @ params["W_hy"] + params["b_y"]
            probs = nucleus(temperature_probs(logits, temperature), p)
            written[n - len(given) + 1] = rng.choice(K, p=probs)
    return written, h
