"""The measurement of the report on data, with few images."""

import json
from pathlib import Path

import pytest
from PIL import Image


@pytest.mark.slow
def test_the_report_is_measured_on_copies_of_images(program, tmp_path: Path) -> None:
    scale = program("report_scale")
    for name, color in (("a.jpg", "red"), ("b.png", "blue")):
        Image.new("RGB", (64, 48), color).save(tmp_path / name)
    images = [{"id": n, "file_name": name, "width": 64, "height": 48} for n, name in enumerate(("a.jpg", "b.png"))]
    boxes = [{"id": n + 1, "image_id": n, "category_id": 1, "bbox": [3, 4, 30, 20]} for n in range(2)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "many").mkdir()
    data = scale.write(tmp_path / "many", str(tmp_path / "instances.json"), 5)
    assert scale.measure(data, tmp_path / "report.html").startswith("5 images, 4 near-duplicates: ")
