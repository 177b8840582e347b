"""The network MSI-Net, its loss, and the files its weights are kept in.

Source: Kroner, Senden, Driessens, Goebel, "Contextual encoder-decoder network for visual saliency
prediction", Neural Networks 129, 2020.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import config
import download
from utils import MissingFileError, UserError, atomic_folder, atomic_write, import_tensorflow

tf = import_tensorflow()
import keras  # noqa: E402
from keras import layers, ops  # noqa: E402

# The mean of ImageNet's pixels in the order of VGG16's training, BGR.
IMAGENET_MEAN = (103.939, 116.779, 123.68)


def kld_per_image(y_true: Any, y_pred: Any, eps: float = 1e-7) -> Any:
    """Return the Kullback-Leibler divergence of each image of a batch, float tensor [B].

    Args:
        y_true: Human saliency maps [B, H, W, 1], 0 and up, in any scale.
        y_pred: Predicted maps of the same shape, 0..1.
        eps: Keeps divisions and the logarithm finite.
    """
    axes = (1, 2, 3)
    y_true = y_true / (eps + ops.sum(y_true, axis=axes, keepdims=True))
    y_pred = y_pred / (eps + ops.sum(y_pred, axis=axes, keepdims=True))
    return ops.sum(y_true * ops.log(eps + y_true / (eps + y_pred)), axis=axes)


def kld_loss(y_true: Any, y_pred: Any, eps: float = 1e-7) -> Any:
    """Return the mean Kullback-Leibler divergence of a batch, the paper's loss.

    Both maps are divided by their sum first, so that they are distributions over the pixels.

    Args:
        y_true: Human saliency maps [B, H, W, 1], 0 and up, in any scale.
        y_pred: Predicted maps of the same shape, 0..1.
        eps: Keeps divisions and the logarithm finite.

    Returns:
        A scalar float tensor, 0 for equal maps.
    """
    return ops.mean(kld_per_image(y_true, y_pred, eps))


def _convolution(x: Any, filters: int, size: int, name: str, dilation: int = 1) -> Any:
    return layers.Conv2D(
        filters, size, padding="same", dilation_rate=dilation, activation="relu", name=name
    )(x)


def _encoder(x: Any) -> Any:
    """VGG16 without its dense layers, its last two blocks kept at 1/8 of the input."""
    for block, (filters, depth) in enumerate([(64, 2), (128, 2), (256, 3)], start=1):
        for index in range(1, depth + 1):
            x = _convolution(x, filters, 3, f"block{block}_conv{index}")
        x = layers.MaxPooling2D(2, strides=2, name=f"block{block}_pool")(x)
    pool3 = x
    for index in range(1, 4):
        x = _convolution(x, 512, 3, f"block4_conv{index}")
    pool4 = x = layers.MaxPooling2D(2, strides=1, padding="same", name="block4_pool")(x)
    # Dilation keeps the receptive field that the two strides left out would have given.
    for index in range(1, 4):
        x = _convolution(x, 512, 3, f"block5_conv{index}", dilation=2)
    pool5 = layers.MaxPooling2D(2, strides=1, padding="same", name="block5_pool")(x)
    return layers.Concatenate(name="encoder")([pool3, pool4, pool5])


def _aspp(x: Any) -> Any:
    """Atrous spatial pyramid pooling: the same place seen at four scales and as the whole image."""
    local = _convolution(x, 256, 1, "aspp_conv1_1")
    scales = [
        _convolution(x, 256, 3, f"aspp_conv1_{index}", dilation=dilation)
        for index, dilation in ((2, 4), (3, 8), (4, 12))
    ]
    mean = ops.mean(x, axis=(1, 2), keepdims=True)
    whole = _convolution(mean, 256, 1, "aspp_conv1_5") + ops.zeros_like(local)
    x = layers.Concatenate(name="aspp")([local, *scales, whole])
    return _convolution(x, 256, 1, "aspp_conv2")


@dataclass(frozen=True)
class Variant:
    """What a network computes beside its weights; weights only fit the variant they grew up in.

    Attributes:
        channels: The order that pixels enter the encoder in: "BGR", that of ImageNet's VGG16, or
            "RGB". The mean of ImageNet's BGR pixels is subtracted in this order as it stands.
        half_pixel_centers: Whether upsampling takes pixels at their centers, as TensorFlow 2
            does, or at their upper left corners, as TensorFlow 1 did.

    Raises:
        ValueError: There is no such variant.
    """

    channels: str = "BGR"
    half_pixel_centers: bool = True

    def __post_init__(self) -> None:
        if self.channels not in ("BGR", "RGB") or not isinstance(self.half_pixel_centers, bool):
            raise ValueError(f"unknown variant of MSI-Net: {self}")


ORDINARY = Variant()


class VariantLayer(layers.Layer):
    """A layer that computes what the network's variant asks for.

    Attributes:
        variant: The variant. Functions compiled by TensorFlow keep the one they were traced with.
        traced: Whether there are such functions.
    """

    def __init__(self, variant: Variant, name: str) -> None:
        super().__init__(name=name)
        self.variant = variant
        self.traced = False

    def call(self, x: Any) -> Any:
        """Return what `compute` makes of a tensor [B, H, W, C]."""
        self.traced = self.traced or tf.inside_function()
        return self.compute(x)


class Centering(VariantLayer):
    """RGB pixels, 0..255, to the encoder's order of channels and around ImageNet's mean."""

    def compute(self, x: Any) -> Any:
        """Return float tensor [B, H, W, 3] for the same shape."""
        ordered = ops.flip(x, axis=-1) if self.variant.channels == "BGR" else x
        return ordered - np.array(IMAGENET_MEAN, dtype="float32")

    def compute_output_shape(self, shape: tuple) -> tuple:
        """Return the shape as it is."""
        return shape


class Upsampling(VariantLayer):
    """Bilinear upsampling to twice the height and width; unlike Keras' layer, of any input size."""

    def compute(self, x: Any) -> Any:
        """Return float tensor [B, 2 H, 2 W, C] for [B, H, W, C]."""
        # The only operation that still offers the corners of TensorFlow 1.
        return tf.raw_ops.ResizeBilinear(
            images=x,
            size=2 * tf.shape(x)[1:3],
            half_pixel_centers=self.variant.half_pixel_centers,
        )

    def compute_output_shape(self, shape: tuple) -> tuple:
        """Return the doubled shape; unknown edges stay unknown."""
        batch, height, width, channels = shape
        return batch, height and 2 * height, width and 2 * width, channels


