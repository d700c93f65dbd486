"""Figures in one style. Helpers take ax=None, return the axes they drew on and keep no state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from shared.experiments import summarise


def use_course_style() -> None:
    """Set sizes, grid and resolution for a lecture screen; call it once per notebook."""
    plt.rcParams.update(
        {
            "figure.figsize": (8.6, 4.6),  # 800 pixels and more: wide enough to project
            "figure.dpi": 100,
            "savefig.bbox": "tight",
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "image.interpolation": "nearest",
        }
    )


def _axes(ax):
    return plt.subplots()[1] if ax is None else ax


def legend_outside(ax, **options):
    """Put the legend of ax to its right, where it covers no curve; return it."""
    return ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, **options)


def _draw_curve(ax, values, x, **style) -> None:
    """Draw a curve (steps,), or the mean of (n_seeds, steps) with a band of ± 1 deviation."""
    values = np.atleast_2d(values)
    steps = np.arange(1, values.shape[1] + 1) if x is None else x
    mean = values.mean(axis=0)
    (line,) = ax.plot(steps, mean, **style)
    if len(values) > 1:
        std = values.std(axis=0, ddof=1)
        ax.fill_between(steps, mean - std, mean + std, color=line.get_color(), alpha=0.2)


def plot_curves(
    curves: Mapping[str, np.ndarray],
    x: Sequence[float] | None = None,
    ax=None,
    xlabel: str = "epoch",
    ylabel: str = "",
    title: str = "",
    logy: bool = False,
):
    """Draw each curve's mean with a band of ± 1 standard deviation over seeds.

    Args: curves: {label: (n_seeds, steps) or (steps,)}; x: (steps,), from 1 where None.
    """
    ax = _axes(ax)
    for label, values in curves.items():
        _draw_curve(ax, values, x, label=label)
    if logy:
        ax.set_yscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    legend_outside(ax)
    return ax


def plot_train_val(
    train, val, x=None, ax=None, xlabel: str = "epoch", ylabel: str = "", title: str = ""
):
    """Draw training (C0, dashed) and validation (C1) curves: (steps,) or (n_seeds, steps)."""
    ax = _axes(ax)
    _draw_curve(ax, train, x, label="train", color="C0", ls="--")
    _draw_curve(ax, val, x, label="validation", color="C1")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    legend_outside(ax)
    return ax


def plot_decision_regions(
    predict: Callable[[np.ndarray], np.ndarray], x, y, ax=None, title: str = "", margin: float = 0.5
):
    """Colour the plane by predict and draw the examples. x: (N, 2); y: (N,) classes.

    Args: predict: (M, 2) → (M,) classes or scores.
    """
    ax = _axes(ax)
    low, high = x.min(axis=0) - margin, x.max(axis=0) + margin
    grid = np.meshgrid(np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200))
    z = predict(np.column_stack([axis.ravel() for axis in grid])).reshape(grid[0].shape)
    ax.pcolormesh(*grid, z, cmap="coolwarm", alpha=0.35, shading="auto", rasterized=True)
    for i, label in enumerate(np.unique(y)):
        ax.scatter(*x[y == label].T, s=12, c=["C0", "C3"][i % 2], label=f"class {label}")
    ax.set(xlabel="$x_1$", ylabel="$x_2$", title=title)
    ax.grid(False)
    return ax


def show_images(images, titles=None, ncols: int = 8, suptitle: str = "", size: float = 1.3):
    """Draw a grid of images and return the figure.

    Args:
        images: (N, H, W) grey; (N, H, W, C) as data sets have them or (N, C, H, W) as torch has
            them, with C = 1 or 3. Arrays or tensors, uint8 or floats from 0 to 1.
        titles: one per image. size: inches per image.
    """
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if 0 in images.shape or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
        raise ValueError(f"images has shape {images.shape}; see show_images for what is drawn")
    ncols = min(ncols, len(images))
    nrows = -(-len(images) // ncols)
    height = size + 0.25 * (titles is not None)
    fig, axes = plt.subplots(nrows, ncols, figsize=(size * ncols, height * nrows + 0.4))
    for i, ax in enumerate(np.atleast_1d(axes).ravel()):
        ax.axis("off")
        if i < len(images):
            ax.imshow(images[i], cmap="gray" if images.ndim == 3 else None)
            if titles is not None:
                ax.set_title(titles[i], fontsize=9)
    fig.suptitle(suptitle)
    return fig


def plot_confusion(y_true, y_pred, class_names: Sequence[str], ax=None, title: str = ""):
    """Draw the confusion matrix as fractions of each true class, in percent."""
    ax = plt.subplots(figsize=(6.5, 5.5))[1] if ax is None else ax
    ConfusionMatrixDisplay.from_predictions(
        y_true,
        y_pred,
        labels=range(len(class_names)),
        display_labels=class_names,
        normalize="true",
        values_format=".0%",
        cmap="Blues",
        colorbar=False,
        xticks_rotation=45,
        text_kw={"fontsize": 8},
        ax=ax,
    )
    ax.set(title=title, xlabel="predicted", ylabel="true")
    ax.grid(False)
    return ax


def plot_bars(rows: list[dict], metric: str, ax=None, ylabel: str = "", title: str = ""):
    """Draw one bar per setting of a sweep: mean ± standard deviation over seeds."""
    ax = _axes(ax)
    summary = summarise(rows, metric)
    means, stds, _ = zip(*summary.values(), strict=True)
    ax.barh(list(summary), means, xerr=stds, capsize=4, color="C2", alpha=0.8)
    ax.invert_yaxis()
    ax.set(xlabel=ylabel or metric, title=title)
    return ax
