"""Real judges' published verdicts, played back: PandaLM's 999 items, of which GPT-3.5 garbled 25."""

import csv
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from replay_server import replaying, shown, verdict

from kleash.raters.ai_feedback import AIJudge, MemoryCallLog
from kleash.raters.configuration import JudgeSettings
from kleash.raters.monitoring import BandSettings, demotion, judge_figures
from kleash.records import Comparison, JudgeCall, Judgement, Prompt

FOLDER = Path(__file__).parents[1] / "fixtures" / "pandalm"
RANKS = {"1": (1, 2), "2": (2, 1), "0": (1, 1), "Tie": (1, 1)}
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def rows_of(name):
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def items():
    """Each item: its comparison (texts of the published lengths), people's verdicts and each judge's."""
    people = rows_of("verdicts.csv")
    judges = rows_of("judge_verdicts.csv")
    assert [row["idx"] for row in people] == [row["idx"] for row in judges]
    found = []
    for row, judge in zip(people, judges, strict=True):
        texts = ("a" * int(row["length1_characters"]), "b" * int(row["length2_characters"]))
        case = Comparison(Prompt(f"item {row['idx']}"), texts)
        found.append((case, [row[f"annotator{n}"] for n in (1, 2, 3)], judge))
    return found


def figures_of(items, judge):
    judgements, calls, people = [], [], []
    for case, votes, judged in items:
        said = judged[judge]
        people += [Judgement(case.id, f"p{n}", "person", (0, 1), "ranked", RANKS[vote]) for n, vote in enumerate(votes)]
        is_vote = said in RANKS
        outcome, ranks = ("ranked", RANKS[said]) if is_vote else ("skipped", ())
        judgements.append((Judgement(case.id, judge, "ai", (0, 1), outcome, ranks), NOW))
        status = "ok" if is_vote else "unparsed"
        calls.append((JudgeCall(f"{judge}-{case.id}", case.id, judge, judge, "", "", (0, 1), status, ""), NOW))
    cases = [case for case, _, _ in items]
    (figures,) = judge_figures(calls=calls, judgements=judgements, comparisons=cases, by_people=people, is_weekly=False)
    return figures


def by_hand(items, judge):
    """The slow twin: agreements and items, with ties and without, straight from the file's own words."""
    agreed, asked, agreed_without, asked_without = 0, 0, 0, 0
    for _, votes, judged in items:
        said = {"1": "1", "2": "2", "0": "0", "Tie": "0"}.get(judged[judge])
        vote, count = Counter(votes).most_common(1)[0]
        if said is None or count < 2:
            continue
        agreed, asked = agreed + (said == vote), asked + 1
        if "0" not in (said, vote):
            agreed_without, asked_without = agreed_without + (said == vote), asked_without + 1
    return agreed, asked, agreed_without, asked_without


@pytest.mark.parametrize(
    ("judge", "agreed", "asked"), [("gpt-3.5-turbo", 697, 974), ("pandalm-7b", 667, 999)], ids=["gpt", "pandalm"]
)
def test_agreement_with_people_is_what_counting_gives(items, judge, agreed, asked):
    figures = figures_of(items, judge)
    found = by_hand(items, judge)
    assert found[:2] == (agreed, asked)
    assert (figures.agreement.value, figures.agreement.n) == (pytest.approx(agreed / asked), asked)
    assert figures.agreement_without_ties.n == found[3]
    assert figures.agreement_without_ties.value == pytest.approx(found[2] / found[3])
    assert figures.agreement.low < figures.agreement.value < figures.agreement.high


def test_unreadable_verdicts_are_counted_and_never_vote(items):
    figures = figures_of(items, "gpt-3.5-turbo")
    assert figures.num_by_status == {"ok": 974, "unparsed": 25}
    assert (figures.parse_failure.value, figures.parse_failure.n) == (pytest.approx(25 / 999), 999)


def test_length_preference_is_what_counting_gives(items):
    figures = figures_of(items, "pandalm-7b")
    longer, decided = 0, 0
    for case, _, judged in items:
        first, second = map(len, case.completions)
        if judged["pandalm-7b"] != "0" and first != second:
            decided += 1
            longer += (judged["pandalm-7b"] == "1") == (first > second)
    assert (figures.length_preference.value, figures.length_preference.n) == (pytest.approx(longer / decided), decided)


def test_a_band_is_left_by_the_figure_that_is_outside_and_by_no_other(items):
    figures = figures_of(items, "gpt-3.5-turbo")
    agreed, asked = by_hand(items, "gpt-3.5-turbo")[2:]
    just_inside = BandSettings(min_agreement=agreed / asked - 0.001, max_length_preference=1.0)
    assert demotion(figures, just_inside) == []
    (reason,) = demotion(figures, just_inside.model_copy(update={"min_agreement": agreed / asked + 0.001}))
    assert reason.startswith(f"gpt-3.5-turbo: agreement with people (ties left out) {agreed / asked:.1%} is below ")
    assert f"decided by the estimate over {asked} items" in reason


def test_the_verdicts_come_through_the_wire_as_published():
    """The judge is asked in both orders, and answers as published whichever comes first."""
    rows = rows_of("judge_excerpt.csv")
    cases = [
        Comparison(Prompt(f"{row['instruction']}\n{row['input']}".strip()), (row["response1"], row["response2"]))
        for row in rows
    ]
    published = {
        (case.prompt.text, *texts): (row, texts == case.completions)
        for row, case in zip(rows, cases, strict=True)
        for texts in (case.completions[::-1], case.completions)
    }

    def reply(request):
        row, is_forward = published[shown(request)]
        said = row["gpt-3.5-turbo"]
        if said == "garbage":
            return row["reason"]
        choice = "tie" if said == "Tie" else "first" if (said == "1") == is_forward else "second"
        return f"{row['reason']}\n```json\n{verdict(choice)}\n```"

    log = MemoryCallLog()
    with replaying(reply) as replay:
        judge = AIJudge(JudgeSettings(base_url=replay.base_url, model="gpt-3.5-turbo"), log=log)
        found = list(judge.compare(cases))
    said = [row["gpt-3.5-turbo"] for row in rows]
    assert [judgement.ranks for judgement in found] == [RANKS.get(word, ()) for word in said]
    assert [judgement.flags for judgement in found] == [("unparsed",) if w == "garbage" else () for w in said]
    assert Counter(call.status for call in log.calls.values()) == {"ok": 66, "unparsed": 40}
