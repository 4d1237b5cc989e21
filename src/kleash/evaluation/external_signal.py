"""The external signal of the alarms: a budget of fresh comparisons between present answers and the reference's.

Who compares is any `Comparer` that has not trained the proxy: AI judges, a scoring function, in the sandbox a panel of
simulated experts. It is never the sandbox's gold: alarms that read the truth would train on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from kleash.errors import SettingsError
from kleash.maths.intervals import Interval, win_rate
from kleash.protocols import Comparer
from kleash.records import Comparison, Judgement, Prompt


@dataclass
class ExternalSignal:
    """Asks a comparer which of two answers is better, for the same prompts at every evaluation.

    num_comparisons: how many prompts are asked about at an evaluation, spread evenly over the watched ones.
    Raises SettingsError for fewer than one.
    """

    comparer: Comparer
    _: KW_ONLY
    num_comparisons: int

    def __post_init__(self) -> None:
        if self.num_comparisons < 1:
            raise SettingsError(
                f"The external signal has a budget of {self.num_comparisons} comparisons. Expected at least one. Raise "
                "alarms.comparisons_per_evaluation, or leave alarms.panel out."
            )

    def votes(self, prompts: Sequence[Prompt], reference: Sequence[str], now: Sequence[str]) -> list[float | None]:
        """Return the share of votes for each present answer against the reference's to the same prompt; ties half.

        Equal answers are a tie without being asked about. None where nobody was asked, or nobody could say.
        """
        size = min(self.num_comparisons, len(prompts))
        asked = [index * len(prompts) // size for index in range(size)]
        comparisons = {
            row: Comparison(prompts[row], (reference[row], now[row])) for row in asked if reference[row] != now[row]
        }
        verdicts: dict[str, list[float]] = defaultdict(list)
        for judgement in self.comparer.compare(list(comparisons.values())):
            if judgement.outcome == "ranked":
                verdicts[judgement.comparison_id].append(_vote(judgement))
        votes: list[float | None] = [None] * len(prompts)
        for row in asked:
            given = verdicts[comparisons[row].id] if row in comparisons else [0.5]
            votes[row] = sum(given) / len(given) if given else None
        return votes


def rate_of(votes: Sequence[float | None], *, confidence: float = 0.95) -> Interval:
    """Return the win rate behind shares of votes; a split vote goes to its majority, an even one is a tie."""
    cast = [vote for vote in votes if vote is not None]
    wins, losses = sum(vote > 0.5 for vote in cast), sum(vote < 0.5 for vote in cast)
    return win_rate(wins, len(cast) - wins - losses, losses, confidence=confidence)


def _vote(judgement: Judgement) -> float:
    """Return 1 if the second answer was preferred, 0 if the first, one half for a tie."""
    first, second = judgement.ranks
    return 0.5 if first == second else float(second < first)
