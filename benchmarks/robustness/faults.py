"""Cause the faults of a disk, a terminal and a machine, and print what each command does, as the table of the docs.

    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/robustness/faults.py [--only WORD ...] [--list]

Full and read-only disks are small file systems in memory that the program mounts: these rows need Linux and root, and
are skipped elsewhere. Every outcome has the exit code, the lines of the message, and what is left in the folder. It
takes 30 to 50 minutes on 2 CPU cores. To add a row, write a function with the decorator `fault`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from place import TFRCNN, Place
from writers import WITH_RUN, WRITERS, shown, writer

Row = Callable[[Place], tuple[str, str]]
FAULTS: dict[str, Row] = {}


def fault(name: str) -> Callable[[Row], Row]:
    """Add a row: the function causes the fault and returns the command and its outcome."""

    def add(row: Row) -> Row:
        FAULTS[name] = row
        return row

    return add


def outcome(done: subprocess.CompletedProcess[str], left: Path | None = None) -> str:
    """Say in one cell how a command ended: its code, its error, and the files that it left."""
    lines = (done.stdout + done.stderr).splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    traceback = any("Traceback" in line for line in lines)
    raw = "\x1b" in done.stdout + done.stderr
    parts = [f"exit code {done.returncode}"]
    parts += [f"TRACEBACK of {len(lines)} lines"] if traceback else []
    parts += ["RAW ESCAPE SEQUENCES"] if raw else []
    parts += [f"`{errors[-1]}`"] if errors else []
    if left is not None:
        files = sorted(str(path.relative_to(left)) for path in left.rglob("*") if path.is_file())
        temporary = [name for name in files if ".tmp" in name]
        parts.append(f"TEMPORARY FILES {temporary}" if temporary else "nothing half-written")
    return ", ".join(parts)


@contextmanager
def disk(place: Place, options: str, fill: bool = False) -> Iterator[Path]:
    """Mount a file system in memory; `fill` leaves no byte of it."""
    folder = Path(tempfile.mkdtemp(dir=place.folder))
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        if fill:
            with suppress(OSError), open(folder / "others", "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


DISKS = {"full disk": "size=64k", "disk of 8 kB": "size=8k", "read-only disk": "ro"}  # options of their mount


def add_rows_of_disks() -> None:
    """Add a row for each command that writes and each disk that does not take it."""
    for command in WRITERS:
        for kind, options in DISKS.items():

            @fault(f"{command}, {kind}")
            def on_disk(
                place: Place, command: str = command, kind: str = kind, options: str = options
            ) -> tuple[str, str]:
                with disk(place, options, fill=kind == "full disk") as target:
                    words = writer(command, place, target)
                    return f"mount -t tmpfs -o {options}; {shown(words)}", outcome(place.tfrcnn(*words), target)

        @fault(f"{command}, --out below a file")
        def below_a_file(place: Place, command: str = command) -> tuple[str, str]:
            words = writer(command, place, place.data)
            return shown(words), outcome(place.tfrcnn(*words))


READ_ONLY = "mount -o remount,bind,ro / && export HOME=/nonexistent {temporary} && cd / && {command}"


def add_rows_of_read_only_machines() -> None:
    """Add rows on a machine that takes files in `--out` and TMPDIR alone, as a hardened container, or in `--out`."""
    for command, temporary in (
        *((command, "TMPDIR=/dev/shm") for command in ("doctor", *WRITERS)),
        ("predict", "TMPDIR="),
    ):

        @fault(f"{command}, {temporary}, all but --out read-only")
        def on_machine(place: Place, command: str = command, temporary: str = temporary) -> tuple[str, str]:
            with disk(place, "size=1g") as target:
                words = writer(command, place, target)
                line = READ_ONLY.format(command=shlex.join([TFRCNN, *words]), temporary=temporary)
                done = subprocess.run(
                    ["unshare", "-m", "bash", "-c", line], capture_output=True, text=True, check=False
                )
                return f"mount -o remount,bind,ro /; {temporary} {shown(words)}", outcome(done, target)


@fault("standard output on a full disk")
def full_output(place: Place) -> tuple[str, str]:
    return "tfrcnn doctor > /dev/full", outcome(place.tfrcnn("doctor", "--data", place.data, shell="> /dev/full"))


@fault("standard output closed")
def closed_output(place: Place) -> tuple[str, str]:
    return "tfrcnn doctor >&- 2>&-", outcome(place.tfrcnn("doctor", "--data", place.data, shell=">&- 2>&-"))


@fault("the reader has gone")
def pipe_to_head(place: Place) -> tuple[str, str]:
    return "tfrcnn doctor | head -1", outcome(place.tfrcnn("doctor", "--data", place.data, shell="| head -1"))


for variables in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
    text = " ".join(f"{name}={value}" for name, value in variables.items())
    for command in ("doctor", "data", "convert", "train", "import-weights", *WITH_RUN):

        @fault(f"{command}, {text}, names in Hangul and with escape sequences")
        def in_locale(
            place: Place, command: str = command, variables: dict[str, str] = variables, text: str = text
        ) -> tuple[str, str]:
            target = Path(tempfile.mkdtemp(dir=place.folder))
            words = writer(command, place, target)
            return f"{text} {shown(words)}", outcome(place.tfrcnn(*words, **variables))


def add_rows_of_signals() -> None:
    """Add rows for each signal that ends a training or a prediction, which is then resumed."""
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):

        @fault(f"train, {number.name} after the first epoch")
        def stopped(place: Place, number: signal.Signals = number) -> tuple[str, str]:
            out = Path(tempfile.mkdtemp(dir=place.folder)) / "run"
            process = place.start(*place.train(out, epochs=6))
            wait_for(process, out / "history.csv")
            os.killpg(process.pid, number)
            process.communicate()
            done = place.tfrcnn("train", "--resume", "--out", out)
            rows = len((out / "history.csv").read_text().splitlines()) - 1
            resumed = f"ended with {process.returncode}; --resume: {outcome(done, out)}, {rows} epochs"
            return f"kill -{number.name[3:]} PID; tfrcnn train --resume --out run", resumed

        @fault(f"predict, {number.name} after some pictures")
        def stopped_in_predict(place: Place, number: signal.Signals = number) -> tuple[str, str]:
            pictures, out = place.many_pictures, Path(tempfile.mkdtemp(dir=place.folder)) / "out"
            words = ["predict", "--model", str(place.run), str(pictures), "--out", str(out)]
            process = place.start(*words)
            wait_for(process, out / "detections.jsonl", lines=20)
            os.killpg(process.pid, number)
            process.communicate()
            before = len((out / "detections.jsonl").read_text().splitlines()) - 1
            done = place.tfrcnn(*words, "--resume")
            rows = len(json.loads((out / "images.json").read_text())["images"])
            resumed = f"ended with {process.returncode} after {before} pictures; --resume: {outcome(done, out)}"
            return f"kill -{number.name[3:]} PID; tfrcnn predict --resume", f"{resumed}, {rows} pictures"


@fault("train, two writers of one folder")
def two_writers(place: Place) -> tuple[str, str]:
    out = Path(tempfile.mkdtemp(dir=place.folder)) / "run"
    process = place.start(*place.train(out, epochs=1000))
    wait_for(process, out / "history.csv")
    second = outcome(place.tfrcnn("train", "--resume", "--out", out))
    ran = process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    words = "tfrcnn train --out run & tfrcnn train --resume --out run"
    return words, f"the first {'still ran' if ran else 'HAD ENDED'}; the second: {second}"


@fault("predict, two writers of one folder")
def two_predictions(place: Place) -> tuple[str, str]:
    out = Path(tempfile.mkdtemp(dir=place.folder)) / "out"
    words = ["predict", "--model", str(place.run), str(place.many_pictures), "--out", str(out)]
    process = place.start(*words)
    wait_for(process, out / "detections.jsonl", lines=2)
    second = outcome(place.tfrcnn(*words, "--resume"))
    ran = process.poll() is None
    process.communicate()
    rows = len(json.loads((out / "images.json").read_text())["images"])
    first = f"the first {'still ran' if ran else 'HAD ENDED'} and ended with {process.returncode}, {rows} pictures"
    return "tfrcnn predict --out out & tfrcnn predict --out out --resume", f"{first}; the second: {second}"


@fault("predict, the folder of the results is deleted meanwhile")
def deleted_results(place: Place) -> tuple[str, str]:
    out = Path(tempfile.mkdtemp(dir=place.folder)) / "out"
    process = place.start("predict", "--model", str(place.run), str(place.many_pictures), "--out", str(out))
    wait_for(process, out / "detections.jsonl", lines=20)
    shutil.rmtree(out, ignore_errors=True)
    text, _ = process.communicate()
    return "rm -r out", outcome(subprocess.CompletedProcess([], process.returncode, text, ""))


@fault("export onnx, SIGKILL while it writes")
def killed_export(place: Place) -> tuple[str, str]:
    target = Path(tempfile.mkdtemp(dir=place.folder))
    words = writer("export onnx", place, target)
    process = place.start(*words)
    wait_for(process, target, "*.tmp*", seconds=0.0002)  # the file is there for milliseconds
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    complete = "A FILE" if (target / "model.onnx").exists() else "no file"
    again = outcome(place.tfrcnn(*words), target)
    return "kill -9 PID; tfrcnn export", f"{complete} of that name is left; the same command again: {again}"


@fault("train, the run folder is deleted meanwhile")
def deleted_folder(place: Place) -> tuple[str, str]:
    out = Path(tempfile.mkdtemp(dir=place.folder)) / "run"
    process = place.start(*place.train(out, epochs=6))
    wait_for(process, out / "history.csv")
    shutil.rmtree(out, ignore_errors=True)
    text, _ = process.communicate()
    return "rm -r run", outcome(subprocess.CompletedProcess([], process.returncode, text, ""))


@fault("train, the images are deleted meanwhile")
def deleted_images(place: Place) -> tuple[str, str]:
    other = Place(Path(tempfile.mkdtemp(dir=place.folder)))
    out = other.folder / "run"
    process = other.start(*other.train(out, epochs=6))
    wait_for(process, out / "history.csv")
    for path in other.data.parent.glob("*.png"):
        path.unlink()
    text, _ = process.communicate()
    return "rm data/*.png", outcome(subprocess.CompletedProcess([], process.returncode, text, ""), out)


class NotCausedError(Exception):
    """A fault that came too late for its process."""


def wait_for(
    process: subprocess.Popen[str], path: Path, pattern: str = "", lines: int = 0, seconds: float = 0.05
) -> None:
    """Look every `seconds` until a process has written a file with a number of lines; with a pattern, in a folder."""
    while not (any(path.glob(pattern)) if pattern else path.exists()) or (
        lines and len(path.read_bytes().splitlines()) < lines
    ):
        if process.poll() is not None:
            raise NotCausedError(f"the process ended before {path.name}{pattern} was seen")
        time.sleep(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="Run the rows whose name has a word.")
    parser.add_argument("--list", action="store_true", help="Print the names of the rows.")
    options = parser.parse_args()
    names = dict.fromkeys(name for word in options.only for name in FAULTS if word in name)
    if options.list:
        print("\n".join(names))
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup and a shell's & start processes that ignore it
    can_mount = sys.platform == "linux" and os.geteuid() == 0
    print("| fault | command | outcome |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        for name in names:
            if name.endswith(tuple(f", {kind}" for kind in (*DISKS, "all but --out read-only"))) and not can_mount:
                print(f"| {name} | | skipped: mounting a disk needs root on Linux |", flush=True)
                continue
            try:
                command, result = FAULTS[name](place)
            except NotCausedError as error:
                command, result = "", f"NOT CAUSED: {error}"
            print(f"| {name} | `{command}` | {result.replace(folder, '')} |", flush=True)


add_rows_of_disks()
add_rows_of_read_only_machines()
add_rows_of_signals()
if __name__ == "__main__":
    main()
