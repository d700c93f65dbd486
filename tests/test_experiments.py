"""A sweep runs every setting with every seed once, and never hands out a result that is stale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from shared.experiments import summarise, sweep

LOG = ""  # a file in tmp_path, set by the fixture: a line per call of run_one
SCALE = 2.0
DATA = np.arange(3.0)


def helper(x):
    return x + 1


@dataclass
class Offset:  # its __init__ is generated: there is no source of it to read
    value: float = 0.0


class Model:
    def predict(self, x):
        return 10 * x


def run_one(seed, rate=1.0):
    append_call((seed, rate))
    value = Model().predict(helper(seed) * rate * SCALE) + DATA.sum() + Offset().value
    if rate == "fail":
        raise RuntimeError("stopped")
    return {"value": value, "curve": np.full(3, value)}


def append_call(call):
    with open(LOG, "a") as log:
        log.write(f"{call}\n")


@pytest.fixture(autouse=True)
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_SWEEPS", str(tmp_path / "sweeps"))
    monkeypatch.setattr(f"{__name__}.LOG", str(tmp_path / "log"))
    (tmp_path / "log").write_text("")
    return lambda: len((tmp_path / "log").read_text().splitlines())


def test_rows_are_in_order_and_complete(log):
    rows = sweep(run_one, {"slow": {"rate": 1.0}, "fast": {"rate": 2.0}}, seeds=(0, 1))
    assert [(r["setting"], r["seed"], r["rate"]) for r in rows] == [
        ("slow", 0, 1.0),
        ("slow", 1, 1.0),
        ("fast", 0, 2.0),
        ("fast", 1, 2.0),
    ]
    assert [r["value"] for r in rows] == [23.0, 43.0, 43.0, 83.0]
    assert all(r["seconds"] > 0 and r["curve"].shape == (3,) for r in rows)
    assert log() == 4


def test_finished_runs_are_not_run_again(log):
    first = sweep(run_one, {"a": {}}, seeds=(0, 1))
    again = sweep(run_one, {"a": {}}, seeds=(0, 1, 2))
    assert log() == 3
    assert [r["seconds"] for r in again[:2]] == [r["seconds"] for r in first]


def test_an_interrupted_sweep_goes_on_where_it_stopped(log, monkeypatch):
    settings = {"a": {}, "b": {"rate": "fail"}}
    with pytest.raises((RuntimeError, TypeError)):
        sweep(run_one, settings, seeds=(0,))
    before = log()
    sweep(run_one, {"a": {}}, seeds=(0,))
    assert log() == before


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SCALE", 3.0, 33.0),
        ("DATA", np.arange(4.0), 26.0),
        ("helper", lambda x: x + 2, 43.0),
        ("Model", type("Model", (), {"predict": lambda self, x: x, "__module__": __name__}), 5.0),
    ],
)
def test_a_changed_global_is_run_again(log, monkeypatch, name, value, expected):
    sweep(run_one, {"a": {}}, seeds=(0,))
    monkeypatch.setattr(f"{__name__}.{name}", value)
    (row,) = sweep(run_one, {"a": {}}, seeds=(0,))
    assert row["value"] == expected
    assert log() == 2


def test_a_changed_profile_is_run_again(log, monkeypatch):
    for profile in ("quick", "full"):
        monkeypatch.setenv("COURSE_PROFILE", profile)
        sweep(run_one, {"a": {}}, seeds=(0,))
    assert log() == 2


def test_refuses_nothing_to_do():
    with pytest.raises(ValueError, match="sweep needs settings and seeds; got 0 and 1"):
        sweep(run_one, {}, seeds=(0,))


def test_summarise():
    rows = [{"setting": "a", "m": m} for m in (1, 2, 3)] + [{"setting": "b", "m": 5}]
    assert summarise(rows, "m") == {"a": (2.0, 1.0, 3), "b": (5.0, 0.0, 1)}
    assert summarise([{"setting": "c", "m": 0.1}] * 3, "m")["c"][1] == 0  # no rounding left over
    with pytest.raises(ValueError, match="metric is 'x'; the rows have setting, m"):
        summarise(rows, "x")
