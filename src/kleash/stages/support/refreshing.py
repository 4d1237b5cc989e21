"""What rounds after the first do otherwise: the `[refresh]` table of a recipe, and the choice of pairs to label.

A round's order is in `round.py`; what is remembered from round to round in `data/replay.py`, which pairs are worth a
rater's time in `data/selection.py`, and who may become the current policy in `gate.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from kleash.data.batches import derived_seed
from kleash.data.replay import ReplaySettings
from kleash.data.selection import Scored, SelectionSettings, select_pairs
from kleash.evaluation.external_signal import ExternalSignal
from kleash.protocols import Scorer
from kleash.records import Comparison, Completion
from kleash.settings import Settings
from kleash.stages.support.alarming import AlarmSetup
from kleash.stages.support.comparing import Chosen
from kleash.stages.support.scoring import ScorerSource


class AverageSettings(Settings):
    """How fast the average follows."""

    share: float = Field(0.5, gt=0, le=1, description="weight of the newer policy; the older average keeps the rest")


class RefreshSettings(Settings):
    """Later rounds: fresh comparisons from the current policy, a refreshed reward model, a leash to some reference."""

    every_updates: int | None = Field(
        None, ge=1, description="updates before the reward model is refreshed: those of a round; none = policy.steps"
    )
    extra_rounds: int = Field(0, ge=0, description="rounds that may be added for one of the next two reasons")
    on_alarm: bool = Field(True, description="add a round when an alarm ended the last one")
    outside_share: float | None = Field(
        None, gt=0, le=1, description="add a round when more of the answers score beyond what the proxy is used to"
    )
    older_policies: int = Field(
        1, ge=0, description="newest other policies, held back or not, that answer beside the current one"
    )
    continues_reward: bool = Field(False, description="train the last reward model further; else a fresh one")
    start: Literal["sft", "previous"] = Field("sft", description="where PPO starts: the SFT or the current policy")
    reference: Literal["sft", "previous", "average"] = Field(
        "sft", description="what the leash is tied to: SFT, the current policy, or a moving average of the policies"
    )
    average_share: float = Field(0.5, gt=0, le=1, description="weight of the newest policy in the moving average")
    selection: SelectionSettings = SelectionSettings()
    replay: ReplaySettings = ReplaySettings()

    @property
    def average(self) -> AverageSettings:
        """The settings of the `average` stage."""
        return AverageSettings(share=self.average_share)


def chosen_by(
    scorer_source: ScorerSource, alarm_setup: AlarmSetup, settings: SelectionSettings, *, seed: int
) -> Chosen:
    """Return the choice of pairs that the present reward model (or ensemble) suggests.

    alarm_setup: whoever gives the alarms their external signal says which of the highest scores are undeserved.
    """
    scorer, signal = scorer_source.scorer, alarm_setup.signal if settings.suspect_share else None
    assert scorer is not None, "a later round has the earlier one's reward model"

    def choose(answers: Sequence[Completion]) -> list[Comparison]:
        known = scored(scorer, answers)
        if signal is not None:
            known = externally_judged(known, signal)
        return select_pairs(known, settings, seed=derived_seed(seed, "selection"))

    recorded = {"selection": settings, **scorer_source.recorded()}
    recorded |= alarm_setup.recorded() if signal is not None else {}
    return Chosen(choose, parents=dict(scorer_source.parents), settings=recorded)


def externally_judged(candidates: Sequence[Scored], signal: ExternalSignal) -> list[Scored]:
    """Have each prompt's best answer by proxy compared with its worst, those of the highest proxy first.

    As many prompts as the signal's budget allows; both answers note their share of the votes.
    """
    of_prompt: dict[str, list[Scored]] = defaultdict(list)
    for one in candidates:
        of_prompt[one.answer.prompt.id].append(one)
    ends = [(max(group, key=_proxy), min(group, key=_proxy)) for group in of_prompt.values()]
    ends = [(best, worst) for best, worst in ends if best.answer.text != worst.answer.text]
    asked = sorted(ends, key=lambda pair: -pair[0].proxy)[: signal.num_comparisons]
    votes = signal.votes(
        [best.answer.prompt for best, _ in asked],
        [worst.answer.text for _, worst in asked],
        [best.answer.text for best, _ in asked],
    )
    share_of: dict[int, float] = {}
    for (best, worst), vote in zip(asked, votes, strict=True):
        if vote is not None:
            share_of |= {id(best): vote, id(worst): 1 - vote}
    return [replace(one, external=share_of.get(id(one))) for one in candidates]


def _proxy(one: Scored) -> float:
    return one.proxy


def scored(scorer: Scorer, answers: Sequence[Completion]) -> list[Scored]:
    """Return each answer with its score and, for an ensemble, its members' scores."""
    scores = scorer.score(answers)
    members = [list(part) for name, part in scores.parts.items() if name.startswith("member_")]
    return [
        Scored(answer, total, members=tuple(member[row] for member in members))
        for row, (answer, total) in enumerate(zip(answers, scores.total, strict=True))
    ]
