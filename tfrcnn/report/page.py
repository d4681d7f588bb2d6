"""The frame of every report: renders a template to one HTML file that loads nothing else.

A template in `templates/` extends page.html, which brings the style, the script and the macros for charts and
galleries. Values are escaped twice: control characters and marks that change the direction of the text around them
become visible escapes, and Jinja escapes HTML. The page's policy lets a browser run this one script and load no other
resource, so that nothing in a name can do more than be shown.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tfrcnn.printable import printable, shorten

MAX_TEXT = 300  # characters of a name or a message; nobody reads more
STYLE, SCRIPT = "page.css", "page.js"


def render(template: str, **content: Any) -> str:
    """Render a report.

    Args:
        template: file in `templates/` that extends page.html.
        content: the values that it shows.

    Returns:
        The page, as text that UTF-8 can encode.
    """
    environment = _environment()
    style, script = (_source(name) for name in (STYLE, SCRIPT))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assets = {"style": Markup(style), "script": Markup(script), "policy": policy}
    return environment.get_template(template).render(**assets, **content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tfrcnn.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=_count, percent=_percent, short=_short)
    return environment


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _digest(source: str) -> str:
    """Return the hash by which a policy names an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _visible(value: Any) -> Any:
    """Make text from outside printable; markup is the templates' own."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _count(value: int) -> str:
    return f"{value:,}"


def _percent(share: float | None) -> str:
    """Write a share in percent; a dash for none, for example of no objects."""
    return "-" if share is None else f"{100 * share:.1f} %"


def _short(text: str) -> str:
    """Shorten a name or a message; a class may have no name."""
    text = printable(text)
    if not text.strip():
        return "(no name)"
    return shorten(text, MAX_TEXT, "…")
