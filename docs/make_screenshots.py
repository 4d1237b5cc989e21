"""Take the pictures of a run's report that the documentation shows: `python docs/make_screenshots.py RUN [FOLDER]`.

Writes report.png (1280 px wide, light, the top of the page), report-dark.png and report-narrow.png (375 px) into
FOLDER, docs/images by default, and audit.png if the run's reward model was audited. Needs Playwright and a Chromium:
$CHROMIUM, or the one Debian installs.
"""

import argparse
import os
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from kleash.monitor.pages.report import write_report

# Nothing may be fetched: the page is offline, and the browser's own background traffic has no place in a build.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHOTS = {
    "report.png": {"width": 1280, "height": 1500, "scheme": "light"},
    "report-dark.png": {"width": 1280, "height": 1500, "scheme": "dark"},
    "report-narrow.png": {"width": 375, "height": 1500, "scheme": "light"},
}
AUDIT_SHOTS = {"audit.png": {"width": 1280, "height": 1400, "scheme": "light"}}


def take_screenshots(page_path, folder, *, shots=SHOTS, full_page=False):
    """Photograph a page in every size and colour scheme of `shots`."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        for name, shot in shots.items():
            context = playwright.chromium.launch_persistent_context(
                Path(profile) / name,
                executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
                args=CHROMIUM_FLAGS,
                viewport={"width": shot["width"], "height": shot["height"]},
                color_scheme=shot["scheme"],
            )
            page = context.new_page()
            page.goto(page_path.absolute().as_uri())
            page.wait_for_selector("[data-figure]:not(:has(.main-svg))", state="detached")
            page.screenshot(path=folder / name, full_page=full_page)
            context.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder, such as runs/quickstart")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent / "images")
    parser.add_argument("--full-page", action="store_true", help="the whole page, not only its top")
    given = parser.parse_args()
    take_screenshots(write_report(given.run), given.folder, full_page=given.full_page)
    for page in sorted(given.run.glob("round-*/audit/audit.html"))[-1:]:
        take_screenshots(page, given.folder, shots=AUDIT_SHOTS, full_page=given.full_page)


if __name__ == "__main__":
    main()
