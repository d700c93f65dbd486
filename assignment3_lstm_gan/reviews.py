"""From texts to batches of numbers: words, vocabularies, fair splits, batches of like length.

The words come from scikit-learn's analyzer: it is required anyway, needs no download, and the
baselines see exactly the same words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer

from assignment1_perceptron_mlp.numpy_layers import check_number, check_rng, check_whole
from assignment3_lstm_gan.attention import PADDING

UNKNOWN = 1  # a word that is not in the vocabulary
WORD = r"\w+(?:'\w+)?|[!?]"  # don't is one word; ! and ? count as words


def to_words(text: str) -> list[str]:
    """Return the words of a text in lower case, in order, without line breaks of HTML."""
    return _analyze(text.replace("<br />", " "))


_analyze = CountVectorizer(token_pattern=WORD).build_analyzer()


class Vocabulary:
    """Numbers for the most frequent words of the training texts.

    0 is padding, 1 is everything unknown, 2 the most frequent word, and so on.
    """

    def __init__(self, texts: Iterable[Sequence], max_size: int, min_count: int = 2):
        """Count over texts, each a list of words; equally frequent ones in alphabetical order."""
        check_whole(2, max_size=max_size)
        check_whole(min_count=min_count)
        counts = Counter(word for words in texts for word in words)
        found = sorted((-n, word) for word, n in counts.items() if n >= min_count)
        self.words = ["", "?"] + [word for _, word in found[: max_size - 2]]
        self.ids = {word: n for n, word in enumerate(self.words) if n > UNKNOWN}

    def __len__(self):
        return len(self.words)

    def encode(self, words: Sequence) -> np.ndarray:
        """Return the ids (T,) of a text's words; of a text without words, one unknown word."""
        ids = [self.ids.get(word, UNKNOWN) for word in words] or [UNKNOWN]
        return np.array(ids, dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> list:
        """Return the words of ids; "?" for an unknown one."""
        return [self.words[n] for n in ids]


class PairVocabulary:
    """Numbers for the most frequent pairs of neighbouring words; 0 is every other pair."""

    def __init__(self, texts: Iterable[np.ndarray], num_words: int, max_size: int, min_count=2):
        """Count over texts, each the ids (T,) of its words, below num_words."""
        check_whole(2, max_size=max_size)
        check_whole(num_words=num_words, min_count=min_count)
        self.num_words = num_words
        codes = np.concatenate([np.empty(0, np.int64), *map(self._codes, texts)])
        codes, counts = np.unique(codes[codes >= 0], return_counts=True)
        frequent = np.argsort(-counts, kind="stable")[: max_size - 1]
        self.codes = np.sort(codes[frequent[counts[frequent] >= min_count]])

    def __len__(self):
        return len(self.codes) + 1

    def _codes(self, ids):
        """Return one number per pair (T − 1,); −1 where one of the two words is unknown."""
        left, right = ids[:-1].astype(np.int64), ids[1:]
        known = (left > UNKNOWN) & (right > UNKNOWN)
        return np.where(known, left * self.num_words + right, -1)

    def encode(self, ids: np.ndarray) -> np.ndarray:
        """Return for each place (T,) the id of the pair that begins there; the last has none."""
        codes, pairs = self._codes(ids), np.zeros(len(ids), dtype=np.int32)
        if len(self.codes):
            place = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
            pairs[:-1] = np.where(self.codes[place] == codes, place + 1, PADDING)
        return pairs


# ---- splits ----


def split_at_random(num_examples, share, rng):
    """Return indices to train on and to validate on, drawn one by one."""
    check_split(num_examples, share, rng)
    order = rng.permutation(num_examples)
    num_val = round(share * num_examples)
    return np.sort(order[num_val:]), np.sort(order[:num_val])


def split_by_blocks(num_examples, share, rng, block_size=500):
    """Return indices to train on and to validate on, drawn in blocks of neighbours.

    Neighbours stay together, so what they share cannot be learnt from one and used on the other.
    """
    check_split(num_examples, share, rng)
    check_whole(block_size=block_size)
    blocks = np.arange(num_examples) // block_size
    num_blocks = blocks[-1] + 1
    if num_blocks < 2:
        raise ValueError(f"block_size is {block_size}; {num_examples} examples are one block only")
    num_val = min(max(1, round(share * num_blocks)), num_blocks - 1)
    held_out = np.isin(blocks, rng.choice(num_blocks, num_val, replace=False))
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def check_split(num_examples, share, rng):
    """Raise ValueError for the first argument of a split that is not allowed."""
    check_whole(2, num_examples=num_examples)
    check_number("share", share, 0, 1, "()")
    check_rng(rng)


# ---- batches ----


def bucketed(lengths, batch_size, rng=None):
    """Yield the indices of batches of texts of like length: together they need little padding.

    Args:
        lengths: (N,) tokens per text.
        rng: puts the batches in random order, and texts of nearly one length in other batches
            each time; None goes from short to long.
    """
    check_whole(batch_size=batch_size)
    lengths = np.asarray(lengths, dtype=float)
    if rng is not None:
        lengths = lengths * rng.uniform(0.9, 1.1, len(lengths))
    order = np.argsort(lengths, kind="stable")
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    for n in range(len(batches)) if rng is None else rng.permutation(len(batches)):
        yield batches[n]


def pad(rows: Sequence[np.ndarray]) -> torch.Tensor:
    """Return the rows of ids as one tensor (N, T) int64, filled up with padding on the right."""
    if not len(rows):
        raise ValueError("rows is empty; a batch needs 1 text or more")
    ids = np.full((len(rows), max(map(len, rows))), PADDING, dtype=np.int64)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = row
    return torch.from_numpy(ids)


def drop_words(columns: Sequence[np.ndarray], share: float, rng) -> list[np.ndarray]:
    """Leave out a random share of a text's places, the same ones in all columns (T,).

    One place always stays. Source: Iyyer et al. 2015, section 3.1.
    """
    kept = rng.random(len(columns[0])) >= share
    kept[rng.integers(len(kept))] |= not kept.any()
    return [column[kept] for column in columns]
