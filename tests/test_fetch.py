"""Fetching files from a server that fails in every way servers do."""

import errno
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from email.utils import formatdate
from pathlib import Path

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loopback import (
    Behaviour,
    Loopback,
    break_off,
    chunked,
    loopback_only,
    no_ranges,
    other,
    page,
    redirect,
    reset,
    stall,
    status,
    unframed,
    version_headers,
    wrong_range,
)

import config
import fetch as module
from fetch import Source, fetch
from utils import UserError

URL = "https://example.org/sets/a.bin"
SERVED = "/example.org/sets/a.bin"
SECOND_URL = "https://mirror.example.net/a.bin"
SECOND_SERVED = "/mirror.example.net/a.bin"
CONTENT = random.Random(1).randbytes(20_000)
CHANGED = random.Random(2).randbytes(20_000)
DRIVE_URL = "gdrive:1AbCdEfGhIjKlMnOpQrStUvWxYz"
DRIVE_SERVED = f"/drive.google.com/uc?export=download&id={DRIVE_URL[7:]}"
CONFIRMED = "/drive.usercontent.google.com/download"
QUESTION = (
    f'<form id="download-form" action="https:/{CONFIRMED}" method="get">'
    f'<input type="hidden" name="id" value="{DRIVE_URL[7:]}">'
    '<input type="hidden" name="confirm" value="t"></form>'
)
ROOT = Path(module.__file__).parent


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    loopback_only(monkeypatch)


@pytest.fixture(scope="module")
def running():
    with Loopback({}) as server:
        yield server


@pytest.fixture
def server(running, monkeypatch):
    running.forget()
    running.files = {SERVED: CONTENT, SECOND_SERVED: CONTENT}
    running.use(monkeypatch)
    for name, value in {"first_pause": 0, "read_timeout": 20, "chunk_bytes": 1000}.items():
        monkeypatch.setitem(config.FETCH, name, value)
    return running


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sets" / "a.bin"


@pytest.fixture
def pauses(monkeypatch):
    """The seconds that the fetch would have slept."""
    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    return slept


def plain(*urls: str, **known) -> Source:
    return Source(urls=urls or (URL,), kind="file", **known)


def digest(content: bytes, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, content).hexdigest()


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


