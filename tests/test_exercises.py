"""Exercises: every check catches a missing and a wrong body, and a learner's work is never lost."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from wrong_bodies import wrong_bodies

from tools import check_exercises, hints
from tools import exercises as copies
from tools.exercises import exercises, is_edited, read_copy, write_copy
from tools.hints import blank
from tools.kernel import Failed, Kernel, Stopped
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
    "batch_statistics": [
        ("np.square(centred).mean(", "len(x) / (len(x) - 1) * np.square(centred).mean(")
    ],
    "batchnorm_backward": [("dx_hat * inv_std,", "dx_hat * inv_std**2,")],
    "init_weight": [("(0, std,", "(0, std**2,"), ("normal(0, std,", "uniform(-std, std,")],
    "window_span, output_size": [
        ("size + padding:", "size + 2 * padding:"),
        ("-(-room // stride)", "room // stride"),
    ],
    "conv2d_backward_loops": [("dx[place] +=", "dx[place] =")],
    "receptive_field": [("step *= stride", "step = stride")],
    "affine_matrices": [
        ("[cos, sin, -sin, cos]", "[cos, -sin, sin, cos]"),
        ("A * half / half[:, None]", "A"),
        ("-(A @ shift[:, :, None])", "-shift[:, :, None]"),
    ],
    "transform": [("x - fill", "x"), ("align_corners=False)  #", "align_corners=True)  #")],
    "clip_gradients": [
        ("g *= max_norm / norm", "g = g * (max_norm / norm)"),
        ("sum(squares)", "max(squares)"),
        ("return norm", "return min(norm, max_norm)"),
    ],
    "paste": [
        ("digits[:, 0]", "digits[:, 0].mT"),
        ("rows[:, :, None], columns[:, None, :]", "columns[:, :, None], rows[:, None, :]"),
        ("margin : margin + size, margin : margin + size", ":size, :size"),
    ],
    "VariableNet": [
        ("h.mean(dim=(2, 3))", "h.sum(dim=(2, 3))"),
        ("h.mean(dim=(2, 3))", "h.mean(dim=3).amax(dim=2)"),
        ("h.amax(dim=(2, 3))", "h[..., :3, :3].amax(dim=(2, 3))"),
    ],
    "accumulate": [
        ('reduction="sum") / num_digits', 'reduction="mean")'),
        ('reduction="sum") / num_digits', 'reduction="mean") / len(parts)'),
        ("        loss.backward()", "        model.zero_grad()\n        loss.backward()"),
        ("        total += loss.item()", "        total = loss.item()"),
    ],
    "windows_at, random_crop": [
        ("2 * padding + 1", "2 * padding"),
        (":, top, left]", ":, left, top]"),
    ],
    "class_activation_maps": [("kmhw->nkhw", "kmwh->nkhw")],
    "BasicBlock": [
        ("F.relu(self.bn1(self.pool(self.conv1(x))))", "self.bn1(self.pool(self.conv1(x)))"),
        ("return F.relu(out)", "return out"),
    ],
    "patch_covariance, whitening_filters": [
        (" - mean.outer(mean)", ""),
        ("(variances + eps).sqrt()", "(variances + eps)"),
        ("[filters, -filters]", "[filters, filters]"),
    ],
    "AlternatingFlip": [("self.first[index.cpu()]", "self.first[: len(index)]")],
    "least_squares": [
        ("centred * y", "x * y"),
        ("(centred**2).sum()", "(x**2).sum()"),
        ("slope * x.mean()", "slope * x.sum()"),
    ],
    "Loader": [
        ("if examples and not", "if not"),
        ("self.dataset[index]", "self.dataset[len(examples)]"),
        ("                examples = []\n", ""),
        ("in self.order:", "in range(len(self.dataset)):"),
    ],
    "mse_gradient": [("2 * error.mean()", "2 * error.abs().mean()")],
    "train": [
        ("            optimizer.zero_grad()  # forget the gradients of the step before\n", ""),
        ("            optimizer.step()  # each p moves against its p.grad\n", ""),
        ("    model.train()\n", ""),
        ("range(num_epochs)", "range(1)"),
        ("loss.item()", "loss"),
        ("loss_fn(model(x), y)", "F.l1_loss(model(x), y)"),
    ],
    "to_state_dict": [
        ("array.T)", "array)"),
        ("array.T)", "array).reshape(array.shape[::-1])"),
    ],
    "from_state_dict": [
        (".numpy().copy()", ".numpy()"),
        ("= array.T ", "= array "),
        ("// 2 + 1", "+ 1"),
    ],
    "attention": [
        ("q.shape[-1]", "k.shape[-2]"),
        ("weights = weights.masked_fill(blind, 0.0)", "pass"),
        ("bias.masked_fill(blind, 0.0)", "bias"),
    ],
    "sinusoidal_positions": [
        ("10_000.0 **", "1_000.0 **"),
        ("dim=2).flatten(1)", "dim=1).flatten(1)"),
    ],
    "pool": [
        ("padding[:, :, None], -math.inf", "padding[:, :, None], 0.0"),
        ("x.masked_fill(padding[:, :, None], 0.0).sum", "x.sum"),
        ("(~padding).sum(dim=1, keepdim=True)", "x.shape[1]"),
    ],
    "rnn_backward": [
        ("1 - h[1:] ** 2", "1 - h[:-1] ** 2"),
        ("        dz[t] += dh\n", ""),
        ("h[:-1].reshape", "h[1:].reshape"),
        ("out.reshape", "h[1:].reshape"),
    ],
    "temperature_probs": [("/ temperature)", "* temperature)"), ("np.argmax", "np.argmin")],
    "nucleus": [
        ("before < p", "before <= p"),
        (" - probs[order]", ""),
        ("return cut / cut.sum()", "return cut"),
    ],
    "bernoulli_nats": [("flatten(-3)", "flatten(-2)")],
    "kl_normal": [("(mu - mu_0) ** 2", "(mu - mu_0).abs()"), ("log_var_0.exp()", "1.0")],
    "reparameterise": [("0.5 * log_var", "log_var"), ("mu + sigma", "mu + sigma.detach()")],
    "elbo_terms": [("reparameterise(mu, log_var, noise)", "mu")],
    "importance_bound": [("torch.logsumexp(log_weights, dim=0)", "log_weights.exp().sum(0).log()")],
    "my_share": [
        ("batch[place.rank :: place.world]", "batch.chunk(place.world)[place.rank]"),
        ("generator(*numbers, place.rank)", "generator(*numbers)"),
    ],
    "ring_all_reduce": [("(r - step) % n", "(r + step) % n"), ("[k][:] =", "[k] =")],
    "GhostBatchNorm2d": [
        ("[:: self.parts]", "[: N // self.parts]"),
        ("first.var(dim=1)", "first.var(dim=1, correction=0)"),
    ],
    "decay_groups": [("p.ndim > 1", "p.ndim >= 1"), ("p.ndim <= 1", "p.ndim < 1")],
    "discriminator_loss, generator_loss, saturating_loss": [
        (
            "(1 - real_label) * F.logsigmoid(-real_logits)",
            "(1 - real_label) * F.logsigmoid(real_logits)",
        ),
        ("-F.logsigmoid(-fake_logits)", "-torch.log(1 - torch.sigmoid(fake_logits))"),
        ("return F.logsigmoid(-fake_logits).mean()", "return -F.logsigmoid(fake_logits).mean()"),
    ],
    "interpolate, interpolate_on_sphere": [
        ("linspace(0, 1, num,", "linspace(0, 1, num + 1,"),
        ("torch.sin(share * angle) * b", "share * b"),
    ],
    "odd_counts, guess_by_counting": [
        ("odd, counts)", "odd, torch.ones_like(counts))"),
    ],
    "rnn_step": [
        ("torch.tanh(", "torch.sigmoid("),
        ("W_hh.mT", "W_hh"),
        ("b[..., None, :]", "2 * b[..., None, :]"),
    ],
    "rnn_states": [
        ("h, W_hh.mT))", "h0, W_hh.mT))"),
        ("h, W_hh.mT))", "h, W_hh))"),
        ("        states.append(h)", "    states.append(h)"),
    ],
    "clip_per_seed, rmsprop_step": [
        (".clamp(max=1.0)", ""),
        (
            "        return grads, norms",
            "        return [grad / norms.max() for grad in grads], norms",
        ),
        ("square.sqrt().add_(eps)", "square.sqrt_().add_(eps)"),
        ("addcmul_(grad, grad, value", "add_(grad, alpha"),
    ],
    "lstm_step": [
        ("i, f, g, o = gates", "i, f, o, g = gates"),
        ("o * torch.tanh(c), c", "o * c, c"),
        ("torch.tanh(g)", "torch.sigmoid(g)"),
        ("    c = f * c + i * torch.tanh(g)", "    c *= f\n    c += i * torch.tanh(g)"),
    ],
    "gates_backward": [
        ("return dc * f", "return dc * i"),
        ("dc, dh * o, 1", "dc, dh, 1"),
        ("torch.addcmul(dc, dh * o, 1 - tanh_c * tanh_c)", "dc + 0 * tanh_c"),
    ],
    "transposed_conv2d": [
        ("j : j + stride * W : stride] += part", "j : j + stride * W : stride] = part"),
        (
            '"nchw,cd->ndhw", x, weight[:, :, i, j]',
            '"nchw,cd->ndhw", x, weight.flip(2, 3)[:, :, i, j]',
        ),
        ("(H - 1) * stride + k_h, (W - 1) * stride + k_w", "H * stride + k_h, W * stride + k_w"),
    ],
    "power_iteration": [
        ("u = F.normalize(matrix @ v, dim=0)", "u = matrix @ v"),
        (
            "v = F.normalize(matrix.T @ u, dim=0)",
            "v = matrix.T @ u",
        ),
    ],
    "SpectralNorm": [
        ("self.u, self.v = power_iteration(matrix, self.v)", "power_iteration(matrix, self.v)"),
        ("if self.training:", "if True:"),
        ("(self.u @ (matrix @ self.v))", "(self.u @ (matrix @ self.v)).detach()"),
        ("(self.u @ (matrix @ self.v))", "matrix.norm()"),
    ],
}
# Changed and yet not caught: {notebook: {what was changed: why that is in order, or what the
# check lacks}}.
SCALE = "nearest_to_origin: scale = np.linalg.norm(z, axis=1).max() or 1.0 → scale = "
SOLVED = "nearest_to_origin: a, _ = nnls(np.vstack([z.T / scale, np.ones(len(z))]), "
MINUS_ONE = "cross_entropy_backward: dlogits[np.arange(N), y] -= 1 - label_smoothing → "
SMOOTHED = "cross_entropy_backward: dlogits -= label_smoothing / K → "
RUNNING = "batchnorm_forward: running_mean += momentum * (mean - running_mean) → running_mean += "
ODD = "odd_counts: return F.one_hot(x, NUM_DIGITS).sum(dim=1) % 2 == 1 → return "
COUNTS = "guess_by_counting: counts = F.one_hot(x, NUM_DIGITS).sum(dim=1).double() → counts = "
NO_MEAN = "torch has no mean of whole numbers: its NotImplementedError reads as not yet written"
NONE_ALONE = "matters only where no digit is without a partner, which is rare; the check is a mean"
SCALE_BY = "clip_per_seed: scale = (max_norm / (norms + 1e-06)).clamp(max=1.0) → "
SCALED = (
    "clip_per_seed: return ([grad * scale.view(-1, *[1] * (grad.ndim - 1)) for grad in grads], "
    "norms) → return ([grad * scale.view(-1, "
)
TWO_AXES = "the check's gradient has two axes; training below meets others"
NO_SMOOTHING = "this page has no smoothing; notebook 02 checks it"
NESTEROV = "sgd_update: g = g + momentum * v if nesterov else v → "
MARGIN = "paste: margin = max(DIGIT - size, 0) → margin = "
FIRST_BATCH = "the running mean starts at 0, as torch's does"
NOT_CAUGHT = {
    "01_perceptron": {
        "perceptron_pass: if y_i * (w @ x_i) <= 0: → if y_i * (x_i @ w) <= 0:": "equal, of two "
        "vectors",
        "perceptron_pass: w = w + learning_rate → w += learning_rate": "check_batch made a copy",
        "perceptron_loss, perceptron_loss_gradient: <= 0 → < 0": "differs where a score is "
        "exactly 0, which only a later cell looks at",
        SCALE + "np.linalg.norm(z, axis=1).min() or 1.0": "any scale gives the same point, up to "
        "rounding; so do the next three",
        SCALE + "np.linalg.norm(z, axis=0).max() or 1.0": "as above",
        SCALE + "np.linalg.norm(z).max() or 1.0": "as above",
        SOLVED + "np.append(np.zeros(z.shape[1]), 1.0)) → "
        "a, _ = nnls(np.vstack([z.T, np.ones(len(z))]), "
        "np.append(np.zeros(z.shape[1]), 1.0))": "as above",
    },
    "02_mlp_moons": {
        "linear_backward: dx = dout @ W.T if need_dx else None → dx = dout @ W.T": "only slower",
        "cross_entropy_forward: if label_smoothing: → if True:": "adds 0",
    },
    "03_mlp_mnist": {
        "init_weight: std = INITS[init](fan_in, fan_out) if init in INITS else init → "
        "std = INITS[init](fan_in, fan_out)": "no start by number here; notebook 09 checks it",
        "sgd_update: if weight_decay: → if True:": "adds 0",
        "sgd_update: if momentum: → if True:": "the check has momentum throughout",
        NESTEROV + "g = v": "this page has no Nesterov momentum; so the next five",
        NESTEROV + "g = g - momentum * v if nesterov else v": "as above",
        NESTEROV + "g = g if nesterov else v": "as above",
        NESTEROV + "g = momentum * v if nesterov else v": "as above",
        NESTEROV + "g = g + momentum if nesterov else v": "as above",
        NESTEROV + "g = g + v if nesterov else v": "as above",
        "dropout_backward: return dout if cache is None else dout * cache → "
        "return dout * cache": "the check goes backward in training only",
    },
    "04_autodiff": {
        "unbroadcast: if grad.shape == shape: → if False:": "a sum over no axes changes nothing",
        "unbroadcast: total = grad.sum(axis=tuple(axes), keepdims=True) → "
        "total = grad.sum(axis=tuple(axes))": "reshape puts the axes of length 1 back",
    },
    "06_batchnorm_derivation": {
        RUNNING + "momentum * (mean + running_mean)": FIRST_BATCH,
        RUNNING + "momentum * mean": FIRST_BATCH,
    },
    "07_softmax_classifier_cifar10": {
        "softmax: shifted = logits - logits.max(axis=1, keepdims=True) → "
        "shifted = logits - logits.min(axis=1, keepdims=True)": "overflows only where the scores "
        "of one example lie far apart; here they are 2 apart",
        MINUS_ONE + "dlogits[np.arange(N), y] -= 1 + label_smoothing": NO_SMOOTHING,
        MINUS_ONE + "dlogits[np.arange(N), y] -= 1": NO_SMOOTHING,
        SMOOTHED + "dlogits += label_smoothing / K": NO_SMOOTHING,
        SMOOTHED + "pass": NO_SMOOTHING,
        SMOOTHED + "dlogits -= label_smoothing": NO_SMOOTHING,
        "cross_entropy_backward: np.exp(log_probs) → np.exp(log_probs, out=log_probs)": "each "
        "cache is used once; notebook 02 uses one twice",
    },
    "02_transformer_imdb": {
        "attention: if dropout: → if True:": "a share of 0 drops nothing",
        "pool: return kept / (~padding).sum(dim=1, keepdim=True) → "
        "return kept / (~padding).mean(dim=1, keepdim=True)": "torch refuses by the very error "
        "that stands for an empty body",
    },
    "08_rnn_palindromes": {
        ODD + "F.one_hot(x, NUM_DIGITS).mean(dim=1) % 2 == 1": NO_MEAN,
        COUNTS + "F.one_hot(x, NUM_DIGITS).mean(dim=1).double()": NO_MEAN,
        COUNTS + "F.one_hot(x, NUM_DIGITS).sum().double()": NONE_ALONE,
        "odd_counts, guess_by_counting: odd, counts) → odd, torch.ones_like(counts))": NONE_ALONE,
        SCALE_BY + "scale = (max_norm / (norms - 1e-06)).clamp(max=1.0)": "by a millionth",
        SCALE_BY + "scale = (max_norm / norms).clamp(max=1.0)": "by a millionth",
        SCALED + "*[1]) for grad in grads], norms)": TWO_AXES,
        SCALED + "*[1] * 1) for grad in grads], norms)": TWO_AXES,
    },
    "01_lstm_palindromes": {
        "gates_backward: i, f, g, o = gates.chunk(4, dim=-1) → "
        "i, f, g, o = gates.chunk(4, dim=1)": "of two axes it is the last; so the next",
        "gates_backward: di, df, dg, do = out.chunk(4, dim=-1) → "
        "di, df, dg, do = out.chunk(4, dim=1)": "as above",
    },
    "08_two_layer_cyclic_lr": {
        "linear_forward: if b is not None: → if True:": "every layer of this page has a bias",
        "linear_backward: dx = dout @ W.T if need_dx else None → dx = dout @ W.T": "only slower",
    },
    "05_multi_resolution_cnn": {
        MARGIN + "max(DIGIT + size, 0)": "a wider margin is cut off as well; so the next two",
        MARGIN + "max(DIGIT, 0)": "as above",
        MARGIN + "max(size, 0)": "as above",
        "forward: pooled = h.amax(dim=(2, 3)) → pooled = h.amax(dim=(3, 2))": "equal",
        "forward: pooled = h.mean(dim=(2, 3)) → pooled = h.mean(dim=(3, 2))": "equal",
    },
    "02_dcgan_cifar10": {
        "forward: return weight / (self.u @ (matrix @ self.v)) → "
        "return weight / (matrix @ self.v @ self.u)": "equal, of two vectors",
    },
    "07_resnet18": {
        "patch_covariance: total = total + patches.sum(dim=0) → "
        "total = total - patches.sum(dim=0)": "equal: the mean comes in as its square",
    },
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
        kernel.explains = False
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
    assert passed == [what for what, _ in wrong if what in NOT_CAUGHT.get(path.stem, {})]
    assert judge(source) == (check_exercises.PASSES, "")  # the kernel is still sane
    counts["exercises"] += 1
    counts["wrong bodies"] += len(wrong) - len(passed)
    counts["not caught"] += len(passed)


def test_wrong_bodies_that_pass_are_still_there():
    made, there = set(), set()
    for path, exercise in (case.values for case in quoted_exercises()):
        source = check_exercises.page_of(read(path))[exercise.cell]
        there |= {(path.stem, name) for name in (exercise.name, *exercise.name.split(", "))}
        made |= {(path.stem, what) for what, _ in wrong_bodies(source)}
        by_hand = BY_HAND.get(exercise.name, [])
        made |= {(path.stem, f"{exercise.name}: {a.strip()} → {b.strip()}") for a, b in by_hand}
    known = {(stem, what) for stem, whats in NOT_CAUGHT.items() for what in whats}
    assert {(stem, what) for stem, what in known if (stem, what.split(": ")[0]) in there} <= made


# what judges an exercise, and which cells are exercises

DOUBLE = "# from layers.py\ndef double(x):\n    return 2 * x"


def notebook_of(*sources: str):
    """A notebook; headings and numbered lines are Markdown."""
    prose = re.compile(r"#+ (?!from )|\d\.")
    kinds = [new_markdown_cell if prose.match(text) else new_code_cell for text in sources]
    return new_notebook(cells=[kind(text) for kind, text in zip(kinds, sources, strict=True)])


@pytest.mark.parametrize(
    ("below", "checks"),
    [
        (["assert double(1) == 2"], [1]),
        (["assert 1", "compare_numbers(double(1), 2)"], [2]),
        (["x = double(1)", "assert x == 2"], [2]),
        (["for n in (1, 2):\n    check_number(double(n))"], [1]),
        (["# from layers.py\ndef four(x):\n    assert x\n    return double(double(x))"], []),
        # two are enough, but what follows under the same heading counts as well
        (["assert double(1)", "assert double(2)", "assert double(3)"], [1, 2, 3]),
        (
            ["assert double(1)", "## Next", "assert double(2)", "## Last", "assert double(3)"],
            [1, 3],
        ),
        (["assert double(1)", "## Exercises", "assert double(2)"], [1]),
        # nobody waits for training
        (["net = fit(double)", "assert net(double(1))"], []),
        (["assert sweep(double)"], []),
        (["def fit(x):\n    return x\n\n\none = 1", "assert double(one)"], [2]),
        (["assert double(scaler.fit(1))"], [1]),
    ],
)
def test_an_exercise_is_judged_by_the_first_cells_that_need_it(below, checks):
    assert copies.checks_of(notebook_of(DOUBLE, *below), 0) == checks


@pytest.mark.parametrize(
    ("cells", "starters"),
    [
        (["assert a", "## Exercises\n\n**1. A.**", "assert b"], [(2, "exercise 1")]),
        (
            ["## Exercises\n\n1. A", "assert a", "2. B", "assert b"],
            [(1, "exercise 1"), (3, "exercise 2")],
        ),
        (["## Exercises\n\n1. A\n\n**2. B**", "assert b"], [(1, "exercise 2")]),
        (["## Exercises\n\n3. C", "x = 1", "# more", "check_it(x)"], [(3, "exercise 3")]),
        (["7. no\n\n## Exercises", "assert a", "assert b"], [(1, "exercise 1"), (2, "exercise 2")]),
        (["## Exercises\n\n1. A\n\n## References", "assert a"], []),
        (["## Before\n\n## Exercises\n\n1. A", "assert a"], [(1, "exercise 1")]),
    ],
)
def test_starter_cells_are_named_by_their_number(cells, starters):
    assert copies.starters(notebook_of(*cells)) == starters


def test_spaces_at_the_ends_of_lines_are_no_change():
    assert copies.mark("\na = 1  \nb\n\n") == copies.mark("a = 1\nb") != copies.mark("a = 1\n  b")


def test_a_solution_is_linked_to_its_section():
    nb = notebook_of("# Title", "## The `loss` of\t$w < 1$?", "x\n# a comment", DOUBLE)
    assert copies.section_above(nb, nb.cells[3].id) == "#The-loss-of-%24w-%3C-1%24%3F"
    nb = notebook_of(DOUBLE)
    assert copies.section_above(nb, nb.cells[0].id) == ""


LAYERS = '''# from layers.py
def scale(x, factor):
    """Return factor · x, of x's shape."""
    # larger, or smaller
    out = factor * x  # (N,)
    return out


