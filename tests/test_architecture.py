"""The shape of the code: imports point one way, files and functions stay small, every package is listed.

A component is a package (layers, models, ...) or a module (boxes, config, ...) directly in `tfrcnn`.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BASE = {
    "backend",
    "config",
    "config_base",
    "config_detections",
    "config_losses",
    "config_rpn",
    "config_training",
    "deprecation",
    "errors",
    "files",
    "locks",
    "printable",
}
LEAVES = {*BASE, "boxes", "compat", "images", "installed", "overlap", "pixels", "processes", "run_description", "seeds"}
LIBRARY = {
    *LEAVES,
    "data",
    "evaluation",
    "kernels",
    "models",
    "inference",
    "predictor",
    "prediction",
    "predicting",
    "results",
    "result_formats",
    "report",
    "drawing",
    "views",
    "visualize",
    "explanation",
    "training",
    "weights",
    "export",
    "runtime",
    "batch",
    "buckets",
    "demo",
    "plots",
}

# The other components that each component may import. Add a new component here, and think where it belongs.
MAY_IMPORT = {
    "config": {
        *("config_base", "config_cascade", "config_detections", "config_losses", "config_rpn", "config_training"),
        "errors",
    },
    "config_detections": {"config_base", "config_rpn", "errors"},
    "config_cascade": {"config_base", "config_losses", "config_rpn"},
    "config_losses": {"config_base"},
    "config_rpn": {"config_base", "config_losses", "deprecation"},
    "config_training": {"config_base"},
    "config_base": {"errors", "printable"},
    "categories": {"config", "errors"},
    "detections": {"categories", "config", "errors", "overlap", "pixels", "drawing.html", "drawing.images"},
    "backend": {"errors", "installed"},
    "compat": {"errors"},
    "errors": set(),
    "deprecation": set(),
    "files": {"errors"},
    "locks": {"errors", "printable"},
    "overlap": set(),
    "printable": set(),
    "seeds": {"config_base"},
    "boxes": BASE,
    "images": BASE,
    "pixels": {"errors"},
    "processes": {"errors"},
    "installed": {"errors"},
    "run_description": {"config", "config_base", "errors", "files", "locks"},
    "buckets": {*BASE, "data.copies", "data.download", "data.remote", "data.remote_files", "run_description"},
    "matching": {*BASE, "boxes"},
    "data": {*LEAVES, "detections"},
    "evaluation": {*LEAVES, "categories", "data.example", "data.example_table"},
    "kernels": LEAVES,
    "layers": {*LEAVES, "kernels"},
    "models": {*LEAVES, "buckets.models", "kernels", "layers", "weights.read", "weights.torch_layout"},
    "drawing": {*BASE, "data.decode", "data.example", "detections", "evaluation", "overlap"},
    "visualize": {*BASE, "drawing"},
    "explanation": {*LEAVES, "data.inputs", "drawing", "models"},
    "inference": {*LEAVES, "data", "layers", "models"},
    "predictor": {*LEAVES, "categories", "data", "export", "inference", "models", "weights"},
    "report": {*LEAVES, "data", "drawing", "evaluation", "models"},
    "prediction": {*LEAVES, "data", "inference", "drawing", "predicting", "results", "result_formats"},
    "predicting": {*LEAVES, "categories", "data", "inference", "drawing", "results"},
    "results": {*BASE, "result_formats"},
    "result_formats": BASE,
    "views": {*BASE, "data.decode", "data.example", "data.inputs"},
    "training": {
        *LEAVES,
        "buckets",
        "matching",
        "data",
        "evaluation",
        "layers",
        "models",
        "weights",
        "inference",
        "drawing",
    },
    "weights": {*LEAVES, "buckets.models", "data.download", "layers", "models"},
    "export": {
        *LEAVES,
        "buckets.models",
        "categories",
        "data",
        "drawing",
        "evaluation",
        "explanation",
        "inference",
        "kernels",
        "layers",
        "models",
    },
    "runtime": {"export", "installed"},
    "batch": {*LEAVES, "data.inputs", "data.media", "data.search", "data.tfrecord", "export", "predicting", "results"},
    "demo": {*LEAVES, "data", "models", "training"},
    "plots": BASE,
    "cli": {"__version__", *LIBRARY},
}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_ARGUMENTS = 300, 60, 8


def test_imports_point_one_way() -> None:
    wrong = []
    for path, module in modules():
        component = module.split(".")[1] if "." in module else None
        if component:
            assert component in MAY_IMPORT, f"{path}: say in MAY_IMPORT what {component} may import"
            allowed = {f"tfrcnn.{name}" for name in (component, *MAY_IMPORT[component])}
            names = imported(ast.walk(parsed(path)), module, path.name == "__init__.py")
            wrong += [f"{path}: {n}" for n in names if within(n, {"tfrcnn"}) and not within(n, allowed)]
    assert not wrong


def test_the_rules_would_notice_a_wrong_import() -> None:
    source = "from ..models import build\nfrom . import x\nimport tfrcnn.data.coco\nfrom tfrcnn import boxes, cli"
    names = ["tfrcnn.models.build", "tfrcnn.export.x", "tfrcnn.data.coco", "tfrcnn.boxes", "tfrcnn.cli"]
    assert list(imported(ast.walk(ast.parse(source)), "tfrcnn.export.onnx")) == names
    assert within("data.example.Example", {"data.example"})
    assert not within("data.examples", {"data.example"})
    assert not any("cli" in may for may in MAY_IMPORT.values())
    assert [name for name, may in MAY_IMPORT.items() if "matching" in may] == ["training"]
    assert "training" not in MAY_IMPORT["export"]
    assert "export" not in MAY_IMPORT["training"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions count; those for type checkers alone do not."""
    assert (
        circles(dependencies({module: (parsed(path), path.name == "__init__.py") for path, module in modules()})) == []
    )


