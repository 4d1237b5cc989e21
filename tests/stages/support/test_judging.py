"""AI judges at work on a campaign: verdicts are recorded, stops lose nothing, and who leaves the band is demoted."""

from __future__ import annotations

import pytest

from kleash.collection.aggregation import AggregationSettings
from kleash.collection.campaign import CampaignSettings
from kleash.collection.exporting import freeze
from kleash.collection.recorded import RecordedJudgement
from kleash.collection.store import campaigns as stored
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import judgements_in_force
from kleash.collection.store.raters import raters
from kleash.collection.store.recording import record, restore
from kleash.errors import DataError
from kleash.formats import read_preferences
from kleash.raters.configuration import JudgeSettings, JudgesSettings
from kleash.raters.judge_run import JudgeStopped
from kleash.raters.monitoring import BandSettings
from kleash.records import Comparison, Judgement, Prompt, content_id
from kleash.stages.support.judging import judge_campaign
from raters.replay_server import Status, replaying, shown, verdict

NUM_ITEMS = 24


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path / "labels.sqlite")
    comparisons = [
        Comparison(Prompt(f"q{number}"), ("good", "bad " * (number % 3 + 1)), ("Qwen/small", "other"))
        for number in range(NUM_ITEMS)
    ]
    with opened.write() as connection:
        campaign = stored.create_campaign(
            connection, "trial", CampaignSettings(overlap=2), rubric="Good is better.", actor="test"
        )
        stored.add_items(connection, campaign, comparisons, gold={comparisons[-1].id: (1, 2)}, actor="test")
        people = [Judgement(c.id, "anna", "person", (0, 1), "ranked", (1, 2)) for c in comparisons[:12]]
        record(connection, campaign, people)
    yield opened
    opened.close()


def right(request):
    """The verdict of a judge that knows good from bad, whatever the places."""
    return verdict("first" if shown(request)[1] == "good" else "second")


def judges(replay, **settings):
    given = {"base_url": replay.base_url, "model": "qwen-judge", "max_concurrency": 4, **settings}
    return JudgesSettings(judges=(JudgeSettings(**given),), band=BandSettings(min_n=8))


def votes_of(database, rater=None):
    with database.read() as connection:
        campaign = stored.campaign_named(connection, "trial")
        given = judgements_in_force(connection, campaign, includes_demoted=True)
    return [entry for entry in given if entry.judgement.rater_kind == "ai"]


def test_a_judge_goes_through_every_item_by_the_campaigns_rubric(database):
    with replaying(right) as replay:
        done = judge_campaign(database, "trial", judges(replay), actor="test")
    assert done.num_added == NUM_ITEMS
    votes = votes_of(database)
    assert {entry.judgement.ranks for entry in votes} == {(1, 2)}
    assert len(replay.requests) == 2 * NUM_ITEMS
    assert all("Good is better." in str(request["messages"]) for request in replay.requests)
    [figures] = done.figures
    assert (figures.agreement.value, figures.agreement.n) == (1.0, 12)
    assert figures.flip_rate.value == 0.0
    assert done.remarks == [done.remarks[0]]
    assert "family qwen" in done.remarks[0]


def test_a_second_run_asks_nothing(database):
    with replaying(right) as replay:
        settings = judges(replay)
        judge_campaign(database, "trial", settings, actor="test")
        asked = len(replay.requests)
        assert judge_campaign(database, "trial", settings, actor="test").num_added == 0
    assert len(replay.requests) == asked


def test_a_budget_stops_it_and_what_was_judged_stays(database):
    with replaying(right) as replay:
        with pytest.raises(JudgeStopped, match="max_calls"):
            judge_campaign(database, "trial", judges(replay, max_calls=11), actor="test")
        first = len(votes_of(database))
        assert 1 <= first <= 5
        done = judge_campaign(database, "trial", judges(replay), actor="test")
    assert done.num_added == NUM_ITEMS - first
    assert len(replay.requests) == 2 * NUM_ITEMS


def test_only_so_many_are_judged_when_asked(database):
    with replaying(right) as replay:
        assert judge_campaign(database, "trial", judges(replay), only=5, actor="test").num_added == 5
        assert judge_campaign(database, "trial", judges(replay), only=5, actor="test").num_added == 5
    assert len(votes_of(database)) == 10


def test_a_judge_that_always_takes_the_first_is_demoted_and_counts_no_more(database):
    with replaying(lambda request: verdict("first")) as replay:
        done = judge_campaign(database, "trial", judges(replay), actor="test")
    assert any("Demoted" in remark and "flip rate 100.0%" in remark for remark in done.remarks)
    with database.read() as connection:
        campaign = stored.campaign_named(connection, "trial")
        assert {entry.judgement.rater for entry in judgements_in_force(connection, campaign)} == {"anna"}
        [judge] = [rater for rater in raters(connection) if rater.kind == "ai"]
    assert "flip rate" in judge.demotion
    assert len(votes_of(database)) == NUM_ITEMS


