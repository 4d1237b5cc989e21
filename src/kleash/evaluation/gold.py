"""The sandbox's true reward as a scorer: for judging afterwards, never for training, alarms or choosing checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

from kleash.protocols import Scores
from kleash.records import Completion
from kleash.sandbox.gold import gold_reward


class GoldScorer:
    """Scores sandbox answers by the truth; parts: "is_correct", "is_refusal" and the reward's own named parts."""

    def score(self, completions: Sequence[Completion]) -> Scores:
        """Return the true reward of each answer. Raises DataError for a prompt that is not the sandbox's."""
        golds = [gold_reward(completion.prompt.text, completion.text) for completion in completions]
        parts = {name: [gold.parts[name] for gold in golds] for name in (golds[0].parts if golds else ())}
        return Scores(
            total=[gold.total for gold in golds],
            parts={
                "is_correct": [float(gold.is_correct) for gold in golds],
                "is_refusal": [float(gold.is_refusal) for gold in golds],
                **parts,
            },
        )
