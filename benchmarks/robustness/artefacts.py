"""Mutate exported files and load them: each gives one clear line or a working detector, and no process dies.

    python benchmarks/robustness/artefacts.py [--count 3000] [--seed 0] [--cli-every 50] [--keep FOLDER]

Exports a tiny detector in every format. Each input is one of these files with bytes flipped, cut, repeated or
overwritten, or with another description. A worker process (artefact_worker.py) loads it with `tfrcnn.export.load` and
detects in one picture, an ONNX file in ONNX Runtime or OpenVINO; every 50th goes through `tfrcnn predict`. The program
counts the outcomes:

    refused    an InputError of one line (exit code 2 of the command line)
    works      the file detects; a changed weight changes boxes, and nothing can see that in an ONNX file
    ESCAPED    any other exception, an error of several lines, or a traceback
    CRASHED    the worker died of a signal, for example by a runtime's segmentation fault
    HUNG       no answer in two minutes

The exit code is 1 if one of the last three occurs.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS, START_SECONDS = 120, 900  # for one input; for the imports of a worker
ODD: tuple[Any, ...] = (
    None,
    True,
    [],
    {},
    "",
    "a\nb",
    "\ud800",
    -1,
    0,
    1.5,
    10**30,
    [[]],
    "x" * 10_000,
    {"id": 1},
    [None],
)
GRAPHS = {"onnx": "detector.onnx", "tflite": "detector.tflite", "saved_model": "detector"}
RUNTIMES = {"onnx": ("ONNX Runtime", "OpenVINO"), "tflite": ("LiteRT",), "saved_model": ("TensorFlow",)}
BAD = ("ESCAPED", "CRASHED", "HUNG")


def export_all(folder: Path) -> None:
    """Export a tiny detector with random weights in every format."""
    import keras

    import tfrcnn
    from tfrcnn.export import ExportOptions, export

    keras.utils.set_random_seed(0)
    config = tfrcnn.preset("tiny_fpn", (tfrcnn.Category(3, "cat"), tfrcnn.Category(90, "dog"))).detector
    config = config.replace(
        image=config.image.replace(static_size=(64, 64)),
        detections=config.detections.replace(score_threshold=0.0, max_detections=10),
    )
    detector = tfrcnn.build_detector(config)
    for format, name in GRAPHS.items():
        export(detector, folder / name, ExportOptions(format), check=False)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes: most often near the start or the end, where headers and directories are."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        size = len(content)
        if not size:
            break
        at = rng.choice((rng.randrange(size), rng.randrange(min(size, 400)), size - 1 - rng.randrange(min(size, 2000))))
        length = min(rng.choice((1, 2, 4, 64, 4096)), size - at)
        kind = rng.randrange(7)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            content[at : at + length] = bytes([rng.choice((0, 255))]) * length
        elif kind == 3:
            del content[at : at + length]
        elif kind == 4:
            content[at:at] = content[at : at + length]
        elif kind == 5:
            del content[at:]
        else:
            other = rng.randrange(size)
            content[at : at + length] = content[other : other + length]
    return bytes(content)


def mutate_values(values: Any, rng: random.Random) -> Any:
    """Replace, remove or add one value anywhere in a JSON document."""
    if rng.random() < 0.03 or not isinstance(values, (dict, list)) or not values:
        return rng.choice(ODD)
    values = copy.copy(values)
    key = rng.choice(list(values)) if isinstance(values, dict) else rng.randrange(len(values))
    action = rng.random()
    if action < 0.5:
        values[key] = mutate_values(values[key], rng)
    elif action < 0.7:
        del values[key]
    elif isinstance(values, dict):
        values[rng.choice(("id", "name", "x"))] = rng.choice(ODD)
    else:
        values.append(values[key])
    return values


def mutate_text(text: bytes, rng: random.Random) -> bytes:
    """Change a description, as JSON or as bytes."""
    if rng.random() < 0.2:
        return mutate_bytes(text, rng)
    return json.dumps(mutate_values(json.loads(text), rng)).encode()


def mutate_onnx(path: Path, rng: random.Random) -> None:
    if rng.random() < 0.6:
        path.write_bytes(mutate_bytes(path.read_bytes(), rng))
        return
    import onnx

    model = onnx.load(path)
    if rng.random() < 0.6:
        entry = next(entry for entry in model.metadata_props if entry.key == "tfrcnn")
        entry.value = mutate_text(entry.value.encode(), rng).decode(errors="replace")
    elif rng.random() < 0.5:  # of the graph's parts
        part = rng.choice((model.graph.node, model.graph.output, model.graph.input, model.graph.initializer))
        del part[rng.randrange(len(part))]
    else:
        node = rng.choice(model.graph.node)
        node.input[rng.randrange(len(node.input))] = rng.choice(rng.choice(model.graph.node).output)
    path.write_bytes(model.SerializeToString())


def mutate_tflite(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    if rng.random() < 0.6:
        path.write_bytes(mutate_bytes(data, rng))
        return
    with zipfile.ZipFile(path) as files:
        size = min(info.header_offset for info in files.infolist())
        content = {name: files.read(name) for name in files.namelist()}
    name = rng.choice(list(content))
    content[name] = mutate_text(content[name], rng) if name.endswith("json") else mutate_bytes(content[name], rng)
    if rng.random() < 0.1:
        del content[rng.choice(list(content))]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for name, text in content.items():
            files.writestr(name, text)
    path.write_bytes(data[:size] + archive.getvalue())


def mutate_saved_model(path: Path, rng: random.Random) -> None:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    file = rng.choice((*files, path / "assets/tfrcnn.json", path / "saved_model.pb"))
    action = rng.random()
    if action < 0.05:
        file.unlink()
    elif action < 0.1:
        file.unlink()
        file.mkdir()
    elif file.suffix == ".json":
        file.write_bytes(mutate_text(file.read_bytes(), rng))
    else:
        file.write_bytes(mutate_bytes(file.read_bytes(), rng))


MUTATE: dict[str, Callable[[Path, random.Random], None]] = {
    "onnx": mutate_onnx,
    "tflite": mutate_tflite,
    "saved_model": mutate_saved_model,
}


class Worker:
    """A process that judges inputs; a crash ends it and not this program."""

    def __init__(self, picture: Path) -> None:
        self.picture = picture
        self._start()

    def _start(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("artefact_worker.py")), str(self.picture)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONIOENCODING": "utf-8:backslashreplace"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.judge(Path("nothing"), seconds=START_SECONDS)

    def judge(self, path: Path, runtime: str = "", use_cli: bool = False, seconds: int = SECONDS) -> str:
        """Return the outcome of one input, with its reason."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps([str(path), runtime, use_cli]), file=self.process.stdin, flush=True)
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        if line:
            return str(json.loads(line))
        if not ready:
            self.process.kill()
        code = self.close()
        if seconds == START_SECONDS:
            raise SystemExit(f"the worker ended with {code} before its first input")
        self._start()
        return f"CRASHED: signal {-code}" if ready else "HUNG"

    def close(self) -> int:
        """Let the process end, close its pipes and return its exit code."""
        self.process.communicate()
        return self.process.returncode


