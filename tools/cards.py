"""What the first page says of a notebook: question, answer, figures beside the published ones."""

import re
from pathlib import Path

import nbformat

from shared.environment import ROOT
from shared.records import SIGNS, judge
from tools.page import inline, plain
from tools.results import measured, targets_and_records


def opening(file: Path) -> tuple[str, str]:
    """Return the title and the first paragraph, as HTML, of a README; empty where it has none."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    title, _, rest = text.partition("\n")
    blocks = [block.strip() for block in rest.split("\n\n")]
    prose = [block for block in blocks if re.match(r"[^#|`!<\[]", block)]
    return title.lstrip("# ").strip(), inline(prose[0]) if prose else ""


def site_name() -> str:
    return opening(ROOT / "README.md")[0] or "Notebooks"


def title_of(nb, path: Path) -> str:
    """Return the notebook's title: its first line as plain text, else the name of its file."""
    first = nb.cells[0].source.partition("\n")[0].strip("# ") if nb.cells else ""
    return plain(inline(first)) or path.stem


def question_and_answer(nb, path: Path) -> tuple[str, str]:
    """Return what the notebook asks and what it answers, as HTML.

    Both stand in the table of its folder's README; otherwise the first paragraph asks, and the
    first bullet of *What we found* answers.
    """
    readme = path.parent / "README.md"
    row = rf"^\|[^|]*\({re.escape(path.name)}\)\s*\|(.+?)\|(.+?)\|\s*$"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if found := re.search(row, text, re.MULTILINE):
        return inline(found[1].strip()), inline(found[2].strip())
    first = nb.cells[0].source.partition("\n")[2].strip().split("\n\n")[0] if nb.cells else ""
    prose = "\n\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    _, _, end = prose.partition("## What we found")
    bullet = re.search(r"^[-*] (.+?)(?=\n\s*\n|\n[-*#]|\Z)", end, re.DOTALL | re.MULTILINE)
    return inline(first), inline(bullet[1]) if bullet else ""


def figures_of(name: str) -> list[dict]:
    """Return the notebook's measured figures beside goal and published one, that one first."""
    found = []
    for target, row in targets_and_records():
        if target["notebook"] != name or row is None:
            continue
        goal, published = judge(target, row)
        sign = SIGNS[target["direction"]]
        compared = [("goal", f"{sign} {target['goal']:g}", goal)]
        if published is not None:
            compared = [("published", f"{target['published']:g}", published), *compared]
        figure = {"name": target["figure"], "measured": measured(row), "compared": compared}
        found.append(figure | {"why": "" if goal else target.get("missed", "")})
    return sorted(found, key=lambda figure: -len(figure["compared"]))


def duration(seconds: float) -> str:
    """Return seconds as one reads them."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min"


def card(name: str, row: dict) -> dict:
    """Return what cards and pages say of a notebook."""
    path, run = ROOT / name, f"{row['profile']} profile" if row["profile"] else "not run"
    question, answer = question_and_answer(nbformat.read(path, 4), path)
    seconds = duration(row["seconds"]) if row["seconds"] is not None else None
    told = {
        "name": name,
        "stem": path.stem,
        "question": question,
        "answer": answer,
        "figures": figures_of(name),
    }
    told["folder"] = opening(path.parent / "README.md")[0] or path.parent.name
    return row | told | {"run": run, "seconds": seconds}


def tally(cards: list[dict]) -> str:
    """Return in words how many goals and published figures are reached."""
    found = [part for card in cards for figure in card["figures"] for part in figure["compared"]]
    words = []
    for kind, text in (("goal", "goals"), ("published", "published figures")):
        reached = [good for word, _, good in found if word == kind]
        if reached:
            words.append(f"{sum(reached)} of {len(reached)} {text} reached")
    return f"In the full profile, {' and '.join(words)}." if words else ""
