"""Conversion between formats: round trips, what other tools read, and what is lost."""

import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tfrcnn.cli.main import main
from tfrcnn.data.convert import WRITERS, convert_dataset
from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.formats import FORMATS
from tfrcnn.data.headers import EXTENSIONS
from tfrcnn.data.image_copies import ImageCopies
from tfrcnn.data.read import load_dataset
from tfrcnn.data.writers import coco_boxes, whole_pixels, yolo_boxes
from tfrcnn.errors import InputError

# As people write them, and as float32 gives them.
BOXES = [[10.25, 3.07, 8.1, 20.33], [0, 0, 64, 48], [5, 6, 7, 8], [1 / 3, 2 / 7, 30.123456, 17.7654]]


def picture(path: Path, orientation: int = 1, kind: str = "JPEG") -> None:
    noise = np.random.default_rng(len(path.name)).integers(0, 255, [48, 64, 3], np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path, kind, **({"exif": exif} if orientation != 1 else {}))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """COCO with gaps in its ids, an image without boxes, and two of the same name in two folders."""
    root = tmp_path_factory.mktemp("source")
    names = ["b/1.jpg", "a/1.jpg", "none.png"]
    for name in names:
        picture(root / name, kind="PNG" if name.endswith("png") else "JPEG")
    boxes = [{"image_id": 7, "category_id": 40 - 30 * (i % 2), "bbox": box} for i, box in enumerate(BOXES)]
    boxes.append({"image_id": 3, "category_id": 10, "bbox": [2, 3, 40, 5], "iscrowd": 1, "area": 17.25})
    boxes.append({"image_id": 3, "category_id": 40, "bbox": [2.5, 3, 40, 5], "difficult": 1})
    content = {
        "images": [
            {"id": number, "file_name": name, "width": 64, "height": 48} for number, name in zip((7, 3, 900), names)
        ],
        "annotations": [{"iscrowd": 0, "id": 50 - i, **box} for i, box in enumerate(boxes)],
        "categories": [{"id": 10, "name": 'a "b"'}, {"id": 40, "name": "Häuser & Co"}],
    }
    (root / "x.json").write_text(json.dumps(content))
    return str(root / "x.json")


def rows(dataset: Dataset) -> list[tuple[list[float], str, bool, bool]]:
    names = [category.name for category in dataset.categories]
    return [
        (box, names[label], bool(crowd), bool(difficult))
        for e in dataset.examples
        for box, label, crowd, difficult in zip(e.boxes.tolist(), e.labels, e.crowd, e.difficult)
    ]


@pytest.mark.parametrize("middle", ["coco", "tfrecord"])
def test_what_comes_back_from_a_format_with_all_fields_is_equal_to_the_bit(
    source: str, tmp_path: Path, middle: str
) -> None:
    before = load_dataset(source)
    there = convert_dataset(source, middle, tmp_path / "there")
    back = convert_dataset(there.data["train"], "coco", tmp_path / "back")
    for dataset in (load_dataset(there.data["train"]), load_dataset(back.data["train"])):
        assert dataset.categories == before.categories
        for one, other in zip(before.examples, dataset.examples, strict=True):
            assert one.image_id == other.image_id
            for field in ("labels", "crowd", "difficult", "area"):
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
            if middle == "coco":
                np.testing.assert_array_equal(one.boxes, other.boxes)
                np.testing.assert_array_equal(one.annotation_ids, other.annotation_ids)
            else:  # 1/3 is not within a float32 share's resolution of a short decimal
                np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=64 / 2**24)
                np.testing.assert_array_equal(one.boxes[:3], other.boxes[:3])
            assert bytes(one.path.read_bytes()) == (tmp_path / "back" / "train" / other.path.name).read_bytes()
    written = json.loads(Path(back.data["train"]).read_text(encoding="utf-8"))["annotations"]
    assert [annotation["bbox"] for annotation in written[:3]] == BOXES[:3]


