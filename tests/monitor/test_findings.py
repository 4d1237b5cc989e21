"""Which of the recorded figures count, how slices are ordered, and what is made of missing ones."""

import json
import math

import pytest
from fake_run import make_fake_run, write_rows

from kleash.estimates import Estimate, Rate, estimate, finite
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.pages.sections import shown_of
from kleash.monitor.read.findings import Contrast, findings_of, worst_first
from kleash.monitor.read.measures import column, last
from kleash.monitor.read.reader import read_run
from kleash.monitor.read.samples import mixed, read_samples


@pytest.mark.parametrize("value", [None, True, "1", math.nan, math.inf, [1]])
def test_what_is_not_a_finite_number_is_not_measured(value):
    assert finite(value) is None
    assert estimate({"value": value}) is None


def test_an_estimate_is_read_with_or_without_its_interval():
    assert estimate({"value": 0.7, "low": 0.6, "high": 0.8, "n": 50}) == Estimate(0.7, 0.6, 0.8, 50)
    assert estimate(0.7) == Estimate(0.7)
    # (0.8 - 0.6) / (2 * 1.96)
    assert Estimate(0.7, 0.6, 0.8).standard_error == pytest.approx(0.05102, abs=1e-5)
    assert Estimate(0.7).standard_error is None


def test_a_column_skips_rows_without_the_metric_and_last_averages_the_end():
    rows = [{"step": step, "kl": float(step)} for step in range(10)]
    rows[4]["kl"] = None
    del rows[8]["kl"]
    assert column(rows, "kl")[0] == [0, 1, 2, 3, 5, 6, 7, 9]
    assert last(rows, "kl", num_rows=2) == 8.0
    assert last([], "kl") is None


def test_slices_stand_worst_change_first_and_unknown_last():
    slices = [
        Contrast(name="good", correct_difference=Estimate(0.2), judge_difference=Estimate(-3.0)),
        Contrast(name="unknown", judge_difference=Estimate(-9.0)),
        Contrast(name="bad", correct_difference=Estimate(-0.1), judge_difference=Estimate(1.0)),
    ]
    assert [found.name for found in worst_first(slices)] == ["bad", "good", "unknown"]


def test_without_correctness_slices_are_ordered_by_the_judges_score_then_by_win_rate():
    changes = {"up": 0.4, "down": -0.4}
    judged = [Contrast(name=name, judge_difference=Estimate(change)) for name, change in changes.items()]
    assert [found.name for found in worst_first(judged)] == ["down", "up"]
    compared = [Contrast(name="wins", win_rate=Rate(0.6)), Contrast(name="loses", win_rate=Rate(0.4))]
    assert [found.name for found in worst_first(compared)] == ["loses", "wins"]


def test_the_figures_of_a_finished_run(tmp_path):
    findings = findings_of(read_run(make_fake_run(tmp_path)))
    assert findings.judge == "gold"
    assert findings.overall.win_rate.n == 500
    assert findings.kl_nats.value == pytest.approx(1.5, abs=0.01)
    assert findings.kl_target_nats == 1.5
    assert findings.slices[0].name == "topic=false premise"
    assert [step for step, _ in findings.external.points] == [0, 10, 20, 30, 40, 50, 60]
    assert findings.external.proxy[60] == pytest.approx(0.95 * (1 - math.exp(-4)))
    assert len(findings.samples) == 500
    assert findings.kept_step is None


def test_before_the_evaluation_kl_is_that_of_the_last_updates(tmp_path):
    findings = findings_of(read_run(make_fake_run(tmp_path, stages=("sft", "reward", "policy"))))
    kl = [row["kl_nats_per_sequence"] for row in findings.updates]
    assert findings.kl_nats == Estimate(pytest.approx(sum(kl[-5:]) / 5))
    assert not findings.is_evaluated
    assert findings.slices == ()


def test_the_target_of_a_running_policy_comes_from_the_recipe(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft",))
    assert findings_of(read_run(folder)).kl_target_nats == 1.5
    recipe = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(recipe.replace('"adaptive"', '"fixed"'))
    assert findings_of(read_run(folder)).kl_target_nats is None


def test_where_the_reward_model_is_the_judge_nothing_is_external(tmp_path):
    findings = findings_of(read_run(make_fake_run(tmp_path, story="proxy")))
    assert findings.external is None
    assert all(sample.gap is None for sample in findings.samples)


def test_an_external_score_watched_in_training_serves_until_the_evaluation(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft", "policy"))
    rows = [{"step": 0, "score_mean": 0.0, "external/score_mean": 0.3}, {"step": 10, "external/score_mean": 0.4}]
    write_rows(folder / "round-000" / "policy" / "evaluations.jsonl", rows)
    curve = findings_of(read_run(folder)).external
    assert curve.name == "external score"
    assert curve.points == ((0, Estimate(0.3)), (10, Estimate(0.4)))


def test_a_tied_pair_has_no_right_order(tmp_path):
    folder = make_fake_run(tmp_path, stages=("reward",))
    rows = [
        {"margin": 1.0, "label": 1.0, "correct": True},
        {"margin": 0.4, "label": 0.5, "correct": False},
        {"margin": -2.0, "label": 0.67, "correct": False},
    ]
    write_rows(folder / "round-000" / "reward" / "heldout.jsonl", rows)
    assert findings_of(read_run(folder)).reward_model.margins == ((1.0, True), (-2.0, False))


def test_the_newest_round_that_trained_something_is_shown(tmp_path):
    folder = make_fake_run(tmp_path)
    (folder / "round-001").mkdir()
    (folder / "round-000" / "sft").rename(folder / "round-001" / "sft")
    assert findings_of(read_run(folder)).round_number == 0


def test_the_audit_of_the_reward_model_is_told_or_that_there_was_none(tmp_path):
    def told(name, stages):
        run = read_run(make_fake_run(tmp_path / name, stages=stages))
        return fragment("parts/reward-model.html", **shown_of(run, run.rounds[0]))

    assert "It was not audited." in told("without", ("reward",))
    found = told("with", ("reward", "audit"))
    assert "It failed its audit. Saying nothing pays: stock phrase &#39;you are right,&#39;" in found


def test_gap_is_the_rank_by_reward_less_the_rank_by_the_judge():
    def row(score, judged):
        return {"before": {"judge": 1.0}, "after": {"score": score, "judge": judged}}

    # Mid-ranks of three: 1/6, 3/6, 5/6; two equal values share (0 + 2) / 6.
    samples = read_samples([row(9.0, 0.0), row(5.0, 0.0), row(1.0, 2.0)], "gold")
    assert [sample.gap for sample in samples] == pytest.approx([5 / 6 - 2 / 6, 3 / 6 - 2 / 6, 1 / 6 - 5 / 6])
    assert [sample.gain for sample in samples] == [-1.0, -1.0, 1.0]


def test_the_first_samples_show_some_of_each_slice():
    rows = [{"prompt": name, "slices": {"topic": name[0]}} for name in ("a1", "a2", "a3", "b1", "c1", "c2")]
    assert [sample.prompt for sample in mixed(read_samples(rows, "gold"))] == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_samples_without_scores_are_shown_all_the_same():
    rows = json.loads('[{"prompt": "p", "after": {"text": "a"}}, {}]')
    first, second = read_samples(rows, "gold")
    assert (first.prompt, first.gain, first.gap) == ("p", None, None)
    assert (second.prompt, second.outcome, second.slices) == ("", "", ())
