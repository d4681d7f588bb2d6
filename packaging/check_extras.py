"""Install each extra alone into a new environment, and import what it brings.

    python packaging/check_extras.py                  # each extra of setup.py, then all but addons together
    python packaging/check_extras.py tune weights     # some
    python3.13 packaging/check_extras.py onnx         # with another Python
    python packaging/check_extras.py --uv             # installs by uv, which keeps what it has downloaded
    python packaging/check_extras.py --resolve 3.13   # only choose versions, for a Python that need not be here
    python packaging/check_extras.py --resolve 3.11 --tensorflow 2.15 onnx

Prints one line per extra. Each environment has its own TensorFlow: 2 GB and minutes each, one at a time. `--uv` and
`--resolve` need `uv` on PATH, and take seconds each.
"""

from __future__ import annotations

import argparse
import runpy
import subprocess
import sys
import tempfile
import venv
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OTHER_TENSORFLOW = {"addons"}  # cannot be together with the rest
MAIN_PACKAGES = ("keras", "numpy", "onnx", "tensorflow")
SOURCE_ONLY = "promise"  # of tensorflow-datasets, in Python alone

# Runs in the new environment: imports tfrcnn, then the modules of each package that the extra names.
IMPORTS = """
import importlib, sys, warnings
from importlib.metadata import packages_distributions, requires
from pip._vendor.packaging.requirements import Requirement
warnings.simplefilter("ignore")
import tfrcnn
tfrcnn.Recipe
requirements = [Requirement(line) for line in requires("tfrcnn")]
extras = sys.argv[1].split(",")
names = {r.name.lower() for r in requirements for e in extras if r.marker and r.marker.evaluate({"extra": e})}
modules = sorted(m for m, ds in packages_distributions().items() if names & {d.lower() for d in ds} and m[0] != "_")
for module in modules:
    importlib.import_module(module)
print(len(modules), "modules:", *modules)
"""


def check(extra: str, uv: bool) -> bool:
    """Install an extra, or several with commas between them, and print what became of it."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder, "bin", "python"))
        pip = ["uv", "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
        for command in ([*pip, "--quiet", f"{ROOT}[{extra}]"], [python, "-c", IMPORTS, extra]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:]
                print(f"{extra}: failed: {''.join(last)}", flush=True)
                return False
    print(f"{extra}: {done.stdout.strip()}", flush=True)
    return True


def resolve(extra: str, python: str, tensorflow: str | None) -> bool:
    """Choose versions that have wheels for a Python, and print those of the main packages."""
    lines = [line for name in ["", *extra.split(",")] for line in requirements()[name]]
    lines += [f"tensorflow=={tensorflow}.*"] if tensorflow else []
    wheels = ["--only-binary", ":all:", "--no-binary", SOURCE_ONLY]
    command = ["uv", "pip", "compile", "-", "--quiet", "--no-annotate", "--python-version", python, *wheels]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
    shown = [line for line in done.stdout.splitlines() if line.split("==")[0] in MAIN_PACKAGES]
    print(f"{extra}: {' '.join(shown) if not done.returncode else f'failed: {done.stderr.strip()}'}", flush=True)
    return not done.returncode


@cache
def requirements() -> dict[str, list[str]]:
    """Return the requirements of each extra of setup.py; those of all users have the name ""."""
    found: dict[str, Any] = {}
    # a clean Python 3.12 has no setuptools
    sys.modules["setuptools"] = SimpleNamespace(setup=found.update)  # type: ignore[assignment]
    runpy.run_path(str(ROOT / "setup.py"))
    return {"": found["install_requires"], **found["extras_require"]}


def names() -> list[str]:
    """List the extras of setup.py, without the one of developers."""
    return sorted(requirements().keys() - {"", "dev"})


def main() -> int:
    """Check the extras that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", help="Default: each of setup.py, then all together.")
    parser.add_argument("--uv", action="store_true", help="Install by uv instead of pip.")
    parser.add_argument("--resolve", metavar="PYTHON", help="Only choose versions for this Python, for example 3.13.")
    parser.add_argument("--tensorflow", metavar="X.Y", help="With --resolve: next to this TensorFlow.")
    options = parser.parse_args()
    extras = options.extras
    if not extras:
        extras = names()
        extras.append(",".join(extra for extra in extras if extra not in OTHER_TENSORFLOW))
    if options.resolve:
        return 1 - min([resolve(extra, options.resolve, options.tensorflow) for extra in extras])
    return 1 - min([check(extra, options.uv) for extra in extras])


if __name__ == "__main__":
    sys.exit(main())