def test_voc_has_whole_pixels_and_comes_back_exactly_from_every_format(source: str, tmp_path: Path) -> None:
    conversion = convert_dataset(source, "voc", tmp_path / "voc")
    before, voc = load_dataset(source), load_dataset(conversion.data["train"])
    for one, other in zip(before.examples, voc.examples, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=0.5)
        np.testing.assert_array_equal(one.crowd | one.difficult, other.difficult)
    assert [row[1] for row in rows(before)] == [row[1] for row in rows(voc)]
    assert [example.path.name for example in voc.examples] == ["1.jpg", "1-2.jpg", "none.png"]
    assert conversion.notes == (
        "3 boxes were rounded to whole pixels, and to at least two pixels per side",
        "1 crowd boxes are difficult here: this format has no crowds",
    )
    tree = ElementTree.parse(tmp_path / "voc" / "Annotations" / "1.xml")
    assert [tree.findtext(f"object[3]/bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")] == [
        "6", "7", "12", "14",
    ]  # fmt: skip
    for to in ("coco", "tfrecord"):
        middle = convert_dataset(conversion.data["train"], to, tmp_path / to)
        again = convert_dataset(middle.data["train"], "voc", tmp_path / f"{to}-voc")
        assert rows(load_dataset(again.data["train"])) == rows(voc)
        assert not again.notes


def test_yolo_has_shares_of_the_centre_and_leaves_out_crowd_and_difficult(source: str, tmp_path: Path) -> None:
    conversion = convert_dataset(source, "yolo", tmp_path / "y", val=source)
    assert (tmp_path / "y" / "data.yaml").read_text(encoding="utf-8") == (
        'train: images/train\nval: images/val\nnames:\n  0: "a \\"b\\""\n  1: "Häuser & Co"\n'
    )
    files = sorted(path.relative_to(tmp_path / "y").as_posix() for path in tmp_path.rglob("*/val/*"))
    assert files == [
        "images/val/1-2.jpg", "images/val/1.jpg", "images/val/none.png",
        "labels/val/1-2.txt", "labels/val/1.txt", "labels/val/none.txt",
    ]  # fmt: skip
    lines = (tmp_path / "y" / "labels" / "train" / "1.txt").read_text().splitlines()
    assert [lines[1], lines[2]] == ["0 0.5 0.5 1 1", "1 0.1328125 0.208333333 0.109375 0.166666667"]
    boxes = load_dataset(source).examples[0].boxes
    for line, expected in zip(lines, boxes):
        x, y, width, height = (float(text) for text in line.split()[1:])
        corners = [(y - height / 2) * 48, (x - width / 2) * 64, (y + height / 2) * 48, (x + width / 2) * 64]
        np.testing.assert_array_equal(np.float32(corners), expected)
    assert (tmp_path / "y" / "labels" / "train" / "1-2.txt").read_text() == ""
    assert [note.split(" are")[0] for note in conversion.notes] == ["2 crowd boxes", "2 difficult boxes"]


def test_yolo_comes_back_to_the_bit(source: str, tmp_path: Path) -> None:
    dataset = load_dataset(convert_dataset(source, "yolo", tmp_path / "y").data["train"])
    assert rows(dataset) == [row for row in rows(load_dataset(source)) if row[2:] == (False, False)]


