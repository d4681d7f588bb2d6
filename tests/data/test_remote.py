"""Data at an address: read as their folder is, copied once, checked by version, and each failure in one line."""

import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfrcnn.batch.blocks import find_blocks
from tfrcnn.data import copies, remote
from tfrcnn.data.convert import convert_dataset
from tfrcnn.data.formats import absolute, exists, place_of
from tfrcnn.data.locate import ImageFinder
from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.data.remote_files import Entry, Remote
from tfrcnn.data.search import search_images
from tfrcnn.errors import InputError
from tfrcnn.files import cache_folder

from . import test_coco_folder as coco
from . import test_tfrecord as tfrecord
from .test_your_data import ROWS, WRITERS

fsspec = pytest.importorskip("fsspec")
MemoryFileSystem = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem

BUCKET = "memory://bucket"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFRCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data" / "memory" / "bucket"


@pytest.fixture
def bucket() -> Iterator[Any]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


@pytest.fixture
def gets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are copied from the bucket."""
    names: list[str] = []
    get_file = MemoryFileSystem.get_file

    def count(self: Any, path: str, *arguments: Any, **options: Any) -> None:
        names.append(path.rpartition("/")[2])
        get_file(self, path, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", count)
    return names


def upload(filesystem: Any, folder: Path, place: str = "/bucket/cells") -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            filesystem.pipe(f"{place}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def upload_coco(filesystem: Any, folder: Path, images: str = "images") -> None:
    coco.write(folder / "a.json", folder / images, "a.jpg")
    upload(filesystem, folder)


@pytest.mark.parametrize("row", WRITERS)
def test_data_at_an_address_are_read_as_their_folder_is(row: str, tmp_path: Path, bucket: Any) -> None:
    WRITERS[row](tmp_path / "cells")
    upload(bucket, tmp_path / "cells")
    data, _ = ROWS[row]
    here, there = load_dataset(str(tmp_path / data)), load_dataset(f"{BUCKET}/{data}")
    assert there.fingerprint() == here.fingerprint()
    assert there.source == f"{BUCKET}/{data}"


def test_a_file_is_copied_once_and_again_when_it_changes(tmp_path: Path, bucket: Any, gets: list[str]) -> None:
    upload_coco(bucket, tmp_path / "here")
    load_dataset(f"{BUCKET}/cells/a.json")
    load_dataset(f"{BUCKET}/cells/a.json")
    assert gets == ["a.json", "a.jpg"]
    content = json.loads(bucket.cat("/bucket/cells/a.json"))
    content["categories"][0]["name"] = "cow"  # of the same length
    bucket.pipe("/bucket/cells/a.json", json.dumps(content).encode())
    assert load_dataset(f"{BUCKET}/cells/a.json").categories[0].name == "cow"
    assert gets == ["a.json", "a.jpg", "a.json"]


def test_a_damaged_copy_is_replaced(tmp_path: Path, cache: Path, bucket: Any) -> None:
    upload_coco(bucket, tmp_path / "here")
    load_dataset(f"{BUCKET}/cells/a.json")
    (cache / "cells" / "images" / "a.jpg").write_bytes(b"half")
    load_dataset(f"{BUCKET}/cells/a.json")
    assert (cache / "cells" / "images" / "a.jpg").read_bytes() == bucket.cat("/bucket/cells/images/a.jpg")


def test_only_the_images_that_a_json_file_names_are_copied(tmp_path: Path, cache: Path, bucket: Any) -> None:
    upload_coco(bucket, tmp_path / "here")
    bucket.pipe("/bucket/cells/images/other.jpg", b"other")
    load_dataset(f"{BUCKET}/cells/a.json")
    assert [path.name for path in (cache / "cells" / "images").iterdir()] == ["a.jpg"]


def test_images_may_be_at_another_address(tmp_path: Path, bucket: Any) -> None:
    coco.write(tmp_path / "a.json", tmp_path / "photos", "a.jpg")
    upload(bucket, tmp_path / "photos", "/photos/of/cells")
    dataset = load_dataset(str(tmp_path / "a.json"), "memory://photos/of/cells")
    assert dataset.fingerprint() == load_dataset(str(tmp_path / "a.json"), tmp_path / "photos").fingerprint()


def test_a_json_file_may_name_images_by_their_addresses(tmp_path: Path, bucket: Any) -> None:
    coco.write(tmp_path / "a.json", tmp_path / "photos", "a.jpg")
    upload(bucket, tmp_path / "photos", "/photos")
    content = json.loads((tmp_path / "a.json").read_text())
    content["images"][0]["file_name"] = "memory://photos/a.jpg"
    (tmp_path / "a.json").write_text(json.dumps(content))
    (example,) = load_dataset(str(tmp_path / "a.json")).examples
    assert example.path.read_bytes() == (tmp_path / "photos" / "a.jpg").read_bytes()


def test_addresses_in_a_json_file_that_cannot_be_read_say_how_to_read_files_that_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise InputError("s3://bucket/photos: cannot be read: no login")

    monkeypatch.setattr("tfrcnn.data.remote.fetch", refuse)
    with pytest.raises(InputError) as error:
        remote.fetch_named(["s3://bucket/photos/a.jpg", None, "", 3], ImageFinder([tmp_path]))
    advice = "; or set the folder of the images if they are here: --images DIR"
    assert str(error.value) == f"s3://bucket/photos: cannot be read: no login{advice}"
    monkeypatch.setattr("tfrcnn.data.remote.address_of", lambda _: "s3://bucket/photos")
    with pytest.raises(InputError, match=r"no login$"):  # the file is from the bucket too
        remote.fetch_named(["a.jpg"], ImageFinder([tmp_path]))


def test_an_image_that_is_here_is_not_read_from_the_address_of_its_name(
    tmp_path: Path, bucket: Any, gets: list[str]
) -> None:
    coco.write(tmp_path / "a.json", tmp_path / "images", "a.jpg")
    upload(bucket, tmp_path / "images", "/photos")
    content = json.loads((tmp_path / "a.json").read_text())
    content["images"][0]["file_name"] = "memory://photos/a.jpg"
    (tmp_path / "a.json").write_text(json.dumps(content))
    (example,) = load_dataset(str(tmp_path / "a.json")).examples
    assert example.path == tmp_path / "images" / "a.jpg"
    assert gets == []


def test_an_image_that_is_not_in_the_bucket_is_reported_by_its_name(tmp_path: Path, bucket: Any) -> None:
    upload_coco(bucket, tmp_path / "here")
    bucket.rm("/bucket/cells/images/a.jpg")
    report = read_dataset(f"{BUCKET}/cells/a.json")[1]
    assert report.counts()["missing-image"] == 1
    assert "a.jpg" in report.render()


@pytest.mark.parametrize("data", ["cells/train-?????-of-00002", "cells/train", "cells@train", "tfrecord:cells@train"])
def test_shards_are_read_with_the_label_map_next_to_them(
    data: str, tmp_path: Path, bucket: Any, gets: list[str]
) -> None:
    folder = tmp_path / "cells"
    for number in range(2):
        tfrecord.write(folder / f"train-0000{number}-of-00002", tfrecord.record(f"{number}.jpg"))
    tfrecord.write(folder / "val-00000-of-00001", tfrecord.record("v.jpg"))
    (folder / "label_map.pbtxt").write_text(tfrecord.LABEL_MAP)
    upload(bucket, folder)
    prefix, colon, path = data.rpartition(":")
    dataset = load_dataset(f"{prefix}{colon}{BUCKET}/{path}")
    assert dataset.fingerprint() == load_dataset(f"{folder}@train").fingerprint()
    assert [category.id for category in dataset.categories] == [1, 5]
    assert ("val-00000-of-00001" in gets) == ("@" in data)


def test_shards_that_are_gone_from_the_bucket_are_gone_here(tmp_path: Path, bucket: Any) -> None:
    for count in (2, 1):
        for number in range(count):
            name = f"train-0000{number}-of-0000{count}"
            tfrecord.write(tmp_path / str(count) / name, tfrecord.record(f"{number}.jpg"))
    for count in (2, 1):
        bucket.store.clear()
        upload(bucket, tmp_path / str(count))
        assert len(load_dataset(f"{BUCKET}/cells")) == count
        assert len(load_dataset(f"{BUCKET}/cells/train-*")) == count


def test_addresses_join_split_and_convert_as_paths_do(tmp_path: Path, bucket: Any) -> None:
    upload_coco(bucket, tmp_path / "here")
    upload(bucket, tmp_path / "here", "/bucket/more+cells")
    joined = f"{BUCKET}/cells/a.json+{BUCKET}/more+cells/a.json"
    assert len(load_dataset(joined)) == 2
    converted = convert_dataset(f"{BUCKET}/cells/a.json", "voc", tmp_path / "out")
    np.testing.assert_allclose(load_dataset(converted.data["train"]).examples[0].boxes, [[3, 4, 9, 24]])


def test_an_address_means_the_same_in_any_folder() -> None:
    assert absolute(f"{BUCKET}/cells@train") == f"{BUCKET}/cells@train"
    assert absolute(f"coco:{BUCKET}/cells") == f"coco:{BUCKET}/cells"
    assert place_of("https://me:secret@host/a.json").path == "https://me:secret@host/a.json"
    assert place_of("s3://bucket/cells@train") == ("", "s3://bucket/cells", "train")


def test_what_is_there_is_known_without_a_copy(bucket: Any, gets: list[str]) -> None:
    bucket.pipe("/bucket/train-00000-of-00001", b"")
    assert exists(f"{BUCKET}/train-00000-of-00001")
    assert exists(f"{BUCKET}/train-*")
    assert exists(f"{BUCKET}@train")
    assert not exists(f"{BUCKET}/val-*")
    assert not exists("memory://other/train-00000-of-00001")
    assert gets == []


def test_an_interrupted_copy_goes_on_where_it_ended(
    tmp_path: Path, cache: Path, bucket: Any, gets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}.txt" for number in range(9)]
    for name in names:
        bucket.pipe(f"/bucket/cells/{name}", name.encode())
    get_file = MemoryFileSystem.get_file

    def fail(self: Any, path: str, *arguments: Any, **options: Any) -> None:
        if path.endswith("5.txt"):
            raise ConnectionResetError("Connection reset by peer")
        get_file(self, path, *arguments, **options)

    monkeypatch.setattr(copies, "_THREADS", 1)
    with monkeypatch.context() as context:
        context.setattr(MemoryFileSystem, "get_file", fail)
        with pytest.raises(InputError) as error:
            remote.local_copy(f"{BUCKET}/cells")
    assert str(error.value) == (
        f"{BUCKET}/cells: cannot be read: Connection reset by peer (5 of 9 files are copied; the same command copies "
        "the rest)"
    )
    copied = {path.name for path in (cache / "cells").iterdir()}
    assert copied >= set(names[:5])
    assert "5.txt" not in copied
    del gets[:]
    remote.local_copy(f"{BUCKET}/cells")
    assert gets == names[5:]
    assert sorted(path.name for path in (cache / "cells").iterdir()) == names


def test_a_file_that_arrives_short_is_not_kept(cache: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(self: Any, path: str, local: str, **options: Any) -> None:
        Path(local).write_bytes(self.cat(path)[:3])

    bucket.pipe("/bucket/cells/a.json", b"{}   ")
    monkeypatch.setattr(MemoryFileSystem, "get_file", cut)
    with pytest.raises(InputError, match=r"/bucket/cells/a\.json: expected 5 bytes, received 3"):
        remote.local_copy(f"{BUCKET}/cells/a.json")
    assert list((cache / "cells").iterdir()) == []


def test_a_list_of_copies_that_a_kill_cut_off_loses_one_file(bucket: Any, gets: list[str]) -> None:
    for name in "ab":
        bucket.pipe(f"/bucket/cells/{name}.txt", b"1")
    remote.local_copy(f"{BUCKET}/cells")
    index = cache_folder("data", "memory", ".copies.jsonl")
    index.write_bytes(index.read_bytes()[:-5])
    remote.local_copy(f"{BUCKET}/cells")
    assert sorted(gets[:2]) == ["a.txt", "b.txt"]
    assert len(gets) == 3
    remote.local_copy(f"{BUCKET}/cells")
    assert len(gets) == 3


@pytest.mark.parametrize("line", [b"\xff\xfe\x00", b"5", b'[["a"], 1, "2"]', b"[" * 100_000, b"\0" * 50])
def test_a_damaged_line_in_the_list_of_copies_is_left_out(line: bytes, bucket: Any, gets: list[str]) -> None:
    bucket.pipe("/bucket/cells/a.txt", b"1")
    remote.local_copy(f"{BUCKET}/cells")
    index = cache_folder("data", "memory", ".copies.jsonl")
    index.write_bytes(line + b"\n" + index.read_bytes() + b"\n" + line)
    remote.local_copy(f"{BUCKET}/cells")
    assert gets == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_no_copy_is_named_and_not_the_bucket(
    number: int, bucket: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.pipe("/bucket/cells/a.txt", b"1")

    def refuse(filesystem: Any, source: str, target: str, **_: Any) -> None:
        raise OSError(number, os.strerror(number), target)

    monkeypatch.setattr(type(bucket), "get_file", refuse)
    with pytest.raises(InputError) as refused:
        remote.local_copy(f"{BUCKET}/cells")
    reason = "the disk is full" if number == errno.ENOSPC else os.strerror(number)
    assert str(refused.value).startswith(f"{cache / 'cells' / 'a.txt'}: {reason}")


def test_a_disk_without_room_is_refused_before_anything_is_copied(
    bucket: Any, gets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.pipe("/bucket/cells/a.txt", b"12345")
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda path: SimpleNamespace(free=4))
    with pytest.raises(InputError, match=r"expected 5 free bytes .* found 4; set TFRCNN_CACHE to a folder on a larger"):
        remote.local_copy(f"{BUCKET}/cells")
    assert gets == []


@pytest.mark.parametrize("data", ["cells", "cells/a.json", "cells/train-*", "cells@train"])
def test_an_address_of_nothing_says_so(data: str, bucket: Any) -> None:
    with pytest.raises(InputError, match=f"{BUCKET}/cells.*: expected a file or a folder, found nothing"):
        load_dataset(f"{BUCKET}/{data}")


def test_a_folder_without_data_is_refused_as_a_folder_here_is(bucket: Any) -> None:
    bucket.pipe("/bucket/cells/readme.txt", b"text")
    with pytest.raises(InputError, match="data: expected a data set, found the folder"):
        load_dataset(f"{BUCKET}/cells")


@pytest.mark.parametrize(
    ("address", "module", "message"),
    [
        ("s3://b/a.json", "s3fs", 's3://b/a.json: needs s3fs, which is not installed: pip install "tfrcnn[remote]"'),
        ("gs://b/a.json", "gcsfs", 'gs://b/a.json: needs gcsfs, which is not installed: pip install "tfrcnn[remote]"'),
        ("https://b/a.json", "aiohttp", 'needs aiohttp, which is not installed: pip install "tfrcnn[remote]"'),
        ("memory://b/a.json", "fsspec.core", 'needs fsspec, which is not installed: pip install "tfrcnn[remote]"'),
        ("abfs://b/a.json", "adlfs", "needs adlfs, which is not installed: pip install adlfs"),
    ],
)
def test_a_missing_package_is_one_line_with_the_command(
    address: str, module: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    # another test may have loaded the file system
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, address.partition(":")[0], raising=False)
    with pytest.raises(InputError) as error:
        load_dataset(address)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (PermissionError("Forbidden"), "cannot be read: Forbidden; check the access rights"),
        (
            RuntimeError("Unable to locate credentials\nsee more"),
            "Unable to locate credentials; check the access rights",
        ),
        (TimeoutError(), "cannot be read: TimeoutError"),
        (OSError(5, "Input/output error"), "cannot be read: [Errno 5] Input/output error"),
    ],
)
def test_a_failure_of_the_file_system_is_one_line(
    failure: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise failure

    monkeypatch.setattr(MemoryFileSystem, "info", fail)
    with pytest.raises(InputError) as error:
        load_dataset(f"{BUCKET}/a.json")
    assert str(error.value).endswith(message)
    assert "\n" not in str(error.value)


def test_a_scheme_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match=r"ipfsx://b/a\.json: cannot be read: Protocol not known: ipfsx"):
        load_dataset("ipfsx://b/a.json")


def test_an_object_cannot_be_written_outside_the_cache() -> None:
    with pytest.raises(InputError, match=r"expected names without \. and \.\. as folders"):
        copies.copy_files(Remote(BUCKET), [Entry("/bucket/../../evil.txt", 1, None)])


@pytest.mark.parametrize("address", ["ipfsx://me:secret@host/a.json", "https://me:secret@host/a.json"])
def test_a_login_in_an_address_is_not_shown(address: str) -> None:
    with pytest.raises(InputError) as error:
        load_dataset(address)
    assert "secret" not in str(error.value)


def test_a_copy_of_a_web_file_has_the_name_that_annotations_give() -> None:
    pytest.importorskip("aiohttp")
    copy = Remote("https://host/my%20images/%EC%82%AC%EC%A7%84%20(1).jpg").copy
    assert copy.parts[-3:] == ("host", "my images", "사진 (1).jpg")
    assert remote.address_of(copy) == "https://host/my%20images/%EC%82%AC%EC%A7%84%20%281%29.jpg"


def test_an_image_that_is_gone_from_the_bucket_is_gone_from_the_copy(tmp_path: Path, cache: Path, bucket: Any) -> None:
    upload_coco(bucket, tmp_path / "here")
    load_dataset(f"{BUCKET}/cells/a.json")
    bucket.rm("/bucket/cells/images/a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg"):
        load_dataset(f"{BUCKET}/cells/a.json")
    assert not (cache / "cells" / "images" / "a.jpg").exists()


def test_shards_that_are_gone_are_gone_from_the_copy(tmp_path: Path, cache: Path, bucket: Any) -> None:
    for count in (2, 1):
        for name in bucket.glob("/bucket/train-*"):
            bucket.rm(name)
        for i in range(count):
            bucket.pipe(f"/bucket/train-0000{i}-of-0000{count}", b"record")
        remote.local_copy(f"{BUCKET}/train")
    assert [path.name for path in cache.iterdir()] == ["train-00000-of-00001"]


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_web_server_that_refuses_is_named_with_its_status(status: int, server: Any, cache: Path) -> None:
    pytest.importorskip("aiohttp")
    server.failing = status
    address = server.url("cells/a.json")
    message = rf"{address}: cannot be read: the server answers {status} \w"
    for read in (load_dataset, remote.exists, lambda address: remote.fetch([[address]])):
        with pytest.raises(InputError, match=message):
            read(address)
    server.failing = None
    assert not remote.exists(address)
    remote.fetch([[address]])  # a file that is not there is no error
    with pytest.raises(InputError, match="expected a file or a folder, found nothing"):
        load_dataset(address)


def test_a_web_server_that_refuses_one_of_two_folders_has_the_file_in_the_other(server: Any, cache: Path) -> None:
    """S3 answers 403 for files that it does not have, if nobody may list the bucket."""
    pytest.importorskip("aiohttp")
    server.files["images/a.jpg"] = b"picture"
    server.refused = ("a.jpg",)
    remote.fetch([[server.url("a.jpg"), server.url("images/a.jpg")]])
    (copy,) = cache.parents[1].rglob("a.jpg")
    assert copy.read_bytes() == b"picture"


@pytest.mark.parametrize("name", ["cells", "cells/data.yaml", "boxes.csv"])
def test_a_web_server_is_not_asked_to_list_a_folder(name: str) -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(InputError, match="because a web server does not list its files"):
        load_dataset(f"http://127.0.0.1:9/{name}")


@pytest.mark.parametrize(
    ("source", "names"),
    [("photos", ["photos/a.png", "photos/b.png"]), ("photos/*b.png", ["photos/b.png"]), ("photos/a.png",) * 2],
)
def test_pictures_in_a_bucket_are_found_and_named_by_their_address(
    source: str, names: str | list[str], tmp_path: Path, bucket: Any
) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 6)).save(tmp_path / name)
        bucket.pipe(f"/bucket/photos/{name}", (tmp_path / name).read_bytes())
    search = search_images([f"{BUCKET}/{source}"])
    search.check()
    expected = [names] if isinstance(names, str) else names
    assert [one.name for one in search.sources] == [f"{BUCKET}/{name}" for name in expected]
    assert search.sources[0].read().shape == (6, 8, 3)
    (block,) = find_blocks([f"{BUCKET}/{source}"]).blocks
    assert block.names == tuple(f"{BUCKET}/{name}" for name in expected)


def test_pictures_that_are_not_in_the_bucket_are_one_line(bucket: Any) -> None:
    line = f"{BUCKET}/none: expected a file or a folder, found nothing"
    assert [str(error) for error in search_images([f"{BUCKET}/none"]).errors] == [line]
    assert [str(error) for error in find_blocks([f"{BUCKET}/none"]).errors] == [line]
