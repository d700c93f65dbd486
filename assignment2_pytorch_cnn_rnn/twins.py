"""Assignment 1's network in PyTorch: the same layers, and weights that travel both ways.

NumPy: {"W1": (in, out), "b1": (out,), "W2": …}. torch_mlp: {"0.weight": (out, in), "0.bias":
(out,), "2.weight": …}; a ReLU stands at position 1, between two linear layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from assignment1_perceptron_mlp.numpy_mlp import MLP


def torch_mlp(layer_sizes, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Return linear → ReLU → linear → … with layer_sizes (D, hidden sizes …, K)."""
    if len(layer_sizes) < 2 or min(layer_sizes) < 1:
        raise ValueError(f"layer_sizes is {tuple(layer_sizes)}; it needs 2 or more sizes ≥ 1")
    layers = []
    for fan_in, fan_out in pairwise(layer_sizes):
        layers += [nn.Linear(fan_in, fan_out, dtype=dtype), nn.ReLU()]
    return nn.Sequential(*layers[:-1])  # no ReLU on the logits


def to_state_dict(parameters: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return assignment 1's parameters under torch's names; matrices are turned over."""
    state = {}
    for name, array in parameters.items():
        check_name(name, r"[Wb]([1-9]\d*)", "W1, b1, W2 …")
        position = 2 * (int(name[1:]) - 1)
        if name[0] == "W":
            state[f"{position}.weight"] = torch.tensor(array.T)  # (in, out) → (out, in)
        else:
            state[f"{position}.bias"] = torch.tensor(array)
    return state


def from_state_dict(state: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return a state dict of torch_mlp under assignment 1's names; matrices are turned over."""
    parameters = {}
    for name, tensor in state.items():
        check_name(name, r"\d*[02468]\.(weight|bias)", "0.weight, 0.bias, 2.weight …")
        position, kind = name.split(".")
        array = tensor.detach().cpu().numpy().copy()  # a copy: later steps must not reach it
        name = ("W" if kind == "weight" else "b") + str(int(position) // 2 + 1)
        parameters[name] = array.T  # (out, in) → (in, out); a vector stays as it is
    return parameters


def check_name(name: str, pattern: str, allowed: str) -> None:
    """Raise ValueError unless the name of a parameter follows the pattern."""
    if not re.fullmatch(pattern, name):
        raise ValueError(f"there is a parameter named {name!r}; names must be {allowed}")


def twin(mlp: MLP) -> nn.Sequential:
    """Return the torch network with the sizes, weights and dtype of an MLP of assignment 1."""
    state = to_state_dict(mlp.parameters())
    model = torch_mlp(mlp.layer_sizes, state["0.weight"].dtype)
    model.load_state_dict(state)
    return model


def gradients_of(model: nn.Sequential) -> dict[str, np.ndarray]:
    """Return the gradients of the last backward under assignment 1's names."""
    return from_state_dict({name: p.grad for name, p in model.named_parameters()})


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Return an optimizer's groups in which matrices decay and vectors do not, as ours do."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def largest_difference(mlp: MLP, model: nn.Sequential) -> float:
    """Return max |p - q| over all entries of all parameters of the two networks."""
    theirs = from_state_dict(model.state_dict())
    ours = mlp.parameters()
    if ours.keys() != theirs.keys():
        raise ValueError(f"parameters are {sorted(ours)} and {sorted(theirs)}; they must match")
    return max(float(np.abs(p - theirs[name]).max()) for name, p in ours.items())
