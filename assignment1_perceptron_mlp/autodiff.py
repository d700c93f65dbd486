"""Reverse-mode automatic differentiation over NumPy arrays, to be read from top to bottom.

Three parts. Rules: for each operation y = f(a, b, …) how to compute y, and how to turn
g = dL/dy into dL/da, dL/db, …, where L is one number, the loss. Tensors: arrays that remember
which rule and which inputs made them. The backward pass: one walk from L back to the leaves.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from assignment1_perceptron_mlp.numpy_layers import check_labels, check_shape, sigmoid

# ---------------------------------------------------------------------------------- rules


class Rule(NamedTuple):
    """An operation: forward(*arrays, **options) → y, and one gradient function for each input.

    A gradient function takes (g, y, *arrays, **options), where g = dL/dy has the shape of y, and
    returns dL/d(its input). That may still have the shape of y where the input was broadcast:
    unbroadcast sums it afterwards.
    """

    forward: Callable[..., np.ndarray]
    gradients: tuple[Callable[..., np.ndarray], ...]


def unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum grad over the axes along which an input of this shape was repeated."""
    if grad.shape == shape:
        return grad
    new = grad.ndim - len(shape)  # axes that broadcasting put in front: (M,) → (1, M) → (N, M)
    axes = [i for i, n in enumerate(grad.shape) if i < new or shape[i - new] != n]
    total = grad.sum(axis=tuple(axes), keepdims=True)
    if total.size != int(np.prod(shape)):
        raise ValueError(f"a gradient of shape {grad.shape} does not fit an input of shape {shape}")
    return total.reshape(shape)


def power_gradient_base(g, y, a, b):
    """Return dL/da = g b a^(b−1) for y = a^b; where b is 0 it is 0, at a = 0 too."""
    return g * b * a ** np.where(b == 0, 1, b - 1)


def power_gradient_exponent(g, y, a, b):
    """Return dL/db = g y log a for y = a^b, for a ≥ 0; log 1 stands in where a is 0."""
    return g * y * np.log(np.where(a == 0, 1, a))


def matmul_gradient_left(g, y, a, b):
    """Return dL/da = g bᵀ for y = a b. g: (…, N, M); b: (…, D, M) → (…, N, D)."""
    if b.ndim == 1:  # a vector (D,) is a column: g has lost its last axis
        return g[..., None] * b
    if a.ndim == 1:  # a vector (D,) is a row: g has lost its axis N
        g = g[..., None, :]
    return g @ b.swapaxes(-1, -2)


def matmul_gradient_right(g, y, a, b):
    """Return dL/db = aᵀ g for y = a b. a: (…, N, D); g: (…, N, M) → (…, D, M)."""
    if b.ndim == 1:  # (…, N, 1) * (…, N, D): the axes in front are summed by unbroadcast
        return g[..., None] * a
    if a.ndim == 1:  # an outer product, (D, 1) * (…, 1, M)
        return a[:, None] * g[..., None, :]
    return a.swapaxes(-1, -2) @ g


ARITHMETIC = {  # name: y, then dL/da and dL/db from g = dL/dy
    "add": Rule(np.add, (lambda g, y, a, b: g, lambda g, y, a, b: g)),
    "subtract": Rule(np.subtract, (lambda g, y, a, b: g, lambda g, y, a, b: -g)),
    "multiply": Rule(np.multiply, (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)),
    "divide": Rule(np.divide, (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b)),
    "power": Rule(np.power, (power_gradient_base, power_gradient_exponent)),
    "matmul": Rule(np.matmul, (matmul_gradient_left, matmul_gradient_right)),
}


def relu(x):
    """Return max(x, 0), entry by entry."""
    return np.maximum(x, 0)


