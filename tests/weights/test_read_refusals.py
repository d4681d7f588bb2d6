"""A file that is not a checkpoint, or a hostile one, is one clear error. No code in a file ever runs."""

import io
import os
import pickle
import re
import struct
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrcnn.errors import InputError
from tfrcnn.weights.read import read_checkpoint
from tfrcnn.weights.torch_pickle import TORCH_GLOBALS

from .torch_files import Storage, Tensor, dump, of, write_entries, write_stream, write_zip

STATE = {"conv.weight": of(np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3)), "count": of(np.array(7))}


def write_plain(path: Path, value: Any) -> Path:
    """Write a pickle as Detectron2 does, without tensors."""
    path.write_bytes(pickle.dumps(value, 2))
    return path


every_pickle = pytest.mark.parametrize("write", [write_zip, write_stream, write_plain])
both = pytest.mark.parametrize("write", [write_zip, write_stream])


def refusal(path: Path) -> str:
    """Return the error's message, and check that it is one line that names the file."""
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# Files that are something else

OTHER = {
    "empty": (b"", "found an empty file"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 167\n",
        "git LFS pointer, .*: git lfs pull",
    ),
    "html": (b"\n<!DOCTYPE html><html><body>404</body></html>", "found a web page"),
    "bare html": (b"<HTML><head></head></HTML>", "found a web page"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "found XML"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "found an HDF5 file"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(64), "found a single numpy array"),
    "gzip": (b"\x1f\x8b\x08" + bytes(64), "found a gzip archive"),
    "tar": (bytes(257) + b"ustar\x00" + bytes(300), "found a tar archive"),
    "text": (b"weights of my detector", "found a file that begins with b'weights of my de'"),
    "one byte": (b"\x80", "found a file that begins with"),
    "protocol of the future": (b"\x80\x09.", "found a file that begins with"),
    "json": (b'{"weights": 1}', "found a file that begins with"),
}


@pytest.mark.parametrize("content", OTHER)
def test_file_of_another_kind_is_refused_by_what_it_is(tmp_path: Path, content: str) -> None:
    data, message = OTHER[content]
    (tmp_path / "model.pth").write_bytes(data)
    expected = "expected weights as .pth, .safetensors, .npz or .pkl"
    assert re.match(f"{expected}, .*{message}", refusal(tmp_path / "model.pth"))


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.pth") == "no such file"
    assert "cannot be read" in refusal(tmp_path)


def test_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    entries = {"a/data.pkl": b"\x80\x02}.", "a/constants.pkl": b"\x80\x02).", "a/code/__torch__.py": b""}
    assert "found a TorchScript archive" in refusal(write_entries(tmp_path / "a.pt", entries))


def test_other_archives_are_refused(tmp_path: Path) -> None:
    for entries in ({}, {"word/document.xml": b""}, {"a.npy": b"", "readme.txt": b""}):
        path = write_entries(tmp_path / "a.zip", entries)
        assert "found a zip archive with neither data.pkl nor .npy files" in refusal(path)


# Content that is not a state dict

CONTENTS = {
    "list": ([1, 2], "expected a state dict, that is tensors by name, found a list"),
    "nothing": ({}, "expected tensors by name, found none"),
    "nothing in it": ({"model": {}, "epoch": 3}, "expected tensors by name, found none"),
    "unknown wrapper": ({"net": {}}, "or one under model, state_dict, model_state_dict; found a dict at 'net'"),
    "number": ({"model": {"weight": 1.5}}, "found a float at 'weight'"),
    "number as name": ({0: "a"}, "found a str at a int"),
}


