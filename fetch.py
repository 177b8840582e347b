"""Files from outside: fetched over HTTP or from Google Drive, gone on with, checked, put in place.

A file grows as `<name>.part` beside its place, locked against other processes, with
`<name>.part.json`, which holds the version of the file that the server named. A later run goes on
where the part ends if the server still has that version. Only a whole and checked file gets its
final name.

The environment variable SALIENCY_MIRROR, as in `http://127.0.0.1:8000`, sends every request to
that address instead, with the original host as the first part of the path:
`https://example.org/sets/images.zip` becomes `http://127.0.0.1:8000/example.org/sets/images.zip`,
and the Google Drive file ID becomes `/drive.google.com/uc?export=download&id=ID` there. Redirects
and Google's confirmation links are treated alike.
"""

import errno
import fcntl
import html
import json
import os
import re
import shutil
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

import config
from archive import DAMAGED
from utils import Progbar, UserError, bullet_list, digest, say, write_json, write_text

_DRIVE = "gdrive:"
_SNIFFED_BYTES = 512
_TRY_AGAIN = {408, 425, 429}
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_TRANSIENT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


@dataclass(frozen=True)
class Source:
    """Where a file comes from and what is known of it.

    Attributes:
        urls: Mirrors in the order in which they are tried; http(s) addresses, or the id of a file
            on Google Drive written as `gdrive:ID`.
        kind: "archive" for a zip or tar file of a dataset, which `--archive` takes, "weights
            archive" for one of weights, whose structure is checked as well, else "file".
        size: Length in bytes, if known.
        md5: MD5 in hexadecimal digits, if known.
        sha256: SHA-256 in hexadecimal digits, if known.
    """

    urls: tuple[str, ...]
    kind: Literal["archive", "weights archive", "file"] = "archive"
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None


class _Interrupted(Exception):
    """A failure that may pass: the same mirror is asked again."""

    def __init__(self, reason: str, retry_after: float = 0.0):
        super().__init__(reason)
        self.retry_after = retry_after


class _Refused(Exception):
    """A failure that stays: the next mirror is asked."""


class _Changed(_Refused):
    """The file is not the one that was expected."""


@dataclass(frozen=True)
class _Job:
    """A file under way: what is wanted, where it belongs, and the locked part it grows in."""

    source: Source
    path: Path
    part: FileIO
    verify: bool

    @property
    def size(self) -> int:
        """How many bytes the part has."""
        return os.fstat(self.part.fileno()).st_size

    @property
    def can_tell_splices(self) -> bool:
        """Whether a part that was continued with bytes of another file would be noticed."""
        return self.verify and bool(_expected_sums(self.source, self.path))

    def start_over(self) -> None:
        """Empty the part."""
        self.part.truncate(0)


