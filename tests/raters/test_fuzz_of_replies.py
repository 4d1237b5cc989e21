"""Bodies as no endpoint should send them: each is a verdict or none, and the run goes on to its end."""

import json
import random
from collections import Counter

import pytest
from replay_server import Status, completion, replaying, verdict

from kleash.raters.ai_feedback import AIJudge, MemoryCallLog
from kleash.raters.configuration import JudgeSettings
from kleash.records import Comparison, Prompt

NUM_COMPARISONS = 60
LEAVES = [None, True, -1, 10**30, 1.5, "", "first", "\ud83d", "<think>", '{"overall": "first"}', "\u0000", [], {}]


def anything(chance, depth=3):
    """Any JSON value; lists and objects hold others."""
    kind = chance.random()
    if depth == 0 or kind < 0.4:
        return chance.choice(LEAVES)
    inner = [anything(chance, depth - 1) for _ in range(chance.randrange(3))]
    names = ("choices", "message", "content", "usage", "role", "text", "type", "overall")
    return inner if kind < 0.7 else {chance.choice(names): value for value in inner}


def damaged(chance, value):
    """A chat completion with something in it cut out, doubled or put in another's place."""
    if chance.random() < 0.2 or not isinstance(value, dict | list) or not value:
        return anything(chance)
    if isinstance(value, list):
        return chance.choice([value[:-1], value * 2, [damaged(chance, value[0])]])
    name = chance.choice(sorted(value))
    without = {other: inner for other, inner in value.items() if other != name}
    return without if chance.random() < 0.2 else {**value, name: damaged(chance, value[name])}


def body(chance):
    whole = completion(chance.choice([verdict("first"), verdict("tie"), "no verdict", '{"overall": 3}' * 9]))
    bad = damaged(chance, whole)
    if chance.random() < 0.15:
        text = json.dumps(bad).encode()
        return chance.choice([text[: len(text) // 2], b"", b"\xff\xfe", b"[" * 5000, b"data: [DONE]\n\n"])
    return Status(chance.choice([400, 422, 429, 500, 503]), bad) if chance.random() < 0.15 else bad


@pytest.mark.parametrize("seed", range(4))
def test_no_body_stops_a_judge_or_becomes_a_vote_it_is_not(seed):
    chance, log = random.Random(seed), MemoryCallLog()
    pairs = [Comparison(Prompt(f"q{number}"), ("a", "b")) for number in range(NUM_COMPARISONS)]
    with replaying(lambda request: body(chance)) as replay:
        settings = JudgeSettings(
            base_url=replay.base_url, model="m", max_retries=0, max_concurrency=1, give_up_after=10**6
        )
        judged = list(AIJudge(settings, log=log).compare(pairs))
    assert [one.comparison_id for one in judged] == [pair.id for pair in pairs]
    assert len(log.calls) == 2 * NUM_COMPARISONS
    num_read = Counter(call.comparison_id for call in log.calls.values() if call.status == "ok")
    assert {one.comparison_id for one in judged if one.outcome != "skipped"} == {
        q for q in num_read if num_read[q] == 2
    }
    assert {call.status for call in log.calls.values()} == {"ok", "unparsed", "refused", "failed"}
