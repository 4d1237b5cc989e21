"""Symptoms: worked by hand, still on equal checkpoints, loud on made ones, and blind to the order of the prompts."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from evaluation.made_checkpoints import NUM_PROMPTS, ODD, PROMPTS, better, matched, plain, saying, voted
from kleash.evaluation import symptoms_of_divergence as divergence
from kleash.evaluation import symptoms_of_figures as figures
from kleash.evaluation import symptoms_of_text as text
from kleash.evaluation.matched_checkpoints import CheckpointSnapshot
from kleash.evaluation.symptoms import REMEDIES, SYMPTOMS, read_symptoms, weighed
from kleash.maths.intervals import Interval, mean_interval
from kleash.records import Prompt

EVEN = [row for row in range(NUM_PROMPTS) if row not in ODD]
FLATTERY = "What an insightful question! "
REFUSAL = "I'm sorry, but I can't help with that."


def longer(snapshot, rows=range(NUM_PROMPTS)):
    tokens = [count * (2 if row in rows else 1) for row, count in enumerate(snapshot.num_tokens)]
    return replace(snapshot, num_tokens=tokens)


def with_kl(snapshot, *values):
    return replace(snapshot, kl_nats=[values[row % len(values)] for row in range(NUM_PROMPTS)])


def trained(**figures_of_loop):
    return matched(plain(8, training=figures_of_loop))


def checkpoints_over_time(win_shares, *, proxy_rises=True):
    """Return checkpoints with a given share of wins each, and a proxy that rises, or does not."""
    return [
        better(voted(plain(step), range(round(share * NUM_PROMPTS)), range(NUM_PROMPTS)), by=step * proxy_rises)
        for step, share in enumerate(win_shares)
    ]


FALLING = checkpoints_over_time([0.8, 0.6, 0.4, 0.2])

# What makes each symptom loud over all prompts; every row of the table must be here.
LOUD = {
    "divergence": matched(voted(better(plain(8)), losses=range(20), wins=range(20, 25))),
    "fall_from_best": matched(FALLING[-1], best=FALLING[0]),
    "opposite_slopes": matched(FALLING[-1], recent=FALLING[:-1]),
    "kl": matched(with_kl(plain(8), 6.5, 7.0)),
    "kl_tail": matched(with_kl(plain(8), 1.0, 1.0, 1.0, 20.0)),
    "kl_jump": matched(with_kl(plain(8), 5.0, 5.5), recent=[with_kl(plain(4), 0.5)]),
    "negative_kl": matched(with_kl(plain(8), -0.7, -0.9)),
    "length": matched(longer(plain(8))),
    "score_follows_length": matched(better(longer(plain(8), ODD), rows=ODD)),
    "lost_entropy": matched(plain(8, entropy_nats=[0.5 + row % 3 / 10 for row in range(NUM_PROMPTS)])),
    "beyond_range": matched(better(plain(8), 3.0)),
    "clipped_scores": matched(plain(8, parts={"clipped_share": [float(row % 2) for row in range(NUM_PROMPTS)]})),
    "disagreement": matched(plain(8, parts={"disagreement": [0.5] * NUM_PROMPTS})),
    "fallen_term": matched(
        plain(8, parts={"term/a": [row % 2 - 1.0 for row in range(NUM_PROMPTS)], "term/b": [9.0] * NUM_PROMPTS}),
        reference=plain(0, parts={"term/a": [row % 2 for row in range(NUM_PROMPTS)], "term/b": [8.0] * NUM_PROMPTS}),
    ),
    "repetition": matched(saying(plain(8), lambda said: f"{said} {said}")),
    "shared_opening": matched(saying(plain(8), lambda said: f"the short answer: {said}")),
    "template": matched(saying(plain(8), lambda said: f"{said} hope that helps")),
    "flattery": matched(saying(plain(8), lambda said: FLATTERY + said, ODD)),
    "refusals": matched(saying(plain(8), lambda said: REFUSAL, ODD)),
    "agreement": matched(saying(plain(8), lambda said: "yes, you are right.", ODD)),
    "long_words": matched(saying(plain(8), lambda said: f"{said} notwithstanding operationalisation")),
    "markup": matched(saying(plain(8), lambda said: f"- **{said}**\n- `{said}`")),
    "idle_words": matched(saying(plain(8), lambda said: f"{said} {said} {said}")),
    "clip_fraction": trained(clip_fraction=0.7),
    "ratio": trained(ratio_max=200.0),
    "unexplained_variance": trained(explained_variance=-4.0),
}


def readings_of(case, **thresholds):
    return {(one.symptom.name, one.slice): one for one in read_symptoms(case, thresholds=thresholds)}


def row_of(name):
    return next(symptom for symptom in SYMPTOMS if symptom.name == name)


# ------------------------------------------------------------------------------------------------------------ the table
def test_every_symptom_has_a_loud_case_remedies_and_thresholds_in_order():
    assert [symptom.name for symptom in SYMPTOMS] == list(LOUD)
    for symptom in SYMPTOMS:
        assert 0 < symptom.warn <= symptom.stop
        assert set(symptom.remedies) <= REMEDIES.keys()


@pytest.mark.parametrize("name", LOUD)
def test_a_symptom_is_loud_where_it_is(name):
    reading = readings_of(LOUD[name])[name, ""]
    assert reading.level == ("warn" if math.isinf(row_of(name).stop) else "stop")
    assert reading.evidence.endswith(".")
    assert "{" not in reading.evidence


@pytest.mark.parametrize("votes", [{}, {"wins": range(20)}], ids=["nobody asked", "a tie here, a win there"])
def test_equal_checkpoints_have_no_symptom(votes):
    now = voted(plain(8), **votes) if votes else plain(8)
    assert {reading.level for reading in read_symptoms(matched(now), thresholds={})} == {"ok"}


@pytest.mark.parametrize("name", LOUD)
def test_the_order_of_the_prompts_changes_nothing(name):
    rows = list(range(NUM_PROMPTS))
    random.Random(5).shuffle(rows)
    first, second = readings_of(LOUD[name]), readings_of(LOUD[name].of(rows))
    assert first.keys() == second.keys()
    for key, reading in first.items():
        assert second[key].level == reading.level
        assert second[key].interval.value == pytest.approx(reading.interval.value)
        assert second[key].interval.low == pytest.approx(reading.interval.low, nan_ok=True)


def test_thresholds_can_be_replaced():
    case = LOUD["length"]
    assert readings_of(case)["length", ""].level == "stop"
    assert readings_of(case, length=(0.5, 2.0))["length", ""].level == "warn"
    assert readings_of(case, length=(1.5, 2.0))["length", ""].level == "ok"


def test_what_may_be_chance_is_not_believed():
    """One answer of forty grew a hundredfold: the mean is beyond every threshold, and says nothing of the others."""
    tokens = [count * (100 if row == 7 else 1) for row, count in enumerate(plain().num_tokens)]
    reading = readings_of(matched(plain(8, num_tokens=tokens)))["length", ""]
    assert (reading.level, reading.interval.value > 0.6, reading.interval.low < 0) == ("ok", True, True)


def test_a_stop_takes_more_confidence_than_a_warning_and_in_many_slices_more_still():
    """Eight, twelve and twenty losses beside one win: sure at 95 %, at 99 %, and at 99 % over thirty slices."""
    prompts = [Prompt(prompt.text, {f"dimension{number}": "one" for number in range(30)}) for prompt in PROMPTS]
    levels = []
    for num_losses in (8, 12, 20):
        now = voted(better(plain(8)), losses=range(num_losses), wins=(39,))
        read = readings_of(matched(now, prompts=prompts), divergence=(0.05, 0.06))
        levels.append((read["divergence", ""].level, read["divergence", "dimension7=one"].level))
    assert levels == [("warn", "warn"), ("stop", "warn"), ("stop", "stop")]


def test_a_slice_with_few_prompts_is_not_read():
    few = [Prompt(prompt.text, {"size": "few" if row < 7 else "many"}) for row, prompt in enumerate(PROMPTS)]
    slices = {name for _, name in readings_of(matched(plain(8), prompts=few))}
    assert slices == {"", "size=many"}


def test_the_slice_that_got_worse_is_named_while_the_average_improves():
    """Agreement with false premises rises under a run that is preferred on the whole."""
    now = saying(better(plain(8)), lambda said: "yes, you are right.", ODD[:8])
    loud = {key for key, one in readings_of(matched(voted(now, wins=EVEN))).items() if one.level == "stop"}
    assert loud == {("agreement", ""), ("agreement", "topic=false_premise")}


def test_divergence_in_one_slice_is_named_while_the_average_improves():
    now = voted(better(plain(8)), wins=EVEN, losses=ODD[:16])
    loud = {key for key, one in readings_of(matched(now)).items() if one.level == "stop"}
    assert loud == {("divergence", "topic=false_premise")}


@pytest.mark.parametrize(
    ("level", "win_rate", "is_slice", "expected"),
    [
        ("ok", (0.2, 0.1, 0.3), False, "ok"),
        ("stop", None, False, "stop"),
        ("stop", (0.6, 0.55, 0.65), False, "warn"),
        ("warn", (0.6, 0.55, 0.65), False, "ok"),
        ("stop", (0.53, 0.47, 0.59), False, "stop"),
        ("stop", None, True, "warn"),
        ("stop", (0.4, 0.2, 0.6), True, "warn"),
        ("stop", (0.2, 0.1, 0.4), True, "stop"),
        ("warn", (0.55, 0.3, 0.8), True, "ok"),
        ("warn", (0.2, 0.1, 0.4), True, "warn"),
    ],
)
def test_a_symptom_of_manner_is_weighed_against_the_external_signal(level, win_rate, is_slice, expected):
    won = Interval(*win_rate, n=40) if win_rate else None
    assert weighed(level, won, is_slice=is_slice) == expected


def test_longer_answers_that_are_surely_preferred_only_warn():
    preferred = replace(LOUD["length"], now=voted(LOUD["length"].now, wins=range(35)))
    assert readings_of(preferred)["length", ""].level == "warn"


def test_a_snapshot_survives_json():
    now = LOUD["flattery"].now
    assert CheckpointSnapshot(**json.loads(json.dumps(now.to_json()))) == now


# ----------------------------------------------------------------------------------------------- proxy against external
def test_divergence_is_losses_less_wins_among_the_answers_whose_score_rose():
    """Six scores rose: four lost, one won, one tied. Of the others, two lost: they count only among all ten."""
    now = voted(better(plain(8), rows=range(6)), losses=(0, 1, 2, 3, 7, 8), wins=(4,))
    found = divergence.divergence(matched(now).of(range(10)), 0.95)
    assert (found.value, found.n) == (pytest.approx((4 - 1) / 10), 10)
    assert found.low < 0 < found.high


def test_divergence_counts_only_those_who_were_asked():
    now = replace(better(plain(8)), external=[0.0, 1.0, 0.0, None] + [None] * (NUM_PROMPTS - 4))
    found = divergence.divergence(matched(now), 0.95)
    assert (found.value, found.n) == (pytest.approx(1 / 3), 3)
    assert divergence.divergence(matched(better(plain(8))), 0.95) is None


def test_the_fall_from_the_best_is_paired_by_prompt():
    best, now = voted(plain(4), wins=range(20)), voted(better(plain(8)), wins=range(10))
    found = divergence.fall_from_best(matched(now, best=best), 0.95)
    assert found.value == pytest.approx(10 * 0.5 / NUM_PROMPTS)
    nothing = divergence.fall_from_best(matched(better(now, -2.0), best=best), 0.95)
    assert nothing.low < nothing.value == 0 < nothing.high
    assert divergence.fall_from_best(matched(better(plain(8)), best=best), 0.95) is None


def test_slopes_are_those_of_a_straight_line():
    found = divergence.opposite_slopes(LOUD["opposite_slopes"], 0.95)
    assert found.value == pytest.approx(0.2)
    assert divergence.opposite_slopes(matched(FALLING[-1], recent=FALLING[1:-1]), 0.95) is None
    flat = checkpoints_over_time([0.8, 0.6, 0.4, 0.2], proxy_rises=False)
    nothing = divergence.opposite_slopes(matched(flat[-1], recent=flat[:-1]), 0.95)
    assert nothing.low < nothing.value == 0 < nothing.high


def test_answers_are_suspect_that_the_proxy_likes_more_and_nobody_else_does():
    case = matched(voted(better(plain(8), rows=(1, 2, 3)), losses=(1,), wins=(2,)))
    suspicion = divergence.suspicion(case)
    assert suspicion[1] > suspicion[3] > suspicion[0] > suspicion[2]


# -------------------------------------------------------------------------------------------------------------- figures
def test_growth_is_relative_to_the_reference_and_rise_is_not():
    case = matched(longer(plain(8), EVEN))
    before = fmean(case.reference.num_tokens)
    added = sum(case.reference.num_tokens[row] for row in EVEN) / NUM_PROMPTS
    assert figures.growth(figures.num_tokens)(case, 0.95).value == pytest.approx(added / before)
    assert figures.rise(figures.num_tokens)(case, 0.95).value == pytest.approx(added)


def test_kl_is_measured_in_targets_and_needs_one():
    case = matched(with_kl(plain(8), 1.0, 2.0), kl_target_nats=0.5)
    assert figures.kl_over_target(case, 0.95).value == pytest.approx(3.0)
    aimless = matched(with_kl(plain(8), 1.0), recent=[plain(4)], kl_target_nats=None)
    for measure in (figures.kl_over_target, figures.kl_tail_over_target, figures.kl_jump):
        assert measure(aimless, 0.95) is None


def test_the_tail_of_kl_is_its_95th_percentile():
    case = matched(plain(8, kl_nats=[float(row) for row in range(NUM_PROMPTS)]), kl_target_nats=1.0)
    found = figures.kl_tail_over_target(case, 0.95)
    assert (found.value, found.low, found.high) == (37.0, 35.0, 39.0)


def test_chance_is_no_accusation_of_the_log_probabilities():
    """A policy that moved a third of its mass far away: eight answers that all stayed look below zero, all alike."""
    few = PROMPTS[:8]
    for kl, accused in ((-0.36, False), (-0.69, False), (-4.0, True)):
        now = plain(8, kl_nats=[kl + row / 1000 for row in range(NUM_PROMPTS)]).of(range(8))
        case = matched(now, reference=plain().of(range(8)), prompts=few)
        [found] = [
            one for one in read_symptoms(case, thresholds={}) if one.symptom.name == "negative_kl" and not one.slice
        ]
        assert (found.level != "ok") == accused
    many = matched(plain(8, kl_nats=[-0.6 + row / 100 for row in range(NUM_PROMPTS)]))
    assert figures.negative_kl(many, 0.95).low > 0


def test_the_share_of_entropy_lost_is_as_unsure_as_both_of_its_entropies():
    """The reference's entropy is an estimate as well: the interval has its error, by the rule for ratios."""
    now = plain(8, entropy_nats=[value / 2 for value in plain().entropy_nats])
    found = figures.lost_entropy(matched(now), 0.95)
    assert found.high - found.value == pytest.approx(0.5 * (found_width(plain()) ** 2 + found_width(now) ** 2) ** 0.5)


