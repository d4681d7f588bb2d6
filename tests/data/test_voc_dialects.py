"""Pascal VOC folders as tools write them: split lines, encodings, words for flags, links, and files that are none."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from tfrcnn.data.read import read_dataset
from tfrcnn.data.voc import parse_voc
from tfrcnn.errors import InputError

from .test_voc_values import CAT, annotation, faults, parse, write

CELLS_NFC = unicodedata.normalize("NFC", "세포")
CELLS_NFD = unicodedata.normalize("NFD", "세포")


@pytest.mark.parametrize(
    "line",
    [
        "a.png", "a.jpg", "a.JPEG", "a.xml", '"a"', "'a.png'", "  a  ", "JPEGImages/a.jpg", "./a", "/home/x/a.png",
        "..\\VOC\\JPEGImages\\a.jpg", '"C:\\data\\a.png"', "a.png 1", "\ufeffa", "x/a.jpg 0",
    ],
)  # fmt: skip
def test_a_line_of_a_split_may_be_a_file_a_path_or_quoted(tmp_path: Path, line: str) -> None:
    parsed = parse(tmp_path, {"a": annotation(CAT)}, split=line)
    assert [image.image_id for image in parsed.images] == ["a"]
    assert not parsed.faults


def test_a_name_that_holds_an_extension_or_a_folder_is_taken_as_it_stands_first(tmp_path: Path) -> None:
    parsed = parse(tmp_path, {name: annotation(CAT) for name in ("a", "a.png", "x/a")}, split="a.png\nx/a\ny/a\nz.png")
    assert [image.image_id for image in parsed.images] == ["a.png", "x/a", "a"]
    assert faults(parsed) == [("missing-annotation", "train.txt", "line 4")]


def test_an_image_that_is_listed_in_two_ways_is_listed_twice(tmp_path: Path) -> None:
    assert faults(parse(tmp_path, {"a": annotation(CAT)}, split="a\na.png")) == [
        ("duplicate-image-id", "train.txt", "line 2")
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_split_may_have_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    parse(tmp_path, {"a": annotation(CAT), "b": annotation(CAT)})
    (tmp_path / "ImageSets/Main/train.txt").write_bytes("a\r\nb\r\n".encode(encoding))
    assert [image.image_id for image in parse_voc(tmp_path, "train").images] == ["a", "b"]


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("UTF-8", "utf-8"), ("UTF-8", "utf-8-sig"), ("UTF-16", "utf-16"), ("utf-8", "utf-16"), ("", "utf-16"),
        ("GB2312", "gb2312"), ("gb2312", "gb18030"), ("GBK", "gbk"), ("gb18030", "gb18030"), ("big5", "big5"),
    ],
)  # fmt: skip
def test_an_annotation_is_read_in_the_encoding_that_it_declares(tmp_path: Path, declared: str, encoding: str) -> None:
    parse(tmp_path, {"a": annotation(CAT)})
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    text = head + annotation(CAT.replace("cat", "細胞" if encoding == "big5" else "血小板"))
    (tmp_path / "Annotations/a.xml").write_bytes(text.encode(encoding))
    parsed = parse_voc(tmp_path, "train")
    assert not parsed.faults
    assert [category.name for category in parsed.categories] == ["細胞" if encoding == "big5" else "血小板"]


@pytest.mark.parametrize(
    "data",
    [
        b'<?xml version="1.0" encoding="gb2312"?><annotation>\xff\xff</annotation>',
        b'<?xml version="1.0" encoding="big5"?><annotation><object>',
        b"\xff\xfe<\0a\0",
        b"\xff\xfea",
        b'<?xml version="1.0" encoding="base64"?><annotation/>',
        b"\xef\xbb\xbf",
    ],
)
def test_text_that_is_not_in_the_declared_encoding_is_a_fault(tmp_path: Path, data: bytes) -> None:
    parse(tmp_path, {"a": annotation(CAT), "b": annotation(CAT)})
    (tmp_path / "Annotations/a.xml").write_bytes(data)
    parsed = parse_voc(tmp_path, "train")
    assert [kind for kind, _, _ in faults(parsed)] == ["syntax-error"]
    assert len(parsed.boxes) == 1


@pytest.mark.parametrize("word", ["Unspecified", "unspecified", ""])
def test_words_of_labelimg_for_unknown_flags_mean_no(tmp_path: Path, word: str) -> None:
    flags = f"<pose>{word}</pose><truncated>{word}</truncated><difficult>{word}</difficult>"
    parsed = parse(tmp_path, {"a": annotation(CAT.replace("<bndbox>", f"{flags}<bndbox>"))})
    assert [box.difficult for box in parsed.boxes] == [False]
    assert parsed.summary["truncated"] == 0
    assert not parsed.faults


@pytest.mark.parametrize("name", [CELLS_NFC, CELLS_NFD])
def test_names_match_in_every_unicode_form(tmp_path: Path, name: str) -> None:
    files = {CELLS_NFC: CELLS_NFD, CELLS_NFD: CELLS_NFC}[name]
    text = annotation(CAT.replace("cat", CELLS_NFC), CAT.replace("cat", CELLS_NFD), filename=f"{name}.png")
    parsed = parse(tmp_path, {files: text}, split=name, images=(f"{files}.png",))
    assert [category.name for category in parsed.categories] == [CELLS_NFC]
    assert [image.candidates[0].is_file() for image in parsed.images] == [True]
    assert not parsed.faults


@pytest.mark.parametrize("filename", ["C:\\data\\b.png", "/home/someone/b.png", "b", "../b.png"])
def test_a_filename_of_another_machine_is_found_if_no_image_has_the_name_of_the_xml(
    tmp_path: Path, filename: str
) -> None:
    text = annotation(CAT, filename=filename)
    assert parse(tmp_path, {"a": text}, images=("b.png",)).images[0].candidates[0].name == "b.png"
    assert parse(tmp_path, {"a": text}, images=("b.png", "a.png")).images[0].candidates[0].name == "a.png"


def test_linked_folders_are_followed_and_those_that_lead_back_are_not(tmp_path: Path) -> None:
    parse(tmp_path / "other", {"a": annotation(CAT)})
    parse(tmp_path / "voc", {"b": annotation(CAT)}, split="x/a\nb")
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / "voc" / folder / "x").symlink_to(tmp_path / "other" / folder)
        (tmp_path / "voc" / folder / "loop").symlink_to(tmp_path / "voc" / folder)
        (tmp_path / "other" / folder / "loop").symlink_to(tmp_path / "voc" / folder)
    parsed = parse_voc(tmp_path / "voc", "train")
    assert [image.image_id for image in parsed.images] == ["x/a", "b"]
    assert [image.candidates[0].is_file() for image in parsed.images] == [True, True]
    assert not parsed.faults


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def looping(path: Path) -> None:
    path.symlink_to(path.name)


# How each file is made, and words of its fault.
SPECIAL: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (pipe, "a pipe"),
    "device": (device, "a device"),
    "dangling link": (dangling, "a link to nothing"),
    "looping link": (looping, "symbolic links"),
    "folder": (Path.mkdir, "a folder"),
}


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("file", ["Annotations/a.xml", "ImageSets/Main/train.txt", "JPEGImages/a.jpg"])
def test_a_file_that_is_no_regular_file_is_one_fault_and_never_hangs(tmp_path: Path, file: str, name: str) -> None:
    make, words = SPECIAL[name]
    parse(tmp_path, {"a": annotation(CAT), "b": annotation(CAT)})
    (tmp_path / file).unlink()
    make(tmp_path / file)
    report = read_dataset(f"{tmp_path}@train")[1]
    fault = report.faults[0]
    assert report.refused
    if file.startswith("JPEG"):
        assert fault.kind == "missing-image"
    elif file.startswith("Ann") and name == "folder":  # a folder holds no annotation
        assert fault.kind == "missing-annotation"
    else:
        assert fault.kind == "unreadable-file"
        assert words in fault.message


@pytest.mark.parametrize("name", SPECIAL)
def test_a_json_that_is_no_regular_file_is_one_error_and_never_hangs(tmp_path: Path, name: str) -> None:
    SPECIAL[name][0](tmp_path / "a.json")
    with pytest.raises(InputError, match=r"^data: expected .* found .*a\.json"):
        read_dataset(str(tmp_path / "a.json"))


@pytest.mark.parametrize("file", ["Annotations/a.xml", "ImageSets/Main/train.txt"])
def test_a_file_of_gigabytes_is_not_read(tmp_path: Path, file: str) -> None:
    parse(tmp_path, {"a": annotation(CAT), "b": annotation(CAT)})
    os.truncate(tmp_path / file, 1 << 36)  # without blocks on the disk
    report = read_dataset(f"{tmp_path}@train")[1]
    assert report.faults[0].kind == "unreadable-file"
    assert report.faults[0].message == "expected at most 67,108,864 bytes, found 68,719,476,736"


def test_a_broken_file_outside_the_split_is_kept(tmp_path: Path) -> None:
    parse(tmp_path, {"a": annotation(CAT)})
    os.mkfifo(tmp_path / "Annotations" / "b.xml")
    parsed = parse_voc(tmp_path, "train")
    assert faults(parsed) == [("unread-annotation", "b.xml", "")]
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "b")
    assert [kind for kind, _, _ in faults(parse_voc(tmp_path, "val"))] == ["unreadable-file"]
