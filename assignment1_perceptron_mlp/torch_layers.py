"""Linear, ReLU and MSELoss with their own backward passes, on torch tensors without autograd.

Weights are stored torch's way, W: (out, in). The batch axis stays until the update: backward passes
carry the gradient of each example's own loss, so a layer holds dW: (N, out, in), and only
`SGD.step` averages over N.
"""

import math
from itertools import pairwise

import torch


def linear_forward(x, W, b):
    """Return z (N, out) = x Wᵀ + b. x: (N, in); W: (out, in); b: (out,)."""
    if x.ndim != 2 or x.shape[1] != W.shape[1]:
        raise ValueError(f"x has shape {shape(x)} and W {shape(W)}; x must be (N, {W.shape[1]})")
    if b.shape != W.shape[:1]:
        raise ValueError(f"b has shape {shape(b)} and W {shape(W)}; b must be ({W.shape[0]},)")
    return x @ W.T + b


def linear_backward(dout, x, W):
    """Return dx (N, in), dW (N, out, in), db (N, out) from dout (N, out), example by example."""
    if dout.shape != (len(x), W.shape[0]):
        expected = (len(x), W.shape[0])
        raise ValueError(f"dout has shape {shape(dout)}; the layer's output has shape {expected}")
    dx = dout @ W
    dW = dout[:, :, None] * x[:, None, :]  # one outer product per example
    return dx, dW, dout


def relu_forward(x):
    """Return max(x, 0), any shape."""
    return x.clamp(min=0)


def relu_backward(dout, x):
    """Return dx from dout, both of x's shape; the slope at x = 0 is taken as 0, as torch does."""
    if dout.shape != x.shape:
        raise ValueError(f"dout has shape {shape(dout)}; the layer's output has shape {shape(x)}")
    return dout * (x > 0)


def mse_forward(y_pred, y):
    """Return the mean squared error, a scalar. y_pred, y: (N, K)."""
    check_targets(y_pred, y)
    return ((y_pred - y) ** 2).mean()


def mse_backward(y_pred, y):
    """Return (N, K): the gradient of each example's own loss, so without the 1/N of the mean."""
    check_targets(y_pred, y)
    return 2 * (y_pred - y) / y.shape[1]


def check_targets(y_pred, y):
    """Raise ValueError unless y_pred and y are (N, K) alike with N, K >= 1."""
    if y_pred.ndim != 2 or y_pred.shape != y.shape or y.numel() == 0:
        raise ValueError(
            f"y_pred has shape {shape(y_pred)} and y {shape(y)}; both must be the same (N, K)"
        )


def shape(tensor):
    """Return the shape as a plain tuple, for messages."""
    return tuple(tensor.shape)


class Linear:
    """A fully connected layer. W: (out, in) ~ N(0, 2 / in), b = 0.

    Source: He et al., 2015, equation 10.
    """

    def __init__(self, in_features, out_features, generator=None, dtype=None, device=None):
        if in_features < 1 or out_features < 1:
            raise ValueError(f"sizes are {in_features} and {out_features}; both must be at least 1")
        W = torch.randn(out_features, in_features, generator=generator, dtype=dtype)
        self.W = (W * math.sqrt(2 / in_features)).to(device)
        self.b = torch.zeros(out_features, dtype=dtype, device=device)

    def forward(self, x):
        self.x = x
        return linear_forward(x, self.W, self.b)

    def backward(self, dout):
        dx, self.dW, self.db = linear_backward(dout, self.x, self.W)
        return dx

    def parameters(self):
        return [self.W, self.b]

    def gradients(self):
        return [self.dW, self.db]


class ReLU:
    """max(x, 0), element by element."""

    def forward(self, x):
        self.x = x
        return relu_forward(x)

    def backward(self, dout):
        return relu_backward(dout, self.x)

    def parameters(self):
        return []

    def gradients(self):
        return []


class MSELoss:
    """The mean squared error over examples and outputs; `backward` starts the chain."""

    def forward(self, y_pred, y):
        self.y_pred, self.y = y_pred, y
        return mse_forward(y_pred, y)

    def backward(self):
        return mse_backward(self.y_pred, self.y)


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


