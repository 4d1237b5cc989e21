"""Alarms: states over time, events with evidence, the action they call for, and a memory that survives a kill."""

import json
from dataclasses import replace

import pytest

from evaluation.made_checkpoints import ODD, PROMPTS, better, plain, saying, voted
from kleash.evaluation.alarms import AlarmTracker, Suspect, screen_lines
from kleash.evaluation.symptoms import REMEDIES
from kleash.evaluation.watch import BoundsWatch
from test_layers import modules_imported

HACKED = voted(saying(better(plain(8)), lambda said: f"{said} so clever so clever"), losses=range(30))


def events(noted, slice_=""):
    return {alarm.symptom: alarm for alarm in noted.alarms if alarm.slice == slice_}


def fallen(step, num_wins, by):
    """A checkpoint that so many prompts prefer, with a proxy that rose."""
    return voted(better(plain(step), by), wins=range(num_wins))


def test_the_first_checkpoint_is_what_others_are_held_against():
    book = AlarmTracker(PROMPTS)
    assert book.note(plain()).alarms == []
    assert book.note(plain(4)).alarms == []


def test_a_stop_calls_for_the_action_with_its_reasons():
    book = AlarmTracker(PROMPTS, action="roll_back")
    book.note(plain())
    noted = book.note(HACKED)
    assert noted.wanted.action == "roll_back"
    alarm = events(noted)["divergence"]
    assert (alarm.state, alarm.action, alarm.is_change) == ("stop", "roll_back", True)
    assert alarm.remedies == tuple(REMEDIES[name] for name in ("leash", "best", "ensemble", "refresh", "raters"))
    assert alarm.line in noted.wanted.reasons
    assert alarm.line.startswith("update 8: STOP divergence: The proxy rose and the external signal fell on 75% more")
    assert alarm.line.endswith("Action: roll_back.")


def test_a_warning_calls_for_nothing():
    book = AlarmTracker(PROMPTS, action="hold", thresholds={"length": (0.25, 9.0)})
    book.note(plain())
    noted = book.note(plain(8, num_tokens=[2 * count for count in plain().num_tokens]))
    assert (noted.wanted.action, noted.wanted.reasons) == ("continue", ())
    assert events(noted)["length"].action == "none"


def test_states_change_stay_and_go_back_to_ok():
    book = AlarmTracker(PROMPTS)
    book.note(plain())
    told = [events(book.note(replace(now, step=step))).get("divergence") for step, now in
            ((4, HACKED), (8, HACKED), (12, voted(plain())), (16, voted(plain())))]  # fmt: skip
    assert [(alarm.state, alarm.is_change) for alarm in told[:3]] == [("stop", True), ("stop", False), ("ok", True)]
    assert told[3] is None


def test_a_warning_that_lasts_is_told_again_over_all_prompts_and_not_in_a_slice():
    book = AlarmTracker(PROMPTS, thresholds={"repetition": (0.01, 9.0)})
    book.note(plain())
    wordy = saying(plain(8), lambda said: f"{said} {said}")
    first, second = (
        {alarm.slice: alarm.is_change for alarm in book.note(replace(wordy, step=step)).alarms
         if alarm.symptom == "repetition"}
        for step in (4, 8)
    )  # fmt: skip
    assert first == {"": True, "topic=facts": True, "topic=false_premise": True}
    assert second == {"": False}


def test_a_fall_from_the_best_must_be_seen_twice_in_a_row():
    book = AlarmTracker(PROMPTS)
    book.note(plain())
    seen = [(4, 30), (8, 5), (12, 30), (16, 5), (20, 5)]
    noted = [book.note(fallen(step, wins, by=step)) for step, wins in seen]
    told = [events(one).get("fall_from_best") for one in noted]
    assert [alarm.state if alarm else None for alarm in told] == [None, "warn", "ok", "warn", "stop"]
    assert book.best.step == 4


def test_an_event_shows_the_five_worst_answers_worst_first():
    book = AlarmTracker(PROMPTS)
    book.note(plain())
    rows = range(3, 30, 2)
    now = saying(plain(8), lambda said: f"{said} well said well said well said", rows[:-1])
    now = saying(now, lambda said: " ".join([said] * 3), rows[-1:])
    now = better(voted(now, losses=rows), rows=rows)
    alarm = events(book.note(now))["repetition"]
    assert len(alarm.worst) == 5
    assert alarm.worst[0] == Suspect(
        prompt=PROMPTS[29].text,
        answer=now.texts[29],
        reference_answer=plain().texts[29],
        proxy=now.proxy[29],
        external=0.0,
    )
    assert {suspect.prompt for suspect in alarm.worst} <= {PROMPTS[row].text for row in rows}


def test_a_row_of_the_file_has_the_agreed_fields():
    book = AlarmTracker(PROMPTS)
    book.note(plain())
    row = events(book.note(HACKED), "topic=false_premise")["divergence"].to_json()
    assert set(row) == {
        "symptom", "slice", "state", "value", "threshold", "unit", "evidence", "action", "remedies", "worst",
    }  # fmt: skip
    assert row["threshold"] == 0.2
    assert row["unit"] == "share of prompts"
    assert all(sample["prompt"] in {PROMPTS[index].text for index in ODD} for sample in row["worst"])


