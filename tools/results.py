"""Measured results beside their targets, on the terminal and in the READMEs.

python -m tools.results check            every target beside its record; fails where one is missed
python -m tools.results table --check    fails where a README differs from records and notebooks
python -m tools.results table --write    renews the READMEs' tables and the figure above them
"""

import argparse
import base64
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat

from shared.environment import ROOT, write_atomically
from shared.records import SIGNS, evidence, judge, load_targets
from tools.notebook_state import find_notebooks, print_anywhere

START, END = "<!-- results:start -->", "<!-- results:end -->"
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


def readme_figure() -> bytes:
    """Return the PNG of the notebook cell that is tagged `readme`; b"" where there is none."""
    for path in find_notebooks():
        for cell in nbformat.read(path, 4).cells:
            if "readme" in cell.metadata.get("tags", []):
                images = [output.get("data", {}).get("image/png") for output in cell.outputs]
                return base64.b64decode(next(filter(None, images), ""))
    return b""


def fresh_files() -> dict[Path, str | bytes]:
    """Return what the READMEs and their figure should be.

    Raises: ValueError for a README without the two lines between which the table stands.
    """
    files = {ROOT / "reports" / "overview.png": readme_figure()}
    for file in (ROOT / "README.md", ROOT / "reports" / "README.md"):
        text = file.read_text("utf-8")
        if START not in text or END not in text:
            raise ValueError(f"{file.relative_to(ROOT)} needs the lines {START} and {END}")
        before, after = text.split(START, 1)[0], text.split(END, 1)[1]
        files[file] = f"{before}{START}\n{results_table(file.parent)}\n{END}{after}"
    return files


def table(write: bool) -> int:
    """Write tables and figure of the READMEs, or return 1 where one differs from its source."""
    stale = 0
    for file, fresh in fresh_files().items():
        if isinstance(fresh, str):
            stored = file.read_text("utf-8")
        else:
            stored = file.read_bytes() if file.exists() else b""
        if stored == fresh:
            continue
        if write:
            write_atomically(file, fresh)
        else:
            print(
                f"{file.relative_to(ROOT).as_posix()} differs from records and notebooks; "
                "python -m tools.results table --write renews it"
            )
            stale = 1
    return stale


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands at the top of this file; return its exit code."""
    print_anywhere()
    parser = argparse.ArgumentParser(prog="python -m tools.results", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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
