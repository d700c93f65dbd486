"""Downloads, checksums and unpacking, against a server on this machine."""

import csv
import errno
import gzip
import hashlib
import io
import os
import platform
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data import DataError, download
from shared.data.catalogue import DATA_SETS
from shared.data.cifar10 import CIFAR10
from shared.data.download import check, digest, fetch, find_faults, safe_members
from shared.data.imdb import IMDB, write_reviews
from shared.data.mnist import MNIST
from shared.data.text import TEXT
from shared.environment import ROOT, data_root

REVIEWS = {
    "train": [(0, 3, 0, 'Dull, "really" dull.'), (1, 9, 0, "Superb"), (0, 1, 10, "Née")],
    "test": [(1, 10, 2, "A <br />, good"), (0, 4, 2, "Bad")],
}
CSV = 'label,rating,id,text\n0,3,0,"Dull, ""really"" dull."\n1,9,0,Superb\n0,1,10,Née\n'
BODY = b"To be, or not to be"


@pytest.fixture
def server(monkeypatch):
    """Serve `pages`: path -> (status, pieces with a pause before each, headers)."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pages: dict[str, tuple] = {}
    agents = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            agents.append(self.headers["User-Agent"])
            status, pieces, headers = pages.get(self.path, (404, [], {"Content-Length": "0"}))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for pause, piece in pieces:
                    time.sleep(pause)
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:
                pass  # the other side has given up

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        pages["url"] = f"http://127.0.0.1:{running.server_port}"
        pages["agents"] = agents
        yield pages
        running.shutdown()


def page(body, length=None):
    """An ordinary page; a length above the body's breaks off."""
    return 200, [(0, body)], {"Content-Length": str(len(body) if length is None else length)}


def publish(server, data_set, downloads, files, mirrors=("/a/", "/b/")):
    """Return the data set pointed at the server; only the last mirror has the downloads."""
    for file, body in downloads.items():
        server[f"{mirrors[-1]}{file}"] = page(body)
    return replace(
        data_set,
        mirrors=tuple(server["url"] + mirror for mirror in mirrors),
        downloads={file: f"sha256:{_sum(body, 'sha256')}" for file, body in downloads.items()},
        files={file: _sum(body, "md5") for file, body in files.items()},
    )


def publish_text(server, body=BODY, **kwargs):
    return publish(server, TEXT, {"input.txt": body}, {"input.txt": body}, **kwargs)


def _sum(body, algorithm):
    return hashlib.new(algorithm, body).hexdigest()


