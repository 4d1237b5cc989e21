"""Rounds: what a later one is made from, when there is one, and which policy is the current one after it."""

import json
import shutil
from dataclasses import replace

import pytest

from kleash.artifacts import Artifact
from kleash.data.preferences import usable_preferences
from kleash.data.prompts import split_by_prompt
from kleash.errors import RunError, SettingsError
from kleash.formats import read_completions, read_preferences
from kleash.locations import find_policy
from kleash.recipe import check_order
from kleash.stages.round import Round, point_current, run_rounds, share_outside, wants_another
from kleash.stages.summary import summarise_rounds
from stages.tiny_recipe import STAGES, tiny_context, tiny_recipe

ONLINE = tuple(stage for stage in STAGES if stage != "direct")
REFRESH = {"selection": {"num_pairs": 8}, "replay": {"old_share": 0.5}}


def recipe_of(base, data, *, rounds=2, refresh=None, **tables):
    recipe = tiny_recipe(base, data, stages=ONLINE, refresh={**REFRESH, **(refresh or {})}, **tables)
    return recipe.model_copy(update={"rounds": rounds})


@pytest.fixture(scope="module")
def two_rounds(base, data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "tiny"
    told = []
    made = run_rounds(
        recipe_of(base, data, policy={"steps": 2, "evaluate_every": 2}),
        run,
        tiny_context(),
        lambda one, stage, artifact: told.append((one.folder.name, stage)),
    )
    return run, made, told


def test_a_later_round_takes_over_the_start_and_makes_the_rest_anew(two_rounds):
    run, (first, second), told = two_rounds
    assert [stage for name, stage in told if name == "round-000"] == [*ONLINE, "gate"]
    later = ["candidates", "preferences", "replay", "reward", "policy", "evaluation", "gate"]
    assert [stage for name, stage in told if name == "round-001"] == later
    assert not (run / "round-001" / "sft").exists()
    assert second.artifacts["policy"].parents["reference"] == first.artifacts["sft"].id
    assert second.artifacts["policy"].parents["reward"] == second.artifacts["reward"].id
    assert second.artifacts["reward"].parents["preferences"] == second.artifacts["replay"].id
    assert second.artifacts["replay"].parents == {
        "older": first.artifacts["preferences"].id,
        "fresh": second.artifacts["preferences"].id,
    }


def test_fresh_answers_come_from_the_current_policy_and_older_ones_blind(two_rounds):
    _, (first, second), _ = two_rounds
    answers = read_completions(second.artifacts["candidates"].path / "candidates.jsonl").records
    policies = {name: model.id for name, model in second.accepted.items()}
    assert {one.policy_id for one in answers} == set(policies.values())
    assert second.artifacts["preferences"].parents["reward"] == first.artifacts["reward"].id
    first_answers = read_completions(first.artifacts["candidates"].path / "candidates.jsonl").records
    assert first_answers[0].prompt != answers[0].prompt, "a later round begins with other prompts"


def test_labels_are_chosen_within_the_budget_and_old_ones_are_replayed(two_rounds):
    _, (_, second), _ = two_rounds
    fresh = read_preferences(second.artifacts["preferences"].path / "preferences.jsonl").records
    assert len(fresh) <= 8
    assert {row.prompt.tags["selected_by"] for row in fresh} <= {"uncertain", "suspect", "control"}
    mixed = read_preferences(second.artifacts["replay"].path / "preferences.jsonl").records
    assert {row.prompt.slices["policy_version"] for row in mixed} == {"0", "1"}
    assert (
        second.artifacts["replay"].summary["replay"]["old"] >= second.artifacts["replay"].summary["replay"]["fresh"] - 1
    )


def test_what_was_held_out_once_is_never_trained_on_later(two_rounds):
    _, (first, second), _ = two_rounds
    parts = {}
    for name, preferences in (("first", first.artifacts["preferences"]), ("second", second.artifacts["replay"])):
        rows = usable_preferences(read_preferences(preferences.path / "preferences.jsonl").records)
        settings = second.artifacts["reward"].settings
        split = split_by_prompt(rows, holdout_share=settings["holdout_share"], seed=settings["seed"])
        parts[name] = [{row.prompt.text for row in part} for part in split]
    assert first.artifacts["reward"].settings["seed"] == second.artifacts["reward"].settings["seed"]
    assert parts["first"][1]
    assert not parts["first"][1] & parts["second"][0]


def test_a_refreshed_reward_model_is_audited_on_what_earlier_rounds_held_out(two_rounds, tmp_path):
    _, (_, second), _ = two_rounds
    made = replace(second, folder=tmp_path).make("audit")
    memory = made.summary["measures"]["memory"]
    assert set(memory) == {"round 0"}
    assert memory["round 0"]["before"]["n"] == memory["round 0"]["after"]["n"] > 0
    assert made.parents["previous"] == second.before[0].artifacts["reward"].id


def test_the_same_call_again_finds_everything(two_rounds, base, data):
    run, made, _ = two_rounds
    led_to = set()
    again = run_rounds(
        recipe_of(base, data, policy={"steps": 2, "evaluate_every": 2}),
        run,
        tiny_context(),
        lambda one, stage, artifact: led_to.add((run / "current").readlink().name),
    )
    assert led_to == {"round-001"}
    assert [{s: a.id for s, a in one.artifacts.items()} for one in again] == [
        {s: a.id for s, a in one.artifacts.items()} for one in made
    ]


def test_a_round_that_was_begun_is_gone_on_with_whatever_the_recipe_says(two_rounds, base, data):
    run, _, _ = two_rounds
    recipe = recipe_of(base, data, rounds=1, policy={"steps": 2, "evaluate_every": 2})
    assert len(run_rounds(recipe.model_copy(update={"stages": (*ONLINE, "gate")}), run, tiny_context())) == 2


def test_the_summary_tells_each_round(two_rounds):
    _, made, _ = two_rounds
    summary = summarise_rounds(made)
    assert [row.round for row in summary.rounds] == ["round-000", "round-001"]
    assert vars(summary.rounds[1].win_rate) == made[1].artifacts["evaluation"].summary["win_rate"]
    assert summary.rounds[0].moves is True
    assert vars(summary.win_rate) == made[1].artifacts["evaluation"].summary["win_rate"]


def test_start_and_reference_may_move(base, data, tmp_path):
    tables = {"policy": {"steps": 1, "evaluate_every": 2}, "candidates": {"picks": ("any", "best")}}
    moving = {"start": "previous", "reference": "average", "continues_reward": True, "every_updates": 1}
    first, second = run_rounds(recipe_of(base, data, refresh=moving, **tables), tmp_path / "run", tiny_context())
    assert second.artifacts["average"].parents == {
        "older": first.artifacts["sft"].id,
        "newer": first.artifacts["policy"].id,
    }
    assert second.artifacts["policy"].parents["reference"] == second.artifacts["average"].id
    assert second.artifacts["policy"].parents["start"] == first.artifacts["policy"].id
    assert second.artifacts["reward"].parents["continues"] == first.artifacts["reward"].id
    assert second.artifacts["policy"].summary["steps"] == 1
    # The best answer is picked by the last round's reward model; in the first round there is none to ask.
    assert second.artifacts["candidates"].parents["reward"] == first.artifacts["reward"].id
    assert (first.artifacts["candidates"].settings["picks"], first.artifacts["candidates"].summary["left_out"]) == (
        ["any"],
        {},
    )
    assert second.artifacts["candidates"].summary["left_out"]["not picked"] > 0


def test_the_current_policy_follows_what_passes_its_gate(two_rounds, tmp_path):
    _, (first, second), _ = two_rounds
    for name in ("round-000", "round-001"):
        (tmp_path / name).mkdir()
    held = with_gate(second, moves=False)
    point_current(tmp_path, [first, with_gate(second, moves=True)])
    assert (tmp_path / "current").readlink().name == "round-001"
    point_current(tmp_path, [first, held])
    assert (tmp_path / "current").readlink().name == "round-000"
    assert Round(first.recipe, tmp_path, first.context, before=(first, held)).current_name == "round-000"
    point_current(tmp_path, [with_gate(first, moves=False)])
    assert not (tmp_path / "current").is_symlink()


def test_a_run_copied_with_its_links_resolved_goes_on(two_rounds, tmp_path, base, data, capsys):
    run, (first, second), _ = two_rounds
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    current = (run / "current").readlink().name
    assert (copy / "current").is_dir()
    assert not (copy / "current").is_symlink()
    (copy / "recipe.toml").touch()
    assert find_policy(str(copy), tmp_path) == copy / "current" / "policy"
    recipe = recipe_of(base, data, policy={"steps": 2, "evaluate_every": 2})
    again = run_rounds(recipe, copy, tiny_context())
    assert [one.artifacts["policy"].id for one in again] == [one.artifacts["policy"].id for one in (first, second)]
    assert (copy / "current").readlink().name == current
    assert "current was a copy of a round, and is a link to one again" in capsys.readouterr().err


def test_a_folder_in_the_links_place_that_is_no_copy_is_refused(two_rounds, tmp_path):
    run, (first, _), _ = two_rounds
    shutil.copytree(run / "round-001", tmp_path / "current")
    with pytest.raises(
        RunError, match=r"current is a folder, and holds what no round of the run does.*Move the folder"
    ):
        point_current(tmp_path, [first])
    assert (tmp_path / "current" / "policy").is_dir()


def test_the_link_leads_to_a_round_that_trained_no_policy_too(two_rounds, tmp_path):
    _, (first, _), _ = two_rounds
    (tmp_path / "round-000").mkdir()
    point_current(tmp_path, [replace(first, artifacts={"sft": first.artifacts["sft"]})])
    assert (tmp_path / "current").readlink().name == "round-000"


@pytest.mark.parametrize(("num_others", "others"), [(0, []), (1, ["held back"]), (9, ["held back", "sft"])])
def test_what_the_gate_held_back_answers_beside_the_current_policy(two_rounds, tmp_path, num_others, others):
    _, (first, second), _ = two_rounds
    refresh = first.recipe.refresh.model_copy(update={"older_policies": num_others})
    recipe = first.recipe.model_copy(update={"refresh": refresh})
    one = Round(recipe, tmp_path, first.context, before=(first, with_gate(second, moves=False)))
    parents = one.make("candidates").parents
    model = {
        "current": first.artifacts["policy"],
        "held back": second.artifacts["policy"],
        "sft": first.artifacts["sft"],
    }
    asked = [parents[name] for name in ("policy", "policy_1", "policy_2") if name in parents]
    assert asked == [model[name].id for name in ["current", *others]]


def with_gate(one, *, moves):
    gate = replace(one.artifacts["gate"], summary={**one.artifacts["gate"].summary, "moves": moves})
    return replace(one, artifacts={**one.artifacts, "gate": gate})


def trained(tmp_path, *, outcome, outside=None):
    (tmp_path / "evaluations.jsonl").write_text(
        json.dumps({"step": 0}) + "\n" + json.dumps({"step": 2, "symptom/beyond_range": outside}) + "\n"
    )
    return Artifact("policy", "id", {}, tmp_path, summary={"outcome": outcome})


@pytest.mark.parametrize(
    ("refresh", "outcome", "outside", "expected"),
    [
        ({"extra_rounds": 1}, "stop", 0.0, True),
        ({"extra_rounds": 1, "on_alarm": False}, "stop", 0.0, False),
        ({"extra_rounds": 1}, "finished", 0.9, False),
        ({"extra_rounds": 1, "outside_share": 0.5}, "finished", 0.9, True),
        ({"extra_rounds": 1, "outside_share": 0.5}, "finished", 0.4, False),
        ({}, "stop", 0.9, False),
    ],
)
def test_alarms_and_strange_answers_ask_for_another_round(base, data, tmp_path, refresh, outcome, outside, expected):
    recipe = recipe_of(base, data, rounds=1, refresh=refresh)
    one = Round(
        recipe, tmp_path, tiny_context(), artifacts={"policy": trained(tmp_path, outcome=outcome, outside=outside)}
    )
    assert share_outside(one.artifacts["policy"]) == outside
    assert wants_another(recipe, [one]) == expected
    assert not wants_another(recipe, [one, one]), "one more, and no more"


def test_rounds_need_something_to_refresh(base, data):
    message = r"rounds is 2 and the recipe has no candidates and no preferences stage.*or set rounds to 1"
    with pytest.raises(SettingsError, match=message):
        check_order(recipe_of(base, data).model_copy(update={"stages": ("sft", "policy")}))
    imported = tiny_recipe(base, {**data, "preferences": "pairs.jsonl"}, stages=ONLINE)
    with pytest.raises(SettingsError, match=r"rounds is 2 and data.preferences names a file"):
        check_order(imported.model_copy(update={"rounds": 2}))
