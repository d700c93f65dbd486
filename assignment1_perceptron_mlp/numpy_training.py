"""The training loop that the later notebooks share, and evaluation in batches.

Notebook 02 writes the loop out; this is the same loop with a schedule, a history and refusals.
"""

from __future__ import annotations

import math
import time

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import (
    check_labels,
    check_shape,
    cross_entropy_backward,
    cross_entropy_forward,
)
from assignment1_perceptron_mlp.numpy_optim import clip_gradients


def check_data(name, x, y, num_features, num_classes):
    """Raise ValueError unless x is (N, num_features) finite numbers and y fits it."""
    check_shape(name, x, (None, num_features))
    check_labels(y, len(x), num_classes)
    if not np.isfinite(x.sum(dtype=np.float64)):
        raise ValueError(f"{name} contains NaN or infinity; every feature must be finite")


def train_step(model, optimizer, x, y, label_smoothing=0.0, max_grad_norm=None):
    """Make one step on the batch x (N, D), y (N,); return its mean loss in nats."""
    logits = model.forward(x, train=True)
    loss, cache = cross_entropy_forward(logits, y, label_smoothing)
    model.backward(cross_entropy_backward(cache))
    grads = model.gradients()
    if max_grad_norm is not None:
        clip_gradients(grads, max_grad_norm)
    optimizer.step(grads)
    return loss


def evaluate(model, x, y, batch_size=2_000):
    """Return mean cross-entropy in nats and accuracy (a fraction) on x (N, D), y (N,)."""
    check_shape("x", x, (None, model.layer_sizes[0]))
    total_loss = correct = 0.0
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        logits = model.forward(x[part])
        total_loss += cross_entropy_forward(logits, y[part])[0] * len(logits)
        correct += (logits.argmax(axis=1) == y[part]).sum()
    return total_loss / len(x), float(correct / len(x))


def fit(
    model,
    optimizer,
    x,
    y,
    *,
    num_epochs,
    batch_size,
    rng,
    x_val=None,
    y_val=None,
    schedule=None,
    augment=None,
    label_smoothing=0.0,
    max_grad_norm=None,
    eval_every=None,
):
    """Train in shuffled batches and return a history, one entry per evaluation.

    Args:
        x, y: (N, D) features and (N,) integer labels; x_val, y_val likewise, never trained on.
        num_epochs: passes over the data; batch_size: examples (a short last batch is left out).
        rng: numpy Generator that shuffles, and is handed to augment.
        schedule: step → learning rate; one with an update method is told each validation loss.
        augment: (batch, rng) → batch of the same shape, applied to training batches only.
        eval_every: steps between evaluations; an epoch where None.
    Returns: dict of arrays: step, learning_rate, train_loss (mean over the batches since the last
        entry, as they were trained on), seconds (of training alone, from the start), and with
        validation data val_loss and val_accuracy.
    Raises: ValueError on data that does not fit; FloatingPointError, naming the step, when the
        loss is no longer finite.
    """
    num_features, num_classes = model.layer_sizes[0], model.layer_sizes[-1]
    check_data("x", x, y, num_features, num_classes)
    if x_val is not None and y_val is None:
        raise ValueError("x_val is given without y_val; both are needed")
    if x_val is not None:
        check_data("x_val", x_val, y_val, num_features, num_classes)
    elif hasattr(schedule, "update"):
        raise ValueError("schedule follows the validation loss; it needs x_val and y_val")
    if not 1 <= batch_size <= len(x):
        raise ValueError(f"batch_size is {batch_size}; it must be 1 … {len(x)}, the examples in x")
    for name, number in {"num_epochs": num_epochs, "eval_every": eval_every}.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}; it must be 1 or more")
    steps_per_epoch = len(x) // batch_size
    num_steps, eval_every = num_epochs * steps_per_epoch, eval_every or steps_per_epoch
    history, losses, seconds = [], [], 0.0
    for step in range(num_steps):
        started = time.perf_counter()
        if step % steps_per_epoch == 0:
            order = rng.permutation(len(x))
        if schedule is not None:
            optimizer.learning_rate = schedule(step)
        start = step % steps_per_epoch * batch_size
        batch = order[start : start + batch_size]
        x_batch = x[batch] if augment is None else augment(x[batch], rng)
        loss = train_step(model, optimizer, x_batch, y[batch], label_smoothing, max_grad_norm)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} at step {step} (learning rate {optimizer.learning_rate:.3g}); "
                "lower the learning rate or check the data"
            )
        losses.append(loss)
        seconds += time.perf_counter() - started
        if (step + 1) % eval_every == 0 or step + 1 == num_steps:
            row = {"step": step + 1, "learning_rate": optimizer.learning_rate}
            row |= {"train_loss": float(np.mean(losses)), "seconds": seconds}
            if x_val is not None:
                row["val_loss"], row["val_accuracy"] = evaluate(model, x_val, y_val)
                if hasattr(schedule, "update"):
                    schedule.update(row["val_loss"])
            history.append(row)
            losses = []
    return {key: np.array([row[key] for row in history]) for key in history[0]}
