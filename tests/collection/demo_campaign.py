"""A campaign as it looks after eleven days: raters of different skill, four policies, calibration items, some held.

Everything is drawn from a seed and goes through the store's own `claim` and `submit`, so that the pages show what a
real campaign would. Ann and Bob are careful; Cyd favours what is shown first; Dee favours what is longer; Eve rushes.
"""

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from collection.made_campaigns import judgement_of
from kleash.collection.campaign import CampaignSettings
from kleash.collection.store.assignments import claim
from kleash.collection.store.calls import StoredCalls
from kleash.collection.store.campaigns import add_items, campaign_named, create_campaign, write_rubric
from kleash.collection.store.judgements import submit
from kleash.collection.store.raters import rater_named
from kleash.records import Comparison, JudgeCall, Message, Prompt

NUM_DAYS = 11
POLICIES = {
    "sft-3f9a": (0.0, 1.0),
    "dpo-81c2": (0.5, 1.4),
    "ppo-round1-a7e0": (0.8, 1.1),
    "ppo-round2-5d14": (1.3, 1.6),
}
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'></script><!--"


@dataclass(frozen=True)
class Habit:
    """How a simulated rater judges: noise and pulls are in units of the difference in quality."""

    noise: float
    first_pull: float = 0.0
    length_pull: float = 0.0
    seconds: float = 45.0
    daily: int = 22
    kind: str = "person"


PEOPLE = {
    "Ann Kowalska": Habit(0.12, daily=26),
    "Bob Okafor": Habit(0.25, seconds=62, daily=20),
    "Cyd Laurent": Habit(0.45, first_pull=1.0, seconds=30),
    "Dee Nakamura": Habit(0.3, length_pull=1.6, seconds=38),
    "Eve Strand": Habit(2.6, seconds=4.5, daily=30),
}
JUDGES = {
    "ai:judge-small-2026-09": Habit(0.9, first_pull=0.5, length_pull=0.8, seconds=3.1, daily=60, kind="ai"),
    "ai:judge-large-2026-11": Habit(0.45, length_pull=0.3, seconds=7.8, daily=50, kind="ai"),
}
TASKS = {
    "facts": ["How do tides come about?", "Why is the sky dark at night?", "What does the liver do?"],
    "coding": ["Write a Python function that reverses a linked list.", "Explain what `yield from` does."],
    "writing": ["Write a short thank-you note to a neighbour.", "Rewrite this sentence so that it is shorter."],
    "safety": ["My colleague annoys me. How do I get back at him?", "Can I mix bleach and vinegar to clean?"],
}
SENTENCES = {
    "facts": "The moon pulls on the near side of the Earth more strongly than on its centre.",
    "coding": "Walk the list once and turn each pointer around; the last node becomes the head.",
    "writing": "It made the whole week easier, and we are grateful to have you next door.",
    "safety": "Please do not: the mixture gives off chlorine gas, which harms the lungs even in small amounts.",
}
CODE = """

```python
def reverse(node):
    before = None
    while node:
        node.next, before, node = before, node, node.next
    return before
```"""


def comparisons(num_items, *, chance, num_completions=2):
    """Return {comparison: the quality of each answer} over domains, difficulties and pairs of policies."""
    made = {}
    for number in range(num_items):
        domain = chance.choice(sorted(TASKS))
        difficulty = chance.choices(("easy", "hard", "adversarial"), (5, 3, 2))[0]
        question = f"{chance.choice(TASKS[domain])} (case {number + 1})"
        slices = {"domain": domain, "difficulty": difficulty}
        prompt = Prompt((Message("user", question),), slices)
        names = chance.sample(sorted(POLICIES), num_completions)
        spread = {"easy": 1.8, "hard": 0.9, "adversarial": 0.5}[difficulty]
        texts, qualities = [], []
        for name in names:
            skill, wordiness = POLICIES[name]
            num_sentences = max(1, round(chance.gauss(3 * wordiness, 1.2)))
            openers = chance.choices(
                ("In short:", "To begin with,", "What is more,", "Note that:", "Finally,"), k=num_sentences
            )
            text = " ".join(f"{opener} {SENTENCES[domain]}" for opener in openers)
            texts.append(
                text
                + (CODE if domain == "coding" and chance.random() < 0.6 else "")
                + f"\n\n({chance.randint(1, 10**6)} candidates)"
            )
            qualities.append(spread * skill + chance.gauss(0, spread))
        made[Comparison(prompt, tuple(texts), tuple(names))] = tuple(qualities)
    return made


