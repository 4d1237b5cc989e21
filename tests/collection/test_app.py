"""The service as a whole: where each role starts, how errors look, and signing in from page to page."""

import json

import pytest
from pydantic import BaseModel

from collection.web import PASSWORD, signed_in, stranger
from kleash.collection.app import create_app
from kleash.collection.store import accounts
from kleash.errors import DataError, RunError


@pytest.fixture
def app(database):
    return create_app(database)


def test_each_role_starts_where_its_work_is(app):
    assert stranger(app).get("/").headers["location"] == "/login"
    assert signed_in(app, "ann", "labeller").get("/").headers["location"] == "/label"
    assert signed_in(app, "ben", "adjudicator").get("/").headers["location"] == "/label"
    assert signed_in(app, "eve", "admin").get("/").headers["location"] == "/admin"


def test_health_is_open_to_all(app):
    assert stranger(app).get("/healthz").json() == {"status": "ok"}


def test_neither_schema_nor_its_pages_are_served(app):
    for path in ("/openapi.json", "/docs", "/redoc"):
        assert signed_in(app, "eve", "admin").get(path).status_code == 404


def test_from_an_invite_to_a_changed_password(app):
    with app.state.database.write() as connection:
        token = accounts.create_invite(connection, "adjudicator", actor="tests")
    browser = stranger(app)
    assert "adjudicator" in browser.get(f"/invite/{token}").text
    form = {"name": "Zoé", "password": PASSWORD, "again": "something else"}
    answer = browser.post(f"/invite/{token}", data=form)
    assert answer.status_code == 400
    assert "The two passwords differ." in answer.text
    assert 'value="Zoé"' in answer.text
    assert browser.post(f"/invite/{token}", data=form | {"again": PASSWORD}).headers["location"] == "/"
    page = browser.get("/account").text
    assert "<bdi><b>Zoé</b></bdi>" in page
    csrf_token = page.split('name="csrf-token" content="')[1].split('"')[0]

    form = {"csrf_token": csrf_token, "old": "not this", "password": "another password", "again": "another password"}
    answer = browser.post("/account", data=form)
    assert answer.status_code == 400
    assert "Name or password is wrong." in answer.text
    answer = browser.post("/account", data=form | {"old": PASSWORD, "again": "mistyped"})
    assert "The two passwords differ." in answer.text
    answer = browser.post("/account", data=form | {"old": PASSWORD})
    assert answer.headers["location"] == "/account?changed=1"
    assert "Your password is changed." in browser.get("/account?changed=1").text

    other = stranger(app)
    assert other.post("/login", data={"name": "Zoé", "password": PASSWORD}).status_code == 400
    signing_in = {"name": "Zoé", "password": "another password", "next": "/account"}
    assert other.post("/login", data=signing_in).headers["location"] == "/account"
    assert other.get("/login").headers["location"] == "/"


def test_too_many_wrong_passwords_are_told_to_wait(app):
    form = {"name": "nobody", "password": "wrong"}
    for _ in range(5):
        answer = stranger(app).post("/login", data=form)
        assert answer.status_code == 400
        assert 'value="nobody"' in answer.text
    answer = stranger(app).post("/login", data=form)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert "Too many failed sign-ins." in answer.text


class Form(BaseModel):
    number: int


def add_failing_routes(app):
    @app.get("/missing")
    @app.post("/missing")
    @app.get("/api/missing")
    @app.post("/api/missing")
    def missing():
        raise DataError("There is no such <b>thing</b> \ud800. Expected one. Look again.")

    @app.get("/full")
    def full():
        raise RunError("The disk is full. Expected room. Make some.")

    @app.get("/broken")
    @app.get("/api/broken")
    def broken():
        raise RuntimeError("a secret of the service")

    @app.post("/api/form")
    @app.post("/form")
    def form(form: Form):
        return form.number


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_a_users_error_is_a_page_or_below_api_json(app):
    add_failing_routes(app)
    browser = stranger(app)
    page = browser.get("/missing")
    assert page.status_code == 404
    assert "There is no such &lt;b&gt;thing&lt;/b&gt; ?. Expected one." in page.text
    assert browser.post("/missing").status_code == 400
    answer = browser.get("/api/missing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert answer.json()["error"].startswith("There is no such <b>thing</b>")
    assert browser.post("/api/missing").status_code == 400
    assert browser.get("/full").status_code == 400
    assert browser.get("/api/nothing").json() == {
        "error": "There is no page at this address. Expected one that a page of this service links to. "
        "Check the address."
    }
    assert "There is no page at this address." in browser.get("/nothing").text


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_our_own_error_tells_nothing(app):
    add_failing_routes(app)
    for path in ("/broken", "/api/broken"):
        answer = stranger(app).get(path)
        assert answer.status_code == 500
        assert "The service made a mistake" in answer.text
        assert "secret" not in answer.text


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_what_does_not_fit_is_named_and_not_repeated(app):
    add_failing_routes(app)
    browser = stranger(app)
    hostile = json.dumps({"number": "<script>alert(1)</script>"})
    as_json = {"headers": {"content-type": "application/json"}}
    answer = browser.post("/api/form", content=hostile, **as_json)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("The request does not fit. body.number: Input should be a valid integer")
    assert "script" not in answer.text
    answer = browser.post("/form", content=hostile, **as_json)
    assert answer.status_code == 422
    assert "body.number: Input should be a valid integer" in answer.text
    assert "script>" not in answer.text
    for content in (b"{", b"\xff", b"", b'{"number": "\\ud800"}', b'{"\\ud800": 1}', b"[" * 100_000):
        for path in ("/form", "/api/form"):
            assert browser.post(path, content=content, **as_json).status_code in (400, 422)
