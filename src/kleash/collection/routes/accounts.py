"""Sign in and out, accept an invite, change one's password; and the start page, which leads on by role."""

from __future__ import annotations

import math
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Form
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kleash.collection.routes.frame import Data, SignedIn, go, render
from kleash.collection.sessions import forget, identify, remember, session_token
from kleash.collection.store import accounts as store
from kleash.collection.store.accounts import Session
from kleash.collection.store.database import Database
from kleash.collection.store.throttle import SignInRefused
from kleash.errors import DataError, KleashError
from kleash.web.security import local_path

router = APIRouter()

Field = Annotated[str, Form()]
Guest = Annotated[Session | None, Depends(identify)]


@router.get("/")
def start(visitor: Guest) -> Response:
    if visitor is None:
        return go("/login")
    return go("/admin" if visitor.role == "admin" else "/label")


@router.get("/healthz")
def health(database: Data) -> Response:
    """Say whether the service and its database answer."""
    with database.read() as connection:
        connection.execute(sa.select(1))
    return JSONResponse({"status": "ok"})


@router.get("/login")
def login_page(request: Request, visitor: Guest, next: str = "/") -> Response:
    if visitor is not None:
        return go(local_path(next))
    return render(request, "login.html", next=local_path(next), name="", message="")


@router.post("/login")
def log_in(request: Request, database: Data, name: Field = "", password: Field = "", next: Field = "/") -> Response:
    try:
        token = store.log_in(database, name, password, address=_address(request))
    except SignInRefused as refused:
        return _refused(request, "login.html", refused, next=local_path(next), name=name[:200])
    return _signed_in(request, database, token, local_path(next))


@router.post("/logout")
def log_out(request: Request, database: Data, _: SignedIn) -> Response:
    _end_session(request, database)
    response = go("/login")
    forget(request, response)
    return response


@router.get("/invite/{token}")
def invite_page(request: Request, database: Data, token: str) -> Response:
    with database.read() as connection:
        role = store.invited_role(connection, token)
    return render(request, "account_invite.html", token=token, role=role, name="", message="")


@router.post("/invite/{token}")
def accept_invite(
    request: Request, database: Data, token: str, name: Field = "", password: Field = "", again: Field = ""
) -> Response:
    with database.read() as connection:
        role = store.invited_role(connection, token)
    try:
        _check_repeated(password, again)
        with database.write() as connection:
            session = store.accept_invite(connection, token, name, password)
    except DataError as error:
        return _refused(request, "account_invite.html", error, token=token, role=role, name=name[:200])
    return _signed_in(request, database, session, "/")


@router.get("/account")
def account_page(request: Request, _: SignedIn, changed: bool = False) -> Response:
    return render(request, "account.html", message="", is_changed=changed)


@router.post("/account")
def change_password(
    request: Request, database: Data, visitor: SignedIn, old: Field = "", password: Field = "", again: Field = ""
) -> Response:
    try:
        _check_repeated(password, again)
        token = store.change_password(database, visitor.rater, old, password, address=_address(request))
    except (SignInRefused, DataError) as error:
        return _refused(request, "account.html", error, is_changed=False)
    return _signed_in(request, database, token, "/account?changed=1")


def _check_repeated(password: str, again: str) -> None:
    if password != again:
        raise DataError("The two passwords differ. Expected the same one twice. Type it again.")


def _refused(request: Request, template: str, error: KleashError, **context: Any) -> Response:
    """Show a form again with what was wrong; after too many tries, with the time to wait also for programs."""
    wait_seconds = error.wait_seconds if isinstance(error, SignInRefused) else 0.0
    page = render(request, template, status_code=429 if wait_seconds else 400, message=str(error), **context)
    if wait_seconds:
        page.headers["Retry-After"] = str(math.ceil(wait_seconds))
    return page


def _signed_in(request: Request, database: Database, token: str, target: str) -> Response:
    """Lead on with a session that nobody knew before; one the browser brought along ends."""
    _end_session(request, database)
    response = go(target)
    remember(request, response, token)
    return response


def _end_session(request: Request, database: Database) -> None:
    with database.write() as connection:
        store.log_out(connection, session_token(request))


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else "unknown"
