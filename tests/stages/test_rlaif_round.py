"""Rounds labelled by a judge: who leaves the band is demoted, what it said since drops out, and the rest goes on."""

import json
import random

import pytest

from kleash.artifacts import Artifact, read, writing
from kleash.collection.campaign import CampaignSettings
from kleash.collection.store import campaigns as stored
from kleash.collection.store.calls import StoredCalls
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import judgements_in_force
from kleash.collection.store.raters import raters
from kleash.errors import RunError, SettingsError
from kleash.formats import read_preferences, write_jsonl
from kleash.raters.ai_feedback import AIJudge
from kleash.raters.configuration import JudgeSettings
from kleash.raters.drift import DriftSettings
from kleash.raters.monitoring import BandSettings
from kleash.raters.panel import JudgePanel
from kleash.records import Comparison, Completion, Prompt
from kleash.sandbox.demonstrations import MIXED, write_answer
from kleash.sandbox.world import draw_questions
from kleash.stages.preferences import collect_preferences
from kleash.stages.support.comparing import PreferencesSettings, SimulatedJudgeSettings
from kleash.stages.support.rlaif import LOOKS, judges_at_work, label_by_judges
from kleash.stages.support.scoring import build_comparer
from raters.replay_server import replaying, shown, verdict
from stages.tiny_recipe import tiny_context

NUM = 240
HALF = NUM // 2
DRIFT = {"window": 30, "every": 20, "min_left": 20}


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    chance = random.Random(0)
    pairs = {}
    for asked in draw_questions(NUM + 60, seed=0):
        texts = {write_answer(asked.question, MIXED, chance) for _ in range(2)}
        if len(texts) == 2 and len(pairs) < NUM:
            pairs[asked.prompt.id] = [Completion(asked.prompt, text, policy_id="sft") for text in sorted(texts)]
    folder = tmp_path_factory.mktemp("sandbox") / "candidates"
    with writing(folder, kind="candidates", parents={}, settings={}) as draft:
        write_jsonl(draft.path / "candidates.jsonl", [answer for pair in pairs.values() for answer in pair])
    return read(folder)


def settings_of(*, people_share=0.5, judge=None, **drift):
    return PreferencesSettings(
        comparer="simulated_judge",
        simulated_judge=SimulatedJudgeSettings(
            **{"accuracy": 0.95, "degrades_after": HALF, "accuracy_after": 0.1, **(judge or {})}
        ),
        campaign=CampaignSettings(overlap=1, people_share=people_share),
        band=BandSettings(min_agreement=0.6, min_n=20, max_length_preference=1.0),
        drift=DriftSettings(**{**DRIFT, **drift}),
    )


def labelled(candidates, folder, settings, *, comparer=None, rounds_before=(), said=None):
    """Have a round labelled; return its preferences artifact."""
    database = Database(folder / "labels.sqlite")
    try:
        return collect_preferences(
            tiny_context(),
            settings,
            candidates=candidates,
            comparer=comparer or build_comparer(settings, seed=0),
            database=database,
            output_dir=folder / "preferences",
            rounds_before=rounds_before,
            announce=(said if said is not None else []).append,
        )
    finally:
        database.close()


@pytest.fixture(scope="module")
def drifted(candidates, tmp_path_factory):
    """A round whose judge goes bad half-way: its artifact, and what a person was told."""
    said = []
    return labelled(candidates, tmp_path_factory.mktemp("drifted"), settings_of(), said=said), said


# ------------------------------------------------------------------------------------------------------------ one round
def test_a_judge_that_goes_bad_is_demoted_and_what_it_said_since_is_dropped(drifted):
    artifact, said = drifted
    [judge] = artifact.summary["judges"]
    assert judge["is_demoted"]
    assert HALF - 20 <= judge["began_after"] <= HALF + 20
    assert judge["began_after"] < judge["found_after"] == judge["verdicts"] < NUM
    assert judge["dropped"] == judge["verdicts"] - judge["began_after"]
    assert judge["agreement_before"]["value"] > 0.7
    assert judge["agreement_since"]["low"] < judge["agreement_since"]["value"] < 0.4
    assert said == [f"Demoted: {judge['reason']}"]
    assert "agreement with people" in judge["reason"]
    assert f"Its first {judge['began_after']} verdicts count" in judge["reason"]


