"""A Transformer that says of a text which class it belongs to."""

from __future__ import annotations

import math

import torch
from torch import nn

from assignment1_perceptron_mlp.numpy_layers import check_number, check_whole
from assignment3_lstm_gan.attention import PADDING, EncoderBlock, Positions

POOLINGS = ("mean", "max", "cls")


def pool(x, padding, pooling):
    """Return one vector (N, E) per text from x (N, T, E), whatever stands at padded places.

    Args: padding: (N, T), True where there is no token. pooling: "mean" or "max" over the tokens;
        "cls" takes the first place, which belongs to no word.
    """
    if pooling == "cls":
        return x[:, 0]
    if pooling == "max":
        return x.masked_fill(padding[:, :, None], -math.inf).amax(dim=1)
    kept = x.masked_fill(padding[:, :, None], 0.0).sum(dim=1)
    return kept / (~padding).sum(dim=1, keepdim=True)


def drop_features(x, share, training):
    """Set the same random share of the features to 0 at all places of a text; x: (N, T, E)."""
    if not training or share == 0:
        return x
    kept = torch.rand(len(x), 1, x.shape[2], device=x.device) >= share  # (N, 1, E)
    return x * (kept / (1 - share)).to(x.dtype)


class ReviewClassifier(nn.Module):
    """Words → vectors → positions → encoder blocks → one vector per text → logits (N, K).

    With num_layers=0 it is a bag of words: the mean of the vectors, and a linear layer.
    """

    def __init__(
        self, num_words, embed_dim=64, num_heads=4, num_layers=1, num_classes=2, *, num_pairs=0,
        positions="sinusoidal", pooling="mean", max_len=4_096, dropout=0.1, feature_dropout=0.0,
    ):  # fmt: skip
        super().__init__()
        check_whole(num_words=num_words, num_classes=num_classes)
        check_whole(0, num_layers=num_layers, num_pairs=num_pairs)
        check_number("feature_dropout", feature_dropout, 0, 1, "[)")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}; it must be one of {', '.join(POOLINGS)}")
        self.pooling, self.feature_dropout = pooling, feature_dropout
        self.words = token_table(num_words, embed_dim)
        self.pairs = token_table(num_pairs, embed_dim) if num_pairs else None
        if pooling == "cls":
            self.cls = nn.Parameter(torch.randn(embed_dim) / math.sqrt(embed_dim))
        self.positions = Positions(positions, max_len, embed_dim)
        self.blocks = nn.ModuleList(
            EncoderBlock(embed_dim, num_heads, 2 * embed_dim, dropout, norm_first=True)
            for _ in range(num_layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, words, pairs=None):
        """Return logits (N, K). words: (N, T) ids; pairs: (N, T) ids of the pairs that begin there.

        Raises: ValueError for a text without a token, and for an id that has no vector.
        """
        x, padding = self.embed(words, pairs)
        for block in self.blocks:
            x = block(x, src_key_padding_mask=padding)
        return self.head(self.dropout(pool(x, padding, self.pooling)))

    def embed(self, words, pairs=None):
        """Return what goes into the first block, (N, T, E), and where it is padding, (N, T)."""
        check_ids("words", words, self.words)
        padding = words == PADDING
        if (empty := padding.all(dim=1)).any():
            raise ValueError(f"text {int(empty.nonzero()[0])} has no token; it is padding only")
        x = self.words(words)
        if self.pairs is not None:
            if pairs is None or pairs.shape != words.shape:
                raise ValueError("pairs must be given, in the shape of words: there is a table")
            check_ids("pairs", pairs, self.pairs)
            x = x + self.pairs(pairs)
        if self.pooling == "cls":
            x = torch.cat([self.cls.expand(len(x), 1, -1), x], dim=1)
            padding = torch.cat([padding.new_zeros(len(x), 1), padding], dim=1)
        return drop_features(self.positions(x), self.feature_dropout, self.training), padding


def token_table(num_tokens, embed_dim):
    """Return a table of one vector per token, of length about 1; that of padding is 0."""
    table = nn.Embedding(num_tokens, embed_dim, padding_idx=PADDING)
    with torch.no_grad():
        table.weight[1:] /= math.sqrt(embed_dim)
    return table


def check_ids(name, ids, table):
    """Raise ValueError unless ids are (N, T) whole numbers that have a row in the table."""
    if ids.ndim != 2 or 0 in ids.shape or ids.is_floating_point():
        raise ValueError(f"{name} is {ids.dtype} {tuple(ids.shape)}; it must be (N, T) integers")
    low, high = ids.aminmax()
    if low < 0 or high >= table.num_embeddings:
        raise ValueError(
            f"{name} holds the id {int(low if low < 0 else high)}; "
            f"ids must be 0 … {table.num_embeddings - 1}"
        )
