"""torchvision's own tensors, stage by stage; see the README beside them for how they were made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RESNET = "fasterrcnn_resnet50_fpn"
MOBILENET = "fasterrcnn_mobilenet_v3_large_320_fpn"


class Golden:
    """One file of reference tensors; torch's layout (NCHW, xyxy) turned into this project's."""

    def __init__(self, folder: Path, file: str) -> None:
        self.arrays = np.load(folder / f"{file}.npz")

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def nhwc(self, name: str) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(self.arrays[name], 1, -1))

    def yxyx(self, name: str) -> np.ndarray:
        return swap(self.arrays[name])

    def levels(self, name: str) -> list[str]:
        return [f"{name}_{i}" for i in range(8) if f"{name}_{i}" in self.arrays.files]

    def rpn_logits(self) -> list[np.ndarray]:
        return [self.nhwc(name).reshape(1, -1) for name in self.levels("rpn_objectness")]

    def rpn_deltas(self) -> list[np.ndarray]:
        return [swap(self.nhwc(name).reshape(1, -1, 4)) for name in self.levels("rpn_deltas")]


def swap(boxes: np.ndarray) -> np.ndarray:
    """xyxy <-> yxyx, and (dx, dy, dw, dh) <-> (dy, dx, dh, dw)."""
    return np.ascontiguousarray(boxes[..., [1, 0, 3, 2]])


@pytest.fixture(scope="session")
def golden_root(data_root: Path) -> Path:
    folder = data_root.parent / "golden"
    if not folder.is_dir():
        pytest.skip("there are no reference tensors beside TFRCNN_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def resnet(golden_root: Path) -> Golden:
    return Golden(golden_root / RESNET, "landscape")


@pytest.fixture(scope="session")
def mobilenet_training(golden_root: Path) -> tuple[Golden, dict[str, Any]]:
    folder = golden_root / MOBILENET
    return Golden(folder, "train"), json.loads((folder / "train.json").read_text())
