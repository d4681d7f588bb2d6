"""TFRecord shards of the TF Object Detection API: what is read, from where, and each fault by name."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrcnn.config import Category, ImageConfig, TrainingConfig
from tfrcnn.data.decode import read_image
from tfrcnn.data.doctor import diagnose
from tfrcnn.data.embedded import bytes_of
from tfrcnn.data.example import Dataset
from tfrcnn.data.pipeline import inference_data, training_data
from tfrcnn.data.read import load_dataset, read_dataset, read_validation
from tfrcnn.data.records import parse_prepared
from tfrcnn.data.tfrecord import TfRecord, is_tfrecord
from tfrcnn.errors import InputError

LABEL_MAP = "item {\n  id: 1\n  name: 'cat'\n}\n\nitem {\n  id: 5\n  name: '/m/0bt9lr'\n  display_name: 'dog'\n}\n"
BOX = {"ymin": [0.2], "xmin": [0.1], "ymax": [0.4], "xmax": [0.5]}


def picture(shade: int = 0, orientation: int = 1) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30), (shade, 90, 30)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def feature(value: Any) -> tf.train.Feature:
    values = value if isinstance(value, list) else [value]
    if any(isinstance(each, bytes) for each in values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if any(isinstance(each, float) for each in values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def record(name: str = "a.jpg", shade: int = 0, **objects: list[Any]) -> dict[str, Any]:
    """The features that the API's create_pascal_tf_record.py writes for a 40 x 30 image with one box."""
    return {
        "image/height": 30,
        "image/width": 40,
        "image/filename": name.encode(),
        "image/source_id": name.encode(),
        "image/key/sha256": b"0",
        "image/encoded": picture(shade),
        "image/format": b"jpeg",
        **{f"image/object/bbox/{key}": value for key, value in BOX.items()},
        "image/object/class/text": [b"cat"],
        "image/object/class/label": [1],
        "image/object/difficult": [0],
        "image/object/truncated": [0],
        "image/object/view": [b"Frontal"],
        **{f"image/object/{key.replace('__', '/')}": value for key, value in objects.items()},
    }


def write(path: Path, *records: dict[str, Any], label_map: str = "") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for features in records:
            content = tf.train.Features(feature={key: feature(value) for key, value in features.items()})
            writer.write(tf.train.Example(features=content).SerializeToString())
    if label_map:
        (path.parent / "label_map.pbtxt").write_text(label_map)
    return str(path)


def empty() -> dict[str, list[Any]]:
    return {**{f"bbox__{key}": [] for key in BOX}, "class__text": [], "class__label": [], "difficult": []}


def names(dataset: Dataset) -> list[list[str]]:
    return [[dataset.categories[label].name for label in example.labels] for example in dataset.examples]


def test_a_shard_gives_boxes_in_pixels_and_images_from_its_records(tmp_path: Path) -> None:
    negative = record("sub/b.jpg", 80, **empty())
    dataset, report = read_dataset(write(tmp_path / "train.record", record(), negative, label_map=LABEL_MAP))
    assert [fault.kind for fault in report.faults] == ["category-without-boxes"]
    assert dataset.categories == (Category(1, "cat"), Category(5, "dog"))
    assert [example.boxes.tolist() for example in dataset.examples] == [[[6, 4, 12, 20]], []]
    assert [example.image_id for example in dataset.examples] == ["a.jpg", "sub/b.jpg"]
    assert [example.path.name for example in dataset.examples] == ["a.jpg", "b.jpg"]
    assert [bytes_of(example.path).file.name for example in dataset.examples] == ["train.record"] * 2
    for example, shade in zip(dataset.examples, (0, 80)):
        pixels = np.asarray(Image.open(io.BytesIO(picture(shade))))
        np.testing.assert_array_equal(read_image(example.path), pixels)


def test_a_folder_of_images_is_refused_because_the_records_hold_them(tmp_path: Path) -> None:
    data = write(tmp_path / "train.tfrecord", record(), label_map=LABEL_MAP)
    with pytest.raises(InputError, match=r"^images: expected none, because .*train.tfrecord holds its images, found"):
        read_dataset(data, images=tmp_path)
    with pytest.raises(InputError, match=r"^val_images: expected none"):
        read_validation(data, None, tmp_path, None)
    dataset, _ = read_validation(data, tmp_path, None, None)  # the folder is the training images'
    assert len(dataset) == 1


