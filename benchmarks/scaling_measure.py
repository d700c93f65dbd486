"""The measurements of reports/scaling.md: training steps, decoding, gloo, train_ddp itself."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch.nn import functional as F

from assignment2_pytorch_cnn_rnn.resnet import ResNet
from benchmarks.scaling_model import Link, count, efficiency, fit_link
from shared.environment import ROOT, write_atomically


def time_training(make_model, size: int, images: int, steps: int) -> float:
    """Return images/s of training steps on the CPU, the fastest of `steps`."""
    model, times = make_model(), []
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    x, y = torch.randn(images, 3, size, size), torch.zeros(images, dtype=torch.int64)
    for _ in range(steps + 1):
        started = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        times.append(time.perf_counter() - started)
    return images / min(times[1:])  # the first one sets up


def time_decoding(size: int, repeats: int = 50) -> tuple[float, float]:
    """Return the seconds to read, cut and scale a JPEG of 500 × 375 pixels, and its bytes."""
    rng, file = np.random.default_rng(0), io.BytesIO()
    rough = Image.fromarray(rng.integers(0, 256, (94, 125, 3), dtype=np.uint8))
    rough.resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        picture = Image.open(io.BytesIO(file.getvalue())).convert("RGB")
        part = picture.resize((size, size), Image.Resampling.BILINEAR, box=(40, 20, 390, 370))
        np.asarray(part)
        times.append(time.perf_counter() - started)
    return float(np.median(times)), float(len(file.getvalue()))


def _all_reduce(rank: int, folder: str, sizes: list[int]) -> None:
    """Time all-reduces of these bytes as one of two processes; process 0 writes them down."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = {}
    for size in sizes:
        x, times = torch.zeros(size // 4), []
        for _ in range(8 if size > 10**6 else 100):
            dist.barrier()
            started = time.perf_counter()
            dist.all_reduce(x)
            times.append(time.perf_counter() - started)
        found[size] = float(np.median(times))
    if rank == 0:
        write_atomically(Path(folder) / "times.json", json.dumps(list(found.items())))
    dist.destroy_process_group()


def time_loopback() -> Link:
    """Return latency and bandwidth of gloo between two processes of this machine."""
    with TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_all_reduce, (folder, [4, 64 * 2**20]), nprocs=2)
        return fit_link(dict(json.loads((Path(folder) / "times.json").read_text("utf-8"))))


def run_ddp(processes: int, images: int, width: int) -> float:
    """Return images/s of train_ddp with so many images per process, a thread each."""
    options = f"--width {width} --epochs 2 --batch-size {images * processes} --val-size 2"
    options += f" --train-size {8 * images * processes} --no-augment"
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    with TemporaryDirectory() as folder:
        command = [sys.executable, *launch, "-m", "assignment2_pytorch_cnn_rnn.train_ddp"]
        command += [*options.split(), "--folder", folder]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "COURSE_PROFILE": "quick"}
        subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True)
        rows = (Path(folder) / "log.jsonl").read_text("utf-8").splitlines()
    return json.loads(rows[-1])["images_per_second"]


def measure(
    models: dict, size: int, images: int = 8, steps: int = 3, each: int = 16, pairs: int = 3
) -> dict:
    """Return everything that is measured and not counted or stated.

    Args: images: in a step of each model; each: per process in a step of train_ddp; pairs: runs of
        train_ddp on one process and on two, by turns.
    """
    speed = {name: time_training(make, size, images, steps) for name, make in models.items()}
    decode_seconds, file_bytes = time_decoding(size)
    loopback, width = time_loopback(), 64
    pairs = [[run_ddp(processes, each, width) for processes in (1, 2)] for _ in range(pairs)]
    one, two = zip(*pairs, strict=True)
    ratios = [b / a for a, b in pairs]
    gradients = count(lambda: ResNet(width=width), 32).gradients
    compute = each / float(np.mean(one))  # seconds of a step
    predicted = efficiency(compute, gradients, 2, loopback, overlap=False)
    small = dict(
        one=one, two=two, ratios=ratios, predicted=predicted, gradients=gradients, each=each
    )
    return dict(
        few=images,
        images_per_second=speed,
        loopback=loopback,
        decode_seconds=decode_seconds,
        file_bytes=file_bytes,
        small=small,
    )
