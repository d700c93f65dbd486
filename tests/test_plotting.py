"""Plot helpers draw on the axes they are given, keep their roles, and close nothing."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from shared import plotting

ROWS = [
    {"setting": name, "seed": seed, "accuracy": 0.9 + 0.01 * seed, "seconds": 2.0}
    for name in ("small", "large")
    for seed in range(3)
]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_curves_have_a_band_only_over_seeds():
    ax = plotting.plot_curves({"one": np.ones(4), "three": np.ones((3, 4))}, logy=True)
    assert len(ax.lines) == 2 and len(ax.collections) == 1
    assert ax.get_yscale() == "log"


def test_train_is_dashed_and_validation_solid():
    _, ax = plt.subplots()
    assert plotting.plot_train_val(np.ones((2, 3)), np.zeros((2, 3)), ax=ax) is ax
    train, val = ax.lines
    assert (train.get_linestyle(), train.get_color()) == ("--", "C0")
    assert (val.get_linestyle(), val.get_color()) == ("-", "C1")


def test_decision_regions():
    x, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    ax = plotting.plot_decision_regions(lambda x: x[:, 0] > 0, x, y, title="t")
    assert ax.get_title() == "t" and len(ax.collections) == 3


@pytest.mark.parametrize("shape", [(1, 4, 4), (5, 4, 4), (9, 4, 4, 3)])
def test_images(shape):
    fig = plotting.show_images(np.zeros(shape), titles=["t"] * shape[0], ncols=4)
    assert sum(bool(ax.images) for ax in fig.axes) == shape[0]


def test_confusion_bars_and_table():
    y = np.array([0, 0, 1, 2])
    ax = plotting.plot_confusion(y, y, ["a", "b", "c", "absent"])
    assert len(ax.get_xticklabels()) == 4
    assert len(plotting.plot_bars(ROWS, "accuracy").patches) == 2
    table = plotting.show_table(ROWS, {"accuracy": ".3f", "seconds": ".1f"})
    assert list(table.index) == ["small", "large"]
    assert table.loc["small", "accuracy"] == "0.910 ± 0.010"
    assert table.loc["small", "n"] == 3


def test_style_is_idempotent():
    plotting.use_course_style()
    before = dict(plt.rcParams)
    plotting.use_course_style()
    assert dict(plt.rcParams) == before
