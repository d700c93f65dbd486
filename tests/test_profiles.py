"""The profile cell chooses settings, says what it chose, and refuses what it does not know."""

from __future__ import annotations

import pytest

from shared.profiles import choose_profile, current_profile


@pytest.mark.parametrize(("value", "seeds"), [("quick", (0,)), ("full", (0, 1)), ("", (0,))])
def test_chooses_by_environment(monkeypatch, capsys, value, seeds):
    monkeypatch.setenv("COURSE_PROFILE", value)
    run = choose_profile(quick=dict(seeds=(0,)), full=dict(seeds=(0, 1)))
    assert run.seeds == seeds
    assert run.is_full == (value == "full")
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert printed.startswith(f"{run.profile} profile · data: generated")
    assert "NumPy" in printed and "torch" in printed and "thread" in printed


def test_names_the_stand_in(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    monkeypatch.setattr("shared.data.describe_sources", lambda names: f"{names[0]} stand-in")
    choose_profile(quick={}, full={}, data=("mnist",))
    assert "data: mnist stand-in" in capsys.readouterr().out


def test_refuses_an_unknown_profile(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "fast")
    with pytest.raises(ValueError, match="COURSE_PROFILE is 'fast'; it must be quick or full"):
        current_profile()


def test_refuses_different_keys():
    with pytest.raises(ValueError, match="only one has seeds, size"):
        choose_profile(quick=dict(size=1), full=dict(seeds=(0,)))
