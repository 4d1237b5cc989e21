"""Who labelled a run's preferences: what the artifacts say at once, and each rater's habits once they are counted."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.catalogue import Runs, run_or_404
from kleash.monitor.labellers import frozen_preferences, labels_of
from kleash.monitor.labellers_page import labels_page, labels_summary
from kleash.monitor.pages import Live, answer_poll, render
from kleash.monitor.reader import read_run
from kleash.web.security import allow_inline_styles

router = APIRouter()


@router.api_route("/labellers/{name:path}", methods=["GET", "HEAD"], dependencies=[Depends(allow_inline_styles)])
def show_labellers(request: Request, catalogue: Runs, name: str) -> Response:
    parts = {"labellers": labels_summary(read_run(run_or_404(catalogue, name), is_lazy=True))}
    source = f"/data/labellers/{quote(name)}"
    return render(request, "one_part.html", run=name, page="labellers", source=source, parts=parts)


@router.api_route("/data/labellers/{name:path}", methods=["GET", "HEAD"])
def labellers_data(request: Request, catalogue: Runs, name: str) -> Response:
    run = read_run(run_or_404(catalogue, name), is_lazy=True)
    state = [(number, stage.artifact.id if stage.artifact else "") for number, stage in frozen_preferences(run)]
    return answer_poll(request, state, lambda: Live({"labellers": labels_page(labels_of(run))}))
