"""One training on many devices: a ResNet on CIFAR-10 with DistributedDataParallel.

torchrun --nproc-per-node=2 -m assignment2_pytorch_cnn_rnn.train_ddp --epochs 2
python -m assignment2_pytorch_cnn_rnn.train_ddp --epochs 2        the same run, by one process

Each process has the whole model and takes its share of every batch; gradients are averaged. All
random numbers follow from seed, epoch, step and rank, so that a run goes on from its checkpoint as
if nothing had happened. Its folder is to be on a disk that all processes see.

With torchrun's --max-restarts set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1. Else the processes that
start again are given the addresses of the dead ones, and may call there: PyTorch's issue 135712.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import itertools
import json
import os
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn  # before a group is there: its defaults would hold it for ever
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from assignment2_pytorch_cnn_rnn.crop_flip import flip_and_crop
from assignment2_pytorch_cnn_rnn.ddp_run import (
    CHOICES,
    Run,
    Settings,
    check_settings,
    load_data,
    new_run,
    resume,
    save,
)
from assignment2_pytorch_cnn_rnn.split_batchnorm import mean_over_processes
from shared.data import DataError
from shared.environment import build_folder, num_threads, write_atomically
from shared.training import batches, evaluate, not_finite
from shared.weights import save_weights


@dataclass(frozen=True)
class Place:
    """Which of the processes this is, how many there are, and where it computes."""

    rank: int
    world: int
    device: torch.device


def join(device: str = "cpu") -> Place:
    """Join the processes that torchrun started; without torchrun this is a group of one.

    Raises: ValueError where a process would have no GPU of its own.
    """
    local = int(os.environ.get("LOCAL_RANK", 0))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda'; torch finds no GPU here")
    if device == "cuda" and here > torch.cuda.device_count():
        gpus = torch.cuda.device_count()
        raise ValueError(f"device is 'cuda'; {here} processes need a GPU each, here are {gpus}")
    if not dist.is_initialized():
        alone = dict(store=dist.HashStore(), rank=0, world_size=1)
        backend = "nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, **({} if "RANK" in os.environ else alone))
    where = torch.device(device, local) if device == "cuda" else torch.device(device)
    if device == "cuda":
        torch.cuda.set_device(where)
    return Place(dist.get_rank(), dist.get_world_size(), where)


def leave() -> None:
    """End the group and its threads: one that outlives Python can abort the process."""
    dist.destroy_process_group()
    gc.collect()  # a DistributedDataParallel that is done with is a cycle, and holds the group


def generator(*numbers: int) -> torch.Generator:
    """Return random numbers that follow from these alone, such as (seed, epoch, step, rank)."""
    mixed = np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0]))


def learning_rate(settings: Settings, progress: float) -> float:
    """Return the rate at a progress of 0 … 1: up for a quarter of the run, then down to 0."""
    return settings.learning_rate * float(np.interp(progress, (0, 0.25, 1), (0.1, 1, 0)))


def one_step(ddp: nn.Module, optimizer, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Make a step with this process's share of a batch; return the share's mean loss.

    All shares have the same size, so the mean of their gradients is the whole batch's gradient.
    """
    loss = F.cross_entropy(ddp(x), y)
    optimizer.zero_grad()
    loss.backward()  # each gradient, as soon as it is ready, is averaged over the processes
    optimizer.step()  # the same in every process
    return loss.detach().double()


def my_share(x, y, batch, place: Place, numbers: tuple[int, ...] | None):
    """Return this process's images (B / world, 3, H, W) and labels of a batch, on its device.

    Args: batch: (B,) indices, the same in each process. numbers: seed, epoch and step, for images
        that are moved and mirrored; None leaves them as they are.
    """
    mine = batch[place.rank :: place.world]
    x_mine = x[mine]
    if numbers is not None:
        x_mine = flip_and_crop(x_mine, generator(*numbers, place.rank))
    return x_mine.to(place.device), y[mine].to(place.device)


def agree(run: Run) -> None:
    """Make the sum of losses that of the whole batches; stop where it is not finite."""
    run.loss_sum = mean_over_processes(run.loss_sum).item()
    if not np.isfinite(run.loss_sum):
        raise not_finite(run.loss_sum, run.step, run.optimizer)


def train_epoch(run: Run, ddp, train, settings: Settings, place: Place, save_every, path) -> None:
    """Make the steps of an epoch that are not done yet; every save_every steps write a checkpoint.

    Args: train: (x, y), x (N, 3, H, W), y (N,). save_every: 0 writes none. path: the checkpoint's.
    """
    num_steps = len(train[0]) // settings.batch_size
    order = batches(len(train[0]), settings.batch_size, generator(settings.seed, run.epoch))
    for batch in itertools.islice(order, run.step, None):
        numbers = (settings.seed, run.epoch, run.step) if settings.augment else None
        for group in run.optimizer.param_groups:
            progress = (run.epoch + run.step / num_steps) / settings.epochs
            group["lr"] = learning_rate(settings, progress)
        run.loss_sum += one_step(ddp, run.optimizer, *my_share(*train, batch, place, numbers))
        run.step += 1
        if run.step < num_steps and save_every and run.step % save_every == 0:
            agree(run)
            if place.rank == 0:
                save(run, settings, path)
    agree(run)


