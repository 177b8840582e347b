"""The datasets, their splits, and the way of an image into the network and of its map out of it."""

import glob
import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import archive
import config
import download
import images
import prepare
from utils import MissingFileError, UserError, cores, sha256

if TYPE_CHECKING:
    import tensorflow as tf


class Split(NamedTuple):
    """One part of a dataset, training or held out: stimuli and their saliency maps, in order."""

    stimuli: list[Path]
    maps: list[Path]


class Dataset:
    """A dataset in `<data>/<name>/`, prepared by `download.download_<name>` if it is not there.

    A permanent dataset is a subclass: its name in lower case is the dataset's name, its docstring
    the README's description, and `config.DIMS` holds its network input.

    Args:
        data_path: The dataset's own folder, `<data>/<name>`, or the folder of all datasets.
        options: What the user asked of the preparation.

    Attributes:
        n_train: Number of training pairs.
        n_valid: Number of held-out pairs.
        finetunes: Whether training starts from a SALICON checkpoint.
        path: The dataset's own folder.
        record: The content of `dataset.json`.
    """

    name: str
    n_train: int
    n_valid: int
    finetunes = True

    def __init_subclass__(cls) -> None:
        cls.name = cls.__name__.lower()

    def __init__(self, data_path: Path | str, options: prepare.Options = prepare.DEFAULTS) -> None:
        path = Path(data_path)
        self.path = path if path.name == self.name else path / self.name
        if not (self.path / prepare.RECORD).is_file():
            self.prepare(self.path.parent, options)
        self.record = prepare.read_record(self.path, options)
        expected = self.n_train + self.n_valid
        if self.record["pairs"] != expected:
            self.n_train = min(max(round(0.8 * self.record["pairs"]), 1), self.record["pairs"] - 1)
            self.n_valid = self.record["pairs"] - self.n_train

    def prepare(self, parent_path: Path, options: prepare.Options) -> None:
        """Make the dataset's folder in `parent_path`.

        A set without a function `download.download_<name>` is one that its user holds, as an
        archive or a folder of `stimuli/` and maps.
        """
        if fetch_and_prepare := getattr(download, f"download_{self.name}", None):
            fetch_and_prepare(parent_path, options)
        else:
            expected = self.n_train + self.n_valid or None
            download.prepare_held_archive(self.name, expected, parent_path, options)

    def load_data(self) -> tuple[Split, Split]:
        """Return the training part and the held-out part.

        Raises:
            UserError: Files are missing or were added since the dataset was prepared.
        """
        stimuli, maps = self._pairs()
        train, valid = self.split([path.relative_to(self.path / "stimuli") for path in stimuli])
        return (
            Split([stimuli[i] for i in train], [maps[i] for i in train]),
            Split([stimuli[i] for i in valid], [maps[i] for i in valid]),
        )

    def split(self, names: Sequence[Path]) -> tuple[Sequence[int], Sequence[int]]:
        """Return the indices of the training part and of the held-out part, in their order.

        The split is that of the original code base: stimuli sorted by name, their order shuffled
        by `numpy.random.RandomState(42)`, the first `n_train` for training.

        Args:
            names: The stimuli's paths below `stimuli/`, sorted.
        """
        order = np.random.RandomState(42).permutation(len(names))
        return order[: self.n_train], order[self.n_train :]

    def _pairs(self) -> Split:
        """Return all pairs, sorted by the stimulus' name."""
        skipped = set(self.record["skipped_files"])
        stimuli = self._files("stimuli")
        stimuli = {key: path for key, path in stimuli.items() if path.name not in skipped}
        maps = self._files("saliency")
        missing = len(stimuli.keys() - maps.keys())
        if missing or len(stimuli) != self.record["pairs"]:
            raise UserError(
                f"{self.path} was prepared with {self.record['pairs']:,} pairs and now has "
                f"{len(stimuli):,} stimuli, {missing:,} of them without a map. "
                "Move the folder away and prepare the dataset again."
            )
        return Split(list(stimuli.values()), [maps[key] for key in stimuli])

    def _files(self, folder: str) -> dict[tuple[str, str], Path]:
        """Return the images of a folder by the key that pairs them, sorted by their path."""
        root = self.path / folder
        if not root.is_dir():
            raise UserError(
                f"{root} is missing. Move {self.path} away and prepare the dataset again."
            )
        paths = [path for path in root.rglob("*") if images.is_image_name(path.name)]
        paths.sort(key=lambda path: path.relative_to(root).as_posix())
        return {
            (path.parent.relative_to(root).as_posix(), prepare.stem(path.name)): path
            for path in paths
        }