@every_pickle
@pytest.mark.parametrize("content", CONTENTS)
def test_content_that_is_no_state_dict_is_refused(tmp_path: Path, write: Any, content: str) -> None:
    value, message = CONTENTS[content]
    assert message in refusal(write(tmp_path / "a.pth", value))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_weights_that_are_not_finite_in_float32_are_refused_by_name(tmp_path: Path, value: float) -> None:
    content = {"good": of(np.ones(3)), "fc.weight": of(np.array([[1.0, value], [value, 2.0]]))}
    message = "expected finite weights, found 2 of 4 NaN or infinite at 'fc.weight'"
    assert refusal(write_zip(tmp_path / "a.pth", content)) == message
    np.savez(tmp_path / "a.npz", **{"fc.weight": [1.0, value, value, 2.0]})
    assert refusal(tmp_path / "a.npz") == message


def test_arrays_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array(["text"]))
    assert "expected numbers, found type <U4 at 'a'" in refusal(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", a=np.array([{}], object))
    assert "allow_pickle=False" in refusal(tmp_path / "b.npz")
    assert "found numpy type 'O8'" in refusal(write_plain(tmp_path / "c.pkl", {"a": np.array([{}], object)}))
    assert "found numpy type 'c8'" in refusal(write_plain(tmp_path / "d.pkl", {"a": np.zeros(2, np.complex64)}))


# Damage


def checkpoint_bytes(folder: Path) -> dict[str, bytes]:
    """Return a small valid file of every format but safetensors, which another library reads."""
    arrays = {"conv.weight": np.arange(18, dtype=np.float32), "count": np.array(7)}
    np.savez(folder / "a.npz", **arrays)
    files = [write_zip(folder / "a.pth", STATE), write_stream(folder / "b.pth", STATE)]
    files += [folder / "a.npz", write_plain(folder / "a.pkl", {"model": arrays})]
    return {path.name: path.read_bytes() for path in files}


def test_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    for name, data in checkpoint_bytes(tmp_path).items():
        for length in range(0, len(data), 7):
            (tmp_path / name).write_bytes(data[:length])
            refusal(tmp_path / name)


def test_message_says_that_a_file_is_cut_off(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "a.pth", STATE)
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(path) == "expected 8 bytes of storage '1', found 7: it is cut off"
    path = write_zip(tmp_path / "b.pth", STATE)
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(path) == "expected a whole zip archive, found a damaged one: the file may be cut off"


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_arrays_or_the_one_error(tmp_path: Path, data: st.DataObject) -> None:
    name, content = data.draw(st.sampled_from(sorted(checkpoint_bytes(tmp_path).items())))
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(damaged)
    try:
        arrays = read_checkpoint(tmp_path / name).arrays
    except InputError:
        return
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_storage_of_another_length_than_the_pickle_says_is_refused(tmp_path: Path) -> None:
    content, (first, second) = dump(STATE)
    short = Storage(first.values[:-1])
    path = write_zip(tmp_path / "a.pth", (content, [short, second]))
    assert refusal(path) == "expected 72 bytes of storage '0', found 68"
    path = write_zip(tmp_path / "a.pth", (content, [first]))
    assert refusal(path) == "expected storage '1' in the archive, found none"


def test_tensor_of_safetensors_beyond_the_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors is not installed: pip install tfrcnn[weights]")
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(7))
    assert "expected a whole file, found a damaged one (SafetensorError" in refusal(path)


# Malice


