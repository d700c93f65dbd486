"""An arm stands at the rate that its first seed found best."""

from __future__ import annotations

import pytest

from assignment2_pytorch_cnn_rnn.tuning import tuned


def peak(seed, learning_rate, at=0.1, key="val_accuracy"):
    """A measure that is highest at one rate, with an offset per seed."""
    return {key: -abs(learning_rate - at) + 0.001 * seed}


def test_the_best_rate_is_run_with_every_seed_once():
    calls = []

    def run_one(seed, learning_rate, **setting):
        calls.append((seed, learning_rate))
        return peak(seed, learning_rate, **setting)

    grid, best = tuned(run_one, "arm", (3, 4, 5), (0.01, 0.1, 1.0), at=0.2)
    assert calls == [(3, 0.01), (3, 0.1), (3, 1.0), (4, 0.1), (5, 0.1)]
    assert [row["setting"] for row in grid] == ["arm, 0.01", "arm, 0.1", "arm, 1"]
    assert [(row["setting"], row["seed"], row["learning_rate"]) for row in best] == [
        ("arm", seed, 0.1) for seed in (3, 4, 5)
    ]
    assert all(row["at"] == 0.2 for row in grid + best)


def test_one_seed_and_another_metric():
    _, best = tuned(peak, "arm", (0,), (0.01, 0.1, 1.0), metric="score", key="score")
    assert len(best) == 1 and best[0]["learning_rate"] == 0.1


def test_runs_side_by_side_give_the_same_rows():
    alone, together = (tuned(peak, "arm", (0, 1, 2), (0.01, 0.1, 1.0), n_jobs=n) for n in (1, 2))
    for one, two in zip(alone[0] + alone[1], together[0] + together[1], strict=True):
        assert (one["seed"], one["val_accuracy"]) == (two["seed"], two["val_accuracy"])


def tried(rates, at, monkeypatch, profile="full"):
    """Return the rates that were tried with the first seed, and the chosen one."""
    monkeypatch.setenv("COURSE_PROFILE", profile)
    grid, best = tuned(peak, "arm", (0, 1), rates, at=at)
    assert [row["learning_rate"] for row in best] == [best[0]["learning_rate"]] * 2
    return [row["learning_rate"] for row in grid], best[0]["learning_rate"]


def test_in_the_full_profile_the_grid_grows_until_the_best_lies_inside(monkeypatch):
    assert tried((1, 2, 4), 8, monkeypatch) == ([1, 2, 4, 8, 16], 8)
    assert tried((4, 1, 2), 0.5, monkeypatch) == ([0.25, 0.5, 1, 2, 4], 0.5)
    assert tried((1, 2, 4), 2, monkeypatch) == ([1, 2, 4], 2)
    assert tried((1, 2, 4), 8, monkeypatch, "quick") == ([1, 2, 4], 4)


def test_it_does_not_grow_for_ever(monkeypatch):
    with pytest.raises(
        AssertionError, match=r"arm: the best rate is 256, still at the edge of 1 …"
    ):
        tried((1, 2, 4), 1e9, monkeypatch)


@pytest.mark.parametrize("rates", [(), (0.1,), (0, 0.1)])
def test_rates_that_are_no_grid(rates):
    with pytest.raises(ValueError, match=r"rates is .*; it must be two or more, all above 0"):
        tuned(peak, "arm", (0,), rates)
