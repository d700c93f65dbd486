"""Measured results: records that notebooks write, targets written by hand, tables made of both.

python -m shared.results check            every target beside its record; fails where one misses
python -m shared.results table --check    fails where a README's table differs from the records
python -m shared.results table --write    writes the tables
"""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import math
import operator
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from shared import FOLDERS, ROOT
from shared.profiles import current_profile, device_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DIRECTIONS = {">=": operator.ge, "<=": operator.le}
START, END = "<!-- results:start -->", "<!-- results:end -->"


def results_folder(profile: str) -> Path:
    """Return where records of this profile lie: evidence in full, an ignored folder in quick."""
    return ROOT / "reports" / "results" if profile == "full" else ROOT / "build" / "results"


def records_file(metric_id: str, profile: str) -> Path:
    """Return the file for an id such as "a1_03.test_accuracy": …/a1_03_mlp_mnist.json."""
    match = re.fullmatch(rf"({'|'.join(FOLDERS)})_(\d\d)\.\w[\w.]*", metric_id)
    if not match:
        raise ValueError(f"metric_id is {metric_id!r}; it must be like a1_03.test_accuracy")
    assignment, number = match.groups()
    notebooks = sorted((ROOT / FOLDERS[assignment]).glob(f"{number}_*.ipynb"))
    if len(notebooks) != 1:
        where = f"{FOLDERS[assignment]}/{number}_*.ipynb"
        raise ValueError(f"metric_id is {metric_id!r}; {len(notebooks)} notebooks match {where}")
    return results_folder(profile) / f"{assignment}_{notebooks[0].stem}.json"


def records_for(notebook: Path, profile: str) -> list[dict]:
    """Return the rows that a notebook has recorded in this profile; none yet is an empty list."""
    assignment = next((key for key, name in FOLDERS.items() if name == notebook.parent.name), "")
    file = results_folder(profile) / f"{assignment}_{notebook.stem}.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else []


def hardware() -> str:
    """Return the processor's name and number of cores, or the accelerator's name."""
    if device_name() == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        name = found[1] if found else name
    return f"{name}, {os.cpu_count()} cores"


def record(
    metric_id: str,
    values: Sequence[float],
    *,
    setting: str,
    data: str,
    examples: int,
    unit: str = "fraction",
    seconds: Sequence[float] | None = None,
) -> dict:
    """Write a measured result and return its row; a row with the same id is replaced.

    Args:
        metric_id: assignment_notebook.metric, such as "a1_03.test_accuracy".
        values: one per seed. seconds: training time, one per seed.
        setting: what was run, in words. data: the data set's name. examples: trained on.
    Returns: the row. In the full profile it goes to reports/results/, in quick to build/results/,
        so that a quick run cannot overwrite evidence.
    """
    values = [float(value) for value in values]
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"values of {metric_id} is {values}; it must be finite numbers, 1 or more")
    if seconds is not None and len(seconds) != len(values):
        raise ValueError(
            f"seconds has {len(seconds)} entries; {metric_id} has {len(values)} values"
        )
    row = {
        "id": metric_id,
        "setting": setting,
        "values": values,
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        "n": len(values),
        "unit": unit,
        "seconds": None if seconds is None else [round(float(s), 3) for s in seconds],
        "data": data,
        "examples": int(examples),
        "device": hardware(),
        "threads": torch.get_num_threads(),
        "versions": f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"torch {torch.__version__}",
        "date": datetime.date.today().isoformat(),
    }
    file = records_file(metric_id, current_profile())
    rows = json.loads(file.read_text("utf-8")) if file.exists() else []
    rows = sorted([r for r in rows if r["id"] != metric_id] + [row], key=lambda r: r["id"])
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")
    unfinished.replace(file)
    print(f"recorded {metric_id}: {row['mean']:.4g} ± {row['std']:.2g} {unit} (n = {row['n']})")
    return row


def load_targets() -> list[dict]:
    """Return the rows of reports/targets.toml; ValueError names a row that is not complete."""
    targets = tomllib.loads((ROOT / "reports" / "targets.toml").read_text("utf-8"))["target"]
    for target in targets:
        missing = {"id", "notebook", "figure", "goal", "direction", "source"} - target.keys()
        if missing or target["direction"] not in DIRECTIONS:
            raise ValueError(
                f"targets.toml, {target.get('id')}: missing {sorted(missing)} or wrong "
                "direction; it must be >= or <="
            )
    return targets


