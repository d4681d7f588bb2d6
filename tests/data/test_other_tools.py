"""Files of tools that no reader takes: one line says whose they are and what to export."""

import json
from pathlib import Path

import pytest

from tfrcnn.data.other_tools import other_tool
from tfrcnn.data.read import read_dataset
from tfrcnn.errors import InputError

VALUE = {"x": 1.5, "y": 2, "width": 3, "height": 4, "rotation": 0, "rectanglelabels": ["cat"]}
RESULT = {"type": "rectanglelabels", "original_width": 40, "original_height": 30, "value": VALUE}
TASK = {"id": 1, "annotations": [{"id": 1, "result": [RESULT]}], "file_upload": "3a-a.jpg", "data": {"image": "a.jpg"}}
CREATE_ML = [{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 1, "y": 2, "width": 3}}]}]
SHAPE = {"label": "cat", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"}
DATUMARO = {
    "info": {},
    "categories": {"label": {"labels": [{"name": "cat", "parent": ""}], "attributes": []}},
    "items": [{"id": "a", "annotations": [{"type": "bbox", "label_id": 0, "bbox": [1, 2, 3, 4]}]}],
}
RECTANGLE = {"classTitle": "cat", "points": {"exterior": [[1, 2], [3, 4]]}}
FILES = {  # by tool: the file, its content, and what the message says
    "Label Studio, JSON": ("project-1.json", [TASK], "Label Studio's JSON or CSV: export COCO, YOLO or Pascal VOC"),
    "Label Studio, JSON-MIN": ("project-1.json", [{"image": "a.jpg", "label": [VALUE]}], "Label Studio's JSON"),
    "Label Studio, CSV": (
        "project-1.csv",
        "annotation_id,annotator,created_at,id,image,label,lead_time,updated_at\n1,1,2026,1,a.jpg,x,2,2026\n",
        "Label Studio's JSON or CSV: export COCO",
    ),
    "CreateML": ("annotations.json", CREATE_ML, "CreateML's JSON: choose PascalVOC or YOLO in labelImg"),
    "CreateML of Roboflow": ("train/_annotations.createml.json", CREATE_ML, "or COCO in Roboflow"),
    "LabelMe": ("a.json", {"shapes": [SHAPE], "imagePath": "a.jpg"}, "LabelMe's JSON: convert it by its labelme2voc"),
    "VIA": ("via_project.json", {"_via_img_metadata": {}}, "a project of VIA: export COCO"),
    "VIA, CSV": ("via.csv", "#filename,file_size,region_shape_attributes\na.jpg,1,{}\n", "a project of VIA"),
    "Datumaro of CVAT": ("annotations/default.json", DATUMARO, "Datumaro's JSON: export COCO or CVAT for images 1.1"),
    "Supervisely": ("a.jpg.json", {"description": "", "objects": [RECTANGLE]}, "Supervisely's JSON: export COCO"),
    "detections": (
        "detections.json",
        [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
        "results of a detector: expected a file with images",
    ),
}


@pytest.mark.parametrize("tool", FILES)
@pytest.mark.parametrize("as_file", [False, True])
def test_one_line_says_whose_file_it_is_and_what_to_do(tmp_path: Path, tool: str, as_file: bool) -> None:
    name, content, message = FILES[tool]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
    (tmp_path / "a.jpg").touch()
    try:
        (fault,) = read_dataset(str(path if as_file else tmp_path))[1].faults
    except InputError as error:
        text = str(error)
    else:
        assert fault.action == "refused"
        text = fault.render()
    assert message in text
    assert "\n" not in text


# annotations/default.json is refused by the reader of COCO's folders
@pytest.mark.parametrize("tool", sorted(FILES.keys() - {"Datumaro of CVAT"}))
def test_a_data_set_next_to_the_file_is_named_and_the_file_is_not(tmp_path: Path, tool: str) -> None:
    name, content, message = FILES[tool]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / "cells" / "images").mkdir(parents=True)
    (tmp_path / "cells" / "images" / "b.jpg").touch()
    coco = {"images": [{"id": 1, "file_name": "b.jpg"}], "annotations": [], "categories": []}
    (tmp_path / "cells" / "boxes.json").write_text(json.dumps(coco))
    with pytest.raises(InputError) as refusal:
        read_dataset(str(tmp_path))
    assert message in str(refusal.value)
    assert str(refusal.value).endswith(f"; did you mean {tmp_path}/cells@boxes?")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": []}', '[{"image": 3}]', "a,b\n", "\x00\xff"])
def test_a_file_of_nobody_is_nobodys(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert other_tool(tmp_path / "a.json") == ""


def test_a_coco_file_with_a_list_missing_names_the_list(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [], "categories": []}')
    fields = {fault.field for fault in read_dataset(f"{tmp_path}/a.json")[1].faults if fault.kind == "bad-value"}
    assert fields == {"annotations", "categories"}
