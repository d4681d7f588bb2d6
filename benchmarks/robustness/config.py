"""Mutate the configuration files of a run, and count what their readers do: accept, refuse in one line, or escape.

    python benchmarks/robustness/config.py --count 20000 [--seed 0] [--build 20]

The files are `config.json` and `training.json` of a run folder, a preset's file, and values of `--set`. An escape is
any error other than `InputError`, a message of several lines or without the file's name, or a reader that takes longer
than 5 seconds. Of the detectors that are accepted, `--build` are also built from the mutated file.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tfrcnn.config import Category
from tfrcnn.errors import InputError
from tfrcnn.models import load_detector, preset
from tfrcnn.models.build import CONFIG, FORMAT, read_description
from tfrcnn.models.presets import preset_of_run, with_changes
from tfrcnn.training.folder import FORMAT as SETUP_FORMAT
from tfrcnn.training.folder import SETUP, read_setup

MAX_SECONDS = 5.0  # of the processor: a busy machine does not count
MAX_MESSAGE = 2000  # characters
DEEP: Any = json.loads("[" * 200 + "]" * 200)
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3.5,
        0.5,
        1e-300,
        1e300,
        10**9,
        10**5,
        10**18,
        2**63,
        -(2**63),
        10**400,
        -(10**400),
    ),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        "x",
        "0",
        "NaN",
        "../x",
        "/etc/passwd",
        "a\x00b",
        "\ud800",
        "a\nb",
    ),
    *([], [0], [1, 2], [1, "a"], [[1]], [None], {}, {"a": 1}, {"": None}, "x" * 5000, [1] * 5000, DEEP),
    *("detector.weights.h5", "..", ".", "resnet50", "VGG16", "RGB", "roi_pool", "a>b", [[16.0], [1e9]], [10**400] * 3),
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside a JSON value."""
    inside: list[tuple[Any, ...]] = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        inside += paths(item, (*path, key))
    return inside


def mutate(value: Any, random_: random.Random) -> Any:
    """Return a copy with one to three values replaced, removed, repeated, renamed or scaled."""
    value = copy.deepcopy(value)
    for _ in range(random_.choice((1, 1, 1, 2, 3))):
        places = paths(value)
        if not places:
            return value
        *parents, last = random_.choice(places)
        inside = value
        for key in parents:
            inside = inside[key]
        change = random_.random()
        if change < 0.65:
            inside[last] = copy.deepcopy(random_.choice(VALUES))
        elif change < 0.75:
            del inside[last]
        elif change < 0.85 and isinstance(inside, list):
            inside.extend(copy.deepcopy(inside[:50]))
        elif change < 0.9 and isinstance(inside, dict):
            inside[random_.choice(["x", "", "id", "beta", "preset", str(last).upper()])] = inside.pop(last)
        elif isinstance(inside[last], (int, float)) and not isinstance(inside[last], bool):
            inside[last] *= random_.choice([-1, 0, 10, 1000, 10**6, 10**12])
    return random_.choice(VALUES) if random_.random() < 0.01 else value


def text_of(value: Any, random_: random.Random) -> bytes:
    """Write JSON, sometimes damaged as text."""
    text = bytearray(json.dumps(value).encode())
    if random_.random() < 0.05:
        for _ in range(random_.randint(1, 4)):
            text[random_.randrange(len(text))] = random_.randrange(256)
    return bytes(text[: random_.randrange(len(text))]) if random_.random() < 0.02 else bytes(text)


