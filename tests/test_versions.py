"""Runs outlive the version that made them: what release 0.1.0 left behind, and settings that come and go."""

import json
import shutil
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from kleash import artifacts, versions
from kleash.artifacts import file_digest, find, read, writing
from kleash.cli import main
from kleash.durable import read_rows
from kleash.errors import ArtifactError, RunError, SettingsError
from kleash.lineage import verify
from kleash.recipe import Recipe, load_recipe
from kleash.settings import Settings
from kleash.stages.context import StageContext
from kleash.stages.evaluate import EvaluateSettings, evaluate_policy
from kleash.training import checkpoints
from kleash.versions import ADDED, FORMAT, as_now, check_unfinished, load_settled, settled_text

RELEASE = Path(__file__).parent / "fixtures" / "release-0.1.0"
WIN_RATE = "37\u202f% (19 to 59\u202f%) of 15 prompts"
STAGES = ["sft", "candidates", "preferences", "reward", "audit", "policy", "evaluation"]


@pytest.fixture
def release(tmp_path, monkeypatch):
    """Stand where 0.1.0 left its runs."""
    shutil.copytree(RELEASE, tmp_path / "release", symlinks=True)
    monkeypatch.chdir(tmp_path / "release")
    monkeypatch.delenv("COLUMNS", raising=False)
    return Path("runs")