def test_everything_that_reads_images_reads_them_from_the_shards(tmp_path: Path) -> None:
    data = write(tmp_path / "train.tfrecord", record(), record("b.jpg", 80), record("c.jpg"))
    other = write(tmp_path / "val.tfrecord", record("renamed.jpg", 80))
    report = diagnose(data, val=other)
    assert report.counts() == {"image-in-two-splits": 1}
    dataset = load_dataset(data)
    config = ImageConfig(static_size=(64, 64))
    training = TrainingConfig(batch_size=1, seed=1)
    read = [next(iter(training_data(dataset, config, training, cache).batches())) for cache in (False, True)]
    np.testing.assert_array_equal(read[0]["images"], read[1]["images"])
    assert [int(batch["image_index"][0]) for batch in inference_data(dataset, config)] == [0, 1, 2]
    assert dataset.fingerprint() == load_dataset(data).fingerprint() != load_dataset(other).fingerprint()


def test_the_images_of_shards_come_in_the_order_of_one_file_and_resume_at_any_step(tmp_path: Path) -> None:
    records = [record(f"{number}.jpg", 40 * number) for number in range(6)]
    one = load_dataset(write(tmp_path / "all.tfrecord", *records))
    for shard in range(3):
        write(tmp_path / "x" / f"train-0000{shard}-of-00003", *records[2 * shard : 2 * shard + 2])
    shards = load_dataset(f"{tmp_path}/x/train-*")
    training = TrainingConfig(batch_size=2, seed=1)
    steps = [training_data(dataset, ImageConfig(), training).files_of_step(5) for dataset in (one, shards)]
    assert [[path.name for path in paths] for paths in steps] == [[path.name for path in steps[0]]] * 2
    data = training_data(shards, ImageConfig(static_size=(64, 64)), training)
    (resumed,) = data.batches(5).take(1)
    *_, uninterrupted = data.batches().take(6)
    for name, values in uninterrupted.items():
        np.testing.assert_array_equal(resumed[name], values)


@pytest.mark.parametrize(
    "argument", ["train.tfrecord-?????-of-00003", "train.tfrecord-*", "train.tfrecord", "", "@train"]
)
def test_shards_are_named_by_a_pattern_their_name_or_their_folder(tmp_path: Path, argument: str) -> None:
    for shard in range(3):
        write(tmp_path / "x" / f"train.tfrecord-0000{shard}-of-00003", record(f"{shard}.jpg"))
    (tmp_path / "x" / "checkpoint.data-00000-of-00001").touch()
    data = f"{tmp_path}/x{argument}" if argument[:1] in ("", "@") else f"{tmp_path}/x/{argument}"
    dataset = load_dataset(data)
    assert [example.image_id for example in dataset.examples] == ["0.jpg", "1.jpg", "2.jpg"]


def test_roboflows_folder_of_splits_is_read_as_it_comes(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write(tmp_path / split / "Cells.tfrecord", record(f"{split}.jpg", class__label=[2]))
        (tmp_path / split / "Cells_label_map.pbtxt").write_text(LABEL_MAP.replace("id: 1", "id: 2"))
    dataset = load_dataset(f"{tmp_path}@val")
    assert dataset.examples[0].image_id == "valid.jpg"
    assert dataset.categories[0] == Category(2, "cat")


def test_shards_that_are_missing_are_named(tmp_path: Path) -> None:
    for shard in (0, 2):
        write(tmp_path / f"train-0000{shard}-of-00004", record(f"{shard}.jpg"))
    with pytest.raises(InputError, match=r"(?s)train-00001-of-00004: expected all.*train-00003-of-00004: expected"):
        load_dataset(f"{tmp_path}/train-?????-of-00004")
    assert len(load_dataset(f"{tmp_path}/train-0000[02]-of-00004")) == 2
    assert len(load_dataset(f"{tmp_path}/train-00000-of-00004")) == 1


def test_a_class_may_be_named_by_its_label_or_either_of_its_texts(tmp_path: Path) -> None:
    both = {"class__text": [b"dog"], "class__label": [5]}
    code = {"class__text": [b"/m/0bt9lr"], "class__label": [5]}
    text_only, label_only = {"class__text": [b"dog"], "class__label": []}, {"class__text": [], "class__label": [5]}
    records = [record(f"{i}.jpg", **objects) for i, objects in enumerate((both, code, text_only, label_only))]
    data = write(tmp_path / "a.record", *records, label_map=LABEL_MAP)
    assert names(load_dataset(data)) == [["dog"]] * 4


def test_without_a_label_map_the_labels_are_the_ids_and_the_texts_the_names(tmp_path: Path) -> None:
    data = write(tmp_path / "a.record", record(), record("b.jpg", class__text=[b"ant"], class__label=[3]))
    assert load_dataset(data).categories == (Category(1, "cat"), Category(3, "ant"))
    texts = [record("a.jpg", class__label=[]), record("b.jpg", class__text=[b"ant"], class__label=[])]
    assert load_dataset(write(tmp_path / "a.record", *texts)).categories == (Category(1, "ant"), Category(2, "cat"))
    dataset, report = read_dataset(write(tmp_path / "a.record", record(class__text=[])))
    assert dataset.categories == (Category(1, "1"),)
    assert report.counts() == {"numbered-categories": 1}


def test_a_text_that_contradicts_its_label_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "a.record", record(class__text=[b"dog"]), label_map=LABEL_MAP)
    with pytest.raises(InputError, match="class/label: expected label 5 for 'dog', found 1"):
        load_dataset(data)
    zero_based = write(tmp_path / "a.record", record(class__text=[], class__label=[0]), label_map=LABEL_MAP)
    with pytest.raises(InputError, match=r"expected a class of .*label_map\.pbtxt, found None with label 0"):
        load_dataset(zero_based)
    (tmp_path / "label_map.pbtxt").unlink()
    with pytest.raises(InputError, match="expected one text for label 1, found 'cat' and 'dog'"):
        load_dataset(write(tmp_path / "a.record", record(), record("b.jpg", class__text=[b"dog"])))


