"""The experiment as a whole: which jobs it plans, that it goes on where it was, and a small one from end to end."""

import json

import pytest

from experiments.made_curves import good_curves
from kleash.artifacts import read
from kleash.errors import SettingsError
from kleash.experiments.arms import ARMS
from kleash.experiments.overoptimisation import default_arms, plan, run_experiment, seed_folder
from kleash.experiments.scale import Scale

TINY = Scale.model_validate(
    {
        "world": {"num_demonstrations": 200, "num_prompts": 120, "num_evaluation_per_slice": 2},
        "sft": {"max_tokens": 64, "fit": {"max_steps": 2}},
        "reward": {
            "max_tokens": 64,
            "normaliser_samples": 20,
            "normaliser_max_new_tokens": 26,
            "fit": {"max_steps": 2},
        },
        "policy": {
            "steps": 2,
            "prompts_per_step": 8,
            "max_new_tokens": 26,
            "epochs": 1,
            "evaluate_every": 1,
            "leash": {"kind": "fixed", "beta": 0.0},
            "optimiser": {"learning_rate": 1e-3},
        },
        "direct": {"max_tokens": 64, "fit": {"max_steps": 1}},
        "pool_prompts": 10,
        "pool_samples": 4,
        "refresh_prompts": 40,
    }
)


def place_of(jobs, words):
    [index] = [index for index, job in enumerate(jobs) if words in job.name]
    return index


def test_every_job_is_planned_once_and_after_what_it_needs(tmp_path):
    jobs = plan(tmp_path, list(ARMS), Scale(), seed=0)
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    for index, job in enumerate(jobs):
        assert set(job.needs) <= set(names[:index])
    assert place_of(jobs, ARMS["ppo-refreshed"].about) > place_of(jobs, ARMS["ppo-unbiased-1000"].about)


def test_without_all_only_what_the_first_four_criteria_need_is_planned(tmp_path):
    jobs = plan(tmp_path, default_arms(), Scale(), seed=3)
    assert sorted(job.name.removeprefix("seed 3: ") for job in jobs) == [
        "PPO, biased labels, adaptive leash",
        "PPO, biased labels, beta 0",
        "PPO, unbiased labels, beta 0",
        "SFT and candidates",
        "labels biased",
        "labels unbiased",
        "reward model biased",
        "reward model unbiased",
    ]


def test_an_arm_that_is_there_is_not_planned_again_nor_what_it_alone_needs(tmp_path):
    for arm in ("ppo-biased", "ppo-leashed"):
        file = seed_folder(tmp_path, 0) / arm / "points.json"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
    names = [job.name for job in plan(tmp_path, default_arms(), Scale(), seed=0)]
    assert "seed 0: reward model biased" not in names
    assert "seed 0: reward model unbiased" in names


def test_curves_of_two_scales_are_not_mixed(tmp_path):
    made = good_curves()["dpo"]
    points = [{"at": point.at, "kl_nats": 0.0, "proxy": 0.0, "gold": 0.0} for point in made.points]
    file = seed_folder(tmp_path, 0) / "dpo" / "points.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"points": points, "extra": {}}))
    run_experiment(tmp_path, seeds=[0], arms=["dpo"], scale=TINY, num_workers=1)
    with pytest.raises(SettingsError) as refused:
        run_experiment(tmp_path, seeds=[0], arms=["dpo"], scale=Scale(), num_workers=1)
    assert "holds an experiment of another scale. Expected the settings of" in str(refused.value)
    assert "Choose another folder by --into" in str(refused.value)


@pytest.mark.slow
def test_a_small_experiment_leaves_curves_and_verdicts_and_is_not_made_twice(tmp_path):
    arms = ["ppo-leashed", "ppo-unbiased-250", "best-of-n-biased", "kto"]
    said = []
    curves = run_experiment(tmp_path, seeds=[0], arms=arms, scale=TINY, num_workers=1, announce=said.append)
    content = json.loads((tmp_path / "curves.json").read_text())
    assert [arm["name"] for arm in content["arms"]] == arms == [made.name for made in curves]
    assert [row["step"] for row in content["arms"][0]["points"]] == [0, 1, 2]
    assert [row["n"] for row in content["arms"][2]["points"]] == [1, 2, 4]
    assert content["arms"][0]["points"][0]["gold"] == 0.0
    assert content["arms"][0]["points"][2]["kl_nats"] != 0.0
    assert {row["name"]: row["passed"] for row in content["criteria"]} == dict.fromkeys(
        [f"C{number}" for number in range(1, 10)]
    )
    assert said[-1].num_done == said[-1].num_jobs == len(said)
    said.clear()
    again = run_experiment(tmp_path, seeds=[0], arms=arms, scale=TINY, num_workers=1, announce=said.append)
    assert said == []
    assert again == curves


@pytest.mark.slow
def test_a_refresh_learns_from_the_policys_own_answers_and_is_tested_on_pairs_neither_model_saw(tmp_path):
    [made] = run_experiment(tmp_path, seeds=[0], arms=["ppo-refreshed"], scale=TINY, num_workers=1)
    assert set(made.extra) == {
        f"accuracy_{which}_{when}" for which in ("old", "current") for when in ("before", "after")
    } | {"n_old", "n_current"}
    labels = seed_folder(tmp_path, 0) / "labels-refreshed" / "round-000"
    assert read(labels / "replay").summary["replay"]["fresh"] > 0
    trained = read(seed_folder(tmp_path, 0) / "ppo-unbiased-1000" / "round-000" / "policy")
    assert read(labels / "candidates").parents["policy"] == trained.id
