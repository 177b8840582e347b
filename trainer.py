"""The training loop: a compiled step through a distribution strategy, checkpoints, continuing."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import data
import model as network
import utils
from model import keras, tf
from utils import History, Progbar, UserError, say


@dataclass(frozen=True)
class Request:
    """What the user asked of a training run.

    Attributes:
        init: The weights to start from, as `MSINET.restore` takes it.
        device: Names the checkpoint files.
        image_size: The network input (height, width).
        epochs: The total number, those of a run that is continued included.
        batch_size: Images a step.
        learning_rate: Adam's.
        seed: Of the random weights and of the order of the images.
        fresh: Start over and keep the old run aside.
    """

    init: str
    device: str
    image_size: tuple[int, int]
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    fresh: bool = False


@dataclass(frozen=True)
class Settings:
    """What decides how weights come out; a run is only continued with the same settings.

    Attributes:
        dataset: The dataset's name.
        data: The fingerprint of the training images, in their order.
        image_size: The network input (height, width).
        batch_size: Images a step.
        learning_rate: Adam's.
        seed: Of the random weights and of the order of the images.
    """

    dataset: str
    data: str
    image_size: tuple[int, int]
    batch_size: int
    learning_rate: float
    seed: int


def choose_device(device: str) -> str:
    """Make TensorFlow ready for a device, and say so where the machine lacks it.

    Args:
        device: "gpu", "cpu", "tpu" or "metal".

    Returns:
        A sentence about what the computation runs on.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return "Running on the CPU."
    if device in ("gpu", "metal") and gpus:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        return f"Running on {utils.count_of(len(gpus), 'GPU')}."
    if device == "tpu" and tf.config.list_physical_devices("TPU"):
        return "Running on the TPU."
    return f"No {device.upper() if device != 'metal' else 'Metal device'} here: running on the CPU."


