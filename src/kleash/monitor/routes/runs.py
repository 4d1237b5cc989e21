"""The list of runs, the monitor's first page."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.catalogue import Runs
from kleash.monitor.pages import Live, answer_poll, render
from kleash.monitor.run_list import list_state, rows_of, runs_table

router = APIRouter()


@router.api_route("/", methods=["GET", "HEAD"])
def show_runs(request: Request, catalogue: Runs) -> Response:
    return render(request, "runs.html", source="/data/runs", table=runs_table(rows_of(catalogue)))


@router.api_route("/data/runs", methods=["GET", "HEAD"])
def runs_data(request: Request, catalogue: Runs) -> Response:
    return answer_poll(
        request,
        list_state(catalogue),
        lambda: Live(html={"runs": runs_table(rows_of(catalogue))}, poll_seconds=3.0),
    )
