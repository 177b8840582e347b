import io

import numpy as np
import pytest
from conftest import FIXTURES, encoded
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import config
import images
from utils import UserError

PICTURE = np.asarray(Image.open(FIXTURES / "stimuli" / "952.jpg"))
HEIGHT, WIDTH = PICTURE.shape[:2]
GRADIENT = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))


def save(path, image: Image.Image, **options):
    image.save(path, **options)
    return path


def read(tmp_path, content: bytes) -> np.ndarray:
    path = tmp_path / "picture"
    path.write_bytes(content)
    return images.read_stimulus(path)


# The eight EXIF orientations, each with what undoes it.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_jpeg_with_an_exif_orientation_is_read_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(PICTURE, format="JPEG", quality=95, exif=exif)
    stored = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(read(tmp_path, content), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_are_read_exactly(tmp_path, format):
    np.testing.assert_array_equal(read(tmp_path, encoded(PICTURE, format=format)), PICTURE)


def test_lossless_webp_is_read_exactly(tmp_path):
    content = encoded(PICTURE, format="WEBP", lossless=True)
    np.testing.assert_array_equal(read(tmp_path, content), PICTURE)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_formats_are_read_nearly_exactly(tmp_path, format):
    read_back = read(tmp_path, encoded(PICTURE, format=format, quality=95)).astype(int)
    assert np.abs(read_back - PICTURE).mean() < 4


def test_a_cmyk_jpeg_is_read_in_its_colours(tmp_path):
    red = np.full((40, 60, 3), (220, 20, 20), np.uint8)
    read_back = read(tmp_path, encoded(red, "CMYK", "JPEG", quality=95)).astype(int)
    np.testing.assert_allclose(read_back, red, atol=6)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_grey_image_becomes_rgb(tmp_path, format):
    read_back = read(tmp_path, encoded(GRADIENT, format=format, quality=100)).astype(int)
    assert read_back.shape == (*GRADIENT.shape, 3)
    np.testing.assert_allclose(read_back, np.dstack([GRADIENT] * 3).astype(int), atol=3)


def test_a_1_bit_image_becomes_black_and_white(tmp_path):
    mask = np.eye(20, dtype=bool)
    read_back = read(tmp_path, encoded(mask))
    np.testing.assert_array_equal(read_back, np.dstack([mask * np.uint8(255)] * 3))


def test_a_palette_image_is_read_in_its_colours(tmp_path):
    colours = np.zeros((10, 20, 3), np.uint8)
    colours[:, :10], colours[:, 10:] = (250, 10, 30), (20, 200, 90)
    content = io.BytesIO()
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE).save(content, "PNG")
    np.testing.assert_array_equal(read(tmp_path, content.getvalue()), colours)


def test_a_16_bit_png_keeps_its_contrast(tmp_path):
    deep = GRADIENT.astype(np.uint16) * 257
    read_back = read(tmp_path, encoded(deep))
    np.testing.assert_array_equal(read_back, np.dstack([GRADIENT] * 3))


def test_a_dark_16_bit_png_stays_dark(tmp_path):
    assert read(tmp_path, encoded(np.full((8, 9), 257 * 10, np.uint16))).max() == 10


def test_transparent_pixels_are_shown_over_white(tmp_path):
    rgba = np.zeros((10, 20, 4), np.uint8)
    rgba[:, 10:] = (200, 30, 40, 255)
    read_back = read(tmp_path, encoded(rgba))
    assert (read_back[:, :10] == 255).all()
    np.testing.assert_array_equal(read_back[:, 10:], rgba[:, 10:, :3])


def test_half_transparent_pixels_are_mixed_with_white(tmp_path):
    rgba = np.full((4, 5, 4), (0, 0, 0, 128), np.uint8)
    np.testing.assert_allclose(read(tmp_path, encoded(rgba)), 127, atol=1)


def test_a_transparent_palette_colour_is_shown_over_white(tmp_path):
    image = Image.new("P", (20, 10), 0)
    image.putpalette([0, 0, 0, 200, 30, 40])
    image.paste(1, (10, 0, 20, 10))
    read_back = images.read_stimulus(save(tmp_path / "a.png", image, transparency=0))
    assert (read_back[:, :10] == 255).all()
    assert (read_back[:, 10:] == (200, 30, 40)).all()