def validate(model: nn.Module, x: torch.Tensor, y: torch.Tensor, place: Place) -> list[float]:
    """Return mean loss and accuracy; each process looks at its share of x (N, 3, H, W)."""
    for buffer in model.buffers():  # with local batch norm, process 0's statistics count
        dist.broadcast(buffer, 0)
    mine = slice(place.rank, None, place.world)
    loss, accuracy = evaluate(model, x[mine], y[mine])
    sums = torch.tensor([loss, accuracy], dtype=torch.float64, device=place.device) * len(y[mine])
    return (mean_over_processes(sums) * place.world / len(y)).tolist()


def prepare(settings: Settings, place: Place, folder: Path) -> tuple[Run, tuple, tuple]:
    """Return the run, as far as its checkpoint is, and (x, y) to train and to validate on.

    Raises: ValueError where settings, checkpoint or data do not fit.
    """
    check_settings(settings, place.world)
    run = new_run(settings, place.device)
    resume(run, settings, folder / "checkpoint.pt")
    found = [None] * place.world
    dist.all_gather_object(found, (run.epoch, run.step))
    if len(set(found)) > 1:
        raise ValueError(f"folder is {folder}; the processes do not all see its checkpoint")
    problems = [None] * place.world
    with contextlib.redirect_stdout(io.StringIO() if place.rank else sys.stdout):
        for rank in range(min(place.world, 2)):  # process 0 first: it may have to download
            problem = None
            if min(place.rank, 1) == rank:
                try:
                    train, val = load_data(settings)
                except (ValueError, DataError) as error:
                    problem = error
            dist.all_gather_object(problems, problem)
            if any(problems):  # all stop, with the first one's sentence
                raise next(filter(None, problems))
    return run, train, val


def fit(run: Run, train, val, settings, place, folder: Path, save_every: int = 0) -> None:
    """Train to the last epoch; after each, process 0 writes checkpoint.pt and log.jsonl.

    Args: save_every: steps between checkpoints within an epoch; 0 is none.
    """
    gpu = [place.device] if place.device.type == "cuda" else None
    ddp = DistributedDataParallel(run.model, gpu)
    while run.epoch < settings.epochs:
        ddp.train()
        started, first = time.perf_counter(), run.step
        train_epoch(run, ddp, train, settings, place, save_every, folder / "checkpoint.pt")
        seconds, images = time.perf_counter() - started, (run.step - first) * settings.batch_size
        row = {"epoch": run.epoch + 1, "train_loss": run.loss_sum / run.step}
        row["val_loss"], row["val_accuracy"] = validate(run.model, *val, place)
        row |= {"images_per_second": images / seconds, "processes": place.world}
        row |= {"threads": num_threads()}
        run.epoch, run.step, run.loss_sum = run.epoch + 1, 0, 0.0
        run.history.append(row)
        if place.rank == 0:
            # the log first: a run that is killed in between writes it again
            write_atomically(folder / "log.jsonl", "\n".join(map(json.dumps, run.history)) + "\n")
            save(run, settings, folder / "checkpoint.pt")
            print(json.dumps(row), flush=True)


def read_options(argv: list[str] | None) -> tuple[Settings, argparse.Namespace]:
    """Return the settings and the other options of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for setting in fields(Settings):
        how = dict(type=type(setting.default), choices=CHOICES.get(setting.name))
        if setting.name == "blocks":
            how = dict(type=int, nargs="+")
        elif setting.name == "augment":
            how = dict(action=argparse.BooleanOptionalAction)
        name = f"--{setting.name.replace('_', '-')}"
        parser.add_argument(name, default=setting.default, help=f"{setting.default}", **how)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--folder", type=Path, default=build_folder() / "train_ddp")
    parser.add_argument("--save-every", type=int, default=0, metavar="STEPS", help="0 is per epoch")
    options = parser.parse_args(argv)
    if options.save_every < 0:
        parser.error(f"--save-every is {options.save_every}; it must be 0 or more")
    chosen = {setting.name: getattr(options, setting.name) for setting in fields(Settings)}
    return Settings(**chosen | {"blocks": tuple(options.blocks)}), options


def main(argv: list[str] | None = None) -> int:
    settings, options = read_options(argv)
    try:
        place = join(options.device)
        run, train, val = prepare(settings, place, options.folder)
    except (ValueError, DataError) as error:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        if dist.is_initialized():
            leave()
        return 2
    pids = [None] * place.world
    dist.all_gather_object(pids, os.getpid())
    if place.rank == 0:
        start = f"from epoch {run.epoch + 1}, step {run.step + 1}"
        print(f"{place.world} processes on {place.device.type}, {start}, pids {pids}", flush=True)
    fit(run, train, val, settings, place, options.folder, options.save_every)
    if place.rank == 0:
        save_weights(run.model, options.folder / "weights.pt")
    leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
