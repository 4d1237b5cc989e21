"""Build the scorer that a recipe asks for: reward models, rules, checks, a Python function, or a sum of them.

Here too is the gate before training: a reward model that failed its audit (`audit.py`) scores no policy, unless that is
accepted with a reason, which is recorded with the policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from kleash.artifacts import MANIFEST, Artifact, require
from kleash.checks.code import CodeLimits
from kleash.errors import SettingsError
from kleash.evaluation.first_update import REWARD_MODELS
from kleash.functions import NAMES_FUNCTION, load_function
from kleash.models.folders import find_model_folder
from kleash.plugins import is_scoring_function, make_component
from kleash.protocols import CallLog, Comparer, Scorer
from kleash.raters.ai_feedback import AIJudge
from kleash.raters.configuration import load_judges
from kleash.raters.judge_run import Purse
from kleash.raters.panel import JudgePanel
from kleash.raters.score_comparer import ScoreComparer
from kleash.results import AuditSummary
from kleash.scorers.checks import CheckScorer, Passing
from kleash.scorers.ensemble import SumScorer, Term, as_one
from kleash.scorers.function import CALL_TIMEOUT_SECONDS, FunctionScorer
from kleash.scorers.rules import Rule, RuleScorer
from kleash.screen import say
from kleash.settings import Settings
from kleash.stages.context import StageContext, as_artifact
from kleash.stages.support.comparing import JUDGES, PEOPLE, PreferencesSettings

NOT_AUDITED = "not audited"
SUM, CHECKS = "sum", "checks"


class TermSettings(Settings):
    """What scores answers: alone, or as a term of a sum."""

    kind: str = Field(
        "reward_model",
        description="reward_model, ensemble (reward.members, or several), function, rules, checks (in prompts' rows), "
        "sum (of terms), or a scorer plug-in's name",
        json_schema_extra=NAMES_FUNCTION,
    )
    function: str | None = Field(
        None,
        description="module:attribute or file.py:attribute, for kind = function",
        json_schema_extra=NAMES_FUNCTION,
    )
    function_timeout_seconds: float | None = Field(
        CALL_TIMEOUT_SECONDS, gt=0, description="the longest that one call of a function may take; none = for ever"
    )
    reward_models: tuple[str, ...] = Field(
        (), description="reward models made elsewhere: folders or hub:owner/name; several make an ensemble"
    )
    combine: Literal["mean", "worst_case", "uncertainty"] = Field("mean", description="an ensemble's one score")
    uncertainty_penalty: float = Field(1.0, ge=0, description="ensemble: score = mean - this x variance")
    rules: tuple[Rule, ...] = Field(
        (), description="for kind = rules: tables with rule = length, matches, avoids or ends"
    )
    passing: Passing = Field(
        "share",
        description="for kind = checks: the share of a prompt's instructions that is followed, or all = all of them",
    )
    code: CodeLimits = CodeLimits()


class NamedTerm(TermSettings):
    """A term of a sum. One that asks a reward model and names none asks the run's own."""

    name: str = Field(description="what metrics, report and alarms call it")
    weight: float = Field(1.0, allow_inf_nan=False, description="what its score is multiplied by")


class ScorerSettings(TermSettings):
    """What scores answers while the policy trains."""

    terms: tuple[NamedTerm, ...] = Field((), description="for kind = sum: tables with name, kind and weight")
    accept_failed_audit: str | None = Field(
        None, min_length=1, description="why to train on a reward model that failed its audit; none = do not"
    )
    accept_failed_spread: str | None = Field(
        None, min_length=1, description="the same for one that only scores rewritten answers otherwise; none = do not"
    )

    @property
    def parts(self) -> tuple[TermSettings, ...]:
        """The terms of a sum; of anything else itself."""
        return self.terms if self.kind == SUM else (self,)

    def of_kinds(self, *kinds: str) -> list[TermSettings]:
        """Return those of the parts that are of some kinds."""
        return [part for part in self.parts if part.kind in kinds]


