"""Both decoders against Pillow, format by format: the one that runs in Python, and the one of exported graphs."""

import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tfrcnn.data.decode import decode_bytes, decode_file, read_image
from tfrcnn.data.graph_decode import decode_image
from tfrcnn.data.headers import MAX_PIXELS, BadImageError, read_header
from tfrcnn.errors import InputError


def smooth(channels: int, height: int = 37, width: int = 53) -> np.ndarray:
    """[height, width, channels] uint8, smooth enough for JPEG to keep and without any symmetry; sides are odd so that
    rows need padding and chroma does not divide."""
    noise = np.random.default_rng(channels).integers(0, 256, (channels, 5, 7), dtype=np.uint8)
    planes = [Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC) for plane in noise]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def rgb() -> Image.Image:
    return Image.fromarray(smooth(3))


def grey() -> Image.Image:
    return Image.fromarray(smooth(1)[..., 0])


def palette(colors: int = 200) -> Image.Image:
    return rgb().quantize(colors)


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def png(samples: np.ndarray, bits: int, color_type: int) -> bytes:
    """A PNG file of [h, w, channels] samples of `bits` each: the depths that Pillow does not write."""
    height, width = samples.shape[:2]
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:
        rows = [np.packbits((row[..., None] >> np.arange(bits)[::-1]) & 1).tobytes() for row in samples]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def palette_bmp(indices: np.ndarray, colors: np.ndarray, bits: int, top_down: bool = False) -> bytes:
    """A BMP file of [h, w] indices into [2**bits, 3] RGB colours: the depths that Pillow does not write."""
    height, width = indices.shape
    lines = np.packbits(((indices[..., None] >> np.arange(bits)[::-1]) & 1).reshape(height, -1), axis=1)
    lines = np.pad(lines.astype(np.uint8), [(0, 0), (0, -lines.shape[1] % 4)])
    table = np.pad(colors[:, ::-1], [(0, 0), (0, 1)]).astype(np.uint8).tobytes()
    signed_height = -height if top_down else height
    header = struct.pack("<IiiHHIIiiII", 40, width, signed_height, 1, bits, 0, lines.size, 0, 0, 0, 0)  # 0 colours: all
    offset = 14 + len(header) + len(table)
    pixels = (lines if top_down else lines[::-1]).tobytes()
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + header + table + pixels


def decode(data: bytes, orientation: int = 1) -> np.ndarray:
    """The pixels of the decoder in exported graphs."""
    return decode_image(tf.constant(data), tf.constant(orientation)).numpy()


def read(data: bytes) -> np.ndarray:
    """The pixels of the decoder of training and prediction."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return read_image(file.name)


def pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def difference(data: bytes) -> int:
    """The largest difference of any sample of both decoders from Pillow's."""
    return max(
        int(np.abs(pixels.astype(int) - pillow(data).astype(int)).max()) for pixels in (decode(data), read(data))
    )


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_equals_pillow(subsampling: str, progressive: bool) -> None:
    assert difference(encode(rgb(), "JPEG", subsampling=subsampling, progressive=progressive, quality=80)) == 0


@pytest.mark.parametrize("folder", ["bccd/BCCD/JPEGImages", "coco_val2017_66/images", "voc2012_100/JPEGImages"])
def test_real_jpegs_equal_pillow(data_root: Path, folder: str) -> None:
    for path in sorted((data_root / folder).glob("*.jpg"))[:12]:
        assert difference(path.read_bytes()) == 0, path.name


def test_grey_jpeg_equals_pillow() -> None:
    assert difference(encode(grey(), "JPEG")) == 0


def adobe_jpeg(transform: int | None) -> bytes:
    """A four-channel JPEG with Adobe's marker (transform 0: CMYK, 2: YCCK), or without."""
    data = encode(Image.frombytes("CMYK", (53, 37), smooth(4).tobytes()), "JPEG", quality=95)
    start = data.index(b"\xff\xee")
    end = start + 2 + struct.unpack(">H", data[start + 2 : start + 4])[0]
    return data[:start] + (b"" if transform is None else data[start : end - 1] + bytes([transform])) + data[end:]


@pytest.mark.parametrize("transform", [0, 2])
def test_adobe_cmyk_and_ycck_jpegs_are_within_one_of_pillow(transform: int) -> None:
    assert difference(adobe_jpeg(transform)) <= 1


