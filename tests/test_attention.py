"""Attention against torch.nn: outputs, weights and gradients, over shapes and masks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from assignment3_lstm_gan.attention import (
    EncoderBlock,
    MultiheadAttention,
    Positions,
    attention,
    join_masks,
    sinusoidal_positions,
)

EXACT = dict(rtol=1e-10, atol=1e-10)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def padding_mask(N, S):
    """The first text is whole, each further one is two tokens shorter, but has one or more."""
    lengths = torch.tensor([max(1, S - 2 * n) for n in range(N)])
    return torch.arange(S) >= lengths[:, None]


# ---- the formula


def test_attention_is_the_formula():
    q, k, v = random(2, 3, 5, 4), random(2, 3, 7, 4, seed=1), random(2, 3, 7, 6, seed=2)
    out, weights = attention(q, k, v)
    for n, h, t in itertools.product(range(2), range(3), range(5)):
        scores = np.array([float(q[n, h, t] @ k[n, h, s]) / math.sqrt(4) for s in range(7)])
        share = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[n, h, t], share, rtol=1e-12)
        np.testing.assert_allclose(out[n, h, t], share @ v[n, h].numpy(), rtol=1e-12, atol=1e-12)


def test_equal_keys_share_and_a_loud_key_takes_all():
    v = random(1, 3, 2)
    out, weights = attention(torch.ones(1, 1, 4), torch.ones(1, 3, 4), v.float())
    torch.testing.assert_close(weights, torch.full((1, 1, 3), 1 / 3))
    torch.testing.assert_close(out[0, 0], v[0].mean(dim=0).float())
    keys = torch.tensor([[[0.0], [1e4], [0.0]]])
    loud, _ = attention(torch.full((1, 1, 1), 1e4), keys, v.float())
    assert torch.equal(loud[0, 0], v[0, 1].float())


@pytest.mark.parametrize("hidden", [[True, False, True], [True, True, True]])
def test_hidden_keys_are_never_seen(hidden):
    q, k, v = random(1, 2, 4), random(1, 3, 4, seed=1), random(1, 3, 5, seed=2)
    bias = torch.zeros(1, 1, 3, dtype=torch.float64)
    bias[..., torch.tensor(hidden)] = -math.inf
    out, weights = attention(q, k, v, bias)
    assert (weights[..., torch.tensor(hidden)] == 0).all()
    other = v.clone()
    other[:, torch.tensor(hidden)] = 1e6
    assert torch.equal(out, attention(q, k, other, bias)[0])
    if all(hidden):
        assert (out == 0).all()
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v, bias), **EXACT)


def test_a_blind_query_has_finite_gradients():
    q, k, v = (random(1, 3, 4, seed=n).requires_grad_() for n in range(3))
    bias = torch.zeros(3, 3, dtype=torch.float64)
    bias[1] = -math.inf  # the second query sees nothing
    out, _ = attention(q, k, v, bias)
    out.square().sum().backward()
    assert all(x.grad.isfinite().all() for x in (q, k, v))
    assert (q.grad[0, 1] == 0).all() and (q.grad[0, 0] != 0).any()


def test_masks_of_both_kinds_are_added():
    padding = torch.tensor([[False, True], [False, False]])
    added = torch.tensor([[0.5, 0.0], [0.0, -0.5]])
    bias = join_masks(padding, added, 1, torch.float32)
    assert bias.shape == (2, 1, 2, 2)
    assert bias[0, 0].tolist() == [[0.5, -math.inf], [0.0, -math.inf]]
    assert torch.equal(bias[1, 0], added)
    assert join_masks(None, None, 2, torch.float32) is None
    per_head = torch.arange(2 * 3 * 4.0).view(2 * 3, 2, 2)  # text 0 has its three heads first
    assert torch.equal(join_masks(None, per_head, 3, torch.float32)[1, 2], per_head[5])


# ---- several heads, against torch


def causal(T, S):
    return torch.ones(T, S).triu(1).bool()


MASKS = {
    "none": lambda N, h, T, S: (None, None),
    "padding": lambda N, h, T, S: (padding_mask(N, S), None),
    "causal": lambda N, h, T, S: (None, causal(T, S)),
    "both": lambda N, h, T, S: (padding_mask(N, S), causal(T, S)),
    "per head": lambda N, h, T, S: (
        None,
        causal(T, S) ^ (torch.arange(N * h) % 2 == 1)[:, None, None] & ~torch.eye(T, S).bool(),
    ),
    "floating": lambda N, h, T, S: (None, random(T, S, seed=9)),
}


def twins(E, h, bias=True, seed=0):
    """Ours with the weights of torch's."""
    torch.manual_seed(seed)
    theirs = nn.MultiheadAttention(E, h, bias=bias, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for p in theirs.parameters():
            p.normal_(0, 0.5)  # no bias is 0
    ours = MultiheadAttention(E, h, bias=bias, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize(("N", "T", "S"), [(1, 1, 1), (3, 5, 5), (4, 3, 6)])
@pytest.mark.parametrize(("E", "h", "bias"), [(8, 1, True), (12, 3, True), (6, 6, False)])
def test_multihead_attention_is_torchs(name, N, T, S, E, h, bias):
    ours, theirs = twins(E, h, bias)
    key_padding_mask, attn_mask = MASKS[name](N, h, T, S)
    inputs = [random(N, L, E, seed=n) for n, L in enumerate((T, S, S))]
    results = []
    for module in (ours, theirs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out, weights = module(
            *leaves,
            key_padding_mask=key_padding_mask,
            attn_mask=attn_mask,
            average_attn_weights=False,
        )
        parameters = list(module.parameters())
        loss = (out * random(*out.shape, seed=5)).sum() + weights.square().sum()
        grads = torch.autograd.grad(loss, leaves + parameters)
        results.append((out, weights, *grads))
    torch.testing.assert_close(*results, **EXACT)
    mean = ours(*inputs, key_padding_mask, attn_mask=attn_mask)[1]
    torch.testing.assert_close(mean, results[0][1].mean(dim=1), **EXACT)
    fused, nothing = ours(*inputs, key_padding_mask, False, attn_mask)
    assert nothing is None
    torch.testing.assert_close(fused, results[0][0], **EXACT)


def test_a_state_dict_goes_back_and_the_start_is_torchs():
    torch.manual_seed(3)
    ours = MultiheadAttention(8, 2)
    torch.manual_seed(3)
    theirs = nn.MultiheadAttention(8, 2)
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name
    theirs.load_state_dict(ours.state_dict())


def test_a_mask_that_hides_all_gives_the_output_bias():
    ours, _ = twins(8, 2)
    x = random(2, 3, 8)
    hidden = torch.tensor([[True, True, True], [False, False, True]])
    for need_weights in (True, False):
        out, weights = ours(x, x, x, hidden, need_weights)
        torch.testing.assert_close(out[0], ours.out_proj.bias.expand(3, 8), **EXACT)
        assert out.isfinite().all() and (weights is None or (weights[0] == 0).all())
        out.sum().backward()
    assert all(p.grad.isfinite().all() for p in ours.parameters())


def test_dropout_acts_in_training_only_and_keeps_the_mean():
    torch.manual_seed(0)
    ours = MultiheadAttention(4, 1, dropout=0.5)
    x = torch.randn(1, 50, 4)
    kept = ours(x, x, x)[1]
    assert (kept == 0).float().mean().sub(0.5).abs() < 0.05
    ours.eval()
    plain = ours(x, x, x)[1]
    assert (plain > 0).all()
    torch.testing.assert_close(kept[kept > 0], 2 * plain[kept > 0])


def test_not_contiguous_and_a_second_backward():
    ours, theirs = twins(8, 2)
    x = random(8, 5, 3).permute(2, 1, 0)
    assert not x.is_contiguous()
    torch.testing.assert_close(ours(x, x, x)[0], theirs(x, x, x)[0], **EXACT)
    for _ in range(2):
        ours(x, x, x)[0].sum().backward()
    once = [p.grad / 2 for p in ours.parameters()]
    ours.zero_grad()
    ours(x, x, x)[0].sum().backward()
    torch.testing.assert_close(once, [p.grad for p in ours.parameters()], **EXACT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 4), "embed_dim is 10; num_heads=4 must divide it"),
        ((0, 1), "embed_dim is 0"),
        ((8, 0), "num_heads is 0"),
        ((8, 2.0), "num_heads is 2.0"),
        ((8, 2, 1.5), "dropout is 1.5"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiheadAttention(*arguments)


@pytest.mark.parametrize(
    ("shapes", "masks", "message"),
    [
        (((3, 8), (3, 8), (3, 8)), {}, r"query has shape \(3, 8\); it must be \(N, tokens, 8\)"),
        (((1, 3, 8), (1, 4, 6), (1, 4, 6)), {}, r"key has shape \(1, 4, 6\)"),
        (((1, 3, 8), (1, 4, 8), (1, 5, 8)), {}, "as many values as keys"),
        (((1, 3, 8), (2, 4, 8), (2, 4, 8)), {}, "equally many texts"),
        (((1, 0, 8), (1, 4, 8), (1, 4, 8)), {}, r"query has shape \(1, 0, 8\)"),
        (
            ((2, 3, 8), (2, 4, 8), (2, 4, 8)),
            {"key_padding_mask": (2, 3)},
            r"key_padding_mask has shape \(2, 3\); it must be \(2, 4\)",
        ),
        (
            ((2, 3, 8), (2, 4, 8), (2, 4, 8)),
            {"attn_mask": (2, 3, 4)},
            r"attn_mask has shape \(2, 3, 4\); it must be \(3, 4\) or \(4, 3, 4\)",
        ),
    ],
)
def test_inputs_that_do_not_fit(shapes, masks, message):
    masks = {name: torch.zeros(shape, dtype=torch.bool) for name, shape in masks.items()}
    with pytest.raises(ValueError, match=message):
        MultiheadAttention(8, 2)(*(torch.zeros(shape) for shape in shapes), **masks)


# ---- positions


@pytest.mark.parametrize(("T", "E"), [(1, 2), (7, 6), (300, 64)])
def test_sinusoidal_positions_are_the_formula(T, E):
    table = sinusoidal_positions(T, E)
    assert table.shape == (T, E) and table.dtype == torch.float32
    for t, i in itertools.product({0, T // 2, T - 1}, range(E // 2)):
        angle = t / 10_000 ** (2 * i / E)
        assert table[t, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[t, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_step_along_is_the_same_turn_everywhere():
    table = sinusoidal_positions(50, 8).double()
    turn = torch.linalg.lstsq(table[:-3], table[3:]).solution  # three places on
    torch.testing.assert_close(table[:-3] @ turn, table[3:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["none", "sinusoidal", "learned"])
def test_positions_are_added_from_the_left(kind):
    torch.manual_seed(0)
    positions, x = Positions(kind, 6, 4), torch.randn(2, 5, 4)
    added = (positions(x) - x).detach()
    torch.testing.assert_close(added[0], added[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(positions(x)[:, :3], positions(x[:, :3]))
    assert (added == 0).all() == (kind == "none")
    assert sum(p.numel() for p in positions.parameters()) == (24 if kind == "learned" else 0)
    if kind != "none":
        assert added[0].square().sum(dim=1).mean() == pytest.approx(1, rel=0.7)
        with pytest.raises(ValueError, match="x has 7 tokens; max_len is 6"):
            positions(torch.zeros(1, 7, 4))


def test_positions_that_are_not_allowed():
    with pytest.raises(ValueError, match="positions is 'rotary'; it must be one of none"):
        Positions("rotary", 4, 4)
    with pytest.raises(ValueError, match="embed_dim is 5"):
        sinusoidal_positions(4, 5)
    with pytest.raises(ValueError, match="num_positions is 0"):
        sinusoidal_positions(0, 4)


# ---- the block, against torch


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("name", ["none", "padding", "causal"])
@pytest.mark.parametrize(("N", "T", "E", "h"), [(1, 1, 4, 1), (3, 5, 12, 3), (4, 9, 8, 2)])
def test_encoder_block_is_torchs(norm_first, name, N, T, E, h):
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(
        E, h, 20, dropout=0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64
    )
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.3 * torch.randn(p.shape, dtype=p.dtype))  # no scale is 1, no bias 0
    ours = EncoderBlock(E, h, 20, dropout=0.0, norm_first=norm_first).double()
    ours.load_state_dict(theirs.state_dict())
    padding, mask = MASKS[name](N, h, T, T)
    results = []
    for module in (ours, theirs):
        x = random(N, T, E).requires_grad_()
        out = module(x, src_mask=mask, src_key_padding_mask=padding)
        if padding is not None:
            out = out.masked_fill(padding[:, :, None], 0.0)
        loss = (out * random(*out.shape, seed=5)).sum()
        results.append((out, *torch.autograd.grad(loss, [x, *module.parameters()])))
    torch.testing.assert_close(*results, **EXACT)


def test_encoder_block_drops_in_training_only():
    torch.manual_seed(0)
    block, x = EncoderBlock(8, 2, 16, dropout=0.5), torch.randn(2, 3, 8)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))
    with pytest.raises(ValueError, match="num_heads=3 must divide it"):
        EncoderBlock(8, 3)
    with pytest.raises(ValueError, match="dim_feedforward is 0"):
        EncoderBlock(8, 2, 0)