class Call:
    """Is pickled as a call, which a plain unpickler would make."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def payloads(mark: Path) -> dict[str, Any]:
    """Return calls that would create a file."""
    code = f"open({str(mark)!r}, 'w').close()"
    return {
        f"{os.name}.system": Call(os.system, f"touch {mark}"),
        "__builtin__.eval": Call(eval, code),
        "__builtin__.exec": Call(exec, code),
        "__builtin__.getattr": Call(getattr, "", "format"),
        "io.open": Call(open, str(mark), "w"),
    }


@every_pickle
@pytest.mark.parametrize("name", payloads(Path()))
def test_pickle_that_names_a_function_is_refused_and_nothing_runs(tmp_path: Path, write: Any, name: str) -> None:
    mark = tmp_path / "ran"
    payload = payloads(mark)[name]
    for content in ({"conv.weight": payload}, {"model": {}, "args": [payload]}, payload):
        assert refusal(write(tmp_path / "a.pth", content)).startswith(f"refused to load {name}: expected tensors")
    assert not mark.exists()


def test_the_payload_would_run_if_it_were_let(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    pickle.loads(pickle.dumps(payloads(mark)["__builtin__.eval"]))
    assert mark.exists()


def raw(path: Path, *opcodes: bytes) -> Path:
    path.write_bytes(b"\x80\x04" + b"".join(opcodes) + b".")
    return path


def text_of(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def name_of(full: str) -> bytes:
    module, _, name = full.rpartition(".")
    return f"c{module}\n{name}\n".encode()


@pytest.mark.parametrize("dotted", ["OrderedDict.__init__.__globals__", "OrderedDict.__class__", "abc.sys"])
def test_attributes_of_allowed_names_cannot_be_reached(tmp_path: Path, dotted: str) -> None:
    path = raw(tmp_path / "a.pkl", text_of("collections"), text_of(dotted), b"\x93")
    assert f"refused to load collections.{dotted}: " in refusal(path)


def test_message_shows_no_control_characters_and_little_of_a_long_name(tmp_path: Path) -> None:
    for name in ("a\r\x1b[31m", "a" * 10**6):
        message = refusal(raw(tmp_path / "a.pkl", text_of("os"), text_of(name), b"\x93"))
        assert message.startswith("refused to load os.a")
        assert message.isprintable()
        assert len(message) <= 500


@pytest.mark.parametrize("full", TORCH_GLOBALS)
def test_no_stand_in_can_be_changed_by_a_pickle(tmp_path: Path, full: str) -> None:
    """The opcode BUILD sets attributes, also of classes and functions, unless they refuse."""
    stand_in = TORCH_GLOBALS[full]
    before = dir(stand_in)
    for attribute in ("x", "__init__", "__call__", "__setstate__", "dtype", "_function"):
        entry = b"}" + text_of(attribute) + b"K\x01s"
        for state in (entry, b"N" + entry + b"\x86"):  # for its __dict__, and for its slots
            refusal(raw(tmp_path / "a.pkl", name_of(full), state, b"b"))
    assert dir(stand_in) == before
    path = write_zip(tmp_path / "good.pth", STATE)
    assert list(read_checkpoint(path).arrays) == ["conv.weight", "count"]


def test_state_of_objects_is_not_set(tmp_path: Path) -> None:
    """State for dicts and arguments is dropped, and a state that is not an array's makes no array."""
    for full in ("collections.OrderedDict", "argparse.Namespace"):
        made = name_of(full) + b")R}U\x09__class__" + name_of("numpy.dtype") + b"sb"
        assert "expected" in refusal(raw(tmp_path / "a.pkl", made))
    array = name_of("numpy.core.multiarray._reconstruct") + name_of("numpy.ndarray") + b"K\x00\x85U\x01b\x87R"
    assert "without content" in refusal(raw(tmp_path / "a.pkl", b"}U\x01x", array, b"s"))
    dtype = name_of("numpy.dtype") + b"U\x02f4\x85R"
    state = b"(K\x01J\x00\x00\x00\x7f\x85" + dtype + b"\x89C\x04\x00\x00\x00\x00tb"
    assert "expected 2130706432 numbers" in refusal(raw(tmp_path / "a.pkl", b"}U\x01x", array, state, b"s"))


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"(icollections\nOrderedDict\n", "refused the pickle opcode INST"),
        (b"\x82\x01", "refused the pickle opcode EXT1"),
        (b"Pid\n", "refused the pickle opcode PERSID"),
        (b"K\x00Q", "expected a plain pickle, found references to storages"),
        (b"Nr\xff\xff\xff\x7f", "expected the pickle's memo in order, found index 2147483647"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x3fabc", "found a damaged one"),
        (b"K\x01)R", "found a damaged one"),
        (b"0", "found a damaged one"),
        (b")" + b"\x85" * 100_000, "expected a state dict"),
    ],
    ids=["instance", "extension", "id", "storage", "memo", "length", "call", "stack", "depth"],
)
def test_pickle_with_hostile_opcodes_is_refused(tmp_path: Path, opcodes: bytes, message: str) -> None:
    assert message in refusal(raw(tmp_path / "a.pkl", opcodes))