def test_cmyk_jpeg_without_the_adobe_marker_is_not_inverted() -> None:
    data = adobe_jpeg(None)
    with Image.open(io.BytesIO(data)) as image:
        ink = 255 - np.asarray(image).astype(float)  # Pillow inverts always: this undoes it
    expected = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    np.testing.assert_allclose(decode(data), expected, atol=1)
    np.testing.assert_allclose(read(data), expected, atol=1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P"])
def test_png_equals_pillow(mode: str) -> None:
    image = Image.fromarray(smooth(4), "RGBA") if mode == "RGBA" else rgb()
    assert difference(encode(image.convert(mode), "PNG")) == 0


@pytest.mark.parametrize(("colors", "bits"), [(2, 1), (4, 2), (16, 4)])
def test_palette_png_of_few_bits_equals_pillow(colors: int, bits: int) -> None:
    assert difference(encode(palette(colors), "PNG", bits=bits)) == 0


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_png_of_few_bits_equals_pillow(bits: int) -> None:
    samples = np.random.default_rng(0).integers(0, 2**bits, (9, 13, 1))
    assert difference(png(samples, bits, color_type=0)) == 0


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4)])
def test_16_bit_colour_png_equals_pillow(color_type: int, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (9, 13, channels))
    assert difference(png(samples, 16, color_type)) == 0


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (4, 2)])
def test_16_bit_grey_png_keeps_the_high_byte(color_type: int, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (9, 13, channels))
    expected = np.repeat(samples[..., :1] >> 8, 3, axis=-1)
    np.testing.assert_array_equal(decode(png(samples, 16, color_type)), expected)
    np.testing.assert_array_equal(read(png(samples, 16, color_type)), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_bmp_equals_pillow(mode: str) -> None:
    assert difference(encode(rgb().convert(mode), "BMP")) == 0


def test_bmp_of_a_partly_used_palette_equals_pillow() -> None:
    assert difference(encode(palette(9), "BMP")) == 0


def test_bmp_with_alpha_equals_pillow() -> None:
    assert difference(encode(Image.fromarray(smooth(4), "RGBA"), "BMP")) == 0


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palette_bmp_is_its_colours_at_its_indices(bits: int, top_down: bool) -> None:
    rng = np.random.default_rng(bits)
    colors = rng.integers(0, 256, (2**bits, 3))
    indices = rng.integers(0, 2**bits, (5, 11))
    data = palette_bmp(indices, colors, bits, top_down)
    np.testing.assert_array_equal(decode(data), colors[indices])
    np.testing.assert_array_equal(decode(data), pillow(data))


@pytest.mark.parametrize(("bits", "compression"), [(8, 1), (16, 0)])
def test_unsupported_bmp_is_refused_by_name(tmp_path: Path, bits: int, compression: int) -> None:
    data = bytearray(encode(grey(), "BMP"))
    data[28:34] = struct.pack("<HI", bits, compression)
    (tmp_path / "a.bmp").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.bmp: expected an uncompressed BMP of 1, 4, 8, 24 or 32 bits"):
        read_image(tmp_path / "a.bmp")
    dataset = tf.data.Dataset.from_tensors((bytes(data), 1)).map(decode_image)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a BMP of 16 bits"):
        next(iter(dataset))


@pytest.mark.parametrize("interlace", [0, 1])
def test_gif_equals_pillow(interlace: int) -> None:
    assert difference(encode(palette(), "GIF", interlace=interlace)) == 0


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [palette(), palette().transpose(Image.Transpose.ROTATE_180)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    assert difference(data) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_equals_exif_transpose(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.JPG"
    rgb().save(path, "JPEG", exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert read_header(path).orientation == orientation
    assert expected.shape == ((37, 53, 3) if orientation < 5 else (53, 37, 3))
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("orientation", [-1, 0, 9])
def test_invalid_orientation_counts_as_upright(orientation: int) -> None:
    data = encode(rgb(), "PNG")
    np.testing.assert_array_equal(decode(data, orientation), decode(data, 1))


def test_decoding_inside_tf_data_equals_eager() -> None:
    files = [encode(rgb(), "JPEG"), encode(palette(), "BMP"), encode(grey(), "PNG"), encode(palette(), "GIF")]
    dataset = tf.data.Dataset.from_tensor_slices((files, [6, 3, 1, 8])).map(decode_image)
    assert dataset.element_spec.shape.as_list() == [None, None, 3]
    for data, orientation, image in zip(files, [6, 3, 1, 8], dataset):
        np.testing.assert_array_equal(image, decode(data, orientation))


def test_file_without_exif_is_upright(tmp_path: Path) -> None:
    rgb().save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png").orientation == 1


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(b"\xff\xff", id="no entries behind their count"),
        pytest.param(b"\x01\x00\x12\x01\x02\x00\x02\x00\x00\x00a\x00\x00\x00\x00\x00\x00\x00", id="a letter"),
    ],
)
def test_corrupt_exif_is_upright(tmp_path: Path, entry: bytes) -> None:
    rgb().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0" + entry)
    assert read_header(tmp_path / "a.jpg").orientation == 1


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jpg: .*No such file"):
        read_image(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize(("content", "actual"), [(b"", "an empty file"), (b"<html>not an image</html>", "no image")])
def test_file_that_is_not_an_image_is_named(content: bytes, actual: str, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_bytes(content)
    with pytest.raises(InputError, match=rf"page\.jpg: expected .* found {actual}"):
        read_image(tmp_path / "page.jpg")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_truncated_image_is_named(file_format: str, tmp_path: Path) -> None:
    data = encode(rgb(), file_format)
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"^[^\n]*half: expected [^\n]*, found [^\n]*$"):
        read_image(tmp_path / "half")


GREY16 = Image.fromarray(np.arange(37 * 53, dtype=np.uint16).reshape(37, 53) * 33)
TRANSPARENT = Image.fromarray(smooth(4), "RGBA")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encode(rgb(), "WEBP", lossless=True), rgb(), id="webp"),
        pytest.param(encode(TRANSPARENT, "WEBP", lossless=True, exact=True), TRANSPARENT, id="webp with alpha"),
        pytest.param(
            encode(rgb(), "WEBP", lossless=True, save_all=True, append_images=[rgb().rotate(180)]),
            rgb(),
            id="animated webp",
        ),
        pytest.param(encode(rgb(), "TIFF"), rgb(), id="tiff"),
        pytest.param(encode(rgb(), "TIFF", compression="tiff_lzw"), rgb(), id="tiff lzw"),
        pytest.param(encode(rgb().convert("1"), "TIFF", compression="group4"), rgb().convert("1"), id="fax"),
        pytest.param(encode(TRANSPARENT, "TIFF"), TRANSPARENT, id="tiff with alpha"),
        pytest.param(encode(palette(), "TIFF"), palette(), id="palette tiff"),
        pytest.param(encode(rgb().convert("CMYK"), "TIFF"), rgb().convert("CMYK"), id="cmyk tiff"),
        pytest.param(
            encode(GREY16, "TIFF"), Image.fromarray((np.asarray(GREY16) >> 8).astype(np.uint8)), id="16-bit tiff"
        ),
        pytest.param(encode(rgb(), "TIFF", save_all=True, append_images=[grey()]), rgb(), id="tiff of two pages"),
        pytest.param(
            encode(rgb(), "MPO", save_all=True, append_images=[rgb().rotate(180)], quality=80), None, id="mpo"
        ),
        pytest.param(encode(palette(), "PNG", transparency=3), palette(), id="palette png with a transparent colour"),
        pytest.param(encode(palette(), "PNG", transparency=bytes(range(200))), palette(), id="palette png with alphas"),
        pytest.param(encode(grey(), "PNG", transparency=3), grey(), id="grey png with a transparent level"),
    ],
)
def test_each_kind_of_file_becomes_8_bit_rgb(data: bytes, expected: Image.Image | None) -> None:
    if expected is None:
        data_of_first = data[: data.index(b"\xff\xd9", data.index(b"\xff\xda")) + 2]
        np.testing.assert_array_equal(read(data), pillow(data_of_first))
    else:
        np.testing.assert_array_equal(read(data), np.asarray(expected.convert("RGB")))


