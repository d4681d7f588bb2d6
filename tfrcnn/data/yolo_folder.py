"""Finds the images and labels of a YOLO project, as the tools lay it out that export this format.

| tool | layout |
|---|---|
| Ultralytics, CVAT | `data.yaml`, `images/train/`, `labels/train/`; splits are folders or lists |
| Roboflow | `data.yaml`, `train/images/`, `train/labels/`, `valid/`, `test/` |
| Label Studio | `classes.txt`, `notes.json`, `images/`, `labels/` |
| labelImg | `classes.txt` and the labels next to the images, or in a folder of their own |
| Darknet, CVAT's YOLO 1.1 | `obj.data`, `obj.names`, `train.txt`, `obj_train_data/` |
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tfrcnn.data.faults import Fault
from tfrcnn.data.layouts import (
    IMAGE_EXTENSIONS,
    files_in,
    folders_in,
    is_split_name,
    named_folders,
    relative_files,
    split_folders,
    stem_of,
)
from tfrcnn.data.yolo_config import Config, Names, config_file, find_names, find_path, places, read_config
from tfrcnn.data.yolo_labels import looks_like_labels
from tfrcnn.printable import listing

_IMAGES = ("images", "image", "imgs", "img", "jpegimages", "pictures")
_LABELS = ("labels", "label", "labels_yolo", "yolo", "annotations", "txt")
_LOOKED_AT = 200  # label files, to recognise a folder of labels


class YoloSet(NamedTuple):
    """The files of one split.

    Attributes:
        root: folder of the project.
        images: folders of images, and .txt lists of their paths.
        names: of the classes.
        labels: folder of the labels; None if it follows from the folder of the images.
        others: folders of the images of other splits, whose labels count where classes have no names.
        loose: whether the images in folders below `images` belong to other splits.
        columns: numbers per line of a project with keypoints; None if it has none.
        faults: of the places of the images.
        absent: folders of images that are not there, although their labels are.
    """

    root: Path
    images: tuple[Path, ...]
    names: Names
    labels: Path | None = None
    others: tuple[Path, ...] = ()
    loose: bool = False
    columns: int | None = None
    faults: tuple[Fault, ...] = ()
    absent: tuple[Path, ...] = ()

    def with_images_elsewhere(self) -> YoloSet:
        """Return the split as it is if its images are in another folder: those that are not there are no fault."""
        if len(self.absent) < len(self.faults):
            return self
        return self._replace(images=(*self.images, *self.absent), faults=())


def yolo_sets(path: Path) -> dict[str, YoloSet]:
    """Return the splits of a project by name; the name is "" where there are none.

    Args:
        path: a data.yaml, an obj.data, or a folder.
    """
    if path.suffix.lower() in (".yaml", ".yml", ".data") and path.is_file():
        return _from_config(path, read_config(path))
    if not path.is_dir():
        return {}
    if (file := config_file(path)) is not None:
        config = read_config(file)
        if config.splits or (config.names.faults and not config.is_blank):
            return _from_config(file, config)
    folders = _folders(path)
    every = tuple(images for images, _ in folders.values())
    return {
        split: YoloSet(
            path, (images,), _names_near(path, images, labels), labels, every, not split and len(folders) > 1
        )
        for split, (images, labels) in folders.items()
    }


def label_folders(images: Path, labels: Path | None = None) -> list[Path]:
    """List the folders where the labels of the images in a folder can be, the likeliest first.

    They replace the last `images` in the path by `labels`, as Ultralytics does, or lie next to the images.

    Args:
        images: the folder.
        labels: the folder, if it is known.
    """
    folders = [] if labels is None else [labels]
    places = [i for i, part in enumerate(images.parts) if part.lower() in _IMAGES]
    if places:
        before, after = Path(*images.parts[: places[-1]]), images.parts[places[-1] + 1 :]
        folders += [folder.joinpath(*after) for folder in named_folders(before, _LABELS) or [before / _LABELS[0]]]
    return list(dict.fromkeys([*folders, images]))


def _from_config(file: Path, config: Config) -> dict[str, YoloSet]:
    if not config.splits:
        if not config.names.faults:
            config.names.add_fault("bad-value", "train", "expected a folder or a list of images, found nothing")
        return {"": YoloSet(file.parent, (), config.names)}
    if not config.names.by_number and not config.names.faults:
        config.names = find_names([file.parent]) or config.names
    sets = {split: _split(split, config, file) for split in config.splits}
    every = tuple(place for each in sets.values() for place in each.images)
    return {split: each._replace(others=every) for split, each in sets.items()}


def repeated_splits(sets: dict[str, YoloSet]) -> dict[str, str]:
    """Return the splits that name the images of another one, for example since Ultralytics needs a `val`.

    Args:
        sets: the splits of a project by name.

    Returns:
        The first split of the same images by the name of each repeated split.
    """
    first: dict[frozenset[Path], str] = {}
    folders = {split: frozenset(place.resolve() for place in each.images) for split, each in sets.items()}
    return {split: first[key] for split, key in folders.items() if key and first.setdefault(key, split) != split}


def _split(split: str, config: Config, file: Path) -> YoloSet:
    images, absent, faults = [], [], []
    for text in config.splits[split]:
        path = find_path(text, file, config.root)
        if path is not None:
            images.append(path)
            continue
        tried = places(text, file, config.root)
        absent += [place for place in tried if any(map(os.path.isdir, label_folders(place)))][:1]
        message = f"expected a folder of images or a list of them, found nothing at {text} in {file.parent}"
        message += f" (tried {listing([*map(str, tried)], 4)})" if len(tried) > 1 else ""
        is_wrong = config.root is not None and not os.path.isdir(file.parent / config.root)
        reason = f"; path is {config.root}, which does not exist" if is_wrong else ""
        advice = "; set the folder of the images if they are elsewhere: --images DIR" if absent else ""
        field = f"path, {split}" if is_wrong else split
        faults.append(Fault("empty-split", str(file), field, f"{message}{reason}{advice}"))
    return YoloSet(
        file.parent,
        tuple(images),
        config.names,
        columns=config.columns,
        faults=tuple(faults),
        absent=tuple(absent),
    )


def _folders(root: Path) -> dict[str, tuple[Path, Path | None]]:
    """Return the folders of images by split, and of labels where they are not at the usual place."""
    if _has_labels(root):
        return {"": (root, None)}
    for images in named_folders(root, _IMAGES):
        if _has_labels_below(images):
            below = split_folders(images)
            if files_in(images, IMAGE_EXTENSIONS):  # pictures in no split; their labels make them a set too
                below = [path for path in below if _has_labels_below(path)]
                below += [images] if below and _has_labels(images) else []
            return {path.name if path != images else "": (path, None) for path in below} or {"": (images, None)}
    splits = {path.name: pair for path in split_folders(root) if (pair := _folders(path).get("")) is not None}
    return splits or _of_any_name(root) or _without_images(root)


def _of_any_name(root: Path) -> dict[str, tuple[Path, Path | None]]:
    """Return the only folder of images in a root, if its labels are in the only folder of labels."""
    below = folders_in(root)
    images = [path for path in below if files_in(path, IMAGE_EXTENSIONS)]
    labels = [path for path in below if any(map(looks_like_labels, files_in(path, [".txt"])[:3]))]
    return {"": (images[0], labels[0])} if len(images) == len(labels) == 1 else {}


def _without_images(root: Path) -> dict[str, tuple[Path, Path | None]]:
    """Return where the images of labels that were exported alone would be; --images says where they are."""
    for labels, images in [(root, root), *((path, root / "images") for path in named_folders(root, _LABELS))]:
        if any(map(looks_like_labels, files_in(labels, [".txt"])[:_LOOKED_AT])):
            return {"": (images, None)}
    return {}


def _has_labels(folder: Path) -> bool:
    """Return whether a folder has images with labels next to them or at the usual place."""
    stems = {path.stem for path in files_in(folder, IMAGE_EXTENSIONS)}
    return bool(stems) and any(
        path.stem in stems for place in label_folders(folder) for path in files_in(place, [".txt"])
    )


def _has_labels_below(images: Path) -> bool:
    """Return whether a folder, or those below it, have images with labels."""
    stems = {stem_of(name) for name in relative_files(images, IMAGE_EXTENSIONS)}
    labels = ((place, name) for place in label_folders(images) for name in relative_files(place, [".txt"]))
    some = islice(labels, _LOOKED_AT) if stems else ()
    return any(stem_of(name) in stems or looks_like_labels(place / name) for place, name in some)


def _names_near(root: Path, images: Path, labels: Path | None) -> Names:
    """Return the names of the classes from the project's folders, and from above a folder that is a part of one."""
    above = [path.parent for path in (root, images) if _is_part(path.name.lower())]
    folders = [root, *label_folders(images, labels), *above, *(path.parent for path in above)]
    return find_names(dict.fromkeys(folders)) or Names(root)


def _is_part(name: str) -> bool:
    """Return whether a folder of this name is a part of a project; CVAT's are obj_train_data and the like."""
    return is_split_name(name) or name in _IMAGES or (name.startswith("obj_") and name.endswith("_data"))


def is_list(place: Path) -> bool:
    """Return whether the images of a place are the lines of a file."""
    return place.suffix.lower() == ".txt"
