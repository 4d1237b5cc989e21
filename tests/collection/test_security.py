"""Who may do what over the web, and what a hostile page, browser or visitor can not."""

import re

import pytest
import sqlalchemy as sa
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.routing import Mount

from collection.web import PASSWORD, signed_in, stranger
from kleash.collection.app import create_app
from kleash.collection.sessions import require_adjudicator, require_admin, require_labeller
from kleash.collection.store import accounts
from kleash.collection.store import tables as t
from kleash.web.security import allow_inline_styles, local_path

# What is said to a browser does not depend on the kind of database.
pytestmark = pytest.mark.parametrize("dialect", ["sqlite"])

PUBLIC = {
    ("GET", "/"),
    ("GET", "/healthz"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/invite/{token}"),
    ("POST", "/invite/{token}"),
}
ROLES = ("labeller", "adjudicator", "admin")
DEMANDS = {require_labeller: "labeller", require_adjudicator: "adjudicator", require_admin: "admin"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def every_route():
    """Return (method, path, role demanded or None) of every route of the app, found without a database."""
    found = []
    for route in iter_route_contexts(create_app(None).routes):
        if isinstance(route.original_route, Mount):
            continue
        demanded = [DEMANDS[call] for call in dependencies(route.dependant) if call in DEMANDS]
        role = max(demanded, key=ROLES.index) if demanded else None
        found += [(method, route.path, role) for method in sorted(route.methods - {"HEAD"})]
    return found


def dependencies(dependant):
    yield dependant.call
    for child in dependant.dependencies:
        yield from dependencies(child)


ROUTES = every_route()
GUARDED = [route for route in ROUTES if route[:2] not in PUBLIC]
UNSAFE = [route for route in GUARDED if route[0] != "GET"]


def some_address(path):
    return re.sub(r"\{[^}]*\}", "1", path)


@pytest.fixture
def app(database):
    return create_app(database)


# --------------------------------------------------------------------------------------------------------------- roles
def test_every_route_demands_a_role_or_is_known_to_be_public(dialect):
    assert [route for route in GUARDED if route[2] is None] == []
    assert {route[:2] for route in ROUTES} >= PUBLIC
    assert [route for route in GUARDED if "/admin" in route[1] and route[2] == "labeller"] == []


@pytest.mark.parametrize(("method", "path", "role"), GUARDED)
def test_only_the_demanded_role_and_those_above_it_get_in(app, method, path, role):
    answer = stranger(app).request(method, some_address(path))
    if path.startswith("/api/"):
        assert answer.status_code == 401
        assert answer.json()["error"].startswith("You are not signed in")
    else:
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login")
    for number, present in enumerate(ROLES):
        answer = signed_in(app, present, present).request(method, some_address(path))
        assert answer.status_code < 500
        if number < ROLES.index(role):
            assert answer.status_code == 403
            assert f"You are signed in as {present}. This is for the role {role}." in answer.text
        else:
            assert answer.status_code not in (401, 403)
            assert "/login" not in answer.headers.get("location", "") or path == "/logout"


def test_after_signing_in_the_visitor_gets_to_the_page_that_was_asked_for(app):
    answer = stranger(app).get("/account?changed=1&x=%2F%26")
    assert answer.headers["location"] == "/login?next=/account%3Fchanged%3D1%26x%3D%252F%2526"
    page = stranger(app).get(answer.headers["location"])
    assert 'name="next" value="/account?changed=1&amp;x=%2F%26"' in page.text
    assert stranger(app).post("/account").headers["location"] == "/login"


# ------------------------------------------------------------------------------------------------------ forged requests
@pytest.mark.parametrize(("method", "path", "role"), UNSAFE)
@pytest.mark.parametrize("given", ["missing", "wrong", "of another session", "of another session as a field"])
def test_no_unsafe_request_passes_without_its_sessions_token(app, method, path, role, given):
    browser, other = signed_in(app, "ann", role), signed_in(app, "ann", role)
    del browser.headers["X-CSRF-Token"]
    token = {"missing": None, "wrong": "\u00e9"}.get(given, other.headers["X-CSRF-Token"])
    is_field = given.endswith("field")
    headers = {} if token is None or is_field else {"X-CSRF-Token": token.encode()}
    data = {"csrf_token": token} if is_field else None
    answer = browser.request(method, some_address(path), headers=headers, data=data)
    assert answer.status_code == 403
    assert "belongs to an earlier sign-in" in answer.text


def test_the_token_is_taken_as_a_field_or_as_a_header(app):
    for as_field in (False, True):
        browser = signed_in(app)
        token = browser.headers["X-CSRF-Token"]
        data = {}
        if as_field:
            del browser.headers["X-CSRF-Token"]
            data = {"csrf_token": token}
        assert browser.post("/logout", data=data).headers["location"] == "/login"
        assert browser.get("/account").status_code == 303


def test_a_file_in_place_of_the_token_is_no_token(app):
    browser = signed_in(app)
    del browser.headers["X-CSRF-Token"]
    assert browser.post("/logout", files={"csrf_token": b"x"}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": "http://testserver:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/invite/1", "/logout", "/account"])
def test_another_site_can_send_nothing_in_a_visitors_name(app, headers, path):
    for browser in (stranger(app), signed_in(app)):
        answer = browser.post(path, headers=headers)
        assert answer.status_code == 403
        assert "This request came from another site." in answer.text


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://testserver"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}]
)
def test_the_services_own_pages_can_send(app, headers):
    assert signed_in(app).post("/logout", headers=headers).status_code == 303


def test_signing_in_works_in_a_tab_that_was_opened_before_another_signed_in(app):
    with app.state.database.write() as connection:
        accounts.create_account(connection, "ben", PASSWORD, "labeller", actor="tests")
    browser = signed_in(app, "ann")
    del browser.headers["X-CSRF-Token"]
    answer = browser.post("/login", data={"name": "ben", "password": PASSWORD})
    assert answer.status_code == 303
    assert ">ben<" in browser.get("/account").text


# ------------------------------------------------------------------------------------------------- sessions and cookies
def test_signing_in_gives_a_session_that_nobody_could_have_planted(app):
    with app.state.database.write() as connection:
        accounts.create_account(connection, "ann", PASSWORD, "labeller", actor="tests")
    browser = stranger(app)
    browser.cookies.set("kleash", "planted-by-an-attacker")
    answer = browser.post("/login", data={"name": "ann", "password": PASSWORD})
    first = answer.cookies["kleash"]
    assert first != "planted-by-an-attacker"
    second = browser.post("/login", data={"name": "ann", "password": PASSWORD}).cookies["kleash"]
    browser.cookies.clear()
    browser.cookies.set("kleash", first)
    assert browser.get("/account").status_code == 303, "the session before ended when the next one began"
    browser.cookies.clear()
    browser.cookies.set("kleash", second)
    assert browser.get("/account").status_code == 200


def test_an_expired_session_opens_nothing(app):
    browser = signed_in(app)
    assert browser.get("/account").status_code == 200
    with app.state.database.write() as connection:
        connection.execute(t.sessions.update().values(expires_at=sa.func.datetime("now", "-1 second")))
    assert browser.get("/account").status_code == 303


@pytest.mark.parametrize("https_only", [False, True])
def test_the_session_cookie_is_out_of_reach(database, https_only):
    app = create_app(database, https_only=https_only)
    with database.write() as connection:
        accounts.create_account(connection, "ann", PASSWORD, "labeller", actor="tests")
    answer = stranger(app).post("/login", data={"name": "ann", "password": PASSWORD})
    name, *attributes = re.split("; |=", answer.headers["set-cookie"])
    assert name == ("__Host-kleash" if https_only else "kleash")
    assert ("Secure" in attributes) == https_only
    assert "HttpOnly" in attributes
    assert answer.headers["set-cookie"].count("SameSite=lax") == 1
    assert answer.headers["set-cookie"].count("Path=/") == 1
    assert "Domain" not in attributes
    assert ("strict-transport-security" in answer.headers) == https_only
    browser = signed_in(app, "ben")
    assert browser.get("/account").status_code == 200
    gone = browser.post("/logout").headers["set-cookie"]
    assert gone.startswith(f'{name}=""')
    assert ("Secure" in gone) == https_only


# -------------------------------------------------------------------------------------------------------------- headers
def add_broken_routes(app):
    @app.get("/broken")
    def broken():
        raise RuntimeError("a secret of the service")

    @app.get("/api/broken")
    def broken_api():
        raise RuntimeError("a secret of the service")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/login", 200),
        ("GET", "/", 303),
        ("GET", "/healthz", 200),
        ("GET", "/account", 303),
        ("GET", "/nothing/here", 404),
        ("GET", "/invite/no-such", 404),
        ("POST", "/login", 400),
        ("DELETE", "/login", 405),
        ("GET", "/static/admin.css", 200),
        ("GET", "/shared/style.css", 200),
        ("GET", "/static/no-such.css", 404),
        ("POST", "/static/admin.css", 405),
        ("GET", "/broken", 500),
        ("GET", "/api/broken", 500),
    ],
)
def test_every_answer_carries_the_security_headers(app, method, path, status):
    add_broken_routes(app)
    answer = stranger(app).request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cache-control"] == ("no-cache" if path.startswith(("/static/", "/shared/")) else "no-store")
    assert "secret" not in answer.text


