"""Recognises files of annotation tools that no reader takes, and says what to export in their place.

| file | of |
|---|---|
| `project-1-at-2026-01-01.json`, `.csv` | Label Studio, its JSON, JSON-MIN and CSV |
| `annotations.json`, `_annotations.createml.json` | CreateML, also of labelImg and Roboflow |
| `0001.json` next to each `0001.jpg` | LabelMe |
| `via_project.json`, `via_export_csv.csv` | VGG Image Annotator |
| `annotations/default.json` | Datumaro, also of CVAT |
| `0001.jpg.json` | Supervisely |
| `detections.json` | results of a detector, as `tfrcnn predict` writes them |
"""

from __future__ import annotations

import re
from pathlib import Path

from tfrcnn.data.layouts import files_in, folders_in
from tfrcnn.data.sources import read_head

_EXTENSIONS = (".json", ".csv")
_MAX_FOLDERS = 8  # to look into
_TOOLS = tuple(
    (re.compile(pattern, re.DOTALL), f"{tool}: {advice}")
    for pattern, tool, advice in (
        (
            rb'"(rectanglelabels|polygonlabels|file_upload)"|\A\W*annotation_id,annotator,|,annotator,.*,lead_time',
            "Label Studio's JSON or CSV",
            "export COCO, YOLO or Pascal VOC there",
        ),
        (
            rb'\A\W*\[.*"coordinates"\s*:\s*\{',
            "CreateML's JSON",
            "choose PascalVOC or YOLO in labelImg, or COCO in Roboflow",
        ),
        (
            rb'"shapes"\s*:.*"imagePath"|"imagePath"\s*:.*"shapes"',
            "LabelMe's JSON",
            "convert it by its labelme2voc.py",
        ),
        (rb"_via_img_metadata|region_shape_attributes", "a project of VIA", "export COCO there"),
        (rb'\A\W*\{.*"label"\s*:\s*\{\s*"labels"', "Datumaro's JSON", "export COCO or CVAT for images 1.1 in CVAT"),
        (rb'"classTitle"', "Supervisely's JSON", "export COCO or Pascal VOC there"),
        (
            rb'\A\W*\[\s*\{[^{}]*"score"\s*:',
            "results of a detector",
            "expected a file with images, annotations and categories",
        ),
    )
)


def other_tool(path: Path) -> str:
    """Return whose file it is and what to do, for example "LabelMe's JSON: convert it ..."; "" if nobody knows."""
    head = read_head(path).replace(b"\0", b"")
    return next((text for pattern, text in _TOOLS if pattern.search(head)), "")


def other_tool_in(folder: Path) -> str:
    """Return as `other_tool` for the first file of a folder, or of those below it, that is recognised."""
    for place in (folder, *folders_in(folder)[:_MAX_FOLDERS]):
        # one file of each kind tells: a tool that writes one per image writes all alike
        firsts = (files_in(place, [extension])[:1] for extension in _EXTENSIONS)
        if tool := next((tool for files in firsts for file in files if (tool := other_tool(file))), ""):
            return tool
    return ""