@dataclass(frozen=True)
class ScorerSource:
    """What scores a policy (None: nothing does), the artifacts it stands on (reward models, audits), by role.

    settings: recorded with what they scored: another scorer makes another policy.  audit: what the audits said of the
    reward models, in words; "" where there is no reward model to audit.
    """

    scorer: Scorer | None
    parents: Mapping[str, Artifact]
    settings: ScorerSettings | None = None
    audit: str = ""

    @property
    def is_z_score(self) -> bool:
        """Whether a reward model scores, by a scale on which its reference's mean is 0."""
        return self.settings is not None and self.settings.kind in REWARD_MODELS

    def require(self) -> Scorer:
        """Return the scorer. Raises SettingsError when nothing scores."""
        if self.scorer is None:
            kind = f"scorer.kind is {self.settings.kind!r} and there is" if self.settings else "There is no scorer and"
            raise SettingsError(
                f"{kind} no reward model. Run the `reward` stage first, name reward artifacts, or set "
                "scorer.reward_models, or scorer.kind to function."
            )
        return self.scorer

    def recorded(self) -> dict[str, Any]:
        if self.settings is None or self.scorer is None:
            return {}
        return {"scorer": self.settings} | ({"audit": self.audit} if self.audit else {})


NO_SCORER = ScorerSource(None, {})


def build_scorer(
    context: StageContext,
    settings: ScorerSettings,
    *,
    reward_models: Sequence[Artifact] = (),
    audits: Sequence[Artifact] = (),
    z_clip: float = 5.0,
) -> ScorerSource:
    """Return the scorer that the settings describe; of none where a reward model is wanted and is not there.

    reward_models: trained here, beside those that the settings name.  audits: of the reward models. To train on one
    that failed raises SettingsError, unless the settings say why.
    """
    made_here = list(map(as_reward_model, reward_models))
    parts = [(part, _asked_by(part, made_here, is_term=part is not settings)) for part in settings.parts]
    if any(part.kind in REWARD_MODELS and not used for part, used in parts):
        return ScorerSource(None, {}, settings)
    models = [model for _, used in parts for model in used]
    if settings.kind == SUM:  # several terms may ask one
        models = list({model.id: model for model in models}.values())
    audited = check_audits(models, audits, settings) if models else ""
    parents = {f"reward_{i}" if i else "reward": artifact for i, artifact in enumerate(models)}
    parents |= {f"audit_{i}" if i else "audit": artifact for i, artifact in enumerate(audits) if models}
    scorers = [_scorer_of(context, part, used, z_clip) for part, used in parts]
    if settings.kind == SUM:
        terms = zip(settings.terms, scorers, strict=True)
        scorers = [SumScorer([Term(term.name, term.weight, scorer) for term, scorer in terms])]
    return ScorerSource(scorers[0], parents, settings, audited)


def _asked_by(part: TermSettings, made_here: Sequence[Artifact], *, is_term: bool) -> list[Artifact]:
    """Return the reward models that a scorer asks: a term's own, or those made here; of no sum, both."""
    if part.kind not in REWARD_MODELS:
        return []
    named = named_reward_models(part)
    return named if is_term and named else [*made_here, *named]


def _scorer_of(context: StageContext, part: TermSettings, used: Sequence[Artifact], z_clip: float) -> Scorer:
    if part.kind in REWARD_MODELS:
        members = [one for artifact in used for one in context.load_scorers(artifact.path, z_clip=z_clip)]
        check_members(part, len(members))
        return as_one(members, combine=part.combine, penalty=part.uncertainty_penalty)
    if part.kind == "function":
        if not part.function:
            raise SettingsError(
                'scorer.kind is "function" and scorer.function is not set. Expected module:attribute or '
                "file.py:attribute. Set it to a Python function of (prompt, completion) that returns a number."
            )
        return build_named_scorer(part.function, part.function_timeout_seconds)
    if part.kind == "rules":
        return RuleScorer(part.rules)
    if part.kind == CHECKS:
        return CheckScorer(passing=part.passing, limits=part.code)
    return build_named_scorer(part.kind, part.function_timeout_seconds)


def named_reward_models(settings: TermSettings) -> list[Artifact]:
    """Return the reward models made elsewhere, each by its digest, as parents of what is made with them."""
    return [as_reward_model(name) for name in settings.reward_models]


def as_reward_model(source: str | Path | Artifact) -> Artifact:
    """Return a reward model as an artifact: one of ours, or anybody's folder by its digest.

    Raises ArtifactError for an artifact of another kind, ModelError for a folder that holds no model.
    """
    if not isinstance(source, Artifact) and not (Path(source) / MANIFEST).is_file():
        source = as_artifact(find_model_folder(source), "reward model")
    return require(Path(source) if isinstance(source, str) else source, ("reward", "reward model"))


