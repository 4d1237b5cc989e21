"""The audit of a run's reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.audit_view import live_audit
from kleash.monitor.catalogue import Runs, run_or_404
from kleash.monitor.live import Logs, Shelf
from kleash.monitor.pages import Live, answer_poll, render
from kleash.monitor.run_page import run_state
from kleash.web.security import allow_inline_styles

router = APIRouter()

Round = Annotated[int | None, Query(ge=0, le=10_000, alias="round")]


@router.api_route("/audit/{name:path}", methods=["GET", "HEAD"], dependencies=[Depends(allow_inline_styles)])
def show_audit(request: Request, catalogue: Runs, shelf: Logs, name: str, round_number: Round = None) -> Response:
    live = _live(shelf, run_or_404(catalogue, name), name, round_number)
    query = "" if round_number is None else f"?round={round_number}"
    source = f"/data/audit/{quote(name)}{query}"
    return render(request, "one_part.html", run=name, page="audit", source=source, parts=live.html)


@router.api_route("/data/audit/{name:path}", methods=["GET", "HEAD"])
def audit_data(request: Request, catalogue: Runs, shelf: Logs, name: str, round_number: Round = None) -> Response:
    folder = run_or_404(catalogue, name)
    return answer_poll(request, run_state(folder), lambda: _live(shelf, folder, name, round_number))


def _live(shelf: Shelf, folder: Path, name: str, round_number: int | None) -> Live:
    key = ("audit", folder, round_number)
    return shelf.made(key, run_state(folder), lambda: live_audit(shelf.run(folder), name, round_number=round_number))
