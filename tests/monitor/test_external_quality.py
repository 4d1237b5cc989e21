"""What did not train the reward model: whose measure it is, over all prompts and by slice."""

from fake_run import make_fake_run, share, write_rows

from kleash.monitor.read.external_quality import external_scores, win_rates
from kleash.monitor.read.findings import findings_of
from kleash.monitor.read.reader import read_run


def with_people(folder, rows):
    people = folder / "round-000" / "people"
    people.mkdir()
    write_rows(people / "checkpoints.jsonl", rows)
    return read_run(folder).rounds[0]


def test_each_source_has_its_own_curve(tmp_path):
    rows = [
        {"step": 40, "rater_kind": "person", "win_rate": share(0.6, 50)},
        {
            "step": 20,
            "rater_kind": "person",
            "win_rate": share(0.55, 50),
            "slices": {"a=b": {"win_rate": share(0.2, 9)}},
        },
        {"step": 20, "rater_kind": "ai", "win_rate": share(0.7, 50)},
    ]
    found = with_people(make_fake_run(tmp_path), rows)
    curves = {curve.name: curve for curve in win_rates(found, "gold")}
    assert list(curves) == ["alarms' panel", "people", "AI judges", "gold"]
    assert [(step, value.value, value.n) for step, value in curves["people"].points] == [(20, 0.55, 50), (40, 0.6, 50)]
    assert [step for step, _ in curves["people"].slices["a=b"]] == [20]
    assert len(curves["alarms' panel"].slices["topic=false premise"]) == 7


def test_the_proxys_own_verdict_is_no_external_one(tmp_path):
    found = read_run(make_fake_run(tmp_path, story="proxy")).rounds[0]
    assert [curve.name for curve in win_rates(found, "proxy")] == ["alarms' panel"]
    assert external_scores(found, "proxy") is None


def test_without_a_judge_the_score_that_training_watched_counts(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft", "policy"))
    rows = [{"step": 0, "external/score_mean": 0.1, "score_mean": 0.0}, {"step": 10, "score_mean": 0.5}]
    write_rows(folder / "round-000" / "policy" / "evaluations.jsonl", rows)
    findings = findings_of(read_run(folder))
    assert [(step, value.value) for step, value in findings.external.points] == [(0, 0.1)]
    assert findings.external.proxy == {0: 0.0, 10: 0.5}
    assert findings.win_rates == ()
