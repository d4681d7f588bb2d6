"""Fetching a data set from a server on this machine, from the archives to the data set."""

import hashlib
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tfrcnn.data import fetch as module
from tfrcnn.data.download import RemoteFile
from tfrcnn.data.fetch import DATASETS, Source, Split, fetch, plan, train_options, unpack
from tfrcnn.data.read import load_dataset
from tfrcnn.errors import InputError


def voc_files(split, names):
    """The files of a VOC folder whose images have one object each."""
    files = {f"ImageSets/Main/{split}.txt": "\n".join(names).encode()}
    for name in names:
        pixels = io.BytesIO()
        Image.new("RGB", (40, 30)).save(pixels, "JPEG")
        files[f"JPEGImages/{name}.jpg"] = pixels.getvalue()
        box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>20</xmax><ymax>25</ymax></bndbox>"
        size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
        xml = f"<annotation><filename>{name}.jpg</filename>{size}<object><name>cell</name>{box}</object></annotation>"
        files[f"Annotations/{name}.xml"] = xml.encode()
    return files


def tar(files, root="VOCdevkit/VOC2007/"):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{root}{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


@pytest.fixture
def source(server):
    """Two archives of three images, as Pascal VOC 2007 is published."""
    server.files["train.tar"] = tar(voc_files("trainval", ["000001", "000002"]))
    server.files["test.tar"] = tar(voc_files("test", ["000003"]))
    archives = tuple(
        RemoteFile(server.url(name), len(content), f"md5:{hashlib.md5(content).hexdigest()}")
        for name, content in server.files.items()
    )
    home = "VOCdevkit/VOC2007"
    return Source("voc2007", archives, 60_000, home, home, Split("@trainval"), Split("@test"))


def test_a_data_set_is_downloaded_unpacked_and_read(source, tmp_path):
    out = tmp_path / "new" / "data"
    train, val = fetch(source, out)
    assert [(len(part), part.source) for part in (train, val)] == [
        (2, f"{out}/VOCdevkit/VOC2007@trainval"),
        (1, f"{out}/VOCdevkit/VOC2007@test"),
    ]
    assert train.categories == val.categories
    assert train.examples[0].boxes.tolist() == [[3, 2, 25, 20]]
    assert train_options(source, out) == ["--train", train.source, "--val", val.source]
    assert sorted(path.name for path in out.iterdir()) == ["VOCdevkit", "test.tar", "train.tar"]


def test_the_plan_says_what_is_downloaded_and_what_it_takes(source, server, tmp_path):
    rest, needed = sum(file.size for file in source.archives), 63_000  # 60000 and 5 %
    assert f"{source.archives[0].url}: " in plan(source, tmp_path)
    assert f"It needs {(rest + needed) / 1e9:.2f} of " in plan(source, tmp_path)
    (tmp_path / "train.tar").write_bytes(server.files["train.tar"])
    assert f"{source.archives[0].url}: there already" in plan(source, tmp_path)
    assert not server.requests


def test_too_little_room_is_an_error_before_anything_is_downloaded(source, server, tmp_path, monkeypatch):
    needed = 63_000 + sum(file.size for file in source.archives)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=needed))
    plan(source, tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(InputError, match=r"voc2007 needs 0.00 GB, only 0.00 GB are free"):
        fetch(source, tmp_path / "data")
    assert not server.requests
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_that_is_there_is_not_touched(source, server, tmp_path):
    home = tmp_path / "VOCdevkit" / "VOC2007"
    home.mkdir(parents=True)
    with pytest.raises(InputError, match=r"VOCdevkit/VOC2007 exists: use it, remove it, or choose another"):
        fetch(source, tmp_path)
    assert not server.requests
    assert list(home.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--out: expected a folder, found a file"):
        fetch(source, tmp_path / "file")


def test_another_year_goes_beside_the_first(source, tmp_path):
    other = tmp_path / "VOCdevkit" / "VOC2012" / "kept"
    other.mkdir(parents=True)
    fetch(source, tmp_path)
    assert other.is_dir()


def test_what_a_killed_process_left_is_not_in_the_data_set(source, tmp_path):
    left = tmp_path / ".voc2007.tmp" / "VOCdevkit" / "VOC2007" / "half"
    left.mkdir(parents=True)
    fetch(source, tmp_path)
    assert not (tmp_path / "VOCdevkit" / "VOC2007" / "half").exists()
    assert not (tmp_path / ".voc2007.tmp").exists()


def test_what_a_killed_process_left_takes_no_room(source, tmp_path, monkeypatch):
    left = tmp_path / ".voc2007.tmp" / "half"
    left.parent.mkdir()
    left.touch()
    needed = 63_000 + sum(file.size for file in source.archives)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=needed - left.exists()))
    plan(source, tmp_path)
    assert not left.exists()


