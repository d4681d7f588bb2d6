"""Checkpoints of every format are read as float32 arrays by name. test_read_refusals.py tests what is refused."""

import argparse
import copyreg
import json
import pickle
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.weights.read import read_checkpoint

from .torch_files import Storage, Tensor, named, of, write_stream, write_zip

KERNEL = np.arange(2 * 3 * 3 * 3, dtype=np.float32).reshape(2, 3, 3, 3)
STATE = OrderedDict({"conv.weight": of(KERNEL), "bn.num_batches_tracked": of(np.array(7))})

both = pytest.mark.parametrize("write", [write_zip, write_stream])
Write = Callable[[Path, Any], Path]


def read(path: Path) -> dict[str, np.ndarray]:
    return read_checkpoint(path).arrays


def assert_state(arrays: dict[str, np.ndarray]) -> None:
    """Check that the arrays equal STATE."""
    assert list(arrays) == ["conv.weight", "bn.num_batches_tracked"]
    np.testing.assert_array_equal(arrays["conv.weight"], KERNEL)
    assert arrays["conv.weight"].dtype == np.float32
    count = arrays["bn.num_batches_tracked"]
    assert (count.dtype, count.shape, int(count)) == (np.int64, (), 7)


@both
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_state_dict_of_torch_is_read_in_its_own_keys_and_layout(tmp_path: Path, write: Any, protocol: int) -> None:
    path = write(tmp_path / "a.pth", STATE, protocol)
    checkpoint = read_checkpoint(str(path))
    assert (checkpoint.path, checkpoint.format) == (path, "pth")
    assert_state(checkpoint.arrays)


@both
@pytest.mark.parametrize("kind", ["<f2", "<f8", "<i4", "<i2", "|i1", "|u1", "|b1"])
def test_floating_point_becomes_float32_and_integers_stay(tmp_path: Path, write: Write, kind: str) -> None:
    values = np.array([0, 1, 3], kind)
    arrays = read(write(tmp_path / "a.pth", {"a": of(values)}))
    np.testing.assert_array_equal(arrays["a"], values)
    assert arrays["a"].dtype == (np.float32 if kind in ("<f2", "<f8") else np.dtype(kind))


@both
def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path, write: Write) -> None:
    bits = np.array([0x3F80, 0xC040, 0x0001], np.uint16)  # 1, -3 and the smallest number: 2**-133
    arrays = read(write(tmp_path / "a.pth", {"a": Tensor(Storage(bits, "bfloat16"))}))
    assert arrays["a"].dtype == np.float32
    assert arrays["a"].tolist() == [1.0, -3.0, 2.0**-133]


@both
def test_tensors_are_views_with_strides_and_offset_of_shared_storages(tmp_path: Path, write: Write) -> None:
    shared = Storage(np.arange(12, dtype=np.float32))
    content = {
        "transposed": Tensor(shared, 0, (4, 3), (1, 4)),
        "every_other": Tensor(shared, 3, (4,), (2,)),
        "last": Tensor(shared, 11, (), ()),
        "empty": Tensor(shared, 12, (0, 3), (3, 1)),
        "repeated": Tensor(shared, 5, (3, 2), (0, 0)),
    }
    arrays = read(write(tmp_path / "a.pth", content))
    np.testing.assert_array_equal(arrays["transposed"], np.arange(12).reshape(3, 4).T)
    assert arrays["every_other"].tolist() == [3, 5, 7, 9]
    assert (arrays["last"].shape, arrays["last"].tolist()) == ((), 11)
    assert arrays["empty"].shape == (0, 3)
    assert arrays["repeated"].tolist() == [[5, 5]] * 3


