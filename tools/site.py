"""The site: a page for each notebook, one that lists them, a search; no network, no server.

python -m tools.site    builds all of it from the stored outputs, into build/site, and runs nothing
"""

import argparse
import hashlib
import json
import shutil
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import files as files_of
from itertools import groupby
from pathlib import Path

import nbformat

from shared.environment import ROOT, build_folder, write_atomically
from shared.records import evidence
from tools.cards import card, opening, site_name, tally, title_of
from tools.notebook_state import find_notebooks, print_anywhere
from tools.page import TEMPLATES, environment, write_page

MATHJAX = "sphinx-mathjax-offline", "tex-svg-full.js"  # the package, and its one file that we need
NEIGHBOURS = "<!-- neighbours -->", "<!-- /neighbours -->"  # what stands between them is renewed
SEARCH_DATA = Path("assets", "search-data.js")


def in_words(error: Exception) -> str:
    """Return an exception as one line: its name, or a cell's own, and what it says."""
    name, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", error)
    return f"{name}: {text}".split("\n")[0]


def add_page(nb, path: Path, build: Path, row: dict) -> dict:
    """Write the notebook's page; return its row with all that the first page says of it.

    Args: row: profile, seconds, data, headline and error of the run that nb holds.
    Returns: where the page cannot be made, `page` is "" and `error` says why.
    """
    name, page = f"{path.parent.name}/{path.name}", build / path.parent.name / f"{path.stem}.html"
    row = {"title": title_of(nb, path), "page": "", "thumbnail": "", "sections": []} | row
    try:
        link = page.relative_to(build).as_posix()
        made = write_page(nb, page, path.parent, **context(name, row))
        made["thumbnail"] = made["thumbnail"] and f"{path.parent.name}/{made['thumbnail']}"
        return row | made | {"page": link}
    except Exception as error:  # an odd output, a full disk: the other notebooks still get theirs
        problem = f"its page cannot be made: {in_words(error)}"
        return row | {"error": "; ".join(filter(None, [row["error"], problem]))}


def context(name: str, row: dict) -> dict:
    """Return what the template of a page shows besides the cells."""
    about = card(name, row)
    return {"site": site_name(), "card": about, "description": about["title"]}


def stored_row(nb, path: Path) -> dict:
    """Return the row of a notebook's stored outputs."""
    course, rows = nb.metadata.get("course", {}), evidence(path)
    row = {"profile": course.get("profile", ""), "seconds": course.get("seconds"), "error": ""}
    return row | {"data": rows[0]["data"] if rows else "", "headline": ""}


def add_stored(path: Path, build: Path) -> dict:
    """Write the page of the outputs that the notebook holds; return its row."""
    nb = nbformat.read(path, 4)
    return add_page(nb, path, build, stored_row(nb, path)) | {"stored": digest(path)}


def digest(path: Path) -> str:
    """Return a hash of a notebook and of all that makes its page."""
    files = [path, *sorted(TEMPLATES.iterdir()), *sorted(TEMPLATES.parent.glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def with_stored(rows: dict[str, dict], build: Path) -> dict[str, dict]:
    """Return rows with those of all other notebooks that hold outputs, so that none is missing.

    A page that is there already and up to date is left alone, as is that of a run.
    """
    rows = dict(rows)
    for path in find_notebooks():
        name = f"{path.parent.name}/{path.name}"
        row = rows.get(name, {"stored": ""})
        fresh = row.get("page") and (build / row["page"]).exists()
        if "stored" not in row or (fresh and row["stored"] == digest(path)):
            continue
        if nbformat.read(path, 4).metadata.get("course"):
            rows[name] = add_stored(path, build)
    return rows


def mathjax() -> bytes:
    """Return the script that draws formulas, from the package that carries it.

    Raises: FileNotFoundError where it is not installed.
    """
    package, name = MATHJAX
    try:
        places = [file.locate() for file in files_of(package) or [] if file.name == name]
    except PackageNotFoundError:
        places = []
    if not places:
        raise FileNotFoundError(f"{package} is not installed; requirements.txt names it")
    return Path(places[0]).read_bytes()


def write_assets(build: Path, rows: dict[str, dict]) -> None:
    """Write style, scripts and the texts that the search looks through."""
    texts = [[row["page"], row["title"], row["sections"]] for row in rows.values() if row["page"]]
    text = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
    write_atomically(build / SEARCH_DATA, f"const SEARCH_DATA = {text};\n")
    for name in ("style.css", "search.js"):
        write_atomically(build / "assets" / name, (TEMPLATES / name).read_bytes())
    file, drawn = build / "assets" / "mathjax.js", mathjax()
    if not file.exists() or file.read_bytes() != drawn:
        write_atomically(file, drawn)


def link_neighbours(rows: dict[str, dict], build: Path) -> None:
    """Write into every page which one comes before it and which after it."""
    there = [row for row in rows.values() if row["page"] and (build / row["page"]).exists()]
    template = environment().get_template("neighbours.html.j2")
    for number, row in enumerate(there):
        page, around = build / row["page"], [None, *there, None]
        links = template.render(before=around[number], after=around[number + 2])
        text = page.read_text(encoding="utf-8")
        start, end = (text.index(mark) for mark in NEIGHBOURS)
        fresh = f"{text[:start]}{NEIGHBOURS[0]}{links}{text[end:]}"
        if fresh != text:
            write_atomically(page, fresh)


def write_site(rows: dict[str, dict], build: Path) -> None:
    """Write all that is not the page of one notebook, and the links between pages.

    Args: rows: those that add_page returned, by the notebook's name.
    Raises: OSError where the folder cannot be written.
    """
    rows = {name: rows[name] for name in sorted(rows) if (ROOT / name).exists()}
    cards = [card(name, row) for name, row in rows.items()]
    folders = []
    for name, group in groupby(cards, key=lambda card: card["name"].partition("/")[0]):
        title, text = opening(ROOT / name / "README.md")
        folder = {"name": name, "title": title or name, "opening": text, "cards": list(group)}
        folders.append(folder)
    link_neighbours(rows, build)
    about = {"site": site_name(), "description": site_name(), "tally": tally(cards), "root": ""}
    about["opening"] = opening(ROOT / "README.md")[1]
    template = environment().get_template("index.html.j2")
    write_atomically(build / "index.html", template.render(cards=cards, folders=folders, **about))
    write_assets(build, rows)  # last: they are the largest


def build_site(build: Path) -> dict[str, dict]:
    """Build everything anew from the stored outputs; return the rows.

    Raises: ValueError where `build` holds something that is not such a site.
    """
    if build.exists() and any(build.iterdir()):
        if not (build / SEARCH_DATA).exists():
            raise ValueError(f"{build} holds something else; it is left alone")
        shutil.rmtree(build)
    rows = {}
    for path in find_notebooks():
        rows[f"{path.parent.name}/{path.name}"] = add_stored(path, build)
    write_site(rows, build)
    return rows


def main() -> int:
    print_anywhere()
    parser = argparse.ArgumentParser(prog="python -m tools.site", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--build", type=Path, metavar="DIR", help="default: build/site")
    build = parser.parse_args().build or build_folder() / "site"
    try:
        rows = build_site(build)
    except (ValueError, OSError) as error:
        print(f"The site cannot be built: {in_words(error)}")
        return 1
    failed = {name: row["error"] for name, row in rows.items() if row["error"]}
    for name, problem in failed.items():
        print(f"{name}: {problem}")
    print(f"{len(rows) - len(failed)} of {len(rows)} notebooks: {build / 'index.html'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