def test_flags_and_areas_are_read_and_a_group_is_a_crowd(tmp_path: Path) -> None:
    two = {**{f"bbox__{key}": value * 3 for key, value in BOX.items()}, "class__text": [b"cat"] * 3}
    flags = {"difficult": [1, 0, 0], "is_crowd": [0, 1, 0], "group_of": [0, 0, 1], "area": [7.5, 0.0, 3.0]}
    example = load_dataset(write(tmp_path / "a.record", record(class__label=[1] * 3, **two, **flags))).examples[0]
    assert example.difficult.tolist() == [True, False, False]
    assert example.crowd.tolist() == [False, True, True]
    assert example.area.tolist() == [7.5, 6 * 16, 3.0]


def test_integer_pixels_come_back_from_float32_shares(tmp_path: Path) -> None:
    edges = np.arange(1, 1922)
    pixels = np.stack([edges - 1, edges - 1, edges, edges + 0.25], axis=1)
    shares = {key: (pixels[:, i] / (1921, 1922)[i % 2]).astype(np.float32) for i, key in enumerate(BOX)}
    features = record(class__text=[b"cat"] * len(edges), class__label=[1] * len(edges), difficult=[])
    features |= {f"image/object/bbox/{key}": value.tolist() for key, value in shares.items()}
    features |= {"image/height": 1921, "image/width": 1922}
    file = io.BytesIO()
    Image.new("L", (1922, 1921)).save(file, "PNG")
    example = load_dataset(write(tmp_path / "a.record", {**features, "image/encoded": file.getvalue()})).examples[0]
    np.testing.assert_array_equal(example.boxes, pixels.astype(np.float32))


