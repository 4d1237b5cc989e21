"""The samples page: answers beside the reference's, found, filtered and put in order."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from kleash.monitor.catalogue import Runs, run_or_404
from kleash.monitor.live import Logs
from kleash.monitor.pages import Live, answer_poll, fragment, render
from kleash.monitor.run_page import QUIET_SECONDS, run_state
from kleash.monitor.sample_browser import Browser, Choice, browse

router = APIRouter()

Text = Annotated[str, Query(max_length=500)]


def _choice(
    moment: Annotated[str, Query(max_length=20)] = "",
    slice: Text = "",
    outcome: Annotated[str, Query(max_length=20)] = "",
    order: Annotated[str | None, Query(max_length=20)] = None,
    text: Text = "",
    shown: Annotated[int, Query(ge=1, le=500)] = 20,
) -> Choice:
    return Choice(moment=moment, slice=slice, outcome=outcome, order=order, text=text, num_shown=shown)


Chosen = Annotated[Choice, Depends(_choice)]


@router.api_route("/samples/{name:path}", methods=["GET", "HEAD"])
def show_samples(request: Request, catalogue: Runs, shelf: Logs, name: str, choice: Chosen) -> Response:
    found = browse(shelf, run_or_404(catalogue, name), choice)
    source = f"/data/samples/{quote(name)}"
    return render(
        request, "samples.html", run=name, page="samples", source=source, choice=choice, parts=_parts(found, choice)
    )


@router.api_route("/data/samples/{name:path}", methods=["GET", "HEAD"])
def samples_data(request: Request, catalogue: Runs, shelf: Logs, name: str, choice: Chosen) -> Response:
    folder = run_or_404(catalogue, name)

    def live() -> Live:
        return Live(_parts(browse(shelf, folder, choice), choice), poll_seconds=QUIET_SECONDS)

    return answer_poll(request, run_state(folder), live)


def _parts(found: Browser, choice: Choice) -> dict[str, str]:
    return {
        "sample-menus": fragment("sample_menus.html", found=found, choice=choice),
        "sample-cards": fragment("sample_cards.html", found=found),
    }