def test_tfrecords_have_the_keys_that_the_api_reads(source: str, tmp_path: Path) -> None:
    conversion = convert_dataset(source, "tfrecord", tmp_path / "t", val=source, shards=2)
    assert conversion.data["val"] == str(tmp_path / "t" / "val.tfrecord-?????-of-00002")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [
        "label_map.pbtxt", "train.tfrecord-00000-of-00002", "train.tfrecord-00001-of-00002",
        "val.tfrecord-00000-of-00002", "val.tfrecord-00001-of-00002",
    ]  # fmt: skip
    spec = {  # as tf_example_decoder.py has them
        "image/encoded": tf.io.FixedLenFeature((), tf.string),
        "image/format": tf.io.FixedLenFeature((), tf.string),
        "image/filename": tf.io.FixedLenFeature((), tf.string),
        "image/source_id": tf.io.FixedLenFeature((), tf.string),
        "image/key/sha256": tf.io.FixedLenFeature((), tf.string),
        "image/height": tf.io.FixedLenFeature((), tf.int64),
        "image/width": tf.io.FixedLenFeature((), tf.int64),
        **{f"image/object/bbox/{key}": tf.io.VarLenFeature(tf.float32) for key in ("xmin", "xmax", "ymin", "ymax")},
        "image/object/class/label": tf.io.VarLenFeature(tf.int64),
        "image/object/class/text": tf.io.VarLenFeature(tf.string),
        "image/object/area": tf.io.VarLenFeature(tf.float32),
        "image/object/is_crowd": tf.io.VarLenFeature(tf.int64),
        "image/object/difficult": tf.io.VarLenFeature(tf.int64),
    }
    files = sorted(str(path) for path in (tmp_path / "t").glob("train*"))
    parsed = [tf.io.parse_single_example(record, spec) for record in tf.data.TFRecordDataset(files)]
    assert [bytes(each["image/format"].numpy()) for each in parsed] == [b"jpeg", b"jpeg", b"png"]
    values = tf.sparse.to_dense(parsed[0]["image/object/bbox/xmax"])
    np.testing.assert_allclose(values, [18.35 / 64, 1, 12 / 64, 30.456789 / 64], rtol=1e-6)
    assert tf.sparse.to_dense(parsed[0]["image/object/class/label"]).numpy().tolist() == [40, 10, 40, 10]
    assert tf.io.decode_image(parsed[0]["image/encoded"]).shape == (48, 64, 3)


def test_images_with_an_orientation_or_a_foreign_format_keep_their_pixels_and_boxes(tmp_path: Path) -> None:
    picture(tmp_path / "turned.jpg", 6)
    picture(tmp_path / "ignored.jpg", 6)
    picture(tmp_path / "moving.gif", kind="GIF")
    sizes = {"turned.jpg": (48, 64), "ignored.jpg": (64, 48), "moving.gif": (64, 48)}
    content = {
        "images": [
            {"id": i, "file_name": name, "width": width, "height": height}
            for i, (name, (width, height)) in enumerate(sizes.items())
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [4, 5, 40, 30], "iscrowd": 0} for i in range(3)
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "x.json").write_text(json.dumps(content))
    before = load_dataset(str(tmp_path / "x.json"))
    for to in set(WRITERS) & set(FORMATS):
        conversion = convert_dataset(str(tmp_path / "x.json"), to, tmp_path / to)
        after = {example.path.stem: example for example in load_dataset(conversion.data["train"]).examples}
        assert any("2 images had an EXIF orientation" in note for note in conversion.notes)
        for one in before.examples:
            other = after[one.path.stem]
            np.testing.assert_array_equal(read_image(one.path, one.orientation), read_image(other.path))
            np.testing.assert_array_equal(one.boxes, other.boxes)
            assert other.orientation == 1


def test_links_are_made_only_if_asked(source: str, tmp_path: Path) -> None:
    for link in (False, True):
        folder = tmp_path / str(link)
        convert_dataset(source, "coco", folder, link=link)
        assert os.path.samefile(Path(source).parent / "none.png", folder / "train" / "none.png") == link


def test_nothing_is_written_over_or_left_half_written(source: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out exists: expected a new folder"):
        convert_dataset(source, "coco", tmp_path / "out")
    with pytest.raises(InputError, match="to: expected one of coco, voc, yolo, tfrecord, found 'kitti'"):
        convert_dataset(source, "kitti", tmp_path / "new")
    with pytest.raises(InputError, match="shards: expected none for coco, found 2"):
        convert_dataset(source, "coco", tmp_path / "new", shards=2)
    with pytest.raises(InputError, match="shards: expected 1 to 3 for 3 images, found 4"):
        convert_dataset(source, "tfrecord", tmp_path / "new", shards=4)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_boxes_that_were_dropped_or_clipped_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "x.csv").write_text("a.jpg,1,2,70,22,dog\na.jpg,30,2,20,9,dog\na.jpg,1,2,3,4,dog\n")
    conversion = convert_dataset(str(tmp_path / "x.csv"), "coco", tmp_path / "out")
    assert [note.split("; ")[0].split(": ")[1] for note in conversion.notes] == [
        "1 x inverted-box, dropped",
        "1 x box-beyond-image, clipped",
    ]
    assert conversion.counts == {"train": (1, 2)}


