"""Methods compared on the same preferences: the budget by hand, and a comparison of tiny runs."""

import pytest

import tiny
from browsing import unknown_to_plotly
from kleash.algorithms.policy_settings import PolicySettings
from kleash.artifacts import read
from kleash.cli.experiment import methods_table
from kleash.errors import RunError, SettingsError
from kleash.experiments.comparison import check, compare_methods, plan
from kleash.experiments.methods import METHODS, bench_of, chosen_answers, epochs_within, online_passes, results_in
from kleash.formats import write_jsonl
from kleash.monitor.pages.methods_page import PAGE, frontier
from kleash.records import Pair, Preference, Prompt
from kleash.settings import Settings
from kleash.stages.preferences import import_preferences
from stages.tiny_recipe import STAGES, tiny_context, tiny_recipe, write_data

SHARED = tuple(stage for stage in STAGES if stage not in ("policy", "direct"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.tiny_language_model_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def test_a_pass_of_online_training_by_hand():
    settings = PolicySettings(prompts_per_step=8, samples_per_prompt=2, epochs=3)
    # sampled, scored, annotated by reference, policy and critic; then 3 epochs, 3 passes, 2 models
    assert online_passes(settings, 10.0) == 16 * 10 * (3 + 2 + 3 * 3 * 2)
    without_critic = settings.model_copy(update={"algorithm": "rloo"})
    assert online_passes(without_critic, 10.0) == 16 * 10 * (3 + 1 + 3 * 3)


def test_epochs_fill_the_budget_up_to_a_bound():
    assert epochs_within(150.0, 100.0) == (1.5, "1.5 epochs")
    assert epochs_within(1000.0, 100.0) == (3.0, "3 epochs, 70% of the budget spared")


def test_imitation_learns_the_preferred_answers_of_decided_pairs(tmp_path):
    prompt = Prompt("which?")
    rows = [
        Preference(prompt, ("a", "b"), (Pair(0, 1, 0.2),)),
        Preference(prompt, ("c", "d"), (Pair(0, 1, 0.5),)),
        Preference(prompt, ("e", "f"), (Pair(0, 1, 1.0),), left_out="too fast"),
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    made = import_preferences(
        tiny_context(), Settings(), file=tmp_path / "rows.jsonl", output_dir=tmp_path / "preferences"
    )
    assert [one.completion for one in chosen_answers(made)] == ["b"]


def test_what_cannot_be_compared_is_refused(base, data):
    recipe = tiny_recipe(base, data)
    with pytest.raises(SettingsError, match=r"There is no method ppp. Expected some of ppo, rloo.*Correct --methods"):
        check(recipe, ["ppo", "ppp"])
    with pytest.raises(SettingsError, match=r"has no reward stage, and all methods are to learn.*Add them"):
        check(tiny_recipe(base, data, stages=("sft", "candidates", "preferences")), ["dpo"])
    with pytest.raises(SettingsError, match=r'evaluation.judge is "proxy".*it would favour them'):
        check(tiny_recipe(base, data, evaluation={"judge": "proxy"}), ["dpo"])


@pytest.fixture(scope="module")
def compared(base, data, tmp_path_factory):
    """Every method on one seed, in this process."""
    folder = tmp_path_factory.mktemp("compared")
    recipe, index = tiny_recipe(base, data, stages=SHARED, policy={"steps": 2}), tiny_context()
    bench = bench_of(folder, recipe, index, seed=0)
    for name in METHODS:
        bench.result(name)
    assert plan(folder, recipe, index, list(METHODS), seed=0) == []
    compare_methods(folder, recipe, index, methods=list(METHODS), seeds=[0])
    return folder, recipe, index


def test_every_method_starts_from_the_same_model_and_is_measured_alike(compared):
    folder, _, _ = compared
    results = {result.method: result for result in results_in(folder)}
    assert list(results) == list(METHODS)
    counts = {result.figures.n for result in results.values()}
    assert counts == {15}
    before = {result.figures.judge_before for result in results.values()}
    assert len(before) == 1, "all are compared with the same answers of the SFT policy"
    trained = (("ppo", "policy"), ("grpo", "policy"), ("dpo", "direct"), ("kto", "direct"))
    made = [read(folder / "seed-0" / name / "round-000" / stage) for name, stage in trained]
    starts = {artifact.parents["reference"] for artifact in made}
    assert len(starts) == 1


def test_the_online_methods_spend_the_same_budget(compared):
    results = {result.method: result for result in results_in(compared[0])}
    assert results["rloo"].passes == pytest.approx(results["ppo"].passes, rel=0.35), "whole updates of a tiny run"
    assert results["best_of_n"].passes == 0
    assert results["best_of_n"].passes_per_answer == 32


def test_a_comparison_that_is_there_is_only_told_again(compared):
    folder, recipe, index = compared
    content = compare_methods(folder, recipe, index, methods=list(METHODS), seeds=[0])
    assert {one["method"] for one in content["standings"]} == set(METHODS)
    assert content == PAGE.read(folder)
    assert methods_table(content).row_count == len(METHODS)
    page = PAGE.write(folder).read_text()
    assert content["advice"][0].split(" ")[0] in page
    assert len(frontier(content["results"])["data"]) == 2 * len(METHODS)
    other = recipe.model_copy(update={"policy": recipe.policy.model_copy(update={"steps": 3})})
    message = r"was begun with other settings: .*steps: 2 -> 3.*another folder by --into"
    with pytest.raises(SettingsError, match=message):
        compare_methods(folder, other, index, methods=["ppo"], seeds=[0])


@pytest.mark.slow
def test_the_page_is_drawn_in_a_browser(compared, new_page):
    page, troubles = new_page("file:")
    page.goto(PAGE.write(compared[0]).absolute().as_uri())
    page.wait_for_selector("[data-figure]:not(:has(.main-svg))", state="detached")
    assert page.locator("[data-figure]").count() >= 1
    assert unknown_to_plotly(page) == []
    assert troubles == []


def test_model_names_are_only_text_on_the_page(compared):
    content = PAGE.read(compared[0])
    hostile = {**content, "advice": ["<script>alert(1)</script>"], "recipe": "<b>"}
    page = PAGE.render(hostile)
    assert "<script>alert(1)" not in page
    assert "&lt;b&gt;" in page


def test_a_folder_without_a_comparison_says_so(tmp_path):
    with pytest.raises(RunError, match=r"Cannot read .*methods.json.*`kleash compare-methods` writes"):
        PAGE.read(tmp_path)


@pytest.mark.slow
def test_methods_are_compared_in_processes_of_their_own(base, data, tmp_path):
    recipe = tiny_recipe(base, data, stages=SHARED, policy={"steps": 1})
    told = []
    content = compare_methods(tmp_path / "c", recipe, tiny_context(), methods=["dpo"], seeds=[0], announce=told.append)
    assert [done.num_done for done in told] == [1, 2]
    assert [one["method"] for one in content["results"]] == ["dpo"]
    assert all(one["peak_rss_mb"] > 100 for one in content["results"])
