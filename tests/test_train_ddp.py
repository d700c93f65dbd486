"""One training on two processes is that of one, and that of two of which one was killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace

import ddp_cases
import pytest
import torch
import torch.distributed as dist
from ddp_cases import AUGMENTED, CASES, SMALL, STOPPED
from torch import nn

from assignment2_pytorch_cnn_rnn import ddp_run, train_ddp
from assignment2_pytorch_cnn_rnn.split_batchnorm import GhostBatchNorm2d, replace_batchnorm
from shared.environment import ROOT
from shared.weights import load_weights

MODULE = "assignment2_pytorch_cnn_rnn.train_ddp"
TOLERANCE = {"float32": 5e-6, "float64": 1e-13}  # absolute, of weights of about 0.1 … 1
SPEED = ("images_per_second", "processes", "threads")


def torchrun(*command, **environ):
    """Run a command as two processes that meet on the loopback, at any free port."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launch += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=localhost"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environ}
    environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # see train_ddp
    return subprocess.run(
        [*launch, *map(str, command)], cwd=ROOT, env=environ, text=True, capture_output=True,
        timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """What two processes found; their folder is there["folder"]."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun(ROOT / "tests" / "ddp_cases.py", "compare", folder)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "found.pt", weights_only=False) | {"folder": folder}


@pytest.fixture(autouse=True)
def group_of_one(monkeypatch):
    """No group is left over, here are none of torchrun's variables, and one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(train_ddp, "load_data", ddp_cases.small_data)
    yield
    torch.set_num_threads(threads)
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.fixture
def local_as_two(monkeypatch):
    """One process normalises as two would, each with its own images."""

    def with_ghosts(settings, device):
        run = ddp_run.new_run(settings, device)
        replace_batchnorm(run.model, partial(GhostBatchNorm2d, parts=2))
        return run

    monkeypatch.setattr(train_ddp, "new_run", with_ghosts)


def equal_histories(got, expected, **tolerance):
    """Compare what does not depend on the machine; evaluate computes losses in float32."""
    for a, b in zip(results(got), results(expected), strict=True):
        assert a.pop("val_loss") == pytest.approx(b.pop("val_loss"), abs=5e-6)
        assert a == pytest.approx(b, **tolerance)


def equal_states(got, expected, tolerance):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=tolerance, msg=name)


def results(history):
    """A history without what depends on the machine."""
    return [{k: v for k, v in row.items() if k not in SPEED} for row in history]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one(there, name, tmp_path, request):
    settings = CASES[name]
    if settings.norm == "local":
        request.getfixturevalue("local_as_two")
    run = ddp_cases.train(settings, tmp_path)
    tolerance = TOLERANCE[settings.dtype]
    equal_states(there[name]["model"], run.model.state_dict(), tolerance)
    equal_histories(there[name]["history"], run.history, abs=tolerance)
    assert [row["processes"] for row in there[name]["history"]] == [2, 2]
    start = ddp_run.new_run(settings, torch.device("cpu")).model
    moved = (start.fc.weight - run.model.fc.weight).abs().max()
    assert moved > 0.01  # or nothing would be compared


def test_local_and_global_batchnorm_are_not_the_same(there):
    local, whole = (there[f"{norm}, float64"]["history"] for norm in ("local", "global"))
    assert abs(local[1]["train_loss"] - whole[1]["train_loss"]) > 1e-3


def test_all_processes_have_the_same_weights(there):
    assert there["same"] == [True] * 7


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_thread_of_the_group_outlives_it(there):
    """One that does can abort the process as Python ends, though only in one run of thirty."""
    for rank in range(2):
        before, after = json.loads((there["folder"] / f"threads{rank}.json").read_text())
        assert "pt_gloo_runloop" in before
        assert not [name for name in after if "gloo" in name]


def test_torch_still_refuses_sync_batchnorm_on_a_cpu(there):
    """Else GlobalBatchNorm2d is no longer needed."""
    assert "SyncBatchNorm expected input tensor to be on GPU" in there["refused"]


def test_shares_make_up_the_batch_and_are_moved_by_their_own_draws(there):
    plain, moved = there["shares"]["plain"], there["shares"]["moved"]
    assert [labels for _, labels in plain] == [[5, 3, 1], [0, 3, 7]]
    assert [labels for _, labels in moved] == [[5, 3, 1], [0, 3, 7]]
    # image 3 is the second of both shares: the same pixels, moved in two ways
    assert plain[0][0][1] == plain[1][0][1] and moved[0][0][1] != moved[1][0][1]


