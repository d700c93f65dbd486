"""The record recipe's training: each of its parts, and what leaving one out changes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from assignment2_pytorch_cnn_rnn.fast_cifar import FastNet
from assignment2_pytorch_cnn_rnn.fast_training import (
    AlternatingFlip,
    Augment,
    Lookahead,
    Recipe,
    one_step,
    param_groups,
    train_fast,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(n=60):
    """Images of two classes, bright above or bright below."""
    x = 0.3 * torch.randn(n, 3, 8, 8, generator=seeded())
    y = torch.arange(n) % 2
    x[y == 0, :, :4] += 1
    x[y == 1, :, 4:] += 1
    return x, y


def small_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
    )


PLAIN = Recipe(
    learning_rate=0.05, batch_size=10, flips="none", shift=0, lookahead=0, label_smoothing=0,
    bias_factor=1, momentum=0, weight_decay=0,
)  # fmt: skip


def test_alternating_flips_show_both_sides_in_two_epochs():
    x = torch.arange(6.0).view(1, 1, 2, 3).expand(40, -1, -1, -1)
    flip = AlternatingFlip(40, seeded())
    index = torch.arange(40)
    seen = [flip(x, index, epoch) for epoch in range(4)]
    is_flipped = [[not torch.equal(image, x[0]) for image in epoch] for epoch in seen]
    assert 10 < sum(is_flipped[0]) < 30
    assert is_flipped[1] == [not f for f in is_flipped[0]]
    assert is_flipped[2:] == is_flipped[:2]
    part = torch.tensor([7, 3, 30])
    assert torch.equal(flip(x[part], part, 1), seen[1][part])


def test_lookahead_is_a_moving_average_that_pulls_back():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    slow = {name: p.clone().double() for name, p in net.state_dict().items()}
    lookahead = Lookahead(net)
    for step, decay in enumerate((0.9, 0.5, 0.0, 1.0)):
        for p in net.parameters():
            p.data += torch.randn(p.shape, generator=seeded(step))
        net(torch.randn(5, 2, generator=seeded(step)))  # moves the running statistics
        fast = {name: p.clone() for name, p in net.state_dict().items()}
        lookahead.update(decay)
        for name, p in net.state_dict().items():
            if p.is_floating_point():
                slow[name] = decay * slow[name] + (1 - decay) * fast[name]
                torch.testing.assert_close(p, slow[name].float())
            else:
                assert torch.equal(p, fast[name])  # the count of batches


def test_the_shifts_of_batch_norm_learn_faster():
    net = FastNet(None, (2, 3, 4))
    weights, betas = param_groups(net, 0.1, 0.01, bias_factor=64.0)
    assert betas["lr"] == 6.4 and weights["lr"] == 0.1
    pulls = [group["lr"] * group["weight_decay"] for group in (weights, betas)]
    assert pulls[0] == pytest.approx(pulls[1])
    assert {p.shape for p in betas["params"]} == {(2,), (3,), (4,)}
    together = list(itertools.chain(weights["params"], betas["params"]))
    trained = [p for p in net.parameters() if p.requires_grad]
    assert {id(p) for p in together} == {id(p) for p in trained} and len(together) == len(trained)
    torch.optim.SGD([weights, betas], momentum=0.85, nesterov=True)


def test_it_learns_and_its_history_is_that_of_fit():
    net = small_net()
    history = train_fast(net, problem(), PLAIN, 6, seeded(), val=problem(20))
    assert set(history) == {"epoch", "train_loss", "seconds", "val_accuracy"}
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert history["train_loss"][-1] < 0.5 * history["train_loss"][0]
    assert history["val_accuracy"][-1] > 0.9 and (np.diff(history["seconds"]) > 0).all()
    assert "val_accuracy" not in train_fast(net, problem(), PLAIN, 1, seeded())


def test_without_its_parts_it_is_the_plain_loop():
    x, y = problem()
    ours, plain = small_net(), small_net()
    train_fast(ours, (x, y), PLAIN, 2, seeded())
    generator, step = seeded(), 0
    torch.rand(60, generator=generator)  # the draw of the flips, not used
    for _ in range(2):
        for batch in torch.randperm(60, generator=generator).split(10):
            torch.randint(1, (2, 10), generator=generator)  # the draw of no shift
            rate = 0.05 * PLAIN.rate(step / 12)
            nn.functional.cross_entropy(plain(x[batch]), y[batch]).backward()
            for p in plain.parameters():
                p.data -= rate * p.grad
                p.grad = None
            step += 1
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_rate_rises_and_falls():
    recipe = Recipe(warmup=0.25, final=0.1)
    assert [recipe.rate(p) for p in (0, 0.125, 0.25, 0.625, 1)] == pytest.approx(
        [0.2, 0.6, 1, 0.55, 0.1]
    )


def test_equal_seeds_train_equally_and_others_do_not():
    results = []
    for seed in (0, 0, 1):
        net = small_net()
        train_fast(net, problem(), replace(PLAIN, flips="random", shift=1), 1, seeded(seed))
        results.append(net[0].weight)
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    "change",
    [
        dict(momentum=0.85),
        dict(weight_decay=0.1),
        dict(bias_factor=64.0),
        dict(label_smoothing=0.2),
        dict(flips="alternating"),
        dict(flips="random"),
        dict(shift=2),
        dict(lookahead=0.95),
        dict(warmup=0.5),
        dict(final=0.5),
    ],
    ids=str,
)
def test_every_setting_matters(change):
    plain, changed = small_net(), small_net()
    train_fast(plain, problem(), PLAIN, 2, seeded())
    train_fast(changed, problem(), replace(PLAIN, **change), 2, seeded())
    assert any(
        not torch.equal(a, b) for a, b in zip(plain.parameters(), changed.parameters(), strict=True)
    )


@pytest.mark.parametrize("flips", ["alternating", "random", "none"])
def test_augmentation_as_the_recipe_says(flips):
    x = torch.arange(9.0).view(1, 1, 3, 3).expand(64, -1, -1, -1)
    augment = Augment(Recipe(flips=flips, shift=0), 64, seeded())
    index = torch.arange(64)
    first, second, third = (augment(x, index, epoch) for epoch in range(3))
    mirrored = [(seen[:, 0, 0, 0] == 2).tolist() for seen in (first, second, third)]
    if flips == "none":
        assert not any(map(any, mirrored))
    else:
        assert 16 < sum(mirrored[0]) < 48
        assert (mirrored[2] == mirrored[0]) == (flips == "alternating")
        assert (mirrored[1] == [not m for m in mirrored[0]]) == (flips == "alternating")


def test_the_slow_weights_are_the_result():
    """With lookahead the end is an average, so it lies nearer to the start's side of the path."""
    fast, slow = small_net(), small_net()
    start = fast[0].weight.detach().clone()
    for net, keep in ((fast, 0), (slow, 0.999)):
        train_fast(net, problem(), replace(PLAIN, lookahead=keep, final=0.9), 5, seeded())
    assert (slow[0].weight - start).norm() < (fast[0].weight - start).norm()


