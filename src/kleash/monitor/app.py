"""The monitor as one ASGI app: local, read-only pages over a folder of runs, live while a run trains.

How a page is made, for whoever adds one:

* `routes.py` has two routes for it, made by `run_page` where it is about one run: the page is at `/NAME/RUN`, and what
  it shows is asked for again at `/data/NAME/RUN`. run_frame.html gives it a tab, frame.html one to a
  page about all runs. RUN may hold slashes; `run_or_404` is the only way from a name to a folder.
* A module of `pages/` gathers its figures and has templates/parts write them: the `Live` that the data route returns.
* Its template extends frame.html (run_frame.html for a page about one run), sets `source` to the address of its data
  and holds `<div id="NAME">` for what changes and the macro `chart` of parts/pieces.html for charts; both are filled
  from the `Live`. A menu `<select data-parameter="NAME">` is sent along as `?NAME=value`.
* A page with charts is a `route_with_charts` and has the block `scripts` say `{{ super() }}` and load plotly (chart
  pages extend chart_frame.html, which does both).
* Every text from a run is hostile: templates escape it and the filter `seen` makes each character visible, a chart's
  text passes through `html.escape`, scripts set `textContent`.

There is no way to write: no route takes anything but GET and HEAD, and nothing here opens a file for writing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from jinja2 import TemplateError
from starlette.datastructures import URL, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from kleash.errors import KleashError, damaged
from kleash.monitor.pages.rendering import FOLDER
from kleash.monitor.read.catalogue import Catalogue
from kleash.monitor.read.live import Shelf
from kleash.monitor.routes import render, router
from kleash.web import STATIC
from kleash.web.security import SecurityHeaders, add_security_headers

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
"""The names a browser on this machine may use. Another site cannot pass itself off as one of them."""

_OF_DAMAGE: tuple[type[Exception], ...] = (
    *(ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TemplateError, TypeError, ValueError),
)
"""What reading a file sets off that is not as KLeash writes it, by what is damaged."""

_logger = logging.getLogger(__name__)

_SENTENCES = {
    404: "There is no page at this address. Expected one that a page of the monitor links to. Check the address.",
    405: "The monitor only shows; it changes nothing. Expected GET or HEAD. Use the command line to change a run.",
    500: "The monitor made a mistake and wrote it to its log. No run is harmed. Reload the page.",
}


def create_app(
    runs_folder: Path, *, allowed_hosts: Sequence[str] = LOCAL_HOSTS, allows_addresses: bool = False
) -> FastAPI:
    """Build the monitor over a folder of runs. allowed_hosts: by which names it may be asked for; ("*",) = any.

    allows_addresses: also by any number, such as 192.168.1.5, which no other site's name can stand for.
    """
    app = FastAPI(title="KLeash monitor", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.catalogue = Catalogue(Path(runs_folder))
    app.state.shelf = Shelf()
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.mount("/shared", StaticFiles(directory=STATIC), name="shared")
    app.add_middleware(_KnownHosts, allowed_hosts=list(allowed_hosts), allows_addresses=allows_addresses)
    app.add_middleware(SecurityHeaders, https_only=False)
    for kind in _OF_DAMAGE:
        app.add_exception_handler(kind, _answer_damage)
    for answered in (HTTPException, RequestValidationError, KleashError, Exception):
        app.add_exception_handler(answered, _answer)
    return app


class _KnownHosts(TrustedHostMiddleware):
    """Refuses to be asked for by another name: a stranger's site could be given this machine's address (ASGI)."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Sequence[str], allows_addresses: bool) -> None:
        super().__init__(app, allowed_hosts, www_redirect=False)
        self.allows_addresses = allows_addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_address = False
        if self.allows_addresses and scope["type"] == "http":
            with suppress(ValueError):
                is_address = bool(ip_address(URL(scope=scope).hostname or ""))
        await (self.app if is_address else super().__call__)(scope, receive, send)


def _answer_damage(request: Request, error: Exception) -> Response:
    """Say what a run sets off that holds anything but what KLeash wrote; the other runs' pages go on."""
    if not request.path_params and not request.url.path.endswith("/compare"):
        raise error  # no run's: ours
    _logger.warning("%s", request.url.path, exc_info=error)
    return _show(request, 422, str(damaged(request.path_params.get("name", "A run on this page"), error)))


def _answer(request: Request, error: Exception) -> Response:
    """Say what went wrong."""
    status_code, message = _explain(error)
    response = _show(request, status_code, message)
    if status_code == 500:  # this answer is made outside of all middleware
        add_security_headers(MutableHeaders(raw=response.raw_headers), request.scope, https_only=False)
    return response


def _show(request: Request, status_code: int, message: str) -> Response:
    """Show a message: as JSON below /data/, else as a page."""
    shown = message.encode(errors="replace").decode()
    if request.url.path.startswith("/data/"):
        return JSONResponse({"error": shown}, status_code=status_code)
    return render(request, "error.html", status_code=status_code, message=shown)


def _explain(error: Exception) -> tuple[int, str]:
    match error:
        case HTTPException(status_code=code, detail=detail):
            return code, _SENTENCES.get(code, detail) if detail == HTTPStatus(code).phrase else detail
        case RequestValidationError():
            faults = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
            return 422, f"The address does not fit. {faults[:500]}. Go back and choose again."
        case KleashError():
            return 404, str(error)
    return 500, _SENTENCES[500]
