"""Pascal VOC, value by value: which are accepted and which are faults. The parser alone; images are empty files."""

from pathlib import Path

import pytest

from tfrcnn.config import Category
from tfrcnn.data.checks import Parsed
from tfrcnn.data.voc import parse_voc, split_names
from tfrcnn.errors import InputError

BOX = "<bndbox><xmin>2</xmin><ymin>1</ymin><xmax>4</xmax><ymax>6</ymax></bndbox>"
CAT = f"<object><name>cat</name>{BOX}</object>"


def annotation(*objects: str, size: str = "40 30", filename: str = "") -> str:
    width, height = size.split()
    return (
        f"<annotation><filename>{filename}</filename><size><width>{width}</width><height>{height}</height></size>"
        f"{''.join(objects)}</annotation>"
    )


def parse(root: Path, annotations: dict[str, str], split: str | None = None, images: tuple[str, ...] = ()) -> Parsed:
    """A VOC folder whose split lists all annotations; each has an image with .jpg unless `images` names the files."""
    for name, text in annotations.items():
        write(root / "Annotations" / f"{name}.xml", text)
    for name in images or [f"{name}.jpg" for name in annotations]:
        write(root / "JPEGImages" / name)
    write(root / "ImageSets" / "Main" / "train.txt", "\n".join(annotations) if split is None else split)
    return parse_voc(root, "train")


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def faults(parsed: Parsed) -> list[tuple[str, str, str]]:
    return [(fault.kind, Path(fault.file).name, fault.field) for fault in parsed.faults]


def test_boxes_belong_to_their_images_with_label_place_and_difficult(tmp_path: Path) -> None:
    dog = f"<object><name>dog</name><difficult>1</difficult>{BOX}</object>"
    parsed = parse(tmp_path, {"a": annotation(dog), "b": annotation(), "c": annotation(CAT, dog)})
    assert parsed.categories == (Category(1, "cat"), Category(2, "dog"))
    assert [(image.image_id, image.size) for image in parsed.images] == [(name, (30, 40)) for name in "abc"]
    assert [tuple(box) for box in parsed.boxes] == [
        (0, 0, (0, 1, 6, 4), 1, False, True, None, None),
        (2, 0, (0, 1, 6, 4), 0, False, False, None, None),
        (2, 1, (0, 1, 6, 4), 1, False, True, None, None),
    ]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("40 30", (30, 40)),
        ("40.0 30.0", (30, 40)),
        ("999999999 1", (1, 999999999)),
        ("9999999999 1", None),  # ten digits
        ("40.5 30", None),
        ("-40 30", None),
        ("4² 30", None),
        ("٤ 30", None),  # a digit that is not ASCII
        ("0 30", None),
        ("40 0", None),
    ],
)
def test_a_size_is_two_whole_numbers_or_unknown(tmp_path: Path, text: str, size: tuple[int, int] | None) -> None:
    parsed = parse(tmp_path, {"a": annotation(CAT, size=text)})
    assert [image.size for image in parsed.images] == [size]
    assert not parsed.faults


@pytest.mark.parametrize(
    ("flag", "difficult"),
    [
        ("", False),
        ("0", False),
        ("false", False),
        ("Unspecified", False),
        ("1", True),
        ("true", True),
        (" TRUE ", True),
    ],
)
def test_difficult_is_a_flag_in_words_or_digits(tmp_path: Path, flag: str, difficult: bool) -> None:
    parsed = parse(tmp_path, {"a": annotation(f"<object><name>cat</name><difficult>{flag}</difficult>{BOX}</object>")})
    assert [box.difficult for box in parsed.boxes] == [difficult]
    assert not parsed.faults


@pytest.mark.parametrize("flag", ["2", "-1", "yes"])
def test_another_flag_is_a_fault_and_hides_no_object_after_it(tmp_path: Path, flag: str) -> None:
    parsed = parse(tmp_path, {"a": annotation(f"<object><name>cat</name><difficult>{flag}</difficult></object>", CAT)})
    assert ("bad-value", "a.xml", "object[0].difficult") in faults(parsed)
    assert [box.place for box in parsed.boxes] == [1]


def test_truncated_objects_are_counted_in_the_split_only(tmp_path: Path) -> None:
    texts = ["<truncated>1</truncated>", "<truncated>0</truncated>", "<truncated>1</truncated>", ""]
    objects = [f"<object><name>cat</name>{text}{BOX}</object>" for text in texts]
    parsed = parse(tmp_path, {"a": annotation(*objects), "b": annotation(*objects)}, split="a")
    assert parsed.summary["truncated"] == 2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<html/>", "bad-value"),
        ("<annotation>", "syntax-error"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "syntax-error"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "syntax-error"),
    ],
)
def test_a_file_that_is_no_annotation_is_worse_in_the_split_than_outside(tmp_path: Path, text: str, kind: str) -> None:
    inside = parse(tmp_path, {"a": text, "b": annotation(CAT)}, split="a\nb")
    outside = parse(tmp_path, {"a": text, "b": annotation(CAT)}, split="b")
    assert [(fault.kind, Path(fault.file).name) for fault in inside.faults] == [(kind, "a.xml")]
    assert [(fault.kind, Path(fault.file).name) for fault in outside.faults] == [("unread-annotation", "a.xml")]
    assert [len(parsed.boxes) for parsed in (inside, outside)] == [1, 1]


