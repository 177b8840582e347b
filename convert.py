"""The MSI-Net models that the paper's authors published, made into weights files of this network.

They exist as frozen TensorFlow 1 graphs, one per dataset and device. Nothing of a graph is run: its
constants are read, and their names, or else the graph's structure, tell which layer they belong to.
"""

import hashlib
import math
import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

import config
from archive import is_clutter
from model import IMAGENET_MEAN, MSINET, Variant, tf, write_checkpoint
from utils import MissingFileError, UserError, bullet_list

# What the published graphs compute beside their weights.
PUBLISHED = Variant(channels="RGB", half_pixel_centers=False)

_INPUT = "<input>"
_ENCODER_OUTPUT = ("block3_conv3", "block4_conv3", "block5_conv3")
_SCALES = tuple(f"aspp_conv1_{index}" for index in range(1, 6))

# Operations that may lie between two convolutions; their first input is the image's way.
_PASSING = frozenset(
    {
        "BatchToSpaceND",
        "BiasAdd",
        "Identity",
        "MaxPool",
        "Mean",
        "Relu",
        "ResizeBilinear",
        "SpaceToBatchND",
        "Sub",
        "Transpose",
    }
)


@dataclass(frozen=True)
class _Role:
    """What tells a convolution of MSI-Net from all others.

    Attributes:
        kernel: The kernel's shape (height, width, input channels, output channels).
        sources: The convolutions whose values it takes, in the order of concatenation.
        dilation: The distance of its taps, in places.
        averaged: Whether it sees the mean over all places.
    """

    kernel: tuple[int, ...]
    sources: tuple[str, ...]
    dilation: int
    averaged: bool


def _roles(network: MSINET) -> dict[str, _Role]:
    """Return each layer's role, sources before those who take from them."""
    roles, previous = {}, _INPUT
    for layer in network.convolutions():
        sources = (previous,)
        if layer.name in _SCALES:
            sources = _ENCODER_OUTPUT
        elif layer.name == "aspp_conv2":
            sources = _SCALES
        roles[layer.name] = _Role(
            tuple(layer.kernel.shape),
            sources,
            max(layer.dilation_rate),
            averaged=layer.name == "aspp_conv1_5",
        )
        previous = layer.name
    return roles


def _published_name(layer: str) -> str:
    """Return the published graphs' name for a layer: `conv1/conv1_2` for `block1_conv2`."""
    if match := re.fullmatch(r"block(\d)_conv(\d)", layer):
        return "conv{0}/conv{0}_{1}".format(*match.groups())
    return layer.replace("_", "/", 1)


def _shape(constant: Any) -> tuple[int, ...]:
    return tuple(dim.size for dim in constant.attr["value"].tensor.tensor_shape.dim)


