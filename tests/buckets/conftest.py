"""A bucket in memory, and a cache that is empty."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BUCKET = "memory://bucket"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFRCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bucket() -> Iterator[Any]:
    filesystem = pytest.importorskip("fsspec").filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
