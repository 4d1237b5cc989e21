"""How fast the labelling pages answer under load; prints a Markdown table per database.

    python benchmarks/labelling.py                            # SQLite, then PostgreSQL
    python benchmarks/labelling.py --databases sqlite --labellers 100 --seconds 120

Starts `kleash collect serve` (one process) on a fresh campaign. Simulated labellers sign in, open the page and label as
a browser would: a page, its tasks, then per task a verdict that brings the next tasks, with pauses for thinking and now
and then a heartbeat, a look back and a difference. Their first round of requests is left out: nobody arrives with fifty
others in one second. Ends by holding every receipt against the database: none lost, no item with more than its share.
"""

import argparse
import asyncio
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path

import httpx
import sqlalchemy as sa

from kleash.collection.campaign import CampaignSettings
from kleash.collection.store import accounts
from kleash.collection.store import tables as t
from kleash.collection.store.campaigns import add_items, campaign_named, create_campaign, items
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import judgements_in_force
from kleash.records import Comparison, Prompt

SCRIPTS = Path(__file__).parents[1] / "scripts"
CAMPAIGN = "load"
PASSWORD = "correct horse battery"
SENTENCE = "The moon pulls on the near side of the Earth more strongly than on its centre, and `code` is shown. "


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--labellers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60, help="after everybody has signed in")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--think-seconds", nargs=2, type=float, default=[0.5, 1.5])
    return parser.parse_args()


# ---------------------------------------------------------------------------------------------------------- the service
@contextmanager
def database_url(kind: str, folder: Path):
    """Give the URL of an empty database; PostgreSQL waits for the disk at every commit, as in earnest."""
    if kind == "sqlite":
        yield str(folder / "labels.db")
        return
    # Its user may not enter our own temporary folder.
    server = Path(tempfile.gettempdir()) / f"kleash-benchmark-{os.getpid()}"
    started = subprocess.run([SCRIPTS / "start_postgres", server, "fsync=on"], capture_output=True, text=True)
    if started.returncode:
        sys.exit(f"No PostgreSQL server: {started.stderr}")
    try:
        yield started.stdout.strip()
    finally:
        subprocess.run([SCRIPTS / "stop_postgres", server], check=True)


def fill(database: Database, given: argparse.Namespace) -> None:
    """Make a campaign of texts as long as real answers, with calibration items, and an account per labeller."""
    chance = random.Random(0)
    comparisons = [
        Comparison(Prompt(f"Question {number}?"), tuple(f"{side} {SENTENCE * chance.randint(3, 15)}" for side in "ab"))
        for number in range(given.items + 200)
    ]
    gold = {comparison.id: (1, 2) for comparison in comparisons[given.items :]}
    with database.write() as connection:
        campaign = create_campaign(connection, CAMPAIGN, CampaignSettings(max_overlap=5), actor="benchmark")
        add_items(connection, campaign, comparisons, gold=gold, actor="benchmark")
        for number in range(given.labellers):
            accounts.create_account(connection, f"labeller {number}", PASSWORD, "labeller", actor="benchmark")


@contextmanager
def served(url: str):
    """Start the service as a person would and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "kleash", "collect", "serve", "--store", url, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                httpx.get(f"{address}/healthz").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        _, complaints = process.communicate()
        if b"Traceback" in complaints:
            print(complaints.decode()[-3000:], file=sys.stderr)


# ------------------------------------------------------------------------------------------------------- the labellers
class Load:
    """What all labellers together measured. seconds: per route, of requests that began after `begin`."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: Counter[str] = Counter()
        self.receipts: set[str] = set()
        self.begin = float("inf")

    async def timed(self, client: httpx.AsyncClient, route: str, method: str, path: str, **content) -> httpx.Response:
        start = time.perf_counter()
        try:
            response = await client.request(method, path, **content)
        except httpx.HTTPError as error:
            self.errors[f"{route}: {type(error).__name__}"] += 1
            raise
        if start > self.begin:
            self.seconds[route].append(time.perf_counter() - start)
        if response.status_code >= 400:
            self.errors[f"{route}: {response.status_code} {response.text[:200]}"] += 1
        return response


