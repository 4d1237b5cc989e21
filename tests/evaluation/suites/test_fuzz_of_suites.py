"""Suites and answers as nobody would write them: read, or refused in words, and every answer comes to a verdict."""

import json
import os
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kleash.checks.table import CHECKS
from kleash.errors import DataError, KleashError
from kleash.evaluation.suites.given import read_answers
from kleash.evaluation.suites.reading import read_suite
from kleash.evaluation.suites.running import judge_answers, to_row

CASES = settings(
    max_examples=int(os.environ.get("KLEASH_FUZZ", "100")),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
WORDS = ["", " ", "42", "1,5", "#### 3", "\\boxed{1/0}", "(", "[a-", "I cannot help.", "not Sydney", '"quoted"', "```"]
TEXTS = st.sampled_from(WORDS) | st.text(max_size=12)
SCALARS = TEXTS | st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.just(10**400) | st.just(1e-7)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2), max_leaves=4
)
KNOWN = ["punctuation:no_comma", "length_constraints:number_words", "keywords:existence", "no:such"]
INSTRUCTIONS = st.lists(st.sampled_from(KNOWN) | TEXTS, max_size=3)


@st.composite
def checks(draw):
    """A check of a kind there is with what it needs, whatever is in it."""
    kind = draw(st.sampled_from(list(CHECKS)))
    names = list(CHECKS[kind].required)
    names += draw(st.lists(st.sampled_from(CHECKS[kind].optional), unique=True)) if CHECKS[kind].optional else []
    return {"kind": kind, **{name: draw(INSTRUCTIONS if name == "instructions" else TEXTS | VALUES) for name in names}}


PLAIN = st.fixed_dictionaries({"prompt": st.just("Asked?"), "check": checks()}, optional={"follow_up": TEXTS})
ROWS = PLAIN | st.fixed_dictionaries(
    {"prompt": TEXTS, "check": checks() | VALUES},
    optional={"id": SCALARS, "bucket": SCALARS, "measure": SCALARS, "slices": VALUES, "pair": TEXTS},
)
SUITES = st.lists(PLAIN, min_size=1, max_size=1) | st.lists(ROWS, min_size=1, max_size=3)
ANSWERS = st.dictionaries(st.sampled_from(["id", "task_id", "prompt", "completion", "answer"]), VALUES, max_size=3)


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@CASES
@given(rows=SUITES, answers=st.lists(TEXTS, min_size=1, max_size=4))
def test_a_suite_is_read_or_refused_and_every_answer_comes_to_a_verdict(tmp_path, rows, answers):
    try:
        suite = read_suite(written(tmp_path / "suite.jsonl", rows))
    except KleashError:
        return
    for item in suite.items:
        for answer in answers:
            row = to_row(judge_answers(item, (answer, answer) if item.follow_up else (answer,)))
            assert row["passed"] in (True, False, None)
            assert row["passed"] is not None or row["detail"]


@CASES
@given(rows=st.lists(ANSWERS, min_size=1, max_size=4))
def test_answers_are_read_or_refused(tmp_path, rows):
    with suppress(KleashError):
        found = read_answers(written(tmp_path / "answers.jsonl", rows))
        assert len(found.by_id) + len(found.by_prompt) == len(rows)


def test_a_tolerance_that_is_no_number_is_refused_before_anything_is_answered(tmp_path):
    rows = [{"prompt": "How much?", "check": {"kind": "numeric", "expected": 42, "tolerance": "a little"}}]
    with pytest.raises(DataError, match="its check numeric fails"):
        read_suite(written(tmp_path / "suite.jsonl", rows))
