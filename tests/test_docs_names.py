"""The paths, functions, tests, fields and options that README and the pages name exist."""

import ast
import importlib
import re
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import tfrcnn
from tfrcnn.cli.main import app
from tfrcnn.models.preset_table import PRESETS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAPER = ROOT / "docs/paper-to-code.md"
FOLDERS = ("tfrcnn", "export", "tests", "benchmarks", "docs", "notebooks")
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@EACH_PAGE
def test_paths_exist(page: Path) -> None:
    """The page on the paper shortens paths (`layers/anchors.py`); the others name files of the reader too."""
    paths = [match[0] for code in codes(page) if (match := re.match(r"[\w./-]*(?:/|\.(?:py|cpp|ipynb))(?=:|$)", code))]
    if page != PAPER:
        paths = [path for path in paths if path.split("/")[0] in FOLDERS and "/" in path]
    assert not [path for path in paths if not is_path(path) and path not in {"last/", "export/NAME/"}]


@EACH_PAGE
def test_tests_exist(page: Path) -> None:
    """A name may be shortened, for example to `test_roughly_20000_anchors_...`."""
    names = [name for code in codes(page) for name in re.findall(r"\btest_\w+(?:\.\.\.|(?![\w./]))", code)]
    tests = " ".join(f"{name} " for path in sources("tests") for name in (path.stem, *definitions(path)))
    assert not [name for name in names if f" {name} ".replace("... ", "") not in tests]


@EACH_PAGE
def test_names_of_the_package_exist(page: Path) -> None:
    names = {name for code in codes(page) for name in re.findall(r"^tfrcnn(?:\.\w+)+", code)} - {"tfrcnn.json"}
    assert not [name for name in names if not is_importable(name)]


@EACH_PAGE
def test_fields_exist(page: Path) -> None:
    """A field is written by its path (`rpn.match.samples`) or by its class (`RPNConfig.channels`)."""
    starts: dict[str, Any] = {name: getattr(tfrcnn, name) for name in tfrcnn.__all__ if name.endswith("Config")}
    starts |= {"training": tfrcnn.TrainingConfig, "detector": tfrcnn.DetectorConfig, **parts(tfrcnn.DetectorConfig)}
    missing = []
    # A variable `detections` is a result; the field of that name is a configuration.
    of_results = {*dir(tfrcnn.ImageDetections), *tfrcnn.ImageDetections.__dataclass_fields__}
    for code in codes(page):
        head, *names = re.split(r"[=( ]", code)[0].split(".")
        kind = starts.get(head)
        # `training.json` and `detections.jsonl` are files; `detector.config` is no field.
        if kind is None or names[:1] in (["json"], ["jsonl"], ["config"]):
            continue
        if head == "detections" and {*names[:1]} <= of_results:
            continue
        for name in names:
            if name not in getattr(kind, "__dataclass_fields__", {}):
                missing.append(code)
            kind = parts(kind).get(name)
    assert not missing


@EACH_PAGE
def test_options_exist(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    options = {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in group.commands.items()
    }
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    shell = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    for line in [*shell, *codes(page)]:
        match = re.match(r"\s*tfrcnn ([a-z][\w-]*)([^#|&;]*)", line)
        if match:
            assert match[1] in options, line
            assert set(re.findall(r"(?<!\S)--[\w-]+", match[2])) <= options[match[1]], line


@pytest.mark.slow
def test_names_in_the_code_of_the_paper_exist() -> None:
    """They are written as `layers/anchors.py: Name`, `module.name`, `Class.member`, `some_name` or a preset's name."""
    members: dict[str, set[str]] = {}
    for path in [*sources("tfrcnn"), *sources("export")]:
        for owner in (path.stem, path.parent.name):
            members[owner] = members.get(owner, set()) | definitions(path)
        members |= class_members(path)
    every = {*members, *PRESETS}.union(*members.values())
    missing = []
    for code in codes(PAPER):
        name = re.split(r"[=(\[]", re.sub(r"^[\w/]*?(\w+)\.py: ", r"\1.", code))[0].removeprefix("tfrcnn.")
        owner, _, member = name.rpartition(".")
        if re.search(r"\.(py|json)$|^tf\.|^test_|[^\w.]", name):
            continue
        if owner and member not in members.get(owner, set()) | {"replace"}:
            missing.append(code)
        if not owner and re.search("_|[A-Z]", name) and name not in every:
            missing.append(code)
    assert not missing


def test_the_checks_notice_wrong_names(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`tests/none.py` `test_none` `tfrcnn.none()` `rpn.none` `tfrcnn train --none`\n", encoding="utf-8")
    checks = test_paths_exist, test_tests_exist, test_names_of_the_package_exist, test_fields_exist, test_options_exist
    for check in checks:
        with pytest.raises(AssertionError):
            check(page)


def codes(page: Path) -> list[str]:
    """The inline code of a page."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    return re.findall(r"`([^`\n]+)`", text)


@cache
def sources(folder: str) -> tuple[Path, ...]:
    """The Python files of a folder."""
    return tuple(sorted((ROOT / folder).rglob("*.py")))


@cache
def is_path(name: str) -> bool:
    """Whether a path exists, from the root, or anywhere if it is shortened."""
    inside = (path.as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob(Path(name).name))
    return (ROOT / name).exists() or any(path.endswith(f"/{name.rstrip('/')}") for path in inside)


@cache
def definitions(path: Path) -> set[str]:
    """All functions, classes and variables of a source."""
    return set(names_of(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))


def class_members(path: Path) -> dict[str, set[str]]:
    """The methods and fields of each class of a source."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name: set(names_of(node.body)) for node in tree if isinstance(node, ast.ClassDef)}


def names_of(nodes: typing.Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def is_importable(name: str) -> bool:
    """Whether a dotted name is a module, or a member of a module or class."""
    value: Any = tfrcnn
    for end, part in enumerate(name.split(".")[1:], 2):
        if not hasattr(value, part):
            try:
                importlib.import_module(".".join(name.split(".")[:end]))
            except ImportError:
                return part in getattr(value, "__dataclass_fields__", {})
        value = getattr(value, part)
    return True


def parts(kind: Any) -> dict[str, Any]:
    """The fields of a configuration that are configurations; an optional one counts."""
    if not hasattr(kind, "__dataclass_fields__"):
        return {}
    hints = {name: (hint, *typing.get_args(hint)) for name, hint in typing.get_type_hints(kind).items()}
    return {name: kind for name, kinds in hints.items() for kind in kinds if hasattr(kind, "__dataclass_fields__")}
