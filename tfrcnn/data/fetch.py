"""Downloads the paper's data sets from their hosts, checks, unpacks and reads them.

To add a data set, add an entry to `DATASETS`: archives with published size and checksum, and the paths of its splits.
Also name it in `FetchedDataset` of cli/options.py, and its size in cli/fetch.py.

The hosts publish no checksums. Pascal VOC's MD5 come from torchvision (torchvision/datasets/voc.py), and COCO's SHA-256
come from TensorFlow Datasets (url_checksums/coco.txt). Downloads use plain HTTP, because COCO's certificate does not
match its host name. The checksums guarantee the content.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tfrcnn.config import Category
from tfrcnn.data.download import FULL, RemoteFile, disk_is_full, download, file_errors
from tfrcnn.data.example import Dataset
from tfrcnn.data.read import load_dataset
from tfrcnn.errors import InputError
from tfrcnn.files import TEMPORARY, check_local

SLACK = 1.05  # a file takes whole blocks of the disk
GB = 1e9


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        data: DATA argument, relative to the data set's folder.
        images: folder of the images, relative to the data set's folder; None if the reader finds it.
    """

    data: str
    images: str | None = None


@dataclass(frozen=True)
class Source:
    """A published data set.

    Attributes:
        name: name on the command line.
        archives: .tar or .zip files, unpacked into one folder.
        unpacked: approximate bytes on disk.
        inside: folder of the data set in the archives; empty for all of their content.
        home: folder of the data set below the output folder.
        train: split to train on.
        val: split to evaluate on.
    """

    name: str
    archives: tuple[RemoteFile, ...]
    unpacked: int
    inside: str
    home: str
    train: Split
    val: Split


def _voc(year: int, unpacked: int, train: str, val: str, *archives: tuple[str, int, str]) -> Source:
    base, home = f"http://host.robots.ox.ac.uk/pascal/VOC/voc{year}", f"VOCdevkit/VOC{year}"
    files = tuple(RemoteFile(f"{base}/{name}", size, f"md5:{md5}") for name, size, md5 in archives)
    return Source(f"voc{year}", files, unpacked, home, home, Split(f"@{train}"), Split(f"@{val}"))


def _coco(*archives: tuple[str, int, str]) -> Source:
    base = "http://images.cocodataset.org"
    files = tuple(RemoteFile(f"{base}/{name}", size, f"sha256:{sha256}") for name, size, sha256 in archives)
    splits = (Split(f"/annotations/instances_{name}.json", f"/{name}") for name in ("train2017", "val2017"))
    return Source("coco2017", files, 21_100_000_000, "", "coco2017", *splits)


