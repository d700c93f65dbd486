"""A reader's own picture, brought into the form of a data set: (28, 28) grey or (32, 32, 3)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

DIGIT_SIZE, BOX, INK = 28, 20, 0.2  # pixels, pixels, share of the darkest ink
PHOTO_SIZE = 32  # pixels


def open_picture(path: str | os.PathLike) -> Image.Image:
    """Return an image file as RGB, upright, on white where it is transparent.

    Raises: FileNotFoundError where there is no such file; ValueError for one that is no image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with Image.open(path) as file:
            picture = on_white(ImageOps.exif_transpose(file))  # upright, as the camera was held
    except UnidentifiedImageError:
        raise ValueError(f"{path.name} is no image that can be read; try PNG or JPEG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name} is a damaged or far too large image ({error})") from None
    return picture


def on_white(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode as RGB, 8 bits, on white paper where it is transparent."""
    if picture.mode.startswith("I;16"):  # 16 bits of grey
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.getbands()[-1] not in "Aa" and "transparency" not in picture.info:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def read_digit(path: str | os.PathLike) -> np.ndarray:
    """Return the one digit of an image file as MNIST would have it: (28, 28) uint8, ink 255.

    The paper is the median of the picture's margin. Where that is brighter than 127, ink is what
    is darker, else what is brighter; what differs from the paper by less than a fifth of the
    strongest ink is paper. Then as LeCun et al. 1998 made MNIST: the ink's box is scaled to fit
    20 × 20 pixels, its sides in proportion, and laid with its centre of mass in the middle.

    Raises: as open_picture, and ValueError where there is no ink.
    """
    grey = np.asarray(open_picture(path).convert("L"), dtype=np.float64)  # (H, W), 0 … 255
    margin = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = np.median(margin)
    ink = np.clip(paper - grey if paper > 127 else grey - paper, 0, None)
    if ink.max() < 32:
        raise ValueError(f"{Path(path).name} shows no digit: all of it is as bright as its margin")
    ink = ink / ink.max()
    ink[ink < INK] = 0
    return centred(fit_box(ink))


def fit_box(ink: np.ndarray) -> np.ndarray:
    """Return what lies in the ink's box, scaled so that its longer side is 20 pixels. ink: (H, W),
    0 … 1."""
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(n * BOX / max(box.shape))) for n in box.shape)
    image = Image.fromarray((255 * box).round().astype(np.uint8))
    digit = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return (digit * (255 / digit.max())).round().astype(np.uint8)  # thin lines have become pale


def centred(digit: np.ndarray) -> np.ndarray:
    """Return a small digit on a sheet of 28 × 28, its centre of mass in the middle."""
    sheet = np.zeros((DIGIT_SIZE, DIGIT_SIZE), dtype=np.uint8)
    corner = []
    for axis, size in enumerate(digit.shape):
        mass = digit.sum(axis=1 - axis, dtype=np.float64)
        centre = (mass @ (np.arange(size) + 0.5)) / mass.sum()
        corner.append(int(np.clip(round(DIGIT_SIZE / 2 - centre), 0, DIGIT_SIZE - size)))
    rows, columns = (slice(start, start + n) for start, n in zip(corner, digit.shape, strict=True))
    sheet[rows, columns] = digit
    return sheet


def read_photo(path: str | os.PathLike) -> np.ndarray:
    """Return an image file as CIFAR-10 would have it, (32, 32, 3) uint8: the middle square, scaled.

    Raises: as open_picture.
    """
    picture = ImageOps.fit(open_picture(path), (PHOTO_SIZE, PHOTO_SIZE), Image.Resampling.BOX)
    return np.asarray(picture)