def test_transparent_pixels_of_a_gif_are_black_in_both_decoders() -> None:
    data = encode(palette(), "GIF", transparency=3)
    pixels, hidden = read(data), np.asarray(palette()) == 3
    assert hidden.any()
    assert pixels[hidden].max() == 0
    np.testing.assert_array_equal(pixels[~hidden], np.asarray(palette().convert("RGB"))[~hidden])
    np.testing.assert_array_equal(decode(data), pixels)


def test_float_tiff_is_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(smooth(1)[..., 0].astype(np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff: expected 8 or 16 bits per sample, found 32-bit floats"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["WEBP", "TIFF", "PNG"])
def test_exif_of_every_format_is_applied_once(file_format: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb().save(tmp_path / "a", file_format, exif=exif, lossless=True)
    turned = rgb().copy()
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned))
    np.testing.assert_array_equal(read_image(tmp_path / "a"), expected)
    assert read_header(tmp_path / "a").upright == expected.shape[:2]


MP4 = (
    struct.pack(">I4s4sI4s", 20, b"ftyp", b"mp42", 0, b"isom")
    + struct.pack(">I4s", 8 + 90_000, b"mdat")
    + bytes(90_000)
)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("behind", [MP4, bytes(100_000), b"\n"], ids=["video", "zeros", "newline"])
def test_bytes_behind_a_picture_change_nothing(file_format: str, behind: bytes, tmp_path: Path) -> None:
    """Motion photos have a video there; some cameras and file systems add zeros."""
    data = encode(rgb(), file_format)
    (tmp_path / "a").write_bytes(data + behind)
    read_header(tmp_path / "a")
    np.testing.assert_array_equal(read_image(tmp_path / "a"), read(data))


def test_a_picture_cut_off_in_front_of_its_video_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(rgb(), "JPEG")[:-400] + MP4)
    with pytest.raises(BadImageError, match="cut off"):
        decode_file(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"n" * 246 + b".png", "네.png".encode(), b"a\nb\x1b[31m.png"])
