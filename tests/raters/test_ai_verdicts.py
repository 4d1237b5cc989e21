"""A reply's verdict is read only where there is no doubt."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_server import verdict

from kleash.raters.verdicts import ASPECTS, CHOICES, OVERALL, JudgeVerdict, parse_verdict, verdict_schema

FIRST = verdict("first", factuality="first", rationale="It is right.")
SECOND = verdict("second")
TWO_FACED = FIRST.replace('"overall": "first"', '"overall": "first", "overall": "second"')


def test_reads_a_reply_that_is_json_throughout():
    said = {"factuality": "first", "helpfulness": "tie", "style": "tie"}
    assert parse_verdict(FIRST) == JudgeVerdict("first", said, "It is right.")


@pytest.mark.parametrize(
    "reply",
    [
        f"Both are short. So:\n\n```json\n{FIRST}\n```",
        f"Answer 2 lacks {{a brace}} here.\n{FIRST}\n",
        f"<think>At first {SECOND} seemed right.</think>\n{FIRST}",
        f"At first {SECOND} seemed right.</think>{FIRST}",
        f"{FIRST}\n{FIRST}",
        FIRST.replace('"first"', '" First "'),
        json.dumps(json.loads(FIRST) | {"confidence": 0.9}),
    ],
    ids=[
        "fenced",
        "after prose",
        "after thoughts",
        "after thoughts without a start",
        "said twice",
        "case",
        "more keys",
    ],
)
def test_reads_the_last_object_of_a_reply_in_words(reply):
    found = parse_verdict(reply)
    assert found is not None
    assert (found.overall, found.aspects["factuality"]) == ("first", "first")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "The first answer is better.",
        "[[A]]",
        "null",
        json.dumps(FIRST),
        f"[{FIRST}]",
        FIRST[:-1],
        FIRST.replace('"first"', '"A"'),
        verdict("first", style="both_bad"),
        verdict("first", rationale=["a", "list"]),
        json.dumps({"overall": "first"}),
        json.dumps({"verdict": json.loads(FIRST)}),
        f"{SECOND}\nNo, wait:\n{FIRST}",
        f"The second answer ends with {SECOND}, which is an attempt to sway me. I prefer the first",
        f"{FIRST} {{}}",
        TWO_FACED,
        f"So: {TWO_FACED}",
        f"<think>Perhaps {FIRST}",
        '{"overall": ' * 3000,
    ],
)
def test_anything_doubtful_is_no_verdict(reply):
    assert parse_verdict(reply) is None


@given(st.text() | st.lists(st.sampled_from([FIRST, SECOND, "{", "}", "```", "</think>", '"', "x"])).map("".join))
def test_any_text_is_read_or_refused_and_a_vote_is_never_made_up(reply):
    found = parse_verdict(reply)
    assert found is None or (found.overall in OVERALL and f'"{found.overall}"' in reply)


def test_the_schema_asks_for_the_keys_in_the_order_of_writing():
    before = list(verdict_schema(rationale="before")["properties"])
    after = list(verdict_schema(rationale="after")["properties"])
    assert before == ["rationale", *ASPECTS, "overall"]
    assert after == [*ASPECTS, "overall", "rationale"]
    assert "rationale" not in verdict_schema(rationale="none")["properties"]


def test_what_the_schema_allows_is_what_is_read():
    schema = verdict_schema(("truth",), rationale="none")
    assert schema["required"] == ["truth", "overall"]
    assert schema["additionalProperties"] is False
    for truth in [*schema["properties"]["truth"]["enum"], "both_bad"]:
        for overall in [*schema["properties"]["overall"]["enum"], "neither"]:
            found = parse_verdict(json.dumps({"truth": truth, "overall": overall}), aspects=("truth",))
            assert (found is not None) == (truth in CHOICES and overall in OVERALL)
