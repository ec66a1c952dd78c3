"""Convert equations between lines of ``$$`` to MathML, which browsers render without a script."""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Convert the equations of a page; MkDocs calls this for each one."""
    return re.sub(r"^\$\$\n(.*?)\n\$\$$", _as_mathml, markdown, flags=re.MULTILINE | re.DOTALL)


def _as_mathml(equation: re.Match[str]) -> str:
    return f'<div class="equation">{convert(equation[1], display="block")}</div>'
