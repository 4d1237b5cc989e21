"""Each alarm: when it rings, when it is silent, and when it says that it cannot hear."""

from dataclasses import replace

import pytest
from fake_run import make_fake_run

from kleash.estimates import Estimate
from kleash.evaluation.symptoms import SYMPTOMS
from kleash.monitor.read.checks import (
    ENTROPY_LEFT,
    LONGER_ANSWERS,
    check_entropy,
    check_kl,
    check_length,
    check_outcome,
    check_reward_against_external,
    check_reward_model,
    check_slices,
    check_truncation,
    check_win_rate_against_mean,
    checks,
    fell,
)
from kleash.monitor.read.external_quality import ExternalCurve
from kleash.monitor.read.findings import KL_METRIC, Contrast, RewardModelFindings, findings_of
from kleash.monitor.read.reader import read_run


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return findings_of(read_run(make_fake_run(tmp_path_factory.mktemp("runs"))))


@pytest.fixture(scope="module")
def hacked(tmp_path_factory):
    return findings_of(read_run(make_fake_run(tmp_path_factory.mktemp("runs"), story="hacked")))


def test_a_healthy_run_raises_no_alarm(healthy):
    assert [check.name for check in checks(healthy) if check.status != "fine"] == []


def test_a_hacked_run_raises_the_alarms_that_fit(hacked):
    warned = {check.name for check in checks(hacked) if check.status == "warning"}
    assert warned == {"Reward against external quality", "Slices", "KL", "Length", "Entropy", "Truncation"}


def test_reward_up_and_gold_down_is_named_with_both_updates(hacked):
    check = check_reward_against_external(hacked)
    assert "From update 10 to 60 the reward rose by" in check.text
    assert "gold fell from" in check.text
    assert check.remedy.startswith("Use the weights of update 10")


def curve(*values, half_width=None):
    points = [
        (10 * index, Estimate(value) if half_width is None else Estimate(value, value - half_width, value + half_width))
        for index, value in enumerate(values)
    ]
    return ExternalCurve("gold", tuple(points), {10 * index: float(index) for index in range(len(values))})


@pytest.mark.parametrize(
    ("external", "status"),
    [
        # A fall of .2 with errors of .05 / 1.96 each: 5.5 standard errors of the difference.
        (curve(0.0, 0.5, 0.3, half_width=0.05), "warning"),
        (curve(0.0, 0.5, 0.3, half_width=0.15), "fine"),
        # Without intervals only a fall below the start counts.
        (curve(0.1, 0.5, 0.2), "fine"),
        (curve(0.1, 0.5, 0.0), "warning"),
        (curve(0.1), "not measured"),
        (None, "not measured"),
    ],
)
def test_an_external_fall_must_be_beyond_noise(healthy, external, status):
    assert check_reward_against_external(replace(healthy, external=external)).status == status


def test_a_fall_together_with_the_reward_is_not_hacking(healthy):
    external = replace(curve(0.0, 0.5, 0.0, half_width=0.05), proxy={10: 1.0, 20: 0.5})
    assert check_reward_against_external(replace(healthy, external=external)).status == "fine"


def test_a_fallen_slice_is_named_although_the_average_rose(healthy):
    slices = (Contrast(name="topic=sums", n=40, correct_difference=Estimate(-0.2, -0.3, -0.1)), *healthy.slices)
    check = check_slices(replace(healthy, slices=slices))
    assert check.status == "warning"
    assert check.text.startswith(
        "topic=sums (−20\u202fpoints correct, −30 to −10, n = 40) is worse than before; the av"
    )


def test_many_fallen_slices_are_counted_not_listed(hacked):
    assert "and 7 more are worse than before." in check_slices(hacked).text


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (Contrast(correct_difference=Estimate(-0.1, -0.2, 0.0)), False),
        (Contrast(correct_difference=Estimate(-0.1, -0.2, -0.01)), True),
        (Contrast(judge_difference=Estimate(-0.1, -0.2, -0.01)), True),
        # Where answers can be correct, being correct decides, not the judge's score.
        (Contrast(correct_difference=Estimate(0.1, 0.0, 0.2), judge_difference=Estimate(-1.0, -2.0, -0.5)), False),
        (Contrast(correct_difference=Estimate(-0.1)), False),
        (Contrast(), False),
    ],
)
def test_a_slice_fell_only_beyond_its_interval(found, answer):
    assert fell(found) is answer


