"""Every address of the monitor: parse it, call one function, render. A page's data is at /data and its own address."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from kleash import __version__
from kleash.monitor.pages.audit_page import live_audit
from kleash.monitor.pages.comparing import MOST_RUNS, PLACES, RunCurves, compared, curves_of
from kleash.monitor.pages.experiments import experiment_state, experiments_below, live_experiment
from kleash.monitor.pages.labellers import frozen_preferences, labels_of, labels_page, labels_summary
from kleash.monitor.pages.lineage import lineage_state, live_lineage
from kleash.monitor.pages.rendering import Live, fragment
from kleash.monitor.pages.run_list import list_state, run_rows, runs_table
from kleash.monitor.pages.run_page import PARTS, QUIET_SECONDS, live_aims, live_run
from kleash.monitor.read.catalogue import Catalogue, run_state
from kleash.monitor.read.live import Shelf
from kleash.monitor.read.measures import json_numbers
from kleash.monitor.read.reader import read_run
from kleash.monitor.read.samples import Choice, browse
from kleash.web.security import allow_inline_styles

router = APIRouter()
route = partial(router.api_route, methods=["GET", "HEAD"])
route_with_charts = partial(route, dependencies=[Depends(allow_inline_styles)])

LIST_SECONDS = 3.0


def catalogue_of(request: Request) -> Catalogue:
    catalogue: Catalogue = request.app.state.catalogue
    return catalogue


def shelf_of(request: Request) -> Shelf:
    shelf: Shelf = request.app.state.shelf
    return shelf


Runs = Annotated[Catalogue, Depends(catalogue_of)]
Logs = Annotated[Shelf, Depends(shelf_of)]

Round = Annotated[int | None, Query(ge=0, le=10_000, alias="round")]
Slice = Annotated[str, Query(max_length=500, alias="slice")]
Text = Annotated[str, Query(max_length=500)]
Word = Annotated[str, Query(max_length=20)]


def render(request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """Render a page. Of a page about one run the context has `run`, its name, and `page`, its entry in RUN_PAGES."""
    html = fragment(template, path=request.url.path, **context)
    # Models and files can hold half of a surrogate pair; no encoding can write it, so it is shown as a question mark.
    return HTMLResponse(html.encode("utf-8", "replace"), status_code=status_code)


def answer_poll(request: Request, state: object, make: Callable[[], Live]) -> Response:
    """Send what a page shows now, or 304 if the browser has it already.

    state: what the answer depends on beside the address, such as the sizes and times of the files that `make` reads;
    while it is the same, `make` is not called. It is never sent, only its hash.
    """
    known = json.dumps([str(request.url), __version__, state], default=str)
    etag = f'"{hashlib.sha256(known.encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    live = make()
    content = {"html": live.html, "figures": live.figures, "poll_seconds": live.poll_seconds}
    text = json.dumps(json_numbers(content), allow_nan=False, separators=(",", ":"))
    return Response(text, media_type="application/json", headers={"ETag": etag})


def run_or_404(catalogue: Catalogue, name: str) -> Path:
    """Return the folder of the run of this name. Raises 404 if there is none."""
    folder = catalogue.runs().get(name)
    if folder is None:
        raise HTTPException(
            404, f"There is no run {name[:200]}. Expected one of those on the list. Go back to it; it may have moved."
        )
    return folder


# ------------------------------------------------------------------------------------------------------ all the runs
@route("/")
def show_runs(request: Request, catalogue: Runs, shelf: Logs) -> Response:
    table = runs_table(run_rows(catalogue, shelf))
    return render(request, "runs.html", source="/data/runs", folder=str(catalogue.folder), table=table)


@route("/data/runs")
def runs_data(request: Request, catalogue: Runs, shelf: Logs) -> Response:
    def live() -> Live:
        return Live({"runs": runs_table(run_rows(catalogue, shelf))}, poll_seconds=LIST_SECONDS)

    return answer_poll(request, list_state(catalogue), live)


Compared = Annotated[Sequence[str], Query(alias="run", max_length=MOST_RUNS)]


@route_with_charts("/compare")
def show_comparison(
    request: Request, catalogue: Runs, shelf: Logs, names: Compared = (), slice_name: Slice = ""
) -> Response:
    curves, live = _compared(catalogue, shelf, names, slice_name)
    return render(
        request,
        "compare.html",
        source=f"/data/compare?{urlencode([('run', name) for name in names])}",
        runs=sorted(catalogue.runs()),
        chosen=names,
        most_runs=MOST_RUNS,
        slices=sorted({name for run in curves for name in run.slices}),
        slice_name=slice_name,
        places=PLACES,
        table=live.html.get("compared", ""),
    )


@route("/data/compare")
def comparison_data(
    request: Request, catalogue: Runs, shelf: Logs, names: Compared = (), slice_name: Slice = ""
) -> Response:
    state = [run_state(run_or_404(catalogue, name)) for name in names]
    return answer_poll(request, state, lambda: _compared(catalogue, shelf, names, slice_name)[1])


def _compared(
    catalogue: Catalogue, shelf: Shelf, names: Sequence[str], slice_name: str
) -> tuple[list[RunCurves], Live]:
    folders = [run_or_404(catalogue, name) for name in names]

    def make() -> tuple[list[RunCurves], Live]:
        runs = [shelf.run(folder) for folder in folders]
        curves = [curves_of(run, name, slice_name=slice_name) for run, name in zip(runs, names, strict=True)]
        return curves, compared(curves)

    return shelf.cached(("compare", *names, slice_name), [run_state(folder) for folder in folders], make)


Experiment = Annotated[str, Query(alias="experiment", max_length=500)]


@route_with_charts("/experiments")
def show_experiments(request: Request, catalogue: Runs, chosen: Experiment = "") -> Response:
    experiments = experiments_below(catalogue.folder)
    part = live_experiment(experiments, chosen).html["experiment"]
    source = "/data/experiments"
    return render(request, "experiments.html", source=source, names=list(experiments), chosen=chosen, part=part)


@route("/data/experiments")
def experiments_data(request: Request, catalogue: Runs, chosen: Experiment = "") -> Response:
    experiments = experiments_below(catalogue.folder)
    return answer_poll(request, experiment_state(experiments), lambda: live_experiment(experiments, chosen))


# ------------------------------------------------------------------------------------------------------------ one run
@route_with_charts("/run/{name:path}")
def show_run(
    request: Request, catalogue: Runs, shelf: Logs, name: str, round_number: Round = None, slice_name: Slice = ""
) -> Response:
    live = live_run(shelf, run_or_404(catalogue, name), round_number=round_number, slice_name=slice_name)
    source = f"/data/run/{quote(name)}"
    return render(request, "run.html", run=name, page="run", source=source, parts=live.html, part_names=PARTS)


@route("/data/run/{name:path}")
def run_data(
    request: Request, catalogue: Runs, shelf: Logs, name: str, round_number: Round = None, slice_name: Slice = ""
) -> Response:
    folder = run_or_404(catalogue, name)
    return answer_poll(
        request, run_state(folder), lambda: live_run(shelf, folder, round_number=round_number, slice_name=slice_name)
    )


def _choice(
    moment: Word = "",
    slice: Text = "",
    outcome: Word = "",
    order: Annotated[str | None, Query(max_length=20)] = None,
    text: Text = "",
    shown: Annotated[int, Query(ge=1, le=500)] = 20,
) -> Choice:
    return Choice(moment=moment, slice=slice, outcome=outcome, order=order, text=text, num_shown=shown)


Chosen = Annotated[Choice, Depends(_choice)]


@route("/samples/{name:path}")
def show_samples(request: Request, catalogue: Runs, shelf: Logs, name: str, choice: Chosen) -> Response:
    parts = _sample_parts(shelf, run_or_404(catalogue, name), choice)
    source = f"/data/samples/{quote(name)}"
    return render(request, "samples.html", run=name, page="samples", source=source, choice=choice, parts=parts)


@route("/data/samples/{name:path}")
def samples_data(request: Request, catalogue: Runs, shelf: Logs, name: str, choice: Chosen) -> Response:
    folder = run_or_404(catalogue, name)

    def live() -> Live:
        return Live(_sample_parts(shelf, folder, choice), poll_seconds=QUIET_SECONDS)

    return answer_poll(request, run_state(folder), live)


def _sample_parts(shelf: Shelf, folder: Path, choice: Choice) -> dict[str, str]:
    browser = browse(shelf, folder, choice)
    return {
        "sample-menus": fragment("sample_menus.html", browser=browser, choice=choice),
        "sample-cards": fragment("sample_cards.html", browser=browser),
    }


@route_with_charts("/aims/{name:path}")
def show_aims(request: Request, catalogue: Runs, shelf: Logs, name: str) -> Response:
    parts = live_aims(shelf, run_or_404(catalogue, name)).html
    return render(request, "one_part.html", run=name, page="aims", source=f"/data/aims/{quote(name)}", parts=parts)


@route("/data/aims/{name:path}")
def aims_data(request: Request, catalogue: Runs, shelf: Logs, name: str) -> Response:
    folder = run_or_404(catalogue, name)
    return answer_poll(request, run_state(folder), lambda: live_aims(shelf, folder))


@route_with_charts("/audit/{name:path}")
def show_audit(request: Request, catalogue: Runs, shelf: Logs, name: str, round_number: Round = None) -> Response:
    parts = live_audit(shelf, run_or_404(catalogue, name), name, round_number=round_number).html
    source = f"/data/audit/{quote(name)}" + ("" if round_number is None else f"?round={round_number}")
    return render(request, "one_part.html", run=name, page="audit", source=source, parts=parts)


@route("/data/audit/{name:path}")
def audit_data(request: Request, catalogue: Runs, shelf: Logs, name: str, round_number: Round = None) -> Response:
    folder = run_or_404(catalogue, name)
    return answer_poll(request, run_state(folder), lambda: live_audit(shelf, folder, name, round_number=round_number))


@route_with_charts("/labellers/{name:path}")
def show_labellers(request: Request, catalogue: Runs, name: str) -> Response:
    """Show what the artifacts say at once; the page's data brings each rater's habits once they are counted."""
    parts = {"labellers": labels_summary(read_run(run_or_404(catalogue, name), is_lazy=True))}
    source = f"/data/labellers/{quote(name)}"
    return render(request, "one_part.html", run=name, page="labellers", source=source, parts=parts)


@route("/data/labellers/{name:path}")
def labellers_data(request: Request, catalogue: Runs, name: str) -> Response:
    run = read_run(run_or_404(catalogue, name), is_lazy=True)
    state = [(number, stage.artifact.id if stage.artifact else "") for number, stage in frozen_preferences(run)]
    return answer_poll(request, state, lambda: Live({"labellers": labels_page(labels_of(run))}))


Artifact = Annotated[str, Query(alias="artifact", max_length=200)]


@route("/lineage/{name:path}")
def show_lineage(request: Request, catalogue: Runs, name: str, chosen: Artifact = "") -> Response:
    parts = live_lineage(run_or_404(catalogue, name), name, chosen=chosen).html
    source = f"/data/lineage/{quote(name)}" + (f"?artifact={quote(chosen, safe='')}" if chosen else "")
    return render(request, "lineage.html", run=name, page="lineage", source=source, parts=parts)


@route("/data/lineage/{name:path}")
def lineage_data(request: Request, catalogue: Runs, name: str, chosen: Artifact = "") -> Response:
    folder = run_or_404(catalogue, name)
    return answer_poll(request, lineage_state(folder), lambda: live_lineage(folder, name, chosen=chosen))
