"""People over a run's checkpoints: what they are asked, what a snapshot says, and that it grows with their verdicts."""

import json

import pytest

from kleash.artifacts import read, writing
from kleash.collection.campaign import CampaignSettings
from kleash.collection.store import campaigns as stored
from kleash.collection.store.database import Database
from kleash.collection.store.recording import record
from kleash.errors import ArtifactError, DataError, SettingsError
from kleash.formats import write_jsonl
from kleash.lineage import verify
from kleash.records import Completion, Judgement, Prompt
from kleash.stages.people import campaign_name, freeze_checkpoints, open_campaign

NUM_PROMPTS = 10
ASKED = [Prompt(f"question {n}", {"topic": "odd" if n % 2 else "even"}) for n in range(NUM_PROMPTS)]
# At step 10 the policy has changed its answers to the even questions, at step 20 to all; even ones stay as at step 10.
ANSWERS = {
    0: ["old"] * NUM_PROMPTS,
    10: ["old" if n % 2 else "new" for n in range(NUM_PROMPTS)],
    20: ["newest" if n % 2 else "new" for n in range(NUM_PROMPTS)],
}


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path / "labels.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def policy(tmp_path):
    return made_policy(tmp_path / "runs" / "quick" / "round-000" / "policy", ANSWERS)


def made_policy(folder, answers):
    with writing(folder, kind="policy", parents={}, settings={}) as draft:
        (draft.path / "answers").mkdir()
        for step, texts in answers.items():
            completions = [Completion(prompt, text) for prompt, text in zip(ASKED, texts, strict=True)]
            write_jsonl(draft.path / "answers" / f"step-{step:08d}.jsonl", completions)
    return read(folder)


def opened_campaign(database, policy, *, by="people", overlap=1, **options):
    return open_campaign(database, policy, by=by, settings=CampaignSettings(overlap=overlap), actor="test", **options)


def vote(database, policy, likes, *, rater="anna", kind="person", by="people", limit=None):
    """Have a rater judge what is asked, or the first so many. likes: an answer's text to a number; more is better."""
    with database.write() as connection:
        campaign = stored.campaign_named(connection, campaign_name(policy, by))
        judgements = []
        for item in stored.items(connection, campaign).values():
            if not item.hold:
                first, second = map(likes, item.comparison.completions)
                ranks = (1, 1) if first == second else (1, 2) if first > second else (2, 1)
                judgements.append(Judgement(item.comparison.id, rater, kind, (0, 1), "ranked", ranks))
        record(connection, campaign, judgements[:limit])


def rows_of(artifact):
    return [json.loads(line) for line in (artifact.path / "checkpoints.jsonl").read_text().splitlines()]


def test_only_what_differs_is_asked_and_each_thing_once(database, policy):
    campaign, num_added = opened_campaign(database, policy)
    assert campaign.name == f"quick round-000 checkpoints {policy.id[:8]} by people"
    assert num_added == 20
    with database.read() as connection:
        items = list(stored.items(connection, campaign).values())
    asked = [item for item in items if not item.hold]
    assert len(asked) == 10
    assert {item.comparison.sources for item in items} == {("step-10", "step-0"), ("step-20", "step-0")}
    assert sum(item.hold == "the same answer as at step 0" for item in items) == 5
    assert sum(item.hold == "asked about at another step" for item in items) == 5


def test_win_rates_by_checkpoint_and_slice(database, policy, tmp_path):
    opened_campaign(database, policy)
    vote(database, policy, likes=len)
    made = freeze_checkpoints(database, policy, tmp_path / "people")
    ten, twenty = rows_of(made)
    assert (ten["step"], ten["rater_kind"], ten["win_rate"]["value"], ten["win_rate"]["n"]) == (10, "person", 0.5, 10)
    assert (twenty["step"], twenty["win_rate"]["value"]) == (20, 0.75)
    assert twenty["slices"]["topic=odd"]["win_rate"]["value"] == 1.0
    assert twenty["slices"]["topic=even"]["win_rate"]["value"] == 0.5
    assert (made.kind, made.parents) == ("campaign", {"policy": policy.id})
    assert verify(made.path) == []
    assert made.summary["people"]["judgements"] == 10
    assert made.summary["checkpoints"] == [ten, twenty]


def shorter(text):
    return -len(text)


def test_an_item_goes_to_the_majority_of_its_votes(database, policy, tmp_path):
    opened_campaign(database, policy, overlap=3)
    for rater, likes in [("anna", len), ("ben", len), ("cleo", shorter)]:
        vote(database, policy, likes, rater=rater)
    _, twenty = rows_of(freeze_checkpoints(database, policy, tmp_path / "people"))
    assert twenty["slices"]["topic=odd"]["win_rate"]["value"] == 1.0


def test_split_votes_are_a_tie_and_surplus_ones_decide_nothing(database, policy, tmp_path):
    opened_campaign(database, policy, overlap=2)
    for rater, likes in [("anna", len), ("cleo", shorter), ("ben", len)]:
        vote(database, policy, likes, rater=rater)
    _, twenty = rows_of(freeze_checkpoints(database, policy, tmp_path / "people"))
    assert twenty["slices"]["topic=odd"]["win_rate"]["value"] == 0.5


