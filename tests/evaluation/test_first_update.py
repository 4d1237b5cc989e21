"""The first update's figures: what is wrong with each case by hand, and silence where nothing is."""

import pytest

from kleash.evaluation.first_update import marks_of, remarks_on, training_of

FINE = {
    "answers": 64.0,
    "score_mean": -0.3,
    "score_sd": 0.9,
    "score_floor_share": 1 / 64,
    "score_ceiling_share": 1 / 64,
    "truncation_share": 0.3,
    "kl_nats_per_sequence": 0.0,
    "reward/unpenalised": 0.1,
}
CUT_OFF = {"truncation_share": 1.0, "score_mean": -1.0, "score_sd": 0.0}


def names(*, is_z_score=True, **changed):
    return [remark.name for remark in remarks_on({**FINE, **changed}, is_z_score=is_z_score)]


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"reward/unpenalised": -3.04, "answers": 12.0}, ["scale"]),
        ({"reward/unpenalised": 1.2}, ["scale"]),
        ({"reward/unpenalised": 1.2, "answers": 2.0}, []),
        ({"reward/unpenalised": -3.04, "kl_nats_per_sequence": 2.0}, []),
        ({"reward/unpenalised": -3.04, "is_z_score": False}, []),
        ({"score_mean": -0.9, "reward/unpenalised": 0.0}, []),
        (CUT_OFF, ["cut off", "constant"]),
        ({"score_mean": 7.0, "score_sd": 0.0, "score_floor_share": 1.0, "score_ceiling_share": 1.0}, ["constant"]),
        ({"answers": 1.0, "score_sd": 0.0}, []),
        ({"score_floor_share": 0.95}, ["floor"]),
        ({"score_ceiling_share": 0.95}, ["ceiling"]),
        ({"score_ceiling_share": 1.0, "answers": 4.0}, []),
    ],
)
def test_each_fault_has_its_remark(changed, found):
    assert names(**changed) == found


def test_what_earlier_versions_did_not_log_is_not_accused():
    assert remarks_on({"step": 0, "score_mean": -0.2, "score_sd": 0.0}, is_z_score=True) == []


@pytest.mark.parametrize(
    ("judge", "settings_of", "found"),
    [
        ("rw.py:happy", {"policy": {"scorer": {"kind": "function", "function": "rw.py:happy"}}}, "scores its answers"),
        ("mine", {"policy": {"scorer": {"kind": "mine", "function": None}}}, "scores its answers"),
        ("rw.py:happy", {"preferences": {"comparer": "rw.py:happy"}}, "labelled the pairs"),
        (
            "copy.py:glad",
            {
                "policy": {"functions": {"scorer.function": {"name": "rw.py:happy", "digest": "d1"}}},
                "evaluation": {"functions": {"judge": {"name": "copy.py:glad", "digest": "d1"}}},
            },
            "scores its answers",
        ),
        (
            "rw.py:happy",
            {"policy": {"scorer": {"kind": "reward_model", "function": "rw.py:happy"}, "functions": {}}},
            "",
        ),
        ("gold", {"preferences": {"comparer": "simulated"}, "policy": {"scorer": {"kind": "reward_model"}}}, ""),
        (
            "a.py:f",
            {
                "policy": {"functions": {"scorer.function": {"name": "b.py:g", "digest": None}}},
                "evaluation": {"functions": {"judge": {"name": "a.py:f", "digest": None}}},
            },
            "",
        ),
    ],
)
def test_a_judge_that_trained_the_policy_is_known(judge, settings_of, found):
    said = training_of(judge, settings_of)
    assert (said[: len(found)], bool(said)) == (found, bool(found))


def panel(*raters):
    return {"functions": {"judges": {"name": "panel", "digest": "".join(raters), "members": list(raters)}}}


@pytest.mark.parametrize(
    ("asked", "labelled", "trained"),
    [
        (["qwen@1a"], ["qwen@1a"], True),
        (["qwen@another-rubric"], ["qwen@1a"], True),
        (["gemma@2b", "qwen@1a"], ["llama@3c", "qwen@1a"], True),
        (["gemma@2b"], ["llama@3c", "qwen@1a"], False),
    ],
)
def test_an_ai_judge_is_the_same_where_it_asks_the_same_model(asked, labelled, trained):
    settings_of = {"policy": {}, "preferences_3": {"comparer": "judges", **panel(*labelled)}}
    said = training_of("judges", settings_of, known_by=marks_of(panel(*asked), "judges"))
    assert said == ("labelled the pairs that it learnt from" if trained else "")