def test_a_killed_process_changes_nothing(there, tmp_path):
    done = torchrun("--max-restarts=1", ROOT / "tests" / "ddp_cases.py", "die", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "has died").exists()
    assert "from epoch 1, step 1," in done.stdout and "from epoch 2, step 5," in done.stdout
    model = ddp_run.new_run(AUGMENTED, torch.device("cpu")).model
    load_weights(model, tmp_path / "weights.pt")
    equal_states(model.state_dict(), there["augmented"]["model"], 0)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    # losses were summed up in other parts
    equal_histories(rows, there["augmented"]["history"], rel=1e-12)


def test_one_process_goes_on_where_two_were_stopped(there, tmp_path):
    checkpoint = there["folder"] / "stopped" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)  # runs no code
    assert (state["epoch"], state["step"]) == (1, 4)
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint.read_bytes())
    run = ddp_cases.train(STOPPED, tmp_path)
    name = next(name for name, settings in CASES.items() if settings == STOPPED)
    equal_states(run.model.state_dict(), there[name]["model"], TOLERANCE["float64"])
    equal_histories(run.history, there[name]["history"], abs=TOLERANCE["float64"])


def test_the_command_on_two_processes(tmp_path):
    options = "--blocks 1 --width 2 --epochs 1 --batch-size 64 --train-size 128 --val-size 11"
    done = torchrun("-m", MODULE, *options.split(), "--folder", tmp_path, COURSE_DATA=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (row,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (row["epoch"], row["processes"], row["threads"]) == (1, 2, 1)
    assert row["images_per_second"] > 0 and 1 < row["train_loss"] < 4
    assert row["val_accuracy"] * 11 == pytest.approx(round(row["val_accuracy"] * 11))
    assert done.stdout.count("CIFAR-10 stand-in") == 1  # process 0 alone speaks
    assert "2 processes on cpu, from epoch 1, step 1, pids [" in done.stdout


def as_options(settings):
    for name, value in asdict(settings).items():
        name = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            yield name if value else f"--no-{name[2:]}"
        else:
            yield from (name, *map(str, value if isinstance(value, tuple) else [value]))


def test_without_torchrun_and_again(tmp_path, capsys):
    options = [*as_options(SMALL), "--folder", str(tmp_path)]
    assert train_ddp.read_options(options)[0] == SMALL
    assert train_ddp.main(options) == 0
    said, files = capsys.readouterr().out, sorted(path.name for path in tmp_path.iterdir())
    assert files == ["checkpoint.pt", "log.jsonl", "weights.pt"]
    assert said.splitlines()[1:] == (tmp_path / "log.jsonl").read_text().splitlines()
    before = (tmp_path / "log.jsonl").read_bytes()
    assert train_ddp.main(options) == 0  # nothing is left to do
    assert (tmp_path / "log.jsonl").read_bytes() == before


@pytest.fixture(scope="module")
def uninterrupted():
    """The augmented run, once made; see whole."""
    return []


@pytest.fixture
def whole(uninterrupted, tmp_path):
    if not uninterrupted:
        uninterrupted.append(ddp_cases.train(AUGMENTED, tmp_path / "whole"))
    return uninterrupted[0]


@pytest.mark.parametrize(
    ("stop_at", "save_every"),  # of two epochs with six steps each
    [(0, 1), (2, 1), (2, 3), (5, 5), (6, 3), (9, 4), (11, 1), (11, 5)],
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    stop_at, save_every, whole, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(train_ddp, "one_step", train_ddp.one_step)  # put back afterwards
        ddp_cases.before_step(stop_at, ddp_cases.stop)
        with pytest.raises(InterruptedError):
            ddp_cases.train(AUGMENTED, tmp_path, save_every)
    run = ddp_cases.train(AUGMENTED, tmp_path, save_every)
    equal_states(run.model.state_dict(), whole.model.state_dict(), 0)
    equal_histories(run.history, whole.history, rel=1e-12)


def test_settings_decide_the_result(tmp_path):
    """The same run twice is the same; another seed, or augmentation, is another."""
    changes = ({}, {}, {"seed": 1}, {"augment": True}, {"weight_decay": 0.1}, {"epochs": 3})
    losses = [
        ddp_cases.train(replace(SMALL, **change), tmp_path / str(n)).history[1]["train_loss"]
        for n, change in enumerate(changes)
    ]
    assert losses[0] == losses[1] and len(set(losses)) == len(losses) - 1


def test_each_epoch_has_its_own_order_and_each_step_its_own_draws():
    def first(*numbers):
        return torch.rand(1, generator=train_ddp.generator(*numbers)).item()

    places = [(0, 0), (0, 1), (1, 0), (0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 0, 0)]
    assert len({first(*place) for place in places}) == len(places)
    assert first(0, 1, 2, 3) == first(0, 1, 2, 3)


def test_the_rate_rises_and_falls():
    rates = [train_ddp.learning_rate(SMALL, p) for p in (0, 0.25, 0.625, 1)]
    assert rates == pytest.approx([0.005, 0.05, 0.025, 0])


# bad input is one sentence

BAD = {
    "--batch-size 9": "batch_size is 9; it must be a multiple of 2, the number of processes, so .+",
    "--batch-size 60": "batch_size is 60; it must be 1 … 51, train_size",
    "--batch-size 0": "batch_size is 0; it must be a whole number, 1 or more",
    "--val-size 1": "val_size is 1; each of 2 processes needs one",
    "--epochs 0": "epochs is 0; it must be a whole number, 1 or more",
    "--seed -1": "seed is -1; it must be 0 or more",
    "--width 4": "checkpoint.pt was made with width 3, this run has 4; choose another folder",
    "--width 0": "width is 0; it must be a whole number, 1 or more",
    "--device cuda": "device is 'cuda'; torch finds no GPU here",
}


@pytest.mark.parametrize("options", BAD)
def test_bad_options_are_one_sentence(options, tmp_path, monkeypatch, capsys):
    ddp_run.save(ddp_run.new_run(SMALL, torch.device("cpu")), SMALL, tmp_path / "checkpoint.pt")
    check = ddp_run.check_settings
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(train_ddp, "check_settings", lambda settings, _: check(settings, 2))
    given = [*as_options(SMALL), "--folder", str(tmp_path), *options.split()]
    assert train_ddp.main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert re.fullmatch(BAD[options], said[7:-1]), said


def test_two_processes_say_one_sentence(tmp_path):
    options = f"--train-size 4_999 --val-size 64 --folder {tmp_path}".split()
    done = torchrun("-m", MODULE, *options, COURSE_DATA=str(tmp_path))  # the stand-in has less
    assert done.returncode != 0 and done.stderr.count("error: train_size + val_size is") == 1


def test_more_processes_than_gpus_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=r"'cuda'; 4 processes need a GPU each, here are 2$"):
        train_ddp.join("cuda")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "weights", "half"])
