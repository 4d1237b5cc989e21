"""Online training (PPO, RLOO, GRPO, REINFORCE): put models, data and checkpoints around `loop.py`.

The reference is the policy that training starts from, frozen; a later round may start elsewhere. Every few updates the
policy answers a fixed set of prompts, and the alarms look for symptoms of over-optimisation in the answers. They are
kept, so that evaluation can judge each checkpoint afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kleash.algorithms.direct import DIRECT_ALGORITHMS
from kleash.algorithms.online import ONLINE_ALGORITHMS, OnlineAlgorithm
from kleash.algorithms.policy_settings import LeashSettings, PolicySettings
from kleash.algorithms.rollout_metrics import KL
from kleash.artifacts import Artifact, Draft, read
from kleash.data.batches import TokenSequence, batch_rows, derived_seed
from kleash.errors import SettingsError
from kleash.evaluation.alarms import AlarmTracker
from kleash.evaluation.first_update import marks_of, remarks_on
from kleash.evaluation.suites.reading import require_checks
from kleash.evaluation.symptoms import WATCHED_FIGURES, symptoms_with
from kleash.evaluation.watch import BoundsWatch
from kleash.formats import read_demonstrations, read_prompts
from kleash.loop import LoopComponents, LoopState, run_loop
from kleash.maths.kl import AdaptiveLeash, FixedLeash, Leash, RateLeash, ScheduledLeash
from kleash.models.causal_lm import LanguageModel
from kleash.models.chat import tokenizer_digest
from kleash.models.heads import RewardNormaliser, ScalarModel, ValueHead, critic_from_reward_model, state_size
from kleash.plugins import make_component, resolve, resolve_row
from kleash.progress import Advance, Stopwatch, progress
from kleash.protocols import TrainingEngine
from kleash.records import Prompt
from kleash.results import PolicySummary
from kleash.screen import say
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.alarming import NO_ALARMS, AlarmSetup
from kleash.stages.support.checkpointing import BestWeights, Checkpointing
from kleash.stages.support.encoding import dropped_figures, encode, prompts_that_fit
from kleash.stages.support.independence import preferences_behind, say_if_it_trained
from kleash.stages.support.online_evaluation import OnlineEvaluation
from kleash.stages.support.saving import save_policy
from kleash.stages.support.scoring import CHECKS, NOT_AUDITED, ScorerSource
from kleash.tracking import ResumableTracker


def train_policy(
    context: StageContext,
    settings: PolicySettings,
    *,
    reference: Path | Artifact,
    scorer_source: ScorerSource,
    prompts: Path,
    output_dir: Path,
    start: Path | Artifact | None = None,
    evaluation_prompts: Path | None = None,
    alarm_setup: AlarmSetup = NO_ALARMS,
    texts_to_keep: Path | None = None,
) -> Artifact:
    """Train a policy by reinforcement, held to `reference`; the artifact is an ordinary Hugging Face folder.

    start: where training starts; None = at the reference.  evaluation_prompts: what the policy answers every
    `evaluate_every` updates.  alarm_setup: the alarms, and who is asked whether those answers get better; never gold,
    and never what trains the policy.  texts_to_keep: demonstrations for the pretraining-mix term.
    """
    parents = {
        "reference": as_artifact(reference, "model"),
        **scorer_source.parents,
        "prompts": as_artifact(prompts, "prompts"),
    }
    if start is not None:
        parents["start"] = as_artifact(start, "model")
    if evaluation_prompts is not None:
        parents["evaluation_prompts"] = as_artifact(evaluation_prompts, "prompts")
    if texts_to_keep is not None:
        parents["texts_to_keep"] = as_artifact(texts_to_keep, "demonstrations")
    extra_settings = scorer_source.recorded() | alarm_setup.recorded()
    plan: Plan = {"kind": "policy", "parents": parents, "settings": settings, "extra_settings": extra_settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    algorithm = algorithm_named(settings)
    check_batch(settings, num_ranks=context.ranks.num_ranks)
    scorer = scorer_source.require()
    if NOT_AUDITED in scorer_source.audit:
        models = ", ".join(str(one.path) for role, one in parents.items() if role.startswith("reward"))
        say(
            f"Reward model {models}: {scorer_source.audit}. A policy learns to exploit what is wrong with one; `kleash "
            "audit` looks for it."
        )
    asked, own = alarm_setup.settings.comparer, context.resolved(settings, extra_settings)
    if asked:
        marks = marks_of(own, "alarms.comparer", "alarms.judges")
        trained_by = {"policy": own, **preferences_behind(parents.values())}
        say_if_it_trained("alarms.comparer", asked, trained_by, known_by=marks)
    if scorer_source.settings is not None and scorer_source.settings.of_kinds(CHECKS):
        for file in filter(None, (prompts, evaluation_prompts)):
            require_checks(file)
    loaded = read_prompts(prompts, strict=context.is_strict)
    model = context.load_policy(parents.get("start", parents["reference"]), trainable=True)
    room = min(settings.max_prompt_tokens, model.max_positions - settings.max_new_tokens)
    fitting = prompts_that_fit(loaded.records, model, max_tokens=room)
    watched = []
    if evaluation_prompts is not None:
        watched = prompts_that_fit(read_prompts(evaluation_prompts).records, model, max_tokens=room)
    generator = make_component(
        "generator",
        settings.generator,
        resolve("generator", settings.generator),
        model,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        policy_id=output_dir.name,
    )
    engine = build_engine(context, settings, algorithm, model, parents)
    watch = watch_from(settings)
    with context.write_artifact(output_dir, **plan, language_model=model) as draft:
        metrics = StepMetrics(
            context.open_tracker(draft), is_first=context.ranks.is_first, is_z_score=scorer_source.is_z_score
        )
        state = run_online(
            context,
            settings,
            draft,
            LoopComponents(generator, scorer, engine, watch, metrics, algorithm),
            metrics,
            prompts=fitting,
            watched=watched,
            alarm_setup=alarm_setup,
            texts=_texts(settings, model, texts_to_keep, context),
        )
        metrics.tracker.close()
        save_policy(context, model, draft, fitting)
        draft.summary |= PolicySummary(
            stage="policy",
            algorithm=algorithm.name,
            steps=state.step,
            outcome=state.outcome,
            ended_because=list(watch.reasons),
            beta_final=state.leash.beta,
            best_step=watch.best_step if state.outcome == "roll_back" else None,
            prompts=len(fitting),
            dropped=dropped_figures(loaded),
            **({"audit": scorer_source.audit} if scorer_source.audit else {}),
        ).to_json()
    return read(output_dir)


class StepMetrics:
    """The loop's tracker: passes a step's figures on, remembers the newest and moves the progress bar.

    What is wrong with the first update is said at once.
    """

    def __init__(self, tracker: ResumableTracker, *, is_first: bool, is_z_score: bool) -> None:
        self.tracker, self.is_first, self.is_z_score = tracker, is_first, is_z_score
        self.newest: Mapping[str, float] = {}
        self.advance: Advance | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.newest = {name: metrics[name] for name in WATCHED_FIGURES if name in metrics}
        if self.is_first:
            self.tracker.log(step, metrics)
            for remark in remarks_on(metrics, is_z_score=self.is_z_score) if step == 0 else ():
                say(f"{remark.text}. {remark.remedy}")
        if self.advance is not None:
            self.advance(1, reward=metrics["score_mean"], kl=metrics[KL], beta=metrics["beta"])


def run_online(
    context: StageContext,
    settings: PolicySettings,
    draft: Draft,
    components: LoopComponents,
    metrics: StepMetrics,
    *,
    prompts: Sequence[Prompt],
    watched: Sequence[Prompt],
    alarm_setup: AlarmSetup,
    texts: Callable[[int], Sequence[TokenSequence]],
) -> LoopState:
    """Run the loop, or go on with it, with checkpoints, evaluations and the best weights around it."""
    engine, watch = components.engine, components.watch
    alarms = AlarmTracker(
        watched,
        action=alarm_setup.settings.action,
        symptoms=symptoms_with(alarm_setup.settings.symptoms),
        thresholds=alarm_setup.settings.thresholds,
        kl_target_nats=settings.leash.kl_target_nats,
    )
    evaluation = OnlineEvaluation(
        draft.path, watched, components, signal=alarm_setup.signal, alarms=alarms, seed=context.seed
    )
    checkpointing = Checkpointing(
        draft.work / "checkpoints", engine, {"watch": watch, "alarms": alarms}, logs=draft.path
    )
    best = BestWeights(draft.work / "best", engine)
    state = checkpointing.resume(leash_from(settings.leash, num_updates=settings.steps))
    if context.ranks.is_first:
        metrics.tracker.cut(state.step)
        evaluation.cut(state.step or -1)

    timed = Stopwatch()

    def evaluate(step: int) -> None:
        if not watched:
            return
        with timed("evaluating"):
            report = evaluation.evaluate(step, training=metrics.newest)
        watch.note_evaluation(step, report.wanted)
        if watch.best_step == step:
            best.save(step)
        for alarm in report.alarms if context.ranks.is_first else ():
            if alarm.is_change:
                metrics.tracker.note(step, f"alarm/{alarm.symptom}", alarm.line)

    def after_step(state: LoopState) -> None:
        is_last = state.outcome != "running"
        # Weights that are given up are not evaluated: they may have been given up because they are not numbers.
        if (state.step % settings.evaluate_every == 0 or is_last) and state.outcome != "roll_back":
            evaluate(state.step)
        if state.step % settings.checkpoint_every == 0 or is_last:
            with timed("saving"):
                checkpointing.save(state)

    with progress(settings.steps, components.algorithm.name.upper(), already_done=state.step) as metrics.advance:
        if state.step == 0:
            evaluate(0)
        if state.outcome == "running":
            state = run_loop(
                state,
                components,
                settings,
                prompts=lambda step: _prompts_of(prompts, settings, context, step),
                seed=context.seed,
                texts_to_keep=texts,
                after_step=after_step,
                timed=timed,
            )
    if state.outcome == "roll_back" and watch.best_step not in (None, state.step):
        best.take()
    return state


def algorithm_named(settings: PolicySettings) -> OnlineAlgorithm:
    """Return the algorithm's row: of the table, of a plug-in, or module:ROW.

    Raises SettingsError for an unknown name, for what is no row, or too few samples per prompt.
    """
    name = settings.algorithm
    if name in DIRECT_ALGORITHMS:
        raise SettingsError(
            f"policy.algorithm is {name!r}, which learns from preferences. Expected one of "
            f"{', '.join(ONLINE_ALGORITHMS)}. Change policy.algorithm; {name} is run by the `direct` stage."
        )
    algorithm: OnlineAlgorithm = resolve_row("algorithm", name, OnlineAlgorithm)
    if settings.samples_per_prompt < algorithm.min_samples_per_prompt:
        raise SettingsError(
            f"policy.samples_per_prompt is {settings.samples_per_prompt}. {algorithm.name} compares the answers to one "
            f"prompt with each other and needs at least {algorithm.min_samples_per_prompt}. Raise it."
        )
    return algorithm


def check_batch(settings: PolicySettings, *, num_ranks: int) -> None:
    """Refuse sizes that do not divide, and a critic that cannot be warmed up alone. Raises SettingsError."""
    if settings.prompts_per_step % num_ranks:
        raise SettingsError(
            f"policy.prompts_per_step is {settings.prompts_per_step} and there are {num_ranks} ranks. Expected a "
            "multiple, so that each rank has as many prompts. Change it, or the number of processes."
        )
    num_answers = settings.prompts_per_step * settings.samples_per_prompt
    if settings.minibatches > num_answers:
        raise SettingsError(
            f"policy.minibatches is {settings.minibatches}, and a step has {num_answers} answers. Expected at least "
            "one answer in each. Lower it, or raise policy.prompts_per_step."
        )
    if settings.critic_warmup_steps and settings.critic == "shared":
        raise SettingsError(
            f"policy.critic_warmup_steps is {settings.critic_warmup_steps} and policy.critic is shared. A head on the "
            "policy learns through the policy's own layers, so it cannot be trained alone. Set policy.critic to "
            "separate, or critic_warmup_steps to 0."
        )


def leash_from(settings: LeashSettings, *, num_updates: int) -> Leash:
    """Return the leash that the settings describe, before its first observation."""
    if settings.kind == "fixed":
        return FixedLeash(settings.beta)
    if settings.kind == "scheduled":
        return ScheduledLeash(settings.beta, settings.final_beta, num_updates, slice_limits=settings.slice_limits)
    if settings.acts_on == "learning_rate":
        return RateLeash(
            settings.beta,
            settings.target_nats,
            settings.gain,
            floor=settings.floor,
            slice_limits=settings.slice_limits,
        )
    return AdaptiveLeash(
        settings.beta,
        settings.target_nats,
        settings.gain,
        floor=settings.floor,
        hold_updates=settings.hold_updates,
        slice_limits=settings.slice_limits,
    )


def watch_from(settings: PolicySettings) -> BoundsWatch:
    """Return the watch that the settings describe, before it has seen anything."""
    target, ratio = settings.leash.kl_target_nats, settings.watch.max_kl_ratio
    return BoundsWatch(
        max_kl_nats=ratio * target if ratio and target else None,
        min_kl_nats=settings.watch.min_kl_nats,
        patience=settings.watch.patience_evaluations,
    )


def build_engine(
    context: StageContext,
    settings: PolicySettings,
    algorithm: OnlineAlgorithm,
    model: LanguageModel,
    parents: Mapping[str, Artifact],
) -> TrainingEngine:
    """Put policy, frozen reference and critic into the engine that the settings name."""
    reference = context.load_policy(parents["reference"], role="reference")
    critic = build_critic(context, settings, model, parents) if algorithm.uses_critic else None
    engine: TrainingEngine = make_component(
        "engine",
        settings.engine,
        resolve("engine", settings.engine),
        model,
        reference,
        critic,
        optimiser=settings.optimiser,
        critic_learning_rate=settings.optimiser.critic_learning_rate,
        temperature=settings.temperature,
        max_batch_tokens=settings.max_batch_tokens,
        ranks=context.ranks,
    )
    return engine


def build_critic(
    context: StageContext, settings: PolicySettings, model: LanguageModel, parents: Mapping[str, Artifact]
) -> ScalarModel | ValueHead:
    """Start the critic: from the reward model by default, from the reference where there is none that reads its ids."""
    if settings.critic == "shared":
        return ValueHead(state_size(model.model.base_model)).to(model.device)
    if "reward" in parents:
        reward_model = context.load_scalar_model(parents["reward"].path, role="critic", trainable=True)
        if tokenizer_digest(reward_model.tokenizer) == tokenizer_digest(model.tokenizer):
            scale = RewardNormaliser.load(parents["reward"].path)
            return critic_from_reward_model(
                reward_model, mean=scale.mean, sd=scale.sd, zero_head=settings.critic_head == "zero"
            )
        say(
            f"The reward model {parents['reward'].path} has another tokenizer than the policy, and a critic reads the "
            "policy's token ids: it starts from the reference, with a head of zeros."
        )
    critic = context.fresh_scalar_model(parents["reference"], seed=context.seed, role="critic")
    critic.head.weight.data.zero_()
    return critic


def _texts(
    settings: PolicySettings, model: LanguageModel, file: Path | None, context: StageContext
) -> Callable[[int], Sequence[TokenSequence]]:
    """Return the pretraining-mix rows of each step: this rank's share, none without a file or a coefficient."""
    if file is None or not settings.pretraining_coefficient:
        return lambda step: ()
    loaded = read_demonstrations(file, strict=context.is_strict)
    limit = settings.max_prompt_tokens + settings.max_new_tokens
    rows = encode(loaded.records, lambda row: [row.completion], model, max_tokens=limit)

    def texts(step: int) -> Sequence[TokenSequence]:
        num_rows, seed = settings.pretraining_rows_per_step, derived_seed(context.seed, "texts")
        chosen = batch_rows(len(rows), batch_size=num_rows, step=step, seed=seed)
        return [rows.sequences[row][0] for row in chosen[context.ranks.rank :: context.ranks.num_ranks]]

    return texts


def _prompts_of(prompts: Sequence[Prompt], settings: PolicySettings, context: StageContext, step: int) -> list[Prompt]:
    """Return this rank's prompts of a step: a contiguous share of the batch all ranks agree on."""
    num_prompts, seed = settings.prompts_per_step, derived_seed(context.seed, "prompts")
    rows = batch_rows(len(prompts), batch_size=num_prompts, step=step, seed=seed)
    share = num_prompts // context.ranks.num_ranks
    return [prompts[row] for row in rows[context.ranks.rank * share : (context.ranks.rank + 1) * share]]