def test_a_split_made_for_one_class_may_list_names_with_spaces(tmp_path: Path) -> None:
    names = ["by the sea", "in the park", "x 7", "y"]
    split = "\ufeffby the sea  1\nin the park -1\n\nx 7\ny  0\nby the sea 1\nz 7\n"
    parsed = parse(tmp_path, {name: annotation(CAT) for name in names}, split)
    assert [image.image_id for image in parsed.images] == ["by the sea", "x 7", "y"]
    assert faults(parsed) == [
        ("duplicate-image-id", "train.txt", "line 6"),
        ("missing-annotation", "train.txt", "line 7"),
    ]


@pytest.mark.parametrize(
    ("filename", "files", "used", "kinds"),
    [
        ("b.png", ("b.png",), "b.png", []),
        ("b.png", ("b.png", "a.jpg"), "b.png", ["filename-differs"]),
        ("a.png", ("a.png", "a.jpg"), "a.png", []),
        ("b.png", ("a.bmp",), "a.bmp", []),
        ("", ("a.gif", "a.PNG", "a.jpeg", "a.JPG"), "a.JPG", []),
        ("", ("a.gif", "a.PNG", ".a.jpg", "a.txt"), "a.PNG", []),
        ("b.png", ("c.jpg",), "b.png", []),
        ("", ("c.jpg",), "a.jpg", []),
    ],
)
def test_the_image_is_the_named_file_or_the_first_of_the_same_stem_or_the_name_to_complain_about(
    tmp_path: Path, filename: str, files: tuple[str, ...], used: str, kinds: list[str]
) -> None:
    parsed = parse(tmp_path, {"a": annotation(CAT, filename=filename)}, images=files)
    assert [image.candidates for image in parsed.images] == [(tmp_path / "JPEGImages" / used,)]
    assert [fault.kind for fault in parsed.faults] == kinds


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (("0AF.JPG",), "0AF.JPG"),  # as Windows and macOS find it
        (("0AF.png",), "0AF.png"),
        (("0AF.jpg", "0Af.jpg"), None),  # either may be meant
        (("0AF.jpg", "0af.png"), "0af.png"),
    ],
)
def test_an_image_in_another_case_is_found_if_it_is_the_only_one(
    tmp_path: Path, images: tuple[str, ...], expected: str | None
) -> None:
    parsed = parse(tmp_path, {"0af": annotation(CAT, filename="0af.jpg")}, images=images)
    (candidate,) = parsed.images[0].candidates
    assert candidate.name == (expected or "0af.jpg")
    differs = expected is not None and expected.startswith("0AF")
    assert faults(parsed) == ([("image-path-differs", "0af.xml", "filename")] if differs else [])


def test_a_folder_without_any_category_is_one_fault(tmp_path: Path) -> None:
    parsed = parse(tmp_path, {"a": annotation(), "b": annotation(CAT.replace("cat", ""))})
    assert faults(parsed) == [("bad-value", "b.xml", "object[0].name"), ("bad-value", "Annotations", "object.name")]
    assert parsed.categories == ()


def test_a_folder_of_annotations_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(InputError, match=r"expected the folder .*Annotations, which does not exist$"):
        parse_voc(tmp_path, "train")
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(InputError, match=r"expected the folder .*/pictures, which .*: --images DIR$"):
        parse_voc(tmp_path, "train", tmp_path / "pictures")


def test_a_split_or_an_annotation_that_cannot_be_opened_is_a_fault(tmp_path: Path) -> None:
    parse(tmp_path, {"a": annotation(CAT)})
    assert ("unreadable-file", "val.txt", "") in faults(parse_voc(tmp_path, "val"))
    (tmp_path / "Annotations" / "b.xml").symlink_to("nowhere")
    assert faults(parse_voc(tmp_path, "train")) == [("unread-annotation", "b.xml", "")]
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "a\nb")
    assert faults(parse_voc(tmp_path, "val")) == [("unreadable-file", "b.xml", "")]


@pytest.mark.parametrize(
    ("stem", "filename", "used", "kinds"),
    [
        ("0123abcd-my_photo", "", "my photo.png", ["upload-prefix"]),
        ("a", "0123abcd-my_photo.png", "my photo.png", ["upload-prefix"]),
        ("0123abcd-my_photo", "0123abcd-other.png", "other.png", ["upload-prefix"]),
        ("0123abcd-my_photo", "other.png", "other.png", []),
        ("a", "0123abcd-third.png", "0123abcd-third.png", []),
    ],
)
def test_an_image_is_found_without_the_prefix_of_label_studio(
    tmp_path: Path, stem: str, filename: str, used: str, kinds: list[str]
) -> None:
    parsed = parse(tmp_path, {stem: annotation(CAT, filename=filename)}, images=("my photo.png", "other.png"))
    assert [image.candidates for image in parsed.images] == [(tmp_path / "JPEGImages" / used,)]
    assert faults(parsed) == [(kind, f"{stem}.xml", "filename") for kind in kinds]