FUNCTIONS = {  # of one input, entry by entry: g times the derivative, often written with y
    "negative": Rule(np.negative, (lambda g, y, x: -g,)),
    "exp": Rule(np.exp, (lambda g, y, x: g * y,)),
    "log": Rule(np.log, (lambda g, y, x: g / x,)),
    "sqrt": Rule(np.sqrt, (lambda g, y, x: g / (2 * y),)),
    "tanh": Rule(np.tanh, (lambda g, y, x: g * (1 - y * y),)),
    "sigmoid": Rule(sigmoid, (lambda g, y, x: g * y * (1 - y),)),
    "relu": Rule(relu, (lambda g, y, x: g * (y > 0),)),
}


def maximum_gradient_first(g, y, a, b):
    """Return dL/da for y = max(a, b): g where a is larger, half of it where they are equal."""
    return g * np.where(a == b, 0.5, a > b)


def maximum_gradient_second(g, y, a, b):
    """Return dL/db for y = max(a, b), which is symmetric."""
    return maximum_gradient_first(g, y, b, a)


CHOICES = {  # between two inputs, entry by entry; c is a condition, and constant
    "maximum": Rule(np.maximum, (maximum_gradient_first, maximum_gradient_second)),
    "where": Rule(
        np.where,
        (
            lambda g, y, c, a, b: np.zeros_like(c),
            lambda g, y, c, a, b: np.where(c, g, 0),
            lambda g, y, c, a, b: np.where(c, 0, g),
        ),
    ),
}


def spread(g, x, axis=None, keepdims=False):
    """Repeat g, which belongs to a reduction of x over axis, to the shape of x."""
    if axis is not None and not keepdims:
        g = np.expand_dims(g, axis)  # the reduced axes again, with size 1
    return np.broadcast_to(g, x.shape).copy()


def sum_gradient(g, y, x, axis, keepdims):
    """Return dL/dx for y = Σ x: every entry gets the g of its sum."""
    return spread(g, x, axis, keepdims)


def mean_gradient(g, y, x, axis, keepdims):
    """Return dL/dx for a mean: each of the x.size / y.size entries gets its share of g."""
    return spread(g, x, axis, keepdims) * (y.size / max(x.size, 1))


def max_gradient(g, y, x, axis, keepdims):
    """Return dL/dx for a maximum: the entries that attain it share g equally."""
    winners = x == spread(y, x, axis, keepdims)
    share = winners / winners.sum(axis=axis, keepdims=True)
    return spread(g, x, axis, keepdims) * share


def stable_log_softmax(x, axis):
    """Return x − log Σ exp(x) along axis, with the maximum subtracted first."""
    z = x - x.max(axis=axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=axis, keepdims=True))


def log_softmax_gradient(g, y, x, axis):
    """Return dL/dx = g − softmax(x) Σ g, since dy_i/dx_j = [i = j] − softmax(x)_j."""
    return g - np.exp(y) * g.sum(axis=axis, keepdims=True)


REDUCTIONS = {  # along one axis, a tuple of axes, or all of them (None)
    "sum": Rule(np.sum, (sum_gradient,)),
    "mean": Rule(np.mean, (mean_gradient,)),
    "max": Rule(np.max, (max_gradient,)),
    "log_softmax": Rule(stable_log_softmax, (log_softmax_gradient,)),
}


def transpose_gradient(g, y, x, axes):
    """Return g with its axes back in their old places; argsort inverts a permutation."""
    return g.transpose(np.argsort(np.mod(axes, x.ndim)))  # mod: axis −1 is axis ndim − 1


def getitem_gradient(g, y, x, index):
    """Add g at index to zeros like x; an entry that was picked twice gets both."""
    dx = np.zeros_like(x)
    np.add.at(dx, index, g)
    return dx


def concatenate_gradient_first(g, y, a, b, axis):
    """Return the part of g that belongs to a, the first piece along axis."""
    return np.split(g, [a.shape[axis]], axis)[0]


def concatenate_gradient_second(g, y, a, b, axis):
    """Return the part of g that belongs to b, the second piece along axis."""
    return np.split(g, [a.shape[axis]], axis)[1]