def test_the_rule_would_notice_a_circle() -> None:
    sources = {
        "tfrcnn": ("", True),
        "tfrcnn.a": ("from .b import thing", False),
        "tfrcnn.b": ("def f():\n    from tfrcnn import c", False),
        "tfrcnn.c": ("import tfrcnn.a", False),
        "tfrcnn.d": (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tfrcnn import a\nimport tfrcnn.a",
            False,
        ),
        "tfrcnn.p": ("from tfrcnn.p.x import thing\nfrom tfrcnn.p.y import thing", True),
        "tfrcnn.p.x": ("from tfrcnn.p import y", False),
        "tfrcnn.p.y": ("from tfrcnn.p import thing", False),
    }
    graph = dependencies({name: (ast.parse(source), package) for name, (source, package) in sources.items()})
    assert graph["tfrcnn.d"] == {"tfrcnn.a"}
    assert circles(graph) == [["tfrcnn.a", "tfrcnn.b", "tfrcnn.c"], ["tfrcnn.p", "tfrcnn.p.x", "tfrcnn.p.y"]]


def test_importing_tfrcnn_imports_nothing_of_it() -> None:
    assert set(imported(parsed(ROOT / "tfrcnn/__init__.py").body)) == {
        "importlib",
        "sys",
        "typing.TYPE_CHECKING",
        "typing.Any",
    }


def test_commands_import_nothing_heavy_before_they_run() -> None:
    light = {
        "tfrcnn.__version__",
        "tfrcnn.errors",
        "tfrcnn.files",
        "tfrcnn.installed",
        "tfrcnn.locks",
        "tfrcnn.printable",
        "tfrcnn.config",
        "tfrcnn.config_base",
        "tfrcnn.config_training",
        "tfrcnn.export.TARGETS",
        "tfrcnn.cli",
        "typer",
    }
    for path, module in modules():
        if module.startswith("tfrcnn.cli"):
            names = [name for name in imported(parsed(path).body) if name.split(".")[0] not in sys.stdlib_module_names]
            assert [name for name in names if not within(name, light)] == [], path


