"""An arm of an ablation at its own best learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from shared.environment import current_profile
from shared.experiments import sweep

MOST_GROWTHS = 6


def tuned(
    run_one: Callable[..., dict],
    name: str,
    seeds: Sequence[int],
    rates: Iterable[float],
    metric: str = "val_accuracy",
    n_jobs: int = 1,
    **setting,
) -> tuple[list[dict], list[dict]]:
    """Choose a learning rate with the first seed, run it with the others.

    A best rate at the edge of the grid is no best rate: in the full profile the grid then grows by
    its own factor, until the best lies inside.

    Args:
        run_one: run_one(seed=…, learning_rate=…, **setting) returns a dict with the metric, of
            which the highest is best.
        n_jobs: runs side by side, as sweep takes it.
        name: labels the rows of the best rate. rates: the grid, two or more, each the same factor
            above the one before.
    Raises: AssertionError where the best is still at the edge after the grid has grown six times.
    Returns: the rows of the whole grid, by rate, and those at the best rate, one per seed.
    """
    rates = sorted(rates)
    if len(rates) < 2 or rates[0] <= 0:
        raise ValueError(f"rates is {rates}; it must be two or more, all above 0")
    factor, rows, new = rates[1] / rates[0], [], rates
    for _ in range(1 + MOST_GROWTHS):
        grid = {f"{name}, {rate:.2g}": dict(setting, learning_rate=rate) for rate in new}
        rows += sweep(run_one, grid, seeds[:1], n_jobs)
        rows.sort(key=lambda row: row["learning_rate"])
        rate = max(rows, key=lambda row: row[metric])["learning_rate"]
        ends = {rows[0]["learning_rate"]: 1 / factor, rows[-1]["learning_rate"]: factor}
        if rate not in ends or current_profile() != "full":
            break
        new = [rate * ends[rate]]
    else:
        lowest, highest = rows[0]["learning_rate"], rows[-1]["learning_rate"]
        raise AssertionError(
            f"{name}: the best rate is {rate:g}, still at the edge of {lowest:g} … {highest:g}"
        )
    best = [row | {"setting": name} for row in rows if row["learning_rate"] == rate]
    if seeds[1:]:
        best += sweep(run_one, {name: dict(setting, learning_rate=rate)}, seeds[1:], n_jobs)
    return rows, best