SHAPES = {  # entries move and keep their values; g moves back
    "reshape": Rule(
        lambda x, shape: x.reshape(shape), (lambda g, y, x, shape: g.reshape(x.shape),)
    ),
    "transpose": Rule(np.transpose, (transpose_gradient,)),
    "getitem": Rule(lambda x, index: x[index], (getitem_gradient,)),
    "concatenate": Rule(
        lambda a, b, axis: np.concatenate((a, b), axis),
        (concatenate_gradient_first, concatenate_gradient_second),
    ),
}

RULES = {**ARITHMETIC, **FUNCTIONS, **CHOICES, **REDUCTIONS, **SHAPES}

# -------------------------------------------------------------------------------- tensors


class Operators:
    """Python's symbols: a + b calls a.__add__(b), or b.__radd__(a) where a is no tensor."""

    def __add__(self, other):
        return apply("add", self, other)

    def __radd__(self, other):
        return apply("add", other, self)

    def __sub__(self, other):
        return apply("subtract", self, other)

    def __rsub__(self, other):
        return apply("subtract", other, self)

    def __mul__(self, other):
        return apply("multiply", self, other)

    def __rmul__(self, other):
        return apply("multiply", other, self)

    def __truediv__(self, other):
        return apply("divide", self, other)

    def __rtruediv__(self, other):
        return apply("divide", other, self)

    def __pow__(self, other):
        return apply("power", self, other)

    def __rpow__(self, other):
        return apply("power", other, self)

    def __matmul__(self, other):
        return apply("matmul", self, other)

    def __rmatmul__(self, other):
        return apply("matmul", other, self)


class Functions:
    """The operations of one input that work entry by entry."""

    def __neg__(self):
        return self._apply("negative")

    def exp(self):
        """Return e to the power of each entry."""
        return self._apply("exp")

    def log(self):
        """Return the natural logarithm of each entry."""
        return self._apply("log")

    def sqrt(self):
        """Return the square root of each entry."""
        return self._apply("sqrt")

    def tanh(self):
        """Return the hyperbolic tangent of each entry, in (−1, 1)."""
        return self._apply("tanh")

    def sigmoid(self):
        """Return 1 / (1 + exp(−x)) for each entry x, in (0, 1)."""
        return self._apply("sigmoid")

    def relu(self):
        """Return max(x, 0) for each entry x."""
        return self._apply("relu")


def one_tuple(numbers):
    """Return (2, 3) for both (2, 3) and ((2, 3),): a method's *numbers, however they came."""
    return tuple(numbers[0]) if len(numbers) == 1 and np.ndim(numbers[0]) else numbers


