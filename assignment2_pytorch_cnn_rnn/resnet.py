"""Residual networks: ResNet-18 with a stem for small images, its relatives, and ResNet-9.

With width 64 the names and shapes of the parameters are those of torchvision's resnet18, but for
the stem: one convolution 3 × 3 without stride, and no pooling behind it.
"""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from assignment2_pytorch_cnn_rnn.cifar_nets import (
    check_images,
    check_positive,
    conv_block,
    he_start_,
)

DOWNSAMPLING = ("stride", "pool")


def conv3x3(in_channels, out_channels, stride=1, batchnorm=True):
    """Return a convolution 3 × 3 that keeps the size at stride 1; its bias is batch norm's β."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=not batchnorm)


def norm(channels, batchnorm=True):
    """Return batch norm over the channels, or a layer that does nothing."""
    return nn.BatchNorm2d(channels) if batchnorm else nn.Identity()


class BasicBlock(nn.Module):
    """Two convolutions beside a skip: relu(F(x) + x), (N, C, H, W) → (N, M, H / s, W / s).

    Args:
        stride: s; 1, or 2 to halve height and width.
        skip: without it the block is relu(F(x)).
        down: how to halve: "stride" skips every other place, "pool" takes the largest of four.
    Source: He et al. 2016, figure 2 and §4.2; projections as their option B.
    """

    def __init__(self, in_channels, channels, stride=1, batchnorm=True, skip=True, down="stride"):
        super().__init__()
        check_positive(in_channels=in_channels, channels=channels, stride=stride)
        if down not in DOWNSAMPLING:
            raise ValueError(f"down is {down!r}; it must be one of {', '.join(DOWNSAMPLING)}")
        pools = down == "pool" and stride > 1
        step = 1 if pools else stride
        self.conv1 = conv3x3(in_channels, channels, step, batchnorm)
        self.bn1 = norm(channels, batchnorm)
        self.conv2 = conv3x3(channels, channels, 1, batchnorm)
        self.bn2 = norm(channels, batchnorm)
        self.pool = nn.MaxPool2d(stride) if pools else nn.Identity()
        self.skip, self.downsample = skip, None
        if skip and (stride > 1 or in_channels != channels):  # x must get the shape of F(x)
            project = nn.Conv2d(in_channels, channels, 1, step, bias=not batchnorm)
            self.downsample = nn.Sequential(project, norm(channels, batchnorm))

    def forward(self, x):
        out = F.relu(self.bn1(self.pool(self.conv1(x))))
        out = self.bn2(self.conv2(out))  # F(x)
        if self.skip:
            out = out + (x if self.downsample is None else self.downsample(self.pool(x)))
        return F.relu(out)


class ResNet(nn.Module):
    """A stem, groups of blocks, the mean over all places, one linear layer: (N, 3, H, W) → (N, K).

    Args:
        blocks: how many blocks in each group; from the second on, the first block of a group halves
            the image and doubles the channels.
        width: channels of the first group; ResNet-18 has 64.
        options: batchnorm, skip and down, as in BasicBlock.
    """

    def __init__(self, blocks=(2, 2, 2, 2), width=64, num_classes=10, batchnorm=True, **options):
        super().__init__()
        if not 1 <= len(blocks) <= 4:
            raise ValueError(f"blocks is {blocks}; it must be 1 … 4 whole numbers")
        check_positive(width=width, num_classes=num_classes)
        self.conv1, self.bn1 = conv3x3(3, width, 1, batchnorm), norm(width, batchnorm)
        channels, options = width, dict(options, batchnorm=batchnorm)
        for n, num_blocks in enumerate(blocks):
            check_positive(num_blocks=num_blocks)
            layers = [BasicBlock(channels, width * 2**n, 2 if n else 1, **options)]
            channels = width * 2**n
            layers += [BasicBlock(channels, channels, **options) for _ in range(num_blocks - 1)]
            setattr(self, f"layer{n + 1}", nn.Sequential(*layers))
        self.num_groups, self.fc = len(blocks), nn.Linear(channels, num_classes)
        he_start_(self)

    def features(self, x):
        """Return the maps before the mean (N, M, H', W')."""
        check_images(x, smallest=2 ** (self.num_groups - 1))
        out = F.relu(self.bn1(self.conv1(x)))  # the stem
        for n in range(self.num_groups):
            out = getattr(self, f"layer{n + 1}")(out)
        return out

    def forward(self, x):
        return self.fc(self.features(x).mean(dim=(2, 3)))


class Residual(nn.Module):
    """A skip around some layers: x + F(x), of one shape."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


class ResNet9(nn.Module):
    """Eight convolutions, of which four in two residual blocks: (N, 3, H, W) → (N, K).

    The largest number of each last map goes to the linear layer, whose outputs are divided by 8.
    Source: Page 2018, How to train your ResNet (DAWNBench).
    """

    def __init__(self, width=64, num_classes=10, batchnorm=True):
        super().__init__()
        check_positive(width=width, num_classes=num_classes)
        w, bn = width, batchnorm
        self.body = nn.Sequential(
            *conv_block(3, w, bn),
            *conv_block(w, 2 * w, bn, pool=True),
            Residual(*conv_block(2 * w, 2 * w, bn), *conv_block(2 * w, 2 * w, bn)),
            *conv_block(2 * w, 4 * w, bn, pool=True),
            *conv_block(4 * w, 8 * w, bn, pool=True),
            Residual(*conv_block(8 * w, 8 * w, bn), *conv_block(8 * w, 8 * w, bn)),
        )
        self.head = nn.Linear(8 * w, num_classes, bias=False)

    def forward(self, x):
        check_images(x, smallest=8)
        maps = self.body(x)  # (N, 8 width, H / 8, W / 8)
        return self.head(maps.amax(dim=(2, 3))) / 8
