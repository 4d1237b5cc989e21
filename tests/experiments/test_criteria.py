"""Each criterion holds on curves made to show it, and fails on curves made not to."""

import pytest

from experiments.made_curves import KLS, LEASHED_KLS, curve, good_curves, law
from kleash.experiments.arms import ARMS
from kleash.experiments.criteria import CRITERIA, judge_all

NAMES = [criterion.name for criterion in CRITERIA]


def verdicts(*seeds):
    """Judge seeds given as {name: curve}; return {criterion: verdict}."""
    return {verdict.name: verdict for verdict in judge_all([made for curves in seeds for made in curves.values()])}


@pytest.mark.parametrize("name", NAMES)
def test_every_criterion_holds_on_curves_made_to_show_it(name):
    assert verdicts(good_curves())[name].passed


def leashed(gold, *, target_nats):
    return curve("ppo-leashed", gold, kls=LEASHED_KLS, extra={"target_nats": target_nats})


SPOILERS = {
    # a proxy that bends like a parabola; one that wanders
    "C1": [
        {"ppo-biased": curve("ppo-biased", [0.0] * 7, proxy=[kl**2 for kl in KLS])},
        {"ppo-unbiased": curve("ppo-unbiased", [0.0] * 7, proxy=[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0])},
    ],
    # no fall; a fall without a peak; a proxy that falls too; answers that get shorter
    "C2": [
        {"ppo-biased": curve("ppo-biased", [0.0, 0.3, 0.6, 0.5, 0.5, 0.5, 0.4])},
        {"ppo-biased": curve("ppo-biased", [0.0, -0.1, -0.2, -0.3, -0.4, -0.5, -0.6])},
        {"ppo-biased": curve("ppo-biased", [0.0, 0.3, 0.6, 0.0, 0.0, 0.0, 0.0], proxy=[0, 1, 2, 3, 2, 1, 0])},
        {"ppo-biased": curve("ppo-biased", [0.0, 0.3, 0.6, 0.0, 0.0, 0.0, 0.0], words=[9, 8, 7, 6, 5, 4, 3])},
    ],
    "C3": [{"ppo-unbiased": curve("ppo-unbiased", [0.0, 0.3, 0.6, 0.5, 0.2, -0.1, -0.5])}],
    # too much KL; too little gold; off the curve though both are right
    "C4": [
        {"ppo-leashed": leashed([0.0, 0.3, 0.6, 0.6, 0.6], target_nats=0.7)},
        {"ppo-leashed": leashed([0.0, 0.3, 0.5, 0.4, 0.3], target_nats=1.0)},
        {"ppo-leashed": leashed([0.0, 0.8, 0.9, 0.9, 0.9], target_nats=1.0)},
    ],
    "C5": [{"ppo-unbiased-250": curve("ppo-unbiased-250", [0.0, 0.7, 0.0, 0.0, 0.0, 0.0, 0.0])}],
    # an ensemble no better than its member; a shared bias that does no harm
    "C6": [
        {
            name: curve(name, [0.0, 0.2, 0.3, 0.2, 0.1], kls=KLS[:5])
            for name in ("ppo-noisy-worst", "ppo-noisy-uncertainty")
        },
        {"ppo-biased-worst": curve("ppo-biased-worst", law(0.9, 0.3))},
    ],
    # no more gold; no better on current pairs; the old pairs forgotten; never as far as KL 3
    "C7": [
        {"ppo-refreshed": curve("ppo-refreshed", [0.0, 0.2, 0.4, 0.6, 0.6, 0.5, 0.4], extra=extra)}
        for extra in [good_curves()["ppo-refreshed"].extra]
    ]
    + [
        {"ppo-refreshed": curve("ppo-refreshed", [0.0, 0.3, 0.6, 0.9, 1.0, 1.0, 1.0], extra=extra)}
        for extra in (
            good_curves()["ppo-refreshed"].extra | {"accuracy_current_after": 0.64},
            good_curves()["ppo-refreshed"].extra | {"accuracy_old_after": 0.72},
        )
    ]
    + [
        {
            "ppo-refreshed": curve(
                "ppo-refreshed", [0.0, 0.3, 0.6], kls=KLS[:3], extra=good_curves()["ppo-refreshed"].extra
            )
        }
    ],
    # more bend without bias than with it; a law that never turns; too few points to fit
    "C8": [
        {"ppo-unbiased": curve("ppo-unbiased", law(0.9, 3.0))},
        {"best-of-n-biased": curve("best-of-n-biased", [d**2 for d in KLS], kind="best_of_n")},
        {"ppo-unbiased": curve("ppo-unbiased", [0.0, 0.5], kls=[0.0, 1.5])},
    ],
    "C9": [{"kto": curve("kto", [0.0, -0.1], kls=[0.0, 2.0], kind="direct")}],
}


