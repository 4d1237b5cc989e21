"""The labelling service as one ASGI app: its routes, its error pages, and what guards every request.

`sessions.py` says who may do what, `web/security.py` what browsers are told; `routes/` are the pages.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from kleash.collection.routes import accounts, admin, labelling
from kleash.collection.routes.frame import FOLDER, render
from kleash.collection.sessions import check_csrf, identify
from kleash.collection.snapshot import Measurements
from kleash.collection.store.database import Database
from kleash.errors import DataError, KleashError
from kleash.web import STATIC
from kleash.web.security import MAX_BODY_BYTES, SecurityHeaders, add_security_headers

_SENTENCES = {
    404: "There is no page at this address. Expected one that a page of this service links to. Check the address.",
    413: f"The request is too large. At most {MAX_BODY_BYTES:,} bytes are taken. Send less.",
    500: "The service made a mistake and wrote it to its log. Nothing that was stored is lost. Try again.",
}


def create_app(database: Database, *, https_only: bool = False) -> FastAPI:
    """Build the service over an open database. https_only: send cookies over HTTPS alone, and tell browsers so."""
    app = FastAPI(
        title="KLeash labelling",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(identify), Depends(check_csrf)],
    )
    app.state.database = database
    app.state.measurements = Measurements()
    app.state.https_only = https_only
    for routes in (accounts, labelling, admin):
        app.include_router(routes.router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.mount("/shared", StaticFiles(directory=STATIC), name="shared")
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES)
    app.add_middleware(SecurityHeaders, https_only=https_only)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(KleashError, _answer_user_error)
    app.add_exception_handler(Exception, _answer_our_error)
    return app


def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 401 and not _is_api(request):
        # A form that was sent cannot be sent again after signing in; a page can be asked for again.
        address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target = f"?next={quote(address)}" if request.method == "GET" else ""
        return RedirectResponse(f"/login{target}", status_code=303)
    is_bare = error.detail == HTTPStatus(error.status_code).phrase
    message = _SENTENCES.get(error.status_code, error.detail) if is_bare else error.detail
    response = _answer(request, error.status_code, message)
    response.headers.update(error.headers or {})
    return response


def _answer_invalid(request: Request, error: Exception) -> Response:
    """Name the fields at fault; what was sent in them is not repeated."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
    return _answer(request, 422, f"The request does not fit. {'; '.join(faults)[:2000]}. Correct it and send it again.")


def _answer_user_error(request: Request, error: Exception) -> Response:
    # All that a visitor gives with a GET is the address, so what could not be found there is not there.
    is_missing = isinstance(error, DataError) and request.method in ("GET", "HEAD")
    return _answer(request, 404 if is_missing else 400, str(error))


def _answer_our_error(request: Request, error: Exception) -> Response:
    # This answer is made outside of all middleware.
    response = _answer(request, 500, _SENTENCES[500])
    headers = MutableHeaders(raw=response.raw_headers)
    add_security_headers(headers, request.scope, https_only=request.app.state.https_only)
    return response


def _answer(request: Request, status_code: int, message: str) -> Response:
    """Say what went wrong: as JSON below /api/, else as a page."""
    # Half a character of a request may be in the message, which neither of the two can hold.
    shown = message.encode(errors="replace").decode()
    if _is_api(request):
        return JSONResponse({"error": shown}, status_code)
    return render(request, "error.html", status_code=status_code, status=status_code, message=shown)


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")
