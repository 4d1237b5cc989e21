"""The suites stage on tiny random models: rows and figures written down, history over rounds, resumed, refused."""

import json

import pytest

from kleash.artifacts import read
from kleash.durable import partial_path
from kleash.errors import ArtifactError, DataError, SettingsError
from kleash.evaluation.suites.running import TOO_LONG
from kleash.recipe import Recipe
from kleash.stages import suites
from kleash.stages.context import StageContext
from kleash.stages.round import Round
from kleash.stages.suites import SuitesSettings, read_items, run_suites
from stages.tiny_recipe import tiny_context
from tiny import tiny_language_model_folder

ROWS = [
    {"id": "any", "prompt": "one plus two is", "check": {"kind": "regex", "pattern": ""}, "slices": {"topic": "sums"}},
    {"id": "none", "prompt": "how is the cat", "check": {"kind": "exact", "expected": "never said"}},
    {"id": "doubted", "prompt": "why", "check": {"kind": "regex", "pattern": ""}, "follow_up": "please"},
    {"id": "code", "prompt": "a big house", "check": {"kind": "code", "tests": ""}},
    {"id": "long", "prompt": "cat " * 300, "check": {"kind": "regex", "pattern": ""}},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two folders of random models that answer differently."""
    folder = tmp_path_factory.mktemp("models")
    return [tiny_language_model_folder(folder / str(seed), seed=seed) for seed in (0, 1)]


@pytest.fixture
def made(tmp_path, models):
    """Return a function that writes a suite and makes its artifact."""

    def make(output_dir="suites", *, rows=ROWS, reference=models[1], previous=(), index=None, **settings):
        file = tmp_path / "mine.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return run_suites(
            index or tiny_context(),
            SuitesSettings(files=(str(file),), **{"max_new_tokens": 6, **settings}),
            policy=models[0],
            reference=reference,
            previous=previous,
            output_dir=tmp_path / output_dir,
        )

    return make


def test_rows_and_figures_are_written_down(made):
    artifact = made()
    assert set(artifact.parents) == {"policy", "reference", "suite_0"}
    rows = {row["id"]: row for row in read_items(artifact)}
    assert rows["any"]["answer"] != rows["any"]["reference_answer"]
    assert rows["doubted"]["tallies"] == {"correct": [1, 1], "correct_when_asked_again": [1, 1]}
    assert rows["long"]["answer"] == ""
    figures = artifact.summary
    assert figures["buckets"]["tasks"]["mine/correct"]["n"] == 3
    assert figures["buckets"]["tasks"]["mine/correct"]["value"] == pytest.approx(2 / 3)
    assert figures["reference"]["tasks"]["mine/correct"]["n"] == 3
    assert figures["differences"]["tasks"]["mine/correct"]["value"] == 0
    assert figures["slices"]["topic=sums"]["buckets"]["tasks"]["mine/correct"]["value"] == 1
    assert figures["unchecked"] == {
        "code is not run unless it is allowed": 1,
        TOO_LONG: 1,
    }


def test_without_a_reference_there_are_only_the_policys_figures(made):
    artifact = made(reference=None, num_prompts=2)
    assert artifact.summary["reference"] == artifact.summary["differences"] == {}
    assert "reference_answer" not in read_items(artifact)[0]
    assert len(read_items(artifact)) == 2


def test_code_runs_where_the_settings_allow_it(made):
    code = {"prompt": "a", "check": {"kind": "code", "setup": "import os; os._exit(0)", "tests": ""}}
    artifact = made(rows=[code], reference=None, code={"is_allowed": True, "seconds": 2})
    assert read_items(artifact)[0]["detail"] == "it left before its tests"


def test_without_a_box_code_is_refused_at_once_or_run_with_a_word(made, monkeypatch, capsys):
    monkeypatch.setattr(suites, "find_box", lambda: None)
    code = {"prompt": "a", "check": {"kind": "code", "tests": ""}}
    with pytest.raises(
        SettingsError, match=r"has no box for them\. Expected bubblewrap.*suites\.code\.without_box=true"
    ):
        made(rows=[code], reference=None, code={"is_allowed": True})
    made(rows=[code], reference=None, code={"is_allowed": True, "without_box": True})
    assert "run without a box: they may do whatever you may" in capsys.readouterr().err
    made("plain", rows=ROWS[:1], reference=None, code={"is_allowed": True})


def test_an_earlier_round_shows_what_broke(made):
    first = made("one", rows=ROWS[:3], reference=None)
    broken = {**ROWS[0], "check": {"kind": "exact", "expected": "never said"}}
    second = made("two", rows=[broken, *ROWS[1:3]], reference=None, previous=[first.path])
    assert second.parents["previous_0"] == first.id
    assert [item["id"] for item in second.summary["regression"]["broken"]] == ["any"]
    assert second.summary["buckets"]["regression"]["mine/kept"]["value"] == 0.5
    assert read_items(second)[0]["history"] == [{"artifact": first.id, "passed": True}]


def test_a_recipe_s_stage_compares_with_the_rounds_before_it(tmp_path, models):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(ROWS[0]) + "\n")
    recipe = Recipe(base=str(models[0]), stages=("suites",), suites={"files": (str(file),), "max_new_tokens": 4})
    for number in range(2):
        made = Round(recipe, tmp_path / "run" / f"round-{number:03}", tiny_context()).run()["suites"]
    assert made.parents["previous_0"] == read(tmp_path / "run" / "round-000" / "suites").id
    assert made.summary["regression"]["compared"] == 1


class DyingPlace(StageContext):
    """A workplace at which the reference cannot be loaded, as if the process were killed there."""

    def load_policy(self, folder, *, trainable=False):
        if folder.path.name == "1":
            raise KeyboardInterrupt
        return super().load_policy(folder, trainable=trainable)


def test_a_killed_stage_goes_on_and_ends_alike(made, tmp_path):
    whole = made("whole")
    with pytest.raises(KeyboardInterrupt):
        made("killed", index=DyingPlace(model=tiny_context().model))
    [kept] = (partial_path(tmp_path / "killed") / "work").glob("answers-*")
    assert kept.name == "answers-policy-0-000000.json"
    answers = json.loads(kept.read_text())
    kept.write_text(json.dumps([["kept from before"], *answers[1:]]))
    resumed = made("killed")
    assert read_items(resumed)[0]["answer"] == "kept from before"
    assert read_items(resumed)[1:] == read_items(whole)[1:]
    assert made("whole") == read(whole.path), "a finished artifact is found"


def test_kept_answers_that_were_cut_short_are_asked_again(made, tmp_path, capsys):
    whole = made("whole")
    with pytest.raises(KeyboardInterrupt):
        made("killed", index=DyingPlace(model=tiny_context().model))
    [kept] = (partial_path(tmp_path / "killed") / "work").glob("answers-*")
    kept.write_text(kept.read_text()[:-5])
    assert read_items(made("killed")) == read_items(whole)
    assert "answers-policy-0-000000.json is damaged" in capsys.readouterr().err


def test_what_cannot_be_tested_is_refused_before_a_model_is_loaded(made, tmp_path, models):
    output_dir = tmp_path / "x"
    with pytest.raises(SettingsError, match=r"No suite is named\. Expected one in suites\.files, or a task"):
        run_suites(tiny_context(), SuitesSettings(), policy=models[0], reference=None, output_dir=output_dir)
    with pytest.raises(DataError, match="There is no suite missing"):
        run_suites(
            tiny_context(), SuitesSettings(files=("missing",)), policy=models[0], reference=None, output_dir=output_dir
        )
    with pytest.raises(SettingsError, match=r"There are no variants 'jokes'\. Expected some of jailbreaks"):
        made(variants=("jokes",))
    with pytest.raises(ArtifactError, match="No artifact at"):
        made(previous=[tmp_path / "nowhere"])
    copy = tmp_path / "elsewhere" / "mine.jsonl"
    copy.parent.mkdir()
    copy.write_text((tmp_path / "mine.jsonl").read_text())
    twice = SuitesSettings(files=(str(tmp_path / "mine.jsonl"), str(copy)))
    with pytest.raises(SettingsError, match=r"Two suites are named mine\. Expected names that differ"):
        run_suites(tiny_context(), twice, policy=models[0], reference=None, output_dir=output_dir)
    assert not output_dir.exists()
