"""Tiny Shakespeare: a million characters of his plays, for language models (Karpathy, 2015)."""

import re
import shutil
from pathlib import Path

from shared.data.description import DataSet


def unpack(download: Path, folder: Path) -> None:
    """The download is the text itself."""
    shutil.copy(download, folder)


def read(folder: Path) -> str:
    """Return the whole text."""
    return (folder / "input.txt").read_text(encoding="utf-8")


def stand_in() -> str:
    """Return the prose of Python's reference, one paragraph a line, in ASCII."""
    from pydoc_data.topics import topics  # here: 700 KB that only this function needs

    to_ascii = str.maketrans("“”‘’–—", "\"\"''--")
    text = "\n\n".join(topics[topic] for topic in sorted(topics)).translate(to_ascii)
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    prose = re.compile(r"[A-Z][\w\s.,;:'\"()!?-]{80,}\.", re.ASCII)
    return "\n".join(dict.fromkeys(p for p in paragraphs if prose.fullmatch(p))) + "\n"


TEXT = DataSet(
    name="text",
    title="Tiny Shakespeare",
    stand_in_title="Tiny Shakespeare stand-in (Python's documentation)",
    mirrors=("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",),
    downloads={
        "input.txt": "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    },
    folder="tinyshakespeare",
    files={"input.txt": "6fb458f1232090904fb40fe944165e91"},
    unpack=unpack,
    read=read,
    stand_in=stand_in,
)
