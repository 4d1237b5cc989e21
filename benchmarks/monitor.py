"""How fast the monitor is on a long run: 10,000 updates with 11 slices, and a list of 100 runs.

    python benchmarks/monitor.py            # prints the table of docs/performance.md; --browser adds page loads

The run is made of a real run's rows, repeated; the monitor runs as `kleash monitor` does, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

NUM_UPDATES, NUM_SLICES, NUM_RUNS = 10_000, 11, 100
SLICE_METRICS = ("score_mean", "kl_nats_per_sequence", "kl_nats_per_token", "response_tokens_mean", "reward/raw")
METRICS = ("score_mean", "kl_nats_per_sequence", "kl_nats_per_token", "response_tokens_mean", "beta", "entropy_nats")
METRICS += ("clip_fraction", "explained_variance", "truncation_share", "policy_loss", "value_loss", "step_seconds")


def metric_row(step: int, generator: random.Random) -> dict[str, float]:
    """Return one update's figures, of which none repeats."""
    row: dict[str, float] = {"step": step} | {name: generator.gauss(1.0, 0.2) for name in METRICS}
    for place in range(NUM_SLICES):
        row |= {f"slice/topic=number {place}/{name}": generator.gauss(1.0, 0.3) for name in SLICE_METRICS}
    return row


def make_run(folder: Path, *, num_updates: int) -> None:
    """Write a run that is training: its recipe, and the logs of a policy that is not finished."""
    policy = folder / "round-000" / "policy.partial"
    policy.mkdir(parents=True)
    (folder / "recipe.toml").write_text('stages = ["policy"]\n[policy]\nsteps = 20000\n', encoding="utf-8")
    generator = random.Random(0)
    with open(policy / "metrics.jsonl", "w", encoding="utf-8") as file:
        for step in range(num_updates):
            file.write(json.dumps(metric_row(step, generator)) + "\n")
    with open(policy / "evaluations.jsonl", "w", encoding="utf-8") as file:
        for step in range(0, num_updates, 10):
            row = {"step": step, "score_mean": 1.0, "external/win_rate": 0.6, "external/n": 250}
            file.write(json.dumps(row) + "\n")


class Monitor:
    """`kleash monitor` in a process of its own."""

    def __init__(self, runs: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        begun = time.perf_counter()
        command = [sys.executable, "-m", "kleash", "monitor", str(runs), "--port", str(port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while True:
            try:
                self.seconds("/static/live.js")
                break
            except OSError:
                time.sleep(0.02)
        self.start_seconds = time.perf_counter() - begun

    def seconds(self, path: str, etag: str = "") -> tuple[float, int, str]:
        """Return how long an answer took, its bytes and its ETag; a 304 has none."""
        request = urllib.request.Request(self.address + path, headers={"If-None-Match": etag} if etag else {})
        begun = time.perf_counter()
        try:
            with urllib.request.urlopen(request) as answer:
                content, etag = answer.read(), answer.headers.get("ETag", "")
        except urllib.error.HTTPError as error:
            if error.code != 304:
                raise
            content = b""
        return time.perf_counter() - begun, len(content), etag

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def measure_long_run(rows: list[tuple[str, str]], *, with_browser: bool) -> None:
    """Time the first look at a long run, looks at what was added, and looks at nothing new."""
    folder = Path(tempfile.mkdtemp())
    make_run(folder / "long", num_updates=NUM_UPDATES)
    log = folder / "long" / "round-000" / "policy.partial" / "metrics.jsonl"
    rows.append((f"log of {NUM_UPDATES:,} updates, {NUM_SLICES} slices", f"{log.stat().st_size / 1e6:.0f} MB"))
    monitor = Monitor(folder)
    rows.append(("start of the monitor", f"{monitor.start_seconds:.2f} s"))
    rows.append(("list of runs, first look", f"{monitor.seconds('/')[0]:.2f} s"))
    if with_browser:
        rows.append(("run page in Chromium, first look, until the charts stand", f"{browser_seconds(monitor):.2f} s"))
        rows.append(("the same, second look", f"{browser_seconds(monitor):.2f} s"))
    else:
        rows.append(("run page, first look: every file read", f"{monitor.seconds('/run/long')[0]:.2f} s"))
    data_seconds, size, etag = monitor.seconds("/data/run/long")
    rows.append(("its figures, files read before", f"{data_seconds:.2f} s, {size / 1e3:.0f} kB"))
    same = statistics.median(monitor.seconds("/data/run/long", etag)[0] for _ in range(20))
    rows.append(("a poll when nothing changed (304)", f"{1e3 * same:.1f} ms"))
    generator, polls = random.Random(1), []
    for step in range(NUM_UPDATES, NUM_UPDATES + 10):
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(metric_row(step, generator)) + "\n")
        polls.append(monitor.seconds("/data/run/long", etag)[0])
    rows.append(("a poll after one more update", f"{1e3 * statistics.median(polls):.0f} ms"))
    rows.append(("memory of the monitor", f"{monitor.memory_mb():.0f} MB"))
    monitor.close()
    shutil.rmtree(folder)


def measure_many_runs(rows: list[tuple[str, str]]) -> None:
    """Time the list of many runs."""
    folder = Path(tempfile.mkdtemp())
    for number in range(NUM_RUNS):
        make_run(folder / f"run-{number:03d}", num_updates=200)
    monitor = Monitor(folder)
    first, _, _ = monitor.seconds("/")
    seconds, _, etag = monitor.seconds("/data/runs")
    same = statistics.median(monitor.seconds("/data/runs", etag)[0] for _ in range(10))
    monitor.close()
    rows.append(
        (f"list of {NUM_RUNS} runs, first look; again; nothing changed", f"{first:.2f}; {seconds:.2f}; {same:.2f} s")
    )
    shutil.rmtree(folder)


def browser_seconds(monitor: Monitor) -> float:
    """Return how long Chromium takes from asking for the page until its last chart is drawn."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"{monitor.address}/static/live.js")  # the browser itself is up
        begun = time.perf_counter()
        page.goto(f"{monitor.address}/run/long")
        page.wait_for_selector("body[data-updates]")
        seconds = time.perf_counter() - begun
        browser.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", action="store_true", help="load the page in Chromium too")
    given = parser.parse_args()
    rows: list[tuple[str, str]] = []
    measure_long_run(rows, with_browser=given.browser)
    measure_many_runs(rows)
    print("| what | figure |\n|---|---|")
    for what, figure in rows:
        print(f"| {what} | {figure} |")


if __name__ == "__main__":
    main()