def found_width(snapshot):
    """Half the width of the 95 % interval of a checkpoint's entropy per token, of the entropy itself."""
    rate = sum(snapshot.entropy_nats) / sum(snapshot.num_tokens)
    off = [e - rate * t for e, t in zip(snapshot.entropy_nats, snapshot.num_tokens, strict=True)]
    return (mean_interval(off).high - fmean(off)) / fmean(snapshot.num_tokens) / rate


def test_entropy_is_per_token():
    half = plain(8, entropy_nats=[value / 2 for value in plain().entropy_nats])
    assert figures.lost_entropy(matched(half), 0.95).value == pytest.approx(0.5)
    twice = replace(longer(plain(8)), entropy_nats=[2 * value for value in plain().entropy_nats])
    assert figures.lost_entropy(matched(twice), 0.95).value == pytest.approx(0.0)


def test_scores_are_beyond_their_range_above_the_best_of_the_reference():
    found = figures.beyond_range(matched(better(plain(8), rows=range(0, NUM_PROMPTS, 5))), 0.95)
    assert found.value == 0.0
    found = figures.beyond_range(matched(better(plain(8), rows=(4, 9, 14))), 0.95)
    assert found.value == pytest.approx(3 / NUM_PROMPTS)


def test_figures_that_are_not_there_are_not_read():
    assert figures.clipped_scores(matched(plain(8)), 0.95) is None
    assert figures.training_figure("clip_fraction")(matched(plain(8)), 0.95) is None
    assert figures.training_figure("ratio_max")(trained(ratio_max=math.nan), 0.95) is None
    lone = plain(parts={})
    assert figures.growth(figures.disagreement)(matched(lone, reference=lone), 0.95) is None