DATASETS = {
    source.name: source
    for source in (
        _voc(
            2007,
            911_052_800,
            "trainval",
            "test",
            ("VOCtrainval_06-Nov-2007.tar", 460_032_000, "c52e279531787c972589f7e41ab4ae64"),
            ("VOCtest_06-Nov-2007.tar", 451_020_800, "b6e924de25625d8de591ea690078ad9f"),
        ),
        # the annotations of its test split are not published
        _voc(
            2012,
            1_999_639_040,
            "train",
            "val",
            ("VOCtrainval_11-May-2012.tar", 1_999_639_040, "6cd6e144f989b92b3379bac3b3de84fd"),
        ),
        _coco(
            (
                "annotations/annotations_trainval2017.zip",
                252_907_541,
                "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            ),
            (
                "zips/val2017.zip",
                815_585_330,
                "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            ),
            (
                "zips/train2017.zip",
                19_336_861_798,
                "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            ),
        ),
    )
}


def plan(source: Source, out: Path) -> str:
    """Check that a data set can be fetched into a folder, and describe the download.

    Leftovers of a killed process are removed first, so that their space counts as free.

    Args:
        source: an entry of `DATASETS`.
        out: folder to download to.

    Returns:
        Text with the files to download, their sizes and the space needed on disk.

    Raises:
        InputError: the data set exists already, or there is not enough space on the disk.
    """
    home = check_local(out) / source.home
    if home.exists():
        raise InputError(f"{home} exists: use it, remove it, or choose another --out")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out: expected a folder, found a file at {out}")
    shutil.rmtree(_unpacked(source, out), ignore_errors=True)
    missing = {file: file.missing(out) for file in source.archives}
    needed = sum(missing.values()) + int(SLACK * source.unpacked)
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InputError(f"{out}: {source.name} needs {needed / GB:.2f} GB, only {free / GB:.2f} GB are free")
    lines = [f"{source.name} goes to {home}:"]
    for file, rest in missing.items():
        state = "there already" if rest == 0 else f"{rest / GB:.2f} of {(file.size or 0) / GB:.2f} GB to download"
        lines.append(f"  {file.url}: {state}")
    lines.append(f"It needs {needed / GB:.2f} of {free / GB:.2f} GB free space.")
    return "\n".join(lines)


def fetch(source: Source, out: Path) -> tuple[Dataset, Dataset]:
    """Download, check, unpack and read a data set.

    After an interruption, the same call continues: it keeps complete archives and completes partial ones. The data
    set's folder appears when everything is unpacked.

    Args:
        source: an entry of `DATASETS`.
        out: folder for the archives, with the data set below it; made if missing.

    Returns:
        The split to train on and the split to evaluate on.

    Raises:
        InputError: see `plan`, `download` and `unpack`; also if an archive holds no data set, or a folder cannot be
            written.
    """
    plan(source, out)
    with file_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    archives = [download(file, out) for file in source.archives]
    home = out / source.home
    with _scratch(_unpacked(source, out)) as folder:
        for archive in archives:
            unpack(archive, folder)
        if not (folder / source.inside).is_dir():
            raise InputError(f"expected the folder {source.inside} in {', '.join(map(str, archives))}, found none")
        with file_errors(home):
            home.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder / source.inside, home)
    train = _read(home, source.train)
    return train, _read(home, source.val, train.categories)


def train_options(source: Source, out: Path) -> list[str]:
    """Return the options of `tfrcnn train` for a fetched data set."""
    options = []
    for option, images, split in (("--train", "--images", source.train), ("--val", "--val-images", source.val)):
        options += [option, f"{out / source.home}{split.data}"]
        options += [images, f"{out / source.home}{split.images}"] if split.images else []
    return options


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .tar or .zip file and write nothing outside the folder.

    Args:
        archive: .zip file, or a .tar file with any compression.
        folder: folder to unpack into.

    Raises:
        InputError: a member leads outside the folder or is a device (tarfile's "data" filter), the archive is damaged,
            or the disk is full.
    """
    try:
        if archive.suffix == ".zip":
            _unzip(archive, folder)
        else:
            _untar(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{archive} cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno in FULL:
            raise disk_is_full(folder) from error
        raise InputError(f"{archive} cannot be unpacked: {error}") from error


def _untar(archive: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise InputError(f"{archive}: unpacking it safely needs Python 3.11.4 or newer")
    with tarfile.open(archive) as tar, _bar(archive, archive.stat().st_size) as bar:

        def counted() -> Iterator[tarfile.TarInfo]:
            for member in tar:
                yield member
                bar.update(member.size)

        tar.extractall(folder, members=counted(), filter="data")


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        members = content.infolist()
        for member in members:  # extract() would strip the leading ../ and write the file to another place
            if not (folder / member.filename).resolve().is_relative_to(folder.resolve()):
                raise InputError(f"{archive} cannot be unpacked: {member.filename!r} would be outside the folder")
        with _bar(archive, sum(member.file_size for member in members)) as bar:
            for member in members:
                content.extract(member, folder)
                bar.update(member.file_size)


def _unpacked(source: Source, out: Path) -> Path:
    """Return the folder in which a data set is unpacked until it is complete."""
    return out / f".{source.name}{TEMPORARY}"


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make an empty folder and remove it at the end; leftovers of a killed process are removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    with file_errors(folder):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(home: Path, split: Split, categories: tuple[Category, ...] | None = None) -> Dataset:
    return load_dataset(f"{home}{split.data}", f"{home}{split.images}" if split.images else None, categories)


def _bar(archive: Path, total: int) -> tqdm:
    return tqdm(desc=f"unpacking {archive.name}", total=total, unit="B", unit_scale=True)
