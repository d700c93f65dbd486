"""Tests of the LSTM: torch.nn's cell and layer as witnesses, the fast way against the equations."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call

from assignment3_lstm_gan.lstm import LSTM, LSTMCell, build_lstm, lstm_sequence, lstm_states
from tests.recurrent_checks import compare, randn, twins

CELLS = (LSTMCell, nn.LSTMCell)
LAYERS = (LSTM, nn.LSTM)
CELL_SHAPES = list(itertools.product((1, 4), (1, 3, 10), (1, 5, 8)))
LAYER_SHAPES = list(itertools.product((1, 2, 9), (1, 4), (1, 10), (1, 5)))


def pair(*shape):
    return randn(*shape, seed=1), randn(*shape, seed=2)


@pytest.mark.parametrize(("N", "D", "H"), CELL_SHAPES)
@pytest.mark.parametrize("given", [False, True])
def test_cell_agrees_with_torch(N, D, H, given):
    compare(*twins(*CELLS, D, H), randn(N, D), *(pair(N, H) if given else ()))


@pytest.mark.parametrize(("T", "N", "D", "H"), LAYER_SHAPES)
@pytest.mark.parametrize("given", [False, True])
def test_layer_agrees_with_torch(T, N, D, H, given):
    compare(*twins(*LAYERS, D, H), randn(T, N, D), *(pair(1, N, H) if given else ()))


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
    compare(*twins(*CELLS, 3, 4), randn(3), *pair(4))
    compare(*twins(*LAYERS, 3, 4), randn(5, 3), *pair(1, 4))


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


def weights(*stack):
    shapes = (20, 3), (20, 5), (20,)
    return [randn(*stack, *shape, seed=5 + i).requires_grad_() for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("stack", [(), (1,), (3,)])
def test_the_fast_way_is_the_equations_with_their_gradient(stack):
    x = randn(6, *stack, 2, 3).requires_grad_()
    start = [state.requires_grad_() for state in pair(*stack, 2, 5)]
    leaves = [x, *start, *weights(*stack)]
    hidden, cells = lstm_states(*leaves)
    slow = torch.stack(hidden), cells[-1]
    fast = lstm_sequence(*leaves)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    douts = [randn(*out.shape, seed=8 + i) for i, out in enumerate(slow)]
    got, expected = (torch.autograd.grad(out, leaves, douts) for out in (fast, slow))
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_the_gradient_of_the_cell_state_alone():
    leaves = [randn(4, 2, 3), *pair(2, 5), *weights()]
    got, expected = lstm_sequence(*leaves)[1], lstm_states(*leaves)[1][-1]
    got, expected = (torch.autograd.grad(c.sum(), leaves[3:]) for c in (got, expected))
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_nothing_given_is_changed():
    leaves = [randn(4, 2, 3), *pair(2, 5), *weights()]
    before = [leaf.detach().clone() for leaf in leaves]
    hidden, c = lstm_sequence(*leaves)
    dhidden = torch.ones_like(hidden)
    torch.autograd.grad((hidden, c), leaves[3:], (dhidden, torch.ones_like(c)))
    for leaf, old in zip(leaves, before, strict=True):
        assert torch.equal(leaf, old)
    assert torch.equal(dhidden, torch.ones_like(hidden))


def test_a_gradient_of_a_gradient_is_refused():
    leaves = [randn(4, 2, 3), *pair(2, 5), *weights()]
    hidden, _ = lstm_sequence(*leaves)
    (grad,) = torch.autograd.grad(hidden.square().sum(), leaves[4:5], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_reader_a_stack_of_them_and_its_states():
    readers = [build_lstm(5).double() for _ in range(3)]
    names = [name for name, _ in readers[0].named_parameters()]
    stack = {n: torch.stack([r.get_parameter(n) for r in readers]) for n in names}
    digits = torch.randint(10, (3, 4, 6))
    logits = functional_call(readers[0], stack, (digits,))
    for reader, part, own in zip(readers, digits, logits, strict=True):
        torch.testing.assert_close(own, reader(part), rtol=1e-12, atol=1e-12)
        hidden, cells = reader.states(part)
        torch.testing.assert_close(reader.read_out(hidden[-1]), own, rtol=1e-12, atol=1e-12)
        assert len(hidden) == len(cells) == 6


def test_forget_bias_sets_the_forget_gate_alone():
    torch.manual_seed(0)
    plain = build_lstm(4).state_dict()
    torch.manual_seed(0)
    state = build_lstm(4, forget_bias=2.0).state_dict()
    total = state["layer.bias_ih_l0"] + state["layer.bias_hh_l0"]
    assert torch.equal(total[4:8], torch.full((4,), 2.0))
    for name, value in plain.items():
        rest = torch.ones(len(value), dtype=torch.bool)
        rest[4:8] = "bias" not in name
        assert torch.equal(state[name][rest], value[rest])
    each = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert torch.equal(build_lstm(4, each).layer.bias_ih_l0[4:8], each)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LSTM(3, 0), "hidden_size is 0"),
        (lambda: LSTM(3, 4)(torch.zeros(5, 2, 4)), r"x is torch.float32 \(5, 2, 4\)"),
        (lambda: LSTM(3, 4)(torch.zeros(0, 2, 3)), "no axis may be empty"),
        (lambda: LSTM(3, 4)(torch.zeros(5, 2, 3).double()), "must be torch.float32"),
        (
            lambda: LSTM(3, 4)(torch.zeros(5, 2, 3), (torch.zeros(1, 2, 4), torch.zeros(1, 3, 4))),
            r"c0 has shape \(1, 3, 4\)",
        ),
        (
            lambda: LSTMCell(3, 4)(torch.zeros(2, 3), (torch.zeros(2, 5), torch.zeros(2, 4))),
            r"h has shape \(2, 5\)",
        ),
        (lambda: LSTMCell(3, 4)(torch.zeros(5, 2, 3)), "1 or 2 axes"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
