"""How many windows fit on an image, how far a network sees, and checks of the layers' arguments."""

from assignment1_perceptron_mlp.numpy_layers import check_number, check_whole

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def window_span(kernel_size, dilation):
    """Return the number of places from a window's first to its last, both counted."""
    return dilation * (kernel_size - 1) + 1


def output_size(size, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    """Return how many windows fit along an axis of `size` places, padded on both sides.

    ceil_mode: a last window that hangs over the end counts too, unless it would begin in the
    padding on the right. This is torch's rule for pooling.
    """
    room = size + 2 * padding - window_span(kernel_size, dilation)  # how far a window can move
    if not ceil_mode:
        return room // stride + 1
    moves = -(-room // stride)  # rounded up
    if moves * stride >= size + padding:
        moves -= 1
    return moves + 1


def receptive_field(layers):
    """Return (field, step) along one axis after layers, each (kernel_size, stride, dilation).

    field: the pixels that one output sees. step: the pixels from one output to the next.
    Source: Araujo, Norris and Sim 2019, equation 2.
    """
    field, step = 1, 1
    for kernel_size, stride, dilation in layers:
        field += dilation * (kernel_size - 1) * step
        step *= stride
    return field, step


def conv_padding(padding, kernel_size, dilation):
    """Return (left, right, top, bottom) for a pair of numbers, "valid" or "same"."""
    if padding == "valid":
        return 0, 0, 0, 0
    if padding != "same":
        return padding[1], padding[1], padding[0], padding[0]
    height, width = (window_span(*axis) - 1 for axis in zip(kernel_size, dilation, strict=True))
    # an odd total has its odd place at the end, as in torch
    return width // 2, width - width // 2, height // 2, height - height // 2


def pool_padding(size, kernel_size, stride, padding, dilation, ceil_mode):
    """Return (before, after) along an axis: so much that the last window of all just fits."""
    num_windows = output_size(size, kernel_size, stride, padding, dilation, ceil_mode)
    span = window_span(kernel_size, dilation)
    if num_windows < 1:
        raise ValueError(f"a window of {span} does not fit on {size} places with padding {padding}")
    end = (num_windows - 1) * stride + span  # of the last window, from the padding's begin
    return padding, max(0, end - size - padding)


# ---- checks ----


def as_pair(name, value, low=1):
    """Return (height, width) from a whole number or a pair of them, each low or more."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} is {value!r}; it must be a whole number or a pair of them")
    for number in pair:
        check_whole(low, **{name: number})
    return int(pair[0]), int(pair[1])


def check_conv(in_channels, out_channels, groups, padding, stride, padding_mode):
    """Raise ValueError for the first of these arguments of Conv2d that is not allowed."""
    check_whole(in_channels=in_channels, out_channels=out_channels, groups=groups)
    for name, channels in {"in_channels": in_channels, "out_channels": out_channels}.items():
        if channels % groups:
            raise ValueError(f"{name} is {channels}; groups={groups} must divide it")
    if isinstance(padding, str) and padding not in ("same", "valid"):
        raise ValueError(f"padding is {padding!r}; in words it is 'same' or 'valid'")
    if padding == "same" and stride != (1, 1):
        raise ValueError(f"stride is {stride}; padding='same' needs stride 1")
    if padding_mode not in PADDING_MODES:
        raise ValueError(f"padding_mode is {padding_mode!r}; it must be one of {PADDING_MODES}")


def check_pool(kernel_size, padding, dilation, return_indices):
    """Raise ValueError for the first of these arguments of MaxPool2d that is not allowed."""
    if return_indices:
        raise ValueError(
            "return_indices is True; torch.nn.MaxPool2d returns indices, this does not"
        )
    for k, p, d in zip(kernel_size, padding, dilation, strict=True):
        if p > window_span(k, d) // 2:
            raise ValueError(
                f"padding is {p}; half of the window's span {window_span(k, d)} at most"
            )


def check_norm(num_features, eps, momentum):
    """Raise ValueError for the first of these arguments of BatchNorm2d that is not allowed."""
    check_whole(num_features=num_features)
    check_number("eps", eps)
    if momentum is not None:
        check_number("momentum", momentum, 0, 1, "[]")


def check_images(x, channels=None, dtype=None):
    """Raise ValueError unless x is (N, C, H, W), not empty, with these channels and this dtype."""
    shape = tuple(x.shape)
    if len(shape) != 4 or 0 in shape or (channels is not None and shape[1] != channels):
        wanted = f"(N, {channels or 'C'}, H, W), none of them 0"
        raise ValueError(f"x has shape {shape}; this layer needs {wanted}")
    if not x.dtype.is_floating_point or (dtype is not None and x.dtype != dtype):
        raise ValueError(f"x is {x.dtype}; this layer needs {dtype or 'floating-point numbers'}")


def check_batch(x):
    """Raise ValueError unless x (N, C, H, W) has two values per channel or more: a variance."""
    if x.numel() == x.shape[1]:
        raise ValueError(f"x has shape {tuple(x.shape)}, one value per channel; training needs 2")


def check_windows_fit(size, pads, kernel_size, dilation):
    """Raise ValueError unless a window fits on an image (H, W) with (left, right, top, bottom)."""
    padded = size[0] + pads[2] + pads[3], size[1] + pads[0] + pads[1]
    spans = tuple(window_span(*axis) for axis in zip(kernel_size, dilation, strict=True))
    if spans[0] > padded[0] or spans[1] > padded[1]:
        raise ValueError(f"the padded input is {padded}; a window of {spans} does not fit on it")