def test_a_reply_without_a_verdict_is_counted_and_is_no_vote(database):
    with replaying(lambda request: "I cannot say.") as replay:
        done = judge_campaign(database, "trial", judges(replay), actor="test")
    assert not any(entry.is_vote for entry in votes_of(database))
    [figures] = done.figures
    assert figures.num_by_status == {"unparsed": 2 * NUM_ITEMS}
    assert any("parse failure 100.0%" in remark for remark in done.remarks)


def test_a_changed_judge_is_compared_with_its_earlier_version_on_the_anchors(database):
    with replaying(right) as replay:
        assert not any(
            "earlier version" in remark
            for remark in judge_campaign(database, "trial", judges(replay), only=1, actor="test").remarks
        )
    with replaying(lambda request: verdict("tie")) as replay:
        done = judge_campaign(database, "trial", judges(replay, temperature=0.5), only=1, actor="test")
    [remark] = [remark for remark in done.remarks if "earlier version" in remark]
    assert "on 1 calibration items: 0 verdicts flipped, 1 became or ceased to be a tie" in remark


# ------------------------------------------------------------------------------------------------------------- outages
def down_for(num_requests):
    """An endpoint that is down at first."""
    left = iter(range(num_requests))
    return lambda request: right(request) if next(left, None) is None else Status(503)


def test_what_an_outage_left_unanswered_is_judged_by_the_next_run(database):
    with replaying(down_for(12)) as replay:
        settings = judges(replay, max_retries=0, max_concurrency=1)
        with pytest.raises(JudgeStopped, match=r"stopped at 10 requests in a row.*: 0 comparisons judged"):
            judge_campaign(database, "trial", settings, actor="test")
        assert votes_of(database) == []
        done = judge_campaign(database, "trial", settings, actor="test")
    assert (done.num_added, done.missing) == (NUM_ITEMS, {})
    assert all(entry.is_vote or entry.judgement.outcome == "ranked" for entry in votes_of(database))


def test_a_short_outage_is_mended_within_the_run(database):
    with replaying(down_for(6)) as replay:
        done = judge_campaign(database, "trial", judges(replay, max_retries=0, max_concurrency=1), actor="test")
    assert (done.num_added, done.missing) == (NUM_ITEMS, {})


def freeze_trial(database, folder, **word):
    return freeze(database, "trial", folder, settings=AggregationSettings(**word), actor="test")


def test_an_export_wants_a_word_where_a_judge_was_given_no_answer(database, tmp_path):
    def but_two(request):
        return Status(400) if shown(request)[0] in ("q3", "q5") else right(request)

    with replaying(but_two) as replay:
        done = judge_campaign(database, "trial", judges(replay), actor="test")
        again = judge_campaign(database, "trial", judges(replay), actor="test")
    assert (done.num_added, again.num_added) == (NUM_ITEMS - 2, 0)
    assert list(done.missing.values()) == list(again.missing.values()) == [2]
    assert any("was given no answer on 2 comparisons" in remark for remark in again.remarks)
    with pytest.raises(DataError, match=r"Not frozen: qwen-judge@.* was given no answer on 2 comparisons"):
        freeze_trial(database, tmp_path / "out")
    made = freeze_trial(database, tmp_path / "out", accept_missing="the filter refuses them")
    assert made.summary["accepted_missing"] == "the filter refuses them"
    assert list(made.summary["unanswered"].values()) == [2]


def test_outages_that_earlier_versions_recorded_are_asked_about_again(tmp_path):
    opened = Database(tmp_path / "old.sqlite")
    comparisons = [Comparison(Prompt(f"q{number}"), ("good", "bad")) for number in range(4)]
    with opened.write() as connection:
        campaign = stored.create_campaign(connection, "trial", CampaignSettings(), rubric="Good.", actor="test")
        stored.add_items(connection, campaign, comparisons, actor="test")
    with replaying(right) as replay:
        judge_campaign(opened, "trial", judges(replay), only=1, actor="test")
        [first] = votes_of(opened)
        name = first.judgement.rater
        outages = [Judgement(c.id, name, "ai", (0, 1), "skipped", flags=("failed",)) for c in comparisons[1:]]
        with opened.write() as connection:
            old = [RecordedJudgement(str(n), "", outage, first.given_at) for n, outage in enumerate(outages)]
            restore(connection, campaign, old, actor="test")
        done = judge_campaign(opened, "trial", judges(replay), actor="test")
    assert done.num_added == 3
    assert [entry.judgement.outcome for entry in votes_of(opened)] == ["ranked"] * 4
    opened.close()


