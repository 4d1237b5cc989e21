"""Whatever a recipe names may be one's own: algorithms, engine, generator, comparer and scorer, as module:attribute."""

import json

import pytest

import own_components as own
from evaluation.made_checkpoints import PROMPTS, plain
from kleash.algorithms.policy_settings import PolicySettings
from kleash.errors import SettingsError
from kleash.evaluation.alarms import AlarmTracker
from kleash.evaluation.symptoms import symptoms_with
from kleash.formats import read_demonstrations
from kleash.raters.score_comparer import ScoreComparer
from kleash.records import Completion, Prompt
from kleash.scorers.function import FunctionScorer
from kleash.stages.context import StageContext
from kleash.stages.direct import direct_algorithm_named
from kleash.stages.evaluate import EvaluateSettings, build_judge
from kleash.stages.policy import algorithm_named
from kleash.stages.round import Round
from kleash.stages.support.alarming import AlarmSettings, build_alarms
from kleash.stages.support.comparing import PreferencesSettings
from kleash.stages.support.scoring import ScorerSettings, build_comparer, build_scorer
from stages.tiny_recipe import tiny_context, tiny_recipe

OURS = "own_components"
ANSWERS = [Completion(Prompt("why?"), text) for text in ("so", "because of that")]


def test_a_recipe_of_ones_own_parts_runs_from_end_to_end(base, data, tmp_path):
    """Nothing in the library knows of them: one recipe names them all."""
    own.CountingEngine.num_steps = 0
    policy = {"algorithm": f"{OURS}:BEST_OF", "engine": f"{OURS}:make_engine", "generator": f"{OURS}:PoliteGenerator"}
    policy |= {"credit": {"missing_eos_penalty": None}, "watch": {"min_kl_nats": -1000.0}}
    recipe = tiny_recipe(
        base,
        data,
        stages=("candidates", "preferences", "policy", "direct"),
        preferences={"comparer": f"{OURS}:LongestWins"},
        policy={**policy, "samples_per_prompt": 2, "steps": 2, "evaluate_every": 9},
        scorer={"kind": f"{OURS}:CountsWords"},
        direct={"algorithm": f"{OURS}:PLAIN_DPO"},
    )
    artifacts = Round(recipe, tmp_path / "round", tiny_context()).run()
    assert own.CountingEngine.num_steps == 2 * 2 * 2, "steps x epochs x minibatches"
    assert artifacts["policy"].summary["algorithm"] == "best_of"
    assert artifacts["direct"].summary["algorithm"] == "plain_dpo"
    rows = [json.loads(line) for line in (artifacts["policy"].path / "metrics.jsonl").read_text().splitlines()]
    assert all(row["clip_fraction"] == 0.0 for row in rows)
    assert all(row["score_mean"] >= 1.0 for row in rows), "each answer says thanks"
    judgements = (artifacts["preferences"].path / "judgements.jsonl").read_text()
    assert "ruler-0" in judgements


@pytest.mark.parametrize("name", ["CountsWords", "make_counts_words", "counts_words"])
@pytest.mark.parametrize("where", ["kind", "function"])
def test_a_scorer_is_a_class_a_factory_or_the_thing_itself(name, where):
    given = {"kind": f"{OURS}:{name}"} if where == "kind" else {"kind": "function", "function": f"{OURS}:{name}"}
    scorer = build_scorer(StageContext(), ScorerSettings(**given)).scorer
    assert list(scorer.score(ANSWERS).total) == [1.0, 3.0]


def test_a_scorer_of_ones_own_judges_the_evaluation():
    judge = build_judge(EvaluateSettings(judge=f"{OURS}:CountsWords"), None)
    assert list(judge.score(ANSWERS).total) == [1.0, 3.0]


def test_a_plain_function_scores_wherever_it_is_named():
    for given in ({"kind": f"{OURS}:shorter_is_better"}, {"kind": "function", "function": f"{OURS}:shorter_is_better"}):
        scorer = build_scorer(StageContext(), ScorerSettings(**given)).scorer
        assert isinstance(scorer, FunctionScorer)
        assert list(scorer.score(ANSWERS).total) == [-2.0, -15.0]


@pytest.mark.parametrize("name", ["LongestWins", "make_longest_wins"])
def test_a_comparer_is_a_class_or_a_factory(name):
    comparer = build_comparer(PreferencesSettings(comparer=f"{OURS}:{name}"), seed=0)
    assert isinstance(comparer, own.LongestWins)
    assert build_alarms(AlarmSettings(comparer=f"{OURS}:{name}"), seed=0).signal is not None


def test_a_plain_function_compares_by_its_scores():
    comparer = build_comparer(PreferencesSettings(comparer=f"{OURS}:shorter_is_better"), seed=0)
    assert isinstance(comparer, ScoreComparer)


@pytest.mark.parametrize("name", ["NO_COMPONENT", "make_nothing"])
def test_what_is_no_component_is_refused_with_what_was_expected(name):
    with pytest.raises(SettingsError, match=rf"comparer '{OURS}:{name}' .*Expected an object with a method `compare`"):
        build_comparer(PreferencesSettings(comparer=f"{OURS}:{name}"), seed=0)
    with pytest.raises(SettingsError, match=rf"{OURS}:{name}.*Expected"):
        build_scorer(StageContext(), ScorerSettings(kind=f"{OURS}:{name}"))


def test_an_algorithm_that_is_no_row_is_refused():
    with pytest.raises(SettingsError, match=r"'own_components:NO_COMPONENT' is 3\.0\. Expected a row, OnlineAlgorithm"):
        algorithm_named(PolicySettings(algorithm=f"{OURS}:NO_COMPONENT"))
    with pytest.raises(SettingsError, match=r"is 3\.0\. Expected a row, PairAlgorithm or LabelledAlgorithm"):
        direct_algorithm_named(f"{OURS}:NO_COMPONENT")


def test_an_algorithm_of_the_other_table_is_pointed_to_its_stage():
    with pytest.raises(SettingsError, match=r"policy.algorithm is 'dpo', .*run by the `direct` stage"):
        algorithm_named(PolicySettings(algorithm="dpo"))
    with pytest.raises(SettingsError, match=r"direct.algorithm is 'ppo', .*run by the `policy` stage"):
        direct_algorithm_named("ppo")


def test_an_alarm_of_ones_own_is_read_beside_the_table():
    symptoms = symptoms_with(AlarmSettings(symptoms=[f"{OURS}:SHOUTING"], thresholds={"shouting": (0.2, 3.0)}).symptoms)
    tracker = AlarmTracker(PROMPTS, symptoms=symptoms)
    tracker.note(plain())
    report = tracker.note(plain(8, texts=[text.upper() for text in plain().texts]))
    assert report.figures["symptom/shouting"] == 1.0
    assert [alarm.state for alarm in report.alarms if (alarm.symptom, alarm.slice) == ("shouting", "")] == ["warn"]


def test_a_format_of_ones_own_is_read_by_name(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"frage": "wer?", "antwort": "ich"}\n{"frage": "wo?"}\n')
    loaded = read_demonstrations(tmp_path / "rows.jsonl", format=f"{OURS}:GERMAN")
    assert [(row.prompt.text, row.completion) for row in loaded.records] == [("wer?", "ich")]
    assert len(loaded.bad_rows) == 1