class Trainer:
    """Trains a network through a `tf.distribute` strategy.

    The loop is our own because Keras 3's `fit` does not work under every strategy.

    Args:
        settings: What decides how weights come out.

    Attributes:
        model: The network, with random weights.
        optimizer: Adam.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.strategy = tf.distribute.get_strategy()
        keras.utils.set_random_seed(settings.seed)
        with self.strategy.scope():
            self.model = network.MSINET()
            self.optimizer = keras.optimizers.Adam(settings.learning_rate)
            self.optimizer.build(self.model.trainable_variables)
        shape = settings.image_size
        self._signature = (
            tf.TensorSpec((None, *shape, 3), tf.uint8),
            tf.TensorSpec((None, *shape, 1), tf.float32),
        )
        self._train_step = tf.function(self._train, input_signature=self._signature)
        self._valid_step = tf.function(self._validate, input_signature=self._signature)

    def _train(self, stimuli: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
        def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                loss = network.kld_loss(y, self.model(tf.cast(x, tf.float32), training=True))
            variables = self.model.trainable_variables
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            return loss

        return self.strategy.run(step, args=(stimuli, maps))

    def _validate(self, stimuli: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
        def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
            return network.kld_loss(y, self.model(tf.cast(x, tf.float32), training=False))

        return self.strategy.run(step, args=(stimuli, maps))

    def continue_from(self, checkpoint: network.Checkpoint) -> History:
        """Take over the optimizer and history of a checkpoint whose weights are loaded.

        Raises:
            UserError: It was trained with other settings, or holds no state to continue with.
        """
        metadata = checkpoint.metadata
        now = json_form(self.settings)
        then = metadata.get("settings", {})
        changed = [
            f"{key}: {then.get(key)} before, {now[key]} now"
            for key in now
            if then.get(key) != now[key]
        ]
        if changed:
            raise UserError(
                "The latest checkpoint belongs to another training:\n"
                f"{utils.bullet_list(changed)}\n"
                "Set these back to continue it, or pass --fresh to start over; the old run is kept "
                "aside."
            )
        variables = self.optimizer.variables
        found = [array.shape for array in checkpoint.optimizer]
        if found != [tuple(variable.shape) for variable in variables]:
            raise UserError(
                "The latest checkpoint holds no usable optimizer state. Pass --fresh to start "
                "over; the old run is kept aside."
            )
        for variable, array in zip(variables, checkpoint.optimizer, strict=True):
            variable.assign(array)
        return History(metadata["train_loss"], metadata["valid_loss"])

    def run_epoch(self, batches: Iterable, count: int, description: str, training: bool) -> float:
        """Run one pass over `batches` and return the mean loss over its `count` images.

        Raises:
            UserError: The loss is not finite.
        """
        step = self._train_step if training else self._valid_step
        total, seen = 0.0, 0
        with Progbar(count, description) as bar:
            for stimuli, maps in batches:
                size = int(stimuli.shape[0])
                loss = float(step(stimuli, maps))
                if not math.isfinite(loss):
                    raise UserError(
                        f"{description}: the loss became {loss} after {seen:,} images. The last "
                        "checkpoint is from before; try a lower --learning-rate."
                    )
                total += loss * size
                seen += size
                bar.update(size, loss=total / seen)
        return total / max(seen, 1)


def json_form(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON gives them back: tuples as lists."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(settings).items()
    }


def train(
    dataset: data.Dataset,
    paths: Mapping[str, Path],
    request: Request,
    after_epoch: Callable[[History], None],
) -> History:
    """Train on a dataset up to a total number of epochs, keeping a checkpoint of each.

    Args:
        dataset: The dataset, prepared.
        paths: "latest", "best", "history", "weights" and "results": the folders to use.
        request: What the user asked for.
        after_epoch: Called with the history after each epoch.

    Returns:
        The losses of all epochs.

    Raises:
        UserError: There is nothing to start from, or a checkpoint does not fit the request.
    """
    name, size = dataset.name, request.image_size
    if request.fresh:
        put_aside(paths, name, request.device)
    train_set, valid_set = dataset.load_data()
    digests = data.digests(train_set.stimuli)
    settings = Settings(
        name,
        data.fingerprint(digests),
        size,
        request.batch_size,
        request.learning_rate,
        request.seed,
    )
    trainer = Trainer(settings)
    start = trainer.model.restore(name, paths, request.device, request.init)
    say(f"Restored {start.origin}.")
    history = trainer.continue_from(start.checkpoint) if start.checkpoint else History()
    if len(history) >= request.epochs:
        say(
            f"Nothing left to do: {len(history)} of {request.epochs} epochs are finished. Pass a "
            "larger --epochs to go on, or --fresh to start over."
        )
        return history
    if len(history):
        say(f"Continuing after epoch {len(history)} of {request.epochs}.")
    counts = len(train_set.stimuli), len(valid_set.stimuli)
    say(f"Training on {utils.count_of(counts[0], 'image')}, {counts[1]:,} held out.")
    held_out = data.batches(valid_set, size, request.batch_size)
    for epoch in range(len(history), request.epochs):
        title = f"Epoch {epoch + 1}/{request.epochs}"
        order = data.epoch_order(counts[0], request.seed, epoch)
        batches = data.batches(train_set, size, request.batch_size, order)
        train_loss = trainer.run_epoch(batches, counts[0], title, training=True)
        valid_loss = trainer.run_epoch(held_out, counts[1], f"{title} held out", training=False)
        history.append(train_loss, valid_loss)
        _keep(trainer, history, start.init, paths, request.device, digests)
        after_epoch(history)
        say(
            f"{title}: training loss {train_loss:.4f}, held-out loss {valid_loss:.4f}"
            + (" (the best so far)." if history.is_best else ".")
        )
    return history


def _keep(
    trainer: Trainer,
    history: History,
    init: str,
    paths: Mapping[str, Path],
    device: str,
    digests: Sequence[bytes],
) -> None:
    """Write the checkpoints and the history of a finished epoch."""
    name = trainer.settings.dataset
    file_name = network.weights_name(name, device)
    metadata = {
        "init": init,
        "settings": json_form(trainer.settings),
        "train_loss": history.train,
        "valid_loss": history.valid,
    }
    if history.is_best:
        best = paths["best"] / file_name
        network.write_checkpoint(best, trainer.model, metadata, trained_on=digests)
        trainer.model.export_saved_model(name, paths["best"], device)
    history.save(paths["history"], f"{name}_{device}")
    # Last, so that an epoch counts as finished only when all that follows from it is there.
    latest = paths["latest"] / file_name
    network.write_checkpoint(latest, trainer.model, metadata, trainer.optimizer, digests)


def put_aside(paths: Mapping[str, Path], dataset: str, device: str) -> None:
    """Move a run's checkpoints and history to `<results>/aside/<time>/`, if there are any."""
    name = f"{dataset}_{device}"
    old = [
        file
        for folder in ("latest", "best", "history")
        for file in sorted(paths[folder].glob(f"*_{name}*"))
    ]
    if not old:
        return
    aside = paths["results"] / "aside" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for file in old:
        target = aside / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    say(f"Put the old run aside, in {aside}.")
