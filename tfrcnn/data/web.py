"""Downloads single images into memory, with limits on their size and time."""

from __future__ import annotations

import time
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

import numpy as np

from tfrcnn.data.decode import decode_bytes
from tfrcnn.errors import InputError
from tfrcnn.printable import without_login

MAX_BYTES = 100 << 20  # per image
TIMEOUT = 15.0  # seconds without a byte
MAX_SECONDS = 60.0  # per image
_CHUNK = 1 << 16
_HEADERS = {"User-Agent": "tfrcnn (https://pypi.org/project/tfrcnn)", "Accept": "image/*"}


def read_address(address: str) -> np.ndarray:
    """Download an image and decode it, to the same pixels as its file.

    Args:
        address: starts with http:// or https://.

    Returns:
        [H, W, 3] uint8 RGB, upright.

    Raises:
        InputError: the server cannot be reached, has no such file, is too slow, or sends something else than an image
            of at most `MAX_BYTES`.

    Example:
        image = read_address("https://example.com/street.jpg")
    """
    shown = without_login(address)
    try:
        with urlopen(Request(_quoted(address), headers=_HEADERS), timeout=TIMEOUT) as response:
            content = _receive(shown, response)
            kind = response.headers.get_content_type()
    except HTTPError as error:
        error.close()
        raise InputError(f"{shown}: expected an image, the server answers {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
        raise InputError(f"{shown}: cannot be downloaded: {reason}") from error
    try:
        return decode_bytes(content, shown)
    except InputError as error:
        sent = "" if kind.startswith("image/") else f"; the server sent {kind}"
        raise InputError(f"{error}{sent}") from error


def _receive(shown: str, response: Any) -> bytes:
    limit, length = f"expected at most {MAX_BYTES >> 20} MB", response.headers["Content-Length"] or ""
    if length.isdigit() and int(length) > MAX_BYTES:
        raise InputError(f"{shown}: {limit}, found {int(length) >> 20} MB")
    content, end = bytearray(), time.monotonic() + MAX_SECONDS
    while chunk := response.read1(_CHUNK):
        content += chunk
        if len(content) > MAX_BYTES:
            raise InputError(f"{shown}: {limit}, found more")
        if time.monotonic() > end:
            raise InputError(f"{shown}: expected the image within {MAX_SECONDS:.0f} seconds, found a slower server")
    if length.isdigit() and len(content) < int(length):
        raise InputError(f"{shown}: expected {int(length):,} bytes, the connection closed after {len(content):,}")
    return bytes(content)


def _quoted(address: str) -> str:
    """Write spaces and letters outside ASCII as a browser does."""
    parts = urlsplit(address)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    return urlunsplit(
        (
            parts.scheme,
            host,
            quote(parts.path, safe="/%:@!$&'()*+,;=~"),
            quote(parts.query, safe="=&%?/:@!$'()*+,;~"),
            "",
        )
    )
