"""The site: what its pages hold, how they are put together, and how they behave in a browser."""

from __future__ import annotations

import base64
import copy
import html
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tools import cards, notebook_state, page, results, site
from tools.notebook_state import ROOT, find_notebooks

MATHJAX = site.mathjax
DEFAULT_ALT = page.alternative(new_notebook(cells=[new_code_cell("")]), 0)


def png(colour="white", size=(40, 20)) -> str:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def figure_cell(*pictures: str, tags=()):
    outputs = [new_output("display_data", {"image/png": picture}) for picture in pictures]
    cell = new_code_cell("plt.show()", outputs=outputs)
    cell.metadata["tags"] = list(tags)
    return cell


def notebook_of(*cells, title="# Is it so?\n\nWe shall see."):
    cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    return new_notebook(cells=[new_markdown_cell(title), *cells])


def body(*cells) -> str:
    nb = notebook_of(*cells)
    page.extract_figures(nb, Path("unused")) if any(page.figures(nb)) else None
    return page.body_of(nb, page.Renderer(ROOT))


VOID = {"meta", "link", "img", "input", "br", "hr", "source", "wbr", "col"}


class Page(HTMLParser):
    """What a page refers to, which anchors it has, and how its elements nest."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.ids, self.images, self.open, self.odd = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [attrs[key] for key in ("href", "src") if attrs.get(key)]
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.images += [attrs] if tag == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.odd.append((self.getpos(), tag, self.open[-1:]))


# formulas, headings, links


def test_formulas_are_marked_and_nothing_else_is():
    text = body(
        "Let $a_i < b$ and $$x = \\frac{1}{2}$$ and\n\n\\begin{align}y &= 1\\end{align}",
        new_code_cell("cost = '$5 and $6'", outputs=[new_output("stream", text="$7 < $8\n")]),
    )
    assert '<span class="math">\\(a_i &lt; b\\)</span>' in text
    assert "\\[x = \\frac{1}{2}\\]</span>" in text
    assert "\\[\\begin{align}y &amp;= 1\\end{align}\\]" in text
    assert text.count('class="math') == 3 and "$7 &lt; $8" in text


def test_headings_have_anchors_of_their_own():
    renderer = page.Renderer(ROOT)
    text = page.to_html('## The *loss*\n\n### Is $w < 1$?\n\n## The loss\n\n## `a` & "b"', renderer)
    anchors = [heading["anchor"] for heading in renderer.headings]
    assert anchors == ["The-loss", "Is-w-<-1?", "The-loss-2", 'a-&-"b"']
    assert Page(text).ids == anchors and not Page(text).odd
    assert [link for link in Page(text).links] == [f"#{anchor}" for anchor in anchors]
    page.to_html("## The loss\n\n## <b></b>\n\n## <i></i>", renderer)
    later = [heading["anchor"] for heading in renderer.headings[4:]]
    assert later == ["The-loss-3", "section", "section-2"]


def test_markup_becomes_plain_text_on_one_line():
    markup = "<h4>a\n*b*</h4><ul><li>c</li><li>1 &lt; 2</li></ul><td>3</td><td>\\(4\\)</td>"
    assert page.plain(markup) == "a *b* c 1 < 2 3 4"
    assert page.inline("Figure: *two*\n") == "Figure: <em>two</em>"
    assert 'class="caption"' in page.to_html("*Figure: two*\n\nmore").partition("</p>")[0]
    assert 'class="caption"' not in page.to_html("A *Figure: two*")


def test_links_lead_to_pages_or_nowhere(tmp_path):
    (tmp_path / "02_b.ipynb").touch()
    (tmp_path / "module.py").touch()
    links = {
        "02_b.ipynb": "02_b.html",
        "02_b.ipynb#The-loss": "02_b.html#The-loss",
        f"../{tmp_path.name}/02_b.ipynb": f"../{tmp_path.name}/02_b.html",
        "#The-loss": "#The-loss",
        "https://example.org/02_b.ipynb": "https://example.org/02_b.ipynb",
        "//example.org/02_b.ipynb": "//example.org/02_b.ipynb",
        "module.py": None,
        "03_gone.ipynb": None,
    }
    for url, wanted in links.items():
        text = page.to_html(f"see [here]({url})", page.Renderer(tmp_path))
        assert Page(text).links == ([wanted] if wanted else []), url
        assert "here" in text


@pytest.mark.parametrize(
    "latex, text",
    [
        ("\\gamma", "γ"),
        ("x_1 \\le 2^{k}", "x1 ≤ 2k"),
        ("\\unheard{a} \\, \\| b", "a b"),
        ("a < b & c", "a < b & c"),
        ("\\tfrac12", "…"),
        ("\\sqrt{a + b}", "…"),
        (25 * "a", 25 * "a"),
        (26 * "a", "…"),
    ],
)
def test_the_search_shows_formulas_in_letters(latex, text):
    assert page.in_letters(latex) == text


# figures


@pytest.mark.parametrize(
    "below, text",
    [
        ("*Figure: two moons, and\na line.*\n\nMore.", "two moons, and a line."),
        (
            "*Figure:* the length of $w_k$ below\n`R` $\\sqrt k$.\n\n*More.*",
            "the length of w_k below R sqrt k.",
        ),
        ("*Figure: one*", "one"),
        ("Left, two moons.\n\n*Figure: one*", DEFAULT_ALT),
        ("", DEFAULT_ALT),
    ],
)
def test_a_figure_is_described_by_the_line_below_it(below, text):
    nb = notebook_of(figure_cell(png()), below)
    assert page.alternative(nb, 1) == text
    assert page.alternative(notebook_of(figure_cell(png())), 1) == DEFAULT_ALT
    assert page.alternative(notebook_of(figure_cell(png()), new_code_cell(below)), 1) == DEFAULT_ALT


def test_figures_become_files_with_size_and_description(tmp_path):
    wide = figure_cell(png(size=(60, 30)))
    wide.outputs[0].metadata["image/png"] = {"width": 30, "height": 15}
    nb = notebook_of(figure_cell(png(), png("red")), '*Figure: "two" < three*', wide, "## End")
    before = copy.deepcopy(nb)
    made = page.write_page(nb, tmp_path / "demo" / "01.html", ROOT, **facts())
    assert nb == before
    text = (tmp_path / "demo" / "01.html").read_text(encoding="utf-8")
    shown = [image for image in Page(text).images]
    assert [image["src"] for image in shown] == [f"01/figure-{n}.png" for n in (1, 2, 3)]
    assert [image["alt"] for image in shown] == ['"two" < three'] * 2 + [DEFAULT_ALT]
    assert [(image["width"], image["height"]) for image in shown] == [("40", "20")] * 2 + [
        ("30", "15")
    ]
    assert Image.open(tmp_path / "demo" / "01" / "figure-2.png").getpixel((0, 0)) == (255, 0, 0)
    assert "base64" not in text
    assert (
        made["thumbnail"] == "01/thumbnail.png" and (tmp_path / "demo" / made["thumbnail"]).exists()
    )


def test_a_photograph_keeps_its_kind_and_a_thumbnail_is_small(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (2000, 500), "red").save(file, "JPEG")
    data = {"image/jpeg": base64.b64encode(file.getvalue()).decode("ascii")}
    cell = new_code_cell("", outputs=[new_output("display_data", data)])
    made = page.write_page(notebook_of(cell), tmp_path / "01.html", ROOT, **facts())
    (image,) = Page((tmp_path / "01.html").read_text(encoding="utf-8")).images
    assert (image["src"], image["width"], image["height"]) == ("01/figure-1.jpg", "2000", "500")
    assert (tmp_path / image["src"]).read_bytes() == file.getvalue()
    assert Image.open(tmp_path / made["thumbnail"]).size == (720, 180)
    page.write_page(notebook_of(), tmp_path / "01.html", ROOT, **facts())
    assert list(tmp_path.iterdir()) == [tmp_path / "01.html"]  # old figures are gone


def test_a_page_has_its_contents_and_escaped_facts(tmp_path):
    nb = notebook_of("## Two\n\n### *Three*\n\n#### Four")
    card = facts()["card"] | {"folder": "a < b"}
    page.write_page(nb, tmp_path / "01.html", ROOT, **facts() | {"card": card})
    text = (tmp_path / "01.html").read_text(encoding="utf-8")
    (contents,) = re.findall('<nav class="contents".*?</nav>', text, re.DOTALL)
    assert Page(contents).links == ["#Two", "#Three"] and "<em>Three</em>" in contents
    assert "a &lt; b · 01" in text


def test_the_search_gets_prose_and_names():
    nb = new_notebook(cells=[new_markdown_cell("Nowhere"), new_code_cell("def lost(): 1")])
    nb.cells += [new_markdown_cell("# The *loss*\n\nIf $\\gamma < 1$ & *so*.\n\n## Then")]
    nb.cells += [new_code_cell("def f(x):\n    def g(): 1\n\n\nclass Net(A):\n    x = 1")]
    nb.cells += [new_markdown_cell("End.")]
    found = page.sections(nb, page.Renderer(ROOT))
    assert found == [["The-loss", "The loss", "If γ < 1 & so."], ["Then", "Then", "f Net End."]]


def test_the_best_figure_is_tagged_or_full():
    thin, full, red = png("white"), png("black"), png("red")

    def best(*cells):
        return base64.b64encode(page.best_figure(notebook_of(*cells))).decode("ascii")

    plain, report = figure_cell(full), figure_cell(thin, tags=["report"])
    assert best(figure_cell(thin), plain, figure_cell(thin)) == full
    assert best(plain, report) == thin
    assert best(plain, report, figure_cell(red, tags=["report"])) == red
    assert best(figure_cell(red, tags=["gallery"]), figure_cell(full, tags=["report"])) == red
    assert best() == ""


def test_pictures_of_the_text_are_in_the_page(tmp_path):
    (tmp_path / "drawn.png").write_bytes(base64.b64decode(png("red")))
    cell = new_markdown_cell("![one](attachment:a.png) ![two](drawn.png)")
    cell["attachments"] = {"a.png": {"image/png": png()}}
    page.write_page(notebook_of(cell), tmp_path / "out.html", tmp_path, **facts())
    images = Page((tmp_path / "out.html").read_text(encoding="utf-8")).images
    sources = [f"data:image/png;base64,{picture}" for picture in (png(), png("red"))]
    assert [image["alt"] for image in images] == ["one", "two"]
    assert [image["src"] for image in images] == sources


# cells


@pytest.mark.parametrize(
    "source, hidden, summary",
    [
        ("# @title Set-up: does nothing\nimport os\nprint(1)", True, "Set-up: does nothing"),
        ("import os\nfrom pathlib import Path", False, "Imports"),
        ("import a\nimport b\nimport c\n\nRUN = choose_profile()", False, "Imports and settings"),
        ("import a\nimport b\nx = 1\nimport c", False, ""),
        ("from spiral import gradient\n\nx = gradient(1)", False, ""),
        ("x = 1", False, ""),
        ("# nothing yet", False, ""),
        ("%time import os", False, ""),
        ("import os\nimport", False, ""),
    ],
)
def test_plumbing_is_folded(source, hidden, summary):
    assert page.folded(source, hidden) == summary
    cell = new_code_cell(source, outputs=[new_output("stream", text="shown\n")])
    cell.metadata["jupyter"] = {"source_hidden": hidden}
    text = body(cell)
    assert text.count("<details") == bool(summary)
    assert "shown" not in "".join(re.findall("<details.*?</details>", text, re.DOTALL))
    assert f"<summary>{summary}</summary>" in text or not summary


def test_every_kind_of_output_is_shown():
    table = "<style scoped>\n.x {}\n</style><table border='1'><tr><td>cell</td></tr></table>"
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Slider"}
    outputs = [
        new_output("stream", name="stdout", text="printed \x1b[31mred\x1b[0m <b>\n"),
        new_output("stream", name="stderr", text="warned"),
        new_output(
            "execute_result", {"text/html": table, "text/plain": "hidden"}, execution_count=1
        ),
        new_output("execute_result", {"text/plain": "<repr>"}, execution_count=1),
        new_output("display_data", {"image/svg+xml": "<svg viewBox='0 0 1 1'></svg>"}),
        new_output("display_data", {"text/markdown": "**bold** $z$"}),
        new_output("display_data", {"application/javascript": "alert(1)", "text/plain": "js"}),
        new_output("display_data", widget),
        new_output("error", ename="E", evalue="v", traceback=["\x1b[0;31mE\x1b[0m: v", "<line>"]),
    ]
    text = body(new_code_cell("x", outputs=outputs))
    for shown in (
        "printed",
        'class="ansi-red-fg"',
        "&lt;b&gt;",
        "warned",
        "cell</td>",
        "&lt;repr&gt;",
    ):
        assert shown in text
    for shown in ("<svg", "<strong>bold</strong>", "\\(z\\)", "&lt;line&gt;", "in the notebook"):
        assert shown in text
    assert "hidden" not in text and "alert" not in text and not Page(text).odd
    assert text.count('class="output"') == len(outputs)


# question, answer, figures

FOUND = "## What we found\n\n- **One** thing\n  is $x$.\n- Another."


def test_the_readme_asks_and_answers(tmp_path):
    path = tmp_path / "01_a.ipynb"
    title = "# Is it so?\n\nWe shall see.\n\nMore."
    nb = notebook_of("## Idea\n\n- no answer", FOUND, title=title)
    asked, answered = cards.question_and_answer(nb, path)
    assert asked == "We shall see."
    assert answered == '<strong>One</strong> thing\nis <span class="math">\\(x\\)</span>.'
    apart = notebook_of(
        "## What we found", new_code_cell("- 1"), "In full:\n\n- **One** thing\n\nEnd."
    )
    assert cards.question_and_answer(apart, path)[1] == "<strong>One</strong> thing"
    assert cards.question_and_answer(notebook_of("- no"), path) == ("We shall see.", "")
    table = (
        "| notebook | asks | answers |\n|---|---|---|\n| [01_a](01_a.ipynb) | Is *it*? | Yes. |\n"
    )
    (tmp_path / "README.md").write_text(f"# Demo\n\n[01_a](01_a.ipynb)\n\n{table}", "utf-8")
    assert cards.question_and_answer(nb, path) == ("Is <em>it</em>?", "Yes.")


def test_a_readme_opens_with_title_and_first_paragraph(tmp_path):
    file = tmp_path / "README.md"
    assert cards.opening(file) == ("", "")
    file.write_text(
        "# A *title*\n\n[![badge](b)](c)\n\n```\nmake\n```\n\nFirst\nline.\n\nSecond.", "utf-8"
    )
    assert cards.opening(file) == ("A *title*", "First\nline.")


def test_figures_stand_beside_goal_and_published_figure(monkeypatch):
    row = {"mean": 0.5, "std": 0.1, "n": 3}
    target = {"notebook": "demo/01.ipynb", "figure": "loss", "goal": 0.4, "direction": "<="}
    accuracy = target | {"figure": "accuracy", "goal": 0.6, "published": 0.45, "direction": ">="}
    accuracy["missed"] = "too few seeds"
    pairs = [(target, row), (accuracy, row), (target, None), (target | {"notebook": "b"}, row)]
    monkeypatch.setattr(cards, "targets_and_records", lambda: pairs)
    first, second = cards.figures_of("demo/01.ipynb")
    assert first == {
        "name": "accuracy",
        "measured": "0.5 ± 0.1 (n = 3)",
        "compared": [("published", "0.45", True), ("goal", "≥ 0.6", False)],
        "why": "too few seeds",
    }
    assert second["compared"] == [("goal", "≤ 0.4", False)] and second["why"] == ""
    assert cards.figures_of("other") == []
    missed = accuracy | {"goal": 0.4, "published": 0.6}
    monkeypatch.setattr(cards, "targets_and_records", lambda: [(missed, row)])
    (third,) = cards.figures_of("demo/01.ipynb")
    assert third["compared"] == [("published", "0.6", False), ("goal", "≥ 0.4", True)]
    assert third["why"] == ""
    one = "In the full profile, 0 of 1 goals reached."
    assert cards.tally([{"figures": [second]}]) == one
    both = [{"figures": [first, second]}]
    told = "In the full profile, 0 of 2 goals reached and 1 of 1 published figures reached."
    assert cards.tally(both) == told and cards.tally([]) == ""


def test_titles_are_plain_and_never_empty():
    def title(*cells):
        return cards.title_of(new_notebook(cells=[*cells]), Path("01_a.ipynb"))

    assert title(new_markdown_cell("# Is `x` *one* & $y$?\n\nWhy?")) == "Is x one & y?"
    assert title() == title(new_markdown_cell("")) == "01_a"


@pytest.mark.parametrize(
    "seconds, words",
    [(0.44, "0.4 s"), (9.94, "9.9 s"), (10.4, "10 s"), (119.4, "119 s"), (773, "13 min")],
)
def test_durations_are_easy_to_read(seconds, words):
    assert cards.duration(seconds) == words


# putting it together


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A collection of two notebooks with outputs and one without, in place of ours."""
    for name, title, seconds in (("01_a", "First", 3), ("02_b", "Second", 4), ("03_c", "Third", 0)):
        found = figure_cell(png(), tags=["report"])
        nb = notebook_of("## Idea", found, "*Figure: a*", FOUND, title=f"# {title}\n\nWhy?")
        if seconds:
            nb.metadata["course"] = {"profile": "full", "seconds": seconds}
        (tmp_path / "demo").mkdir(exist_ok=True)
        notebook_state.save(nb, tmp_path / "demo" / f"{name}.ipynb")
    (tmp_path / "demo" / "__init__.py").touch()
    (tmp_path / "README.md").write_text("# Small\n\nA small collection.\n", encoding="utf-8")
    monkeypatch.setattr(cards, "ROOT", tmp_path)
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "find_notebooks", lambda: find_notebooks(tmp_path))
    monkeypatch.setattr(cards, "targets_and_records", list)
    monkeypatch.setattr(site, "evidence", lambda path: [])
    monkeypatch.setattr(site, "mathjax", lambda: b"// MathJax")
    return tmp_path


