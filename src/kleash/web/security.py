"""What every response says to the browser about safety, and which addresses a redirect may lead to.

Model text is hostile input: nothing on a page executes but this service's own script files.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1_000_000

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STYLED_POLICY = _POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


class SecurityHeaders:
    """Put the security headers on every response (ASGI middleware)."""

    def __init__(self, app: ASGIApp, *, https_only: bool) -> None:
        self.app = app
        self.https_only = https_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_security_headers(MutableHeaders(scope=message), scope, https_only=self.https_only)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def add_security_headers(headers: MutableHeaders, scope: Scope, *, https_only: bool) -> None:
    """Add to a response's headers what keeps its page from running, embedding or telling anything it should not."""
    is_styled = scope.get("state", {}).get("allows_inline_styles", False)
    headers["Content-Security-Policy"] = _STYLED_POLICY if is_styled else _POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if https_only:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    # Files may be kept as long as they are asked after each time; pages hold what only their visitor may see.
    headers.setdefault(
        "Cache-Control", "no-cache" if scope["path"].startswith(("/static/", "/shared/")) else "no-store"
    )


def allow_inline_styles(request: Request) -> None:
    """Let a page carry styles of its own, as charts do (a FastAPI dependency). Never for pages with model text."""
    request.state.allows_inline_styles = True


def local_path(target: str) -> str:
    """Return where to go after signing in: a path of this service, or its start for an address that is none.

    Browsers read "//host" and "/\\host" as another site's address, also with control characters in between.
    """
    is_local = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    return target if is_local else "/"
