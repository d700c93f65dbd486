"""A reader's own picture: every kind of file becomes a digit or a photo, or one clear sentence."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from shared.pictures import read_digit, read_photo


def seven(height=200, width=140, thick=24):
    """A seven as ink (H, W), 0 or 255, with a margin."""
    ink = np.zeros((height, width), np.uint8)
    ink[30 : 30 + thick, 20:-20] = 255
    for row in range(30, height - 20):
        right = width - 20 - (row - 30) // 3
        ink[row, right - thick : right] = 255
    return ink


@pytest.fixture
def save(tmp_path):
    def write(picture, name="own.png", **options):
        if not isinstance(picture, Image.Image):
            picture = Image.fromarray(picture)
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return write


def test_dark_on_light_and_light_on_dark_are_the_same_digit(save):
    light, dark = read_digit(save(seven())), read_digit(save(255 - seven()))
    np.testing.assert_array_equal(light, dark)
    assert light.shape == (28, 28) and light.dtype == np.uint8 and light.max() == 255


def test_box_is_20_pixels_and_mass_is_in_the_middle(save):
    for ink in (seven(), seven().T, seven(thick=3)):
        digit = read_digit(save(255 - ink))
        rows, columns = (np.flatnonzero(digit.any(axis=axis)) for axis in (1, 0))
        sides = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert max(sides) == 20
        mass = digit / digit.sum()
        centre = (mass.sum(axis=1) @ np.arange(28), mass.sum(axis=0) @ np.arange(28))
        np.testing.assert_allclose(centre, 13.5, atol=0.51)


def test_a_digit_of_the_data_set_comes_back_as_it_was(save):
    small = np.zeros((28, 28), np.uint8)  # 20 high, centred by mass
    small[4:24, 12:16] = 200
    small[4, 12] = 255
    np.testing.assert_array_equal(read_digit(save(small))[small > 51], small[small > 51])


def test_place_and_size_on_the_paper_do_not_matter(save):
    expected = read_digit(save(255 - seven())).astype(int)
    paper = np.full((400, 500), 255, np.uint8)
    paper[10:210, 300:440] = 255 - seven()
    np.testing.assert_array_equal(read_digit(save(paper)), expected)
    larger = Image.fromarray(255 - seven()).resize((280, 400), Image.Resampling.NEAREST)
    assert abs(read_digit(save(larger)) - expected).mean() < 6


def test_grey_paper_and_pale_shadows_are_paper(save):
    rng = np.random.default_rng(0)
    photo = 170 + rng.integers(-8, 9, (200, 140)) - (seven() > 0) * 120
    digit = read_digit(save(photo.astype(np.uint8)))
    clean = read_digit(save(255 - seven()))
    assert abs(digit.astype(int) - clean).mean() < 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_of_picture(save, mode):
    ink = 255 - seven()
    if mode == "I;16":
        picture = Image.fromarray(ink.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(ink).convert(mode)
    name = "own.tif" if mode == "CMYK" else "own.png"
    digit = read_digit(save(picture, name))
    assert abs(digit.astype(int) - read_digit(save(ink, "l.png"))).max() <= 2


def test_transparent_paper_is_white(save):
    ink = seven()
    picture = np.zeros((*ink.shape, 4), np.uint8)  # black everywhere, and transparent
    picture[..., 3] = ink
    np.testing.assert_array_equal(read_digit(save(picture)), read_digit(save(255 - ink, "l.png")))


def test_turned_photographs_are_turned_back(save):
    exif = Image.Exif()
    exif[0x0112] = 6  # held on its side
    picture = Image.fromarray(255 - seven())
    turned = save(picture.transpose(Image.Transpose.ROTATE_90), "t.png", exif=exif)
    np.testing.assert_array_equal(read_digit(turned), read_digit(save(picture)))


def test_photo_is_the_middle_square(save):
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, :32, 0] = wide[:, 96:, 1] = 255
    wide[:, 32:96, 2] = 255
    photo = read_photo(save(wide))
    assert photo.shape == (32, 32, 3) and photo.dtype == np.uint8
    assert (photo == [0, 0, 255]).all()
    assert read_photo(save(seven())).shape == (32, 32, 3)  # grey becomes colour
    assert read_photo(save(np.zeros((1, 1, 3), np.uint8))).shape == (32, 32, 3)


@pytest.mark.parametrize("read", [read_digit, read_photo])
def test_no_image_is_one_clear_sentence(read, save, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.png"):
        read(tmp_path / "none.png")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read(tmp_path)
    (tmp_path / "letter.png").write_text("Dear reader")
    with pytest.raises(ValueError, match=r"^letter\.png is no image that can be read; try PNG"):
        read(tmp_path / "letter.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match="is no image"):
        read(tmp_path / "empty.png")
    for name in ("own.png", "own.jpg"):
        whole = save(255 - seven(), name).read_bytes()
        (tmp_path / f"half-{name}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=f"^half-{name} is a damaged"):
            read(tmp_path / f"half-{name}")


@pytest.mark.parametrize("value", [0, 128, 255])
def test_paper_without_ink_is_refused(save, value):
    with pytest.raises(ValueError, match="shows no digit"):
        read_digit(save(np.full((40, 40), value, np.uint8)))


def test_one_pixel_of_ink_is_a_picture_too(save):
    paper = np.full((9, 9), 255, np.uint8)
    paper[4, 4] = 0
    digit = read_digit(save(paper))
    assert digit.shape == (28, 28) and digit.max() == 255
