"""Exercises: every check catches a missing and a wrong body, and a learner's work is never lost."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from wrong_bodies import wrong_bodies

from tools import check_exercises, hints
from tools.exercises import exercises, is_edited, make_copy, read_copy, write_copy
from tools.hints import blank
from tools.kernel import Kernel
from tools.needed_cells import needed
from tools.notebook_state import ROOT, find_notebooks

FORGET = (
    "for _name in [name for name in globals() if name[0] != '_' and"
    " name not in ('In', 'Out', 'get_ipython', 'exit', 'quit', 'open')]: del globals()[_name]"
)
# Wrong bodies chosen by hand, beside those that wrong_bodies makes: {exercise: [(old, new)]}.
BY_HAND = {
    "perceptron_pass": [
        ("<= 0", "< 0"),
        ("w = w + learning_rate", "w += learning_rate"),
        ("            is_mistake[i] = True\n        path[i] = w", "            path[i] = w"),
    ],
    "perceptron_loss, perceptron_loss_gradient": [
        ("np.maximum(0.0, -margins", "np.maximum(0.0, 1 - margins"),
        ("<= 0", "< 0"),
    ],
    "nearest_to_origin": [("a / a.sum() @ z", "a @ z"), ("a / a.sum() @ z", "z.mean(axis=0)")],
    "linear_backward": [("x.T @ dout", "x.T @ dout / len(x)")],
    "relu_forward, relu_backward": [("np.maximum(x, 0)", "np.abs(x)"), ("cache > 0", "cache >= 0")],
    "cross_entropy_backward": [
        ("np.exp(log_probs)", "log_probs.copy()"),
        ("np.exp(log_probs)", "np.exp(log_probs, out=log_probs)"),
        ("dlogits /= N", "dlogits /= K"),
    ],
    "unbroadcast": [("total = grad.sum", "total = grad.max")],
    "spiral_gradient": [("2 * r * np.sin(2 * phi)", "2 * r * np.sin(phi)")],
    "per_example_gradients": [
        ("x[:, None, :]", "x[:, None, :] / len(x)"),
        ("dout @ W", "(dout @ W).mean(dim=0)"),
    ],
    "mean_gradients": [("dout.mean(dim=0)[None]", "dout.mean(dim=0)")],
    "batch_statistics": [("np.square(centred).mean(", "len(x) / (len(x) - 1) * np.square(centred).mean(")],
    "batchnorm_backward": [("dx_hat * inv_std,", "dx_hat * inv_std**2,")],
    "init_weight": [("(0, std,", "(0, std**2,"), ("normal(0, std,", "uniform(-std, std,")],
    "clip_gradients": [
        ("g *= max_norm / norm", "g = g * (max_norm / norm)"),
        ("sum(squares)", "max(squares)"),
        ("return norm", "return min(norm, max_norm)"),
    ],
}
# Changed and yet not caught: {what was changed: why that is in order, or what the check lacks}.
SCALE = "nearest_to_origin: scale = np.linalg.norm(z, axis=1).max() or 1.0 → scale = "
NOT_CAUGHT = {
    "perceptron_pass: if y_i * (w @ x_i) <= 0: → if y_i * (x_i @ w) <= 0:": "equal, of two vectors",
    "perceptron_pass: w = w + learning_rate → w += learning_rate": "the check starts from an "
    "array that nobody looks at again",
    "perceptron_loss, perceptron_loss_gradient: <= 0 → < 0": "differs where a score is exactly 0, "
    "which only a later cell looks at",
    SCALE + "np.linalg.norm(z, axis=1).min() or 1.0": "any scale gives the same point, up to "
    "rounding; so do the next three",
    SCALE + "np.linalg.norm(z, axis=0).max() or 1.0": "as above",
    SCALE + "np.linalg.norm(z).max() or 1.0": "as above",
    "nearest_to_origin: a, _ = nnls(np.vstack([z.T / scale, np.ones(len(z))]), "
    "np.append(np.zeros(z.shape[1]), 1.0)) → a, _ = nnls(np.vstack([z.T, np.ones(len(z))]), "
    "np.append(np.zeros(z.shape[1]), 1.0))": "as above",
    "linear_backward: dx = dout @ W.T if need_dx else None → dx = dout @ W.T": "only slower",
    "cross_entropy_backward: np.exp(log_probs) → np.exp(log_probs, out=log_probs)": "the check "
    "uses each cache once",
    "unbroadcast: if grad.shape == shape: → if False:": "a sum over no axes changes nothing",
    "unbroadcast: total = grad.sum(axis=tuple(axes), keepdims=True) → "
    "total = grad.sum(axis=tuple(axes))": "reshape puts the axes of length 1 back",
}


@functools.cache
def read(path):
    return nbformat.read(path, 4)


def quoted_exercises():
    """Yield a test case for each quoted exercise of the collection."""
    for path in find_notebooks():
        for exercise in exercises(read(path)):
            if not exercise.is_starter:
                name = exercise.name.replace(", ", "+")
                yield pytest.param(path, exercise, id=f"{path.stem[:2]}-{name}")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for all notebooks, so that torch is imported once."""
    with Kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        yield kernel


@pytest.fixture(scope="module")
def counts():
    """What was tried in all tests of this file, printed at the end."""
    found = {"exercises": 0, "wrong bodies": 0, "not caught": 0}
    yield found
    print("\n" + ", ".join(f"{count} {name}" for name, count in found.items()), "tried")


@pytest.mark.parametrize(("path", "exercise"), list(quoted_exercises()))
def test_check_catches_every_wrong_body(path, exercise, kernel, counts, monkeypatch):
    monkeypatch.setattr(check_exercises, "SECONDS", 30)
    if getattr(kernel, "page", None) != path:  # names of another notebook must not help
        kernel.execute(FORGET, 30)
        kernel.ran, kernel.page = [], path
    assert exercise.checks, "no cell below it checks it"
    page = check_exercises.page_of(read(path))
    source = page[exercise.cell]

    def judge(own):
        return check_exercises.judge_function(kernel, page, exercise, own)

    assert judge(source) == (check_exercises.PASSES, "")
    assert judge(blank(source))[0] == check_exercises.TO_WRITE
    wrong = list(wrong_bodies(source))
    for old, new in BY_HAND.get(exercise.name, []):
        assert old in source
        wrong.append((f"{exercise.name}: {old.strip()} → {new.strip()}", source.replace(old, new)))
    assert wrong
    passed = [what for what, cell in wrong if judge(cell)[0] != check_exercises.FAILS]
    assert passed == [what for what, _ in wrong if what in NOT_CAUGHT]
    assert judge(source) == (check_exercises.PASSES, "")  # the kernel is still sane
    counts["exercises"] += 1
    counts["wrong bodies"] += len(wrong) - len(passed)
    counts["not caught"] += len(passed)


def test_wrong_bodies_that_pass_are_still_there():
    made = {
        what
        for case in quoted_exercises()
        for what, _ in wrong_bodies(check_exercises.page_of(read(case.values[0]))[case.values[1].cell])
    }
    by_hand = {f"{k}: {a.strip()} → {b.strip()}" for k, pairs in BY_HAND.items() for a, b in pairs}
    assert set(NOT_CAUGHT) <= made | by_hand
