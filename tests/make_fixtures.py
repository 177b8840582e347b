"""How tests/fixtures/ was made: a few real pairs, shrunk until all of them fit into 60 kB.

Run from the repository's folder, with an archive that holds stimuli/NAME.jpg and
fixation/NAME.png:

    uv run python tests/make_fixtures.py fixation_add1000.tar.gz
"""

import argparse
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fixations

FIXTURES = Path(__file__).parent / "fixtures"
# Landscapes, portraits and squares of different shapes and original sizes.
STEMS = ("94", "101", "323", "371", "585", "645", "840", "878", "949", "952")
LONG_SIDE = 96
# Of these the fixation map is kept at its own size too, where real points lie apart.
FULL_SIZE = ("645", "878", "949", "952")


def shrink(archive: tarfile.TarFile, stem: str) -> None:
    """Write one pair of the archive, its long side at most LONG_SIDE pixels."""
    picture = Image.open(archive.extractfile(f"stimuli/{stem}.jpg")).convert("RGB")
    picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BOX)
    encoded = io.BytesIO()
    picture.save(encoded, format="JPEG", quality=85)
    (FIXTURES / "stimuli" / f"{stem}.jpg").write_bytes(encoded.getvalue())

    brightness = np.asarray(Image.open(archive.extractfile(f"fixation/{stem}.png")).convert("L"))
    points = fixations.move_points(brightness > 0, picture.size[::-1])
    write_points(points, FIXTURES / "fixation" / f"{stem}.png")
    if stem in FULL_SIZE:
        write_points(brightness > 0, FIXTURES / "full_size" / f"{stem}.png")


def write_points(points: np.ndarray, path: Path) -> None:
    """Write bool [height, width] as a grey PNG of 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(points.astype(np.uint8) * 255).save(path, optimize=True)


def main() -> None:
    """Write every pair of STEMS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path, help="the archive of real pairs")
    arguments = parser.parse_args()
    (FIXTURES / "stimuli").mkdir(parents=True, exist_ok=True)
    with tarfile.open(arguments.archive) as archive:
        for stem in STEMS:
            shrink(archive, stem)


if __name__ == "__main__":
    main()
