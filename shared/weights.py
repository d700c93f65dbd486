"""Weights of a trained model in a file: saved in one step, loaded without running code from it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import torch

from shared.environment import write_atomically


def save_weights(model: torch.nn.Module, path: str | os.PathLike) -> None:
    """Write the model's parameters and buffers to a file; an old file stays until it is whole."""
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(Path(path), buffer.getvalue())


def load_weights(model: torch.nn.Module, path: str | os.PathLike) -> None:
    """Put weights saved by save_weights into the model; the file cannot run any code.

    Raises: FileNotFoundError where there is no such file; ValueError, in one sentence, for a file
        that holds no weights, or not those of this model. The model is then as it was.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    state = _read(path)
    if problem := _difference(state, model.state_dict()):
        raise ValueError(f"{path.name} does not fit this model: {problem}")
    model.load_state_dict(state)


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name."""
    content = io.BytesIO(path.read_bytes())
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
    except Exception:  # torch has a dozen ways to say so
        raise ValueError(f"{path.name} is no file of weights, or a damaged one") from None
    names_tensors = isinstance(state, dict) and all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in state.items()
    )
    if not names_tensors:
        raise ValueError(f"{path.name} holds a {type(state).__name__}, not tensors by name")
    return state


def _difference(state: dict, wanted: dict) -> str:
    """Return in words how names, shapes or kinds of two states differ; "" where they agree."""
    if missing := wanted.keys() - state.keys():
        return f"it lacks {_some(missing)}"
    if odd := state.keys() - wanted.keys():
        return f"it has {_some(odd)}, which the model has not"
    for name, value in wanted.items():
        if state[name].shape != value.shape:
            shapes = tuple(state[name].shape), tuple(value.shape)
            return f"{name} has shape {shapes[0]}, the model's {shapes[1]}"
        if state[name].is_floating_point() != value.is_floating_point():
            return f"{name} is {state[name].dtype}, the model's {value.dtype}"
    return ""


def _some(names: set[str]) -> str:
    """Return up to three names, and how many more there are."""
    shown, more = sorted(names)[:3], len(names) - 3
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