def judged_targets() -> list[tuple[dict, dict | None, bool]]:
    """Return (target, record or None, met) for every target, from the full profile's records."""
    rows = {}
    for file in sorted(results_folder("full").glob("*.json")):
        rows |= {row["id"]: row for row in json.loads(file.read_text("utf-8"))}
    judged = []
    for target in load_targets():
        row = rows.get(target["id"])
        met = row is not None and DIRECTIONS[target["direction"]](row["mean"], target["goal"])
        judged.append((target, row, met))
    return judged


def _measured(row: dict | None) -> str:
    if row is None:
        return "no record"
    spread = f" ± {row['std']:.2g}" if row["n"] > 1 else ""
    return f"{row['mean']:.4g}{spread} ({row['n']})"


def check() -> int:
    """Print every target beside its record; return 1 where a target is missed or has no record."""
    judged = judged_targets()
    for target, row, met in judged:
        goal = f"{target['direction']} {target['goal']:g}"
        print(f"{'ok  ' if met else 'MISS'} {target['id']:<34} {goal:<10} {_measured(row)}")
    missed = sum(not met for _, _, met in judged)
    print(f"{len(judged) - missed} of {len(judged)} targets met")
    return int(missed > 0)


def results_table(from_folder: Path) -> str:
    """Return the Markdown table of all targets, its links relative to from_folder."""
    lines = [
        "| notebook | figure | goal | measured: mean ± std (seeds) | compared with |",
        "|---|---|---|---|---|",
    ]
    for target, row, met in judged_targets():
        path = os.path.relpath(ROOT / target["notebook"], from_folder).replace(os.sep, "/")
        measured = f"**{_measured(row)}**" if met else _measured(row) + ", missed" * bool(row)
        goal = f"{target['direction'].replace('>=', '≥').replace('<=', '≤')} {target['goal']:g}"
        name = Path(target["notebook"]).stem
        lines.append(
            f"| [{name}]({path}) | {target['figure']} | {goal} | {measured} | {target['source']} |"
        )
    rows = [row for _, row, _ in judged_targets() if row]
    places = sorted({f"{row['device']}, threads: {row['threads']}" for row in rows})
    return "\n".join([*lines, "", f"Measured in the full profile on: {'; '.join(places)}."])


def readme_figure() -> bytes:
    """Return the PNG of the notebook cell that is tagged `readme`; b"" where there is none."""
    for notebook in sorted(ROOT.glob("*/*.ipynb")):
        for cell in json.loads(notebook.read_text("utf-8")).get("cells", []):
            if "readme" in cell["metadata"].get("tags", []):
                images = [output.get("data", {}).get("image/png") for output in cell["outputs"]]
                return base64.b64decode(next(filter(None, images), ""))
    return b""


def table(write: bool) -> int:
    """Write tables and figure of the READMEs, or return 1 where one differs from its source."""
    stale, figure, fresh_figure = 0, ROOT / "reports" / "overview.png", readme_figure()
    if (figure.read_bytes() if figure.exists() else b"") != fresh_figure:
        if write:
            figure.write_bytes(fresh_figure)
        else:
            print("reports/overview.png differs from its notebook; run the same command --write")
            stale = 1
    for file in (ROOT / "README.md", ROOT / "reports" / "README.md"):
        text = file.read_text("utf-8")
        if START not in text or END not in text:
            raise ValueError(f"{file.relative_to(ROOT)} needs the lines {START} and {END}")
        before, rest = text.split(START, 1)
        after = rest.split(END, 1)[1]
        fresh = f"{before}{START}\n{results_table(file.parent)}\n{END}{after}"
        if fresh != text and write:
            file.write_text(fresh, "utf-8")
        elif fresh != text:
            print(
                f"{file.relative_to(ROOT)}: the table differs from the records; "
                "run python -m shared.results table --write"
            )
            stale = 1
    return stale


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands at the top of this file; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m shared.results", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="compare records with targets")
    how = commands.add_parser("table", help="the READMEs' tables").add_mutually_exclusive_group(
        required=True
    )
    how.add_argument("--check", action="store_true")
    how.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    return check() if options.command == "check" else table(options.write)


if __name__ == "__main__":
    sys.exit(main())
