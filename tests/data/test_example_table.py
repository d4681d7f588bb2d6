"""Examples in columns are the examples that were read, and take little memory."""

import copy
import hashlib
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfrcnn.config import Category
from tfrcnn.data.columns import IdColumn, PathColumn, TextColumn
from tfrcnn.data.example import BOX_FIELDS, Dataset, Example
from tfrcnn.data.example_table import ExampleTable, column_of, concatenated, counts_of, objects_of, owners_of, taken
from tfrcnn.data.image_table import ImageRecord, ImageTable, OpenedImage, OpenedTable
from tfrcnn.data.overlap import _Files

COUNTS = 2, 0, 3, 1
FIELDS = ("image_id", "path", "height", "width", "orientation")


def plain(count: int, i: int) -> Example:
    boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4) + 10 * i
    flags = np.arange(count) % 2 == 0
    labels, numbers = np.full(count, i, np.int32), np.full(count, i, np.int64)
    path = Path("/d") / "images" / f"{i}.jpg"
    return Example(f"{i}.jpg" if i % 2 else i, path, 10 + i, 20, boxes, labels, flags, ~flags, boxes[:, 0], 1, numbers)


@pytest.fixture
def examples() -> list[Example]:
    return [plain(count, i) for i, count in enumerate(COUNTS)]


@pytest.fixture
def table(examples: list[Example]) -> ExampleTable:
    ids = IdColumn(example.image_id for example in examples)
    return concatenated([examples[:1], examples[1:]], ids)


def assert_same(one: Example, other: Example) -> None:
    assert [getattr(one, name) for name in FIELDS] == [getattr(other, name) for name in FIELDS]
    assert [type(getattr(one, name)) for name in FIELDS] == [type(getattr(other, name)) for name in FIELDS]
    for name in BOX_FIELDS.keys() - {"annotation_ids"}:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


def test_an_example_of_a_table_has_the_fields_of_the_one_that_was_read(
    examples: list[Example], table: ExampleTable
) -> None:
    assert len(table) == len(examples)
    for one, other in zip(table, examples):
        assert_same(one, other)
    np.testing.assert_array_equal(np.concatenate([example.annotation_ids for example in table]), np.arange(1, 7))
    assert_same(table[-1], examples[-1])
    for part, expected in ((table[1:3], examples[1:3]), (table[::-2], examples[::-2]), (table[:0], [])):
        assert len(part) == len(expected)
        for one, other in zip(part, expected):
            assert_same(one, other)
    with pytest.raises(IndexError):
        table[4]


def test_an_example_of_a_table_is_itself_and_no_other(table: ExampleTable) -> None:
    assert table[1] == table[1] == next(iter(table[1:]))
    assert table[1] in table
    assert table.index(table[2]) == 2
    assert table[0] != table[1]
    assert len({table[0], table[0], table[1]}) == 2
    assert replace(table[0], height=3) != table[0]
    with pytest.raises(AttributeError, match="heigth"):
        _ = table[0].heigth  # type: ignore[attr-defined]  # the error is the test
    with pytest.raises(AttributeError):
        table[0].height = 3  # type: ignore[misc]  # the error is the test


def test_a_copied_example_does_not_take_the_data_set_with_it(table: ExampleTable) -> None:
    for other in (pickle.loads(pickle.dumps(table[2])), copy.copy(table[2])):
        assert_same(other, table[2])
        assert "_row" not in vars(other)


@pytest.mark.parametrize("positions", [[0, 1, 2, 3], [1, 3], [3, 0, 2], []])
def test_a_column_is_the_field_of_all_examples(
    examples: list[Example], table: ExampleTable, positions: list[int]
) -> None:
    parts = taken(table, np.array(positions, int)), taken(examples, np.array(positions, int))
    for name in ("height", "width", "orientation", *(BOX_FIELDS.keys() - {"annotation_ids"})):
        np.testing.assert_array_equal(*(column_of(part, name) for part in parts), strict=True)
    np.testing.assert_array_equal(*map(counts_of, parts))
    np.testing.assert_array_equal(*map(owners_of, parts))


def test_a_label_that_is_mapped_to_none_loses_its_boxes(table: ExampleTable) -> None:
    part = table[1:].relabelled(np.array([5, 6, -1, 0], np.int32))
    assert [example.labels.tolist() for example in part] == [[], [], [0]]
    np.testing.assert_array_equal(part[2].boxes, table[3].boxes)


@pytest.mark.parametrize(
    "path",
    ["a.jpg", "/a.jpg", "/d/a.jpg", "d/\udcff/b\udce4r.jpg", "/d/t.tfrecord/bytes=128-5136/0001.jpg", ".", "d/../a"],
)
def test_a_path_comes_back_from_its_column(path: str) -> None:
    assert list(PathColumn([Path(path), Path("x"), Path(path)])) == [Path(path), Path("x"), Path(path)]


