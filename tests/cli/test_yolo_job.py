"""A folder that Roboflow exported as YOLO goes through doctor, train and evaluate as it comes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_yolo_folder_is_checked_trained_on_and_measured(
    tmp_path: Path, tfrcnn: Callable, coco: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = tmp_path / "cells"
    for split in ("train", "valid"):
        content = json.loads(coco(tmp_path / "coco", f"{split}.json").read_text())
        for part in ("images", "labels"):
            (export / split / part).mkdir(parents=True)
        for image in content["images"]:
            shutil.copy(tmp_path / "coco" / image["file_name"], export / split / "images")
            rows = [(a["category_id"] - 1, *a["bbox"]) for a in content["annotations"] if a["image_id"] == image["id"]]
            lines = [f"{c} {(x + w / 2) / 96} {(y + h / 2) / 64} {w / 96} {h / 64}\n" for c, x, y, w, h in rows]
            (export / split / "labels" / Path(image["file_name"]).with_suffix(".txt").name).write_text("".join(lines))
    (export / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['red', 'white']\n")
    monkeypatch.chdir(tmp_path)

    checked = tfrcnn("doctor", "--data", "cells@train", "--val", "cells@val", "--model", "tiny_fpn")
    assert checked.code == 0, checked.err
    assert "boxes by category red 4, white 4" in " ".join(checked.out.split())
    options = ("--model", "tiny_fpn", "--epochs", "1", "--batch-size", "2", "--image-size", "96")
    trained = tfrcnn("train", "--train", "yolo:cells@train", "--val", "cells@valid", "--out", "run", *options)
    assert trained.code == 0, trained.err
    setup = json.loads(Path("run/training.json").read_text())
    assert setup["train"]["source"] == f"yolo:{export}@train"
    measured = tfrcnn("evaluate", "--model", "run", "--data", "cells/data.yaml@val")
    assert measured.code == 0, measured.err