STORAGE = Storage(np.zeros(8, np.float32))
TENSORS = {
    "too long": Tensor(STORAGE, 0, (9,)),
    "absurd": Tensor(STORAGE, 0, (10**6, 10**6)),
    "absurd by repetition": Tensor(STORAGE, 0, (10**12,), (0,)),
    "beyond numbers": Tensor(STORAGE, 0, (10**5000,), (0,)),
    "beyond the end by its offset": Tensor(STORAGE, 8, (1,)),
    "beyond the end by its strides": Tensor(STORAGE, 0, (2, 2), (7, 2)),
    "before the start": Tensor(STORAGE, -1, (1,)),
    "backwards": Tensor(STORAGE, 7, (8,), (-1,)),
    "negative": Tensor(STORAGE, 0, (-1, -8), (1, 1)),
    "without strides": Tensor(STORAGE, 0, (2, 4), (1,)),
    "in text": Tensor(STORAGE, 0, ("8",), (1,)),
    "of 33 axes": Tensor(STORAGE, 0, (1,) * 33, (1,) * 33),
    "no storage": Tensor([1.0] * 8, 0, (8,), (1,)),
}


@both
@pytest.mark.parametrize("tensor", TENSORS)
def test_tensor_outside_its_storage_is_refused_before_anything_is_made(tmp_path: Path, write: Any, tensor: str) -> None:
    path = write(tmp_path / "a.pth", {"a": TENSORS[tensor]})
    tracemalloc.start()
    try:
        message = refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert message.startswith("expected ")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (("storage", "FloatStorage", "99", "cpu", 8), "expected storage '99' in the archive, found none"),
        (("storage", "FloatStorage", "../data.pkl", "cpu", 8), "bytes of storage '../data.pkl'|in the archive"),
        (("storage", "FloatStorage", 0, "cpu", 8), "expected a storage's type, key and number"),
        (("storage", "FloatStorage", "0", "cpu", -8), "expected a storage's type, key and number"),
        (("storage", "FloatStorage", "0", "cpu", 2**40), "expected 4398046511104 bytes of storage '0', found 32"),
        (("storage", "float", "0", "cpu", 8), "expected a storage's type, key and number"),
        (("module", "FloatStorage", "0", "cpu", 8), "expected references to storages, found another kind"),
        (("storage",), "expected references to storages, found another kind"),
        ("storage", "expected references to storages, found another kind"),
    ],
)
def test_reference_to_no_storage_is_refused(tmp_path: Path, reference: Any, message: str) -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return reference if value is STORAGE else None

    file = io.BytesIO()
    Pickler(file, 2).dump({"a": STORAGE})
    data = file.getvalue()
    data = data.replace(b"X\x0c\x00\x00\x00FloatStorage", b"ctorch\nFloatStorage\n")
    path = write_zip(tmp_path / "a.pth", (data, [STORAGE]))
    with pytest.raises(InputError, match=message):
        read_checkpoint(path)


def test_compressed_archive_is_refused_before_it_inflates(tmp_path: Path) -> None:
    content, _ = dump({"a": Tensor(Storage(np.zeros(2**20, np.float32)))})
    entries = {"a/data.pkl": content, "a/data/0": bytes(2**22)}
    path = write_entries(tmp_path / "a.pth", entries, zipfile.ZIP_DEFLATED)
    assert "found a compressed archive" in refusal(path)
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(2**20, np.float32))
    assert "inflates 100 times and more" in refusal(tmp_path / "a.npz")


