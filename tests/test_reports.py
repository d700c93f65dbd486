"""Reports, tables, gallery: made from notebooks and records, stale where they differ."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import sys

import nbformat
import pytest
from PIL import Image

from shared import records
from shared.source_hash import code_hash
from tools import notebook_state, reports, results
from tools.notebook_state import code_of

TARGETS = """
[[target]]
id = "a1_03.test_accuracy"
notebook = "assignment1_perceptron_mlp/03_mlp.ipynb"
figure = "test accuracy"
goal = 0.98
published = 0.985
direction = ">="
source = "a course"
"""
FOLDER = "assignment1_perceptron_mlp"
HANDS_BACK = """
import shutil, sys, urllib.request
(made,) = [a.partition("=")[2] for a in sys.argv if a.startswith("--print-to-pdf=")]
shutil.copyfile(urllib.request.url2pathname(sys.argv[-1].removeprefix("file://")), made)
"""
README = """# Names
<!-- gallery:start -->
old
<!-- gallery:end -->
between
<!-- results:start -->
<!-- results:end -->
after ±
"""


def picture(colour):
    """A PNG of 4 × 3 pixels in base64, as notebooks hold it."""
    file = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shown(colour):
    return nbformat.v4.new_output("display_data", {"image/png": picture(colour)})


def table(*rows, index="setting"):
    """A frame's HTML as pandas writes it, with the index's name in a second row."""
    head = "<tr><th></th><th>loss</th></tr>" + f"<tr><th>{index}</th><th></th></tr>"
    body = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    markup = f"<style>th {{}}</style><table><thead>{head}</thead><tbody>{body}</tbody></table>"
    return nbformat.v4.new_output("execute_result", {"text/html": markup}, execution_count=1)


def markdown(source, *tags):
    return nbformat.v4.new_markdown_cell(source, metadata={"tags": [*tags]})


def code(source, tags=("report",), outputs=()):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": [*tags]}, outputs=[*outputs])
    return cell


def cells():
    text = nbformat.v4.new_output("stream", name="stdout", text="0.5 ± 0.1\n")
    noise = nbformat.v4.new_output("stream", name="stderr", text="a warning\n")
    return [
        markdown("# What is a layer worth?\n\nMuch."),
        markdown("## Depth\n\n### Two layers"),
        code("first", outputs=[shown("red"), text, noise]),
        markdown("*Figure: a red\nfield of $x$.*\n\nMore."),
        code("secret", (), [shown("black"), table(("hidden", 1))]),
        code("second", outputs=[table(("a | b", "0.25"), ("c", "0.5"))]),
        markdown("## Front\n"),
        code("third", ["gallery", "readme"], [shown("blue")]),
        markdown("*Figure: a blue field.*"),
        markdown("## What we found\n\n- Depth pays.\n\n### Aside\nno", "report"),
        markdown("## Limits\n\n- One seed.\n\n## Exercises\n\nnone", "report"),
        markdown("## Limits\n\nnot tagged"),
    ]


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "__init__.py").touch()
    (tmp_path / FOLDER / "README.md").write_text("# Assignment 1: layers\n\nText.\n", "utf-8")
    (tmp_path / "reports" / "results").mkdir(parents=True)
    (tmp_path / "reports" / "targets.toml").write_text(TARGETS)
    (tmp_path / "README.md").write_text(README, "utf-8")
    (tmp_path / "reports" / "README.md").write_text(README.split("between\n")[1], "utf-8")
    row = {
        "id": "a1_03.test_accuracy",
        "mean": 0.983,
        "std": 0.001,
        "n": 2,
        "values": [0.982, 0.984],
    }
    row |= {"unit": "fraction", "device": "a laptop", "threads": 1, "data": "MNIST"}
    store(tmp_path, row | {"seconds": [10.0, 14.0]})
    for module in (records, results, reports):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(reports, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(reports, "find_notebooks", lambda: notebook_state.find_notebooks(tmp_path))
    write(tmp_path, cells())
    return tmp_path


def store(root, *rows):
    file = root / "reports" / "results" / "a1_03_mlp.json"
    file.write_text(json.dumps(rows), "utf-8")


def write(root, cells, **course):
    """Write the notebook with these cells, as a full run of them would have left it."""
    nb = nbformat.v4.new_notebook(cells=cells)
    nb.metadata["course"] = {"profile": "full", "code": code_hash(code_of(nb))} | course
    nbformat.write(nb, root / FOLDER / "03_mlp.ipynb")


def report(root):
    assert reports.main(["--write"]) == 0
    return (root / "reports" / f"{FOLDER}.md").read_text("utf-8")


def stale(root, capsys):
    """The files that --check calls stale."""
    failed = reports.main(["--check"])
    names = [line.split(" is stale")[0] for line in capsys.readouterr().out.splitlines()]
    assert failed == bool(names)
    return names


def test_a_report_holds_what_is_tagged_in_order(root):
    text = report(root)
    order = [
        "# Assignment 1: layers: report",
        "## [03 · What is a layer worth?](../assignment1_perceptron_mlp/03_mlp.ipynb)",
        "| figure | measured: mean ± std | goal | published | data | hardware | threads | seconds",
        "| test accuracy | 0.983 ± 0.001 (n = 2) | ≥ 0.98 reached | 0.985 missed | MNIST | "
        "a laptop | 1 | 12 |",
        "### What we found\n\n- Depth pays.",
        "### Two layers",
        "```text\n0.5 ± 0.1\n```",
        "![a red field of x.](figures/a1_03_mlp-1.png)",
        "| setting | loss |\n|---|---|\n| a \\| b | 0.25 |\n| c | 0.5 |",
        "### Limits\n\n- One seed.",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    for absent in ("hidden", "a warning", "Aside", "not tagged", "Exercises", "blue", "Not the"):
        assert absent not in text
    assert text.count("### Two layers") == 1 and "### Front" not in text and "### \n" not in text
    assert text.startswith(f"{order[0]}\n\n")
    red = (root / "reports" / "figures" / "a1_03_mlp-1.png").read_bytes()
    assert red == base64.b64decode(picture("red"))
    assert len(list((root / "reports" / "figures").iterdir())) == 1


def test_at_most_four_figures_of_a_notebook(root):
    write(root, [markdown("# T"), *(code(f"x{n}", outputs=[shown((n, 0, 0))]) for n in range(6))])
    text = report(root)
    assert text.count("![") == 4 and "a1_03_mlp-4.png" in text and "a1_03_mlp-5.png" not in text
    last = (root / "reports" / "figures" / "a1_03_mlp-4.png").read_bytes()
    assert last == base64.b64decode(picture((3, 0, 0)))


@pytest.mark.parametrize("course", [{"profile": "quick"}, {"code": "another"}])
def test_outputs_that_are_not_of_a_full_run_are_said_to_be_so(root, course):
    write(root, cells(), **course)
    assert "*Not the figures of a full run: its " in report(root)


def test_a_notebook_without_record_has_no_table_of_figures(root):
    store(root)
    assert "| figure |" not in report(root)


def test_each_notebook_has_its_own_chapter(root):
    """Two notebooks: records, figures and sections of one do not appear in the other's."""
    second = [
        markdown("# Two\n\n## Empty"),
        code("nothing to see"),
        markdown("## Front"),
        code("fourth", ["report", "readme"], [shown("green"), shown("white")]),
        markdown("## Limits\n\n## What we found\n", "report"),
    ]
    nb = nbformat.v4.new_notebook(cells=second)
    nbformat.write(nb, root / FOLDER / "04_cnn.ipynb")
    text = report(root)
    one, two = text.split("## [04")
    assert "| figure |" in one and "| figure |" not in two and "### Front" in two
    assert "Empty" not in two and "Limits" not in two and "found" not in two
    folder = root / "reports"
    names = ["a1_03_mlp-1.png", "a1_04_cnn-1.png"]
    assert sorted(file.name for file in (folder / "figures").iterdir()) == names
    assert (folder / "overview.png").read_bytes() == base64.b64decode(picture("green"))
    assert [file.name for file in (folder / "gallery").iterdir()] == ["a1_03_mlp.png"]
    shown_first = [png for _, png, _ in reports.tagged_figures("report")]
    assert shown_first == [base64.b64decode(picture(colour)) for colour in ("red", "green")]


