"""Tests of the RNN: torch.nn's cell and layer as witnesses, a stack of networks, bad input."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call

from assignment2_pytorch_cnn_rnn.rnn import (
    RNN,
    RNNCell,
    build_rnn,
    encode,
    rnn_states,
    rnn_step,
)
from tests.recurrent_checks import compare, randn, twins

CELLS = (RNNCell, nn.RNNCell)
LAYERS = (RNN, nn.RNN)
CELL_SHAPES = list(itertools.product((1, 4), (1, 3, 10), (1, 5, 8)))
LAYER_SHAPES = list(itertools.product((1, 2, 9), (1, 4), (1, 10), (1, 5)))


@pytest.mark.parametrize(("N", "D", "H"), CELL_SHAPES)
@pytest.mark.parametrize("given", [False, True])
def test_cell_agrees_with_torch(N, D, H, given):
    ours, theirs = twins(*CELLS, D, H)
    compare(ours, theirs, randn(N, D), *([randn(N, H, seed=1)] if given else []))


@pytest.mark.parametrize(("T", "N", "D", "H"), LAYER_SHAPES)
@pytest.mark.parametrize("given", [False, True])
def test_layer_agrees_with_torch(T, N, D, H, given):
    ours, theirs = twins(*LAYERS, D, H)
    compare(ours, theirs, randn(T, N, D), *([randn(1, N, H, seed=1)] if given else []))


AWKWARD = {
    "large": 300 * randn(5, 4, 3),
    "shifted by 3,000": randn(5, 4, 3) + 3000,
    "time last in memory": randn(4, 3, 5).permute(2, 0, 1),
    "every other step": randn(10, 4, 3)[::2],
    "one example for all": randn(5, 1, 3).expand(-1, 4, -1),
    "a long one": randn(300, 1, 3),
    "one example": randn(5, 3),
}


@pytest.mark.parametrize("case", AWKWARD)
def test_layer_on_awkward_inputs(case):
    compare(*twins(*LAYERS, 3, 4), AWKWARD[case])


def test_one_example_with_a_state():
    compare(*twins(*CELLS, 3, 4), randn(3), randn(4, seed=1))
    compare(*twins(*LAYERS, 3, 4), randn(5, 3), randn(1, 4, seed=1))


def test_state_dicts_go_both_ways_and_the_start_is_torchs():
    for ours_class, theirs_class in (CELLS, LAYERS):
        torch.manual_seed(3)
        ours = ours_class(4, 6)
        torch.manual_seed(3)
        theirs = theirs_class(4, 6)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value)
        theirs.load_state_dict(ours.state_dict())


def test_states_are_steps():
    x, h = randn(6, 2, 3), randn(2, 4, seed=1)
    weights = randn(4, 3, seed=2), randn(4, 4, seed=3), randn(4, seed=4)
    states = rnn_states(x, h, *weights)
    assert len(states) == 6
    for x_t, state in zip(x, states, strict=True):
        h = rnn_step(x_t, h, *weights)
        torch.testing.assert_close(state, h, rtol=1e-12, atol=1e-12)


def test_a_second_call_starts_anew_and_gradients_add_up():
    layer = RNN(3, 4, dtype=torch.float64)
    first, again = layer(randn(5, 2, 3))[0], layer(randn(5, 2, 3))[0]
    assert torch.equal(first, again)
    first.sum().backward()
    once = layer.weight_hh_l0.grad.clone()
    again.sum().backward()
    torch.testing.assert_close(layer.weight_hh_l0.grad, 2 * once)


@pytest.mark.parametrize("scalar", [False, True])
def test_reader_is_layer_and_linear(scalar):
    reader = build_rnn(6, scalar=scalar).double()
    digits = torch.tensor([[0, 9, 3], [9, 9, 0]])
    x = digits.T[..., None].double() if scalar else torch.eye(10).double()[digits.T]
    h = reader.layer(x)[1][0]
    expected = h @ reader.W_hy.T + reader.b_y
    torch.testing.assert_close(reader(digits), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(encode(digits, scalar, torch.float64), x)


def test_a_stack_computes_what_each_computes_alone():
    readers = [build_rnn(5).double() for _ in range(3)]
    names = [name for name, _ in readers[0].named_parameters()]
    stack = {n: torch.stack([r.get_parameter(n) for r in readers]) for n in names}
    digits = torch.randint(10, (3, 4, 6))
    logits = functional_call(readers[0], stack, (digits,))
    alone = torch.stack([reader(part) for reader, part in zip(readers, digits, strict=True)])
    torch.testing.assert_close(logits, alone, rtol=1e-12, atol=1e-12)


def test_orthogonal_start():
    W = build_rnn(16, gain=1.5).layer.weight_hh_l0
    torch.testing.assert_close(W @ W.T, 2.25 * torch.eye(16), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RNN(3, 0), "hidden_size is 0"),
        (lambda: RNNCell(2.5, 4), "input_size is 2.5"),
        (lambda: RNN(True, 4), "input_size is True"),
        (lambda: RNN(3, 4)(torch.zeros(5, 2, 4)), r"x is torch.float32 \(5, 2, 4\); .* size 3"),
        (lambda: RNN(3, 4)(torch.zeros(3)), "2 or 3 axes"),
        (lambda: RNN(3, 4)(torch.zeros(0, 2, 3)), "no axis may be empty"),
        (lambda: RNN(3, 4)(torch.zeros(5, 0, 3)), "no axis may be empty"),
        (lambda: RNN(3, 4)(torch.zeros(5, 2, 3).double()), "must be torch.float32"),
        (lambda: RNN(3, 4)(torch.zeros(5, 2, 3), torch.zeros(2, 4)), r"h0 has shape \(2, 4\)"),
        (lambda: RNNCell(3, 4)(torch.zeros(2, 3), torch.zeros(1, 4)), r"h has shape \(1, 4\)"),
        (lambda: RNNCell(3, 4)(torch.zeros(5, 2, 3)), "1 or 2 axes"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