class SALICON(Dataset):
    """Mouse-tracked attention on photographs of everyday scenes; the set to train on first."""

    n_train = 10000
    n_valid = 5000
    finetunes = False

    def split(self, names: Sequence[Path]) -> tuple[Sequence[int], Sequence[int]]:
        """Return the set's own split, its folders `train` and `val`."""
        train, valid = (
            [index for index, name in enumerate(names) if name.parts[0] == part]
            for part in ("train", "val")
        )
        # A part of the set may be all that is there.
        return (train, valid) if train and valid else super().split(names)


class MIT1003(Dataset):
    """Photographs from Flickr and LabelMe, 15 viewers (Judd et al., ICCV 2009)."""

    n_train = 803
    n_valid = 200


class CAT2000(Dataset):
    """Twenty categories of 100 images, from satellite pictures to cartoons, 18 viewers."""

    n_train = 1600
    n_valid = 400

    def split(self, names: Sequence[Path]) -> tuple[Sequence[int], Sequence[int]]:
        """Return 80/20 within each category, by one shuffled order that all of them share."""
        categories: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            categories.setdefault(name.parts[0], []).append(index)
        train, valid = [], []
        for indices in categories.values():
            order = np.random.RandomState(42).permutation(len(indices))
            n_train = round(0.8 * len(indices))
            train += [indices[i] for i in order[:n_train]]
            valid += [indices[i] for i in order[n_train:]]
        # So few images a category may be there that none would be held out.
        return (train, valid) if train and valid else super().split(names)


class DUTOMRON(Dataset):
    """Photographs with one or more salient objects, 5 viewers (Yang et al., CVPR 2013)."""

    n_train = 4168
    n_valid = 1000


class PASCALS(Dataset):
    """Photographs of PASCAL VOC 2010, 8 viewers (Li et al., CVPR 2014)."""

    n_train = 650
    n_valid = 200


class OSIE(Dataset):
    """Photographs with several objects of many kinds, 15 viewers (Xu et al., JoV 2014)."""

    n_train = 500
    n_valid = 200


class FIWI(Dataset):
    """Web pages, 11 viewers (Shen and Zhao, ECCV 2014)."""

    n_train = 99
    n_valid = 50


class FIXATIONADD1000(Dataset):
    """Advertising images, 57 viewers (Liang, Liu, Qian, JVCIR 2021)."""

    n_train = 800
    n_valid = 200


class OwnSet(Dataset):
    """A set of the user's own: any number of pairs, split 80/20.

    Args:
        name: The dataset's name.
        data_path: The dataset's own folder, `<data>/<name>`, or the folder of all datasets.
        options: What the user asked of the preparation.
    """

    n_train = n_valid = 0

    def __init__(
        self, name: str, data_path: Path | str, options: prepare.Options = prepare.DEFAULTS
    ) -> None:
        self.name = name
        super().__init__(data_path, options)


def dataset_classes() -> dict[str, type[Dataset]]:
    """Return every permanent dataset's class by its name, in the order of this file."""
    return {cls.name: cls for cls in Dataset.__subclasses__() if cls is not OwnSet}


def datasets_table() -> str:
    """Return the table of permanent datasets in the README, as Markdown."""
    lines = ["| `-d` | what | training / held out | network input |", "|---|---|---|---|"]
    for name, cls in dataset_classes().items():
        height, width = image_size(name)
        what = cls.__doc__.strip().splitlines()[0].rstrip(".")
        lines.append(
            f"| `{name}` | {what} | {cls.n_train:,} / {cls.n_valid:,} | {height} x {width} |"
        )
    return "\n".join(lines)


def open_dataset(
    name: str, data_path: Path | str, options: prepare.Options = prepare.DEFAULTS
) -> Dataset:
    """Return a dataset, prepared if it was not yet.

    Args:
        name: A permanent dataset, or a set of the user's own.
        data_path: The folder of all datasets, or the dataset's own.
        options: What the user asked of the preparation.

    Raises:
        UserError: There is no such dataset, or it cannot be prepared.
    """
    if cls := dataset_classes().get(name):
        return cls(data_path, options)
    return OwnSet(name, data_path, options)


def image_size(name: str) -> tuple[int, int]:
    """Return a dataset's network input (height, width); a set of the user's own has a default."""
    return config.DIMS.get(f"image_size_{name}", config.OWN_SET_SIZE)


