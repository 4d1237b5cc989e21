"""Every address of the monitor: parse it, call one function, render. A page's data is at /data and its own address."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from kleash import __version__
from kleash.durable import finite_numbers
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
    """Render a page. Of a page about one run the context has `run`, its name, and `page`, where its address begins."""
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
    text = json.dumps(finite_numbers(content), allow_nan=False, separators=(",", ":"))
    return Response(text, media_type="application/json", headers={"ETag": etag})


def run_or_404(catalogue: Runs, name: str) -> Path:
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
Folder = Annotated[Path, Depends(run_or_404)]


@dataclass(frozen=True)
class RunPage:
    """A page about one run. state: what it depends on (`answer_poll`).  live: makes what it shows.

    at_once: makes what it shows before its data is asked for the first time, where that is less.  query: of its data's
    address.  context: what its template takes besides.
    """

    state: object
    live: Callable[[], Live]
    at_once: Callable[[], Live] | None = None
    query: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)


def run_page(
    page: str, template: str = "one_part.html", *, register: Callable[..., Any] = route_with_charts
) -> Callable[[Callable[..., RunPage]], None]:
    """Give what a function returns its two addresses, /PAGE/RUN and /data/PAGE/RUN, with the function's parameters."""

    def decorate(page_of: Callable[..., RunPage]) -> None:
        of_request = Depends(page_of)

        def show(request: Request, name: str, shown: RunPage = of_request) -> Response:
            parts, source = (shown.at_once or shown.live)().html, f"/data/{page}/{quote(name)}{shown.query}"
            return render(request, template, run=name, page=page, source=source, parts=parts, **shown.context)

        def data(request: Request, shown: RunPage = of_request) -> Response:
            return answer_poll(request, shown.state, shown.live)

        register(f"/{page}/{{name:path}}")(show)
        route(f"/data/{page}/{{name:path}}")(data)

    return decorate


@run_page("run", "run.html")
def overview(folder: Folder, shelf: Logs, round_number: Round = None, slice_name: Slice = "") -> RunPage:
    live = partial(live_run, shelf, folder, round_number=round_number, slice_name=slice_name)
    return RunPage(run_state(folder), live, context={"part_names": PARTS})


def _choice(
    moment: Word = "",
    slice: Text = "",
    outcome: Word = "",
    order: Annotated[str | None, Query(max_length=20)] = None,
    text: Text = "",
    shown: Annotated[int, Query(ge=1, le=500)] = 20,
) -> Choice:
    return Choice(moment=moment, slice=slice, outcome=outcome, order=order, text=text, num_shown=shown)


@run_page("samples", "samples.html", register=route)
def samples(folder: Folder, shelf: Logs, choice: Annotated[Choice, Depends(_choice)]) -> RunPage:
    def live() -> Live:
        browser = browse(shelf, folder, choice)
        menus = fragment("sample_menus.html", browser=browser, choice=choice)
        cards = fragment("sample_cards.html", browser=browser)
        return Live({"sample-menus": menus, "sample-cards": cards}, poll_seconds=QUIET_SECONDS)

    return RunPage(run_state(folder), live, context={"choice": choice})


@run_page("aims")
def aims(folder: Folder, shelf: Logs) -> RunPage:
    return RunPage(run_state(folder), partial(live_aims, shelf, folder))


@run_page("audit")
def audit(folder: Folder, shelf: Logs, name: str, round_number: Round = None) -> RunPage:
    query = "" if round_number is None else f"?round={round_number}"
    return RunPage(run_state(folder), partial(live_audit, shelf, folder, name, round_number=round_number), query=query)


@run_page("labellers")
def labellers(folder: Folder) -> RunPage:
    """What the artifacts say is shown at once; the page's data brings each rater's habits once they are counted."""
    run = read_run(folder, is_lazy=True)
    state = [(number, stage.artifact.id if stage.artifact else "") for number, stage in frozen_preferences(run)]
    return RunPage(
        state,
        lambda: Live({"labellers": labels_page(labels_of(run))}),
        at_once=lambda: Live({"labellers": labels_summary(run)}),
    )


@run_page("lineage", "lineage.html", register=route)
def lineage(folder: Folder, name: str, chosen: Annotated[str, Query(alias="artifact", max_length=200)] = "") -> RunPage:
    query = f"?artifact={quote(chosen, safe='')}" if chosen else ""
    return RunPage(lineage_state(folder), partial(live_lineage, folder, name, chosen=chosen), query=query)
