"""Read damaged CVAT files: `python benchmarks/robustness/cvat.py --count 50000`."""

from __future__ import annotations

import random
from pathlib import Path

from coco import damaged_bytes
from readers import HEIGHT, WIDTH, run
from voc import damaged_xml, encoded, replace

SIZE = f'width="{WIDTH}" height="{HEIGHT}"'
XML = f"""<?xml version="1.0" encoding="UTF-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>cell</name></label>
<label><name>dust</name></label></labels></task></meta>
<image id="0" name="a.png" {SIZE}><box label="cell" xtl="1" ytl="2" xbr="30" ybr="20.5" rotation="10"></box>
<polygon label="dust" points="1,2;30,4;5.5,20"/><points label="dust" points="1,2"/></image>
<image id="1" name="b.png" {SIZE}><ellipse label="cell" cx="20" cy="15" rx="5" ry="4"/>
<mask label="cell" rle="1" left="1" top="2" width="3" height="4"/></image></annotations>"""
ATTRIBUTES = [
    "", "0", "-1", "1e309", "nan", "inf", "1_0", "\u0663", "9" * 400, "x.png", "b.png", "../a.png", "/dev/zero", "dust",
    "1,2", "1;2", "1,2;x,3", "&#10;", "é", "45", "1e308",
]  # fmt: skip


def write(folder: Path, rng: random.Random) -> str:
    """Write a CVAT file with tags or values of attributes replaced, removed or repeated."""
    text = damaged_xml(XML, rng)
    for _ in range(rng.randint(0, 2)):
        parts = text.split('"')
        parts[rng.randrange(len(parts))] = rng.choice(ATTRIBUTES)
        text = '"'.join(parts)
    data = encoded(text, rng)
    path = folder / "annotations.xml"
    replace(path, damaged_bytes(data or b"x", rng) if rng.random() < 0.1 else data, rng)
    return str(path)


if __name__ == "__main__":
    run(__doc__ or "", write)
