"""A web server on 127.0.0.1 for tests: it serves bytes properly, and badly when told to.

    with Loopback({"/example.org/a.zip": content}) as server:
        server.script("/example.org/a.zip", break_off(100), status(503))
        ...  # the first request breaks off, the second gets a 503, all others are served well
        assert server.requests[1].headers["Range"] == "bytes=100-"

With `server.use(monkeypatch)` everything that `fetch.py` asks for comes from the server, the
original host being the first part of the path; `loopback_only` cuts off every other host.
"""

import socket
import struct
import threading
import zlib
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from email.utils import formatdate
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered; the defaults are those of a good server.

    Attributes:
        status: Answer with this status and no file.
        headers: Further or other headers; None leaves one out.
        body: Bytes in place of the file's.
        ends: The number of body bytes after which nothing more comes.
        ending: How it ends: "close" and "reset" the connection, or "stall" and keep it.
        ranges: Whether Range headers are heard.
        if_range: Whether If-Range headers are heard.
        framing: How the end of the body is told: "length", "chunked", or by "close" alone.
    """

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    ends: int | None = None
    ending: str = "close"
    ranges: bool = True
    if_range: bool = True
    framing: str = "length"


WELL = Behaviour()


def break_off(after: int, **options) -> Behaviour:
    """Announce the whole file and close the connection after some bytes."""
    return Behaviour(ends=after, **options)


def reset(after: int) -> Behaviour:
    """Announce the whole file and reset the connection after some bytes."""
    return Behaviour(ends=after, ending="reset")


def stall(after: int = 0) -> Behaviour:
    """Send some bytes and then nothing, until the server closes or `Loopback.release` is set."""
    return Behaviour(ends=after, ending="stall")


def no_ranges(**options) -> Behaviour:
    """Send the whole file whatever range is asked for."""
    return Behaviour(ranges=False, **options)


def wrong_range(content_range: str) -> Behaviour:
    """Answer a range request with another Content-Range than the one asked for."""
    return Behaviour(headers={"Content-Range": content_range})


def status(code: int, retry_after: int | str | None = None) -> Behaviour:
    """Answer with a status code and no file."""
    return Behaviour(
        status=code, headers={} if retry_after is None else {"Retry-After": str(retry_after)}
    )


def redirect(location: str) -> Behaviour:
    """Point to another place."""
    return Behaviour(status=302, headers={"Location": location})


def other(body: bytes, **headers: str) -> Behaviour:
    """Send other bytes than the file's as if they were the file; `Content_Type="text/html"`."""
    renamed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Behaviour(body=body, headers=renamed, ranges=False)


def page(title: str, text: str = "") -> Behaviour:
    """Send a web page with status 200."""
    html = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{text}</body></html>"
    return other(html.encode(), Content_Type="text/html; charset=utf-8")


def chunked(**options) -> Behaviour:
    """Send the file without its length, in chunks."""
    return Behaviour(framing="chunked", **options)


def unframed(**options) -> Behaviour:
    """Send the file without its length; only the closed connection tells the end."""
    return Behaviour(framing="close", **options)


@dataclass(frozen=True)
class Request:
    """A request that came in: its path with the query, and its headers."""

    path: str
    headers: Message


