"""calls.py: a program that ends waits for TensorFlow's threads, and these need no Python after that."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tfrcnn.data.calls import Calls


def test_closing_waits_for_a_running_call_and_later_ones_fail() -> None:
    calls = Calls()
    started, ended = threading.Event(), []

    def slow(index: int) -> np.ndarray:
        started.set()
        time.sleep(0.3)
        ended.append(index)
        return np.zeros(1)

    thread = threading.Thread(target=calls.counted(slow), args=(7,))
    thread.start()
    started.wait()
    calls.close()
    assert ended == [7]
    with pytest.raises(RuntimeError, match="the program ends"):
        calls.counted(slow)(8)
    thread.join()


def test_closing_gives_up_on_a_call_that_hangs() -> None:
    calls = Calls()
    calls.PATIENCE = 0.2
    free, started = threading.Event(), threading.Event()
    thread = threading.Thread(target=calls.counted(lambda _: np.array([started.set(), free.wait()])), args=(0,))
    thread.start()
    started.wait()
    calls.close()
    assert calls.active == 1
    free.set()
    thread.join()


def test_a_program_that_read_nothing_ends_at_once() -> None:
    start = time.monotonic()
    Calls().close()
    assert time.monotonic() - start < Calls.REST


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import tfrcnn
from tfrcnn.data.example import Dataset, Example
z = np.zeros(0, np.int32)
one = Example("a", Path(sys.argv[1]), 600, 800, np.zeros((0, 4), np.float32), z, z > 0, z > 0, z, 1, z)
data = Dataset("a", (tfrcnn.Category(1, "a"),), (one,) * 64)
training = tfrcnn.TrainingConfig(batch_size=4)
batches = [iter(tfrcnn.training_data(data, tfrcnn.ImageConfig(), training).batches()) for _ in range(3)]
for each in batches:
    next(each)
print("done")
"""


@pytest.mark.slow
def test_a_program_ends_while_its_pipelines_are_at_work(tmp_path: Path) -> None:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "a.jpg"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n")
