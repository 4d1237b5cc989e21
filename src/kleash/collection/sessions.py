"""Who is asking: the signed-in visitor of a request, the roles that routes demand, and proof against forged requests.

`identify` and `check_csrf` run before every route of the app. A route that is not open to everybody depends on
`require_labeller`, `require_adjudicator` or `require_admin`; each role may do all that the ones before it may.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, get_args
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kleash.collection.store.accounts import AccountRole, Session, session
from kleash.collection.store.database import Database

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Forms that a browser may have opened before it got a session, and so without the session's token.
_OPEN_FORMS = ("/login", "/invite/")
_COOKIE: dict[str, Any] = {"path": "/", "httponly": True, "samesite": "lax"}


def database_of(request: Request) -> Database:
    """Return the label database that the app serves (a FastAPI dependency)."""
    database: Database = request.app.state.database
    return database


def identify(request: Request) -> Session | None:
    """Return who is asking, None for a stranger; looked up once, and kept in `request.state.visitor`."""
    if not hasattr(request.state, "visitor"):
        token = session_token(request)
        request.state.visitor = session(database_of(request), token) if token else None
    visitor: Session | None = request.state.visitor
    return visitor


def _requires(role: AccountRole) -> Callable[[Request], Session]:
    """Return what gives a route its visitor. It raises 401 for a stranger, 403 for one whose role is below this."""

    def require(request: Request) -> Session:
        visitor = identify(request)
        if visitor is None:
            raise HTTPException(401, "You are not signed in. This needs an account. Sign in and try again.")
        roles = get_args(AccountRole)
        if roles.index(visitor.role) < roles.index(role):
            raise HTTPException(
                403, f"You are signed in as {visitor.role}. This is for the role {role}. Ask an administrator for it."
            )
        return visitor

    return require


require_labeller, require_adjudicator, require_admin = map(_requires, get_args(AccountRole))


async def check_csrf(request: Request) -> None:
    """Refuse a request that another site made a browser send, and one that lacks its session's own token.

    The token is the form field `csrf_token` or the header `X-CSRF-Token`. Needs `identify` to have run.
    """
    if request.method in _SAFE_METHODS:
        return
    if _is_from_another_site(request):
        raise HTTPException(
            403, "This request came from another site. Expected one from this service. Start again here."
        )
    visitor: Session | None = request.state.visitor
    if visitor is None or request.url.path.startswith(_OPEN_FORMS):
        return
    token = request.headers.get("x-csrf-token")
    if token is None:
        form = await request.form()
        field = form.get("csrf_token")
        token = field if isinstance(field, str) else ""
        # No route takes files; those that were sent all the same are let go of.
        await form.close()
    if not hmac.compare_digest(token.encode(errors="replace"), visitor.csrf_token.encode()):
        raise HTTPException(
            403, "The page this came from belongs to an earlier sign-in. Expected this one's token. Reload the page."
        )


def session_token(request: Request) -> str:
    """Return the session token that the browser sent, or nothing."""
    return request.cookies.get(_cookie(request), "")


def remember(request: Request, response: Response, token: str) -> None:
    """Give the browser its session token, out of reach of scripts, until it is closed."""
    response.set_cookie(_cookie(request), token, secure=request.app.state.https_only, **_COOKIE)


def forget(request: Request, response: Response) -> None:
    """Take the session token from the browser."""
    response.delete_cookie(_cookie(request), secure=request.app.state.https_only, **_COOKIE)


def _is_from_another_site(request: Request) -> bool:
    """Believe the browser: Sec-Fetch-Site where it is sent, else Origin. A request with neither is a program's own."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def _cookie(request: Request) -> str:
    # With the prefix, browsers take the cookie from this very host over HTTPS only, not from a sibling of its domain.
    return "__Host-kleash" if request.app.state.https_only else "kleash"