def facts() -> dict:
    card = {"title": "t", "folder": "f", "stem": "01", "error": "", "run": "", "seconds": None}
    card |= {"data": "", "headline": "", "figures": []}
    return {"site": "s", "description": "d", "card": card}


def index_of(build: Path) -> str:
    return (build / "index.html").read_text(encoding="utf-8")


def neighbours_of(build: Path, name: str) -> list[str]:
    text = (build / "demo" / f"{name}.html").read_text(encoding="utf-8")
    (nav,) = re.findall('<nav class="neighbours".*?</nav>', text, re.DOTALL)
    return Page(nav).links


def test_a_site_of_stored_outputs(small):
    build = small / "out"
    rows = site.build_site(build)
    assert [row["error"] for row in rows.values()] == [""] * 3
    text = index_of(build)
    assert "<h1>Small</h1>" in text and "A small collection." in text and "3 notebooks." in text
    assert text.index("First") < text.index("Second") < text.index("Third")
    assert "full profile" in text and "3.0 s" in text and "not run" in text
    assert ">demo</h2>" in text
    assert rows["demo/02_b.ipynb"]["thumbnail"] == "demo/02_b/thumbnail.png"
    assert rows["demo/03_c.ipynb"]["seconds"] is None
    assert 'content="Second"' in (build / "demo" / "02_b.html").read_text(encoding="utf-8")
    assert neighbours_of(build, "01_a") == ["../demo/02_b.html"]
    assert neighbours_of(build, "02_b") == ["../demo/01_a.html", "../demo/03_c.html"]
    assert neighbours_of(build, "03_c") == ["../demo/02_b.html"]
    data = search_data(build)
    assert data[1][:2] == ["demo/02_b.html", "Second"]
    assert data[1][2] == [
        ["Second", "Second", "Why?"],
        ["Idea", "Idea", "Figure: a"],
        ["What-we-found", "What we found", "One thing is x. Another."],
    ]


