"""What the tests share: real pairs, archives of any make, and a home for the command line."""

import contextlib
import io
import os
import shutil
import socket
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Before anything imports TensorFlow; tests run on the CPU of any machine.
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import h5py
import hypothesis
import numpy as np
import pytest
from PIL import Image

import config
import main

FIXTURES = Path(__file__).parent / "fixtures"
STEMS = sorted(path.stem for path in (FIXTURES / "stimuli").iterdir())
DATASET = "fixationadd1000"
VGG16 = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"

# Kernels (height, width, input channels, output channels) of VGG16's convolutions.
ENCODER = {
    "block1_conv1": (3, 3, 3, 64),
    "block1_conv2": (3, 3, 64, 64),
    "block2_conv1": (3, 3, 64, 128),
    "block2_conv2": (3, 3, 128, 128),
    "block3_conv1": (3, 3, 128, 256),
    "block3_conv2": (3, 3, 256, 256),
    "block3_conv3": (3, 3, 256, 256),
    "block4_conv1": (3, 3, 256, 512),
    "block4_conv2": (3, 3, 512, 512),
    "block4_conv3": (3, 3, 512, 512),
    "block5_conv1": (3, 3, 512, 512),
    "block5_conv2": (3, 3, 512, 512),
    "block5_conv3": (3, 3, 512, 512),
}
# Those of the network that `make_thin` makes.
THIN_ENCODER = {
    name: (*shape[:2], shape[2] if shape[2] == 3 else shape[2] // 16, shape[3] // 16)
    for name, shape in ENCODER.items()
}

hypothesis.settings.register_profile("repository", deadline=None, max_examples=60)
hypothesis.settings.load_profile("repository")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Make every connection fail, so that no test comes to need the network unnoticed."""

    def refuse(self, address):
        raise OSError(f"a test tried to connect to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def pairs() -> dict[str, bytes]:
    """Return the real pairs as archive members: `stimuli/94.jpg`, `fixation/94.png` and so on."""
    return {
        f"{folder}/{path.name}": path.read_bytes()
        for folder in ("stimuli", "fixation")
        for path in sorted((FIXTURES / folder).iterdir())
    }


def encoded(array: np.ndarray, mode: str | None = None, format: str = "PNG", **options) -> bytes:
    """Return an array as the bytes of an image file, converted to `mode` first."""
    image = Image.fromarray(array)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, format=format, **options)
    return buffer.getvalue()


def decoded(source: Path | bytes) -> np.ndarray:
    """Return the pixels of an image file as Pillow gives them."""
    return np.asarray(Image.open(io.BytesIO(source) if isinstance(source, bytes) else source))


def real_points(stem: str, folder: str = "fixation") -> np.ndarray:
    """Return the fixated pixels of a fixture, bool [height, width]."""
    return decoded(FIXTURES / folder / f"{stem}.png") > 0


def write_archive(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """Write an archive of the format that `path` ends in; a TarInfo is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder with their content, hidden ones too, and empty folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


@dataclass(frozen=True)
class Outcome:
    """What a command gave back and wrote to the terminal."""

    status: int
    out: str
    err: str


class Home:
    """A folder in the repository's place, a working directory, and the command line in them.

    Args:
        folder: An empty folder for both.
        size: The network input (height, width) that commands use.
        thin: Use a network of a sixteenth of the filters, which trains at once.
    """

    def __init__(self, folder: Path, size: tuple[int, int] = (64, 64), thin: bool = True) -> None:
        self.root = folder / "repository"
        self.work = folder / "work"
        self.size, self.thin = size, thin
        for place in (self.root, self.work):
            place.mkdir(parents=True, exist_ok=True)

    @property
    def data(self) -> Path:
        """The folder of all datasets."""
        return self.root / "data"

    @property
    def dataset(self) -> Path:
        """The prepared dataset's folder."""
        return self.data / DATASET

    @property
    def results(self) -> Path:
        """The folder of checkpoints, history and predicted maps."""
        return self.root / "results"

    @property
    def maps(self) -> Path:
        """The folder of predicted maps."""
        return self.results / "images" / DATASET

    def run(self, *arguments: object) -> Outcome:
        """Run `main.py` with these arguments."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.chdir(self.work)
            patch.setattr(main, "ROOT", self.root)
            patch.setitem(config.DIMS, f"image_size_{DATASET}", self.size)
            if self.thin and arguments[0] in ("train", "test", "demo"):
                make_thin(patch)
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            status = main.main([str(argument) for argument in arguments])
        return Outcome(status, out.getvalue(), err.getvalue())

    def archive(self, members: Mapping[str, bytes], name: str = "fixation_add1000.tar.gz") -> Path:
        """Write an archive where it is looked for first."""
        return write_archive(self.data / name, members)


def make_thin(patch: pytest.MonkeyPatch) -> None:
    """Give every convolution of MSI-Net but the last a sixteenth of its filters."""
    import model

    convolution = model._convolution
    if getattr(convolution, "thin", False):
        return

    def thin_convolution(x, filters, *rest, **options):
        return convolution(x, filters // 16, *rest, **options)

    thin_convolution.thin = True
    patch.setattr(model, "_convolution", thin_convolution)


def write_vgg16(path: Path, shapes: Mapping[str, tuple], dense: bool = False) -> dict[str, list]:
    """Write a file in the layout in which Keras publishes VGG16, with random weights."""
    random = np.random.default_rng(1)
    arrays = {
        name: [
            random.standard_normal(shape, dtype=np.float32) * np.float32(0.01),
            random.standard_normal(shape[-1:], dtype=np.float32),
        ]
        for name, shape in shapes.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        names = [*arrays, *(f"block{block}_pool" for block in range(1, 6)), "input_1"]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group = file.create_group(name)
            stored = [f"{name}_W_1:0", f"{name}_b_1:0"] if name in arrays else []
            group.attrs["weight_names"] = [weight.encode() for weight in stored]
            for weight, array in zip(stored, arrays.get(name, ()), strict=False):
                group[weight] = array
        if dense:
            group = file.create_group("fc1")
            group["fc1_W_1:0"], group["fc1_b_1:0"] = np.zeros((4, 4)), np.zeros(4)
    return arrays


@pytest.fixture
def home(tmp_path) -> Home:
    """Return a fresh home for the command line, with a small network."""
    return Home(tmp_path)


@pytest.fixture
def thin(monkeypatch) -> None:
    """Make MSI-Net small for one test."""
    make_thin(monkeypatch)


@pytest.fixture(scope="session")
def thousand(tmp_path_factory):
    """Return a home with a thousand tiny pairs, and what preparing them gave; only to be read."""
    folder = tmp_path_factory.mktemp("thousand")
    home = Home(folder)
    point = np.zeros((8, 8), bool)
    point[2, 3] = True
    stimulus, fixation = encoded(np.zeros((8, 8, 3), np.uint8)), encoded(point)
    members = {f"stimuli/{number}.png": stimulus for number in range(1, 1001)}
    members |= {f"fixation/{number}.png": fixation for number in range(1, 1001)}
    home.archive(members)
    yield home, home.run("prepare", "-d", DATASET)
    shutil.rmtree(folder)