def test_archive_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pth", {"a": Tensor(Storage(np.arange(8, dtype=np.float32)))})
    for size in (2**30, 36):  # more than the file, and a little more than the entry
        data = path.read_bytes()
        entry = data.rindex(b"a/data/0") - 46  # in the directory: sizes lie 20 bytes behind its start
        patched = data[: entry + 20] + struct.pack("<II", size, size) + data[entry + 28 :]
        (tmp_path / "b.pth").write_bytes(patched)
        assert refusal(tmp_path / "b.pth").startswith("expected ")


def test_nothing_of_torch_is_imported(tmp_path: Path) -> None:
    had = {name for name in sys.modules if name.split(".")[0] == "torch"}
    read_checkpoint(write_zip(tmp_path / "a.pth", STATE))
    assert {name for name in sys.modules if name.split(".")[0] == "torch"} == had


@pytest.mark.parametrize("keys", [4000, 20_000])
@pytest.mark.parametrize("separate", [True, False], ids=["arrays of the same bytes", "one array"])
def test_thousands_of_names_of_one_array_are_refused_at_once(tmp_path: Path, keys: int, separate: bool) -> None:
    """Converted one by one, they would take 13 GB."""
    data = bytes(200_000)
    function = name_of("numpy.core.numeric._frombuffer")
    dtype = name_of("numpy.dtype") + b"U\x02f2\x85R"
    begin = b"}" + b"B" + len(data).to_bytes(4, "little") + data + b"q\x00" + b"0" + dtype + b"q\x01" + b"0"
    array = function + b"(h\x00h\x01J" + (100_000).to_bytes(4, "little") + b"\x85U\x01CtR"
    first = array + b"q\x02" + b"0"
    entries = b"".join(text_of(f"w{i}") + (array if separate else b"h\x02") for i in range(keys))
    started = time.monotonic()
    assert "many names share one array" in refusal(raw(tmp_path / "a.pkl", begin, first, b"(", entries, b"u"))
    assert time.monotonic() - started < 60


def test_an_entry_of_an_npz_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = write_entries(tmp_path / "a.npz", {"weight.npy": b"something else"})
    assert refusal(path) == "expected an array at 'weight', found other bytes"


def test_names_may_share_an_array_as_tied_weights_do(tmp_path: Path) -> None:
    weight = np.ones((64, 64), np.float16)
    arrays = read_checkpoint(write_plain(tmp_path / "a.pkl", {"a": weight, "b": weight, "c": weight})).arrays
    assert [array.dtype for array in arrays.values()] == [np.float32] * 3


def test_tuples_that_share_their_items_do_not_hang_the_reader(tmp_path: Path) -> None:
    """As the key of a dict, the hash of the last one would take 2**60 steps."""
    pairs = b")q\x00" + b"".join(b"h%bh%b\x86q%b" % ((bytes([i]),) * 2 + (bytes([i + 1]),)) for i in range(60))
    assert "share their items" in refusal(raw(tmp_path / "a.pkl", b"}", pairs, b"K\x01s"))
    wide = b")q\x00" + b"".join(b"(" + (b"h" + bytes([i])) * 3000 + b"tq" + bytes([i + 1]) for i in range(3))
    assert "share their items" in refusal(raw(tmp_path / "a.pkl", b"}", wide, b"K\x01s"))
    assert "nested deeply" in refusal(raw(tmp_path / "a.pkl", b")" + b"\x85" * 2_000_000))


def test_a_name_of_a_million_prefixes_does_not_hang_the_reader(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "a.pkl", {"module." * 150_000 + "w": np.ones(200_000, np.float32)})
    started = time.monotonic()
    assert len(read_checkpoint(path).arrays) == 1
    assert time.monotonic() - started < 10
