"""Tests of Conv2d, MaxPool2d and BatchNorm2d: torch.nn as witness over a grid of arguments, finite
differences, every rung of the ladder, awkward inputs, and one clear sentence for bad ones."""

import copy
import inspect
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from assignment2_pytorch_cnn_rnn.conv_functions import (
    FEW_CHANNELS,
    Convolution,
    conv2d_backward_loops,
    conv2d_im2col,
    conv2d_loops,
    filter_matrices,
    matching,
    places_first,
    windows,
)
from assignment2_pytorch_cnn_rnn.conv_layers import BatchNorm2d, Conv2d, MaxPool2d
from assignment2_pytorch_cnn_rnn.conv_shapes import output_size, receptive_field
from shared.checks import compare_gradients, numerical_gradient


def randn(*shape, seed=0, shift=0.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) + shift


def pair_of_layers(name, *args, seed=0, **kwargs):
    """Return ours and torch's layer, ours with torch's state: weights, biases and buffers."""
    kwargs.setdefault("dtype", torch.float64)
    ours_class = {"Conv2d": Conv2d, "MaxPool2d": MaxPool2d, "BatchNorm2d": BatchNorm2d}[name]
    if name == "MaxPool2d":
        del kwargs["dtype"]
    ours, theirs = ours_class(*args, **kwargs), getattr(nn, name)(*args, **kwargs)
    with torch.no_grad():
        for i, tensor in enumerate(theirs.state_dict().values()):
            if tensor.is_floating_point():
                tensor.copy_(0.5 + randn(*tensor.shape, seed=seed + i).abs())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def results(layer, x, seed=9):
    """Return out, the gradients of x and of every parameter, and the buffers, as {name: array}."""
    x = x.detach().requires_grad_()
    layer.zero_grad()
    out = layer(x)
    out.backward(randn(*out.shape, seed=seed, dtype=out.dtype))
    named = {"out": out, "dx": x.grad}
    named |= {f"d{name}": p.grad for name, p in layer.named_parameters()}
    named |= dict(layer.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def compare(ours, theirs, x, tolerance=1e-10):
    got, expected = results(ours, x), results(theirs, x)
    assert got.keys() == expected.keys()
    for name in got:
        assert got[name].dtype == expected[name].dtype, name
        torch.testing.assert_close(
            got[name], expected[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m
        )


# ---- convolution ----

PADDINGS = (0, 1, (2, 1), "same", "valid")
GRID = [
    dict(kernel_size=k, stride=s, padding=p, dilation=d, groups=g, bias=b)
    for k, s, p, d, g, b in itertools.product(
        (1, 3, (2, 3)), (1, 2, (3, 1)), PADDINGS, (1, (2, 1)), (1, 2, 4), (True, False)
    )
    if not (p == "same" and s != 1)
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's, on its own copy
@pytest.mark.parametrize("first", range(0, len(GRID), 54))
def test_conv_agrees_with_torch_for_every_combination_of_arguments(first):
    x = randn(3, 4, 7, 9)
    for arguments in GRID[first : first + 54]:
        compare(*pair_of_layers("Conv2d", 4, 8, **arguments), x)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [2, (1, 2), "same"])
def test_conv_pads_in_every_mode(padding_mode, padding):
    layers = pair_of_layers("Conv2d", 3, 2, (4, 3), padding=padding, padding_mode=padding_mode)
    compare(*layers, randn(2, 3, 6, 5))


AWKWARD = {
    "one image": randn(1, 4, 6, 5),
    "four images": randn(4, 4, 5, 8),
    "window as large as the image": randn(2, 4, 3, 3),
    "shifted by 3,000": randn(2, 4, 6, 5, shift=3000.0),
    "transposed": randn(2, 4, 8, 5).transpose(2, 3),
    "every other column": randn(2, 4, 6, 12)[..., ::2],
    "some channels of more": randn(2, 7, 6, 5)[:, 2:6],
    "channels last": randn(2, 4, 6, 5).contiguous(memory_format=torch.channels_last),
    "one image for all": randn(1, 4, 6, 5).expand(3, -1, -1, -1),
}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("case", AWKWARD)
def test_conv_agrees_on_awkward_inputs(case, groups):
    layers = pair_of_layers("Conv2d", 4, 6, 3, stride=2, padding=1, groups=groups)
    compare(*layers, AWKWARD[case], 1e-10)
    compare(*pair_of_layers("Conv2d", 4, 6, 1, groups=groups), AWKWARD[case])


@pytest.mark.parametrize("stride", [1, 2])
def test_conv_where_some_places_of_the_window_never_meet_the_image(stride):
    layers = pair_of_layers("Conv2d", 2, 3, 3, stride=stride, padding=4, dilation=5)
    compare(*layers, randn(2, 2, 3, 4))
    compare(*pair_of_layers("Conv2d", 2, 3, 1, stride=stride, padding=3), randn(2, 2, 1, 2))


def test_conv_takes_a_single_image_and_float32():
    ours, theirs = pair_of_layers("Conv2d", 3, 4, 3, padding=1, dtype=torch.float32)
    compare(ours, theirs, randn(3, 6, 5, dtype=torch.float32), 1e-5)
    compare(ours, theirs, randn(2, 3, 6, 5, dtype=torch.float32), 1e-5)


def test_conv_takes_short_floats():
    ours, theirs = pair_of_layers("Conv2d", 4, 6, 3, groups=2, dtype=torch.bfloat16)
    x = randn(2, 4, 6, 5, dtype=torch.bfloat16)
    torch.testing.assert_close(ours(x), theirs(x), rtol=2e-2, atol=2e-2)


def test_conv_used_twice_sums_its_gradients():
    layers = pair_of_layers("Conv2d", 4, 4, 3, padding=1)
    compare(*(nn.Sequential(layer, nn.Tanh(), layer) for layer in layers), randn(2, 4, 6, 5))


@pytest.mark.parametrize(
    "layer",
    [
        Conv2d(2, 4, 3, stride=2, padding=1, groups=2, dtype=torch.float64),
        MaxPool2d(3, stride=2, padding=1),
        BatchNorm2d(2, dtype=torch.float64),
    ],
    ids=["Conv2d", "MaxPool2d", "BatchNorm2d"],
)
class TestBackward:
    def test_second_backward_gives_the_same_again(self, layer):
        x = randn(2, 2, 6, 5).requires_grad_()
        out = layer(x)
        (first,) = torch.autograd.grad(out.square().sum(), x, retain_graph=True)
        (second,) = torch.autograd.grad(out.square().sum(), x)
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        with pytest.raises(RuntimeError, match="a second time"):
            out.sum().backward()
            out.sum().backward()

    def test_agrees_with_torchs_own_gradcheck(self, layer):
        x = randn(2, 2, 5, 4, seed=3).requires_grad_()
        assert torch.autograd.gradcheck(copy.deepcopy(layer), x)
        last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        assert torch.autograd.gradcheck(copy.deepcopy(layer), last)

    def test_agrees_with_finite_differences(self, layer):
        layer = copy.deepcopy(layer)
        tensors = {
            "x": randn(2, 2, 5, 4, seed=4).requires_grad_(),
            **dict(layer.named_parameters()),
        }
        weights = randn(*layer(tensors["x"]).shape, seed=5)
        loss = (layer(tensors["x"]) * weights).sum()
        got = dict(zip(tensors, torch.autograd.grad(loss, tensors.values()), strict=True))

        def value(_):
            with torch.no_grad():
                return (layer(tensors["x"]) * weights).sum().item()

        with torch.no_grad():
            arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
            expected = {name: numerical_gradient(value, a) for name, a in arrays.items()}
        got = {name: tensor.numpy() for name, tensor in got.items()}
        assert compare_gradients(got, expected, verbose=False) < 1e-6

    def test_the_input_is_left_alone(self, layer):
        x = randn(2, 2, 6, 5)
        kept = x.clone()
        results(copy.deepcopy(layer), x)
        torch.testing.assert_close(x, kept, rtol=0, atol=0)


def test_conv_without_gradients_to_give_returns_none():
    x, weight, bias = randn(1, 2, 4, 4), randn(3, 2, 3, 3), randn(3)
    weight.requires_grad_()
    Convolution.apply(x, weight, bias, (1, 1), (1, 1), 1).sum().backward()
    assert x.grad is None and bias.grad is None and weight.grad.shape == weight.shape


def test_conv_says_that_it_has_no_second_derivative():
    x = randn(1, 2, 4, 4).requires_grad_()
    (dx,) = torch.autograd.grad(Conv2d(2, 3, 3).double()(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


# ---- the ladder ----


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("groups", [1, 2])
def test_every_rung_agrees(stride, dilation, groups):
    x, weight, bias = randn(2, 4, 7, 6), randn(4, 4 // groups, 3, 2, seed=1), randn(4, seed=2)
    settings = stride, dilation, groups
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    expected = nn.functional.conv2d(x, weight, bias, stride, 0, dilation, groups)
    dout = randn(*expected.shape, seed=3)
    gradients = torch.autograd.grad(expected, leaves, dout)
    for rung in (conv2d_loops, conv2d_im2col, Convolution.apply):
        out = rung(x, weight, bias, *settings)
        torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
        got = torch.autograd.grad(out, leaves, dout)
        torch.testing.assert_close(got, gradients, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        got = conv2d_backward_loops(dout, x, weight, *settings)
    torch.testing.assert_close(got, gradients, rtol=1e-10, atol=1e-10)


def test_windows_are_a_view():
    x = randn(2, 3, 6, 5)
    view = windows(x, (3, 2), (2, 1), (1, 2))
    assert view.shape == (2, 3, 2, 3, 3, 2) and view.data_ptr() == x.data_ptr()
    torch.testing.assert_close(view[1, 2, 1, 2], x[1, 2, 2:5, 2:5:2])


def test_places_first_copies_nothing_that_lies_so_already():
    x = randn(2, 3, 4, 5)
    first = places_first(x)
    assert first.shape == (4, 5, 2, 3) and first.is_contiguous()
    assert places_first(first.permute(2, 3, 0, 1)).data_ptr() == first.data_ptr()


def test_matching_against_trying_every_window():
    cases = itertools.product(range(-5, 7), range(1, 5), range(1, 5), (1, 2, 3))
    for offset, size, num_windows, stride in cases:
        pixels, found = matching(offset, size, num_windows, stride)
        expected = [h for h in range(num_windows) if 0 <= h * stride + offset < size]
        assert list(range(num_windows))[found] == expected
        assert list(range(size))[pixels] == [h * stride + offset for h in expected]


@pytest.mark.parametrize("channels", [1, 3, FEW_CHANNELS - 1, FEW_CHANNELS, 20])
def test_filter_matrices_are_the_weights_of_one_place_each(channels):
    weight = randn(4, channels, 2, 5)
    torch.testing.assert_close(filter_matrices(weight)[1, 4], weight[:, :, 1, 4], rtol=0, atol=0)
    compare(*pair_of_layers("Conv2d", 2 * channels, 6, 3, groups=2), randn(2, 2 * channels, 4, 5))


# ---- sizes ----


def count_windows(size, k, s, p, d, ceil_mode):
    """Count windows one by one: those that fit, and with ceil_mode one that hangs over the end."""
    # the right padding begins at `size`; the first window may begin anywhere
    starts = itertools.takewhile(lambda start: start < size or start == -p, itertools.count(-p, s))
    number = 0
    for start in starts:
        number += 1
        if start + d * (k - 1) >= size + p:  # this one hangs over
            return number if ceil_mode else number - 1
        if start + d * (k - 1) == size + p - 1:  # this one just fits
            return number
    return number


def test_output_size_against_counting_and_torch():
    cases = itertools.product(range(1, 10), (1, 2, 3), (1, 2, 3, 4), (0, 1), (1, 2), (False, True))
    for size, k, s, p, d, ceil_mode in cases:
        number = output_size(size, k, s, p, d, ceil_mode)
        if number >= 1 and p <= (d * (k - 1) + 1) // 2:
            case = (size, k, s, p, d, ceil_mode)
            assert number == count_windows(*case), case
            pool = nn.MaxPool2d((k, 1), (s, 1), (p, 0), (d, 1), ceil_mode=ceil_mode)
            assert number == pool(torch.zeros(1, 1, size, 1)).shape[2], case


def test_receptive_field_is_what_the_gradient_reaches():
    layers = [(3, 1, 1), (3, 2, 1), (2, 1, 3), (5, 2, 1)]
    field, step = receptive_field(layers)
    net = nn.Sequential(
        *(nn.Conv1d(1, 1, k, s, dilation=d, bias=False, dtype=torch.float64) for k, s, d in layers)
    )
    for conv in net:
        nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 60, dtype=torch.float64, requires_grad=True)
    first, second = (torch.autograd.grad(net(x)[0, 0, i], x)[0].nonzero()[:, 2] for i in (0, 1))
    assert field == first[-1] - first[0] + 1 and step == second[0] - first[0]
    assert receptive_field([]) == (1, 1)


# ---- max pooling ----


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, (2, 3)])
def test_pool_agrees_with_torch_for_every_combination_of_arguments(kernel_size, ceil_mode):
    for stride, padding, dilation in itertools.product(
        (None, 1, 2, (3, 1), 4), (0, 1, (1, 0)), (1, 2, (1, 3))
    ):
        arguments = dict(stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
        for x in (randn(2, 3, 7, 9), randn(1, 2, 8, 5)):
            try:
                nn.MaxPool2d(kernel_size, **arguments)(x)
            except RuntimeError:  # too much padding, or no window fits: then we refuse as well
                with pytest.raises(ValueError, match=r"half of the window|does not fit"):
                    MaxPool2d(kernel_size, **arguments)(x)
                continue
            compare(*pair_of_layers("MaxPool2d", kernel_size, **arguments), x)


@pytest.mark.parametrize("case", AWKWARD)
def test_pool_agrees_on_awkward_inputs(case):
    compare(*pair_of_layers("MaxPool2d", 3, 2, 1), AWKWARD[case])
    compare(*pair_of_layers("MaxPool2d", 2), AWKWARD[case][0])


def test_pool_gives_the_gradient_of_equals_to_the_first():
    x = torch.tensor([[[[1.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 2.0]]]], dtype=torch.float64)
    for arguments in (
        dict(kernel_size=3),
        dict(kernel_size=2, stride=1),
        dict(kernel_size=2, padding=1),
    ):
        compare(*pair_of_layers("MaxPool2d", **arguments), x)
        compare(*pair_of_layers("MaxPool2d", **arguments), torch.zeros(2, 1, 5, 4).double())
    x.requires_grad_()
    MaxPool2d(3)(x).sum().backward()
    assert x.grad.nonzero().tolist() == [[0, 0, 0, 1]]


def test_pool_keeps_negative_numbers_above_its_padding_and_passes_nan_on():
    compare(*pair_of_layers("MaxPool2d", 3, 2, 1), randn(2, 2, 6, 6, shift=-3000.0))
    x = randn(1, 1, 4, 4)
    x[0, 0, 0, 1] = torch.nan
    out = MaxPool2d(2)(x)
    assert out[0, 0, 0, 0].isnan() and out[0, 0].isnan().sum() == 1


# ---- batch normalisation ----


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0, None])
def test_norm_agrees_with_torch_for_every_combination_of_arguments(train, track, affine, momentum):
    for eps in (1e-5, 0.1):
        options = dict(eps=eps, momentum=momentum, affine=affine, track_running_stats=track)
        ours, theirs = pair_of_layers("BatchNorm2d", 4, **options)
        ours.train(train), theirs.train(train)
        for seed in range(3):  # buffers move with every batch
            compare(ours, theirs, 2 * randn(3, 4, 5, 6, seed=seed, shift=1.0))
        assert ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", AWKWARD)
def test_norm_agrees_on_awkward_inputs(case, train):
    ours, theirs = pair_of_layers("BatchNorm2d", 4)
    compare(
        ours.train(train),
        theirs.train(train),
        AWKWARD[case],
        1e-10 if "3,000" not in case else 1e-8,
    )


def test_norm_without_bias_where_torch_has_the_argument():
    ours = BatchNorm2d(4, bias=False, dtype=torch.float64)
    assert ours.bias is None and next(iter(ours.state_dict())) == "weight"
    if "bias" in inspect.signature(nn.BatchNorm2d).parameters:
        compare(*pair_of_layers("BatchNorm2d", 4, bias=False), randn(2, 4, 3, 3))


def test_norm_in_float32_stays_precise_far_from_zero():
    x = randn(8, 3, 6, 5, shift=3000.0, dtype=torch.float32)
    ours, exact = BatchNorm2d(3, momentum=1.0), nn.BatchNorm2d(3, momentum=1.0).double()
    torch.testing.assert_close(ours(x).double(), exact(x.double()), rtol=0, atol=2e-3)
    torch.testing.assert_close(ours.running_var.double(), exact.running_var, rtol=1e-4, atol=0)
    one_pass = x.square().mean(dim=(0, 2, 3)) - x.mean(dim=(0, 2, 3)).square()
    assert (one_pass.double() - exact.running_var).abs().max() > 0.1  # what two passes avoid


def test_norm_collects_the_unbiased_variance():
    layer = BatchNorm2d(1, momentum=1.0, dtype=torch.float64)
    layer(torch.tensor([0.0, 2.0], dtype=torch.float64).view(2, 1, 1, 1))
    assert layer.running_mean.item() == 1.0 and layer.running_var.item() == 2.0


# ---- in place of torch's ----


def vgg_block(library, dtype=torch.float64):
    return nn.Sequential(
        library["Conv2d"](3, 8, 3, padding=1, bias=False, dtype=dtype),
        library["BatchNorm2d"](8, dtype=dtype),
        nn.ReLU(),
        library["MaxPool2d"](3, 2, 1),
        library["Conv2d"](8, 6, 3, padding="same", groups=2, dtype=dtype),
    )


OURS = {"Conv2d": Conv2d, "MaxPool2d": MaxPool2d, "BatchNorm2d": BatchNorm2d}


def test_a_network_trains_as_with_torchs_layers_and_its_state_goes_both_ways(tmp_path):
    theirs, ours = vgg_block(vars(nn)), vgg_block(OURS)
    ours.load_state_dict(theirs.state_dict())
    for net in (ours, theirs):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for step in range(5):
            optimizer.zero_grad()
            net(randn(4, 3, 9, 8, seed=step)).square().mean().backward()
            optimizer.step()
    for got, expected in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    torch.save(ours.state_dict(), tmp_path / "state.pt")
    theirs.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    x = randn(2, 3, 9, 8)
    torch.testing.assert_close(copy.deepcopy(ours).eval()(x), theirs.eval()(x))


def test_layers_start_with_torchs_numbers_and_types():
    for arguments in (dict(groups=2), dict(bias=False), dict(dtype=torch.float64)):
        layers = []
        for library in (Conv2d, nn.Conv2d):
            torch.manual_seed(0)
            layers.append(library(4, 6, (3, 2), **arguments).state_dict())
        torch.testing.assert_close(*layers)
    torch.testing.assert_close(BatchNorm2d(3).state_dict(), nn.BatchNorm2d(3).state_dict())


def test_arguments_stand_in_torchs_order_with_torchs_defaults():
    for ours in OURS.values():
        parameters = list(inspect.signature(ours.__init__).parameters.values())
        theirs = inspect.signature(getattr(nn, ours.__name__).__init__).parameters.values()
        expected = [(p.name, p.default, p.kind) for p in theirs]
        assert [(p.name, p.default, p.kind) for p in parameters][: len(expected)] == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_layers_agree_on_a_gpu():
    theirs, ours = vgg_block(vars(nn)).cuda(), vgg_block(OURS).cuda()
    ours.load_state_dict(theirs.state_dict())
    compare(ours, theirs, randn(4, 3, 9, 8).cuda())


# ---- bad input ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            dict(in_channels=3, out_channels=4, kernel_size=3, groups=2),
            "in_channels is 3; groups=2",
        ),
        (
            dict(in_channels=4, out_channels=3, kernel_size=3, groups=2),
            "out_channels is 3; groups=2",
        ),
        (dict(in_channels=4, out_channels=4, kernel_size=3, groups=0), "groups is 0"),
        (dict(in_channels=0, out_channels=4, kernel_size=3), "in_channels is 0"),
        (dict(in_channels=4, out_channels=4, kernel_size=0), "kernel_size is 0"),
        (dict(in_channels=4, out_channels=4, kernel_size=(3, 3, 3)), "kernel_size is .*a pair"),
        (dict(in_channels=4, out_channels=4, kernel_size=3, stride=0), "stride is 0"),
        (dict(in_channels=4, out_channels=4, kernel_size=3, stride=1.5), "stride is 1.5"),
        (dict(in_channels=4, out_channels=4, kernel_size=3, padding=-1), "padding is -1"),
        (dict(in_channels=4, out_channels=4, kernel_size=3, padding="full"), "'same' or 'valid'"),
        (dict(in_channels=4, out_channels=4, kernel_size=3, padding="same", stride=2), "stride 1"),
        (dict(in_channels=4, out_channels=4, kernel_size=3, padding_mode="mirror"), "padding_mode"),
    ],
)
def test_conv_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conv2d(**arguments)


