"""Measured results beside their targets, on the terminal and as a table for the READMEs.

python -m tools.results check    every target beside its record; fails where one is missed
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.environment import ROOT
from shared.records import SIGNS, evidence, judge, load_targets
from tools.notebook_state import print_anywhere

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def targets_and_records() -> list[tuple[dict, dict | None]]:
    """Return every target with the record of the same id; None where there is none yet."""
    pairs = []
    for target in load_targets():
        rows = {row["id"]: row for row in evidence(ROOT / target["notebook"])}
        pairs.append((target, rows.get(target["id"])))
    return pairs


def place(row: dict) -> str:
    """Return on what a record was measured: the device and how many threads."""
    return f"{row['device']}, threads: {row['threads']}"


def measured(row: dict | None) -> str:
    """Return mean ± std (n); the unit belongs to the figure's name."""
    if row is None:
        return "no record"
    spread = f" ± {row['std']:.2g}" if row["n"] > 1 else ""
    return f"{row['mean']:.4g}{spread} (n = {row['n']})"


def compared(target: dict, row: dict | None) -> tuple[str, str]:
    """Return goal and published figure ("" where none is), each with `reached` or `missed`."""
    goal = f"{SIGNS[target['direction']]} {target['goal']:g}"
    published = f"{target['published']:g}" if "published" in target else ""
    if row is None:
        return goal, published
    words = {True: " reached", False: " missed", None: ""}
    for_goal, for_published = (words[reached] for reached in judge(target, row))
    because = f": {target['missed']}" if "missed" in target and for_goal == " missed" else ""
    return goal + for_goal + because, published + for_published


def check() -> int:
    """Print every target beside its record.

    Returns: 1 where a goal has no record, or is missed and its target does not say why; else 0.
    """
    pairs, failed = targets_and_records(), 0
    for target, row in pairs:
        reached = row is not None and judge(target, row)[0]
        excused = row is not None and "missed" in target
        failed += not reached and not excused
        goal, published = compared(target, row)
        line = f"{'ok  ' if reached else 'MISS'} {target['id']:<34} {measured(row)} · goal {goal}"
        print(line + (f" · published {published}" if published else ""))
    print(f"{len(pairs) - failed} of {len(pairs)} targets reached, or missed for a stated reason")
    return int(failed > 0)


def results_table(from_folder: Path) -> str:
    """Return the Markdown table of all targets, its links relative to from_folder."""
    lines = [
        "| notebook | figure | measured: mean ± std | goal | published | compared with |",
        "|---|---|---|---|---|---|",
    ]
    pairs = targets_and_records()
    places = sorted({place(row) for _, row in pairs if row})
    for target, row in pairs:
        path = os.path.relpath(ROOT / target["notebook"], from_folder).replace(os.sep, "/")
        link = f"[{Path(target['notebook']).stem}]({path})"
        mark = f" <sup>{LETTERS[places.index(place(row))]}</sup>" if row and places[1:] else ""
        cells = [link, target["figure"], measured(row) + mark, *compared(target, row)]
        lines.append(f"| {' | '.join([*cells, target['source']])} |")
    if places[1:]:
        places = [f"<sup>{LETTERS[n]}</sup> {name}" for n, name in enumerate(places)]
    if places:
        lines += ["", f"Measured in the full profile on: {'; '.join(places)}."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command at the top of this file; return its exit code."""
    print_anywhere()
    parser = argparse.ArgumentParser(prog="python -m tools.results", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("command", choices=["check"])
    parser.parse_args(arguments)
    return check()


if __name__ == "__main__":
    sys.exit(main())
