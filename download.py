"""Getting datasets and pretrained weights: find or fetch archives, and have them prepared."""

import difflib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import config
import prepare
import sets
from prepare import DEFAULTS, Options
from utils import MissingFileError, UserError, bullet_list, say


def download_salicon(parent_path: Path | str, options: Options = DEFAULTS) -> None:
    """Fetch and prepare SALICON (Jiang, Huang, Duan, Zhao, CVPR 2015)."""
    _fetch_and_prepare("salicon", 15000, parent_path, options, sets.read_salicon)


def download_mit1003(parent_path: Path | str, options: Options = DEFAULTS) -> None:
    """Fetch and prepare MIT1003 (Judd, Ehinger, Durand, Torralba, ICCV 2009)."""
    _fetch_and_prepare("mit1003", 1003, parent_path, options, sets.read_mit1003)


def download_cat2000(parent_path: Path | str, options: Options = DEFAULTS) -> None:
    """Fetch and prepare CAT2000's training set (Borji, Itti, 2015)."""
    _fetch_and_prepare("cat2000", 2000, parent_path, options, sets.read_cat2000)


def download_dutomron(parent_path: Path | str, options: Options = DEFAULTS) -> None:
    """Fetch and prepare DUT-OMRON (Yang, Zhang, Lu, Ruan, Yang, CVPR 2013)."""
    _fetch_and_prepare("dutomron", 5168, parent_path, options, sets.read_dutomron)


def download_pascals(parent_path: Path | str, options: Options = DEFAULTS) -> None:
    """Fetch and prepare PASCAL-S (Li, Hou, Koch, Rehg, Yuille, CVPR 2014)."""
    _fetch_and_prepare("pascals", 850, parent_path, options, sets.read_pascals)


def download_osie(parent_path: Path | str, options: Options = DEFAULTS) -> None:
    """Fetch and prepare OSIE (Xu, Jiang, Wang, Kankanhalli, Zhao, Journal of Vision 2014)."""
    # Archives got by hand are the user's own choice; only what was fetched is checked.
    checked = options.verify and not options.archives
    md5 = config.OSIE_FIXATIONS_MD5 if checked else None
    read = partial(sets.read_osie, fixations_md5=md5)
    _fetch_and_prepare("osie", 700, parent_path, options, read)


def download_fiwi(parent_path: Path | str, options: Options = DEFAULTS) -> None:
    """Fetch and prepare FiWI (Shen, Zhao, ECCV 2014)."""
    _fetch_and_prepare("fiwi", 149, parent_path, options, sets.read_fiwi)


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


def _fetch_and_prepare(
    name: str, expected: int, parent_path: Path | str, options: Options, read: prepare.Reader
) -> None:
    """Prepare a published set: from a folder that is there, archives got by hand, or fetched."""
    parent_path = Path(parent_path)
    plan = _plan(name, expected, options)
    if not options.archives and _is_there(parent_path / name):
        prepare.from_folder(plan, parent_path / name)
        return
    archives = options.archives or fetch_archives(name, parent_path / "downloads", options)
    prepare.from_archives(plan, archives, parent_path / name, read)


def prepare_held_archive(
    name: str, expected: int | None, parent_path: Path | str, options: Options
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
    parent_path = Path(parent_path)
    plan = _plan(name, expected, options)
    if not options.archives and _is_there(parent_path / name):
        prepare.from_folder(plan, parent_path / name)
        return
    path = find_archive(name, parent_path, options)
    prepare.from_archives(plan, [path], parent_path / name, prepare.read_standard)


def _plan(name: str, expected: int | None, options: Options) -> prepare.Plan:
    return prepare.Plan(name, expected, config.SIGMA.get(name, config.DEFAULT_SIGMA), options)


def _is_there(folder: Path) -> bool:
    """Whether the user has unpacked something there that looks like a dataset."""
    return folder.is_dir() and any(part.name.lower() in prepare.ROLES for part in folder.iterdir())


def find_archive(name: str, parent_path: Path, options: Options) -> Path:
    """Return the archive of a held set: the one the user named, or the first that is in place.

    Raises:
        MissingFileError: There is none; the message lists the places.
    """
    if options.archives:
        if len(options.archives) > 1:
            raise UserError(f"{name} comes in one archive; --archive was given more than once.")
        return options.archives[0]
    files = config.ARCHIVES.get(name, (f"{name}.tar.gz", f"{name}.zip"))
    folders = dict.fromkeys((parent_path, Path()))
    places = [folder / file for folder in folders for file in files]
    for place in places:
        if place.is_file():
            say(f"Found the archive {place}.")
            return place
    if f"image_size_{name}" not in config.DIMS:
        raise MissingFileError(_unknown(name, parent_path))
    raise MissingFileError(
        f"The archive of {name} is in none of these places:\n"
        f"{bullet_list(str(place) for place in places)}\n"
        f"Put it there, or name it: --archive {files[0]}"
    )


def _unknown(name: str, parent_path: Path) -> str:
    known = [key.removeprefix("image_size_") for key in config.DIMS]
    close = difflib.get_close_matches(name.lower(), known, n=3)
    meant = f"Did you mean {' or '.join(close)}? " if close else ""
    return (
        f"There is no dataset {name}. {meant}Known ones are {', '.join(known)}. For a set of your "
        f"own, put stimuli/ and fixations/ or saliency/ into {parent_path / name}, or pass "
        "--archive FILE."
    )


def fetch_archives(name: str, folder: Path, options: Options) -> list[Path]:
    """Return a published set's archives, fetched into `folder` as far as they are not there.

    Raises:
        UserError: One could not be fetched.
    """
    return [_fetch(entry, folder, "archive", options.verify) for entry in config.SOURCES[name]]


def _fetch(entry: Mapping[str, Any], folder: Path, kind: str, verify: bool = True) -> Path:
    from fetch import Source, fetch

    known = {key: value for key, value in entry.items() if key != "file"}
    return fetch(Source(**known, kind=kind), folder / entry["file"], verify)


def vgg16_weights(weights_path: Path | str) -> Path:
    """Return the ImageNet VGG16 encoder's file, fetched into `weights_path` if it is not there.

    A file that the user put there is taken as it is.

    Raises:
        UserError: It is neither there nor can it be fetched.
    """
    path = Path(weights_path) / config.VGG16["file"]
    return path if path.is_file() else _fetch(config.VGG16, path.parent, "file")


def download_pretrained_weights(path: Path | str, key: str) -> Path:
    """Fetch the model that the paper's authors trained on a dataset, and convert it.

    Args:
        path: The folder of weights.
        key: The dataset, a key of `config.PRETRAINED`.

    Returns:
        `<path>/model_<key>_pretrained.weights.h5`.

    Raises:
        UserError: There is none for this dataset, or it can be neither fetched nor converted.
    """
    if key not in config.PRETRAINED:
        raise UserError(
            f"There is no published model for {key}; there are {', '.join(config.PRETRAINED)}."
        )
    target = Path(path) / f"model_{key}_pretrained.weights.h5"
    if target.is_file():
        return target

    import convert

    archive = _fetch(
        {
            "file": f"msinet_{key}.zip",
            # Either graph holds the same kind of weights; the other one is the mirror.
            "urls": tuple(f"gdrive:{file_id}" for file_id in config.PRETRAINED[key].values()),
        },
        Path(path) / "downloads",
        "weights archive",
    )
    convert.convert(archive, target, key)
    return target