BAD_IMAGES = {
    r"x has shape \(4, 4\)": torch.zeros(4, 4),
    r"x has shape \(1, 1, 4, 6, 6\)": torch.zeros(1, 1, 4, 6, 6),
    r"x has shape \(0, 4, 6, 6\)": torch.zeros(0, 4, 6, 6),
    "x is torch.int64": torch.zeros(2, 4, 6, 6, dtype=torch.int64),
}


@pytest.mark.parametrize("message", BAD_IMAGES)
@pytest.mark.parametrize("layer", [Conv2d(4, 2, 3), MaxPool2d(2), BatchNorm2d(4)])
def test_layers_refuse_what_is_no_batch_of_images(layer, message):
    with pytest.raises(ValueError, match=message):
        layer(BAD_IMAGES[message])


@pytest.mark.parametrize("layer", [Conv2d(4, 2, 3), BatchNorm2d(4), BatchNorm2d(4, affine=False)])
def test_layers_refuse_other_channels_and_another_dtype(layer):
    with pytest.raises(ValueError, match=r"needs \(N, 4, H, W\)"):
        layer(torch.zeros(2, 3, 6, 6))
    with pytest.raises(ValueError, match=r"x is torch.float64; this layer needs torch.float32"):
        layer(torch.zeros(2, 4, 6, 6, dtype=torch.float64))


