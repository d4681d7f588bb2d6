"""Mutate checkpoints of other libraries, and count what the reader does: accept, refuse in one line, or escape.

    python benchmarks/robustness/checkpoint.py --count 20000 [--seed 0]

The files are of torch.save (zip and stream), numpy (.npz and pickles, half precision too) and safetensors. Bytes are
changed, repeated, removed or exchanged between files; opcodes of pickles are repeated and shuffled. An escape is any
error other than `InputError`, a message of several lines or without the file's name, arrays that are not finite or far
larger than the file, or a reader that takes longer than 5 seconds. A crash of the reader ends this program.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import pickletools
import random
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from config import finish

from tfrcnn.errors import InputError
from tfrcnn.weights.read import read_checkpoint

MAX_SECONDS = 5.0  # of the processor: a busy machine does not count
MAX_MESSAGE = 600  # characters after the file's name
MAX_GROWTH = 200  # bytes of arrays per byte of the file
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


def torch_pickle() -> bytes:
    """Write the pickle of a state dict of two tensors, opcode by opcode, as torch does."""

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    def tensor(key: str, kind: str, count: int, size: bytes, stride: bytes) -> bytes:
        storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
        storage += b"J" + count.to_bytes(4, "little") + b"tQ"
        rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
        return rebuild + b"K\x00" + size + stride + b"\x89ccollections\nOrderedDict\n)RtR"

    weights = tensor("0", "FloatStorage", 12, b"K\x03K\x04\x86", b"K\x04K\x01\x86")
    halves = tensor("1", "HalfStorage", 8, b"K\x08\x85", b"K\x01\x85")
    return b"\x80\x02}(" + text("conv.weight") + weights + text("conv.bias") + halves + b"u."


def seeds() -> dict[str, bytes]:
    """Return a small valid file of each format."""
    values, halves = np.arange(12, dtype=np.float32), np.ones(8, np.float16)
    archive, numpy_archive = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        contents = {"data.pkl": torch_pickle(), "data/0": values.tobytes(), "data/1": halves.tobytes()}
        for name, data in {**contents, "byteorder": b"little", "version": b"3\n"}.items():
            file.writestr(f"a/{name}", data)
    np.savez(numpy_archive, weight=values.reshape(3, 4), bias=halves)
    head = pickle.dumps(MAGIC, 2) + pickle.dumps(VERSION, 2) + pickle.dumps({"little_endian": True}, 2)
    storages = [(12).to_bytes(8, "little") + values.tobytes(), (8).to_bytes(8, "little") + halves.tobytes()]
    # a stream's references to storages have one more field
    stream = torch_pickle().replace(b"tQ", b"NtQ")
    arrays = {"model": {"weight": values.reshape(3, 4), "bias": halves, "again": halves}, "epoch": 3}
    tensors = {
        "a": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]},
        "b": {"dtype": "F16", "shape": [8], "data_offsets": [48, 64]},
    }
    header = json.dumps(tensors).encode()
    return {
        "a.pth": archive.getvalue(),
        "b.pth": head + stream + pickle.dumps(["0", "1"], 2) + b"".join(storages),
        "a.npz": numpy_archive.getvalue(),
        "a.pkl": pickle.dumps(arrays, 2),
        "b.pkl": pickle.dumps(arrays, 4),
        "a.safetensors": len(header).to_bytes(8, "little") + header + values.tobytes() + halves.tobytes(),
    }


def mutate_opcodes(data: bytes, random_: random.Random) -> bytes:
    """Repeat, remove or exchange opcodes of a pickle."""
    starts = [position for _, _, position in pickletools.genops(data) if position is not None]
    parts = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)])]
    for _ in range(random_.randint(1, 4)):
        at, other = random_.randrange(len(parts)), random_.randrange(len(parts))
        change = random_.random()
        if change < 0.3:
            parts[at] = parts[other]
        elif change < 0.6:
            parts[at:at] = parts[other : other + random_.randint(1, 8)] * random_.choice((1, 1, 2, 50))
        elif change < 0.8:
            del parts[at : at + random_.randint(1, 3)]
        else:
            parts[at] = random_.choice(
                [b"N", b"K\xff", b"J\xff\xff\xff\x7f", b"]", b")", b"}", b"\x85", b"\x86", b"b", b"R"]
            )
        parts = parts or [b"."]
    return b"".join(parts)


def mutate_bytes(data: bytes, others: list[bytes], random_: random.Random) -> bytes:
    """Change bytes, cut off, repeat, or take a part of another file."""
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        at, length = random_.randrange(len(changed)), random_.choice((1, 2, 4, 8, 40))
        change = random_.random()
        if change < 0.5:
            changed[at] = random_.randrange(256)
        elif change < 0.65:
            value = random_.choice((0, 1, 127, 2**15, 2**31 - 1, 2**32 - 1, 2**63 - 1))
            changed[at : at + 8] = value.to_bytes(8, "little")
        elif change < 0.75:
            del changed[at : at + length]
        elif change < 0.85:
            changed[at:at] = changed[at : at + length] * random_.choice((1, 3, 100))
        elif change < 0.95:
            other = random_.choice(others)
            start = random_.randrange(len(other))
            changed[at : at + length] = other[start : start + length]
        else:
            del changed[at:]
    return bytes(changed)


def mutated(files: dict[str, bytes], name: str, random_: random.Random) -> bytes:
    """Return a mutated file; pickles inside an archive are mutated before they are packed."""
    data = files[name]
    if name.endswith(".pkl") and random_.random() < 0.5:
        return mutate_opcodes(data, random_)
    if name == "a.pth" and random_.random() < 0.6:
        packed = io.BytesIO()
        content = torch_pickle()
        content = mutate_opcodes(content, random_) if random_.random() < 0.7 else mutate_bytes(content, [data], random_)
        with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(packed, "w") as file:
            for entry in source.namelist():
                file.writestr(entry, content if entry.endswith(".pkl") else source.read(entry))
        return packed.getvalue()
    return mutate_bytes(data, list(files.values()), random_)


def read(path: Path) -> str:
    """Read a file; return "accepted" or "refused", or describe an escape."""
    started = time.thread_time()
    try:
        arrays = read_checkpoint(path).arrays
        result = "accepted"
        if not all(np.isfinite(array).all() for array in arrays.values()):
            return "weights that are not finite"
        if sum(array.nbytes for array in arrays.values()) > MAX_GROWTH * path.stat().st_size:
            return "arrays that are far larger than the file"
    except InputError as error:
        result, message = "refused", str(error)
        if (
            not message.startswith(f"{path}: ")
            or not message.isprintable()
            or len(message) > len(str(path)) + MAX_MESSAGE
        ):
            return f"the message {message[:300]!r}"
    except Exception as error:  # any other error is what this program looks for
        return f"{type(error).__name__}: {str(error)[:200]}"
    seconds = time.thread_time() - started
    return result if seconds < MAX_SECONDS else f"{seconds:.1f} seconds"


def fuzz(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Read mutated files.

    Args:
        count: Number of files.
        seed: Of the mutations.

    Returns:
        counts: Files per result.
        escapes: A line for each escape.
    """
    random_, counts, escapes = random.Random(seed), Counter[str](), list[str]()
    files = seeds()
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            Path(folder, name).write_bytes(data)
            if (result := read(Path(folder, name))) != "accepted":
                raise RuntimeError(f"the valid file {name} is not accepted: {result}")
        for number in range(count):
            name = list(files)[number % len(files)]
            data = mutated(files, name, random_)
            Path(folder, name).write_bytes(data)
            result = read(Path(folder, name))
            known = result in ("accepted", "refused")
            counts[f"{name} {result}" if known else "escaped"] += 1
            if not known:
                escapes.append(f"{name}: {result}: {data[:2000]!r}")
    return counts, escapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts, escapes = fuzz(options.count, options.seed)
    finish(counts, escapes, options.count)


if __name__ == "__main__":
    main()
