"""`tfrcnn doctor` proposes anchors, and writes them as a preset."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tfrcnn.files import read_json
from tfrcnn.models import preset
from tfrcnn.models.presets import preset_content

# Four rods of 6 x 48 pixels, in pictures of 96 x 64 pixels.
RODS = [{"id": i, "image_id": i, "category_id": 1, "bbox": [7 * i, 9 * i, 48, 6]} for i in range(1, 5)]


def test_the_doctor_proposes_anchors_and_writes_them_as_a_preset(
    tmp_path: Path, coco: Callable, tfrcnn: Callable
) -> None:
    out = tmp_path / "rods.json"
    data = coco(tmp_path / "data", annotations=RODS)
    options = ("--model", "tiny_fpn", "--image-size", "96", "--preset-out", out)
    result = tfrcnn("doctor", "--data", data, *options)
    assert (result.code, result.err) == (0, "")
    assert re.search(r"recall ceiling of anchors  .*IoU 0\.5 0, IoU 0\.7 0\n", result.out)
    assert re.search(r"recall ceiling of fitted anchors  +IoU 0\.5 0\.75, IoU 0\.7 0\.5\n", result.out)
    assert "kept  1 x long-objects: " in result.out
    assert "anchors reach 0% of them at IoU 0.7; 50% with --anchors auto" in result.out
    assert "To take the fitted anchors: tfrcnn train --anchors auto, or in a preset file\n" in result.out
    assert '  "detector": {"anchors": {"sizes": [[' in result.out
    detector = preset(str(out)).detector
    assert max(detector.anchors.ratios) < 0.2
    assert detector.image.static_size == (96, 96)

    changed = preset_content(str(out), {"image": {"min_size": 99}})
    assert changed["detector"] == {**read_json(out)["detector"], "image": {"static_size": [96, 96], "min_size": 99}}


@pytest.mark.parametrize("name", ["rods.txt", "vgg16.json"])
def test_a_preset_of_a_wrong_name_is_refused(tmp_path: Path, coco: Callable, tfrcnn: Callable, name: str) -> None:
    result = tfrcnn("doctor", "--data", coco(tmp_path / "data"), "--preset-out", tmp_path / name)
    assert result.code == 2
    assert re.fullmatch(r"error: --preset-out: expected a preset as --model, and a FILE\.json .*\n", result.err)
    assert not (tmp_path / name).exists()
