import io
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from conftest import tree, write_archive

import archive
import config
from utils import UserError

FILES = {"stimuli/a.jpg": b"first" * 1000, "fixation/a.png": b"second"}


def unpacked(path: Path, folder: Path) -> dict[str, bytes]:
    archive.extract(path, archive.list_members(path), lambda member: folder / member.path)
    return tree(folder)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_special(path: Path, name: str, mode: int) -> Path:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(info, "/etc/passwd")
    return path


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar", "a.zip"])
def test_every_format_unpacks_to_the_same_files(tmp_path, name):
    path = write_archive(tmp_path / name, FILES)
    assert unpacked(path, tmp_path / "out") == FILES


@pytest.mark.parametrize("made_as", ["a.tar", "a.zip", "a.tar.gz"])
@pytest.mark.parametrize("called", ["b.tar.gz", "b.zip", "b"])
def test_the_content_decides_on_the_format_and_not_the_name(tmp_path, made_as, called):
    path = write_archive(tmp_path / made_as, FILES).rename(tmp_path / called)
    assert unpacked(path, tmp_path / "out") == FILES


@pytest.mark.parametrize("compression", ["bz2", "xz"])
def test_other_compressions_of_tar_are_unpacked(tmp_path, compression):
    path = tmp_path / "a.tar"
    with tarfile.open(path, f"w:{compression}") as file:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    assert unpacked(path, tmp_path / "out") == FILES


def test_a_leading_dot_is_no_part_of_a_members_path(tmp_path):
    path = write_archive(tmp_path / "a.tar", {f"./{name}": FILES[name] for name in FILES})
    assert [str(member.path) for member in archive.list_members(path)] == list(FILES)


def test_backslashes_of_windows_tools_separate_folders(tmp_path):
    path = write_archive(tmp_path / "a.tar", {"stimuli\\a.jpg": b""})
    assert archive.list_members(path)[0].path == PurePosixPath("stimuli/a.jpg")


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
@pytest.mark.parametrize(
    "name",
    [".DS_Store", "stimuli/.DS_Store", "__MACOSX/stimuli/a.jpg", "stimuli/._a.jpg", "Thumbs.db"],
)
def test_side_files_of_operating_systems_are_not_listed(tmp_path, name, suffix):
    path = write_archive(tmp_path / f"a{suffix}", {**FILES, name: b"clutter"})
    assert [member.name for member in archive.list_members(path)] == list(FILES)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar", ".zip"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/tmp/a.jpg", "absolute"),
        ("\\windows\\a.jpg", "absolute"),
        ("C:\\a.jpg", "absolute"),
        ("c:a.jpg", "absolute"),
        ("../a.jpg", r"\.\."),
        ("stimuli/../../a.jpg", r"\.\."),
        ("stimuli\\..\\..\\a.jpg", r"\.\."),
        ("..", r"\.\."),
        ("stimuli/a\n.jpg", "control"),
    ],
)
def test_a_member_with_a_dangerous_name_is_refused_by_name(tmp_path, name, reason, suffix):
    path = write_archive(tmp_path / f"a{suffix}", {**FILES, name: b"evil"})
    with pytest.raises(UserError, match=reason) as caught:
        archive.list_members(path)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "member",
    [
        special("stimuli/b.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        special("stimuli/b.jpg", tarfile.SYMTYPE, "a.jpg"),
        special("stimuli", tarfile.SYMTYPE, "/tmp"),
        special("stimuli/b.jpg", tarfile.LNKTYPE, "stimuli/a.jpg"),
        special("stimuli/b.jpg", tarfile.LNKTYPE, "../../secret"),
        special("stimuli/b.jpg", tarfile.CHRTYPE),
        special("stimuli/b.jpg", tarfile.BLKTYPE),
        special("stimuli/b.jpg", tarfile.FIFOTYPE),
    ],
    ids=[
        "symlink out",
        "symlink in",
        "symlinked folder",
        "hard link",
        "hard link out",
        "character device",
        "block device",
        "fifo",
    ],
)
def test_links_and_devices_in_a_tar_are_refused_by_name(tmp_path, member):
    path = write_archive(tmp_path / "a.tar.gz", {**FILES, "": member})
    with pytest.raises(UserError, match=r"link|device") as caught:
        archive.list_members(path)
    assert repr(member.name) in str(caught.value)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    path = zip_special(write_archive(tmp_path / "a.zip", FILES), "stimuli/b.jpg", kind | 0o644)
    with pytest.raises(UserError, match=r"stimuli/b\.jpg.*(link|device)"):
        archive.list_members(path)


