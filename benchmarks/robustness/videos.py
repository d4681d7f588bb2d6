"""Read damaged videos: `python benchmarks/robustness/videos.py --count 5000`.

A video is read, in part or whole, or refused by an `InputError` of one line. Anything else is an escape.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfrcnn.data.video import VideoWriter, read_frames
from tfrcnn.errors import InputError

FRAMES = 12
DAMAGES = ("flipped", "header", "cut", "inserted")
ESCAPES = ("other error", "several lines")


def seed_video(path: Path) -> bytes:
    """Write a whole video, and return its content."""
    rng = np.random.default_rng(0)
    with VideoWriter(path) as writer:
        for number in range(FRAMES):
            writer.write(rng.integers(0, 255, (48, 64, 3), np.uint8), number / 10)
    return path.read_bytes()


def damaged(content: bytes, damage: str, rng: random.Random) -> bytes:
    """Return the content with one kind of damage."""
    data = bytearray(content)
    if damage == "cut":
        return content[: rng.randrange(len(content))]
    if damage == "inserted":
        place = rng.randrange(len(data))
        data[place:place] = rng.randbytes(rng.randint(1, 50))
        return bytes(data)
    start = content.rfind(b"moov") if damage == "header" else 0
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(start, len(data))] = rng.randrange(256)
    return bytes(data)


def outcome(path: Path) -> str:
    """Read a video, and name what happened."""
    try:
        return "whole" if sum(1 for _ in read_frames(path)) == FRAMES else "in part"
    except InputError as error:
        return "several lines" if "\n" in str(error) else "refused"
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        return "other error"


def run(count: int, seed: int) -> Counter[str]:
    """Read damaged videos, and count the outcomes."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        content = seed_video(path)
        for number in range(count):
            rng = random.Random(f"{seed} {number}")
            path.write_bytes(damaged(content, DAMAGES[number % len(DAMAGES)], rng))
            counts[outcome(path)] += 1
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 1 if there is an escape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="videos; default: 1000")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    counts = run(options.count, options.seed)
    for name in ("whole", "in part", "refused", *ESCAPES):
        print(f"{name:14} {counts[name]:,}")
    return int(any(counts[name] for name in ESCAPES))


if __name__ == "__main__":
    raise SystemExit(main())
