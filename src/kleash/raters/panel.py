"""Several AI judges on the same comparisons, each a rater of its own, and a warning about judges too close to home."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

from kleash.errors import SettingsError
from kleash.raters.ai_feedback import AIJudge
from kleash.records import Comparison, Judgement, content_id


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
        return panel_record([judge.name for judge in self.judges])

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Judgement]:
        """Yield every member's judgement of the first comparison, then of the second, and so on.

        The members work side by side. A member that stops stops the panel (see AIJudge.compare).
        """
        with ExitStack() as stack:
            members = [stack.enter_context(closing(judge.compare(comparisons))) for judge in self.judges]
            for judgements in zip(*members, strict=True):
                yield from judgements


def panel_record(names: Sequence[str]) -> dict[str, Any]:
    """Return a panel as it stands among the functions of an artifact's settings. names: its raters'."""
    return {"name": f"panel of {len(names)}", "digest": content_id(list(names)), "members": list(names)}


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