def test_the_round_goes_on_with_the_experts_share(drifted):
    artifact, _ = drifted
    [judge] = artifact.summary["judges"]
    rows = read_preferences(artifact.path / "preferences.jsonl").records
    assert len(rows) == NUM
    judged, later = rows[: judge["began_after"]], rows[judge["verdicts"] :]
    assert not any(row.left_out for row in judged)
    assert {row.num_judgements for row in judged} == {1, 2}
    # Nobody is asked in the judge's place: what nobody shares stays unlabelled and says so.
    assert {(row.left_out, row.num_judgements) for row in later} == {("", 1), ("not judged", 0)}
    said_by = [json.loads(line)["rater_kind"] for line in (artifact.path / "judgements.jsonl").read_text().splitlines()]
    assert said_by.count("ai") == judge["began_after"]


def test_every_look_is_kept(drifted):
    artifact, _ = drifted
    [judge] = artifact.summary["judges"]
    rows = [json.loads(line) for line in (artifact.path / LOOKS).read_text().splitlines()]
    assert [row["verdicts"] for row in rows] == list(range(20, judge["found_after"] + 1, 20))
    assert rows[-1]["agreement_without_ties"]["high"] < 0.6 < rows[2]["agreement_without_ties"]["value"]


@pytest.mark.parametrize(("drops", "kept"), [("later", "found_after"), ("all", None)])
def test_the_settings_say_what_of_a_demoted_judge_counts(candidates, tmp_path, drifted, drops, kept):
    [judge] = labelled(candidates, tmp_path, settings_of(drops=drops)).summary["judges"]
    assert judge["verdicts"] - judge["dropped"] == (judge[kept] if kept else 0)


def test_without_demotion_it_is_only_said(candidates, tmp_path):
    said = []
    artifact = labelled(candidates, tmp_path, settings_of(demotes=False), said=said)
    [judge] = artifact.summary["judges"]
    assert (judge["verdicts"], judge["dropped"], judge["is_demoted"], said) == (NUM, 0, False, [])
    assert judge["found_after"] < NUM
    assert artifact.summary["pairs"] == NUM


def test_a_steady_judge_labels_all(candidates, tmp_path):
    artifact = labelled(candidates, tmp_path, settings_of(judge={"degrades_after": None}))
    [judge] = artifact.summary["judges"]
    assert (judge["verdicts"], judge["dropped"], judge["is_demoted"]) == (NUM, 0, False)
    assert "found_after" not in judge


@pytest.mark.parametrize("dies_after", [37, 130, 171])
def test_a_stopped_labelling_ends_the_same(candidates, tmp_path, drifted, dies_after):
    settings = settings_of()
    dying = build_comparer(settings, seed=0)
    compare = dying.compare

    def stopping(comparisons):
        for judgement in compare(comparisons):
            if dying.num_judged == dies_after:
                raise KeyboardInterrupt
            yield judgement

    dying.compare = stopping
    whole, _ = drifted
    if dies_after < whole.summary["judges"][0]["verdicts"]:
        with pytest.raises(KeyboardInterrupt):
            labelled(candidates, tmp_path, settings, comparer=dying)
    again = labelled(candidates, tmp_path, settings)
    assert again.summary["judges"] == whole.summary["judges"]
    for name in ("preferences.jsonl", "judgements.jsonl", LOOKS):
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize("dies_in", [6, 9])
def test_a_labelling_stopped_while_the_expert_labels_its_share_ends_the_same(candidates, tmp_path, drifted, dies_in):
    settings = settings_of()
    dying = build_comparer(settings, seed=0)
    batches = iter(range(1, NUM))

    def stopping(comparisons):
        if next(batches) == dies_in:
            raise KeyboardInterrupt
        return expert(comparisons)

    expert, dying.expert.compare = dying.expert.compare, stopping
    with pytest.raises(KeyboardInterrupt):
        labelled(candidates, tmp_path, settings, comparer=dying)
    again = labelled(candidates, tmp_path, settings)
    assert again.summary["judges"] == drifted[0].summary["judges"]
    assert (again.path / LOOKS).read_bytes() == (drifted[0].path / LOOKS).read_bytes()


