"""What a reader finds outside the notebooks, made from them and their records, never typed.

python -m tools.reports --check    fails where a report, a README's table or the gallery is stale
python -m tools.reports --write    renews them
python -m tools.reports --pdf      writes each report as a PDF below build/reports

reports/<folder>.md holds the outputs of the cells tagged `report`: tables, up to four figures, and
the sections *What we found* and *Limits*. README.md shows those tagged `gallery`.
"""

import argparse
import base64
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup

from shared.environment import FOLDERS, ROOT, build_folder, write_atomically
from shared.records import evidence_file
from tools.browser import chromium
from tools.cards import title_of
from tools.notebook_state import find_notebooks, output_problems, print_anywhere
from tools.page import alternative, environment, figures, to_html
from tools.results import compared, measured, results_table, targets_and_records
from tools.site import write_assets

REPORTS = ROOT / "reports"
MOST_FIGURES = 4  # of one notebook
CLOSING = ("What we found", "Limits")
HEADING = re.compile(r"^(#{1,4}) (.+)$", re.MULTILINE)
COMMAND = "python -m tools.reports --write"


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def cell_text(text: object) -> str:
    """Return text that fits into one cell of a Markdown table."""
    return " ".join(str(text).replace("|", r"\|").split())


def markdown_table(rows: list[list[str]]) -> str:
    """Return rows, the first of which is the heading, as a Markdown table."""
    lines = [f"| {' | '.join(map(cell_text, row))} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def table_of(markup: str) -> str:
    """Return the HTML table that pandas makes of a frame as Markdown.

    A second row of the heading, with the name of the index, is put into the first.
    """
    rows = [
        [cell.get_text() for cell in row.find_all(["th", "td"])]
        for row in BeautifulSoup(markup, "html.parser").find_all("tr")
    ]
    if len(rows) > 1 and not any(rows[1][1:]):
        rows[0][0], rows[1:2] = rows[1][0], []
    return markdown_table(rows)


def outputs_of(cell) -> Iterator[str]:
    """Yield what a cell printed and its tables, as Markdown; its figures are not among them."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream" and output.name == "stdout":
            yield f"```text\n{output.text.rstrip()}\n```"
        elif "<table" in (markup := output.get("data", {}).get("text/html", "")):
            yield table_of(markup)


def closing_sections(source: str) -> Iterator[tuple[str, str]]:
    """Yield (heading, text) of each of CLOSING that a Markdown cell holds."""
    parts = HEADING.split(source)  # text, then mark, heading, text, …
    for mark, heading, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if len(mark) == 2 and heading.strip() in CLOSING and text.strip():
            yield heading.strip(), text.strip()


def last_heading(source: str) -> str:
    """Return the last heading of a Markdown cell, "" where it has none."""
    found = HEADING.findall(source)
    return found[-1][1].strip() if found else ""


def seconds_in_words(row: dict) -> str:
    """Return the time of a record's runs: their mean, in seconds."""
    if not row["seconds"]:
        return ""
    return f"{sum(row['seconds']) / len(row['seconds']):.3g}"


def measured_table(path: Path) -> str:
    """Return the notebook's targets beside what was measured, on which data and machine."""
    heading = ["figure", "measured: mean ± std", "goal", "published", "data", "hardware"]
    rows = [[*heading, "threads", "seconds a run"]]
    for target, row in targets_and_records():
        if ROOT / target["notebook"] != path or row is None:
            continue
        where = [row["data"], row["device"], row["threads"], seconds_in_words(row)]
        rows.append([target["figure"], measured(row), *compared(target, row), *where])
    return markdown_table(rows) if rows[1:] else ""


def chapter(path: Path) -> tuple[str, dict[Path, bytes]]:
    """Return a notebook's part of its folder's report, and the figures that it shows."""
    nb, link = nbformat.read(path, 4), f"../{path.parent.name}/{path.name}"
    title = f"## [{path.stem[:2]} · {title_of(nb, path)}]({link})"
    parts, pictures = [title, measured_table(path)], {}
    for problem in output_problems(nb):
        parts.append(f"*Not the figures of a full run: {problem}.*")
    drawn = {number: output for number, output, kind in figures(nb) if kind == "image/png"}
    closing, evidence = {}, []
    heading = shown = ""
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            heading = last_heading(cell.source) or heading
            closing |= dict(closing_sections(cell.source)) if "report" in tags(cell) else {}
        elif "report" in tags(cell):
            found = list(outputs_of(cell))
            if number in drawn and len(pictures) < MOST_FIGURES:
                file = REPORTS / "figures" / f"{evidence_file(path).stem}-{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode(drawn[number].data["image/png"])
                found.append(f"![{alternative(nb, number)}](figures/{file.name})")
            if found and heading != shown:
                evidence.append(f"### {heading}")
                shown = heading
            evidence += found
    found, limits = (
        f"### {name}\n\n{closing[name]}" if name in closing else "" for name in CLOSING
    )
    return "\n\n".join(filter(None, [*parts, found, *evidence, limits])), pictures


def report(folder: str, paths: list[Path]) -> dict[Path, str | bytes]:
    """Return the files of one folder's report."""
    readme = (ROOT / folder / "README.md").read_text("utf-8")
    title = readme.partition("\n")[0].strip("# ")
    opening = (
        f"The final tables and figures of the notebooks in [{folder}](../{folder}/README.md), as "
        "their stored runs in the full profile made them, with what was found and its limits. "
        f"Made by `{COMMAND}`; a change made here by hand is lost.\n\n"
        "Means and standard deviations are over seeds, n of them. *Goal* is what the notebook "
        "must reach, *published* what the course or a public report says."
    )
    chapters, files = [f"# {title}: report", opening], {}
    for path in paths:
        text, pictures = chapter(path)
        chapters.append(text)
        files |= pictures
    return {REPORTS / f"{folder}.md": "\n\n".join(chapters) + "\n"} | files


def tagged_figures(tag: str) -> Iterator[tuple[Path, bytes, str]]:
    """Yield (notebook, PNG, alternative text) of the first figure of each cell with this tag."""
    for path in find_notebooks():
        nb, seen = nbformat.read(path, 4), set()
        for number, output, kind in figures(nb):
            if kind == "image/png" and tag in tags(nb.cells[number]) and number not in seen:
                seen.add(number)
                yield path, base64.b64decode(output.data[kind]), alternative(nb, number)


def gallery(width: int = 270, columns: int = 3) -> tuple[str, dict[Path, bytes]]:
    """Return the gallery as Markdown, each figure a link to its notebook, and the figures."""
    cells, files = [], {}
    for path, picture, words in tagged_figures("gallery"):
        file = REPORTS / "gallery" / f"{evidence_file(path).stem}.png"
        files[file] = picture
        source, name = file.relative_to(ROOT).as_posix(), f"{path.parent.name}/{path.name}"
        words = words.replace('"', "&quot;")
        image = f'<img src="{source}" width="{width}" alt="{words}">'
        cells.append(f'<a href="{name}">{image}</a>')
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join(["<table>", *lines, "</table>"]) if lines else "", files


def between(text: str, name: str, fresh: str, file: Path) -> str:
    """Return text with `fresh` between its lines <!-- name:start --> and <!-- name:end -->.

    Raises: ValueError naming the file where it lacks these lines.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if start not in text or end not in text:
        raise ValueError(f"{file.relative_to(ROOT)} needs the lines {start} and {end}")
    return f"{text.split(start, 1)[0]}{start}\n{fresh}\n{end}{text.split(end, 1)[1]}"


def fresh_files() -> dict[Path, str | bytes]:
    """Return everything that is made from notebooks and records, as it should be."""
    files = {}
    for file in (ROOT / "README.md", REPORTS / "README.md"):
        files[file] = between(file.read_text("utf-8"), "results", results_table(file.parent), file)
    markup, pictures = gallery()
    readme = ROOT / "README.md"
    files[readme] = between(files[readme], "gallery", markup, readme)
    files |= pictures
    for _, picture, _ in tagged_figures("readme"):
        files[REPORTS / "overview.png"] = picture
    for folder in FOLDERS.values():
        if paths := [path for path in find_notebooks() if path.parent.name == folder]:
            files |= report(folder, paths)
    return files


def stale_files(fresh: dict[Path, str | bytes]) -> list[Path]:
    """Return the files that differ from what they should be, and pictures that nobody shows."""
    wanted = {
        file: content.encode("utf-8") if isinstance(content, str) else content
        for file, content in fresh.items()
    }
    there = {file for name in ("figures", "gallery") for file in (REPORTS / name).glob("*.png")}
    return sorted(
        file
        for file in wanted.keys() | there
        if (file.read_bytes() if file.exists() else None) != wanted.get(file)
    )


def write(fresh: dict[Path, str | bytes], stale: list[Path]) -> None:
    """Write the stale files anew; those that are not wanted any more are removed."""
    for file in stale:
        if file in fresh:
            write_atomically(file, fresh[file])
        else:
            file.unlink()


def write_pdf(source: Path, pdf: Path, command: list[str]) -> None:
    """Print one report to a PDF, by way of a web page in a folder that is removed again.

    Raises: RuntimeError saying what the browser said where it makes no PDF.
    """
    with tempfile.TemporaryDirectory() as folder:
        page, made = Path(folder) / "report.html", Path(folder) / "report.pdf"
        write_assets(page.parent, {})
        body = to_html(source.read_text("utf-8"))
        body = re.sub(r'(<img [^>]*src=")(?!\w+:)', rf"\1{REPORTS.as_uri()}/", body)
        template = environment().get_template("report.html.j2")
        page.write_text(template.render(body=body, root="", site=source.stem), "utf-8")
        options = [f"--user-data-dir={folder}/profile", "--no-pdf-header-footer"]
        options += ["--virtual-time-budget=30000", f"--print-to-pdf={made}", page.as_uri()]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=180)
        if not made.exists():
            raise RuntimeError(f"{command[0]} made no PDF of {source.name}: {done.stderr[-300:]}")
        write_atomically(pdf, made.read_bytes())


def write_pdfs() -> int:
    """Write every report as a PDF below build/reports; return 1 where nothing can print."""
    if (command := chromium()) is None:
        print("No Chromium or Chrome here; install one, or print the pages of `make site`.")
        return 1
    for source in sorted(REPORTS / f"{name}.md" for name in FOLDERS.values()):
        if source.exists():
            pdf = build_folder() / "reports" / f"{source.stem}.pdf"
            write_pdf(source, pdf, command)
            print(pdf)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands at the top of this file; return its exit code."""
    print_anywhere()
    parser = argparse.ArgumentParser(prog="python -m tools.reports", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    how = parser.add_mutually_exclusive_group(required=True)
    for name in ("--check", "--write", "--pdf"):
        how.add_argument(name, action="store_true")
    options = parser.parse_args(arguments)
    if options.pdf:
        return write_pdfs()
    stale = stale_files(fresh := fresh_files())
    if options.write:
        write(fresh, stale)
        return 0
    for file in stale:
        print(f"{file.relative_to(ROOT).as_posix()} is stale; {COMMAND} renews it")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