def search_data(build: Path) -> list:
    text = (build / site.SEARCH_DATA).read_text(encoding="utf-8")
    return json.loads(text.removeprefix("const SEARCH_DATA = ").removesuffix(";\n"))


def test_what_stands_already_is_not_written_again(small, monkeypatch):
    build = small / "out"
    rows = site.build_site(build)
    names = {file.name for file in (build / "assets").iterdir()}
    assert names == {"style.css", "search.js", "search-data.js", "mathjax.js"}
    pages = [*sorted((build / "demo").glob("*.html")), build / "assets" / "mathjax.js"]
    before = [file.stat().st_mtime_ns for file in pages]
    site.write_site(rows, build)
    assert [file.stat().st_mtime_ns for file in pages] == before
    assert pages[1].read_text(encoding="utf-8").count(site.NEIGHBOURS[1]) == 1
    pages[2].unlink()
    monkeypatch.setattr(site, "mathjax", lambda: b"// a new version")
    site.write_site(rows, build)
    assert neighbours_of(build, "02_b") == ["../demo/01_a.html"]
    assert pages[-1].read_bytes() == b"// a new version"
    assert neighbours_of(build, "01_a") == ["../demo/02_b.html"]


def test_a_page_is_up_to_date_where_nothing_that_makes_it_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "TEMPLATES", tmp_path / "templates")
    files = [tmp_path / name for name in ("01.ipynb", "templates/page.j2", "page.py")]
    site.TEMPLATES.mkdir()
    for file in files:
        file.write_text("old", encoding="utf-8")
    seen = {site.digest(files[0])}
    for count, file in enumerate(files, 2):
        file.write_text("new", encoding="utf-8")
        seen.add(site.digest(files[0]))
        assert len(seen) == count, file


