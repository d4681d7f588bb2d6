"""A folder with a data set, a checkpoint and a trained run, for programs that cause faults (faults.py)."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.video import VideoWriter
from tfrcnn.models import build_detector, preset
from tfrcnn.weights.torchvision import assignments

TFRCNN = str(Path(sys.executable).with_name("tfrcnn"))
NAMES = ("세포", "\x1b[31mred", "two\nlines")  # of classes: what terminals obey
IMPORTED = "fasterrcnn_mobilenet_v3_large_320_fpn"  # network of the checkpoint


class Place:
    """A folder with a data set, and a run that is trained once.

    Attributes:
        folder: for everything that a row writes.
        data: the data set; the names of its classes hold what terminals obey.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = write_data(folder / "data")

    @property
    def run(self) -> Path:
        """A finished run."""
        run = self.folder / "run"
        if not run.exists():
            done = self.tfrcnn(*self.train(run))
            assert done.returncode == 0, done.stdout + done.stderr
        return run

    @property
    def checkpoint(self) -> Path:
        """A checkpoint of torchvision's small MobileNet, with random weights."""
        path = self.folder / "mobilenet.npz"
        if not path.exists():
            write_checkpoint(path)
        return path

    @property
    def video(self) -> Path:
        """A short video."""
        path = self.folder / "video.mp4"
        if not path.exists():
            pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
            with VideoWriter(path) as writer:
                for number in range(12):
                    writer.write(pixels, number / 10)
        return path

    @property
    def many_pictures(self) -> Path:
        """A folder with the same picture many times."""
        folder = self.folder / "pictures"
        if not folder.exists():
            folder.mkdir()
            picture = next(self.data.parent.glob("*.png")).read_bytes()
            for number in range(1500):
                (folder / f"{number}.png").write_bytes(picture)
        return folder

    def train(self, out: Path, epochs: int = 1) -> list[str]:
        """Return the words of a short training."""
        data, size = str(self.data), ("--image-size", "64", "--epochs", str(epochs))
        return ["train", "--train", data, "--val", data, "--model", "tiny_fpn", *size, "--out", str(out)]

    def tfrcnn(self, *words: str | Path, shell: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command; `shell` is what follows it, for example a redirection."""
        line = f"{shlex.join([TFRCNN, *map(str, words)])} {shell}"
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            capture_output=True, text=True, errors="replace", env={**os.environ, **environment}, check=False,
        )  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in a session of its own."""
        return subprocess.Popen(
            [TFRCNN, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )


def write_data(folder: Path) -> Path:
    """Write eight pictures with one box each, and their COCO file."""
    folder.mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, 9):
        pixels = np.full((64, 64, 3), 60, np.uint8)
        pixels[10:30, 10:30] = 220
        Image.fromarray(pixels).save(folder / f"그림{number}.png")
        images.append({"id": number, "file_name": f"그림{number}.png", "width": 64, "height": 64})
        box = {"bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0, "category_id": 1 + number % len(NAMES)}
        annotations.append({"id": number, "image_id": number, **box})
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def write_checkpoint(path: Path) -> None:
    """Write a detector with random weights in torchvision's layout, for the classes of `write_data`."""
    categories = tuple(Category(number, name) for number, name in enumerate(NAMES, 1))
    detector = build_detector(preset(IMPORTED, categories).detector)
    rng = np.random.default_rng(0)
    state = {}
    for each in assignments(detector):
        shape = tuple(each.variable.shape)
        if len(shape) == 4:
            shape = (shape[2], 1, *shape[:2]) if "depthwise" in each.convert.__name__ else (*shape[:1:-1], *shape[:2])
        shape = shape[::-1] if len(shape) == 2 else shape
        if each.key.startswith("roi_heads.box_predictor.bbox_pred"):
            shape = (shape[0] + 4, *shape[1:])  # torchvision has deltas of the background too
        state[each.key] = np.abs(0.05 * rng.normal(size=shape)).astype(np.float32)
    np.savez(path, **state)
