"""Image files to arrays and back: the one place that knows formats, modes and orientation."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import config
from utils import UserError, atomic_write

# `open_image` refuses large pictures itself and names the file; Pillow's own limit only warns.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module="PIL")


def is_image_name(name: str) -> bool:
    """Whether a file name is that of a picture, and not of a side file such as `._a.jpg`."""
    return name.lower().endswith(config.IMAGE_SUFFIXES) and not name.startswith(".")


def open_image(path: Path | str) -> Image.Image:
    """Open and decode the first frame of a picture, turned upright by its EXIF orientation.

    Args:
        path: An image file in any format that Pillow reads.

    Returns:
        The decoded image, in the mode it is stored in.

    Raises:
        UserError: The file is empty, damaged, no picture, or larger than
            `config.LIMITS["image_pixels"]`. Pictures that large are refused before decoding.
    """
    path = Path(path)
    limit = config.LIMITS["image_pixels"]
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty.")
        with Image.open(path) as image:
            width, height = image.size
            if width * height > limit:
                raise UserError(
                    f"{path}: {width:,} x {height:,} pixels are more than the {limit:,} that "
                    'config.LIMITS["image_pixels"] allows.'
                )
            image.load()
            return _upright(image)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except Exception as error:  # a decoder that is fed rubbish may raise anything
        reason = str(error).replace(str(path), "it").strip() or type(error).__name__
        raise UserError(f"{path}: not a readable image ({reason}).") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return image.copy()


def _deep_to_uint8(image: Image.Image) -> np.ndarray:
    """Scale 16-bit, 32-bit and float grey images to 0..255 by the range their values need."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    top = values.max(initial=0.0)
    if image.mode.startswith("I;16") or 255 < top <= 65535:
        values = values / 257
    elif image.mode == "F" and top <= 1:
        values = values * 255
    elif top > 65535:
        values = values * (255 / top)
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def read_stimulus(path: Path | str) -> np.ndarray:
    """Read a picture as a viewer sees it.

    Grey, palette, CMYK, 1-bit and 16-bit pictures become RGB; transparent ones are laid over
    white, as a web page would show them; of an animation the first frame counts.

    Args:
        path: An image file.

    Returns:
        uint8 array [height, width, 3], RGB, 0..255.

    Raises:
        UserError: As `open_image`.
    """
    image = open_image(path)
    try:
        if image.mode.startswith("I") or image.mode == "F":
            image = Image.fromarray(_deep_to_uint8(image))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise UserError(f"{path}: cannot be shown in RGB ({error}).") from error


def read_map(path: Path | str) -> np.ndarray:
    """Read a fixation map or saliency map of any mode as brightness.

    The brightest channel counts, so that points drawn in a colour are as bright as white ones,
    and transparent pixels are dark.

    Args:
        path: An image file: grey, RGB, RGBA, palette, 1-bit or 16-bit.

    Returns:
        float32 array [height, width], 0 up to the largest value of the file's own range.

    Raises:
        UserError: As `open_image`.
    """
    image = open_image(path)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        return np.nan_to_num(values, posinf=0.0, neginf=0.0).clip(min=0)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"), dtype=np.float32)
    rgba = np.asarray(image.convert("RGBA"), dtype=np.float32)
    return rgba[..., :3].max(axis=-1) * rgba[..., 3] / 255


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a picture or a map: by area when it shrinks, bicubic when it grows.

    Args:
        array: uint8 [height, width, 3] or float32 [height, width].
        size: The new (height, width) in pixels.

    Returns:
        An array of the new size and the same type; float results keep the range of the input.
    """
    height, width = size
    if array.shape[:2] == (height, width):
        return array
    shrinks = height * width < array.shape[0] * array.shape[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    resized = np.asarray(Image.fromarray(array).resize((width, height), method))
    if array.dtype == np.uint8:
        return resized
    return resized.clip(array.min(), array.max())


def write_png(path: Path | str, array: np.ndarray) -> None:
    """Write a uint8 array [height, width] or [height, width, 3] as PNG, whole or not at all."""
    with atomic_write(path) as temporary:
        # Smooth maps shrink little further beyond this level, and writing takes twice as long.
        Image.fromarray(array).save(temporary, format="PNG", compress_level=3)


def write_jpeg(path: Path | str, array: np.ndarray, quality: int = 90) -> None:
    """Write a uint8 array [height, width, 3] as JPEG, whole or not at all."""
    with atomic_write(path) as temporary:
        Image.fromarray(array).save(temporary, format="JPEG", quality=quality, subsampling=0)
