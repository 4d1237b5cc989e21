"""Several AI judges on the same comparisons, their joint verdict, and a warning about judges too close to home."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from kleash.errors import SettingsError
from kleash.raters.ai_feedback import AIJudge
from kleash.raters.merging import Order, copeland_ranks
from kleash.records import Comparison, Judgement, Outcome, content_id


class JudgePanel:
    """A `Comparer` of several judges, each a rater of its own; better from different families.

    Raises SettingsError for two judges that would be one rater.
    """

    def __init__(self, judges: Sequence[AIJudge]) -> None:
        doubles = [name for name, count in Counter(judge.name for judge in judges).items() if count > 1]
        if doubles:
            raise SettingsError(
                f"Two judges of the panel are both {doubles[0]}. Expected judges that differ in model, rubric or "
                "sampling. Leave one out, or set its revision if another model answers to the same name."
            )
        self.judges = tuple(judges)

    def recorded(self) -> dict[str, Any]:
        """Return how lineage knows the judges: by their names, which hold all that shapes a verdict."""
        return {"name": f"panel of {len(self.judges)}", "digest": content_id([judge.name for judge in self.judges])}

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Judgement]:
        """Yield every member's judgement of the first comparison, then of the second, and so on.

        The members work side by side. A member that stops stops the panel (see AIJudge.compare).
        """
        with ExitStack() as stack:
            members = [stack.enter_context(closing(judge.compare(comparisons))) for judge in self.judges]
            for judgements in zip(*members, strict=True):
                yield from judgements


@dataclass(frozen=True)
class PanelVerdict:
    """What a panel makes of one comparison. flags: "panel_disagreement" unless all who voted said the same.

    outcome: "skipped" when nobody voted.  ranks: as in a Judgement.
    """

    comparison_id: str
    outcome: Outcome
    ranks: tuple[int, ...]
    num_votes: int
    num_members: int
    flags: tuple[str, ...] = ()


def plurality(judgements: Iterable[Judgement]) -> list[PanelVerdict]:
    """Count the members' votes per comparison, in the order in which the comparisons first appear.

    "Both bad" stands when more members say so than rank. Otherwise each pair goes to what most of those who ranked say
    of it (first, second, tie; a draw between these is a tie), and the pairs are ranked by Copeland's rule. A skipped
    judgement, such as an unparsed reply, is no vote.
    """
    by_comparison: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_comparison[judgement.comparison_id].append(judgement)
    return [_verdict(comparison_id, group) for comparison_id, group in by_comparison.items()]


def same_family_warning(family: str, sources: Iterable[str]) -> str | None:
    """Return a warning when a judge's family shows in the names of what it judges; None when it does not.

    sources: names of the policy's model and folder, or of the comparisons' sources.
    """
    related = sorted({source for source in sources if family and family.lower() in source.lower()})
    if not related:
        return None
    return (
        f"The judge is of the family {family}, and so is what it judges: {', '.join(related)}. Judges tend to prefer "
        "answers of their own kind. Use a judge of another family, or compare its verdicts with people's."
    )


def _verdict(comparison_id: str, judgements: Sequence[Judgement]) -> PanelVerdict:
    votes = [judgement for judgement in judgements if judgement.outcome != "skipped"]
    ranked = [judgement.ranks for judgement in votes if judgement.outcome == "ranked"]
    is_unanimous = len({(judgement.outcome, judgement.ranks) for judgement in votes}) <= 1
    outcome: Outcome = "ranked"
    if not votes:
        outcome = "skipped"
    elif len(votes) - len(ranked) > len(ranked):
        outcome = "both_bad"
    return PanelVerdict(
        comparison_id,
        outcome,
        _ranks(ranked) if outcome == "ranked" else (),
        num_votes=len(votes),
        num_members=len(judgements),
        flags=() if is_unanimous else ("panel_disagreement",),
    )


def _ranks(votes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    pairs: list[Order] = list(itertools.combinations(range(len(votes[0])), 2))
    choices = {pair: _most_said([_choice(ranks, pair) for ranks in votes]) for pair in pairs}
    return copeland_ranks(choices, len(votes[0]))


def _choice(ranks: Sequence[int], pair: Order) -> str:
    first, second = ranks[pair[0]], ranks[pair[1]]
    return "tie" if first == second else "first" if first < second else "second"


def _most_said(choices: Sequence[str]) -> str:
    counts = Counter(choices)
    most = [choice for choice, count in counts.items() if count == max(counts.values())]
    return most[0] if len(most) == 1 else "tie"
