"""The arithmetic of convolution, max pooling and batch normalisation, on tensors (N, C, H, W).

Letters: x (N, C, H, W) images; weight (M, C/G, kh, kw), M filters in G groups; out (N, M, Ho, Wo).
Pairs are (height, width). Loops and im2col, on a padded x, are the way to `convolve`.
"""

from itertools import product

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from assignment2_pytorch_cnn_rnn.conv_shapes import output_size

FEW_CHANNELS = 16  # with fewer, a product runs along the filters instead


def window_slices(h, w, kernel_size, stride, dilation):
    """Return the rows and columns of the window whose output lies at (h, w)."""
    starts = h * stride[0], w * stride[1]
    spans = zip(starts, kernel_size, dilation, strict=True)
    return tuple(slice(start, start + d * (k - 1) + 1, d) for start, k, d in spans)


def conv2d_loops(x, weight, bias, stride=(1, 1), dilation=(1, 1), groups=1):
    """Return the convolution (N, M, Ho, Wo) of a padded x, one output after the other."""
    (N, _, H, W), (M, Cg, *kernel_size) = x.shape, weight.shape
    axes = zip((H, W), kernel_size, stride, dilation, strict=True)
    Ho, Wo = (output_size(n, k, stride=s, dilation=d) for n, k, s, d in axes)
    out = x.new_zeros(N, M, Ho, Wo)
    for n, m, h, w in product(range(N), range(M), range(Ho), range(Wo)):
        rows, columns = window_slices(h, w, kernel_size, stride, dilation)
        first = m // (M // groups) * Cg  # the first input channel that filter m sees
        window = x[n, first : first + Cg, rows, columns]  # (C/G, kh, kw)
        out[n, m, h, w] = (window * weight[m]).sum() + bias[m]
    return out


def conv2d_backward_loops(dout, x, weight, stride=(1, 1), dilation=(1, 1), groups=1):
    """Return dx, dweight, dbias from dout (N, M, Ho, Wo), one output after the other."""
    M, Cg, *kernel_size = weight.shape
    dx, dweight, dbias = torch.zeros_like(x), torch.zeros_like(weight), weight.new_zeros(M)
    for n, m, h, w in np.ndindex(*dout.shape):
        rows, columns = window_slices(h, w, kernel_size, stride, dilation)
        first = m // (M // groups) * Cg
        place = n, slice(first, first + Cg), rows, columns
        dx[place] += dout[n, m, h, w] * weight[m]  # back to where the window came from
        dweight[m] += dout[n, m, h, w] * x[place]
        dbias[m] += dout[n, m, h, w]
    return dx, dweight, dbias


def windows(x, kernel_size, stride, dilation):
    """Return all windows of a padded x (N, C, H, W) as a view (N, C, Ho, Wo, kh, kw): no copy."""
    for axis in (0, 1):  # along the height, then along the width
        span = dilation[axis] * (kernel_size[axis] - 1) + 1
        x = x.unfold(2 + axis, span, stride[axis])  # a new last axis: the places of a window
    return x[..., :: dilation[0], :: dilation[1]]


def conv2d_im2col(x, weight, bias, stride=(1, 1), dilation=(1, 1), groups=1):
    """Return the same as `conv2d_loops`, as one product over all windows."""
    patches = windows(x, weight.shape[2:], stride, dilation).unflatten(1, (groups, -1))
    filters = weight.unflatten(0, (groups, -1))  # (G, M/G, C/G, kh, kw)
    out = torch.einsum("ngchwij,gmcij->ngmhw", patches, filters)
    return out.flatten(1, 2) + bias.view(-1, 1, 1)


def places_first(x):
    """Return x (N, C, H, W) as (H, W, N, C), in that order in memory.

    Neighbours in a row are then one matrix without a copy, (w·N, C), and so are whole batches.
    """
    return x.permute(2, 3, 0, 1).contiguous()


def filter_matrices(weight):
    """Return a weight (M, C/G, kh, kw) as (kh, kw, M, C/G): a matrix for each place of a window."""
    if weight.shape[1] < FEW_CHANNELS:  # filters last in memory
        return weight.permute(2, 3, 1, 0).contiguous().mT
    return weight.permute(2, 3, 0, 1).contiguous()


