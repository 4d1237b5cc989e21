"""Turn a run as read from disk into the figures that people ask for, typed and with their n and interval.

A figure may be in an artifact's summary, in the settings or only in the rows of the training metrics; here, and only
here, is decided which one counts. None means that it was not measured. Read `verdict.py` next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kleash.estimates import Estimate, estimate, finite
from kleash.evaluation.alarms import Alarm
from kleash.evaluation.first_update import REWARD_MODELS, marks_of, training_of
from kleash.monitor.figures.hhh_chart import AimsPath, read_aims
from kleash.monitor.read.alarms import read_alarms
from kleash.monitor.read.external_quality import PANEL, RATERS, ExternalCurve, external_scores, win_rates
from kleash.monitor.read.measures import column, last, metric_names
from kleash.monitor.read.reader import RoundFolder, Rows, RunFolder, newest_round
from kleash.monitor.read.samples import Sample, mixed, read_samples
from kleash.monitor.read.terms import TermFindings, read_terms
from kleash.records import by_slice
from kleash.results import (
    AnswerFigures,
    EvaluationSummary,
    PolicySummary,
    PreferencesSummary,
    RewardSummary,
)

KL_METRIC = "kl_nats_per_sequence"


class Contrast(AnswerFigures):
    """The SFT model's answers against the trained policy's: over all prompts, or over the slice that is named."""

    name: str = ""

    @property
    def change(self) -> Estimate | None:
        """What counts as better or worse: the share correct where answers can be correct, else the judge's score."""
        return self.correct_difference or self.judge_difference


@dataclass(frozen=True)
class RewardModelFindings:
    """How well the reward model orders pairs it has not seen, and how well "the longer answer wins" would."""

    accuracy: Estimate
    longer_wins: float | None = None
    slices: Mapping[str, Estimate] = field(default_factory=dict)
    margins: tuple[tuple[float, bool], ...] = ()


