"""Read damaged Pascal VOC folders: `python benchmarks/robustness/voc.py --count 50000`."""

from __future__ import annotations

import os
import random
from pathlib import Path

from coco import damaged_bytes
from readers import HEIGHT, WIDTH, run

XML = f"""<?xml version="1.0" encoding="UTF-8"?>
<annotation><filename>a.png</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>
<object><name>cell</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object>
<object><name>dust</name><difficult>1</difficult>
<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>9</xmax><ymax>12</ymax></bndbox></object></annotation>"""
SPLIT = "a\nb.png\n"
ENCODINGS = ["UTF-8", "UTF-16", "GB2312", "gbk", "big5", "latin-1", "utf-7", "base64", "rot13", "idna", "klingon", ""]
TOKENS = [
    "", "0", "-1", "1e309", "nan", "inf", "1_000", "\u0663", "\uff19", "0x10", " 5 ", "5.5", "9" * 400, "Unspecified",
    "true", "a.png", "b.png", "../a.png", "/etc/passwd", "<", "&b;", "&#0;", "&#xd800;", "]]>", "<![CDATA[x]]>", "<!--",
    "<x/>",
    '<!DOCTYPE a [<!ENTITY b "c">]>', "<object/>", "<bndbox/>", "<object>" * 500, "\x1b[31m", "e\u0301", "血小板",
    "\ufeff",
]  # fmt: skip
LINES = [
    "", "a", "b", "c", "a.png", '"a"', "'b.png'", "C:\\a.png", "../b", "a 1", "b -1", "a 2", "x/a", "\ufeffa", "\0",
    "a\0", "é", "a" * 5000, "-1", "1", "/" * 200, ".png", "a.xml",
]  # fmt: skip


def write(folder: Path, rng: random.Random) -> str:
    """Write a VOC folder with a damaged annotation, split or both; sometimes a file is a pipe, a link or a folder."""
    places = [
        folder / "Annotations" / "a.xml",
        folder / "Annotations" / "b.xml",
        folder / "ImageSets" / "Main" / "s.txt",
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    if not (folder / "JPEGImages").exists():
        (folder / "JPEGImages").symlink_to(".")
    texts = [damaged_xml(XML, rng), XML.replace("a.png", "b.png"), SPLIT]
    if rng.random() < 0.4:
        lines = [rng.choice(LINES) for _ in range(rng.randint(0, 5))]
        texts[2] = rng.choice(["\n", "\r\n", "\r"]).join(lines)
    for place, text in zip(places, texts):
        data = encoded(text, rng)
        if rng.random() < 0.2:
            data = damaged_bytes(data or b"x", rng)
        replace(place, data, rng)
    return f"{folder}@s"


def damaged_xml(text: str, rng: random.Random) -> str:
    """Return an annotation with values replaced, tags removed or repeated, or another encoding declared."""
    for _ in range(rng.randint(0, 3)):
        parts = text.replace("<", "\0<").replace(">", ">\0").split("\0")
        position = rng.randrange(len(parts))
        action = rng.random()
        if action < 0.5:
            parts[position] = rng.choice(TOKENS)
        elif action < 0.7:
            del parts[position]
        elif action < 0.9:
            parts[position:position] = parts[position : position + rng.randint(1, 12)]
        text = "".join(parts)
    return text.replace("UTF-8", rng.choice(ENCODINGS)) if rng.random() < 0.3 else text


def encoded(text: str, rng: random.Random) -> bytes:
    """Return a text in some encoding, mostly UTF-8."""
    encoding = rng.choice(["utf-8"] * 6 + ["utf-16", "utf-8-sig", "gb18030", "latin-1"])
    return text.encode(encoding, "replace")


def replace(place: Path, data: bytes, rng: random.Random) -> None:
    """Replace a file by data, seldom by what is no regular file."""
    if place.is_dir() and not place.is_symlink():
        place.rmdir()
    place.unlink(missing_ok=True)
    action = rng.random()
    if action < 0.005:
        os.mkfifo(place)
    elif action < 0.01:
        place.symlink_to(rng.choice(["/dev/zero", "nowhere", place.name, "..", "/proc/self/mem"]))
    elif action < 0.012:
        place.mkdir()
    else:
        place.write_bytes(data)


if __name__ == "__main__":
    run(__doc__, write)