def test_a_stored_row_names_profile_time_and_data(monkeypatch):
    nb = new_notebook(metadata={"course": {"profile": "full", "seconds": 3}})
    monkeypatch.setattr(site, "evidence", lambda path: [{"data": "MNIST"}, {"data": "moons"}])
    row = {"profile": "full", "seconds": 3, "error": "", "data": "MNIST", "headline": ""}
    assert site.stored_row(nb, Path("01_a.ipynb")) == row


def test_a_site_is_built_anew_and_nothing_else_is_removed(small):
    build = small / "out"
    build.mkdir()
    site.build_site(build)
    assert "demo · 01_a" in (build / "demo" / "01_a.html").read_text(encoding="utf-8")
    (small / "demo" / "02_b.ipynb").unlink()
    (small / "demo" / "README.md").write_text("# Part one\n\nIt begins.\n", encoding="utf-8")
    (small / "README.md").unlink()
    site.build_site(build)
    assert "Part one · 01_a" in (build / "demo" / "01_a.html").read_text(encoding="utf-8")
    text = index_of(build)
    assert ">Part one</h2>" in text and "It begins." in text and "<h1>Notebooks</h1>" in text
    assert not list(build.rglob("02_b*")) and "Second" not in index_of(build)
    assert neighbours_of(build, "01_a") == ["../demo/03_c.html"]
    precious = small / "precious" / "thesis.tex"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(ValueError, match="holds something else; it is left alone"):
        site.build_site(precious.parent)
    assert [*precious.parent.iterdir()] == [precious]


