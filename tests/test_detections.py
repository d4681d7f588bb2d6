"""The result of a detector: counting, choosing, showing and handing on its detections."""

import base64
import dataclasses
import io
import json
import pickle
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tfrcnn
from tfrcnn.categories import find_labels
from tfrcnn.config import Category
from tfrcnn.data.decode import read_image
from tfrcnn.detections import Detection
from tfrcnn.errors import InputError

CATEGORIES = (Category(7, "RBC"), Category(9, "WBC"), Category(4, "Platelets"))
BOXES = np.array([[10, 20, 50, 80], [5, 5, 25, 30.5], [60, 0, 90, 40], [0, 0, 9, 9]], np.float32)
SCORES = np.array([0.9, 0.75, 0.5, 0.25], np.float32)
LABELS = np.array([0, 2, 0, 1], np.int32)
GREY = np.full((100, 120, 3), 90, np.uint8)


def make(**changes):
    result = tfrcnn.ImageDetections("a", BOXES, SCORES, LABELS, CATEGORIES, (100, 120), GREY)
    return dataclasses.replace(result, **changes)


def make_empty(**changes):
    return dataclasses.replace(make()[:0], **changes)


def test_length_names_and_iteration():
    result = make()
    assert len(result) == 4
    assert result.names == ["RBC", "Platelets", "RBC", "WBC"]
    assert list(result)[1] == Detection((5.0, 5.0, 25.0, 30.5), 0.75, 2, "Platelets")
    (y1, x1, y2, x2), score, label, name = result[0]
    assert (y1, x1, y2, x2, score, label, name) == (10, 20, 50, 80, pytest.approx(0.9), 0, "RBC")
    assert list(make_empty()) == []


def test_an_index_gives_one_detection_and_a_slice_mask_or_list_gives_a_result():
    result = make()
    assert result[-1].name == result[np.int64(3)].name == "WBC"
    for key in (slice(1, 3), [1, 2], np.array([False, True, True, False]), [False, True, True, False]):
        part = result[key]
        np.testing.assert_array_equal(part.boxes, BOXES[1:3])
        assert (part.names, part.image_id, part.categories) == (["Platelets", "RBC"], "a", CATEGORIES)
    assert len(result[[]]) == 0
    assert result[result.labels == 0].names == ["RBC", "RBC"]
    with pytest.raises(IndexError):
        result[4]
    for key in ("RBC", 0.5, [[0]], True, None, (0, 1, "x")):
        with pytest.raises(TypeError, match="a position, a slice, a mask"):
            result[key]


def test_a_filter_keeps_scores_above_the_limit_and_classes_by_name_or_label():
    result = make()
    assert result.filter(score=0.5).scores.tolist() == [pytest.approx(0.9), 0.75]
    assert result.filter(classes="WBC").names == result.filter(classes=1).names == ["WBC"]
    assert result.filter(classes=["WBC", 2]).names == ["Platelets", "WBC"]
    assert result.filter(0.8, "WBC").names == []
    assert result.filter(classes=[]).names == []
    assert len(result.filter()) == 4
    assert result.filter(score={"RBC": 0.6, 1: 0.3}).names == ["RBC", "Platelets"]


def test_a_limit_is_compared_in_the_precision_of_the_scores():
    result = make(scores=np.array([0.7, 0.6, 0.3, 0.1], np.float32))  # the float32 0.6 is above 0.6
    assert len(result.filter(score=0.6)) == len(result.filter(score={"Platelets": 0.6}).filter(classes="RBC")) - 1 == 1


def test_a_class_without_a_limit_keeps_a_score_of_0():
    result = make(scores=np.array([0.7, 0.6, 0.3, 0.0], np.float32))
    assert result.filter(score={"RBC": 0.5}).names == ["RBC", "Platelets", "WBC"]


def test_a_filter_does_not_change_the_result():
    result = make()
    result.filter(score=1.0, classes="RBC")
    assert len(result) == 4
    assert result.best_rejected is None