def test_a_training_of_few_steps_is_not_undone():
    """Slow weights that were never moved are the start, and no result."""
    net, (x, y) = small_net(), problem()
    train_fast(net, (x[:40], y[:40]), replace(PLAIN, lookahead=0.95), 1, seeded())  # 4 steps
    assert not torch.equal(net[0].weight, small_net()[0].weight)


def test_without_batch_norm_there_is_one_group():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    history = train_fast(net, problem(), replace(PLAIN, bias_factor=64.0), 5, seeded())
    assert history["train_loss"][-1] < history["train_loss"][0]


def test_one_step_is_a_step_of_the_optimiser():
    net, (x, y) = small_net(), problem()
    before = net[0].weight.detach().clone()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    expected = nn.functional.cross_entropy(small_net()(x), y, label_smoothing=0.2).item()
    assert one_step(net, optimizer, x, y, 0.2) == pytest.approx(expected)
    torch.testing.assert_close(net[0].weight, before - 0.1 * net[0].weight.grad)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"flips is 'up'; it must be one of alternating, random"):
        Recipe(flips="up")
    for name in ("momentum", "label_smoothing", "lookahead", "warmup", "final"):
        with pytest.raises(ValueError, match=rf"{name} is 1; it must be 0 or more, below 1"):
            Recipe(**{name: 1})
    with pytest.raises(ValueError, match=r"decay is 1.1; it must be 0 … 1"):
        Lookahead(nn.Linear(2, 2)).update(1.1)
    with pytest.raises(ValueError, match=r"batch_size is 1024; it must be 1 … 60 examples"):
        train_fast(small_net(), problem(), Recipe(), 1, seeded())
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 0"):
        x, y = problem()
        train_fast(small_net(), (x * float("nan"), y), PLAIN, 1, seeded())