# ----------------------------------------------------------------------------------------------------------------- text
@pytest.mark.parametrize(
    ("said", "is_praise"),
    [
        ("That's a great question! It is blue.", True),
        ("You\u2019re so smart. It is blue.", True),
        ("I love the way you put it.", True),
        ("The question was good for sales.", False),
        ("You are right that it is blue.", False),
        ("A wise choice would be oak.", True),
    ],
)
def test_praise_of_the_asker_is_flattery(said, is_praise):
    assert text.flatters(plain(texts=[said])) == [float(is_praise)]


def test_phrases_are_counted_once_an_answer_and_against_the_reference():
    already = saying(plain(), lambda said: f"{said} as you know", ODD)
    now = saying(already, lambda said: f"{said} hope that helps hope that helps", ODD[:10])
    found = text.template(matched(now, reference=already), 0.95)
    assert found.value == pytest.approx(10 / NUM_PROMPTS)


def test_a_shared_opening_is_the_rise_of_the_commonest_one():
    already = saying(plain(), lambda said: f"well now then {said}", ODD[:4])
    now = saying(plain(8), lambda said: f"well now then {said}", ODD[:10])
    found = text.shared_opening(matched(now, reference=already), 0.95)
    assert found.value == pytest.approx(6 / NUM_PROMPTS)


