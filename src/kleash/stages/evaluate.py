"""Evaluate a policy against its reference on fresh prompts: what got better, where, and what it cost in KL.

The judge should be something the policy was not trained on: people's or a judge's verdicts, a Python function, or in
the sandbox the gold reward. With none of these the proxy itself judges, and the artifact says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from kleash.artifacts import Artifact, read
from kleash.data.batches import derived_seed
from kleash.durable import write_rows
from kleash.errors import SettingsError
from kleash.evaluation.checkpoints import judged_checkpoints, kept_answers
from kleash.evaluation.side_by_side import Answered, compare, sample_rows
from kleash.formats import read_prompts
from kleash.functions import FUNCTIONS, NAMES_FUNCTION, recorded_functions
from kleash.models.causal_lm import LanguageModel
from kleash.models.forward import kl_to_reference
from kleash.progress import progress
from kleash.protocols import Scorer
from kleash.records import Prompt
from kleash.results import EvaluationSummary
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.encoding import prompts_that_fit, say
from kleash.stages.support.independence import preferences_behind, say_if_it_trained
from kleash.stages.support.scoring import NO_SCORER, ScorerSource, build_named_scorer


class EvaluateSettings(SamplingSettings):
    """How a policy is measured."""

    judge: str = Field(
        "proxy",
        description="who decides: gold (sandbox), proxy, or module:attribute of a function",
        json_schema_extra=NAMES_FUNCTION,
    )
    num_prompts: int | None = Field(None, ge=1, description="use the first so many prompts; none = all")
    temperature: float = Field(1.0, gt=0, description="of both policies")
    max_batch_tokens: int = Field(4096, ge=1)


def evaluate_policy(
    context: StageContext,
    settings: EvaluateSettings,
    *,
    policy: Path | Artifact,
    reference: Path | Artifact,
    prompts: Path,
    output_dir: Path,
    scorer_source: ScorerSource = NO_SCORER,
) -> Artifact:
    """Answer the prompts with both policies, judge them side by side, and write every sample down.

    scorer_source: the proxy, shown beside the judge.
    """
    parents = {"policy": as_artifact(policy, "model"), "reference": as_artifact(reference, "model")}
    parents |= {"prompts": as_artifact(prompts, "prompts"), **scorer_source.parents}
    proxy = scorer_source.scorer
    functions = dict(recorded_functions(scorer_source.settings, "scorer.")) if scorer_source.settings else {}
    extra_settings = {FUNCTIONS: functions} if functions else {}
    plan: Plan = {"kind": "evaluation", "parents": parents, "settings": settings, "extra_settings": extra_settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    judge = build_judge(settings, proxy)
    own = context.resolved(settings, extra_settings)
    trained_by = {"policy": parents["policy"].settings, **preferences_behind([parents["policy"]])}
    say_if_it_trained("evaluation.judge", settings.judge, {**trained_by, "evaluation": own})
    if settings.top_k is not None or settings.top_p < 1:
        say("evaluation.top_k or top_p leaves tokens out: the KL is that of answers so chosen, not of the policy.")
    before_model = context.load_policy(parents["reference"])
    room = settings.prompt_room(before_model)
    chosen = prompts_that_fit(read_prompts(prompts).records, before_model, max_tokens=room)[: settings.num_prompts]
    after_model = context.load_policy(parents["policy"])
    with context.write_artifact(output_dir, **plan) as draft:
        with progress(2 * len(chosen), "Evaluation, answers") as advance:
            before, after = (
                answer(context, settings, model, before_model, chosen, proxy, judge, on_done=advance)
                for model in (before_model, after_model)
            )
        figures = compare(chosen, before, after)
        rows = sample_rows(chosen, before, after)
        write_rows(draft.path / "samples.jsonl", rows)
        checkpoints = judged_checkpoints(kept_answers(parents["policy"]), judge)
        if checkpoints:
            write_rows(draft.path / "checkpoints.jsonl", [one.to_json() for one in checkpoints])
        draft.summary |= EvaluationSummary(judge=settings.judge, **figures).to_json()
    return read(output_dir)


def build_judge(settings: EvaluateSettings, proxy: Scorer | None) -> Scorer:
    """Return who decides. Raises SettingsError when the proxy is asked for and there is none."""
    if settings.judge == "gold":
        from kleash.evaluation.gold import GoldScorer

        return GoldScorer()
    if settings.judge != "proxy":
        return build_named_scorer(settings.judge)
    if proxy is None:
        raise SettingsError(
            'evaluation.judge is "proxy" and there is no scorer. Expected a reward model or a function. '
            "Set evaluation.judge to module:attribute of a Python function, or name a reward model."
        )
    return proxy


def answer(
    context: StageContext,
    settings: EvaluateSettings,
    model: LanguageModel,
    reference: LanguageModel,
    prompts: Sequence[Prompt],
    proxy: Scorer | None,
    judge: Scorer,
    *,
    on_done: Callable[[int], None],
) -> Answered:
    """Have one policy answer every prompt once, and measure each answer. on_done: hears how many more it has given."""
    seed = derived_seed(context.seed, "evaluation")
    rollouts = answer_prompts(model, prompts, settings, seed=seed, on_done=on_done)
    answers = rollouts.completions()
    return Answered(
        texts=rollouts.texts,
        num_tokens=[len(sequence.response_ids) for sequence in rollouts.sequences],
        proxy=None if proxy is None else proxy.score(answers),
        judge=judge.score(answers),
        kl_nats=kl_to_reference(rollouts, model, reference, max_tokens=settings.max_batch_tokens),
    )
