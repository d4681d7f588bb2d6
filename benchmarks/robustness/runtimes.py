"""Run exported files in many versions of their runtimes, each alone in a new virtual environment.

    python benchmarks/robustness/runtimes.py --model RUN [--picture FILE] [--runtimes NAME ...] [--versions three]

Exports RUN in every format and detects in one picture with this installation. Then it installs the last patch of each
minor version of a runtime, without tfrcnn, and runs the same file on the same pixels. The table has the largest
differences of boxes (in pixels), scores and classes. A version that cannot be installed on this Python is named with
pip's reason.

An environment is removed after its run: TensorFlow's takes 1.5 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tfrcnn
from tfrcnn.data.decode import read_image
from tfrcnn.export import ExportOptions, export, load
from tfrcnn.export.artefact import OUTPUTS
from tfrcnn.export.check.verification import edge_cases
from tfrcnn.export.tflite.runtime import letterbox

PIXELS, SCORE = 0.5, 0.01  # a larger difference is not round-off
FILES = {"onnx": ".onnx", "tflite": ".tflite", "saved_model": ""}
WHOLE = "tflite, without padding"
INSTALL_SECONDS, RUN_SECONDS = 1200, 300

ONNX_RUNTIME = """
session = __import__("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
outputs = dict(zip([one.name for one in session.get_outputs()], session.run(None, {"images": inputs["images"]})))
"""
OPENVINO = """
try:
    from openvino import Core
except ImportError:
    from openvino.runtime import Core
model = Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
outputs = {one.any_name: value for one, value in model({"images": inputs["images"]}).items()}
"""
TFLITE = """
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(model_path=path)
outputs = interpreter.get_signature_runner("serving_default")(image=inputs["frame"])
"""
TENSORFLOW = """
import tensorflow as tf
signature = tf.saved_model.load(path).signatures["serving_default"]
outputs = {name: value.numpy() for name, value in signature(images=tf.constant(inputs["images"])).items()}
"""
# MediaPipe cuts the fractions off a box's corner and off its height and width: each is up to 1 px smaller, and the far
# corner up to 2 px.
MEDIAPIPE = """
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision
detector = vision.ObjectDetector.create_from_options(
    vision.ObjectDetectorOptions(base_options=BaseOptions(model_asset_path=path)))
picture = inputs["whole"][0]
detections = detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)).detections
sides = [one.bounding_box for one in detections]
boxes = [[b.origin_y, b.origin_x, b.origin_y + b.height, b.origin_x + b.width] for b in sides]
classes = [one.categories[0] for one in detections]  # with the name of the label file, and no index
outputs = {
    "detection_boxes": np.reshape(boxes, (1, -1, 4)) / np.tile(picture.shape[:2], 2),
    "detection_classes": np.array([[inputs["names"].tolist().index(c.category_name) for c in classes]], np.float32),
    "detection_scores": np.array([[c.score for c in classes]], np.float32),
    "num_detections": np.array([len(classes)], np.float32),
}
"""
CHILD = """
import sys
import numpy as np
path, inputs = sys.argv[1], np.load(sys.argv[2])
{run}
np.savez(sys.argv[3], **outputs)
"""
WEB = """
const runtime = require("onnxruntime-web"), fs = require("fs");
const [path, image, out] = process.argv.slice(2), {shape, data} = JSON.parse(fs.readFileSync(image));
(async () => {
  const session = await runtime.InferenceSession.create(fs.readFileSync(path), {executionProviders: ["wasm"]});
  const outputs = await session.run({images: new runtime.Tensor("uint8", Uint8Array.from(data), shape)});
  const plain = Object.entries(outputs).map(([name, {dims, data}]) => [name, {dims, data: Array.from(data)}]);
  fs.writeFileSync(out, JSON.stringify(Object.fromEntries(plain)));
  process.exit(0);
})().catch((error) => { console.error(String(error)); process.exit(1); });
"""


@dataclass(frozen=True)
class Runtime:
    """A runtime to install.

    Attributes:
        package: Its name in the registry.
        file: The key of the exported file that it runs.
        first: The oldest minor version.
        run: Statements that compute `outputs` from `path` and `inputs`; None runs in Node.js.
        pixels: Largest difference of a box.
        pads: False if it stretches pictures over the file's whole input.
    """

    package: str
    file: str
    first: tuple[int, int]
    run: str | None
    pixels: float = PIXELS
    pads: bool = True


RUNTIMES = {
    "ONNX Runtime": Runtime("onnxruntime", "onnx", (1, 16), ONNX_RUNTIME),
    "ONNX Runtime Web": Runtime("onnxruntime-web", "onnx", (1, 16), None),
    "OpenVINO": Runtime("openvino", "onnx", (2023, 3), OPENVINO),
    "TFLite runtime": Runtime("tflite-runtime", "tflite", (2, 14), TFLITE),
    "LiteRT": Runtime("ai-edge-litert", "tflite", (1, 0), TFLITE),
    "TensorFlow": Runtime("tensorflow-cpu", "saved_model", (2, 16), TENSORFLOW),
    "MediaPipe": Runtime("mediapipe", "tflite", (0, 10), MEDIAPIPE, pixels=2.0, pads=False),
}


CHOICES: dict[str, Callable[[list[str]], list[str]]] = {  # of versions, the oldest first
    "all": list,
    "ends": lambda listed: list(dict.fromkeys([listed[0], listed[-1]])),
    "three": lambda listed: list(dict.fromkeys([listed[0], listed[len(listed) // 2], listed[-1]])),
}


def versions(runtime: Runtime) -> list[str]:
    """Return the last patch of each minor version from `first` on, the oldest first, as the registry lists them."""
    if runtime.run is None:
        listed = json.loads(_output(["npm", "view", runtime.package, "versions", "--json"]))
    else:
        text = _output([sys.executable, "-m", "pip", "index", "versions", runtime.package])
        listed = re.findall(r"[^\s,]+", text.split("Available versions:")[1].splitlines()[0])
    last: dict[tuple[int, ...], tuple[tuple[int, ...], str]] = {}
    for version in listed:
        if re.fullmatch(r"\d+(\.\d+)+", version):  # no release candidates
            numbers = tuple(map(int, version.split(".")))
            if numbers[:2] >= runtime.first:
                last[numbers[:2]] = max(last.get(numbers[:2], (numbers, version)), (numbers, version))
    return [version for _, (_, version) in sorted(last.items())]


def run(runtime: Runtime, version: str, path: Path, folder: Path) -> dict[str, np.ndarray]:
    """Install one version and run the file on the pixels in `folder`.

    Raises:
        RuntimeError: It cannot be installed or does not run; the message is its last line.
    """
    if runtime.run is None:
        return _run_in_node(runtime, version, path, folder)
    python, script, out = folder / "venv/bin/python", folder / "child.py", folder / "outputs.npz"
    script.write_text(CHILD.format(run=runtime.run), encoding="utf-8")
    for constraint in ("numpy", "numpy<2"):  # old versions do not say that they need the older numpy
        venv.create(folder / "venv", clear=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-compile"]
        _output([*pip, f"{runtime.package}=={version}", constraint], INSTALL_SECONDS)
        try:
            _output([str(python), "-I", str(script), str(path), str(folder / "inputs.npz"), str(out)], RUN_SECONDS)
            break
        except RuntimeError:
            if constraint != "numpy":
                raise
    with np.load(out) as outputs:
        return dict(outputs)


def _run_in_node(runtime: Runtime, version: str, path: Path, folder: Path) -> dict[str, np.ndarray]:
    (folder / "child.js").write_text(WEB, encoding="utf-8")
    (folder / "package.json").write_text("{}", encoding="utf-8")
    npm = ["npm", "install", "--prefix", str(folder), "--silent", f"{runtime.package}@{version}"]
    _output(npm, INSTALL_SECONDS)
    files = [path, folder / "inputs.json", folder / "outputs.json"]
    _output(["node", str(folder / "child.js"), *map(str, files)], RUN_SECONDS)
    outputs = json.loads(files[-1].read_text(encoding="utf-8"))
    return {name: np.reshape(np.float32(one["data"]), one["dims"]) for name, one in outputs.items()}


def _output(command: list[str], seconds: int = INSTALL_SECONDS) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no answer in {seconds} s") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if "ERROR: Could not find" in line), lines[-1] if lines else "")
        raise RuntimeError(f"{reason.strip()[:120]} (exit code {done.returncode})")
    return done.stdout


def compare(outputs: dict[str, np.ndarray], expected: dict[str, np.ndarray], sides: np.ndarray) -> dict[str, float]:
    """Return the largest differences: of boxes in pixels of a picture with these (height, width), scores and classes.

    Detections are compared in the order of their scores, as far as both sides have them.
    """
    counts = [int(side["num_detections"][0]) for side in (outputs, expected)]
    n = min(counts)
    boxes, classes, scores = (np.abs(outputs[name][0, :n] - expected[name][0, :n]) for name in OUTPUTS[:3])
    largest = {"boxes": boxes * np.tile(sides, 2), "scores": scores, "classes": classes}
    return {**{name: float(values.max(initial=0)) for name, values in largest.items()}, "n": counts[0]}


def export_all(model: str, picture: np.ndarray, folder: Path) -> tuple[dict[str, Path], dict[str, dict]]:
    """Export a run in every format and return the files and what they detect here."""
    detector = tfrcnn.load_detector(model)
    files = {name: folder / f"detector{suffix}" for name, suffix in FILES.items()}
    for name, path in files.items():
        export(detector, path, ExportOptions(name), check=False)
    lite = load(files["tflite"]).runtime
    frame = letterbox(picture, lite.size)[None]
    whole = frame.clip(0, 255).round().astype(np.uint8)
    names = np.array([category.name for category in detector.config.categories])
    np.savez(folder / "inputs.npz", images=picture[None], frame=frame, whole=whole, names=names)
    shape = [1, *picture.shape]
    (folder / "inputs.json").write_text(json.dumps({"shape": shape, "data": picture.flatten().tolist()}))
    expected = {name: load(path).runtime.run(picture[None]) for name, path in files.items()}
    return files, {**expected, WHOLE: lite.run(whole)}


def rows(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Yield a row of the table for each version, as soon as it ran."""
    picture = read_image(options.picture) if options.picture else edge_cases()[-1]
    files, expected = export_all(options.model, picture, folder)
    for name in options.runtimes:
        runtime = RUNTIMES[name]
        reference = expected[runtime.file if runtime.pads else WHOLE]
        with np.load(folder / "inputs.npz") as inputs:
            sides = np.array(inputs["images" if runtime.pads else "whole"].shape[1:3])
        for version in CHOICES[options.versions](versions(runtime)):
            try:
                outputs = run(runtime, version, files[runtime.file], folder)
                d = compare(outputs, reference, sides)
                same = d["boxes"] <= runtime.pixels and d["scores"] <= SCORE and not d["classes"]
                word = "same" if same and d["n"] == reference["num_detections"][0] else "OTHER"
                yield f"| {name} | {version} | {d['n']:.0f} | {d['boxes']:.1e} | {d['scores']:.1e} | {word} |"
            except RuntimeError as error:
                yield f"| {name} | {version} | | | | {error} |"
            shutil.rmtree(folder / "venv", ignore_errors=True)
            shutil.rmtree(folder / "node_modules", ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a run folder")
    parser.add_argument("--picture", help="default: a picture of shapes")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--versions", choices=CHOICES, default="all", help="three: the oldest, middle and newest")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}\n\n| runtime | version | detections | boxes (px) | scores | result |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(options, Path(folder)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