def test_a_folder_that_cannot_be_made_is_one_line(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/data: Not a directory$"):
        fetch(source, tmp_path / "file" / "data")
    (tmp_path / ".voc2007.tmp").touch()
    with pytest.raises(InputError, match=r"\.voc2007\.tmp: File exists$"):
        fetch(source, tmp_path)


def test_archives_of_something_else_are_refused_and_nothing_is_left(source, tmp_path):
    with pytest.raises(InputError, match=r"expected the folder VOCdevkit/VOC2012 in .*train.tar, .*test.tar, found"):
        fetch(Source(**{**vars(source), "inside": "VOCdevkit/VOC2012"}), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.tar", "train.tar"]


def test_what_the_reader_refuses_is_an_error(source, server, tmp_path):
    with pytest.raises(InputError, match=r"expected one of the splits test, trainval"):
        fetch(Source(**{**vars(source), "val": Split("@val")}), tmp_path)


def zip_of(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/out.txt"])
def test_a_zip_that_leads_out_is_refused_before_anything_is_unpacked(name, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    archive = zip_of(tmp_path / "a.zip", {"good.txt": b"1", name: b"2"})
    with pytest.raises(InputError, match=r"a.zip cannot be unpacked: '.*out.txt' would be outside the folder"):
        unpack(archive, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../out.txt"),
        link("a", "../out.txt"),
        link("a", "/etc/passwd"),
        link("a", "../out.txt", tarfile.LNKTYPE),
        link("pipe", "", tarfile.FIFOTYPE),
    ],
    ids=["path", "link up", "link to the root", "hard link", "pipe"],
)
def test_a_tar_that_leads_out_is_refused(member, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "out.txt").write_text("mine")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(InputError, match=r"a.tar cannot be unpacked: "):
        unpack(tmp_path / "a.tar", folder)
    assert list(folder.iterdir()) == []
    assert (tmp_path / "out.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_a_damaged_archive_is_one_line(name, tmp_path):
    (tmp_path / name).write_bytes(b"no archive" * 100)
    with pytest.raises(InputError, match=rf"{name} cannot be unpacked: "):
        unpack(tmp_path / name, tmp_path / "in")


def test_the_bytes_of_a_zip_are_those_that_were_put_in(tmp_path):
    members = {"annotations/a.json": b"{}", "train/1.jpg": bytes(range(256)) * 100}
    unpack(zip_of(tmp_path / "a.zip", members), tmp_path / "in")
    unpacked = {
        str(p.relative_to(tmp_path / "in")): p.read_bytes() for p in (tmp_path / "in").rglob("*") if p.is_file()
    }
    assert unpacked == members


def test_the_published_data_sets_are_described_as_they_are_published():
    names = {source.name: [file.name for file in source.archives] for source in DATASETS.values()}
    assert names == {
        "voc2007": ["VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"],
        "voc2012": ["VOCtrainval_11-May-2012.tar"],
        "coco2017": ["annotations_trainval2017.zip", "val2017.zip", "train2017.zip"],
    }
    for source in DATASETS.values():
        for file in source.archives:
            algorithm, digits = file.checksum.split(":")
            assert len(bytes.fromhex(digits)) == hashlib.new(algorithm).digest_size
            assert file.name.endswith(".zip") or file.size % 512 == 0  # a tar is made of such blocks
    assert " ".join(train_options(DATASETS["coco2017"], Path("data"))) == (
        "--train data/coco2017/annotations/instances_train2017.json --images data/coco2017/train2017 "
        "--val data/coco2017/annotations/instances_val2017.json --val-images data/coco2017/val2017"
    )


def test_real_data_packed_as_it_is_published_come_back_the_same(server, data_root, tmp_path):
    root = data_root / "bccd" / "BCCD"
    files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    server.files["voc.tar"] = content = tar(files)
    archive = RemoteFile(server.url("voc.tar"), len(content), f"md5:{hashlib.md5(content).hexdigest()}")
    server.cuts = [len(content) // 2]
    home = "VOCdevkit/VOC2007"
    _, test = fetch(Source("bccd", (archive,), 1, home, home, Split("@train"), Split("@test")), tmp_path)
    expected = load_dataset(f"{root}@test")
    assert len(test) == 72
    assert [e.boxes.tolist() for e in test.examples] == [e.boxes.tolist() for e in expected.examples]
