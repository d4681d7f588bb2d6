"""Which pictures a block holds: files, records of TFRecord shards, rows of Parquet files. No engine is needed."""

import errno
import os
import re
import struct
import time
from pathlib import Path

import pytest

from tfrcnn.batch.blocks import Blocks, Records, find_blocks, is_table
from tfrcnn.batch.records import offsets, parse_example, read_pictures
from tfrcnn.errors import InputError


def sized(field: int, content: bytes) -> bytes:
    """A field of protobuf's wire type 2, as `tf.train.Example` has everywhere."""
    size, length = len(content), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + content


def example(**values: bytes) -> bytes:
    """A `tf.train.Example` of features of bytes; "__" stands for "/"."""
    features = b""
    for name, value in values.items():
        entry = sized(1, name.replace("__", "/").encode()) + sized(2, sized(1, sized(1, value)))
        features += sized(1, entry)
    return sized(1, features)


def write_shard(path: Path, *records: bytes) -> Path:
    parts = [struct.pack("<QI", len(record), 0) + record + bytes(4) for record in records]
    path.write_bytes(b"".join(parts))
    return path


def rows(blocks: Blocks) -> list[list[tuple[str, object]]]:
    return [list(block.rows()) for block in blocks.blocks]


def test_files_are_divided_in_their_order(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pictures.parent)
    (pictures / "notes.txt").touch()
    blocks = find_blocks(["pictures", "http://user:secret@host/a.png"], block_size=4)
    names = [[name for name, _ in block] for block in rows(blocks)]
    assert [len(block) for block in names] == [4, 4, 3]
    assert names[2] == ["pictures/08.png", "pictures/09.png", "http://host/a.png"]
    # absolute, because a worker has another working directory
    assert rows(blocks)[0][0][1] == str(pictures / "00.png")
    assert rows(blocks)[2][2][1] == "http://user:secret@host/a.png"
    assert blocks.left_out == "1 file of no supported type (.txt 1)"
    assert blocks == find_blocks(["pictures", "http://user:secret@host/a.png"], block_size=4)


def test_a_source_that_does_not_exist_is_an_error_and_the_others_are_blocks(pictures: Path) -> None:
    blocks = find_blocks([str(pictures), "none.png", "none/*.parquet"])
    assert len(blocks.blocks) == 1
    assert [str(error).partition(":")[0] for error in blocks.errors] == ["none.png", "none/*.parquet"]


@pytest.mark.parametrize("source", ["clip.mp4", "rtsp://host/live", "0"])
def test_videos_and_cameras_are_refused(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").touch()
    with pytest.raises(InputError, match="expected pictures, found a video or a camera: leave it out"):
        find_blocks([source])


def test_shards_are_divided_by_records(tmp_path: Path) -> None:
    records = [example(image__encoded=b"picture %d" % i, image__filename=b"%d.jpg" % i) for i in range(4)]
    shard = write_shard(tmp_path / "train.record-00000-of-00001", *records, example(image__encoded=b"last"))
    blocks = find_blocks([str(tmp_path)], block_size=2)
    assert blocks.errors == ()
    assert blocks.left_out == ""
    assert rows(blocks) == [
        [("0.jpg", b"picture 0"), ("1.jpg", b"picture 1")],
        [("2.jpg", b"picture 2"), ("3.jpg", b"picture 3")],
        [(f"{shard.name}#5", b"last")],
    ]
    assert blocks.blocks[1] == Records(str(shard), 2 * (len(records[0]) + 16), 2, 2, shard.stat().st_size)


def test_broken_records_and_shards_cost_only_themselves(tmp_path: Path) -> None:
    good = example(image__encoded=b"picture")
    shard = write_shard(tmp_path / "a.tfrecord", b"no example", example(image__height=b""), good)
    contents = [content for _, content in read_pictures(shard, 0, 3)]
    assert str(contents[0]) == f"{shard}: expected a tf.train.Example, found other data (10 bytes)"
    assert str(contents[1]) == f"{shard}: expected image/encoded, found image/height"
    assert contents[2] == b"picture"
    cut = tmp_path / "cut.tfrecord"
    cut.write_bytes(write_shard(tmp_path / "b.tfrecord", good, good).read_bytes()[:-5])
    assert offsets(cut, 1) == ([0], f"{cut}: expected whole records, found after 1 of them one that is cut off")
    (tmp_path / "c.tfrecord").write_bytes(b"\x1f\x8b")
    (tmp_path / "d.tfrecord").touch()
    blocks = find_blocks([str(tmp_path)])
    messages = [str(error).partition(": ")[2] for error in blocks.errors]
    assert [message[:30] for message in messages] == [
        "expected an uncompressed TFRec",
        "expected whole records, found ",
        "expected at least one record, ",
    ]
    assert len(blocks.blocks) == 3


def test_examples_of_tensorflow_are_read_without_it() -> None:
    tf = pytest.importorskip("tensorflow")
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(300), b"second"])),
        "image/height": tf.train.Feature(int64_list=tf.train.Int64List(value=[2**40, -1])),
        "image/object/bbox/ymin": tf.train.Feature(float_list=tf.train.FloatList(value=[0.5])),
        "image/filename": tf.train.Feature(bytes_list=tf.train.BytesList(value=["é.jpg".encode()])),
        "empty": tf.train.Feature(),
    }
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    values = parse_example(record)
    assert values.keys() == features.keys()
    assert (values["image/encoded"], values["image/filename"].decode()) == (bytes(300), "é.jpg")
    for end in range(1, len(record) - 1, 7):  # cut off
        with pytest.raises((IndexError, UnicodeDecodeError)):
            parse_example(record[:end])


