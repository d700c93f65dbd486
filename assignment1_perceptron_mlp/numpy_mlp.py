"""A multi-layer perceptron over the functions of numpy_layers: classes that keep parameters.

Weights are (in, out), so a layer is x @ W; torch keeps (out, in).
"""

from __future__ import annotations

import math
from itertools import pairwise
from numbers import Integral, Real

import numpy as np

from assignment1_perceptron_mlp import numpy_layers
from assignment1_perceptron_mlp.numpy_layers import (
    batchnorm_backward,
    batchnorm_forward,
    check_features,
    check_number,
    check_rng,
    check_shape,
    check_whole,
    dropout_backward,
    dropout_forward,
    linear_backward,
    linear_forward,
)

ACTIVATIONS = {
    name: (getattr(numpy_layers, f"{name}_forward"), getattr(numpy_layers, f"{name}_backward"))
    for name in ("relu", "sigmoid", "tanh")
}


INITS = {  # standard deviation of the weights at the start
    "he": lambda fan_in, fan_out: (2 / fan_in) ** 0.5,  # He et al. 2015
    "xavier": lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5,  # Glorot & Bengio 2010
    "lecun": lambda fan_in, fan_out: (1 / fan_in) ** 0.5,
}


def init_weight(fan_in, fan_out, init, rng):
    """Return W (fan_in, fan_out) from N(0, std²). init: one of INITS, or a number, std itself."""
    std = INITS[init](fan_in, fan_out) if init in INITS else init
    return rng.normal(0, std, size=(fan_in, fan_out))


def check_init(init):
    """Raise ValueError unless init is one of INITS or a finite number above 0."""
    known = isinstance(init, str) and init in INITS
    is_number = isinstance(init, Real) and not isinstance(init, bool)
    if not known and not (is_number and 0 < init < math.inf):
        raise ValueError(f"init is {init!r}; it must be one of {', '.join(INITS)} or a number > 0")


def check_dtype(dtype):
    """Raise ValueError unless dtype is one of the float types: others would round weights to 0."""
    try:
        name = repr(dtype) if dtype is None else str(np.dtype(dtype))  # NumPy's None is float64
    except TypeError:  # no type at all
        name = repr(dtype)
    if not name.startswith("float"):
        raise ValueError(f"dtype is {name}; it must be a float type, such as float32")


class Linear:
    """out = x W + b, with its gradients after backward."""

    def __init__(self, in_features, out_features, init, rng, dtype, bias=True):
        check_whole(in_features=in_features, out_features=out_features)
        check_init(init)
        check_rng(rng)
        check_dtype(dtype)
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
        if not isinstance(name, str) or name not in ACTIVATIONS:
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
        check_whole(num_features=num_features)
        check_dtype(dtype)
        check_number("momentum", momentum, 0, 1, "[]")
        check_number("eps", eps, ends="()")
        self.parameters = {
            "gamma": np.ones(num_features, dtype),
            "beta": np.zeros(num_features, dtype),
        }
        self.gradients = {}
        self.running_mean = np.zeros(num_features, dtype)
        self.running_var = np.ones(num_features, dtype)
        self.momentum, self.eps = momentum, eps

    def forward(self, x, train):
        gamma, beta = self.parameters["gamma"], self.parameters["beta"]
        x = check_features(x, len(gamma), finite=False)
        running = (self.running_mean, self.running_var)
        out, self.cache = batchnorm_forward(
            x, gamma, beta, *running, self.momentum, self.eps, train
        )
        return out

    def backward(self, dout):
        dx, dgamma, dbeta = batchnorm_backward(dout, self.cache)
        self.gradients = {"gamma": dgamma, "beta": dbeta}
        return dx


class Dropout:
    """Drop each entry with probability p while training; its masks come from rng."""

    def __init__(self, p, rng):
        check_number("dropout", p, 0, 1)
        check_rng(rng)
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
    *hidden_sizes, num_classes = layer_sizes[1:]
    layers, width = [], layer_sizes[0]
    for size in hidden_sizes:
        layers.append(Linear(width, size, init, rng, dtype, bias=not batchnorm))
        if batchnorm:
            layers.append(BatchNorm(size, dtype))
        layers.append(Activation(activation))
        if dropout:
            layers.append(Dropout(dropout, rng))
        width = size
    return [*layers, Linear(width, num_classes, init, rng, dtype)]


class Sequential:
    """Layers in a row: forward through all of them, backward through all in reverse order.

    parameters() and gradients() are dicts with equal keys "W1", "b1", "gamma1", "beta1", "W2" …;
    optimisers change the parameter arrays in place.
    """

    def __init__(self, layers):
        self.layers = list(layers)
        shapes = [layer.parameters["W"].shape for layer in self.layers if isinstance(layer, Linear)]
        if not shapes:
            raise ValueError(f"layers has {len(self.layers)} layers, none of them Linear")
        self.layer_sizes = (shapes[0][0], *(fan_out for _, fan_out in shapes))
        self.num_examples = None  # of the last forward
        for (_, width), (fan_in, _) in pairwise(shapes):
            if width != fan_in:
                raise ValueError(f"layers has a Linear of {fan_in} features after one of {width}")
        if len(set(map(id, self.layers))) < len(self.layers):
            raise ValueError("layers holds a layer twice; it could keep one of two gradients only")
        if len(self.parameters()) < sum(len(layer.parameters) for layer in self.layers):
            raise ValueError("two batch norms follow the same Linear; their names would be equal")

    def forward(self, x, train=False):
        """Return logits (N, K) for x (N, D); train switches dropout and batch statistics on."""
        x = check_features(x, self.layer_sizes[0], finite=False)
        if x.dtype.kind != "f":  # integers become floats like the parameters
            x = x.astype(next(iter(self.parameters().values())).dtype)
        self.num_examples = len(x)
        for layer in self.layers:
            x = layer.forward(x, train)
        return x

    def backward(self, dlogits):
        """Fill every layer's gradients from dL/dlogits (N, K), after forward(x, train=True)."""
        if self.num_examples is None:
            raise ValueError("backward needs a forward(x, train=True) before it")
        dlogits = np.asarray(dlogits)
        check_shape("dlogits", dlogits, (self.num_examples, self.layer_sizes[-1]))
        first, *others = self.layers
        for layer in reversed(others):
            dlogits = layer.backward(dlogits)
        if isinstance(first, Linear):
            first.backward(dlogits, need_dx=False)  # nobody asks for dL/dx of the data
        else:
            first.backward(dlogits)

    def _collect(self, attribute):
        """Return {name and number of the last Linear: array} over all layers."""
        depth, collected = 0, {}
        for layer in self.layers:
            if isinstance(layer, Linear):
                depth += 1
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
        sizes = tuple(layer_sizes) if np.iterable(layer_sizes) else (layer_sizes,)
        whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in sizes)
        if len(sizes) < 2 or not whole or min(sizes) < 1:
            raise ValueError(f"layer_sizes is {sizes}; it needs 2 or more sizes ≥ 1")
        check_number("dropout", dropout, 0, 1)
        Activation(activation)  # refuses an unknown name, even where there is no hidden layer
        super().__init__(make_layers(sizes, activation, init, batchnorm, dropout, dtype, rng))

    def predict(self, x, batch_size=2_000):
        """Return the most probable class (N,) for x (N, D)."""
        x = check_features(x, self.layer_sizes[0])
        check_whole(batch_size=batch_size)
        parts = [x[i : i + batch_size] for i in range(0, len(x), batch_size)]
        return np.concatenate([self.forward(part).argmax(axis=1) for part in parts])
