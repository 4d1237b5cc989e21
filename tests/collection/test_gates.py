import dataclasses

import pytest

from collection.made_judgements import entry, item, items_of, pandalm
from kleash.collection.gates import Gate, LabelGateSettings, campaign_gates, rater_gates, worst
from kleash.collection.quality import agreement, rater_table
from kleash.errors import SettingsError
from kleash.maths.intervals import Interval
from kleash.settings import check_settings

SOLID = Interval(0.9, 0.85, 0.95, 100)


def row(**figures):
    items = items_of(item("i1"))
    [one] = rater_table(items, [entry("i1", "ann", (1, 2))])
    return dataclasses.replace(one, **{"easy_gold_accuracy": SOLID, "self_consistency": SOLID, **figures})


def states(gates):
    return {gate.name: gate.state for gate in gates}


@pytest.mark.parametrize(
    ("value", "state"), [(0.70, "pass"), (0.699, "warn"), (0.65, "warn"), (0.649, "fail"), (0.0, "fail")]
)
def test_agreement_warns_below_one_bound_and_fails_below_another(value, state):
    items, recorded = items_of(item("i1")), [entry("i1", "ann", (1, 2)), entry("i1", "bob", (1, 2))]
    measured = agreement(items, recorded, num_resamples=1)
    measured = dataclasses.replace(measured, percent_without_ties=Interval(value, 0, 1, 50))
    assert states(campaign_gates(measured, items, recorded))["agreement_without_ties"] == state


@pytest.mark.parametrize(
    ("figure", "name", "value", "state"),
    [
        ("easy_gold_accuracy", "easy_gold_accuracy", 0.80, "pass"),
        ("easy_gold_accuracy", "easy_gold_accuracy", 0.79, "fail"),
        ("self_consistency", "self_consistency", 0.80, "pass"),
        ("self_consistency", "self_consistency", 0.79, "fail"),
        ("longer", "longer_preferred", 0.70, "pass"),
        ("longer", "longer_preferred", 0.71, "fail"),
    ],
)
def test_a_rater_passes_at_the_bound_and_fails_beyond(figure, name, value, state):
    gates = rater_gates(row(**{figure: Interval(value, value - 0.1, value + 0.1, 60)}))
    assert states(gates)[name] == state


def test_too_little_to_go_by_is_unknown():
    gates = rater_gates(row(self_consistency=Interval(1.0, 0.3, 1.0, 9)))
    assert states(gates) == {
        "easy_gold_accuracy": "pass",
        "self_consistency": "unknown",
        "longer_preferred": "unknown",
    }
    assert gates[1].reason == "Only 9 to go by, and it takes 10. Collect more."
    assert states(rater_gates(row(), settings=LabelGateSettings(min_n=1)))["longer_preferred"] == "pass"


def test_the_reason_says_whether_more_labels_could_help():
    near, far = Interval(0.75, 0.6, 0.85, 30), Interval(0.4, 0.3, 0.5, 30)
    reasons = [rater_gates(row(self_consistency=figure))[1].reason for figure in (near, far)]
    assert reasons == [
        "0.75 (0.60 to 0.85, n = 30) is below 0.80. The interval reaches the bound: more labels may change this.",
        "0.40 (0.30 to 0.50, n = 30) is below 0.80.",
    ]


def test_pandalm_passes_where_it_can_be_told():
    items, recorded = pandalm()
    gates = campaign_gates(agreement(items, recorded, num_resamples=50), items, recorded)
    assert states(gates) == {
        "agreement_without_ties": "pass",
        "easy_gold_accuracy": "unknown",
        "self_consistency": "unknown",
        "longer_preferred": "pass",
    }
    assert gates[0].figure.value == pytest.approx(0.9473, abs=5e-5)


def test_a_campaigns_gold_is_pooled_over_raters():
    items = items_of(*(item(f"g{n}", gold_ranks=(1, 2)) for n in range(10)))
    recorded = [entry(f"g{n}", rater, (1, 2)) for n in range(10) for rater in ("ann", "bob")]
    recorded += [entry(f"g{n}", "eve", (2, 1)) for n in range(10)]
    gates = campaign_gates(agreement(items, recorded), items, recorded)
    gold = next(gate for gate in gates if gate.name == "easy_gold_accuracy")
    assert (gold.state, gold.figure.value, gold.figure.n) == ("fail", pytest.approx(2 / 3), 30)


def test_the_worst_gate_speaks_for_all():
    def gates(*given):
        return [Gate("any", state, SOLID, "") for state in given]

    assert worst(gates("pass", "unknown", "warn", "fail")) == "fail"
    assert worst(gates("pass", "unknown", "warn")) == "warn"
    assert worst(gates("pass", "unknown")) == "unknown"
    assert worst(gates("pass")) == worst([]) == "pass"


def test_a_warning_above_the_bound_is_refused():
    with pytest.raises(SettingsError, match=r"warn_agreement 0\.9 is above min_agreement 0\.7; set it lower"):
        check_settings({"warn_agreement": 0.9}, LabelGateSettings, source="gates")