def test_layers_and_models_use_tensorflow_not_keras_ops() -> None:
    for path, module in modules():
        if within(module, {"tfrcnn.kernels", "tfrcnn.layers", "tfrcnn.models"}):
            assert "keras.ops" not in [*imported(ast.walk(parsed(path))), *attributes(path)], path


def test_exports_import_relatively() -> None:
    """The code of exports is in export/, which becomes tfrcnn.export when it is installed."""
    for path, module in modules():
        if within(module, {"tfrcnn.export"}):
            absolute = [n for n in ast.walk(parsed(path)) if not (isinstance(n, ast.ImportFrom) and n.level)]
            assert not [name for name in imported(absolute) if within(name, {"tfrcnn"})], path


def test_every_file_says_what_it_is() -> None:
    assert [path for path, _ in modules() if not ast.get_docstring(parsed(path))] == []


def test_files_are_short() -> None:
    for path, _ in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MAX_FILE_LINES, f"{path} has {lines} lines"


def test_functions_are_short() -> None:
    """Signatures and docstrings do not count."""
    for path, function in functions():
        body = function.body[1:] if ast.get_docstring(function) else function.body
        length = (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
        assert length <= MAX_FUNCTION_LINES, f"{path}: {function.name} has {length} lines"


def test_constructors_have_few_arguments() -> None:
    for path, function in functions():
        if function.name == "__init__":
            count = len(function.args.args) + len(function.args.kwonlyargs) - 1
            assert count < MAX_ARGUMENTS, f"{path}:{function.lineno} has {count}: group them in a dataclass"


def test_setup_lists_every_package() -> None:
    call = next(
        node
        for node in ast.walk(parsed(ROOT / "setup.py"))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setup"
    )
    listed = next(ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg == "packages")
    packages = {module for path, module in modules() if path.name == "__init__.py"}
    assert set(listed) == packages


@pytest.mark.parametrize("name", ["conftest.py", "tests/__init__.py", "notebooks/__init__.py"])
def test_nothing_puts_the_checkout_on_the_path(name: str) -> None:
    """Such a file would hide a package that is missing from the wheel."""
    assert not (ROOT / name).exists()


@cache
def modules() -> tuple[tuple[Path, str], ...]:
    """Return every source file with its module's name; export/ is tfrcnn.export."""
    files = []
    for path in sorted([*ROOT.glob("tfrcnn/**/*.py"), *ROOT.glob("export/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = ("tfrcnn", *parts) if parts[0] == "export" else parts
        files.append((path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)))
    assert len(files) > 50
    return tuple(files)


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path, _ in modules():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(nodes: Iterable[ast.AST], module: str = "", is_package: bool = False) -> Iterator[str]:
    """Yield the full names that import statements bring in; relative imports need the name of their module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            above = parts[: len(parts) - node.level + is_package] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{home}.{alias.name}" for alias in node.names)


def dependencies(trees: dict[str, tuple[ast.Module, bool]]) -> dict[str, set[str]]:
    """Return which of the modules each one imports; the trees say whether a module is a package's `__init__`.

    `from package import name` depends on the submodule of that name, or on the package if there is none.
    """
    graph = {}
    for module, (tree, is_package) in trees.items():
        checked_only = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            for statement in node.body
            for inner in ast.walk(statement)
        }
        nodes = [node for node in ast.walk(tree) if node not in checked_only]
        names = set(imported(nodes, module, is_package))
        graph[module] = {name if name in trees else name.rpartition(".")[0] for name in names} & set(trees) - {module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other, sorted."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        return seen

    reached = {module: reach(module) for module in graph}
    groups = {tuple(sorted(b for b in graph if b in reached[a] and a in reached[b])) for a in graph}
    return sorted(list(group) for group in groups if group)


def attributes(path: Path) -> list[str]:
    """Return every `a.b` in a file."""
    nodes = [n for n in ast.walk(parsed(path)) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    return [f"{n.value.id}.{n.attr}" for n in nodes]


def within(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)
