"""The script that fills the tables of GPUs: benchmarks/gpu.sh."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu.sh"


def run(*arguments, **environment):
    return subprocess.run(
        [shutil.which("bash"), str(SCRIPT), *arguments],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_has_no_fault_that_a_shell_finds():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


def test_a_wrong_argument_and_a_machine_without_a_gpu_are_one_line(tmp_path):
    for name in ("dirname", "wc"):
        (tmp_path / name).symlink_to(shutil.which(name))  # and no nvidia-smi
    for arguments, message in (((), "found no GPU with nvidia-smi"), (("--big",), "expected no argument or --small")):
        done = run(*arguments, PATH=str(tmp_path))
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_it_measures_each_precision_each_set_of_kernels_and_up_to_all_gpus(tmp_path):
    programs = {"python": 'echo "$@"', "nvidia-smi": "printf 'a GPU\\n%.0s' 1 2 3 4 5"}
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / name).chmod(0o755)
    done = run(PATH=f"{tmp_path}:{os.environ['PATH']}", PYTHON=str(tmp_path / "python"))
    assert done.returncode == 0, done.stderr
    rows = [row for row in done.stdout.splitlines() if "device_step.py" in row and "resnet50_fpn" in row]
    options = [row.split("resnet50_fpn ")[1] for row in rows]
    assert options == [
        "--precision float32",
        "--precision mixed_float16",
        "--precision mixed_bfloat16",
        "--kernels portable",
        "--kernels portable --xla",
        "--precision mixed_float16 --devices 2",
        "--precision mixed_float16 --devices 4",
    ]
    assert sum("--head" in row for row in done.stdout.splitlines()) == 1
    assert done.stdout.count("device_exports.py") == 2


@pytest.mark.soak
def test_its_small_form_fills_both_tables_on_any_machine():
    done = run("--small")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "failed" not in done.stderr
    training, exports = (part.splitlines() for part in done.stdout.strip().split("\n\n")[-2:])
    assert len(training) >= 2 + 5
    assert len(exports) == 2 + 4
    for table in (training, exports):
        assert len({row.count("|") for row in table}) == 1
        assert all(row.startswith("| `tiny_fpn` | 64 px |") for row in table[2:])
