"""Finds the COCO json files of a folder, as the tools lay them out that export this format.

| tool | layout |
|---|---|
| Roboflow | `train/_annotations.coco.json` next to the images, and the same in `valid/` and `test/` |
| CVAT | `annotations/instances_default.json`, `images/` |
| COCO | `annotations/instances_train2017.json`, `train2017/` |
| Label Studio | `result.json`, `images/` |
| FiftyOne | `labels.json`, `data/` |
| many scripts | `train.json`, `val.json` or `instances.json`, `images/` |
"""

from __future__ import annotations

import re
from pathlib import Path

from tfrcnn.data.layouts import files_in, named_folders, sniff, split_folders

_ROBOFLOW = "_annotations.coco.json"
_INSTANCES = "instances_"
# Other programs write files of these names too: the content decides.
_USUAL = ("result.json", "labels.json", "annotations.json", "coco.json", "_annotations.json")
_COCO = re.compile(rb'\A\s*(\xef\xbb\xbf|\xff\xfe|\xfe\xff)?\s*\{.*"(images|annotations)"\s*:', re.DOTALL)

_MAX_FILES = 20  # json files of any name to look into

_LISTS = re.compile(rb'\A\s*(\xef\xbb\xbf|\xff\xfe|\xfe\xff)?\s*\{.*"(images|annotations)"\s*:\s*\[', re.DOTALL)


def coco_files(folder: Path) -> dict[str, Path]:
    """Return the json files of a folder by split; the name is "" where there are no splits.

    Args:
        folder: one split, the root of several, or COCO's folder `annotations`.
    """
    if (file := _file_of_split(folder)) is not None:
        return {"": file}
    splits = {path.name: file for path in split_folders(folder) if (file := _file_of_split(path)) is not None}
    if splits:
        return splits
    for place in (*named_folders(folder, ["annotations"]), folder):
        files = files_in(place, [".json"])
        instances = {path.stem[len(_INSTANCES) :]: path for path in files if path.name.startswith(_INSTANCES)}
        if instances:
            return instances
        if place != folder and (others := {path.stem: path for path in files if sniff(path, _COCO)}):
            return others
    return {}


def other_files(folder: Path) -> dict[str, Path]:
    """Return the json files of a folder, whatever their names are, by name; other programs write one per image."""
    files = files_in(folder, [".json"])
    return {path.stem: path for path in files if has_lists(path)} if len(files) <= _MAX_FILES else {}


def has_lists(file: Path) -> bool:
    """Return whether the first bytes of a file have one of COCO's lists."""
    return sniff(file, _LISTS)


def _file_of_split(folder: Path) -> Path | None:
    """Return the json file of a folder that is one split."""
    if (roboflow := folder / _ROBOFLOW).is_file():
        return roboflow
    return next((folder / name for name in _USUAL if sniff(folder / name, _COCO)), None)