def test_files_of_every_name_are_read(name: bytes, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    rgb().save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(path)
    np.testing.assert_array_equal(read_image(path), np.asarray(rgb()))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(chunk(b"eXIf", b"XX*\0" + b"\1" * 20), id="no EXIF"),
        pytest.param(chunk(b"eXIf", b"II*\0"), id="short EXIF"),
        pytest.param(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n   8\nzzzz\n"), id="raw EXIF"),
        pytest.param(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * (3 << 20))), id="3 MB of text"),
        pytest.param(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * (2 << 20)), id="2 MB of XMP"),
        pytest.param(chunk(b"iCCP", b"profile\0\0not zlib"), id="broken colour profile"),
        pytest.param(chunk(b"gAMA", b""), id="short gamma"),
        pytest.param(chunk(b"tIME", b"now")[:-1] + b"!", id="wrong sum of an unused part"),
    ],
)
def test_odd_metadata_of_a_png_do_not_matter(extra: bytes) -> None:
    data = encode(rgb(), "PNG")
    np.testing.assert_array_equal(read(data[:33] + extra + data[33:]), np.asarray(rgb()))
    np.testing.assert_array_equal(read(data[:-12] + extra + data[-12:]), np.asarray(rgb()))


def test_a_decompression_bomb_is_refused_with_the_limit() -> None:
    data = bytearray(encode(rgb(), "PNG"))
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(InputError, match=rf"expected at most {MAX_PIXELS:,} pixels, found"):
        read(bytes(data))
    jpeg = bytearray(encode(rgb(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 30_000, 30_000)
    with pytest.raises(InputError, match="found 30000 x 30000 px"):
        read(bytes(jpeg))


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    (os.mkfifo if kind == "pipe" else os.mkdir)(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg: expected an image file, found a folder, a pipe or a device"):
        read_image(tmp_path / "a.jpg")


def test_pixels_are_no_image_file_and_a_path_is_no_content() -> None:
    with pytest.raises(InputError, match="path: expected an image file, found ndarray"):
        read_image(smooth(3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"a\.jpg: expected the bytes of an image file, found str"):
        decode_bytes("a.jpg", "a.jpg")  # type: ignore[arg-type]
    data = encode(rgb(), "PNG")
    for content in (bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(decode_bytes(content, "a.png"), np.asarray(rgb()))