@pytest.mark.parametrize(
    ("name", "spoiled"), [(name, spoiled) for name, cases in SPOILERS.items() for spoiled in cases]
)
def test_a_criterion_fails_on_curves_made_not_to_show_it(name, spoiled):
    assert verdicts(good_curves() | spoiled)[name].passed is False


def test_a_criterion_whose_arms_were_not_run_is_not_judged():
    curves = good_curves()
    found = verdicts({name: curves[name] for name in ("ppo-biased", "ppo-unbiased", "ppo-leashed")})
    assert {name for name, verdict in found.items() if verdict.passed is None} == {"C5", "C6", "C7", "C8", "C9"}
    assert found["C5"].figures == {}


def test_seeds_are_judged_by_medians_and_one_may_miss():
    odd = {made.name: made for made in good_curves(seed=2).values()}
    odd["ppo-biased"] = curve("ppo-biased", law(0.9, 0.3), seed=2)
    found = verdicts(good_curves(), good_curves(seed=1), odd)["C2"]
    assert found.passed
    assert {seed: passed for seed, (passed, _) in found.seeds.items()} == {0: True, 1: True, 2: False}
    assert found.figures["fall_sd"] == pytest.approx(1.1)


def test_figures_worked_by_hand():
    found = {name: verdict.figures for name, verdict in verdicts(good_curves()).items()}
    assert found["C2"] == pytest.approx(
        {
            "peak_sd": 0.6,
            "peak_kl_nats": 1.0,
            "fall_sd": 1.1,
            "end_kl_nats": 9.0,
            "proxy_rise_sd": 2.0,
            "words_rise": 4.0,
            "flattery_rise": 0.4,
        }
    )
    assert found["C4"] == pytest.approx(
        {"end_kl_nats": 1.0, "target_nats": 1.1, "share_of_peak": 0.6 / ((0.3 + 0.6 + 0.5) / 3), "off_curve_sd": 0.0}
    )
    # both curves are straight in sqrt(KL) from KL 2.25 to 4
    share = (3**0.5 - 1.5) / 0.5
    assert found["C7"]["gain_at_kl_3_sd"] == pytest.approx(0.3 + share * 0.1)
    assert found["C8"]["ppo_unbiased_a"] == pytest.approx(0.9)
    assert found["C8"]["best-of-n_biased_b"] == pytest.approx(0.4)


def test_the_fall_of_the_control_is_measured_no_further_than_the_biased_arm_went():
    near = curve("ppo-biased", [0.0, 0.3, 0.6], kls=KLS[:3])
    far = curve("ppo-unbiased", [0.0, 0.3, 0.6, 0.0, 0.0, 0.0, 0.0])
    found = verdicts(good_curves() | {"ppo-biased": near, "ppo-unbiased": far})["C3"]
    assert found.figures["common_kl_nats"] == 1.0
    assert found.figures["fall_unbiased_sd"] == 0.0
    assert found.passed


def test_every_arm_is_needed_by_a_criterion_and_every_needed_arm_is_in_the_table():
    needed = {arm for criterion in CRITERIA for arm in criterion.needs}
    assert needed == set(ARMS)


def test_the_arms_run_by_default_are_those_of_the_first_four_criteria():
    needed = {arm for criterion in CRITERIA[:4] for arm in criterion.needs}
    assert needed == {name for name, arm in ARMS.items() if arm.is_default}


def test_what_could_not_be_measured_is_null_and_does_not_hold():
    too_short = good_curves() | {"ppo-unbiased": curve("ppo-unbiased", [0.0, 0.5], kls=[0.0, 1.5])}
    verdict = verdicts(too_short)["C1"]
    assert verdict.passed is False
    assert verdict.as_json()["figures"] == {"correlation": None, "bend": None}