def build_named_scorer(name: str, timeout_seconds: float | None = CALL_TIMEOUT_SECONDS) -> Scorer:
    """Return a plug-in's scorer, or one's own: a class or factory that makes a scorer, or a function that scores."""
    target = load_function(name)
    if ":" in name and is_scoring_function(target):
        return FunctionScorer(name, timeout_seconds=timeout_seconds)
    scorer: Scorer = make_component("scorer", name, target)
    return scorer


def check_members(settings: TermSettings, num_members: int) -> None:
    """Refuse an ensemble of one, and several reward models that nobody asked to combine. Raises SettingsError."""
    if (settings.kind == "ensemble") != (num_members > 1):
        expected = "several" if settings.kind == "ensemble" else "one"
        raise SettingsError(
            f"scorer.kind is {settings.kind!r} and the number of reward models is {num_members}. Expected {expected}. "
            'Set scorer.kind to "ensemble" for several (trained by reward.members, or named one by one), to '
            '"reward_model" for one.'
        )


def check_audits(reward_models: Sequence[Artifact], audits: Sequence[Artifact], settings: ScorerSettings) -> str:
    """Return in words what the audits say of the reward models, to be recorded; a model without one is "not audited".

    Raises SettingsError for an audit of another reward model, and for one that failed and was not accepted.
    """
    verdicts = []
    of_model = {require(audit, "audit").parents.get("reward", ""): audit for audit in audits}
    strangers = [audit for audit in audits if audit.parents.get("reward") not in {model.id for model in reward_models}]
    if strangers:
        raise SettingsError(
            f"The audit at {strangers[0].path} is of reward model {strangers[0].parents.get('reward', 'none')}. "
            f"Expected one of {', '.join(model.id for model in reward_models)}. Audit the reward model that is to be "
            "used: `kleash audit`."
        )
    for model in reward_models:
        audit = of_model.get(model.id)
        if audit is None:
            verdicts.append(NOT_AUDITED)
        elif (found := AuditSummary.of(audit)).verdict in ("pass", "warn"):
            verdicts.append(found.verdict)
        elif accepted := settings.accept_failed_audit or (
            _fails_by_spread_alone(found) and settings.accept_failed_spread
        ):
            say(f"The reward model failed its audit and is accepted: {accepted}.")
            verdicts.append(f"fail, accepted: {accepted}")
        else:
            reasons = " ".join(reason.text for reason in found.reasons if reason.level == "fail")
            raise SettingsError(
                f"The reward model at {model.path} failed its audit ({audit.path}): {reasons} Expected one that "
                "passes: a policy would learn to exploit this one. Repair the labels and train it again, or accept it: "
                '--accept-failed-audit "why" (in a recipe scorer.accept_failed_audit), which is recorded.'
            )
    return "; ".join(verdicts)


def _fails_by_spread_alone(audit: AuditSummary) -> bool:
    failed = [reason.measure for reason in audit.reasons if reason.level == "fail"]
    # An audit that does not say why it failed may have failed by anything.
    return bool(failed) and all(measure.startswith("spread: ") for measure in failed)


def build_comparer(settings: PreferencesSettings, *, seed: int, calls: CallLog | None = None) -> Comparer | None:
    """Return who compares: AI judges, a comparer plug-in, or a Python function that scores; None for people.

    calls: where AI judges keep what they asked and were told.
    """
    if settings.comparer == PEOPLE:
        return None
    if settings.comparer == JUDGES:
        if settings.judges is None:
            raise SettingsError(
                f'preferences.comparer is "{JUDGES}" and preferences.judges is not set. Expected the path of a TOML '
                "file that describes them. Set it."
            )
        loaded = load_judges(settings.judges)
        panel, shared = loaded.judges, Purse(loaded.budget)
        if len(panel) > settings.campaign.overlap:
            raise SettingsError(
                f"{settings.judges} names {len(panel)} judges, and preferences.campaign.overlap is "
                f"{settings.campaign.overlap}. Expected room for every one's verdict. Set the overlap to {len(panel)}."
            )
        # A judge without a rubric of its own goes by the campaign's, as people do.
        rubric = settings.rubric_text()
        return JudgePanel([AIJudge(judge.going_by(rubric), log=calls, shared=shared) for judge in panel])
    target = load_function(settings.comparer, kind="comparer")
    if ":" not in settings.comparer or not is_scoring_function(target):
        comparer: Comparer = make_component("comparer", settings.comparer, target, settings, seed=seed)
        return comparer
    return ScoreComparer(
        FunctionScorer(settings.comparer),
        name=settings.comparer,
        temperature=settings.score_temperature,
        num_raters=settings.campaign.overlap,
        seed=seed,
    )
