"""The network that measures images: trained once, kept whole, and never a stale one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shared import features
from shared.data import LabelledData
from shared.features import FeatureNet, cache_file, check_images, embed, feature_net


def stripes(num=300, colours=(), seed=0, names=("lying", "upright")):
    """Noisy stripes (num, 8, 10): class 0 lie, class 1 stand."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, num)
    x = rng.integers(0, 90, (num, 8, 10, *colours))
    x[y == 0, ::2] += 150
    x[y == 1, :, ::2] += 150
    x = x.astype(np.uint8)
    return LabelledData(x, y, x[:0], y[:0], names, "stripes", False)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(features, "MIN_STEPS", 30)


@pytest.fixture
def count_trainings(monkeypatch):
    made = []

    def spy(data, seed=0):
        made.append(seed)
        return train(data, seed)

    train = features.train_feature_net
    monkeypatch.setattr(features, "train_feature_net", spy)
    return made


@pytest.mark.parametrize("colours", [(), (3,)])
def test_trained_once_and_then_the_same(colours, count_trainings, capsys):
    data = stripes(colours=colours)
    net, again = feature_net(data), feature_net(data)
    assert count_trainings == [0]
    images = torch.rand(5, 3 if colours else 1, 8, 10)
    for a, b in zip(embed(net, images), embed(again, images), strict=True):
        np.testing.assert_array_equal(a, b)
    assert net.accuracy == again.accuracy > 0.9
    assert not net.training and not again.training


def test_accuracy_is_that_of_examples_not_learned_from(monkeypatch):
    data = stripes(200)
    data.y_train[180:] = 1 - data.y_train[180:]  # the held-out labels are all wrong
    assert feature_net(data).accuracy < 0.1


def test_whatever_decides_the_weights_has_its_own_file(monkeypatch):
    data = stripes(100)
    files = [cache_file(data), cache_file(data, seed=1), cache_file(stripes(100, seed=1))]
    files += [cache_file(stripes(99)), cache_file(stripes(100, names=("a", "b", "c")))]
    data.y_train[0] = 1 - data.y_train[0]
    files.append(cache_file(data))
    monkeypatch.setenv("COURSE_PROFILE", "full")
    files.append(cache_file(stripes(100)))
    monkeypatch.setattr(features, "source_hash", lambda path: path.name)
    files.append(cache_file(stripes(100)))
    monkeypatch.setattr(features, "versions", lambda: "torch 0")
    files.append(cache_file(stripes(100)))
    assert len(set(files)) == len(files)
    monkeypatch.undo()
    assert cache_file(stripes(100)).name == files[0].name


def test_a_damaged_file_is_made_again(count_trainings):
    data = stripes()
    net = feature_net(data)
    file = cache_file(data)
    file.write_bytes(file.read_bytes()[:100])
    again = feature_net(data)
    assert count_trainings == [0, 0] and again.accuracy == net.accuracy
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # nothing half is left


def test_a_folder_that_cannot_be_written_costs_only_time(monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features, "save_weights", full)
    assert feature_net(stripes()).accuracy > 0.9
    assert "cannot be kept" in capsys.readouterr().out


def test_seeds_decide_and_nothing_outside_is_touched():
    data = stripes(150)
    torch.manual_seed(5)
    expected = torch.rand(3)
    nets = []
    for outer, seed in ((5, 0), (6, 0), (5, 1)):
        torch.manual_seed(outer)
        nets.append(features.train_feature_net(data, seed))
        if outer == 5:
            assert torch.equal(torch.rand(3), expected)
    first = [net.head.weight for net in nets]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])


def test_features_do_not_depend_on_their_batch_and_modes_come_back():
    torch.manual_seed(0)
    net, images = FeatureNet((3, 9, 12), 4).train(), torch.rand(7, 3, 9, 12)
    values, labels = embed(net, images)
    assert values.shape == (7, features.NUM_FEATURES) and values.dtype == np.float64
    assert net.training and labels.shape == (7,) and set(labels) <= {0, 1, 2, 3}
    np.testing.assert_allclose(embed(net, images, batch_size=2)[0], values, atol=1e-5)
    np.testing.assert_allclose(embed(net, images[2:3].numpy())[0], values[2:3], atol=1e-5)
    assert net.accuracy != net.accuracy  # NaN: never trained


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(2, 1, 28, 28) * 2 - 1, r"images goes from -.*; it must be 0 to 1; what comes "
         r"out of tanh becomes \(x \+ 1\) / 2$"),
        (torch.rand(2, 1, 28, 28) * 255, "images goes from .*; it must be 0 to 1$"),
        (torch.full((1, 1, 28, 28), torch.nan), "images goes from nan to nan"),
        (torch.zeros(2, 784), r"images is torch.float32 \(2, 784\); it must be floats \(N, C, H"),
        (torch.zeros(2, 28, 28), r"\(2, 28, 28\); it must be floats \(N, C, H, W\) from 0 to 1$"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), r"images is torch.uint8 \(2, 1, 28, 28\)"),
        (np.zeros((2, 1, 28, 28), np.uint8), r"images is uint8 \(2, 1, 28, 28\)"),
        ([[1.0]], r"images is list \(\)"),
        (torch.zeros(0, 1, 28, 28), r"images has shape \(0, 1, 28, 28\)"),
        (torch.zeros(2, 3, 28, 28), r"\(2, 3, 28, 28\); it must be \(N, 1, 28, 28\)$"),
        (torch.zeros(2, 1, 32, 28), r"\(2, 1, 32, 28\); it must be \(N, 1, 28, 28\)$"),
    ],
)  # fmt: skip
def test_what_is_no_batch_of_images_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        check_images(images, (1, 28, 28))


def test_images_that_are_in_order():
    x = torch.rand(2, 3, 8, 9, dtype=torch.float64, requires_grad=True)
    checked = check_images(x)
    assert checked.dtype == torch.float32 and not checked.requires_grad
    assert check_images(x.detach().numpy()[:, :, ::-1]).shape == x.shape  # a view
    with pytest.raises(ValueError, match="nothing empty"):
        check_images(torch.zeros(1, 3, 0, 4))


def test_shapes_and_sizes_that_cannot_be_are_refused():
    for shape in ((2, 28, 28), (1, 7, 28), (0, 28, 28)):
        with pytest.raises(ValueError, match=r"^shape is .*; it must be"):
            FeatureNet(shape, 10)
    with pytest.raises(ValueError, match="data has 50 training examples"):
        feature_net(stripes(50))
