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
WARM_SECONDS = 2  # by then the monitor has loaded what it needs for its first chart
SLICE_METRICS = ("score_mean", "kl_nats_per_sequence", "kl_nats_per_token", "response_tokens_mean", "reward/raw")
METRICS = ("score_mean", "kl_nats_per_sequence", "kl_nats_per_token", "response_tokens_mean", "beta", "entropy_nats")
METRICS += ("clip_fraction", "explained_variance", "truncation_share", "policy_loss", "value_loss", "step_seconds")


def metric_row(step: int, generator: random.Random) -> dict[str, float]:
    """Return one update's figures, of which none repeats."""
    row: dict[str, float] = {"step": step} | {name: generator.gauss(1.0, 0.2) for name in METRICS}
    for index in range(NUM_SLICES):
        row |= {f"slice/topic=number {index}/{name}": generator.gauss(1.0, 0.3) for name in SLICE_METRICS}
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

    def cost(self, path: str, etag: str = "", *, times: int = 1) -> tuple[str, int, str]:
        """Return an answer's time on the clock and of the processor, in words, its bytes and its ETag."""
        clock, processor = [], self.processor_seconds()
        for _ in range(times):
            seconds, size, new_etag = self.seconds(path, etag)
            clock.append(seconds)
        used = (self.processor_seconds() - processor) / times
        return f"{statistics.median(clock):.3f} s | {used:.3f} s", size, new_etag

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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
    monitor = Monitor(folder)
    rows.append(("start of the monitor", f"{monitor.start_seconds:.2f} s | {monitor.processor_seconds():.2f} s"))
    rows.append(("list of runs", monitor.cost("/")[0]))
    size_mb = log.stat().st_size / 1e6
    rows.append((f"run page, first look: {size_mb:.0f} MB of log read, figures made", monitor.cost("/run/long")[0]))
    cost, size, etag = monitor.cost("/data/run/long")
    rows.append((f"its first poll, {size / 1e3:.0f} kB: what was made for the page is sent", cost))
    rows.append(("a poll when nothing changed (304)", monitor.cost("/data/run/long", etag, times=50)[0]))
    generator, costs = random.Random(1), []
    for step in range(NUM_UPDATES, NUM_UPDATES + 10):
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(metric_row(step, generator)) + "\n")
        costs.append(monitor.cost("/data/run/long", etag)[0])
    rows.append(("a poll after one more update", sorted(costs)[len(costs) // 2]))
    rows.append(("memory of the monitor", f"{monitor.memory_mb():.0f} MB |"))
    if with_browser:
        text, charts, again = browser_seconds(monitor)
        rows.append(("Chromium: run page until its text stands", f"{text:.2f} s |"))
        rows.append(("until its charts stand; on a second visit", f"{charts:.2f} s; {again:.2f} s |"))
    monitor.close()
    shutil.rmtree(folder)


def measure_many_runs(rows: list[tuple[str, str]]) -> None:
    """Time the list of many runs."""
    folder = Path(tempfile.mkdtemp())
    for number in range(NUM_RUNS):
        make_run(folder / f"run-{number:03d}", num_updates=200)
    monitor = Monitor(folder)
    time.sleep(WARM_SECONDS)
    rows.append((f"list of {NUM_RUNS} runs", monitor.cost("/")[0]))
    _, _, etag = monitor.cost("/data/runs")
    rows.append(("its poll when nothing changed (304)", monitor.cost("/data/runs", etag, times=10)[0]))
    monitor.close()
    shutil.rmtree(folder)


def browser_seconds(monitor: Monitor) -> tuple[float, float, float]:
    """Return how long Chromium takes to the page's heading, to its last chart, and to that on a second visit."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    visits = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for _ in range(2):
            page.goto(f"{monitor.address}/static/live.js")  # the browser itself is up
            begun = time.perf_counter()
            page.goto(f"{monitor.address}/run/long", wait_until="commit")
            page.wait_for_selector("h1")
            text = time.perf_counter() - begun
            page.wait_for_selector("body[data-updates]")
            visits.append((text, time.perf_counter() - begun))
        browser.close()
    return *visits[0], visits[1][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", action="store_true", help="load the page in Chromium too")
    given = parser.parse_args()
    rows: list[tuple[str, str]] = []
    measure_long_run(rows, with_browser=given.browser)
    measure_many_runs(rows)
    print("| what | clock | processor |\n|---|---|---|")
    for what, figure in rows:
        print(f"| {what} | {figure} |")


if __name__ == "__main__":
    main()
