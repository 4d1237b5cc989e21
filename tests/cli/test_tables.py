"""Results as tables: what is told of a stage, and a run's page with the worst slice first."""

from pathlib import Path

import pytest
from rich.console import Console

from kleash.artifacts import Artifact
from kleash.cli.tables import figures_table, in_a_line, result_tables
from kleash.results import PreferencesSummary
from kleash.run_summary import RunSummary

RATE = {"value": 0.68, "low": 0.66, "high": 0.7, "n": 2000}


def artifact(kind, **summary):
    return Artifact(kind=kind, id="1234", files={}, path=Path("x"), summary=summary)


def text_of(*tables):
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in tables:
        console.print(table)
    console.file.close()
    return console.export_text().replace("\u202f", " ")


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (
            artifact("world", demonstrations=3000, prompts=200, seconds=1.0),
            "x: 3,000 demonstrations, 200 prompts (1.0 s)",
        ),
        (
            artifact("policy", stage="sft", steps=7, rows_trained=50, heldout_loss_nats_per_token=0.5, seconds=70),
            "x: 7 steps, 50 rows, held-out loss 0.500 nats per token (1 min 10 s)",
        ),
        (
            artifact("policy", algorithm="ppo", steps=7, beta_final=0.1, outcome="finished", seconds=None),
            "x: PPO, 7 steps, beta 0.100, finished (–)",
        ),
        (
            artifact("policy", algorithm="dpo", steps=7, heldout_accuracy=RATE, longer_wins=0.45, seconds=1),
            "x: DPO, 7 steps, right on 68 % (66 to 70 %) of 2,000 held-out pairs, "
            "always the shorter answer: 55 % (1.0 s)",
        ),
        (
            artifact("candidates", answers=8, prompts=4, truncation_share=0.5, seconds=1),
            "x: 8 answers to 4 prompts, 50 % cut off (1.0 s)",
        ),
        (artifact("preferences", pairs=9, agreement=None, seconds=1), "x: 9 pairs (1.0 s)"),
        (artifact("preferences", pairs=9, agreement=0.75, seconds=1), "x: 9 pairs, raters agree on 75 % (1.0 s)"),
        (
            artifact("reward", heldout_accuracy=RATE, longer_wins=0.45, seconds=1),
            "x: right on 68 % (66 to 70 %) of 2,000 held-out pairs, always the shorter answer: 55 % (1.0 s)",
        ),
        (
            artifact("evaluation", win_rate=RATE, judge="gold", seconds=1),
            "x: win rate 68 % (66 to 70 %) of 2,000 prompts, judged by gold (1.0 s)",
        ),
        (artifact("audit", verdict="pass", reasons=[], seconds=1), "x: pass (1.0 s)"),
        (
            artifact("audit", verdict="fail", reasons=[{"level": "fail", "measure": "gain: filler"}] * 2, seconds=1),
            "x: fail, fails by gain: filler (1.0 s)",
        ),
        (artifact("other", seconds=1), "x (1.0 s)"),
    ],
    ids=lambda value: value.kind if isinstance(value, Artifact) else "",
)
def test_a_stage_in_a_line(made, line):
    assert in_a_line("x", made).replace("\u202f", " ") == line


def test_a_stage_of_an_earlier_sitting_says_so():
    assert in_a_line("sft", artifact("policy", steps=7, seconds=3), done_before=True) == "sft: 7 steps (done before)"


def slice_figures(win_rate, **more):
    return {
        "judge_sft": 0.1, "judge_policy": 0.4, "kl_nats_per_sequence": 1.5, "length_sft": 7.0, "length_policy": 8.0,
        "win_rate": win_rate, "n": 50, **more,
    }  # fmt: skip


SUMMARY = {
    "name": "mine",
    "judge": "proxy",
    "seconds": {"sft": 60.0, "total": 60.0},
    "win_rate": RATE,
    "sft": {"judge_mean": 0.1, "interval": {"value": 0.1, "low": 0.05, "high": 0.15, "n": 2000}},
    "policy": {"judge_mean": 0.4, "interval": {"value": 0.4, "low": 0.35, "high": 0.45, "n": 2000}},
    "kl_nats_per_sequence": 1.5,
    "kl_target_nats": 2.0,
    "slices": {"easy": slice_figures(0.9), "hard": slice_figures(0.3), "middling": slice_figures(0.5)},
    "peak_rss_mb": 512.2,
}


def test_a_run_s_page_has_the_worst_slice_first():
    page = text_of(*result_tables(RunSummary.from_json(SUMMARY)))
    assert "68 % (66 to 70 %) of 2,000 prompts" in page
    assert "judge, policy" in page
    assert "0.400 (0.350 to 0.450; n = 2,000)" in page
    assert "1.50 nats per answer; target 2.00" in page
    assert page.index("hard") < page.index("middling") < page.index("easy")
    assert "+0.30" in page
    assert "512 MiB" in page


def test_a_page_warns_when_the_proxy_judges_itself():
    assert "the judge is what trained the policy" in text_of(*result_tables(RunSummary.from_json(SUMMARY)))
    assert "the judge is what trained" not in text_of(
        *result_tables(RunSummary.from_json({**SUMMARY, "judge": "my_judge:score"}))
    )


def test_the_share_of_right_answers_is_shown_where_it_is_known():
    slices = {"sums": slice_figures(0.6, correct_sft=0.25, correct_policy=0.75)}
    page = text_of(*result_tables(RunSummary.from_json({**SUMMARY, "slices": slices})))
    assert "right SFT" in page
    assert "25 %" in page
    assert "right SFT" not in text_of(*result_tables(RunSummary.from_json(SUMMARY)))


def test_a_run_without_an_evaluation_still_has_a_page():
    page = text_of(*result_tables(RunSummary.from_json({"name": "mine", "seconds": {"sft": 2.0, "total": 2.0}})))
    assert "mine" in page
    assert "2.0 s" in page


def test_an_artifact_s_own_figures():
    page = text_of(
        figures_table(artifact("x", rows_trained=12345, loss=0.123456, heldout_accuracy=RATE, nested={"a": 1}))
    )
    assert "rows trained      12,345" in page
    assert "0.1235" in page
    assert "0.680 (0.660 to 0.700; n = 2,000)" in page
    assert "nested" not in page


def test_single_answers_are_told_by_their_thumbs():
    made = artifact("labelled", thumbs_up=6, thumbs_down=18)
    assert in_a_line("preferences", made, done_before=True) == "preferences: 6 thumbs up, 18 thumbs down (done before)"
    summary = RunSummary(preferences=PreferencesSummary(thumbs_up=6, thumbs_down=18))
    assert "6 thumbs up, 18 thumbs down" in text_of(*result_tables(summary))
