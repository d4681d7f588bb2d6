"""Tiles, mirror images, scales and regions of interest, with a detector whose detections are known."""

import io
import json
import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.example import ImageDetections
from tfrcnn.data.read import load_dataset
from tfrcnn.errors import InputError
from tfrcnn.views import Region, View, ViewPredictor, Views, read_region
from tfrcnn.views.merge import _agreement, _partners


class Squares:
    """Finds the rectangles of each colour above 128 in red, as far as a view shows them. The score is blue / 255."""

    categories = (Category(1, "square"), Category(2, "other"))

    def __init__(self, smallest=0):
        self.smallest = smallest  # objects that look smaller are missed
        self.seen = []

    def detect(self, image, image_id=""):
        self.seen.append(image.shape[:2])
        objects = []
        for color in np.unique(image[image[..., 0] > 128].reshape(-1, 3), axis=0):
            rows, columns = np.nonzero((image == color).all(axis=2))
            box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            if min(box[2] - box[0], box[3] - box[1]) * 640 / max(image.shape) >= self.smallest:
                objects.append((box, color[2] / 255, 0 if color[1] < 128 else 1))
        objects.sort(key=lambda one: -one[1])
        boxes, scores, labels = zip(*objects) if objects else ((), (), ())
        return ImageDetections(
            image_id, np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, int)
        )


def picture(*boxes, height=400, width=600):
    """Black, with a rectangle of a colour of its own at each yxyx; best first."""
    image = np.zeros((height, width, 3), np.uint8)
    for i, (top, left, bottom, right) in enumerate(boxes):
        image[top:bottom, left:right] = (200, 0, 250 - 10 * i)
    return image


def boxes_of(detections):
    return detections.boxes.round().astype(int).tolist()


OBJECTS = ([20, 30, 60, 90], [180, 250, 230, 330], [350, 500, 390, 590])


@pytest.mark.parametrize(
    "views",
    [
        Views(tiles=200),
        Views(tiles=200, whole=False, overlap=0.4),
        Views(flip=True),
        Views(scales=(0.5, 1, 2), overlap=0.5),
        Views(tiles=300, flip=True, merge="fusion"),
    ],
    ids=["tiles", "tiles alone", "mirror", "scales", "all"],
)
def test_each_object_is_detected_once_where_it_is(views):
    image = picture(*OBJECTS)
    detections = ViewPredictor(Squares(), views).detect(image, "a")
    assert boxes_of(detections) == [list(box) for box in OBJECTS]
    np.testing.assert_allclose(detections.scores, [250 / 255, 240 / 255, 230 / 255], rtol=1e-6)
    assert detections.image_id == "a"
    assert (detections.boxes.dtype, detections.scores.dtype, detections.labels.dtype) == (
        np.float32,
        np.float32,
        np.int32,
    )


def test_a_picture_that_fits_into_one_tile_gives_the_detections_of_the_detector_alone():
    image, detector = picture(*OBJECTS), Squares()
    alone, tiled = detector.detect(image), ViewPredictor(detector, Views(tiles=640)).detect(image)
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(tiled, name))
    assert detector.seen == [(400, 600)] * 2


def test_an_object_that_every_tile_cuts_is_joined_from_its_pieces():
    """400 pixels wide where tiles have 200: three pieces or more, none whole."""
    image = picture([150, 100, 190, 500])
    detections = ViewPredictor(Squares(), Views(tiles=200, whole=False)).detect(image)
    assert boxes_of(detections) == [[150, 100, 190, 500]]


def test_an_object_in_the_corner_of_four_tiles_is_joined_from_its_quarters():
    detections = ViewPredictor(Squares(), Views(tiles=200, whole=False, overlap=0.1)).detect(
        picture([120, 120, 280, 280])
    )
    assert boxes_of(detections) == [[120, 120, 280, 280]]


def test_pieces_of_two_objects_next_to_each_other_stay_apart():
    image = picture([20, 100, 60, 500], [70, 100, 110, 500])
    detections = ViewPredictor(Squares(), Views(tiles=200, whole=False)).detect(image)
    assert boxes_of(detections) == [[20, 100, 60, 500], [70, 100, 110, 500]]


def test_a_piece_is_dropped_where_another_tile_shows_the_object_whole():
    view = Views(tiles=200, whole=False, overlap=0.5)
    detections = ViewPredictor(Squares(), view).detect(picture([50, 180, 90, 240]))
    assert boxes_of(detections) == [[50, 180, 90, 240]]


def test_small_objects_of_a_large_picture_are_found_in_tiles():
    detector, image = Squares(smallest=20), picture([20, 30, 50, 60], [900, 1500, 930, 1530], height=1000, width=1600)
    assert len(ViewPredictor(detector).detect(image).scores) == 0
    assert len(ViewPredictor(detector, Views(tiles=640)).detect(image).scores) == 2
    assert len(ViewPredictor(detector, Views(scales=(1, 2))).detect(image).scores) == 2