def fuzz(count: int, seed: int, cli_every: int, folder: Path, keep: Path | None = None) -> Counter[tuple[str, str]]:
    """Judge mutated files and return the number of each outcome by runtime."""
    import keras
    import numpy as np

    export_all(folder)
    picture = folder / "picture.png"
    keras.utils.save_img(picture, np.random.default_rng(0).integers(0, 256, (40, 50, 3)), scale=False)
    worker, outcomes = Worker(picture), Counter[tuple[str, str]]()
    for i in range(count):
        rng = random.Random(f"{seed} {i}")
        format = rng.choice(list(GRAPHS))
        original, path = folder / GRAPHS[format], folder / "mutated" / GRAPHS[format]
        shutil.rmtree(folder / "mutated", ignore_errors=True)
        path.parent.mkdir()
        (shutil.copytree if original.is_dir() else shutil.copy)(original, path)
        MUTATE[format](path, rng)
        runtime = rng.choice(RUNTIMES[format])
        outcome = worker.judge(path, runtime, use_cli=cli_every > 0 and i % cli_every == cli_every - 1)
        kind = outcome.split(":")[0]
        outcomes[runtime, kind] += 1
        if i % 500 == 499:
            print(f"{i + 1} inputs", flush=True)
        if kind in BAD:
            print(f"{i}: {runtime}: {outcome[:300]}", flush=True)
            if keep:
                shutil.copytree(path.parent, keep / str(i), dirs_exist_ok=True)
    worker.close()
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cli-every", type=int, default=50, help="0 leaves the command line out")
    parser.add_argument("--keep", type=Path, help="keep the inputs that escape in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = fuzz(options.count, options.seed, options.cli_every, Path(folder), options.keep)
    for (runtime, kind), count in sorted(outcomes.items()):
        print(f"{runtime:12} {kind:8} {count}")
    bad = sum(count for (_, kind), count in outcomes.items() if kind in BAD)
    print(f"{options.count} inputs, {bad} escapes")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
