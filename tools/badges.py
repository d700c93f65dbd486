"""Write "Open in Colab" badges and the set-up cell's default repository."""

import argparse
import os
import re
from pathlib import Path

import nbformat

from tools.notebook_state import ROOT, find_notebooks, print_anywhere, save
from tools.sync_cells import put_setup

COLAB = "https://colab.research.google.com"
START, END = "<!-- colab -->", "<!-- /colab -->"


def place(text: str, badges: list[str]) -> str:
    """Return Markdown with the badges between the markers, which are put below the title."""
    if START not in text:
        title, _, rest = text.partition("\n")
        text = f"{title}\n\n{START}{END}\n{rest}".rstrip("\n") + "\n" * text.endswith("\n")
    before, after = text.split(START)[0], text.split(END)[1]
    return before + START + "\n".join(["", *badges, ""]) + END + after


def write(repo: str, ref: str, root: Path = ROOT) -> None:
    """Write every badge and default for the GitHub repository `owner/name` at branch `ref`."""
    script, badges = root / "tools" / "setup_cell.py", {}
    setup = script.read_text(encoding="utf-8")
    for name, default in {"REPO": f"https://github.com/{repo}", "REF": ref}.items():
        setup = re.sub(f'"COURSE_{name}", ".*"', f'"COURSE_{name}", "{default}"', setup)
    script.write_text(setup, encoding="utf-8")
    for path in find_notebooks(root):
        link = f"{COLAB}/github/{repo}/blob/{ref}/{path.relative_to(root).as_posix()}"
        badge = f"[![Open {path.stem} in Colab]({COLAB}/assets/colab-badge.svg)]({link})"
        badges.setdefault(path.parent / "README.md", []).append(f"{badge} {path.stem}  ")
        nb = nbformat.read(path, 4)
        put_setup(nb, root)
        first = next(cell for cell in nb.cells if cell.cell_type == "markdown")
        first.source = place(first.source, [badge])
        save(nb, path)
    for readme, lines in badges.items():
        readme.write_text(place(readme.read_text(encoding="utf-8"), lines), encoding="utf-8")


def main() -> None:
    print_anywhere()
    parser = argparse.ArgumentParser(description=__doc__)
    repo, ref = os.environ.get("REPO", ""), os.environ.get("REF") or "main"
    parser.add_argument("repo", nargs="?", default=repo, help="owner/name on GitHub, or $REPO")
    parser.add_argument("--ref", default=ref, help="branch or tag (default: $REF, else main)")
    options = parser.parse_args()
    if not re.fullmatch(r"[A-Za-z0-9-]+/[\w.-]+", options.repo):
        parser.error(f"REPO is {options.repo!r}; it must be owner/name, as on GitHub")
    if not re.fullmatch(r"[\w./-]+", options.ref):
        parser.error(f"REF is {options.ref!r}; it must be a branch or tag")
    write(options.repo, options.ref)


if __name__ == "__main__":
    main()
