"""An arm of an ablation at its own best learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from shared.experiments import best_value, sweep


def tuned(
    run_one: Callable[..., dict],
    name: str,
    seeds: Sequence[int],
    rates: Iterable[float],
    metric: str = "val_accuracy",
    **setting,
) -> tuple[list[dict], list[dict]]:
    """Choose a learning rate with the first seed, run it with the others.

    Args:
        run_one: run_one(seed=…, learning_rate=…, **setting) returns a dict with the metric, of
            which the highest is best.
        name: labels the rows of the best rate. rates: the grid.
    Returns: the rows of the whole grid, and those at the best rate, one per seed.
    """
    grid = {f"{name}, {rate:.2g}": dict(setting, learning_rate=rate) for rate in rates}
    rows = sweep(run_one, grid, seeds[:1])
    rate = best_value(rows, metric, "learning_rate")
    best = [row | {"setting": name} for row in rows if row["learning_rate"] == rate]
    if seeds[1:]:
        best += sweep(run_one, {name: dict(setting, learning_rate=rate)}, seeds[1:])
    return rows, best
