"""An LSTM from its gate equations, without torch.nn.LSTM; parameters in torch's packed layout.

The rows of each weight are four blocks of H: input gate, forget gate, modulation, output gate.
As in rnn.py, the arithmetic takes leading axes: a weight (S, 4H, D) is a stack of networks.
"""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from assignment2_pytorch_cnn_rnn.rnn import (
    NUM_DIGITS,
    DigitReader,
    Recurrent,
    check_input,
    check_state,
    encode,
)


def lstm_step(x, h, c, W_xh, W_hh, b):
    """Return the next h and c, each (…, N, H), from x (…, N, D), h and c.

    Source: Hochreiter & Schmidhuber 1997; the forget gate: Gers, Schmidhuber & Cummins 2000.
    """
    gates = x @ W_xh.mT + h @ W_hh.mT + b[..., None, :]  # (…, N, 4H): one product for all four
    i, f, g, o = gates.chunk(4, dim=-1)
    i, f, o = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)
    c = f * c + i * torch.tanh(g)
    return o * torch.tanh(c), c


def lstm_states(x, h0, c0, W_xh, W_hh, b):
    """Return the lists h_1 … h_T and c_1 … c_T, step by step. x: (T, …, N, D); h0: (…, N, H)."""
    hidden, cells, h, c = [], [], h0, c0
    for x_t in x.unbind():
        h, c = lstm_step(x_t, h, c, W_xh, W_hh, b)
        hidden.append(h)
        cells.append(c)
    return hidden, cells


def gates_backward(dh, dc, gates, c_before, tanh_c, out):
    """Write dL/d(what enters the gates) to out (…, N, 4H) and return dL/dc of the step before.

    dh, dc: (…, N, H), what reaches h_t and c_t from later; gates: (…, N, 4H), their values.
    """
    i, f, g, o = gates.chunk(4, dim=-1)
    di, df, dg, do = out.chunk(4, dim=-1)  # views: written in place
    dc = torch.addcmul(dc, dh * o, 1 - tanh_c * tanh_c)  # c_t acts on h_t, too
    torch.mul(dc * g, i - i * i, out=di)
    torch.mul(dc * c_before, f - f * f, out=df)
    torch.mul(dc * i, 1 - g * g, out=dg)
    torch.mul(dh * tanh_c, o - o * o, out=do)
    return dc * f


class LSTMSteps(torch.autograd.Function):
    """All steps, from inputs (T, …, N, 4H) that hold W_xh x_t + b; its gradient by hand.

    Autograd would keep every intermediate result; here the four gates and two tanh of each step
    are enough, and the gradient of W_hh is added up in place.
    """

    @staticmethod
    def forward(ctx, inputs, h0, c0, W_hh):
        add_product = torch.addmm if W_hh.ndim == 2 else torch.baddbmm  # one network, or a stack
        H, hidden, cells, kept = W_hh.shape[-1], [h0], [c0], []
        for x_t in inputs.unbind():
            gates = add_product(x_t, hidden[-1], W_hh.mT)
            modulation = gates[..., 2 * H : 3 * H].tanh_()
            gates[..., : 2 * H].sigmoid_()
            gates[..., 3 * H :].sigmoid_()
            c = torch.addcmul(gates[..., H : 2 * H] * cells[-1], gates[..., :H], modulation)
            tanh_c = c.tanh()
            hidden.append(gates[..., 3 * H :] * tanh_c)
            cells.append(c)
            kept.append((gates, tanh_c))
        ctx.save_for_backward(W_hh)
        ctx.hidden, ctx.cells, ctx.kept = hidden, cells, kept
        return torch.stack(hidden[1:]), c.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, dhidden, dc):
        (W_hh,), hidden, cells = ctx.saved_tensors, ctx.hidden, ctx.cells
        add_product = torch.Tensor.addmm_ if W_hh.ndim == 2 else torch.Tensor.baddbmm_
        dW_hh, dh = torch.zeros_like(W_hh), torch.zeros_like(hidden[0])
        dinputs = dhidden.new_empty(len(dhidden), *ctx.kept[0][0].shape)
        for t in range(len(dhidden) - 1, -1, -1):  # hidden[t] is the state before step t
            dh = dh + dhidden[t]
            dc = gates_backward(dh, dc, ctx.kept[t][0], cells[t], ctx.kept[t][1], dinputs[t])
            add_product(dW_hh, dinputs[t].mT, hidden[t])
            dh = dinputs[t] @ W_hh
        return dinputs, dh, dc, dW_hh


