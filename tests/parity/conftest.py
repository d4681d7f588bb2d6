"""Recorded tensors of torchvision, stage by stage. The README next to them says how they were made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .stages import Golden

RESNET = "fasterrcnn_resnet50_fpn"
MOBILENET = "fasterrcnn_mobilenet_v3_large_320_fpn"


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