def fetch(source: Source, path: Path | str, verify: bool = True) -> Path:
    """Make sure that a file is in place, fetching it if it is not.

    A fetch that broke off, in this run or an earlier one, goes on where it ended. Several
    processes may ask for the same file: one fetches, the others wait for it. Where the source
    names no sum, SHA-256 is recorded as `<name>.sha256`, in the format of `sha256sum`, and holds
    for later fetches.

    Args:
        source: Where the file comes from and what is known of it.
        path: Where it belongs; missing folders are made.
        verify: Whether size and sums have to be those known; the structure of an archive is
            checked in any case.

    Returns:
        `path`.

    Raises:
        UserError: No mirror delivers the file, the file at `path` is not the one expected, or the
            disk is full. A part that can be gone on with is kept, any other is removed; nothing
            is left at `path` that was not there before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        with _locked_part(path) as part:
            # While this process waited for the lock, another one may have finished.
            if not path.is_file():
                _fetch_anew(_Job(source, path, part, verify))
                return path
    if verify:
        _check_present(source, path)
    return path


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _check_present(source: Source, path: Path) -> None:
    try:
        _check_sums(path, source, path)
    except _Changed as error:
        raise UserError(
            f"{path}: {error}. Move it away to have it fetched again, or pass --no-verify to use "
            "it as it is."
        ) from error


def _fetch_anew(job: _Job) -> None:
    """Fetch into the part from the first mirror that delivers, and move it into place."""
    failures: list[tuple[str, _Refused]] = []
    for url in job.source.urls:
        try:
            _fetch_from(url, job)
            _check_arrived(job)
        except _Refused as error:
            failures.append((_mirrored(_address(url)), error))
        else:
            _move_into_place(job)
            return
    if not any(_held_version(job, url) for url in job.source.urls):
        job.start_over()
    raise _all_refused(job, failures)


def _all_refused(job: _Job, failures: list[tuple[str, _Refused]]) -> UserError:
    """Return the error that says what became of every mirror, and what the user can do."""
    if len(failures) == 1:
        url, reason = failures[0]
        text = f"{job.path.name} could not be fetched from {url}: {reason}. "
    else:
        lines = bullet_list(f"{url}: {reason}" for url, reason in failures)
        text = f"{job.path.name} could not be fetched:\n{lines}\n"
    is_data = job.source.kind == "archive"
    by_hand = "pass it with --archive FILE" if is_data else f"save it as {job.path}"
    if any(isinstance(reason, _Changed) for _, reason in failures):
        # There is no use for weights other than the ones that were published.
        accept = "Pass --no-verify to take it as it is now, or get" if is_data else "Get"
        advice = f"{accept} the right one by hand"
    elif job.size:
        advice = f"Run again to go on after {_amount(job.size)}, or get it by hand"
    else:
        advice = "Get it by hand, in a browser for example,"
    return UserError(f"{text}{advice} and {by_hand}.")


@contextmanager
def _locked_part(path: Path) -> Iterator[FileIO]:
    """Yield `<name>.part`, opened for appending and locked; remove it if it stays empty."""
    part_path = _beside(path, ".part")
    while True:
        with part_path.open("ab", buffering=0) as part:
            _lock(part, path.name)
            # Whoever held the lock before may have moved the file away from under it.
            if not _is_at(part, part_path):
                continue
            try:
                yield part
            finally:
                if os.fstat(part.fileno()).st_size == 0:
                    part_path.unlink(missing_ok=True)
                    _beside(path, ".part.json").unlink(missing_ok=True)
            return


def _is_at(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: FileIO, name: str) -> None:
    """Lock `file` for this process alone; the system releases it however the process ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"Another process is fetching {name}; waiting for it.")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        say(
            f"The file system of {name} has no locks ({error.strerror}); do not fetch it in two "
            "processes at once."
        )


def _fetch_from(url: str, job: _Job) -> None:
    """Fetch from one mirror, trying again with growing pauses.

    Raises:
        _Refused: The mirror does not deliver.
    """
    say(f"Fetching {job.path.name} from {urlsplit(_mirrored(_address(url))).netloc}.")
    tries, longest = 0, job.size
    with requests.Session() as session:
        while True:
            try:
                _fetch_once(session, url, job)
                return
            except _Interrupted as error:
                # Only a part longer than ever before counts as progress: a server that knows no
                # ranges and always breaks off early would keep us busy for ever.
                tries = 1 if job.size > longest else tries + 1
                longest = max(longest, job.size)
                pause = _pause(tries, error)
                say(f"{job.path.name}: {error}; trying again in {pause:.0f} s.")
            time.sleep(pause)


def _pause(tries: int, error: _Interrupted) -> float:
    """Return the seconds to wait after a number of failures in a row.

    Raises:
        _Refused: That were too many, or the server asks to be left alone for too long.
    """
    if tries >= config.FETCH["tries"]:
        raise _Refused(f"{error}, {tries} times in a row") from error
    if error.retry_after > config.FETCH["longest_retry_after"]:
        raise _Refused(
            f"{error} and asks to come back in {error.retry_after / 60:,.0f} minutes"
        ) from error
    growing = config.FETCH["first_pause"] * 2 ** (tries - 1)
    return max(error.retry_after, min(growing, config.FETCH["longest_pause"]))