def test_the_gallery_has_rows_of_three(root, monkeypatch):
    paths = [root / FOLDER / f"0{n}_a.ipynb" for n in range(4)]
    found = [(path, path.name.encode(), 'a "b" c') for path in paths]
    monkeypatch.setattr(reports, "tagged_figures", lambda tag: found)
    markup, files = reports.gallery()
    rows = [re.findall("a1_(.+?).png", row) for row in markup.split("<tr>")[1:]]
    assert rows == [["00_a", "01_a", "02_a"], ["03_a"]]
    assert markup.count('alt="a &quot;b&quot; c"') == 4
    assert list(files.values()) == [path.name.encode() for path in paths]


def test_tables_and_sections_of_every_form():
    assert reports.markdown_table([["a", "b"], ["1\n 2", "|"], ["", 3]]) == (
        "| a | b |\n|---|---|\n| 1 2 | \\| |\n|  | 3 |"
    )
    assert reports.table_of("<table><tr><td>a</td></tr></table>") == "| a |\n|---|"
    text = "## Aside\n\n1\n\n### Limits\n\n2\n\n## Limits \n3\n\n## What we found\n\n## End"
    assert list(reports.closing_sections(text)) == [("Limits", "3")]
    assert reports.last_heading("# A\n\n## B c \n\nd") == "B c" and not reports.last_heading("d")
    assert reports.seconds_in_words({"seconds": []}) == ""
    assert reports.seconds_in_words({"seconds": [1, 2, 6.7]}) == "3.23"