def _decoder(x: Any, variant: Variant) -> Any:
    for index, filters in enumerate((128, 64, 32), start=1):
        x = Upsampling(variant, f"decoder_upsampling{index}")(x)
        x = _convolution(x, filters, 3, f"decoder_conv{index}")
    return layers.Conv2D(1, 3, padding="same", name="decoder_conv4")(x)


def _normalized(x: Any) -> Any:
    """Bring each image's map to 0..1."""
    x = x - ops.min(x, axis=(1, 2, 3), keepdims=True)
    return x / (1e-7 + ops.max(x, axis=(1, 2, 3), keepdims=True))


class MSINET(keras.Model):
    """MSI-Net: an image in, a saliency map of the same size out; 24,934,209 parameters.

    Input: float32 or uint8 [B, H, W, 3], RGB, 0..255, H and W divisible by 8.
    Output: float32 [B, H, W, 1], 0..1 per image.

    The data layout is channels last on every device, so weights move freely between them.

    Args:
        variant: What to compute beside the weights; loading weights brings their own variant.
    """

    def __init__(self, variant: Variant = ORDINARY) -> None:
        inputs = keras.Input((None, None, 3), name="input")
        centered = Centering(variant, "centering")(inputs)
        outputs = _normalized(_decoder(_aspp(_encoder(centered)), variant))
        super().__init__(inputs=inputs, outputs=outputs, name="msinet")

    @property
    def variant(self) -> Variant:
        """What the network computes beside its weights."""
        return self.get_layer("centering").variant

    def convolutions(self) -> list[layers.Conv2D]:
        """Return the layers that hold weights, from input to output."""
        return [layer for layer in self.layers if isinstance(layer, layers.Conv2D)]

    def encoder_names(self) -> list[str]:
        """Return the names of VGG16's thirteen convolutions."""
        return [layer.name for layer in self.convolutions() if layer.name.startswith("block")]

    def assign(
        self,
        tensors: Mapping[str, Sequence[np.ndarray]],
        where: str,
        variant: Variant | None = None,
    ) -> None:
        """Set the weights of the layers named in `tensors`, all of them or none.

        Args:
            tensors: [kernel, bias] by layer name.
            where: What to call their origin in messages.
            variant: What to compute with them; by default the same as before.

        Raises:
            UserError: A name or shape does not fit this network, or the network was compiled as
                another variant; the model is as it was.
        """
        known = {layer.name: layer for layer in self.convolutions()}
        misfits = []
        for name, arrays in tensors.items():
            if name not in known:
                misfits.append(f"{name}: MSI-Net has no such layer")
                continue
            shapes = [tuple(array.shape) for array in arrays]
            wanted = [tuple(variable.shape) for variable in known[name].variables]
            if shapes != wanted:
                misfits.append(f"{name}: shapes {shapes} where MSI-Net has {wanted}")
            elif not all(np.isfinite(array).all() for array in arrays):
                misfits.append(f"{name}: values that are not finite")
        if misfits:
            listed = "\n".join(f"  {misfit}" for misfit in misfits)
            raise UserError(f"{where} does not hold weights of MSI-Net:\n{listed}")
        if variant is not None:
            self._take_on(variant, where)
        for name, arrays in tensors.items():
            for variable, array in zip(known[name].variables, arrays, strict=True):
                variable.assign(array)
                if not np.array_equal(variable.numpy(), np.asarray(array, dtype=np.float32)):
                    raise UserError(f"{where}: layer {name} did not take its weights.")

    def _take_on(self, variant: Variant, where: str) -> None:
        switched = [layer for layer in self.layers if isinstance(layer, VariantLayer)]
        if variant != self.variant and any(layer.traced for layer in switched):
            raise UserError(
                f"{where} holds weights of {variant}, but this network has already run compiled "
                f"as {self.variant}. Load them into a new MSINET()."
            )
        for layer in switched:
            layer.variant = variant

    def load(self, path: Path | str) -> "Checkpoint":
        """Load all weights from a file, and their variant, and return what else the file says.

        Raises:
            UserError: The file is missing, damaged, or of another network; the model is as it was.
        """
        checkpoint = read_checkpoint(path)
        missing = [
            layer.name for layer in self.convolutions() if layer.name not in checkpoint.tensors
        ]
        if missing:
            raise UserError(f"{path} does not hold MSI-Net; missing: {', '.join(missing)}.")
        self.assign(checkpoint.tensors, str(path), checkpoint.variant)
        return checkpoint

    def load_encoder(self, path: Path | str) -> None:
        """Load ImageNet VGG16 weights, as `keras.applications` publishes them, into the encoder.

        Raises:
            UserError: The file does not hold all thirteen convolutions; the model is as it was.
        """
        checkpoint = read_checkpoint(path)
        tensors = checkpoint.tensors
        stray = [
            name
            for name in tensors
            if name.startswith("block") and name not in self.encoder_names()
        ]
        if stray:
            raise UserError(f"{path}: MSI-Net has no layer called {', '.join(stray)}.")
        missing = [name for name in self.encoder_names() if name not in tensors]
        if missing:
            raise UserError(f"{path} does not hold VGG16's encoder; missing: {', '.join(missing)}.")
        variant = replace(self.variant, channels=checkpoint.variant.channels)
        self.assign({name: tensors[name] for name in self.encoder_names()}, str(path), variant)

    def restore(
        self, dataset: str, paths: Mapping[str, Path], device: str, init: str = "auto"
    ) -> "Start":
        """Load the weights that training starts from.

        Args:
            dataset: The dataset to train on.
            paths: "latest", "best" and "weights": the folders that files are looked for in.
            device: The device whose checkpoints come first; those of others count as well.
            init: "auto" (the dataset's latest checkpoint; else the best SALICON checkpoint; else,
                for SALICON itself, ImageNet), "salicon", "pretrained" (the authors' SALICON
                model), "imagenet", "random" or a weights file.
                A latest checkpoint that began with the same choice is continued.

        Returns:
            What was restored from where, and the state of training to continue with.

        Raises:
            FileNotFoundError: "auto" found nothing ("Train model on SALICON first"), or the file
                is missing.
            UserError: A file cannot be used.
        """
        latest = find_weights(paths["latest"], dataset, device)
        if latest is not None:
            checkpoint = self.load(latest)
            begun = checkpoint.metadata.get("init", "auto")
            if init not in ("auto", begun):
                raise UserError(
                    f"{latest} is a training that began with --init {begun}. Leave out --init to "
                    f"continue it, or pass --fresh to start over with --init {init}; "
                    "the old run is kept aside."
                )
            return Start(f"the latest checkpoint {latest}", begun, checkpoint)
        salicon = find_weights(paths["best"], "salicon", device)
        if init == "auto" and dataset == "salicon":
            return self._from_imagenet(paths["weights"], init)
        if init in ("auto", "salicon"):
            if salicon is None:
                raise MissingFileError(
                    "Train model on SALICON first: there is no SALICON checkpoint in "
                    f"{paths['best']}.\nOr start from something else: --init pretrained (the "
                    "SALICON model of the paper's authors), --init imagenet (the VGG16 encoder), "
                    "--init random, or --init FILE.weights.h5."
                )
            self.load(salicon)
            return Start(f"the SALICON checkpoint {salicon}", init)
        if init == "pretrained":
            path = download.download_pretrained_weights(paths["weights"], "salicon")
            self.load(path)
            return Start(f"the SALICON model of the paper's authors {path}", init)
        if init == "imagenet":
            return self._from_imagenet(paths["weights"], init)
        if init == "random":
            return Start("nothing: random weights", init)
        if not Path(init).is_file():
            raise MissingFileError(
                f"--init {init}: no such file. Choose auto, salicon, pretrained, imagenet, random, "
                "or an existing .weights.h5 file."
            )
        self.load(init)
        return Start(f"the weights file {init}", init)

    def _from_imagenet(self, weights_path: Path, init: str) -> "Start":
        path = download.vgg16_weights(weights_path)
        self.load_encoder(path)
        return Start(f"the ImageNet VGG16 encoder {path}; the rest is random", init)

    def export_saved_model(self, dataset: str, path: Path | str, device: str) -> Path:
        """Write the model as a SavedModel for TensorFlow Serving.

        Signature `serving_default`: `input` [None, None, None, 3] float32 RGB 0..255 to `output`
        [None, H, W, 1] float32 0..1. Images of any size are taken; what their size lacks to a
        multiple of 8 is padded inside and cut off again.

        Args:
            dataset: The dataset the model was trained on.
            path: The folder to write `model_<dataset>_<device>/` into.
            device: The device it was trained on.

        Returns:
            The SavedModel's folder, which is either whole or as it was before.
        """

        def serve(images: Any) -> dict[str, Any]:
            size = tf.shape(images)[1:3]
            extra = -size % 8
            fill = config.PADDING["stimulus"]
            padding = [[0, 0], [0, extra[0]], [0, extra[1]], [0, 0]]
            maps = self(tf.pad(images, padding, constant_values=fill))
            return {"output": maps[:, : size[0], : size[1]]}

        spec = tf.TensorSpec((None, None, None, 3), tf.float32, name="input")
        module = tf.Module()
        module.model = self
        module.serve = tf.function(serve, input_signature=[spec])
        folder = Path(path) / f"model_{dataset}_{device}"
        with atomic_folder(folder) as temporary:
            tf.saved_model.save(module, str(temporary), {"serving_default": module.serve})
        return folder


