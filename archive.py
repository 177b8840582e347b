"""Taking wanted files out of archives that may be damaged or hostile."""

import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import config
from utils import Progbar, UserError, bullet_list

# What reading a cut or corrupt archive raises.
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
_CLUTTER = {"__MACOSX", ".DS_Store", "Thumbs.db"}


@dataclass(frozen=True)
class Member:
    """One file of an archive: its path as stored and unpacked size, and why it is refused."""

    name: str
    size: int
    refusal: str = ""

    @property
    def path(self) -> PurePosixPath:
        """The member's path without a leading `./`; old Windows tools write backslashes."""
        return PurePosixPath(self.name.replace("\\", "/"))


def is_clutter(path: PurePosixPath) -> bool:
    """Whether a member is a side file of an operating system and no content."""
    return any(part in _CLUTTER or part.startswith("._") for part in path.parts)


def _name_refusal(name: str) -> str:
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "has an absolute path"
    if ".." in re.split(r"[/\\]", name):
        return "leaves its folder with '..'"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "has control characters in its name"
    return ""


def _tar_refusal(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "is a link"
    if not (member.isreg() or member.isdir()):
        return "is a device or another special file"
    return _name_refusal(member.name)


def _zip_refusal(member: zipfile.ZipInfo) -> str:
    mode = member.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "is a link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device or another special file"
    if member.flag_bits & 1:
        return "is encrypted"
    return _name_refusal(member.filename)


class _Tar:
    """A tar file, plain or compressed, read front to back."""

    def __init__(self, path: Path):
        self._path = path

    def members(self) -> Iterator[Member]:
        with tarfile.open(self._path) as tar:
            for member in tar:
                refusal = _tar_refusal(member)
                if refusal or member.isreg():
                    yield Member(member.name, member.size, refusal)
            # The checksum of a compressed stream stands behind the archive's own end.
            while tar.fileobj.read(1 << 20):
                pass

    def files(self, names: set[str]) -> Iterator[tuple[str, BinaryIO]]:
        with tarfile.open(self._path) as tar:
            for member in tar:
                if member.name in names and member.isreg():
                    # Checked above already; the filter of the standard library is a second lock.
                    tarfile.data_filter(member, ".")
                    yield member.name, tar.extractfile(member)


class _Zip:
    """A zip file."""

    def __init__(self, path: Path):
        self._path = path

    def members(self) -> Iterator[Member]:
        with zipfile.ZipFile(self._path) as archive:
            for member in archive.infolist():
                refusal = _zip_refusal(member)
                if refusal or not member.is_dir():
                    yield Member(member.filename, member.file_size, refusal)

    def files(self, names: set[str]) -> Iterator[tuple[str, BinaryIO]]:
        with zipfile.ZipFile(self._path) as archive:
            for member in archive.infolist():
                if member.filename in names and not member.is_dir():
                    with archive.open(member) as file:
                        yield member.filename, file


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        raise UserError(
            f"{path}: the archive is truncated or damaged ({error or type(error).__name__}). "
            "Get the file again and pass it with --archive FILE."
        ) from error


def _open(path: Path) -> _Tar | _Zip:
    if not path.is_file():
        raise UserError(f"{path}: there is no such archive file.")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty. Get it again and pass it with --archive FILE.")
    with path.open("rb") as file:
        start = file.read(512)
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise UserError(
            f"{path}: this is a web page, not an archive (a quota or consent page that was saved "
            "under the archive's name). Download it in a browser and pass it with --archive FILE."
        )
    with _damage_reported(path):
        if start.startswith(b"PK"):
            return _Zip(path)
        # A cut gzip stream still starts like one, and is_tarfile would call it no archive at all.
        if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or tarfile.is_tarfile(path):
            return _Tar(path)
    raise UserError(f"{path}: not a .tar.gz, .tar or .zip archive.")


def list_members(path: Path | str) -> list[Member]:
    """List the files of an archive, after checking every member of it.

    Args:
        path: A .zip, .tar or compressed .tar file; its content decides, not its name.

    Returns:
        All regular files except those systems leave behind (`__MACOSX/`, `._*`, `.DS_Store`).

    Raises:
        UserError: No archive, a damaged one, or one that holds links, devices, absolute paths,
            `..`, two members of one name, or more bytes than `config.LIMITS` allows.
    """
    path = Path(path)
    archive = _open(path)
    with _damage_reported(path):
        members = [member for member in archive.members() if not is_clutter(member.path)]
    refused = [f"{member.name!r} {member.refusal}" for member in members if member.refusal]
    seen: set[PurePosixPath] = set()
    total = 0
    for member in members:
        if member.path in seen:
            refused.append(f"{member.name!r} is there twice")
        seen.add(member.path)
        if member.size > config.LIMITS["member_bytes"]:
            refused.append(f"{member.name!r} unpacks to {member.size:,} bytes")
        total += member.size
    if total > config.LIMITS["archive_bytes"]:
        refused.append(f"all members together unpack to {total:,} bytes")
    if refused:
        raise UserError(
            f"{path}: refused, because an archive of images has no use for what this one holds:\n"
            f"{bullet_list(refused)}\nNothing was unpacked."
        )
    return members


def extract(path: Path | str, members: list[Member], target_of: Callable[[Member], Path]) -> None:
    """Unpack some members of an archive.

    Args:
        path: The archive.
        members: What to unpack, from `list_members`.
        target_of: The path to write for a member; missing folders are made.

    Raises:
        UserError: The archive is damaged.
    """
    path = Path(path)
    wanted = {member.name: member for member in members}
    with _damage_reported(path), Progbar(len(wanted), f"Unpacking {path.name}", "file") as bar:
        for name, source in _open(path).files(set(wanted)):
            target = target_of(wanted[name])
            target.parent.mkdir(parents=True, exist_ok=True)
            remaining = wanted[name].size
            with target.open("xb") as file:
                # Never more than the header promised, whatever the stream holds.
                while chunk := source.read(min(remaining, 1 << 20)):
                    file.write(chunk)
                    remaining -= len(chunk)
            if remaining:
                raise EOFError(f"{name} ends {remaining:,} bytes early")
            bar.update()