def test_a_grey_image_with_transparency_is_shown_over_white(tmp_path):
    image = Image.new("LA", (20, 10), (30, 0))
    image.paste((30, 255), (10, 0, 20, 10))
    read_back = images.read_stimulus(save(tmp_path / "a.png", image))
    assert (read_back[:, :10] == 255).all()
    assert (read_back[:, 10:] == 30).all()


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_counts(tmp_path, format):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    path = save(
        tmp_path / f"a.{format.lower()}",
        frames[0],
        save_all=True,
        append_images=frames[1:],
        **options,
    )
    assert (images.read_stimulus(path) == (255, 0, 0)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_an_image_of_any_size_is_read(tmp_path, size):
    assert read(tmp_path, encoded(np.zeros((*size, 3), np.uint8))).shape == (*size, 3)


def test_a_damaged_exif_block_does_not_hide_the_picture(tmp_path):
    content = encoded(PICTURE, format="JPEG", exif=b"Exif\x00\x00rubbish" + b"\xff" * 40)
    assert read(tmp_path, content).shape == PICTURE.shape


JPEG = encoded(PICTURE, format="JPEG")
PNG = encoded(PICTURE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture at all",
        b"<!doctype html><html></html>",
        *[JPEG[: int(len(JPEG) * share)] for share in (0.01, 0.3, 0.9)],
        *[PNG[: int(len(PNG) * share)] for share in (0.01, 0.3, 0.9)],
        PNG[:100] + b"\0" * 50 + PNG[150:],
        encoded(PICTURE, format="GIF")[:400],
        encoded(PICTURE, format="WEBP")[:400],
        encoded(PICTURE, format="BMP")[:400],
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.jpg"):
        images.read_stimulus(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"absent\.jpg"):
        images.read_stimulus(tmp_path / "absent.jpg")


def test_a_picture_beyond_the_limit_is_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "huge.png"
    path.write_bytes(encoded(PICTURE))
    monkeypatch.setitem(config.LIMITS, "image_pixels", HEIGHT * WIDTH - 1)

    def decode(self):
        raise AssertionError("it was decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decode)
    with pytest.raises(UserError, match=r"huge\.png.*pixels"):
        images.read_stimulus(path)


def test_a_picture_at_the_limit_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(config.LIMITS, "image_pixels", HEIGHT * WIDTH)
    assert read(tmp_path, encoded(PICTURE)).shape == PICTURE.shape


def transparent_palette(mask: np.ndarray) -> bytes:
    """Return a map whose first palette colour is white and means 'fixated'."""
    image = Image.fromarray(np.where(mask, 0, 1).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


POINTS = np.zeros((30, 40), bool)
POINTS[5, 7] = POINTS[20, 30] = True
BRIGHT = POINTS * np.uint8(255)
MAP_MODES = {
    "grey": encoded(BRIGHT),
    "1-bit": encoded(POINTS),
    "RGB": encoded(BRIGHT, "RGB"),
    "RGB, drawn in red": encoded(np.dstack([BRIGHT, 0 * BRIGHT, 0 * BRIGHT])),
    "RGBA, opaque": encoded(BRIGHT, "RGBA"),
    "RGBA, white on transparent": encoded(np.dstack([BRIGHT * 0 + 255] * 3 + [BRIGHT])),
    "grey with transparency": encoded(BRIGHT, "LA"),
    "palette": encoded(BRIGHT, "P"),
    "palette that begins with white": transparent_palette(POINTS),
    "16-bit": encoded(BRIGHT.astype(np.uint16) * 257),
    "16-bit with small values": encoded(POINTS.astype(np.uint16)),
    "32-bit": encoded(BRIGHT.astype(np.int32), format="TIFF"),
    "float": encoded(POINTS.astype(np.float32), format="TIFF"),
}


@pytest.mark.parametrize("mode", MAP_MODES)
def test_a_map_of_any_mode_is_read_as_brightness(tmp_path, mode):
    path = tmp_path / "map.png"
    path.write_bytes(MAP_MODES[mode])
    brightness = images.read_map(path)
    assert brightness.dtype == np.float32
    np.testing.assert_array_equal(brightness > 0, POINTS)


def test_a_16_bit_map_keeps_all_its_levels(tmp_path):
    values = np.arange(0, 60000, 100, dtype=np.uint16).reshape(20, 30)
    path = tmp_path / "map.png"
    path.write_bytes(encoded(values))
    np.testing.assert_array_equal(images.read_map(path), values)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.Png", "a.webp", "a.BMP", "a.gif"])
def test_names_of_pictures_are_known_in_any_letter_case(name):
    assert images.is_image_name(name)


@pytest.mark.parametrize("name", ["a.txt", "jpg", "a.jpg.txt", "._a.jpg", ".a.jpg", ".DS_Store"])
def test_other_names_are_not_pictures(name):
    assert not images.is_image_name(name)


@given(
    array=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=30),
        elements=st.floats(0, 255, width=32),
    ),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
)
def test_a_resized_map_has_the_size_asked_for_and_stays_in_its_range(array, height, width):
    resized = images.resize(array, (height, width))
    assert resized.shape == (height, width)
    assert resized.min() >= array.min()
    assert resized.max() <= array.max()


@pytest.mark.parametrize("size", [(HEIGHT // 2, WIDTH // 2), (HEIGHT * 2, WIDTH * 2), (7, 200)])
def test_a_resized_picture_has_the_size_asked_for_and_its_mean_colour(size):
    resized = images.resize(PICTURE, size)
    assert resized.shape == (*size, 3)
    assert resized.dtype == np.uint8
    np.testing.assert_allclose(resized.mean(axis=(0, 1)), PICTURE.mean(axis=(0, 1)), atol=4)


def test_an_interrupted_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    images.write_png(path, BRIGHT)

    def interrupt(self, file, *args, **options):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        images.write_png(path, GRADIENT)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), BRIGHT)
    assert list(tmp_path.iterdir()) == [path]
