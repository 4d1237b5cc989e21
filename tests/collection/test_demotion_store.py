"""What a demotion takes out of every count: all that a rater said, or what it said from one judgement on."""

import pytest

from kleash.collection.campaign import CampaignSettings
from kleash.collection.store import campaigns as stored
from kleash.collection.store.campaigns import shared_comparisons
from kleash.collection.store.database import Database
from kleash.collection.store.events import events
from kleash.collection.store.judgements import judgements_in_force
from kleash.collection.store.raters import demote, raters
from kleash.collection.store.recording import record
from kleash.records import Comparison, Judgement, Prompt

COMPARISONS = [Comparison(Prompt(f"q{number}"), ("yes", "no")) for number in range(8)]


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path / "labels.sqlite")
    yield opened
    opened.close()


def made(database, name="trial", **settings):
    with database.write() as connection:
        campaign = stored.create_campaign(connection, name, CampaignSettings(**settings), seed="s", actor="test")
        stored.add_items(connection, campaign, COMPARISONS, actor="test")
    return campaign


def recorded(database, campaign, rater, kind="ai", comparisons=COMPARISONS):
    with database.write() as connection:
        record(connection, campaign, [Judgement(c.id, rater, kind, (0, 1), "ranked", (1, 2)) for c in comparisons])


def counting(database, campaign, **wanted):
    with database.read() as connection:
        return [int(entry.id) for entry in judgements_in_force(connection, campaign, **wanted)]


def test_a_demotion_from_one_judgement_on_leaves_the_earlier_ones_in(database):
    campaign = made(database, overlap=2)
    recorded(database, campaign, "anna", "person", COMPARISONS[:2])
    recorded(database, campaign, "m@1")
    before = counting(database, campaign)
    with database.write() as connection:
        demote(connection, "m@1", "left its band", actor="test", counts_before=before[5])
        [judge] = [rater for rater in raters(connection) if rater.kind == "ai"]
        assert (judge.demotion, judge.counts_before) == ("left its band", before[5])
        assert events(connection)[0].after == {"reason": "left its band", "counts_before": before[5]}
    assert counting(database, campaign) == before[:5]
    assert counting(database, campaign, includes_demoted=True) == before
    other = made(database, "later", overlap=1)
    recorded(database, other, "m@1")
    assert counting(database, other) == []
    with database.write() as connection:
        demote(connection, "m@1", "", actor="test")
    assert counting(database, campaign) == before
    assert len(counting(database, other)) == len(COMPARISONS)


def test_a_demotion_without_a_judgement_takes_all_out(database):
    campaign = made(database, overlap=1)
    recorded(database, campaign, "m@1")
    with database.write() as connection:
        demote(connection, "m@1", "left its band", actor="test")
        assert raters(connection)[0].counts_before is None
    assert counting(database, campaign) == []


def test_simulated_labellers_take_the_places_kept_for_people(database):
    campaign = made(database, overlap=1, people_share=0.5)
    with database.read() as connection:
        shared = shared_comparisons(connection, campaign)
    assert 0 < len(shared) < len(COMPARISONS)
    recorded(database, campaign, "expert-1", "simulated", [one for one in COMPARISONS if one.id in shared])
    recorded(database, campaign, "m@1")
    recorded(database, campaign, "m@2")
    with database.read() as connection:
        votes = [entry.judgement.rater for entry in judgements_in_force(connection, campaign) if entry.is_vote]
    assert sorted(votes) == ["expert-1"] * len(shared) + ["m@1"] * len(COMPARISONS)
