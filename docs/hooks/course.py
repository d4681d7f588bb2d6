"""Makes a page of each notebook of the course, in English and in Korean, from its stored text, code and pictures.

The slides of the lectures are pages too, see notebooks/slides.py.

A page is Markdown, so its equations, code and links are treated as on every other page. Pictures become files of the
site. The Korean pages take their text from `notebooks/ko`, and their captions from `notebooks/captions`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sources
from mkdocs.structure.files import File, Files, InclusionLevel
from sources import source_uri

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
PLACES = {"en": "course", "ko": "course/ko"}  # folders of the pages on the site
SUFFIXES = {"image/gif": "gif", "image/png": "png", "image/jpeg": "jpg"}  # the first that an output has is shown
LINK = re.compile(r"\]\((?![a-z]+:|#)(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
BADGE = re.compile(r"\[!\[([^\]]*)\]\([^)]*\)\]")  # an image of another host in a link: the site keeps the link
TOP = {
    "en": "Notebook {number} of [the course]({course}). [The notebook]({notebook}) | [한국어]({other})",
    "ko": "[강의]({course})의 노트북 {number}. [노트북 파일]({notebook}) | [English]({other}). "
    "이 한국어는 아직 원어민의 교정을 받지 않았습니다.",
}

sys.path.insert(0, str(FOLDER))
import captions  # noqa: E402
import korean  # noqa: E402
import slides  # noqa: E402


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, their pictures, and the files that they link to."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for name, data in pictures(cells).items():
            files.append(File.generated(config, f"course/{path.stem}/{name}", content=data))
        for language in PLACES:
            text, targets = page_of(path, cells, language)
            files.append(File.generated(config, page_uri(path.stem, language), content=text))
            for target in targets:
                uri = source_uri(target, ROOT)
                if files.get_file_from_path(uri) is None:
                    files.append(linked_file(config, uri, target))
    for text in slides.TEXTS:
        page = slides.exported(text, "../assets/reveal")
        files.append(File.generated(config, f"slides/{text.stem}.html", content=page))
    return files


def linked_file(config: Any, uri: str, path: Path) -> File:
    """Return a file of the repository as a page of code, or as it is."""
    source = {"content": sources.page_of(path, ROOT)} if uri.endswith(".md") else {"abs_src_path": str(path)}
    return File.generated(config, uri, inclusion=InclusionLevel.NOT_IN_NAV, **source)


def page_uri(stem: str, language: str) -> str:
    """Return the place of a notebook's page on the site."""
    return f"{PLACES[language]}/{stem}.md"


def page_of(path: Path, cells: list[dict[str, Any]], language: str) -> tuple[str, set[Path]]:
    """Write a notebook as Markdown.

    Args:
        path: the notebook.
        cells: its cells.
        language: "en" or "ko".

    Returns:
        The page.
        The files of the repository that it links to.
    """
    folder = PLACES[language]
    korean_text = (FOLDER / f"ko/{path.stem}.md").read_text(encoding="utf-8")
    translations = {cell: text for cell, _, text in korean.blocks(korean_text)}
    below = captions.of(path.stem)
    parts, targets = [], {path}
    for cell in cells:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"]) if language == "en" else translations[cell["id"]]
            text = BADGE.sub(r"[\1]", text)
            targets |= set(_linked(text))
            parts.append(LINK.sub(lambda match: f"]({moved(match, folder)})", text))
        else:
            caption = below.get(cell["id"], captions.NONE)
            parts += [fenced("".join(cell["source"]), "python")]
            parts += shown(cell, path.stem, folder, getattr(caption, language), visible=language == "ko")
    other = "ko" if language == "en" else "en"
    links = {"course": "course.md", "notebook": source_uri(path, ROOT), "other": page_uri(path.stem, other)}
    relative = {name: os.path.relpath(uri, folder) for name, uri in links.items()}
    title, _, rest = parts[0].partition("\n")
    top = TOP[language].format(number=int(path.stem[:2]), **relative)
    return "\n\n".join([f"{title}\n\n{top}\n{rest}", *parts[1:]]) + "\n", targets


def shown(cell: dict[str, Any], stem: str, folder: str, caption: str, visible: bool) -> Iterator[str]:
    """Yield the outputs of a code cell as Markdown."""
    for number, output in enumerate(cell["outputs"]):
        data = output.get("data", {})
        picture = next((kind for kind in SUFFIXES if kind in data), None)
        if output["output_type"] == "stream":
            yield fenced("".join(output["text"]), "text")
        elif picture:
            place = os.path.relpath(f"course/{stem}/{_name(cell, number, picture)}", folder)
            yield f"![{caption}]({place})" + (f"\n\n*{caption}*" if visible and caption else "")
        elif "text/markdown" in data:
            yield "".join(data["text/markdown"])
        elif "highlight" in "".join(data.get("text/html", "")):  # `Code`: the site colours code by itself
            yield fenced("".join(data["text/plain"]), "python")
        elif "text/html" in data:
            yield "".join(data["text/html"])
        elif "text/plain" in data:
            yield fenced("".join(data["text/plain"]), "text")


def pictures(cells: list[dict[str, Any]]) -> dict[str, bytes]:
    """Return the pictures of a notebook by the names of their files."""
    named = {}
    for cell in cells:
        for number, output in enumerate(cell.get("outputs", [])):
            kind = next((kind for kind in SUFFIXES if kind in output.get("data", {})), None)
            if kind:
                named[_name(cell, number, kind)] = base64.b64decode("".join(output["data"][kind]))
    return named


def moved(match: re.Match[str], folder: str) -> str:
    """Return the target of a notebook's link, relative to a folder of the site."""
    path = (FOLDER / match["target"]).resolve()
    if path.parent == FOLDER and path.suffix == ".ipynb":
        uri = f"{folder}/{path.stem}.md"
    elif path.is_relative_to(ROOT / "docs"):
        uri = path.relative_to(ROOT / "docs").as_posix()
    else:
        uri = source_uri(path, ROOT)
    return os.path.relpath(uri, folder) + (match["anchor"] or "")


def fenced(code: str, language: str) -> str:
    """Return a block of code. The fence is longer than any in the code."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`{3,}", code)), 3)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def _linked(text: str) -> Iterator[Path]:
    """Yield the files outside docs/ that a text links to, other than notebooks."""
    for match in LINK.finditer(text):
        path = (FOLDER / match["target"]).resolve()
        if path.suffix != ".ipynb" and not path.is_relative_to(ROOT / "docs"):
            yield path


def _name(cell: dict[str, Any], number: int, kind: str) -> str:
    return f"{cell['id']}-{number}.{SUFFIXES[kind]}"