def test_tiles_cover_the_picture_and_overlap():
    views = Views(tiles=640, overlap=0.2, whole=False).of(4000, 6000)
    covered = np.zeros((4000, 6000), np.uint8)
    for view in views:
        assert (view.bottom - view.top, view.right - view.left) == (640, 640)
        covered[view.top : view.bottom, view.left : view.right] += 1
    assert covered.min() == 1
    rows = sorted({view.top for view in views})
    assert max(np.diff(rows)) <= 640 * 0.8
    assert len(views) == len(rows) * len({view.left for view in views}) == 8 * 12


def test_a_scale_below_one_shows_the_whole_picture_with_padding():
    (view,) = Views(scales=(0.5,)).of(100, 200)
    assert view == View(0, 0, 200, 400)
    pixels = view.pixels(np.full((100, 200, 3), 7, np.uint8))
    assert pixels.shape == (200, 400, 3)
    assert (pixels[:100, :200] == 7).all()
    assert (pixels[100:] == (124, 116, 104)).all()


def test_a_mirrored_view_maps_its_boxes_back():
    view = View(10, 20, 110, 220, mirrored=True)
    np.testing.assert_array_equal(view.to_picture(np.array([[5, 0, 15, 30]])), [[15, 190, 25, 220]])


class Fixed:
    """Detections by the number of the call."""

    categories = Squares.categories

    def __init__(self, *answers):
        self.answers = list(answers)

    def detect(self, image, image_id=""):
        boxes, scores, labels = self.answers.pop(0)
        return ImageDetections(image_id, np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels))


def test_fusion_averages_the_boxes_of_views_and_the_scores_of_all_that_could_see_it():
    plain = ([[10, 10, 50, 50], [60, 60, 90, 90]], [0.9, 0.8], [0, 0])
    mirrored = ([[10, 46, 50, 86]], [0.3], [0])  # in a picture 100 wide: columns 14 to 54
    detections = ViewPredictor(Fixed(plain, mirrored), Views(flip=True, merge="fusion")).detect(
        np.zeros((100, 100, 3), np.uint8)
    )
    np.testing.assert_allclose(detections.boxes, [[10, 11, 50, 51], [60, 60, 90, 90]], rtol=1e-6)
    np.testing.assert_allclose(detections.scores, [0.6, 0.4], rtol=1e-6)


@pytest.mark.parametrize(("class_agnostic", "labels"), [(False, [0, 1]), (True, [0])])
def test_views_that_disagree_about_a_class_give_both_or_the_better_one(class_agnostic, labels):
    answers = ([[10, 10, 50, 50]], [0.9], [0]), ([[10, 50, 50, 90]], [0.8], [1])
    views = Views(flip=True, class_agnostic=class_agnostic)
    detections = ViewPredictor(Fixed(*answers), views).detect(np.zeros((100, 100, 3), np.uint8))
    assert detections.labels.tolist() == labels


def test_overlapping_detections_of_one_view_stay_as_the_detector_left_them():
    crowd = ([[10, 10, 50, 50], [10, 12, 50, 52]], [0.9, 0.8], [0, 0])
    none = (np.zeros((0, 4)), [], np.zeros(0, int))
    detections = ViewPredictor(Fixed(crowd, none), Views(flip=True)).detect(np.zeros((100, 100, 3), np.uint8))
    assert len(detections.scores) == 2


def test_a_picture_without_objects_gives_none():
    assert len(ViewPredictor(Squares(), Views(tiles=200, flip=True)).detect(picture()).scores) == 0


@pytest.mark.parametrize(
    "fields", [{"tiles": 8}, {"overlap": 0.95}, {"scales": ()}, {"scales": (0.0,)}, {"merge": "x"}, {"iou": 1.0}]
)
def test_views_that_make_no_sense_name_the_field(fields):
    (name,) = fields
    with pytest.raises(InputError, match=f"Views.{name}"):
        Views(**fields)


def test_detections_whose_centre_is_outside_a_polygon_are_dropped():
    triangle = Region(polygons=[[(0, 0), (600, 0), (0, 400)]])
    image = picture(*OBJECTS)
    assert boxes_of(ViewPredictor(Squares(), region=triangle).detect(image)) == [list(OBJECTS[0]), list(OBJECTS[1])]
    corner = Region(polygons=[[(0, 0), (300, 0), (0, 200)], [(450, 300), (600, 300), (600, 400), (450, 400)]])
    assert boxes_of(ViewPredictor(Squares(), region=corner).detect(image)) == [list(OBJECTS[0]), list(OBJECTS[2])]


