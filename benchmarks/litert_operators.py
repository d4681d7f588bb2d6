"""Time of each kind of operator of a TensorFlow Lite file, as LiteRT's own profiler measures it.

    python benchmarks/litert_operators.py cells.tflite [--threads 1] [--runs 15]

Python's interpreter has no profiler, so this calls the C interface of LiteRT 2, which is in the same package. XNNPACK
runs many operators as one; "Delegate/..." are its own. The input is noise without padding.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ai_edge_litert
import numpy as np
from ai_edge_litert.interpreter import Interpreter

WARM_UP = 2
ALIGNMENT = 64  # of a tensor's memory
CPU = 1
ELEMENT_TYPES = {np.float32: 1, np.int32: 2}
Handle = ctypes.c_void_p
Row = tuple[str, int, float]


class TensorType(ctypes.Structure):
    """LiteRtRankedTensorType: the type of the elements, the rank, the sides, and strides that are not used."""

    _fields_ = (
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint),
        ("shape", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a .tflite file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args(arguments)
    print("| operator | count | ms |\n|---|---|---|")
    for kind, count, milliseconds in profile(options.file, options.threads, options.runs):
        print(f"| {kind} | {count} | {milliseconds:.2f} |")
    return 0


def profile(path: Path, threads: int, runs: int) -> list[Row]:
    """Return (kind, number of operators, milliseconds per run) of each kind, the longest first."""
    model = Model(path, threads)
    for _ in range(WARM_UP):
        model.run()
    model.call("ResetProfiler", model.profiler)
    model.call("StartProfiler", model.profiler)
    for _ in range(runs):
        model.run()
    model.call("StopProfiler", model.profiler)
    summary = ctypes.c_char_p()
    model.call("GetProfileSummary", model.profiler, model.compiled, ctypes.byref(summary))
    return rows((summary.value or b"").decode(), runs)


def rows(summary: str, runs: int) -> list[Row]:
    """Read the kinds from LiteRT's summary.

    Its columns: name, count, milliseconds of one call, two percentages, memory, and calls in all runs. XNNPACK's
    operators of one name count once, so the number of operators is read from the calls.
    """
    _, table = summary.split("Summary by node type", 1)
    matches = re.findall(r"^ *(\S.*?) +\d+ +([\d.]+) +[\d.]+% +[\d.]+% +[\d.]+ +(\d+)$", table, re.MULTILINE)
    return [(kind, int(calls) // runs, float(one) * int(calls) / runs) for kind, one, calls in matches]


class Model:
    """A file that is compiled with its profiler on.

    Attributes:
        compiled: LiteRT's handle of the model.
        profiler: LiteRT's handle of its profiler.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self.library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).with_name("libLiteRt.so")))
        self.kept: list[Any] = []  # memory that LiteRT points to
        environment, model, options = self.handles(3)
        self.call("CreateEnvironment", 0, None, ctypes.byref(environment))
        self.call("CreateModelFromFile", environment, str(path).encode(), ctypes.byref(model))
        self.call("CreateOptions", ctypes.byref(options))
        self.call("SetOptionsHardwareAccelerators", options, CPU)
        self._add(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._add(options, b"xnnpack", f"num_threads = {threads}\n".encode())
        self.compiled, self.profiler = self.handles(2)
        self.call("CreateCompiledModel", environment, model, options, ctypes.byref(self.compiled))
        self.call("CompiledModelGetProfiler", self.compiled, ctypes.byref(self.profiler))
        interpreter: Any = Interpreter(str(path))
        (signature,) = interpreter.get_signature_list().values()
        outputs = interpreter.get_signature_runner().get_output_details()
        self.inputs = self._buffers(interpreter.get_input_details())
        self.outputs = self._buffers([outputs[name] for name in signature["outputs"]])

    def handles(self, count: int) -> list[Handle]:
        return [Handle() for _ in range(count)]

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, f"LiteRt{name}")(*arguments)
        if status:
            raise RuntimeError(f"LiteRt{name} returned {status}")

    def run(self) -> None:
        sizes = [ctypes.c_size_t(number) for number in (0, len(self.inputs), len(self.outputs))]
        self.call("RunCompiledModel", self.compiled, sizes[0], sizes[1], self.inputs, sizes[2], self.outputs)

    def _add(self, options: Handle, name: bytes, text: bytes) -> None:
        """Add a group of options, which LiteRT reads as TOML."""
        content = ctypes.create_string_buffer(text)
        keep = ctypes.CFUNCTYPE(None, Handle)(lambda _: None)
        self.kept += [content, keep]
        (group,) = self.handles(1)
        self.call("CreateOpaqueOptions", name, content, keep, ctypes.byref(group))
        self.call("AddOpaqueOptions", options, group)

    def _buffers(self, tensors: Sequence[dict[str, Any]]) -> Any:
        """Make LiteRT's buffers of tensors, on memory of ours that holds noise 0..255."""
        buffers = (Handle * len(tensors))()
        for number, tensor in enumerate(tensors):
            shape = [int(side) for side in tensor["shape"]]
            size = math.prod(shape) * np.dtype(tensor["dtype"]).itemsize
            memory = np.zeros(size + ALIGNMENT, np.uint8)
            start = -memory.ctypes.data % ALIGNMENT
            pixels = np.random.default_rng(0).integers(0, 256, shape).astype(tensor["dtype"])
            memory[start : start + size] = pixels.reshape(-1).view(np.uint8)
            self.kept.append(memory)
            kind = TensorType(ELEMENT_TYPES[tensor["dtype"]], len(shape), tuple(shape))
            address, (buffer,) = Handle(memory.ctypes.data + start), self.handles(1)
            self.call(
                "CreateTensorBufferFromHostMemory",
                ctypes.byref(kind),
                address,
                ctypes.c_size_t(size),
                None,
                ctypes.byref(buffer),
            )
            buffers[number] = buffer
        return buffers


if __name__ == "__main__":
    raise SystemExit(main())
