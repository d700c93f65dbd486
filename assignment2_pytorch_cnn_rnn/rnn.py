"""A recurrent network from its equation, without torch.nn.RNN; parameters in torch's layout.

The arithmetic takes leading axes, so that one call computes one network or a stack of them: a
weight is then (S, H, D), a bias (S, H), a state (S, N, H).
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

NUM_DIGITS = 10


def rnn_step(x, h, W_xh, W_hh, b):
    """Return the next state (…, N, H) from x (…, N, D) and h (…, N, H).

    Source: Elman 1990; W_xh (…, H, D), W_hh (…, H, H), b (…, H) in torch's layout, (out, in).
    """
    return torch.tanh(x @ W_xh.mT + h @ W_hh.mT + b[..., None, :])


def rnn_states(x, h0, W_xh, W_hh, b):
    """Return the list h_1 … h_T of `rnn_step`, faster. x: (T, …, N, D); h0: (…, N, H).

    What does not wait for h is computed for all steps at once.
    """
    inputs = x @ W_xh.mT + b[..., None, :]  # (T, …, N, H)
    add_product = torch.addmm if W_hh.ndim == 2 else torch.baddbmm  # one network, or a stack
    states, h = [], h0
    for x_t in inputs.unbind():
        h = torch.tanh(add_product(x_t, h, W_hh.mT))
        states.append(h)
    return states


def check_sizes(**sizes) -> None:
    """Raise ValueError for the first size that is not a whole number, 1 or more."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} is {size!r}; it must be a whole number, 1 or more")


def check_input(x, input_size, dtype, ndims) -> None:
    """Raise ValueError unless x has one of `ndims` axes, the last of input_size, and this dtype."""
    if x.ndim not in ndims or x.shape[-1] != input_size or x.dtype != dtype:
        axes = " or ".join(str(n) for n in ndims)
        raise ValueError(
            f"x is {x.dtype} {tuple(x.shape)}; it must be {dtype} with {axes} axes, "
            f"the last of size {input_size}"
        )
    if 0 in x.shape:
        raise ValueError(f"x has shape {tuple(x.shape)}; no axis may be empty")


def check_state(name, state, shape) -> None:
    """Raise ValueError unless a start state has the shape of its batch."""
    if tuple(state.shape) != tuple(shape):
        raise ValueError(f"{name} has shape {tuple(state.shape)}; it must be {tuple(shape)}")


class Recurrent(nn.Module):
    """Weights and biases of a recurrent layer, `gates` blocks of H rows each, in torch's order.

    torch keeps two biases that are always added: as many parameters as a state dict of its own.
    """

    def __init__(self, input_size, hidden_size, gates=1, suffix="", device=None, dtype=None):
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = gates * hidden_size
        shapes = {
            "weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size),
            "bias_ih": (rows,), "bias_hh": (rows,),
        }  # fmt: skip
        self.names = [name + suffix for name in shapes]
        for name, shape in zip(self.names, shapes.values(), strict=True):
            parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
            self.register_parameter(name, parameter)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw from ± 1/√H, torch's start."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def weights(self):
        """Return W_xh, W_hh and the sum of both biases."""
        W_xh, W_hh, b_xh, b_hh = (getattr(self, name) for name in self.names)
        return W_xh, W_hh, b_xh + b_hh


class RNNCell(Recurrent):
    """One step, like torch.nn.RNNCell with tanh. x: (N, D) or (D,) → h: (N, H) or (H,)."""

    def forward(self, x, h=None):
        W_xh, W_hh, b = self.weights()
        check_input(x, self.input_size, W_xh.dtype, ndims=(1, 2))
        shape = (*x.shape[:-1], self.hidden_size)
        h = x.new_zeros(shape) if h is None else h
        check_state("h", h, shape)
        if x.ndim == 1:  # one example: a batch of one
            return rnn_step(x[None], h[None], W_xh, W_hh, b)[0]
        return rnn_step(x, h, W_xh, W_hh, b)


class RNN(Recurrent):
    """All steps, like torch.nn.RNN with one layer and tanh: x (T, N, D) or (T, D).

    Returns: every state (T, N, H), and the last one (1, N, H).
    """

    def __init__(self, input_size, hidden_size, device=None, dtype=None):
        super().__init__(input_size, hidden_size, 1, "_l0", device, dtype)

    def forward(self, x, h0=None):
        weights = self.weights()
        check_input(x, self.input_size, weights[0].dtype, ndims=(2, 3))
        if x.ndim == 2:
            out, h = self(x[:, None], None if h0 is None else h0[:, None])
            return out[:, 0], h[:, 0]
        shape = (1, x.shape[1], self.hidden_size)
        h0 = x.new_zeros(shape) if h0 is None else h0
        check_state("h0", h0, shape)
        states = rnn_states(x, h0[0], *weights)
        return torch.stack(states), states[-1][None]


def encode(digits, scalar=False, dtype=torch.float32):
    """Return digits (…, N, T) as network inputs (T, …, N, D): one-hot, or the number itself."""
    digits = digits.movedim(-1, 0)  # time first
    if scalar:
        return digits[..., None].to(dtype)  # D = 1
    return F.one_hot(digits, NUM_DIGITS).to(dtype)


class DigitReader(nn.Module):
    """A recurrent layer that reads digits, and a linear layer on its last state.

    digits (N, T) int64 → logits (N, 10). With stacked parameters, as torch.func.functional_call
    takes them, digits are (S, N, T) and logits (S, N, 10).
    """

    def __init__(self, layer, scalar=False):
        super().__init__()
        self.layer, self.scalar = layer, scalar
        H = layer.hidden_size
        self.W_hy = nn.Parameter(torch.empty(NUM_DIGITS, H).uniform_(-1, 1) / math.sqrt(H))
        self.b_y = nn.Parameter(torch.zeros(NUM_DIGITS))

    def states(self, digits):
        """Return the list of hidden states h_1 … h_T, each (…, N, H)."""
        x = encode(digits, self.scalar, self.W_hy.dtype)
        h0 = x.new_zeros(*x.shape[1:-1], self.layer.hidden_size)
        return rnn_states(x, h0, *self.layer.weights())

    def read_out(self, h):
        """Return logits (…, N, 10) of a state (…, N, H)."""
        return h @ self.W_hy.mT + self.b_y[..., None, :]

    def forward(self, digits):
        return self.read_out(self.states(digits)[-1])


def build_rnn(hidden_size=128, scalar=False, gain=None):
    """Return a DigitReader with an RNN; gain: start W_hh as this multiple of a random rotation."""
    layer = RNN(1 if scalar else NUM_DIGITS, hidden_size)
    if gain is not None:
        nn.init.orthogonal_(layer.weight_hh_l0, gain)
    return DigitReader(layer, scalar)