def test_windows_larger_than_the_padded_input_are_refused():
    with pytest.raises(ValueError, match=r"padded input is \(5, 9\); a window of \(7, 3\)"):
        Conv2d(1, 1, (4, 3), dilation=(2, 1), padding=1)(torch.zeros(1, 1, 3, 7))
    with pytest.raises(ValueError, match="a window of 4 does not fit on 3 places"):
        MaxPool2d(4)(torch.zeros(1, 1, 3, 5))


def test_pool_and_norm_refuse_bad_arguments():
    for arguments, message in [
        (dict(kernel_size=2, padding=2), "padding is 2; half of the window's span 2"),
        (dict(kernel_size=2, return_indices=True), "return_indices is True"),
        (dict(kernel_size=0), "kernel_size is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            MaxPool2d(**arguments)
    for arguments, message in [
        (dict(num_features=0), "num_features is 0"),
        (dict(num_features=2, eps=-1), "eps is -1"),
        (dict(num_features=2, momentum=2), "momentum is 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            BatchNorm2d(**arguments)


@pytest.mark.parametrize("track", [True, False])
def test_one_value_per_channel_is_refused_in_training(track):
    layer = BatchNorm2d(3, track_running_stats=track)
    with pytest.raises(ValueError, match="one value per channel"):
        layer(torch.zeros(1, 3, 1, 1))
    if track:
        assert layer.num_batches_tracked == 0
        assert layer.eval()(torch.zeros(1, 3, 1, 1)).shape == (1, 3, 1, 1)


@pytest.mark.parametrize("layer", [Conv2d(2, 3, 3), BatchNorm2d(3)])
def test_a_state_with_missing_keys_is_refused_by_name(layer):
    for name in layer.state_dict():
        state = {key: value for key, value in layer.state_dict().items() if key != name}
        with pytest.raises(RuntimeError, match=f'Missing key.* "{name}"'):
            layer.load_state_dict(state)


def test_weights_of_another_shape_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        Conv2d(2, 3, 3).load_state_dict(nn.Conv2d(2, 3, 5).state_dict())


def test_numpy_whole_numbers_are_whole_numbers():
    assert Conv2d(2, 2, np.int64(3), stride=(np.int64(2), 1)).kernel_size == (3, 3)
