"""Take the pictures of the monitor that the documentation shows: `python docs/make_monitor_screenshots.py RUNS RUN`.

RUNS is a folder of runs, RUN the name of one in it whose alarms are worth a look. Writes monitor-runs.png,
monitor-run.png, monitor-run-dark.png, monitor-run-narrow.png (375 px) and monitor-samples.png into docs/images. Needs
Playwright and a Chromium: $CHROMIUM, or the one Debian installs.
"""

import argparse
import os
import socket
import threading
from pathlib import Path
from urllib.parse import quote

import uvicorn
from make_screenshots import CHROMIUM_FLAGS
from playwright.sync_api import sync_playwright

from kleash.monitor.app import create_app

SHOTS = {
    "monitor-runs.png": ("/", 1280, 420, "light"),
    "monitor-run.png": ("/run/{}", 1280, 1900, "light"),
    "monitor-run-dark.png": ("/run/{}", 1280, 1900, "dark"),
    "monitor-run-narrow.png": ("/run/{}", 375, 1500, "light"),
    "monitor-samples.png": ("/samples/{}", 1280, 900, "light"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="a folder of runs")
    parser.add_argument("run", help="the name of one of them")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent / "images")
    given = parser.parse_args()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(given.runs), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        take_screenshots(f"http://127.0.0.1:{listening.getsockname()[1]}", given.run, given.folder)
    finally:
        server.should_exit = True
        thread.join()


def take_screenshots(address, run, folder):
    """Photograph the pages, each when its first answer was put in."""
    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        for name, (path, width, height, scheme) in SHOTS.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(address + path.format(quote(run)))
            page.wait_for_selector("body[data-updates]")
            page.screenshot(path=folder / name)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
