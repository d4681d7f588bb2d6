"""Measure how the detection time grows with the image size, the number of proposals and the number of classes.

    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/latency_growth.py [--preset mobilenet_v2_fpn] [--out DIR]

The detectors have random weights. Each is exported to TFLite and ONNX and measured as by `tfrcnn benchmark`: Keras,
LiteRT, ONNX Runtime and, if it is installed, OpenVINO take turns. All classes get about the same score, so NMS has the
largest possible amount of work. The benchmark takes about 10 minutes on 2 CPU cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import tfrcnn
from tfrcnn.config import Category
from tfrcnn.export import TARGETS, ExportOptions
from tfrcnn.export.measure.benchmark import benchmark

SIZE, PROPOSALS, CLASSES = 320, 300, 20  # the values that a series does not vary
SERIES = {
    "image size": [(size, PROPOSALS, CLASSES) for size in (224, 320, 448, 640)],
    "proposals": [(SIZE, proposals, CLASSES) for proposals in (100, 300, 1000)],
    "classes": [(SIZE, PROPOSALS, classes) for classes in (2, 20, 80)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="mobilenet_v2_fpn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="write latency_growth.png into this folder")
    options = parser.parse_args()
    measured: dict[tuple[int, int, int], dict[str, float]] = {}
    for setting in sorted({setting for series in SERIES.values() for setting in series}):
        measured[setting] = measure(options.preset, *setting, options.threads, options.rounds)
    runtimes = list(next(iter(measured.values())))
    for name, series in SERIES.items():
        print(f"\n| {name} | {' | '.join(f'{runtime}, ms' for runtime in runtimes)} |\n{'|---' * (len(runtimes) + 1)}|")
        for setting in series:
            cells = " | ".join(f"{measured[setting][runtime]:.0f}" for runtime in runtimes)
            print(f"| {varied(name, setting)} | {cells} |")
    if options.out:
        plot(measured, runtimes, options.out / "latency_growth.png")


def varied(name: str, setting: tuple[int, int, int]) -> int:
    """Return the number of a setting that its series varies."""
    return setting[list(SERIES).index(name)]


def measure(preset: str, size: int, proposals: int, classes: int, threads: int, rounds: int) -> dict[str, float]:
    """Return the median milliseconds per runtime."""
    config = tfrcnn.preset(preset, tuple(Category(i + 1, f"class {i}") for i in range(classes))).detector
    config = config.replace(
        image=config.image.replace(static_size=(size, size)),
        test_proposals=config.test_proposals.replace(post_nms_top_n=proposals),
        detections=config.detections.replace(score_threshold=0.0),
    )
    detector = tfrcnn.build_detector(config)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "run"]
        tfrcnn.save_detector(detector, paths[0])
        for target in (TARGETS["tflite"], TARGETS["onnx"]):
            paths.append(Path(folder) / f"a{target.suffix}")
            target.write(detector, paths[-1], ExportOptions(target.name))
        picture = Path(folder) / "picture.npy"
        np.save(picture, np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8))
        results = benchmark(paths, [picture], (threads,), rounds, stages=False)
    return {result.runtime: result.median_ms for result in results}


def plot(measured: dict[tuple[int, int, int], dict[str, float]], runtimes: list[str], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axes, (name, series) in zip(figure.subplots(1, len(SERIES)), SERIES.items()):
        for runtime in runtimes:
            values = [measured[setting][runtime] for setting in series]
            axes.plot([varied(name, setting) for setting in series], values, marker="o", label=runtime)
        axes.set(xlabel=name, ylabel="milliseconds an image", title=f"growth with {name}")
        axes.set_ylim(bottom=0)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