# --------------------------------------------------------------------------------------------------------- later rounds
def test_a_demoted_judge_is_not_asked_in_the_next_round(candidates, tmp_path, drifted):
    said = []
    artifact = labelled(candidates, tmp_path, settings_of(), rounds_before=[drifted[0]], said=said)
    [judge] = artifact.summary["judges"]
    assert (judge["verdicts"], judge["is_demoted"]) == (0, True)
    assert judge["reason"] == drifted[0].summary["judges"][0]["reason"]
    assert "is not asked: an earlier round demoted it" in said[0]
    assert artifact.parents["preferences_0"] == drifted[0].id
    assert 0 < artifact.summary["pairs"] < NUM


def test_a_judge_that_was_not_demoted_goes_on_as_bad_as_it_has_become(candidates, tmp_path):
    settings = settings_of(demotes=False)
    first = labelled(candidates, tmp_path / "one", settings)
    second = labelled(candidates, tmp_path / "two", settings, rounds_before=[first])
    assert second.summary["judges"][0]["agreement"]["value"] < 0.4


# ------------------------------------------------------------------------------------------------------------- refusals
def test_a_round_stops_when_too_little_is_left(candidates, tmp_path):
    message = (
        r"\d+ of 240 comparisons have a verdict that counts once judges were demoted: simulated-judge@.*"
        r"Expected at least 230 \(preferences.drift.min_left\).*Let people label more"
    )
    with pytest.raises(RunError, match=message):
        labelled(candidates, tmp_path, settings_of(min_left=230))
    with pytest.raises(RunError, match=message):
        labelled(candidates, tmp_path, settings_of(min_left=230))  # still so when it is run again


def test_a_window_in_which_the_band_cannot_decide_is_refused(candidates, tmp_path):
    with pytest.raises(SettingsError, match=r"window is 10 items, and the band decides from 20 on.*Raise the window"):
        labelled(candidates, tmp_path, settings_of(window=10))


# ---------------------------------------------------------------------------------------------------------------- panel
def test_the_other_judges_of_a_panel_go_on(tmp_path):
    comparisons = [Comparison(Prompt(f"q{number}"), ("good", "poor")) for number in range(60)]

    def answered(request):
        return verdict("first" if request["model"] == "first-place" or shown(request)[1] == "good" else "second")

    database = Database(tmp_path / "labels.sqlite")
    with database.write() as connection:
        campaign = stored.create_campaign(connection, "trial", CampaignSettings(overlap=2), actor="test")
        stored.add_items(connection, campaign, comparisons, actor="test")
    with replaying(answered) as replay:
        members = [
            AIJudge(JudgeSettings(base_url=replay.base_url, model=model), log=StoredCalls(database))
            for model in ("knows", "first-place")
        ]
        judges = judges_at_work(
            JudgePanel(members),
            band=BandSettings(min_n=20),
            settings=DriftSettings(window=20, every=20, min_left=0),
            rounds_before=[Artifact("preferences", "p", {}, tmp_path, summary={"judges": []})],
        )
        label_by_judges(database, campaign, comparisons, judges, announce=lambda remark: None)
    with database.read() as connection:
        counting = [entry.judgement.rater for entry in judgements_in_force(connection, campaign)]
        demoted = {rater.name: rater.demotion for rater in raters(connection) if rater.demotion}
    database.close()
    assert counting == [members[0].name] * 60
    assert list(demoted) == [members[1].name]
    assert "flip rate 100.0%" in demoted[members[1].name]
    asked = [request["model"] for request in replay.requests]
    assert (asked.count("knows"), asked.count("first-place")) == (120, 40)
