"""The commands that write files, and their words: faults.py runs each with faults of the disk and the terminal."""

from __future__ import annotations

from pathlib import Path

from place import IMPORTED, Place

FORMATS = {"tflite": "model.tflite", "onnx": "model.onnx", "saved_model": "model"}
WITH_RUN = (
    *("predict", "predict, a video", "predict, all formats", "evaluate", "evaluate --report", "evaluate --plots"),
    *(*(f"export {format}" for format in FORMATS), "benchmark"),
)
WRITERS = (
    *("train", "train --lr-finder", *WITH_RUN, "import-weights"),
    *("doctor --json", "doctor --preset-out", "data", "convert", "demo", "fetch"),
)


def writer(command: str, place: Place, target: Path) -> list[str]:
    """Return the words of a command that writes to a path below `target`."""
    run = str(place.run) if command in WITH_RUN else ""  # training takes a while
    checkpoint = str(place.checkpoint) if command == "import-weights" else ""
    data = str(place.data)
    imported = ["import-weights", checkpoint, "--preset", IMPORTED, "--categories", data]
    measured = ["benchmark", "--model", run, "--rounds", "1", "--no-stages"]
    predict = ["predict", "--model", run, str(place.data.parent), "--out", str(target / "out")]
    evaluate = ["evaluate", "--model", run, "--data", data]
    return {
        **{
            f"export {format}": ["export", "--model", run, "--format", format, "--out", str(target / name)]
            for format, name in FORMATS.items()
        },
        "train": place.train(target / "run"),
        "train --lr-finder": [*place.train(target / "run"), "--lr-finder"],
        "predict": predict,
        "predict, all formats": [*predict, "--format", "coco,jsonl,csv,yolo"],
        "evaluate": [*evaluate, "--json", str(target / "evaluation.json")],
        "evaluate --plots": [*evaluate, "--plots", str(target / "plots")],
        "doctor": ["doctor", "--data", data],
        "doctor --json": ["doctor", "--data", data, "--json", str(target / "report.json")],
        "doctor --preset-out": ["doctor", "--data", data, "--preset-out", str(target / "mine.json")],
        "demo": ["demo", "--out", str(target / "demo")],
        "import-weights": [*imported, "--out", str(target / "imported")],
        "benchmark": [*measured, "--out", str(target / "latency")],
        "fetch": ["fetch", "voc2007", "--out", str(target / "voc")],
        "data": ["data", "--data", data, "--out", str(target / "page.html")],
        "convert": ["convert", "--data", data, "--to", "yolo", "--out", str(target / "yolo")],
        "evaluate --report": [*evaluate, "--report", str(target / "errors")],
        "predict, a video": ["predict", "--model", run, str(place.video), "--out", str(target / "frames")],
    }[command]


def shown(words: list[str]) -> str:
    """Write a command without the folders of this machine."""
    return "tfrcnn " + " ".join(Path(word).name if word.startswith("/") else word for word in words)