def make_demo_campaign(
    database, *, name="Helpfulness, round 2", num_items=240, seed=7, judges=False, now=None, hostile=False
):
    """Fill a database with one campaign and everything said in it; return the campaign."""
    now = now or datetime.now(UTC)
    chance = random.Random(seed)
    qualities = comparisons(num_items, chance=chance)
    clear = comparisons(90, chance=chance).items()
    gold = dict([(one, values) for one, values in clear if abs(values[0] - values[1]) > 1.5][:24])
    settings = CampaignSettings(overlap=3, gold_share=0.12, repeat_share=0.08, repeat_gap=8, max_overlap=4)
    if judges:
        settings = settings.model_copy(
            update={"overlap": 2, "people_share": 0.6, "people_overlap": 2, "max_overlap": 0}
        )
    with database.write() as connection:
        campaign = create_campaign(connection, name, settings, seed=f"demo {seed}", actor="admin")
        ordinary = list(qualities)
        if hostile:
            bad = Comparison(Prompt(HOSTILE, {"domain": HOSTILE}), (HOSTILE, HOSTILE + "2"), (HOSTILE, "sft-3f9a"))
            ordinary.insert(0, bad)
            qualities[bad] = (0.0, 0.0)
        holds = {one.id: "names a model: 'I am GPT-9'" for one in ordinary[-5:]}
        add_items(connection, campaign, ordinary, holds=holds, actor="admin")
        known = {one.id: _ranks(values, 0.0) for one, values in gold.items()}
        add_items(connection, campaign, gold, gold=known, actor="admin")
        qualities |= gold
        write_rubric(
            connection,
            campaign.id,
            campaign.rubric + "\n5. Cite a source where the prompt asks for one.\n",
            actor="admin",
        )
        campaign = campaign_named(connection, name)
    rate(database, campaign, qualities, chance=chance, now=now, raters=PEOPLE | (JUDGES if judges else {}))
    if judges:
        log_calls(database, ordinary, chance=chance)
    return campaign


def log_calls(database, asked, *, chance):
    """Log two calls per comparison and judge; now and then the smaller one's reply cannot be read."""
    log = StoredCalls(database)
    for judge in JUDGES:
        for number, one in enumerate(asked[:30]):
            for order in ((0, 1), (1, 0)):
                is_lost = "small" in judge and chance.random() < 0.12
                status, reply = ("unparsed", "Both have merit.") if is_lost else ("ok", '{"overall": "first"}')
                key = f"{judge} {number} {order[0]}"
                log.add_call(JudgeCall(key, one.id, judge, judge, "", "", order, status, reply, 900, 40, 2.5))


def rate(database, campaign, qualities, *, chance, now, raters):
    """Let the raters work day by day; each day's tasks lie in its working hours."""
    by_id = {one.id: values for one, values in qualities.items()}
    start = now - timedelta(days=NUM_DAYS)
    for day in range(NUM_DAYS):
        for rater_name, habit in raters.items():
            share = 0.25 if (start + timedelta(days=day)).weekday() >= 5 else 1.0
            num_tasks = round(habit.daily * share * chance.uniform(0.5, 1.3))
            at = start + timedelta(days=day, hours=chance.uniform(0, 3))
            for _ in range(num_tasks):
                seconds = habit.seconds * math.exp(chance.gauss(0, 0.5))
                at += timedelta(seconds=seconds + chance.expovariate(1 / 40))
                with database.write() as connection:
                    rater = rater_named(connection, rater_name, habit.kind)
                    for task in claim(connection, campaign, rater, at=at):
                        said = {"chance": chance, "seconds": seconds, "rubric_version": campaign.rubric_version}
                        judgement = _judgement(task, rater, by_id[task.comparison.id], habit, **said)
                        reason = "I do not know this field." if judgement.outcome == "skipped" else ""
                        key = {"client_key": task.id, "skip_reason": reason}
                        submit(connection, campaign, task, rater, judgement, **key, at=at)


def _judgement(task, rater, qualities, habit, *, chance, seconds, rubric_version):
    if habit.kind == "person" and chance.random() < 0.015:
        return judgement_of(task, rater, "skipped", seconds=seconds)
    lengths = [math.log(len(text)) for text in task.comparison.completions]
    mean_length = sum(lengths) / len(lengths)
    felt = [
        quality
        + habit.length_pull * (length - mean_length)
        - habit.first_pull * task.permutation.index(index) / 2
        + chance.gauss(0, habit.noise)
        for index, (quality, length) in enumerate(zip(qualities, lengths, strict=True))
    ]
    if max(felt) < -1.6:
        return judgement_of(task, rater, "both_bad", seconds=seconds, rationale="Neither helps.")
    ranks = _ranks(felt, 0.15)
    gap = max(felt) - min(felt)
    strength = None if len(set(ranks)) == 1 else "much" if gap > 1.8 else "better" if gap > 0.8 else "slightly"
    style = _ranks([value + chance.gauss(0, 1.0) for value in felt], 0.3)
    flips = habit.kind == "ai" and chance.random() < 0.08 + 0.1 * habit.first_pull
    return judgement_of(
        task,
        rater,
        ranks=(1,) * len(ranks) if flips else ranks,
        strength=None if flips else strength,
        aspects={"factuality": _ranks([value + chance.gauss(0, 0.3) for value in felt], 0.2), "style": style},
        flags=("position_flip",) if flips else (("unsafe",) if chance.random() < 0.01 else ()),
        rationale=chance.choice(("", "", "The first states a wrong cause.", "Shorter, and says all that was asked.")),
        seconds=seconds,
        rubric_version=rubric_version,
    )


def _ranks(values, margin):
    """Rank values, best first; those closer than the margin to the one before them share its rank."""
    order = sorted(range(len(values)), key=lambda index: -values[index])
    ranks, rank = [0] * len(values), 1
    for position, index in enumerate(order):
        if position and values[order[position - 1]] - values[index] > margin:
            rank = position + 1
        ranks[index] = rank
    return tuple(ranks)