@dataclass(frozen=True)
class Findings:
    """All figures of one round.

    method: "policy" (online), "direct" (DPO and its kin) or "" if neither was trained. judge: who decided the
    comparisons ("gold", "proxy" or a function's name), "" before the evaluation. outcome: how online training ended.
    kept_step: the update whose weights were kept, where they are not the last ones. external: a mean score of quality
    by another judge than the proxy; win_rates: against the reference, by each source that was asked. is_watched:
    training kept a log of alarms, be it empty. training: the figures of each stage that trains, step by step. aims:
    helpful, honest and harmless over the checkpoints, where prompts say which of them they ask for. scorer_kind: what
    scored the policy, "" where it is not recorded. has_sft: the run trains an SFT model. judge_trained: what of the
    training the judge decided itself, in words; "" for nothing. signals_trained: the same of the sources of win_rates
    that did, by their names.
    """

    round_number: int
    method: str
    is_trained: bool
    outcome: str
    num_updates: int
    kept_step: int | None
    judge: str
    overall: Contrast
    slices: tuple[Contrast, ...]
    samples: tuple[Sample, ...]
    kl_target_nats: float | None
    reward_model: RewardModelFindings | None
    num_pairs: int | None
    num_judgements: int | None
    agreement: Estimate | None
    updates: Rows
    external: ExternalCurve | None
    win_rates: tuple[ExternalCurve, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    is_watched: bool = False
    training: Mapping[str, Rows] = field(default_factory=dict)
    aims: AimsPath | None = None
    scorer_kind: str = ""
    terms: tuple[TermFindings, ...] = ()
    has_sft: bool = True
    judge_trained: str = ""
    signals_trained: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference_name(self) -> str:
        """What the policy is compared with; where the run trained no SFT model, the model it started from."""
        return "SFT model" if self.has_sft else "starting model"

    @property
    def reward_name(self) -> str:
        """What scores the policy; a run that does not say was scored by a reward model."""
        names = {"function": "reward function", "rules": "rules", "checks": "checks", "sum": "sum of terms"}
        return names.get(self.scorer_kind, "reward model")

    @property
    def is_z_score(self) -> bool:
        return self.scorer_kind in REWARD_MODELS

    @property
    def is_evaluated(self) -> bool:
        return bool(self.judge)

    @property
    def kl_nats(self) -> Estimate | None:
        """KL of the evaluated policy, or before the evaluation that of the last updates."""
        recent = last(self.updates, KL_METRIC)
        return self.overall.kl_nats_per_sequence or (None if recent is None else Estimate(recent))


def findings_of(run: RunFolder, round_folder: RoundFolder | None = None) -> Findings:
    """Gather the figures of one round of a run, the newest that trained something unless another is given."""
    round_folder = round_folder or newest_round(run) or RoundFolder(0, {})
    evaluation = round_folder.summary("evaluation", EvaluationSummary)
    trained = round_folder.summary("policy", PolicySummary)
    method = next((stage for stage in ("policy", "direct", "rft") if stage in round_folder.stages), "")
    judge = evaluation.judge or ("unnamed" if evaluation.model_fields_set else "")
    updates = round_folder.rows(method, "metrics") if method else ()
    preferences = round_folder.summary("preferences", PreferencesSummary)
    decided = {name: round_folder.settings(name) for name in ("policy", "evaluation")}
    earlier = [one for one in run.rounds if one.number <= round_folder.number]
    decided |= {f"preferences_{one.number}": one.settings("preferences") for one in earlier}
    alarms, scorer = (decided["policy"].get(table) or {} for table in ("alarms", "scorer"))
    if not round_folder.settings("policy"):  # under way
        scorer = run.recipe.get("scorer") or {}
    asked_beside = {
        PANEL: (alarms.get("comparer") or "", marks_of(decided["policy"], "alarms.comparer", "alarms.judges")),
        RATERS["ai"]: ("", marks_of(round_folder.settings("people"), "judges")),
    }
    return Findings(
        round_number=round_folder.number,
        method=method,
        is_trained=bool(method) and round_folder.stages[method].is_complete,
        outcome=trained.outcome,
        num_updates=len(updates) if trained.steps is None else trained.steps,
        kept_step=None if trained.best_step == trained.steps else trained.best_step,
        judge=judge,
        overall=Contrast.from_json(evaluation.to_json()),
        slices=worst_first(Contrast(name=name, **part.to_json()) for name, part in evaluation.slices.items()),
        samples=mixed(read_samples(round_folder.rows("evaluation", "samples"), judge)),
        kl_target_nats=kl_target(run, round_folder),
        reward_model=_reward_model(round_folder),
        num_pairs=preferences.pairs,
        num_judgements=preferences.judgements,
        agreement=estimate(preferences.agreement),
        updates=updates,
        external=external_scores(round_folder, judge) if method == "policy" else None,
        win_rates=win_rates(round_folder, judge) if method == "policy" else (),
        alarms=read_alarms(round_folder.rows("policy", "alarms")),
        is_watched="policy" in round_folder.stages and "alarms" in round_folder.stages["policy"].rows,
        training={
            name: stage.rows["metrics"] for name, stage in round_folder.stages.items() if "metrics" in stage.rows
        },
        aims=read_aims(round_folder, judge),
        scorer_kind=str(scorer.get("kind") or ""),
        terms=read_terms(scorer, round_folder.rows("policy", "evaluations"), updates),
        has_sft="sft" in (run.wanted_stages(round_folder) or ["sft"]),
        judge_trained=training_of(judge, decided),
        signals_trained={
            name: said
            for name, (asked, marks) in asked_beside.items()
            if (said := training_of(asked, {**decided, "evaluation": {}}, known_by=marks))
        },
    )


def steps_of(findings: Findings) -> list[int]:
    """Return the updates that were trained or evaluated, in order."""
    steps, _ = column(findings.updates, "step")
    curves = [*findings.win_rates, *([findings.external] if findings.external else [])]
    return sorted({*steps, *(step for curve in curves for step, _ in curve.points)})


def slice_names(updates: Rows) -> list[str]:
    """Return the slices whose reward was recorded while training."""
    return sorted(by_slice(dict.fromkeys(metric_names(updates)), "score_mean"))


def kl_target(run: RunFolder, round_folder: RoundFolder) -> float | None:
    """Return the adaptive leash's target, from the settings as resolved or, while running, from the recipe."""
    settings = round_folder.settings("policy") or run.recipe.get("policy")
    leash = settings.get("leash") if isinstance(settings, Mapping) else None
    if not isinstance(leash, Mapping) or leash.get("kind", "adaptive") != "adaptive":
        return None
    return finite(leash.get("target_nats"))


# ----------------------------------------------------------------------------------------------------------- inside
def _middle(figure: Estimate | None) -> float:
    return figure.value if figure else 0.0


def worst_first(slices: Iterable[Contrast]) -> tuple[Contrast, ...]:
    """Order slices by how they changed, the worst change first, those that cannot be told last.

    One measure orders all: the share correct if any slice has it, else the judge's score, else the win rate.
    """
    slices = tuple(slices)
    for name in ("correct_difference", "judge_difference", "win_rate"):
        if any(getattr(contrast, name) is not None for contrast in slices):
            changes = {contrast: getattr(contrast, name) for contrast in slices}
            return tuple(sorted(slices, key=lambda contrast: (changes[contrast] is None, _middle(changes[contrast]))))
    return slices


def _reward_model(round_folder: RoundFolder) -> RewardModelFindings | None:
    own = round_folder.summary("reward", RewardSummary)
    if own.heldout_accuracy is None:
        return None
    # Half the votes each way is a tie: no order is the right one.
    margins = tuple(
        (margin, bool(row.get("correct")))
        for row in round_folder.rows("reward", "heldout")
        if (margin := finite(row.get("margin"))) is not None and row.get("label") != 0.5
    )
    return RewardModelFindings(
        accuracy=own.heldout_accuracy,
        longer_wins=own.longer_wins,
        slices=own.slices,
        margins=margins,
    )
