"""Fixtures shared by all tests: disks that refuse without being full, death at any moment, a chat model, a browser."""

import itertools
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

# A shared machine is slow at times; that is no fault of the code under test.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture
def file_size_limit():
    """Refuse every write that would make a file longer than so many bytes, as a full disk would."""

    @contextmanager
    def limit(num_bytes):
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, old[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)

    return limit


@pytest.fixture
def unprivileged():
    """Make a folder read-only for the block; root, whom no permission stops, becomes nobody for that long."""

    @contextmanager
    def without_rights(folder):
        user = os.geteuid()
        mode = folder.stat().st_mode
        folder.chmod(0o500)
        if user == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)
            folder.chmod(mode)

    return without_rights


@pytest.fixture
def kill_at_every_write():
    """Run an action again and again, each time killed (SIGKILL) just before its next file operation.

    `kill_at_every_write(action, check)` calls check() after each death, with whatever that death left behind, and
    returns the number of deaths once the action has lived to its end.
    """

    def run(action, check):
        for num_operations in itertools.count():
            child = os.fork()
            if child == 0:
                die_before_operation(num_operations)
                action()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0
                return num_operations
            check()
        return None

    def die_before_operation(number):
        left = number

        def hook(event, _):
            nonlocal left
            if event in {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(hook)

    return run


@pytest.fixture(scope="session")
def chat_model_folder():
    """The folder of a small real chat model, SmolLM2-135M-Instruct, made when it is not there yet."""
    script = Path(__file__).parents[1] / "scripts" / "fetch_smollm2"
    # Its own lock makes parallel workers wait for the first one.
    made = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert made.returncode == 0, "scripts/fetch_smollm2 failed; what it said stands above"
    return Path(made.stdout.strip())


# One per module: while Playwright runs, its event loop is in the way of tests that start their own.
@pytest.fixture(scope="module")
def browser():
    """A running Chromium."""
    from playwright.sync_api import sync_playwright

    from browsing import FLAGS, chromium

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser):
    """Open a page that has nothing in it yet, with the list of what will go wrong on it; `address` is all it may ask.

    Each page is a visitor of its own, with its own cookies. Further settings are those of a Playwright context.
    """
    from browsing import PATIENCE_MS, watch

    pages = []

    def new_page(address, *, width=1280, scheme="light", **settings):
        viewport = {"width": width, "height": 900}
        page = browser.new_page(viewport=viewport, color_scheme=scheme, base_url=address, **settings)
        pages.append(page)
        page.set_default_timeout(PATIENCE_MS)
        return page, watch(page, address)

    yield new_page
    for page in pages:
        page.close()