class _Graph:
    """A frozen graph, asked for its constants and for the way from one convolution to the next."""

    def __init__(self, definition: Any) -> None:
        self.nodes = {node.name: node for node in definition.node}

    def of(self, *operations: str) -> list[Any]:
        """Return the nodes of these operations, in the file's order."""
        return [node for node in self.nodes.values() if node.op in operations]

    def inputs(self, node: Any) -> list[str]:
        """Return the names of the nodes whose values a node takes."""
        return [name.partition(":")[0] for name in node.input if not name.startswith("^")]

    def back(self, name: str, through: frozenset[str]) -> Any:
        """Go from a node to its first input while it is one of the operations `through`."""
        node = self.nodes.get(name)
        # A damaged graph may run in a ring.
        for _ in self.nodes:
            if node is None or node.op not in through or not self.inputs(node):
                break
            node = self.nodes.get(self.inputs(node)[0])
        return node

    def constant(self, name: str) -> Any:
        """Return the constant that a name stands for, or None."""
        node = self.back(name, frozenset({"Identity", "Reshape"}))
        return node if node is not None and node.op == "Const" else None

    def numbers(self, name: str) -> list[float]:
        """Return the values of a constant of up to four numbers; none for anything else."""
        constant = self.constant(name)
        if constant is None or not 0 < math.prod(_shape(constant)) <= 4:
            return []
        return tf.make_ndarray(constant.attr["value"].tensor).ravel().tolist()

    def image_inputs(self, node: Any) -> list[str]:
        """Return the inputs that carry what becomes of the image, not sizes or weights."""
        inputs = self.inputs(node)
        if node.op == "ConcatV2":
            return inputs[:-1]
        if node.op in ("Add", "AddV2"):
            return [name for name in inputs if self.constant(name) is None]
        return inputs[:1] if node.op in _PASSING or node.op == "Conv2D" else []

    def upstream(self, convolution: Any) -> tuple[list[Any], list[Any]]:
        """Return the convolutions, or other beginnings, before a convolution; and what is between.

        Both in the order of concatenation.
        """
        ends, between, seen = [], [], set()
        waiting = self.image_inputs(convolution)
        while waiting:
            name = waiting.pop(0)
            node = self.nodes.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            before = self.image_inputs(node)
            if node.op == "Conv2D" or not before:
                ends.append(node)
            else:
                between.append(node)
                waiting = before + waiting
        return ends, between

    def kernel(self, convolution: Any) -> Any:
        """Return the constant that is a convolution's kernel, or None."""
        inputs = self.inputs(convolution)
        return self.constant(inputs[1]) if len(inputs) == 2 else None

    def role(self, convolution: Any) -> _Role | None:
        """Return a convolution's role, its sources by their nodes' names; None where unclear."""
        kernel = self.kernel(convolution)
        ends, between = self.upstream(convolution)
        known = all(end.op == "Conv2D" or end.op.startswith("Placeholder") for end in ends)
        # A dilated convolution is either one by itself or an ordinary one on a folded image.
        taps = {1, *convolution.attr["dilations"].list.i}
        for node in between:
            if node.op == "SpaceToBatchND":
                folds = self.numbers(self.inputs(node)[1]) if len(self.inputs(node)) > 1 else []
                known = known and bool(folds)
                taps.update(folds)
        if kernel is None or not known:
            return None
        return _Role(
            _shape(kernel),
            tuple(end.name if end.op == "Conv2D" else _INPUT for end in ends),
            max(taps),
            any(node.op == "Mean" for node in between),
        )

    def biases(self) -> dict[str, list[Any]]:
        """Return the constants that are added to each convolution, by its name."""
        biases: dict[str, list[Any]] = {}
        for node in self.of("BiasAdd", "Add", "AddV2"):
            for name in self.image_inputs(node):
                source = self.back(name, frozenset({"Identity", "BatchToSpaceND"}))
                if source is not None and source.op == "Conv2D":
                    added = [self.constant(other) for other in self.inputs(node) if other != name]
                    biases.setdefault(source.name, []).extend(filter(None, added))
        return biases


def _named(graph: _Graph, name: str) -> list[Any]:
    """Return the constants of a name, also where importing, reading or folding has extended it."""
    pattern = re.compile(rf"(?:.+/)?{re.escape(name)}(?:/read|/ReadVariableOp)?(?:__cf__\d+)?")
    return [node for node in graph.of("Const") if pattern.fullmatch(node.name)]


def _fits(constant: Any, shape: tuple[int, ...]) -> bool:
    """Whether a constant is float32 of a shape; biases may be kept as [1, 1, 1, C]."""
    if constant.attr["value"].tensor.dtype != tf.float32.as_datatype_enum:
        return False
    return [edge for edge in _shape(constant) if edge != 1] == [edge for edge in shape if edge != 1]


