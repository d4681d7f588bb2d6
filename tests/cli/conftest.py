"""Fixtures for the tests of the command line: run it in this process, and write a small data set."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tfrcnn.cli.main import main


class Result(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def tfrcnn(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Return a function that runs the command line: `tfrcnn("train", "--out", path)`."""

    def run(*arguments: str | Path) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run


def write_coco(folder: Path, name: str = "instances.json", **changes: Any) -> Path:
    """Write four pictures with one box per class, and their COCO file; `changes` replaces top-level entries."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(1, 5):
        file_name = f"{Path(name).stem}_{i}.png"
        Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)).save(folder / file_name)
        images.append({"id": i, "file_name": file_name, "width": 96, "height": 64})
        for category in (1, 2):
            box = {"bbox": [20 * category, 8, 24, 30], "area": 720, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": category, **box})
    categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "white"}]
    content = {"images": images, "annotations": annotations, "categories": categories, **changes}
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder / name


@pytest.fixture
def coco() -> Callable[..., Path]:
    """Return `write_coco`."""
    return write_coco