@pytest.mark.parametrize(("method", "path", "role"), GUARDED)
def test_pages_of_labellers_allow_no_inline_styles(app, method, path, role):
    policy = signed_in(app, "ann", "admin").request(method, some_address(path)).headers["content-security-policy"]
    assert policy in (POLICY, POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'"))
    assert policy == POLICY or role != "labeller"


def test_a_page_may_allow_inline_styles_for_itself(app):
    @app.get("/chart")
    def chart(request: Request):
        allow_inline_styles(request)
        return "drawn"

    browser = stranger(app)
    assert "style-src 'self' 'unsafe-inline';" in browser.get("/chart").headers["content-security-policy"]
    assert browser.get("/login").headers["content-security-policy"] == POLICY


# ------------------------------------------------------------------------------------------------------- hostile input
@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "https://evil.example",
        "http:evil.example",
        "javascript:alert(1)",
        "evil.example",
        "",
        " //evil.example",
        "/a\x00b",
    ],
)
def test_signing_in_leads_nowhere_else(app, target):
    assert local_path(target) == "/"
    with app.state.database.write() as connection:
        accounts.create_account(connection, "ann", PASSWORD, "labeller", actor="tests")
    browser = stranger(app)
    answer = browser.post("/login", data={"name": "ann", "password": PASSWORD, "next": target})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert browser.get("/login", params={"next": target}).headers["location"] == "/"


