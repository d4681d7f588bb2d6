"""`tfrcnn benchmark`: time detectors side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.cli.options import Images
from tfrcnn.cli.outputs import check_output_folder
from tfrcnn.cli.startup import filter_log
from tfrcnn.errors import InputError
from tfrcnn.export import TARGETS


def benchmark(
    model: Annotated[
        list[Path],
        typer.Option(
            metavar="MODEL",
            help=f"A run folder or an exported file ({', '.join(TARGETS)}), or its address. Repeat it for more.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Data set of the pictures. Default: one picture of shapes, 360 x 480."),
    ] = None,
    images: Images = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="Number of threads. Repeat it for more. Default: all cores."),
    ] = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Detections per picture.")] = 10,
    pictures: Annotated[int, typer.Option(metavar="N", min=1, help="Use the first N pictures of DATA.")] = 4,
    stages: Annotated[bool, typer.Option(help="Measure each stage too.")] = True,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write latency.csv and latency.png into this folder.")
    ] = None,
) -> None:
    """Time detectors on the same pictures, in every runtime that is installed.

    Each detector runs in a separate process, from the picture's pixels to its boxes, and they take turns. The column
    ratio compares each with the first MODEL. A second table shows the time of each stage.

    \b
    Example:
      tfrcnn benchmark --model runs/cells --model cells.tflite --model cells.onnx --threads 1 --threads 2
    """
    filter_log()  # a data set in TFRecords is read by TensorFlow
    import tempfile

    import numpy as np

    from tfrcnn.buckets.models import local_model
    from tfrcnn.data.decode import read_image
    from tfrcnn.data.read import load_dataset
    from tfrcnn.export.artefact import check_threads
    from tfrcnn.export.check.edge_cases import edge_cases
    from tfrcnn.export.measure.benchmark import benchmark as measure
    from tfrcnn.export.measure.benchmark import plot, render, render_stages, write_csv
    from tfrcnn.installed import check_package

    if out is not None:
        check_package("matplotlib", "--out")
        check_output_folder("--out", out)
    for count in threads or ():
        check_threads(count)
    if images is not None and data is None:
        raise InputError("--images needs --data")
    models = [local_model(each) for each in model]
    arrays = edge_cases()[-1:]
    if data is not None:
        arrays = [
            read_image(example.path, example.orientation) for example in load_dataset(data, images).examples[:pictures]
        ]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.npy" for i in range(len(arrays))]
        for path, array in zip(paths, arrays):
            np.save(path, array)
        results = measure(models, paths, tuple(threads or [os.cpu_count() or 1]), rounds, stages)
    print(render(results))
    if stages:
        print(f"\nMilliseconds per stage, from the runtimes' profilers:\n\n{render_stages(results)}")
    if out is not None:
        write_csv(results, out / "latency.csv")
        plot(results, out / "latency.png")
        print(f"latency.csv and latency.png are in {out}.")
