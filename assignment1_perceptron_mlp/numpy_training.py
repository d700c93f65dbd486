"""The training loop that the later notebooks share, and evaluation in batches.

Notebook 02 writes the loop out; this is the same loop with a schedule, a history and refusals.
"""

from __future__ import annotations

import math
import time

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import (
    check_features,
    check_labels,
    check_number,
    check_rng,
    check_whole,
    cross_entropy_backward,
    cross_entropy_forward,
)
from assignment1_perceptron_mlp.numpy_optim import clip_gradients


def check_data(name, data, num_features, num_classes):
    """Return data as two arrays; raise ValueError unless it is a pair of x (N, num_features),
    finite, and labels y (N,)."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(f"{name} is a {type(data).__name__}; it must be a pair (x, y)")
    x, y = check_features(data[0], num_features, f"{name}'s x"), np.asarray(data[1])
    check_labels(y, len(x), num_classes, f"{name}'s y")
    return x, y


def train_step(model, optimizer, x, y, label_smoothing=0.0, max_grad_norm=None):
    """Make one step on the batch x (N, D), y (N,); return its mean loss in nats."""
    check_number("label_smoothing", label_smoothing, 0, 1, "[]")
    logits = model.forward(x, train=True)  # (N, K)
    loss, cache = cross_entropy_forward(logits, y, label_smoothing)
    model.backward(cross_entropy_backward(cache))
    grads = model.gradients()
    if max_grad_norm is not None:
        clip_gradients(grads, max_grad_norm)
    optimizer.step(grads)
    return loss


def evaluate(model, x, y, batch_size=2_000):
    """Return mean cross-entropy in nats and accuracy (a fraction) on x (N, D), y (N,).

    An example whose logits are not finite makes the loss NaN or infinite and counts as wrong.
    """
    x, y = check_features(x, model.layer_sizes[0]), np.asarray(y)
    check_labels(y, len(x), model.layer_sizes[-1])
    check_whole(batch_size=batch_size)
    total_loss, correct = 0.0, 0
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        logits = model.forward(x[part])
        total_loss += cross_entropy_forward(logits, y[part])[0] * len(logits)
        right = (logits.argmax(axis=1) == y[part]) & np.isfinite(logits).all(axis=1)
        correct += int(right.sum())
    return total_loss / len(x), correct / len(x)


def batches(num_examples, batch_size, rng):
    """Yield the indices (batch_size,) of one batch after the other, once through all examples in
    random order; a short last batch is left out."""
    order = rng.permutation(num_examples)
    for start in range(0, num_examples - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def check_fit(train, val, num_epochs, batch_size, rng, schedule, eval_every, **functions):
    """Raise ValueError on arguments of fit that do not fit each other; train, val are checked."""
    for name, function in {"schedule": schedule, **functions}.items():
        if function is not None and not callable(function):
            raise ValueError(f"{name} is {function!r}; it must be a function")
    check_whole(num_epochs=num_epochs, batch_size=batch_size)
    if batch_size > len(train[0]):
        raise ValueError(f"batch_size is {batch_size}; it must be 1 … {len(train[0])} examples")
    if eval_every is not None:
        check_whole(eval_every=eval_every)
    check_rng(rng)
    if hasattr(schedule, "update") and val is None:
        raise ValueError(f"schedule is {schedule}, which follows the validation loss; val is None")


def check_optimizer(optimizer, model):
    """Raise ValueError where the optimizer would change other arrays than the model's."""
    own = getattr(optimizer, "params", None)  # one written by hand may keep none
    if own is not None and not all(own.get(k) is w for k, w in model.parameters().items()):
        raise ValueError("optimizer has other parameters; make it with model.parameters()")


def check_loss(loss, step, learning_rate):
    """Raise ValueError where there is no loss, FloatingPointError unless it is finite."""
    if loss is None:
        raise ValueError("step returned None; it must return the loss of its batch")
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss} at step {step} (learning rate {learning_rate:.3g}); "
            "lower the learning rate or check the data"
        )


def fit(
    model,
    optimizer,
    train,
    val=None,
    *,
    num_epochs,
    batch_size,
    rng,
    schedule=None,
    augment=None,
    step=train_step,
    eval_every=None,
):
    """Train in shuffled batches and return a history, one entry per evaluation.

    Args:
        train: (x, y), features (N, D) and integer labels (N,); val likewise, never trained on.
        num_epochs: passes over the data; batch_size: examples (a short last batch is left out).
        rng: numpy Generator that shuffles, and is handed to augment.
        schedule: steps made so far → learning rate; one with `update` is told each validation loss.
        augment: (x of a batch, rng) → the same shape, applied to training batches only.
        step: (model, optimizer, x, y) → loss, for example partial(train_step, label_smoothing=0.1).
        eval_every: steps between evaluations; an epoch where None.
    Returns: dict of arrays: epoch, step, learning_rate, train_loss (mean over the batches since the
        last entry, as they were trained on), seconds (of training alone, from the start), and with
        validation data val_loss and val_accuracy.
    Raises: ValueError on arguments that do not fit; FloatingPointError, naming the step, when the
        loss is no longer finite.
    """
    num_features, num_classes = model.layer_sizes[0], model.layer_sizes[-1]
    x, y = train = check_data("train", train, num_features, num_classes)
    if val is not None:
        val = check_data("val", val, num_features, num_classes)
    functions = {"augment": augment, "step": step}
    check_fit(train, val, num_epochs, batch_size, rng, schedule, eval_every, **functions)
    check_optimizer(optimizer, model)

    steps_per_epoch = len(x) // batch_size
    num_steps = num_epochs * steps_per_epoch
    if eval_every is None:
        eval_every = steps_per_epoch
    history, losses, seconds, done = [], [], 0.0, 0  # done: steps made so far
    for _ in range(num_epochs):
        for batch in batches(len(x), batch_size, rng):
            started = time.perf_counter()
            if schedule is not None:
                optimizer.learning_rate = schedule(done)
            x_batch = x[batch] if augment is None else augment(x[batch], rng)
            loss = step(model, optimizer, x_batch, y[batch])
            check_loss(loss, done, optimizer.learning_rate)
            losses.append(loss)
            seconds += time.perf_counter() - started
            done += 1
            if done % eval_every == 0 or done == num_steps:
                row = {
                    "epoch": done / steps_per_epoch,
                    "step": done,
                    "learning_rate": optimizer.learning_rate,
                    "train_loss": float(np.mean(losses)),
                    "seconds": seconds,
                }
                if val is not None:
                    row["val_loss"], row["val_accuracy"] = evaluate(model, *val)
                    if hasattr(schedule, "update"):
                        schedule.update(row["val_loss"])
                history.append(row)
                losses = []
    return {key: np.array([row[key] for row in history]) for key in history[0]}
