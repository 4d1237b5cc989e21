"""Take the pictures of the labelling pages that the documentation shows: `python docs/make_labelling_screenshots.py`.

Makes a campaign in a temporary database, with real answers of five models and simulated raters of different skill,
serves it on this machine and writes labelling-*.png into docs/images, or into the folder that is given. Needs
Playwright and a Chromium: $CHROMIUM, or the one Debian installs.

The texts are an excerpt of PandaLM's test set, whose three annotators say which answers are better; see
tests/fixtures/pandalm. The raters are made up: each judges with some noise around what the annotators say.
"""

import argparse
import csv
import math
import os
import random
import socket
import tempfile
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from make_screenshots import CHROMIUM_FLAGS
from playwright.sync_api import sync_playwright

from kleash.collection.app import create_app
from kleash.collection.campaign import CampaignSettings
from kleash.collection.store.accounts import create_account
from kleash.collection.store.assignments import claim
from kleash.collection.store.campaigns import add_items, create_campaign
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import submit
from kleash.collection.store.raters import rater_named
from kleash.records import Comparison, Judgement, Prompt

PANDALM = Path(__file__).parents[1] / "tests" / "fixtures" / "pandalm"
VERDICT_VALUES = {"0": 0.0, "1": 1.0, "2": -1.0}  # the file's codes: a tie, the first is better, the second is
NUM_DAYS = 4
SEED = 3
ADMIN, LABELLER, PASSWORD = "Grace Admin", "Ann Kowalska", "correct horse battery"

SHOWN_PROMPT = "How do I read a big CSV file in Python without running out of memory? Keep it short."
SHOWN_ANSWERS = (
    "Read it row by row. The standard library does so by itself:\n\n"
    "```python\nimport csv\n\nwith open('big.csv', newline='') as file:\n    for row in csv.DictReader(file):\n"
    "        handle(row)\n```\n\nOnly one row is in memory at a time.",
    "Great question! Reading large files efficiently is an **essential** skill.\n\n1. Use `pandas.read_csv('big.csv')`:"
    " it reads lazily, so the file never has to fit into memory.\n2. If it still fails, buy more memory.\n"
    "3. Consider a database.\n\nI hope this helps! Let me know if you have further questions.",
)


@dataclass(frozen=True)
class Habit:
    """How a simulated rater judges; noise and pulls in units of the annotators' mean verdict, which is in [-1, 1]."""

    noise: float
    first_pull: float = 0.0
    length_pull: float = 0.0
    median_seconds: float = 40.0
    daily: int = 9


RATERS = {
    LABELLER: Habit(0.25, daily=11),
    "Bob Okafor": Habit(0.4, median_seconds=62, daily=8),
    "Cyd Laurent": Habit(0.5, first_pull=0.5, median_seconds=30),
    "Dee Nakamura": Habit(0.4, length_pull=1.0, median_seconds=38),
    "Eve Strand": Habit(1.6, median_seconds=4, daily=10),
}


