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
    """All steps of x (T, …, N, D), the gradient by hand. Returns every h, and the last c."""

    @staticmethod
    def forward(ctx, x, h0, c0, W_xh, W_hh, b):
        add_product = torch.addmm if W_hh.ndim == 2 else torch.baddbmm  # one network, or a stack
        H, hidden, cells, tanh_cells = W_hh.shape[-1], [h0], [c0], []
        all_gates = (x @ W_xh.mT).add_(b[..., None, :])  # (T, …, N, 4H): this waits for no h
        for gates in all_gates.unbind():  # views: each step completes its own in place
            add_product(gates, hidden[-1], W_hh.mT, out=gates)
            gates[..., 2 * H : 3 * H].mul_(2)
            gates.sigmoid_()  # one for all four, since tanh(z) = 2 sigmoid(2z) − 1
            gates[..., 2 * H : 3 * H].mul_(2).sub_(1)
            i, f, g, o = gates.chunk(4, dim=-1)
            cells.append(torch.addcmul(f * cells[-1], i, g))
            tanh_cells.append(torch.sigmoid(2 * cells[-1]).mul_(2).sub_(1))
            hidden.append(o * tanh_cells[-1])
        ctx.save_for_backward(x, W_xh, W_hh)
        ctx.kept = all_gates, hidden, cells, tanh_cells
        return torch.stack(hidden[1:]), cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, dhidden, dc):
        (x, W_xh, W_hh), (all_gates, hidden, cells, tanh_cells) = ctx.saved_tensors, ctx.kept
        add_product = torch.addmm if W_hh.ndim == 2 else torch.baddbmm  # one network, or a stack
        dW_hh, dW_hx, db = torch.zeros_like(W_hh), W_xh.mT.new_zeros(W_xh.mT.shape), 0
        dz, dh, dx = torch.empty_like(all_gates[0]), dhidden[-1], []
        for t in range(len(x) - 1, -1, -1):  # hidden[t] is the state before this step
            dc = gates_backward(dh, dc, all_gates[t], cells[t], tanh_cells[t], dz)
            add_product(dW_hh, dz.mT, hidden[t], out=dW_hh)
            add_product(dW_hx, x[t].mT, dz, out=dW_hx)  # turned: a narrow product is faster so
            db = db + dz.sum(dim=-2)
            if ctx.needs_input_grad[0]:
                dx.append(dz @ W_xh)
            dh = add_product(dhidden[t - 1], dz, W_hh) if t else dz @ W_hh
        return torch.stack(dx[::-1]) if dx else None, dh, dc, dW_hx.mT, dW_hh, db


def lstm_sequence(x, h0, c0, W_xh, W_hh, b):
    """Return every h (T, …, N, H) and the last c (…, N, H): `lstm_states`, faster."""
    return LSTMSteps.apply(x, h0, c0, W_xh, W_hh, b)


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