def test_the_command_says_what_stands_and_what_failed(small, monkeypatch, capsys):
    odd = nbformat.read(small / "demo" / "02_b.ipynb", 4)
    odd.cells[2].outputs[0].data["image/png"] = "bm8gcGljdHVyZQ=="
    notebook_state.save(odd, small / "demo" / "02_b.ipynb")
    monkeypatch.setattr("sys.argv", ["site", f"--build={small / 'out'}"])
    assert site.main() == 1
    printed = capsys.readouterr().out
    assert "demo/02_b.ipynb: its page cannot be made: UnidentifiedImageError" in printed
    assert f"2 of 3 notebooks: {small / 'out' / 'index.html'}" in printed
    assert ">1 failed</span>" in index_of(small / "out")
    assert neighbours_of(small / "out", "01_a") == ["../demo/03_c.html"]
    assert [text[0] for text in search_data(small / "out")] == ["demo/01_a.html", "demo/03_c.html"]
    assert not list((small / "out" / "demo").glob("02_b*"))
    monkeypatch.setattr("sys.argv", ["site", f"--build={small}"])
    assert site.main() == 1
    assert "The site cannot be built: ValueError" in capsys.readouterr().out


def test_an_empty_notebook_has_its_page_too(small):
    notebook_state.save(new_notebook(), small / "demo" / "02_b.ipynb")
    rows = site.build_site(small / "out")
    row = rows["demo/02_b.ipynb"]
    assert (row["error"], row["title"], row["thumbnail"]) == ("", "02_b", "")
    assert "3 notebooks." in index_of(small / "out")