def annotated_comparisons():
    """Return {comparison: the annotators' mean verdict on it}, 1 = all for the first, -1 = all for the second."""
    with (PANDALM / "verdicts.csv").open(newline="") as file:
        annotated = {row["idx"]: row for row in csv.DictReader(file)}
    found = {}
    with (PANDALM / "judge_excerpt.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            known = annotated[row["idx"]]
            votes = [VERDICT_VALUES[known[f"annotator{number}"]] for number in (1, 2, 3)]
            slices = {
                "difficulty": "easy" if len(set(votes)) == 1 else "hard",
                "task": "on a text" if len(row["input"]) > 60 else "short",
            }
            prompt = Prompt(f"{row['instruction']}\n\n{row['input']}".strip(), slices)
            answers = (row["response1"], row["response2"])
            found[Comparison(prompt, answers, (known["model1"], known["model2"]))] = sum(votes) / 3
    return found


def make_campaign(database, *, now):
    """Fill a database with a campaign that has run for some days, and one item for the picture of a task."""
    chance = random.Random(SEED)
    margins = annotated_comparisons()
    gold = [one for one, margin in margins.items() if abs(margin) == 1][::4]
    settings = CampaignSettings(overlap=3, max_overlap=4, gold_share=0.15, repeat_share=0.12, repeat_gap=6)
    with database.write() as connection:
        campaign = create_campaign(connection, "Helpfulness, round 2", settings, seed="pictures", actor=ADMIN)
        add_items(connection, campaign, [one for one in margins if one not in gold], actor=ADMIN)
        known = {one.id: (1, 2) if margins[one] > 0 else (2, 1) for one in gold}
        add_items(connection, campaign, gold, gold=known, actor=ADMIN)
    margin_of = {one.id: margin for one, margin in margins.items()}
    for day in range(NUM_DAYS):
        for name, habit in RATERS.items():
            begin = now - timedelta(days=NUM_DAYS - 1 - day, hours=chance.uniform(2, 6))
            label(database, campaign, name, habit, margin_of, chance=chance, begin=begin)
    with database.write() as connection:
        shown = create_campaign(connection, "Coding answers", CampaignSettings(), seed="3", actor=ADMIN)
        add_items(connection, shown, [Comparison(Prompt(SHOWN_PROMPT), SHOWN_ANSWERS)], actor=ADMIN)
        create_account(connection, ADMIN, PASSWORD, "admin", actor="command line")
        create_account(connection, "Hal Reader", PASSWORD, "labeller", actor=ADMIN)
    return campaign, shown


def label(database, campaign, name, habit, margin_of, *, chance, begin):
    """Let one rater work through a day's tasks."""
    at = begin
    for _ in range(round(habit.daily * chance.uniform(0.5, 1.3))):
        seconds = habit.median_seconds * math.exp(chance.gauss(0, 0.5))
        at += timedelta(seconds=seconds + chance.expovariate(1 / 40))
        with database.write() as connection:
            rater = rater_named(connection, name, "person")
            for task in claim(connection, campaign, rater, at=at):
                margin = margin_of[task.comparison.id]
                judgement = judge(task, rater, margin, habit, chance=chance, seconds=seconds)
                submit(connection, campaign, task, rater, judgement, client_key=task.id, at=at)


def judge(task, rater, margin, habit, *, chance, seconds):
    """Judge a pair as a rater with these habits would."""
    first_length, second_length = (len(text) + 1 for text in task.comparison.completions)
    pull = habit.length_pull * math.log(first_length / second_length)
    pull += habit.first_pull if task.permutation[0] == 0 else -habit.first_pull
    felt = margin + 0.5 * pull + chance.gauss(0, habit.noise)
    strength = None if abs(felt) < 0.25 else "slightly" if abs(felt) < 0.6 else "better" if abs(felt) < 1.2 else "much"
    return Judgement(
        comparison_id=task.comparison.id,
        rater=rater.name,
        rater_kind=rater.kind,
        permutation=task.permutation,
        outcome="ranked",
        ranks=ranks_of(felt, 0.25),
        strength=strength,
        aspects={
            "factuality": ranks_of(margin + chance.gauss(0, 0.4), 0.3),
            "style": ranks_of(chance.gauss(0, 1), 0.4),
        },
        rationale=chance.choice(("", "", "The other one does not answer.", "Shorter, and all that was asked.")),
        seconds=seconds,
    )


def ranks_of(felt, least):
    return (1, 1) if abs(felt) < least else (1, 2) if felt > 0 else (2, 1)


@contextmanager
def served(database):
    """Serve the labelling pages and give their address."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(database), port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def signed_in(browser, address, name, *, width, height):
    """Give a page of this size on which somebody has signed in."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="light")
    page = context.new_page()
    page.goto(f"{address}/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login" not in url)
    yield page
    context.close()


def take_pictures(browser, address, folder, campaign, shown):
    """Photograph a task, wide and narrow, a campaign's overview and a ruling."""
    for name, width, height in [("labelling-task", 1280, 800), ("labelling-task-narrow", 375, 800)]:
        with signed_in(browser, address, "Hal Reader", width=width, height=height) as page:
            page.goto(f"{address}/label/{shown.id}")
            page.locator("#guide-dialog[open]").wait_for()  # the rubric comes first
            page.keyboard.press("Escape")
            a_is_right = "csv.DictReader" in page.locator("#answers .answer").first.inner_text()
            for key in ("2" if a_is_right else "9", "f", "1" if a_is_right else "3"):
                page.keyboard.press(key)
            page.get_by_label("Why?").fill("pandas reads it all.")
            page.keyboard.press("Escape")
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=folder / f"{name}.png", full_page=True)
    with signed_in(browser, address, ADMIN, width=1280, height=1770) as page:
        page.goto(f"{address}/admin/campaigns/{campaign.id}")
        page.wait_for_selector("[data-figure]:not(:has(.main-svg))", state="detached")
        page.screenshot(path=folder / "labelling-campaign.png")
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"{address}/admin/campaigns/{campaign.id}/review")
        page.get_by_role("link", name="Provide a pleasant compliment").click()
        page.wait_for_url("**/review/*")
        page.screenshot(path=folder / "labelling-review.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent / "images")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, closing(Database(Path(scratch) / "labels.sqlite")) as database:
        campaign, shown = make_campaign(database, now=datetime.now(UTC))
        with served(database) as address, sync_playwright() as playwright:
            chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
            take_pictures(browser, address, folder, campaign, shown)
            browser.close()


if __name__ == "__main__":
    main()