def matching(offset, size, num_windows, stride):
    """Return slices along an axis: the pixels h·stride + offset on the image, and their windows h.

    size: pixels of the image, from 0. Windows whose pixel would lie in the padding are left out.
    """
    first = max(0, -(offset // stride))  # −offset / stride, rounded up
    last = min(num_windows - 1, (size - 1 - offset) // stride)
    pixels = slice(first * stride + offset, max(0, last * stride + offset + 1), stride)
    return pixels, slice(first, max(0, last + 1))


def shifts(size, out_size, kernel_size, stride, dilation, pads):
    """Yield each place (i, j) of a window, the pixels under it, and the outputs that see them.

    Pixels and outputs are pairs of slices, (rows, columns). pads: (left, right, top, bottom).
    """
    for i, j in np.ndindex(*kernel_size):
        offsets = i * dilation[0] - pads[2], j * dilation[1] - pads[0]
        axes = zip(offsets, size, out_size, stride, strict=True)
        rows, columns = (matching(*axis) for axis in axes)
        yield (i, j), *zip(rows, columns, strict=True)


def add_product(out, a, b):
    """Add a @ b to out, part of a larger tensor. a: (h, w, N, K); b: (K, M); out: (h, w, N, M)."""
    a = a.flatten(1, 2)  # (h, w·N, K): a matrix for each row of the image
    b = b.expand(len(a), -1, -1)
    if out.stride(1) == out.shape[2] * out.stride(2):  # the pixels of a row are neighbours
        out.flatten(1, 2).baddbmm_(a, b)
    else:  # a stride lies between them
        out += torch.bmm(a, b).view(out.shape)


def convolve(out, x, W, stride, dilation, pads):
    """Add the convolution of x (H, W, N, C) with W (kh, kw, M, C) to out (Ho, Wo, N, M)."""
    sizes = x.shape[:2], out.shape[:2], W.shape[:2]
    for place, pixels, outputs in shifts(*sizes, stride, dilation, pads):
        add_product(out[outputs], x[pixels], W[place].T)


def convolve_backward(dout, x, dx, W, dW, stride, dilation, pads, need_dx):
    """Add the gradient of W to dW and, where it is needed, that of x to dx."""
    sizes = x.shape[:2], dout.shape[:2], W.shape[:2]
    for place, pixels, outputs in shifts(*sizes, stride, dilation, pads):
        rows = dout[outputs].flatten(1, 2), x[pixels].flatten(1, 2)  # (h, w·N, M), (h, w·N, C)
        for dout_row, x_row in zip(*rows, strict=True):
            dW[place].addmm_(dout_row.T, x_row)
        if need_dx:
            add_product(dx[pixels], dout[outputs], W[place])


def in_groups(groups, images, filters):
    """Yield each group's channels of images (H, W, N, C), and its filters (kh, kw, M/G, C/G)."""
    channels = (tensor.chunk(groups, 3) for tensor in images)  # views
    return zip(*channels, *(tensor.chunk(groups, 2) for tensor in filters), strict=True)


class Convolution(torch.autograd.Function):
    """`convolve` for autograd, on x (N, C, H, W) and weight (M, C/G, kh, kw)."""

    @staticmethod
    def forward(ctx, x, weight, bias, stride, dilation, groups, pads=(0, 0, 0, 0)):
        left, right, top, bottom = pads
        padded = x.shape[2] + top + bottom, x.shape[3] + left + right
        axes = zip(padded, weight.shape[2:], stride, dilation, strict=True)
        Ho, Wo = (output_size(n, k, s, dilation=d) for n, k, s, d in axes)
        out = x.new_empty(Ho, Wo, len(x), len(weight))
        out[:] = 0 if bias is None else bias
        x, W = places_first(x), filter_matrices(weight)
        for parts in in_groups(groups, (out, x), (W,)):
            convolve(*parts, stride, dilation, pads)
        ctx.save_for_backward(x, W)
        ctx.groups, ctx.settings = groups, (stride, dilation, pads)
        return out.permute(2, 3, 0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        (x, W), (need_dx, _, need_dbias) = ctx.saved_tensors, ctx.needs_input_grad[:3]
        dbias = dout.sum(dim=(0, 2, 3)) if need_dbias else None
        dout, dx, dW = places_first(dout), torch.zeros_like(x), torch.zeros_like(W)
        for parts in in_groups(ctx.groups, (dout, x, dx), (W, dW)):
            convolve_backward(*parts, *ctx.settings, need_dx)
        dx = dx.permute(2, 3, 0, 1) if need_dx else None
        return dx, dW.permute(2, 3, 0, 1), dbias, None, None, None, None


class MaxPooling(torch.autograd.Function):
    """The largest of each window of a padded x, the first of equals; NaN counts as largest."""

    @staticmethod
    def forward(ctx, x, *settings):
        patches = windows(x, *settings)
        out = patches[..., 0, 0].clone()
        winner = torch.zeros_like(out, dtype=torch.int32)  # the place in the window
        for k, (i, j) in enumerate(np.ndindex(*patches.shape[4:])):
            rival = patches[..., i, j]
            larger = (rival > out) | rival.isnan()
            out, winner = torch.where(larger, rival, out), torch.where(larger, k, winner)
        ctx.save_for_backward(winner)
        ctx.shape, ctx.settings = x.shape, settings
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        (winner,) = ctx.saved_tensors
        dx = dout.new_zeros(ctx.shape)
        dpatches = windows(dx, *ctx.settings)  # a view of dx
        for k, (i, j) in enumerate(np.ndindex(*dpatches.shape[4:])):
            dpatches[..., i, j] += torch.where(winner == k, dout, 0)
        return dx, None, None, None


def normalise(x, mean, var, weight, bias, eps):
    """Return (x − mean) / √(var + eps) · weight + bias, channel by channel. All but x: (C,)."""
    x_hat = (x - mean.view(-1, 1, 1)) * torch.rsqrt(var + eps).view(-1, 1, 1)
    if weight is not None:
        x_hat = x_hat * weight.view(-1, 1, 1)
    return x_hat if bias is None else x_hat + bias.view(-1, 1, 1)


def channel_statistics(x):
    """Return mean and biased variance (C,) over images and places, in two passes over the data.

    One pass, E[x²] − E[x]², would subtract two large, nearly equal numbers where x is far from 0.
    """
    mean = x.mean(dim=(0, 2, 3))
    return mean, (x - mean.view(-1, 1, 1)).square().mean(dim=(0, 2, 3))
