"""Helpful, honest and harmless over a run's checkpoints, on one plot."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.catalogue import Runs, run_or_404
from kleash.monitor.findings import findings_of
from kleash.monitor.hhh_chart import hhh_figure
from kleash.monitor.live import Logs, Shelf
from kleash.monitor.pages import Live, answer_poll, render
from kleash.monitor.run_page import run_state
from kleash.monitor.sections import hhh_section
from kleash.web.security import allow_inline_styles

router = APIRouter()

_NOTHING = (
    '<p class="about">No checkpoint of this run was judged apart on prompts that ask for help, for honesty and for '
    "harmlessness. It takes prompts with the slice <code>aim</code> and an evaluation by a judge or by people.</p>"
)


@router.api_route("/aims/{name:path}", methods=["GET", "HEAD"], dependencies=[Depends(allow_inline_styles)])
def show_aims(request: Request, catalogue: Runs, shelf: Logs, name: str) -> Response:
    parts = _live(shelf, run_or_404(catalogue, name)).html
    return render(request, "one_part.html", run=name, page="aims", source=f"/data/aims/{quote(name)}", parts=parts)


@router.api_route("/data/aims/{name:path}", methods=["GET", "HEAD"])
def aims_data(request: Request, catalogue: Runs, shelf: Logs, name: str) -> Response:
    folder = run_or_404(catalogue, name)
    return answer_poll(request, run_state(folder), lambda: _live(shelf, folder))


def _live(shelf: Shelf, folder: Path) -> Live:
    def make() -> Live:
        findings = findings_of(shelf.run(folder))
        if findings.aims is None:
            return Live({"aims": _NOTHING})
        return Live({"aims": hhh_section(findings)}, {"hhh": hhh_figure(findings.aims)})

    return shelf.made(("aims", folder), run_state(folder), make)
