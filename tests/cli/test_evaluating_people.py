"""`kleash evaluate RUN --people` and `--judges`: a campaign over checkpoints, opened, judged and frozen."""

import json
import re
import shutil
from pathlib import Path

import pytest

from kleash.artifacts import read, writing
from kleash.cli.people import steps_from
from kleash.collection.store import campaigns as stored
from kleash.collection.store.database import Database
from kleash.collection.store.recording import record
from kleash.errors import SettingsError
from kleash.formats import write_jsonl
from kleash.monitor.read.checks import checks
from kleash.monitor.read.findings import findings_of
from kleash.monitor.read.reader import read_run
from kleash.records import Completion, Judgement, Prompt
from raters.replay_server import replaying, shown, verdict

STORE = "runs/quick/round-000/labels.sqlite"
PEOPLE = Path("runs/quick/round-000/people")


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    """A run whose policy says "bad" at first and "good" from update 10 on."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "quick"
    (folder / "round-000").mkdir(parents=True)
    (folder / "recipe.toml").write_text('name = "quick"\n')
    make_policy(folder)
    return folder


def make_policy(folder, parents=None):
    with writing(folder / "round-000" / "policy", kind="policy", parents=parents or {}, settings={}) as draft:
        (draft.path / "answers").mkdir()
        for step, text in ((0, "bad"), (10, "good"), (20, "good")):
            answers = [Completion(Prompt(f"question {n}", {"topic": "any"}), text) for n in range(6)]
            write_jsonl(draft.path / "answers" / f"step-{step:08d}.jsonl", answers)


def vote_for_good():
    with Database(STORE).write() as connection:
        (campaign,) = stored.campaigns(connection)
        judgements = [
            Judgement(item.comparison.id, "anna", "person", (0, 1), "ranked", (1, 2))
            for item in stored.items(connection, campaign).values()
            if not item.hold
        ]
        record(connection, campaign, judgements)


def test_people_are_asked_and_what_they_said_is_frozen(kleash):
    opened = kleash("evaluate", "quick", "--people", "--num-prompts", "4")
    assert opened.code == 0, opened.err
    assert "8 comparisons added, 0 of 4 judged; 4 need nobody" in opened.err
    assert f"kleash collect serve --store {STORE}" in opened.err
    assert not PEOPLE.exists()
    vote_for_good()
    frozen = kleash("evaluate", "quick", "--people")
    assert "4 of 4 judged" in frozen.err
    assert "collect serve" not in frozen.err
    assert re.search(r"20 +people +100.% +\d+ to 100.% +4", frozen.out)
    assert read(PEOPLE).kind == "campaign"
    assert kleash("verify", str(PEOPLE)).code == 0
    assert kleash("lineage", "quick/people").code == 0


def test_judges_judge_at_once(kleash):
    def right(request):
        return verdict("first" if shown(request)[1] == "good" else "second")

    with replaying(right) as replay:
        Path("judges.toml").write_text(f'[[judges]]\nbase_url = "{replay.base_url}"\nmodel = "m"\n')
        judged = kleash("evaluate", "quick", "--judges", "judges.toml", "--steps", "20")
    assert judged.code == 0, judged.err
    rows = [json.loads(line) for line in (PEOPLE / "checkpoints.jsonl").read_text().splitlines()]
    assert [(row["step"], row["rater_kind"], row["win_rate"]["value"]) for row in rows] == [(20, "ai", 1.0)]
    assert re.search(r"20 +AI judges +100.%", judged.out)


def test_judges_that_labelled_the_pairs_are_said_to_prove_nothing(kleash, run):
    labellers = {"name": "panel of 1", "digest": "d", "members": ["m@another-rubric"]}
    settings = {"comparer": "judges", "functions": {"judges": labellers}}
    with writing(run / "round-000" / "preferences", kind="preferences", parents={}, settings=settings):
        pass
    shutil.rmtree(run / "round-000" / "policy")
    make_policy(run, parents={"preferences": read(run / "round-000" / "preferences")})
    with replaying(lambda request: verdict("tie")) as replay:
        Path("judges.toml").write_text(f'[[judges]]\nbase_url = "{replay.base_url}"\nmodel = "m"\n')
        judged = kleash("evaluate", "quick", "--judges", "judges.toml", "--steps", "20")
    assert judged.code == 0, judged.err
    assert "--judges is 'judges.toml', which labelled the pairs that it learnt from" in judged.err
    findings = findings_of(read_run(run))
    assert findings.signals_trained == {"AI judges": "labelled the pairs that it learnt from"}
    [said] = [check.text for check in checks(findings) if check.name == "Independence"]
    assert said.startswith("Win rates by AI judges, which labelled the pairs that it learnt from, are unproven")


def test_steps_are_numbers_that_the_run_has(kleash):
    assert steps_from("0,20") == [0, 20]
    with pytest.raises(SettingsError, match=r"--steps is '20;40'\. Expected whole numbers with commas"):
        steps_from("20;40")
    refused = kleash("evaluate", "quick", "--people", "--steps", "15")
    assert refused.code == 2
    assert "Expected some of 10, 20; step 0 is what they are compared with" in refused.err


def test_without_a_folder_there_is_nowhere_to_write(kleash):
    refused = kleash("evaluate", "quick", "--suite", "safety")
    assert refused.code == 2
    assert "There is nowhere to write. Expected --into FOLDER." in refused.err
