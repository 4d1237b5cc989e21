"""Make a page that is one file: it holds its style, scripts, plotly and data, works offline and can be sent to anyone.

Text from runs and models is hostile until proven otherwise: it reaches the page as escaped HTML or as JSON that the
scripts show as text only, and a content security policy lets no script run but those whose hashes it names, and nothing
be fetched from anywhere. The frame is templates/single_page.html. What stands in it: `report.py`, `audit_page.py`,
`overoptimisation_page.py`, `methods_page.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kleash import __version__
from kleash.durable import clear_write_errors, finite_numbers, read_object, sealed, write_text
from kleash.monitor.pages.rendering import FOLDER, fragment
from kleash.web import PLOTLY, STATIC
from kleash.web.plots import Part

SHEETS = ("report.css", "static/sections.css", "static/curves.css")


def single_page(
    title: str,
    sections: Iterable[str],
    *,
    kind: str,
    figures: Mapping[str, Part],
    introduction: str = "",
    samples: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return a page as text.

    title: any text.  sections, introduction: HTML made of escaped text, the latter to stand below the title.
    kind: what the page is, such as "run report".  figures: by the name of their place in the sections.
    samples: what the samples browser shows, where there is one.
    """
    scripts = [_text(PLOTLY), _text(STATIC / "figures.js") + _text(FOLDER / "report.js")]
    page = fragment(
        "single_page.html",
        policy=content_policy(*scripts),
        title=title,
        kind=kind,
        css="".join(_text(FOLDER / sheet) for sheet in SHEETS),
        introduction=introduction,
        sections=sections,
        has_samples=bool(samples),
        version=__version__,
        data=script_json({"figures": figures, "samples": samples}),
        scripts=scripts,
    )
    # Models can emit half of a surrogate pair; no encoding can write it, so it is shown as a question mark.
    return page.encode("utf-8", "replace").decode("utf-8")


def write_page(what: str, path: Path, page: str) -> Path:
    """Write a page and return its path; an old one stays whole until then. Raises RunError if the disk refuses."""
    with clear_write_errors(what, path):
        write_text(path, sealed(page))
    return path


@dataclass(frozen=True)
class ExperimentPage:
    """The page of an experiment. source: the file of figures that `command` leaves in its folder, all that is read.

    file: the page's name beside it.  parts_of: makes its sections, HTML of escaped text, and its figures by place.
    """

    title: str
    kind: str
    source: str
    command: str
    file: str
    parts_of: Callable[[Mapping[str, Any]], tuple[str, dict[str, Part]]]

    def read(self, folder: Path) -> dict[str, Any]:
        """Return what the source holds. Raises RunError, naming the command, where none can be read."""
        remedy = (
            f"Expected the figures that `{self.command}` writes. Run it; what it has made before is not made again."
        )
        return read_object(folder / self.source, remedy=remedy)

    def render(self, content: Mapping[str, Any]) -> str:
        """Return the page as text."""
        sections, figures = self.parts_of(content)
        return single_page(self.title, [sections], kind=self.kind, figures=figures)

    def write(self, folder: Path) -> Path:
        """Write the page into the experiment's folder and return its path."""
        return write_page("page", folder / self.file, self.render(self.read(folder)))


def script_json(content: Any) -> str:
    """Return JSON that cannot end the script element it stands in, nor mean anything else to an HTML parser."""
    text = json.dumps(finite_numbers(content), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def content_policy(*scripts: str) -> str:
    """Return a content security policy under which only these scripts run and nothing is loaded from anywhere."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


# ----------------------------------------------------------------------------------------------------------- inside
def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
