"""Tests of groups of seeds: each learns what it learns alone; clipping, RMSprop, rows per seed."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from assignment2_pytorch_cnn_rnn.palindromes import split_palindromes
from assignment2_pytorch_cnn_rnn.rnn import build_rnn
from assignment2_pytorch_cnn_rnn.seed_groups import (
    BatchDrawer,
    clip_per_seed,
    group_accuracy,
    group_losses,
    pick,
    rmsprop_step,
    rows_per_seed,
    stack_seeds,
    stack_weights,
    train_group,
)
from shared.experiments import paired_difference, summarise

DATA = split_palindromes(5)
SEEDS = (3, 1, 4)


def build_small(**options):
    return build_rnn(12, **options).double()


def train(seeds, num_steps=60, build=build_small, **options):
    options = dict(learning_rate=3e-3, batch_size=16, check_every=20) | options
    return train_group(build, DATA.train, DATA.val, seeds, num_steps=num_steps, **options)


@pytest.mark.parametrize("start", [{}, {"gain": 1.0}])
@pytest.mark.parametrize("options", [{}, {"max_norm": 0.05}, {"max_norm": None}])
def test_a_seed_in_a_group_learns_what_it_learns_alone(start, options):
    build = partial(build_small, **start)
    together = train(SEEDS, build=build, **options)
    for i, seed in enumerate(SEEDS):
        alone = train((seed,), build=build, **options)
        for name, values in alone["weights"][0].items():
            own = together["weights"][i][name]
            torch.testing.assert_close(own, values, rtol=1e-8, atol=1e-9)
        assert together["val_accuracy"][i] == alone["val_accuracy"][0]
        np.testing.assert_array_equal(together["curve"][i], alone["curve"][0])
        np.testing.assert_allclose(together["norm"][i], alone["norm"][0], rtol=1e-6)


@pytest.mark.parametrize("max_norm", [0.3, None])
def test_one_seed_is_a_plain_loop_with_torchs_own_parts(max_norm):
    torch.manual_seed(7)
    net = build_small()
    optimizer = torch.optim.RMSprop(net.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(7)
    for _ in range(20):
        rows = torch.randint(len(DATA.train[0]), (16,), generator=generator)
        loss = nn.functional.cross_entropy(net(DATA.train[0][rows]), DATA.train[1][rows])
        optimizer.zero_grad()
        loss.backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(net.parameters(), max_norm)
        optimizer.step()
    weights = train((7,), num_steps=20, max_norm=max_norm)["weights"][0]
    for name, value in net.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-9, atol=1e-10)


def test_solved_seeds_stop_and_the_others_go_on_as_before():
    enough = 0.5
    long = train(SEEDS, num_steps=400, enough=enough)
    full = train(SEEDS, num_steps=400, enough=2.0)
    assert len(set(long["steps"])) > 1  # they stop at different times, or this shows nothing
    for i in range(len(SEEDS)):
        checks = int(long["steps"][i]) // 20
        np.testing.assert_array_equal(long["curve"][i, :checks], full["curve"][i, :checks])
        assert (long["curve"][i, : checks - 1] < enough).all()
        solved = long["curve"][i, checks - 1] >= enough
        assert solved == (long["solved_step"][i] == long["steps"][i])
        assert (long["curve"][i, checks - 1 :] == long["curve"][i, checks - 1]).all()
    accuracy = group_accuracy(build_small(), stack_weights(long["weights"]), *DATA.val)
    np.testing.assert_array_equal(accuracy, long["val_accuracy"])


def test_the_best_weights_are_kept_and_a_start_is_left_as_it_is():
    stack = stack_seeds(build_small, SEEDS)
    start, before = ([pick(stack, i) for i in range(3)] for _ in range(2))
    result = train(SEEDS, num_steps=100, learning_rate=0.3, enough=2.0, start=start)
    np.testing.assert_array_equal(result["curve"].max(axis=1), result["val_accuracy"])
    accuracy = group_accuracy(build_small(), stack_weights(result["weights"]), *DATA.val)
    np.testing.assert_array_equal(accuracy, result["val_accuracy"])
    for one, old in zip(start, before, strict=True):
        assert all(torch.equal(one[name], old[name]) for name in one)


@pytest.mark.parametrize(("max_norm", "expected"), [(None, 0), (1e-9, 1), (1e9, 0)])
def test_the_share_of_clipped_steps_is_counted(max_norm, expected):
    result = train(SEEDS, num_steps=60, enough=0.5, max_norm=max_norm)
    assert result["clipped"].tolist() == [expected] * len(SEEDS)


def test_some_seeds_are_clipped_more_often_than_others():
    norms = train(SEEDS, num_steps=60, enough=2.0, check_every=1, max_norm=None)["norm"]
    limit = float(np.median(norms[:, 0]))  # the first gradient is the same, clipped or not
    first = train(SEEDS, num_steps=1, max_norm=limit)["clipped"]
    assert first.tolist() == (norms[:, 0] > limit).astype(float).tolist() != [0.0] * len(SEEDS)


def test_starts_are_those_of_the_seed_and_the_callers_numbers_go_on():
    torch.manual_seed(0)
    torch.rand(1)
    expected = torch.rand(3)
    torch.manual_seed(0)
    torch.rand(1)
    stack = stack_seeds(build_small, SEEDS)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(4)
    for name, value in build_small().state_dict().items():
        assert torch.equal(pick(stack, 2)[name], value)


def test_a_seed_that_breaks_spoils_no_other():
    stack = stack_seeds(build_small, (1, 2))
    stack["W_hy"][0] = torch.nan
    start = [pick(stack, i) for i in range(2)]
    result, alone = train((1, 2), start=start), train((2,), start=start[1:])
    torch.testing.assert_close(result["weights"][1]["W_hy"], alone["weights"][0]["W_hy"])
    assert result["val_accuracy"][0] == 0 < result["val_accuracy"][1]


@pytest.mark.parametrize("max_norm", [0.5, 2.0, 1e6])
def test_clipping_is_torchs_for_every_seed(max_norm):
    generator = torch.Generator().manual_seed(0)
    grads = [torch.randn(3, *s, generator=generator) for s in ((4, 2), (4,), (1, 2, 3))]
    grads[0][1] *= 100
    grads[1][2] *= 0
    own = [[grad[i].clone() for grad in grads] for i in range(3)]
    before = [grad.clone() for grad in grads]
    clipped, norms = clip_per_seed(grads, max_norm)
    assert all(map(torch.equal, grads, before))
    for i, parts in enumerate(own):
        parameters = [nn.Parameter(torch.zeros_like(part)) for part in parts]
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part
        torch.testing.assert_close(norms[i], nn.utils.clip_grad_norm_(parameters, max_norm))
        for parameter, grad in zip(parameters, clipped, strict=True):
            torch.testing.assert_close(grad[i], parameter.grad)


def test_rmsprop_is_torchs():
    values = torch.randn(4, 3, dtype=torch.float64)
    parameter = nn.Parameter(values.clone())
    square, optimizer = torch.zeros_like(values), torch.optim.RMSprop([parameter], 0.01)
    for step in range(5):
        grad = torch.sin(step + values)
        parameter.grad = grad.clone()
        rmsprop_step(values, grad, square, 0.01)
        optimizer.step()
        torch.testing.assert_close(values, parameter.detach(), rtol=1e-13, atol=1e-13)


def test_losses_are_means_per_seed():
    stack = stack_seeds(build_small, SEEDS)
    x, y = BatchDrawer(*DATA.train, 16, SEEDS).draw()
    losses = group_losses(build_small(), stack, x, y)
    net = build_small()
    for i in range(3):
        net.load_state_dict(pick(stack, i))
        torch.testing.assert_close(losses[i], nn.functional.cross_entropy(net(x[i]), y[i]))


def test_a_group_becomes_rows_per_seed():
    rows = [
        {"setting": name, "T": 5, "seed": (4, 2), "seconds": 3.0, "made": {"threads": 1},
         "per_seed": {"accuracy": torch.tensor(values), "curve": np.arange(6).reshape(2, 3)}}
        for name, values in {"a": [0.5, 0.75], "b": [0.25, 0.75]}.items()
    ]  # fmt: skip
    single = rows_per_seed(rows)
    assert [(r["setting"], r["seed"], r["accuracy"]) for r in single] == [
        ("a", 4, 0.5), ("a", 2, 0.75), ("b", 4, 0.25), ("b", 2, 0.75),
    ]  # fmt: skip
    assert all(r["seconds"] == 1.5 and r["T"] == 5 and "per_seed" not in r for r in single)
    assert isinstance(single[0]["accuracy"], float) and single[1]["curve"].tolist() == [3, 4, 5]
    assert summarise(single, "accuracy")["a"][2] == 2
    assert paired_difference(single, "accuracy", "a", "b").mean == 0.125
    assert rows[0]["seconds"] == 3.0  # the group's rows stay as they are
    rows[1]["per_seed"]["accuracy"] = [1.0]
    with pytest.raises(ValueError, match="accuracy of 'b' need 2 values"):
        rows_per_seed(rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stack_seeds(build_small, ()), r"seeds is \(\)"),
        (lambda: stack_seeds(build_small, (1, 1)), "all different"),
        (lambda: train((1,), num_steps=0), "num_steps"),
        (lambda: train((1,), learning_rate=float("nan")), "learning_rate"),
        (lambda: train((1,), batch_size=0), "batch_size is 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
