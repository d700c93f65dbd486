"""One notebook as a web page: what it says, its figures as files, its formulas left to MathJax."""

import ast
import base64
import copy
import html
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from nbconvert.exporters import TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image

from shared.environment import ROOT, write_atomically

TEMPLATES = Path(__file__).with_name("templates")
FIGURE = re.compile(r"\*Figure:(.+?)(?:\n\s*\n|\Z)", re.DOTALL)
MATH = re.compile(r'<span class="math[^>]*>\\[(\[](.*?)\\[)\]]</span>', re.DOTALL)
THUMBNAIL = (720, 360)  # pixels, twice what the first page shows
KINDS = {"image/png": "png", "image/jpeg": "jpg"}


def environment() -> Environment:
    """Return the templates, in which text is escaped."""
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)


def plain(markup: str) -> str:
    """Return the text of a piece of HTML, formulas as their LaTeX, on one line."""
    text = html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"</(p|li|t[dhr]|h\d)>", " ", markup)))
    return " ".join(re.sub(r"\\[()\[\]]", "", text).split())


class Renderer(IPythonRenderer):
    """Markdown to HTML. Remembers headings; marks formulas; leads from notebook to page."""

    def __init__(self, folder: Path):
        super().__init__(escape=False, embed_images=True, path=str(folder))
        self.folder, self.headings = folder, []

    def heading(self, text: str, level: int, **attrs) -> str:
        """Return the heading under an anchor of its own, as JupyterLab would name it."""
        name = anchor = re.sub(r"\s+", "-", plain(text)) or "section"
        taken, number = {heading["anchor"] for heading in self.headings}, 1
        while anchor in taken:
            number += 1
            anchor = f"{name}-{number}"
        self.headings.append({"level": level, "anchor": anchor, "markup": text})
        anchor = html.escape(anchor)
        link = f'<a class="anchor" href="#{anchor}" aria-label="Link to this section">#</a>'
        return f'<h{level} id="{anchor}">{text} {link}</h{level}>\n'

    def inline_math(self, body: str) -> str:
        return f'<span class="math">\\({html.escape(body)}\\)</span>'

    def block_math(self, body: str) -> str:
        return f'<span class="math block" tabindex="0">\\[{html.escape(body)}\\]</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def paragraph(self, text: str) -> str:
        """Return a paragraph; that which describes a figure is marked."""
        kind = ' class="caption"' if plain(text).startswith("Figure:") else ""
        return f"<p{kind}>{text}</p>\n"

    def table(self, text: str) -> str:
        return f'<div class="scroll" tabindex="0"><table>{text}</table></div>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """Return a link; to a notebook it leads to its page, to another file of ours nowhere."""
        file, mark, anchor = url.partition("#")
        if not file or re.match(r"[a-z]+:|//", url):
            return super().link(text, url, title)
        target = self.folder / file
        if target.suffix != ".ipynb" or not target.is_file():
            return text
        return super().link(text, file.removesuffix(".ipynb") + ".html" + mark + anchor, title)


def to_html(source: str, renderer: Renderer | None = None, attachments: dict | None = None) -> str:
    """Return Markdown as HTML, with the pictures that a cell has attached."""
    renderer = renderer or Renderer(ROOT)
    renderer.attachments = attachments or {}
    return MarkdownWithMath(renderer=renderer).render(source)


def in_letters(latex: str) -> str:
    """Return a short formula as one might type it, such as γ or x2 ≤ 1; for others "…"."""
    named = re.sub(r"\\([A-Za-z]+)", lambda command: html.unescape(f"&{command[1]};"), latex)
    text = " ".join(re.sub(r"&\w+;|\\.|[{}^_\\]", "", named).split())
    return "…" if len(text) > 25 or re.search(r"\\([dt]?frac|sqrt)", latex) else text


def inline(source: str) -> str:
    """Return one paragraph of Markdown as HTML, without the paragraph's own tags."""
    return re.sub(r"^<p[^>]*>|</p>$", "", to_html(source).strip())


def folded(source: str, hidden: bool = False) -> str:
    """Return the summary under which a cell of plumbing is folded; "" for all other cells."""
    if hidden:
        return source.partition("\n")[0].removeprefix("# @title ")
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic, or the reader's own mistake
        return ""
    imports = [isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in body]
    if imports and all(imports):
        return "Imports"
    return "Imports and settings" if len(imports) > 2 and all(imports[:3]) else ""


def figures(nb) -> Iterator[tuple[int, nbformat.NotebookNode, str]]:
    """Yield (number of the cell from 0, output, kind) of every picture, in order."""
    for number, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            for kind in sorted(KINDS.keys() & output.get("data", {}).keys()):
                yield number, output, kind


def alternative(nb, number: int) -> str:
    """Return in words what a cell's pictures show: the *Figure:* line below it, as plain text."""
    below = nb.cells[number + 1] if number + 1 < len(nb.cells) else None
    if below and below.cell_type == "markdown" and (line := FIGURE.match(below.source)):
        return " ".join(re.sub(r"[*`$\\]", "", line[1]).split())
    return "A figure that the text around it describes."


