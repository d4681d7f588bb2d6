"""Damage image files, and compare the judgements of the doctor, of `read_image` and of the input pipeline.

    python benchmarks/robustness/images.py [--count 150] [--seed 0] 2> libtiff.log

For each format it counts the files that the doctor passes and the pipeline cannot decode, those that the doctor refuses
and the pipeline decodes, those whose pixels differ, and those whose error is not an InputError with the file's name.
The program exits with 1 if one of these counts is not 0.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from tfrcnn.data.decode import decode_file, read_image
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.headers import BadImageError, ImageHeader, read_header
from tfrcnn.data.image_source import Pixels
from tfrcnn.errors import InputError

ESCAPES = ("passes doctor only", "passes pipeline only", "other pixels", "other error")


def seeds() -> dict[str, list[bytes]]:
    """Return whole files of each format, in several modes."""
    noise = np.random.default_rng(0).integers(0, 256, (31, 42, 4), np.uint8)
    rgba = Image.fromarray(np.asarray(Image.fromarray(noise).resize((42, 31), Image.Resampling.BICUBIC)), "RGBA")
    rgb = rgba.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, list[tuple[Image.Image, dict[str, object]]]] = {
        "JPEG": [
            (rgb, {"exif": exif}),
            (rgb, {"progressive": True}),
            (rgb.convert("CMYK"), {}),
            (rgb.convert("L"), {}),
        ],
        "PNG": [(rgb, {"exif": exif}), (rgba, {}), (rgb.convert("P"), {"transparency": 3}), (rgb.convert("1"), {})],
        "BMP": [(rgb, {}), (rgba, {}), (rgb.convert("P"), {}), (rgb.convert("1"), {})],
        "GIF": [(rgb.convert("P"), {}), (rgb.convert("P"), {"save_all": True, "append_images": [rgb.convert("P")]})],
        "WEBP": [(rgb, {"exif": exif}), (rgba, {"lossless": True}), (rgb, {"save_all": True, "append_images": [rgba]})],
        "TIFF": [
            (rgb, {"exif": exif}),
            (rgb, {"compression": "tiff_lzw"}),
            (rgb.convert("1"), {"compression": "group4"}),
        ],
    }
    files: dict[str, list[bytes]] = {}
    for kind, images in options.items():
        for image, how in images:
            stream = io.BytesIO()
            image.save(stream, kind, **how)
            files.setdefault(kind, []).append(stream.getvalue())
    return files


def damaged(data: bytes, source: random.Random) -> bytes:
    """Change bytes, cut the file, or insert, repeat or blank a part of it."""
    content = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 5))):
        if len(content) < 8:
            break
        start = source.randrange(2, len(content))
        end = min(len(content), start + source.choice((1, 2, 4, 40)))
        # most of what matters is in the header
        start, end = (start % 80, start % 80 + 1) if source.random() < 0.4 else (start, end)
        match source.randrange(6):
            case 0 | 1:
                content[start:end] = source.randbytes(end - start)
            case 2:
                del content[-source.randrange(1, min(60, len(content))) :]
            case 3:
                content[start:start] = source.randbytes(source.randrange(1, 30))
            case 4:
                content[start:end] = bytes(end - start)
            case _:
                content[start:start] = content[start:end]
    return bytes(content)


def doctor(path: Path) -> ImageHeader | None:
    """Return what the doctor reads of a file that it passes."""
    try:
        header = read_header(path)
        decode_file(path)
    except BadImageError:
        return None
    return header


def pipeline(path: Path, header: ImageHeader | None) -> np.ndarray | None:
    """Decode a file as training does; if the doctor refuses it, in its own size."""
    if header is None:
        try:
            height, width = read_image(path).shape[:2]
            orientation = read_header(path).orientation
        except InputError:
            height, width, orientation = 1, 1, 1
    else:
        (height, width), orientation = header.upright, header.orientation
    empty = np.zeros(0, np.int32)
    boxes = np.zeros((0, 4), np.float32)
    example = Example("a", path, height, width, boxes, empty, empty > 0, empty > 0, empty, orientation, empty)
    try:
        return Pixels(Dataset("fuzzed", (), (example,))).read(0)
    except InputError as error:
        if not str(error).startswith(f"{path} (image 1 of 1 in fuzzed): ") or "\n" in str(error):
            raise ValueError("an InputError without the name and the place") from error
        return None


def compare(path: Path) -> str:
    """Judge a file: "read", "refused" or one of `ESCAPES`."""
    try:
        header = doctor(path)
        pixels = pipeline(path, header)
        if header is None or pixels is None:
            names = {(False, False): "refused", (True, False): ESCAPES[0], (False, True): ESCAPES[1]}
            return names[header is not None, pixels is not None]
        return "read" if np.array_equal(pixels, read_image(path)) else ESCAPES[2]
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return ESCAPES[3]


def run(count: int, seed: int, keep: Path | None = None) -> dict[str, Counter[str]]:
    """Compare `count` damaged files of each format; `keep` is a folder for those that escape."""
    source = random.Random(seed)
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        for kind, files in seeds().items():
            counts[kind] = Counter()
            for number in range(count):
                path.write_bytes(damaged(files[number % len(files)], source))
                counts[kind][judgement := compare(path)] += 1
                if keep and judgement in ESCAPES:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{kind}-{number}").write_bytes(path.read_bytes())
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=150, help="damaged files of each format")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--keep", type=Path, help="folder for the files that escape")
    options = parser.parse_args()
    counts = run(options.count, options.seed, options.keep)
    columns = ("read", "refused", *ESCAPES)
    print(f"{'':6}" + "".join(f"{name:>22}" for name in columns))
    for kind, row in counts.items():
        print(f"{kind:6}" + "".join(f"{row[name]:22,}" for name in columns))
    escapes = sum(row[name] for row in counts.values() for name in ESCAPES)
    print(f"{options.count * len(counts):,} files, {escapes} escapes")
    return int(escapes > 0)


if __name__ == "__main__":
    sys.exit(main())
