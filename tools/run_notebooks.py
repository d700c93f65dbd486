"""Run notebooks top to bottom, each in a fresh kernel, then a table and build/index.html."""

import argparse
import base64
import contextlib
import fnmatch
import hashlib
import io
import json
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image, ImageChops, ImageStat
from tqdm import tqdm

from shared.data import available_sources
from shared.environment import build_folder, versions, write_atomically
from shared.records import clear_staged, evidence_file, load_targets, staged_records
from shared.source_hash import code_hash
from tools import notebook_state as state
from tools.site import add_page, in_words, with_stored, write_site


def execute(nb, folder: Path, profile: str, label: str) -> str:
    """Run every cell in a fresh kernel in `folder`; return what went wrong, or an empty text."""
    for _, cell in state.code_cells(nb):
        cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("execution", None)
    nb.metadata.pop("widgets", None)
    options = {"resources": {"metadata": {"path": str(folder)}}, "coalesce_streams": True}
    options |= {"record_timing": False, "extra_arguments": ["--log-level=CRITICAL"]}
    client = NotebookClient(nb, **options)
    environment = {**os.environ, "COURSE_PROFILE": profile, "TQDM_DISABLE": "1"}
    environment |= {"MPLBACKEND": "", "COURSE_HEADLESS": "1"}  # figures go into the notebook
    number = 0
    try:
        with client.setup_kernel(env=environment):  # unlike execute(), lets Ctrl-C through
            style = "{desc}  cell {n_fmt}/{total_fmt} {bar:20} {elapsed}"
            bar = tqdm(nb.cells, label, bar_format=style, leave=False, disable=None)
            for number, cell in enumerate(bar, 1):
                client.execute_cell(cell, number - 1, client.code_cells_executed + 1)
    except Exception as error:  # a failing cell, a dead kernel: name it and go on
        if getattr(error, "ename", "") == "KeyboardInterrupt":
            raise KeyboardInterrupt from error
        return f"cell {number}: {in_words(error)}"
    return ""


def shrink_figures(nb) -> None:
    """Give PNG outputs a palette of 256 colours, a third of the bytes, where no eye sees it."""
    for _, cell in state.code_cells(nb):
        for data in (
            output.data for output in cell.outputs if "image/png" in output.get("data", {})
        ):
            image = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
            palette, file = image.quantize(256), io.BytesIO()
            palette.save(file, "PNG", optimize=True)
            change = ImageStat.Stat(ImageChops.difference(image, palette.convert("RGB"))).mean
            if max(change) < 0.5:  # of 255 levels, on average
                data["image/png"] = base64.b64encode(file.getvalue()).decode("ascii")


def headline(rows: list[dict]) -> dict[str, str]:
    """Return data source and text of one of a notebook's records: the first target, or any."""
    if not rows:
        return {"data": "", "headline": ""}
    targets = {target["id"] for target in load_targets()}
    row = min(rows, key=lambda row: row["id"] not in targets)
    unit = "" if row["unit"] == "fraction" else f" {row['unit']}"
    metric = row["id"].split(".", 1)[1].replace("_", " ")
    text = f"{metric} {row['mean']:.4g} ± {row['std']:.2g}{unit} (n = {row['n']})"
    return {"data": row["data"], "headline": text}


def keep(nb, path: Path, before: bytes, profile: str) -> str:
    """Store a finished run in place, notebook and evidence together; return what hindered it."""
    if path.read_bytes() != before:
        return "the file changed while it ran and was left alone; run it again"
    files = {}
    if profile == "full":
        rows = sorted(staged_records(path, profile), key=lambda row: row["id"])
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
        files[evidence_file(path)] = text if rows else None
    files[path] = nbformat.writes(nb) + "\n"  # last: until it is there, `make full` runs it again
    try:
        state.write_together(files)
    except OSError as error:
        return f"the run cannot be kept: {in_words(error)}"
    return ""


def run(path: Path, profile: str, in_place: bool, build: Path, label: str) -> dict:
    """Run one notebook, write its page in `build` (and keep it in place); return its table row."""
    before, start = path.read_bytes(), time.perf_counter()
    nb = nbformat.reads(before.decode("utf-8"), 4)
    course = dict(
        profile=profile, code=code_hash(state.code_of(nb)), modules=state.module_hashes(nb)
    )
    clear_staged(path, profile)
    error = execute(nb, path.parent, profile, label)
    course["seconds"] = round(time.perf_counter() - start, 1)
    nb.metadata["course"] = course
    shrink_figures(nb)
    if in_place and not error:
        error = keep(nb, path, before, profile)
    row = dict(profile=profile, seconds=course["seconds"], error=error)
    row |= dict(made_from=made_from(before, profile), **headline(staged_records(path, profile)))
    return add_page(nb, path, build, row)