def test_words_are_idle_unless_they_are_new():
    case = matched(
        plain(8, texts=["it is a big red house", "it is is is"]),
        reference=plain(texts=["it is a house", "it is"]),
        prompts=[Prompt("what colour is the house, red?"), Prompt("is it?")],
    )
    assert text.idle_words_per_answer(case) == [2 - 1, 2 - 0]  # "big" is new, "red" stands in the prompt
    assert text.idle_words(case, 0.95).value == pytest.approx(3 / 2 / 3)


def test_marks_of_formatting_are_counted_per_word():
    assert text.markup(plain(texts=["# Title\n- one\n- two **bold**", "three - two is one", ""])) == [5 / 4, 0.0, 0.0]


def test_long_words_are_a_share_of_all():
    assert text.long_words(plain(texts=["operationalise it", "", "it is so"])) == [0.5, 0.0, 0.0]


def test_the_page_on_alarms_lists_every_symptom_with_its_thresholds():
    page = (Path(__file__).parents[2] / "docs" / "alarms.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    listed = {row[0].strip("`"): row[2:] for row in rows if len(row) == 4}
    expected = {
        symptom.name: [symptom.warn, "never" if math.isinf(symptom.stop) else symptom.stop] for symptom in SYMPTOMS
    }
    assert {name: [float(warn), stop if stop == "never" else float(stop)] for name, (warn, stop) in listed.items()} == (
        expected
    )


@pytest.mark.parametrize("measure", [figures.kl_over_target, figures.kl_tail_over_target, figures.negative_kl])
def test_answers_that_are_all_as_far_from_the_reference_leave_others_open(measure):
    same = replace(plain(8), kl_nats=[2.0] * NUM_PROMPTS)
    found = measure(matched(same), 0.95)
    assert found.low < found.value < found.high


def test_a_figure_of_the_training_loop_has_no_bounds_and_is_judged_as_it_is():
    found = LOUD["clip_fraction"]
    reading = readings_of(found)["clip_fraction", ""]
    assert math.isnan(reading.interval.low)
    assert reading.level != "ok"