@dataclass(frozen=True)
class Checkpoint:
    """The content of a weights file.

    Attributes:
        tensors: [kernel, bias] by layer name.
        metadata: What was stored with the weights: dataset, epoch, losses, settings.
        optimizer: The optimizer's variables, in its order; empty in files for prediction.
        trained_on: Digests of the images the weights were trained on.
        variant: What to compute beside the weights; the ordinary one where the file states none.
    """

    tensors: dict[str, list[np.ndarray]]
    metadata: dict[str, Any] = field(default_factory=dict)
    optimizer: list[np.ndarray] = field(default_factory=list)
    trained_on: frozenset[bytes] = frozenset()
    variant: Variant = ORDINARY


@dataclass(frozen=True)
class Start:
    """Where training starts: a sentence for the user, the --init choice, a state to continue."""

    origin: str
    init: str
    checkpoint: Checkpoint | None = None


_EXTRA = "saliency"


def _arrays(group: h5py.Group) -> list[np.ndarray]:
    """Return a group's datasets; numbered ones in order, VGG16's (W, b) by name."""
    names = [name for name in group if isinstance(group[name], h5py.Dataset)]
    names.sort(key=lambda name: (len(name), name) if name.isdigit() else (0, name))
    return [group[name][()] for name in names]


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a weights file: Keras 3's `.weights.h5`, or the older layout of `keras.applications`.

    Only arrays and text are read; nothing in the file is executed.

    Args:
        path: An HDF5 file.

    Returns:
        Its arrays by layer name, and what else was stored by `write_checkpoint`.

    Raises:
        MissingFileError: There is no such file.
        UserError: It is not HDF5, damaged, holds no layers, or states an unknown variant.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such weights file.")
    try:
        with h5py.File(path, "r") as file:
            tensors = {}
            groups = file["layers"].values() if "layers" in file else file.values()
            for group in groups:
                inner = group.get("vars", group)
                name = inner.attrs.get("name", group.name.rpartition("/")[2])
                if arrays := _arrays(inner):
                    tensors[str(name)] = arrays
            extra = file.get(_EXTRA, {})
            metadata = json.loads(extra.attrs["metadata"]) if extra else {}
            variant = Variant(**metadata.get("variant", {}))
            optimizer = _arrays(extra["optimizer"]) if "optimizer" in extra else []
            trained_on = extra["trained_on"][()] if "trained_on" in extra else ()
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path}: not a readable weights file ({error}).") from error
    if not tensors:
        raise UserError(f"{path}: the file holds no layers.")
    digests = frozenset(bytes(digest) for digest in trained_on)
    return Checkpoint(tensors, metadata, optimizer, digests, variant)


