"""The shipped recipes load and name what exists; the moods they train on and judge by are what they claim."""

import importlib.util
import shutil
import tomllib
from pathlib import Path

import pytest

from kleash.formats import read_preferences, read_prompts, write_jsonl
from kleash.locations import shipped_recipes
from kleash.recipe import load_recipe
from kleash.records import Pair, Preference, Prompt
from kleash.scorers.function import FunctionScorer
from kleash.scorers.ranked_examples import examples_of, misordered_pairs
from kleash.stages.support.scoring import build_comparer, build_scorer

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
HH_ROWS = ROOT / "tests" / "fixtures" / "formats" / "hh.jsonl"


def module_beside_the_recipes(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


moods = module_beside_the_recipes("story_moods")
make_story_prompts = module_beside_the_recipes("make_story_prompts")
make_hh_preferences = module_beside_the_recipes("make_hh_preferences")
make_hh_methods = module_beside_the_recipes("make_hh_methods")
hh_judge = module_beside_the_recipes("hh_judge")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_loads_and_what_it_names_exists(path, monkeypatch):
    monkeypatch.chdir(ROOT)  # functions are named from where a recipe's header says to run it
    recipe = load_recipe(path)
    assert recipe.about
    if "preferences" in recipe.stages and recipe.data.preferences is None:
        build_comparer(recipe.preferences, seed=0)
    if recipe.scorer.kind == "function":
        build_scorer(None, recipe.scorer)
    if ":" in recipe.evaluation.judge:
        FunctionScorer(recipe.evaluation.judge)
    assert recipe.policy.max_new_tokens == recipe.evaluation.max_new_tokens or "policy" not in recipe.stages


def test_every_recipe_is_part_of_the_installed_package():
    package_data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["kleash"]
    package = ROOT / "src" / "kleash"
    shipped = {path for pattern in package_data for path in package.glob(pattern)}
    inside = {path.relative_to(package / "recipes") for path in shipped if path.is_relative_to(package / "recipes")}
    assert inside == {path.relative_to(ROOT / "recipes") for path in (ROOT / "recipes").rglob("*.toml")}
    assert shipped_recipes() == {path.stem: package / "recipes" / path.name for path in RECIPES}


@pytest.mark.parametrize("name", ["stories", "stories_function"])
def test_stories_are_not_judged_by_what_trains_them(name):
    recipe = load_recipe(ROOT / "recipes" / f"{name}.toml")
    trained_by = recipe.scorer.function or recipe.preferences.comparer
    assert trained_by.partition(":")[2] in ("feelings", "feelings_reward")
    assert recipe.evaluation.judge.partition(":")[2] == "happenings"
    trained_on = moods.GLAD_FEELINGS | moods.SAD_FEELINGS
    scorer_source = moods.GOOD_HAPPENINGS | moods.BAD_HAPPENINGS
    assert not trained_on & scorer_source
    assert not moods.GLAD_FEELINGS & moods.SAD_FEELINGS
    assert not moods.GOOD_HAPPENINGS & moods.BAD_HAPPENINGS


def test_both_story_recipes_train_alike_but_for_the_scorer():
    first, second = (load_recipe(ROOT / "recipes" / f"{name}.toml") for name in ("stories", "stories_function"))
    assert (first.policy, first.evaluation, first.model) == (second.policy, second.evaluation, second.model)


@pytest.mark.parametrize(
    ("story", "feelings"),
    [
        ("She was happy. She was so happy and proud!", 2),  # a word counts once
        ("Tom was sad, then GLAD.", 0),
        ("He was scared and lonely.", -2),
        ("The unhappyish gladiator", 0),  # whole words only
        ("happy glad proud joy calm brave kind merry", 6),  # no more than so many
        ("", 0),
    ],
)
def test_feelings_of_a_story(story, feelings):
    assert moods.feelings("Once there was a happy boy.", story) == feelings


def test_the_plain_reward_is_the_raters_reading_as_a_z_score():
    parts = moods.feelings_reward("", "She was happy and proud but tired.")
    assert parts["total"] == pytest.approx((1 - moods.REFERENCE_MEAN) / moods.REFERENCE_SD)
    assert (parts["glad_feelings"], parts["sad_feelings"]) == (2, 1)


def test_happenings_and_repetition_of_a_story():
    assert moods.happenings("", "They laughed and played. Then Tom fell.")["total"] == 1
    assert moods.happenings("", "She was happy, proud and sad.")["total"] == 0
    assert moods.happenings("", "one two three four")["repeated_share"] == 0
    # ten words make eight triples, of which five are different
    assert moods.happenings("", "a b c d e a b c d e")["repeated_share"] == pytest.approx(3 / 8)
    assert moods.happenings("", "")["repeated_share"] == 0


@pytest.mark.parametrize("name", ["feelings", "feelings_reward", "happenings"])
def test_a_mood_puts_its_own_examples_in_order(name):
    scorer = FunctionScorer(str(ROOT / "recipes" / f"story_moods.py:{name}"))
    assert len(examples_of(scorer)) == 1
    assert misordered_pairs(scorer) == []


STORIES = """Once upon a time, there was a girl named Lily. She ran.

She came home.
One day, a boy found a stone. It was red.
Once upon a time, there was a girl named Lily. She slept.
"Hello," said Tom. He waved.
Short one.
A dog and a cat met on the road, and they"""


def test_openings_are_first_sentences_each_once():
    assert make_story_prompts.openings(STORIES) == [
        "Once upon a time, there was a girl named Lily.",
        "One day, a boy found a stone.",
    ]


def test_story_prompts_are_parted_by_their_own_text(tmp_path, capsys):
    stories = "\n".join(f"Once upon a time, there was a thing numbered {i}. It slept." for i in range(200))
    (tmp_path / "stories.txt").write_text(stories)
    make_story_prompts.main(str(tmp_path / "stories.txt"), str(tmp_path / "made"))
    training, evaluation = (
        read_prompts(tmp_path / "made" / f"{name}.jsonl").records for name in ("prompts", "evaluation_prompts")
    )
    assert len(training) + len(evaluation) == 200
    assert 25 < len(evaluation) < 75  # a quarter, within four standard deviations
    assert not {prompt.text for prompt in training} & {prompt.text for prompt in evaluation}
    assert {prompt.slices["hero"] for prompt in training} == {"other"}
    assert make_story_prompts.hero_of("One day, a boy met a girl.") == "boy"
    assert f"{len(training)} openings" in capsys.readouterr().out


def test_hh_rows_say_which_file_they_came_from(tmp_path, capsys):
    for subset in ("helpful", "harmless"):
        shutil.copy(HH_ROWS, tmp_path / f"{subset}.jsonl")
    make_hh_preferences.main(str(tmp_path), str(tmp_path / "hh.jsonl"))
    num_rows = len(read_preferences(HH_ROWS).records)
    rows = make_hh_preferences.labelled_preferences(tmp_path)
    assert [row.prompt.slices["subset"] for row in rows] == ["helpful"] * num_rows + ["harmless"] * num_rows
    assert f"{2 * num_rows} comparisons" in capsys.readouterr().out


def test_the_judge_of_hh_and_what_is_trained_share_no_prompt(tmp_path, capsys):
    rows = [
        f'{{"chosen": "\\n\\nHuman: {n}?\\n\\nAssistant: a", "rejected": "\\n\\nHuman: {n}?\\n\\nAssistant: b"}}'
        for n in range(40)
    ]
    (tmp_path / "helpful.jsonl").write_text("\n".join([*rows, *rows]))
    make_hh_methods.main(str(tmp_path), str(tmp_path / "made"))
    trained, judged = (
        {row.prompt.text for row in read_preferences(tmp_path / "made" / f"{name}.jsonl").records}
        for name in ("preferences", "judge")
    )
    assert trained
    assert judged
    assert not trained & judged
    assert len(trained | judged) == 40
    for name, texts in (("prompts", trained), ("evaluation_prompts", judged)):
        prompts = read_prompts(tmp_path / "made" / f"{name}.jsonl").records
        assert sorted(prompt.text for prompt in prompts) == sorted(texts)
    assert "comparisons to train on" in capsys.readouterr().out


def test_the_judge_of_hh_finds_the_word_that_people_prefer(tmp_path, monkeypatch):
    prompt = Prompt("Which?")
    rows = [
        Preference(prompt, (f"sure {word}", f"well {word}"), (Pair(0, 1, float(n % 10 > 0)),))
        for n, word in enumerate("x" * n for n in range(100))
    ]
    write_jsonl(tmp_path / "judge.jsonl", rows)
    monkeypatch.setattr(hh_judge, "COMPARISONS", tmp_path / "judge.jsonl")
    hh_judge.fitted.cache_clear()
    assert hh_judge.helpfulness("Which?", "sure thing") > hh_judge.helpfulness("Which?", "well thing")
    assert hh_judge.helpfulness("Which?", "unheard") == hh_judge.helpfulness("Which?", "of")
    # Nine verdicts of ten go the same way, and the tenth is not in its own fold's fit either.
    assert hh_judge.agreement() == (90, 100)
