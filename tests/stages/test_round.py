"""A round as a whole: what each stage is made from, that it is found again, and that changes are refused by name."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from kleash.artifacts import read
from kleash.collection.store.calls import StoredCalls
from kleash.durable import seal_holds
from kleash.errors import SettingsError
from kleash.stages.context import as_artifact
from kleash.stages.round import Round, run_rounds
from kleash.stages.summary import summarise, write_summary
from kleash.stages.wiring import SERVICES, Making
from raters.replay_server import replaying, verdict
from stages.tiny_recipe import STAGES, TinyRound, run_round, tiny_context, tiny_recipe


def test_stages_hang_together(made):
    start, preferences = made["sft"].id, made["preferences"].id
    assert made["candidates"].parents["policy"] == start
    assert made["preferences"].parents == {"candidates": made["candidates"].id}
    assert made["reward"].parents == {"reference": start, "preferences": preferences}
    assert made["direct"].parents == {"reference": start, "preferences": preferences}
    assert made["policy"].parents["reference"] == start
    assert made["policy"].parents["reward"] == made["reward"].id
    assert made["evaluation"].parents["policy"] == made["policy"].id
    assert made["evaluation"].parents["reference"] == start


def test_the_same_command_again_finds_everything_and_changes_nothing(base, data, made, round_folder):
    before = {path: path.stat().st_mtime_ns for path in round_folder.rglob("*") if path.is_file()}
    again = run_round(base, data, round_folder)
    assert {stage: artifact.id for stage, artifact in again.items()} == {s: a.id for s, a in made.items()}
    assert {path: path.stat().st_mtime_ns for path in round_folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"sft": {"max_tokens": 99}}, r"sft was begun with other settings: settings.max_tokens: 512 -> 99"),
        ({"candidates": {"temperatures": (0.5,)}}, r"candidates was begun with.*settings.temperatures"),
        ({"policy": {"leash": {"target_nats": 7.0}}}, r"policy was begun with.*settings.leash.target_nats: 2.0 -> 7.0"),
        ({"evaluation": {"temperature": 0.5}}, r"evaluation was begun with.*settings.temperature: 1.0 -> 0.5"),
        ({"seed": 3}, r"sft was begun with.*settings.seed: 0 -> 3"),
    ],
)
def test_a_changed_setting_is_refused_by_name(base, data, made, round_folder, change, difference):
    with pytest.raises(SettingsError, match=difference):
        run_round(base, data, round_folder, **change)


def test_changed_data_are_refused(base, made, round_folder, tmp_path, data):
    other = tmp_path / "demonstrations.jsonl"
    other.write_text(json.dumps({"prompt": "why?", "completion": "so"}) + "\n")
    with pytest.raises(SettingsError, match=r"sft was begun with other settings: parents.demonstrations"):
        run_round(base, {**data, "demonstrations": str(other)}, round_folder)


def test_another_seed_makes_another_policy(base, data, made, tmp_path):
    [artifact] = run_round(base, data, tmp_path / "round", seed=1, stages=("sft",)).values()
    assert artifact.id != made["sft"].id


def test_the_figures_of_a_round_are_gathered(base, data, made, tmp_path):
    summary = summarise(made, tiny_recipe(base, data))
    assert (summary.name, summary.seed) == ("tiny", 0)
    assert summary.outcome == made["policy"].summary["outcome"]
    assert summary.reward_model.n == made["reward"].summary["heldout_accuracy"]["n"]
    assert summary.beta_final == made["policy"].summary["beta_final"]
    assert vars(summary.win_rate) == made["evaluation"].summary["win_rate"]
    assert set(summary.seconds) == {*STAGES, "total"}
    assert summary.seconds["total"] == pytest.approx(sum(summary.seconds[stage] for stage in STAGES))
    assert summary.slices["thing=cat"].n == 3
    written = write_summary(tmp_path, summary)
    assert seal_holds(written)
    assert {**json.loads(written.read_text()), "seal": ""} == {**summary.to_json(), "seal": ""}


def test_a_round_without_a_model_to_start_from_is_refused(data, tmp_path):
    recipe = tiny_recipe("", data, stages=("sft",)).model_copy(update={"base": None})
    with pytest.raises(SettingsError, match=r"The recipe names no model to start from. Set `base`"):
        Round(recipe, tmp_path, tiny_context()).run()


def test_a_run_that_needs_no_model_ends_without_one(tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    recipe = tiny_recipe("", {"preferences": str(tmp_path / "pairs.jsonl")}, stages=("preferences",))
    [one] = run_rounds(recipe.model_copy(update={"base": None}), tmp_path / "run", tiny_context())
    assert set(one.artifacts) == {"preferences"}


def test_each_stage_is_announced_as_it_is_made(base, data, made, round_folder):
    told = []
    TinyRound(tiny_recipe(base, data), round_folder, tiny_context()).run(lambda stage, artifact: told.append(stage))
    assert tuple(told) == STAGES


def test_inputs_are_artifacts_or_are_known_by_their_content(made, data):
    assert as_artifact(made["sft"], "model") is made["sft"]
    assert as_artifact(made["sft"].path, "model") == read(made["sft"].path)
    first = as_artifact(Path(data["prompts"]), "prompts")
    assert (first.kind, first.id) == ("prompts", as_artifact(Path(data["prompts"]), "prompts").id)
    assert first.id != as_artifact(Path(data["demonstrations"]), "prompts").id


def test_what_ai_judges_say_while_a_policy_trains_is_kept_beside_the_labels(base, data, tmp_path):
    (tmp_path / "judges.toml").write_text('[[judges]]\nbase_url = "http://127.0.0.1:1/v1"\nmodel = "m"\n')
    asked = {"comparer": "judges", "judges": str(tmp_path / "judges.toml")}
    recipe = tiny_recipe(base, data, alarms=asked)
    with ExitStack() as stack:
        making = Making(recipe, tiny_context(), recipe.policy, tmp_path / "policy", stack)
        [judge] = SERVICES["alarms"](making, {})["alarm_setup"].signal.comparer.judges
        assert isinstance(judge.log, StoredCalls)
        assert judge.log.database.shown_url == f"sqlite:///{tmp_path / 'labels.sqlite'}"


def test_what_ai_judges_say_at_the_gate_is_asked_once_although_the_gate_was_killed(base, data, made, tmp_path):
    with replaying(lambda request: verdict("tie")) as replay:
        file = tmp_path / "judges.toml"
        file.write_text(f'[[judges]]\nbase_url = "{replay.base_url}"\nmodel = "m"\n')
        recipe = tiny_recipe(base, data, alarms={"comparer": "judges", "judges": str(file)})
        one = Round(recipe, tmp_path, tiny_context(), artifacts={name: made[name] for name in ("sft", "policy")})
        first, num_requests = one.make("gate"), len(replay.requests)
        shutil.rmtree(tmp_path / "gate")
        assert one.make("gate").summary["against"] == first.summary["against"]
        assert len(replay.requests) == num_requests > 0
