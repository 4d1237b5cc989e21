"""A run's alarms: which stand, which passed, what is told of each, and the slices in their order of urgency."""

import json
from dataclasses import replace

import pytest
from fake_run import alarm_rows, make_fake_run

from kleash.evaluation.alarms import Alarm, Suspect
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.read.alarms import by_symptom, ending, history, passed, read_alarms, standing
from kleash.monitor.read.findings import findings_of
from kleash.monitor.read.reader import read_run
from kleash.monitor.read.slices import watched_slices


@pytest.fixture(scope="module")
def hacked(tmp_path_factory):
    return findings_of(read_run(make_fake_run(tmp_path_factory.mktemp("runs"), story="hacked")))


def alarms(*told):
    return read_alarms({"step": step, "symptom": name, "slice": where, "state": s} for step, name, where, s in told)


def test_the_newest_word_on_a_symptom_in_a_slice_stands_the_worst_first():
    found = alarms(
        (10, "length", "", "warn"), (20, "length", "", "ok"), (20, "kl", "a=b", "warn"), (30, "kl", "", "stop")
    )
    assert [(alarm.symptom, alarm.slice) for alarm in standing(found)] == [("kl", ""), ("kl", "a=b")]
    assert [(alarm.step, alarm.symptom, alarm.state) for alarm in passed(found)] == [(10, "length", "warn")]


def test_of_what_passed_the_worst_is_told():
    found = alarms((1, "kl", "", "stop"), (2, "kl", "", "warn"), (3, "kl", "", "ok"))
    assert [alarm.step for alarm in passed(found)] == [1]


def test_what_stands_is_told_by_symptom_the_worst_first():
    found = alarms(
        (1, "kl", "a=b", "warn"), (1, "length", "c=d", "stop"), (2, "length", "", "stop"), (2, "kl", "", "ok")
    )
    groups = {symptom: [alarm.slice for alarm in group] for symptom, group in by_symptom(found).items()}
    assert groups == {"length": ["", "c=d"], "kl": ["a=b"]}
    assert list(groups) == ["length", "kl"]


def test_a_symptom_is_over_when_it_is_over_everywhere():
    found = alarms((1, "kl", "", "warn"), (1, "kl", "a=b", "warn"), (2, "kl", "", "ok"), (3, "kl", "a=b", "ok"))
    assert [(mark.step, mark.state, mark.slices) for mark in history(found)["kl"]] == [
        (1, "warn", ("", "a=b")),
        (2, "warn", ("a=b",)),
        (3, "ok", ()),
    ]
    assert passed(found[:3]) == ()
    assert [alarm.symptom for alarm in passed(found)] == ["kl"]


def test_symptoms_that_came_to_a_stop_are_drawn_first():
    found = alarms((1, "kl", "", "warn"), (2, "length", "", "stop"), (2, "entropy", "", "ok"))
    assert list(history(found)) == ["length", "kl"]


def test_rows_that_say_too_little_are_no_alarms():
    whole = {"step": 1, "symptom": "kl", "state": "warn"}
    broken = [whole | change for change in ({"step": None}, {"symptom": ""}, {"state": "loud"})]
    assert read_alarms(broken) == ()
    (bare,) = read_alarms([whole | {"worst": "none", "remedies": None, "value": "high"}])
    assert (bare.worst, bare.remedies, bare.value, bare.action) == ((), (), None, "none")


def test_an_alarm_is_read_back_as_it_was_written():
    suspect = Suspect("why ?", "because", "i do not know", 1.5, None)
    written = Alarm(7, "length", "a=b", "stop", 0.7, 0.6, "growth", "Longer.", "hold", ("Raise beta.",), (suspect,))
    (alarm,) = read_alarms([{"step": 7, **json.loads(json.dumps(written.to_json()))}])
    assert alarm == written


def test_an_alarm_whose_action_ended_the_run_is_told_apart():
    first, *others = alarm_rows()
    assert ending(read_alarms([first | {"action": "raise_beta"}, *others])) is None
    found = ending(read_alarms([first, *others, others[-1] | {"action": "roll_back"}]))
    assert (found.symptom, found.step) == ("proxy_external_divergence", 40)


def rendered(name, findings):
    return fragment(f"parts/{name}.html", findings=findings)


def test_the_section_tells_evidence_samples_and_remedies(hacked):
    section = rendered("alarms", hacked)
    assert section.count('class="alarm stop" id="alarm-proxy-external-divergence" open') == 1
    assert "<b>proxy external divergence</b> <small>and 1 more slice</small>" in section
    assert section.index("<b>All prompts</b>") < section.index("<b>topic=false premise</b>")
    assert "0.27 share of rows, bound 0.20; update 40" in section
    assert section.index("raise beta") < section.index("stop at the best external checkpoint")
    assert section.count('class="sample"') == 5
    assert "reward 2.25, external −1.00" in section
    assert "1 passed" in section


def test_silence_is_told_only_of_a_run_that_was_watched(hacked):
    assert "sees nothing now" in rendered("alarms", replace(hacked, alarms=()))
    assert rendered("alarms", replace(hacked, alarms=(), is_watched=False)).strip() == ""


def test_the_end_by_an_alarm_is_told_first(hacked):
    *others, last = alarm_rows()
    ended = replace(hacked, alarms=read_alarms([*others, last | {"action": "hold"}]))
    assert "An alarm ended this run after update 40. Training was ended here" in rendered("alarms", ended)


def test_slices_with_alarms_come_first_then_the_lowest_win_rates(hacked):
    slices = watched_slices(hacked)
    assert (slices[0].name, slices[0].state) == ("topic=false premise", "warn")
    assert slices[0].win_rate.value == pytest.approx(0.26)
    assert slices[0].reward_now > slices[0].reward_before
    assert [found.name for found in slices[1:]] == sorted(found.name for found in slices[1:])
    calm = watched_slices(replace(hacked, alarms=()))
    assert calm[0].name == "topic=false premise"
    assert {found.state for found in calm} == {"ok"}
    assert "worst first" in rendered("watched", hacked)
    assert rendered("watched", replace(hacked, alarms=(), updates=(), win_rates=())).strip() == ""
