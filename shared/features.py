"""What a small classifier sees in an image: the space in which generated images are measured.

Pixels are a poor measure: a digit moved by one pixel is far from itself. So generative models are
compared in the last hidden layer of a network that was taught to tell the classes apart. Inception
plays that part in publications; ours is small and knows one data set only, so distances measured
in it compare with one another and never with published ones.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

from shared.data import LabelledData
from shared.environment import build_folder, current_profile, versions
from shared.source_hash import source_hash
from shared.training import choose_device, evaluate, fit, to_tensor
from shared.weights import load_weights, save_weights

NUM_FEATURES = 64
HELD_OUT = 0.1  # share of the training examples, the last ones, that the network never learns from
BATCH_SIZE = 64  # examples
LEARNING_RATE = 1e-2  # Adam's, at the top of its cycle
MIN_STEPS = 200  # so that a small data set is seen often enough
SETTINGS = {1: (16, 2), 3: (32, 6)}  # colours: (channels of the first layer, epochs)


class FeatureNet(nn.Module):
    """A classifier whose last hidden layer is the space of measurements.

    Three times a 3 × 3 convolution, batch norm, ReLU, the largest of 2 × 2; then a layer of
    NUM_FEATURES with ReLU, and one to the classes. It takes values from 0 to 1.
    `accuracy` is a fraction of the held-out examples, NaN before training; it is stored with the
    weights.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int):
        super().__init__()
        channels, height, width = shape
        if channels not in SETTINGS or min(height, width) < 8:
            raise ValueError(f"shape is {shape}; it must be (1 or 3, 8 or more, 8 or more)")
        self.shape, self.num_classes = tuple(shape), num_classes
        layers, w = [], SETTINGS[channels][0]
        for before, after in ((channels, w), (w, 2 * w), (2 * w, 4 * w)):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.MaxPool2d(2), nn.ReLU()]  # the largest first: a quarter of the work
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Linear(4 * w * (height // 8) * (width // 8), NUM_FEATURES)
        self.head = nn.Linear(NUM_FEATURES, num_classes)
        self.register_buffer("held_out_accuracy", torch.tensor(math.nan))

    @property
    def accuracy(self) -> float:
        """Return the share of held-out examples that the network names rightly."""
        return float(self.held_out_accuracy)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features (N, NUM_FEATURES) of x (N, C, H, W), 0 … 1."""
        return torch.relu(self.hidden(self.body(x)))

    def forward(self, x):
        """Return the logits (N, K)."""
        return self.head(self.features(x))


def check_images(images, shape: tuple[int, int, int] | None = None) -> torch.Tensor:
    """Return images as a float32 tensor (N, C, H, W) on the CPU.

    Args: images: float array or tensor, values from 0 to 1. shape: (C, H, W) that is expected.
    Raises: ValueError for anything else, as for tanh's −1 … 1 or bytes.
    """
    if isinstance(images, np.ndarray) and images.dtype.kind == "f":
        images = torch.from_numpy(np.ascontiguousarray(images))
    if not torch.is_tensor(images) or not images.is_floating_point() or images.ndim != 4:
        kind = getattr(images, "dtype", type(images).__name__)
        size = tuple(getattr(images, "shape", ()))
        raise ValueError(f"images is {kind} {size}; it must be floats (N, C, H, W) from 0 to 1")
    if 0 in images.shape or (shape is not None and tuple(images.shape[1:]) != tuple(shape)):
        wanted = "(N, C, H, W), nothing empty" if shape is None else f"(N, {str(tuple(shape))[1:]}"
        raise ValueError(f"images has shape {tuple(images.shape)}; it must be {wanted}")
    images = images.detach().cpu().float()
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):  # NaN is refused, too
        hint = "; what comes out of tanh becomes (x + 1) / 2" if -1 <= low < 0 and high <= 1 else ""
        raise ValueError(f"images goes from {low:.4g} to {high:.4g}; it must be 0 to 1{hint}")
    return images


@torch.no_grad()
def embed(net: FeatureNet, images, batch_size: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Return the features (N, NUM_FEATURES) float64 of images and the classes (N,) named for them.

    Args: images: (N, C, H, W) float, 0 … 1, of the network's shape. The network's mode is restored.
    """
    images = check_images(images, net.shape)
    device, was_training = next(net.parameters()).device, net.training
    net.eval()
    try:
        parts = [net.features(part.to(device)) for part in images.split(batch_size)]
        labels = torch.cat([net.head(part).argmax(dim=1) for part in parts])
    finally:
        net.train(was_training)
    return torch.cat(parts).cpu().double().numpy(), labels.cpu().numpy()


def train_feature_net(data: LabelledData, seed: int = 0) -> FeatureNet:
    """Return a network taught on all but the last tenth of data.x_train; test data is not read."""
    x, y = to_tensor(data.x_train), torch.from_numpy(data.y_train)
    num_train = len(x) - max(1, int(HELD_OUT * len(x)))
    if num_train < BATCH_SIZE:
        raise ValueError(f"data has {len(x)} training examples; {2 * BATCH_SIZE} are enough")
    with torch.random.fork_rng(devices=[]):  # torch's own generator goes on as if nothing had been
        torch.manual_seed(seed)
        net = FeatureNet(tuple(x.shape[1:]), len(data.class_names))
    net = net.to(choose_device(), memory_format=torch.channels_last)
    per_epoch = num_train // BATCH_SIZE
    num_epochs = max(SETTINGS[x.shape[1]][1], -(-MIN_STEPS // per_epoch))
    fit(
        net, torch.optim.Adam(net.parameters()), (x[:num_train], y[:num_train]),
        num_epochs=num_epochs, batch_size=BATCH_SIZE, generator=torch.Generator().manual_seed(seed),
        schedule=one_cycle(LEARNING_RATE, num_epochs * per_epoch),
    )  # fmt: skip
    _, accuracy = evaluate(net, x[num_train:], y[num_train:])
    net.held_out_accuracy.fill_(accuracy)
    return net.to(memory_format=torch.contiguous_format).eval()


def one_cycle(learning_rate: float, num_steps: int):
    """Return step → rate: up in a straight line over a fifth of the steps, then down to 0."""
    top = max(1, num_steps // 5)
    return lambda step: (
        learning_rate * min((step + 1) / top, (num_steps - step) / (num_steps - top))
    )


def cache_file(data: LabelledData, seed: int = 0) -> Path:
    """Return where the network is kept: its name holds all that decides its weights."""
    digest = hashlib.sha256()
    for array in (data.x_train, data.y_train):
        digest.update(repr((array.shape, array.dtype)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    here = Path(__file__).parent
    code = [source_hash(here / name) for name in ("features.py", "training.py")]
    key = (digest.hexdigest(), len(data.class_names), current_profile(), seed, code, versions())
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
    return build_folder() / "features" / f"{name}.pt"


def feature_net(data: LabelledData, seed: int = 0) -> FeatureNet:
    """Return the network that measures images of a data set, trained once and then kept on disk.

    It learns from all but the last tenth of data.x_train, so its features of those last examples,
    and of test examples, are those of images it has never seen. In evaluation mode.
    """
    file = cache_file(data, seed)
    images = data.x_train.shape
    shape = (1, *images[1:]) if len(images) == 3 else (images[3], *images[1:3])
    net = FeatureNet(shape, len(data.class_names))
    try:
        load_weights(net, file)
        return net.to(choose_device()).eval()
    except (FileNotFoundError, ValueError):  # none yet, or a damaged one: it is made again
        net = train_feature_net(data, seed)
    try:
        save_weights(net, file)
    except OSError as error:
        print(f"The feature network cannot be kept in {file.parent}: {error.strerror}.")
    return net