def test_splits_are_the_text_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("val.txt", "train.txt", "notes.md"):
        write(tmp_path / "ImageSets" / "Main" / name)
    assert split_names(tmp_path) == ["train", "val"]


def test_a_box_is_shown_as_the_file_has_it(tmp_path: Path) -> None:
    assert parse(tmp_path, {"a": annotation(CAT)}).show_box(0, 1, 6, 4) == "xmin 2, ymin 1, xmax 4, ymax 6"


ZERO_BASED = {
    "a coordinate with decimals": annotation(CAT, CAT.replace("<xmin>2<", "<xmin>2.25<")),
    "CVAT": annotation(CAT.replace(BOX, f"<occluded>0</occluded>{BOX}<attributes></attributes>")),
    "Label Studio": annotation(CAT).replace("<size>", "<owner><name>Label Studio</name></owner><size>"),
}


@pytest.mark.parametrize("mark", ZERO_BASED)
def test_coordinates_of_tools_that_count_from_0_are_read_so_in_the_whole_set(tmp_path: Path, mark: str) -> None:
    parsed = parse(tmp_path, {"a": annotation(CAT), "b": ZERO_BASED[mark], "c": ZERO_BASED[mark]}, split="a")
    assert [box.yxyx for box in parsed.boxes] == [(1, 2, 6, 4)]
    assert not parsed.inclusive
    assert parsed.show_box(1, 2, 6, 4) == "xmin 2, ymin 1, xmax 4, ymax 6"
    assert faults(parsed) == [("coordinates-from-zero", "b.xml", "")]


ROBOFLOW = "<source><database>roboflow.com</database></source>"


@pytest.mark.parametrize("database", ["roboflow.com", "roboflow.ai"])
def test_roboflow_adds_1_to_all_corners_of_the_whole_set(tmp_path: Path, database: str) -> None:
    source = ROBOFLOW.replace("roboflow.com", database)
    whole = CAT.replace("<xmin>2<", "<xmin>1<").replace("<xmax>4<", "<xmax>41<")  # all of the width of 40
    texts = [annotation(objects).replace("<size>", f"{source}<size>") for objects in (CAT, whole)]
    parsed = parse(tmp_path, dict(zip("ab", texts)))
    assert [box.yxyx for box in parsed.boxes] == [(0, 1, 5, 3), (0, 0, 5, 40)]
    assert not parsed.inclusive
    assert parsed.show_box(0, 1, 5, 3) == "xmin 2, ymin 1, xmax 4, ymax 6"
    assert faults(parsed) == [("coordinates-of-roboflow", "a.xml", "")]
    assert parsed.faults[0].message == (
        "expected whole pixels from 1 to the last one, found a file of Roboflow: 1 is taken from the coordinates of "
        "all files"
    )


@pytest.mark.parametrize(
    "text",
    [
        annotation(CAT).replace("<size>", "<source><database>not roboflow.com</database></source><size>"),
        annotation(CAT.replace("<xmin>2<", "<xmin>2.0<")),
        annotation(CAT.replace(BOX, f"<occluded>0</occluded>{BOX}")),
        annotation(CAT.replace(BOX, f"<attributes/>{BOX}")),
        annotation(CAT).replace("<size>", "<owner><name>Flickr</name></owner><size>"),
        annotation(CAT.replace("<xmax>4<", "<xmax>4.5<")).replace(
            "<size>", "<source><database>The VOC2012 Database</database></source><size>"
        ),
    ],
)
def test_whole_numbers_with_a_point_marks_of_other_tools_and_the_original_data_set_count_from_1(
    tmp_path: Path, text: str
) -> None:
    parsed = parse(tmp_path, {"a": text})
    assert [box.yxyx[:2] for box in parsed.boxes] == [(0, 1)]
    assert not parsed.faults


@pytest.mark.parametrize(
    ("shape", "actual"),
    [
        ("<robndbox><cx>3</cx><cy>4</cy><w>2</w><h>5</h><angle>0.1</angle></robndbox>", "a robndbox"),  # roLabelImg
        ("<polygon><pt><x>1</x><y>2</y></pt></polygon>", "a polygon"),  # LabelMe on the web
        # CVAT's export for LabelMe
        (
            "<parts><hasparts/></parts><polygon><pt><x>1</x><y>2</y></pt></polygon>"
            "<attributes><attribute/></attributes>",
            "a polygon",
        ),
        ("<attributes><attribute><name>stain</name></attribute></attributes>", "none"),
        ("<pose>Left</pose>", "none"),
    ],
)
def test_an_object_of_another_shape_is_one_fault_that_names_it(tmp_path: Path, shape: str, actual: str) -> None:
    parsed = parse(tmp_path, {"a": annotation(f"<object><name>cat</name>{shape}</object>", CAT)})
    assert faults(parsed) == [("bad-value", "a.xml", "object[0]")]
    advice = "" if actual == "none" else "; export upright boxes, or COCO"
    assert parsed.faults[0].message == f"expected a bndbox, found {actual}{advice}"
    assert len(parsed.boxes) == 1
