"""Image files, statistics and anchors: what the doctor finds beyond the annotations."""

import dataclasses
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from tfrcnn.boxes import base_anchors, grid_anchors, iou
from tfrcnn.config import AnchorConfig, BackboneConfig, Category, DetectorConfig, ImageConfig
from tfrcnn.data.anchors import anchor_recall
from tfrcnn.data.checks import in_threads
from tfrcnn.data.decode import read_image
from tfrcnn.data.doctor import _decode, diagnose
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.faults import KINDS
from tfrcnn.data.headers import BadImageError, read_header
from tfrcnn.data.read import read_dataset
from tfrcnn.errors import InputError
from tfrcnn.images import padded_size, resized_size

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, [30, 40, 3], np.uint8))


def encoded(kind: str, image: Image.Image = NOISE, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(orientation: int, kind: str = "JPEG", image: Image.Image = NOISE) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(kind, image, exif=exif)


def with_thumbnail() -> bytes:
    """A JPEG with an end marker in a segment before its pixels, as in the EXIF thumbnails of cameras."""
    data = encoded("JPEG")
    return data[:2] + b"\xff\xfe\x00\x06\xff\xd8\xff\xd9" + data[2:]


def run_length_bmp() -> bytes:
    data = bytearray(encoded("BMP", NOISE.convert("P")))
    data[30] = 1  # the compression field
    return bytes(data)


def coco(folder: Path, files: dict[str, bytes], size: tuple[int, int] | None = (30, 40)) -> str:
    """A COCO json of images with one box each; `size` is the annotated (height, width)."""
    sides = {} if size is None else {"height": size[0], "width": size[1]}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    content = {
        "images": [{"id": i, "file_name": name, **sides} for i, name in enumerate(files)],
        "annotations": [
            {"id": i + 1, "image_id": i, "category_id": 1, "bbox": [2, 3, 4, 9]} for i in range(len(files))
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return str(folder / "instances.json")


BAD_IMAGES: dict[str, tuple[bytes, str, str]] = {
    "half.jpg": (encoded("JPEG")[:-400], "truncated-image", "cut off"),
    "half_with_thumbnail.jpg": (with_thumbnail()[:-400], "truncated-image", "cut off"),
    "half.png": (encoded("PNG")[:-20], "truncated-image", "cut off"),
    "empty.jpg": (b"", "truncated-image", "an empty file"),
    "painting.tga": (encoded("TGA"), "unsupported-image", "found TGA"),
    "scan.jp2": (encoded("JPEG2000"), "unsupported-image", "found JPEG2000"),
    "phone.jpg": (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "unsupported-image", "found HEIC"),
    "rle.bmp": (run_length_bmp(), "unsupported-image", "compression 1"),
    "page.jpg": (b"<html>not found</html>", "unreadable-image", "it starts with b'<html>no'"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_an_image_that_cannot_be_used_is_refused_without_decoding_it(tmp_path: Path, name: str) -> None:
    data, kind, words = BAD_IMAGES[name]

    dataset, report = read_dataset(coco(tmp_path, {name: data}))

    fault = report.faults[0]
    assert (fault.kind, fault.file, fault.action) == (kind, str(tmp_path / name), "refused")
    assert words in fault.message
    assert len(dataset) == 0


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("bytes_behind.jpg", encoded("JPEG") + bytes(30_000), "JPEG"),
        ("thumbnail.jpg", with_thumbnail(), "JPEG"),
        ("progressive.jpg", encoded("JPEG", progressive=True), "JPEG"),
        ("cmyk.jpg", encoded("JPEG", NOISE.convert("CMYK")), "JPEG"),
        ("two_pictures.jpg", encoded("MPO", save_all=True, append_images=[NOISE]), "JPEG"),
        ("sixteen.png", encoded("PNG", Image.fromarray(np.zeros([30, 40], np.uint16))), "PNG"),
        ("palette.bmp", encoded("BMP", NOISE.convert("P")), "BMP"),
        ("alpha.bmp", encoded("BMP", NOISE.convert("RGBA")), "BMP"),
        ("first.gif", encoded("GIF", save_all=True, append_images=[NOISE.rotate(180)]), "GIF"),
        ("web.webp", encoded("WEBP"), "WEBP"),
        ("scan.tif", encoded("TIFF"), "TIFF"),
    ],
)
def test_a_header_gives_format_and_stored_size(tmp_path: Path, name: str, data: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert read_header(tmp_path / name) == (kind, (30, 40), 1)


@pytest.mark.parametrize("kind", [kind for kind, (action, _) in KINDS.items() if action == "refused"])
def test_a_refused_fault_says_what_is_wrong_and_how_to_fix_it(kind: str) -> None:
    problem, _, remedy = KINDS[kind].meaning.partition("; ")
    assert problem
    assert remedy


def test_a_header_of_no_file_is_an_error_with_its_kind(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match=r"found nothing at .*a\.jpg") as error:
        read_header(tmp_path / "a.jpg")
    assert error.value.kind == "missing-image"
    assert isinstance(error.value, InputError)


def test_an_extension_that_lies_is_reported_and_the_image_kept(tmp_path: Path) -> None:
    dataset, report = read_dataset(coco(tmp_path, {"a.png": encoded("JPEG"), "b": encoded("PNG")}))
    assert [(fault.kind, fault.file) for fault in report.faults] == [("extension-differs", str(tmp_path / "a.png"))]
    assert not report.refused
    assert len(dataset) == 2


STORED, TURNED = (30, 40), (40, 30)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_annotated_size_tells_whether_the_annotator_saw_the_turned_picture(
    tmp_path: Path, orientation: int, kind: str
) -> None:
    name = "a.jpg" if kind == "JPEG" else "a.png"
    quarter = orientation >= 5
    seen = {}
    for size in (STORED, TURNED, None):
        dataset, report = read_dataset(coco(tmp_path, {name: with_orientation(orientation, kind)}, size))
        example = dataset.examples[0] if len(dataset) else None
        kinds = [fault.kind for fault in report.faults if fault.kind != "category-without-boxes"]
        seen[size] = (example and (example.height, example.width, example.orientation), kinds)

    upright = TURNED if quarter else STORED
    ignored = ((30, 40, 1), ["orientation-ignored"])
    assert seen[STORED] == (ignored if quarter else ((30, 40, orientation), []))
    assert seen[TURNED] == (((40, 30, orientation), []) if quarter else (None, ["image-size-differs"]))
    assert seen[None] == ((*upright, orientation), ["image-size-missing"])


def test_a_square_image_is_turned_as_viewers_show_it(tmp_path: Path) -> None:
    square = with_orientation(6, image=NOISE.resize((30, 30)))
    dataset, report = read_dataset(coco(tmp_path, {"a.jpg": square}, (30, 30)))
    assert dataset.examples[0].orientation == 6
    assert not report.faults


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tail=st.binary(max_size=60),
    start=st.sampled_from([b"", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0", b"MM\0*\0\0\0\x08"]),
)
def test_broken_exif_counts_as_none(tmp_path: Path, tail: bytes, start: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG", exif=b"Exif\0\0" + start + tail))
    header = in_threads(read_header, [tmp_path / "a.jpg"], "")[0]
    assert header.orientation in range(1, 9)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"]),
    changes=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_no_broken_file_crashes_the_doctor(tmp_path: Path, kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(with_orientation(6, kind) if kind in ("JPEG", "PNG") else encoded(kind))
    for position, value in changes:
        data[position] = value
    report = diagnose(coco(tmp_path, {"a": bytes(data)}, None))
    assert report.summary["images"] + sum(fault.action == "refused" for fault in report.faults) >= 1


def broken_png() -> bytes:
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.png", broken_png(), "unreadable-image"),
        ("a.bmp", encoded("BMP")[:-900], "truncated-image"),
    ],
)
def test_damage_that_only_decoding_shows_is_found_by_the_doctor(
    tmp_path: Path, name: str, data: bytes, kind: str
) -> None:
    path = coco(tmp_path, {name: data, "good.jpg": encoded("JPEG")})

    assert not read_dataset(path)[1].faults
    report = diagnose(path)

    assert report.refused
    assert [(fault.kind, fault.file) for fault in report.faults] == [(kind, str(tmp_path / name))]


def test_a_sample_of_the_images_is_decoded_and_the_report_says_how_many(tmp_path: Path) -> None:
    path = coco(tmp_path, {f"{i}.png": broken_png() for i in range(6)})

    report = diagnose(path, images_to_check=2, seed=3)
    again = diagnose(path, images_to_check=2, seed=3)

    assert report.summary["images"] == 6
    assert report.summary["images_decoded"] == {"drawn": 2, "of": 6, "seed": 3}
    assert report.counts() == {"unreadable-image": 2}
    assert again.faults == report.faults
    assert "drawn 2, of 6, seed 3" in report.render()
    assert len({diagnose(path, images_to_check=1, seed=seed).faults[0].file for seed in range(9)}) > 1


@pytest.mark.parametrize("images_to_check", [None, 6, 7])
def test_without_a_smaller_number_all_images_are_decoded(tmp_path: Path, images_to_check: int | None) -> None:
    path = coco(tmp_path, {f"{i}.png": broken_png() for i in range(6)})
    report = diagnose(path, images_to_check=images_to_check)
    assert report.counts() == {"unreadable-image": 6}
    assert "images_decoded" not in report.summary


def test_a_sample_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images_to_check: expected a whole number of at least 1, found 0"):
        diagnose(coco(tmp_path, {"a.png": encoded("PNG")}), images_to_check=0)


def test_the_doctor_reports_faults_of_annotations_and_of_pixels_together(tmp_path: Path) -> None:
    files = {"a.png": broken_png(), "b.jp2": encoded("JPEG2000"), "c.png": encoded("JPEG")}
    report = diagnose(coco(tmp_path, files))
    assert report.counts() == {"unsupported-image": 1, "unreadable-image": 1, "extension-differs": 1}


def test_statistics_are_those_of_the_boxes(tmp_path: Path) -> None:
    path = coco(tmp_path, {f"{i}.jpg": encoded("JPEG") for i in range(4)})
    content = json.loads(Path(path).read_text())
    content["annotations"][0]["bbox"] = [0, 0, 40, 10]  # the root of its area is 20; the others have 6
    content["annotations"][1]["image_id"] = 0
    Path(path).write_text(json.dumps(content))

    summary = diagnose(path).summary

    assert summary["boxes_by_category"] == {"cat": 4}
    assert summary["boxes_per_image"] == pytest.approx(
        {"min": 0, "5%": 0.15, "25%": 0.75, "median": 1, "75%": 1.25, "95%": 1.85, "max": 2}
    )
    assert (summary["box_size_px"]["min"], summary["box_size_px"]["max"]) == (6, 20)
    assert (summary["box_height_px"]["median"], summary["box_width_px"]["max"]) == (9, 40)
    assert summary["image_width_px"]["median"] == 40


def test_an_empty_data_set_is_diagnosed_too(tmp_path: Path) -> None:
    report = diagnose(coco(tmp_path, {}), config=detector((32.0,)), strides=(16,))
    assert report.counts() == {"empty-split": 1, "category-without-boxes": 1}


def detector(*sizes: tuple[float, ...], image: ImageConfig | None = None, **anchors: object) -> DetectorConfig:
    """Square anchors of these sizes per level; a network input of 64 x 64."""
    options = {"ratios": (1.0,), **anchors}
    return DetectorConfig(
        BackboneConfig("any"),
        image=image or ImageConfig(static_size=(64, 64)),
        anchors=AnchorConfig(sizes=sizes, **options),  # type: ignore[arg-type]
    )


def dataset_of(*boxes: np.ndarray, size: tuple[int, int] = (64, 64), crowd: int = 0, difficult: int = 0) -> Dataset:
    """An image for each array of boxes; the first `crowd` and `difficult` boxes of each are that."""
    examples = []
    for i, box in enumerate(boxes):
        rows = np.arange(len(box))
        examples.append(
            Example(
                i, Path(f"{i}.jpg"), *size, np.asarray(box, np.float32).reshape(-1, 4), np.zeros(len(box), np.int32),
                rows < crowd, rows < difficult, np.ones(len(box), np.float32), 1, rows.astype(np.int64),
            )
        )  # fmt: skip
    return Dataset("data", (Category(1, "cat"),), tuple(examples))


def test_best_iou_by_hand() -> None:
    # An anchor of 32 x 32 is centred on every multiple of 16.
    boxes = [
        [0, 0, 32, 32],  # centred on (16, 16): the anchor itself
        [4, 0, 36, 32],  # 4 off: 28 * 32 / (2 * 32 * 32 - 28 * 32) = 896 / 1152
        [10, 10, 18, 18],  # inside an anchor: 64 / 1024
        [0, 0, 64, 64],  # around an anchor: 1024 / 4096
    ]
    data = dataset_of(np.array(boxes))
    recall = anchor_recall(data, detector((32.0,)), (16,))

    np.testing.assert_allclose(recall.best_iou, [1, 896 / 1152, 1 / 16, 1 / 4])
    assert recall.recall(0.5) == recall.recall(0.7) == 0.5
    faults = recall.faults(data)
    assert [(fault.kind, fault.file, fault.field) for fault in faults] == [
        ("object-too-small", "0.jpg", "box 2"),
        ("object-unlike-anchors", "0.jpg", "box 3"),
    ]
    assert "found 0.06: cat of 8 x 8 px, in the network 8 x 8 px" in faults[0].message
    assert recall.summary() == {
        "recall_ceiling_of_anchors": {"IoU 0.5": 0.5, "IoU 0.7": 0.5},
        "objects_without_anchor_of_IoU_0.3": {"count": 2, "smallest px": 8.0, "largest px": 64.0},
    }


def test_boxes_are_measured_as_the_network_sees_them() -> None:
    # 32 x 16 pixels into 64 x 64: everything is twice as large, and the anchor of 32 fits a box of 16.
    recall = anchor_recall(dataset_of(np.array([[0, 0, 16, 16]]), size=(32, 16)), detector((32.0,)), (16,))
    assert recall.best_iou.tolist() == [1.0]
    assert recall.sides.tolist() == [[32.0, 32.0]]


def test_crowds_and_difficult_objects_are_no_targets_and_do_not_count() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 32, 32]])
    recall = anchor_recall(dataset_of(boxes, boxes, crowd=1, difficult=2), detector((32.0,)), (16,))
    assert recall.best_iou.tolist() == [1.0, 1.0]
    assert (recall.examples.tolist(), recall.rows.tolist()) == ([0, 1], [2, 2])


def test_without_objects_there_is_no_recall() -> None:
    recall = anchor_recall(dataset_of(np.zeros([0, 4])), detector((32.0,)), (16,))
    assert np.isnan(recall.recall(0.5))
    assert recall.summary() == {}
    assert recall.faults(dataset_of(np.zeros([0, 4]))) == []


def test_strides_are_one_per_level_and_come_with_a_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected 1, one per level of anchors, found 2"):
        anchor_recall(dataset_of(), detector((32.0,)), (8, 16))
    with pytest.raises(InputError, match="config and strides together"):
        diagnose(str(tmp_path), config=detector((32.0,)))


def brute_force(dataset: Dataset, config: DetectorConfig, strides: tuple[int, ...]) -> np.ndarray:
    """The best IoU of each box over the whole matrix of boxes and anchors."""
    best = []
    for example in dataset.examples:
        size = tf.constant([example.height, example.width])
        resized = resized_size(size, config.image)
        network = padded_size(resized, config.image)
        levels = [
            grid_anchors(
                tf.constant(base_anchors(config.anchors, level)),
                -(-network // stride),
                network // -(-network // stride),
                config.anchors.offset,
            )
            for level, stride in enumerate(strides)
        ]
        scale = tf.tile(tf.cast(resized, tf.float32) / tf.cast(size, tf.float32), [2])
        best.append(tf.reduce_max(iou(example.boxes * scale, tf.concat(levels, 0)), axis=1))
    return np.concatenate(best)


SMALL = ImageConfig(min_size=100, max_size=160)
CONFIGS: dict[str, tuple[Callable[[], DetectorConfig], tuple[int, ...]]] = {
    "pyramid": (lambda: detector((8.0,), (16.0,), (33.0,), ratios=(0.5, 1.0, 2.0), image=SMALL), (4, 8, 16)),
    "paper": (
        lambda: detector((64.0, 128.0), ratios=(0.5, 1.0, 2.0), rounding="paper", image=SMALL), (16,)
    ),
    "offset": (lambda: detector((24.0, 40.0), offset=0.5, rounding="none", image=SMALL), (16,)),
    "strides that do not divide": (
        lambda: detector((24.0,), (40.0,), image=dataclasses.replace(SMALL, divisor=1)), (7, 48)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_the_nearest_cells_hold_the_best_anchor_of_all(name: str) -> None:
    make, strides = CONFIGS[name]
    config = make()
    generator = np.random.default_rng(1)
    size = (57, 91)
    centers = generator.uniform(0, size, [600, 2])
    sides = np.exp(generator.uniform(np.log(0.5), np.log(150), [600, 2]))
    boxes = np.clip(np.concatenate([centers - sides / 2, centers + sides / 2], 1), 0, size * 2)
    data = dataset_of(boxes[:200], boxes[200:], size=size)

    recall = anchor_recall(data, config, strides)

    expected = brute_force(data, config, strides)
    np.testing.assert_allclose(recall.best_iou, expected, atol=2e-6)
    assert expected.max() > 0.7
    assert expected.min() < 0.1


def test_boxes_more_than_fit_at_once_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.random.default_rng(2).uniform(0, 30, [10, 4]) + np.array([0, 0, 31, 31])
    whole = anchor_recall(dataset_of(boxes), detector((32.0,)), (16,)).best_iou
    monkeypatch.setattr("tfrcnn.data.anchors._BOXES_AT_ONCE", 3)
    np.testing.assert_array_equal(anchor_recall(dataset_of(boxes), detector((32.0,)), (16,)).best_iou, whole)


@pytest.mark.slow
def test_real_data_are_diagnosed_with_the_anchors_of_a_pyramid(data_root: Path) -> None:
    config = DetectorConfig(BackboneConfig("any"), image=ImageConfig(min_size=240, max_size=400))
    strides = (4, 8, 16, 32, 64)
    path = str(data_root / "coco_val2017_66" / "instances.json")

    report = diagnose(path, config=config, strides=strides)

    assert not report.refused
    dataset = read_dataset(path)[0]
    kept = np.concatenate([~example.crowd for example in dataset.examples])
    expected = brute_force(dataset, config, strides)[kept]
    ceiling = report.summary["recall_ceiling_of_anchors"]
    assert ceiling == {f"IoU {t}": pytest.approx((expected >= t).mean(), abs=2e-3) for t in (0.5, 0.7)}
    assert 0.2 < ceiling["IoU 0.7"] < ceiling["IoU 0.5"] < 1
    assert "object-too-small" in report.render()


def test_validation_data_that_are_refused_refuse_the_report(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    good, val = coco(tmp_path / "a", {"a": encoded("PNG")}, None), tmp_path / "b" / "val.json"
    val.write_text(Path(good).read_text().replace('"cat"', '"cow"'))
    report = diagnose(good, images=tmp_path / "a", val=str(val))
    assert report.counts()["unknown-category"] == 1
    assert report.refused
    val.write_text(Path(good).read_text())
    assert not diagnose(good, images=tmp_path / "a", val=str(val)).refused
    assert diagnose(good, val=str(val), val_images=tmp_path / "b").counts()["missing-image"] == 1


def test_a_box_without_numbers_has_no_place_in_a_picture(tmp_path: Path) -> None:
    path = Path(coco(tmp_path, {"a": encoded("PNG")}, None))
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][0] = float("nan")
    path.write_text(json.dumps(content))
    assert [fault.box for fault in read_dataset(str(path))[1].faults if fault.kind == "nan-box"] == [None]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_of_150_damaged_files_the_doctor_passes_those_that_training_decodes(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(150)
    path, whole = tmp_path / "a", encoded(kind)
    passed = 0
    for _ in range(150):
        data = bytearray(whole)
        if rng.random() < 0.5:
            data[rng.integers(2, len(data))] = rng.integers(256)
        else:
            del data[len(data) - rng.integers(1, 30) :]
        path.write_bytes(data)
        fault = _decode(path)
        if fault is None:
            passed += 1
            assert read_image(path).shape == (30, 40, 3)
        else:
            assert fault.file == str(path)
            with pytest.raises(InputError, match=re.escape(fault.message)):
                read_image(path)
    assert 0 < passed < 150
