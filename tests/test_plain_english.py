"""The prose of the project: short direct sentences, the field's words, no history in code.

Rates are per 1000 words. The limits are the rates of segment-anything, keras-hub, supervision and httpx.
Run the file as a program to see each line at fault:

    python tests/test_plain_english.py [PATH ...]
"""

import ast
import io
import json
import math
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("tfrcnn", "export", "benchmarks", "tests", "notebooks", "docs")

# A sentence starts a block (paragraph, list item, field of a docstring) or follows a full stop.
START = r"(?:\A|(?<=[.!?:]\s)|(?<=[.!?]\)\s)|(?<=[.!?][\"'*]\s))[\s\"'*(]*"
# Each word has a plain substitute: fix, report, any, next to, again, "has" and "also".
ODD = r"mend(?:s|ed|ing)?|tell(?:s|ing)?|told|whatever|beside|anew|bears|likewise"
FAULTS = {
    "that of / those of": (re.compile(r"\b(?:that|those)\s+of\b", re.IGNORECASE), 0.2),
    # A question may open with these words, as in a FAQ.
    "sentences opening with Of/What/Where/With/Whether": (
        re.compile(START + r"(?:Of|What|Where|With|Whether)\b(?![^.!?]*\?)"),
        1.5,
    ),
    "odd words": (re.compile(rf"\b(?:{ODD})\b", re.IGNORECASE), 1.0),
}
EXAMPLES = re.compile(r"\bfor\s+example\b|\be\.g\.", re.IGNORECASE)
MIN_EXAMPLES = 2.0  # per 1000 words of README.md and docs/
# Code says what it does. CHANGELOG.md and docs/performance.md say what it did before.
HISTORY = re.compile(r"\bthe\s+first\s+version\b|\bw(?:as|ere)\s+tried\b|\bformerly\b|\bno\s+longer\b(?!\s+than)", re.I)
NAMES = {"found", "given", "own", "asked", "told", "ours", "theirs", "wanted", "said"}
CONSTANT = re.compile(r"(?:^|_)(?:MOST|LEAST|LARGEST|LONGEST)(?:_|$)")
MESSAGE_WORDS = 4  # a string of fewer words is a name or a format, not prose


class Block(NamedTuple):
    """A paragraph, a list item, a comment, a message or a field of a docstring, and the line that it starts on."""

    line: int
    text: str


def areas() -> dict[str, list[Path]]:
    """The files of each part: `tfrcnn/layers`, `export`, `tests/data`, `docs`, ..."""
    parts = defaultdict(list)
    for path in [p for s in SOURCES for p in sorted((ROOT / s).rglob("*"))] + sorted(ROOT.glob("*.md")):
        folders = path.relative_to(ROOT).parts[:-1] or ("docs",)
        if path.suffix in {".py", ".md", ".ipynb"} and not {".ipynb_checkpoints", "runs"} & set(folders):
            parts["/".join(folders[: 2 if folders[0] in {"tfrcnn", "tests"} else 1])].append(path)
    return dict(parts)


AREAS = areas()


@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("fault", FAULTS)
def test_prose_is_direct(area: str, fault: str) -> None:
    """One fault is forgiven in an area of few words."""
    pattern, limit = FAULTS[fault]
    words = sum(count_words(path) for path in AREAS[area])
    lines = [line for path in AREAS[area] for line in offences(path, pattern)]
    assert len(lines) <= math.ceil(limit * words / 1000), "\n".join(lines)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_whole_is_as_direct_as_the_best_of_the_field(fault: str) -> None:
    pattern, limit = FAULTS[fault]
    paths = [path for paths in AREAS.values() for path in paths]
    lines = [line for path in paths for line in offences(path, pattern)]
    assert 1000 * len(lines) / sum(map(count_words, paths)) <= limit, "\n".join(lines)


def test_docs_give_examples() -> None:
    paths = [path for path in AREAS["docs"] if path.name not in {"CHANGELOG.md", "CONTRIBUTING.md"}]
    count = sum(len(offences(path, EXAMPLES)) for path in paths)
    assert 1000 * count / sum(map(count_words, paths)) >= MIN_EXAMPLES


@pytest.mark.parametrize("area", [area for area in AREAS if area not in {"docs", "notebooks"}])
def test_names_are_terms_of_the_field(area: str) -> None:
    lines = [line for path in AREAS[area] for line in odd_names(path)]
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("area", [area for area in AREAS if area != "docs"])
def test_code_has_no_history(area: str) -> None:
    this = Path(__file__).resolve()
    lines = [line for path in AREAS[area] if path != this for line in offences(path, HISTORY)]
    assert not lines, "\n".join(lines)