class Axes:
    """The operations that know of axes; axis is a number, a tuple, or None for all of them."""

    def sum(self, axis=None, keepdims=False):
        """Return the sum over axis."""
        return self._apply("sum", axis=axis, keepdims=keepdims)

    def mean(self, axis=None, keepdims=False):
        """Return the mean over axis."""
        return self._apply("mean", axis=axis, keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        """Return the maximum over axis."""
        return self._apply("max", axis=axis, keepdims=keepdims)

    def reshape(self, *shape):
        """Return the same entries in another shape: x.reshape(2, 3) or x.reshape((2, 3))."""
        return self._apply("reshape", shape=one_tuple(shape))

    def transpose(self, *axes):
        """Return the axes in this order; reversed where none is given."""
        return self._apply("transpose", axes=one_tuple(axes) or tuple(range(self.ndim))[::-1])

    def __getitem__(self, index):
        return self._apply("getitem", index=index)


class ArrayLike:
    """What the array of a tensor can tell about itself. None of it enters the graph."""

    shape = property(lambda self: self.data.shape, doc="The length of each axis; () for a number.")
    ndim = property(lambda self: self.data.ndim, doc="The number of axes.")
    dtype = property(lambda self: self.data.dtype, doc="The type of an entry, such as float32.")

    def item(self) -> float:
        """Return the only entry as a number."""
        return self.data.item()

    def __len__(self):
        return len(self.data)

    def __bool__(self):
        if self.data.size != 1:
            raise ValueError(f"a tensor of shape {self.shape} is neither true nor false; use data")
        return bool(self.data.item())

    def __array__(self, dtype=None, copy=None):
        raise TypeError("NumPy cannot see the graph of a Tensor; take its numbers with .data")

    def __repr__(self):
        return f"Tensor({self.data!r}, name={self.name!r}, requires_grad={self.requires_grad})"


class Tensor(Operators, Functions, Axes, ArrayLike):
    """A NumPy array in the graph: Tensor(x, requires_grad=True); integers become float64.

    A leaf was made by nobody: name "leaf", no inputs. grad, an array like data, comes by backward.
    """

    __array_ufunc__ = None  # lets array + tensor reach Tensor.__radd__

    def __init__(self, data, requires_grad: bool = False):
        data = np.asarray(data)
        if data.dtype.kind not in "fiub":  # float, signed or unsigned integer, boolean
            raise ValueError(f"data has dtype {data.dtype}; a tensor holds real numbers")
        self.data = data if data.dtype.kind == "f" else data.astype(np.float64)
        self.requires_grad, self.grad = requires_grad, None
        self.name, self.inputs, self.options, self.gradients = "leaf", (), {}, ()

    def _apply(self, name: str, **options) -> "Tensor":
        """Return operation `name` of this tensor; the methods of Functions and Axes call it."""
        return apply(name, self, **options)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    @property
    def T(self):
        """The tensor with its axes reversed."""
        return self.transpose()

    def backward(self, gradient=None, retain_graph: bool = False) -> None:
        """Add dL/dt to t.grad for every tensor t that led here; see the function backward."""
        backward(self, gradient, retain_graph)

    def zero_grad(self) -> None:
        """Forget the gradient, before the next backward adds to it."""
        self.grad = None

    def detach(self) -> "Tensor":
        """Return a constant with the same numbers in the same memory."""
        return Tensor(self.data)


_recording = True  # whether operations remember their inputs; no_grad switches it


def as_tensors(inputs: Sequence) -> list[Tensor]:
    """Return inputs with numbers and arrays as constants, in the dtype of the first tensor."""
    dtype = next((t.dtype for t in inputs if isinstance(t, Tensor)), None)
    return [  # the inner Tensor refuses None and text, of which NumPy would make numbers
        t if isinstance(t, Tensor) else Tensor(np.asarray(Tensor(t).data, dtype)) for t in inputs
    ]


def apply(name: str, *inputs, **options) -> Tensor:
    """Return operation `name` of these inputs; remember how it was made if one requires grad."""
    rule, inputs = RULES[name], as_tensors(inputs)
    if len(inputs) != len(rule.gradients):
        raise TypeError(f"{name} takes {len(rule.gradients)} inputs; it was given {len(inputs)}")
    try:
        y = Tensor(rule.forward(*[t.data for t in inputs], **options))
    except ValueError as error:
        shapes = " and ".join(str(t.shape) for t in inputs)
        raise ValueError(f"{name} does not work for shapes {shapes}: {error}") from None
    if _recording and any(t.requires_grad for t in inputs):
        y.requires_grad = True
        y.name, y.inputs, y.options, y.gradients = name, inputs, options, rule.gradients
    return y


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Within ``with no_grad():`` operations remember nothing, so results hold no other memory."""
    global _recording
    before, _recording = _recording, False
    try:
        yield
    finally:
        _recording = before


# ------------------------------------------------------------------------------- backward


def topological_order(output: Tensor) -> list[Tensor]:
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
            stack.append((node, True))  # comes back when all that is above it is done
            stack.extend((t, False) for t in node.inputs if t.requires_grad)
    return order


def accumulate(total: np.ndarray | None, grad: np.ndarray) -> np.ndarray:
    """Return total + grad in a new array, or grad where there is no total yet."""
    return grad if total is None else np.asarray(total + grad)


def input_gradient(node: Tensor, position: int, g: np.ndarray) -> np.ndarray:
    """Return dL/d(input at position), of that input's shape and dtype, from g = dL/d(node)."""
    t, arrays = node.inputs[position], [t.data for t in node.inputs]
    grad = node.gradients[position](g, node.data, *arrays, **node.options)
    try:
        grad = unbroadcast(np.asarray(grad, t.dtype), t.shape)
    except ValueError as error:
        raise ValueError(f"gradient {position} of {node.name}: {error}") from None
    borrowed = grad.base is not None or any(grad is other for other in (g, node.data, *arrays))
    is_leaf = not t.inputs
    return grad.copy() if is_leaf and borrowed else grad  # a leaf shares memory with nobody


def first_gradient(output: Tensor, gradient) -> np.ndarray:
    """Return dL/d(output) to start from: gradient, or 1 where output is one number and so L."""
    if not output.requires_grad:
        raise ValueError("backward needs a tensor that depends on one with requires_grad=True")
    if gradient is None and output.data.size == 1:
        gradient = np.ones(output.shape)
    if np.shape(gradient) != output.shape:
        raise ValueError(f"gradient has shape {np.shape(gradient)}; it must be {output.shape}")
    return np.array(gradient, output.dtype)


def backward(output: Tensor, gradient=None, retain_graph: bool = False) -> None:
    """Add dL/dt to t.grad for every tensor t that leads to output and requires grad.

    gradient is dL/d(output), of its shape; 1 where output is one number and so L itself. The
    graph is freed on the way, with the arrays that only it held, unless retain_graph is true."""
    grads = {output: first_gradient(output, gradient)}  # tensor → dL/d(tensor), as far as known
    order = topological_order(output)
    while order:
        node = order.pop()
        g = grads.pop(node)  # complete: all that used node has been visited
        node.grad = accumulate(node.grad, g)
        for position, t in enumerate(node.inputs):
            if t.requires_grad:
                grads[t] = accumulate(grads.get(t), input_gradient(node, position, g))
        if node.inputs and not retain_graph:
            node.inputs = node.options = None


# ------------------------------------------------------------------- operations as functions


def add_operation(name: str, forward: Callable, *gradients: Callable) -> Callable[..., Tensor]:
    """Add a rule to RULES, or replace one, and return its operation (*tensors, **options) → Tensor.

    Args: forward: (*arrays, **options) → y; gradients: for each input a function
        (g, y, *arrays, **options) → dL/d(input), which may still have the shape of y."""
    if not gradients:
        raise ValueError(f"gradients of {name!r} is empty; it must hold a function for each input")
    for function in (forward, *gradients):
        if not callable(function):
            raise ValueError(f"{name!r} is given {function!r}; every rule must be a function")
    RULES[name] = Rule(forward, gradients)
    return partial(apply, name)


def maximum(a, b) -> Tensor:
    """Return the larger of a and b, entry by entry."""
    return apply("maximum", a, b)


def where(condition, a, b) -> Tensor:
    """Return a where condition holds and b elsewhere, entry by entry."""
    return apply("where", condition, a, b)


def concatenate(tensors: Sequence, axis: int = 0) -> Tensor:
    """Join tensors along an existing axis, half with half: log₂ n copies of each entry, not n."""
    tensors = as_tensors(tensors)
    if not tensors:
        raise ValueError("tensors is empty; concatenate needs one or more")
    if len(tensors) == 1:
        return tensors[0]
    middle = len(tensors) // 2
    left, right = concatenate(tensors[:middle], axis), concatenate(tensors[middle:], axis)
    return apply("concatenate", left, right, axis=axis)


def log_softmax(x, axis: int) -> Tensor:
    """Return log(softmax(x)) along axis, without overflow."""
    return apply("log_softmax", x, axis=axis)


def cross_entropy(logits: Tensor, labels: np.ndarray) -> Tensor:
    """Return the mean of −log softmax(logits)[label] in nats. logits: (N, K); labels: N ints."""
    labels, [logits] = np.asarray(labels), as_tensors([logits])
    check_shape("logits", logits, (None, None))
    check_labels(labels, *logits.shape)
    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()
