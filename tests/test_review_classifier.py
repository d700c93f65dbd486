"""The classifier: padding does not matter, order only with positions, bad input is named."""

from __future__ import annotations

import itertools

import pytest
import torch

from assignment3_lstm_gan.attention import PADDING
from assignment3_lstm_gan.review_classifier import ReviewClassifier, drop_features, pool

POOLINGS = ("mean", "max", "cls")
POSITIONS = ("none", "sinusoidal", "learned")


def model(num_pairs=0, **settings):
    torch.manual_seed(0)
    return (
        ReviewClassifier(30, 8, 2, 2, num_pairs=num_pairs, max_len=40, **settings).double().eval()
    )


def texts(N, T, num=30, seed=0):
    return torch.randint(1, num, (N, T), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("pooling", "positions"), list(itertools.product(POOLINGS, POSITIONS)))
@pytest.mark.parametrize("num_pairs", [0, 12])
def test_padding_does_not_matter(pooling, positions, num_pairs):
    net = model(num_pairs, pooling=pooling, positions=positions)
    words, pairs = texts(3, 6), texts(3, 6, 12) if num_pairs else None
    alone = net(words, pairs)
    longer = [torch.nn.functional.pad(x, (0, 9)) if x is not None else None for x in (words, pairs)]
    torch.testing.assert_close(net(*longer), alone, rtol=1e-12, atol=1e-12)
    for n in range(3):  # nor does the company in the batch
        one = words[n : n + 1], None if pairs is None else pairs[n : n + 1]
        torch.testing.assert_close(net(*one), alone[n : n + 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_gets_no_gradient(pooling):
    net = model(pooling=pooling)
    words = torch.nn.functional.pad(texts(2, 4), (0, 5))
    net(words).square().sum().backward()
    assert (net.embedding.words.weight.grad[PADDING] == 0).all() and (
        net.embedding.words.weight[PADDING] == 0
    ).all()
    assert net.embedding.words.weight.grad[words[0, 0]].abs().sum() > 0


@pytest.mark.parametrize(("pooling", "positions"), list(itertools.product(POOLINGS, POSITIONS)))
def test_order_counts_with_positions_only(pooling, positions):
    net, words = model(pooling=pooling, positions=positions), texts(2, 7)
    same = torch.allclose(net(words), net(words.flip(1)), rtol=0, atol=1e-10)
    assert same == (positions == "none")


def test_no_layers_is_a_linear_bag_of_words():
    torch.manual_seed(0)
    net = ReviewClassifier(30, 8, num_layers=0, positions="none").double().eval()
    words = torch.tensor([[3, 4, 5], [6, 0, 0]])
    vectors = net.embedding.words.weight
    means = torch.stack([vectors[[3, 4, 5]].mean(dim=0), vectors[6]])
    torch.testing.assert_close(net(words), net.head(means))


def test_pairs_add_their_vector_and_none_adds_nothing():
    net = model(12)
    assert (net.embedding.pairs.weight == 0).all()  # at the start
    assert net.embedding.words.weight[1:].detach().norm(dim=1).mean() == pytest.approx(1, abs=0.2)
    torch.nn.init.normal_(net.embedding.pairs.weight)
    words = texts(2, 5)
    net.embedding.pairs.weight.data[0] = 0
    x, _ = net.embedding(words, torch.zeros_like(words))
    y, _ = net.embedding(words, torch.full_like(words, 3))
    torch.testing.assert_close(y - x, net.embedding.pairs.weight[3].expand(2, 5, 8))
    net.embedding.pairs = None
    torch.testing.assert_close(net.embedding(words)[0], x)


def test_pool():
    x = torch.tensor([[[1.0, -5.0], [3.0, -7.0], [100.0, 100.0]]])
    padding = torch.tensor([[False, False, True]])
    assert pool(x, padding, "mean").tolist() == [[2.0, -6.0]]
    assert pool(x, padding, "max").tolist() == [[3.0, -5.0]]
    assert pool(x, padding, "cls").tolist() == [[1.0, -5.0]]


def test_features_are_dropped_for_a_whole_text():
    torch.manual_seed(0)
    x = torch.ones(50, 7, 40)
    y = drop_features(x, 0.25, True)
    assert (y == y[:, :1]).all() and y.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert drop_features(x, 0.25, False) is x and drop_features(x, 0, True) is x


@pytest.mark.parametrize("N", [1, 4])
def test_one_word_and_many_classes(N):
    net = ReviewClassifier(5, 4, 1, num_classes=3).eval()
    assert net(torch.full((N, 1), 2)).shape == (N, 3)


def test_a_training_step_lowers_the_loss():
    net = model(dropout=0.0).float().train()
    words, y = texts(8, 6), torch.arange(8) % 2
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(net(words), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([[3, 30]], "words holds the id 30; ids must be 0 … 29"),
        ([[3, -1]], "words holds the id -1; ids must be 0 … 29"),
        ([[3], [0]], "text 1 has no token; it is padding only"),
        ([3], r"words is torch.int64 \(1,\); it must be \(N, T\) integers"),
        ([[]], r"it must be \(N, T\) integers"),
        ([[0.5]], r"words is torch.float32 \(1, 1\); it must be \(N, T\) integers"),
        ([[3] * 41], "x has 41 tokens; max_len is 40"),
    ],
)
def test_ids_that_do_not_fit(words, message):
    with pytest.raises(ValueError, match=message):
        model()(torch.tensor(words))


def test_pairs_that_do_not_fit():
    net = model(12)
    with pytest.raises(ValueError, match="pairs is NoneType, and the model has a table for pairs"):
        net(texts(2, 5))
    with pytest.raises(ValueError, match="pairs is Tensor, and the model has no table for pairs"):
        model()(texts(2, 5), texts(2, 5))
    with pytest.raises(ValueError, match=r"pairs has shape \(2, 4\); words has \(2, 5\)"):
        net(texts(2, 5), texts(2, 4, 12))
    with pytest.raises(ValueError, match="pairs holds the id 12; ids must be 0 … 11"):
        net(texts(1, 1), torch.tensor([[12]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(pooling="sum"), "pooling is 'sum'; it must be one of mean, max, cls"),
        (dict(positions="rotary"), "positions is 'rotary'"),
        (dict(num_words=0), "num_words is 0"),
        (dict(num_heads=3), "embed_dim is 64; num_heads=3 must divide it"),
        (dict(feature_dropout=1.0), "feature_dropout is 1.0"),
        (dict(num_layers=-1), "num_layers is -1"),
    ],
)
def test_settings_that_are_not_allowed(settings, message):
    with pytest.raises(ValueError, match=message):
        ReviewClassifier(**{"num_words": 10, **settings})
