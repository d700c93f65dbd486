"""A trained model kept in a file, and a photograph from the reader's own disk."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import nn


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write a model's parameters and buffers, as numbers by name, nothing else."""
    torch.save({name: p.cpu() for name, p in model.state_dict().items()}, path)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Put the weights of a file into a model of the same making; in place.

    Raises: ValueError, in one sentence, for a file of no weights, or those of another model.
    """
    name = Path(path).name
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        raise ValueError(f"{name} is no file of weights, or holds more than numbers") from None
    if not isinstance(state, dict) or not all(isinstance(p, torch.Tensor) for p in state.values()):
        raise ValueError(f"{name} holds {type(state).__name__}; it must hold tensors by name")
    expected = model.state_dict()
    for what, names in {
        "lacks": expected.keys() - state.keys(),
        "has no place for": state.keys() - expected.keys(),
    }.items():
        if names:
            subject = name if what == "lacks" else "the model"
            raise ValueError(
                f"{subject} {what} {', '.join(sorted(names)[:3])} ({len(names)} in all)"
            )
    for key, p in expected.items():
        if p.shape != state[key].shape:
            shapes = f"{tuple(state[key].shape)}; the model needs {tuple(p.shape)}"
            raise ValueError(f"{key} in {name} has shape {shapes}")
    model.load_state_dict(state)


def read_photograph(path: str | Path, size: int = 32) -> np.ndarray:
    """Return an image file's middle square as (1, size, size, 3) uint8.

    Raises: ValueError, in one sentence, where the file is missing or is no image.
    """
    name = Path(path).name
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")  # as the camera was held
    except FileNotFoundError:
        raise ValueError(f"there is no file {name} here") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        raise ValueError(f"{name} is no image that can be read, or a damaged one") from None
    square = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    return np.array(square, dtype=np.uint8)[None]  # a copy, which may be written
