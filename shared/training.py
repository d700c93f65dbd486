"""Training PyTorch models: one plain loop over batches that lie in memory, and evaluation.

Images come as the data sets have them, (N, H, W) or (N, H, W, 3) uint8; `to_tensor` is the one
place where they become float tensors of torch's layout (N, C, H, W).
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from shared.environment import device_name


def to_tensor(images: np.ndarray, mean=0.0, std=1.0) -> torch.Tensor:
    """Return images as float32 (N, C, H, W): scaled to 0 … 1, then (x − mean) / std per colour.

    Args:
        images: (N, H, W) grey or (N, H, W, C) colour, uint8.
        mean, std: a number, or one per colour; std above 0.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(
            f"images is {images.dtype} {images.shape}; it must be uint8, (N, H, W) or (N, H, W, C)"
        )
    if not np.all(np.asarray(std) > 0):
        raise ValueError(f"std is {std}; it must be above 0")
    x = torch.from_numpy(np.ascontiguousarray(images))
    x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)  # (N, C, H, W)
    mean, std = (torch.as_tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in (mean, std))
    return ((x.float() / 255 - mean) / std).contiguous()


def batches(
    num_examples: int, batch_size: int, generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Yield the indices (batch_size,) of one batch after the other, once through all examples in
    random order; a short last batch is left out."""
    order = torch.randperm(num_examples, generator=generator)
    yield from order[: num_examples // batch_size * batch_size].split(batch_size)


def autocast(dtype: torch.dtype | None, device: str = "cpu"):
    """Return the context in which a forward pass computes in `dtype`; None changes nothing."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device, dtype=dtype)


@torch.no_grad()
def evaluate(model, x, y, loss_fn=F.cross_entropy, batch_size=1_000, dtype=None):
    """Return the mean loss and the accuracy (a fraction) of a model; its mode is restored.

    Args: x: (N, …); y: (N,) integer labels, or (N, …) floating targets, which have no accuracy:
        it is None. loss_fn: (model's output, y) → the batch's mean.
    """
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"x has {len(x)} examples and y {len(y)}; equally many, 1 or more")
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    total_loss, correct = 0.0, 0
    try:
        for x_part, y_part in zip(x.split(batch_size), y.split(batch_size), strict=True):
            x_part, y_part = x_part.to(device), y_part.to(device)
            with autocast(dtype, device.type):
                logits = model(x_part)  # (n, K), or of y's shape
            total_loss += loss_fn(logits.float(), y_part).item() * len(y_part)
            if y.is_floating_point():
                continue
            right = (logits.argmax(dim=1) == y_part) & logits.isfinite().all(dim=1)
            correct += int(right.sum())
    finally:
        model.train(was_training)
    return total_loss / len(x), None if y.is_floating_point() else correct / len(x)


def check_fit(train, val, num_epochs, batch_size) -> None:
    """Raise ValueError for the first argument of fit that is not allowed."""
    for name, pair in (("train", train), ("val", val)):
        if pair is not None and (len(pair[0]) != len(pair[1]) or len(pair[0]) == 0):
            sizes = f"{len(pair[0])} and {len(pair[1])}"
            raise ValueError(f"{name} has {sizes} examples; x and y need equally many, 1 or more")
    if num_epochs < 1:
        raise ValueError(f"num_epochs is {num_epochs}; it must be 1 or more")
    if not 1 <= batch_size <= len(train[0]):
        raise ValueError(f"batch_size is {batch_size}; it must be 1 … {len(train[0])} examples")


def fit(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    train: tuple[torch.Tensor, torch.Tensor],
    val: tuple[torch.Tensor, torch.Tensor] | None = None,
    *,
    num_epochs: int,
    batch_size: int,
    generator: torch.Generator,
    loss_fn: Callable = F.cross_entropy,
    schedule: Callable[[int], float] | None = None,
    augment: Callable | None = None,
    max_grad_norm: float | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, np.ndarray]:
    """Train in shuffled batches and return a history, one entry per epoch.

    Args:
        train: (x, y), x (N, …) and y (N, …) tensors; val likewise, never trained on.
        generator: shuffles, and is handed to augment.
        loss_fn: (model's output, y) → the batch's mean loss.
        schedule: steps made so far → learning rate.
        augment: (x of a batch, generator) → the same shape, for training batches only.
        max_grad_norm: clip the joint norm of the gradients, before the step.
        dtype: torch.bfloat16 for an autocast forward pass, where that is faster.
    Returns: arrays epoch, step, learning_rate, train_loss (mean over the epoch's batches, as they
        were trained on), seconds (of training alone, from the start); with val also val_loss and,
        where its y are integer labels, val_accuracy.
    Raises: FloatingPointError, naming step and learning rate, when the loss is no longer finite.
    """
    check_fit(train, val, num_epochs, batch_size)
    (x, y), device = train, next(model.parameters()).device
    history, seconds, step = [], 0.0, 0
    quiet = bool(os.environ.get("TQDM_DISABLE"))
    for epoch in tqdm(range(1, num_epochs + 1), "epochs", leave=False, disable=quiet):
        model.train()
        started, losses = time.perf_counter(), []
        for batch in batches(len(x), batch_size, generator):
            if schedule is not None:
                for group in optimizer.param_groups:
                    group["lr"] = schedule(step)
            x_batch, y_batch = x[batch].to(device), y[batch].to(device)
            if augment is not None:
                x_batch = augment(x_batch, generator)
            with autocast(dtype, device.type):
                loss = loss_fn(model(x_batch), y_batch)
            if not math.isfinite(loss.item()):
                raise not_finite(loss.item(), step, optimizer)
            optimizer.zero_grad()
            loss.backward()
            if max_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
            optimizer.step()
            losses.append(loss.item())
            step += 1
        seconds += time.perf_counter() - started
        row = {"epoch": epoch, "step": step, "learning_rate": optimizer.param_groups[0]["lr"]}
        row |= {"train_loss": float(np.mean(losses)), "seconds": seconds}
        if val is not None:
            row["val_loss"], accuracy = evaluate(model, *val, loss_fn, dtype=dtype)
            if accuracy is not None:
                row["val_accuracy"] = accuracy
        history.append(row)
    return {key: np.array([row[key] for row in history]) for key in history[0]}


def not_finite(loss: float, step: int, optimizer) -> FloatingPointError:
    """Return the error for a loss that is NaN or infinite, with what to try."""
    rate = optimizer.param_groups[0]["lr"]
    return FloatingPointError(
        f"the loss is {loss} at step {step} (learning rate {rate:.3g}); lower the learning rate, "
        "clip the gradients with max_grad_norm, or look for NaN in the data"
    )


def choose_device() -> torch.device:
    """Return the fastest device here: cuda, then mps, then cpu."""
    return torch.device(device_name())