def leave_part(path: Path, part: bytes, of: bytes = CONTENT, **version) -> None:
    """Leave behind what a run that was killed leaves behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    headers = version_headers(of)
    held = {"url": URL, "etag": headers["ETag"], "last_modified": headers["Last-Modified"]}
    path.with_name("a.bin.part").write_bytes(part)
    path.with_name("a.bin.part.json").write_text(json.dumps(held | version))


def part_of(path: Path) -> bytes:
    return path.with_name("a.bin.part").read_bytes()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (members or {"image": CONTENT}).items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name in ("one", "two"):
            member = tarfile.TarInfo(name)
            member.size = len(CONTENT)
            archive.addfile(member, io.BytesIO(CONTENT))
    return buffer.getvalue()


def failure(source: Source, path: Path, **options) -> str:
    """Return the message of a fetch that has to fail without leaving a file."""
    with pytest.raises(UserError) as error:
        fetch(source, path, **options)
    assert not path.exists()
    assert "\n\n" not in str(error.value)
    return str(error.value)


# What arrives and what is left behind


def test_the_file_arrives_whole_and_nothing_else_stays_but_its_sum(server, path):
    assert fetch(plain(), path) == path
    assert path.read_bytes() == CONTENT
    assert names(path) == {"a.bin", "a.bin.sha256"}


def test_the_recorded_sum_has_the_format_of_sha256sum(server, path):
    fetch(plain(), path)
    recorded = path.with_name("a.bin.sha256").read_text()
    assert recorded == f"{digest(CONTENT)}  a.bin\n"


def test_no_sum_is_recorded_where_the_source_names_one(server, path):
    fetch(plain(md5=digest(CONTENT, "md5")), path)
    assert names(path) == {"a.bin"}


def test_a_file_in_place_is_not_fetched_again(server, path):
    fetch(plain(), path)
    fetch(plain(), path)
    assert len(server.requests) == 1


def test_the_file_is_on_the_disk_before_it_gets_its_name(server, path, monkeypatch):
    order = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(module.os, "fsync", lambda file: (order.append("fsync"), fsync(file)))

    def renamed(self, target):
        order.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", renamed)
    fetch(plain(), path)
    assert order[-2:] == ["fsync", "a.bin"]


def test_a_fetch_that_is_stopped_leaves_no_file_and_goes_on_later(server, path, monkeypatch):
    write = module._write

    def stopped(file, chunk):
        write(file, chunk)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", stopped)
        with pytest.raises(KeyboardInterrupt):
            fetch(plain(), path)
    assert not path.exists()
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=1000-"]


def test_a_body_with_a_content_encoding_is_stored_as_it_comes(server, path):
    # Apache calls a .tar.gz file a tar file that it compressed on its way.
    archive = tarred()
    server.files[SERVED] = archive
    server.script(SERVED, Behaviour(headers={"Content-Encoding": "gzip"}))
    fetch(Source((URL,)), path)
    assert path.read_bytes() == archive


@pytest.mark.parametrize("framing", [chunked(), unframed()], ids=["chunked", "unframed"])
def test_a_file_of_unannounced_length_arrives(server, path, framing):
    server.always(SERVED, framing)
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT


def test_a_length_beside_chunks_is_not_believed(server, path):
    server.script(SERVED, chunked(headers={"Content-Length": "5"}))
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT


# Going on after a break


@pytest.mark.parametrize(
    "broken",
    [break_off(5000), chunked(ends=5000), reset(5000), stall(5000)],
    ids=["broken off", "broken off in chunks", "reset", "stalled"],
)
def test_a_broken_transfer_goes_on_where_it_ended(server, path, monkeypatch, broken):
    monkeypatch.setitem(config.FETCH, "read_timeout", 0.3)
    server.script(SERVED, broken)
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    second = server.requests[1].headers
    # A reset may take with it what the client has not read yet.
    start = int(second["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 5000
    assert second["If-Range"] == version_headers(CONTENT)["ETag"]


@settings(deadline=None, max_examples=60)
@given(
    breaks=st.lists(st.integers(0, 3000), max_size=5),
    size=st.integers(1, 3000),
    framing=st.sampled_from(["length", "chunked"]),
    ranges=st.booleans(),
)
def test_a_file_broken_off_at_any_byte_still_arrives_whole(running, breaks, size, framing, ranges):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setitem(config.FETCH, "first_pause", 0)
        running.use(patch)
        running.forget()
        running.files = {SERVED: CONTENT[:size]}
        for ends in breaks:
            running.script(SERVED, break_off(ends, framing=framing, ranges=ranges))
        assert fetch(plain(), Path(folder) / "a.bin").read_bytes() == CONTENT[:size]


def test_a_later_run_goes_on_where_an_earlier_one_ended(server, path, monkeypatch):
    monkeypatch.setitem(config.FETCH, "tries", 1)
    server.script(SERVED, break_off(7000))
    message = failure(plain(), path)
    assert "broke off after 7,000 of 20,000 bytes" in message
    assert "Run again to go on after 7.0 kB" in message
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=7000-"]


def test_a_file_that_changed_between_runs_starts_over(server, path):
    leave_part(path, CHANGED[:7000], of=CHANGED)
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_file_that_changes_between_two_tries_starts_over(server, path):
    server.script(SERVED, break_off(7000, body=CHANGED))
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT


def test_a_changed_file_is_noticed_where_the_server_ignores_if_range(server, path):
    leave_part(path, CHANGED[:7000], of=CHANGED)
    server.script(SERVED, Behaviour(if_range=False))
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=7000-", None]


def test_a_server_without_ranges_sends_the_file_from_the_start(server, path):
    leave_part(path, CONTENT[:7000])
    server.always(SERVED, no_ranges())
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "stated",
    ["bytes 6999-19999/20000", "bytes */20000", "bytes 0-12999/20000", "items 7000-8000/9", ""],
)
def test_a_range_other_than_the_one_asked_for_is_not_appended(server, path, stated):
    leave_part(path, CONTENT[:7000])
    server.script(SERVED, wrong_range(stated))
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=7000-", None]


def test_a_part_that_is_whole_already_is_taken(server, path):
    leave_part(path, CONTENT)
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=20000-"]


def test_a_part_longer_than_the_file_starts_over(server, path):
    leave_part(path, CONTENT + b"more")
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("record", [None, "", "{}", "[]", '{"url": "https://other.org/a.bin"}'])
def test_a_part_of_unknown_origin_starts_over(server, path, record):
    leave_part(path, CHANGED[:7000])
    held = path.with_name("a.bin.part.json")
    held.unlink() if record is None else held.write_text(record)
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None]


def test_a_weak_etag_gives_way_to_the_date(server, path):
    leave_part(path, CONTENT[:7000], etag='W/"weak"')
    server.script(SERVED, Behaviour(headers={"ETag": None}))
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    date = version_headers(CONTENT)["Last-Modified"]
    assert server.requests[0].headers["If-Range"] == date


def test_without_a_version_only_a_known_sum_lets_a_part_go_on(server, path):
    nameless = {"ETag": None, "Last-Modified": None}
    server.always(SERVED, Behaviour(headers=nameless))
    for known, expected in (({}, None), ({"sha256": digest(CONTENT)}, "bytes=7000-")):
        server.forget()
        leave_part(path, CONTENT[:7000], etag=None, last_modified=None)
        server.always(SERVED, Behaviour(headers=nameless))
        fetch(plain(**known), path)
        assert path.read_bytes() == CONTENT
        assert server.ranges() == [expected]
        path.unlink()


def test_a_part_that_cannot_go_on_is_removed(server, path, monkeypatch):
    monkeypatch.setitem(config.FETCH, "tries", 1)
    headers = {"ETag": None, "Last-Modified": None}
    server.script(SERVED, break_off(7000, headers=headers))
    failure(plain(), path)
    assert names(path) == set()


# Trying again


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server, path, code):
    server.script(SERVED, status(code), status(code))
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_pauses_grow_up_to_a_cap(server, path, pauses, monkeypatch):
    monkeypatch.setitem(config.FETCH, "first_pause", 1.0)
    monkeypatch.setitem(config.FETCH, "longest_pause", 5.0)
    server.always(SERVED, status(503))
    message = failure(plain(), path)
    assert pauses == [1, 2, 4, 5, 5]
    assert "the server answered 503 Service Unavailable, 6 times in a row" in message


def test_a_retry_after_in_seconds_is_honoured(server, path, pauses):
    server.script(SERVED, status(429, retry_after=7))
    fetch(plain(), path)
    assert pauses == [7]


def test_a_retry_after_as_a_date_is_honoured(server, path, pauses):
    server.script(SERVED, status(503, retry_after=formatdate(time.time() + 100, usegmt=True)))
    fetch(plain(), path)
    assert 90 < pauses[0] <= 100


@pytest.mark.parametrize("value", ["soon", "-5", "²", "Wed, 21 Oct 2015 07:28:00 GMT", ""])
def test_a_retry_after_without_sense_is_ignored(server, path, pauses, value):
    server.script(SERVED, status(503, retry_after=value))
    fetch(plain(), path)
    assert pauses == [0]


def test_a_retry_after_beyond_reason_ends_the_fetch(server, path, pauses):
    server.script(SERVED, status(429, retry_after=7200))
    assert "asks to come back in 120 minutes" in failure(plain(), path)
    assert pauses == []


def test_progress_starts_the_count_of_tries_anew(server, path, monkeypatch):
    monkeypatch.setitem(config.FETCH, "tries", 2)
    server.script(SERVED, *[break_off(3000) for _ in range(6)])
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 7


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(server, path):
    server.always(SERVED, no_ranges(ends=7000))
    failure(plain(), path)
    assert len(server.requests) == config.FETCH["tries"]


def test_a_server_that_is_not_there_is_asked_again_and_then_reported(path, monkeypatch, pauses):
    with Loopback({}) as closed:
        pass
    closed.use(monkeypatch)
    message = failure(plain(), path)
    assert "Connection refused" in message
    assert closed.url in message
    assert len(pauses) == config.FETCH["tries"] - 1


def test_a_server_that_says_nothing_is_given_up(server, path, monkeypatch):
    monkeypatch.setitem(config.FETCH, "read_timeout", 0.1)
    monkeypatch.setitem(config.FETCH, "tries", 2)
    server.always(SERVED, stall(0))
    assert "the server fell silent after 0 of 20,000 bytes" in failure(plain(), path)


# Mirrors


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 451])
def test_a_refusal_goes_on_to_the_next_mirror_at_once(server, path, code):
    server.always(SERVED, status(code))
    fetch(plain(URL, SECOND_URL), path)
    assert path.read_bytes() == CONTENT
    assert [request.path for request in server.requests] == [SERVED, SECOND_SERVED]


@pytest.mark.parametrize(
    "bad",
    [page("Quota exceeded"), other(b""), other(CHANGED), other(CONTENT[:99])],
    ids=["a web page", "nothing", "wrong bytes", "a wrong length"],
)
def test_something_else_than_the_file_goes_on_to_the_next_mirror(server, path, bad):
    server.always(SERVED, bad)
    fetch(plain(URL, SECOND_URL, sha256=digest(CONTENT), size=len(CONTENT)), path)
    assert path.read_bytes() == CONTENT
    assert [request.path for request in server.requests] == [SERVED, SECOND_SERVED]


def test_when_all_mirrors_fail_each_is_named_with_its_reason(server, path):
    server.always(SERVED, status(404))
    server.always(SECOND_SERVED, page("Sign in"))
    message = failure(plain(URL, SECOND_URL), path)
    assert f"{server.url}{SERVED}: the server answered 404 Not Found\n" in message
    assert f'{SECOND_SERVED}: a web page came instead of the file ("Sign in")\n' in message


def test_a_mirror_that_fails_does_not_cost_the_part_of_another(server, path, monkeypatch):
    monkeypatch.setitem(config.FETCH, "tries", 1)
    server.script(SERVED, break_off(7000))
    server.script(SECOND_SERVED, page("Gone"))
    failure(plain(URL, SECOND_URL), path)
    assert part_of(path) == CONTENT[:7000]


def test_a_part_from_one_mirror_is_not_gone_on_with_from_another(server, path):
    leave_part(path, CHANGED[:7000])
    server.always(SERVED, status(404))
    fetch(plain(URL, SECOND_URL), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=7000-", None]


# Length and sums


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_another_length_than_the_known_one_is_a_changed_file(server, path, framing):
    server.always(SERVED, Behaviour(framing=framing))
    message = failure(plain(size=19_999), path)
    assert "the file changed: it has 20,000 bytes, 19,999 were expected" in message
    assert names(path) == set()


def test_an_announced_length_that_is_wrong_ends_the_fetch_before_its_body(server, path):
    server.always(SERVED, stall(1000))
    assert "the file changed" in failure(plain(size=19_999), path)
    assert len(server.requests) == 1


def test_a_body_shorter_than_the_known_size_is_a_broken_transfer(server, path):
    server.script(SERVED, unframed(ends=7000))
    fetch(plain(size=len(CONTENT)), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=7000-"]


@pytest.mark.parametrize(("algorithm", "name"), [("md5", "MD5"), ("sha256", "SHA-256")])
def test_a_wrong_sum_is_reported_with_both_sums_and_what_to_do(server, path, algorithm, name):
    wanted = digest(CHANGED, algorithm)
    message = failure(Source((URL,), **{algorithm: wanted}), path)
    found = digest(CONTENT, algorithm)
    assert f"the file changed: its {name} is {found}, expected was {wanted}" in message
    assert "--no-verify" in message
    assert "--archive FILE" in message
    assert f"{server.url}{SERVED}" in message
    assert names(path) == set()


def test_sums_are_compared_without_regard_to_case(server, path):
    known = {name: digest(CONTENT, name).upper() for name in ("md5", "sha256")}
    fetch(plain(**known), path)
    assert path.read_bytes() == CONTENT


def test_both_sums_have_to_be_right(server, path):
    failure(plain(sha256=digest(CONTENT), md5=digest(CHANGED, "md5")), path)


def test_without_verification_a_changed_file_is_taken(server, path):
    fetch(plain(size=3, md5="0" * 32, sha256="0" * 64), path, verify=False)
    assert path.read_bytes() == CONTENT


def test_a_recorded_sum_holds_for_later_fetches(server, path):
    fetch(plain(), path)
    path.unlink()
    server.files[SERVED] = CHANGED
    message = failure(plain(), path)
    assert f"expected was {digest(CONTENT)} according to {path}.sha256" in message


def test_without_verification_the_recorded_sum_is_renewed(server, path):
    fetch(plain(), path)
    path.unlink()
    server.files[SERVED] = CHANGED
    fetch(plain(), path, verify=False)
    assert path.with_name("a.bin.sha256").read_text().startswith(digest(CHANGED))


def test_a_file_in_place_with_a_wrong_sum_is_reported_and_left_alone(server, path):
    path.parent.mkdir()
    path.write_bytes(CHANGED)
    with pytest.raises(UserError, match="the file changed") as error:
        fetch(plain(sha256=digest(CONTENT)), path)
    assert str(path) in str(error.value)
    assert path.read_bytes() == CHANGED
    assert fetch(plain(sha256=digest(CONTENT)), path, verify=False).read_bytes() == CHANGED
    assert server.requests == []


# Something else than the file


@pytest.mark.parametrize("kind", ["archive", "file"])
def test_a_web_page_is_reported_by_its_title_and_not_asked_for_again(server, path, kind):
    server.always(SERVED, page("Quota &amp;\n  limits"))
    message = failure(Source((URL,), kind=kind), path)
    assert message.startswith(f"a.bin could not be fetched from {server.url}{SERVED}: ")
    assert 'a web page came instead of the file ("Quota & limits")' in message
    assert {"archive": "pass it with --archive FILE", "file": f"save it as {path}"}[kind] in message
    assert len(server.requests) == 1
    assert names(path) == set()


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Consent</body></html>",
        b"\xef\xbb\xbf\n <!DOCTYPE HTML>",
        b"<HEAD></HEAD>",
    ],
)
def test_a_web_page_is_known_by_its_first_bytes(server, path, body):
    server.always(SERVED, other(body))
    assert "a web page came" in failure(plain(), path)


def test_a_title_cannot_write_control_characters_to_the_terminal(server, path):
    server.always(SERVED, page("\x1b[2Jgone &#27;[1m" + "x" * 500))
    message = failure(plain(), path)
    assert message.replace("\n", "").isprintable()
    assert len(message) < 400


def test_an_archive_called_a_web_page_by_the_server_is_taken(server, path):
    server.files[SERVED] = zipped()
    server.always(SERVED, Behaviour(headers={"Content-Type": "text/html"}))
    fetch(Source((URL,)), path)
    assert path.read_bytes() == server.files[SERVED]


def test_a_web_page_does_not_cost_the_part_that_is_there(server, path):
    leave_part(path, CONTENT[:7000])
    server.script(SERVED, page("Quota exceeded"))
    assert "Run again to go on after 7.0 kB" in failure(plain(), path)
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=7000-", "bytes=7000-"]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_empty_file_is_reported(server, path, framing):
    server.always(SERVED, Behaviour(body=b"", framing=framing))
    assert "an empty file came" in failure(Source((URL,)), path)
    assert names(path) == set()


@pytest.mark.parametrize(
    "archive",
    [zipped(), tarred(), tarred("w"), tarred("w:bz2"), tarred("w:xz")],
    ids=["zip", "tar.gz", "tar", "tar.bz2", "tar.xz"],
)
def test_archives_of_every_format_are_taken_whole_and_refused_cut(server, path, archive):
    server.files[SERVED] = archive
    server.script(SERVED, unframed(ends=len(archive) * 2 // 3))
    message = failure(Source((URL,)), path)
    assert "a truncated or damaged archive came" in message
    assert "--archive FILE" in message
    assert names(path) == set()
    fetch(Source((URL,)), path)
    assert path.read_bytes() == archive


@settings(deadline=None, max_examples=60)
@given(
    kept=st.floats(0, 1, exclude_max=True),
    archive=st.sampled_from([zipped(), tarred(), tarred("w:bz2"), tarred("w:xz")]),
)
@example(kept=0.9999, archive=zipped())
@example(kept=0.9999, archive=tarred())
def test_an_archive_cut_anywhere_is_refused(running, kept, archive):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        running.use(patch)
        running.forget()
        running.files = {SERVED: archive[: int(kept * len(archive))]}
        running.always(SERVED, unframed())
        failure(Source((URL,)), Path(folder) / "a.bin")


@settings(deadline=None, max_examples=60)
@given(
    start=st.sampled_from([b"", b"PK", b"PK\3\4", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0"]),
    rest=st.binary(min_size=1, max_size=800),
)
def test_bytes_that_are_no_archive_are_refused(running, start, rest):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        running.use(patch)
        running.forget()
        running.files = {SERVED: start + rest}
        failure(Source((URL,)), Path(folder) / "a.bin")


def test_a_file_that_is_no_archive_is_not_looked_into(server, path):
    server.files[SERVED] = b"PK, but plain text"
    fetch(plain(), path)
    assert path.read_bytes() == b"PK, but plain text"


# Redirects, other hosts, Google Drive


def test_the_mirror_gets_every_host_as_a_folder_and_the_query(server, path):
    server.files = {"/example.org:8443/get?file=a&v=2": CONTENT}
    fetch(plain("https://example.org:8443/get?file=a&v=2"), path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("mirror", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "nonsense"])
def test_a_mirror_that_is_no_address_is_reported(path, monkeypatch, mirror):
    monkeypatch.setenv("SALIENCY_MIRROR", mirror)
    assert "SALIENCY_MIRROR" in failure(plain(), path)
    assert names(path) == set()


@pytest.mark.parametrize(
    "location",
    [SECOND_URL, "//mirror.example.net/a.bin", "{server}/mirror.example.net/a.bin"],
)
def test_redirects_are_followed_through_the_mirror(server, path, location):
    server.always(SERVED, redirect(location.format(server=server.url)))
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1].path == SECOND_SERVED


def test_a_redirect_within_a_host_stays_on_it(server, path):
    server.files["/example.org/new/a.bin"] = CONTENT
    server.always(SERVED, redirect("/new/a.bin"))
    fetch(plain(), path)
    assert server.requests[-1].path == "/example.org/new/a.bin"


def test_a_broken_transfer_goes_on_behind_a_redirect(server, path):
    server.always(SERVED, redirect(SECOND_URL))
    server.script(SECOND_SERVED, break_off(7000))
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1].headers["Range"] == "bytes=7000-"


def test_an_endless_redirect_is_refused(server, path):
    server.always(SERVED, redirect(URL))
    assert "redirects more than 10 times" in failure(plain(), path)


@pytest.mark.parametrize(
    "location", ["file:///etc/hostname", "ftp://example.org/a", "http://[", ""]
)
def test_a_redirect_to_nowhere_is_refused(server, path, monkeypatch, location):
    monkeypatch.delenv("SALIENCY_MIRROR")
    server.always(SERVED, redirect(location))
    failure(plain(f"{server.url}{SERVED}"), path)


def test_a_file_of_google_drive_arrives_at_once_if_it_is_small(server, path):
    server.files = {DRIVE_SERVED: CONTENT}
    fetch(plain(DRIVE_URL), path)
    assert path.read_bytes() == CONTENT


def test_a_web_page_kept_on_google_drive_is_not_taken_for_its_question(server, path):
    headers = {"Content-Type": "text/html", "Content-Disposition": "attachment"}
    server.files = {DRIVE_SERVED: CONTENT}
    server.always(DRIVE_SERVED, Behaviour(headers=headers))
    fetch(plain(DRIVE_URL), path)
    assert path.read_bytes() == CONTENT


def test_google_drives_question_is_answered_and_a_break_gone_on_after(server, path):
    server.files = {CONFIRMED: CONTENT}
    server.always(DRIVE_SERVED, page("Google Drive - Virus scan warning", QUESTION))
    server.script(CONFIRMED, break_off(7000))
    fetch(plain(DRIVE_URL), path)
    assert path.read_bytes() == CONTENT
    assert server.requests[1].path == f"{CONFIRMED}?id={DRIVE_URL[7:]}&confirm=t"
    assert server.ranges() == [None, None, "bytes=7000-", "bytes=7000-"]


@pytest.mark.parametrize(
    "text",
    [
        '<p class="uc-error-subcaption">Too many users have viewed this file.</p>',
        "Sign in",
        '<form id="download-form"></form>',
        '<form id="download-form" action="/x"><input type="hidden"></form>',
    ],
)
def test_a_page_of_google_drive_without_the_file_is_reported(server, path, text):
    server.always(DRIVE_SERVED, page("Google Drive - Quota exceeded", text))
    message = failure(Source((DRIVE_URL,)), path)
    assert f"from {server.url}{DRIVE_SERVED}" in message
    assert 'a web page came instead of the file ("Google Drive - Quota exceeded")' in message
    assert "--archive FILE" in message


# A full disk


def test_a_disk_without_enough_room_is_reported_before_anything_is_fetched(
    server, path, monkeypatch
):
    monkeypatch.setattr(module, "_free_bytes", lambda job: 15_000)
    leave_part(path, CONTENT[:1000])
    message = failure(plain(), path)
    assert f"a.bin needs 19.0 kB more, and {path.parent} has 15.0 kB free" in message
    assert "goes on after the 1.0 kB that are there" in message
    assert part_of(path) == CONTENT[:1000]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_keeps_a_part_that_can_go_on(server, path, monkeypatch, number):
    write = module._write

    def fill(file, chunk):
        if os.fstat(file.fileno()).st_size >= 5000:
            raise OSError(number, "full")
        write(file, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", fill)
        message = failure(plain(), path)
    assert message.startswith("The disk is full: a.bin needs 15.0 kB more")
    assert part_of(path) == CONTENT[:5000]
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=5000-"]


def test_a_disk_that_fills_up_keeps_no_part_that_cannot_go_on(server, path, monkeypatch):
    server.always(SERVED, chunked(headers={"ETag": None, "Last-Modified": None}))

    def full(file, chunk):
        file.write(chunk[:100])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(module, "_write", full)
    message = failure(plain(), path)
    assert "a.bin needs more room" in message
    assert "starts over" in message
    assert names(path) == set()


def test_another_error_of_the_disk_is_not_called_a_full_one(server, path, monkeypatch):
    def broken(file, chunk):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(module, "_write", broken)
    with pytest.raises(OSError, match="broken"):
        fetch(plain(), path)
    assert not path.exists()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB, where the tests may mount one, and a function that gives it 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> bool:
        if not shutil.which("mount"):
            return False
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True).returncode == 0

    if not mount("size=1m"):
        pytest.skip("no rights to mount a file system")
    yield folder, lambda: mount("remount,size=8m")
    subprocess.run(["umount", str(folder)], check=True)


def test_a_fetch_onto_a_disk_that_is_really_full_goes_on_when_there_is_room(server, small_disk):
    folder, enlarge = small_disk
    content = CONTENT * 150
    server.files = {SERVED: content}
    server.script(SERVED, chunked())
    message = failure(plain(), folder / "a.bin")
    assert f"The disk is full: a.bin needs more room, and {folder} has 0 bytes free" in message
    assert enlarge()
    fetch(plain(), folder / "a.bin")
    assert (folder / "a.bin").read_bytes() == content
    assert server.ranges()[1] is not None


# Several processes


def start(path: Path, **known) -> subprocess.Popen:
    """Start a process that fetches in chunks of 1,000 bytes."""
    code = (
        "import fetch; fetch.config.FETCH['chunk_bytes'] = 1000;"
        f"fetch.fetch(fetch.{plain(**known)!r}, {str(path)!r})"
    )
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=pipe, stderr=pipe, text=True
    )


def wait_for_part(path: Path, size: int) -> None:
    deadline = time.monotonic() + 60
    part = path.with_name("a.bin.part")
    while not (part.exists() and part.stat().st_size == size):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_second_process_waits_for_the_first_and_fetches_nothing(server, path):
    server.script(SERVED, stall(5000))
    with start(path) as first:
        wait_for_part(path, 5000)
        with start(path) as second:
            assert second.stdout.readline() == (
                "Another process is fetching a.bin; waiting for it.\n"
            )
            server.release.set()
            assert (first.wait(60), second.wait(60)) == (0, 0)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert names(path) == {"a.bin", "a.bin.sha256"}


def test_a_second_process_takes_over_when_the_first_fails(server, path):
    server.script(SERVED, Behaviour(body=CHANGED, ends=5000, ending="stall"))
    with start(path, sha256=digest(CONTENT)) as first:
        wait_for_part(path, 5000)
        with start(path, sha256=digest(CONTENT)) as second:
            second.stdout.readline()
            server.release.set()
            assert "the file changed" in first.communicate(timeout=60)[1]
            second.communicate(timeout=60)
            assert (first.returncode, second.returncode) == (1, 0)
    assert path.read_bytes() == CONTENT
    assert names(path) == {"a.bin"}


def test_what_a_killed_process_fetched_is_gone_on_with(server, path):
    server.script(SERVED, stall(5000))
    with start(path) as killed:
        wait_for_part(path, 5000)
        killed.kill()
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=5000-"]


def test_a_file_system_without_locks_is_pointed_out(server, path, monkeypatch, capsys):
    def no_locks(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", no_locks)
    fetch(plain(), path)
    assert path.read_bytes() == CONTENT
    assert "has no locks (No locks available)" in capsys.readouterr().out


# The test server itself, on which the above relies


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-", (0, 19_999)),
        ("bytes=5-9", (5, 9)),
        ("bytes=19990-30000", (19_990, 19_999)),
        ("bytes=-5", (19_995, 19_999)),
    ],
)
def test_the_server_sends_the_range_it_is_asked_for(server, asked, expected):
    first, last = expected
    reply = requests.get(server.url + SERVED, headers={"Range": asked}, timeout=5)
    assert reply.status_code == 206
    assert reply.headers["Content-Range"] == f"bytes {first}-{last}/20000"
    assert reply.content == CONTENT[first : last + 1]


def test_the_server_refuses_a_range_beyond_the_end(server):
    reply = requests.get(server.url + SERVED, headers={"Range": "bytes=20000-"}, timeout=5)
    assert (reply.status_code, reply.headers["Content-Range"]) == (416, "bytes */20000")


def test_the_server_serves_a_folder_and_nothing_around_it(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "served" / "deep").mkdir(parents=True)
    (tmp_path / "served" / "deep" / "file").write_bytes(b"here")
    with Loopback(tmp_path / "served") as server:
        assert requests.get(f"{server.url}/deep/file?x=1", timeout=5).content == b"here"
        assert requests.get(f"{server.url}/deep", timeout=5).status_code == 404
        assert requests.get(f"{server.url}/%2e%2e/secret", timeout=5).status_code == 404