@pytest.fixture
def kleash(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return end.value.code, written.out, written.err

    return run


# ------------------------------------------------------------------------------------------- what 0.1.0 left behind
def test_a_finished_run_is_whole_and_can_be_shown(release, kleash):
    code, out, err = kleash("verify", "finished")
    assert (code, "runs/finished is whole" in out) == (0, True), err
    code, out, _ = kleash("summary", "finished")
    assert (code, WIN_RATE in out) == (0, True)
    code, out, _ = kleash("lineage", "finished")
    assert (code, "finished/round-000/policy" in out) == (0, True)


def test_a_finished_run_is_found_again_and_nothing_is_made_anew(release, kleash):
    before = {path: path.stat().st_mtime_ns for path in release.glob("finished/round-000/*/*")}
    code, out, err = kleash("run", "recipe.toml")
    assert code == 0, err
    assert err.count("(done before)") == len(STAGES)
    assert WIN_RATE in out
    assert {path: path.stat().st_mtime_ns for path in release.glob("finished/round-000/*/*")} == before


def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_weights(release, kleash):
    code, _, err = kleash("run", "recipe.toml", "--name", "killed")
    assert code == 0, err
    assert err.count("(done before)") == STAGES.index("policy")
    finished, killed = (release / run / "round-000" / "policy" for run in ("finished", "killed"))
    assert file_digest(killed / "model.safetensors") == file_digest(finished / "model.safetensors")
    rows = [[row["score_mean"] for row in read_rows(folder / "metrics.jsonl")] for folder in (finished, killed)]
    assert rows[0] == rows[1]
    assert kleash("verify", "killed")[0] == 0


def test_an_unfinished_runs_checkpoint_is_used(release, kleash):
    """What the last test rests on: with its checkpoint's tensors altered, the run ends elsewhere."""
    folder = release / "killed/round-000/policy.partial/work/checkpoints"
    steps = [checkpoints.load(path).step for path in sorted(folder.iterdir())]
    assert steps == [2, 4]
    latest = checkpoints.load(folder / "step-00000004")
    tensors = {name: tensor * 0.5 if "policy/weights" in name else tensor for name, tensor in latest.tensors.items()}
    checkpoints.save(folder, 4, tensors, latest.state)
    assert kleash("run", "recipe.toml", "--name", "killed")[0] == 0
    finished, killed = (release / run / "round-000/policy/model.safetensors" for run in ("finished", "killed"))
    assert file_digest(killed) != file_digest(finished)


def test_finished_artifacts_are_parents_of_what_comes(release, kleash):
    made = release / "finished" / "round-000"
    inputs = ["--reference", made / "sft", "--reward", made / "reward", "--audit", made / "audit"]
    shorter = ["--recipe", "recipe.toml", "--set", "policy.steps=1"]
    code, _, err = kleash("policy", *inputs, "--prompts", "data/prompts.jsonl", "--into", "again", *shorter)
    assert code == 0, err
    assert read(Path("again")).parents["reward"] == read(made / "reward").id
    assert verify(Path("again")) == []


def test_a_changed_setting_is_refused_as_ever(release, kleash):
    code, _, err = kleash("run", "recipe.toml", "--set", "sft.fit.epochs=2.0")
    assert code == 2
    assert "was begun with other settings: sft.fit.epochs: 1.0 -> 2.0." in " ".join(err.split())


def test_an_edited_judge_is_refused(release):
    made, judge = release / "finished" / "round-000", Path("judge.py")
    settings = EvaluateSettings(judge="judge.py:likes_short_words", max_new_tokens=6)
    inputs = {"policy": made / "policy", "reference": made / "sft", "prompts": Path("data/evaluation_prompts.jsonl")}

    def evaluate():
        return evaluate_policy(StageContext(), settings, **inputs, output_dir=Path("evaluation"))

    done = evaluate()
    assert evaluate() == done
    judge.write_text(judge.read_text().replace("return -", "return "))
    message = r"evaluation was begun with other settings: judge judge.py:likes_short_words was edited since: digest \w+"
    with pytest.raises(SettingsError, match=message):
        evaluate()


# --------------------------------------------------------------------------------------------------- later versions
def later(path):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format": 99, "kleash": "9.0"}))


LATER = r"{} is of format 99, written by KLeash 9.0; this is KLeash [\d.]+, which reads up to format \d+\. Use the ver"


def test_what_a_later_version_began_is_refused(release):
    partial = release / "killed/round-000/policy.partial/work"
    later(partial / "begun.json")
    with pytest.raises(ArtifactError, match=LATER.format("begun.json")):
        find(release / "killed/round-000/policy", kind="policy", parents={}, settings={})
    later(partial / "checkpoints/step-00000004/state.json")
    with pytest.raises(RunError, match=LATER.format("state.json")):
        checkpoints.latest(partial / "checkpoints")


@pytest.mark.parametrize("load", [load_recipe, lambda path: load_settled(path, Recipe)])
def test_a_recipe_that_a_later_version_settled_is_refused(tmp_path, load):
    path = tmp_path / "recipe.toml"
    path.write_text('# KLeash 9.0, format 99\nname = "x"\n')
    with pytest.raises(SettingsError, match=LATER.format("recipe.toml")):
        load(path)


def test_what_this_version_writes_says_so(release, kleash, tmp_path):
    path = checkpoints.save(tmp_path, 1, {}, {})
    mark = {"format": FORMAT, "kleash": versions.__version__}
    assert json.loads((path / "state.json").read_text()).items() >= mark.items()
    kleash("run", "recipe.toml")
    assert (release / "finished/recipe.toml").read_text() == settled_text(
        load_settled(release / "finished/recipe.toml", Recipe)
    )
    assert settled_text(Recipe()).startswith(f"# KLeash {versions.__version__}, format {FORMAT}\n")


def test_an_unfinished_artifact_that_cannot_go_on_names_the_last_version_that_can(tmp_path):
    check_unfinished("reward", 1, tmp_path, {("policy", 1): "0.3.1"})
    with pytest.raises(SettingsError, match=r"The last version that goes on with an unfinished policy .* is 0\.3\.1\."):
        check_unfinished("policy", 1, tmp_path, {("policy", 1): "0.3.1"})


# --------------------------------------------------------------------------------------------------------- settings
class Inner(Settings):
    rate: float = 0.1
    fresh: int = 5


class Stage(Settings):
    steps: int = 4
    inner: Inner = Inner()
    rows: tuple[Inner, ...] = ()
    knob: int = 7


def wanted(**changes):
    context = StageContext()
    settings = Stage(**changes)
    return {"settings": context.resolved(settings), "records": {"": Stage}}


def begin(folder, recorded):
    """Leave an unfinished artifact behind as an earlier version did."""
    shared = StageContext().resolved(Stage())
    settings = {**recorded, "model": shared["model"], "seed": 0}
    with pytest.raises(KeyboardInterrupt), writing(folder, kind="sft", parents={}, settings=settings):
        raise KeyboardInterrupt


FORMER = {"steps": 4, "inner": {"rate": 0.1}, "rows": [{"rate": 0.2}]}


def same(folder, **changes):
    return find(folder, kind="sft", parents={}, **wanted(rows=({"rate": 0.2},), **changes))


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_setting_added_later_locks_no_run(tmp_path, is_finished):
    folder = tmp_path / "round-000" / "sft"
    begin(folder, FORMER)
    if is_finished:
        shared = StageContext().resolved(Stage())
        settings = {**FORMER, "model": shared["model"], "seed": 0}
        with writing(folder, kind="sft", parents={}, settings=settings):
            pass
    assert (same(folder) is not None) == is_finished
    with pytest.raises(SettingsError, match=r"begun with other settings: settings.knob: 7 -> 8\."):
        same(folder, knob=8)
    with pytest.raises(SettingsError, match=r"begun with other settings: settings.inner.fresh: 5 -> 6\."):
        same(folder, inner={"fresh": 6})
    if not is_finished:
        with artifacts.writing(folder, kind="sft", parents={}, **wanted(rows=({"rate": 0.2},))) as draft:
            assert draft.is_resumed
        assert read(folder).settings["knob"] == 7


def test_where_the_table_has_a_line_it_counts_instead_of_the_default(tmp_path, monkeypatch):
    monkeypatch.setitem(versions.ADDED, "Stage.knob", 3)
    monkeypatch.setitem(versions.ADDED, "Inner.fresh", 0)
    folder = tmp_path / "round-000" / "sft"
    begin(folder, {name: value for name, value in FORMER.items() if name != "rows"} | {"rows": []})
    parts = {"kind": "sft", "parents": {}}
    with pytest.raises(SettingsError, match=r"settings.inner.fresh: 0 -> 5; settings.knob: 3 -> 7\."):
        find(folder, **parts, **wanted())
    assert find(folder, **parts, **wanted(knob=3, inner={"fresh": 0})) is None


def test_a_setting_that_is_gone_is_refused_unless_the_table_knows(monkeypatch):
    recorded = {**Stage().model_dump(mode="json"), "pace": 4, "gone": 1}
    now = versions.recorded_as_now(recorded, Stage().model_dump(mode="json"), {"": Stage})
    assert (now["pace"], now["gone"]) == (4, 1)
    del recorded["steps"]
    monkeypatch.setitem(versions.RENAMED, "Stage.pace", "steps")
    monkeypatch.setitem(versions.DROPPED, "Stage.gone", 1)
    assert versions.recorded_as_now(recorded, {}, {"": Stage}) == Stage().model_dump(mode="json")
    assert versions.recorded_as_now({**recorded, "gone": 2}, {}, {"": Stage})["gone"] == 2


def test_a_settled_recipe_that_lacks_a_setting_has_the_former_value(tmp_path, monkeypatch):
    monkeypatch.setitem(versions.ADDED, "Stage.knob", 3)
    path = tmp_path / "recipe.toml"
    path.write_text("steps = 9\n[inner]\nrate = 0.5\n")
    assert load_settled(path, Stage) == Stage(steps=9, knob=3, inner=Inner(rate=0.5))
    assert load_settled(path, Stage, ["knob=4"]).knob == 4


def test_tables_that_were_not_recorded_are_taken_as_they_come(monkeypatch):
    monkeypatch.setattr(versions, "UNRECORDED", ("scorer",))
    settings = Stage().model_dump(mode="json")
    assert versions.recorded_as_now(settings, {**settings, "scorer": {"kind": "rules"}}, {"": Stage}) == {
        **settings,
        "scorer": {"kind": "rules"},
    }


def records_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [record for part in get_args(annotation) for record in records_in(part)]


def settings_of(record, prefix=""):
    """Yield (path, "Record.setting") of everything a recipe can set."""
    for name, field in record.model_fields.items():
        yield f"{prefix}{name}", f"{record.__name__}.{name}"
        for inner in records_in(field.annotation):
            yield from settings_of(inner, f"{prefix}{name}.")


def test_every_setting_added_since_the_first_release_has_its_line():
    """For a new setting: add how KLeash behaved without it to `versions.toml`, under its record."""
    first = set((RELEASE / "settings.txt").read_text().split())
    today = dict(settings_of(Recipe))
    added = {path for path in today if path not in first and path.rpartition(".")[0] in {*first, ""}}
    missing = {today[path] for path in added} - ADDED.keys()
    assert not missing, f"say in versions.toml how earlier versions behaved without {sorted(missing)}"


def test_every_setting_of_the_first_release_is_there_or_known_to_be_gone():
    first = set((RELEASE / "settings.txt").read_text().split())
    gone = first - dict(settings_of(Recipe)).keys()
    known = {name.rpartition(".")[2] for name in (*versions.RENAMED, *versions.DROPPED)}
    assert not {path for path in gone if path.rpartition(".")[2] not in known}


def test_every_line_of_the_tables_names_a_setting_of_today():
    today = set(dict(settings_of(Recipe)).values())
    assert set(ADDED) <= today
    assert {f"{old.partition('.')[0]}.{name}" for old, name in versions.RENAMED.items()} <= today


def test_the_first_releases_recipe_reads_as_it_was_meant():
    given = load_settled(RELEASE / "runs/finished/recipe.toml", Recipe)
    assert as_now(given.model_dump(mode="json"), Recipe) == given.model_dump(mode="json")
    assert given.policy.steps == 6