def test_all_refused_members_are_listed_at_once(tmp_path):
    path = write_archive(tmp_path / "a.tar", {**FILES, "/one.jpg": b"", "../two.jpg": b""})
    with pytest.raises(UserError, match=r"one\.jpg(.|\n)*two\.jpg"):
        archive.list_members(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_two_members_of_one_name_are_refused(tmp_path, suffix):
    path = write_archive(tmp_path / f"a{suffix}", {"stimuli/a.jpg": b"", "./stimuli/a.jpg": b""})
    with pytest.raises(UserError, match=r"stimuli/a\.jpg.*twice"):
        archive.list_members(path)


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
@pytest.mark.parametrize("limit", ["member_bytes", "archive_bytes"])
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, limit, suffix):
    path = write_archive(tmp_path / f"a{suffix}", FILES)
    monkeypatch.setitem(config.LIMITS, limit, 4999)
    with pytest.raises(UserError, match="unpack"):
        archive.list_members(path)


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_archive(tmp_path / "a.zip", {"stimuli/a.jpg": b"content"})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="encrypted"):
        archive.list_members(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"just text" * 100, "not a"),
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "web page"),
        (b"\n <html><body>", "web page"),
        (b"\x1f\x8b", "truncated or damaged"),
        (b"PK\x03\x04rubbish", "truncated or damaged"),
    ],
)
def test_a_file_that_is_no_archive_is_refused_and_named(tmp_path, content, message):
    path = tmp_path / "fixation_add1000.tar.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"fixation_add1000\.tar\.gz: .*{message}"):
        archive.list_members(path)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.tar\.gz"):
        archive.list_members(tmp_path / "absent.tar.gz")


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_a_compressed_archive_cut_at_any_place_is_refused(tmp_path, suffix):
    noise = np.random.RandomState(0).bytes(3000)
    path = write_archive(tmp_path / f"a{suffix}", {"stimuli/a.jpg": noise, "fixation/a.png": noise})
    content = path.read_bytes()
    for kept in [*range(0, len(content), 41), *range(len(content) - 30, len(content))]:
        path.write_bytes(content[:kept])
        with pytest.raises(UserError, match=r"truncated or damaged|empty|not a"):
            archive.list_members(path)
            pytest.fail(f"{kept} of {len(content)} bytes were taken for whole")


def test_a_gzip_whose_checksum_does_not_fit_is_refused(tmp_path):
    path = write_archive(tmp_path / "a.tar.gz", FILES)
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match="truncated or damaged"):
        archive.list_members(path)


def test_a_zip_member_whose_checksum_does_not_fit_is_refused(tmp_path):
    path = write_archive(tmp_path / "a.zip", FILES)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"second", b"forged"))
    with pytest.raises(UserError, match="truncated or damaged"):
        unpacked(path, tmp_path / "out")


def test_only_the_members_asked_for_are_unpacked(tmp_path):
    path = write_archive(tmp_path / "a.tar.gz", FILES)
    members = [member for member in archive.list_members(path) if "stimuli" in member.name]
    archive.extract(path, members, lambda member: tmp_path / "out" / member.path.name)
    assert tree(tmp_path / "out") == {"a.jpg": FILES["stimuli/a.jpg"]}
