"""A Transformer that says of a text which class it belongs to."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

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


class Embedding(nn.Module):
    """A vector for each word, for its pair with the next word, and for its place, added up."""

    def __init__(self, num_words, embed_dim, num_pairs, positions, max_len, has_cls, dropout):
        super().__init__()
        self.words = token_table(num_words, embed_dim)
        self.pairs = token_table(num_pairs, embed_dim, length=0) if num_pairs else None
        self.cls = nn.Parameter(torch.zeros(embed_dim)) if has_cls else None
        self.positions, self.dropout = Positions(positions, max_len, embed_dim), dropout

    def forward(self, words, pairs=None):
        """Return the vectors (N, T, E) and where they are padding (N, T); with cls, T is one more.

        words: (N, T) ids, PADDING where a text has ended. pairs: (N, T) ids of the pairs that
        begin there, 0 for a pair without a vector of its own.
        """
        check_tokens(self, words, pairs)
        x, padding = self.words(words), words == PADDING
        if self.pairs is not None:
            x = x + self.pairs(pairs)
        if self.cls is not None:  # a place in front that belongs to no word
            x = torch.cat([self.cls.expand(len(x), 1, -1), x], dim=1)
            padding = F.pad(padding, (1, 0))
        return drop_features(self.positions(x), self.dropout, self.training), padding


class ReviewClassifier(nn.Module):
    """Words → vectors → encoder blocks → one vector per text → logits (N, K).

    With num_layers=0 it is a bag of words: the mean of the vectors, and a linear layer.
    """

    def __init__(
        self, num_words, embed_dim=64, num_heads=4, num_layers=1, num_classes=2, *, num_pairs=0,
        positions="sinusoidal", pooling="mean", max_len=4_096, dropout=0.0, feature_dropout=0.0,
    ):  # fmt: skip
        super().__init__()
        check_classifier(num_words, num_layers, num_classes, num_pairs, pooling, feature_dropout)
        self.embedding = Embedding(
            num_words, embed_dim, num_pairs, positions, max_len, pooling == "cls", feature_dropout
        )
        self.blocks = nn.ModuleList(
            EncoderBlock(embed_dim, num_heads, 2 * embed_dim, dropout, norm_first=True)
            for _ in range(num_layers)
        )
        self.pooling, self.dropout = pooling, nn.Dropout(dropout)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, words, pairs=None):
        """Return logits (N, K) from ids of words (N, T) and, where there is a table, of pairs."""
        x, padding = self.embedding(words, pairs)
        for block in self.blocks:
            x = block(x, src_key_padding_mask=padding)
        return self.head(self.dropout(pool(x, padding, self.pooling)))


def token_table(num_tokens, embed_dim, length=1.0):
    """Return a table of one vector per token, all of about this length; that of padding is 0.

    Vectors of length 0 add nothing until they have learnt something: right for rare pairs.
    """
    table = nn.Embedding(num_tokens, embed_dim, padding_idx=PADDING)
    with torch.no_grad():
        table.weight *= length / math.sqrt(embed_dim)
    return table


# ---- checks ----


def check_classifier(num_words, num_layers, num_classes, num_pairs, pooling, feature_dropout):
    """Raise ValueError for the first of these arguments that is not allowed."""
    check_whole(num_words=num_words, num_classes=num_classes)
    check_whole(0, num_layers=num_layers, num_pairs=num_pairs)
    check_number("feature_dropout", feature_dropout, 0, 1, "[)")
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; it must be one of {', '.join(POOLINGS)}")


def check_tokens(embedding, words, pairs):
    """Raise ValueError for ids that have no vector, pairs that are missing, an empty text."""
    if (embedding.pairs is None) != (pairs is None):
        there = "no table" if embedding.pairs is None else "a table"
        raise ValueError(f"pairs is {type(pairs).__name__}, and the model has {there} for pairs")
    tables = {"words": (words, embedding.words), "pairs": (pairs, embedding.pairs)}
    for name, (ids, table) in tables.items():
        if ids is None:
            continue
        if ids.ndim != 2 or 0 in ids.shape or ids.is_floating_point():
            raise ValueError(
                f"{name} is {ids.dtype} {tuple(ids.shape)}; it must be (N, T) integers"
            )
        low, high = map(int, ids.aminmax())
        if low < 0 or high >= len(table.weight):
            bad = low if low < 0 else high
            raise ValueError(f"{name} holds the id {bad}; ids must be 0 … {len(table.weight) - 1}")
    if pairs is not None and pairs.shape != words.shape:
        raise ValueError(f"pairs has shape {tuple(pairs.shape)}; words has {tuple(words.shape)}")
    empty = (words == PADDING).all(dim=1)
    if empty.any():
        raise ValueError(f"text {int(empty.nonzero()[0])} has no token; it is padding only")
