"""CVAT XML 1.1: what is read, and each fault by name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.errors import InputError

# As CVAT 2 exports a task of two images.
META = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>7</id>
      <name>cells</name>
      <size>2</size>
      <mode>annotation</mode>
      <labels>
        <label>
          <name>rbc</name>
          <color>#fa3253</color>
          <type>any</type>
          <attributes>
            <attribute><name>kind</name><values>a
b</values></attribute>
          </attributes>
        </label>
        <label>
          <name>cell</name>
          <type>any</type>
          <attributes></attributes>
        </label>
        <label>
          <name>1</name>
          <type>points</type>
          <attributes></attributes>
          <parent>body</parent>
        </label>
      </labels>
      <owner><username>anna</username></owner>
    </task>
    <dumped>2024-01-31 10:00:00.000000+00:00</dumped>
  </meta>
"""
BOX = (
    '    <box label="cell" source="manual" occluded="0" xtl="1.50" ytl="2.00" xbr="11.25" ybr="22.00" z_order="0">'
    '<attribute name="kind">b</attribute></box>\n'
)


def write(folder: Path, *images: str, meta: str = META) -> str:
    """An export: annotations.xml, and images/ with a.jpg and b.jpg of 40 x 30."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (40, 30)).save(folder / "images" / name)
    (folder / "annotations.xml").write_text(f"{meta}{''.join(images)}</annotations>\n", encoding="utf-8")
    return str(folder / "annotations.xml")


def image(*shapes: str, number: int = 0, name: str = "a.jpg", size: str = 'width="40" height="30"') -> str:
    return f'  <image id="{number}" name="{name}" {size}>\n{"".join(shapes)}  </image>\n'


def test_an_unpacked_export_is_read_as_it_comes(tmp_path: Path) -> None:
    data = write(tmp_path, image(BOX), image(number=1, name="b.jpg"))
    for argument in (data, str(tmp_path)):
        dataset, report = read_dataset(argument)
        assert [fault.kind for fault in report.faults] == ["category-without-boxes"]
        assert dataset.categories == (Category(1, "rbc"), Category(2, "cell"))
        assert [example.image_id for example in dataset.examples] == [0, 1]
        assert [example.boxes.tolist() for example in dataset.examples] == [[[2, 1.5, 22, 11.25]], []]
        assert dataset.examples[0].labels.tolist() == [1]


def test_fiftyones_folder_is_read_as_it_comes(tmp_path: Path) -> None:
    Path(write(tmp_path, image(BOX))).rename(tmp_path / "labels.xml")
    (tmp_path / "images").rename(tmp_path / "data")
    assert len(load_dataset(str(tmp_path))) == 1


def test_the_images_of_a_project_are_in_folders_of_subsets_and_numbered_per_task(tmp_path: Path) -> None:
    texts = [image(BOX).replace("id=", f'subset="{s}" task_id="{t}" id=') for s, t in (("Train", 4), ("Test", 5))]
    data = write(tmp_path, *texts)
    for subset in ("Train", "Test"):
        (tmp_path / "images" / subset).mkdir()
        Image.new("RGB", (40, 30)).save(tmp_path / "images" / subset / "a.jpg")
    for subset, image_id in (("Train", 0), ("test", "5/0")):
        (example,) = load_dataset(f"{data}@{subset}").examples
        assert (example.image_id, example.path.parent.name) == (image_id, subset.capitalize())
    with pytest.raises(InputError, match=r"expected one split, .* with 2 \(cvat\); did you mean .*@Train or .*@Test"):
        load_dataset(str(tmp_path))


def test_faults_of_a_subset_do_not_refuse_another(tmp_path: Path) -> None:
    texts = [image(BOX), image(BOX.replace("cell", "unknown"), number=1, name="")]
    data = write(tmp_path, *(text.replace("id=", f'subset="{s}" id=') for text, s in zip(texts, ("a &amp; b", "Test"))))
    assert len(load_dataset(f"{data}@a & b").examples) == 1
    assert read_dataset(f"{data}@Test")[1].refused


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ('<polygon label="cell" points="3.5,4;20,5;10,15.25"/>', [4, 3.5, 15.25, 20]),
        ('<ellipse label="cell" cx="20" cy="15" rx="8" ry="4"/>', [11, 12, 19, 28]),
        ('<ellipse label="cell" cx="20" cy="15" rx="8" ry="4" rotation="90"/>', [7, 16, 23, 24]),
        ('<mask label="cell" rle="1, 2" left="3" top="4" width="5" height="6"/>', [4, 3, 10, 8]),
        ('<box label="cell" xtl="10" ytl="10" xbr="20" ybr="14" rotation="90"/>', [7, 13, 17, 17]),
        ('<box label="cell" xtl="10" ytl="10" xbr="20" ybr="20" rotation="45"/>', [7.9289, 7.9289, 22.0711, 22.0711]),
    ],
    ids=["polygon", "ellipse", "turned ellipse", "mask", "box turned by 90", "box turned by 45"],
)  # fmt: skip
def test_the_box_around_another_shape_is_used(tmp_path: Path, shape: str, expected: list[float]) -> None:
    dataset, report = read_dataset(write(tmp_path, image(shape)))
    np.testing.assert_allclose(dataset.examples[0].boxes, [expected], atol=1e-4)
    assert "box-from-mask" in report.counts()


def test_points_and_lines_are_left_out_and_reported(tmp_path: Path) -> None:
    shapes = ["points", "polyline", "cuboid", "skeleton"]
    texts = [f'<{shape} label="cell" points="1,2"/>\n' for shape in shapes]
    dataset, report = read_dataset(write(tmp_path, image(BOX, '<tag label="rbc"/>', *texts)))
    assert len(dataset.examples[0].boxes) == 1
    assert report.counts()["shape-without-area"] == len(shapes)
    assert not report.refused


def test_tracks_of_a_video_are_refused_with_what_to_do(tmp_path: Path) -> None:
    track = f'<track id="0" label="cell">{BOX}</track>'
    with pytest.raises(InputError, match=r"found 2 tracks of a video; export it as CVAT for images 1\.1"):
        load_dataset(write(tmp_path, track, track))


def test_all_faults_are_reported_together_with_their_lines(tmp_path: Path) -> None:
    data = write(
        tmp_path,
        image(BOX, BOX.replace("1.50", "x"), BOX.replace("xbr", "zbr"), BOX.replace("cell", ""), name="a.jpg"),
        image(BOX, number=0, name="b.jpg"),
        image(BOX, number=2, name="", size='width="0" height="30"'),
        image(BOX.replace("cell", "cow"), number=3, name="c.jpg"),
        '  <image id="4" name="b.jpg" width="40" height="30"><polygon label="cell" points="1,2;3"/></image>\n',
    )
    first = META.count("\n") + 1
    report = read_dataset(data)[1]
    assert {fault.field for fault in report.faults if fault.action == "refused"} == {
        f"line {first + 2}", f"line {first + 3}, xbr", f"line {first + 4}, label", f"line {first + 6}, id",
        f"line {first + 9}, name", f"line {first + 9}, width and height", f"line {first + 12}, name",
        f"line {first + 13}, label", f"line {first + 15}",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<annotations><image></annotations>", "line 1, column 23: expected XML, found: mismatched tag"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "expected plain XML, found: Entities"),
        ("<annotations></annotations>", "expected at least one <image>"),
    ],
)
def test_a_file_that_is_no_export_is_one_fault(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(InputError, match=expected):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-8-sig"])
def test_a_file_in_another_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    data = Path(write(tmp_path, image(BOX.replace("cell", "血小板")), meta='<?xml version="1.0"?>\n<annotations>'))
    declared = encoding.removesuffix("-sig")
    text = data.read_text(encoding="utf-8").replace("?>", f' encoding="{declared}"?>', 1)
    data.write_bytes(text.encode(encoding))
    assert load_dataset(str(data)).categories == (Category(1, "血小板"),)


def test_without_labels_in_the_task_the_names_of_the_boxes_are_sorted(tmp_path: Path) -> None:
    boxes = BOX + BOX.replace("cell", "ant").replace("1.50", "2.50")
    dataset = load_dataset(write(tmp_path, image(boxes), meta="<annotations>"))
    assert [category.name for category in dataset.categories] == ["ant", "cell"]
