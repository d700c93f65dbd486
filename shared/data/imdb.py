"""IMDB: 50,000 film reviews, praise or blame (Maas and others, 2011)."""

import csv
import random
import re
import tarfile
from pathlib import Path

import numpy as np

from shared.data.description import DataSet
from shared.data.download import safe_members

OPINIONS = ("negative", "positive")


def unpack(download: Path, folder: Path) -> None:
    """Gather the archive's 50,000 files, such as aclImdb/train/neg/17_3.txt, in two tables."""
    rows: dict[str, list] = {"train": [], "test": []}
    pattern = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d+)_(\d+)\.txt")
    with tarfile.open(download) as archive:
        for member in safe_members(archive):
            if match := pattern.fullmatch(member.name):
                split, label, number, rating = match.groups()
                text = archive.extractfile(member).read().decode("utf-8")
                rows[split].append((int(label == "pos"), int(rating), int(number), text))
    for split in rows:
        write_reviews(folder / f"{split}.csv", rows[split])


def write_reviews(path: Path, rows: list[tuple[int, int, int, str]]) -> None:
    """Write (label, rating, id, text) rows as CSV, by id, negative before positive."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("label", "rating", "id", "text"))
        writer.writerows(sorted(rows, key=lambda row: (row[2], row[0])))


def read(folder: Path) -> tuple:
    """Return the reviews in the order of the tables: their labels alternate."""
    columns = []
    for split in ("train", "test"):
        with open(folder / f"{split}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns.append(tuple(row["text"] for row in rows))
        columns.append(np.array([int(row["label"]) for row in rows], dtype=np.int64))
    return *columns, OPINIONS


# ---- the stand-in: reviews by a small grammar

ASPECTS = "acting plot script music ending dialogue pacing cast photography humour".split()
PRAISE = "superb moving clever gripping charming fresh funny convincing elegant memorable".split()
BLAME = "dull clumsy tedious shallow stale awkward forgettable lifeless silly messy".split()
PLAIN = "The {} was truly {}.|We found the {} quite {}.|Everybody would call the {} {}.".split("|")
NEGATED = "The {} was not {}.|The {} never felt {}.|Nobody would call the {} {}.".split("|")
FILLER = "We saw it on a Tuesday.|It runs for two hours.|My friend chose it.".split("|")


def stand_in(train_size: int = 4000, test_size: int = 1000) -> tuple:
    """Return reviews of a seeded grammar: the label is what most of their opinions say.

    Many opinions are negated ("was not dull"), so that counting words tells little.
    """
    rng, texts = random.Random(0), []
    labels = np.tile([0, 1], (train_size + test_size + 1) // 2)[: train_size + test_size]
    for label in labels:
        count = rng.choice((3, 5, 7))
        dissenting = rng.randint(0, count // 2)
        sentences = rng.sample(FILLER, rng.randint(0, 2))
        for i, aspect in enumerate(rng.sample(ASPECTS, count)):
            positive, negated = label == (i >= dissenting), rng.random() < 0.35
            word = rng.choice(PRAISE if positive != negated else BLAME)
            sentences.append(rng.choice(NEGATED if negated else PLAIN).format(aspect, word))
        rng.shuffle(sentences)
        texts.append(" ".join(sentences))
    train, test = tuple(texts[:train_size]), tuple(texts[train_size:])
    return train, labels[:train_size], test, labels[train_size:], OPINIONS


IMDB = DataSet(
    name="imdb",
    title="IMDB",
    stand_in_title="IMDB stand-in (generated reviews)",
    mirrors=("https://ai.stanford.edu/~amaas/data/sentiment/",),
    downloads={"aclImdb_v1.tar.gz": "md5:7c2ac02c03563afcf9b574c7e56c153a"},
    folder="imdb",
    files={  # made from the archive by write_reviews
        "train.csv": "e656f7c1f3edd47753c24b3d4e23ec6c",
        "test.csv": "14ede1a821697cd31c3e7e47da70aded",
    },
    unpack=unpack,
    read=read,
    stand_in=stand_in,
)
