"""Tests of the palindromes: all different, disjoint parts, lengths even, odd and very long."""

import numpy as np
import pytest
import torch

from assignment2_pytorch_cnn_rnn.palindromes import (
    count_palindromes,
    draw_palindromes,
    guess_by_counting,
    split_palindromes,
)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("length", [2, 3, 4, 5, 6, 9, 30, 36, 37, 40, 101])
def test_rows_read_the_same_backwards_and_all_differ(length):
    rows = draw_palindromes(min(200, count_palindromes(length)), length, rng())
    assert rows.dtype == np.int64 and rows.shape[1] == length
    np.testing.assert_array_equal(rows, rows[:, ::-1])
    assert rows.min() >= 0 and rows.max() <= 9
    assert len(np.unique(rows, axis=0)) == len(rows)


@pytest.mark.parametrize("length", [2, 3, 5, 6])
def test_all_palindromes_of_a_length_can_be_drawn(length):
    num = count_palindromes(length)
    rows = draw_palindromes(num, length, rng())
    assert num == {2: 10, 3: 100, 5: 1000, 6: 1000}[length]
    found = {int("".join(map(str, row))) for row in rows}
    assert found == {
        n for n in range(10**length) if str(n).zfill(length) == str(n).zfill(length)[::-1]
    }


@pytest.mark.parametrize("length", [11, 30, 60])
def test_every_digit_is_equally_likely_at_every_place(length):
    rows = draw_palindromes(10_000, length, rng())
    shares = np.stack([(rows == digit).mean(axis=0) for digit in range(10)])
    assert np.abs(shares - 0.1).max() < 0.015  # 5 standard errors
    first, second = rows[:, 0], rows[:, 1]
    assert abs(np.mean(first == second) - 0.1) < 0.015  # places do not depend on each other


@pytest.mark.parametrize("length", [3, 5, 8, 25])
def test_parts_share_no_palindrome_and_the_target_is_the_first_digit(length):
    parts = split_palindromes(length, num=2_000)
    num = min(2_000, count_palindromes(length))
    assert [len(y) for _, y in parts] == [num * 8 // 10, num // 10, num // 10]
    rows = []
    for x, y in parts:
        assert x.shape == (len(y), length - 1) and x.dtype == y.dtype == torch.int64
        assert x.is_contiguous() and torch.equal(y, x[:, 0])
        rows.append(torch.cat([x, y[:, None]], dim=1))
    rows = torch.cat(rows)
    assert torch.equal(rows, rows.flip(1)) and len(rows.unique(dim=0)) == num


def test_a_seed_decides_the_data():
    first, again, other = (split_palindromes(9, 500, seed) for seed in (1, 1, 2))
    assert torch.equal(first.train[0], again.train[0])
    assert not torch.equal(first.train[0], other.train[0])
    assert len(split_palindromes(2).train[0]) == 8  # ten palindromes in all


@pytest.mark.parametrize("length", [2, 4, 6])
def test_counting_solves_even_lengths(length):
    x, y = split_palindromes(length).train
    probs = guess_by_counting(x)
    assert torch.equal(probs.argmax(dim=1), y) and probs.max() == 1


@pytest.mark.parametrize("length", [3, 5])
def test_counting_is_the_best_guess_of_odd_lengths(length):
    """Among all palindromes with the same counts, the guess is the true share of each answer."""
    rows = torch.from_numpy(draw_palindromes(count_palindromes(length), length, rng()))
    x, y = rows[:, :-1], rows[:, -1]
    probs, groups = guess_by_counting(x), {}
    for i, digits in enumerate(x.sort(dim=1).values.tolist()):
        groups.setdefault(tuple(digits), []).append(i)
    for members in groups.values():
        shares = torch.bincount(y[members], minlength=10) / len(members)
        torch.testing.assert_close(probs[members[0]], shares.double())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_palindromes(5, 1, rng()), "length is 1"),
        (lambda: draw_palindromes(5, 2.0, rng()), "length is 2.0"),
        (lambda: draw_palindromes(5, True, rng()), "length is True"),
        (lambda: draw_palindromes(101, 3, rng()), "num is 101; .* 100 palindromes of 3 digits"),
        (lambda: draw_palindromes(0, 3, rng()), "num is 0"),
        (lambda: split_palindromes(0), "length is 0"),
        (lambda: split_palindromes(9, num=9), "num is 9; a split needs 10"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