async def label(
    load: Load, client: httpx.AsyncClient, number: int, think_seconds: list[float], end: list[float]
) -> None:
    """Sign in and label until the end; `end` holds the moment once it is known."""
    chance = random.Random(number)
    form = {"name": f"labeller {number}", "password": PASSWORD}
    await load.timed(client, "POST /login", "POST", "/login", data=form)
    page = await load.timed(client, "GET /label/…", "GET", "/label/1")
    token = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
    assert token is not None, page.text[:500]
    client.headers["X-CSRF-Token"] = token[1]
    reply = await load.timed(client, "GET …/tasks", "GET", "/api/label/1/tasks")
    batch = reply.json()
    while batch.get("tasks") and (not end or time.perf_counter() < end[0]):
        await asyncio.sleep(chance.uniform(*think_seconds))
        task = batch["tasks"][0]["id"]
        draw = chance.random()
        if draw < 0.05:
            await load.timed(client, "POST …/heartbeat", "POST", "/api/label/1/heartbeat")
        elif draw < 0.1:
            await load.timed(client, "GET …/last", "GET", "/api/label/1/last")
        elif draw < 0.15:
            await load.timed(client, "GET …/diff", "GET", f"/api/label/1/tasks/{task}/diff")
        elif draw < 0.2:
            await load.timed(client, "GET /label/…", "GET", "/label/1")
            batch = (await load.timed(client, "GET …/tasks", "GET", "/api/label/1/tasks")).json()
            task = batch["tasks"][0]["id"]
        key = f"{number}-{task}-{chance.getrandbits(32)}".replace("_", "-")[:80]
        verdict = {
            "client_key": key,
            "outcome": "ranked",
            "ranks": chance.choice([[1, 2], [2, 1], [1, 1]]),
            "seconds": 9,
        }
        if chance.random() < 0.03:
            verdict = {"client_key": key, "outcome": "skipped", "skip_reason": "unsure"}
        reply = await load.timed(client, "POST …/tasks/…", "POST", f"/api/label/1/tasks/{task}", json=verdict)
        if reply.status_code >= 400:
            return
        load.receipts.add(key)
        batch = reply.json()


async def put_under_load(address: str, given: argparse.Namespace) -> Load:
    load, end = Load(), []
    async with asyncio.TaskGroup() as group:
        for number in range(given.labellers):
            client = httpx.AsyncClient(base_url=address, timeout=30)
            group.create_task(label(load, client, number, given.think_seconds, end))
            await asyncio.sleep(0.2)
        await asyncio.sleep(2)
        load.begin = time.perf_counter()
        end.append(load.begin + given.seconds)
    return load


# ---------------------------------------------------------------------------------------------------------- the result
def report(kind: str, given: argparse.Namespace, load: Load, database: Database) -> None:
    with database.read() as connection:
        stored = set(connection.execute(sa.select(t.judgements.c.client_key)).scalars())
        campaign = campaign_named(connection, CAMPAIGN)
        votes = Counter(entry.item_id for entry in judgements_in_force(connection, campaign) if entry.is_vote)
        known = items(connection, campaign)
    num_over = sum(votes[item_id] > item.overlap for item_id, item in known.items() if not item.is_gold)
    per_second = sum(map(len, load.seconds.values())) / given.seconds
    print(f"\n**{kind}**: {given.labellers} labellers, {given.items:,} items, {per_second:.0f} requests/s")
    print("\n| route | n | p50, ms | p95, ms | p99, ms | most, ms |\n|---|---|---|---|---|---|")
    for route, seconds in sorted(load.seconds.items()):
        if len(seconds) > 1:
            cuts = statistics.quantiles(seconds, n=100)
            shown = " | ".join(f"{1000 * value:.0f}" for value in (cuts[49], cuts[94], cuts[98], max(seconds)))
            print(f"| {route} | {len(seconds)} | {shown} |")
    print(
        f"\n{len(load.receipts)} verdicts, {len(load.receipts - stored)} lost, {num_over} items with too many, "
        f"{load.errors.total()} errors",
        flush=True,
    )
    for error, number in load.errors.most_common(5):
        print(f"- {number} x {error}")


def main() -> None:
    given = arguments()
    for kind in given.databases:
        with tempfile.TemporaryDirectory() as folder, database_url(kind, Path(folder)) as url:
            database = Database(url)
            fill(database, given)
            with served(url) as address:
                load = asyncio.run(put_under_load(address, given))
            report(kind, given, load, database)
            database.close()


if __name__ == "__main__":
    main()
