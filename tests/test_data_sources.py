"""Downloads, checksums and unpacking, against a server on this machine."""

import csv
import gzip
import io
import os
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shared import data, data_sources
from shared.data_sources import SOURCES, DataError, digest, fetch, write_reviews

REVIEWS = {
    "train": [(0, 3, 0, 'Dull, "really" dull.'), (1, 9, 0, "Superb"), (0, 1, 10, "Née")],
    "test": [(1, 10, 2, "A <br />, good"), (0, 4, 2, "Bad")],
}
CSV = 'label,rating,id,text\n0,3,0,"Dull, ""really"" dull."\n1,9,0,Superb\n0,1,10,Née\n'


@pytest.fixture
def server(monkeypatch):
    """Serve `pages`: path -> (status, body, announced length)."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pages: dict[str, tuple[int, bytes, int]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body, length = pages.get(self.path, (404, b"", 0))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        pages["url"] = f"http://127.0.0.1:{running.server_port}"
        yield pages
        running.shutdown()


def publish(server, monkeypatch, name, downloads, files, mirrors=("/a/", "/b/")):
    """Point a data set at the server; downloads and files: name -> right contents."""
    monkeypatch.setitem(
        SOURCES,
        name,
        {
            "title": SOURCES[name]["title"],
            "mirrors": [server["url"] + mirror for mirror in mirrors],
            "downloads": {
                file: f"sha256:{_sum(body, 'sha256')}" for file, body in downloads.items()
            },
            "files": {file: _sum(body, "md5") for file, body in files.items()},
        },
    )
    for file, body in downloads.items():
        server[f"{mirrors[-1]}{file}"] = (200, body, len(body))


def _sum(body, algorithm):
    return data_sources.hashlib.new(algorithm, body).hexdigest()


def tar(members):
    """Return a .tar.gz; members: (name or TarInfo, contents)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info, body in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def publish_text(server, monkeypatch, **kwargs):
    body = b"To be, or not to be"
    files = {"tinyshakespeare/input.txt": body}
    publish(server, monkeypatch, "text", {"input.txt": body}, files, **kwargs)
    return body


def everything_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_second_mirror_is_used_when_the_first_fails(server, monkeypatch, tmp_path, capsys):
    body = publish_text(server, monkeypatch)
    assert fetch("text", tmp_path) == ["tinyshakespeare/input.txt"]
    assert (tmp_path / "tinyshakespeare/input.txt").read_bytes() == body
    assert capsys.readouterr().out.count("downloading input.txt from 127.0.0.1") == 2
    assert fetch("text", tmp_path) == []  # nothing left to do
    assert everything_in(tmp_path) == ["tinyshakespeare/input.txt"]


def test_wrong_checksum_is_refused_and_nothing_kept(server, monkeypatch, tmp_path):
    publish_text(server, monkeypatch, mirrors=("/a/",))
    server["/a/input.txt"] = (200, b"not this", 8)
    with pytest.raises(
        DataError, match=r"SHA256 expected [0-9a-f]{64}, found [0-9a-f]{64}.*fetch text"
    ):
        fetch("text", tmp_path)
    assert everything_in(tmp_path) == []


def test_interrupted_download_leaves_nothing_and_the_next_try_works(server, monkeypatch, tmp_path):
    body = publish_text(server, monkeypatch, mirrors=("/a/",))
    server["/a/input.txt"] = (200, body[:5], len(body))
    with pytest.raises(DataError, match="connection failed or broke off"):
        fetch("text", tmp_path)
    assert list(tmp_path.iterdir()) == []
    server["/a/input.txt"] = (200, body, len(body))
    assert fetch("text", tmp_path)