def _fetch_once(session: requests.Session, url: str, job: _Job) -> None:
    """Make one request and append to the part what arrives.

    Raises:
        _Interrupted: Not everything arrived.
        _Refused: Something else than the file arrived.
        UserError: The disk is full.
    """
    held = _held_version(job, url)
    headers = {"Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={job.size}-"
        if validator := _validator(held):
            headers["If-Range"] = validator
    with _open(session, url, headers) as response:
        if held and response.status_code == 416:
            _check_complete(response, job)
            return
        _check_status(response)
        version = {"url": url, **_version_of(response)}
        chunks = response.raw.stream(config.FETCH["chunk_bytes"], decode_content=False)
        if response.status_code == 206:
            total = _check_range(response, job, held, version)
        else:
            total = _length(response)
            # Looked at before the part is given up: a quota page must not cost what is there.
            head = _check_head(chunks, response)
            chunks = chain([head], chunks)
            job.start_over()
        _receive(chunks, job, total, version)


def _receive(chunks: Iterator[bytes], job: _Job, total: int | None, version: dict) -> None:
    """Append `chunks` to the part until it has `total` bytes."""
    if total is not None:
        _check_size(total, job)
    elif job.verify:
        total = job.source.size
    try:
        if job.size == 0:
            write_json(_beside(job.path, ".part.json"), version)
        if total is not None and total - job.size > _free_bytes(job):
            raise _disk_full(job, total, version["url"])
        with Progbar(total, f"Fetching {job.path.name}", "byte", job.size) as bar:
            for chunk in chunks:
                _write(job.part, chunk)
                bar.update(len(chunk))
    except HTTPError as error:
        raise _broken_off(job.size, total, error) from error
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise _disk_full(job, total, version["url"]) from error
        raise
    if total is not None and job.size < total:
        raise _broken_off(job.size, total)


def _write(file: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _broken_off(size: int, total: int | None, error: Exception | None = None) -> _Interrupted:
    what = "server fell silent" if isinstance(error, ReadTimeoutError) else "connection broke off"
    of_total = "" if total is None else f" of {total:,}"
    return _Interrupted(f"the {what} after {size:,}{of_total} bytes")


def _free_bytes(job: _Job) -> int:
    return shutil.disk_usage(job.path.parent).free


def _disk_full(job: _Job, total: int | None, url: str) -> UserError:
    """Return the error of a full disk, after emptying a part that could not be continued."""
    if not _held_version(job, url):
        job.start_over()
    kept = f"goes on after the {_amount(job.size)} that are there" if job.size else "starts over"
    needed = "more room" if total is None else f"{_amount(total - job.size)} more"
    return UserError(
        f"The disk is full: {job.path.name} needs {needed}, and {job.path.parent} has "
        f"{_amount(_free_bytes(job))} free. Make room and run the same command again, which "
        f"{kept}."
    )


def _amount(number: int) -> str:
    """Return a number of bytes in decimal units, as in "1.5 GB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"


def _address(url: str) -> str:
    """Return the http(s) address of a mirror."""
    if url.startswith(_DRIVE):
        file_id = url.removeprefix(_DRIVE)
        return f"https://drive.google.com/uc?export=download&id={file_id}"
    return url


def _mirrored(url: str) -> str:
    """Return `url` on the host that SALIENCY_MIRROR names, if it names one."""
    mirror = os.environ.get("SALIENCY_MIRROR", "").rstrip("/")
    if not mirror or url.startswith(f"{mirror}/"):
        return url
    if not re.match(r"https?://[^/]", mirror):
        raise UserError(
            f"SALIENCY_MIRROR is {mirror!r}; it has to be an address like http://127.0.0.1:8000."
        )
    _, host, path, query, _ = urlsplit(url)
    return f"{mirror}/{host}{urlunsplit(('', '', path, query, ''))}"


def _open(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    """Return the reply of a mirror, behind its redirects and Google Drive's confirmation page.

    Redirects are followed here because each hop has to go through `_mirrored`.
    """
    hop = _address(url)
    for _ in range(config.FETCH["redirects"] + 1):
        try:
            response = session.get(
                _mirrored(hop),
                headers=headers,
                stream=True,
                timeout=(config.FETCH["connect_timeout"], config.FETCH["read_timeout"]),
                allow_redirects=False,
            )
            if response.is_redirect:
                following = response.headers["Location"]
            elif url.startswith(_DRIVE) and _is_drive_page(response):
                following = _confirmed(response.text)
            else:
                return response
            response.close()
            hop = urljoin(hop, following)
        except _TRANSIENT as error:
            raise _Interrupted(_connection_problem(error)) from error
        except (requests.RequestException, ValueError) as error:
            raise _Refused(f"the address cannot be followed ({error})") from error
    raise _Refused(f"the server redirects more than {config.FETCH['redirects']} times")


def _connection_problem(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "the server does not answer in time"
    # The cause at the bottom says it in a few words, those above wrap it in addresses and names.
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    while cause.__cause__:
        cause = cause.__cause__
    return f"no connection ({cause})"


def _is_drive_page(response: requests.Response) -> bool:
    # Every file of Google Drive comes with this header, also one that is a web page itself.
    is_file = "Content-Disposition" in response.headers
    return response.status_code == 200 and _is_html(response) and not is_file


def _is_html(response: requests.Response) -> bool:
    return response.headers.get("Content-Type", "").lower().startswith("text/html")


def _confirmed(page: str) -> str:
    """Return the address behind Google Drive's question whether to take an unscanned file."""
    from gdown.download import get_url_from_gdrive_confirmation
    from gdown.exceptions import FileURLRetrievalError

    try:
        return get_url_from_gdrive_confirmation(page)
    except (FileURLRetrievalError, AssertionError, KeyError) as error:
        raise _Refused(_page_came(page)) from error


def _page_came(page: str) -> str:
    """Return what to say of a web page; its title tells a spent quota from a login."""
    title = re.search(r"<title[^>]*>(.*?)</title", page, re.IGNORECASE | re.DOTALL)
    words = _shown(html.unescape(title[1])) if title else ""
    return "a web page came instead of the file" + (f' ("{words}")' if words else "")


def _shown(text: str) -> str:
    """Return a server's words fit for a message: short, in one line, without control characters."""
    line = " ".join(text.split())
    return "".join(character for character in line if character.isprintable())[:100]


def _check_status(response: requests.Response) -> None:
    """Check that the reply holds a file, whole or in part."""
    status = response.status_code
    if status in (200, 206):
        return
    answer = f"the server answered {status} {_shown(response.reason or '')}".rstrip()
    if status in _TRY_AGAIN or status >= 500:
        raise _Interrupted(answer, _retry_after(response))
    raise _Refused(answer)


def _retry_after(response: requests.Response) -> float:
    """Return the seconds to wait that a reply asks for, 0 if it asks for none."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _length(response: requests.Response) -> int | None:
    """Return the length in bytes that a reply announces, if it does."""
    value = response.headers.get("Content-Length", "")
    if "Transfer-Encoding" in response.headers or not re.fullmatch("[0-9]{1,18}", value):
        return None
    return int(value)


def _check_range(response: requests.Response, job: _Job, held: dict, version: dict) -> int | None:
    """Check that a partial reply goes on where the part ends; return the whole file's length."""
    stated = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", stated)
    if not held or not match or int(match[1]) != job.size:
        job.start_over()
        raise _Interrupted(f"the server sent another part than it was asked for ({_shown(stated)})")
    # Servers that ignore If-Range still name the version they send.
    if any(version[key] and held.get(key) not in (None, version[key]) for key in version):
        job.start_over()
        raise _Interrupted("the server has another version of the file now")
    return None if match[2] == "*" else int(match[2])


def _check_complete(response: requests.Response, job: _Job) -> None:
    """Take "range not satisfiable" as the end of a part that is whole already."""
    if response.headers.get("Content-Range") != f"bytes */{job.size}":
        job.start_over()
        raise _Interrupted("the server has a shorter file now")


def _check_size(size: int, job: _Job) -> None:
    if job.verify and job.source.size not in (None, size):
        job.start_over()
        raise _Changed(
            f"the file changed: it has {size:,} bytes, {job.source.size:,} were expected"
        )


def _check_head(chunks: Iterator[bytes], response: requests.Response) -> bytes:
    """Return the first bytes of a reply, after checking that they begin no web page."""
    head = b""
    try:
        while len(head) < _SNIFFED_BYTES and (chunk := next(chunks, b"")):
            head += chunk
    except HTTPError as error:
        raise _broken_off(len(head), _length(response), error) from error
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")) or (
        start.startswith(b"<") and _is_html(response)
    ):
        raise _Refused(_page_came(head.decode("utf-8", errors="replace")))
    return head


def _version_of(response: requests.Response) -> dict[str, str | None]:
    return {
        "etag": response.headers.get("ETag"),
        "last_modified": response.headers.get("Last-Modified"),
    }


def _held_version(job: _Job, url: str) -> dict:
    """Return the recorded version of a part that this mirror can go on with, else nothing.

    A part that another mirror began stays until this one really delivers.
    """
    try:
        version = json.loads(_beside(job.path, ".part.json").read_text(encoding="utf-8"))
        same = version["url"] == url
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # a part of unknown origin is worth nothing
    usable = job.size and same and (_validator(version) or job.can_tell_splices)
    return version if usable else {}


def _validator(version: dict) -> str | None:
    """Return what If-Range may hold; a weak ETag does not vouch for single bytes."""
    etag = version.get("etag")
    return etag if etag and not etag.startswith("W/") else version.get("last_modified")


def _check_arrived(job: _Job) -> None:
    """Check a part that is as long as it should be; empty it if it is not the file.

    Raises:
        _Refused: Something else than the file arrived.
    """
    part_path = _beside(job.path, ".part")
    try:
        if job.size == 0:
            raise _Refused("an empty file came")
        if job.verify:
            _check_sums(part_path, job.source, job.path)
        # A sum that the source names vouches for every byte, and unpacking a tar takes long.
        if job.source.kind != "file" and not (job.verify and _named_sums(job.source)):
            _check_archive(part_path)
    except _Refused:
        job.start_over()
        raise


def _check_archive(path: Path) -> None:
    """Check that an archive is one and reaches its end."""
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    try:
        if is_zip:
            # The directory that this reads is the last thing in a zip file.
            zipfile.ZipFile(path).close()
        else:
            with tarfile.open(path) as tar:
                tar.getmembers()
                # What follows the last member is padding and the sum of a compressed stream.
                while tar.fileobj.read(1 << 20):
                    pass
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        raise _Refused(
            f"a truncated or damaged archive came ({error or type(error).__name__})"
        ) from error


def _named_sums(source: Source) -> dict[str, str]:
    named = {"sha256": source.sha256, "md5": source.md5}
    return {algorithm: value.lower() for algorithm, value in named.items() if value}


def _expected_sums(source: Source, path: Path) -> dict[str, str]:
    """Return the sums by algorithm that the source names, else what an earlier fetch recorded."""
    record = _beside(path, ".sha256")
    sums = _named_sums(source)
    if sums or not record.is_file():
        return sums
    recorded = record.read_text(encoding="utf-8").split()
    return {"sha256": recorded[0]} if recorded else {}


def _check_sums(file: Path, source: Source, path: Path) -> None:
    """Check the size and the sums of `file`, which belongs at `path`."""
    size = file.stat().st_size
    if source.size not in (None, size):
        raise _Changed(f"the file changed: it has {size:,} bytes, {source.size:,} were expected")
    for algorithm, expected in _expected_sums(source, path).items():
        found = digest(file, algorithm)
        if found != expected:
            name = {"sha256": "SHA-256", "md5": "MD5"}[algorithm]
            origin = "" if _named_sums(source) else f" according to {_beside(path, '.sha256')}"
            raise _Changed(
                f"the file changed: its {name} is {found}, expected was {expected}{origin}"
            )


def _move_into_place(job: _Job) -> None:
    part_path = _beside(job.path, ".part")
    if not _named_sums(job.source):
        text = f"{digest(part_path, 'sha256')}  {job.path.name}\n"
        write_text(_beside(job.path, ".sha256"), text)
    os.fsync(job.part.fileno())
    part_path.replace(job.path)
    _beside(job.path, ".part.json").unlink(missing_ok=True)
