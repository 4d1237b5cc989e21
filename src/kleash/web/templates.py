"""Set up jinja2 as the pages of both services, and those that are one file, use it: every value is escaped."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from kleash.web import PLOTLY
from kleash.web.visible import visible_text


def environment(folder: Path) -> Environment:
    """Return what renders a folder's templates, and the parts of pages that both services show, in web/parts.

    Values are escaped, and one that a page was not given is an error.

    A template that ends in .md writes Markdown: nothing is escaped there.

    Global: `plotly`, the file name below /shared of what draws figures.
    Filters: `seen` for texts of people and models, `safe_html` for HTML that was made of escaped texts.
    """
    jinja = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent / "parts"]),
        autoescape=select_autoescape(disabled_extensions=("md",), default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.globals["plotly"] = PLOTLY.name
    jinja.filters |= {"seen": lambda content: visible_text(str(content)), "safe_html": Markup}
    return jinja
