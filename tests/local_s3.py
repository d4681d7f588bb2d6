"""A local S3 server for tests. Needs moto and s3fs: pip install "moto[server]" "tfrcnn[remote]"."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

moto = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")


def run_server() -> Iterator[str]:
    """Yield the address of a server."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def use_bucket(server: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a file system with an empty bucket called "bucket", which s3:// addresses reach meanwhile."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(home),
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    if not filesystem.exists("bucket"):
        filesystem.mkdir("bucket")
    yield filesystem
    filesystem.rm("bucket/*", recursive=True) if filesystem.ls("bucket", refresh=True) else None
    s3fs.S3FileSystem.clear_instance_cache()
