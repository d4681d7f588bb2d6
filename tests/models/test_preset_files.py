"""Preset files: JSON with the changes to one of the library's presets."""

import json

import pytest

from tfrcnn.config import Category
from tfrcnn.errors import InputError
from tfrcnn.models import preset

CATEGORIES = (Category(1, "a"),)


def write(path, values):
    path.write_text(json.dumps(values))
    return str(path)


def test_what_the_file_does_not_say_is_as_in_the_preset_it_names(tmp_path):
    changes = {
        "preset": "vgg16",
        "summary": "small",
        "detector": {"anchors": {"sizes": [[32, 64]]}, "rpn": {"match": {"samples": 64}}},
        "training": {"epochs": 3},
    }
    changed, vgg16 = preset(write(tmp_path / "mine.json", changes), CATEGORIES), preset("vgg16", CATEGORIES)
    rpn = vgg16.detector.rpn
    assert changed.detector == vgg16.detector.replace(
        preset="mine",
        anchors=vgg16.detector.anchors.replace(sizes=((32.0, 64.0),)),
        rpn=rpn.replace(match=rpn.match.replace(samples=64)),
    )
    assert (changed.training, changed.summary) == (vgg16.training.replace(epochs=3), "small")


def test_a_part_can_be_left_out_or_put_in(tmp_path):
    without = preset(write(tmp_path / "a.json", {"preset": "tiny_fpn", "detector": {"fpn": None}}))
    assert without.detector.fpn is None
    with_one = preset(write(tmp_path / "b.json", {"preset": "vgg16", "detector": {"fpn": {"channels": 64}}}))
    assert with_one.detector.fpn.channels == 64


def test_an_image_size_goes_for_files_too(tmp_path):
    assert preset(write(tmp_path / "a.json", {"preset": "vgg16"}), image_size=64).detector.image.static_size == (64, 64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"preset": "vgg19"}, r"mine\.json: preset must be one of vgg16, .*, found 'vgg19'"),
        ({"detector": {}}, "preset must be one of .*, found None"),
        ({"preset": "vgg16", "detectors": {}}, r"mine\.json: expected an object of preset, detector, training"),
        ([], "expected an object of preset"),
        ({"preset": "vgg16", "detector": {"anchor": {}}}, r"mine\.json: DetectorConfig has no field 'anchor'"),
        ({"preset": "vgg16", "detector": {"rpn": {"convs": 0}}}, r"mine\.json: RPNConfig\.convs must be at least 1"),
        ({"preset": "vgg16", "detector": {"preset": "a"}}, r"mine\.json: expected no detector\.preset"),
        ({"preset": "vgg16", "detector": {"categories": []}}, r"mine\.json: expected no detector\.categories"),
        ({"preset": "vgg16", "summary": 3}, r"mine\.json: summary must be text, found 3"),
        ({"preset": "vgg16", "training": 3}, r"mine\.json: TrainingConfig must be an object, found 3"),
    ],
)
def test_a_fault_names_the_file_and_the_field(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        preset(write(tmp_path / "mine.json", content))


def test_a_file_is_not_named_like_one_of_the_library_s(tmp_path):
    with pytest.raises(InputError, match=r"zf\.json: zf is one of the library's presets: give the file another name"):
        preset(write(tmp_path / "zf.json", {"preset": "vgg16"}))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"found no file at .*none\.json"):
        preset(str(tmp_path / "none.json"))
    with pytest.raises(InputError, match=r"unknown model 'vgg19': expected one of vgg16, .*, or FILE\.json"):
        preset("vgg19")
