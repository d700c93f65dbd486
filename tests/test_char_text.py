"""Texts as numbers, files of the reader's, and tables of characters."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from assignment2_pytorch_cnn_rnn.char_text import (
    Alphabet,
    count_tables,
    count_windows,
    mix_tables,
    read_text,
    split_text,
    tune_alphas,
    window_codes,
)


@pytest.mark.parametrize("text", ["ab", "To be,\nor not", "äöü – 日本\t🙂", "aa"])
def test_a_text_survives_encoding(text):
    alphabet = Alphabet(text)
    ids = alphabet.encode(text)
    assert alphabet.decode(ids) == text and ids.dtype == np.int64
    assert len(alphabet) == len(set(text)) and ids.max() == len(alphabet) - 1
    assert alphabet.encode("").shape == (0,) and alphabet.decode([]) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "text is empty"), ("x", "text has one character"), (b"ab", "text is a bytes")],
)
def test_no_text_is_refused(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        Alphabet(text)
    assert "\n" not in str(caught.value)


def test_an_unknown_character_is_named_or_replaced():
    alphabet = Alphabet("a b")
    with pytest.raises(ValueError, match=r"the character 'é' at place 2 is not among the 3") as e:
        alphabet.encode("abéz")
    assert "\n" not in str(e.value)
    assert alphabet.decode(alphabet.encode("abéz", instead=" ")) == "ab  "
    with pytest.raises(ValueError, match="instead is 'z'"):
        alphabet.encode("ab", instead="z")


def test_a_file_of_ones_own_is_read(tmp_path):
    file = tmp_path / "own.txt"
    file.write_bytes("\ufeffGrüße\r\nund mehr".encode())
    assert read_text(file) == read_text(str(file)) == "Grüße\nund mehr"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Grüße".encode("latin-1"), r"own.txt is not UTF-8 \(byte 2\); save it as UTF-8"),
        ("ab".encode("utf-16"), "own.txt is not UTF-8"),
        (b"", "own.txt is empty"),
        (b"x", "own.txt has one character"),
    ],
)
def test_a_file_that_will_not_do_is_refused_in_one_sentence(tmp_path, content, message):
    file = tmp_path / "own.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_text(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            read_text(path)


@pytest.mark.parametrize(
    ("N", "sizes"), [(20, (16, 2, 2)), (99, (79, 10, 10)), (100, (80, 10, 10))]
)
def test_a_text_is_split_into_stretches(N, sizes):
    parts = split_text(np.arange(N))
    assert tuple(map(len, parts)) == sizes
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(N))
    with pytest.raises(ValueError, match="the text has 19 characters"):
        split_text(np.arange(19))


def test_windows_have_different_codes_exactly_where_they_differ():
    ids = np.random.default_rng(0).integers(0, 3, 200)
    for n in (0, 1, 2, 5):
        codes = window_codes(ids, n, 3)
        windows = [tuple(ids[i : i + n]) for i in range(200 - n + 1)]
        assert len(codes) == len(windows) and len(set(codes)) == len(set(windows))
        assert len(set(zip(codes, windows, strict=True))) == len(set(windows))


def test_counting_windows():
    found = count_windows(np.array([5, 1, 9, 0]), np.array([5, 5, 1, 7]))
    assert found.tolist() == [2, 1, 0, 0]


def slow_probability(train, ids, place, K, alphas):
    """The same by dictionaries, one character at a time."""
    p = 1 / K
    for k, alpha in enumerate(alphas):
        both = Counter(tuple(train[i : i + k + 1]) for i in range(len(train) - k))
        alone = Counter(tuple(train[i : i + k]) for i in range(len(train) - k))
        context = tuple(ids[place - k : place])
        p = (both[(*context, ids[place])] + alpha * p) / (alone[context] + alpha)
    return p


@pytest.mark.parametrize("n", [0, 1, 3])
def test_tables_are_those_of_dictionaries(n):
    rng = np.random.default_rng(n)
    train, ids, alphas = (
        rng.integers(0, 4, 60),
        rng.integers(0, 4, 20),
        (0.5, 2.0, 7.0, 0.1)[: n + 1],
    )
    probs = mix_tables(count_tables(train, ids, 4, n), alphas, 4)
    train, ids = train.tolist(), ids.tolist()
    expected = [slow_probability(train, ids, i, 4, alphas) for i in range(n, 20)]
    np.testing.assert_allclose(probs, expected)


def test_table_probabilities_sum_to_one_over_the_alphabet():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 5, 80)
    for context in ([0, 1], [4, 4], [2, 0]):
        each = [
            mix_tables(count_tables(train, np.array([*context, c]), 5, 2), (1.0, 2.0, 3.0), 5)[0]
            for c in range(5)
        ]
        assert sum(each) == pytest.approx(1)


def test_one_alpha_after_the_other_is_chosen_for_the_least_nats():
    rng = np.random.default_rng(0)
    train, val = rng.integers(0, 4, 300), rng.integers(0, 4, 100)
    tables, grid = count_tables(train, val, 4, 2), (0.1, 1.0, 10.0, 1000.0)
    alphas = tune_alphas(tables, 4, grid)
    assert len(alphas) == 3 and set(alphas) <= set(grid)
    for k in range(3):
        nats = [-np.log(mix_tables(tables[: k + 1], (*alphas[:k], a), 4)).mean() for a in grid]
        assert grid[int(np.argmin(nats))] == alphas[k]


def test_tables_refuse_what_they_cannot_count():
    ids = np.array([0, 1, 0])
    with pytest.raises(ValueError, match="num_before is 3; 3 characters of 2 kinds are too few"):
        count_tables(ids, ids, 2, 3)
    with pytest.raises(ValueError, match="num_before is 11"):
        count_tables(np.zeros(50, int), np.zeros(50, int), 65, 11)  # codes would overflow
    with pytest.raises(ValueError, match="num_before is -1"):
        count_tables(ids, ids, 2, -1)
    with pytest.raises(ValueError, match="an alpha is 0"):
        mix_tables(count_tables(ids, ids, 2, 0), (0,), 2)
