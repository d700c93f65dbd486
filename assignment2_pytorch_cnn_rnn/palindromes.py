"""Palindromes as data: all different, training, validation and test disjoint.

T is the length of the whole palindrome. A network reads T − 1 digits and names the last, which is
the first again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

NUM_DIGITS = 10
LONGEST_CODE = 18  # decimal digits that an int64 holds for certain
SHARES = (0.8, 0.1)  # training and validation; the rest is test


class Palindromes(NamedTuple):
    """Pairs (x, y): digits read (N, T − 1) and last digits (N,), int64; no palindrome in two."""

    train: tuple[torch.Tensor, torch.Tensor]
    val: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]


def count_palindromes(length: int) -> int:
    """Return how many palindromes of `length` digits there are: the first half is free."""
    return NUM_DIGITS ** ((length + 1) // 2)


def check_length(length: int) -> None:
    """Raise ValueError unless a palindrome of this length leaves something to read."""
    if isinstance(length, bool) or not isinstance(length, (int, np.integer)) or length < 2:
        raise ValueError(f"length is {length!r}; a palindrome needs a whole number, 2 or more")


def draw_palindromes(num: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Return `num` different palindromes (num, length), int64 digits 0 … 9, in random order.

    Raises: ValueError where there are fewer palindromes of that length.
    """
    check_length(length)
    if not 1 <= num <= count_palindromes(length):
        there_are = f"{count_palindromes(length):,} palindromes of {length} digits"
        raise ValueError(f"num is {num}; it must be 1 or more, and there are {there_are}")
    half = (length + 1) // 2
    places = min(half, LONGEST_CODE)  # beyond that the first 18 digits differ already
    codes = rng.choice(10**places, size=num, replace=False)  # (num,): the halves as numbers
    digits = codes[:, None] // 10 ** np.arange(places, dtype=np.int64) % 10  # (num, places)
    rest = rng.integers(0, NUM_DIGITS, (num, half - places))
    first = np.concatenate([digits, rest], axis=1)  # (num, half)
    return np.concatenate([first, first[:, : length // 2][:, ::-1]], axis=1)


def split_palindromes(length: int, num: int = 100_000, seed: int = 0) -> Palindromes:
    """Return training, validation and test pairs, 80 : 10 : 10, of `num` different palindromes.

    Where there are fewer than `num`, all there are. `seed` draws the data; it is another thing
    than the seed of a network.
    """
    check_length(length)
    num = min(num, count_palindromes(length))
    if num < NUM_DIGITS:
        raise ValueError(f"num is {num}; a split needs {NUM_DIGITS} palindromes or more")
    rows = torch.from_numpy(draw_palindromes(num, length, np.random.default_rng(seed)))
    sizes = [round(share * num) for share in SHARES]
    parts = rows.split([*sizes, num - sum(sizes)])
    return Palindromes(*((part[:, :-1].contiguous(), part[:, -1].contiguous()) for part in parts))


def odd_counts(x: torch.Tensor) -> torch.Tensor:
    """Return (N, 10) bool: the digits that occur an odd number of times among those read."""
    return F.one_hot(x, NUM_DIGITS).sum(dim=1) % 2 == 1


def guess_by_counting(x: torch.Tensor) -> torch.Tensor:
    """Return (N, 10) probabilities from counts alone: order forgotten, T known.

    x: (N, T − 1). All digits but the first, and but the middle one of an odd palindrome, come in
    pairs; so the last digit is among those counted an odd number of times. Where there is none,
    the first equals the middle digit, and every digit is as likely as it is frequent.
    """
    odd = odd_counts(x).double()
    counts = F.one_hot(x, NUM_DIGITS).sum(dim=1).double()
    weights = torch.where(odd.any(dim=1, keepdim=True), odd, counts)
    return weights / weights.sum(dim=1, keepdim=True)
