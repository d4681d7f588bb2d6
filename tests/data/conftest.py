"""A web server on this machine, to download from."""

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest


class Server(ThreadingHTTPServer):
    """Serves `files` and can be made to misbehave.

    Attributes:
        files: name -> content.
        ranges: whether the server honours Range. If not, it sends the whole file with status 200.
        says_range: whether the answer to Range says which bytes follow.
        says_length: whether answers have a Content-Length.
        cuts: bytes after which the next connections are closed, one number per connection.
        requests: the Range of each request, or None.
        failing: status of every answer, instead of the file.
        refused: names of files that are answered with 403.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = self.says_range = self.says_length = True
        self.cuts: list[int] = []
        self.requests: list[str | None] = []
        self.failing: int | None = None
        self.refused: tuple[str, ...] = ()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        requested = self.headers["Range"]
        self.server.requests.append(requested)
        if self.path[1:] in self.server.refused:
            self.send_error(403)
            return
        content = self.server.files.get(self.path[1:])
        if self.server.failing or content is None:
            self.send_error(self.server.failing or 404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", requested)[1]) if requested and self.server.ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start and self.server.says_range:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.says_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()