def test_empty_storage_is_an_empty_array(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pth", {"a": of(np.zeros((0, 3), np.float32))})
    assert read(path)["a"].shape == (0, 3)


@pytest.mark.parametrize("order", ["little", "big", None])
def test_byte_order_of_the_archive_is_kept_and_little_where_it_says_none(tmp_path: Path, order: str | None) -> None:
    content = {
        **STATE,
        "half": of(np.array([1.5], np.float16)),
        "brain": Tensor(Storage(np.uint16([16256]), "bfloat16")),
    }
    arrays = read(write_zip(tmp_path / "a.pth", content, order=order))
    assert (arrays.pop("half").tolist(), arrays.pop("brain").tolist()) == ([1.5], [1.0])
    assert_state(arrays)


@both
def test_parameters_are_their_tensors_as_torch_pickled_them_then_and_now(tmp_path: Path, write: Write) -> None:
    class Now:
        def __reduce__(self) -> Any:
            return named("torch._utils._rebuild_parameter"), (of(KERNEL), True, OrderedDict())

    class Then:  # torch 0.1 to 0.3: made without a call of its class, then given its state
        __class__ = property(lambda self: named("torch.nn.parameter.Parameter"))  # pickle asks for it

        def __reduce__(self) -> Any:
            made = named("torch.nn.parameter.Parameter"), OldTensor(KERNEL)
            return copyreg.__newobj__, made, (True, False, OrderedDict())

    class OldTensor(Tensor):
        def __reduce__(self) -> Any:
            return named("torch._utils._rebuild_tensor"), self.arguments

    arrays = read(write(tmp_path / "a.pth", {"now": Now(), "then": Then()}))
    np.testing.assert_array_equal(arrays["now"], KERNEL)
    np.testing.assert_array_equal(arrays["then"], KERNEL.ravel())


def test_attributes_that_torch_hangs_on_a_state_dict_are_dropped(tmp_path: Path) -> None:
    state = OrderedDict(STATE)
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    assert_state(read(write_zip(tmp_path / "a.pth", state)))


@both
@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_training_checkpoint_is_unwrapped(tmp_path: Path, write: Write, key: str) -> None:
    content = {
        "optimizer": {"state": {0: {"momentum_buffer": of(np.full(3, np.nan))}}, "param_groups": [{"lr": 0.02}]},
        "lr_scheduler": {"milestones": Counter({16: 1, 22: 1}), "gamma": 0.1},
        "args": argparse.Namespace(lr=0.02, dataset="coco", aspect=[0.5, 2]),
        "epoch": 25,
        "best": np.float64(0.37),
        key: STATE,
    }
    assert_state(read(write(tmp_path / "checkpoint.pth", content)))


def test_tensor_called_model_is_a_tensor_of_a_flat_state_dict(tmp_path: Path) -> None:
    assert list(read(write_zip(tmp_path / "a.pth", {"model": of(KERNEL), "b": of(KERNEL)}))) == ["model", "b"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefix_of_a_wrapper_is_stripped_where_all_keys_have_it(tmp_path: Path, prefix: str) -> None:
    content = {prefix + name: tensor for name, tensor in STATE.items()}
    assert_state(read(write_zip(tmp_path / "a.pth", content)))
    arrays = read(write_zip(tmp_path / "a.pth", {**content, "other": of(KERNEL)}))
    assert list(arrays) == [*content, "other"]


def test_npz_is_read_compressed_or_not(tmp_path: Path) -> None:
    content = {"conv.weight": KERNEL.astype(">f8"), "bn.num_batches_tracked": np.array(7)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **content)
        checkpoint = read_checkpoint(tmp_path / "a.npz")
        assert checkpoint.format == "npz"
        assert_state(checkpoint.arrays)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_detectron2_pickle_is_read(tmp_path: Path, protocol: int) -> None:
    model = {
        "conv.weight": KERNEL,
        "bn.num_batches_tracked": np.array(7),
        "fortran": np.asfortranarray(KERNEL[0, 0]),
        "big_endian": KERNEL[0, 0].astype(">f4"),
        "half": np.float16([1.5]),
        "scalar": np.float32(0.5),
        "empty": np.zeros((0, 3), np.float32),
        "read_only": np.frombuffer(b"\1\2", np.uint8),
    }
    content = {"model": model, "__author__": "torchvision", "matching_heuristics": True}
    for core in (b"numpy._core.", b"numpy.core."):  # the name until numpy 2
        data = pickle.dumps(content, protocol)
        if protocol < 4:  # later protocols write the length before the name
            data = data.replace(b"numpy._core.", core)
        (tmp_path / "R-50.pkl").write_bytes(data)
        checkpoint = read_checkpoint(tmp_path / "R-50.pkl")
        assert checkpoint.format == "pkl"
        arrays = dict(checkpoint.arrays)
        for name in ("fortran", "big_endian", "half", "scalar", "empty", "read_only"):
            expected = np.asarray(model[name])
            array = arrays.pop(name)
            np.testing.assert_array_equal(array, expected)
            assert array.dtype == (np.uint8 if name == "read_only" else np.float32)
        assert_state(arrays)


def test_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    """Python 2 wrote texts as bytes, and flags of dtypes as numbers. `latin1` restores the array's bytes."""
    unset = b"J\xff\xff\xff\xff"  # -1
    dtype = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNN" + 2 * unset + b"K\x00tb"
    data = np.float32([-2.5, 1e-3]).tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x02t" + dtype
    array += b"\x89U" + bytes([len(data)]) + data + b"tb"
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}U\x05model}U\x06conv_w" + array + b"ss.")
    assert read(tmp_path / "a.pkl")["conv_w"].tolist() == np.float32([-2.5, 1e-3]).tolist()


def write_safetensors(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> Path:
    """Write the format: 8 bytes that hold the header's length, the header in JSON, the bytes of all tensors."""
    header, data = {}, b""
    for name, (kind, shape, content) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_safetensors_are_read_in_every_precision(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors is not installed: pip install tfrcnn[weights]")
    content = {
        "module.float": ("F32", (2, 3, 3, 3), KERNEL.tobytes()),
        "module.brain": ("BF16", (2, 1), np.uint16([0x3F80, 0xC040]).tobytes()),
        "module.half": ("F16", (), np.float16(1.5).tobytes()),
        "module.count": ("I64", (), np.int64(7).tobytes()),
    }
    checkpoint = read_checkpoint(write_safetensors(tmp_path / "a.safetensors", content))
    assert checkpoint.format == "safetensors"
    arrays = checkpoint.arrays
    np.testing.assert_array_equal(arrays["float"], KERNEL)
    assert (arrays["brain"].tolist(), arrays["half"].tolist()) == ([[1.0], [-3.0]], 1.5)
    assert {name: str(array.dtype) for name, array in arrays.items() if name != "count"} == dict.fromkeys(
        ("float", "brain", "half"), "float32"
    )
    assert arrays["count"].dtype == np.int64


def test_safetensors_of_eight_bits_are_refused_by_name(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors is not installed: pip install tfrcnn[weights]")
    path = write_safetensors(tmp_path / "a.safetensors", {"conv.weight": ("F8_E4M3", (2,), b"\0\0")})
    with pytest.raises(InputError, match=r"found F8_E4M3 at 'conv.weight'"):
        read(path)


def test_without_safetensors_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    path = write_safetensors(tmp_path / "a.safetensors", {"a": ("F32", (1,), bytes(4))})
    with pytest.raises(InputError, match=r'a.safetensors: .*pip install "tfrcnn\[weights\]"'):
        read(path)


@both
@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".tar", ""])
def test_content_tells_the_format_not_the_ending(tmp_path: Path, write: Write, ending: str) -> None:
    assert read_checkpoint(write(tmp_path / f"checkpoint{ending}", STATE)).format == "pth"