def fitted_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (height, width) of an image's shape within `target`, at least 1 x 1."""
    scale = min(target[0] / size[0], target[1] / size[1])
    return tuple(
        min(max(round(edge * scale), 1), limit) for edge, limit in zip(size, target, strict=True)
    )


def _window(size: tuple[int, int], target: tuple[int, int]) -> tuple[slice, slice]:
    """Return where an image of `size` lies within the network's input: fitted and centred."""
    fitted = fitted_size(size, target)
    starts = [(limit - edge) // 2 for edge, limit in zip(fitted, target, strict=True)]
    return tuple(slice(start, start + edge) for start, edge in zip(starts, fitted, strict=True))


def preprocess(array: np.ndarray, target: tuple[int, int], fill: int) -> np.ndarray:
    """Resize a picture or map to fit the network's input, keeping its shape, and pad the rest.

    Args:
        array: uint8 [height, width, 3], or float32 [height, width].
        target: The network's input (height, width).
        fill: The value of the padding, `config.PADDING`.

    Returns:
        An array of the same type with the first two dimensions `target`.
    """
    window = _window(array.shape[:2], target)
    padded = np.full((*target, *array.shape[2:]), fill, dtype=array.dtype)
    padded[window] = images.resize(array, fitted_size(array.shape[:2], target))
    return padded


def postprocess_saliency_map(map: np.ndarray, original_size: tuple[int, int]) -> np.ndarray:
    """Undo `preprocess`: cut the padding off a predicted map and bring it to the image's own size.

    Args:
        map: float array [H, W] or [H, W, 1], 0..1: the network's output for one image.
        original_size: The image's own (height, width).

    Returns:
        float32 array [height, width], 0..1.
    """
    values = np.asarray(map, dtype=np.float32).reshape(np.shape(map)[:2])
    return images.resize(values[_window(original_size, values.shape)], tuple(original_size))


def read_pair(
    stimulus: Path | str, saliency: Path | str, target: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Read one training example.

    Args:
        stimulus: The image file.
        saliency: The file of its saliency map.
        target: The network's input (height, width).

    Returns:
        uint8 [H, W, 3] and float32 [H, W, 1]: what the network sees and should predict. The map
        keeps its file's range, because the loss normalises it.
    """
    picture = preprocess(images.read_stimulus(stimulus), target, config.PADDING["stimulus"])
    truth = preprocess(images.read_map(saliency), target, config.PADDING["saliency"])
    return picture, truth[..., None]


def digests(paths: Sequence[Path]) -> list[bytes]:
    """Return a digest of each file's content, by which an image is known again anywhere."""
    return [bytes.fromhex(sha256(path)[:32]) for path in paths]


def fingerprint(file_digests: Sequence[bytes]) -> str:
    """Return one digest, 16 hexadecimal digits, of many in their order."""
    return hashlib.sha256(b"".join(file_digests)).hexdigest()[:16]


def epoch_order(n_images: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the training images in an epoch, a pure function of its arguments."""
    return np.random.default_rng((seed, epoch)).permutation(n_images)


def batches(
    split: Split, target: tuple[int, int], batch_size: int, order: Sequence[int] | str | None = None
) -> "tf.data.Dataset":
    """Return batches of training examples, read ahead on all cores.

    Args:
        split: The images.
        target: The network's input (height, width).
        batch_size: Images a batch; the last one may be smaller.
        order: Indices into `split`; "shuffled" for a new order each time the dataset is
            iterated; by default the order of `split`.

    Returns:
        A dataset of (uint8 [B, H, W, 3], float32 [B, H, W, 1]).
    """
    import tensorflow as tf

    if order is None or isinstance(order, str):
        indices = tf.data.Dataset.range(len(split.stimuli))
        if order == "shuffled":
            indices = indices.shuffle(len(split.stimuli), seed=config.PARAMS["seed"])
    else:
        indices = tf.data.Dataset.from_tensor_slices(np.asarray(order, dtype=np.int64))

    def read(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return read_pair(split.stimuli[index], split.maps[index], target)

    def load(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        picture, truth = tf.numpy_function(read, [index], (tf.uint8, tf.float32))
        return tf.ensure_shape(picture, (*target, 3)), tf.ensure_shape(truth, (*target, 1))

    return (
        indices.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


@dataclass
class Example:
    """One image on its way into the network.

    Attributes:
        path: The image file.
        stimulus: uint8 [H, W, 3], the network's input, or None where the file is unreadable.
        size: The image's own (height, width).
        problem: Why the file is unreadable.
    """

    path: Path
    stimulus: np.ndarray | None = None
    size: tuple[int, int] = (0, 0)
    problem: str = ""


class TEST:
    """Any images, to predict saliency maps for.

    Args:
        dataset: The dataset whose network input size is used.
        data_path: An image file, a folder (searched recursively), or a glob pattern.
        target: Another network input (height, width).

    Attributes:
        paths: The image files, sorted.
        root: The folder that all of them lie in, below which results mirror their places.
    """

    def __init__(
        self, dataset: str, data_path: Path | str, target: tuple[int, int] | None = None
    ) -> None:
        self.target = image_size(dataset) if target is None else target
        self.paths = find_images(data_path)
        self.root = Path(os.path.commonpath([path.parent for path in self.paths]))

    def load_data(self) -> list[Path]:
        """Return the image files."""
        return self.paths

    def read(self) -> Iterator[Example]:
        """Yield every image, ready for the network, in order; reading runs ahead on all cores."""
        return read_ahead(self.paths, self.target)


def find_images(data_path: Path | str) -> list[Path]:
    """Return the images that a path stands for, sorted.

    Args:
        data_path: An image file, a folder (searched recursively), or a glob pattern, in which
            `**` stands for any folders.

    Raises:
        MissingFileError: There are none.
    """
    path = Path(data_path)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    else:
        # pathlib takes no absolute pattern.
        found = map(Path, glob.glob(str(data_path), recursive=True))  # noqa: PTH207
    paths = sorted(
        file
        for file in found
        if images.is_image_name(file.name)
        and not archive.is_clutter(PurePosixPath(file.relative_to(path) if path.is_dir() else file))
        and file.is_file()
    )
    if paths:
        return paths
    if path.is_dir():
        reason = f"no image in it or below; images end in {' '.join(config.IMAGE_SUFFIXES)}"
    else:
        reason = "no such file or folder, and no image matches it as a pattern"
    raise MissingFileError(f"{data_path}: {reason}.")


def read_example(path: Path, target: tuple[int, int]) -> Example:
    """Read one image for the network; a file that cannot be read is an example with a problem."""
    try:
        picture = images.read_stimulus(path)
    except UserError as error:
        return Example(path, problem=str(error))
    stimulus = preprocess(picture, target, config.PADDING["stimulus"])
    return Example(path, stimulus, picture.shape[:2])


def read_ahead(paths: Sequence[Path], target: tuple[int, int]) -> Iterator[Example]:
    """Yield `read_example` of every path in order, a few images ahead of their use."""
    workers = cores()
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Example]] = deque()
        try:
            for path in paths:
                waiting.append(pool.submit(read_example, path, target))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def get_dataset_iterator(
    phase: str, dataset: str, data_path: Path | str
) -> "tuple[tf.data.Dataset, tf.data.Dataset] | tf.data.Dataset":
    """Return a dataset's batches as TensorFlow datasets, for use from other programs.

    Args:
        phase: "train" or "test".
        dataset: The dataset's name.
        data_path: For "train" the folder of all datasets or the dataset's own; for "test" an
            image file, a folder or a glob pattern.

    Returns:
        For "train" the training part, in a new order each time it is iterated, and the held-out
        part: both of (uint8 [B, H, W, 3], float32 [B, H, W, 1]). For "test" one dataset of
        (uint8 [1, H, W, 3], int32 [1, 2], string [1]): stimulus, the image's own (height,
        width), and its path; unreadable files are left out.

    Raises:
        UserError: The phase or the dataset is unknown, or the data cannot be used.
    """
    import tensorflow as tf

    if phase == "train":
        train, valid = open_dataset(dataset, data_path).load_data()
        target, batch_size = image_size(dataset), config.PARAMS["batch_size"]
        return (
            batches(train, target, batch_size, "shuffled"),
            batches(valid, target, batch_size),
        )
    if phase == "test":
        test = TEST(dataset, data_path)

        def readable() -> Iterator[tuple[np.ndarray, tuple[int, int], str]]:
            for example in test.read():
                if not example.problem:
                    yield example.stimulus, example.size, str(example.path)

        signature = (
            tf.TensorSpec((*test.target, 3), tf.uint8),
            tf.TensorSpec((2,), tf.int32),
            tf.TensorSpec((), tf.string),
        )
        return tf.data.Dataset.from_generator(readable, output_signature=signature).batch(1)
    raise UserError(f"There is no phase {phase!r}; there are 'train' and 'test'.")
