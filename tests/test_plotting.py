"""Plot helpers draw what they are given: asserted on lines, bands and texts, not on pixels."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import same_color

from shared import plotting

ROWS = [
    {"setting": name, "seed": seed, "accuracy": base + 0.01 * seed}
    for name, base in (("small", 0.5), ("large", 0.9))
    for seed in range(3)
]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def band(collection):
    """Return the lower and the upper edge of a band at its steps, in order."""
    vertices = collection.get_paths()[0].vertices
    steps = np.unique(vertices[:, 0])
    edges = [vertices[vertices[:, 0] == step, 1] for step in steps]
    return np.array([[edge.min(), edge.max()] for edge in edges])


def test_curves_show_the_mean_and_one_deviation_around_it():
    values = np.array([[1.0, 5.0], [2.0, 7.0], [6.0, 3.0]])
    ax = plotting.plot_curves({"one": [1, 2], "three": values}, xlabel="x", ylabel="y", title="t")
    one, three = ax.lines
    np.testing.assert_allclose(one.get_xydata(), [[1, 1], [2, 2]])
    np.testing.assert_allclose(three.get_xydata(), [[1, 3], [2, 5]])
    assert (one.get_label(), three.get_label()) == ("one", "three")
    (spread,) = ax.collections  # a single run has no band
    mean, std = values.mean(axis=0), values.std(axis=0, ddof=1)
    np.testing.assert_allclose(band(spread), np.column_stack([mean - std, mean + std]))
    assert same_color(spread.get_facecolor()[0][:3], three.get_color())
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("x", "y", "t")
    assert ax.get_yscale() == "linear"


def test_curves_over_their_own_steps_on_a_log_axis():
    _, ax = plt.subplots()
    steps = [10, 100, 1_000]
    assert plotting.plot_curves({"a": [1, 2, 3]}, steps, ax=ax, logy=True) is ax
    np.testing.assert_allclose(ax.lines[0].get_xdata(), steps)
    assert ax.get_yscale() == "log" and ax.get_xlabel() == "epoch"


def test_a_run_that_is_nan_leaves_a_gap_and_bands_are_see_through():
    ax = plotting.plot_curves({"a": [[1.0, 2.0, 3.0], [3.0, np.nan, 5.0]]})
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2, np.nan, 4])
    assert ax.collections[0].get_alpha() < 0.5


def test_train_and_validation_over_their_own_steps():
    ax = plotting.plot_train_val([1, 2], [2, 1], [10, 20], xlabel="step", ylabel="loss", title="t")
    for line in ax.lines:
        np.testing.assert_array_equal(line.get_xdata(), [10, 20])
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("step", "loss", "t")


def test_a_legend_outside_takes_matplotlibs_options():
    ax = plotting.plot_curves({"a": [1, 2]})
    assert plotting.legend_outside(ax, title="rate").get_title().get_text() == "rate"


def test_train_is_dashed_and_validation_solid():
    _, ax = plt.subplots()
    ax.plot([0, 1], [5, 5])  # a line that was there before keeps its look
    assert plotting.plot_train_val(np.ones((2, 3)), np.zeros((2, 3)), ax=ax) is ax
    before, train, val = ax.lines
    assert before.get_linestyle() == "-" and before.get_ydata()[0] == 5
    assert (train.get_linestyle(), train.get_color()) == ("--", "C0")
    assert (val.get_linestyle(), val.get_color()) == ("-", "C1")
    assert train.get_ydata()[0] == 1 and val.get_ydata()[0] == 0
    assert (train.get_label(), val.get_label()) == ("train", "validation")
    texts = {text.get_text(): line for text, line in zip(
        ax.get_legend().get_texts(), ax.get_legend().get_lines(), strict=True
    )}  # fmt: skip
    assert texts["train"].get_linestyle() == "--" and texts["validation"].get_linestyle() == "-"


def test_bands_have_the_colour_of_their_line():
    ax = plotting.plot_train_val(*np.random.default_rng(0).random((2, 2, 3)))
    for spread, line in zip(ax.collections, ax.lines, strict=True):
        assert same_color(spread.get_facecolor()[0][:3], line.get_color())


@pytest.mark.parametrize("draw", ["curves", "train and validation"])
def test_no_legend_lies_on_a_curve(draw):
    plotting.use_course_style()
    if draw == "curves":
        ax = plotting.plot_curves({"a": [1, 2], "b": [2, 1]})
    else:
        ax = plotting.plot_train_val([1, 2], [2, 1])
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1


def test_decision_regions_colour_what_predict_says():
    x, y = np.array([[0.0, 1.0], [2.0, 2.0], [1.0, 1.5]]), np.array([1, 0, 1])
    ax = plotting.plot_decision_regions(lambda x: x[:, 0] > 1, x, y, title="t", margin=0.25)
    mesh, zeros, ones = ax.collections
    assert ax.get_title() == "t"
    np.testing.assert_array_equal(zeros.get_offsets(), x[y == 0])
    np.testing.assert_array_equal(ones.get_offsets(), x[y == 1])
    assert (zeros.get_label(), ones.get_label()) == ("class 0", "class 1")
    assert same_color(zeros.get_facecolor()[0], "C0") and same_color(ones.get_facecolor()[0], "C3")
    z = mesh.get_array().reshape(200, 200)
    assert not z[:, :80].any() and z[:, 120:].all()  # columns are x₁: false left, true right
    limits = mesh.get_coordinates().reshape(-1, 2)
    np.testing.assert_allclose(limits.min(axis=0), [-0.25, 0.75], atol=0.02)
    np.testing.assert_allclose(limits.max(axis=0), [2.25, 2.25], atol=0.02)


def test_decision_regions_of_any_classes():
    x, y = np.random.default_rng(0).random((6, 2)), np.array([7, 3, 7, 3, 3, 9])
    ax = plotting.plot_decision_regions(lambda x: x[:, 1], x, y)
    for found, label in zip(ax.collections[1:], (3, 7, 9), strict=True):
        np.testing.assert_array_equal(found.get_offsets(), x[y == label])
        assert found.get_label() == f"class {label}"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_1$", "$x_2$")
    z = ax.collections[0].get_array().reshape(200, 200)
    assert (np.diff(z, axis=0) > 0).all()  # rows are x₂


@pytest.mark.parametrize(
    "shape", [(1, 4, 5), (5, 4, 5), (9, 4, 5, 3), (3, 1, 4, 5), (3, 3, 4, 5), (2, 3, 5, 3)]
)
def test_images_of_every_layout(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    titles = [f"title {i}" for i in range(shape[0])]
    fig = plotting.show_images(images, titles=titles, ncols=4, suptitle="all")
    shown = [ax for ax in fig.axes if ax.images]
    assert len(shown) == shape[0] and fig.get_suptitle() == "all"
    for ax, image, title in zip(shown, images, titles, strict=True):
        assert ax.get_title() == title
        if image.shape[0] in (1, 3) and image.shape[-1] not in (1, 3):  # torch's layout
            image = image.transpose(1, 2, 0)
        np.testing.assert_array_equal(ax.images[0].get_array().squeeze(), image.squeeze())
        assert image.squeeze().ndim == 3 or ax.images[0].get_cmap().name == "gray"
    columns = {round(ax.get_position().x0, 3) for ax in fig.axes}
    assert len(columns) == min(4, shape[0])
    assert len(fig.axes) == len(columns) * math.ceil(shape[0] / len(columns))
    assert not any(ax.axison for ax in fig.axes)


def test_images_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"images has shape \(2, 4, 5, 7\)"):
        plotting.show_images(np.zeros((2, 4, 5, 7)))
    with pytest.raises(ValueError, match=r"images has shape \(0, 4, 5\)"):
        plotting.show_images(np.zeros((0, 4, 5)))


def test_confusion_is_the_share_of_each_true_class():
    y_true = np.array([0, 0, 0, 0, 1, 1, 2])
    y_pred = np.array([0, 0, 0, 1, 1, 2, 0])
    ax = plotting.plot_confusion(y_true, y_pred, ["a", "b", "c", "absent"], title="t")
    expected = np.array([[0.75, 0.25, 0, 0], [0, 0.5, 0.5, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(ax.images[0].get_array(), expected)  # row: true, column: predicted
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c", "absent"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("predicted", "true", "t")
    texts = [text.get_text() for text in ax.texts]
    assert texts[:4] == ["75%", "25%", "0%", "0%"]


def test_bars_have_their_spread():
    ax = plotting.plot_bars(ROWS, "accuracy", ylabel="share", title="t")
    widths = {patch.get_y() + patch.get_height() / 2: patch.get_width() for patch in ax.patches}
    assert [round(width, 6) for _, width in sorted(widths.items())] == [0.51, 0.91]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["small", "large"]
    low, high = ax.get_ylim()
    assert low > high  # the first setting is on top
    segments = ax.collections[0].get_segments()
    for segment, mean in zip(segments, (0.51, 0.91), strict=True):
        np.testing.assert_allclose(sorted(segment[:, 0]), [mean - 0.01, mean + 0.01])
    assert (ax.get_xlabel(), ax.get_title()) == ("share", "t")
    assert plotting.plot_bars(ROWS, "accuracy").get_xlabel() == "accuracy"


def test_helpers_draw_where_they_are_told():
    for draw in (
        lambda ax: plotting.plot_curves({"a": [1, 2]}, ax=ax),
        lambda ax: plotting.plot_bars(ROWS, "accuracy", ax=ax),
        lambda ax: plotting.plot_confusion([0, 1], [0, 1], ["a", "b"], ax=ax),
        lambda ax: plotting.plot_decision_regions(lambda x: x[:, 0], np.eye(2), np.eye(2)[0], ax),
    ):
        _, ax = plt.subplots()
        assert draw(ax) is ax and len(plt.get_fignums()) == 1
        plt.close("all")


def test_helpers_that_are_told_nothing_make_a_figure_of_their_own():
    draw = (
        lambda: plotting.plot_curves({"a": [1, 2]}),
        lambda: plotting.plot_train_val([1, 2], [2, 1]),
        lambda: plotting.plot_bars(ROWS, "accuracy"),
        lambda: plotting.plot_confusion([0, 1], [0, 1], ["a", "b"]),
        lambda: plotting.plot_decision_regions(lambda x: x[:, 0], np.eye(2), np.eye(2)[0]),
    )
    assert len({id(each().figure) for each in draw * 2}) == 10


def test_the_style_shows_a_grid_and_pixels_as_they_are():
    plotting.use_course_style()
    _, ax = plt.subplots()
    assert all(line.get_visible() for line in ax.get_xgridlines())
    shown = plotting.show_images(np.zeros((1, 2, 2))).axes[0].images[0]
    assert shown.get_interpolation() == "nearest"
    assert plt.rcParams["savefig.bbox"] == "tight"  # a legend outside is not cut off


def test_the_style_is_wide_enough_and_the_same_twice():
    plotting.use_course_style()
    before = dict(plt.rcParams)
    plotting.use_course_style()
    assert dict(plt.rcParams) == before
    width, _ = plt.rcParams["figure.figsize"]
    assert width * plt.rcParams["figure.dpi"] >= 760
