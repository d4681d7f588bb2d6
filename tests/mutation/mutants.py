"""Count the mutants of a module that its tests kill: docs/testing.md has the commands and the scores.

cosmic-ray changes one place of the module at a time, in a copy of the checkout, and runs the module's tests. The
copy, with the results in session.sqlite and the server's log, stays in `--folder`.
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkResult
from server import WALL_CLOCK

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SETTINGS = tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8"))
OPERATORS = re.compile(f"core/({'|'.join(SETTINGS['operators'])})$")


def main() -> None:
    """Parse the command line and run one module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", choices=sorted(SETTINGS["tests"]), help="the module to mutate")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/tfrcnn-mutants"), help="where the copy goes")
    parser.add_argument("--timeout", type=int, default=90, help="seconds of processor time per mutant")
    options = parser.parse_args()
    folder = options.folder.resolve() / options.module.replace("/", "-")
    source = Path(f"tfrcnn/{options.module}.py")
    session = folder / "session.sqlite"
    shutil.rmtree(folder, ignore_errors=True)
    copy_checkout(folder)
    write_config(folder, source, SETTINGS["tests"][options.module], options.timeout)
    cosmic_ray(folder, "init", "cosmic-ray.toml", session)
    with use_db(session) as database:
        skip(database, (folder / source).read_text(encoding="utf-8"))
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen([sys.executable, HERE / "server.py", "socket"], cwd=folder, stdout=log, stderr=log)
    try:
        while not (folder / "socket").exists():
            assert server.poll() is None, f"the server ended: see {folder / 'server.log'}"
            time.sleep(0.1)
        cosmic_ray(folder, "baseline", "cosmic-ray.toml")
        cosmic_ray(folder, "exec", "cosmic-ray.toml", session)
        cosmic_ray(folder, "baseline", "cosmic-ray.toml")  # a full disk, say, would have killed every mutant
    finally:
        server.terminate()
        server.wait()
        (folder / "socket").unlink(missing_ok=True)
    with use_db(session) as database:
        report(options.module, database)


def copy_checkout(folder: Path) -> None:
    """Copy the files that git lists; export/ goes where an installation has it."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in files.decode().split("\0")[:-1]:
        if name.endswith((".py", ".toml", ".json")):
            target = folder / (f"tfrcnn/{name}" if name.startswith("export/") else name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())


def write_config(folder: Path, source: Path, tests: list[str], timeout: int) -> None:
    """Write the configuration of cosmic-ray."""
    command = f"{sys.executable} -S -E {HERE / 'client.py'} socket {timeout} {' '.join(tests)}"
    lines = [
        "[cosmic-ray]",
        f'module-path = "{source}"',
        f"timeout = {WALL_CLOCK * timeout + 30}",
        "excluded-modules = []",
        f'test-command = "{command}"',
        "[cosmic-ray.distributor]",
        'name = "local"',
    ]
    (folder / "cosmic-ray.toml").write_text("\n".join(lines) + "\n")


def cosmic_ray(folder: Path, *arguments: str | Path) -> None:
    """Run a command of cosmic-ray in the copy."""
    subprocess.run([sys.executable, "-m", "cosmic_ray.cli", *map(str, arguments)], cwd=folder, check=True)


def skip(database: WorkDB, source: str) -> None:
    """Leave out mutants that mean nothing: the reasons are in docs/testing.md."""
    spans = list(meaningless(ast.parse(source)))
    for item in database.pending_work_items:
        (mutation,) = item.mutations
        within = any(start <= mutation.start_pos < end for start, end in spans)
        if within or not OPERATORS.match(mutation.operator_name):
            result = WorkResult(output="skipped", worker_outcome=WorkerOutcome.SKIPPED)
            database.set_result(item.job_id, result)


Span = tuple[tuple[int, int], tuple[int, int]]


def meaningless(tree: ast.Module) -> Iterator[Span]:
    """Yield start and end of annotations, decorators, f-strings and the stars of {**values}."""
    for node in ast.walk(tree):
        parts: list[ast.expr | None] = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        parts += getattr(node, "decorator_list", [])
        if isinstance(node, ast.JoinedStr):
            parts.append(node)
        if isinstance(node, ast.Dict):
            unpacked = (value for key, value in zip(node.keys, node.values) if key is None)
            yield from (((v.lineno, v.col_offset - 2), (v.lineno, v.col_offset)) for v in unpacked)
        for part in parts:
            if part is not None:
                end = part.end_lineno or part.lineno, part.end_col_offset or part.col_offset
                yield (part.lineno, part.col_offset), end


def report(module: str, database: WorkDB) -> None:
    """Print the survivors, each as a line number, the line and the changed line, and the score."""
    done = [pair for pair in database.completed_work_items if pair[1].worker_outcome is not WorkerOutcome.SKIPPED]
    survivors = [(item.mutations[0].start_pos[0], result.diff or "") for item, result in done if not result.is_killed]
    for line, diff in sorted(survivors):
        print(line, *(text for text in diff.splitlines()[3:] if text[:1] in ("-", "+")), sep="\n")
    killed = len(done) - len(survivors)
    print(f"{module}: {len(done)} mutants, {killed} killed ({killed / max(len(done), 1):.1%})", end="")
    print(f", {len(database.pending_work_items)} left to run")


if __name__ == "__main__":
    main()