def test_the_best_score_is_named_when_nothing_passes_the_threshold():
    result = make(scores=SCORES / 2)
    assert str(result.filter(score=0.6)) == ("no detection passes the score threshold; the best score is 0.45 (RBC)")
    assert result.filter(score=0.6).filter(score=0.7).best_rejected.name == "RBC"
    assert result.filter(score=0.6).filter(classes="WBC").best_rejected is None
    assert result.filter(score=0.6, classes="WBC").best_rejected.name == "WBC"
    assert "best score is 0.997 (RBC)" in str(make(scores=SCORES + np.float32(0.097)).filter(score=1.0))
    assert str(make_empty()) == "no detections"
    assert str(make()) == "4 detections: 2 RBC, 1 Platelets, 1 WBC"
    assert str(make()[:1]) == "1 detection: 1 RBC"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "rbc"}, r"classes: no category has the name 'rbc'; the nearest: 'RBC', 'WBC', 'Platelets'"),
        ({"classes": "platelet"}, r"the nearest: 'Platelets'"),
        ({"classes": ["RBC", "red"]}, "no category has the name 'red'"),
        ({"classes": 3}, r"classes: expected labels in 0\.\.2, found 3"),
        ({"classes": -1}, r"labels in 0\.\.2, found -1"),
        ({"classes": True}, "expected names or labels, found True of type bool"),
        ({"classes": 1.0}, "expected names or labels, found 1.0 of type float"),
        ({"score": 1.5}, r"score: expected a number in \[0, 1\], found 1.5"),
        ({"score": -0.1}, "found -0.1"),
        ({"score": float("nan")}, "found nan"),
        ({"score": "0.5"}, "found '0.5'"),
        ({"score": True}, "found True"),
        ({"score": {"RBX": 0.5}}, "no category has the name 'RBX'; the nearest: 'RBC'"),
        ({"score": {"RBC": 50}}, "found 50"),
    ],
)
def test_a_wrong_filter_is_refused_in_one_sentence(options, message):
    with pytest.raises(InputError, match=message):
        make().filter(**options)
    with pytest.raises(InputError, match=message):
        make_empty().filter(**options)


def test_a_name_that_categories_share_stands_for_all_of_them():
    assert find_labels("cat", (Category(1, "cat"), Category(2, "dog"), Category(3, "cat"))) == (0, 2)


@settings(max_examples=40, deadline=None)
@given(
    scores=st.lists(st.floats(0, 1, width=32), max_size=8),
    limit=st.floats(0, 1, width=32),
    classes=st.sets(st.integers(0, 2)),
)
def test_a_filter_keeps_exactly_what_passes_in_order(scores, limit, classes):
    scores = np.sort(np.array(scores, np.float32))[::-1]
    labels = np.arange(len(scores)) % 3
    boxes = np.tile(np.arange(len(scores), dtype=np.float32)[:, None], 4)
    result = tfrcnn.ImageDetections(1, boxes, scores, labels, CATEGORIES)
    kept = result.filter(limit, classes)
    expected = [one for one in result if one.score > limit and one.label in classes]
    assert list(kept) == expected
    low = [one.score for one in result if one.score <= limit and one.label in classes]
    assert (kept.best_rejected.score if kept.best_rejected else None) == max(low, default=None)


def test_coco_results_have_the_category_ids_and_xywh():
    rows = make().to_coco()
    assert rows[1] == {"image_id": "a", "category_id": 4, "bbox": [5.0, 5.0, 25.5, 20.0], "score": 0.75}
    assert [row["category_id"] for row in rows] == [7, 4, 7, 9]
    json.dumps(make(image_id=np.int64(3)).to_coco())
    assert make_empty().to_coco() == []


def test_json_is_one_line_with_every_field():
    line = make(image_id=np.int64(3)).to_json()
    assert "\n" not in line
    content = json.loads(line)
    assert (content["image_id"], content["height"], content["width"]) == (3, 100, 120)
    assert content["detections"][1] == {"box": [5.0, 5.0, 25.0, 30.5], "score": 0.75, "label": 2, "name": "Platelets"}
    assert json.loads(make_empty(size=None).to_json()) == {
        "image_id": "a",
        "height": None,
        "width": None,
        "detections": [],
    }


def test_a_data_frame_has_a_row_per_detection():
    pandas = pytest.importorskip("pandas", reason="pandas is optional")
    frame = make().to_dataframe()
    assert frame.columns.tolist() == ["image_id", "name", "label", "score", "y1", "x1", "y2", "x2"]
    assert frame.loc[1].tolist() == ["a", "Platelets", 2, 0.75, 5.0, 5.0, 25.0, 30.5]
    both = pandas.concat([make_empty().to_dataframe(), make(image_id=2).to_dataframe()])
    assert both.groupby("name").size().to_dict() == {"Platelets": 1, "RBC": 2, "WBC": 1}
    assert both.columns.tolist() == frame.columns.tolist()


def test_supervision_gets_xyxy_and_the_names():
    supervision = pytest.importorskip("supervision", reason="supervision is optional")
    detections = make().to_supervision()
    assert isinstance(detections, supervision.Detections)
    np.testing.assert_array_equal(detections.xyxy[1], [5, 5, 30.5, 25])
    np.testing.assert_array_equal(detections.confidence, SCORES)
    assert detections.class_id.tolist() == [0, 2, 0, 1]
    assert detections["class_name"].tolist() == ["RBC", "Platelets", "RBC", "WBC"]
    assert len(make_empty().to_supervision()) == 0
    assert len(supervision.Detections.merge([detections, make_empty().to_supervision()])) == 4


def test_bytetrack_follows_objects_from_frame_to_frame():
    """In the package `trackers`; it needs opencv-python, which hides the headless one that the tests install."""
    trackers = pytest.importorskip("trackers", reason="trackers is optional")
    tracker = trackers.ByteTrackTracker()
    for step in range(5):
        order = [1, 0] if step % 2 else [0, 1]
        boxes = (BOXES[[0, 2]] + np.float32(2 * step))[order]
        result = make(boxes=boxes, scores=np.array([0.9, 0.8], np.float32), labels=np.array([0, 1])[order])
        tracked = tracker.update(result.to_supervision())
    assert dict(zip(tracked["class_name"].tolist(), tracked.tracker_id.tolist())) == {"RBC": 0, "WBC": 1}
    assert len(tracker.update(make_empty().to_supervision())) == 0


