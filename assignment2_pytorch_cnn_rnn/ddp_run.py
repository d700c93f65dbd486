"""A run on many devices between two steps: its settings, its data, its state, its checkpoints."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from assignment2_pytorch_cnn_rnn.cifar_nets import check_positive
from assignment2_pytorch_cnn_rnn.resnet import ResNet
from assignment2_pytorch_cnn_rnn.split_batchnorm import GlobalBatchNorm2d, replace_batchnorm
from shared.data import load_cifar10
from shared.environment import write_atomically
from shared.training import to_tensor

CHOICES = {"norm": ("local", "global", "none"), "dtype": ("float32", "float64")}


@dataclass(frozen=True)
class Settings:
    """What decides the result of a run; a checkpoint of other settings is refused.

    norm: batch norm over each process's images, over the whole batch, or none. batch_size: images
    in a step, of all processes together. learning_rate: at the top, for the mean loss over a batch.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 16
    norm: str = "local"
    epochs: int = 5
    batch_size: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    augment: bool = True
    dtype: str = "float32"
    train_size: int = 4_500
    val_size: int = 500
    seed: int = 0


@dataclass
class Run:
    """A training and how far it is: `epoch` epochs and `step` steps of the next one are done."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    loss_sum: float | torch.Tensor = 0.0  # over these steps
    history: list[dict] = field(default_factory=list)


def check_settings(settings: Settings, world: int) -> None:
    """Raise ValueError, in one sentence, for the first setting that `world` processes cannot do."""
    names = ("epochs", "batch_size", "train_size", "val_size")
    check_positive(**{name: getattr(settings, name) for name in names})
    for name, allowed in CHOICES.items():
        if (value := getattr(settings, name)) not in allowed:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
    if settings.batch_size % world:
        raise ValueError(
            f"batch_size is {settings.batch_size}; it must be a multiple of {world}, the number of "
            "processes, so that all have equal shares"
        )
    if settings.batch_size > settings.train_size:
        most = settings.train_size
        raise ValueError(f"batch_size is {settings.batch_size}; it must be 1 … {most}, train_size")
    if settings.val_size < world:
        raise ValueError(f"val_size is {settings.val_size}; each of {world} processes needs one")
    if settings.seed < 0:
        raise ValueError(f"seed is {settings.seed}; it must be 0 or more")


def load_data(settings: Settings) -> tuple[tuple, tuple]:
    """Return (x, y) to train on and (x, y) to validate on; x (N, 3, 32, 32), standardised."""
    size = settings.train_size + settings.val_size
    data = load_cifar10(size, 1)
    if len(data.x_train) < size:
        there = len(data.x_train)
        raise ValueError(f"train_size + val_size is {size}; there are {there} training images")
    mean, std = data.x_train.mean(axis=(0, 1, 2)) / 255, data.x_train.std(axis=(0, 1, 2)) / 255
    x = to_tensor(data.x_train, mean, std).to(getattr(torch, settings.dtype))
    y, n = torch.from_numpy(data.y_train), settings.train_size
    return (x[:n], y[:n]), (x[n:], y[n:])


def new_run(settings: Settings, device: torch.device) -> Run:
    """Return a run before its first step, the same in each process."""
    with torch.random.fork_rng():  # the start draws from torch's own random numbers
        torch.manual_seed(settings.seed)
        model = ResNet(settings.blocks, settings.width, batchnorm=settings.norm != "none")
    if settings.norm == "global" and device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    elif settings.norm == "global":
        replace_batchnorm(model, GlobalBatchNorm2d)
    model = model.to(device, getattr(torch, settings.dtype))
    how = dict(momentum=0.9, nesterov=True, weight_decay=settings.weight_decay)
    return Run(model, torch.optim.SGD(model.parameters(), settings.learning_rate, **how))


def save(run: Run, settings: Settings, path: Path) -> None:
    """Write a checkpoint; the one before stays until the new one is whole."""
    state = {"settings": asdict(settings), "model": run.model.state_dict()}
    state |= {"optimizer": run.optimizer.state_dict(), "history": run.history}
    state |= {"epoch": run.epoch, "step": run.step, "loss_sum": float(run.loss_sum)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def resume(run: Run, settings: Settings, path: Path) -> None:
    """Bring a new run to where its checkpoint is, if there is one; the file cannot run any code.

    Raises: ValueError for a file that is none, or of other settings.
    """
    if not path.is_file():
        return
    try:
        state = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        saved = dict(state["settings"])
    except Exception:  # torch has a dozen ways to say so
        raise ValueError(f"{path.name} is no checkpoint of a run, or a damaged one") from None
    for name, value in asdict(settings).items():
        if saved.get(name) != value:
            what = f"{path.name} was made with {name} {saved.get(name)}, this run has {value}"
            raise ValueError(f"{what}; choose another folder")
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    for name in ("epoch", "step", "loss_sum", "history"):
        setattr(run, name, state[name])
