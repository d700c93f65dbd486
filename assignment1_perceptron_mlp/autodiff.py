"""Reverse-mode automatic differentiation over NumPy arrays, small enough to read at one sitting.

Every operation is a row of RULES: how to compute y, and the gradient for each of its inputs.
A Tensor remembers the row and the inputs that made it; backward walks back through them.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import check_labels, check_shape


def unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum grad over the axes along which an input of this shape was repeated."""
    if grad.shape == shape:
        return grad
    new = grad.ndim - len(shape)  # axes that broadcasting put in front
    axes = tuple(i for i, n in enumerate(grad.shape) if i < new or shape[i - new] != n)
    total = grad.sum(axis=axes, keepdims=True)
    if total.size != int(np.prod(shape)):
        raise ValueError(f"a gradient of shape {grad.shape} does not fit an input of shape {shape}")
    return total.reshape(shape)


def spread(g, x, axis=None, keepdims=False):
    """Repeat g, which belongs to a reduction of x over axis, to the shape of x."""
    g = g if axis is None or keepdims else np.expand_dims(g, axis)
    return np.broadcast_to(g, x.shape).copy()


def max_gradient(g, y, x, axis=None, keepdims=False):
    """Share g equally among the entries that attain the maximum y."""
    winners = x == spread(y, x, axis, keepdims)
    return spread(g, x, axis, keepdims) * winners / winners.sum(axis=axis, keepdims=True)


def getitem_gradient(g, y, x, index):
    """Add g at index to zeros like x; an entry that was picked twice gets both."""
    dx = np.zeros_like(x)
    np.add.at(dx, index, g)
    return dx


def matmul_left(g, y, a, b):
    """Return dL/da = g bᵀ for y = a b; leading axes are a batch, a vector b is a column."""
    if b.ndim == 1:
        return g[..., None] * b
    return (g if a.ndim > 1 else g[..., None, :]) @ b.swapaxes(-1, -2)


def matmul_right(g, y, a, b):
    """Return dL/db = aᵀ g for y = a b; leading axes are a batch, a vector a is a row."""
    if b.ndim == 1:
        return g[..., None] * a
    return a[:, None] * g[..., None, :] if a.ndim == 1 else a.swapaxes(-1, -2) @ g


def stable_log_softmax(x, axis):
    """Return x − log Σ exp(x) along axis, with the maximum subtracted first."""
    z = x - x.max(axis=axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=axis, keepdims=True))