@pytest.mark.parametrize("target", ["/", "/label", "/label?task=1&x=//a", "/admin#top", "/ü"])
def test_signing_in_leads_on_to_pages_of_the_service(dialect, target):
    assert local_path(target) == target


def test_a_body_that_is_too_large_is_not_read(app):
    browser = signed_in(app)
    form = {"content-type": "application/x-www-form-urlencoded"}

    def pieces():
        for _ in range(11):
            yield b"x" * 100_000

    for path in ("/login", "/account", "/invite/1"):
        for content in (b"x" * 1_000_001, pieces()):
            answer = browser.post(path, content=content, headers=form)
            assert answer.status_code == 413
            assert answer.headers["content-security-policy"] == POLICY
    assert browser.post("/login", content=b"name=" + b"x" * 999_000, headers=form).status_code == 400


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\x00b",
    "\x1b[31mred",
    "\u202eevil",
    "x" * 10_000,
    "{{ 7 * 7 }}",
    "'; DROP TABLE accounts; --",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_refused_or_shown_as_text(app, text):
    with app.state.database.write() as connection:
        token = accounts.create_invite(connection, "labeller", actor="tests")
    for path in ("/login", f"/invite/{token}"):
        answer = stranger(app).post(path, data={"name": text, "password": "123", "again": "123"})
        assert answer.status_code == 400
        assert "<script>" not in answer.text
        assert "<img" not in answer.text
        assert ">49<" not in answer.text
    browser = stranger(app)
    answer = browser.post(f"/invite/{token}", data={"name": text, "password": PASSWORD, "again": PASSWORD})
    if answer.status_code == 303:
        page = browser.get("/account").text
        assert "<script>" not in page
        assert "<img" not in page
        assert "<bdi>" in page
    else:
        assert answer.status_code == 400
        assert "cannot be a name" in answer.text


@pytest.mark.parametrize("path", ["/%00", "/invite/%00", "/invite/%ED%A0%80", "/%ff", "/invite/" + "x" * 10_000])
def test_hostile_addresses_lead_nowhere(app, path):
    for browser in (stranger(app), signed_in(app)):
        assert browser.get(path).status_code == 404


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense"),
        ("multipart/form-data", b"no boundary"),
        ("application/x-www-form-urlencoded", b"name=%ff&password=%00"),
        ("application/json", b"{"),
        ("text/plain", b"name=ann"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="name"; filename="a"\r\n\r\nb\r\n--x--\r\n',
        ),
        ("application/x-www-form-urlencoded", b"&".join(b"f%d=1" % number for number in range(2000))),
    ],
)
def test_a_body_that_is_no_form_is_the_senders_fault(app, content_type, content):
    for browser in (stranger(app), signed_in(app)):
        for path in ("/login", "/logout", "/account", "/invite/1"):
            answer = browser.post(path, content=content, headers={"content-type": content_type})
            assert answer.status_code in (303, 400, 403, 422)


@pytest.mark.parametrize("token", ["", "x", "\u00e9", '"quoted"', "x" * 5000])
def test_an_invented_cookie_is_a_strangers(app, token):
    answer = stranger(app).get("/account", headers={"Cookie": f"kleash={token}".encode()})
    assert answer.status_code == 303
