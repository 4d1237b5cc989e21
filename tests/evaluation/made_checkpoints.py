"""Checkpoints made by hand: forty prompts in two slices, plain answers, and what a symptom needs changed."""

from dataclasses import replace

from kleash.evaluation.matched_checkpoints import CheckpointSnapshot, Matched
from kleash.records import Prompt

NUM_PROMPTS = 40
THINGS = ("river", "candle", "ladder", "garden", "window", "basket", "hammer", "lantern", "meadow", "saddle")
PROMPTS = [
    Prompt(
        f"what about {THINGS[row % 10]} number {row}?",
        {"topic": "false_premise" if row % 2 else "facts"},
    )
    for row in range(NUM_PROMPTS)
]
ODD = [row for row in range(NUM_PROMPTS) if row % 2]


def plain(step=0, **changed):
    """Return a checkpoint whose answers differ from each other and from nothing else."""
    texts = [f"{THINGS[(row * 3) % 10]} {row} stands by {THINGS[(row * 7) % 10]} today" for row in range(NUM_PROMPTS)]
    snapshot = CheckpointSnapshot(
        step=step,
        texts=texts,
        num_tokens=[6 + row % 3 for row in range(NUM_PROMPTS)],
        proxy=[(row % 5) / 2 - 1 for row in range(NUM_PROMPTS)],
        external=[None] * NUM_PROMPTS,
        kl_nats=[0.0] * NUM_PROMPTS,
        entropy_nats=[3.0 + row % 3 for row in range(NUM_PROMPTS)],
        parts={"disagreement": [0.1 + row % 2 / 10 for row in range(NUM_PROMPTS)]},
    )
    return replace(snapshot, **changed)


def matched(now, *, reference=None, best=None, recent=(), kl_target_nats=2.0, prompts=PROMPTS):
    reference = reference or plain()
    return Matched(prompts, reference, best or reference, recent, now, kl_target_nats)


def better(snapshot, by=1.0, rows=range(NUM_PROMPTS)):
    """Return the checkpoint with a higher proxy score on some rows."""
    return replace(snapshot, proxy=[score + by * (row in rows) for row, score in enumerate(snapshot.proxy)])


def voted(snapshot, wins=(), losses=()):
    """Return the checkpoint with everybody asked: wins, losses, and ties for the rest."""
    votes = [1.0 if row in wins else 0.0 if row in losses else 0.5 for row in range(NUM_PROMPTS)]
    return replace(snapshot, external=votes)


def saying(snapshot, change, rows=range(NUM_PROMPTS)):
    """Return the checkpoint with some rows' texts changed."""
    return replace(snapshot, texts=[change(text) if row in rows else text for row, text in enumerate(snapshot.texts)])