def test_the_rules_see_what_they_name(tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    source.write_text(
        '"""Of boxes.\n\nArgs:\n    a: the size. With\n        that of\n        an image. "What is `told`?"\n"""\n'
        'own = 1  # anew\nMOST_BOXES = f"a box that {own} bears well"\n',
        encoding="utf-8",
    )
    marks = [[line.split(":")[1] for line in offences(source, pattern)] for pattern, _ in FAULTS.values()]
    assert marks == [["5"], ["1", "4"], ["8", "9"]]
    assert [line.split(": ")[1] for line in odd_names(source)] == ["own", "MOST_BOXES"]
    page = tmp_path / "a.md"
    page.write_text(
        "# A\n\n```\nmend\n```\n- `told`, e.g. [told](mend)\n- Of a\n  mend.\n\n# What?\n", encoding="utf-8"
    )
    marks = [[line.split(":")[1] for line in offences(page, pattern)] for pattern, _ in FAULTS.values()]
    assert marks == [[], ["7"], ["6", "8"]]
    assert len(offences(page, EXAMPLES)) == 1


def offences(path: Path, pattern: re.Pattern[str]) -> list[str]:
    """Each match as `file:line: the words around it`."""
    lines = []
    for block in prose(path):
        for match in pattern.finditer(block.text):
            line = block.line + block.text.count("\n", 0, match.end() - 1)
            around = " ".join(block.text[max(0, match.start() - 30) : match.end() + 50].split())
            lines.append(f"{shown(path)}:{line}: ... {around} ...")
    return lines


def odd_names(path: Path) -> list[str]:
    """Variables, parameters and attributes that are named by a participle, and constants named by a superlative."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.suffix == ".py" else ():
        name = ""
        if isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        if name in NAMES or CONSTANT.search(name):
            lines.append(f"{shown(path)}:{node.lineno}: {name}")
    return lines


def count_words(path: Path) -> int:
    return sum(len(re.findall(r"[A-Za-z][A-Za-z'-]*", block.text)) for block in prose(path))


@cache
def prose(path: Path) -> tuple[Block, ...]:
    """Docstrings, comments and messages of a source; the text of a page; the markdown cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":  # a block's line is that in its cell
        cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        return tuple(block for source in cells for block in split("".join(source), 1))
    if path.suffix == ".md":
        return tuple(split(text, 1))
    messages = not {"tests", "benchmarks"} & set(path.resolve().parts)
    return tuple([*comments(text), *strings(text, messages)])


def strings(source: str, messages: bool) -> Iterator[Block]:
    """Docstrings and, with `messages`, the other strings of several words."""
    tree = ast.parse(source)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            inner.add(id(node.value))
            without_example = re.sub(r"(?m)^( *)Examples?:\n(?:\1 +.*\n|\s*\n)+", blank, node.value.value)
            yield from split(without_example, node.lineno)
        elif messages and id(node) not in inner:
            text = ""
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            elif isinstance(node, ast.JoinedStr):
                text = "".join(p.value if isinstance(p, ast.Constant) else "0" for p in node.values)
            if len(text.split()) >= MESSAGE_WORDS:
                yield Block(node.lineno, re.sub(r"\s", " ", text))


def comments(source: str) -> Iterator[Block]:
    """Comments; those on consecutive lines are one."""
    block = last = None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or re.match(r"#\s*(?:noqa|type:|ruff:|fmt:|%%|!)", token.string):
            continue
        text, (line, column) = token.string.lstrip("#").strip(), token.start
        if block and last == (line - 1, column):
            block = Block(block.line, f"{block.text}\n{text}")
        else:
            if block:
                yield block
            block = Block(line, text)
        last = (line, column)
    if block:
        yield block


def split(text: str, line: int) -> Iterator[Block]:
    """The blocks of markdown or of a docstring, without code."""
    text = re.sub(r"(?ms)^ *(```|~~~).*?^ *\1|<!--.*?-->|^ *>>>.*?$", blank, text)
    text = re.sub(r"`[^`]*`", lambda m: "0" + blank(m), text)
    text = re.sub(r"\]\([^)]*\)", lambda m: "]" + blank(m), text)
    start, lines = line, []
    for number, row in enumerate(text.split("\n"), line):
        field = re.match(r"\s*(?:[-*+>#]+\s|\d+[.)]\s|\|)|\s+\*{0,2}\w+(?: \([^)]*\))?:\s", row)
        if lines and (field or not row.strip()):
            yield Block(start, "\n".join(lines))
            lines = []
        if field and field.group().endswith("|"):
            yield from (Block(number, cell) for cell in row.split("|") if cell.strip())
        elif row.strip():
            start = start if lines else number
            lines.append(row[field.end() :] if field else row)
    if lines:
        yield Block(start, "\n".join(lines))


def blank(match: re.Match[str]) -> str:
    """As many lines as the match has, and nothing on them."""
    return "\n" * match.group().count("\n")


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def report(paths: list[Path]) -> None:
    """Print the counts, the rates and the lines at fault of each file, then the counts of all."""
    total, words = dict.fromkeys([*FAULTS, "history", "names"], 0), 0
    for path in paths:
        lines = {name: offences(path, pattern) for name, (pattern, _) in FAULTS.items()}
        lines |= {"history": offences(path, HISTORY), "names": odd_names(path)}
        words += (count := count_words(path))
        if any(lines.values()):
            print(f"{path}: {count} words")
        for name, rows in lines.items():
            total[name] += len(rows)
            for row in rows:
                print(f"    [{name.split(' ')[0]}] {row}")
    examples = sum(len(offences(path, EXAMPLES)) for path in paths)
    print(f"{len(paths)} files, {words} words, {examples} times 'for example' or 'e.g.'")
    for name, count in total.items():
        limit = FAULTS[name][1] if name in FAULTS else 0
        print(f"    {name}: {count}, {1000 * count / max(1, words):.2f} per 1000 words (at most {limit})")


if __name__ == "__main__":
    chosen = [Path(name) for name in sys.argv[1:]]
    report(
        [
            path
            for one in chosen
            for path in (sorted(one.rglob("*")) if one.is_dir() else [one])
            if path.suffix in {".py", ".md", ".ipynb"}
        ]
        or [path for paths in AREAS.values() for path in paths]
    )
