"""Attention from scratch: the formula, many heads, positions, the encoder block, a classifier.

Batches come first, always: x is (N, T, E), N texts of T tokens with E numbers each. Names of
parameters and their start values are those of torch.nn.MultiheadAttention and
torch.nn.TransformerEncoderLayer, so a state dict goes both ways.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from assignment1_perceptron_mlp.numpy_layers import check_number, check_whole

PADDING = 0  # the token that fills up short texts
POSITIONS = ("none", "sinusoidal", "learned")

# ---- attention ----


def attention(q, k, v, bias=None, dropout=0.0):
    """Return out (…, T, E) = weights · v, and the weights (…, T, S), whose rows add up to 1.

    Args:
        q: (…, T, D) one query per row. k: (…, S, D) the keys. v: (…, S, E) the values.
        bias: (…, T, S) is added to the scores; −inf hides a key. A query all of whose keys are
            hidden has weights 0 and output 0. None hides nothing.
        dropout: the share of weights that are set to 0; the others grow to make up for it.
    Source: Vaswani et al. 2017, equation 1.
    """
    scores = q @ (k.mT / math.sqrt(q.shape[-1]))  # (…, T, S)
    if bias is not None:
        blind = (bias == -math.inf).all(dim=-1, keepdim=True)  # (…, T, 1): nothing to look at
        scores = scores + bias.masked_fill(blind, 0.0)  # a softmax of −inf alone would be NaN
    weights = scores.softmax(dim=-1)
    if bias is not None and blind.any():
        weights = weights.masked_fill(blind, 0.0)
    if dropout:
        weights = F.dropout(weights, dropout)
    return weights @ v, weights


def join_masks(key_padding_mask, attn_mask, num_heads, dtype):
    """Return both masks as one bias (N or 1, heads or 1, T or 1, S) for the scores, or None.

    Args:
        key_padding_mask: (N, S), True where a key is padding.
        attn_mask: (T, S) or (N · heads, T, S), True where a query may not look.
        Floating masks are added to the scores as they are.
    """
    masks = []
    if key_padding_mask is not None:
        masks.append(key_padding_mask[:, None, None, :])
    if attn_mask is not None:
        masks.append(attn_mask if attn_mask.ndim == 2 else attn_mask.unflatten(0, (-1, num_heads)))
    for n, mask in enumerate(masks):
        if mask.dtype == torch.bool:
            masks[n] = torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)
    return sum(masks) if masks else None


def split_heads(x, num_heads):
    """Return x (N, T, E) as (N, heads, T, E / heads): each head takes its share of the features."""
    return x.unflatten(2, (num_heads, -1)).transpose(1, 2)


def fused_attention(q, k, v, bias=None, dropout=0.0):
    """Return the out of `attention` by torch's kernel, which never writes down (T, S) weights."""
    return F.scaled_dot_product_attention(q, k, v, bias, dropout), None


class MultiheadAttention(nn.Module):
    """Attention in several heads, like torch.nn.MultiheadAttention with batch_first=True."""

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, dtype=None):
        super().__init__()
        check_heads(embed_dim, num_heads, dropout)
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias, dtype=dtype)
        W = torch.empty(3 * embed_dim, embed_dim, dtype=dtype)  # for q, k and v, stacked
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(W))
        self.in_proj_bias = nn.Parameter(W.new_zeros(3 * embed_dim)) if bias else None
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
        average_attn_weights=True,
    ):  # fmt: skip
        """Return out (N, T, E) and the weights (N, T, S), per head (N, heads, T, S), or None.

        query: (N, T, E). key, value: (N, S, E). Masks: see `join_masks`.
        """
        check_attention(self, query, key, value, key_padding_mask, attn_mask)
        W = self.in_proj_weight.chunk(3)  # each (E, E)
        b = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        inputs = zip((query, key, value), W, b, strict=True)
        q, k, v = (split_heads(F.linear(*given), self.num_heads) for given in inputs)
        bias = join_masks(key_padding_mask, attn_mask, self.num_heads, q.dtype)
        attend = attention if need_weights else fused_attention
        out, weights = attend(q, k, v, bias, self.dropout if self.training else 0.0)
        if need_weights and average_attn_weights:
            weights = weights.mean(dim=1)
        return self.out_proj(out.transpose(1, 2).flatten(2)), weights  # heads side by side


# ---- positions ----