def test_a_damaged_checkpoint_is_one_sentence(content, tmp_path, capsys):
    path = tmp_path / "checkpoint.pt"
    run = ddp_run.new_run(SMALL, torch.device("cpu"))
    if content == "weights":
        torch.save(run.model.state_dict(), path)
    elif content == "half":
        ddp_run.save(run, SMALL, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    assert train_ddp.main([*as_options(SMALL), "--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "error: checkpoint.pt is no checkpoint of a run, or a damaged one\n"
    )
    assert path.read_bytes() == before


def test_processes_that_see_different_checkpoints_are_told(tmp_path, monkeypatch):
    def other(found, mine):
        found[:] = [mine, (3, 0)]

    monkeypatch.setattr(dist, "all_gather_object", other)
    place = train_ddp.Place(0, 2, torch.device("cpu"))
    with pytest.raises(ValueError, match="the processes do not all see its checkpoint"):
        train_ddp.prepare(SMALL, place, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    settings = replace(SMALL, norm="none", learning_rate=1e30)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        ddp_cases.train(settings, tmp_path, save_every=2)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_data_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"is 6000; there are 5000 training images"):
        ddp_run.load_data(replace(SMALL, train_size=5_900, val_size=100))


def test_gpus_get_torchs_own_sync_batchnorm(monkeypatch):
    monkeypatch.setattr(nn.Module, "to", lambda self, *_: self)
    run = ddp_run.new_run(replace(SMALL, norm="global"), SimpleNamespace(type="cuda"))
    kinds = [type(m) for m in run.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert set(kinds) == {nn.SyncBatchNorm} and len(kinds) == 6