def test_a_stored_size_that_is_not_turned_shows_that_boxes_ignore_the_orientation(tmp_path: Path) -> None:
    """The API's decoder ignores EXIF: its tools write the stored size."""
    turned = {**record(), "image/encoded": picture(orientation=6)}
    dataset, report = read_dataset(write(tmp_path / "a.record", turned))
    assert (dataset.examples[0].width, dataset.examples[0].orientation) == (40, 1)
    assert report.counts() == {"orientation-ignored": 1}
    upright = {**turned, "image/height": 40, "image/width": 30}
    assert load_dataset(write(tmp_path / "a.record", upright)).examples[0].orientation == 6
    del upright["image/height"]
    example = load_dataset(write(tmp_path / "a.record", upright)).examples[0]
    assert (example.width, example.orientation, example.boxes.tolist()) == (30, 6, [[8, 3, 16, 15]])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"image/encoded": b""}, "image/encoded: expected an image file, found none; the record's features are image/"),
        ({"image/object/bbox/xmin": [0.1, 0.2]}, "expected as many of each, found"),
        ({"image/object/bbox/xmin": [4.0]}, r"expected shares of the image from 0 to 1, found 4 \(pixels\?\)"),
        ({"image/object/class/text": [b"cat", b"dog"]}, r"class/text: expected one per box \(1\), found 2"),
        ({"image/object/class/label": [b"1"]}, "class/label: expected a float_list, found a bytes_list"),
        ({"image/object/difficult": [0, 0]}, r"difficult: expected one per box \(1\), found 2"),
        ({"image/width": 41}, "expected 40 x 30 px"),
        ({"image/width": [float("inf")]}, "image/width: expected whole numbers"),
        ({"image/encoded": b"no image"}, "expected a JPEG, PNG, BMP, GIF, WebP or TIFF image, found no image"),
        ({"image/object/class/text": [], "image/object/class/label": []}, "a text or a label per box, found neither"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_record_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    data = write(tmp_path / "a.record", record("a.jpg"), {**record("b.jpg"), **change})
    with pytest.raises(InputError, match=expected):
        load_dataset(data)


def test_a_shard_that_is_cut_off_anywhere_is_one_fault_after_its_whole_records(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.record", record(), record("b.jpg")))
    content = path.read_bytes()
    path = Path(write(path, record()))
    first = path.stat().st_size
    for end in (*range(first + 1, first + 30), first + 1000, len(content) - 4, len(content) - 1):
        path.write_bytes(content[:end])
        dataset, report = read_dataset(str(path))
        assert len(dataset) == 1
        assert report.refused
        (fault,) = (fault for fault in report.faults if fault.kind == "unreadable-file")
        rest = end - first
        expected = f"{rest} byte{'s' if rest > 1 else ''}$" if rest < 12 else f"truncated record at {first}"
        assert re.search(f"^expected whole records, found after 1 of them: {expected}", fault.message), fault.message
        assert "{{" not in fault.message
        assert "[Op" not in fault.message
    for end in (first, len(content)):
        path.write_bytes(content[:end])
        assert not read_dataset(str(path))[1].refused


def test_a_file_that_is_no_tfrecord_or_cut_off_or_packed_is_one_fault(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.record", record(), record("b.jpg")))
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(InputError, match=r"a\.record: expected whole records, found after 1 of them: "):
        load_dataset(str(path))
    path.write_bytes(b"hello " * 100)
    with pytest.raises(InputError, match=r"a\.record: expected whole records, found after 0 of them: "):
        load_dataset(str(path))
    path.write_bytes(b"\x1f\x8b" + content)
    with pytest.raises(InputError, match="expected an uncompressed TFRecord"):
        load_dataset(str(path))
    path.write_bytes(b"")
    with pytest.raises(InputError, match="expected at least one record, found none"):
        load_dataset(str(path))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff\xff")
    with pytest.raises(InputError, match=r"record 1: expected a tf\.train\.Example"):
        load_dataset(str(path))


def found_sets(path: str | Path) -> dict[str, list[str]]:
    """The files of each set at a path."""
    return {split: [shard.name for shard in parse.args[0]] for split, parse in TfRecord().find(str(path)).items()}


@pytest.mark.parametrize("path", ["./s/x-?????-of-00002", "s//x-?????-of-00002", "s//x", "s//", "b[2]", "b[2]/x-*"])
def test_missing_shards_are_named_however_the_path_is_written(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("s", "b[2]"):
        write(Path(folder, "x-00000-of-00002"), record())
    faults = read_dataset(path)[1].faults
    assert [(fault.kind, Path(fault.file).name) for fault in faults] == [("missing-shard", "x-00001-of-00002")]


def test_names_with_a_dot_are_sets_of_their_own(tmp_path: Path) -> None:
    names = ["cells.v2-train-00000-of-00001", "cells.v2-val-00000-of-00001", "cells.v3.tfrecord"]
    for name in names:
        (tmp_path / name).touch()
    sets = dict(zip(("cells.v2-train", "cells.v2-val", "cells.v3"), ([name] for name in names)))
    assert found_sets(tmp_path) == sets


@pytest.mark.parametrize("older", ["train.tfrecord-00000-of-00002", "train.tfrecord"])
def test_a_set_that_was_written_twice_is_refused(tmp_path: Path, older: str) -> None:
    for name in ("train.tfrecord-00000-of-00001", older):
        write(tmp_path / name, record())
    assert "shards-written-twice" in read_dataset(str(tmp_path))[1].counts()
    assert "shards-written-twice" not in read_dataset(str(tmp_path / older))[1].counts()


def test_crowds_and_areas_of_prepared_data_sets_are_read() -> None:
    values = {"image": b"x", "objects/bbox": [0.0, 0.0, 0.5, 0.5] * 3, "objects/label": [0, 1, 1]}
    features = {key: feature(value) for key, value in values.items()}
    features |= {"objects/is_crowd": feature([0, 1, 0]), "objects/is_group_of": feature([1, -1, -1])}
    features["objects/area"] = feature([7, 8, 9])
    fields = parse_prepared(features, "image", "objects", has_labels=True)
    assert fields.crowd.tolist() == [True, True, False]
    assert fields.areas.tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.tfrecord-00001-of-00005", True), ("a-00001-of-00005.RECORD", True), ("a-00001-of-00005", True)]
    + [(f"photo-00001-of-00005{extension}", False) for extension in (".jpg", ".txt")],
)
def test_pictures_with_the_numbers_of_shards_are_no_shards(name, expected):
    assert is_tfrecord(name) is expected