def test_the_command_builds_into_the_build_folder(small, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_BUILD", str(small / "build"))
    monkeypatch.setattr("sys.argv", ["site"])
    assert site.main() == 0
    index = small / "build" / "site" / "index.html"
    assert capsys.readouterr().out == f"3 of 3 notebooks: {index}\n" and index.exists()
    monkeypatch.setattr(site, "MATHJAX", ("no-such-package", "tex.js"))
    monkeypatch.setattr(site, "mathjax", MATHJAX)
    assert site.main() == 1
    printed = capsys.readouterr().out
    assert printed.startswith("The site cannot be built: FileNotFoundError: no-such-package is not")


def test_without_mathjax_it_says_what_to_install(monkeypatch):
    assert len(site.mathjax()) > 1_000_000
    monkeypatch.setattr(site, "MATHJAX", ("no-such-package", "tex.js"))
    with pytest.raises(FileNotFoundError, match=r"no-such-package is not installed; requirements"):
        site.mathjax()


def test_a_run_shows_all_others_as_they_are_stored(small):
    build, path = small / "out", small / "demo" / "01_a.ipynb"
    nb = nbformat.read(path, 4)
    row = {
        "profile": "quick",
        "seconds": 0.5,
        "data": "two moons",
        "headline": "loss 1",
        "error": "",
    }
    run = {"demo/01_a.ipynb": site.add_page(nb, path, build, row)}
    rows = site.with_stored(run, build)
    assert list(run) == ["demo/01_a.ipynb"]
    assert list(rows) == ["demo/01_a.ipynb", "demo/02_b.ipynb"]  # 03_c holds no outputs
    site.write_site(rows, build)
    text = index_of(build)
    assert "quick profile" in text and "this run: loss 1" in text and "two moons" in text
    assert neighbours_of(build, "01_a") == ["../demo/02_b.html"]
    pages = {name: (build / "demo" / f"{name}.html") for name in ("01_a", "02_b")}
    before = {name: file.stat().st_mtime_ns for name, file in pages.items()}

    again = site.with_stored(rows, build)
    assert again == rows and {n: f.stat().st_mtime_ns for n, f in pages.items()} == before
    for name in ("01_a", "02_b"):  # the run's page is kept, the stored one made again
        other = nbformat.read(small / "demo" / f"{name}.ipynb", 4)
        other.cells[0].source = "# Changed\n\nWhy?"
        notebook_state.save(other, small / "demo" / f"{name}.ipynb")
    again = site.with_stored(rows, build)
    assert [row["title"] for row in again.values()] == ["First", "Changed"]
    pages["02_b"].unlink()
    site.with_stored(again, build)
    assert pages["02_b"].exists()


def test_a_failed_run_has_its_page_and_a_failed_page_leaves_none(small, monkeypatch):
    build, path = small / "out", small / "demo" / "01_a.ipynb"
    nb = nbformat.read(path, 4)
    row = {"profile": "quick", "seconds": 0.0, "data": "", "headline": "", "error": "cell 2: E: no"}
    made = site.add_page(nb, path, build, row)
    assert made["error"] == "cell 2: E: no" and made["page"] == "demo/01_a.html"
    text = (build / made["page"]).read_text(encoding="utf-8")
    assert "failed: cell 2: E: no" in text and "0.0 s" in text

    def fails(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "body_of", fails)
    made = site.add_page(nb, path, build, row)
    assert made["error"].startswith("cell 2: E: no; its page cannot be made: OSError")
    assert made["page"] == "" and not list((build / "demo").iterdir())
    rows = {"demo/01_a.ipynb": made, "demo/09_gone.ipynb": made}
    site.write_site(rows, build)
    text = index_of(build)
    assert "1 notebook, " in text and ">1 failed</span>" in text and 'href="demo' not in text


# the collection's own site


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The site of the committed notebooks."""
    build = tmp_path_factory.mktemp("site") / "out"
    rows = site.build_site(build)
    assert [row["error"] for row in rows.values() if row["error"]] == []
    return build


def pages_of(build: Path) -> dict[str, Page]:
    return {
        file.relative_to(build).as_posix(): Page(file.read_text(encoding="utf-8"))
        for file in sorted(build.rglob("*.html"))
    }


def test_every_page_is_whole_and_every_link_leads_somewhere(built):
    pages = pages_of(built)
    assert len(pages) == len(find_notebooks()) + 1
    for name, found in pages.items():
        assert not found.odd and not found.open, name
        assert [anchor for anchor, n in Counter(found.ids).items() if n > 1] == [], name
        for link in found.links:
            assert not re.match(r"(https?:)?//|file:", link), f"{name} asks for {link}"
            if link.startswith("data:,"):
                continue
            file, _, anchor = unquote(link).partition("#")
            target = (built / name).parent / file if file else built / name
            assert target.is_file(), f"{name} leads to {link}"
            if anchor:
                other = pages[target.resolve().relative_to(built.resolve()).as_posix()]
                assert anchor in other.ids, f"{name} leads to {link}"


def test_every_figure_of_the_collection_is_described(built):
    for name, found in pages_of(built).items():
        if name != "index.html":
            assert found.images, name
            assert [image["src"] for image in found.images if image["alt"] == DEFAULT_ALT] == [], (
                name
            )
            assert all(len(image["alt"]) > 20 for image in found.images), name


def test_every_notebook_has_a_card_with_all_that_belongs_on_it(built):
    shown = re.findall('<li class="card">.*?</li>', index_of(built), re.DOTALL)
    assert len(shown) == len(find_notebooks())
    targets = {target["notebook"] for target, row in results.targets_and_records() if row}
    for path, card in zip(find_notebooks(), shown, strict=True):
        name = f"{path.parent.name}/{path.name}"
        title = cards.title_of(nbformat.read(path, 4), path)
        assert title in html.unescape(re.sub(r"<[^>]+>", "", card)), name
        for part in ("thumbnail.png", 'class="question"', 'class="answer"', "full profile"):
            assert part in card, f"{name} has no {part}"
        assert re.search(r"<span>\d+ (s|min)</span>", card), name
        if name in targets:
            assert 'class="reached"' in card or 'class="missed"' in card, name


def test_the_search_knows_every_heading(built):
    texts, pages = search_data(built), pages_of(built)
    assert [text[0] for text in texts] == sorted(set(pages) - {"index.html"})
    for name, title, sections in texts:
        assert sections[0][1] == title
        assert [anchor for anchor, _, _ in sections if anchor not in pages[name].ids] == []
        assert len(sections) > 10 and sum(len(text) for _, _, text in sections) > 5_000
        assert not re.search(r"<\w+|\\\(|&\w+;", json.dumps(sections)), name


# style


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_can_be_read_in_light_and_dark():
    style = (page.TEMPLATES / "style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    for scheme in (light, dark):
        colours = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        assert len(colours) == 16
        for ground in ("ground", "raised", "code"):
            for name in colours.keys() - {"ground", "raised", "code", "line", "mark"}:
                low, high = sorted(luminance(colours[key]) for key in (name, ground))
                wanted = 10 if name == "text" else 4.5
                assert (high + 0.05) / (low + 0.05) >= wanted, f"{name} on {ground}: {scheme}"