def tar(members):
    """Return a .tar.gz; members: (name or TarInfo, contents)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info, body in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def everything_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# ---- checksums


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_digest_reads_the_whole_file(tmp_path, algorithm, size):
    body = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(body[:size])
    assert digest(tmp_path / "file", algorithm) == _sum(body[:size], algorithm)
    assert digest(tmp_path / "file") == _sum(body[:size], "md5")


def test_faults_name_the_file_and_the_repair(tmp_path, monkeypatch):
    files = {f"train-{i}": b"%d" % i for i in range(4)}
    data_set = replace(MNIST, files={file: _sum(body, "md5") for file, body in files.items()})
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for file, body in files.items():
        (folder / file).write_bytes(body)
    assert find_faults(data_set, tmp_path) == {}
    check(data_set, tmp_path)
    (folder / "train-0").write_bytes(b"x")
    (folder / "train-1").unlink()
    (folder / "train-1").mkdir()  # a folder is no file
    (folder / "train-3").write_bytes(b"locked")
    whole_digest = download.digest

    def refuse(path, algorithm="md5"):
        if path.name == "train-3":
            raise PermissionError(errno.EACCES, "Permission denied")
        return whole_digest(path, algorithm)

    monkeypatch.setattr(download, "digest", refuse)
    expected, found = _sum(b"0", "md5"), _sum(b"x", "md5")
    with pytest.raises(DataError) as error:
        check(data_set, tmp_path)
    assert str(error.value) == (
        f"MNIST/raw/train-0 is damaged (MD5 expected {expected}, found {found}), "
        "MNIST/raw/train-1 is missing, MNIST/raw/train-3 is unreadable (Permission denied); "
        "to repair, run: python -m shared.data fetch mnist"
    )
    assert list(find_faults(data_set, tmp_path)) == [folder / f"train-{i}" for i in (0, 1, 3)]


# ---- mirrors


def test_second_mirror_is_used_when_the_first_fails(server, tmp_path, capsys):
    text = publish_text(server)
    assert fetch(text, tmp_path) == [tmp_path / "tinyshakespeare" / "input.txt"]
    assert (tmp_path / "tinyshakespeare/input.txt").read_bytes() == BODY
    printed = capsys.readouterr().out
    assert printed.count("Tiny Shakespeare: downloading input.txt from 127.0.0.1") == 2
    assert server["agents"] == ["perceptron-to-dcgan"] * 2
    assert fetch(text, tmp_path) == []  # nothing left to do
    assert everything_in(tmp_path) == ["tinyshakespeare/input.txt"]
    assert capsys.readouterr().out == ""


def test_the_first_mirror_that_delivers_is_the_last_one_asked(server, tmp_path):
    text = publish_text(server)
    server["/a/input.txt"] = server["/b/input.txt"]
    fetch(text, tmp_path)
    assert len(server["agents"]) == 1


def test_wrong_checksum_is_refused_and_nothing_kept(server, tmp_path):
    text = publish_text(server, mirrors=("/a/",))
    server["/a/input.txt"] = page(b"not this")
    right, wrong = _sum(BODY, "sha256"), _sum(b"not this", "sha256")
    with pytest.raises(DataError, match=rf"SHA256 expected {right}, found {wrong}.*fetch text"):
        fetch(text, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_download_leaves_nothing_and_the_next_try_works(server, tmp_path):
    text = publish_text(server, mirrors=("/a/",))
    server["/a/input.txt"] = page(BODY[:5], len(BODY))
    with pytest.raises(DataError, match=r"connection failed or broke off \(\w+\)"):
        fetch(text, tmp_path)
    assert list(tmp_path.iterdir()) == []
    server["/a/input.txt"] = page(BODY)
    assert fetch(text, tmp_path)


@pytest.mark.parametrize("coding", ["gzip", None])
def test_compressed_answers_and_answers_of_unknown_length(server, tmp_path, coding):
    body = os.urandom(200_000) + bytes(200_000)
    text = publish_text(server, body)
    sent, headers = (gzip.compress(body), {"Content-Encoding": "gzip"}) if coding else (body, {})
    server["/a/input.txt"] = (200, [(0, sent[:100_000]), (0.01, sent[100_000:])], headers)
    assert fetch(text, tmp_path) and len(server["agents"]) == 1


def test_a_length_that_is_no_number(server, tmp_path):
    text = publish_text(server)
    server["/a/input.txt"] = (200, [(0, BODY)], {"Content-Length": "many"})
    assert fetch(text, tmp_path)


def test_no_mirror_answers(server, tmp_path):
    text = publish_text(server, mirrors=("/a/", "/b/"))
    del server["/b/input.txt"]
    with pytest.raises(DataError) as error:
        fetch(text, tmp_path)
    host = server["url"].removeprefix("http://")
    assert str(error.value) == (
        f"Tiny Shakespeare could not be downloaded (input.txt: {host} answered 404; {host} answered"
        " 404); with a network connection run: python -m shared.data fetch text, or set COURSE_DATA"
        " to a folder that has it"
    )


def test_nobody_listens(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    text = replace(TEXT, mirrors=("http://127.0.0.1:9/",))
    with pytest.raises(DataError, match=r"127.0.0.1:9: connection failed or broke off \(Conn"):
        fetch(text, tmp_path)


CRAWL = [(0.02, b"x")] * 3000
STALL = [(0, b"x"), (60, b"x")]
LATE_CRAWL = [(0, bytes(100_000)), *CRAWL]  # the fast beginning does not count for ever


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (CRAWL, r"is too slow \(\d\d? bytes a second\)"),
        (LATE_CRAWL, r"is too slow \(\d\d? bytes a second\)"),
        (STALL, r"connection failed or broke off \(ReadTimeoutError\)"),
        ([(60, b"x")], r"connection failed or broke off \(ReadTimeout"),
    ],
    ids=["one byte at a time", "from some point on", "not at all", "from the start"],
)
def test_a_server_that_crawls_or_stalls_is_given_up(server, tmp_path, monkeypatch, pieces, said):
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    text = publish_text(server, mirrors=("/slow/", "/b/"))
    server["/slow/input.txt"] = (200, pieces, {"Content-Length": "100000000"})
    start = time.perf_counter()
    assert fetch(text, tmp_path)
    assert time.perf_counter() - start < 20  # 0.6 s on an idle machine
    with pytest.raises(DataError, match=said):
        fetch(replace(text, mirrors=text.mirrors[:1]), tmp_path / "elsewhere")


def test_a_slow_server_that_keeps_up_the_rate_is_waited_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", 0.2)
    body = os.urandom(40 * 1000)
    text = publish_text(server, body)
    pieces = [(0.02, body[i : i + 1000]) for i in range(0, len(body), 1000)]  # 0.8 s, 50 kB/s
    monkeypatch.setattr(download, "SLOWEST", 6000)  # six pieces a second
    server["/a/input.txt"] = (200, pieces, {"Content-Length": str(len(body))})
    assert fetch(text, tmp_path) and len(server["agents"]) == 1


def test_patience_is_for_people():
    assert 10 <= download.PATIENCE <= 60  # seconds
    assert 1000 <= download.SLOWEST <= 20_000  # CIFAR-10's origin sends 55 kB a second


# ---- nothing half-written, nothing left behind


def test_keyboard_interrupt_leaves_nothing(server, tmp_path):
    def interrupted(*args):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(replace(publish_text(server), unpack=interrupted), tmp_path)
    assert list(tmp_path.iterdir()) == []


def full_disk(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(server, tmp_path, monkeypatch):
    text = publish_text(server)
    old = tmp_path / "tinyshakespeare" / "input.txt"
    old.parent.mkdir()
    old.write_bytes(b"old")

    def half(download, folder):
        (folder / "input.txt").write_bytes(BODY[:5])
        full_disk()

    said = r"cannot write to the data folder .* \(No space left on device\); set COURSE_DATA to a"
    with pytest.raises(DataError, match=said):
        fetch(replace(text, unpack=half), tmp_path)
    monkeypatch.setattr(download, "open", full_disk, raising=False)
    with pytest.raises(DataError, match=said):
        fetch(replace(text, files={"other": "0"}), tmp_path)
    assert everything_in(tmp_path) == ["tinyshakespeare/input.txt"]
    assert old.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_what_was_unpacked_is_checked_before_it_is_moved(server, tmp_path):
    def half(download, folder):
        (folder / "input.txt").write_bytes(BODY[:5])

    with pytest.raises(DataError, match=r"tinyshakespeare/input.txt is damaged"):
        fetch(replace(publish_text(server), unpack=half), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_damaged_and_missing_files_are_replaced(server, tmp_path):
    names = [f"train-{i}.gz" for i in range(3)]
    files = {f"train-{i}": b"%d" % i for i in range(3)}
    downloads = dict(zip(names, map(gzip.compress, files.values()), strict=True))
    mnist = publish(server, MNIST, downloads, files)
    folder = tmp_path / "MNIST" / "raw"
    assert len(fetch(mnist, tmp_path)) == 3
    (folder / "train-0").write_bytes(b"x")
    (folder / "train-1").unlink()
    untouched = (folder / "train-2").stat()
    assert fetch(mnist, tmp_path) == [folder / "train-0", folder / "train-1"]
    check(mnist, tmp_path)
    assert (folder / "train-2").stat().st_ino == untouched.st_ino


posix = pytest.mark.skipif(os.name != "posix", reason="asks whether a process lives")


@posix
def test_kill_9_leaves_a_folder_that_the_next_fetch_removes(server, tmp_path):
    body = os.urandom(100_000)
    text = publish_text(server, body)
    server["/slow/input.txt"] = (
        200,
        [(0, body[:50_000]), (60, body)],
        {"Content-Length": "100000"},
    )
    code = (
        "import pathlib, sys; from dataclasses import replace\n"
        "from shared.data.download import fetch; from shared.data.text import TEXT\n"
        "fetch(replace(TEXT, mirrors=(sys.argv[1],)), pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, server["url"] + "/slow/", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not list(tmp_path.glob(".fetch-*/input.txt")):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            assert fetch(text, tmp_path)  # beside a fetch that lives
            assert list(tmp_path.glob(".fetch-*/input.txt"))
        finally:
            process.kill()
    assert list(tmp_path.glob(".fetch-*/input.txt"))
    assert fetch(text, tmp_path) == []  # there is nothing to do but to clear up
    assert [path.name for path in tmp_path.iterdir()] == ["tinyshakespeare"]


HERE, DEAD = platform.node(), 999_999_999  # no system counts its processes so far


@posix
@pytest.mark.parametrize(
    ("name", "days", "stays"),
    [
        (f".fetch-{HERE}-OWN-abc_1", 0.9, True),
        (f".fetch-{HERE}-OWN-abc_1", 1.1, False),  # a number used again
        (f".fetch-{HERE}-{DEAD}-abc_1", 0, False),
        (f".fetch-not-{HERE}-{DEAD}-abc_1", 0.9, True),  # another computer's processes
        (f".fetch-not-{HERE}-{DEAD}-abc_1", 1.1, False),
        (".fetch-abcdefgh", 0, True),  # not named by this code
        (".fetch-abcdefgh", 1.1, False),
        ("fetch-me-1-abc", 10, True),  # not ours
    ],
)
def test_abandoned_folders(server, tmp_path, name, days, stays):
    folder = tmp_path / name.replace("OWN", str(os.getpid()))
    (folder / "deep").mkdir(parents=True)
    then = time.time() - days * 24 * 3600
    os.utime(folder, (then, then))
    fetch(publish_text(server), tmp_path)
    assert folder.exists() == stays


@posix
def test_a_fetch_of_another_user_lives(server, tmp_path, monkeypatch):
    def not_allowed(process, signal):
        assert signal == 0  # anything else could end it
        raise PermissionError

    monkeypatch.setattr(download.os, "kill", not_allowed)
    folder = tmp_path / f".fetch-{HERE}-1-abc"
    folder.mkdir()
    fetch(publish_text(server), tmp_path)
    assert folder.exists()


def test_two_fetches_clearing_up_at_once(server, tmp_path, monkeypatch):
    def gone(scratch):
        raise FileNotFoundError

    (tmp_path / ".fetch-gone").mkdir()
    monkeypatch.setattr(download, "_is_abandoned", gone)
    assert fetch(publish_text(server), tmp_path)


def test_unwritable_data_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to the data folder .*; set COURSE_DATA"):
        fetch(TEXT, tmp_path / "file" / "data")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_read_only_data_folder_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot write to the data folder"):
        fetch(TEXT, tmp_path)


# ---- archives


def link(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "../../elsewhere"
    return info


EVIL = [
    "/etc/evil",
    "../evil",
    "cifar-10-batches-py/../../evil",
    "C:\\evil",
    "C:evil",
    "..\\evil",
    link("cifar-10-batches-py/soft", tarfile.SYMTYPE),
    link("cifar-10-batches-py/hard", tarfile.LNKTYPE),
    link("cifar-10-batches-py/device", tarfile.CHRTYPE),
    link("cifar-10-batches-py/pipe", tarfile.FIFOTYPE),
]


@pytest.mark.parametrize("member", EVIL, ids=lambda m: m if isinstance(m, str) else m.name)
@pytest.mark.parametrize("data_set", [CIFAR10, IMDB], ids=lambda data_set: data_set.name)
def test_evil_archive_members_are_refused(server, tmp_path, data_set, member):
    archive = tar([("cifar-10-batches-py/data_batch_1", b"1"), (member, b"")])
    evil = publish(server, data_set, {"a.tar.gz": archive}, {"data_batch_1": b"1"})
    root = tmp_path / "data"
    name = member if isinstance(member, str) else member.name
    with pytest.raises(DataError) as error:
        fetch(evil, root)
    assert f"a.tar.gz is refused: its member {name!r} is a link or" in str(error.value)
    assert everything_in(tmp_path) == []


PARTS = st.sampled_from(["..", ".", "", "a", "b.txt", "C:", "C:x", "...", " "])


@given(st.lists(PARTS, min_size=1, max_size=4), st.lists(st.sampled_from("/\\"), min_size=4))
def test_no_name_leads_out_of_the_folder(parts, slashes):
    name = "".join(part + slash for part, slash in zip(parts, slashes, strict=False))[:-1]
    with tarfile.open(fileobj=io.BytesIO(tar([(name or "a", b"x")]))) as archive:
        archive.name = "x.tar"
        try:
            names = [member.name for member in safe_members(archive)]
        except DataError:
            return
    for name in names:
        for path in (PurePosixPath(name), PureWindowsPath(name)):
            assert not path.is_absolute() and not path.anchor and ".." not in path.parts


def test_folders_of_an_archive_are_passed_over(tmp_path):
    folder = tarfile.TarInfo("a")
    folder.type = tarfile.DIRTYPE
    (tmp_path / "x.tar.gz").write_bytes(tar([(folder, b""), ("a/b", b"1"), ("a/c", b"2")]))
    with tarfile.open(tmp_path / "x.tar.gz") as archive:
        assert [member.name for member in safe_members(archive)] == ["a/b", "a/c"]


def test_cifar_archive_is_unpacked(server, tmp_path):
    files = {"data_batch_1": b"1", "batches.meta": b"m"}
    members = [(f"cifar-10-batches-py/{file}", body) for file, body in files.items()]
    archive = tar([*members, ("cifar-10-batches-py/readme.html", b"r")])
    fetch(publish(server, CIFAR10, {"cifar-10-python.tar.gz": archive}, files), tmp_path)
    assert everything_in(tmp_path) == [f"cifar-10-batches-py/{file}" for file in sorted(files)]


def test_reviews_are_converted_to_csv_and_read(server, tmp_path):
    members = [("aclImdb/README", b"x"), ("aclImdb/train/unsup/0_0.txt", b"x")]
    members += [("aclImdb/train/neg/1_1.txt.bak", b"x"), ("x/aclImdb/test/pos/1_1.txt", b"x")]
    for split, rows in REVIEWS.items():
        for label, rating, number, text in reversed(rows):
            folder = f"aclImdb/{split}/{'pos' if label else 'neg'}"
            members.append((f"{folder}/{number}_{rating}.txt", text.encode()))
    test = 'label,rating,id,text\n0,4,2,Bad\n1,10,2,"A <br />, good"\n'
    files = {"train.csv": CSV.encode(), "test.csv": test.encode()}
    fetch(publish(server, IMDB, {"aclImdb_v1.tar.gz": tar(members)}, files), tmp_path)
    assert (tmp_path / "imdb/train.csv").read_text(encoding="utf-8") == CSV
    train, y_train, test, y_test, names = IMDB.read(tmp_path / "imdb")
    assert train == ('Dull, "really" dull.', "Superb", "Née") and y_train.tolist() == [0, 1, 0]
    assert test == ("Bad", "A <br />, good") and y_test.tolist() == [0, 1]
    assert y_train.dtype == np.int64 and names == ("negative", "positive")


def test_reviews_are_sorted_by_number_not_by_text(tmp_path):
    rows = [(1, 7, 9, "d"), (0, 1, 10, "e"), (1, 8, 2, "b"), (0, 3, 9, "c"), (0, 4, 2, "a")]
    write_reviews(tmp_path / "x.csv", rows)
    lines = (tmp_path / "x.csv").read_bytes().decode().split("\n")
    assert lines[0] == "label,rating,id,text" and lines[1:] == [
        "0,4,2,a",
        "1,8,2,b",
        "0,3,9,c",
        "1,7,9,d",
        "0,1,10,e",
        "",
    ]


@pytest.mark.real_data
def test_the_writer_rebuilds_the_published_csv_byte_for_byte(tmp_path):
    real = data_root() / "imdb" / "train.csv"
    if not real.is_file():
        pytest.skip("no real IMDB: set COURSE_DATA or run python -m shared.data fetch imdb")
    with open(real, encoding="utf-8", newline="") as file:
        rows = [
            (int(label), int(r), int(i), text) for label, r, i, text in list(csv.reader(file))[1:]
        ]
    write_reviews(tmp_path / "train.csv", rows[::-1])
    assert digest(tmp_path / "train.csv") == IMDB.files["train.csv"]


LENGTHS = {"md5": 32, "sha256": 64}


@pytest.mark.parametrize("data_set", DATA_SETS.values(), ids=lambda data_set: data_set.name)
def test_every_description_is_complete(data_set):
    assert DATA_SETS[data_set.name] is data_set
    assert data_set.mirrors and data_set.downloads and data_set.files
    for mirror in data_set.mirrors:
        assert mirror.startswith("https://") and mirror.endswith("/")
    for checksum in data_set.downloads.values():
        algorithm, digits = checksum.split(":")
        assert len(digits) == LENGTHS[algorithm] and set(digits) <= set("0123456789abcdef")
    assert all(len(md5) == 32 for md5 in data_set.files.values())
    assert "stand-in" in data_set.stand_in_title and "stand-in" not in data_set.title
    with pytest.raises(AttributeError):
        data_set.title = "frozen"