def test_the_readme_gets_table_gallery_and_front_figure(root):
    reports.main(["--write"])
    text = (root / "README.md").read_text("utf-8")
    image = '<img src="reports/gallery/a1_03_mlp.png" width="270" alt="a blue field.">'
    cell = f'<a href="{FOLDER}/03_mlp.ipynb">{image}</a>'
    assert f"<!-- gallery:start -->\n<table>\n<tr><td>{cell}</td></tr>\n</table>\n<!--" in text
    assert "old" not in text and "\nbetween\n" in text and text.endswith("after ±\n")
    assert "<!-- results:start -->\n| notebook |" in text and "0.983 ± 0.001" in text
    blue = base64.b64decode(picture("blue"))
    assert (root / "reports" / "gallery" / "a1_03_mlp.png").read_bytes() == blue
    assert (root / "reports" / "overview.png").read_bytes() == blue
    below = (root / "reports" / "README.md").read_text("utf-8")
    assert "0.983 ± 0.001" in below and f"(../{FOLDER}/" in below


def test_whatever_differs_from_its_source_is_stale(root, capsys):
    names = stale(root, capsys)
    assert names == sorted(names) and f"reports/{FOLDER}.md" in names
    assert {"README.md", "reports/README.md", "reports/overview.png"} < set(names)
    reports.main(["--write"])
    assert stale(root, capsys) == []
    (root / "reports" / "figures" / "a1_03_mlp-1.png").write_bytes(b"x")
    assert stale(root, capsys) == ["reports/figures/a1_03_mlp-1.png"]
    reports.main(["--write"])
    changed = cells()
    changed[9].source = "## What we found\n\n- Depth costs."
    write(root, changed)
    assert stale(root, capsys) == [f"reports/{FOLDER}.md"]
    reports.main(["--write"])
    rows = records.evidence(root / FOLDER / "03_mlp.ipynb")
    store(root, rows[0] | {"mean": 0.99})
    assert stale(root, capsys) == ["README.md", "reports/README.md", f"reports/{FOLDER}.md"]