def test_a_number_without_an_end_is_refused_at_once() -> None:
    started = time.process_time()
    with pytest.raises(IndexError, match="longer than 64 bits"):
        parse_example(b"\xff" * 2_000_000)
    assert time.process_time() - started < 1  # two minutes if each byte counted


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.parquet", True),
        ("a.TFRecord", True),
        ("train.record-00000-of-00010", True),
        ("train-00000-of-00010", True),
        ("model.data-00000-of-00001", False),
        ("photo-00001-of-00005.jpg", False),
        ("record.jpg", False),
    ],
)
def test_files_of_several_pictures_are_known_by_their_names(name: str, expected: bool) -> None:
    assert is_table(Path(name)) == expected


def test_rows_of_parquet_files_are_paths_or_contents(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    struct_rows = [{"bytes": b"d", "path": "d.jpg"}, {"bytes": b"e", "path": None}]
    tables = {
        "a.parquet": {"path": ["a.jpg", "/x/b.jpg", None], "id": [1, 2, 3]},
        "b.pq": {"content": [b"c", None], "path": ["s3://c.jpg", "none.jpg"]},
        "c.parquet": {"image": struct_rows},
    }
    for name, columns in tables.items():
        parquet.write_table(pyarrow.table(columns), tmp_path / name, row_group_size=2)
    blocks = find_blocks([str(tmp_path / "*.p*q*")])
    assert blocks.errors == ()
    assert rows(blocks) == [
        [("a.jpg", str(tmp_path / "a.jpg")), ("/x/b.jpg", "/x/b.jpg")],
        [("a.parquet#3", None)],
        [("s3://c.jpg", b"c"), ("none.jpg", None)],
        [("d.jpg", struct_rows[0]), ("c.parquet#2", struct_rows[1])],
    ]
    named = find_blocks([str(tmp_path / "a.parquet")], name_column="id")
    assert [name for block in rows(named) for name, _ in block] == ["1", "2", "3"]


def test_parquet_files_without_pictures_say_what_they_have(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"id": [1]}), tmp_path / "a.parquet")
    parquet.write_table(pyarrow.table({"image": [1]}), tmp_path / "b.parquet")
    parquet.write_table(pyarrow.table({"path": pyarrow.array([], pyarrow.string())}), tmp_path / "c.parquet")
    (tmp_path / "d.parquet").write_bytes(b"no table")
    messages = [str(error).removeprefix(f"{tmp_path}/") for error in find_blocks([str(tmp_path)]).errors]
    assert messages[0].startswith("a.parquet: expected a column of pictures (bytes, content, ")
    assert messages[1] == "b.parquet: column 'image': expected paths or contents of pictures, found int64"
    assert messages[2] == "c.parquet: expected at least one row, found none"
    assert messages[3].startswith("d.parquet: expected a Parquet file: ")


def test_a_damaged_parquet_file_is_one_line(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"path": ["a.jpg"]}), path)
    good = path.read_bytes()
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    for damaged in (
        good[:footer] + b"\xff" * 16 + good[footer + 16 :],  # pyarrow raises OSError, of two lines
        good.replace(b"path", b"p\xa9th"),  # UnicodeDecodeError
    ):
        path.write_bytes(damaged)
        (error,) = find_blocks([str(path)]).errors
        assert re.fullmatch(rf"{path}: expected a Parquet file: \S.*\S", str(error))


def test_columns_are_for_parquet_files(pictures: Path) -> None:
    with pytest.raises(InputError, match="--column and --name-column are for Parquet files, found none"):
        find_blocks([str(pictures)], column="image")


def test_a_pattern_of_tables_takes_them_as_tables_alone(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tfrecord", example(image__encoded=b"picture", image__filename=b"0.jpg"))
    assert rows(find_blocks([str(tmp_path / "*.tfrecord")])) == [[("0.jpg", b"picture")]]


def test_a_shard_of_another_size_is_another_block(tmp_path: Path) -> None:
    one = example(image__encoded=b"picture")
    write_shard(tmp_path / "a.tfrecord", one)
    before = find_blocks([str(tmp_path)]).blocks
    write_shard(tmp_path / "a.tfrecord", one, one)
    assert repr(find_blocks([str(tmp_path)]).blocks) != repr(before)


def test_a_folder_of_tables_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    write_shard(tmp_path / "a.tfrecord", example(image__encoded=b"picture"))
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (error,) = find_blocks([str(tmp_path)], recursive=True).errors
    assert str(error) == f"{tmp_path / 'closed'}: expected a folder that can be listed, found: Permission denied"
