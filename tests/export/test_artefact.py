"""The checks that all runtimes share: descriptions, images, threads and paths."""

import json

import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.export.artefact import (
    check_exists,
    check_images,
    check_threads,
    parse_description,
    representative_images,
)


def test_a_description_is_returned_as_it_was_written(tmp_path):
    description = {"tfrcnn_export": 1, "format": "onnx"}
    assert parse_description(tmp_path, json.dumps(description)) == description


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "a.onnx: not exported by tfrcnn, or truncated: it holds no description"),
        ("{", "a.onnx: its description is not JSON"),
        (b"\xff", "a.onnx: its description is not JSON"),
        ('{"tfrcnn_export": 1, "input": 1e400}', "not JSON: expected finite numbers up to 1.8e308, found 1e400"),
        (b"[" * 200_000, "a.onnx: its description is not JSON"),
        ("[]", "a.onnx: expected tfrcnn_export 1 in its description, found None"),
        ('{"tfrcnn_export": 2}', "a.onnx: expected tfrcnn_export 1 in its description, found 2"),
    ],
)
def test_any_other_description_is_one_clear_error(text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        parse_description(tmp_path / "a.onnx", text)


def test_bytes_pass_and_floats_are_rounded():
    images = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    assert check_images(images) is images
    np.testing.assert_array_equal(check_images(images + np.float32(0.4)), images)
    np.testing.assert_array_equal(check_images(np.full((1, 1, 1, 3), 255.4)), 255)
    np.testing.assert_array_equal(check_images(np.array([[[[-0.4, 0, 9]]]])), [[[[0, 0, 9]]]])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"must be \[B, H, W, 3\] and not empty, found \[4, 4, 3\]"),
        (np.zeros((1, 4, 4, 5), np.uint8), r"found \[1, 4, 4, 5\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"found \[0, 4, 4, 3\]"),
        (np.zeros((1, 0, 4, 3), np.uint8), r"found \[1, 0, 4, 3\]"),
        (np.full((1, 4, 4, 3), 300), r"images\[0\] must be RGB 0..255, found 300..300 of int64"),
        (np.full((1, 4, 4, 3), -3.0), r"images\[0\] must be RGB 0..255, found -3..-3 of float64"),
        (
            np.zeros((1, 4, 4, 3), complex),
            "images must be an array of numbers or a PIL image, found ndarray of complex128",
        ),
    ],
)
def test_other_images_are_refused(images, message):
    with pytest.raises(InputError, match=message):
        check_images(images)


def test_threads_are_none_or_at_least_one():
    check_threads(None)
    check_threads(1)
    for threads in (0, -1, 1.5, "2", True):
        with pytest.raises(InputError, match=r"threads: expected a whole number in 1\.\.1,024, found"):
            check_threads(threads)
    with pytest.raises(InputError, match=r"threads: expected a whole number in 1\.\.1,024, found 100000"):
        check_threads(100_000)


def test_what_is_not_there_is_named(tmp_path):
    check_exists(tmp_path)
    with pytest.raises(InputError, match=r"a\.onnx: no such file or folder"):
        check_exists(tmp_path / "a.onnx")


def test_representative_images_are_8_bits_alone_and_in_batches():
    grey = np.full((4, 8), 99, np.uint8)
    images = list(representative_images([grey, np.full((2, 4, 8, 3), 100.6)]))
    assert [(image.shape, image.dtype, image[0, 0, 0]) for image in images] == [
        ((4, 8, 3), np.uint8, 99),
        *[((4, 8, 3), np.uint8, 101)] * 2,
    ]


def test_a_representative_image_that_is_no_image_is_named_by_its_position():
    with pytest.raises(InputError, match=r"representative\[1\] must be RGB 0\.\.255, found 0\.5\.\.0\.5 of float64"):
        list(representative_images([np.full((4, 8), 99, np.uint8), np.full((4, 8, 3), 0.5)]))
    with pytest.raises(InputError, match="needs representative images, found none"):
        list(representative_images([]))
