"""Measured results: what a notebook records, and how it stands beside goal and published figure.

Runs write below build/results; the full profile's records become evidence in reports/results only
together with the notebook that made them, which `make full` sees to.
"""

from __future__ import annotations

import datetime
import json
import math
import operator
import re
import sys
from pathlib import Path

from shared.data import LabelledData
from shared.environment import (
    FOLDERS,
    ROOT,
    build_folder,
    current_profile,
    hardware,
    num_threads,
    versions,
    write_atomically,
)
from shared.experiments import mean_and_std

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DIRECTIONS = {">=": operator.ge, "<=": operator.le}
SIGNS = {">=": "≥", "<=": "≤"}
REQUIRED = {"id", "notebook", "figure", "goal", "direction", "source"}
OPTIONAL = {"published", "unit", "missed"}


def notebook_of(metric_id: str) -> Path:
    """Return the notebook that an id such as "a1_03.test_accuracy" belongs to."""
    match = re.fullmatch(rf"({'|'.join(FOLDERS)})_(\d\d)\.\w[\w.]*", metric_id)
    if not match:
        raise ValueError(f"metric_id is {metric_id!r}; it must be like a1_03.test_accuracy")
    assignment, number = match.groups()
    notebooks = sorted((ROOT / FOLDERS[assignment]).glob(f"{number}_*.ipynb"))
    if len(notebooks) != 1:
        where = f"{FOLDERS[assignment]}/{number}_*.ipynb"
        raise ValueError(f"metric_id is {metric_id!r}; {len(notebooks)} notebooks match {where}")
    return notebooks[0]


def _stem(notebook: Path) -> str:
    """Return the name of a notebook's records, such as "a1_03_mlp_mnist"."""
    prefix = next(key for key, folder in FOLDERS.items() if folder == notebook.parent.name)
    return f"{prefix}_{notebook.stem}"


def evidence_file(notebook: Path) -> Path:
    """Return the file of the notebook's full records: reports/results/a1_03_mlp_mnist.json."""
    return ROOT / "reports" / "results" / f"{_stem(notebook)}.json"


def evidence(notebook: Path) -> list[dict]:
    """Return the notebook's rows of evidence; none yet is an empty list."""
    file = evidence_file(notebook)
    return json.loads(file.read_text("utf-8")) if file.exists() else []


def _staged_files(notebook: Path, profile: str) -> list[Path]:
    folder, number = build_folder() / "results" / profile, _stem(notebook)[:5]
    return sorted(folder.glob(f"{number}.*.json"))


def staged_records(notebook: Path, profile: str) -> list[dict]:
    """Return the rows that runs of the notebook in this profile have recorded since the last clear.

    One file per metric, so that two kernels that record at once lose nothing.
    """
    return [json.loads(file.read_text("utf-8")) for file in _staged_files(notebook, profile)]


def clear_staged(notebook: Path, profile: str) -> None:
    """Forget what runs of the notebook in this profile have recorded so far."""
    for file in _staged_files(notebook, profile):
        file.unlink(missing_ok=True)


def load_targets() -> list[dict]:
    """Return the rows of reports/targets.toml; ValueError names a row that is not complete."""
    targets = tomllib.loads((ROOT / "reports" / "targets.toml").read_text("utf-8"))["target"]
    for target in targets:
        missing, odd = REQUIRED - target.keys(), target.keys() - REQUIRED - OPTIONAL
        if missing or odd or target["direction"] not in DIRECTIONS:
            raise ValueError(
                f"targets.toml, {target.get('id')}: missing {sorted(missing)}, unknown "
                f"{sorted(odd)}, or the direction is not >= or <="
            )
    ids = [target["id"] for target in targets]
    if twice := {metric_id for metric_id in ids if ids.count(metric_id) > 1}:
        raise ValueError(f"targets.toml has two rows for {', '.join(sorted(twice))}")
    return targets


def judge(target: dict, row: dict) -> tuple[bool, bool | None]:
    """Return whether a record's mean reaches the goal, and the published figure (None: no such)."""
    compare = DIRECTIONS[target["direction"]]
    published = target.get("published")
    return compare(row["mean"], target["goal"]), (
        None if published is None else compare(row["mean"], published)
    )