def test_a_picture_that_nobody_shows_any_more_is_removed(root, capsys):
    reports.main(["--write"])
    gone = [f"reports/{name}/a1_09_gone.png" for name in ("figures", "gallery")]
    for name in gone:
        (root / name).write_bytes(b"x")
    assert stale(root, capsys) == gone
    reports.main(["--write"])
    assert not any((root / name).exists() for name in gone)
    assert (root / "reports" / "gallery" / "a1_03_mlp.png").exists()


def test_a_folder_without_notebooks_has_no_report(root):
    (root / "cw_vae_dcgan").mkdir()
    reports.main(["--write"])
    assert not (root / "reports" / "cw_vae_dcgan.md").exists()


@pytest.mark.parametrize("end", ["start", "end"])
@pytest.mark.parametrize("name", ["gallery", "results"])
def test_a_readme_without_its_marks_is_named(root, name, end):
    text = README.replace(f"<!-- {name}:{end} -->", "")
    (root / "README.md").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=rf"README\.md needs the lines <!-- {name}:start"):
        reports.main(["--write"])


def test_one_way_to_run_must_be_chosen():
    for arguments in ([], ["--check", "--write"]):
        with pytest.raises(SystemExit):
            reports.main(arguments)


def test_without_a_browser_pdf_says_so(root, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert reports.main(["--pdf"]) == 1
    assert "No Chromium" in capsys.readouterr().out


def test_the_first_browser_that_is_there_is_started_unseen(monkeypatch):
    there = {"google-chrome": "/bin/google-chrome", "chromium-browser": "/bin/chromium"}
    monkeypatch.setattr(shutil, "which", there.get)
    for user, alone in ((1000, False), (0, True)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user, raising=False)
        program, *options = reports.chromium()
        assert program == "/bin/chromium" and "--headless" in options
        assert "--disable-background-networking" in options
        assert ("--no-sandbox" in options) is alone  # else Chromium does not start
    monkeypatch.delattr(os, "geteuid")  # as on Windows
    assert "--no-sandbox" not in reports.chromium()
    there.clear()
    assert reports.chromium() is None


def test_a_browser_that_prints_nothing_is_named(root, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_BUILD", str(tmp_path / "build"))
    reports.main(["--write"])
    monkeypatch.setattr(reports, "chromium", lambda: ["true"])
    with pytest.raises(RuntimeError, match=f"true made no PDF of {FOLDER}.md"):
        reports.main(["--pdf"])
    assert not list((tmp_path / "build").rglob("*.pdf"))


def test_a_printed_report_finds_its_figures(root, tmp_path, monkeypatch, capsys):
    """A browser that hands its page back, for machines without one."""
    monkeypatch.setenv("COURSE_BUILD", str(tmp_path / "build"))
    report(root)
    file = root / "reports" / f"{FOLDER}.md"
    file.write_text(file.read_text("utf-8") + "\n![a](data:image/png;base64,abc)\n", "utf-8")
    monkeypatch.setattr(reports, "chromium", lambda: [sys.executable, "-c", HANDS_BACK])
    assert reports.main(["--pdf"]) == 0
    pdf = tmp_path / "build" / "reports" / f"{FOLDER}.pdf"
    assert capsys.readouterr().out == f"{pdf}\n"
    figure = root / "reports" / "figures" / "a1_03_mlp-1.png"
    sources = re.findall('<img [^>]*src="(.+?)"', pdf.read_text("utf-8"))
    assert sources == [figure.as_uri(), "data:image/png;base64,abc"]


@pytest.mark.skipif(reports.chromium() is None, reason="no Chromium here to print with")
def test_each_report_is_printed_as_a_pdf(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_BUILD", str(tmp_path / "build"))
    reports.main(["--write"])
    assert reports.main(["--pdf"]) == 0
    pdf = tmp_path / "build" / "reports" / f"{FOLDER}.pdf"
    assert pdf.read_bytes().startswith(b"%PDF") and str(pdf) in capsys.readouterr().out
