"""Read damaged COCO files: `python benchmarks/robustness/coco.py --count 50000`."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

from readers import HEIGHT, WIDTH, run

SIZE = {"height": HEIGHT, "width": WIDTH}
CONTENT: dict[str, Any] = {
    "info": {"year": 2024},
    "images": [{"id": 1, "file_name": "a.png", **SIZE}, {"id": "2", "file_name": "x\\b.png", **SIZE}],
    "categories": [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 1, "name": "cell", "supercategory": "cells"},
        {"id": 7, "name": "dust", "supercategory": "cells"},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30.5, 20], "area": 20.0, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 7, "segmentation": [[1, 2, 30, 2, 30, 9]], "iscrowd": None},
        {"id": 3, "image_id": 1.0, "category_id": 1, "segmentation": {"size": [30, 40], "counts": "bc04d01O0000k;"}},
        {"id": 4, "image_id": 1, "category_id": 7, "segmentation": {"size": [30, 40], "counts": [302, 5, 893]}},
    ],
}
HOSTILE = [
    None, True, False, 0, 1, -1, 2, 7, 1.0, 0.5, -0.0, 1e308, -1e308, 1e400, float("nan"), 2**31, 2**63, -(2**63),
    10**30, 10**400, "", "0", "1", "2", "nan", "inf", "1e999", "-5", "1, 2, 3, 4", "[1 2 3 4]", "a.png", "b.png",
    "../a.png", "C:\\a.png", "/etc/passwd", "/dev/zero", "\0", "\ud800", "\udcff.png", "é", "e\u0301", "\x1b[31m",
    "a" * 300,
    "x/" * 200, "none", [], {}, [[]], [1], [1, 2, 3, 4], ["1", "2", "3", "4"], [1e308] * 4, [0] * 6,
    [[1, 2, 3, 4, 5, 6]],
    {"size": [30, 40], "counts": "0"}, {"size": [0, 0], "counts": []}, {"size": [10**9, 10**9], "counts": "P1"},
    {"size": [30, 40], "counts": [1200]}, {"id": 1}, {"bbox": [1, 2, 3, 4]},
]  # fmt: skip


def write(folder: Path, rng: random.Random) -> str:
    """Write a COCO file with a few values replaced, removed or repeated, or a few bytes changed."""
    content: Any = copy.deepcopy(CONTENT)
    for _ in range(rng.randint(1, 4)):
        content = damaged(content, rng)
    data = json.dumps(content).encode()
    if rng.random() < 0.3:
        data = damaged_bytes(data, rng)
    path = folder / "a.json"
    path.write_bytes(data)
    return str(path)


def damaged(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with one change somewhere in it."""
    if not value or not isinstance(value, (dict, list)) or rng.random() < 0.05:
        return changed_text(value, rng) if isinstance(value, str) and rng.random() < 0.5 else hostile(rng)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = rng.choice(keys)
    action = rng.random()
    if action < 0.1:
        del value[key]
    elif action < 0.2 and isinstance(value, list):
        value.extend(copy.deepcopy(value[key]) for _ in range(rng.randint(1, 3)))
    elif action < 0.25 and isinstance(value, dict):
        value[rng.choice(["id", "bbox", "segmentation", "supercategory", "area"])] = hostile(rng)
    else:
        value[key] = damaged(value[key], rng)
    return value


def hostile(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(HOSTILE))


def changed_text(text: str, rng: random.Random) -> str:
    """Return a text with one character replaced by a random one."""
    position = rng.randrange(len(text) + 1)
    return text[:position] + chr(rng.choice([rng.randrange(128), rng.randrange(0x2000)])) + text[position + 1 :]


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return data with a few bytes replaced, inserted or cut off, or in another encoding."""
    action = rng.random()
    if action < 0.15:
        return data[: rng.randrange(len(data))]
    if action < 0.3:
        encoding = rng.choice(["utf-16", "utf-32", "utf-8-sig", "latin-1"])
        return data.decode("utf-8", "replace").encode(encoding, "replace")
    result = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        position = rng.randrange(len(result) + 1)
        result[position : position + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
    return bytes(result)


if __name__ == "__main__":
    run(__doc__, write)
