"""The profile cell chooses settings, says what it chose, and refuses what it does not know."""

from __future__ import annotations

import pytest

from shared import profiles
from shared.profiles import choose_profile


@pytest.mark.parametrize(("value", "seeds"), [("quick", (0,)), ("full", (0, 1)), ("", (0,))])
def test_chooses_by_environment(monkeypatch, capsys, value, seeds):
    monkeypatch.setenv("COURSE_PROFILE", value)
    run = choose_profile(quick=dict(seeds=(0,)), full=dict(seeds=(0, 1)))
    assert run.seeds == seeds
    assert run.is_full == (value == "full") and run.profile == (value or "quick")
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert printed.startswith(f"{run.profile} profile · data: generated")
    assert "NumPy" in printed and "torch" in printed and "thread" in printed


@pytest.mark.parametrize(("count", "text"), [(1, "1 thread ·"), (2, "2 threads ·")])
def test_counts_threads(monkeypatch, capsys, count, text):
    monkeypatch.setattr(profiles, "num_threads", lambda: count)
    monkeypatch.setattr(profiles, "device_name", lambda: "cuda")
    choose_profile(quick={}, full={})
    assert f"· cuda, {text}" in capsys.readouterr().out


@pytest.mark.parametrize("data", [("mnist",), "mnist", ["mnist"]])
def test_names_the_stand_in(monkeypatch, capsys, data):
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    monkeypatch.setattr(profiles, "describe_sources", lambda names: f"{names!r} stand-in")
    choose_profile(quick={}, full={}, data=data)
    assert "data: ('mnist',) stand-in" in capsys.readouterr().out
    choose_profile(quick={}, full={}, data=("mnist", "imdb"))
    assert "data: ('mnist', 'imdb') stand-in" in capsys.readouterr().out


def test_refuses_an_unknown_profile(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "fast")
    with pytest.raises(ValueError, match="COURSE_PROFILE is 'fast'; it must be quick or full"):
        choose_profile(quick={}, full={})


def test_refuses_different_keys():
    for quick, full, odd in (
        (dict(size=1, rate=2), dict(seeds=(0,), rate=2), "seeds, size"),
        (dict(size=1), {}, "size"),
        ({}, dict(seeds=(0,)), "seeds"),
    ):
        with pytest.raises(ValueError, match=f"only one has {odd}$"):
            choose_profile(quick=quick, full=full)


@pytest.mark.parametrize("key", ["profile", "is_full"])
def test_refuses_keys_of_its_own(key):
    with pytest.raises(ValueError, match=f"{key} is set by choose_profile itself"):
        choose_profile(quick={key: 1}, full={key: 2})