def test_texts_and_ids_come_back_from_their_columns() -> None:
    texts = ["", "", "a", "a", "\ud800 ü", "", "a"]
    assert list(TextColumn(texts)) == texts
    ids = [1, "1", -5, 10**30, "", "#1"]
    assert list(IdColumn(ids)) == ids


def test_an_image_record_and_its_file_come_back_from_their_tables() -> None:
    records = [
        ImageRecord(7, (Path("/d/a.jpg"), Path("/e/a.jpg")), (3, 10**30), "/d/all.json", "images[0].file_name", "w"),
        ImageRecord("b", (), None, "", "", ""),
        ImageRecord("c", (Path("/d/t/bytes=1-2/c.jpg"),), (4, 5), "/d/t/bytes=1-2/c.jpg", "image/encoded", ""),
    ]
    table = ImageTable(records)
    assert list(table) == records
    assert table[-2:] == records[-2:]
    opened = OpenedTable(table)
    images = [OpenedImage(Path("/e/a.jpg"), (3, 4), 6), None, OpenedImage(records[2].candidates[0], (4, 5), 1)]
    for image in images:
        opened.append(image)
    assert list(opened) == images
    assert opened.usable.tolist() == [True, False, True]


def test_an_image_takes_at_most_200_bytes() -> None:
    count = 1000
    tracemalloc.start()
    images = ImageTable()
    for i in range(count):
        path = Path(f"/d/train.tfrecord-00000-of-00010/bytes={10**9 + i}-{10**9 + 2 * i}/{i:016x}.jpg")
        images.append(ImageRecord(f"{i:016x}", (path,), (3, 4), str(path), "image/encoded", "image/height"))
    opened = OpenedTable(images)
    for record in images:
        opened.append(OpenedImage(record.candidates[0], (3, 4), 1))
    filters = [tracemalloc.Filter(True, f"*/data/{name}.py") for name in ("columns", "image_table")]
    kept = tracemalloc.take_snapshot().filter_traces(filters).statistics("filename")
    tracemalloc.stop()
    assert sum(each.size for each in kept) < 200 * count


def test_files_of_an_empty_data_set_have_no_contents() -> None:
    from tfrcnn.data.overlap import _contents

    empty = np.zeros(0, np.intp)
    assert len(_contents(_Files((), empty, empty, empty, np.zeros((0, 3), np.uint64)))) == 0


def test_the_fingerprint_of_a_data_set_is_the_one_in_the_run_folders_of_earlier_releases(
    examples: list[Example], table: ExampleTable
) -> None:
    categories = Category(1, "a"), Category(7, "b")
    content = hashlib.sha256(b"(Category(id=1, name='a'), Category(id=7, name='b'))")
    for example in examples:
        content.update(repr((example.image_id, example.path.name, example.height, example.width)).encode())
        for values in (example.boxes, example.labels, example.crowd, example.difficult):
            content.update(values.tobytes())
    recorded = "944411cb9153c88b13a80ec4c5ed0abd5883789a04cbb035c6bf490002b1101f"
    assert content.hexdigest() == recorded
    for each in (tuple(examples), table):
        assert Dataset("cells", categories, each).fingerprint() == recorded
    assert (
        Dataset("cells", categories, table[::-1]).fingerprint()
        == Dataset("cells", categories, examples[::-1]).fingerprint()
        != recorded
    )
    assert (
        Dataset("cells", categories, table[1:2]).fingerprint() == Dataset("", categories, examples[1:2]).fingerprint()
    )


def test_the_fingerprint_takes_the_file_name_of_an_image_inside_a_shard_or_a_joined_data_set() -> None:
    boxes = {name: np.zeros((0, 4) if name == "boxes" else 0, kind) for name, kind in BOX_FIELDS.items()}
    paths = Path("/d/cells.tfrecord/bytes=12-40/a.jpg"), Path("a.jpg"), Path("/d/é/b.png")
    examples = [Example(f"d/{i}", path, 4, 6, orientation=1, **boxes) for i, path in enumerate(paths)]
    table = concatenated([examples], IdColumn(example.image_id for example in examples))
    assert Dataset("", (), table).fingerprint() == Dataset("", (), tuple(examples)).fingerprint()
    content = b"()('0', 'a.jpg', 4, 6)('1', 'a.jpg', 4, 6)('2', 'b.png', 4, 6)"
    assert Dataset("", (), table).fingerprint() == hashlib.sha256(content).hexdigest()


def test_objects_are_the_boxes_that_are_neither_crowds_nor_difficult(
    examples: list[Example], table: ExampleTable
) -> None:
    examples[0] = replace(examples[0], crowd=np.zeros(2, bool), difficult=np.array([False, True]))
    for each in (table, tuple(examples)):
        crowd, difficult = column_of(each, "crowd"), column_of(each, "difficult")
        np.testing.assert_array_equal(objects_of(each), [not (c or d) for c, d in zip(crowd, difficult)], strict=True)
    assert objects_of(table).sum() == 0
    assert objects_of(tuple(examples)).tolist() == [True] + [False] * 5
    assert objects_of(()).shape == (0,)