def test_ties_nobody_is_asked_about_do_not_outweigh_the_verdicts_so_far(database, policy, tmp_path):
    """At step 10 five answers are as before and five are new; two of the five are judged, both in its favour."""
    opened_campaign(database, policy, steps=[10])
    vote(database, policy, lambda text: text == "new", limit=2)
    (ten,) = rows_of(freeze_checkpoints(database, policy, tmp_path / "people"))
    assert (ten["win_rate"]["value"], ten["win_rate"]["n"]) == (0.75, 4)


def test_a_snapshot_grows_with_the_verdicts_and_with_the_checkpoints(database, policy, tmp_path):
    output_dir = tmp_path / "people"
    assert freeze_checkpoints(database, policy, output_dir) is None
    opened_campaign(database, policy, steps=[20])
    assert freeze_checkpoints(database, policy, output_dir) is None
    assert not output_dir.exists()
    vote(database, policy, len)
    first = freeze_checkpoints(database, policy, output_dir)
    assert [row["step"] for row in rows_of(first)] == [20]
    assert freeze_checkpoints(database, policy, output_dir).id == first.id
    _, num_added = opened_campaign(database, policy)
    assert num_added == 0
    _, num_added = opened_campaign(database, policy, steps=[0, 10, 20])
    assert num_added == 10
    vote(database, policy, len, rater="ben")
    second = freeze_checkpoints(database, policy, output_dir)
    assert second.id != first.id
    assert [row["step"] for row in rows_of(second)] == [10, 20]


def test_a_killed_freeze_is_made_afresh(database, policy, tmp_path):
    opened_campaign(database, policy)
    vote(database, policy, len)
    other = {"judgements": {"people": 1}}
    with (
        pytest.raises(KeyboardInterrupt),
        writing(tmp_path / "people", kind="campaign", parents={"policy": policy}, settings=other),
    ):
        raise KeyboardInterrupt
    assert len(rows_of(freeze_checkpoints(database, policy, tmp_path / "people"))) == 2


def test_nothing_but_a_snapshot_is_replaced(database, policy, tmp_path):
    opened_campaign(database, policy)
    vote(database, policy, len)
    with pytest.raises(ArtifactError, match=r"holds a policy artifact that is no snapshot of .*checkpoints"):
        freeze_checkpoints(database, policy, policy.path)
    assert verify(policy.path) == []


def test_judges_have_a_campaign_of_their_own_and_a_row_of_their_own(database, policy, tmp_path):
    opened_campaign(database, policy)
    vote(database, policy, len)
    opened_campaign(database, policy, by="judges")
    vote(database, policy, shorter, rater="robot", kind="ai", by="judges")
    made = freeze_checkpoints(database, policy, tmp_path / "people")
    rates = {(row["step"], row["rater_kind"]): row["win_rate"]["value"] for row in rows_of(made)}
    assert rates == {(10, "person"): 0.5, (20, "person"): 0.75, (10, "ai"): 0.5, (20, "ai"): 0.25}
    assert {path.parent.name for path in made.path.glob("*/judgements.jsonl")} == {"people", "judges"}


def test_fewer_prompts_are_drawn_at_random_and_more_include_them(database, policy):
    def asked(by, num_prompts):
        campaign, _ = opened_campaign(database, policy, by=by, steps=[20], num_prompts=num_prompts)
        with database.read() as connection:
            return {item.comparison.prompt.text for item in stored.items(connection, campaign).values()}

    few, more = asked("people", 4), asked("judges", 7)
    assert (len(few), len(more)) == (4, 7)
    assert few < more
    assert few != {f"question {n}" for n in range(4)}


def test_without_a_choice_four_checkpoints_are_spread_evenly_over_the_run(database, tmp_path):
    answers = {step: [f"at {step}"] * NUM_PROMPTS for step in range(0, 90, 10)}
    policy = made_policy(tmp_path / "long" / "round-000" / "policy", answers)
    campaign, _ = opened_campaign(database, policy, num_prompts=1)
    with database.read() as connection:
        steps = {item.comparison.sources[0] for item in stored.items(connection, campaign).values()}
    assert steps == {"step-20", "step-40", "step-60", "step-80"}


def test_steps_that_were_not_kept_are_named(database, policy):
    with pytest.raises(SettingsError, match=r"Steps 10, 15 are not all kept.*Expected some of 10, 20"):
        opened_campaign(database, policy, steps=[10, 15])
    with pytest.raises(SettingsError, match="Steps 0 hold nothing to compare"):
        opened_campaign(database, policy, steps=[0])


def test_a_run_that_kept_no_answers_cannot_be_compared(database, tmp_path):
    policy = made_policy(tmp_path / "bare" / "round-000" / "policy", {0: ["old"] * NUM_PROMPTS})
    with pytest.raises(DataError, match=r"kept the answers of 1 checkpoints\. Expected step 0 and at least one later"):
        opened_campaign(database, policy)
