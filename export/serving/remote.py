"""Download pictures for a client, without letting the client reach what only this machine can reach.

A URL may name public hosts only, and hosts that the server's owner allows. The address is checked after the name is
resolved and before a byte is sent, at every redirect again. Files of this machine are never read.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

MAX_REDIRECTS = 3
CHUNK = 2**16
# IPv6 networks that hold IPv4 addresses: NAT64, 6to4, compatible
TRANSLATED = [ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "2002::/16", "::/96")]


class RemoteError(Exception):
    """A picture that cannot be fetched; the message says why, for the client."""


@dataclass(frozen=True)
class Remote:
    """Where pictures may come from, and what one may cost.

    Attributes:
        max_bytes: Bytes of one picture.
        seconds: Time for one picture.
        hosts: Names of private hosts that are allowed, for example of a file server in a company's network.
        base: The URL of Label Studio, which relative addresses are below; "" refuses them. Its host is allowed.
        token: Is sent to `base` and nowhere else: a legacy token, or a personal access token, which is a JWT.
    """

    max_bytes: int
    seconds: float = 20.0
    hosts: frozenset[str] = field(default_factory=frozenset)
    base: str = ""
    token: str = ""

    def fetch(self, address: str) -> bytes:
        """Return the content of a picture.

        Args:
            address: An http or https URL, a data: URI, or a path below `base`.

        Raises:
            RemoteError: The address is not allowed, or there is no picture of at most `max_bytes` in time.
        """
        if address.startswith("data:"):
            return self._decode(address)
        if address.startswith("/") and not address.startswith("//"):
            if not self.base:
                raise RemoteError("a relative address needs the server's option --label-studio URL")
            address = _joined(self.base, address)
        deadline = time.monotonic() + self.seconds
        for _ in range(MAX_REDIRECTS + 1):
            url = _split(address)
            headers = {"Accept": "image/*"}
            if self.token and self._is_home(url):
                headers["Authorization"] = self._authorization(deadline)
            status, location, content = self._request(url, deadline, headers)
            if status in (301, 302, 303, 307, 308) and location:
                address = _joined(address, location)
                continue
            if status != 200:
                raise RemoteError(f"expected status 200, found {status}")
            return content
        raise RemoteError(f"expected at most {MAX_REDIRECTS} redirects, found more")

    def _decode(self, address: str) -> bytes:
        header, comma, content = address.partition(",")
        if not comma or len(content) > 4 * self.max_bytes:
            raise RemoteError(f"expected a data: URI of at most {self.max_bytes} bytes")
        try:
            data = unquote_to_bytes(content)
            return base64.b64decode(data, validate=True) if header.endswith(";base64") else data
        except binascii.Error as error:
            raise RemoteError("expected base64 in the data: URI") from error

    def _is_home(self, url: SplitResult) -> bool:
        base = urlsplit(self.base)
        return bool(self.base) and (url.scheme, url.netloc) == (base.scheme, base.netloc)

    def _authorization(self, deadline: float) -> str:
        """Return the header for Label Studio, which exchanges a JWT for a token that is valid for some minutes."""
        if not _fits_header(self.token):  # the error of the request would repeat it
            raise RemoteError("the server's access token of Label Studio has characters that no header takes")
        if self.token.count(".") != 2:
            return f"Token {self.token}"
        url = _split(urljoin(self.base, "/api/token/refresh"))
        body = json.dumps({"refresh": self.token}).encode()
        status, _, content = self._request(url, deadline, {"Content-Type": "application/json"}, body)
        try:
            access = str(json.loads(content)["access"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RemoteError(f"Label Studio refuses the access token, with status {status}") from error
        if not _fits_header(access):
            raise RemoteError("Label Studio answers with an access token that no header takes")
        return f"Bearer {access}"

    def _request(
        self, url: SplitResult, deadline: float, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, str | None, bytes]:
        """Return status, location and content of one request: POST if there is a body."""
        host = url.hostname or ""
        try:
            port = url.port or (443 if url.scheme == "https" else 80)
            stream = self._connect(host, port, self._is_home(url) or host in self.hosts, deadline)
        except (OSError, ValueError) as error:
            raise RemoteError(f"cannot connect to the host: {_reason(error)}") from error
        # A host that sends a byte now and then would never time out by itself.
        held = [stream]
        timer = threading.Timer(max(deadline - time.monotonic(), 0), _shut, [held])
        timer.start()
        try:
            if url.scheme == "https":
                context = ssl.create_default_context()
                stream = context.wrap_socket(stream, server_hostname=host, do_handshake_on_connect=False)
                held[0] = stream
                stream.do_handshake()
            connection = http.client.HTTPConnection(host, port)
            connection.sock = stream
            target = url._replace(scheme="", netloc="", fragment="").geturl() or "/"
            headers = {"Host": url.netloc.rpartition("@")[2], **headers}
            connection.request("GET" if body is None else "POST", target, body, headers)
            answer = connection.getresponse()
            content = bytearray()
            while answer.status == 200 and (chunk := answer.read(CHUNK)):
                content += chunk
                if len(content) > self.max_bytes:
                    raise RemoteError(f"expected at most {self.max_bytes} bytes, found more")
            if time.monotonic() > deadline:
                raise RemoteError(f"expected the picture within {self.seconds:g} seconds")
            return answer.status, answer.getheader("Location"), bytes(content)
        except (OSError, ValueError, http.client.HTTPException) as error:
            late = time.monotonic() > deadline
            reason = f"expected the picture within {self.seconds:g} seconds" if late else _reason(error)
            raise RemoteError(reason) from error
        finally:
            timer.cancel()
            stream.close()

    def _connect(self, host: str, port: int, allowed: bool, deadline: float) -> socket.socket:
        """Connect to an address of a host; all of them are public unless the host is allowed."""
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not allowed and not all(is_public(str(address[4][0])) for address in addresses):
            raise RemoteError("the host is not public: the server's option --image-host allows it")
        failure: OSError = OSError("no address")
        for family, kind, _, _, place in addresses:  # localhost can be ::1 and 127.0.0.1, with a server at one of them
            stream = socket.socket(family, kind)
            try:
                stream.settimeout(max(deadline - time.monotonic(), 0.01))
                stream.connect(place)
                return stream
            except OSError as error:
                stream.close()
                failure = error
        raise failure


def is_public(address: str) -> bool:
    """Return whether an IP address is public, and hides no private one that a gateway would translate it to."""
    ip = ipaddress.ip_address(address)
    if not ip.is_global or ip.is_multicast:
        return False
    return ip.version == 4 or not (ip.is_site_local or any(ip in network for network in TRANSLATED))


def _fits_header(token: str) -> bool:
    return token.isascii() and token.isprintable()


def _joined(base: str, address: str) -> str:
    try:
        return urljoin(base, address)
    except ValueError as error:
        raise RemoteError(f"expected a URL: {error}") from error


def _split(address: str) -> SplitResult:
    if any(ord(c) <= 32 or ord(c) > 126 for c in address):
        raise RemoteError("expected a URL in ASCII without spaces: escape other characters with %")
    try:
        url = urlsplit(address)
    except ValueError as error:
        raise RemoteError(f"expected a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.hostname:
        raise RemoteError(f"expected an http, https or data: address, found {(url.scheme or 'no scheme')[:20]!r}")
    return url


def _shut(held: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):  # closed already
        held[0].shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:200]