def sinusoidal_positions(num_positions, embed_dim):
    """Return (num_positions, embed_dim): sines and cosines of the position, ever slower.

    Column 2i is sin(t / 10000^(2i / E)), column 2i + 1 the cosine.
    Source: Vaswani et al. 2017, section 3.5.
    """
    check_whole(num_positions=num_positions, embed_dim=embed_dim)
    if embed_dim % 2:
        raise ValueError(f"embed_dim is {embed_dim}; sines and cosines come in pairs: even it is")
    t = torch.arange(num_positions, dtype=torch.float64)[:, None]  # (T, 1)
    speed = 10_000.0 ** (-torch.arange(0, embed_dim, 2, dtype=torch.float64) / embed_dim)
    return torch.stack([(t * speed).sin(), (t * speed).cos()], dim=2).flatten(1).float()


class Positions(nn.Module):
    """Adds to x (N, T, E) what says where a token stands: nothing, fixed sines, or learned."""

    def __init__(self, kind, max_len, embed_dim):
        super().__init__()
        if kind not in POSITIONS:
            raise ValueError(f"positions is {kind!r}; it must be one of {', '.join(POSITIONS)}")
        check_whole(max_len=max_len)
        self.kind, self.max_len = kind, max_len
        if kind == "sinusoidal":  # a wave's mean square is 1/2, that of a token's vector 1/E
            table = sinusoidal_positions(max_len, embed_dim) * math.sqrt(2 / embed_dim)
            self.register_buffer("table", table, persistent=False)
        elif kind == "learned":
            self.table = nn.Parameter(torch.randn(max_len, embed_dim) / math.sqrt(embed_dim))

    def forward(self, x):
        """Return x (N, T, E) with the first T positions added."""
        if x.shape[1] > self.max_len:
            raise ValueError(f"x has {x.shape[1]} tokens; max_len is {self.max_len}")
        return x if self.kind == "none" else x + self.table[: x.shape[1]]


# ---- the encoder block ----


class EncoderBlock(nn.Module):
    """Attention, then two linear layers, each added to what came in and normalised.

    Like torch.nn.TransformerEncoderLayer with batch_first=True: x + part(x) is normalised after
    the sum, or with norm_first what goes into the part.  Source: Vaswani et al. 2017, section 3.1;
    norm first: Xiong et al. 2020.
    """

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, norm_first=False):
        super().__init__()
        check_whole(dim_feedforward=dim_feedforward)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout)
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.dropout, self.norm_first = nn.Dropout(dropout), norm_first

    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        """Return (N, T, E) from src (N, T, E); the masks are those of MultiheadAttention."""

        def attend(x):
            out, _ = self.self_attn(x, x, x, src_key_padding_mask, True, src_mask, False)
            return self.dropout(out)

        if self.norm_first:
            x = src + attend(self.norm1(src))
            return x + self.feed_forward(self.norm2(x))
        x = self.norm1(src + attend(src))
        return self.norm2(x + self.feed_forward(x))

    def feed_forward(self, x):
        """Return two linear layers with ReLU between them, for each token alone."""
        return self.dropout(self.linear2(self.dropout(self.linear1(x).relu())))


# ---- checks ----


def check_heads(embed_dim, num_heads, dropout):
    """Raise ValueError for the first argument of MultiheadAttention that is not allowed."""
    check_whole(embed_dim=embed_dim, num_heads=num_heads)
    check_number("dropout", dropout, 0, 1)
    if embed_dim % num_heads:
        raise ValueError(f"embed_dim is {embed_dim}; num_heads={num_heads} must divide it")


def check_attention(module, query, key, value, key_padding_mask, attn_mask):
    """Raise ValueError for the first argument of MultiheadAttention.forward that does not fit."""
    for name, x in {"query": query, "key": key, "value": value}.items():
        if x.ndim != 3 or x.shape[2] != module.embed_dim or 0 in x.shape:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; it must be (N, tokens, {module.embed_dim})"
            )
    if key.shape != value.shape or len(key) != len(query):
        raise ValueError(
            f"query, key and value have shapes {tuple(query.shape)}, {tuple(key.shape)} and "
            f"{tuple(value.shape)}; equally many texts, and as many values as keys"
        )
    N, T, S = *query.shape[:2], key.shape[1]
    if key_padding_mask is not None and key_padding_mask.shape != (N, S):
        raise ValueError(
            f"key_padding_mask has shape {tuple(key_padding_mask.shape)}; it must be ({N}, {S})"
        )
    allowed = (T, S), (N * module.num_heads, T, S)
    if attn_mask is not None and attn_mask.shape not in allowed:
        raise ValueError(
            f"attn_mask has shape {tuple(attn_mask.shape)}; it must be {allowed[0]} or {allowed[1]}"
        )
