"""The pipeline of assignment 2: data sets, loaders and the plain loop, beside torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler

from assignment2_pytorch_cnn_rnn.pipeline import (
    Loader,
    Pairs,
    Shuffle,
    TensorBatches,
    init_xavier,
    least_squares,
    mse_gradient,
    noisy_line,
    stack,
    train,
)
from shared.training import fit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def line():
    return noisy_line(50, seeded(), slope=-1.5, intercept=3.0, noise=0.3)


def small_net(seed=0, dtype=torch.float32):
    net = nn.Sequential(nn.Linear(1, 5), nn.ReLU(), nn.Linear(5, 1)).to(dtype)
    return init_xavier(net, seeded(seed))


def assert_same_batches(got, expected):
    got, expected = list(got), list(expected)
    assert len(got) == len(expected)
    for (x, y), (x_other, y_other) in zip(got, expected, strict=True):
        assert torch.equal(x, x_other) and torch.equal(y, y_other)
        assert x.dtype == x_other.dtype


# ---- the line ----


def test_noisy_line_is_a_line_with_noise():
    x, y = noisy_line(20_000, seeded(), slope=2.0, intercept=0.5, noise=0.7)
    e = y - 2 * x - 0.5
    assert x.shape == y.shape == (20_000, 1) and x.dtype == torch.float32
    assert -2 <= x.min() and x.max() < 2 and abs(x.mean()) < 0.03
    assert abs(e.mean()) < 0.02 and abs(e.std() - 0.7) < 0.02
    assert abs((e * x).mean()) < 0.03


def test_the_same_seed_gives_the_same_line_and_another_another():
    x, y = noisy_line(10, seeded(3))
    assert all(map(torch.equal, (x, y), noisy_line(10, seeded(3))))
    assert not torch.equal(x, noisy_line(10, seeded(4))[0])


@pytest.mark.parametrize("shift", [0.0, 3_000.0])
def test_least_squares_agrees_with_lstsq(line, shift):
    x, y = (values.double() for values in line)
    x = x + shift
    columns = np.column_stack([x.numpy(), np.ones(len(x))])
    expected = np.linalg.lstsq(columns, y.numpy(), rcond=None)[0].ravel()
    np.testing.assert_allclose(least_squares(x, y), expected, rtol=1e-8)


def test_least_squares_has_no_gradient(line):
    x, y = (values.double() for values in line)
    gradient = mse_gradient(x, y, *least_squares(x, y))
    np.testing.assert_allclose(gradient, 0, atol=1e-13)


def test_mse_gradient_agrees_with_autograd(line):
    x, y = (values.double() for values in line)
    slope, intercept = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.0, -2))
    F.mse_loss(slope * x + intercept, y).backward()
    got = mse_gradient(x, y, 1.0, -2)
    np.testing.assert_allclose(got, [slope.grad, intercept.grad], rtol=1e-12)


# ---- data sets and loaders ----


def test_pairs_follow_pythons_protocol(line):
    pairs = Pairs(*line)
    assert len(pairs) == 50
    x, y = pairs[7]
    assert torch.equal(x, line[0][7]) and torch.equal(y, line[1][7])
    with pytest.raises(IndexError):
        pairs[50]


@pytest.mark.parametrize(("n", "m"), [(3, 4), (0, 0)])
def test_pairs_refuse_what_is_no_data_set(n, m):
    with pytest.raises(ValueError, match=f"x has {n} examples and y {m}"):
        Pairs(torch.zeros(n, 1), torch.zeros(m, 1))


def test_shuffle_visits_each_index_once_and_in_a_new_order_each_pass():
    order = Shuffle(20, seeded())
    first, second = list(order), list(order)
    assert sorted(first) == sorted(second) == list(range(20)) and first != second
    assert list(Shuffle(20, seeded())) == first and len(order) == 20


def test_shuffle_has_the_order_of_torchs_sampler():
    assert list(Shuffle(20, seeded(5))) == list(RandomSampler(range(20), generator=seeded(5)))


def test_stack_keeps_shapes_and_dtypes():
    x, y = stack([(torch.zeros(2, 3), torch.tensor(1)), (torch.ones(2, 3), torch.tensor(0))])
    assert x.shape == (2, 2, 3) and y.tolist() == [1, 0] and y.dtype == torch.int64


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 25, 50])
def test_loader_agrees_with_torchs(line, batch_size, drop_last):
    pairs = Pairs(*line)
    ours = Loader(pairs, batch_size, Shuffle(50, seeded(1)), drop_last)
    theirs = DataLoader(pairs, batch_size, sampler=Shuffle(50, seeded(1)), drop_last=drop_last)
    assert len(ours) == len(theirs)
    for _ in range(2):  # two passes, each in its own order
        batches = list(ours)
        assert_same_batches(batches, theirs)
        assert len(batches) == len(ours)


def test_loader_goes_in_stored_order_where_none_is_given(line):
    assert_same_batches(Loader(Pairs(*line), 20), DataLoader(Pairs(*line), 20))


def test_loader_can_visit_a_part(line):
    ((x, _),) = Loader(Pairs(*line), 4, order=[9, 3, 3])
    assert torch.equal(x, line[0][[9, 3, 3]])


@pytest.mark.parametrize("batch_size", [0, -1, 51, 2.0, True, None])
def test_a_batch_size_that_cannot_be_is_refused(line, batch_size):
    for make in (
        lambda: Loader(Pairs(*line), batch_size),
        lambda: TensorBatches(*line, batch_size, seeded()),
    ):
        with pytest.raises(ValueError, match=r"batch_size is .* 1 … 50 examples"):
            make()


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_batches_from_memory_agree_with_the_loader(line, batch_size):
    fast = TensorBatches(*line, batch_size, seeded(2))
    slow = Loader(Pairs(*line), batch_size, Shuffle(50, seeded(2)), drop_last=True)
    assert len(fast) == len(slow)
    for _ in range(2):
        assert_same_batches(fast, slow)


def test_batches_of_images_that_are_not_contiguous():
    images = torch.arange(5 * 2 * 3 * 4.0).reshape(5, 4, 3, 2).permute(0, 3, 2, 1)
    fast = TensorBatches(images, torch.arange(5), 2, seeded())
    slow = Loader(Pairs(images, torch.arange(5)), 2, Shuffle(5, seeded()), drop_last=True)
    assert_same_batches(fast, slow)


# ---- a start, and the loop ----


def test_xavier_has_torchs_numbers_and_biases_of_zero():
    layer = nn.Linear(30, 70)
    assert init_xavier(layer, seeded(4)) is layer
    expected = nn.init.xavier_uniform_(torch.empty(70, 30), generator=seeded(4))
    assert torch.equal(layer.weight, expected) and not layer.bias.any()
    assert layer.weight.abs().max() <= (6 / 100) ** 0.5
    assert abs(layer.weight.std() - (2 / 100) ** 0.5) < 0.005


def test_xavier_reaches_layers_inside_and_layers_without_bias():
    nested = nn.Sequential(nn.Sequential(nn.Linear(2, 3, bias=False)), nn.ReLU(), nn.Linear(3, 1))
    init_xavier(nested, seeded())
    assert nested[0][0].bias is None and not nested[2].bias.any()


def test_xavier_leaves_the_global_generator_alone():
    net = small_net()
    before = torch.random.get_rng_state()
    init_xavier(net, seeded())
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("batch_size", [1, 4, 50])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_the_plain_loop_is_fit(line, batch_size, optimizer):
    ours, theirs = small_net(), small_net()
    batches = TensorBatches(*line, batch_size, seeded(6))
    losses = train(ours, optimizer(ours.parameters(), lr=0.01), batches, 3)
    history = fit(
        theirs,
        optimizer(theirs.parameters(), lr=0.01),
        line,
        num_epochs=3,
        batch_size=batch_size,
        generator=seeded(6),
        loss_fn=F.mse_loss,
    )
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    np.testing.assert_array_equal(np.reshape(losses, (3, -1)).mean(axis=1), history["train_loss"])


def test_the_plain_loop_takes_any_loader_and_sets_the_mode(line):
    net = small_net().eval()
    losses = train(
        net, torch.optim.SGD(net.parameters(), lr=0.05), DataLoader(Pairs(*line), 10), 20
    )
    assert net.training and len(losses) == 100 and losses[-1] < 0.3 * losses[0]
    assert all(isinstance(loss, float) for loss in losses)


def test_gradients_of_before_are_forgotten(line):
    ours, theirs = small_net(), small_net()
    for p in ours.parameters():
        p.grad = torch.full_like(p, 1e6)  # what another backward left behind
    for net in (ours, theirs):
        train(net, torch.optim.SGD(net.parameters(), lr=0.01), [line], 2)
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
