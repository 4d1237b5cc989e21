"""Browsers for tests of the labelling service: strangers, and people who are signed in."""

from starlette.testclient import TestClient

from kleash.collection.store import accounts
from kleash.collection.store import tables as t
from kleash.collection.store.events import now
from kleash.collection.store.raters import rater_named

PASSWORD = "correct horse battery"


def stranger(app):
    """Return a browser that is not signed in; it follows no redirects, and shows a failing app's own error page."""
    return TestClient(app, follow_redirects=False, raise_server_exceptions=False)


def signed_in(app, name="ann", role="labeller"):
    """Return the browser of a person with this role, who gets an account without a password if there is none.

    It sends its session's CSRF token with every request, as the pages' scripts do.
    """
    database = app.state.database
    with database.write() as connection:
        rater = rater_named(connection, name, "person")
        if rater not in [account.rater for account in accounts.accounts(connection)]:
            add_account(connection, rater, role)
        token = accounts.open_session(connection, rater)
    browser = stranger(app)
    # Cookies marked secure are sent over HTTPS only.
    browser.base_url = "https://testserver" if app.state.https_only else "http://testserver"
    browser.cookies.set("__Host-kleash" if app.state.https_only else "kleash", token)
    browser.headers["X-CSRF-Token"] = accounts.session(database, token).csrf_token
    return browser


def add_account(connection, rater, role="labeller", password_hash="no password fits this"):
    """Give a person an account without the cost of hashing a password."""
    values = {"password_hash": password_hash, "role": role, "is_active": True, "created_at": now()}
    connection.execute(t.accounts.insert().values(rater_id=rater.id, **values))
