"""Small campaigns in a real label database, and raters who claim and answer in one line each."""

from datetime import UTC, datetime, timedelta

from kleash.collection.campaign import CampaignSettings
from kleash.collection.store.assignments import claim
from kleash.collection.store.campaigns import add_items, create_campaign
from kleash.collection.store.judgements import submit
from kleash.collection.store.raters import rater_named
from kleash.records import Comparison, Judgement, Prompt

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ONLY_VOTES = {"gold_share": 0.0, "repeat_share": 0.0}


def minutes(number):
    return timedelta(minutes=number)


def comparison(number, *, num_answers=2, slices=None):
    answers = tuple(f"answer {number}{letter}" for letter in "abcdefgh"[:num_answers])
    return Comparison(Prompt(f"question {number}", slices or {}), answers, ("sft", "ppo")[:num_answers])


def make_campaign(database, *, num_items=4, num_gold=0, name="trial", seed="a seed", **settings):
    """Make an open campaign of `num_items` ordinary items and `num_gold` calibration items."""
    comparisons = [comparison(number) for number in range(num_items + num_gold)]
    gold = {each.id: (1, 2) for each in comparisons[num_items:]}
    settings = CampaignSettings(**{**ONLY_VOTES, **settings})
    with database.write() as connection:
        campaign = create_campaign(connection, name, settings, seed=seed, actor="test")
        add_items(connection, campaign, comparisons, gold=gold, actor="test")
    return campaign


def make_rater(database, name, kind="person"):
    with database.write() as connection:
        return rater_named(connection, name, kind)


def claim_one(database, campaign, rater, *, at=NOON):
    """Claim one task in a transaction of its own; None if there is none."""
    with database.write() as connection:
        return next(iter(claim(connection, campaign, rater, at=at)), None)


def answer(database, campaign, task, rater, ranks=(1, 2), *, client_key="first", at=NOON, **verdict):
    """Submit a verdict on a task in a transaction of its own and return the receipt."""
    skip_reason = verdict.pop("skip_reason", "")
    said = judgement_of(task, rater, **{"outcome": "ranked" if ranks else "skipped", "ranks": ranks, **verdict})
    with database.write() as connection:
        return submit(connection, campaign, task, rater, said, client_key=client_key, skip_reason=skip_reason, at=at)


def judgement_of(task, rater, outcome="ranked", ranks=(), **fields):
    """What a rater says about a task, in the comparison's own order."""
    return Judgement(task.comparison.id, rater.name, rater.kind, task.permutation, outcome, ranks, **fields)


def skip(database, campaign, task, rater, *, at=NOON):
    return answer(database, campaign, task, rater, (), client_key="skipped", at=at, skip_reason="not my field")


def judgement(number, rater="machine", ranks=(1, 2), *, kind="ai", **fields):
    """A judgement made elsewhere of `comparison(number)`."""
    given = {"permutation": (0, 1), "outcome": "ranked" if ranks else "skipped", "ranks": ranks, **fields}
    return Judgement(comparison_id=comparison(number).id, rater=rater, rater_kind=kind, **given)
