"""Words, vocabularies, splits and batches."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from assignment3_lstm_gan.reviews import (
    UNKNOWN,
    PairVocabulary,
    Vocabulary,
    bucketed,
    drop_words,
    pad,
    split_at_random,
    split_by_blocks,
    to_words,
)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I didn't LIKE it!", ["i", "didn't", "like", "it", "!"]),
        ("good<br /><br />bad", ["good", "bad"]),
        ("10/10? 'Quite'...", ["10", "10", "?", "quite"]),
        ("Amélie, café", ["amélie", "café"]),
        ("a", ["a"]),
        ("", []),
        (" .,; ", []),
    ],
)
def test_words(text, words):
    assert to_words(text) == words


def test_vocabulary_counts_and_orders():
    texts = [["b", "a", "b"], ["c", "a"], [], ["d"]]
    vocabulary = Vocabulary(texts, max_size=10, min_count=1)
    assert vocabulary.words == ["", "?", "a", "b", "c", "d"] and len(vocabulary) == 6
    assert vocabulary.encode(["b", "zebra", "a"]).tolist() == [3, UNKNOWN, 2]
    assert vocabulary.decode([3, 1, 2]) == ["b", "?", "a"]
    assert Vocabulary(texts, 10, 2).words == ["", "?", "a", "b"]
    assert Vocabulary(texts, 3, 1).words == ["", "?", "a"]
    assert Vocabulary(texts, 2, 1).encode(["a"]).tolist() == [UNKNOWN]


def test_a_text_without_words_is_one_unknown_word():
    vocabulary = Vocabulary([["a"]], 5, 1)
    for text in ("", " ", "…", "z"):
        assert vocabulary.encode(to_words(text)).tolist() == [UNKNOWN]


def test_the_empty_word_is_no_way_to_padding():
    assert Vocabulary([["a"]], 5, 1).encode(["", "?"]).tolist() == [UNKNOWN, UNKNOWN]


def test_pairs_are_those_that_were_seen():
    # words 2, 3, 4; (2, 3) three times, (3, 2) twice, the rest once
    texts = [np.array([2, 3, 2, 3]), np.array([3, 2, 3, 4]), np.array([4]), np.array([1, 1, 2])]
    pairs = PairVocabulary(texts, 5, 100, min_count=2)
    assert len(pairs) == 3
    ids = pairs.encode(np.array([2, 3, 2, 4, 2]))
    assert len(ids) == 5 and (ids[2:] == 0).all() and ids[0] != ids[1] and min(ids[:2]) > 0
    assert pairs.encode(np.array([3])).tolist() == [0]
    only = PairVocabulary(texts, 5, 2, min_count=1)  # room for one: the most frequent
    assert only.encode(np.array([2, 3, 2])).tolist() == [1, 0, 0]


def test_no_pair_with_an_unknown_word():
    texts = [np.array([UNKNOWN, UNKNOWN, 2, UNKNOWN, 2])] * 3
    pairs = PairVocabulary(texts, 5, 100)
    assert len(pairs) == 1 and pairs.encode(texts[0]).tolist() == [0] * 5


def test_every_pair_has_an_id_of_its_own():
    ids = rng().integers(2, 20, 5_000)
    pairs = PairVocabulary([ids], 20, 1_000, min_count=1)
    found = pairs.encode(ids)[:-1]
    seen = {}
    for pair, number in zip(pairwise(ids), found, strict=True):
        assert seen.setdefault(pair, number) == number
    assert sorted(seen.values()) == list(range(1, len(pairs)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vocabulary([], 1), "max_size is 1"),
        (lambda: Vocabulary([], 5, 0), "min_count is 0"),
        (lambda: PairVocabulary([], 5, 1), "max_size is 1"),
        (lambda: PairVocabulary([], 0, 5), "num_words is 0"),
    ],
)
def test_sizes_that_are_not_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- splits


@pytest.mark.parametrize("split", [split_at_random, split_by_blocks])
@pytest.mark.parametrize(("N", "share"), [(5_000, 0.1), (5_001, 0.3), (1_000, 0.5)])
def test_a_split_parts_all_examples(split, N, share):
    train, val = split(N, share, rng())
    assert sorted([*train, *val]) == list(range(N))
    assert abs(len(val) - share * N) < 500 and len(train) and len(val)
    again = split(N, share, rng())
    assert all(map(np.array_equal, (train, val), again))
    assert not np.array_equal(val, split(N, share, rng(1))[1]) or N == 1_000


def test_neighbours_stay_together():
    _, val = split_by_blocks(10_000, 0.2, rng(), block_size=100)
    in_val = np.isin(np.arange(10_000), val).reshape(100, 100)
    assert (in_val.all(axis=1) | ~in_val.any(axis=1)).all() and in_val.all(axis=1).sum() == 20
    random_val = np.isin(np.arange(10_000), split_at_random(10_000, 0.2, rng())[1])
    assert 0 < random_val.reshape(100, 100).mean(axis=1).max() < 1


def test_a_short_last_block_and_two_blocks():
    for seed in range(10):
        train, val = split_by_blocks(150, 0.01, rng(seed), block_size=100)
        assert {len(train), len(val)} == {100, 50}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0.1, rng()), "num_examples is 1"),
        ((10, 0.0, rng()), "share is 0.0"),
        ((10, 1, rng()), "share is 1"),
        ((10, 0.5, 3), "rng is 3"),
        ((100, 0.5, rng(), 100), "block_size is 100; 100 examples are one block only"),
    ],
)
def test_splits_that_are_not_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_by_blocks(*arguments)


# ---- batches


@pytest.mark.parametrize("batch_size", [1, 7, 1_000])
@pytest.mark.parametrize("seed", [None, 0])
def test_batches_hold_each_text_once_and_need_little_padding(batch_size, seed):
    lengths = rng(5).integers(1, 500, 200)
    batches = list(bucketed(lengths, batch_size, None if seed is None else rng(seed)))
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert sorted(map(len, batches))[1:] == [min(batch_size, 200)] * (len(batches) - 1)
    if batch_size == 7:
        waste = sum(len(b) * lengths[b].max() for b in batches) / lengths.sum() - 1
        assert waste < 0.2


def test_batches_change_from_epoch_to_epoch():
    lengths, order = rng(5).integers(50, 500, 200), rng(1)
    first, second = (list(bucketed(lengths, 8, order)) for _ in range(2))
    assert {frozenset(b) for b in first} != {frozenset(b) for b in second}
    assert [lengths[b].mean() for b in first] != sorted(lengths[b].mean() for b in first)
    plain = list(bucketed(lengths, 8))
    assert [lengths[b].max() for b in plain] == sorted(lengths[b].max() for b in plain)


def test_pad():
    ids = pad([np.array([5, 6]), np.array([7], dtype=np.int32), np.array([8, 9, 2])])
    assert ids.tolist() == [[5, 6, 0], [7, 0, 0], [8, 9, 2]] and ids.dtype == torch.int64
    with pytest.raises(ValueError, match="rows is empty"):
        pad([])


@pytest.mark.parametrize(("T", "share"), [(1, 0.0), (1, 1.0), (5, 1.0), (2_000, 0.3), (9, 0.0)])
def test_dropped_words_leave_order_and_company(T, share):
    words, pairs = np.arange(T), 10 * np.arange(T)
    left = drop_words((words, pairs), share, rng())
    assert (
        len(left[0]) >= 1 and (np.diff(left[0]) > 0).all() and np.array_equal(left[1], 10 * left[0])
    )
    assert len(left[0]) == max(1, T * (1 - share)) if share in (0.0, 1.0) else True
    if T == 2_000:
        assert abs(len(left[0]) / T - 0.7) < 0.05