def test_an_evaluation_is_told_over_all_prompts_and_per_slice():
    book = AlarmTracker(PROMPTS)
    book.note(plain())
    noted = book.note(voted(better(plain(8), rows=ODD), wins=ODD))
    figures = noted.figures
    assert noted.wanted.quality == figures["external/win_rate"] == 0.75
    assert figures["slice/topic=false_premise/external/win_rate"] == 1.0
    assert figures["slice/topic=false_premise/external/n"] == 20
    assert figures["slice/topic=false_premise/score_mean"] - figures["slice/topic=facts/score_mean"] == pytest.approx(1)
    assert figures["external/win_rate_low"] < 0.75 < figures["external/win_rate_high"]
    assert figures["symptom/length"] == 0.0
    assert "external/win_rate" not in AlarmTracker(PROMPTS).note(plain()).figures


def test_a_book_read_back_from_json_goes_on_as_the_first_would_have():
    checkpoints = [plain(), fallen(4, 30, 4), fallen(8, 5, 8), fallen(12, 5, 12), fallen(16, 6, 16), HACKED]
    whole = AlarmTracker(PROMPTS, action="hold", kl_target_nats=1.0)
    expected = [whole.note(now) for now in checkpoints]
    for cut in range(len(checkpoints)):
        first, second = (AlarmTracker(PROMPTS, action="hold", kl_target_nats=1.0) for _ in "ab")
        for now in checkpoints[:cut]:
            first.note(now)
        second.load_state(json.loads(json.dumps(first.state())))
        assert [second.note(now) for now in checkpoints[cut:]] == expected[cut:]
        assert json.dumps(second.state()) == json.dumps(whole.state())


def test_the_screen_gets_changes_only_stops_first_and_few():
    book = AlarmTracker(PROMPTS)
    book.note(plain())
    noted = book.note(HACKED)
    lines = screen_lines(noted.alarms)
    assert [("STOP" in line, "topic=" in line) for line in lines[:3]] == [(True, False)] * 2 + [(True, True)]
    num_changed = sum(alarm.state != "ok" for alarm in noted.alarms)
    assert lines[3:] == [f"update 8: {num_changed - 3} more alarms; see alarms.jsonl"]
    assert screen_lines(book.note(replace(HACKED, step=12)).alarms) == []


@pytest.mark.parametrize(
    ("action", "wanted"), [("none", "continue"), ("raise_beta", "raise_beta"), ("hold", "stop"), ("roll_back",) * 2]
)
def test_the_watch_acts_once_at_the_next_step(action, wanted):
    book, watch = AlarmTracker(PROMPTS, action=action), BoundsWatch()
    book.note(plain())
    noted = book.note(HACKED)
    watch.note_evaluation(8, noted.wanted)
    resumed = BoundsWatch()
    resumed.load_state(json.loads(json.dumps(watch.state())))
    metrics = {"kl_nats_per_sequence": 1.0, "answers": 64}
    for one in (watch, resumed):
        verdict = one.observe(8, None, metrics)
        assert verdict.action == wanted
        assert verdict.reasons == one.reasons == noted.wanted.reasons
        assert bool(verdict.reasons) == (wanted != "continue")
        assert one.observe(9, None, metrics).action == "continue"


def test_an_evaluation_without_a_stop_takes_back_what_was_wanted():
    book, watch = AlarmTracker(PROMPTS, action="hold"), BoundsWatch()
    book.note(plain())
    watch.note_evaluation(0, book.note(HACKED).wanted)
    watch.note_evaluation(0, book.note(plain(12)).wanted)
    assert watch.observe(12, None, {"kl_nats_per_sequence": 1.0, "answers": 64}).action == "continue"


def test_a_bound_comes_before_an_alarm():
    book, watch = AlarmTracker(PROMPTS, action="raise_beta"), BoundsWatch(max_kl_nats=2.0)
    book.note(plain())
    watch.note_evaluation(0, book.note(HACKED).wanted)
    decision = watch.observe(8, None, {"kl_nats_per_sequence": 3.0, "answers": 64})
    assert (decision.action, decision.reasons[0][:6]) == ("roll_back", "KL is ")


def test_nothing_that_alarms_are_made_of_reads_the_sandbox():
    """Gold judges alarms afterwards; an alarm that read it would be training on it. Other layers may not know it."""
    waiting = ["evaluation.watch", "evaluation.external_signal", "stages.support.online_evaluation"]
    seen, others = set(), set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        found = set(modules_imported(name)) - seen
        waiting += [other for other in found if other.startswith("evaluation.")]
        others |= found
    assert "evaluation.symptoms_of_text" in seen
    assert not {name for name in seen | others if name.startswith("sandbox") or name == "evaluation.gold"}
