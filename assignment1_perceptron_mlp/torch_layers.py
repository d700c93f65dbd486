"""A network on torch tensors without autograd, whose gradients keep one row per example.

Weights are stored torch's way, W: (out, in). The batch axis stays until the update: a backward pass
carries the gradient of each example's own loss, so a layer holds dW: (N, out, in), and only
`update` averages over N. `mean_gradients` is the short cut for when no row is ever looked at.
"""

import math

import torch

from assignment1_perceptron_mlp.numpy_layers import check_number, check_whole
from assignment1_perceptron_mlp.numpy_optim import sgd_update


def per_example_gradients(dout, x, W):
    """Return dx (N, in), dW (N, out, in), db (N, out) from dout (N, out), example by example."""
    dx = dout @ W
    dW = dout[:, :, None] * x[:, None, :]  # (N, out, in): one outer product per example
    return dx, dW, dout


def mean_gradients(dout, x, W):
    """Return dx (N, in), and the means over the batch, dW (1, out, in) and db (1, out)."""
    dx = dout @ W
    dW = dout.T @ x / len(x)  # (out, in): the sum of N outer products is one matrix product
    return dx, dW[None], dout.mean(dim=0)[None]


class PerExampleLinear:
    """z = x Wᵀ + b, with W: (out, in) ~ N(0, 2 / in) and b = 0.  Source: He et al. 2015, eq. 10.

    `rule` is the backward pass: `per_example_gradients`, or `mean_gradients` to save the memory.
    """

    def __init__(self, in_features, out_features, generator=None, dtype=None, rule=None):
        check_whole(in_features=in_features, out_features=out_features)
        W = torch.randn(out_features, in_features, generator=generator, dtype=dtype)
        self.W, self.b = W * math.sqrt(2 / in_features), torch.zeros(out_features, dtype=dtype)
        self.rule = rule or per_example_gradients

    def forward(self, x):
        self.x = x  # (N, in), kept for the backward pass
        return x @ self.W.T + self.b

    def backward(self, dout):
        dx, self.dW, self.db = self.rule(dout, self.x, self.W)
        return dx

    def parameters(self):
        return [self.W, self.b]

    def gradients(self):
        return [self.dW, self.db]


class PositivePart:
    """ReLU, max(x, 0) element by element; the slope at x = 0 is taken as 0, as torch does."""

    def forward(self, x):
        self.x = x
        return x.clamp(min=0)

    def backward(self, dout):
        return dout * (self.x > 0)

    def parameters(self):
        return []

    def gradients(self):
        return []


class SquaredError:
    """The mean squared error over examples and outputs; `backward` starts the chain."""

    def forward(self, y_pred, y):
        self.y_pred, self.y = y_pred, y  # (N, K) both
        return ((y_pred - y) ** 2).mean()

    def backward(self):
        """Return (N, K): the gradient of each example's own loss, so without the mean's 1/N."""
        return 2 * (self.y_pred - self.y) / self.y.shape[1]


class Network:
    """Layers in a row: `forward` runs them first to last, `backward` last to first."""

    def __init__(self, layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout):
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]

    def gradients(self):
        """Per-example gradients, (N, *parameter shape) each, in the order of `parameters`."""
        return [g for layer in self.layers for g in layer.gradients()]


def regression_net(layer_sizes, generator=None, dtype=None, rule=None):
    """Return linear, ReLU, …, linear for sizes such as (2, 100, 100, 1)."""
    if len(layer_sizes) < 2:
        raise ValueError(f"layer_sizes is {layer_sizes}; it needs an input and an output size")
    layers = []
    for i in range(1, len(layer_sizes)):
        sizes = layer_sizes[i - 1], layer_sizes[i]
        layers += [PerExampleLinear(*sizes, generator, dtype, rule), PositivePart()]
    return Network(layers[:-1])  # the output stays linear


def update(net, velocities, learning_rate, momentum=0.0):
    """Move every parameter by one step of SGD; here, and only here, the batch axis ends."""
    for W, dW, v in zip(net.parameters(), net.gradients(), velocities, strict=True):
        sgd_update(W, dW.mean(dim=0), v, learning_rate, momentum)


def train_regression(
    net, train, val, *, num_epochs, batch_size, schedule, momentum=0.0, generator=None
):
    """Train on mini-batches; return {"train_loss", "val_loss"}, each one float per epoch.

    Args:
        net: a `Network`, changed in place.
        train, val: pairs x (N, D), y (N, K) of finite tensors.
        schedule: step → learning rate, such as those of schedules.py. generator: shuffles.
    Raises: ValueError for an argument; FloatingPointError at a loss that is not finite.
    """
    check_regression(net, train, val, num_epochs, batch_size, momentum)
    (x, y), loss_fn, step = train, SquaredError(), 0
    velocities = [torch.zeros_like(p) for p in net.parameters()]
    history = {"train_loss": [], "val_loss": []}
    for _ in range(num_epochs):
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator).split(batch_size):
            loss = loss_fn.forward(net.forward(x[rows]), y[rows]).item()
            check_finite(loss, "training", step, schedule(step))
            net.backward(loss_fn.backward())
            update(net, velocities, schedule(step), momentum)
            total, step = total + loss * len(rows), step + 1
        val_loss = SquaredError().forward(net.forward(val[0]), val[1]).item()
        check_finite(val_loss, "validation", step, schedule(step - 1))
        history["train_loss"].append(total / len(x))
        history["val_loss"].append(val_loss)
    return history


def shape(tensor):
    """Return the shape as a plain tuple, for messages."""
    return tuple(tensor.shape)


def check_finite(loss, name, step, learning_rate):
    """Raise FloatingPointError naming the step where a loss is no longer finite, and ValueError at
    a learning rate that is negative or not finite: a schedule may be any function."""
    check_number("learning_rate", learning_rate)
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the {name} loss is {loss} at step {step} with learning_rate {learning_rate:g}; "
            "lower the learning rate"
        )


def check_part(name, part, net):
    """Raise ValueError unless part is x (N, D), y (N, K), finite, as the net computes."""
    if (
        not isinstance(part, tuple | list)
        or len(part) != 2
        or not all(torch.is_tensor(t) for t in part)
    ):
        raise ValueError(f"{name} is not a pair of tensors x, y")
    (x, y), first, last = part, net.parameters()[0], net.parameters()[-1]
    D, K = first.shape[1], len(last)
    if shape(x) != (len(x), D) or shape(y) != (len(x), K) or len(x) == 0:
        raise ValueError(
            f"{name} has x {shape(x)} and y {shape(y)}; "
            f"this net needs (N, {D}) and (N, {K}) with N >= 1"
        )
    if not x.dtype == y.dtype == first.dtype:
        raise ValueError(f"{name} has {x.dtype} and {y.dtype}; this net needs {first.dtype}")
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError(f"{name} holds nan or inf; every value must be finite")


def check_regression(net, train, val, num_epochs, batch_size, momentum):
    """Raise ValueError for the first argument of `train_regression` that is not allowed."""
    check_part("train", train, net)
    check_part("val", val, net)
    check_whole(num_epochs=num_epochs, batch_size=batch_size)
    check_number("momentum", momentum, 0, 1)
