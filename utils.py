"""What every module needs: errors for users, whole files, a quiet TensorFlow, progress, history."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Self


class UserError(Exception):
    """A failure its user can mend: the message says what is wrong, where, and what to do."""


class MissingFileError(UserError, FileNotFoundError):
    """A file that has to be there is not; also a FileNotFoundError for those who catch that."""

    # OSError would print the arguments of a two-argument call as an errno.
    __str__ = Exception.__str__


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Write a file so that it is either whole or not there.

    The block writes to the temporary path it is given, in the same folder; when it ends without
    an exception the file is flushed to disk and renamed over `path`, else it is removed.

    Args:
        path: Where the finished file belongs; missing folders are made.

    Yields:
        The temporary path, with the suffix of `path` so that libraries choose the same format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keras insists on names that end in .weights.h5, so the marker goes in front.
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Make a folder so that it is either whole or as it was before.

    Args:
        path: Where the finished folder belongs; one that is there already is replaced.

    Yields:
        A temporary folder beside `path` to fill.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    replaced = path.with_name(f".{os.getpid()}-{path.name}.old")
    # In a container a killed run often had the id of this process.
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        # No system call swaps two folders everywhere, so the old one steps aside first.
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text through `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON through `atomic_write`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def digest(path: Path | str, algorithm: str) -> str:
    """Return a file's digest ("md5", "sha256") in hexadecimal digits."""
    with Path(path).open("rb") as file:
        # A sum recognises files here; systems that forbid MD5 forbid it for secrets only.
        new = hashlib.new(algorithm, usedforsecurity=False)
        return hashlib.file_digest(file, lambda: new).hexdigest()


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    return digest(path, "sha256")


def count_of(number: int, noun: str) -> str:
    """Return a count with its noun, as in "1 image" and "1,000 images"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def bullet_list(lines: Iterable[str]) -> str:
    """Return `lines` one below the other, indented, for the body of a message."""
    return "\n".join(f"  {line}" for line in lines)


def cores() -> int:
    """Return the number of processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_runs(pid: int) -> bool:
    """Whether a process of this id exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def say(message: str) -> None:
    """Print one message for the user, at once even where the output is a pipe."""
    print(message, flush=True)


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Hold back what C++ code writes to file descriptor 2, and show it only after a failure."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)


def import_tensorflow() -> ModuleType:
    """Import TensorFlow without its start-up messages and return the module.

    TensorFlow 2.21 and oneDNN write to the terminal before any log level is read, hence the
    detour over the file descriptor. An import that fails still shows all that was written.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _stderr_held_back():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()
    return tf


class Progbar:
    """A progress bar: how much is done, the rate, the time left, and values the caller adds.

    Where the output is no terminal (a log file, a cloud job) a line is printed every minute.

    Args:
        total: How many units there are in all, if that is known.
        description: What is being done, in a word or two.
        unit: The noun of one unit; bytes are shown as kB, MB and GB.
        done: Units that were finished before this bar began.
    """

    SECONDS_BETWEEN_LINES = 60

    def __init__(
        self, total: int | None, description: str, unit: str = "image", done: int = 0
    ) -> None:
        from tqdm import tqdm

        self._lines = not sys.stderr.isatty()
        self._printed = time.monotonic()
        self._bar = tqdm(
            total=total,
            desc=description,
            unit="B" if unit == "byte" else f" {unit}s",
            unit_scale=unit == "byte",
            initial=done,
            dynamic_ncols=True,
            file=io.StringIO() if self._lines else sys.stderr,
            leave=False,
        )

    def update(self, n: int = 1, **values: float) -> None:
        """Advance by `n` units and show `values` beside the bar."""
        if values:
            text = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
            self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(n)
        if self._lines and time.monotonic() - self._printed >= self.SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            say(self._bar.format_meter(**{**self._bar.format_dict, "ncols": 0}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()


def in_parallel(
    function: Callable, items: Sequence, description: str, unit: str = "pair"
) -> Iterator:
    """Yield `function(item)` for every item in order, on all cores, with a progress bar."""
    with ThreadPoolExecutor(cores()) as pool, Progbar(len(items), description, unit) as bar:
        try:
            for result in pool.map(function, items):
                bar.update()
                yield result
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class History:
    """The mean training and held-out loss of every finished epoch.

    Kept as two text files with one number a line, `train_<dataset>_<device>.txt` and
    `valid_<dataset>_<device>.txt`.

    Attributes:
        train: Mean training loss per epoch.
        valid: Mean held-out loss per epoch.
    """

    def __init__(self, train: Iterable[float] = (), valid: Iterable[float] = ()):
        self.train = [float(value) for value in train]
        self.valid = [float(value) for value in valid]

    def append(self, train_loss: float, valid_loss: float) -> None:
        """Add one finished epoch."""
        self.train.append(float(train_loss))
        self.valid.append(float(valid_loss))

    @property
    def is_best(self) -> bool:
        """Whether the newest epoch has the lowest held-out loss so far."""
        return bool(self.valid) and self.valid[-1] <= min(self.valid)

    def save(self, folder: Path | str, name: str) -> None:
        """Write both files; `name` is `<dataset>_<device>`."""
        for kind in ("train", "valid"):
            values = getattr(self, kind)
            text = "".join(f"{value:.8f}\n" for value in values)
            write_text(Path(folder) / f"{kind}_{name}.txt", text)

    def __len__(self) -> int:
        return len(self.train)