class Loopback:
    """A server on a free port of 127.0.0.1, running while its `with` block does.

    Args:
        files: Content by path, or a folder to serve; a path may have a query ("/uc?id=1"). The
            mapping may be changed while the server runs.

    Attributes:
        files: What it serves.
        url: Its address, without a slash at the end.
        requests: All requests so far, in the order of their arrival.
        release: An event that lets stalled replies go on to their end.
    """

    def __init__(self, files: Mapping[str, bytes] | Path) -> None:
        self.files = files
        self.requests: list[Request] = []
        self.release = threading.Event()
        self._scripts: dict[str, deque[Behaviour]] = defaultdict(deque)
        self._standing: dict[str, Behaviour] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.loopback = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have everything that `fetch.py` asks for asked of this server."""
        monkeypatch.setenv("SALIENCY_MIRROR", self.url)
        monkeypatch.setenv("NO_PROXY", "*")

    def script(self, path: str, *behaviours: Behaviour) -> None:
        """Answer the next requests for `path` in these ways, one each, and well afterwards."""
        self._scripts[path].extend(behaviours)

    def always(self, path: str, behaviour: Behaviour) -> None:
        """Answer all requests for `path` that no script covers in this way."""
        self._standing[path] = behaviour

    def forget(self) -> None:
        """Forget all requests, scripts and standing behaviours; the files stay."""
        with self._lock:
            self.requests.clear()
            self._scripts.clear()
            self._standing.clear()
            self.release.clear()

    def ranges(self) -> list[str | None]:
        """Return the Range header of each request so far."""
        return [request.headers["Range"] for request in self.requests]

    def take(self, request: Request) -> Behaviour:
        """Record a request and return how to answer it."""
        bare = request.path.partition("?")[0]
        with self._lock:
            self.requests.append(request)
            for path in (request.path, bare):
                if self._scripts[path]:
                    return self._scripts[path].popleft()
            return self._standing.get(request.path) or self._standing.get(bare, WELL)

    def content(self, path: str) -> bytes | None:
        """Return what is served at a path, None if nothing is."""
        bare = path.partition("?")[0]
        if not isinstance(self.files, Path):
            return self.files.get(path, self.files.get(bare))
        file = (self.files / bare.lstrip("/")).resolve()
        inside = file.is_relative_to(self.files.resolve())
        return file.read_bytes() if inside and file.is_file() else None


def version_headers(content: bytes) -> dict[str, str]:
    """Return the ETag and Last-Modified that the server sends for some content."""
    return {
        "ETag": f'"{sha256(content).hexdigest()[:16]}"',
        "Last-Modified": formatdate(1_500_000_000 + zlib.crc32(content) % 10**8, usegmt=True),
    }


def parse_range(value: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte that a Range header asks for, None if there are no such.

    Args:
        value: As in "bytes=5-", "bytes=5-9" or "bytes=-5".
        size: The number of bytes there are.
    """
    first, _, last = value.removeprefix("bytes=").partition("-")
    if first:
        start, end = int(first), int(last) if last else size - 1
    else:
        start, end = max(0, size - int(last)), size - 1
    return (start, min(end, size - 1)) if start < size and start <= end else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The headers and the body are two small packets; waiting to join them takes 40 ms each time.
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Serve a connection until it ends; clients that have seen enough just go away."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        loopback: Loopback = self.server.loopback
        behaviour = loopback.take(Request(self.path, self.headers))
        content = loopback.content(self.path) if behaviour.body is None else behaviour.body
        if behaviour.status is not None or content is None:
            self._head(behaviour.status or 404, {"Content-Length": "0"}, behaviour)
            return
        self._send(content, behaviour, loopback)

    def _send(self, content: bytes, behaviour: Behaviour, loopback: Loopback) -> None:
        headers = {"Content-Type": "application/octet-stream", **version_headers(content)}
        code, body = 200, content
        if behaviour.ranges:
            headers["Accept-Ranges"] = "bytes"
            if self._wants_range(headers, behaviour):
                found = parse_range(self.headers["Range"], len(content))
                if found is None:
                    headers |= {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"}
                    self._head(416, headers, behaviour)
                    return
                start, end = found
                code, body = 206, content[start : end + 1]
                headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        headers |= {
            "length": {"Content-Length": str(len(body))},
            "chunked": {"Transfer-Encoding": "chunked"},
            "close": {"Connection": "close"},
        }[behaviour.framing]
        self._head(code, headers, behaviour)
        self._write(body[: behaviour.ends], behaviour)
        if behaviour.ends is not None and behaviour.ends < len(body):
            if behaviour.ending != "stall":
                self._cut(behaviour)
                return
            loopback.release.wait(30)
            self._write(body[behaviour.ends :], behaviour)
        if behaviour.framing == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def _wants_range(self, headers: Mapping[str, str], behaviour: Behaviour) -> bool:
        if not self.headers["Range"]:
            return False
        condition = self.headers["If-Range"] if behaviour.if_range else None
        return condition in (None, headers["ETag"], headers["Last-Modified"])

    def _head(self, code: int, headers: Mapping[str, str], behaviour: Behaviour) -> None:
        self.send_response(code)
        for name, value in {**headers, **behaviour.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _write(self, body: bytes, behaviour: Behaviour) -> None:
        if behaviour.framing != "chunked":
            self.wfile.write(body)
            return
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def _cut(self, behaviour: Behaviour) -> None:
        self.close_connection = True
        if behaviour.ending == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            # Closed for good only with its reader; socketserver would say goodbye first.
            self.rfile.close()
            self.connection.close()

    def log_message(self, *arguments: object) -> None:
        """Keep the tests' output free of a line for every request."""


def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make connections to every host but 127.0.0.1 fail."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: tuple) -> None:
        if address[0] != "127.0.0.1":
            raise OSError(f"a test tried to connect to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
