"""Pascal VOC: what is read, and each fault by name."""

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset
from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.errors import InputError

OFFICIAL = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip


def obj(name: str = "cat", box: str = "1 1 10 20", extra: str = "") -> str:
    """An <object>; box is "xmin ymin xmax ymax"."""
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box.split()))
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


def xml(*objects: str, filename: str = "", size: str = "40 30") -> str:
    width, height = size.split()
    sizes = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>\n<filename>{filename}</filename>\n{sizes}\n{''.join(objects)}\n</annotation>"


def write(root: Path, annotations: dict[str, str], splits: dict[str, str] | None = None) -> Path:
    """A VOC folder with a 40 x 30 image for each XML; split "train" lists all of them."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem, text in annotations.items():
        (root / "Annotations" / f"{stem}.xml").write_text(text)
        Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{stem}.jpg")
    for name, text in {"train": "\n".join(annotations), **(splits or {})}.items():
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    return root


def boxes(dataset: Dataset) -> list[list[float]]:
    return [box for example in dataset.examples for box in example.boxes.tolist()]


def test_coordinates_counted_from_1_become_continuous_and_width_is_xmax_minus_xmin_plus_1(tmp_path: Path) -> None:
    dataset, report = read_dataset(f"{write(tmp_path, {'a': xml(obj(box='1 3 40 30'), obj(box='2 2 3 4'))})}@train")

    assert not report.faults
    example = dataset.examples[0]
    np.testing.assert_array_equal(example.boxes, [[2, 0, 30, 40], [1, 1, 4, 3]])
    np.testing.assert_array_equal(example.area, [28 * 40, 3 * 2])
    assert example.annotation_ids.tolist() == [1, 2]
    assert (example.image_id, example.path) == ("a", tmp_path / "JPEGImages" / "a.jpg")
    assert (example.height, example.width, example.orientation) == (30, 40, 1)


def test_difficult_is_read_truncated_is_counted_and_parts_are_no_objects(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    objects = obj("dog", extra="<difficult>1</difficult>"), obj(extra=f"<truncated>1</truncated>{part}"), obj("dog")

    dataset, report = read_dataset(f"{write(tmp_path, {'a': xml(*objects)})}@train")

    example = dataset.examples[0]
    assert example.difficult.tolist() == [True, False, False]
    assert example.crowd.tolist() == [False, False, False]
    assert dataset.categories == (Category(1, "cat"), Category(2, "dog"))
    assert example.labels.tolist() == [1, 0, 1]
    assert (report.summary["difficult"], report.summary["truncated"]) == (1, 1)


def test_labels_do_not_depend_on_the_split(tmp_path: Path) -> None:
    annotations = {"a": xml(obj("zebra")), "b": xml(obj("ant")), "c": xml(obj("cat"))}
    root = write(tmp_path, annotations, {"one": "c", "other": "a\nc"})

    one, other = load_dataset(f"{root}@one"), load_dataset(f"{root}@other")

    assert one.categories == other.categories == (Category(1, "ant"), Category(2, "cat"), Category(3, "zebra"))
    assert [example.labels.tolist() for example in other.examples] == [[2], [1]]


def test_the_official_order_of_the_20_classes_is_that_of_their_names() -> None:
    assert sorted(OFFICIAL) == OFFICIAL


def test_an_image_without_objects_is_an_example(tmp_path: Path) -> None:
    dataset, report = read_dataset(f"{write(tmp_path, {'a': xml(), 'b': xml(obj())})}@train")
    assert not report.faults
    assert dataset.examples[0].boxes.shape == (0, 4)
    assert report.summary["images_without_boxes"] == 1


@pytest.mark.parametrize("name", ["a.JPG", "a.jpeg", "a.PNG", "a.bmp", "sub/a.png", "other.png"])
def test_the_image_is_found_by_filename_else_by_stem_with_any_extension(tmp_path: Path, name: str) -> None:
    stem = "sub/a" if name.startswith("sub") else "a"
    (tmp_path / "Annotations" / "sub").mkdir(parents=True)
    (tmp_path / "JPEGImages" / "sub").mkdir(parents=True)
    filename = "other.png" if name == "other.png" else "/home/someone/a.jpg"
    root = write(tmp_path, {stem: xml(obj(), filename=filename)})
    (root / "JPEGImages" / f"{stem}.jpg").unlink()
    Image.new("RGB", (40, 30)).save(root / "JPEGImages" / name)

    assert load_dataset(f"{root}@train").examples[0].path == root / "JPEGImages" / name


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    root = write(tmp_path / "voc", {"a": xml(obj())})
    (root / "JPEGImages").rename(tmp_path / "pictures")
    assert load_dataset(f"{root}@train", tmp_path / "pictures").examples[0].path == tmp_path / "pictures" / "a.jpg"


def test_a_split_made_for_one_class_lists_the_images_that_have_it(tmp_path: Path) -> None:
    stems = ("a", "b", "c", "name with 1")
    split = "a  1\nb -1\nc  0\nname with 1\n\n"
    root = write(tmp_path, {stem: xml(obj()) for stem in stems}, {"cat_train": split})
    assert [example.image_id for example in load_dataset(f"{root}@cat_train").examples] == ["a", "c", "name with 1"]


FIRST = [[0.0, 0.0, 20.0, 10.0]]  # the box of obj()

# name: the XML of image "a", the kind of fault, the field, words of its message, the boxes left
FAULTS: dict[str, tuple[str, str, str, str, list[list[float]]]] = {
    "0-based": (
        xml(obj(box="0 5 9 9")), "zero-based-box", "object[0].bndbox", "probably 0-based", [[4, 0, 9, 9]]
    ),
    "0-based whole image": (
        xml(obj(box="0 0 39 29")), "zero-based-box", "object[0].bndbox", "xmin 0, ymin 0, xmax 39", [[0, 0, 29, 39]]
    ),
    "beyond": (xml(obj(box="5 5 42 9")), "box-beyond-image", "object[0].bndbox", "40 x 30", [[4, 4, 9, 40]]),
    "negative": (xml(obj(box="-5 5 12 9")), "box-beyond-image", "object[0].bndbox", "xmin -5", [[4, 0, 9, 12]]),
    "outside": (xml(obj(), obj(box="41 5 50 9")), "box-outside-image", "object[1].bndbox", "xmin 41", FIRST),
    "point": (xml(obj(), obj(box="5 7 5 7")), "zero-area-box", "object[1].bndbox", "ymin 7", FIRST),
    "line": (xml(obj(), obj(box="5 7 5 9")), "zero-area-box", "object[1].bndbox", "xmin 5", FIRST),
    "inverted": (xml(obj(), obj(box="9 7 5 9")), "inverted-box", "object[1].bndbox", "xmax 5", FIRST),
    "NaN": (xml(obj(), obj(box="nan 7 5 9")), "nan-box", "object[1].bndbox", "xmin nan", FIRST),
    "word": (xml(obj(), obj(box="x 7 5 9")), "bad-value", "object[1].bndbox.xmin", "number, found 'x'", FIRST),
    "no ymax": (xml(obj(), obj(box="1 7 9")), "bad-value", "object[1].bndbox.ymax", "found nothing", FIRST),
    "no name": (xml(obj(), obj("")), "bad-value", "object[1].name", "found nothing", FIRST),
    "difficult": (
        xml(obj(extra="<difficult>maybe</difficult>"), obj()), "bad-value", "object[0].difficult", "'maybe'",
        FIRST
    ),
    "size word": (xml(obj(), size="x 30"), "image-size-missing", "size", "40 x 30 px", FIRST),
    "size 0": (xml(obj(), size="0 0"), "image-size-missing", "size", "40 x 30 px", FIRST),
    "other size": (xml(obj(), size="30 40"), "image-size-differs", "size", "expected 40 x 30 px", []),
    "not closed": ("<annotation>\n<object></annotation>", "syntax-error", "line 2, column 11", "mismatched tag", []),
    "empty file": ("", "syntax-error", "line 1, column 1", "no element", []),
    "entity": (
        '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "syntax-error", "", "EntitiesForbidden", []
    ),
    "not an annotation": ("<html/>", "bad-value", "", "found <html>", []),
    "filename": (
        xml(obj(), filename="b.jpg"), "filename-differs", "filename", "expected a.jpg, found b.jpg", FIRST
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_with_file_and_field(tmp_path: Path, name: str) -> None:
    text, kind, field, words, left = FAULTS[name]
    root = write(tmp_path, {"a": text, "b": xml(obj("dog"))}, {"val": "a"})

    dataset, report = read_dataset(f"{root}@val")

    faults = [fault for fault in report.faults if fault.kind != "category-without-boxes"]
    assert [fault.kind for fault in faults] == [kind]
    assert (faults[0].file, faults[0].field) == (str(root / "Annotations" / "a.xml"), field)
    assert words in faults[0].message
    assert boxes(dataset) == left


def test_faults_of_the_split_file_are_named_by_line(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": xml(obj())}, {"twice": "a\na", "none": "\n", "more": "a\nz"})

    faults = {name: read_dataset(f"{root}@{name}")[1].faults[0] for name in ("twice", "none", "more")}

    assert [(fault.kind, fault.field) for fault in faults.values()] == [
        ("duplicate-image-id", "line 2"),
        ("empty-split", ""),
        ("missing-annotation", "line 2"),
    ]
    assert str(root / "Annotations" / "z.xml") in faults["more"].message


def test_a_missing_image_is_refused_by_name(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": xml(obj(), filename="holiday.jpg")})
    (root / "JPEGImages" / "a.jpg").unlink()

    dataset, report = read_dataset(f"{root}@train")

    assert report.refused
    assert (report.faults[0].kind, report.faults[0].field) == ("missing-image", "filename")
    assert str(root / "JPEGImages" / "holiday.jpg") in report.faults[0].message
    assert len(dataset) == 0


def test_a_broken_xml_outside_the_split_is_reported_but_not_refused(tmp_path: Path) -> None:
    report = read_dataset(f"{write(tmp_path, {'a': xml(obj()), 'b': '<annotation>'}, {'val': 'a'})}@val")[1]
    assert report.counts() == {"unread-annotation": 1}
    assert not report.refused


def test_all_faults_come_in_one_report(tmp_path: Path) -> None:
    bad = xml(obj(box="0 1 5 5"), obj(box="5 5 5 5"), obj(box="9 9 5 12"), obj(box="30 1 60 5"), obj(box="a 1 2 3"))
    root = write(tmp_path, {"a": bad, "b": "<", "c": xml(obj(), size="10 10"), "d": xml()})
    (root / "JPEGImages" / "d.jpg").unlink()

    with pytest.raises(InputError) as error:
        load_dataset(f"{root}@train")

    for kind in (
        "syntax-error", "bad-value", "missing-image", "image-size-differs", "inverted-box", "zero-area-box",
        "box-beyond-image", "zero-based-box",
    ):  # fmt: skip
        assert f"1 x {kind}" in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{root}", "found the folder .*did you mean .*@train or .*@val"),
        ("{root}@test", "expected one of the splits train, val in .*found 'test'"),
        ("{root}@", "expected one of the splits train, val in .*found 'no name'"),
        ("{root}/no@train", "found nothing at .*/no$"),
        (
            "{root}/JPEGImages@train",
            "expected annotations, found an image and no other file in .*JPEGImages: label them",
        ),
    ],
)
def test_a_data_argument_that_is_no_split_is_one_clear_error(tmp_path: Path, data: str, message: str) -> None:
    root = write(tmp_path / "a@b", {"a": xml(obj())}, {"val": "a"})
    with pytest.raises(InputError, match=message):
        read_dataset(data.format(root=root))


def test_a_folder_of_images_that_is_missing_is_one_clear_error(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": xml(obj())})
    (root / "JPEGImages").rename(tmp_path / "jpegs")
    with pytest.raises(InputError, match=r"expected the folder .*JPEGImages"):
        read_dataset(f"{root}@train")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    box=st.tuples(*[st.floats() | st.floats(-50, 50) | st.integers(-3, 45)] * 4), side=st.floats() | st.text("0ax.9")
)
def test_whatever_the_numbers_a_box_is_kept_inside_its_image_or_is_a_fault(
    tmp_path: Path, box: tuple[float, ...], side: float | str
) -> None:
    text = xml(obj(box=" ".join(map(str, box)))).replace(">40<", f">{side}<")

    dataset, report = read_dataset(f"{write(tmp_path, {'a': text})}@train")

    left = np.array(boxes(dataset)).reshape(-1, 4)
    assert len(left) == 1 or any(fault.action in ("dropped", "refused") for fault in report.faults)
    assert ((left[:, 2:] > left[:, :2]) & (left[:, :2] >= 0) & (left[:, 2:] <= [30, 40])).all()


@pytest.mark.parametrize(
    ("split", "images", "left", "dropped"), [("train", 205, 2804, 1), ("val", 87, 1137, 1), ("test", 72, 945, 0)]
)
def test_blood_cells_are_364_images_of_4888_boxes_two_of_them_points(
    data_root: Path, split: str, images: int, left: int, dropped: int
) -> None:
    dataset, report = read_dataset(f"{data_root / 'bccd' / 'BCCD'}@{split}")
    assert dataset.categories == (Category(1, "Platelets"), Category(2, "RBC"), Category(3, "WBC"))
    assert (len(dataset), len(boxes(dataset))) == (images, left)
    assert report.counts() == ({"zero-area-box": dropped} if dropped else {})


def test_the_100_images_of_voc2012_hold_what_their_xml_says(data_root: Path, tmp_path: Path) -> None:
    source = data_root / "voc2012_100"
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / folder).symlink_to(source / folder)
    files = sorted((source / "Annotations").glob("*.xml"))
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "all.txt").write_text("\n".join(path.stem for path in files))

    dataset, report = read_dataset(f"{tmp_path}@all")

    assert not report.faults
    assert [category.name for category in dataset.categories] == OFFICIAL
    assert (len(dataset), len(boxes(dataset))) == (100, 273)
    assert (report.summary["difficult"], report.summary["truncated"]) == (38, 137)
    names: Counter[str] = Counter()
    for path, example in zip(files, dataset.examples):
        objects = ElementTree.parse(path).getroot().findall("object")
        names.update(str(item.findtext("name")) for item in objects)
        corners = [
            [float(item.findtext(f"bndbox/{k}", "")) for k in ("ymin", "xmin", "ymax", "xmax")] for item in objects
        ]
        np.testing.assert_array_equal(example.boxes, np.array(corners) - [1, 1, 0, 0])
    counted = Counter(dataset.categories[label].name for e in dataset.examples for label in e.labels)
    assert counted == names
