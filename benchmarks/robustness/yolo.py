"""Read damaged YOLO projects: `python benchmarks/robustness/yolo.py --count 50000`."""

from __future__ import annotations

import random
from pathlib import Path

from coco import damaged_bytes
from readers import run
from voc import encoded, replace

YAML = "path: .\ntrain: images\nval: list.txt\nnames:\n  0: cell\n  1: dust\nnc: 2\n"
LABELS = "0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.5 0.1 0.5 0.5\n"
LIST = "images/a.png\n./images/b.png\n"
TOKENS = [
    "", "0", "1", "2", "-1", "1e309", "nan", "inf", "1_0", "\u0663", "0x1", "0,5", "9" * 400, "0.5", "1.0",
    "~", "!!python/object:x", "&a", "*a", "[", "{", "- ", ": ", "\t", "#", "'", "血小板", "\ufeff", "\0", "images",
    "/etc/passwd", "null", "no", "[" * 2000, "train", "names: [a, a]\n", "kpt_shape: [1, 3]\n", "names: list.txt\n",
]  # fmt: skip


def write(folder: Path, rng: random.Random) -> str:
    """Write a YOLO project with a damaged data.yaml, label or list; sometimes a file is a pipe, a link or a folder."""
    folder = folder / "project"  # a link to the folder above must not lead out of the images
    labels = folder / "labels"
    labels.mkdir(exist_ok=True, parents=True)
    if not (folder / "images").exists():
        (folder / "images").symlink_to("..")
    files = {
        folder / "data.yaml": YAML,
        labels / "a.txt": LABELS,
        labels / "b.txt": LABELS,
        folder / "list.txt": LIST,
    }
    for path in rng.sample([*files], rng.randint(1, 2)):
        files[path] = damaged(files[path], rng)
    for path, text in files.items():
        data = encoded(text, rng) if rng.random() < 0.1 else text.encode("utf-8", "surrogatepass")
        replace(path, damaged_bytes(data or b"x", rng) if rng.random() < 0.1 else data, rng)
    return f"{folder}@{rng.choice(['train', 'val'])}"


def damaged(text: str, rng: random.Random) -> str:
    """Return a text with words replaced, removed, repeated or added."""
    for _ in range(rng.randint(1, 3)):
        parts = text.replace(" ", "\1 ").replace("\n", "\1\n").split("\1")
        position = rng.randrange(len(parts))
        token = rng.choice(TOKENS)
        parts[position] = rng.choice([token, parts[position] * 2, parts[position] + token, parts[position][:1] + token])
        text = "".join(parts)
    return text


if __name__ == "__main__":
    run(__doc__ or "", write)
