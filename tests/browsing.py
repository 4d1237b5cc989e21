"""What tests that look at pages share: a Chromium, a service to look at, and what to look out for on every page.

The fixtures `browser` and `new_page` in conftest.py are made of this.
"""

import os
import shutil
import socket
import threading

import uvicorn

# The names that scripts/install_chromium is content with.
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
# A shared machine is slow at times; that is no fault of the pages.
PATIENCE_MS = 120_000


def chromium():
    """Return the path of $CHROMIUM or else of an installed Chromium; a machine that has none sees the tests fail."""
    names = [os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else NAMES
    paths = [path for name in names if (path := shutil.which(name))]
    assert paths, f"No Chromium called {' or '.join(names)}: run scripts/install_chromium first, or set CHROMIUM."
    return paths[0]


class Service:
    """A web application on a free port of this machine, in a thread; it can stop and start again at its address."""

    def __init__(self, app):
        self.app, self.port = app, 0
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(self.app, log_level="error", timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    def stop(self):
        self.server.should_exit = True
        self.thread.join()


def watch(page, address):
    """Return a list that grows with all that goes wrong: errors, messages, dialogs, requests not below `address`."""
    troubles = []

    def dismiss(dialog):
        troubles.append(dialog.message)
        dialog.dismiss()

    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("dialog", dismiss)
    page.on("request", lambda sent: sent.url.startswith((address, "data:")) or troubles.append(sent.url))
    return troubles


def axe_violations(page):
    """Return each rule of accessibility that axe finds broken, with the first places where it is."""
    from axe_playwright_python.sync_playwright import Axe

    broken = Axe().run(page).response["violations"]
    return [(rule["id"], [node["html"][:160] for node in rule["nodes"][:3]]) for rule in broken]


def unknown_to_plotly(page):
    """Return what plotly says is wrong with the figures drawn on a page: unknown attributes and impossible values.

    What it has no use for, such as a grid that is not shown or a line without points, is not wrong.
    """
    return page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')]"
        ".flatMap(({ data, layout }) => Plotly.validate(data, layout) ?? [])"
        ".filter(({ code }) => code !== 'unused' && code !== 'invisible').map(({ msg }) => msg)"
    )


def is_too_wide(page):
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")