def test_the_command_says_what_it_wrote_and_how_to_train(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "--data", source, "--to", "voc", "--out", str(tmp_path / "v")]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[0] == f"train: 3 images, 6 boxes in {tmp_path}/v@train"
    assert output[1].startswith("note: 3 boxes were rounded")
    assert output[-1] == f"  tfrcnn train --train {tmp_path}/v@train --out runs/v"


def example_of(boxes: np.ndarray, height: int, width: int) -> Example:
    nothing = np.zeros(len(boxes), bool)
    ids = np.arange(len(boxes))
    return Example(1, Path("a"), height, width, boxes, ids, nothing, nothing, ids, 1, ids)


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, [4, 4], elements=st.floats(0, 1, width=32)), st.integers(1, 9000), st.integers(1, 9000))
def test_every_float32_box_is_written_so_that_it_reads_back_the_same(
    shares: np.ndarray, height: int, width: int
) -> None:
    sides = np.float32([height, width, height, width])
    pixels = np.sort((shares * sides).reshape(4, 2, 2), axis=1).reshape(4, 4)
    pixels = pixels[(pixels[:, 2:] - pixels[:, :2] > 1e-3).all(axis=1)]
    x, y, w, h = coco_boxes(pixels).T
    np.testing.assert_array_equal(np.float32([y, x, y + h, x + w]).T, pixels)
    x, y, w, h = yolo_boxes(pixels, np.tile([width, height], [len(pixels), 1])).T
    read = np.stack([(y - h / 2) * height, (x - w / 2) * width, (y + h / 2) * height, (x + w / 2) * width], axis=1)
    np.testing.assert_allclose(read, pixels, rtol=2e-7, atol=1e-9)
    whole = whole_pixels(example_of(pixels, height, width))
    assert (whole >= 1).all()
    assert (whole <= np.tile([height, width], 2)).all()
    if min(height, width) > 1:
        assert (whole[:, 2:] > whole[:, :2]).all()


def test_pictures_of_a_shard_are_copied_byte_for_byte(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "JPEG", comment=b"hello")
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.getvalue()]))
    box = {f"image/object/bbox/{key}": [0.25 + 0.5 * (key[1:] == "max")] for key in ("xmin", "ymin", "xmax", "ymax")}
    features = {key: tf.train.Feature(float_list=tf.train.FloatList(value=value)) for key, value in box.items()}
    text = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"cat"]))
    features |= {"image/encoded": feature, "image/object/class/text": text}
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    convert_dataset(str(tmp_path / "a.tfrecord"), "coco", tmp_path / "out", link=True)
    assert (tmp_path / "out" / "train" / "a-000001.jpg").read_bytes() == file.getvalue()


def test_shards_of_all_splits_are_checked_before_the_first_is_written(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ImageCopies, "read", None)
    with pytest.raises(InputError, match="shards: expected 1 to 1 for 1 images, found 2"):
        convert_dataset(source, "tfrecord", tmp_path / "out", val="0.2", shards=2)


def test_a_turned_tiff_becomes_an_upright_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "a.tif", exif=exif)
    example = replace(example_of(np.zeros([0, 4]), 256, 256), path=tmp_path / "a.tif")
    copies = ImageCopies(list(EXTENSIONS), False, lambda: None)
    name = copies.copy(example, tmp_path)
    assert (name, len(copies.notes)) == ("a.png", 1)
    np.testing.assert_array_equal(read_image(tmp_path / name), read_image(tmp_path / "a.tif"))


def test_a_fraction_splits_validation_data_off(source: str, tmp_path: Path) -> None:
    conversion = convert_dataset(source, "coco", tmp_path / "out", val="0.4")
    assert {split: images for split, (images, _) in conversion.counts.items()} == {"train": 2, "val": 1}
    ids = [{e.image_id for e in load_dataset(data).examples} for data in conversion.data.values()]
    assert ids[0] | ids[1] == {7, 3, 900}


def test_validation_data_take_the_folder_of_the_images(source: str, tmp_path: Path) -> None:
    shutil.copy(source, tmp_path / "x.json")
    images = Path(source).parent
    conversion = convert_dataset(str(tmp_path / "x.json"), "coco", tmp_path / "a", str(tmp_path / "x.json"), images)
    assert conversion.counts["val"] == conversion.counts["train"]