def small_copy(picture: bytes) -> Image.Image:
    """Return a picture as small as the first page shows it."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    return image


def covers(picture: bytes) -> int:
    """Return how many pixels of its thumbnail are not white: thin lines few, an image many."""
    return sum(small_copy(picture).convert("L").histogram()[:245])


def best_figure(nb) -> bytes:
    """Return the picture that stands for the notebook, b"" where it has none.

    It is that of a cell tagged `gallery`, else one of those tagged `report`, else any; of several,
    the one that covers most of its thumbnail.
    """
    found = list(figures(nb))
    for tag in ("gallery", "report"):
        tagged = [item for item in found if tag in nb.cells[item[0]].metadata.get("tags", [])]
        found = tagged or found
    pictures = [base64.b64decode(output.data[kind]) for _, output, kind in found]
    return max(pictures, key=covers, default=b"")


def write_thumbnail(picture: bytes, file: Path) -> None:
    """Write a small copy of a picture, in few colours."""
    small = io.BytesIO()
    palette = small_copy(picture).quantize(128, dither=Image.Dither.NONE)
    palette.save(small, "PNG", optimize=True)
    write_atomically(file, small.getvalue())


def extract_figures(nb, files: Path) -> None:
    """Write every picture into the folder `files`, and say in its output where it is."""
    for count, (number, output, kind) in enumerate(figures(nb), 1):
        picture = base64.b64decode(output.data[kind])
        file = files / f"figure-{count}.{KINDS[kind]}"
        write_atomically(file, picture)
        wanted = output.metadata.get(kind, {})  # what a high-resolution figure says of its size
        width, height = Image.open(io.BytesIO(picture)).size
        output.metadata["figure"] = {
            "src": f"{files.name}/{file.name}",
            "alt": alternative(nb, number),
            "width": wanted.get("width", width),
            "height": wanted.get("height", height),
        }


def sections(nb, renderer: Renderer) -> list[list[str]]:
    """Return [anchor, heading, text] of each section, for the search; text of prose and names."""
    found = []
    for cell in nb.cells:
        if cell.cell_type == "code":
            text = " ".join(re.findall(r"^(?:def|class) (\w+)", cell.source, re.MULTILINE))
            parts = [("", text)]
        else:
            markup = to_html(cell.source, renderer, cell.get("attachments"))
            markup = MATH.sub(lambda it: html.escape(in_letters(html.unescape(it[1]))), markup)
            pieces = re.split(r"(?=<h[1-6] )", markup)
            parts = [(re.match(r"<h\d id=.*?</h\d>", piece), piece) for piece in pieces]
        for heading, text in parts:
            if heading:
                last = renderer.headings[len(found)]
                found.append([last["anchor"], plain(last["markup"]), ""])
                text = text[heading.end() :]
            if found:
                found[-1][2] = f"{found[-1][2]} {plain(text)}".strip()
    return found


def body_of(nb, renderer: Renderer) -> str:
    """Return the cells as HTML."""
    filters = {"folded": folded, "highlight_code": Highlight2HTML(pygments_lexer="ipython3")}
    filters["markdown2html"] = lambda source, *pictures: to_html(source, renderer, *pictures)
    template = (TEMPLATES / "cells.html.j2").read_text(encoding="utf-8")
    exporter = HTMLExporter(template_name="basic", raw_template=template, filters=filters)
    # not HTMLExporter's own method: it parses the whole page again, to add what is there already
    return TemplateExporter.from_notebook_node(exporter, nb, {"metadata": {"name": "cells"}})[0]


def remove_page(page: Path) -> None:
    """Remove a page and its figures."""
    page.unlink(missing_ok=True)
    shutil.rmtree(page.with_suffix(""), ignore_errors=True)


def write_page(nb, page: Path, folder: Path, **facts) -> dict:
    """Write a notebook as a page, its figures in a folder beside it.

    Args: folder: where the notebook lies; facts: what the template shows above the cells.
    Returns: {"thumbnail": its path from the page, or "", "sections": for the search}.
    Raises: anything that an odd output or a full disk may lead to; no page is left then.
    """
    remove_page(page)  # an old page must not pass for this one
    try:
        nb, files = copy.deepcopy(nb), page.with_suffix("")
        extract_figures(nb, files)
        thumbnail = ""
        if picture := best_figure(nb):
            thumbnail = f"{files.name}/thumbnail.png"
            write_thumbnail(picture, page.parent / thumbnail)
        renderer = Renderer(folder)
        body = body_of(nb, renderer)
        contents = [heading for heading in renderer.headings if heading["level"] in (2, 3)]
        template = environment().get_template("page.html.j2")
        text = template.render(body=body, contents=contents, root="../", **facts)
        write_atomically(page, text)
        return {"thumbnail": thumbnail, "sections": sections(nb, Renderer(folder))}
    except BaseException:
        remove_page(page)
        raise
