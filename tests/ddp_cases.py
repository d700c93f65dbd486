"""Small trainings for test_train_ddp.py, which torchrun starts as two processes and pytest as one.

python -m torch.distributed.run … tests/ddp_cases.py compare FOLDER   every case, one by one
python -m torch.distributed.run … tests/ddp_cases.py die FOLDER       one is killed, once
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from assignment2_pytorch_cnn_rnn import train_ddp
from assignment2_pytorch_cnn_rnn.ddp_run import Settings

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows the latter kills as well
SMALL = Settings(
    blocks=(1, 1),
    width=3,
    epochs=2,
    batch_size=8,
    learning_rate=0.05,
    augment=False,
    train_size=51,  # 6 steps, and 3 images left over
    val_size=9,  # shares of 5 and 4
)
CASES = {
    f"{norm}, {dtype}": replace(SMALL, norm=norm, dtype=dtype)
    for norm in ("none", "global", "local")
    for dtype in ("float32", "float64")
}
AUGMENTED = replace(SMALL, augment=True)
STOPPED = CASES["none, float64"]
SAVE_EVERY, STEPS_MADE = 4, 11  # the last checkpoint is at 6 + 4


def small_data(settings: Settings):
    """Random images 12 × 12 in place of load_data's."""
    random, n = torch.Generator().manual_seed(0), settings.train_size
    x = torch.randn(n + settings.val_size, 3, 12, 12, dtype=torch.float64, generator=random)
    y = torch.randint(10, (len(x),), generator=random)
    x = x.to(getattr(torch, settings.dtype))
    return (x[:n], y[:n]), (x[n:], y[n:])


def train(settings: Settings, folder: Path, save_every: int = 0):
    """Train in this group of processes, however many it has; return the run."""
    place = train_ddp.join()
    run, *data = train_ddp.prepare(settings, place, folder)
    train_ddp.fit(run, *data, settings, place, folder, save_every)
    return run


def before_step(number: int, act) -> None:
    """Call act in place of the step of this number, counted from 0 in this process."""
    one_step, count = train_ddp.one_step, iter(range(10**6))

    def counted(*arguments):
        if next(count) == number:
            act()
        return one_step(*arguments)

    train_ddp.one_step = counted


def stop():
    raise InterruptedError


def compare(folder: Path) -> None:
    found, same = {}, []
    for name, settings in (*CASES.items(), ("augmented", AUGMENTED)):
        run = train(settings, folder / name, save_every=3)
        found[name] = {"model": run.model.state_dict(), "history": run.history}
        weights = torch.cat([p.detach().flatten() for p in run.model.parameters()])
        others = [torch.empty_like(weights) for _ in range(2)]
        dist.all_gather(others, weights)
        same.append(torch.equal(*others))
    images = torch.arange(64.0).view(8, 1, 8, 1).expand(8, 3, 8, 8).contiguous()
    place, batch = train_ddp.join(), torch.tensor([5, 0, 3, 3, 1, 7])
    shares = {}
    for key, numbers in (("plain", None), ("moved", (0, 0, 0))):
        mine = train_ddp.my_share(images, torch.arange(8), batch, place, numbers)
        shares[key] = [None, None]
        dist.all_gather_object(shares[key], tuple(t.tolist() for t in mine))
    try:
        nn.SyncBatchNorm(3)(torch.randn(2, 3, 4, 4))
    except ValueError as error:
        found["refused"] = str(error)
    before_step(STEPS_MADE, stop)
    try:
        train(STOPPED, folder / "stopped", SAVE_EVERY)
    except InterruptedError:
        dist.barrier()
    if place.rank == 0:
        torch.save(found | {"same": same, "shares": shares}, folder / "found.pt")


def die(folder: Path) -> None:
    mark = folder / "has died"

    def die_once():
        if os.environ["RANK"] == "1" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), KILL)

    before_step(STEPS_MADE, die_once)
    options = "--blocks 1 1 --width 3 --epochs 2 --batch-size 8 --learning-rate 0.05"
    options += f" --train-size 51 --val-size 9 --save-every {SAVE_EVERY}"
    sys.exit(train_ddp.main([*options.split(), "--folder", str(folder)]))


def threads() -> list[str]:
    """Return the names of this process's threads; on Linux alone."""
    return sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_ddp.load_data = small_data
    folder = Path(sys.argv[2])
    {"compare": compare, "die": die}[sys.argv[1]](folder)
    before = threads()
    train_ddp.leave()
    (folder / f"threads{os.environ['RANK']}.json").write_text(json.dumps([before, threads()]))
