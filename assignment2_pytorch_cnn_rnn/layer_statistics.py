"""What reaches each layer, forward and backward, and how far a step moves its weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

LAYERS = (nn.Conv2d, nn.Linear)


def relative_gradient(W: torch.Tensor) -> torch.Tensor:
    """Return ‖dW‖ / ‖W‖; 0 for weights that are not trained."""
    return W.new_zeros(()) if W.grad is None else W.grad.norm() / W.detach().norm()


def layer_statistics(model, x, y, learning_rate=0.1):
    """Return three tensors (L,), over convolutions and linear layers in the order of their use.

    z_std: deviation of the layer's outputs. dz_rms: root mean square of N · dL/dz.
    update: ‖learning_rate · dW‖ / ‖W‖, the share by which one plain step moves the weights.

    Args: x: (N, C, H, W); y: (N,) labels. The model keeps its mode and running statistics.
    """
    used, outputs = [], []

    def keep(layer, inputs, z):
        z.retain_grad()
        used.append(layer)
        outputs.append(z)

    kept = {name: b.clone() for name, b in model.named_buffers()}
    hooks = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, LAYERS)]
    model.zero_grad()
    try:
        F.cross_entropy(model(x), y).backward()
    finally:
        for hook in hooks:
            hook.remove()
        for name, b in model.named_buffers():
            b.copy_(kept[name])
    z_std = torch.stack([z.detach().std() for z in outputs])
    dz_rms = torch.stack([len(x) * z.grad.square().mean().sqrt() for z in outputs])
    update = torch.stack([learning_rate * relative_gradient(m.weight) for m in used])
    model.zero_grad()
    return z_std, dz_rms, update
