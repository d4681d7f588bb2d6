"""The published checkpoints by name: where each is, how it is checked, and its copy in the cache.

torchvision's file names hold the first 8 digits of their SHA-256, and its `WeightsEnum` has their sizes in MiB: the
whole numbers here agree with both. Detectron2's names hold the first 6 digits of their MD5 (MODEL_ZOO.md), and it
publishes no size. The SHA-256 of a file is recorded next to it at its first download, and checked at each use.

The cache is the folder TFRCNN_CACHE, or else tfrcnn in XDG_CACHE_HOME or ~/.cache. Each name has a folder there:

    weights/NAME/FILE           the checkpoint
    weights/NAME/FILE.sha256    its SHA-256, in the format of sha256sum
    weights/NAME/detector-...   the detector as a run folder, made at its first use by `--init`
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfrcnn.buckets.models import local_model
from tfrcnn.data.download import RemoteFile, download, file_errors
from tfrcnn.errors import InputError
from tfrcnn.files import address_in, atomic, cache_folder
from tfrcnn.locks import FolderLock, acquire_in_turn

TORCHVISION = "https://download.pytorch.org/models"
DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2"


@dataclass(frozen=True)
class Published:
    """A published checkpoint.

    Attributes:
        kind: "detector", for `--init` and import-weights, or "backbone", for `--backbone-weights`.
        source: the library, "torchvision" or "detectron2".
        preset: the preset of its network.
        file: address, size and checksum.
        summary: what it scores, and its approximate size.
    """

    kind: Literal["detector", "backbone"]
    source: Literal["torchvision", "detectron2"]
    preset: str
    file: RemoteFile
    summary: str


def _torchvision(
    kind: Literal["detector", "backbone"], preset: str, file: str, size: int, sha256: str, score: str
) -> Published:
    """Make an entry; `size` is in bytes."""
    remote = RemoteFile(f"{TORCHVISION}/{file}", size, f"sha256:{sha256}")
    return Published(kind, "torchvision", preset, remote, f"{score}, {size / 2**20:.0f} MiB")


def _detectron2(
    preset: str, model: str, file: str, score: str, size: int | None = None, sha256: str | None = None
) -> Published:
    """Make an entry; without a known SHA-256, the digits in the file name are compared."""
    checksum = f"sha256:{sha256}" if sha256 else f"md5:{file.removesuffix('.pkl').rpartition('_')[2]}"
    return Published(
        "detector", "detectron2", preset, RemoteFile(f"{DETECTRON2}/{model}/{file}", size, checksum), score
    )


_MOBILENET = "fasterrcnn_mobilenet_v3_large_fpn"
PUBLISHED: dict[str, Published] = {
    "coco-resnet50": _torchvision(
        "detector",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        167_502_836,
        "258fb6c638b15964ddcdd1ae0748c5eef1be9e732750120cc857feed3faac384",
        "COCO box AP 37.0",
    ),
    "coco-resnet50-v2": _torchvision(
        "detector",
        "fasterrcnn_resnet50_fpn_v2",
        "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
        175_221_657,
        "dd69338a24b8d7381807e247652bdc356325bcbaf1cd3e092e00e0a1a58706bf",
        "COCO box AP 46.7",
    ),
    "coco-mobilenet-v3-large": _torchvision(
        "detector",
        _MOBILENET,
        "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
        77_844_807,
        "fb6a3cc702b1df54c18a44b26708cd083614211062d0c36d2ca7bf9270df3533",
        "COCO box AP 32.8",
    ),
    "coco-mobilenet-v3-large-320": _torchvision(
        "detector",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
        77_844_807,
        "907ea3f91ff92242bc1baea8049276a3e76bca48ce7560bd268cc029f37977b5",
        "COCO box AP 22.8",
    ),
    "coco-resnet50-detectron2-1x": _detectron2(
        "resnet50_fpn", "COCO-Detection/faster_rcnn_R_50_FPN_1x/137257794", "model_final_b275ba.pkl", "COCO box AP 37.9"
    ),
    "coco-resnet50-detectron2-3x": _detectron2(
        "resnet50_fpn",
        "COCO-Detection/faster_rcnn_R_50_FPN_3x/137849458",
        "model_final_280758.pkl",
        "COCO box AP 40.2",
        167_266_879,
        "3c25caca37baabbff3e22cc9eb0923db165a0c18b867871a3bf3570bac9b7ef0",
    ),
    "coco-resnet101-detectron2-3x": _detectron2(
        "resnet101_fpn",
        "COCO-Detection/faster_rcnn_R_101_FPN_3x/137851257",
        "model_final_f6e8b1.pkl",
        "COCO box AP 42.0",
    ),
    "coco-resnet50-c4-detectron2-1x": _detectron2(
        "resnet50_c4", "COCO-Detection/faster_rcnn_R_50_C4_1x/137257644", "model_final_721ade.pkl", "COCO box AP 35.7"
    ),
    "coco-resnet50-c4-detectron2-3x": _detectron2(
        "resnet50_c4", "COCO-Detection/faster_rcnn_R_50_C4_3x/137849393", "model_final_f97cb7.pkl", "COCO box AP 38.4"
    ),
    "coco-resnet101-c4-detectron2-3x": _detectron2(
        "resnet101_c4", "COCO-Detection/faster_rcnn_R_101_C4_3x/138204752", "model_final_298dad.pkl", "COCO box AP 41.1"
    ),
    "coco-cascade-resnet50-detectron2-1x": _detectron2(
        "cascade_resnet50_fpn",
        "Misc/cascade_mask_rcnn_R_50_FPN_1x/138602847",
        "model_final_e9d89b.pkl",
        "COCO box AP 42.1",
    ),
    "coco-cascade-resnet50-detectron2-3x": _detectron2(
        "cascade_resnet50_fpn",
        "Misc/cascade_mask_rcnn_R_50_FPN_3x/144998488",
        "model_final_480dd8.pkl",
        "COCO box AP 44.3",
    ),
    "imagenet-resnet50": _torchvision(
        "backbone",
        "fasterrcnn_resnet50_fpn",
        "resnet50-0676ba61.pth",
        102_530_333,
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        "ImageNet top-1 76.1",
    ),
    "imagenet-resnet50-v2": _torchvision(
        "backbone",
        "fasterrcnn_resnet50_fpn_v2",
        "resnet50-11ad3fa6.pth",
        102_540_417,
        "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
        "ImageNet top-1 80.9",
    ),
    "imagenet-mobilenet-v3-large": _torchvision(
        "backbone",
        _MOBILENET,
        "mobilenet_v3_large-8738ca79.pth",
        22_139_423,
        "8738ca797c879b547d18bbd15da5736ff2557b2036a9af72225393ca61759a04",
        "ImageNet top-1 74.0",
    ),
    "imagenet-mobilenet-v3-large-v2": _torchvision(
        "backbone",
        _MOBILENET,
        "mobilenet_v3_large-5c1a4163.pth",
        22_132_113,
        "5c1a416349c4cf298f2a6a5e2600ed0ee55e604713578f5e74e6bc8bcaef7997",
        "ImageNet top-1 75.3",
    ),
}


def published_names(kind: str) -> tuple[str, ...]:
    """List the names of a kind, "detector" or "backbone"."""
    return tuple(name for name, entry in PUBLISHED.items() if entry.kind == kind)


def is_published(value: object, kind: str) -> bool:
    """Return whether a value is a published name and no file or folder of that name exists."""
    return str(value) in published_names(kind) and not Path(str(value)).exists()


def network_of(model: str) -> str:
    """Return the preset of a published detector, without a download; the copy of an address; another name as it is."""
    if address_in(model) is not None:
        return str(local_model(model))
    return PUBLISHED[model].preset if is_published(model, "detector") else model


def checkpoint_of(name: str) -> Path:
    """Return the file of a published checkpoint, downloaded to the cache if it is not there.

    Args:
        name: a key of `PUBLISHED`.

    Returns:
        The checked file.

    Raises:
        InputError: it cannot be downloaded; the message says which file to put where without a network. Or the file has
            another checksum, or the cache cannot be written.

    Example:
        checkpoint_of("coco-resnet50").name  # "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
    """
    file, folder = PUBLISHED[name].file, cache_of(name)
    if (folder / file.name).is_file():  # checked without a lock, so that several machines can share a read-only cache
        path = download(file, folder)
    else:
        with file_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked_cache(name):
            path = download(file, folder)
    _check_record(path)
    return path


def cache_of(name: str) -> Path:
    """Return the folder of a published checkpoint in the cache."""
    return cache_folder("weights", name)


@contextmanager
def locked_cache(name: str) -> Iterator[Path]:
    """Hold the lock of a name's folder while the block runs; wait for another process that holds it.

    Raises:
        InputError: the cache cannot be written.
    """
    lock = FolderLock(cache_of(name))
    with file_errors(lock.path):
        acquire_in_turn(lock, name)
    try:
        yield lock.folder
    finally:
        lock.release()


def _check_record(path: Path) -> None:
    """Record the SHA-256 of a file next to it, or compare it with the record."""
    record = path.with_name(f"{path.name}.sha256")
    with file_errors(path), open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not record.is_file():
        with suppress(OSError), atomic(record) as temporary:  # a read-only cache has no record
            temporary.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        return
    with file_errors(record):
        expected = record.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
    if digest != expected:
        raise InputError(
            f"{path}: expected the sha256 {expected} that {record.name} recorded, found {digest}; remove both files "
            "and run the same command again"
        )
