"""The ground floor: paths, profile, device, and files that are never half written."""

from __future__ import annotations

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


def test_the_build_folder_is_made(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BUILD", str(tmp_path / "a" / "b"))
    assert build_folder() == tmp_path / "a" / "b"
    assert build_folder().is_dir() and not list(build_folder().iterdir())
    monkeypatch.delenv("COURSE_BUILD")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert build_folder() == tmp_path / "build"


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

    assert f"NumPy {numpy.__version__}" in environment.versions()
    assert torch.__version__.split("+")[0] in environment.versions()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an accelerator")
    assert environment.device_name() == "cuda" and environment.hardware() == "an accelerator"


@pytest.mark.parametrize("content", ["é\n", b"\x00\xff", ""])
def test_a_file_is_written_whole(tmp_path, content):
    path = tmp_path / "new" / "file"
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