class Readers:
    """The readers and a valid content of each file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        start = preset("tiny_fpn", (Category(1, "cat"), Category(7, "dog")))
        detector, training = start.detector.to_dict(), start.training.to_dict()
        self.start = preset("tiny_fpn")
        versions = {"tfrcnn": "0.2.0", "tensorflow": "2.21.0", "keras": "3.12.0"}
        extra = {"training": training, "metric": "coco"}
        source = {"source": "cells/VOC@train", "images": 3, "annotations": "0" * 64}
        options = {name: None for name in ("model", "init", "proposals", "images", "val_images", "backbone_weights")}
        setup = {"train": source, "validation": source, "metric": "coco", "training": training, "detector": detector}
        weights = "detector.weights.h5"
        (folder / weights).write_bytes(b"")
        self.contents: dict[str, Any] = {
            CONFIG: {"format": FORMAT, "weights": weights, "versions": versions, "detector": detector, "extra": extra},
            SETUP: {"format": SETUP_FORMAT, **setup, "options": options},
            "mine.json": {"preset": "tiny_fpn", "detector": detector, "training": training, "summary": "mine"},
            "--set": {"detector.rpn.match.samples": 64, "training.epochs": 3, "detector": {"head": {"units": [64]}}},
        }
        for name in ("preset", "categories"):
            del self.contents["mine.json"]["detector"][name]

    def read(self, name: str, content: bytes) -> None:
        path = self.folder / name
        if name == "--set":
            with_changes(self.start, json.loads(content))
            return
        path.write_bytes(content)
        if name == CONFIG:
            read_description(self.folder)
            preset_of_run(self.folder)
        elif name == SETUP:
            read_setup(self.folder)
        else:
            preset(str(path))


def fault(read: Callable[[], None], name: str) -> str | None:
    """Run a reader; return "accepted" or "refused", or describe an escape."""
    started = time.thread_time()
    try:
        read()
        result = "accepted"
    except InputError as error:
        result = "refused"
        message = str(error)
        if "\n" in message or len(message) > MAX_MESSAGE or (name != "--set" and name not in message):
            return f"the message {message[:300]!r}"
    except Exception as error:  # any other error is what this program looks for
        return f"{type(error).__name__}: {str(error)[:200]}"
    return result if time.thread_time() - started < MAX_SECONDS else f"{time.thread_time() - started:.1f} seconds"


def fuzz(count: int, seed: int, build: int) -> tuple[Counter[str], list[str]]:
    """Read mutated files.

    Args:
        count: Number of files.
        seed: Of the mutations.
        build: Number of accepted detectors to build.

    Returns:
        counts: Files per result.
        escapes: A line for each escape.
    """
    random_, counts, escapes = random.Random(seed), Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as temporary:
        readers = Readers(Path(temporary))
        names = list(readers.contents)
        for number in range(count):
            name = names[number % len(names)]
            content = text_of(mutate(readers.contents[name], random_), random_)
            if name == "--set":  # the command parses each value itself
                try:
                    changes = json.loads(content)
                except (ValueError, RecursionError):
                    continue
                if not isinstance(changes, dict):
                    continue
            result = fault(partial(readers.read, name, content), name)
            if result == "accepted" and name == CONFIG and build > 0:
                build -= 1
                built = fault(partial(load_detector, readers.folder), CONFIG)
                counts["built"] += 1
                result = result if built in ("accepted", "refused") else f"build: {built}"
            counts[f"{name} {result}" if result in ("accepted", "refused") else "escaped"] += 1
            if result not in ("accepted", "refused"):
                escapes.append(f"{name}: {result}: {content[:3000]!r}")
    return counts, escapes


def finish(counts: Counter[str], escapes: list[str], files: int) -> NoReturn:
    """Print how many files were accepted, refused and escaped; exit with 1 if one escaped."""
    for result, number in sorted(counts.items()):
        print(f"{number:7} {result}")
    for line in escapes[:20]:
        print(line)
    print(f"{files} files, {len(escapes)} escapes")
    sys.exit(1 if escapes else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build", type=int, default=20, help="detectors to build; weights are empty")
    options = parser.parse_args()
    counts, escapes = fuzz(options.count, options.seed, options.build)
    finish(counts, escapes, sum(counts.values()) - counts["built"])


if __name__ == "__main__":
    main()
