"""Label Studio's exports without images name uploads, and --images holds the files that were uploaded."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tfrcnn.data.read import read_dataset
from tfrcnn.data.uploads import Originals

from . import test_csv as csv
from . import test_cvat as cvat
from . import test_voc_folder as voc
from .test_voc import obj
from .test_yolo import NOTES
from .test_yolo import write as write_yolo

COCO_NAMES = ("{}", "images/{}", "images\\{}", "/data/upload/1/{}", "../../media/upload/4/{}")


def photos(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / name)
    return folder


def coco(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    images = [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(names)]
    boxes = [{"id": i, "image_id": i, "category_id": 0, "bbox": [4, 3, 20, 6]} for i in range(len(names))]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 0, "name": "cell"}]}
    (folder / "result.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("name", COCO_NAMES)
def test_coco_export_without_images_finds_the_uploaded_files(tmp_path: Path, name: str) -> None:
    export = coco(tmp_path / "export", name.format("319b022f-a.jpg"), name.format("0a1b2c3d-b_1.png"))
    dataset, report = read_dataset(str(export), photos(tmp_path / "photos", "a.jpg", "b (1).png", "c.jpg"))
    assert [example.path.name for example in dataset.examples] == ["a.jpg", "b (1).png"]
    (fault,) = report.faults
    assert (fault.kind, fault.action) == ("upload-prefix", "kept")
    assert fault.message.endswith("photos/a.jpg (and 1 more)")
    assert "319b022f-a.jpg" in fault.message


@pytest.mark.parametrize("prefix", ["319b022f__", "?d="])
def test_export_of_web_addresses_and_of_local_storage_finds_the_files(tmp_path: Path, prefix: str) -> None:
    folder = photos(tmp_path / "photos", "a.jpg", "b.png")
    name = f"/data/local-files/{prefix}a.jpg" if prefix == "?d=" else f"images/{prefix}a.jpg"
    coco(tmp_path / "coco", name)
    xml = f"voc/Annotations/{prefix}a.xml"
    voc.write(tmp_path, xml, "spare.jpg", obj("dog", "5 4 24 9"), filename=f"{prefix}a.jpg")
    write_yolo(tmp_path / "yolo", {"classes.txt": "dog\n", f"labels/{prefix}a.txt": "0 0.5 0.5 0.1 0.2\n"})
    for export in ("coco", "voc", "yolo"):
        dataset, report = read_dataset(str(tmp_path / export), folder)
        assert not report.refused
        assert report.counts()["upload-prefix"] == 1
        assert [len(example.boxes) for example in dataset.examples if example.path.name == "a.jpg"] == [1]


def test_voc_export_without_images_finds_the_uploaded_files(tmp_path: Path) -> None:
    for upload in ("319b022f-a", "0a1b2c3d-b.v2"):
        voc.write(tmp_path, f"export/Annotations/{upload}.xml", "spare.jpg", obj("dog", "5 4 24 9"), filename=upload)
    folder = photos(tmp_path / "photos", "day 1/a.jpg", "b.v2.jpg")
    dataset, report = read_dataset(str(tmp_path / "export"), folder)
    assert sorted(example.path.name for example in dataset.examples) == ["a.jpg", "b.v2.jpg"]
    assert report.counts() == {"upload-prefix": 2}


def test_yolo_export_without_images_finds_the_uploaded_files(tmp_path: Path) -> None:
    files = {f"labels/{name}.txt": f"{i} 0.5 0.5 0.1 0.2\n" for i, name in enumerate(["319b022f-a", "0a1b2c3d-b_1"])}
    export = write_yolo(tmp_path / "export", {"classes.txt": "cat\ndog\n", "notes.json": NOTES, **files})
    dataset, report = read_dataset(str(export), photos(tmp_path / "photos", "a.jpg", "b 1.png", "c.jpg"))
    labels = {example.path.name: example.labels.tolist() for example in dataset.examples}
    assert labels == {"a.jpg": [0], "b 1.png": [1], "c.jpg": []}
    assert report.counts() == {"image-without-label": 1, "upload-prefix": 1}
    (message,) = [fault.message for fault in report.faults if fault.kind == "upload-prefix"]
    assert message.endswith("photos/b 1.png (and 1 more)")


def test_yolo_list_of_uploads_is_refused_since_its_labels_would_be_lost(tmp_path: Path) -> None:
    files = {"data.yaml": "train: train.txt\nnames: [cat, dog]\n", "train.txt": "images/319b022f-a.jpg\n"}
    files["labels/319b022f-a.txt"] = "1 0.5 0.5 0.1 0.2\n"
    report = read_dataset(str(write_yolo(tmp_path / "export", files)), photos(tmp_path / "photos", "a.jpg"))[1]
    assert "missing-image" in report.counts()


def test_csv_and_cvat_find_the_uploaded_files_too(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", "a.jpg")
    csv.write(tmp_path / "boxes.csv", csv.TUTORIAL, "319b022f-a.jpg,40,30,dog,4,3,24,9", images=())
    assert read_dataset(str(tmp_path / "boxes.csv"), folder)[1].counts() == {"upload-prefix": 1}
    element = cvat.image('<box label="dog" xtl="4" ytl="3" xbr="24" ybr="9"/>').replace("a.jpg", "319b022f-a.jpg")
    cvat.write(tmp_path / "cvat", element, meta="<annotations>")
    assert "upload-prefix" in read_dataset(str(tmp_path / "cvat"), folder)[1].counts()


def test_an_upload_that_can_be_two_files_is_missing(tmp_path: Path) -> None:
    export = coco(tmp_path / "export", "319b022f-a_1")
    assert "missing-image" in read_dataset(str(export), photos(tmp_path / "photos", "a 1.jpg", "a_1.png"))[1].counts()


def test_two_uploads_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", "a.jpg")
    report = read_dataset(str(coco(tmp_path / "export", "319b022f-a.jpg", "0a1b2c3d-a.jpg")), folder)[1]
    assert report.refused
    assert "duplicate-image-file" in report.counts()


def test_names_match_as_label_studio_spells_them() -> None:
    originals = Originals(["sub/My Photo (1).JPG", "b.jpg", "b.png", "ab-c.tif", "deadbeef-d.jpg"])
    assert originals.find("319b022f-My_Photo_1.JPG") == "sub/My Photo (1).JPG"
    assert originals.find("319B022F-my_photo_1.png") == "sub/My Photo (1).JPG"
    assert originals.find("319b022f-b.png") == "b.png"
    assert originals.find("319b022f-ab-c.tif") == "ab-c.tif"
    assert originals.find("319b022f-deadbeef-d.jpg") == "deadbeef-d.jpg"
    assert originals.find("319b022f__b.png") == "b.png"
    assert originals.find("319b022f__ab-c.tif") == "ab-c.tif"
    assert originals.find("?d=b.jpg") == "b.jpg"
    for upload in ("319b022f_b.png", "319b022f__", "?d=", "d=b.png"):
        assert originals.find(upload) is None
    for upload in ("319b022f-b", "b.jpg", "319b022f-", "19b022f-b.png", "319b022g-b.png", "319b022f-e.png"):
        assert originals.find(upload) is None