def test_preferences_without_any_verdict_that_counts_are_not_frozen_without_a_word(tmp_path):
    opened = Database(tmp_path / "labels.sqlite")
    comparisons = [Comparison(Prompt(f"q{number}"), ("good", "bad")) for number in range(10)]
    with opened.write() as connection:
        campaign = stored.create_campaign(connection, "trial", CampaignSettings(), rubric="Good.", actor="test")
        stored.add_items(connection, campaign, comparisons, actor="test")
    with replaying(lambda request: verdict("first")) as replay:
        judge_campaign(opened, "trial", judges(replay), actor="test")
    with pytest.raises(DataError, match=r"there is no verdict that counts \(qwen-judge@.*flip rate 100.0%"):
        freeze_trial(opened, tmp_path / "out")
    assert freeze_trial(opened, tmp_path / "out", accept_missing="to be looked at").summary["pairs"] == 0
    opened.close()


# -------------------------------------------------------------------------------------------------------------- limits
PRICES = {"price_per_million_prompt_tokens": 1000.0, "price_per_million_reply_tokens": 2000.0}


def test_a_limit_is_of_the_run_and_not_of_each_batch_of_it(database):
    stopped = pytest.raises(JudgeStopped, match="max_calls = 40: 20 comparisons judged, 40 calls")
    with replaying(right) as replay, stopped:
        judge_campaign(database, "trial", judges(replay, max_calls=40, max_concurrency=1), actor="test")
    assert len(replay.requests) == 40


def test_judges_may_share_a_budget(database):
    with replaying(right) as replay:
        panel = JudgesSettings(
            judges=tuple(
                JudgeSettings(base_url=replay.base_url, model=name, max_concurrency=1, **PRICES) for name in "ab"
            ),
            budget=10.0,
        )
        with pytest.raises(JudgeStopped, match=r"budget = 10\.0 of all judges"):
            judge_campaign(database, "trial", panel, actor="test")
    assert 5.0 < len(replay.requests) * (100 * 1000 + 20 * 2000) / 1e6 <= 10.0
    with pytest.raises(ValueError, match="no judge has a price"):
        JudgesSettings.model_validate({"judges": [{"base_url": "http://h/v1", "model": "m"}], "budget": 1.0})


def test_what_a_run_has_cost_is_told_by_judge(database):
    with replaying(right) as replay:
        done = judge_campaign(database, "trial", judges(replay, **PRICES), actor="test")
    [spending] = done.spent.values()
    assert spending.told == "48 calls, 4,800 + 960 tokens, cost 6.72"
    [figures] = done.figures
    assert (figures.prompt_tokens, figures.reply_tokens) == (4800, 960)


def test_a_filter_that_leaves_no_pair_is_not_frozen_without_a_word(tmp_path):
    opened = Database(tmp_path / "labels.sqlite")
    comparisons = [Comparison(Prompt(f"q{number}"), ("good", "bad")) for number in range(4)]
    with opened.write() as connection:
        campaign = stored.create_campaign(connection, "trial", CampaignSettings(), rubric="Good.", actor="test")
        stored.add_items(connection, campaign, comparisons, actor="test")
        record(connection, campaign, [Judgement(one.id, "anna", "person", (0, 1), "both_bad") for one in comparisons])
    with pytest.raises(DataError, match=r"Not frozen: 0 pairs are left to train on \(4 both_bad\)"):
        freeze_trial(opened, tmp_path / "out")
    made = freeze_trial(opened, tmp_path / "out", accept_missing="to be looked at").summary
    assert (made["pairs"], made["accepted_missing"]) == (0, "to be looked at")
    opened.close()


def test_a_row_s_own_criteria_reach_the_judge_and_its_judgements_say_so(tmp_path):
    opened = Database(tmp_path / "labels.sqlite")
    strict, plain = Prompt("q0", criteria="one word"), Prompt("q1")
    comparisons = [Comparison(prompt, ("good", "bad")) for prompt in (strict, plain)]
    with opened.write() as connection:
        campaign = stored.create_campaign(connection, "trial", CampaignSettings(), rubric="Good.", actor="test")
        stored.add_items(connection, campaign, comparisons, actor="test")
    with replaying(right) as replay:
        judge_campaign(opened, "trial", judges(replay), actor="test")
        asked = {shown(request)[0]: "one word" in str(request["messages"]) for request in replay.requests}
    assert asked == {"q0": True, "q1": False}
    given = {entry.judgement.comparison_id: entry.judgement.rubric_version for entry in votes_of(opened)}
    version = campaign.rubric_version
    assert given == {comparisons[0].id: strict.rubric_version(version), comparisons[1].id: version}
    assert strict.rubric_version(version) == f"{version}+{content_id('criteria', 'one word')}"
    made = freeze_trial(opened, tmp_path / "out")
    rows = read_preferences(made.path / "preferences.jsonl").records
    assert [row.prompt.criteria for row in rows] == ["one word", ""]
    opened.close()
