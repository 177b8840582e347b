"""Make the sample archive from the full one: uv run python samples/make_sample.py ARCHIVE."""

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import fixations

# Scenes of many kinds, with and without people, text and a single object, in both orientations.
STEMS = (
    *(49, 62, 82, 100, 158, 181, 200, 244, 267, 313),
    *(360, 587, 643, 659, 702, 713, 753, 814, 891, 949),
)
LONG_SIDE = 320


def shrink(picture: Image.Image, points: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """Bring a stimulus and its fixated pixels to at most `LONG_SIDE` pixels."""
    scale = min(LONG_SIDE / max(picture.size), 1)
    width, height = (round(edge * scale) for edge in picture.size)
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    return small, fixations.move_points(points, (height, width))


def encoded(picture: Image.Image, kind: str, **options: int | bool) -> bytes:
    """Return a picture as the bytes of an image file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def main() -> None:
    """Write `fixation_add1000.tar.gz` beside this script."""
    target = Path(__file__).with_name("fixation_add1000.tar.gz")
    with tarfile.open(sys.argv[1]) as source, tarfile.open(target, "w:gz", compresslevel=9) as out:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))

        for stem in STEMS:
            picture = Image.open(source.extractfile(f"stimuli/{stem}.jpg"))
            points = np.asarray(Image.open(source.extractfile(f"fixation/{stem}.png"))) > 0
            picture, points = shrink(picture, points)
            add(f"stimuli/{stem}.jpg", encoded(picture, "JPEG", quality=88, optimize=True))
            add(f"fixation/{stem}.png", encoded(Image.fromarray(points), "PNG", optimize=True))
    print(f"{target.name}: {len(STEMS)} pairs, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
