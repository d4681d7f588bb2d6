"""Files that torch itself writes, if torch is installed: every array equals torch's, bit for bit."""

import argparse
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.weights.read import read_checkpoint

torch = pytest.importorskip("torch", reason="torch is not installed: its files are imitated in test_read.py")

ZIP, STREAM = {"_use_new_zipfile_serialization": True}, {"_use_new_zipfile_serialization": False}
both = pytest.mark.parametrize("file_format", [ZIP, STREAM], ids=["zip", "stream"])


def tensors() -> dict[str, Any]:
    base = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    shared = torch.arange(24.0)
    return {
        "float32": base,
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "transposed": torch.arange(12.0).reshape(3, 4).t(),
        "every_other": torch.arange(20.0)[3::2],
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "head": shared[:6],
        "tail": shared[6:].reshape(3, 6),
        "half_transposed": torch.arange(12.0).reshape(3, 4).half().t(),
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "long": torch.tensor(2**40),
        **{str(kind).removeprefix("torch."): torch.tensor([1, 0, 3]).to(kind) for kind in INTEGERS},
    }


INTEGERS = [torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]


def assert_same(arrays: dict[str, np.ndarray], expected: dict[str, Any]) -> None:
    assert list(arrays) == list(expected)
    for name, tensor in expected.items():
        tensor = (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
        np.testing.assert_array_equal(arrays[name], tensor, err_msg=name)
        assert (arrays[name].dtype, arrays[name].shape) == (tensor.dtype, tensor.shape)


def save(path: Path, value: Any, file_format: dict[str, bool]) -> Path:
    torch.save(value, path, **file_format)
    return path


@both
def test_tensors_of_every_type_and_stride(tmp_path: Path, file_format: dict[str, bool]) -> None:
    checkpoint = read_checkpoint(save(tmp_path / "a.pth", tensors(), file_format))
    assert checkpoint.format == "pth"
    assert_same(checkpoint.arrays, tensors())


@both
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_newer_pickle_protocols(tmp_path: Path, file_format: dict[str, bool], protocol: int) -> None:
    torch.save(tensors(), tmp_path / "a.pth", pickle_protocol=protocol, **file_format)
    assert_same(read_checkpoint(tmp_path / "a.pth").arrays, tensors())


@both
def test_training_checkpoint_as_reference_scripts_write_it(tmp_path: Path, file_format: dict[str, bool]) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [16, 22])
    model(torch.zeros(1, 3, 6, 6)[:, :, :, :6]).sum().backward()
    optimizer.step()
    schedule.step()
    content = {
        "model": torch.nn.DataParallel(model).state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "args": argparse.Namespace(lr=0.02, lr_steps=[16, 22], device=torch.device("cuda"), output_dir="."),
        "epoch": 3,
        "best": np.float64(0.5),
    }
    arrays = read_checkpoint(save(tmp_path / "checkpoint.pth", content, file_format)).arrays
    assert_same(arrays, model.state_dict())
    assert arrays["1.num_batches_tracked"].dtype == np.int64


def test_compiled_model_has_its_own_keys(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    wrapped = torch.nn.DataParallel(torch.compile(model, backend="eager"))
    assert next(iter(wrapped.state_dict())) == "module._orig_mod.weight"
    assert_same(read_checkpoint(save(tmp_path / "a.pth", wrapped.state_dict(), ZIP)).arrays, model.state_dict())


@both
def test_whole_model_is_refused_by_the_name_of_its_class(tmp_path: Path, file_format: dict[str, bool]) -> None:
    with pytest.raises(InputError, match=r"refused to load torch.nn.modules.linear.Linear: .*state_dict\(\)"):
        read_checkpoint(save(tmp_path / "a.pth", torch.nn.Linear(2, 2), file_format))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "a.pt"))
    with pytest.raises(InputError, match=r"a.pt: .*found a TorchScript archive"):
        read_checkpoint(tmp_path / "a.pt")


def test_tensor_to_be_negated_when_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="negated"):
        read_checkpoint(save(tmp_path / "a.pth", {"a": torch.ones(2, dtype=torch.cfloat).conj().imag}, ZIP))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_pickle_with_tensors_in_it(tmp_path: Path, protocol: int) -> None:
    """Tensors pickled without torch.save bring each storage as a stream of its own."""
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": tensors(), "__author__": "me"}, protocol))
    checkpoint = read_checkpoint(tmp_path / "a.pkl")
    assert checkpoint.format == "pkl"
    assert_same(checkpoint.arrays, tensors())


def test_safetensors(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    content = {name: tensor.contiguous().clone() for name, tensor in tensors().items()}
    library.save_file(content, tmp_path / "a.safetensors")
    arrays = read_checkpoint(tmp_path / "a.safetensors").arrays
    assert_same({name: arrays[name] for name in content}, content)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_torchvision_detector(tmp_path: Path, name: str) -> None:
    models = pytest.importorskip("torchvision.models.detection", reason="torchvision is not installed")
    state = getattr(models, name)(weights=None, weights_backbone=None).state_dict()
    assert_same(read_checkpoint(save(tmp_path / "a.pth", state, ZIP)).arrays, state)