def test_keyboard_interrupt_leaves_nothing(server, monkeypatch, tmp_path):
    publish_text(server, monkeypatch)

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setitem(data_sources.UNPACK, "text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("text", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_mirror_answers(server, monkeypatch, tmp_path):
    publish_text(server, monkeypatch, mirrors=("/a/",))
    del server["/a/input.txt"]
    with pytest.raises(
        DataError, match=r"answered 404.*python -m shared.data fetch text.*COURSE_DATA"
    ):
        fetch("text", tmp_path)


def test_only_damaged_and_missing_files_are_replaced(server, monkeypatch, tmp_path):
    names = [f"train-{i}.gz" for i in range(3)]
    files = {f"MNIST/raw/train-{i}": b"%d" % i for i in range(3)}
    downloads = dict(zip(names, map(gzip.compress, files.values()), strict=True))
    publish(server, monkeypatch, "mnist", downloads, files)
    assert len(fetch("mnist", tmp_path)) == 3
    (tmp_path / "MNIST/raw/train-0").write_bytes(b"x")
    (tmp_path / "MNIST/raw/train-1").unlink()
    with pytest.raises(DataError) as error:
        data_sources.check("mnist", tmp_path)
    expected, found = _sum(b"0", "md5"), _sum(b"x", "md5")
    assert f"train-0 is damaged (MD5 expected {expected}, found {found})" in str(error.value)
    assert "train-1 is missing; to repair, run: python -m shared.data fetch mnist" in str(
        error.value
    )
    assert fetch("mnist", tmp_path) == ["MNIST/raw/train-0", "MNIST/raw/train-1"]
    data_sources.check("mnist", tmp_path)


def link(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "../../elsewhere"
    return info


EVIL = [
    "/etc/evil",
    "../evil",
    "cifar-10-batches-py/../../evil",
    "C:\\evil",
    "..\\evil",
    link("cifar-10-batches-py/soft", tarfile.SYMTYPE),
    link("cifar-10-batches-py/hard", tarfile.LNKTYPE),
    link("cifar-10-batches-py/device", tarfile.CHRTYPE),
    link("cifar-10-batches-py/pipe", tarfile.FIFOTYPE),
]


@pytest.mark.parametrize("member", EVIL, ids=lambda m: m if isinstance(m, str) else m.name)
def test_evil_archive_members_are_refused(server, monkeypatch, tmp_path, member):
    archive = tar([("cifar-10-batches-py/data_batch_1", b"1"), (member, b"")])
    files = {"cifar-10-batches-py/data_batch_1": b"1"}
    publish(server, monkeypatch, "cifar10", {"cifar-10-python.tar.gz": archive}, files)
    root = tmp_path / "data"
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz is refused: its member"):
        fetch("cifar10", root)
    assert everything_in(tmp_path) == []


def test_cifar_archive_is_unpacked(server, monkeypatch, tmp_path):
    files = {"cifar-10-batches-py/data_batch_1": b"1", "cifar-10-batches-py/batches.meta": b"m"}
    archive = tar([*files.items(), ("cifar-10-batches-py/readme.html", b"r")])
    publish(server, monkeypatch, "cifar10", {"cifar-10-python.tar.gz": archive}, files)
    fetch("cifar10", tmp_path)
    assert everything_in(tmp_path) == sorted(files)


def test_reviews_are_converted_to_csv(server, monkeypatch, tmp_path):
    members = [("aclImdb/README", b"x"), ("aclImdb/train/unsup/0_0.txt", b"x")]
    for split, rows in REVIEWS.items():
        for label, rating, number, text in reversed(rows):
            folder = f"aclImdb/{split}/{'pos' if label else 'neg'}"
            members.append((f"{folder}/{number}_{rating}.txt", text.encode()))
    test = 'label,rating,id,text\n0,4,2,Bad\n1,10,2,"A <br />, good"\n'
    files = {"imdb/train.csv": CSV.encode(), "imdb/test.csv": test.encode()}
    publish(server, monkeypatch, "imdb", {"aclImdb_v1.tar.gz": tar(members)}, files)
    fetch("imdb", tmp_path)
    assert (tmp_path / "imdb/train.csv").read_text(encoding="utf-8") == CSV


def test_unwritable_data_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to the data folder .*; set COURSE_DATA"):
        fetch("text", tmp_path / "file" / "data")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_read_only_data_folder_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot write to the data folder"):
        fetch("text", tmp_path)


@pytest.mark.real_data
def test_the_writer_rebuilds_the_published_csv_byte_for_byte(tmp_path):
    real = data.data_root() / "imdb" / "train.csv"
    if not real.is_file():
        pytest.skip("no real IMDB: set COURSE_DATA or run python -m shared.data fetch imdb")
    with open(real, encoding="utf-8", newline="") as file:
        rows = [
            (int(label), int(r), int(i), text) for label, r, i, text in list(csv.reader(file))[1:]
        ]
    write_reviews(tmp_path / "train.csv", rows[::-1])
    assert digest(tmp_path / "train.csv") == SOURCES["imdb"]["files"]["imdb/train.csv"]


def test_every_source_is_complete():
    for name, source in SOURCES.items():
        assert name in data_sources.UNPACK
        assert source["mirrors"] and all(mirror.endswith("/") for mirror in source["mirrors"])
        assert all(len(md5) == 32 for md5 in source["files"].values())
        assert len({Path(file).parent for file in source["files"]}) == 1  # as fetch assumes