@pytest.mark.parametrize(("method", "package"), [("to_dataframe", "pandas"), ("to_supervision", "supervision")])
def test_a_missing_package_is_one_clear_line(method, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"{method} needs {package}, which is not installed: pip install {package}"):
        getattr(make(), method)()


def test_a_plot_is_a_picture_with_the_boxes_and_small_ones_are_enlarged():
    assert make().plot().size == (480, 400)
    assert make(pixels=np.tile(GREY, (10, 10, 1)), size=(1000, 1200)).plot().size == (1200, 1000)
    assert make().plot(long_side=60).size == (60, 50)
    picture = np.asarray(make().plot())
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3
    blank = np.asarray(make_empty().plot())
    assert (blank == 90).all()


def test_a_plot_takes_the_pictures_that_a_detector_takes():
    expected = np.asarray(make().plot())
    for image in (GREY, Image.fromarray(GREY), GREY[..., 0], GREY.astype(np.float32)):
        np.testing.assert_array_equal(make(pixels=None).plot(image), expected)
    np.testing.assert_array_equal(make(pixels=GREY.astype(np.float32)).plot(), expected)


def test_a_plot_without_a_picture_or_with_another_one_is_refused():
    with pytest.raises(InputError, match=r"the detections have no picture: pass it, plot\(image\)"):
        make(pixels=None).plot()
    with pytest.raises(InputError, match="expected a long_side of at least 1 pixel, found 0"):
        make().plot(long_side=0)
    with pytest.raises(InputError, match=r"size of the detections' image, \(100, 120\), found \(50, 120\)"):
        make().plot(GREY[:50])


def test_a_picture_in_a_file_is_read_when_it_is_drawn(tmp_path):
    path = tmp_path / "a.png"
    result = make(pixels=partial(read_image, path))
    with pytest.raises(InputError, match="expected an image file, found nothing"):
        result.plot()
    assert "expected an image file, found nothing" in result._repr_html_()
    Image.fromarray(GREY).save(path)
    assert result.plot().size == (480, 400)
    assert pickle.loads(pickle.dumps(result)).plot().size == (480, 400)


def test_a_notebook_shows_the_picture_and_a_table_and_loads_nothing():
    page = make()._repr_html_()
    assert 'src="data:image/jpeg;base64,' in page
    assert page.count("<tr>") == 5
    assert "4 detections: 2 RBC" in page
    assert not re.search(r"https?:|<script|<link", page)
    assert "<img" not in make(pixels=None)._repr_html_()
    assert "best score is 0.9 (RBC)" in make().filter(score=0.95)._repr_html_()


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a&amp;b", "\x1b[2J"])
def test_html_in_names_and_ids_is_shown_as_text(name):
    page = make(image_id=name, categories=tuple(Category(i + 1, name) for i in range(3)), pixels=None)._repr_html_()
    assert name not in page
    assert set(re.findall(r"<(\w+)", page)) <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td", "span"}


def test_a_notebook_keeps_large_pictures_small():
    page = make(pixels=np.tile(GREY, (20, 20, 1)), size=(2000, 2400))._repr_html_()
    data = base64.b64decode(re.search(r"base64,([^\"]+)", page)[1])
    assert Image.open(io.BytesIO(data)).size == (800, 667)


def test_a_long_table_ends_with_the_number_of_the_rest():
    many = make(boxes=np.tile(BOXES, (20, 1)), scores=np.tile(SCORES, 20), labels=np.tile(LABELS, 20), pixels=None)
    page = many._repr_html_()
    assert page.count("<tr>") == 51
    assert "and 30 more" in page


def test_a_result_without_categories_names_its_labels():
    result = tfrcnn.ImageDetections(1, BOXES, SCORES, LABELS)
    assert result.names == ["0", "2", "0", "1"]
    assert len(result.filter(score=0.5)) == 2
    assert result.plot(GREY).size == (480, 400)
    for call in (result.to_coco, lambda: result.filter(classes=0), lambda: result.filter(score={0: 0.5})):
        with pytest.raises(InputError, match="the categories are unknown"):
            call()


def test_a_result_is_used_without_tensorflow_and_matplotlib():
    code = (
        "import sys, numpy as np, tfrcnn\n"
        "d = tfrcnn.ImageDetections(1, np.ones((1, 4)), np.ones(1), np.zeros(1, int), (tfrcnn.Category(1, 'a'),))\n"
        "d.plot(np.zeros((9, 9, 3), np.uint8)); d._repr_html_(); d.to_json(); d.to_coco(); d.filter(0.5, 'a')\n"
        "print([m for m in ('tensorflow', 'keras', 'matplotlib', 'pycocotools', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
