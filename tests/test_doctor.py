"""What the doctor finds: each topic when all is well, and when something is missing."""

import shutil
import time
from importlib import metadata
from types import SimpleNamespace as Named

import pytest
import torch

from shared.data import catalogue
from tools import doctor


@pytest.fixture(autouse=True)
def healthy(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    monkeypatch.setenv("COURSE_BUILD", str(tmp_path / "build"))


def printed(capsys):
    """The lines by topic, and the exit code."""
    status = doctor.main()
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[1]: line for line in lines[:-1]}, lines[-1], status


def test_a_healthy_machine_can_run_and_every_topic_has_one_line(capsys):
    lines, last, status = printed(capsys)
    assert status == 0 and last == "All notebooks can run here: make run"
    assert list(lines) == [topic.__name__ for topic in doctor.TOPICS] and len(lines) == 9
    assert "MISS" not in "".join(lines.values())
    assert "quick" in lines["profile"] and "threads: " in lines["device"]


def test_an_old_python_is_refused(monkeypatch):
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (9, 1))
    state, _, advice = doctor.python()
    assert state == "MISS" and "9.1 or newer" in advice


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch, tmp_path):
    text = "numpy>=1.0  # arrays\ntorch>=99\nno-such-package\n-e .\ntomli; python_version < '3'\n"
    (tmp_path / "requirements.txt").write_text(text)
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    state, found, advice = doctor.packages()
    assert state == "MISS" and advice == doctor.INSTALL
    version = metadata.version("torch")
    assert found == f"torch ({version} is not >=99), no-such-package (missing)"
    (tmp_path / "requirements.txt").write_text("numpy>=1.0\n")
    assert doctor.packages() == ("ok", "all 1 of requirements.txt", "")


def test_a_version_before_a_release_counts(monkeypatch, tmp_path):
    (tmp_path / "requirements.txt").write_text("numpy>=1.0\n")
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    monkeypatch.setattr(metadata, "version", lambda name: "2.0rc1")
    assert doctor.packages()[0] == "ok"


def test_a_missing_kernel_is_named(monkeypatch):
    from jupyter_client import kernelspec

    def none(self, name):
        raise kernelspec.NoSuchKernel(name)

    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", none)
    state, found, advice = doctor.kernel()
    assert state == "MISS" and "python3" in found and "pip install ipykernel" in advice


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_a_package_that_breaks_is_named_and_the_rest_still_looked_at(error, monkeypatch, capsys):
    def broken():
        raise error("libnothing.so")

    monkeypatch.setattr(doctor, "TOPICS", (broken, doctor.profile))
    assert doctor.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"MISS broken   {error.__name__}: libnothing.so → {doctor.INSTALL}"
    assert lines[1].startswith("ok   profile") and lines[2].startswith("Something is missing")


@pytest.mark.parametrize(("half", "state"), [(0.5, "ok"), (0.9, "note")])
def test_bfloat16_pays_where_it_is_clearly_faster(monkeypatch, half, state):
    times = {torch.bfloat16: half * 3, torch.float32: 3.0}
    monkeypatch.setattr(doctor, "seconds_of", lambda product: times[product().dtype])
    assert doctor.bfloat16()[0] == state and f" {half} of the time" in doctor.bfloat16()[1]


def test_the_shortest_time_counts_and_the_first_call_does_not(monkeypatch):
    calls = iter([9.0, 1.0, 0.5, 1.0, 2.0])
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def product():
        clock[0] += next(calls)

    assert doctor.seconds_of(product, repeats=3) == 0.5
    assert list(calls) == [2.0]


def test_data_that_are_there_in_part_keep_a_full_run_from_working(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    state, found, advice = doctor.data()
    assert state == "note" and "stand-ins for MNIST, CIFAR-10" in found and "fetch" in advice
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").touch()
    state, found, _ = doctor.data()
    assert state == "MISS" and "in part: MNIST" in found
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "nowhere"))
    state, found, _ = doctor.data()
    assert state == "MISS" and "must name an existing folder" in found


@pytest.mark.parametrize(
    ("there", "state", "words"),
    [
        ([(1, 1), (1,)], "ok", "One, Two"),
        ([(1, 1), (0,)], "note", "One; stand-ins for Two"),
        ([(1, 0), (1,)], "MISS", "Two; in part: One"),
        ([(0, 0), (0,)], "note", "nothing; stand-ins for One, Two"),
    ],
)
def test_data_sets_are_real_absent_or_there_in_part(monkeypatch, tmp_path, there, state, words):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr(catalogue, "DATA_SETS", {"a": Named(title="One"), "b": Named(title="Two")})
    monkeypatch.setattr(catalogue, "files_there", dict(zip("ab", there, strict=True)).get)
    assert doctor.data()[:2] == (state, f"{tmp_path}: {words}")


def test_an_unknown_profile_is_named(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "fast")
    state, found, advice = doctor.profile()
    assert state == "MISS" and "'fast'" in found and "quick" in advice


def test_a_full_disk_is_said(monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1e9))
    assert doctor.build()[0] == "MISS" and "1 GB free" in doctor.build()[1]


def test_without_a_browser_nothing_is_lost_but_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert doctor.browser()[0] == "note"
    monkeypatch.setattr(doctor, "chromium", lambda: ["/bin/chromium", "--headless"])
    assert doctor.browser() == ("ok", "/bin/chromium", "")