def regression_net(layer_sizes, generator=None, dtype=None, device=None):
    """Return Linear, ReLU, …, Linear for sizes such as (2, 100, 100, 1)."""
    if len(layer_sizes) < 2:
        raise ValueError(f"layer_sizes is {layer_sizes}; it needs an input and an output size")
    layers = []
    for n_in, n_out in pairwise(layer_sizes):
        layers += [Linear(n_in, n_out, generator, dtype, device), ReLU()]
    return Network(layers[:-1])  # the output stays linear


class SGD:
    """Stochastic gradient descent with momentum; `step` is where the batch axis ends."""

    def __init__(self, parameters, learning_rate, momentum=0.0):
        if not (math.isfinite(learning_rate) and learning_rate > 0):
            raise ValueError(f"learning_rate is {learning_rate}; it must be finite and above 0")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}; it must be at least 0 and below 1")
        self.parameters, self.learning_rate, self.momentum = parameters, learning_rate, momentum
        self.velocities = [torch.zeros_like(p) for p in parameters]

    def step(self, gradients):
        """Move every parameter. gradients: one (N, *shape) per parameter of that shape."""
        if len(gradients) != len(self.parameters):
            raise ValueError(f"{len(gradients)} gradients for {len(self.parameters)} parameters")
        for p, v, g in zip(self.parameters, self.velocities, gradients, strict=True):
            if g.shape[1:] != p.shape:
                raise ValueError(
                    f"a gradient has shape {shape(g)} for a parameter {shape(p)}; "
                    "after the batch axis the shapes must agree"
                )
            v.mul_(self.momentum).add_(g.mean(dim=0))
            p.sub_(self.learning_rate * v)


def cosine_factor(progress):
    """Return the factor on the learning rate, from 1 at progress 0 to 0 at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def fit(
    model,
    train,
    val,
    num_epochs,
    batch_size,
    learning_rate,
    momentum=0.0,
    decay=False,
    generator=None,
):
    """Train on mini-batches; return {"train_loss", "val_loss"}, each one float per epoch.

    Args:
        model: a `Network`, changed in place. generator: for the shuffling.
        train, val: pairs x (N, D), y (N, K) of finite tensors.
        decay: True lowers the learning rate along half a cosine, once per epoch.
    Raises: ValueError for an argument; FloatingPointError at a loss that is not finite.
    """
    check_fit(train, val, num_epochs, batch_size)
    loss_fn, optimiser = MSELoss(), SGD(model.parameters(), learning_rate, momentum)
    x, y = train
    history, step = {"train_loss": [], "val_loss": []}, 0
    for epoch in range(num_epochs):
        factor = cosine_factor(epoch / num_epochs) if decay else 1.0
        optimiser.learning_rate, total = learning_rate * factor, 0.0
        for rows in torch.randperm(len(x), generator=generator).to(x.device).split(batch_size):
            loss = loss_fn.forward(model.forward(x[rows]), y[rows]).item()
            check_finite(loss, "training", step, learning_rate)
            model.backward(loss_fn.backward())
            optimiser.step(model.gradients())
            total, step = total + loss * len(rows), step + 1
        val_loss = mse_forward(model.forward(val[0]), val[1]).item()
        check_finite(val_loss, "validation", step, learning_rate)
        history["train_loss"].append(total / len(x))
        history["val_loss"].append(val_loss)
    return history


def check_finite(loss, name, step, learning_rate):
    """Raise FloatingPointError naming the step where a loss is no longer finite."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the {name} loss is {loss} at step {step} with learning_rate {learning_rate}; "
            "lower the learning rate"
        )


def check_fit(train, val, num_epochs, batch_size):
    """Raise ValueError for the first argument of `fit` that is not allowed."""
    for name, (x, y) in (("train", train), ("val", val)):
        if len(x) != len(y) or len(x) == 0:
            raise ValueError(f"{name} has x {shape(x)} and y {shape(y)}; N must agree and be >= 1")
        if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
            raise ValueError(f"{name} holds nan or inf; every value must be finite")
    for name, value in (("num_epochs", num_epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