def _arrays(constants: Iterable[Any], shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the different arrays of a shape among constants."""
    arrays: list[np.ndarray] = []
    for constant in {node.name: node for node in constants}.values():
        # The shape comes first, before a false one can fill memory.
        if _fits(constant, shape):
            array = tf.make_ndarray(constant.attr["value"].tensor).reshape(shape)
            if not any(np.array_equal(array, other) for other in arrays):
                arrays.append(array)
    return arrays


def _owners(graph: _Graph, layers: Iterable[str]) -> dict[str, str]:
    """Return the layer of each constant that a published name tells."""
    return {
        node.name: layer
        for layer in layers
        for kind in ("kernel", "bias")
        for node in _named(graph, f"{_published_name(layer)}/{kind}")
    }


def _players(
    graph: _Graph, roles: dict[str, _Role], owners: dict[str, str]
) -> tuple[dict[str, list[str]], set[str]]:
    """Find the convolutions of a graph that are MSI-Net's.

    Returns:
        For each layer, the convolutions that have its name, or its role and no name; and the
        layers whose name stands in another place than their role.
    """
    played = {node.name: graph.role(node) for node in graph.of("Conv2D")}
    owned = {
        name: owners.get(kernel.name) if (kernel := graph.kernel(graph.nodes[name])) else None
        for name in played
    }
    players, misplaced = {_INPUT: [_INPUT]}, set()
    for layer, role in roles.items():
        named = [name for name in played if owned[name] == layer]
        sources = [players[source] for source in role.sources]
        fitting = []
        if all(len(names) == 1 for names in sources):
            wanted = replace(role, sources=tuple(names[0] for names in sources))
            fitting = [name for name in played if played[name] == wanted and not owned[name]]
            if any(played[name] not in (None, wanted) for name in named):
                misplaced.add(layer)
        players[layer] = named + fitting
    return players, misplaced


def _doubts(kind: str, shape: tuple[int, ...], candidates: int, strangers: int) -> list[str]:
    """Return what keeps a tensor from being taken."""
    doubts = []
    if candidates == 0:
        doubts.append(f"no {kind} of shape {shape}")
    if candidates > 1:
        doubts.append(f"{candidates} different constants for its {kind}")
    if strangers:
        doubts.append(f"another layer's {kind} in its place")
    return doubts


def _tensors(graph: _Graph, network: MSINET, where: str) -> dict[str, list[np.ndarray]]:
    """Return [kernel, bias] by layer name.

    Name and place are both heard, and a tensor is taken where they agree and all they point to is
    one array.
    """
    roles = _roles(network)
    owners = _owners(graph, roles)
    players, misplaced = _players(graph, roles, owners)
    biases = graph.biases()
    tensors: dict[str, list[np.ndarray]] = {layer: [] for layer in roles}
    problems = []
    for layer, role in roles.items():
        troubles = ["its name stands in another place"] if layer in misplaced else []
        placed = {
            "kernel": [graph.kernel(graph.nodes[name]) for name in players[layer]],
            "bias": [node for name in players[layer] for node in biases.get(name, [])],
        }
        for kind, shape in (("kernel", role.kernel), ("bias", role.kernel[-1:])):
            own = [node for node in placed[kind] if owners.get(node.name, layer) == layer]
            named = _named(graph, f"{_published_name(layer)}/{kind}")
            arrays = _arrays(named + own, shape)
            tensors[layer] += arrays
            troubles += _doubts(kind, shape, len(arrays), strangers=len(placed[kind]) - len(own))
        if troubles:
            problems.append(f"{layer} ({_published_name(layer)}): {', '.join(troubles)}")
    if problems:
        raise UserError(
            f"{where} does not hold MSI-Net as its authors published it; these layers are missing "
            f"or cannot be told for certain:\n{bullet_list(problems)}\nGet the file again from "
            "where its authors offer it."
        )
    return tensors


def _differences(graph: _Graph) -> list[str]:
    """Return what a graph shows to compute otherwise than the published ones."""
    found = []
    for node in graph.of("ResizeBilinear"):
        if node.attr["align_corners"].b or node.attr["half_pixel_centers"].b:
            found.append(f"{node.name} upsamples with other corners")
    for node in graph.of("Reverse", "ReverseV2"):
        found.append(f"{node.name} reverses the order of channels or pixels")
    for node in graph.of("Sub"):
        mean = graph.numbers(node.input[1]) if len(node.input) > 1 else []
        if len(mean) == 3 and not np.allclose(mean, IMAGENET_MEAN):
            found.append(f"{node.name} subtracts {mean} from the image")
    return found


def _converted(content: bytes, network: MSINET, where: str) -> dict[str, list[np.ndarray]]:
    try:
        graph = _Graph(tf.compat.v1.GraphDef.FromString(content))
        if not graph.nodes:
            raise UserError(f"{where} is not a frozen TensorFlow graph: it holds no operations.")
        if differences := _differences(graph):
            raise UserError(
                f"{where} does not compute what the published MSI-Net models compute:\n"
                f"{bullet_list(differences)}\nIts weights would predict something else here."
            )
        return _tensors(graph, network, where)
    except (DecodeError, ValueError, TypeError) as error:
        raise UserError(
            f"{where} is not a frozen TensorFlow graph, or is damaged ({error}). Get the file "
            "again from where its authors offer it."
        ) from error


def _read_file(path: Path) -> bytes:
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file.")
    _refuse_large(path.stat().st_size, str(path))
    return path.read_bytes()


def _refuse_large(size: int, where: str) -> None:
    limit = config.LIMITS["member_bytes"]
    if size > limit:
        raise UserError(
            f"{where} has {size:,} bytes; no published model has more than {limit:,}, so this is "
            "another file."
        )


def _is_zip(path: Path) -> bool:
    if not path.is_file():
        return False
    # By its start, so that a zip file cut short is reported as one.
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _read_member(path: Path, dataset: str, device: str) -> tuple[str, bytes]:
    """Return the name and content of the model of a dataset in a zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = _choose(archive.infolist(), dataset, device, str(path))
            _refuse_large(member.file_size, f"{path}: {member.filename}")
            return _base_name(member), archive.read(member)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise UserError(
            f"{path}: the archive cannot be read ({error}). Get the file again from where its "
            "authors offer it."
        ) from error


def _base_name(member: zipfile.ZipInfo) -> str:
    """Return a member's name without its folders; old Windows tools write backslashes."""
    return re.split(r"[/\\]", member.filename)[-1]


def _choose(
    members: list[zipfile.ZipInfo], dataset: str, device: str, where: str
) -> zipfile.ZipInfo:
    """Return the member that holds the model of a dataset, that of `device` if there is one."""
    for wanted in dict.fromkeys((device, "gpu", "cpu")):
        name = f"model_{dataset}_{wanted}.pb"
        found = [member for member in members if _base_name(member) == name]
        if len(found) > 1:
            listed = bullet_list(member.filename for member in found)
            raise UserError(f"{where} holds {name} more than once; convert one of them:\n{listed}")
        if found:
            return found[0]
    graphs = [member.filename for member in members if member.filename.endswith(".pb")]
    graphs = [name for name in graphs if not is_clutter(PurePosixPath(name))]
    raise UserError(
        f"{where} holds no model_{dataset}_{device}.pb, nor that of another device. "
        + (f"It holds:\n{bullet_list(graphs)}" if graphs else "It holds no .pb file at all.")
    )


def convert_frozen_graph(path: Path | str) -> dict[str, list[np.ndarray]]:
    """Read the weights of a published model; the graph is not run.

    The weights belong to the variant `PUBLISHED`.

    Args:
        path: A frozen TensorFlow 1 graph, `model_<dataset>_<device>.pb`, in either data layout.

    Returns:
        [kernel, bias] by the layer names of `MSINET`: float32 [height, width, input channels,
        output channels] and [output channels].

    Raises:
        MissingFileError: There is no such file.
        UserError: It is no frozen graph, damaged, computes something else, or has layers that
            cannot be told for certain; the message lists them.
    """
    return _converted(_read_file(Path(path)), MSINET(PUBLISHED), str(path))


def convert(
    source: Path | str,
    target: Path | str,
    dataset: str,
    device: str = config.PARAMS["device"],
) -> None:
    """Make a weights file of this network from a published model.

    Args:
        source: The published zip file, or the `.pb` file that was in it.
        target: The weights file to write, `*.weights.h5`; replaced only by a whole one.
        dataset: The dataset that the model was trained on.
        device: The model to take where the zip file holds several. The other one is taken where
            it holds none of this device, since weights run anywhere.

    Raises:
        MissingFileError: There is no such file.
        UserError: The file holds no such model, or `convert_frozen_graph` refuses it; nothing is
            written.
    """
    source = Path(source)
    where, name = str(source), source.name
    if _is_zip(source):
        name, content = _read_member(source, dataset, device)
        where = f"{source}: {name}"
    else:
        content = _read_file(source)
    network = MSINET(PUBLISHED)
    network.assign(_converted(content, network, where), where)
    metadata = {
        "dataset": dataset,
        "origin": f"published by the authors of MSI-Net as {name}",
        "origin_sha256": hashlib.sha256(content).hexdigest(),
    }
    write_checkpoint(target, network, metadata)