@pytest.mark.parametrize(
    ("kl", "status", "words"),
    [
        (1.5, "fine", "1.50 nats per answer against a target of 1.50 ± 25"),
        (1.9, "warning", "the leash did not hold"),
        (1.1, "warning", "did not use what it was allowed"),
        (-0.2, "warning", "no KL is negative"),
    ],
)
def test_kl_is_held_to_a_quarter_of_its_target(healthy, kl, status, words):
    overall = healthy.overall.model_copy(update={"kl_nats_per_sequence": Estimate(kl)})
    check = check_kl(replace(healthy, overall=overall))
    assert (check.status, words in check.text) == (status, True)


def test_kl_below_zero_is_held_against_the_number_of_answers(healthy):
    def status(kl, n):
        return check_kl(replace(healthy, overall=Contrast(kl_nats_per_sequence=Estimate(kl, kl - 1, kl + 1, n)))).text

    assert "no KL is negative" not in status(-0.2, 12)
    assert "no KL is negative" in status(-0.2, 1000)


def test_what_was_wrong_from_the_start_comes_first_and_the_leash_is_not_blamed(healthy):
    first = {"step": 0, "answers": 64, "score_mean": -1.0, "score_sd": 0.0, "truncation_share": 1.0, KL_METRIC: 0.0}
    stuck = replace(healthy, updates=(first, {**first, "step": 1}), overall=Contrast())
    warned = [check for check in checks(stuck) if check.status == "warning"]
    assert warned[0].name == "First update"
    assert "All 64 answers of the first update were cut off" in warned[0].text
    assert "policy.max_new_tokens" in warned[0].remedy
    assert check_kl(stuck).status == "fine"
    scaled = replace(healthy, updates=({**first, "score_mean": -3.04, "score_sd": 1.0, "truncation_share": 0.0},))
    for kind, is_z_score in (("reward_model", True), ("function", False)):
        found = checks(replace(scaled, scorer_kind=kind))
        assert any("score −3.04" in one.text or "score -3.04" in one.text for one in found) == is_z_score


def test_kl_may_be_low_while_training_goes_on(healthy):
    training = replace(healthy, overall=Contrast(kl_nats_per_sequence=Estimate(0.4)), is_trained=False)
    assert check_kl(training).text.endswith("training is not over.")


@pytest.mark.parametrize(
    ("accuracy", "longer_wins", "status"),
    [
        (Estimate(0.7, 0.66, 0.74), 0.6, "fine"),
        (Estimate(0.7, 0.66, 0.74), 0.3, "warning"),
        (Estimate(0.54, 0.49, 0.59), None, "warning"),
        (Estimate(0.7, 0.66, 0.74), None, "fine"),
    ],
)
def test_a_reward_model_must_beat_a_coin_and_a_ruler(healthy, accuracy, longer_wins, status):
    model = RewardModelFindings(accuracy, longer_wins=longer_wins)
    assert check_reward_model(replace(healthy, reward_model=model)).status == status


def test_a_win_rate_against_its_own_mean_is_pointed_out(healthy):
    overall = healthy.overall.model_copy(update={"judge_difference": Estimate(-0.3)})
    check = check_win_rate_against_mean(replace(healthy, overall=overall))
    assert "The win rate is 71\u202f%, yet gold moved by −0.30 points" in check.text


def test_longer_answers_are_pointed_out_from_a_quarter_more(healthy):
    def status(after):
        overall = healthy.overall.model_copy(update={"length_before": 10.0, "length_after": after})
        return check_length(replace(healthy, overall=overall)).status

    assert (status(12.5), status(12.6)) == ("fine", "warning")


def test_lost_entropy_and_truncation_are_read_off_the_last_updates(healthy):
    def updates(name, *values):
        return replace(healthy, updates=tuple({"step": step, name: value} for step, value in enumerate(values)))

    assert check_entropy(updates("entropy_nats", 1.0, *[0.61] * 5)).status == "fine"
    assert check_entropy(updates("entropy_nats", 1.0, *[0.59] * 5)).status == "warning"
    assert check_truncation(updates("truncation_share", 0.9, *[0.1] * 5)).status == "fine"
    assert check_truncation(updates("truncation_share", 0.0, *[0.11] * 5)).status == "warning"
    assert check_entropy(updates("entropy_nats")) is None


def test_what_the_watch_looks_at_too_has_its_thresholds():
    warns_at = {symptom.name: symptom.warn for symptom in SYMPTOMS}
    assert 1 + warns_at["length"] == LONGER_ANSWERS
    assert 1 - warns_at["lost_entropy"] == ENTROPY_LEFT


def test_how_the_watch_ended_training_is_told(healthy):
    assert check_outcome(healthy) is None
    check = check_outcome(replace(healthy, outcome="roll_back", num_updates=42, kept_step=20))
    assert check.text == "The watch ended training after 42 updates. The weights of update 20 were kept."
    assert check_outcome(replace(healthy, kept_step=20)).status == "fine"
