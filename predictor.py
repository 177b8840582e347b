"""Predicting: from image files to saliency maps on disk, read and written beside the network."""

import os
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import config
import data
import download
import fixations
import images
import metrics
import model
import report
from model import tf
from utils import MissingFileError, Progbar, UserError, bullet_list, cores, count_of, say


@dataclass(frozen=True)
class Network:
    """A network ready to predict, and what is known of its weights."""

    predict: Any
    checkpoint: model.Checkpoint
    path: Path
    image_size: tuple[int, int]


def _find(dataset: str, device: str, paths: Mapping[str, Path]) -> Path:
    for place in ("best", "weights"):
        if path := model.find_weights(paths[place], dataset, device):
            return path
    if dataset in config.PRETRAINED:
        say(f"There are no weights for {dataset} here; fetching those of the paper's authors.")
        return download.download_pretrained_weights(paths["weights"], dataset)
    raise MissingFileError(
        f"There are no weights for {dataset} in {paths['best']} or {paths['weights']}. Train "
        f"first (main.py train -d {dataset}) or name a file: --weights FILE.weights.h5"
    )


def load(
    weights: Path | None,
    dataset: str,
    device: str,
    paths: Mapping[str, Path],
    image_size: tuple[int, int] | None = None,
) -> Network:
    """Load the weights to predict with and say which they are.

    Args:
        weights: The user's choice; else the dataset's best checkpoint, else one in `weights/`,
            else, for the published sets, the model of the paper's authors.
        dataset: The dataset they were trained on.
        device: The device whose file comes first.
        paths: "best" and "weights".
        image_size: Another network input (height, width) than that of the training.

    Raises:
        MissingFileError: There are none; the message says how to get some.
        UserError: The file cannot be used, or not be fetched.
    """
    path = weights or _find(dataset, device, paths)
    network = model.MSINET()
    checkpoint = network.load(path)
    say(f"Using the weights {path}.")
    settings = checkpoint.metadata.get("settings", {})
    size = image_size or settings.get("image_size") or data.image_size(dataset)
    predict = tf.function(lambda stimuli: network(stimuli, training=False))
    return Network(predict, checkpoint, path, tuple(size))


@dataclass(frozen=True)
class Job:
    """Which images to predict, and where the results go.

    Attributes:
        paths: The image files.
        names: For each, its result's path without suffix, below the results folder.
        target: The network's input (height, width).
        humans: For each, the file of its human saliency map; empty where there are none.
    """

    paths: Sequence[Path]
    names: Sequence[str]
    target: tuple[int, int]
    humans: Sequence[Path] = ()


def result_names(paths: Sequence[Path], root: Path) -> list[str]:
    """Return a result path, without suffix, for each image: its place below `root`, never twice.

    Images of one folder that differ only in their suffix keep it: `a.jpg` and `a.png` become
    `a.jpg` and `a.png`, to which the result's own suffix is added.
    """
    relative = [path.relative_to(root) for path in paths]
    names = [str(path.with_suffix("")) for path in relative]
    whole = [str(path) for path in relative]
    # Some file systems do not tell cases apart, and a name that keeps its suffix may meet another.
    while True:
        uses = Counter(name.lower() for name in names)
        longer = [
            full if uses[name.lower()] > 1 else name
            for name, full in zip(names, whole, strict=True)
        ]
        if longer == names:
            return names
        names = longer


def images_job(test: data.TEST) -> Job:
    """Return the job of predicting any images."""
    return Job(test.paths, result_names(test.paths, test.root), test.target)


def held_out_job(dataset: data.Dataset, network: Network) -> Job:
    """Return the job of predicting a dataset's held-out images, but none that was trained on.

    Raises:
        UserError: The weights were trained on all of them.
    """
    _, valid = dataset.load_data()
    seen = network.checkpoint.trained_on
    keep = [index for index, digest in enumerate(data.digests(valid.stimuli)) if digest not in seen]
    if len(keep) < len(valid.stimuli):
        left_out = count_of(len(valid.stimuli) - len(keep), "held-out image")
        say(f"Leaving out {left_out} that {network.path} was trained on.")
    if not keep:
        raise UserError(
            f"{network.path} was trained on every held-out image of {dataset.path}, so it cannot "
            "be tested on them. Name other weights (--weights FILE) or images (-p IMAGES)."
        )
    paths = [valid.stimuli[index] for index in keep]
    names = result_names(paths, dataset.path / "stimuli")
    return Job(paths, names, network.image_size, [valid.maps[index] for index in keep])


@dataclass(frozen=True)
class _Scores:
    cc: float
    kld: float


def _finish(
    example: data.Example, output: np.ndarray, result: Path, overlay: bool, human: Path | None
) -> _Scores | None:
    """Write what belongs to one predicted image; return its scores where people are known."""
    saliency = data.postprocess_saliency_map(output, example.size)
    images.write_png(result.with_name(f"{result.name}.png"), fixations.to_uint8(saliency))
    if overlay:
        picture = images.read_stimulus(example.path)
        images.write_jpeg(
            result.with_name(f"{result.name}_overlay.jpg"), report.overlay(picture, saliency)
        )
    if human is None:
        return None
    truth = images.resize(images.read_map(human), example.size)
    return _Scores(metrics.cc(saliency, truth), metrics.kld(saliency, truth))


def run(job: Job, network: Network, folder: Path, overlay: bool) -> int:
    """Predict a job's images and write their maps below `folder`.

    Reading and writing go on in threads beside the network.

    Args:
        job: The images.
        network: The network.
        folder: Where results go.
        overlay: Also write the heat map over each image.

    Returns:
        The exit status: 0, or 1 where some files could not be read.

    Raises:
        UserError: None of the images could be read.
    """
    problems: list[str] = []
    scores: list[_Scores | None] = []
    humans = job.humans or [None] * len(job.paths)
    waiting: deque[Future[_Scores | None]] = deque()
    with ThreadPoolExecutor(cores()) as writers, Progbar(len(job.paths), "Predicting") as bar:
        examples = data.read_ahead(job.paths, job.target)
        for example, name, human in zip(examples, job.names, humans, strict=True):
            bar.update()
            if example.problem:
                problems.append(example.problem)
                continue
            output = network.predict(tf.constant(example.stimulus[None]))[0].numpy()
            waiting.append(writers.submit(_finish, example, output, folder / name, overlay, human))
            # Results that wait for the disk are bounded, like the images that wait for the network.
            while len(waiting) > 4 * cores():
                scores.append(waiting.popleft().result())
        scores.extend(future.result() for future in waiting)
    if not scores:
        raise UserError(f"No image could be read:\n{bullet_list(problems)}")
    say(f"Wrote {count_of(len(scores), 'saliency map')} to {os.path.relpath(folder)}.")
    if job.humans:
        mean_kld = np.mean([score.kld for score in scores])
        mean_cc = np.mean([score.cc for score in scores])
        say(f"Held-out means at the images' own size: KLD {mean_kld:.4f}, CC {mean_cc:.4f}.")
    if problems:
        say(f"{count_of(len(problems), 'file')} could not be read:\n{bullet_list(problems)}")
    return 1 if problems else 0
