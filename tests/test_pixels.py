"""The images that callers pass: which are converted, which are refused, and what the message says."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps, PngImagePlugin

from tfrcnn.data.decode import read_image
from tfrcnn.errors import InputError
from tfrcnn.pixels import to_rgb, to_rgb_batch

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
RGB[-1, -1] = 0, 128, 255
GREY = np.repeat(RGB[..., :1], 3, axis=-1)
ALPHA = RGB[..., 2:]


def closed_image():
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "PNG")
    image = Image.open(stream)
    image.close()
    return image


class Tensor:
    """A tensor of another library."""

    def __init__(self, values, error=None):
        self.values, self.error = values, error

    def __array__(self, dtype=None):
        if self.error:
            raise self.error
        return self.values


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (RGB, RGB),
        (GREY[..., 0], GREY),
        (GREY[..., :1], GREY),
        (np.concatenate([GREY[..., :1], ALPHA], -1), GREY),
        (np.concatenate([RGB, ALPHA], -1), RGB),
        (RGB.tolist(), RGB),
        (RGB.astype(np.int64), RGB),
        (RGB.astype(np.uint16), RGB),
        (RGB.astype(">i4"), RGB),
        (np.asfortranarray(RGB), RGB),
        (RGB[:, ::-1, ::-1], RGB[:, ::-1, ::-1]),  # BGR turned to RGB, and mirrored
        (tf.constant(RGB), RGB),
        (Tensor(RGB), RGB),
        (memoryview(RGB), RGB),
        (np.ma.array(RGB), RGB),
    ],
)
def test_grey_and_alpha_and_other_types_become_rgb(image, expected):
    pixels = to_rgb(image)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f8", tf.bfloat16.as_numpy_dtype])
def test_floating_point_keeps_its_fractions(kind):
    image = (RGB // 2 + 0.5).astype(kind)
    pixels = to_rgb(image)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, image.astype(np.float32))


def test_round_off_at_the_ends_of_the_range_is_cut():
    np.testing.assert_array_equal(to_rgb(np.array([[[-0.01, 128, 255.01]]])), np.float32([[[0, 128, 255]]]))


def test_8_bits_are_not_copied():
    assert to_rgb(RGB) is RGB
    assert to_rgb_batch(RGB[None]).base is RGB


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RGB[None], r"image must be \[H, W, 3\] .* found \[1, 6, 8, 3\], a batch: pass one image at a time"),
        ([RGB, RGB], "a batch: pass one image at a time"),
        (RGB.transpose(2, 0, 1), r"found \[3, 6, 8\], channels first: pass image.transpose\(1, 2, 0\)"),
        (RGB[:0], r"not empty, found \[0, 8, 3\]"),
        (RGB[..., :0], r"not empty, found \[6, 8, 0\]"),
        (np.zeros((6, 8, 5), np.uint8), r"found \[6, 8, 5\]"),
        (np.uint8(3), r"found \[\]"),
        (RGB / 255.0, "image must be RGB 0..255, found 0..1 of float64: multiply by 255"),
        (np.zeros((6, 8), np.float32), "found 0..0 of float32: multiply by 255"),
        (RGB.astype(np.uint16) * 257, "found 0..65535 of uint16: scale to 8 bits, for example image // 256"),
        (RGB.astype(np.float32) * 2, "found 0..510 of float32: scale to 8 bits"),
        (RGB / 127.5 - 1, "found -1..1 of float64: leave out the normalisation"),
        (RGB.astype(np.int8), "of int8: leave out the normalisation"),
        (RGB > 9, "found 0..1 of bool: multiply by 255"),
        (np.where(RGB > 200, np.nan, RGB), "found nan..nan of float64: replace values that are NaN"),
        (np.where(RGB > 200, np.inf, RGB), r"found .*\.\.inf of float64: replace values that are NaN or inf"),
        ("a.jpg", r"found a path: PIL.Image.open\(path\) opens it"),
        (Path("a.jpg"), "found a path"),
        (b"\xff\xd8", r"found bytes: PIL.Image.open\(io.BytesIO\(data\)\) opens it"),
        (io.BytesIO(b"\xff\xd8"), r"found an open file: PIL.Image.open\(file\) opens it"),
        (["a.jpg", "b.jpg"], "must be an array of numbers or a PIL image, found list of <U5"),
        ([[1, 2], [3]], "found list that NumPy cannot convert: .*inhomogeneous"),
        (None, "found NoneType"),
        ({"image": RGB}, "found dict"),
        ((row for row in RGB), "found generator"),
        (RGB.astype(object), "found ndarray of object"),
        (RGB.astype(str), "found ndarray of <U"),
        (RGB.astype(np.complex64), "found ndarray of complex64"),
        (
            Tensor(RGB, RuntimeError("Call detach()\nfirst")),
            "found Tensor that NumPy cannot convert: Call detach.. first",
        ),
        (Image.new("RGB", (0, 5)), r"not empty, found \[5, 0, 3\]"),
        (Image.new("I", (5, 5), 70000), "found 70000..70000 of int32: scale to 8 bits"),
        (Image.new("F", (5, 5), 0.5), "found 0.5..0.5 of float32: multiply by 255"),
        (np.ma.masked_greater(RGB, 200), r"must have no masked pixels, found \d+: pass image.filled\(0\)"),
        (closed_image(), "found mode RGB: Operation on closed image"),
    ],
)
def test_other_images_are_refused_in_one_line_that_says_what_to_do(image, message):
    with pytest.raises(InputError, match=message) as caught:
        to_rgb(image)
    assert "\n" not in str(caught.value)


def test_a_symbolic_tensor_is_refused():
    messages = []

    @tf.function
    def traced(image):
        with pytest.raises(InputError, match="must be an array, found SymbolicTensor that NumPy cannot") as caught:
            to_rgb(image)
        messages.append(str(caught.value))
        return image

    traced(tf.constant(RGB))
    assert messages


@pytest.mark.parametrize(
    "mode", ["RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "P", "PA", "L", "LA", "La", "1", "I", "F"]
)
def test_a_pil_image_of_any_mode_is_its_rgb(mode):
    whole = Image.fromarray(RGB)
    image = whole.convert(mode.upper()).convert(mode) if mode in ("RGBa", "La") else whole.convert(mode)
    expected = image.convert({"I": "L", "F": "L", "La": "LA"}.get(mode, mode)).convert("RGB")
    np.testing.assert_allclose(to_rgb(image), expected, atol=1)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_a_pil_image_of_16_bits_keeps_its_high_bytes(mode):
    np.testing.assert_array_equal(to_rgb(Image.new(mode, (8, 6), 50 * 256 + 77)), np.full((6, 8, 3), 50))


def test_transparent_colours_of_a_palette_are_dropped_without_a_warning():
    image = Image.fromarray(RGB).convert("P")
    expected = np.asarray(image.convert("RGB"))
    image.info["transparency"] = bytes(range(16))
    np.testing.assert_array_equal(to_rgb(image), expected)


def test_an_orientation_in_the_text_of_a_png_counts_neither_in_its_file_nor_in_its_image(tmp_path):
    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}")
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=text)
    with Image.open(tmp_path / "a.png") as image:
        assert image.getexif()[0x0112] == 6
        np.testing.assert_array_equal(to_rgb(image), RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pil_image_is_turned_upright(orientation, format):
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(stream, format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(stream))
    np.testing.assert_array_equal(to_rgb(Image.open(stream)), expected)
    np.testing.assert_array_equal(to_rgb(Image.open(stream).convert("RGB")), expected)
    np.testing.assert_array_equal(to_rgb(expected), expected)


@pytest.mark.parametrize(
    ("format", "mode"),
    [("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "P"), ("PNG", "LA"), ("PNG", "I;16"), ("GIF", "P"), ("BMP", "1")],
)
def test_a_pil_image_gives_what_its_file_gives(format, mode, tmp_path):
    path, image = tmp_path / "a", Image.fromarray(RGB)
    image = Image.fromarray(RGB[..., 0].astype(np.uint16) * 256) if mode == "I;16" else image.convert(mode)
    image.save(path, format, **({"transparency": 3} if format == "GIF" else {}))
    with Image.open(path) as opened:
        np.testing.assert_allclose(to_rgb(opened), read_image(path), atol=1)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM\0*\0\0\0\xff", b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"]
)
def test_a_pil_image_with_damaged_exif_is_taken_as_it_is(exif):
    image = Image.fromarray(RGB)
    image.info["exif"] = exif
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(to_rgb(image), RGB)


def test_a_pil_image_of_half_a_file_is_refused():
    stream = io.BytesIO()
    Image.fromarray(np.repeat(np.repeat(RGB, 30, 0), 30, 1)).save(stream, "JPEG")
    with pytest.raises(InputError, match=r"image must be a PIL image of pixels, found mode RGB: .*truncated"):
        to_rgb(Image.open(io.BytesIO(stream.getvalue()[: len(stream.getvalue()) // 2])))


@pytest.mark.parametrize(
    "images",
    [
        [RGB, RGB],
        np.stack([RGB, RGB]),
        (Image.fromarray(RGB), RGB.astype(int)),
        [RGB.tolist()] * 2,
        tf.stack([RGB, RGB]),
    ],
)
def test_a_batch_may_be_a_list_of_images_or_one_array(images):
    np.testing.assert_array_equal(to_rgb_batch(images), np.stack([RGB, RGB]))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([RGB, RGB, RGB[None]], r"images\[2\] must be \[H, W, 3\]"),
        ([RGB, RGB / 255], r"images\[1\] must be RGB 0..255, found 0..1 of float64"),
        ([RGB, None], r"images\[1\] must be an array of numbers or a PIL image, found NoneType"),
        ([RGB, RGB[:3]], r"images\[1\] must have the size of images\[0\], \[6, 8\], found \[3, 8\]"),
        (np.stack([RGB * 1.0, RGB * np.nan]), r"images\[1\] must be RGB 0..255, found nan"),
        (RGB, r"images must be \[B, H, W, 3\] .* found \[6, 8, 3\], one image: pass images\[None\]"),
        (RGB.tolist(), "one image: pass images"),
        (Image.fromarray(RGB), "one image: pass images"),
        ([], r"images must be \[B, H, W, 3\] and not empty, found \[0\]"),
        (RGB[None][:0], "not empty"),
        ("pictures/", "found a path"),
    ],
)
def test_a_bad_image_of_a_batch_is_named_by_its_position(images, message):
    with pytest.raises(InputError, match=message):
        to_rgb_batch(images)


@settings(max_examples=100, deadline=None)
@given(
    arrays.arrays(
        st.one_of(arrays.scalar_dtypes(), st.just(np.dtype(object))),
        arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
    )
)
def test_any_array_is_an_image_or_one_input_error(values):
    for convert, shape in ((to_rgb, values.shape[:2]), (to_rgb_batch, values.shape[:3])):
        try:
            pixels = convert(values)
        except InputError:
            continue
        assert pixels.shape == (*shape, 3)
        assert pixels.dtype in (np.uint8, np.float32)
        assert pixels.min() >= 0
        assert pixels.max() <= 255
