"""A ring of devices sums up what each has, and sends no more than it must."""

import numpy as np
import pytest

from assignment2_pytorch_cnn_rnn.ring import ring_all_reduce


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("size", [0, 1, 5, 16, 33])
def test_every_device_gets_the_sum(n, size):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=size) for _ in range(n)]
    before = [array.copy() for array in arrays]
    sums, sent = ring_all_reduce(arrays)
    assert len(sums) == n
    for got in sums:
        np.testing.assert_allclose(got, np.sum(before, axis=0), rtol=0, atol=1e-12)
        assert np.array_equal(got, sums[0])  # to the last bit
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))
    assert sent.sum() == 2 * (n - 1) * size
    assert (abs(sent - 2 * (n - 1) / n * size) <= 2 * (n - 1)).all()
    if size % n == 0:
        assert (sent == 2 * (n - 1) * size // n).all()


def test_whole_numbers_and_views():
    grid = np.arange(12).reshape(3, 4)
    sums, _ = ring_all_reduce(list(grid.T))  # columns, not contiguous
    assert all(got.tolist() == [6, 22, 38] and got.dtype == grid.dtype for got in sums)


def test_an_array_is_not_read_twice_when_it_is_given_twice():
    a = np.ones(4)
    assert ring_all_reduce([a, a])[0][1].tolist() == [2.0] * 4 and a.tolist() == [1.0] * 4


@pytest.mark.parametrize("arrays", [[], [np.ones(2), np.ones(3)], [np.ones((2, 2))] * 2])
def test_what_cannot_be_summed_up_is_refused(arrays):
    with pytest.raises(ValueError, match=r"1 or more, all of one \(size,\)"):
        ring_all_reduce(arrays)