def test_a_mask_is_stretched_over_the_picture_and_the_detector_sees_its_part_larger():
    mask = np.zeros((40, 60))
    mask[30:, 45:] = 255
    detector = Squares()
    detections = ViewPredictor(detector, region=Region(mask)).detect(picture(*OBJECTS))
    assert boxes_of(detections) == [list(OBJECTS[2])]
    assert detector.seen == [(110, 165)]  # 100 x 150 and a tenth of it on the sides that are not the picture's


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON: .*line 1 column 2"),
        ("3", "expected a list of polygons"),
        ("[]", "expected a mask or polygons"),
        ("[[0, 0], [9, 9]]", "three or more corners"),
        ('[[[0, 0], [9, 9], ["a", 1]]]', "three or more corners"),
        ("[[[0, 0], [9, 9], [NaN, 1]]]", "expected finite numbers up to 1.8e308, found NaN"),
        ("[[[0, 0], [9, 9], [1e9, 1]]]", "three or more corners"),
    ],
)
def test_a_region_file_that_is_no_polygon_is_refused(text, message, tmp_path):
    path = tmp_path / "road.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"road.json: .*{message}"):
        read_region(path)


def test_a_region_of_no_list_is_refused_and_an_array_is_one():
    with pytest.raises(InputError, match=r"^the region: expected a list of polygons, found int"):
        Region(polygons=5)
    assert Region(polygons=np.array([[[0, 0], [9, 0], [9, 9]]])).mask(10, 10)[2, 8]


def test_a_region_is_read_from_a_picture_or_polygons(tmp_path):
    from PIL import Image

    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 30:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (tmp_path / "one.json").write_text("[[30, 10], [59, 10], [59, 19], [30, 19]]")
    for name in ("mask.png", "one.json"):
        assert read_region(tmp_path / name).bounds(40, 60) == (10, 30, 20, 60)
    with pytest.raises(InputError, match=r"empty\.json: no such file"):
        read_region(tmp_path / "empty.json")
    with pytest.raises(InputError, match="outside a picture of 5 x 5"):
        read_region(tmp_path / "one.json").mask(5, 5)
    with pytest.raises(InputError, match="not zero somewhere"):
        Region(mask=np.zeros((3, 3)))


def test_memory_does_not_grow_with_the_tiles_of_a_large_picture():
    image = np.zeros((4000, 6000, 3), np.uint8)
    none = (np.zeros((0, 4)), [], np.zeros(0, int))
    predictor = ViewPredictor(Fixed(*[none] * 96), Views(tiles=640, whole=False))
    tracemalloc.start()
    predictor.detect(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # two tiles


def test_many_detections_are_merged_as_each_pair_would_be():
    """Compares small pieces of the work with all pairs at once."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 900, (700, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 60, (700, 2))], axis=1)
    boxes[350:] = boxes[:350] + rng.normal(0, 2, (350, 4))
    source = np.repeat([0, 1], 350)
    regions = np.tile([0.0, 0, 1000, 1000], (700, 1))
    agrees = _agreement(boxes[:, None], regions[:, None], boxes, regions) > 0.5
    expected = [np.flatnonzero(row & (source != one)) for row, one in zip(agrees, source)]
    actual = _partners(boxes, regions, source, 0.5)
    assert sum(map(len, expected)) > 300
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_views_need_no_tensorflow():
    code = "import sys, tfrcnn; tfrcnn.Views, tfrcnn.ViewPredictor; print({'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


@pytest.mark.parametrize("brightest", [255, 1])
def test_a_mask_ends_where_its_brightness_is_half(tmp_path, brightest):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:50] = brightest
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert read_region(tmp_path / "mask.png").mask(40, 60).sum() == 20 * 30
    if brightest == 255:  # compression leaves grey around the white
        Image.fromarray(mask).save(tmp_path / "mask.jpg", quality=60)
        assert abs(int(read_region(tmp_path / "mask.jpg").mask(40, 60).sum()) - 20 * 30) < 20


def test_corners_that_pillow_draws_elsewhere_are_refused():
    with pytest.raises(InputError, match=r"each within 1,000,000 pixels"):
        Region(polygons=[[[0, 0], [3e9, 0], [3e9, 3e9]]])


def test_a_picture_with_many_views_shows_its_own_progress_on_a_terminal_only(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("tfrcnn.views.predictor.PATIENCE", 0)
    shown = {}
    for is_terminal, progress in ((True, True), (True, False), (False, True)):
        monkeypatch.setattr(sys, "stderr", Terminal() if is_terminal else io.StringIO())
        ViewPredictor(Squares(), Views(tiles=200), progress=progress).detect(picture(*OBJECTS))
        shown[is_terminal, progress] = sys.stderr.getvalue()
    assert re.search(r"views: .*\d+/\d+", shown[True, True])
    assert shown[True, False] == shown[False, True] == ""


def test_a_data_set_is_seen_through_the_views_and_nothing_else_is(tmp_path):
    image = picture(*OBJECTS)
    Image.fromarray(image).save(tmp_path / "a.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": 400, "width": 600}],
        "annotations": [],
        "categories": [{"id": 1, "name": "square"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    predictor = ViewPredictor(Squares(), Views(tiles=200))
    (detections,) = predictor.detect_dataset(load_dataset(str(tmp_path / "a.json")))
    assert (detections.image_id, boxes_of(detections)) == (7, boxes_of(predictor.detect(image)))
    np.testing.assert_array_equal(detections.pixels(), image)
    with pytest.raises(InputError, match=r"dataset must be a Dataset of .+, found str"):
        predictor.detect_dataset("cells/VOC@val")
