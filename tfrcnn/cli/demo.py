"""`tfrcnn demo`: the main job from beginning to end, offline, with the same commands that a user gives."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrcnn.cli.startup import load_tensorflow
from tfrcnn.errors import InputError
from tfrcnn.files import is_free, read_json, read_object, write_json
from tfrcnn.locks import locked

STATUS = "demo.json"  # marks a demo's folder, and says whether it is finished
SCENES = {"train": 600, "val": 60, "test": 120}
PICTURES = 3


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder, or the folder of an interrupted demo.")] = (
        Path("demo")
    ),
) -> None:
    """See all commands at work on a small data set: offline, within 8 minutes on two cores.

    The data set is made of real handwritten digits (scikit-learn's 1,797), placed at varied sizes on textured scenes.
    The demo checks it, trains a small detector from scratch, measures it on scenes with new digits, and draws its
    detections. Every command is shown as you would type it.

    \b
    Example:
      tfrcnn demo --out demo
    """
    run_demo(context.find_root().command, out)


def run_demo(
    program: Callable[..., Any], out: Path, scenes: dict[str, int] | None = None, options: tuple[str, ...] = ()
) -> None:
    """Run the demo, or continue one that was interrupted.

    Args:
        program: `tfrcnn` as Typer or Click builds it; it runs the commands.
        out: the demo's folder.
        scenes: numbers of scenes to "train" on, to choose the best epoch by ("val"), and to "test" on.
        options: more options of `tfrcnn train`.

    Raises:
        InputError: the folder holds something else, a finished demo, or one that another process runs.
    """
    began = time.monotonic()
    scenes = scenes or SCENES
    with locked(out):
        _claim(out)
        load_tensorflow()
        _run(partial(_command, program), out, scenes, options, began)


def _run(
    command: Callable[..., None], out: Path, scenes: dict[str, int], options: tuple[str, ...], began: float
) -> None:
    from tfrcnn.run_description import SETUP

    data, run, test, pictures = out / "data", out / "run", out / "test", out / "pictures"
    sets = _scenes(data, scenes)
    _step("1. A data set and its faults, if any. `train` checks the other two parts.")
    command("doctor", "--data", sets["test"], "--model", "tiny_fpn")
    _step("2. Train, measure after every epoch, keep the best.")
    if (run / SETUP).is_file():
        command("train", "--out", run, "--resume")
    else:
        command("train", "--train", sets["train"], "--val", sets["val"], "--out", run, "--model", "tiny_fpn", *options)
    _step("3. Measure the best on scenes with new digits.")
    result = test / "evaluation.json"
    command("evaluate", "--model", run, "--data", sets["test"], "--json", result, "--plots", test)
    _step("4. Use it on pictures.")
    shutil.rmtree(pictures, ignore_errors=True)  # of the same demo, interrupted here
    command("predict", "--model", run, *sorted((data / "images").glob("test_*"))[:PICTURES], "--out", pictures)
    ap50 = read_json(result)["headline"]["AP50"]
    minutes = (time.monotonic() - began) / 60
    print(_closing_words(out, scenes, ap50, minutes))
    write_json(out / STATUS, {"finished": True, "AP50": ap50, "minutes": round(minutes, 2)})


def _claim(out: Path) -> None:
    """Mark a new folder as a demo's, or check that it is one."""
    if is_free(out):
        write_json(out / STATUS, {"finished": False})
    elif not (out / STATUS).is_file():
        raise InputError(f"{out} exists and is no demo's folder: choose another --out")
    elif read_object(out / STATUS).get("finished"):
        raise InputError(f"the demo in {out} is finished: look at it, remove it, or choose another --out")
    else:
        print(f"Going on with the demo in {out}.")


def _scenes(folder: Path, scenes: dict[str, int]) -> dict[str, Path]:
    from tfrcnn.demo import digit_scenes

    print(f"{sum(scenes.values())} scenes of handwritten digits in {folder} ...", flush=True)
    return digit_scenes(folder, scenes)


def _step(title: str) -> None:
    print(f"\n=== {title}")


def _command(program: Callable[..., Any], *arguments: str | Path) -> None:
    """Show a command and run it."""
    words = [str(argument) for argument in arguments]
    print(f"$ {shlex.join(['tfrcnn', *words])}\n", flush=True)
    code = program(words, prog_name="tfrcnn", standalone_mode=False)
    if code:
        print("the demo stopped; the same command continues it", file=sys.stderr)
        raise typer.Exit(code)


def _closing_words(out: Path, scenes: dict[str, int], ap50: float, minutes: float) -> str:
    return f"""
=== Done in {minutes:.1f} minutes
Trained from scratch on {scenes["train"]} scenes; AP50 on {scenes["test"]} others: {ap50:.3f}.

  {out / "data"}: the data set, in COCO format
  {out / "run"}: the detector (config.json with weights), curves.png, predictions.png
  {out / "test"}: evaluation.json, precision_recall.png, confusion.png, predictions.png
  {out / "pictures"}: annotated pictures, detections.json

Now with your own boxes: DATA is the folder that your annotation tool exported, FOLDER@split where it has splits:
  tfrcnn doctor   --data DATA
  tfrcnn train    --train DATA --val DATA --out runs/mine
  tfrcnn evaluate --model runs/mine --data DATA
  tfrcnn predict  --model runs/mine IMAGE_OR_FOLDER --out predictions
`tfrcnn COMMAND --help` explains each with an example."""
