"""Finds Pascal VOC's XML files in folders without lists of splits.

| tool | layout |
|---|---|
| labelImg, Roboflow | each XML next to its image, at Roboflow in `train/`, `valid/` and `test/` |
| labelImg with a folder to save to, Label Studio | `Annotations/` and `images/`, or folders of other names |
| scripts for training | `annotations/train/` and `images/train/`, or both in `images/train/` |
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tfrcnn.data.layouts import (
    IMAGE_EXTENSIONS,
    files_in,
    folders_in,
    image_folder,
    named_folders,
    relative_files,
    sniff,
    split_folders,
)

_ANNOTATION = re.compile(rb"<annotation[\s>/]")  # CVAT's own format has <annotations>
_USUAL = ("annotations", "annotation", "xml", "xmls", "labels", "voc")
_NESTED = ("images", "data", "dataset")  # hold both, or the folders of the splits
_SNIFFED = 5  # XML files; one of them may be damaged


class VocFolder(NamedTuple):
    """A folder of XML files, all of one split.

    Attributes:
        annotations: the folder of the XML files.
        images: the folder of the images.
        others: folders of the XML files of other splits.
    """

    annotations: Path
    images: Path
    others: tuple[Path, ...] = ()


def voc_folders(root: Path) -> dict[str, VocFolder]:
    """Return the folders of XML files by split; the name is "" where there are no splits."""
    if _has_xml(root):
        images = root if files_in(root, IMAGE_EXTENSIONS) else image_folder(root, root)
        return {"": VocFolder(root, images)}
    folder = next((path for path in named_folders(root, _USUAL) if _has_xml_below(path)), None)
    if folder is not None:
        images = image_folder(root, folder)
        splits = {path.name: path for path in split_folders(folder) if _has_xml_below(path)}
        if splits and not _has_xml(folder):
            parts = ((name, images / name) for name in splits)
            pairs = {name: VocFolder(splits[name], part if part.is_dir() else images) for name, part in parts}
            return _with_others(pairs)
        return {"": VocFolder(folder, images)}
    pairs = {path.name: pair for path in split_folders(root) if (pair := voc_folders(path).get("")) is not None}
    nested = (voc_folders(path) for path in named_folders(root, _NESTED))
    return _with_others(pairs) or _of_any_name(root) or next(filter(None, nested), {})


def _of_any_name(root: Path) -> dict[str, VocFolder]:
    """Return the only folder of XML files in a root, if the images are in another one."""
    folders = [path for path in folders_in(root) if _has_xml(path)]
    if len(folders) != 1:
        return {}
    (folder,) = folders
    return {} if files_in(folder, IMAGE_EXTENSIONS) else {"": VocFolder(folder, image_folder(root, folder))}


def _with_others(pairs: dict[str, VocFolder]) -> dict[str, VocFolder]:
    folders = [pair.annotations for pair in pairs.values()]
    return {
        name: pair._replace(others=tuple(folder for folder in folders if folder != pair.annotations))
        for name, pair in pairs.items()
    }


def _has_xml(folder: Path) -> bool:
    return any(sniff(path, _ANNOTATION) for path in files_in(folder, [".xml"])[:_SNIFFED])


def _has_xml_below(folder: Path) -> bool:
    names = (name for name, _ in zip(relative_files(folder, [".xml"]), range(_SNIFFED)))
    return any(sniff(folder / name, _ANNOTATION) for name in names)
