"""CIFAR-10 for NumPy networks: standardised features, random flips and shifts, one-hot targets and
the multiple binary cross-entropy. Everything works on whole batches and keeps float32 float32.

An image is (32, 32, 3): rows, columns, colours. Flattened it is a row of D = 3,072 features in
that order, so that a batch may be (N, 3072) or (N, 32, 32, 3) wherever this module takes one.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from assignment1_perceptron_mlp.numpy_layers import (
    check_labels,
    check_rng,
    check_shape,
    check_whole,
    sigmoid,
)

IMAGE_SHAPE = (32, 32, 3)


def feature_statistics(x, chunk_size=1_000):
    """Return the mean and standard deviation of each feature over the examples, float32.

    Args:
        x: (N, …) integers or floats, N ≥ 1. The sums run in float64, a chunk of examples at a
            time: a float64 copy of the 50,000 images would take 1.2 GB.
    Returns: mean, std of shape x.shape[1:]. A feature that never varies gets std 1, so that it
        can be divided by.
    Raises: ValueError when there are no examples, or where one holds NaN or infinity.
    """
    x = np.asarray(x)
    check_whole(chunk_size=chunk_size)
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"x has shape {x.shape}; it must be (N ≥ 1, features …)")
    chunks = [slice(i, i + chunk_size) for i in range(0, len(x), chunk_size)]
    mean = sum(x[part].sum(axis=0, dtype=np.float64) for part in chunks) / len(x)
    if not np.isfinite(mean).all():
        raise ValueError("x contains NaN or infinity; every feature must be finite")
    var = sum(np.square(x[part] - mean).sum(axis=0) for part in chunks) / len(x)
    varies = x.min(axis=0) < x.max(axis=0)  # var > 0 would not do: the mean of 0.1s is rounded
    std = np.where(varies, np.sqrt(var), 1)
    return mean.astype(np.float32), std.astype(np.float32)


def standardise(x, mean, std):
    """Return (x − mean) / std as float32 rows (N, D), in one new array.

    Args:
        x: (N, …) uint8 or float. mean, std: x.shape[1:], from the *training* examples, std > 0.
    Raises: ValueError naming both shapes where they differ, or where std is not positive.
    """
    x, mean, std = np.asarray(x), np.asarray(mean), np.asarray(std)
    if x.ndim < 2 or len(x) == 0 or not x.shape[1:] == mean.shape == std.shape:
        raise ValueError(
            f"x has shape {x.shape}, mean {mean.shape} and std {std.shape}; "
            "x must be (N ≥ 1, *mean.shape) and mean and std alike"
        )
    if not (std > 0).all():
        raise ValueError(f"std has the entry {std.min()}; every entry must be above 0")
    out = x.astype(np.float32)
    out -= mean
    out /= std
    return out.reshape(len(x), -1)


def as_images(batch, image_shape=IMAGE_SHAPE):
    """Return a view (N, H, W, C) of a batch that is (N, H, W, C) or (N, H · W · C)."""
    batch = np.asarray(batch)
    if batch.shape[1:] not in (tuple(image_shape), (int(np.prod(image_shape)),)) or not len(batch):
        raise ValueError(
            f"batch has shape {batch.shape}; it must be (N ≥ 1, {int(np.prod(image_shape))}) "
            f"or (N ≥ 1, {', '.join(map(str, image_shape))})"
        )
    return batch.reshape(len(batch), *image_shape)


def random_flip(batch, rng, image_shape=IMAGE_SHAPE):
    """Return the batch with each image mirrored left to right with probability ½; same shape."""
    check_rng(rng)
    images = as_images(batch, image_shape)
    flipped = rng.random(len(images)) < 0.5
    out = images.copy()
    out[flipped] = images[flipped, :, ::-1]
    return out.reshape(np.shape(batch))


def random_shift(batch, max_shift, rng, image_shape=IMAGE_SHAPE):
    """Return the batch with each image moved by up to max_shift pixels each way; same shape.

    Down and across are drawn independently from −max_shift … max_shift. Uncovered pixels become
    0, which is the mean where the features are standardised.
    """
    check_rng(rng)
    check_whole(0, max_shift=max_shift)
    images = as_images(batch, image_shape)
    if max_shift >= min(image_shape[:2]):
        raise ValueError(
            f"max_shift is {max_shift}; it must be 0 … {min(image_shape[:2]) - 1} pixels"
        )
    padded = np.pad(images, ((0, 0), (max_shift, max_shift), (max_shift, max_shift), (0, 0)))
    windows = sliding_window_view(padded, image_shape, axis=(1, 2, 3))  # (N, S, S, 1, H, W, C)
    down, across = rng.integers(0, 2 * max_shift + 1, size=(2, len(images)))
    return windows[np.arange(len(images)), down, across, 0].reshape(np.shape(batch))


def one_hot(y, num_classes, dtype=np.float32):
    """Return Y (N, K) with a single 1 per row, in column y. y: (N,) integers 0 … K − 1."""
    check_whole(num_classes=num_classes)
    check_shape("y", y, (None,))
    check_labels(y, len(y), num_classes)
    targets = np.zeros((len(y), num_classes), dtype)
    targets[np.arange(len(y)), y] = 1
    return targets


def binary_cross_entropy_forward(logits, targets):
    """Return the mean binary cross-entropy over examples and classes in nats, and a cache.

    Each class k is a question of its own: p_k = sigmoid(logit_k), loss −t_k log p_k − (1 − t_k)
    log(1 − p_k), written as max(z, 0) − t z + log(1 + exp(−|z|)) so that no exp can overflow.
    logits: (N, K); targets: (N, K) in [0, 1].
    """
    logits, targets = np.asarray(logits), np.asarray(targets)
    check_shape("logits", logits, (None, None))
    check_shape("targets", targets, logits.shape)
    if not (targets.min() >= 0 and targets.max() <= 1):
        raise ValueError(
            f"targets go from {targets.min()} to {targets.max()}; they must be in [0, 1]"
        )
    losses = np.maximum(logits, 0) - targets * logits + np.log1p(np.exp(-np.abs(logits)))
    return float(losses.mean()), (logits, targets)


def binary_cross_entropy_backward(cache):
    """Return dL/dlogits (N, K) = (sigmoid(logits) − targets) / (N K)."""
    logits, targets = cache
    return (sigmoid(logits) - targets) / logits.size
