"""Images from web addresses: what a server may send, and what ends in one clear line."""

import http.server
import io
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfrcnn.data import web
from tfrcnn.errors import InputError


def png(color: tuple[int, int, int] = (200, 100, 50)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 6), color).save(content, "PNG")
    return content.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path with one kind of answer."""

    def do_GET(self) -> None:
        name, body = self.path.partition("?")[0].rpartition("/")[2], png()
        if name == "moved.png":
            self.send_response(302)
            self.send_header("Location", "/good.png")
            self.end_headers()
            return
        if name == "missing.png":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if name == "page.html" else "image/png")
        if name == "page.html":
            body = b"<html>sign in</html>"
        if name not in ("endless.png", "slow.png"):
            self.send_header("Content-Length", str({"huge.png": 10**12, "short.png": 10**4}.get(name, len(body))))
        self.end_headers()
        try:
            self.wfile.write(body)
            while name == "endless.png" or (name == "slow.png" and not time.sleep(0.02)):
                self.wfile.write(b"\0" * 100)
        except OSError:  # the client has gone
            pass

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("path", ["good.png", "moved.png", "a/good.png?size=8&key=a%2Fb", "caf\u00e9 1.png"])
def test_an_image_is_read_from_its_address(server: str, path: str) -> None:
    image = web.read_address(f"{server}/{path}")
    assert (image.shape, image.dtype, image[0, 0].tolist()) == ((6, 8, 3), np.uint8, [200, 100, 50])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.png", "expected an image, the server answers 404"),
        ("page.html", r"found no image \(it starts with b'<html>si'\); the server sent text/html"),
        ("huge.png", "expected at most 0 MB, found 953674 MB"),
        ("endless.png", "expected at most 0 MB, found more"),
        ("slow.png", "expected the image within 0 seconds, found a slower server"),
        ("short.png", "expected 10,000 bytes, the connection closed after"),
    ],
)
def test_an_address_without_a_usable_image_is_one_line(
    server: str, path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_BYTES", 50_000)
    monkeypatch.setattr(web, "MAX_SECONDS", 0.3)
    with pytest.raises(InputError, match=message) as error:
        web.read_address(f"{server}/{path}")
    assert str(error.value).startswith(f"{server}/{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/a.png", "http://no-such-host.invalid/a.png", "http://[::1/a.png", "http://:x/a.png"]
)
def test_a_server_that_cannot_be_reached_is_one_line(address: str) -> None:
    with pytest.raises(InputError, match=r"cannot be downloaded: \w") as error:
        web.read_address(address)
    assert "\n" not in str(error.value)


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT", 0.2)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(InputError, match="cannot be downloaded: timed out"):
        web.read_address(f"http://127.0.0.1:{silent.getsockname()[1]}/a.png")
