"""A multi-layer perceptron over the functions of numpy_layers: classes that keep parameters.

Weights are (in, out), so a layer is x @ W; torch keeps (out, in).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from assignment1_perceptron_mlp import numpy_layers
from assignment1_perceptron_mlp.numpy_layers import (
    batchnorm_backward,
    batchnorm_forward,
    check_shape,
    dropout_backward,
    dropout_forward,
    linear_backward,
    linear_forward,
)

ACTIVATIONS = {
    name: (getattr(numpy_layers, f"{name}_forward"), getattr(numpy_layers, f"{name}_backward"))
    for name in ("relu", "sigmoid", "tanh")
}


def init_weight(fan_in, fan_out, init, rng):
    """Return W (fan_in, fan_out), drawn from N(0, std²).

    Args: init: "he" (std = √(2/fan_in), He et al. 2015), "xavier" (√(2/(fan_in + fan_out)),
        Glorot & Bengio 2010), "lecun" (√(1/fan_in)), or a positive number: std itself.
    """
    stds = {
        "he": (2 / fan_in) ** 0.5,
        "xavier": (2 / (fan_in + fan_out)) ** 0.5,
        "lecun": (1 / fan_in) ** 0.5,
    }
    std = stds.get(init) if isinstance(init, str) else init
    if std is None or not std > 0:
        raise ValueError(f"init is {init!r}; it must be one of {', '.join(stds)} or a number > 0")
    return rng.normal(0, std, size=(fan_in, fan_out))


class Linear:
    """out = x W + b, with its gradients after backward."""

    def __init__(self, in_features, out_features, init, rng, dtype, bias=True):
        W = init_weight(in_features, out_features, init, rng)
        self.parameters = {"W": W.astype(dtype)}
        if bias:
            self.parameters["b"] = np.zeros(out_features, dtype)
        self.gradients = {}

    def forward(self, x, train):
        out, self.cache = linear_forward(x, self.parameters["W"], self.parameters.get("b"))
        return out

    def backward(self, dout, need_dx=True):
        dx, dW, db = linear_backward(dout, self.cache, need_dx)
        self.gradients = {"W": dW, "b": db} if "b" in self.parameters else {"W": dW}
        return dx


class Activation:
    """One of ACTIVATIONS, applied to each entry; nothing to learn."""

    def __init__(self, name):
        if name not in ACTIVATIONS:
            raise ValueError(f"activation is {name!r}; it must be one of {', '.join(ACTIVATIONS)}")
        self.parameters, self.gradients = {}, {}
        self.forward_function, self.backward_function = ACTIVATIONS[name]

    def forward(self, x, train):
        out, self.cache = self.forward_function(x)
        return out

    def backward(self, dout):
        return self.backward_function(dout, self.cache)


class BatchNorm:
    """Batch normalisation with learnt scale gamma and shift beta, and running statistics."""

    def __init__(self, num_features, dtype, momentum=0.1, eps=1e-5):
        self.parameters = {
            "gamma": np.ones(num_features, dtype),
            "beta": np.zeros(num_features, dtype),
        }
        self.gradients = {}
        self.running_mean = np.zeros(num_features, dtype)
        self.running_var = np.ones(num_features, dtype)
        self.momentum, self.eps = momentum, eps

    def forward(self, x, train):
        running = (self.running_mean, self.running_var, self.momentum, self.eps)
        out, self.cache = batchnorm_forward(x, *self.parameters.values(), *running, train)
        return out

    def backward(self, dout):
        dx, dgamma, dbeta = batchnorm_backward(dout, self.cache)
        self.gradients = {"gamma": dgamma, "beta": dbeta}
        return dx


class Dropout:
    """Drop each entry with probability p while training; its masks come from rng."""

    def __init__(self, p, rng):
        if not 0 <= p < 1:
            raise ValueError(f"dropout is {p}; the probability of dropping must be in [0, 1)")
        self.parameters, self.gradients = {}, {}
        self.p, self.rng = p, rng

    def forward(self, x, train):
        out, self.cache = dropout_forward(x, self.p, self.rng, train)
        return out

    def backward(self, dout):
        return dropout_backward(dout, self.cache)


def make_layers(layer_sizes, activation, init, batchnorm, dropout, dtype, rng):
    """Return the list linear → [batch norm] → activation → [dropout] → … → linear.

    A linear layer that batch norm follows has no bias: the mean it would shift is subtracted.
    """
    if len(layer_sizes) < 2 or min(layer_sizes) < 1:
        raise ValueError(f"layer_sizes is {tuple(layer_sizes)}; it needs 2 or more sizes ≥ 1")
    layers = []
    for depth, (fan_in, fan_out) in enumerate(pairwise(layer_sizes), start=1):
        hidden = depth < len(layer_sizes) - 1
        bias = not (hidden and batchnorm)
        layers.append(Linear(fan_in, fan_out, init, rng, dtype, bias))
        if hidden and batchnorm:
            layers.append(BatchNorm(fan_out, dtype))
        if hidden:
            layers.append(Activation(activation))
        if hidden and dropout:
            layers.append(Dropout(dropout, rng))
    return layers


class Sequential:
    """Layers in a row: forward through all of them, backward through all in reverse order.

    parameters() and gradients() are dicts with equal keys "W1", "b1", "gamma1", "beta1", "W2" …;
    optimisers change the parameter arrays in place.
    """

    def __init__(self, layers):
        self.layers = list(layers)

    def forward(self, x, train=False):
        """Return logits (N, K) for x (N, D); train switches dropout and batch statistics on."""
        for layer in self.layers:
            x = layer.forward(x, train)
        return x

    def backward(self, dlogits):
        """Fill every layer's gradients from dL/dlogits (N, K), after forward(x, train=True)."""
        for layer in reversed(self.layers[1:]):
            dlogits = layer.backward(dlogits)
        self.layers[0].backward(dlogits, need_dx=False)  # nobody asks for dL/dx of the data

    def _collect(self, attribute):
        depth, collected = 0, {}
        for layer in self.layers:
            depth += isinstance(layer, Linear)
            for name, array in getattr(layer, attribute).items():
                collected[f"{name}{depth}"] = array
        return collected

    def parameters(self):
        """Return {name: array}, the arrays themselves, in order of depth."""
        return self._collect("parameters")

    def gradients(self):
        """Return {name: dL/dparameter} of the last backward, with the keys of parameters()."""
        return self._collect("gradients")


class MLP(Sequential):
    """A classifier with layer_sizes (D, hidden sizes …, K), and predict for its classes."""

    def __init__(
        self,
        layer_sizes,
        *,
        activation="relu",
        init="he",
        batchnorm=False,
        dropout=0.0,
        dtype=np.float32,
        rng,
    ):
        self.layer_sizes = tuple(layer_sizes)
        super().__init__(make_layers(layer_sizes, activation, init, batchnorm, dropout, dtype, rng))

    def predict(self, x, batch_size=2_000):
        """Return the most probable class (N,) for x (N, D)."""
        check_shape("x", x, (None, self.layer_sizes[0]))
        parts = [x[i : i + batch_size] for i in range(0, len(x), batch_size)]
        return np.concatenate([self.forward(part).argmax(axis=1) for part in parts])
