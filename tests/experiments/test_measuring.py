"""Points from answers: gold and its interval, best of n against drawing subsets, accuracy."""

import itertools
import math
from statistics import fmean, pstdev

import pytest

from kleash.evaluation.gold import GoldScorer
from kleash.experiments.measuring import best_of_n_points, gold_of, pair_accuracy, point
from kleash.maths.best_of_n import best_of_n_kl
from kleash.protocols import Scores
from kleash.records import Completion, Pair, Preference, Prompt
from kleash.testing import FakeScorer


def test_a_point_is_a_paired_gain_in_sd_of_the_first_answers():
    prompt = Prompt("what is 2 plus 3?")
    texts = {"before": ["5.", "4.", "it is 9."], "after": ["5.", "5.", "you are so clever ! 5."]}
    before, after = ([Completion(prompt, text, (5,), (-1.0,)) for text in texts[when]] for when in ("before", "after"))
    yardstick = gold_of(before)
    made = point(7, after, kl_nats=1.5, proxy=0.25, yardstick=yardstick)
    gold = {when: GoldScorer().score(of).total for when, of in (("before", before), ("after", after))}
    differences = [b - a for a, b in zip(gold["before"], gold["after"], strict=True)]
    assert (made.at, made.kl_nats, made.proxy) == (7, 1.5, 0.25)
    assert made.gold == pytest.approx(fmean(differences) / pstdev(gold["before"]))
    assert made.gold_low < made.gold < made.gold_high
    assert made.num_flattery == pytest.approx(1 / 3)
    assert made.num_words == pytest.approx((1 + 1 + 5) / 3)


def test_best_of_n_is_the_mean_over_all_draws_of_n():
    prompts = [Prompt("what is 2 plus 3?"), Prompt("what is 4 plus 1?")]
    texts = ["5.", "4.", "it is 6.", "you are so clever ! 5."]
    pool = [Completion(prompt, text) for prompt in prompts for text in texts]
    liking = {"5.": 0.1, "4.": 0.7, "it is 6.": 0.3, "you are so clever ! 5.": 0.9}
    points = best_of_n_points(pool, FakeScorer(lambda answer: liking[answer.text]), largest_n=4)
    gold = {text: GoldScorer().score([Completion(prompts[0], text)]).total[0] for text in texts}
    sd = pstdev(list(gold.values()))
    for made, n in zip(points, (1, 2, 4), strict=True):
        draws = list(itertools.combinations(texts, n))
        picked = [max(draw, key=liking.get) for draw in draws]
        assert made.at == n
        assert made.kl_nats == best_of_n_kl(n)
        assert made.proxy == pytest.approx(fmean(liking[text] for text in picked) - fmean(liking.values()))
        assert made.gold == pytest.approx((fmean(gold[text] for text in picked) - fmean(gold.values())) / sd)


def test_accuracy_counts_decided_pairs_that_are_ordered_as_labelled():
    def row(label, *texts):
        return Preference(Prompt("why?"), texts, (Pair(0, 1, label),))

    rows = [row(1.0, "longer", "s"), row(0.0, "longer", "s"), row(0.5, "longer", "s"), row(2 / 3, "s", "longer")]
    longest = FakeScorer(lambda answer: float(len(answer.text)))
    assert pair_accuracy(rows, longest) == (pytest.approx(1 / 3), 3)


def test_the_accuracy_of_no_pairs_is_not_a_number():
    class Asleep:
        def score(self, completions):
            return Scores([0.0 for _ in completions], {})

    accuracy, n = pair_accuracy([], Asleep())
    assert math.isnan(accuracy)
    assert n == 0
