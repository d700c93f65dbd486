"""Conv2d, MaxPool2d and BatchNorm2d from scratch: drop-in replacements of torch.nn's.

The classes keep parameters and check arguments; the arithmetic is in conv_functions.py. Arguments,
names of parameters and buffers and start values are torch's, so a state dict goes both ways.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from assignment2_pytorch_cnn_rnn.conv_functions import (
    Convolution,
    MaxPooling,
    channel_statistics,
    normalise,
)
from assignment2_pytorch_cnn_rnn.conv_shapes import (
    as_pair,
    check_batch,
    check_conv,
    check_images,
    check_norm,
    check_pool,
    check_windows_fit,
    conv_padding,
    pool_padding,
)


class Conv2d(nn.Module):
    """out = x ⋆ weight + bias. x: (N, C, H, W) or one image (C, H, W), like torch.nn.Conv2d.

    A gradient of a gradient is not built; use torch.nn's layer where it is needed.
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1,
        bias=True, padding_mode="zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = as_pair("kernel_size", kernel_size)
        self.stride, self.dilation = as_pair("stride", stride), as_pair("dilation", dilation)
        self.padding = padding if isinstance(padding, str) else as_pair("padding", padding, low=0)
        self.padding_mode = padding_mode
        check_conv(in_channels, out_channels, groups, self.padding, self.stride, padding_mode)
        shape = out_channels, in_channels // groups, *self.kernel_size
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(self.weight.new_empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Draw from ± 1/√(inputs of a filter), first the weight: torch's start values."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x):
        """Return (N, out_channels, Ho, Wo), places first in memory: flatten it, do not view it."""
        if x.ndim == 3:
            return self(x[None])[0]
        check_images(x, self.in_channels, self.weight.dtype)
        pads = conv_padding(self.padding, self.kernel_size, self.dilation)
        check_windows_fit(x.shape[2:], pads, self.kernel_size, self.dilation)
        if self.padding_mode != "zeros":
            x, pads = F.pad(x, pads, self.padding_mode), (0, 0, 0, 0)
        settings = self.stride, self.dilation, self.groups, pads
        return Convolution.apply(x, self.weight, self.bias, *settings)


class MaxPool2d(nn.Module):
    """The largest of each window, like torch.nn.MaxPool2d. x: (N, C, H, W) or one (C, H, W)."""

    def __init__(
        self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False
    ):
        super().__init__()
        self.kernel_size = as_pair("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else as_pair("stride", stride)
        self.padding, self.dilation = (
            as_pair("padding", padding, low=0),
            as_pair("dilation", dilation),
        )
        self.ceil_mode = ceil_mode
        check_pool(self.kernel_size, self.padding, self.dilation, return_indices)

    def forward(self, x):
        """Return (N, C, Ho, Wo)."""
        if x.ndim == 3:
            return self(x[None])[0]
        check_images(x)
        pairs = x.shape[2:], self.kernel_size, self.stride, self.padding, self.dilation
        top_bottom, left_right = (
            pool_padding(*axis, self.ceil_mode) for axis in zip(*pairs, strict=True)
        )
        x = F.pad(x, (*left_right, *top_bottom), value=-math.inf)  # padding is never the largest
        return MaxPooling.apply(x, self.kernel_size, self.stride, self.dilation)


class BatchNorm2d(nn.Module):
    """Normalise each channel over images and places, like torch.nn.BatchNorm2d. x: (N, C, H, W)."""

    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True,
        device=None, dtype=None, *, bias=True,
    ):  # fmt: skip
        super().__init__()
        check_norm(num_features, eps, momentum)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        ones = torch.ones(num_features, device=device, dtype=dtype)
        self.weight = nn.Parameter(ones.clone()) if affine else None
        self.bias = nn.Parameter(0 * ones) if affine and bias else None
        batches = torch.tensor(0, device=device)
        buffers = dict(running_mean=0 * ones, running_var=ones, num_batches_tracked=batches)
        for name, start in buffers.items():
            self.register_buffer(name, start if track_running_stats else None)

    def forward(self, x):
        """Return x normalised: in training by its own statistics, else by the collected ones."""
        kept = self.weight if self.affine else self.running_mean
        check_images(x, self.num_features, None if kept is None else kept.dtype)
        mean, var = self.running_mean, self.running_var
        if self.training or mean is None:
            check_batch(x)
            mean, var = channel_statistics(x)
            if self.training and self.track_running_stats:
                self.collect(mean.detach(), var.detach(), x.numel() // self.num_features)
        return normalise(x, mean, var, self.weight, self.bias, self.eps)

    def collect(self, mean, var, n):
        """Move the running statistics towards those of a batch with n values per channel."""
        self.num_batches_tracked += 1
        share = self.momentum  # torch's meaning: the weight of the new batch
        if share is None:
            share = 1 / self.num_batches_tracked.item()  # so the mean over all batches so far
        self.running_mean.mul_(1 - share).add_(share * mean)
        self.running_var.mul_(1 - share).add_(share * var * n / (n - 1))  # unbiased
