"""Shows detections in a notebook: the picture with its boxes, and a table, in HTML that loads nothing."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

from PIL import Image

from tfrcnn.drawing.palette import color_of, to_hex
from tfrcnn.errors import InputError
from tfrcnn.printable import printable

if TYPE_CHECKING:
    from tfrcnn.detections import ImageDetections

MAX_ROWS = 50  # of the table
MAX_SIDE = 800  # pixels of the picture's longer side: notebooks keep it in their file


def detections_html(detections: ImageDetections) -> str:
    """Return a picture and a table of detections as HTML.

    Names and ids are escaped. A picture that cannot be read is replaced by the reason.

    Example:
        Path("detections.html").write_text(detections_html(predictor.detect("picture.jpg")), encoding="utf-8")
    """
    rows = []
    for one in detections[:MAX_ROWS]:
        mark = f'<span style="color:{to_hex(color_of(one.label))}">&#9632;</span>'
        sides = "".join(f"<td>{side:.1f}</td>" for side in one.box)
        rows.append(f"<tr><td>{mark} {_escape(one.name)}</td><td>{one.score:.3f}</td>{sides}</tr>")
    more = f"<p>and {len(detections) - MAX_ROWS} more</p>" if len(detections) > MAX_ROWS else ""
    head = "".join(f"<th>{name}</th>" for name in ("name", "score", "y1", "x1", "y2", "x2"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{more}" if rows else ""
    image_id = f"<b>{_escape(str(detections.image_id))}</b>: " if detections.image_id != "" else ""
    return f"<div>{_picture(detections)}<p>{image_id}{_escape(str(detections))}</p>{table}</div>"


def _picture(detections: ImageDetections) -> str:
    if detections.pixels is None:
        return ""
    try:
        picture = detections.plot(long_side=MAX_SIDE if max(detections.size or (0,)) > MAX_SIDE else None)
    except InputError as error:  # the file is gone, for example
        return f"<p>{_escape(str(error))}</p>"
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=90)
    source = base64.b64encode(data.getvalue()).decode()
    return f'<img alt="detections" style="max-width:100%" src="data:image/jpeg;base64,{source}">'


def _escape(text: str) -> str:
    return html.escape(printable(text))