def _the_one(rows: list[dict], key: str, default):
    """Return what the rows' runs say of themselves, such as their device; several are listed."""
    found = dict.fromkeys(row["made"][key] for row in rows if "made" in row)
    if not found:
        return default
    return next(iter(found)) if len(found) == 1 else ", ".join(sorted(map(str, found)))


def record(
    metric_id: str,
    rows: list[dict],
    metric: str,
    *,
    data: LabelledData | str,
    setting: str | None = None,
    examples: int | None = None,
    unit: str | None = None,
) -> dict:
    """Write a measured result, print it beside its goal, and return it.

    Args:
        metric_id: assignment_notebook.metric, such as "a1_03.test_accuracy".
        rows: the rows of one setting of a sweep, one per seed; or any dicts that hold the metric.
            Seeds, training time ("train_seconds", else "seconds") and when and on what each run
            was made are taken from them.
        metric: the key of the values in rows.
        data: what was loaded, or its name in words; examples: how many were trained on.
        setting: what was run, in words; the rows' own name where None.
        unit: "fraction" where neither this nor the target says otherwise.
    Raises: ValueError for rows that cannot be a record; AssertionError in the full profile where
        the goal of reports/targets.toml is missed, unless its row says why (`missed`).
    """
    notebook_of(metric_id)
    settings = list(dict.fromkeys(row["setting"] for row in rows if "setting" in row))
    if len(settings) > 1:
        raise ValueError(f"rows are of {len(settings)} settings, {settings}; record takes one")
    if setting is None and not settings:
        raise ValueError(f"setting of {metric_id} is None, and the rows name none; say what ran")
    values = [float(row.get(metric, math.nan)) for row in rows]
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"{metric} of {metric_id} is {values}; it must be finite, 1 value or more")
    if examples is None and isinstance(data, str):
        raise ValueError(f"examples of {metric_id} is None; with data in words it must be given")
    seconds = [row.get("train_seconds", row.get("seconds")) for row in rows]
    target = next((target for target in load_targets() if target["id"] == metric_id), {})
    mean, std = mean_and_std(values)
    row = {
        "id": metric_id,
        "setting": setting or settings[0],
        "values": values,
        "mean": mean,
        "std": std,
        "n": len(values),
        "unit": unit or target.get("unit", "fraction"),
        "seeds": [row.get("seed") for row in rows],
        "seconds": None if None in seconds else [round(float(s), 3) for s in seconds],
        "data": data if isinstance(data, str) else data.name,
        "examples": len(data.x_train) if examples is None else int(examples),
        "device": _the_one(rows, "device", hardware()),
        "threads": _the_one(rows, "threads", num_threads()),
        "versions": versions(),
        "date": _the_one(rows, "date", datetime.date.today().isoformat()),
    }
    folder = build_folder() / "results" / current_profile()
    write_atomically(
        folder / f"{metric_id}.json", json.dumps(row, indent=1, ensure_ascii=False) + "\n"
    )
    print(_line(row, target))
    if current_profile() == "full" and target and not judge(target, row)[0]:
        if "missed" not in target:
            raise AssertionError(
                f"{metric_id} is {mean:.6g}; its goal is {SIGNS[target['direction']]} "
                f"{target['goal']:g}"
            )
    return row


def _line(row: dict, target: dict) -> str:
    """Return a record in words; only the full profile is compared with goal and published."""
    spread = f" ± {row['std']:.2g}" if row["n"] > 1 else ""
    line = f"recorded {row['id']}: {row['mean']:.4g}{spread} {row['unit']} (n = {row['n']})"
    if current_profile() == "full" and target:
        goal, published = judge(target, row)
        sign = SIGNS[target["direction"]]
        line += f" · goal {sign} {target['goal']:g} {'reached' if goal else 'missed'}"
        if published is not None:
            line += f" · published {target['published']:g} {'reached' if published else 'missed'}"
    return line