class Shift:
    """Adds a number."""

    def __init__(self, by):
        self.by = by

    def forward(self, x):
        return x + self.by'''
EMPTY = '''# from layers.py
def scale(x, factor):
    """Return factor · x, of x's shape."""
    # your code
    raise NotImplementedError


class Shift:
    """Adds a number."""

    def __init__(self, by):
        self.by = by

    def forward(self, x):
        # your code
        raise NotImplementedError'''
CHECK = """assert Shift(1.0).forward(0.0) == 1
np.testing.assert_allclose(scale(np.array([1.0, -2.0]), three), [3, -6])"""
STARTER = """answer = None
if answer is not None:
    assert answer == 7
    print("right")"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A notebook with one quoted exercise and one starter cell; return its path and its copy's."""
    sources = [
        "# Is it?",
        "import numpy as np",
        "three = 3.0",
        "1 / 0  # nobody needs this",
        LAYERS,
    ]
    sources += ["Now the check.", CHECK, "## Exercises\n\n**1. Guess.** How many?", STARTER]
    cells = [
        new_markdown_cell(text) if text[0] in "#N" and "from" not in text else new_code_cell(text)
        for text in sources
    ]
    for n, cell in enumerate(cells):
        cell.id = f"cell-{n}"
    cells[4].metadata["tags"] = ["exercise"]
    path = tmp_path / "demo" / "01_demo.ipynb"
    path.parent.mkdir()
    (path.parent / "__init__.py").touch()
    cells[6].outputs = [nbformat.v4.new_output("stream", text="of a full run")]
    cells[6].metadata["execution"] = {"iopub.execute_input": "2020-01-01T00:00:00Z"}
    nb = new_notebook(cells=cells, metadata={"course": {"profile": "full"}, "widgets": {}})
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(nb, path)
    monkeypatch.setattr(check_exercises, "ROOT", tmp_path)
    return path, tmp_path / "build" / "exercises" / "demo" / "01_demo.ipynb"


def edit(copy, cell, text, new):
    """Let a learner write into a copy."""
    nb = nbformat.read(copy, 4)
    found = next(item for item in nb.cells if item.id == cell)
    assert text in found.source
    found.source = found.source.replace(text, new)
    nbformat.write(nb, copy)


TO_WRITE = "# your code\n    raise NotImplementedError\n\n\nclass"
BODY = "return factor * x\n\n\nclass"
METHOD = "        # your code\n        raise NotImplementedError"


def test_copy_has_no_bodies_but_hints(page):
    path, copy = page
    before = path.read_bytes()
    assert write_copy(path, copy) == "written"
    assert path.read_bytes() == before
    nb = nbformat.read(copy, 4)
    nbformat.validate(nb)
    by_id = {cell.id: cell.source for cell in nb.cells}
    assert by_id["cell-4"] == EMPTY
    assert by_id["cell-6"] == CHECK and by_id["cell-8"] == STARTER
    folded = by_id["hints-cell-4"]
    assert folded.count("<details>") == 3 and [c.id for c in nb.cells].index("hints-cell-4") == 6
    assert "larger, or smaller; (N,)" in folded and "out = ...  # (N,)" in folded
    assert "return ... + ..." in folded and "factor * x" not in folded
    assert "../../../demo/01_demo.ipynb" in folded
    assert set(nb.metadata) == {"exercises", "kernelspec"} and not is_edited(nb)
    assert not any(cell.get("outputs") or "execution" in cell.metadata for cell in nb.cells)
    assert [cell.id for cell in nb.cells][:2] == ["cell-0", "a-copy-to-work-in"]
    assert "To write: `scale, Shift`, and the exercises" in nb.cells[1].source
    assert "its page" not in folded and "hints-cell-8" not in by_id
    page = copy.parents[2] / "demo" / "01_demo.html"
    page.parent.mkdir()
    page.touch()
    assert "[its page](../../demo/01_demo.html)" in copies.links(path, copy, "")


def test_a_long_name_of_a_cell_makes_a_valid_copy(page):
    path, copy = page
    nb = nbformat.read(path, 4)
    nb.cells[4].id = 64 * "c"
    nbformat.write(nb, path)
    write_copy(path, copy)
    nbformat.validate(nbformat.read(copy, 4))
    nb.cells[4].metadata["tags"] = []  # then there is only the starter cell
    nbformat.write(nb, path)
    assert write_copy(path, copy.with_name("02.ipynb")) == "" and len([*copy.parent.iterdir()]) == 1


def test_hints_cover_what_is_right_of_ä_too():
    source = (
        'def f(x):\n    """One."""\n    ä = "ä" + x; b = x @ x  # ü\n    return (ä,\n        b + 1)'
    )
    folded = hints.hints(source, "")
    assert "ä = ...; b = ...  # ü\n    return (ä,\n        ...)" in folded


def test_edits_are_kept(page):
    path, copy = page
    write_copy(path, copy)
    assert write_copy(path, copy) == "up to date"
    edit(copy, "cell-8", "None\n", "3\n")
    mine = copy.read_bytes()
    assert write_copy(path, copy) == "kept: has your edits"
    nb = nbformat.read(path, 4)
    nb.cells[1].source += "  # more"
    nbformat.write(nb, path)
    assert "new version" in write_copy(path, copy) and copy.read_bytes() == mine
    copy.write_text("{", encoding="utf-8")
    assert "damaged" in write_copy(path, copy) and copy.read_text(encoding="utf-8") == "{"


def test_outputs_are_no_edits_and_a_new_version_arrives(page, monkeypatch):
    path, copy = page
    write_copy(path, copy)
    nb = nbformat.read(copy, 4)
    nb.cells[2].outputs = [nbformat.v4.new_output("stream", text="hello")]
    nbformat.write(nb, copy)
    assert write_copy(path, copy) == "up to date"
    edit(path, "cell-8", "== 7", "== 8")
    assert "written anew" in write_copy(path, copy)
    assert "== 8" in copy.read_text(encoding="utf-8")
    monkeypatch.setattr(copies, "hints", lambda source, solution: "Better hints.")
    assert write_copy(path, copy) == "written anew"  # of the same notebook
    assert "Better hints." in copy.read_text(encoding="utf-8")
    nb = nbformat.read(copy, 4)
    del nb.metadata["exercises"]["given"]
    nbformat.write(nb, copy)
    assert write_copy(path, copy).startswith("kept as it is: 01_demo.ipynb is no learner's copy")


def test_the_command_writes_every_copy_or_says_why_not(page, monkeypatch, capsys):
    path, copy = page
    second = path.with_name("02_demo.ipynb")
    shutil.copyfile(path, second)
    monkeypatch.setattr(copies, "find_notebooks", lambda: [path, second])
    monkeypatch.setattr(copies, "build_folder", lambda: copy.parents[2])
    monkeypatch.setattr(sys, "argv", ["exercises"])
    assert copies.main() == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert said[:2] == [["demo/01_demo.ipynb", "written"], ["demo/02_demo.ipynb", "written"]]
    assert said[2][:3] == ["2", "notebooks", "with"]
    shutil.rmtree(copy.parents[1])
    copy.parents[1].touch()
    assert copies.main() == 1
    assert capsys.readouterr().out.startswith(f"{copy} cannot be written: ")


def check(copy, capsys):
    """Return how many exercises fail, and the two lines about them."""
    count = check_exercises.check(copy)
    return count, [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:3]]


def test_check_reports_each_exercise(page, capsys):
    path, copy = page
    write_copy(path, copy)
    assert check(copy, capsys) == (
        0, ["scale, Shift not written", "exercise 1 not written"])  # fmt: skip
    edit(copy, "cell-4", TO_WRITE, "return -factor * x\n\n\nclass")
    assert check(copy, capsys)[1][0] == "scale, Shift not written"  # half of it
    edit(copy, "cell-4", METHOD, "        return x + self.by")
    edit(copy, "cell-8", "None\n", "3\n")
    count, lines = check(copy, capsys)
    assert count == 2
    assert lines[0] == "scale, Shift fails: at (1,) got 6, expected -6"
    assert lines[1] == "exercise 1 fails: got 3, expected 7"
    edit(copy, "cell-4", "-factor", "factor")
    edit(copy, "cell-8", "3\n", "7\n")
    assert check(copy, capsys) == (0, ["scale, Shift passes", "exercise 1 passes"])
    check_exercises.check(copy)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "demo/01_demo.ipynb" and re.fullmatch(r"  2 passes; \d+ seconds", last)


def test_check_judges_what_learners_do(page, capsys):
    path, copy = page
    write_copy(path, copy)
    edit(copy, "cell-4", METHOD, "        return x + self.by")
    edit(copy, "cell-6", "[3, -6]", "[3, 6]")  # who changes the check is judged by the page's
    edit(copy, "cell-4", TO_WRITE, "return helper(factor, x)\n\n\nclass")
    assert "NameError" in check(copy, capsys)[1][0]
    nb = nbformat.read(copy, 4)
    nb.cells.insert(3, new_code_cell("open('mine.txt')\ndef helper(a, b):\n    return a * b"))
    nbformat.write(nb, copy)
    copy.with_name("mine.txt").touch()
    assert check(copy, capsys)[1][0] == "scale, Shift passes"
    edit(copy, "cell-4", "def scale", "def scales")
    assert check(copy, capsys)[1][0] == "scale, Shift fails: the cell defines no scale"
    edit(copy, "cell-4", "def scales(", "def scale((")
    assert "SyntaxError" in check(copy, capsys)[1][0]
    edit(copy, "cell-8", "None\n", "None  # hm\n")
    assert "none of its checks is reached" in check(copy, capsys)[1][1]
    edit(copy, "cell-8", "    assert answer == 7\n", "")
    assert "lost its checks" in check(copy, capsys)[1][1]
    nb = nbformat.read(copy, 4)
    nb.cells = [cell for cell in nb.cells if cell.id != "cell-4"]
    nbformat.write(nb, copy)
    assert "no longer in this copy" in check(copy, capsys)[1][0]


def test_a_failure_says_whose_cell_it_is_in(page, capsys):
    path, copy = page
    write_copy(path, copy)
    edit(copy, "cell-4", METHOD, "        return x + self.by")
    edit(copy, "cell-4", TO_WRITE, "return factor * x\n\n\n1 / 0\n\n\nclass")
    edit(copy, "cell-8", "None\n", "three\n")
    edit(path, "cell-8", "None\n", "three\n")
    lines = check(copy, capsys)[1]
    assert lines[0].startswith("scale, Shift fails: ZeroDivisionError")
    assert lines[1] == "exercise 1 fails: got 3, expected 7"
    edit(path, "cell-2", "3.0", "open('nothing')")
    lines = check(copy, capsys)[1]
    assert lines[0].startswith("scale, Shift fails: a cell before it fails: FileNotFoundError")
    assert lines[1].startswith("exercise 1 fails: a cell before it fails: FileNotFoundError")


def test_a_starter_passes_where_it_reaches_its_checks(tmp_path):
    divides = "ZeroDivisionError: division by zero (in the line `assert 1 / 0`)"
    two = "a = b = None\nif a:\n    assert a == 1\nif b:\n    np.testing.assert_equal(b, 2)"
    cases = [
        ("a = None\nassert a == 7", "a = 7\nassert a == 7", ("passes", "")),
        (two, two.replace("a = b = None", "a = 1; b = None"), ("passes", "1 of 2 checks")),
        (two, two.replace("a = b = None", "a = 1; b = 2"), ("passes", "")),
        (two, two + "  # hm", ("not written", "changed, but none of its checks is reached yet")),
        ("a = 1", "a = 2\na", ("fails", "the cell has lost its checks")),
        ("assert 0", "ä = 'ä'; check_it = len; assert ä; check_it(ä)", ("passes", "")),
        ("assert 0", "assert 1 / 0", ("fails", divides)),
        ("assert 0", "(", ("fails", "SyntaxError: '(' was never closed, in line 1 of the cell")),
    ]
    exercise = copies.Exercise("s", "exercise 1", ("s",))
    with Kernel(tmp_path) as kernel:
        for given, own, verdict in cases:
            page = {"i": "import numpy as np", "s": given}
            assert check_exercises.judge_starter(kernel, page, exercise, own) == verdict


def test_a_function_passes_where_all_of_its_checks_do(tmp_path):
    page = {"f": DOUBLE, "one": "assert double(2) == 4", "two": "assert double(3) == 6"}
    exercise = copies.Exercise("f", "double", ("one", "two"))
    with Kernel(tmp_path) as kernel:
        for own, verdict in ((DOUBLE, "passes"), (DOUBLE.replace("2 * x", "x + 2"), "fails")):
            assert check_exercises.judge_function(kernel, page, exercise, own)[0] == verdict


def test_what_does_not_end_fails():
    def cells(sources, seconds):
        raise Stopped("it did not end in time")

    kernel, page = SimpleNamespace(cells=cells), {"f": "assert 0"}
    exercise = copies.Exercise("f", "f", ("f",))
    own = "def f():\n    while True: pass\n\n\nassert f()"
    for judge in (check_exercises.judge_function, check_exercises.judge_starter):
        assert judge(kernel, page, exercise, own) == ("fails", "it did not end in time")


def test_a_learners_own_cells_stand_where_they_were_put():
    nb, copy = notebook_of("x = 1", "# text", "y = 2"), new_notebook()
    copy.metadata["exercises"] = {"given": {"hint": ""}}
    first, text, last = (cell.id for cell in nb.cells)
    a, b, c, hint = (new_code_cell(name, id=name) for name in ("a", "b", "c", "hint"))
    copy.cells = [a, nb.cells[0], hint, b, c, nb.cells[2], new_markdown_cell("mine")]
    page = check_exercises.page_of(nb, copy)
    assert list(page) == ["a", first, "b", "c", text, last] and page[text] == ""


def test_loop_without_end_and_dead_kernel_are_failures(page, capsys, monkeypatch):
    path, copy = page
    write_copy(path, copy)
    monkeypatch.setattr(check_exercises, "SECONDS", 2)
    edit(copy, "cell-4", TO_WRITE, "while True:\n        pass\n\n\nclass")
    edit(copy, "cell-4", METHOD, "        return x + self.by")
    edit(copy, "cell-8", "None\n", "7\n")
    count, lines = check(copy, capsys)
    assert count == 1 and "a loop without an end?" in lines[0] and lines[1] == "exercise 1 passes"
    edit(copy, "cell-4", "while True:\n        pass", "__import__('os')._exit(3)")
    assert "it ended Python" in check(copy, capsys)[1][0]


def test_bad_input_gets_one_sentence(page, capsys, monkeypatch):
    path, copy = page
    folder = copy.parents[1]

    def said(wanted):
        monkeypatch.setattr(sys, "argv", ["check", wanted])
        monkeypatch.setattr(check_exercises, "build_folder", lambda: folder.parent)
        assert check_exercises.main() == 2
        out = capsys.readouterr()
        assert not out.out and out.err.startswith("Nothing to check: ")
        assert len(out.err.splitlines()) == 1
        return out.err

    assert "make exercises" in said("01")
    write_copy(path, copy)
    assert "nothing is written yet" in said("")
    assert "no learner's copy matches NOTEBOOK=77; there are 01_demo" in said("77")
    assert "is no learner's copy" in said(str(path))
    monkeypatch.chdir(path.parents[1])  # where the page itself has this name
    assert check_exercises.choose("demo/01_demo.ipynb", folder) == [copy]
    assert check_exercises.choose("demo\\01", folder) == [copy]
    path.rename(path.with_name("gone"))
    assert "is a copy of 01_demo.ipynb, which is no longer there" in said("01")
    copy.write_text('{"cells": 3}', encoding="utf-8")
    assert "is damaged" in said("01") and "is damaged" in said("")
    copy.write_text('{"cells": [{}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}')
    assert "without its cells' ids" in said("01")
    copy.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in said("01")


def test_the_command_fails_where_one_exercise_fails(page, capsys, monkeypatch):
    def interrupt(copy):
        raise KeyboardInterrupt

    def arrow(copy):
        print("→")
        return 0

    path, copy = page
    failing = {"01_demo.ipynb": 1, "02_demo.ipynb": 0}
    for name in failing:
        write_copy(path, copy.with_name(name))
    monkeypatch.setattr(sys, "argv", ["check"])
    monkeypatch.setattr(check_exercises, "build_folder", lambda: copy.parents[2])
    monkeypatch.setattr(check_exercises, "check", lambda copy: failing[copy.name])
    for wanted, status in (("demo", 1), ("01", 1), ("02", 0)):
        monkeypatch.setenv("NOTEBOOK", wanted)
        assert check_exercises.main() == status
    monkeypatch.setattr(check_exercises, "check", interrupt)
    assert check_exercises.main() == 130 and capsys.readouterr().out == "Interrupted.\n"
    monkeypatch.setattr(check_exercises, "check", arrow)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert check_exercises.main() == 0  # a terminal without arrows is no failure


def test_commands_run_and_names_pass_by_the_environment(tmp_path):
    environment = {**os.environ, "COURSE_BUILD": str(tmp_path), "NOTEBOOK": "no; such"}
    for command in ("exercises", "check_exercises"):
        done = subprocess.run(
            [sys.executable, "-m", f"tools.{command}"],
            cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip
        assert done.returncode == (0 if command == "exercises" else 2), done.stderr
    assert "no; such" in done.stderr and len(done.stderr.splitlines()) == 1
    copies = list((tmp_path / "exercises").glob("*/*.ipynb"))
    assert copies
    for copy in copies:
        nb = read_copy(copy)
        assert not is_edited(nb)
        assert copy.stat().st_size < 300_000
        assert not any(cell.get("outputs") for cell in nb.cells)
        for exercise in exercises(nbformat.read(ROOT / nb.metadata["exercises"]["notebook"], 4)):
            own = next(cell.source for cell in nb.cells if cell.id == exercise.cell)
            assert exercise.is_starter or "raise NotImplementedError" in own


def test_a_kernel_goes_on_from_what_it_ran(tmp_path):
    def source(name: str, more: str = "pass") -> str:
        return f"open('log', 'a').write('{name}')\n{more}\nprint('{name}')"

    def ran(*names: str) -> str:
        (tmp_path / "log").unlink(missing_ok=True)
        cells = {name: source(name, what.get(name[0], "pass")) for name in names}
        assert kernel.cells(cells, 60) == names[-1] + "\n"
        return (tmp_path / "log").read_text()

    what = {"a": "n = []", "b": "m = 1", "c": "k = n", "d": "n.append(3)"}
    with Kernel(tmp_path) as kernel:
        assert ran("a", "b", "c") == "abc"
        assert ran("a", "b", "c") == "c"  # the last one always runs
        assert ran("a", "b", "c", "d") == "d"
        assert ran("a", "b", "e") == "abe"  # d had changed what a made
        assert ran("a", "f") == "f"
        asked = ("COURSE_PROFILE", "COURSE_HEADLESS", "MPLBACKEND", "TQDM_DISABLE")
        seen = f"import os, sys\nprint(*map(os.environ.get, {asked}), flush=True)\n"
        seen += "print('no', file=sys.stderr, flush=True)\nprint('yes')"
        assert kernel.execute(seen, 60) == "quick 1 Agg 1\nyes\n"
        kernel.stop()
        assert ran("a", "g") == "ag"
    assert kernel.running is None


def test_a_kernel_names_the_cell_that_fails_and_stops_in_time(tmp_path):
    with Kernel(tmp_path) as kernel:
        with pytest.raises(Failed, match=r"division by zero \(in the line `1 / 0`\)") as caught:
            kernel.cells({"a": "x = 1", "b": "1 / 0", "c": "x"}, 60)
        assert (caught.value.cell, caught.value.name) == ("b", "ZeroDivisionError")
        with pytest.raises(Stopped, match="did not end in time"):
            kernel.cells({"a": "import time\ntime.sleep(5)"}, 1)
        assert kernel.execute("print('x' in globals())", 60) == "False\n"  # a fresh one
        kernel.explains = False
        with pytest.raises(Failed) as caught:
            kernel.cells({"a": "1 / 0"}, 60)
        assert str(caught.value) == ""
        with pytest.raises(Stopped, match="it ended Python"):
            kernel.cells({"a": "import os\nos._exit(1)"}, 60)


def test_cells_share_their_time_which_begins_when_the_kernel_is_there(tmp_path, monkeypatch):
    def start():
        now[0] += 5
        kernel.running = contextlib.ExitStack()
        kernel.running.callback(ended.append, True)

    def execute_cell(cell, at):
        given.append(kernel.client.timeout)
        now[0] += 1

    kernel, now, given, ended = Kernel(tmp_path), [0.0], [], []
    kernel.client = SimpleNamespace(nb=new_notebook(), execute_cell=execute_cell)
    monkeypatch.setattr(kernel, "start", start)
    monkeypatch.setattr("tools.kernel.time", SimpleNamespace(monotonic=lambda: now[0]))
    with kernel:
        kernel.cells({name: name for name in "abcd"}, 3)
    assert given == [3, 2, 1, 1]  # never 0, which nbclient reads as no limit
    assert ended == [True]


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")
def test_make_clean_leaves_learners_work(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("exercises/demo/01.ipynb", "results/quick/a.json", "index.html", ".hidden"):
        (tmp_path / "build" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "build" / name).touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    left = {
        path.relative_to(tmp_path / "build").as_posix() for path in tmp_path.rglob("build/**/*")
    }
    assert left == {"exercises", "exercises/demo", "exercises/demo/01.ipynb"}


def test_needed_cells_follow_names():
    cells = [
        "import numpy as np\nimport matplotlib.pyplot as plt",
        "rng = np.random.default_rng(0)",
        "x = rng.normal(size=3)",
        "x = np.ones(3)",
        "plt.plot(x)\nplt.show()",
        "table = {}",
        "def note(name, value):\n    table[name] = value + offset",
        "offset = 1",
        "note('a', 2)",
        "print(table)",
        "for name in ('a', 'b'):\n    y = x * 2",
        "assert table['a'] == 3 and np.all(x == 1)",
        "not python(",
        "z = [x for x in range(3)]\nassert z",
        "y.sort()",
        "assert y[0] == 2",
    ]
    assert needed(cells, 11) == [0, 3, 5, 6, 7, 8]
    assert needed(cells, 13) == []
    assert needed(cells, 15) == [0, 3, 10, 14]
