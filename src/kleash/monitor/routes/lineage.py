"""A run's lineage: what it was made from, down to the data, and what was made from it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.catalogue import Runs, run_or_404
from kleash.monitor.lineage_page import lineage_state, live_lineage
from kleash.monitor.pages import answer_poll, render

router = APIRouter()

Chosen = Annotated[str, Query(alias="artifact", max_length=200)]


@router.api_route("/lineage/{name:path}", methods=["GET", "HEAD"])
def show_lineage(request: Request, catalogue: Runs, name: str, chosen: Chosen = "") -> Response:
    parts = live_lineage(run_or_404(catalogue, name), name, chosen=chosen).html
    source = f"/data/lineage/{quote(name)}" + (f"?artifact={quote(chosen, safe='')}" if chosen else "")
    return render(request, "lineage.html", run=name, page="lineage", source=source, parts=parts)


@router.api_route("/data/lineage/{name:path}", methods=["GET", "HEAD"])
def lineage_data(request: Request, catalogue: Runs, name: str, chosen: Chosen = "") -> Response:
    folder = run_or_404(catalogue, name)
    return answer_poll(request, lineage_state(folder), lambda: live_lineage(folder, name, chosen=chosen))