def write_checkpoint(
    path: Path | str,
    model: MSINET,
    metadata: Mapping[str, Any],
    optimizer: keras.optimizers.Optimizer | None = None,
    trained_on: Sequence[bytes] = (),
) -> None:
    """Write weights as `.weights.h5` that Keras' `load_weights` reads too, with more beside them.

    The model's variant is among the latter: `MSINET.load` takes it on, `load_weights` does not.

    Args:
        path: The file, replaced only when the new one is whole.
        model: The network.
        metadata: Anything JSON holds.
        optimizer: Stored where training is to be continued.
        trained_on: Digests of the training images, of one length.
    """
    metadata = {
        **metadata,
        "variant": asdict(model.variant),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with atomic_write(path) as temporary:
        model.save_weights(temporary)
        with h5py.File(temporary, "a") as file:
            group = file.create_group(_EXTRA)
            group.attrs["metadata"] = json.dumps(metadata)
            if trained_on:
                group["trained_on"] = np.array([np.frombuffer(d, np.uint8) for d in trained_on])
            if optimizer is not None:
                for index, variable in enumerate(optimizer.variables):
                    group[f"optimizer/{index}"] = variable.numpy()


def weights_name(dataset: str, device: str) -> str:
    """Return the name of a weights file."""
    return f"model_{dataset}_{device}.weights.h5"


def find_weights(folder: Path | str, dataset: str, device: str) -> Path | None:
    """Return a dataset's weights file in a folder, that of `device` first, else of any device."""
    found = {path.name: path for path in sorted(Path(folder).glob(weights_name(dataset, "*")))}
    # A device has no underscore; a dataset of the user's own may, and be another one's beginning.
    start, end = f"model_{dataset}_", ".weights.h5"
    found = {
        name: path
        for name, path in found.items()
        if "_" not in name.removeprefix(start).removesuffix(end)
    }
    return found.get(weights_name(dataset, device)) or next(iter(found.values()), None)
