r"""Renders equations as MathML while the site is built, so that pages need no script and no network.

`$...$` and `$$...$$` in a page are LaTeX. The Markdown extension `pymdownx.arithmatex` marks them as
`<span class="arithmatex">\(...\)</span>` and `<div class="arithmatex">\[...\]</div>`; this hook replaces both.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Replace the marked equations of a page."""
    return render(content)


def render(content: str) -> str:
    """Replace the marked equations of HTML by MathML.

    Example:
        render('<span class="arithmatex">\\(x^2\\)</span>')
    """
    content = INLINE.sub(lambda match: mathml(match[1]), content)
    return BLOCK.sub(lambda match: f'<div class="equation">{mathml(match[1], "block")}</div>', content)


def mathml(latex: str, display: str = "inline") -> str:
    """Convert LaTeX, as it stands in HTML, to a `<math>` element."""
    return convert(html.unescape(latex.strip()), display=display)
