"""The page at `/`: one file, which asks nobody but this server for anything."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from fastapi import Response

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def _content() -> tuple[bytes, dict[str, str]]:
    """Return the page and its headers: the browser runs the page's own script and no other."""
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    hashes = {tag: base64.b64encode(hashlib.sha256(code.encode()).digest()) for tag, code in _INLINE.findall(text)}
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script'].decode()}'; "
        f"style-src 'sha256-{hashes['style'].decode()}'; img-src blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return text.encode(), headers


def answer() -> Response:
    content, headers = _content()
    return Response(content, headers=headers, media_type="text/html")