# fmt: off
# name: (y, dL/d(input 0), dL/d(input 1), …), where g = dL/dy; before dots: i → dL/d(input i)
RULES = {
    "add": (np.add, lambda g, y, a, b: g, lambda g, y, a, b: g),
    "subtract": (np.subtract, lambda g, y, a, b: g, lambda g, y, a, b: -g),
    "multiply": (np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    "divide": (np.divide, lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b),
    "power": (np.power, lambda g, y, a, b: g * b * a ** np.where(b == 0, 1, b - 1),
              lambda g, y, a, b: g * y * np.log(np.where(a == 0, 1, a))),
    "maximum": (np.maximum, lambda g, y, a, b: g * ((a > b) + 0.5 * (a == b)),
                lambda g, y, a, b: g * ((b > a) + 0.5 * (a == b))),
    "where": (np.where, lambda g, y, c, a, b: 0 * c, lambda g, y, c, a, b: np.where(c, g, 0),
              lambda g, y, c, a, b: np.where(c, 0, g)),
    "negative": (np.negative, lambda g, y, x: -g),
    "exp": (np.exp, lambda g, y, x: g * y),
    "log": (np.log, lambda g, y, x: g / x),
    "sqrt": (np.sqrt, lambda g, y, x: g / (2 * y)),
    "tanh": (np.tanh, lambda g, y, x: g * (1 - y * y)),
    "sigmoid": (lambda x: 0.5 * np.tanh(0.5 * x) + 0.5, lambda g, y, x: g * y * (1 - y)),
    "relu": (lambda x: np.maximum(x, 0), lambda g, y, x: g * (y > 0)),
    "matmul": (np.matmul, matmul_left, matmul_right),
    "sum": (np.sum, lambda g, y, x, **axes: spread(g, x, **axes)),
    "mean": (np.mean, lambda g, y, x, **axes: spread(g, x, **axes) * (y.size / max(x.size, 1))),
    "max": (np.max, max_gradient),
    "log_softmax": (stable_log_softmax,
                    lambda g, y, x, axis: g - np.exp(y) * g.sum(axis=axis, keepdims=True)),
    "reshape": (lambda x, shape: x.reshape(shape), lambda g, y, x, shape: g.reshape(x.shape)),
    "transpose": (np.transpose,
                  lambda g, y, x, axes: g.transpose(np.argsort(np.mod(axes, x.ndim)))),
    "getitem": (lambda x, index: x[index], getitem_gradient),
    "concatenate": (lambda *xs, axis: np.concatenate(xs, axis), lambda i: lambda g, y, *xs, axis:
                    np.split(g, np.cumsum([x.shape[axis] for x in xs]), axis)[i], ...),
}
# fmt: on
_recording = True  # whether operations remember their inputs; no_grad switches it


def apply(name: str, *inputs, **options) -> "Tensor":
    """Return row name of these inputs; remember how it was made if one of them requires grad.
    Inputs that are no tensors are constants and take the dtype of the first tensor."""
    dtype = next((t.dtype for t in inputs if isinstance(t, Tensor)), None)
    inputs = [t if isinstance(t, Tensor) else Tensor(np.asarray(t, dtype)) for t in inputs]
    try:
        y = RULES[name][0](*[t.data for t in inputs], **options)
    except ValueError as error:
        shapes, why = " and ".join(str(t.shape) for t in inputs), str(error).strip()
        raise ValueError(f"{name} does not work for shapes {shapes}: {why}") from None
    if _recording and any(t.requires_grad for t in inputs):
        return Tensor(y, True, name, inputs, options)
    return Tensor(y)


def topological_order(output: "Tensor") -> list["Tensor"]:
    """Return the tensors that require grad up to output, each after its inputs; no recursion."""
    order, seen, stack = [], set(), [(output, False)]
    while stack:
        node, inputs_are_done = stack.pop()
        if inputs_are_done:
            order.append(node)
        elif node.inputs is None:
            raise RuntimeError(
                "backward freed this graph before; pass it retain_graph=True or run forward again"
            )
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((t, False) for t in node.inputs if t.requires_grad)
    return order


def backward(output: "Tensor", gradient=None, retain_graph: bool = False) -> None:
    """Add dL/dt to t.grad for every tensor t that leads to output and requires grad.

    gradient is dL/d(output), of its shape; 1 where output is one number and so L itself. The
    graph is freed on the way, with the arrays that only it held, unless retain_graph is true."""
    if not output.requires_grad:
        raise ValueError("backward needs a tensor that depends on one with requires_grad=True")
    gradient = np.ones(output.shape) if gradient is None and output.data.size == 1 else gradient
    if np.shape(gradient) != output.shape:
        raise ValueError(f"gradient has shape {np.shape(gradient)}; it must be {output.shape}")
    order, grads = topological_order(output), {output: np.array(gradient, output.dtype)}
    while order:
        node = order.pop()
        g, rule, arrays = grads.pop(node), RULES.get(node.name), [t.data for t in node.inputs]
        node.grad = g if node.grad is None else np.asarray(node.grad + g)
        for i, t in enumerate(node.inputs):
            if t.requires_grad:
                gradient_of = rule[1](i) if rule[-1] is ... else rule[1 + i]
                grad = np.asarray(gradient_of(g, node.data, *arrays, **node.options), t.dtype)
                grad = unbroadcast(grad, t.shape)
                if not t.inputs and (grad.base is not None or grad is g):
                    grad = grad.copy()  # a leaf shares its gradient with nobody
                grads[t] = np.asarray(grads[t] + grad) if t in grads else grad
        if node.inputs and not retain_graph:
            node.inputs = node.options = None


def operators(name: str) -> tuple[Callable, Callable]:
    """Return the method for a ∘ b and the one for its reflected form b ∘ a."""
    return (lambda a, b: apply(name, a, b)), (lambda a, b: apply(name, b, a))


def method(name: str, *options: str) -> Callable:
    """Return the method for an operation with one input and these options."""
    return lambda x, *values, **k: apply(name, x, **dict(zip(options, values, strict=False)), **k)


class Tensor:
    """A NumPy array in the graph: Tensor(x, requires_grad=True); integers become float64."""

    __array_ufunc__ = None  # lets array + tensor reach Tensor.__radd__

    def __init__(self, data, requires_grad: bool = False, name="leaf", inputs=(), options=()):
        data = np.asarray(data)
        self.data = data if data.dtype.kind == "f" else np.asarray(data, np.float64)
        self.grad, self.requires_grad = None, requires_grad
        self.name, self.inputs, self.options = name, inputs, options

    (__add__, __radd__), (__sub__, __rsub__) = operators("add"), operators("subtract")
    (__mul__, __rmul__), (__truediv__, __rtruediv__) = operators("multiply"), operators("divide")
    (__pow__, __rpow__), (__matmul__, __rmatmul__) = operators("power"), operators("matmul")
    __neg__, exp, log, sqrt = map(method, ("negative", "exp", "log", "sqrt"))
    tanh, sigmoid, relu = map(method, ("tanh", "sigmoid", "relu"))
    sum, mean, max = (method(name, "axis", "keepdims") for name in ("sum", "mean", "max"))
    __getitem__ = method("getitem", "index")
    shape, ndim, dtype = (property(attrgetter(f"data.{n}")) for n in ("shape", "ndim", "dtype"))
    T = property(lambda self: self.transpose())
    backward = backward

    def reshape(self, *shape):
        return apply("reshape", self, shape=shape[0] if isinstance(shape[0], tuple) else shape)

    def transpose(self, *axes):
        return apply("transpose", self, axes=axes or tuple(range(self.ndim))[::-1])

    def zero_grad(self):
        self.grad = None

    def detach(self):
        return Tensor(self.data)

    def item(self):
        return self.data.item()

    def __repr__(self):
        return f"Tensor({self.data!r}, name={self.name!r}, requires_grad={self.requires_grad})"


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Within ``with no_grad():`` operations remember nothing, so results hold no other memory."""
    global _recording
    before, _recording = _recording, False
    try:
        yield
    finally:
        _recording = before


def add_operation(name: str, forward: Callable, *gradients: Callable) -> Callable[..., Tensor]:
    """Add a row to RULES, or replace one, and return its operation: (*tensors, **options) → Tensor.

    Args: forward: (*arrays, **options) → y; gradients: for each input a function
        (g, y, *arrays, **options) → dL/d(input), which may still have the shape of y."""
    if not gradients:
        raise ValueError(f"gradients of {name!r} is empty; it must hold a function for each input")
    RULES[name] = (forward, *gradients)
    return partial(apply, name)


maximum, where, log_softmax = (partial(apply, name) for name in ("maximum", "where", "log_softmax"))


def concatenate(tensors: Sequence, axis: int = 0) -> Tensor:
    """Join tensors along an existing axis."""
    return apply("concatenate", *tensors, axis=axis)


def cross_entropy(logits: Tensor, labels: np.ndarray) -> Tensor:
    """Return the mean of −log softmax(logits)[label] in nats. logits: (N, K); labels: N ints."""
    check_shape("logits", logits, (None, None))
    check_labels(labels, *logits.shape)
    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()