def lstm_sequence(x, h0, c0, W_xh, W_hh, b):
    """Return every h (T, …, N, H) and the last c (…, N, H): `lstm_states`, faster."""
    inputs = x @ W_xh.mT + b[..., None, :]  # (T, …, N, 4H): what does not wait for h
    return LSTMSteps.apply(inputs, h0, c0, W_hh)


class LSTMCell(Recurrent):
    """One step, like torch.nn.LSTMCell. x: (N, D) or (D,) → h and c: (N, H) or (H,)."""

    def __init__(self, input_size, hidden_size, device=None, dtype=None):
        super().__init__(input_size, hidden_size, 4, "", device, dtype)

    def forward(self, x, hc=None):
        weights = self.weights()
        check_input(x, self.input_size, weights[0].dtype, ndims=(1, 2))
        if x.ndim == 1:  # one example: a batch of one
            h, c = self(x[None], None if hc is None else tuple(state[None] for state in hc))
            return h[0], c[0]
        shape = (len(x), self.hidden_size)
        h, c = (x.new_zeros(shape), x.new_zeros(shape)) if hc is None else hc
        check_state("h", h, shape)
        check_state("c", c, shape)
        return lstm_step(x, h, c, *weights)


class LSTM(Recurrent):
    """All steps, like torch.nn.LSTM with one layer: x (T, N, D) or (T, D).

    Returns: every h (T, N, H), and the pair of the last h and c, each (1, N, H). A gradient of a
    gradient is not built.
    """

    def __init__(self, input_size, hidden_size, device=None, dtype=None):
        super().__init__(input_size, hidden_size, 4, "_l0", device, dtype)

    def forward(self, x, hc=None):
        weights = self.weights()
        check_input(x, self.input_size, weights[0].dtype, ndims=(2, 3))
        if x.ndim == 2:
            hc = None if hc is None else tuple(state[:, None] for state in hc)
            hidden, (h, c) = self(x[:, None], hc)
            return hidden[:, 0], (h[:, 0], c[:, 0])
        shape = (1, x.shape[1], self.hidden_size)
        h0, c0 = (x.new_zeros(shape), x.new_zeros(shape)) if hc is None else hc
        check_state("h0", h0, shape)
        check_state("c0", c0, shape)
        hidden, c = lstm_sequence(x, h0[0], c0[0], *weights)
        return hidden, (hidden[-1:], c[None])


class LSTMReader(DigitReader):
    """A DigitReader whose layer is an LSTM: digits (…, N, T) → logits (…, N, 10)."""

    def start(self, digits):
        """Return x (T, …, N, D) and a state of zeros (…, N, H)."""
        x = encode(digits, self.scalar, self.W_hy.dtype)
        return x, x.new_zeros(*x.shape[1:-1], self.layer.hidden_size)

    def states(self, digits):
        """Return the lists of hidden states and of cell states."""
        x, zeros = self.start(digits)
        return lstm_states(x, zeros, zeros, *self.layer.weights())

    def forward(self, digits):
        x, zeros = self.start(digits)
        hidden, _ = lstm_sequence(x, zeros, zeros, *self.layer.weights())
        return self.read_out(hidden[-1])


def build_lstm(hidden_size=128, forget_bias=None, scalar=False):
    """Return an LSTMReader; forget_bias: where the forget gate's biases start; None: torch's."""
    layer = LSTM(1 if scalar else NUM_DIGITS, hidden_size)
    if forget_bias is not None:
        forget = slice(hidden_size, 2 * hidden_size)  # the second block
        with torch.no_grad():
            layer.bias_ih_l0[forget] = forget_bias  # a number, or one per unit
            layer.bias_hh_l0[forget] = 0.0  # torch adds two biases
    return LSTMReader(layer, scalar)
