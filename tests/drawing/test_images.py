"""Pictures with boxes: where ink is, and where it is not."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tfrcnn.data.example import Example, ImageDetections
from tfrcnn.drawing import PALETTE, color_of, contact_sheet, draw_comparison, draw_detections, save_png
from tfrcnn.drawing.images import readable_side
from tfrcnn.drawing.palette import WHITE
from tfrcnn.drawing.pen import Obstacles, Pen
from tfrcnn.errors import InputError

GREY = np.full((240, 320, 3), 90, np.uint8)
NAMES = ("cat", "dog")


def draw(boxes, labels, scores=None, image=GREY, names=NAMES, **options):
    return np.asarray(draw_detections(image, np.array(boxes, np.float32), np.array(labels), scores, names, **options))


def pixels_of(picture, color):
    """Rows and columns of the pixels of a colour."""
    return np.argwhere((picture == np.array(color)).all(axis=-1))


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_box_is_drawn_on_its_edges_in_the_colour_of_its_label():
    picture = draw([[100, 50, 200, 150]], [1], np.array([0.5]))
    for y, x in [(100, 100), (200, 100), (150, 50), (150, 150)]:
        assert tuple(picture[y, x]) == color_of(1)
    assert tuple(picture[150, 100]) == (90, 90, 90)
    assert len(pixels_of(picture, color_of(0))) == 0


def test_rows_are_y_and_columns_are_x():
    ink = pixels_of(draw([[100, 10, 140, 300]], [0]), color_of(0))
    assert np.ptp(ink[:, 1]) > 280
    assert np.ptp(ink[:, 0]) < 80


def test_picture_without_boxes_is_the_image_and_the_image_is_not_changed():
    image = GREY.copy()
    np.testing.assert_array_equal(draw(np.zeros((0, 4)), [], np.zeros(0), image), GREY)
    draw([[100, 50, 200, 150]], [1], image=image)
    np.testing.assert_array_equal(image, GREY)


def test_best_score_is_drawn_on_top():
    box = [100, 50, 200, 150]
    picture = draw([box, box], [0, 1], np.array([0.9, 0.2]))
    assert tuple(picture[200, 100]) == color_of(0)


def test_enlarged_picture_has_its_boxes_at_the_same_places():
    picture = draw([[100, 50, 200, 150]], [1], long_side=960)  # 3 times
    assert picture.shape == (720, 960, 3)
    assert tuple(picture[450, 150]) == tuple(picture[450, 450]) == color_of(1)


@pytest.mark.filterwarnings("ignore:no font has some characters")
@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(8, 400), st.integers(8, 400)),
    corners=st.lists(st.floats(-50, 450, width=32), min_size=4, max_size=4),
    name=st.text(max_size=60),
    below=st.booleans(),
)
def test_tags_do_not_leave_the_picture(size, corners, name, below):
    pen = Pen(Image.new("RGB", size))
    (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
    pen.outline((x1, y1, x2, y2), WHITE, dashed=below)
    pen.tag((x1, y1, x2, y2), name.replace("\n", " "), WHITE, below)
    left, top, right, bottom = pen.tags.corners[0]
    assert 0 <= left <= right <= size[0]
    assert top >= min(0, size[1] - (bottom - top))
    assert bottom <= max(size[1], bottom - top)


def test_two_tags_of_one_box_do_not_cover_each_other():
    pen = Pen(Image.new("RGB", (400, 300)))
    for _ in range(4):
        pen.tag((100, 100, 200, 200), "something", WHITE)
    plates = pen.tags.corners
    for i in range(4):
        for j in range(i):
            sides = np.minimum(plates[i, 2:], plates[j, 2:]) - np.maximum(plates[i, :2], plates[j, :2])
            assert sides.min() <= 0


def test_letters_grow_with_the_picture():
    heights = [Pen(Image.new("RGB", (side, side))).font.size for side in (64, 640, 6400)]
    assert heights == [10, 16, 160]


def test_letters_do_not_hide_the_small_objects_of_a_large_picture():
    picture = Image.new("RGB", (6000, 4000))
    sizes = [Pen(picture, [(0, 0, side, 2 * side)] * 3).font.size for side in (20, 400, 2000)]
    assert sizes == [16, 100, 150]
    assert Pen(picture, [(0, 0, 20, 20)]).line == Pen(Image.new("RGB", (640, 480))).line


def test_labels_beyond_the_palette_have_a_colour():
    assert color_of(len(PALETTE)) == color_of(0)
    assert len(set(PALETTE)) == len(PALETTE)


@pytest.mark.parametrize(
    ("image", "labels", "scores", "message"),
    [
        (GREY.astype(np.float32), [0], None, "uint8, found .* float32"),
        (GREY[:, :, 0], [0], None, r"\[H, W, 3\] uint8, found \[240, 320\]"),
        (Image.new("L", (9, 9)), [0], None, "mode RGB, found L"),
        (GREY, [2], None, "labels in 0..1, found 2..2"),
        (GREY, [-1], None, "labels in 0..1, found -1..-1"),
        (GREY, [0, 1], None, "1 boxes, 2 labels"),
        ("picture.jpg", [0], None, "expected an array or a PIL image, found str"),
        (GREY, [0], np.array([0.5, 0.4]), "1 boxes, 1 labels, 2 scores"),
    ],
)
def test_what_cannot_be_drawn_is_refused(image, labels, scores, message):
    with pytest.raises(InputError, match=message):
        draw([[1, 1, 5, 5]], labels, scores, image)


def compared(label, score=0.9):
    box = np.array([[100, 50, 200, 150]], np.float32)
    no = np.zeros(1, bool)
    example = Example(1, Path("1.png"), 240, 320, box, np.array([0]), no, no, np.ones(1), 1, np.ones(1))
    detections = ImageDetections(1, box + 2, np.array([score], np.float32), np.array([label]))
    return np.asarray(draw_comparison(GREY, example, detections, NAMES, long_side=None))


def test_detected_object_is_dashed_and_its_name_not_repeated():
    white = pixels_of(compared(label=0), WHITE)
    assert 50 < len(white) < 1000
    assert white[:, 0].max() <= 202


def test_object_taken_for_another_has_its_name_in_white():
    assert len(pixels_of(compared(label=1), WHITE)) > len(pixels_of(compared(label=0), WHITE)) + 100
    assert len(pixels_of(compared(label=1), color_of(1))) > 300


def test_detection_below_the_threshold_is_not_shown():
    assert len(pixels_of(compared(label=0, score=0.3), color_of(0))) == 0


def test_sheet_holds_every_tile_in_its_cell(tmp_path):
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    tiles = [Image.new("RGB", size, color) for size, color in zip([(200, 100), (100, 200), (50, 50)], colors)]
    contact_sheet(tiles, 2, tmp_path / "new" / "sheet.png", ["one", "two", "three"], "three tiles")
    sheet = read(tmp_path / "new" / "sheet.png")
    for tile, color in zip(tiles, colors):
        assert len(pixels_of(sheet, color)) == tile.width * tile.height
    (red, green, blue) = (pixels_of(sheet, color).mean(axis=0) for color in colors)
    assert red[0] == pytest.approx(green[0], abs=1)
    assert red[1] == pytest.approx(blue[1], abs=1)
    assert green[1] > red[1] + 200
    assert blue[0] > red[0] + 200


def test_sheet_of_fewer_tiles_than_columns_is_no_wider_than_them(tmp_path):
    contact_sheet([Image.new("RGB", (100, 100))], 5, tmp_path / "sheet.png")
    assert read(tmp_path / "sheet.png").shape[1] < 150


def test_a_box_that_is_no_number_is_refused_and_an_inverted_one_is_drawn():
    with pytest.raises(InputError, match="expected numbers as boxes, found NaN in 1"):
        draw([[1, 1, 9, 9], [np.nan, 1, 9, 9]], [0, 0])
    np.testing.assert_array_equal(draw([[200, 150, 100, 50]], [1]), draw([[100, 50, 200, 150]], [1]))


@pytest.mark.parametrize(("count", "columns", "captions"), [(0, 2, None), (1, 0, None), (2, 2, ["one"])])
def test_impossible_sheet_is_refused(tmp_path, count, columns, captions):
    with pytest.raises(InputError, match="expected tiles, a column"):
        contact_sheet([Image.new("RGB", (9, 9))] * count, columns, tmp_path / "sheet.png", captions)


def test_failed_save_leaves_the_old_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="cannot write mode"):
        save_png(Image.new("HSV", (4, 4)), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def covered(plate, boxes):
    """Pixels of boxes that a plate covers."""
    sides = np.minimum(plate[2:], np.array(boxes)[:, 2:]) - np.maximum(plate[:2], np.array(boxes)[:, :2])
    return np.prod(np.maximum(sides, 0), axis=1).sum()


def tagged(boxes, size=(400, 300), text="dog 0.50"):
    """Outline all boxes, tag them in order, and return their plates."""
    pen = Pen(Image.new("RGB", size))
    for box in boxes:
        pen.outline(box, WHITE)
    for box in boxes:
        pen.tag(box, text, WHITE)
    return list(pen.tags.corners)


def touches(plate, box):
    sides = np.minimum(plate[2:], box[2:]) - np.maximum(plate[:2], box[:2])
    return sides.min() >= -1


@pytest.mark.parametrize(
    "boxes",
    [
        [(150, 50, 250, 120), (150, 120, 250, 190)],  # one on the other
        [(100, 60, 180, 140), (180, 60, 260, 140), (100, 140, 180, 220), (180, 140, 260, 220)],  # four that touch
        [(0, 0, 120, 80), (0, 80, 120, 160)],  # in a corner
        [(120, 40, 280, 60), (120, 60, 280, 150), (120, 150, 280, 170)],  # between two others
        [(100 * x + 5, 100 * y + 30, 100 * x + 75, 100 * y + 95) for x in range(4) for y in range(2)],  # a grid
    ],
)
def test_labels_cover_no_object_and_no_other_label_where_there_is_room(boxes):
    plates = tagged(boxes)
    for number, plate in enumerate(plates):
        assert covered(plate, boxes) == 0
        assert covered(plate, [np.zeros(4), *plates[:number]]) == 0
        assert touches(plate, np.array(boxes[number]))


def test_a_label_without_room_outside_stays_in_its_own_box():
    middle = (50, 40, 350, 260)
    around = [(0, 0, 399, 39), (0, 261, 399, 299), (0, 40, 49, 260), (351, 40, 399, 260)]
    plate = tagged([middle, *around])[0]
    assert covered(plate, [middle]) == pytest.approx(np.prod(plate[2:] - plate[:2]), rel=0.01)


def test_a_label_hides_a_large_object_sooner_than_a_small_one():
    large, small = (0, 60, 399, 299), (20, 42, 120, 58)
    plates = tagged([(20, 60, 120, 100), large, small])
    assert covered(plates[0], [small]) == 0


@pytest.mark.parametrize("count", [0, 1, 64, 65, 200])
def test_a_place_hides_the_sum_of_the_parts_of_all_boxes_that_it_covers(count):
    rng = np.random.default_rng(count)
    corners = rng.integers(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 20, (count, 2))], axis=1)
    obstacles = Obstacles()
    for box in boxes.tolist():
        obstacles.append(tuple(box))
    places = [(10, 10, 30, 20), (35, 10, 55, 20), (70, 0, 90, 10), (200, 200, 220, 210)]
    areas = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1)  # a line counts as one pixel
    expected = [sum(covered(np.array(place), [box]) / area for box, area in zip(boxes, areas)) for place in places]
    np.testing.assert_allclose(obstacles.hidden(places), expected, rtol=1e-12)
    np.testing.assert_array_equal(obstacles.corners, boxes)


def test_thousands_of_boxes_are_drawn_in_seconds():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1, (4000, 2)) * (1020, 1860)
    boxes = np.concatenate([corners, corners + rng.uniform(10, 60, (4000, 2))], axis=1)
    start = time.process_time()
    draw(boxes, np.zeros(4000, int), rng.uniform(0, 1, 4000), np.full((1080, 1920, 3), 90, np.uint8))
    assert time.process_time() - start < 10


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 380), st.integers(0, 280), st.integers(2, 150), st.integers(2, 150)), max_size=12)
)
def test_each_label_stays_at_its_box_and_in_the_picture(corners):
    boxes = [(x, y, min(x + width, 399), min(y + height, 299)) for x, y, width, height in corners]
    for box, plate in zip(boxes, tagged(boxes)):
        assert touches(plate, np.array(box))
        assert np.all(plate[:2] >= 0)
        assert np.all(plate[2:] <= (400, 300))


def test_a_small_picture_is_enlarged_and_a_large_one_keeps_its_size():
    assert [readable_side(*size) for size in [(64, 48), (300, 480), (480, 640), (4000, 6000)]] == [480, 480, 640, 6000]
    picture = draw([[8, 8, 40, 40]], [1], np.array([0.5]), np.full((48, 64, 3), 90, np.uint8), long_side=480)
    tag = pixels_of(picture, color_of(1))
    assert len(pixels_of(picture[100:260, 100:260], (90, 90, 90))) == 160 * 160  # the object stays visible
    assert tag[:, 0].max() > 290
