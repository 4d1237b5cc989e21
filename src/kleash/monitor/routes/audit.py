"""The audit of a run's reward model."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.audit_view import live_audit
from kleash.monitor.catalogue import Runs, run_or_404
from kleash.monitor.live import Logs
from kleash.monitor.pages import Live, answer_poll, render
from kleash.monitor.run_page import run_state
from kleash.web.security import allow_inline_styles

router = APIRouter()

Round = Annotated[int | None, Query(ge=0, le=10_000, alias="round")]


@router.api_route("/audit/{name:path}", methods=["GET", "HEAD"], dependencies=[Depends(allow_inline_styles)])
def show_audit(request: Request, catalogue: Runs, shelf: Logs, name: str, round_number: Round = None) -> Response:
    with shelf.lock:
        live = live_audit(shelf.run(run_or_404(catalogue, name)), name, round_number=round_number)
    query = "" if round_number is None else f"?round={round_number}"
    source = f"/data/audit/{quote(name)}{query}"
    return render(request, "one_part.html", run=name, page="audit", source=source, parts=live.html)


@router.api_route("/data/audit/{name:path}", methods=["GET", "HEAD"])
def audit_data(request: Request, catalogue: Runs, shelf: Logs, name: str, round_number: Round = None) -> Response:
    folder = run_or_404(catalogue, name)

    def live() -> Live:
        with shelf.lock:
            return live_audit(shelf.run(folder), name, round_number=round_number)

    return answer_poll(request, run_state(folder), live)
