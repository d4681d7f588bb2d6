"""Execute the notebooks in place and store their outputs: `make notebooks`.

Details that differ between executions and do not help a reader are not stored: execution times, the costs of epochs,
names of the environment, and TensorFlow's log lines at start. Pictures are stored with 256 colours: scenes of noise
become three times smaller.
"""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

from tfrcnn.cli.startup import NOISE
from tfrcnn.files import atomic

FOLDER = Path(__file__).resolve().parent
TIMEOUT = 900  # seconds per cell; the first cell that needs the detector of digits trains it
# the end of an epoch's line, as in "val AP50 0.831  28 s, 7.23 images/s, 1.1 GB, 00:00 left"
COSTS = re.compile(r"  \d+ s, [^\n]*images/s[^\n]* left$", re.MULTILINE)
TRAIN = "from tfrcnn.demo import trained_on_digits; trained_on_digits('runs/digits')"


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Execute a notebook in a folder and clean it.

    It runs as it does for a reader: pictures are inline, and there is no folder of test data.

    Args:
        path: the notebook to read. It is not changed.
        folder: the working directory of the execution.

    Returns:
        The notebook with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises an error.
    """
    notebook = nbformat.read(path, as_version=4)
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", "TFRCNN_TEST_DATA")}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FOLDER), environment.get("PYTHONPATH")]))  # exercises
    client = nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    clean(notebook)
    return notebook


def clean(notebook: nbformat.NotebookNode) -> None:
    """Remove the parts that are not stored, in place."""
    notebook.metadata = {"language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                lines = output.text.splitlines(keepends=True)
                output.text = "".join(line for line in lines if not any(text in line for text in NOISE))
            if output.get("name") == "stdout":
                output.text = COSTS.sub("", output.text)
            if "image/png" in output.get("data", {}):
                output.data.pop("image/jpeg", None)  # the same picture, of a Pillow image
                output.data["image/png"] = reduced(output.data["image/png"])
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" or o.text.strip()]


def reduced(png: str) -> str:
    """Return a picture with a palette of 256 colours, in base64. A picture that has a palette stays as it is."""
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "P":
        return png
    file, density = io.BytesIO(), picture.info.get("dpi", (72, 72))
    palette = picture.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE)  # keeps rare colours, of thin lines
    palette.save(file, "PNG", optimize=True, dpi=density)
    return base64.b64encode(file.getvalue()).decode()


def main(names: list[str]) -> None:
    """Execute the named notebooks, or all of them in their order."""
    paths = [FOLDER / name for name in names] or sorted(FOLDER.glob("*.ipynb"))
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise SystemExit(f"error: no such notebook: {', '.join(missing)}")
    # train first, so that no notebook stores the training's output
    subprocess.run([sys.executable, "-c", TRAIN], cwd=FOLDER, check=True)
    for path in paths:
        began = time.monotonic()
        notebook = executed(path, FOLDER)
        with atomic(path) as temporary:
            nbformat.write(notebook, temporary)
        print(f"{path.name}: {time.monotonic() - began:.0f} s, {path.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
