"""Weights survive a file; what is no file of weights, or no image, is refused in one sentence."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from assignment2_pytorch_cnn_rnn.cifar_nets import ThreeConv
from assignment2_pytorch_cnn_rnn.trained_model import load_weights, read_photograph, save_weights


def test_weights_and_buffers_travel(tmp_path):
    source, target = ThreeConv((2, 3, 4)), ThreeConv((2, 3, 4))
    x = torch.randn(5, 3, 32, 32)
    source(x)  # moves the running statistics
    save_weights(source, tmp_path / "net.pt")
    load_weights(target, tmp_path / "net.pt")
    torch.testing.assert_close(target.eval()(x), source.eval()(x), rtol=0, atol=0)


def test_a_file_of_no_weights_is_refused(tmp_path):
    net = nn.Linear(2, 2)
    files = {
        "text.pt": b"not weights",
        "empty.pt": b"",
        "pickle.pt": pickle.dumps({"weight": 1}),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"^{name} (is no file of weights|holds)"):
            load_weights(net, tmp_path / name)
    torch.save(net, tmp_path / "model.pt")  # a whole model may hold any code
    with pytest.raises(ValueError, match=r"model.pt is no file of weights, or holds more"):
        load_weights(net, tmp_path / "model.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(ValueError, match=r"tensor.pt holds Tensor; it must hold tensors by name"):
        load_weights(net, tmp_path / "tensor.pt")
    with pytest.raises(FileNotFoundError):
        load_weights(net, tmp_path / "nowhere.pt")


def test_weights_of_another_model_are_refused_and_change_nothing(tmp_path):
    net = nn.Linear(2, 3)
    before = net.weight.detach().clone()
    cases = {
        r"a.pt lacks bias \(1 in all\)": nn.Linear(2, 3, bias=False),
        r"the model has no place for 1.bias, 1.weight \(4 in all\)|a.pt lacks bias": nn.Sequential(
            nn.Linear(2, 3), nn.Linear(2, 3)
        ),
        r"weight in a.pt has shape \(3, 4\); the model needs \(3, 2\)": nn.Linear(4, 3),
    }
    for message, other in cases.items():
        save_weights(other, tmp_path / "a.pt")
        with pytest.raises(ValueError, match=message):
            load_weights(net, tmp_path / "a.pt")
    torch.save({**net.state_dict(), "more": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"the model has no place for more \(1 in all\)"):
        load_weights(net, tmp_path / "a.pt")
    assert torch.equal(net.weight, before)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_photograph_becomes_its_middle_square(tmp_path, mode):
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = (200, 100, 50)  # the middle square
    Image.fromarray(wide).convert(mode).save(tmp_path / "photo.png")
    got = read_photograph(tmp_path / "photo.png")
    assert got.shape == (1, 32, 32, 3) and got.dtype == np.uint8 and got.flags.writeable
    expected = np.asarray(Image.fromarray(wide).convert(mode).convert("RGB"))[20, 50]
    assert np.abs(got[0, 16, 16].astype(int) - expected).max() <= 2
    assert np.abs(got[0, 16, 2].astype(int) - expected).max() <= 2
    assert read_photograph(tmp_path / "photo.png", size=8).shape == (1, 8, 8, 3)


def test_a_photograph_is_turned_as_the_camera_was_held(tmp_path):
    picture = np.zeros((20, 20, 3), np.uint8)
    picture[:10] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=exif)
    got = read_photograph(tmp_path / "turned.png", 20)[0]
    assert got[:, -3:].mean() > 250 and got[:, :3].mean() < 5


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("a cat")
    with pytest.raises(ValueError, match=r"^notes.txt is no image that can be read, or a damaged"):
        read_photograph(tmp_path / "notes.txt")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"^cut.jpg is no image"):
        read_photograph(tmp_path / "cut.jpg")
    with pytest.raises(ValueError, match=r"^there is no file cat.jpg here"):
        read_photograph(tmp_path / "cat.jpg")
    with pytest.raises(ValueError, match=r"is no image"):
        read_photograph(tmp_path)
