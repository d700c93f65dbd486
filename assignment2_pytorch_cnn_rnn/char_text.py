"""Texts as whole numbers, and tables that guess the next character from the few before it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import check_number, check_whole


def read_text(path: str | os.PathLike) -> str:
    """Return the text of a UTF-8 file; line ends become \\n, a mark at its beginning goes.

    Raises: FileNotFoundError where there is no such file; ValueError where it is not UTF-8 or has
        fewer than two characters.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is not UTF-8 (byte {error.start}); save it as UTF-8 in an editor"
        ) from None
    check_text(text, path.name)
    return text


def check_text(text, name="text"):
    """Raise ValueError unless text is a string of two characters or more."""
    if not isinstance(text, str):
        raise ValueError(f"{name} is a {type(text).__name__}; it must be a string")
    if len(text) < 2:
        found = "is empty" if not text else "has one character"
        raise ValueError(f"{name} {found}; learning what comes next needs two or more")


class Alphabet:
    """The characters of a text, sorted; a character's number is its place."""

    def __init__(self, text: str):
        check_text(text)
        self.characters = "".join(sorted(set(text)))
        self.numbers = {character: i for i, character in enumerate(self.characters)}

    def __len__(self):
        return len(self.characters)

    def encode(self, text: str, instead: str | None = None) -> np.ndarray:
        """Return the numbers (N,) int64 of a text's characters.

        Args: instead: a known character that stands for unknown ones; None: they are refused.
        Raises: ValueError naming the first unknown character and its place.
        """
        if instead is not None and instead not in self.numbers:
            raise ValueError(f"instead is {instead!r}; it must be a character of the alphabet")
        for place, character in enumerate(text):
            if character not in self.numbers and instead is None:
                raise ValueError(
                    f"the character {character!r} at place {place} is not among the "
                    f"{len(self)} that were learnt; replace it, or encode with instead=' '"
                )
        other = self.numbers.get(instead)
        return np.array([self.numbers.get(c, other) for c in text], dtype=np.int64)

    def decode(self, ids) -> str:
        """Return the text (N characters) of numbers (N,)."""
        return "".join(self.characters[i] for i in ids)


def split_text(ids):
    """Return the first eight tenths of a text for training, then a tenth each to validate and to
    test: whole stretches, so that no sentence stands in two of them."""
    if len(ids) < 20:
        raise ValueError(f"the text has {len(ids)} characters; three parts need 20 or more")
    first, second = len(ids) * 8 // 10, len(ids) * 9 // 10
    return ids[:first], ids[first:second], ids[second:]


# ---- tables ----


def window_codes(ids, n, K):
    """Return one whole number (N − n + 1,) for each window of n characters: its digits, base K."""
    codes = np.zeros(len(ids) - n + 1, dtype=np.int64)
    for k in range(n):
        codes = codes * K + ids[k : len(ids) - n + 1 + k]
    return codes


def count_windows(codes, seen):
    """Return how often each of the codes (N,) occurs among those seen (M,)."""
    known, counts = np.unique(seen, return_counts=True)  # known is sorted
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[place] == codes, counts[place], 0)


def count_tables(train, ids, K, num_before):
    """Return for k = 0 … n characters before how often train has what stands in ids: a list of
    pairs of counts (N − n,), of the k + 1 characters and of the first k of them, going before some
    character. n = num_before; the first n places of ids are left out in all.

    Args: train, ids: (M,), (N,) integers below K.
    """
    n = num_before
    check_whole(0, num_before=n)
    if min(len(train), len(ids)) <= n or float(K) ** (n + 1) >= 2.0**63:
        raise ValueError(f"num_before is {n}; {len(ids)} characters of {K} kinds are too few")
    tables = []
    for k in range(n + 1):
        windows = window_codes(ids, k + 1, K)[n - k :]  # w c
        contexts = window_codes(ids, k, K)[n - k : len(ids) - k]  # w
        both = count_windows(windows, window_codes(train, k + 1, K))
        tables.append((both, count_windows(contexts, window_codes(train[:-1], k, K))))
    return tables


def mix_tables(tables, alphas, K):
    """Return the probability (N − n,) of each character by the tables of 0 … n characters before.

    The table of k characters mixes what it counted with what the table of k − 1 says, as if it had
    seen that alpha_k times more:

        p_k(c | w) = (count(w c) + alpha_k p_{k-1}(c | w')) / (count(w) + alpha_k),

    with w the k characters before c, w' the last k − 1 of them, and p_{-1} = 1 / K.
    Source: MacKay & Peto 1995, equation 16.
    """
    probs = np.full(len(tables[0][0]), 1 / K)
    for (both, alone), alpha in zip(tables, alphas, strict=True):
        check_number("an alpha", alpha, 0, ends="()")
        probs = (both + alpha * probs) / (alone + alpha)
    return probs


ALPHAS = tuple(float(alpha) for alpha in 10.0 ** (np.arange(-4, 13) / 4))  # 0.1 … 1,000


def tune_alphas(tables, K, grid=ALPHAS):
    """Return alpha_0 … alpha_n, each chosen from the grid after the one before it, for the least
    nats per character of tables that were counted for validation."""
    alphas = ()
    for k in range(1, len(tables) + 1):
        nats = [-np.log(mix_tables(tables[:k], (*alphas, a), K)).mean() for a in grid]
        alphas += (grid[int(np.argmin(nats))],)
    return alphas
