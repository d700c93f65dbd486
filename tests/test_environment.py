"""The ground floor: paths, profile, device, and files that are never half written."""

from __future__ import annotations

import os
import platform
import threading
from pathlib import Path

import pytest

from shared import environment
from shared.environment import ROOT, build_folder, data_root, write_atomically


@pytest.mark.parametrize("value", ["~/course data", "elsewhere", "/some/where", "", None])
def test_the_data_folder(monkeypatch, tmp_path, value):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("COURSE_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("COURSE_DATA", value)
    expected = {"~/course data": tmp_path / "course data", "/some/where": Path("/some/where")}
    assert data_root() == expected.get(value, ROOT / (value or "data"))


def test_the_profile(monkeypatch):
    for value, profile in (("full", "full"), ("quick", "quick"), ("", "quick")):
        monkeypatch.setenv("COURSE_PROFILE", value)
        assert environment.current_profile() == profile
    monkeypatch.setenv("COURSE_PROFILE", "fast")
    with pytest.raises(ValueError, match="COURSE_PROFILE is 'fast'; it must be quick or full"):
        environment.current_profile()


def test_the_root_is_that_of_the_collection():
    assert all((ROOT / package / "__init__.py").is_file() for package in environment.PACKAGES)


def test_the_build_folder_is_made(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BUILD", str(tmp_path / "a" / "b"))
    for _ in range(2):
        assert build_folder() == tmp_path / "a" / "b"
        assert build_folder().is_dir() and not list(build_folder().iterdir())
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setattr(environment, "ROOT", tmp_path / "root")
    for value, expected in (("~/b", "home/b"), ("c", "root/c"), ("", "root/build")):
        monkeypatch.setenv("COURSE_BUILD", value)
        assert build_folder() == tmp_path / expected
    monkeypatch.delenv("COURSE_BUILD")
    assert build_folder() == tmp_path / "root" / "build"


def test_a_checkout_that_cannot_be_written_has_a_fallback_that_is_said_once(
    monkeypatch, tmp_path, capsys
):
    (tmp_path / "build").write_text("a file where the folder should be: nobody can write into it")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "_said", set())
    monkeypatch.delenv("COURSE_BUILD", raising=False)
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    fallback = build_folder()
    assert fallback == build_folder() and fallback.parent == tmp_path / "temporary"
    write_atomically(fallback / "x", "x")
    printed = capsys.readouterr().out
    assert printed.count("cannot be written") == 1 and str(fallback) in printed
    if hasattr(os, "getuid"):  # users of one machine do not share it, nor read it
        assert fallback.name.endswith(f"-{os.getuid()}") and fallback.stat().st_mode & 0o077 == 0


def test_a_build_folder_that_is_there_but_read_only_has_a_fallback(monkeypatch, tmp_path, capsys):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("COURSE_BUILD", str(tmp_path / "read_only"))
    monkeypatch.setattr(environment, "_said", set())
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(environment.tempfile, "TemporaryFile", refuse)
    assert build_folder().name.startswith("perceptron-to-dcgan")
    assert "read_only cannot be written (Permission denied)" in capsys.readouterr().out


def test_each_remark_is_made_once(monkeypatch, capsys):
    monkeypatch.setattr(environment, "_said", set())
    for remark in ("one", "two", "one"):
        environment.say_once(remark)
    assert capsys.readouterr().out == "one\ntwo\n"


def test_inputs_are_each_remembered_once_in_order(monkeypatch):
    monkeypatch.setattr(environment, "_inputs", [])
    for what in ("b", "a", "b"):
        environment.note_input(what)
    assert environment.inputs() == ("b", "a")


def test_device_hardware_threads_versions(monkeypatch):
    import torch

    assert environment.device_name() in ("cpu", "cuda", "mps")
    assert environment.num_threads() == torch.get_num_threads()
    assert environment.hardware().strip()
    import numpy

    assert environment.versions().startswith(f"Python {platform.python_version()}, ")
    assert f"NumPy {numpy.__version__}" in environment.versions()
    assert torch.__version__.split("+")[0] in environment.versions()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an accelerator")
    assert environment.device_name() == "cuda" and environment.hardware() == "an accelerator"


def test_an_accelerator_of_a_mac(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for there, name in ((True, "mps"), (False, "cpu")):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=there: there)
        assert environment.device_name() == name


@pytest.mark.parametrize(
    ("file", "processor", "name"),
    [
        ("flags: x\nmodel name\t: Fast 9\nmodel name\t: Fast 9\n", "x86", "Fast 9"),
        (
            "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: EPYC\n\nmodel\t\t: 18\n",
            "x86",
            "EPYC (family 25, model 17)",
        ),
        ("cpu family\t: 6\nmodel\t\t: 7\nmodel name\t: Core 9\n", "x86", "Core 9"),
        ("model\t\t: 17\nmodel name\t: EPYC\n", "x86", "EPYC"),
        ("no such line", "arm", "arm"),
        ("no such line", "", "machine"),
        (None, "arm", "arm"),
    ],
)
def test_the_processor_has_a_name_on_every_system(monkeypatch, file, processor, name):
    monkeypatch.setattr(environment, "device_name", lambda: "cpu")
    monkeypatch.setattr(environment.platform, "processor", lambda: processor)
    monkeypatch.setattr(environment.platform, "machine", lambda: "machine")
    monkeypatch.setattr(os, "cpu_count", lambda: 77)
    monkeypatch.setattr(Path, "exists", lambda _: file is not None)
    monkeypatch.setattr(Path, "read_text", lambda _: file)
    assert environment.hardware() == f"{name}, 77 cores"


def test_threads_are_torchs(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert environment.num_threads() == 77


@pytest.mark.parametrize("content", ["é\n", b"\x00\xff", ""])
def test_a_file_is_written_whole(tmp_path, content):
    path = tmp_path / "new" / "and deep" / "file"
    for _ in range(2):
        write_atomically(path, content)
        assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert [found.name for found in path.parent.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")
    write = Path.write_bytes

    def half(self, content):
        write(self, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new and longer")
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_no_two_writers_name_their_part_alike(tmp_path, monkeypatch):
    parts, replace = [], os.replace

    def note(part, path):
        parts.append(Path(part))
        replace(part, path)

    monkeypatch.setattr(os, "replace", note)
    for pid, thread in ((1, 1), (1, 2), (2, 1), (2, 1)):  # the last two: one after the other
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        monkeypatch.setattr(threading, "get_ident", lambda thread=thread: thread)
        write_atomically(tmp_path / "file", "x")
    assert len(set(parts)) == 4 and {part.parent for part in parts} == {tmp_path}


def test_writers_at_once_never_share_a_file(tmp_path):
    path, failures = tmp_path / "file", []

    def write(content):
        try:
            for _ in range(50):
                write_atomically(path, content * 1000)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(set(path.read_text())) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
