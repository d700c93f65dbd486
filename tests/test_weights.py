"""Weights in files: the same outputs afterwards; what does not fit is refused, and nothing half."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from shared.weights import load_weights, save_weights


def build(seed=0, width=4):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 16, 3)
    )


@pytest.fixture
def file(tmp_path):
    save_weights(build(), tmp_path / "net.pt")
    return tmp_path / "net.pt"


def test_loaded_model_gives_the_same_outputs(tmp_path):
    model, x = build(), torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    model(x + 3)  # the running statistics move
    model.eval()
    save_weights(model, tmp_path / "new folder" / "net.pt")
    other = build(seed=1).eval()
    assert not torch.equal(other(x), model(x))
    load_weights(other, tmp_path / "new folder" / "net.pt")
    assert torch.equal(other(x), model(x)) and not other.training
    assert other[1].num_batches_tracked == 1


def test_memory_format_and_type_are_the_models(file):
    model = build(seed=1).to(memory_format=torch.channels_last).double()
    load_weights(model, file)
    assert model[0].weight.dtype == torch.float64
    torch.testing.assert_close(model[0].weight.float(), build()[0].weight)


def test_saving_is_one_step(file, monkeypatch):
    before = file.read_bytes()

    def broken(*_, **__):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError):
        save_weights(build(seed=1), file)
    assert file.read_bytes() == before and len(list(file.parent.iterdir())) == 1


def unchanged(model, path, error, match):
    """Assert that loading fails with one sentence and leaves the model as it was."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(error, match=match) as caught:
        load_weights(model, path)
    assert "\n" not in str(caught.value)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_of_another_model_are_refused(file, tmp_path):
    shapes = r"^net\.pt does not fit this model: 0\.weight has shape \(4, 1, 3, 3\)"
    unchanged(build(width=5), file, ValueError, shapes + r", the model's \(5, 1, 3, 3\)$")
    longer = nn.Sequential(*build(), nn.Linear(3, 3), nn.Linear(3, 3))
    names = "it lacks 4.bias, 4.weight, 5.bias and 1 more$"
    unchanged(longer, file, ValueError, names)
    unchanged(build()[:2], file, ValueError, "it has 3.bias, 3.weight, which the model has not$")


def test_numbers_of_another_kind_are_refused(tmp_path):
    state = build().state_dict()
    for dtype in (torch.int64, torch.complex64):
        torch.save(state | {"3.bias": state["3.bias"].to(dtype)}, tmp_path / "net.pt")
        kind = rf"3\.bias is {dtype}, the model's torch\.float32$"
        unchanged(build(seed=1), tmp_path / "net.pt", ValueError, kind)


def test_files_that_are_no_weights_are_refused(file, tmp_path):
    model, path = build(), tmp_path / "other"
    unchanged(model, tmp_path / "none.pt", FileNotFoundError, "there is no file .*none.pt$")
    unchanged(model, tmp_path, FileNotFoundError, "there is no file")
    whole = file.read_bytes()
    for content in (b"", b"Dear reader", whole[:100], whole[: len(whole) // 2], whole[:-30], b"PK"):
        path.write_bytes(content)
        unchanged(model, path, ValueError, "^other is no file of weights, or a damaged one")
    for content in (torch.zeros(3), [torch.zeros(3)], {"a": 1}, {1: torch.zeros(3)}):
        torch.save(content, path)
        unchanged(model, path, ValueError, "^other holds a .*, not tensors by name$")


class Trap:
    def __reduce__(self):
        return (print, ("code from the file ran",))


def test_a_file_cannot_run_code(tmp_path, capsys):
    for write in (torch.save, lambda trap, path: path.write_bytes(pickle.dumps(trap, protocol=2))):
        write({"0.weight": Trap()}, tmp_path / "trap.pt")
        unchanged(build(), tmp_path / "trap.pt", ValueError, "^trap.pt is no file of weights")
    assert "ran" not in capsys.readouterr().out
