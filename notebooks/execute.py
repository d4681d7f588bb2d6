"""Execute notebooks where they are and store what they show: `make notebooks`.

What would differ from one execution to the next without telling a reader anything is not stored: times of execution,
names of the environment, and log lines of TensorFlow's start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import nbclient
import nbformat

from tfrcnn.cli.startup import NOISE
from tfrcnn.files import atomic

FOLDER = Path(__file__).resolve().parent
TIMEOUT = 900  # seconds for one cell: the first that needs the detector of digits trains it
TRAIN = "from tfrcnn.demo import trained_on_digits; trained_on_digits('runs/digits')"


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """A notebook, executed in a folder and cleaned.

    It is executed as a reader's: pictures are inline, and there is no folder of test data.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell does.
    """
    notebook = nbformat.read(path, as_version=4)
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", "TFRCNN_TEST_DATA")}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
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
    """Take out, in place, what is not to be stored."""
    notebook.metadata = {"language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                lines = output.text.splitlines(keepends=True)
                output.text = "".join(line for line in lines if not any(text in line for text in NOISE))
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" or o.text.strip()]


def main(names: list[str]) -> None:
    """Execute notebooks by name, or all of them, in their order."""
    paths = [FOLDER / name for name in names] or sorted(FOLDER.glob("*.ipynb"))
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise SystemExit(f"error: no such notebook: {', '.join(missing)}")
    # first, so that no notebook stores how the training went that happens to be in the first of them
    subprocess.run([sys.executable, "-c", TRAIN], cwd=FOLDER, check=True)
    for path in paths:
        began = time.monotonic()
        notebook = executed(path, FOLDER)
        with atomic(path) as temporary:
            nbformat.write(notebook, temporary)
        print(f"{path.name}: {time.monotonic() - began:.0f} s, {path.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
