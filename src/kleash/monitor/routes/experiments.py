"""The experiments that lie beside the runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.catalogue import Runs
from kleash.monitor.experiments import experiment_state, experiments_below, live_experiment
from kleash.monitor.pages import answer_poll, render
from kleash.web.security import allow_inline_styles

router = APIRouter()

Chosen = Annotated[str, Query(alias="experiment", max_length=500)]


@router.api_route("/experiments", methods=["GET", "HEAD"], dependencies=[Depends(allow_inline_styles)])
def show_experiments(request: Request, catalogue: Runs, chosen: Chosen = "") -> Response:
    experiments = experiments_below(catalogue.folder)
    part = live_experiment(experiments, chosen).html["experiment"]
    source = "/data/experiments"
    return render(request, "experiments.html", source=source, names=list(experiments), chosen=chosen, part=part)


@router.api_route("/data/experiments", methods=["GET", "HEAD"])
def experiments_data(request: Request, catalogue: Runs, chosen: Chosen = "") -> Response:
    experiments = experiments_below(catalogue.folder)
    return answer_poll(request, experiment_state(experiments), lambda: live_experiment(experiments, chosen))
