"""The package as users install it: built from the source archive and used from another folder.

Dependencies come from the environment of the tests, tfrcnn only from the wheel.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [
    *["tfrcnn", "tfrcnn.cli", "tfrcnn.data", "tfrcnn.evaluation", "tfrcnn.export", "tfrcnn.layers", "tfrcnn.models"],
    *[f"tfrcnn.export.{name}" for name in ("check", "measure", "onnx", "saved_model", "serving", "tflite")],
    *["tfrcnn.models.backbones", "tfrcnn.training", "tfrcnn.weights"],
]
# Tests of several components that need no data and take few seconds.
SUBSET = ["test_boxes.py", "test_config.py", "test_files.py", "evaluation/test_report.py", "layers/test_proposals.py"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist and then its wheel, in a copy of the sources without an earlier build/."""
    source = tmp_path_factory.mktemp("source")
    for name in ("tfrcnn", "export"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "build", "--outdir", source / "dist", source, cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a folder, with the console script in bin/."""
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", target, wheel, cwd=target)
    return target


def test_wheel_holds_all_packages_and_the_marker_for_type_checkers(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in PACKAGES:
        assert f"{package.replace('.', '/')}/__init__.py" in names
    assert "tfrcnn/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"tfrcnn"}


def test_every_source_file_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in ROOT.glob("tfrcnn/**/*.py")}
    sources |= {f"tfrcnn/{path.relative_to(ROOT)}" for path in ROOT.glob("export/**/*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    pages = [*ROOT.glob("tfrcnn/report/templates/*"), *ROOT.glob("tfrcnn/drawing/*.html")]
    assert {str(path.relative_to(ROOT)) for path in pages} <= names


def test_the_runtime_holds_the_same_files_and_asks_for_no_tensorflow(wheel: Path, tmp_path: Path) -> None:
    source = wheel.parents[1]
    shutil.copytree(ROOT / "packaging", source / "packaging", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    run(sys.executable, "-m", "build", "--wheel", "-o", tmp_path, source / "packaging/runtime", cwd=source)
    archive = zipfile.ZipFile(next(tmp_path.glob("tfrcnn_runtime-*.whl")))
    both = [
        {n for n in names if ".dist-info" not in n} for names in (archive.namelist(), zipfile.ZipFile(wheel).namelist())
    ]
    assert both[0] == both[1]
    metadata = archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))).decode()
    assert not [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "tensorflow" in line]
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_wheel_asks_for_tensorflow_under_the_name_that_was_chosen(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    metadata = archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))).decode()
    assert f"Requires-Dist: {os.environ.get('TFRCNN_TENSORFLOW', 'tensorflow')}<2.22,>=2.15" in metadata


def test_everything_is_imported_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = (
        "import tfrcnn, tfrcnn.export; print(tfrcnn.__file__, tfrcnn.export.__file__, tfrcnn.preset_names(), sep='\\n')"
    )
    printed = run(sys.executable, "-P", "-c", code, cwd=tmp_path, first_on_path=installed).splitlines()
    assert printed[0] == str(installed / "tfrcnn/__init__.py")
    assert printed[1] == str(installed / "tfrcnn/export/__init__.py")
    assert "mobilenet_v2_fpn" in printed[2]


def test_console_script_answers(installed: Path, tmp_path: Path) -> None:
    printed = run(installed / "bin/tfrcnn", "--version", cwd=tmp_path, first_on_path=installed)
    version = next(installed.glob("tfrcnn-*.dist-info")).name.removeprefix("tfrcnn-").removesuffix(".dist-info")
    assert printed == f"tfrcnn {version}"


def test_tests_pass_against_the_wheel(installed: Path, tmp_path: Path) -> None:
    for name in ("conftest.py", "evaluation/examples.py", *SUBSET):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "tests" / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = (sys.executable, "-P", "-m", "pytest", "-q", "-o", "testpaths=.", "-p", "no:cacheprovider")
    printed = run(*command, cwd=tmp_path, first_on_path=installed)
    assert " passed" in printed.splitlines()[-1]
    assert "failed" not in printed


def run(*command: str | Path, cwd: Path, first_on_path: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if first_on_path:
        environment["PYTHONPATH"] = str(first_on_path)
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
