"""The comparison of several runs: choose them, see their curves overlaid and over sqrt(KL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.catalogue import Catalogue, Runs, run_or_404
from kleash.monitor.comparing import MOST_RUNS, RunCurves, curves_of
from kleash.monitor.comparing_page import PLACES, compared
from kleash.monitor.live import Logs, Shelf
from kleash.monitor.pages import Live, answer_poll, render
from kleash.monitor.run_page import run_state
from kleash.web.security import allow_inline_styles

router = APIRouter()

Chosen = Annotated[Sequence[str], Query(alias="run", max_length=MOST_RUNS)]
Slice = Annotated[str, Query(alias="slice", max_length=500)]


@router.api_route("/compare", methods=["GET", "HEAD"], dependencies=[Depends(allow_inline_styles)])
def show_comparison(
    request: Request, catalogue: Runs, shelf: Logs, names: Chosen = (), slice_name: Slice = ""
) -> Response:
    curves, live = _compared(catalogue, shelf, names, slice_name)
    return render(
        request,
        "compare.html",
        source=f"/data/compare?{urlencode([('run', name) for name in names])}",
        runs=sorted(catalogue.runs()),
        chosen=names,
        most_runs=MOST_RUNS,
        slices=sorted({name for found in curves for name in found.slices}),
        slice_name=slice_name,
        places=PLACES,
        table=live.html.get("compared", ""),
    )


@router.api_route("/data/compare", methods=["GET", "HEAD"])
def comparison_data(
    request: Request, catalogue: Runs, shelf: Logs, names: Chosen = (), slice_name: Slice = ""
) -> Response:
    state = _state(catalogue, names)
    return answer_poll(request, state, lambda: _compared(catalogue, shelf, names, slice_name)[1])


def _state(catalogue: Catalogue, names: Sequence[str]) -> list[object]:
    return [run_state(run_or_404(catalogue, name)) for name in names]


def _compared(
    catalogue: Catalogue, shelf: Shelf, names: Sequence[str], slice_name: str
) -> tuple[list[RunCurves], Live]:
    folders = [run_or_404(catalogue, name) for name in names]

    def make() -> tuple[list[RunCurves], Live]:
        runs = [shelf.run(folder) for folder in folders]
        curves = [curves_of(run, name, slice_name=slice_name) for run, name in zip(runs, names, strict=True)]
        return curves, compared(curves)

    return shelf.made(("compare", *names, slice_name), _state(catalogue, names), make)
