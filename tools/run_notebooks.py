"""Run notebooks top to bottom, each in a fresh kernel, then write a table and build/index.html."""

import argparse
import base64
import fnmatch
import io
import json
import os
import sys
import time
from pathlib import Path

import nbformat
from jinja2 import Template
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image, ImageChops, ImageStat
from tqdm import tqdm

import notebook_state as state
from shared.results import load_targets, records_for
from shared.source_hash import code_hash


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
    environment["MPLBACKEND"] = ""  # figures go into the notebook
    if environment.get("COURSE_DATA"):  # the kernel starts in another folder
        environment["COURSE_DATA"] = os.path.abspath(environment["COURSE_DATA"])
    number = 0
    try:
        with client.setup_kernel(env=environment):  # unlike execute(), lets Ctrl-C through
            style = "{desc}  cell {n_fmt}/{total_fmt} {bar:20} {elapsed}"
            bar = tqdm(nb.cells, label, bar_format=style, leave=False, disable=None)
            for number, cell in enumerate(bar, 1):
                client.execute_cell(cell, number - 1, client.code_cells_executed + 1)
    except Exception as error:  # a failing cell, a dead kernel: name it and go on
        name = getattr(error, "ename", type(error).__name__)
        if name == "KeyboardInterrupt":
            raise KeyboardInterrupt from error
        return f"cell {number}: {name}: {getattr(error, 'evalue', error)}".split("\n")[0]
    return ""


def shrink_figures(nb) -> None:
    """Give PNG outputs a palette of 256 colours, a third of the bytes, where no eye sees it."""
    for _, cell in state.code_cells(nb):
        for data in (
            output.data for output in cell.outputs if "image/png" in output.get("data", {})
        ):
            image = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
            palette, file = image.quantize(256, dither=Image.Dither.NONE), io.BytesIO()
            palette.save(file, "PNG", optimize=True)
            change = ImageStat.Stat(ImageChops.difference(image, palette.convert("RGB"))).mean
            if max(change) < 0.5:  # of 255 levels, on average
                data["image/png"] = base64.b64encode(file.getvalue()).decode("ascii")


def headline(nb, path: Path, profile: str) -> dict[str, str]:
    """Return data source and text of a figure recorded in this run: the first target, or any."""
    printed = "".join(o.get("text", "") for _, cell in state.code_cells(nb) for o in cell.outputs)
    rows = [row for row in records_for(path, profile) if f"recorded {row['id']}:" in printed]
    if not rows:
        return {"data": "", "headline": ""}
    targets = {target["id"] for target in load_targets()}
    row = min(rows, key=lambda row: row["id"] not in targets)
    unit = "" if row["unit"] == "fraction" else f" {row['unit']}"
    metric = row["id"].split(".", 1)[1].replace("_", " ")
    text = f"{metric} {row['mean']:.4g} ± {row['std']:.2g}{unit} (n = {row['n']})"
    return {"data": row["data"], "headline": text}


def run(path: Path, profile: str, in_place: bool, build: Path, label: str) -> dict:
    """Run one notebook, write its page in `build` (and keep it in place); return its table row."""
    before, start = path.read_bytes(), time.perf_counter()
    nb = nbformat.reads(before.decode("utf-8"), 4)
    course = dict(
        profile=profile, code=code_hash(state.code_of(nb)), modules=state.module_hashes(nb)
    )
    error = execute(nb, path.parent, profile, label)
    course["seconds"] = round(time.perf_counter() - start, 1)
    nb.metadata["course"] = course
    shrink_figures(nb)
    if in_place and not error and path.read_bytes() != before:
        error = "the file changed while it ran and was left alone; run it again"
    if in_place and not error:
        state.save(nb, path)
    page = build / path.parent.name / f"{path.stem}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    name = {"metadata": {"name": path.stem}}
    page.write_text(HTMLExporter().from_notebook_node(nb, name)[0], encoding="utf-8")
    title = nb.cells[0].source.partition("\n")[0].strip("# ")
    row = dict(title=title, page=page.relative_to(build).as_posix(), error=error)
    return row | dict(profile=profile, seconds=course["seconds"]) | headline(nb, path, profile)


def write_index(rows: dict[str, dict], build: Path) -> None:
    """Merge the rows of this run into those of earlier ones and write the page that lists them."""
    store, template = build / "runs.json", state.ROOT / "tools" / "index.html"
    rows = (json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}) | rows
    store.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    there = [rows[name] for name in sorted(rows) if (state.ROOT / name).exists()]
    page = Template(template.read_text(encoding="utf-8"), autoescape=True).render(rows=there)
    (build / "index.html").write_text(page, encoding="utf-8")


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=("quick", "full"), default="quick")
    parser.add_argument("--in-place", action="store_true", help="keep the outputs in the notebook")
    parser.add_argument("--stale", action="store_true", help="only where a full run is due")
    parser.add_argument("--only", default="", metavar="PATTERN", help="part of a path, or a glob")
    parser.add_argument("--build", type=Path, default=state.ROOT / "build", metavar="DIR")
    options = parser.parse_args()
    chosen, rows, code = choose(options.only, options.stale), {}, 0
    options.build.mkdir(parents=True, exist_ok=True)
    if not chosen:
        print("No notebook to run." if not options.stale else "Every stored output is up to date.")
        return int(bool(options.only and not options.stale))
    try:
        for number, (name, path) in enumerate(chosen.items(), 1):
            label = f"[{number}/{len(chosen)}] {name}"
            row = run(path, options.profile, options.in_place, options.build, label)
            rows[name], code = row, code or int(bool(row["error"]))
            print(f"{label}  {row['seconds']} s  {'FAILED ' if row['error'] else ''}{row['error']}")
    except KeyboardInterrupt:
        print(f"Interrupted: {len(rows)} of {len(chosen)} notebooks done; the rest are untouched.")
        code = 130
    columns = "{:<48} {:<40} {:>7}  {}".format
    print("\n" + columns("notebook", "data", "seconds", "headline figure"))
    for name, row in rows.items():
        print(columns(name, row["data"], row["seconds"], row["error"] or row["headline"]))
    write_index(rows, options.build)
    print(f"\nPages: {os.path.relpath(options.build / 'index.html')}")
    return code


if __name__ == "__main__":
    sys.exit(main())
