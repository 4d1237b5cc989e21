"""One run's page: its verdict, alarms and charts, kept up while it trains."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.catalogue import Runs, run_or_404
from kleash.monitor.live import Logs
from kleash.monitor.pages import answer_poll, render
from kleash.monitor.run_page import PARTS, live_run, run_state
from kleash.web.security import allow_inline_styles

router = APIRouter()

Round = Annotated[int | None, Query(ge=0, le=10_000, alias="round")]
Slice = Annotated[str, Query(max_length=500, alias="slice")]


@router.api_route("/run/{name:path}", methods=["GET", "HEAD"], dependencies=[Depends(allow_inline_styles)])
def show_run(
    request: Request, catalogue: Runs, shelf: Logs, name: str, round_number: Round = None, slice_name: Slice = ""
) -> Response:
    folder = run_or_404(catalogue, name)
    live = live_run(shelf, folder, round_number=round_number, slice_name=slice_name)
    source = f"/data/run/{quote(name)}"
    return render(request, "run.html", run=name, page="run", source=source, parts=live.html, part_names=PARTS)


@router.api_route("/data/run/{name:path}", methods=["GET", "HEAD"])
def run_data(
    request: Request, catalogue: Runs, shelf: Logs, name: str, round_number: Round = None, slice_name: Slice = ""
) -> Response:
    folder = run_or_404(catalogue, name)
    return answer_poll(
        request, run_state(folder), lambda: live_run(shelf, folder, round_number=round_number, slice_name=slice_name)
    )
