"""Replies of judges, suites and answers as nobody would write them: read, or refused in words, never a traceback.

A few dozen cases by default; KLEASH_FUZZ=3000 makes that many of each.
"""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kleash.checks.table import CHECKS
from kleash.errors import DataError
from kleash.evaluation.suites.given import read_answers
from kleash.evaluation.suites.reading import SUITE_FORMATS, read_suite
from kleash.raters.endpoint import _text_of
from kleash.raters.verdicts import ASPECTS, CHOICES, JudgeVerdict, parse_verdict

CASES = settings(
    max_examples=int(os.environ.get("KLEASH_FUZZ", "60")),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
ODD = st.sampled_from([10**400, "9" * 5000, "\ud83d", "[" * 2000, "{" * 2000, "1e999", "(a+)+$", "\x1b[2J", "½", "²"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | ODD
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
WORDS = st.sampled_from([*CHOICES, "both_bad", " First ", "A", 1, None, ["first"]])


@st.composite
def replies(draw):
    """A verdict, well or badly said, between other things."""
    keys = [*ASPECTS, "overall", "rationale", "overall"]
    pairs = [(key, draw(WORDS | VALUES)) for key in keys if draw(st.integers(0, 9))]
    verdict = "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}"
    around = st.sampled_from(
        ["", "```json\n", "```", "<think>", "</think>", "{", "}", "[", "null", verdict, "\ud800", "\x00"]
    )
    return draw(around) + verdict[: draw(st.integers(0, len(verdict)) | st.just(len(verdict)))] + draw(around)


@CASES
@given(replies() | st.text() | VALUES.map(json.dumps))
def test_a_reply_is_a_verdict_or_none(reply):
    assert isinstance(parse_verdict(reply), JudgeVerdict | None)


@CASES
@given(st.dictionaries(st.sampled_from(["content", "reasoning_content", "reasoning", "refusal", "role"]), VALUES))
def test_a_message_has_a_text(message):
    assert isinstance(_text_of(message), str)


@st.composite
def suite_rows(draw):
    """Rows of a known layout, filled well or badly."""
    layout = draw(st.sampled_from(SUITE_FORMATS))
    names = {name for form in SUITE_FORMATS for name in form.columns}
    kind = draw(st.sampled_from(sorted(set(CHECKS) - {"code"})))
    params = {name: draw(VALUES) for name in CHECKS[kind].required}
    params |= {name: draw(VALUES) for name in CHECKS[kind].optional if draw(st.booleans())}
    known = {"check": {"kind": kind, **params}, "prompt": "Say it.", "answer": "#### 3", "question": "How many?"}
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        row = {name: known.get(name, "x") for name in layout.columns}
        row |= {name: draw(VALUES) for name in draw(st.sets(st.sampled_from(sorted(names)), max_size=2))}
        rows.append(row)
    return rows


@CASES
@given(suite_rows(), st.text(max_size=20) | ODD.map(str))
def test_a_suite_is_read_and_judges_any_answer_or_is_refused(tmp_path, rows, answer):
    path = tmp_path / "suite.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        suite = read_suite(path)
    except DataError:
        return
    for item in suite.items:
        if item.check != "code":
            assert CHECKS[item.check].judge(answer, item.params).passed in (True, False, None)


@CASES
@given(st.lists(st.dictionaries(st.sampled_from(["id", "task_id", "prompt", "completion", "x"]), VALUES), min_size=1))
def test_answers_are_read_or_refused(tmp_path, rows):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        answers = read_answers(path)
    except DataError:
        return
    assert all(isinstance(text, str) for text in [*answers.by_id.values(), *answers.by_prompt.values()])


@pytest.mark.parametrize("size", [1_000, 100_000])
def test_nested_without_end(tmp_path, size):
    assert parse_verdict('{"overall": ' * size) is None
    for name, read in (("suite", read_suite), ("answers", read_answers)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text('{"prompt": ' * size + "\n")
        with pytest.raises(DataError, match=name):
            read(path)


def test_a_suites_later_row_may_lack_a_column_of_its_first(tmp_path):
    path = tmp_path / "suite.jsonl"
    whole = {"prompt": "Say it.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    path.write_text("".join(json.dumps(row) + "\n" for row in (whole, {"prompt": "Say it."})))
    with pytest.raises(DataError, match=r"suite\.jsonl:2: has no instruction_id_list, kwargs"):
        read_suite(path)
