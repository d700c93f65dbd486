"""The arithmetic of convolution, max pooling and batch normalisation, on tensors (N, C, H, W).

Letters: x (N, C, H, W) images, padded; weight (M, C/G, kh, kw), M filters in G groups; out
(N, M, Ho, Wo). Pairs are (height, width). Loops and im2col are the way to `convolve`.
"""

from itertools import product

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from assignment2_pytorch_cnn_rnn.conv_shapes import output_size

WINDOWS_AT_ONCE = 1_024  # rows of one matrix product: enough work for it, and they stay in cache


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


def multiply(a, b, out):
    """Write the products a @ b of stacks of matrices (G, n, k) and (G, k, m) into out (G, n, m).

    On a processor NumPy multiplies, in the tensors' own memory: its library, OpenBLAS, has fast
    code for most makes, while torch's, Intel's MKL, is half as fast or less on others. Other
    devices and short floats are torch's.
    """
    if out.device.type == "cpu" and out.dtype in (torch.float32, torch.float64):
        np.matmul(a.detach().numpy(), b.detach().numpy(), out=out.numpy())
    else:
        torch.matmul(a, b, out=out)


def filter_rows(weight, groups):
    """Return the filters of each group as rows (G, M/G, kh·kw·C/G), channels last."""
    return weight.permute(0, 2, 3, 1).reshape(groups, len(weight) // groups, -1)


def window_rows(x, weight, stride, dilation, groups):
    """Return the windows as a view (G, N, Ho, Wo, kh, kw, C/G), in the order of `filter_rows`."""
    view = windows(x, weight.shape[2:], stride, dilation).unflatten(1, (groups, -1))
    return view.permute(1, 0, 3, 4, 5, 6, 2)


def blocks(num_images, windows_per_image):
    """Yield slices of images that together have about WINDOWS_AT_ONCE windows."""
    step = max(1, WINDOWS_AT_ONCE // windows_per_image)
    for start in range(0, num_images, step):
        yield slice(start, start + step)


def add_back(dcolumns, dpatches):
    """Add the gradients of windows to where the windows lie. Both: (G, n, Ho, Wo, kh, kw, C/G).

    Windows overlap, so dpatches shows some places many times. But place (i, j) of one window is
    never place (i, j) of another: one addition for each (i, j) meets no place twice.
    """
    for i, j in product(range(dpatches.shape[4]), range(dpatches.shape[5])):
        dpatches[:, :, :, :, i, j] += dcolumns[:, :, :, :, i, j]


def pad(x, pads, mode="zeros"):
    """Return x (N, C, H, W) with (left, right, top, bottom) places added, channels last in memory.

    All channels of a row of a window are then one piece of memory, quick to copy.
    """
    if mode != "zeros":
        x, pads = F.pad(x, pads, mode), (0, 0, 0, 0)
    x = x.permute(0, 2, 3, 1)  # (N, H, W, C)
    x = F.pad(x, (0, 0, *pads)) if any(pads) else x.contiguous()
    return x.permute(0, 3, 1, 2)


def convolve(x, weight, bias, stride, dilation, groups):
    """Return out (N, M, Ho, Wo) of a padded x: im2col for a few images at a time."""
    patches, W = window_rows(x, weight, stride, dilation, groups), filter_rows(weight, groups)
    (G, N, Ho, Wo), M = patches.shape[:4], len(weight)
    out = x.new_empty(N, Ho, Wo, M)  # channels last, as the product makes it
    for images in blocks(N, Ho * Wo):
        columns = patches[:, images].reshape(G, -1, W.shape[2])  # the copy: a row per window
        multiply(columns, W.mT, out=out[images].view(-1, G, M // G).transpose(0, 1))
        if bias is not None:
            out[images] += bias
    return out.permute(0, 3, 1, 2)


def convolve_backward(dout, x, weight, stride, dilation, groups, need_dx=True):
    """Return dx, dweight, dbias from dout (N, M, Ho, Wo), block by block as in `convolve`."""
    patches, W = window_rows(x, weight, stride, dilation, groups), filter_rows(weight, groups)
    (G, N, Ho, Wo), (M, Cg, kh, kw) = patches.shape[:4], weight.shape
    dout = dout.permute(0, 2, 3, 1).contiguous()  # (N, Ho, Wo, M)
    dx, dW, dW_block = torch.zeros_like(x), torch.zeros_like(W), torch.empty_like(W)
    dpatches = window_rows(dx, weight, stride, dilation, groups)  # a view of dx
    for images in blocks(N, Ho * Wo):
        columns = patches[:, images].reshape(G, -1, W.shape[2])
        dout_rows = dout[images].view(-1, G, M // G).transpose(0, 1)  # (G, windows, M/G)
        multiply(dout_rows.mT, columns, out=dW_block)
        dW += dW_block
        if need_dx:
            dcolumns = torch.empty_like(columns)
            multiply(dout_rows, W, out=dcolumns)
            add_back(dcolumns.view(patches[:, images].shape), dpatches[:, images])
    return dx, dW.view(M, kh, kw, Cg).permute(0, 3, 1, 2), dout.sum(dim=(0, 1, 2))


class Convolution(torch.autograd.Function):
    """`convolve` for autograd. It keeps x, not its windows: the backward pass copies them again."""

    @staticmethod
    def forward(ctx, x, weight, bias, *settings):
        ctx.save_for_backward(x, weight)
        ctx.settings = settings
        return convolve(x, weight, None if bias is None else bias.detach(), *settings)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        need_dx, _, need_dbias = ctx.needs_input_grad[:3]
        dx, dweight, dbias = convolve_backward(dout, *ctx.saved_tensors, *ctx.settings, need_dx)
        return dx if need_dx else None, dweight, dbias if need_dbias else None, None, None, None


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
