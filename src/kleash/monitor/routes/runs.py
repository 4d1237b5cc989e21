"""The list of runs, the monitor's first page."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.catalogue import Runs
from kleash.monitor.live import Logs
from kleash.monitor.pages import Live, answer_poll, render
from kleash.monitor.run_list import list_state, run_rows, runs_table

router = APIRouter()

POLL_SECONDS = 3.0


@router.api_route("/", methods=["GET", "HEAD"])
def show_runs(request: Request, catalogue: Runs, shelf: Logs) -> Response:
    table = runs_table(run_rows(catalogue, shelf))
    return render(request, "runs.html", source="/data/runs", folder=str(catalogue.folder), table=table)


@router.api_route("/data/runs", methods=["GET", "HEAD"])
def runs_data(request: Request, catalogue: Runs, shelf: Logs) -> Response:
    def live() -> Live:
        return Live({"runs": runs_table(run_rows(catalogue, shelf))}, poll_seconds=POLL_SECONDS)

    return answer_poll(request, list_state(catalogue), live)
