"""Matched checkpoints: what a policy made of the same prompts, with the same seed, at several moments of its training.

A symptom is a figure of one `Matched`; `symptoms.py` has the table of them. Everything here is plain numbers and text,
so that a watch can keep it in a checkpoint and a resumed run goes on exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from kleash.records import Prompt, group_by_slice


@dataclass(frozen=True)
class CheckpointSnapshot:
    """A policy's answers to the watched prompts after `step` updates; every sequence has one entry per prompt.

    proxy: the score that trains the policy, in SD.  parts: the scorer's named parts.
    external: share of the external votes for this answer against the reference's; None where nobody was asked.
    kl_nats: log pi - log pi_ref summed over the answer's tokens (k1).  entropy_nats: minus the sum of log pi, whose
    mean over samples is the entropy.  training: newest figures of the training loop; none before the first update.
    """

    step: int
    texts: Sequence[str]
    num_tokens: Sequence[int]
    proxy: Sequence[float]
    external: Sequence[float | None]
    kl_nats: Sequence[float]
    entropy_nats: Sequence[float]
    parts: Mapping[str, Sequence[float]] = field(default_factory=dict)
    training: Mapping[str, float] = field(default_factory=dict)

    def of(self, rows: Sequence[int]) -> CheckpointSnapshot:
        """Return the same for some of the prompts."""
        per_prompt = ("texts", "num_tokens", "proxy", "external", "kl_nats", "entropy_nats")
        chosen: dict[str, Any] = {name: [getattr(self, name)[row] for row in rows] for name in per_prompt}
        return replace(self, **chosen, parts={name: [part[row] for row in rows] for name, part in self.parts.items()})

    def to_json(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True)
class Matched:
    """The present checkpoint beside earlier ones, on the same prompts.

    reference: before the first update.  best: where the external signal was best so far, the reference without one.
    recent: the last few before the present one, oldest first.  kl_target_nats: what the leash aims at, if it aims.
    """

    prompts: Sequence[Prompt]
    reference: CheckpointSnapshot
    best: CheckpointSnapshot
    recent: Sequence[CheckpointSnapshot]
    now: CheckpointSnapshot
    kl_target_nats: float | None = None

    def of(self, rows: Sequence[int]) -> Matched:
        """Return the same for some of the prompts."""
        return replace(
            self,
            prompts=[self.prompts[row] for row in rows],
            reference=self.reference.of(rows),
            best=self.best.of(rows),
            recent=[snapshot.of(rows) for snapshot in self.recent],
            now=self.now.of(rows),
        )

    def where(self, is_meant: Callable[[Prompt], bool]) -> Matched:
        """Return the same for the prompts that are meant."""
        return self.of([row for row, prompt in enumerate(self.prompts) if is_meant(prompt)])


def slices_of(prompts: Sequence[Prompt]) -> dict[str, list[int]]:
    """Return each slice's rows: "" = all prompts, else "dimension=value"."""
    return {"": list(range(len(prompts))), **group_by_slice(prompt.dimensions for prompt in prompts)}
