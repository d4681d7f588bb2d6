"""Data in a bucket of a local S3 server: read, checked by ETag, and each failure in one line.

Needs moto and s3fs: pip install "moto[server]" "tfrcnn[remote]"
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfrcnn.data.read import load_dataset
from tfrcnn.errors import InputError

from ..local_s3 import run_server, s3fs, use_bucket
from . import test_coco_folder as coco
from . import test_tfrecord as tfrecord


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    yield from run_server()


@pytest.fixture(autouse=True)
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("TFRCNN_CACHE", str(tmp_path / "cache"))
    yield from use_bucket(server, tmp_path, monkeypatch)


def test_a_folder_a_file_and_shards_are_read_from_a_bucket(bucket: Any, tmp_path: Path) -> None:
    coco.write(tmp_path / "cells" / "a.json", tmp_path / "cells" / "images", "a.jpg")
    for number in range(2):
        tfrecord.write(tmp_path / "cells" / f"train-0000{number}-of-00002", tfrecord.record(f"{number}.jpg"))
    bucket.put(f"{tmp_path}/cells", "bucket/cells", recursive=True)
    for data in ("cells/a.json", "cells/train-?????-of-00002", "tfrecord:cells"):
        prefix, colon, path = data.rpartition(":")
        here, there = (load_dataset(f"{prefix}{colon}{root}/{path}") for root in (tmp_path, "s3://bucket"))
        assert there.fingerprint() == here.fingerprint()


def test_an_object_of_the_same_size_with_another_etag_is_copied_again(bucket: Any, tmp_path: Path) -> None:
    for shade in (10, 11):
        tfrecord.write(tmp_path / "a.tfrecord", tfrecord.record(shade=0, class__text=[f"cat {shade}".encode()]))
        bucket.put(f"{tmp_path}/a.tfrecord", "bucket/a.tfrecord")
        assert load_dataset("s3://bucket/a.tfrecord").categories[0].name == f"cat {shade}"


def test_a_bucket_or_an_object_that_does_not_exist_is_one_line() -> None:
    for address in ("s3://other/a.tfrecord", "s3://other/cells", "s3://bucket/a.tfrecord", "s3://bucket/train-*"):
        with pytest.raises(InputError) as error:
            load_dataset(address)
        assert str(error.value).startswith(f"{address}: expected a file or a folder, found nothing")


def test_missing_credentials_are_one_line_that_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError) as error:
        load_dataset("s3://bucket/a.tfrecord")
    assert str(error.value) == (
        "s3://bucket/a.tfrecord: cannot be read: Unable to locate credentials; set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket FSSPEC_S3_ANON=true"
    )


def test_a_server_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(InputError, match=r"^s3://bucket/a\.tfrecord: cannot be read: Could not connect") as error:
        load_dataset("s3://bucket/a.tfrecord")
    assert "\n" not in str(error.value)
