"""Processes that claim and submit at the same time; what each was promised is in a file of its own.

`work` runs in a spawned process with a database opened there, as a second server would. Every receipt is written to
disk before the next claim, so that also a process that is killed leaves behind what it was promised.
"""

import json
import os
import random
from pathlib import Path

from collection.made_campaigns import NOON, judgement_of, minutes
from kleash.collection.store.assignments import claim
from kleash.collection.store.campaigns import campaign_named
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import submit
from kleash.collection.store.raters import rater_named

SKIP_SHARE, LATE_SHARE = 0.1, 0.1
# Between two claims; a lease is 20 minutes, so tasks that are left lying go to others during the test.
STEP = minutes(1)


def work(url, worker, num_claims, num_raters, receipts, start_minute=0):
    """Claim and answer as several raters in turn; some skip, and some walk off and come back after their lease."""
    database = Database(url)
    chance = random.Random(worker)
    with database.write() as connection:
        campaign = campaign_named(connection, "trial")
        raters = [rater_named(connection, f"{worker} {number}", "person") for number in range(num_raters)]
    gone = []
    with Path(receipts).open("a") as promised:

        def answer(task, rater, at, outcome):
            ranks = chance.choice([(1, 2), (2, 1), (1, 1)]) if outcome == "ranked" else ()
            verdict = judgement_of(task, rater, outcome, ranks, rationale=f"{worker}")
            with database.write() as connection:
                receipt = submit(connection, campaign, task, rater, verdict, client_key=task.id, at=at)
            promised.write(json.dumps({"judgement": receipt.judgement_id, "is_surplus": receipt.is_surplus}) + "\n")
            promised.flush()
            os.fsync(promised.fileno())

        for number in range(num_claims):
            at = NOON + minutes(start_minute) + number * STEP
            rater = raters[number % num_raters]
            with database.write() as connection:
                tasks = claim(connection, campaign, rater, at=at)
            for task in tasks:
                draw = chance.random()
                if draw < LATE_SHARE:
                    gone.append((number, task, rater))
                    with database.write() as connection:
                        raters[number % num_raters] = rater_named(
                            connection, f"{worker} {num_raters + number}", "person"
                        )
                else:
                    answer(task, rater, at, "skipped" if draw < LATE_SHARE + SKIP_SHARE else "ranked")
            if gone and number - gone[0][0] > 30:
                _, task, rater = gone.pop(0)
                answer(task, rater, at, "ranked")
    database.close()