def made_from(notebook: bytes, profile: str) -> str:
    """Return a hash of all that a run shows: cells, our modules, data, versions, profile."""
    nb = nbformat.reads(notebook.decode("utf-8"), 4)
    cells = [[cell.cell_type, cell.source, cell.metadata] for cell in nb.cells]
    found = [cells, state.module_hashes(nb), profile, available_sources(), versions()]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def is_due(path: Path, profile: str, row: dict, build: Path) -> bool:
    """Return whether a notebook must run: its last run here was of something else, or failed."""
    there = row.get("page") and (build / row["page"]).exists() and not row["error"]
    return not there or row.get("made_from") != made_from(path.read_bytes(), profile)


def earlier_rows(store: Path) -> dict[str, dict]:
    """Return the rows of earlier runs; where they cannot be read, say so and start afresh."""
    try:
        rows = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
        return {name: row for name, row in rows.items() if "sections" in row}
    except ValueError:
        print(f"{store} is damaged; the index starts afresh.")
        return {}


def write_index(rows: dict[str, dict], build: Path, complete: bool = True) -> None:
    """Merge the rows of this run into those of earlier ones and finish the site.

    Args: complete: whether notebooks that were never run here are shown as they are stored.
    """
    rows = earlier_rows(build / "runs.json") | rows
    if complete:
        rows = with_stored(rows, build)
    write_rows(rows, build)
    write_site(rows, build)


def write_rows(rows: dict[str, dict], build: Path) -> None:
    """Keep the rows of runs for the next command."""
    write_atomically(build / "runs.json", json.dumps(rows, indent=1))


def choose(only: str, stale: bool) -> dict[str, Path]:
    """Return {name: path} of the notebooks that match `only` and, with `stale`, need a full run."""
    chosen = {path.relative_to(state.ROOT).as_posix(): path for path in state.find_notebooks()}
    for name, path in [*chosen.items()]:
        nb = nbformat.read(path, 4)
        fresh = stale and not state.output_problems(nb) and not state.changed_modules(nb)
        if fresh or not fnmatch.fnmatch(name, f"*{only}*"):
            del chosen[name]
    return chosen


def main() -> int:
    state.print_anywhere()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=("quick", "full"), default="quick")
    parser.add_argument("--in-place", action="store_true", help="keep the outputs in the notebook")
    parser.add_argument("--stale", action="store_true", help="only where a full run is due")
    parser.add_argument("--due", action="store_true", help="only what changed since its last run")
    parser.add_argument(
        "--only",
        default=os.environ.get("ONLY", ""),
        metavar="PATTERN",
        help="part of a path, or a glob (default: $ONLY, else all)",
    )
    parser.add_argument("--build", type=Path, metavar="DIR", help="default: build/")
    options = parser.parse_args()
    chosen, rows, code = choose(options.only, options.stale), {}, 0
    if not chosen:
        print("No notebook to run." if not options.stale else "Every stored output is up to date.")
        return int(bool(options.only and not options.stale))
    build = options.build or build_folder()
    earlier = earlier_rows(build / "runs.json")
    if options.due:
        chosen = {
            name: path
            for name, path in chosen.items()
            if is_due(path, options.profile, earlier.get(name, {}), build)
        }
        print(f"notebooks that are due: {len(chosen)}; the others are up to date")
    try:
        for number, (name, path) in enumerate(chosen.items(), 1):
            label = f"[{number}/{len(chosen)}] {name}"
            row = run(path, options.profile, options.in_place, build, label)
            rows[name], code = row, code or int(bool(row["error"]))
            with contextlib.suppress(OSError):  # a full disk is reported at the end
                write_rows(earlier | rows, build)  # a power cut loses the running one only
            print(f"{label}  {row['seconds']} s  {'FAILED ' if row['error'] else ''}{row['error']}")
    except KeyboardInterrupt:
        print(f"Interrupted: {len(rows)} of {len(chosen)} notebooks done; the rest are untouched.")
        code = 130
    columns = "{:<48} {:<40} {:>7}  {}".format
    if rows:
        print("\n" + columns("notebook", "data", "seconds", "headline figure"))
    for name, row in rows.items():
        print(columns(name, row["data"], row["seconds"], row["error"] or row["headline"]))
    try:
        write_index(rows, build, complete=code != 130)
        print(f"\nPages: {build / 'index.html'}")
    except OSError as error:
        print(f"\nThe site cannot be finished: {in_words(error)}")
        code = code or 1
    return code


if __name__ == "__main__":
    sys.exit(main())
