"""Settings that do nothing where another has some value, in one table; a recipe that sets one is refused by name.

A setting left at its default is never in the way. Of components of one's own (`module:attribute`) nothing is known, so
no row names them. A new setting that only some algorithm, kind or rater reads gets its name into a row here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from kleash.errors import SettingsError
from kleash.screen import say
from kleash.settings import Settings


@dataclass(frozen=True)
class Idle:
    """What does nothing while the setting `where` has one of `values` (None: any at all).

    names: settings, or whole tables of them.
    """

    where: str
    values: tuple[Any, ...] | None
    names: tuple[str, ...]

    def holds(self, value: Any) -> bool:
        return value is not None if self.values is None else value in self.values


def _below(table: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{table}.{name}" for name in names)


_STEERING = _below("policy.leash", "acts_on", "target_nats", "gain", "floor", "hold_updates")
_OF_REWARD_MODELS = ("scorer.reward_models", "scorer.combine", "scorer.uncertainty_penalty")
_ACCEPTED = ("scorer.accept_failed_audit", "scorer.accept_failed_spread")
_PEOPLE_TOO = _below("preferences.campaign", "people_share", "people_overlap")
_OF_JUDGES = _below("preferences", "band", "drift")
_COMPARING = _below("preferences", "comparer", "completions_per_comparison", "rubric", "store", "campaign")
_OPTIMISERS = ("pretrain.fit", "sft.fit", "reward.fit", "direct.fit", "policy.optimiser")

IDLE = (
    Idle("direct.algorithm", ("dpo", "kto"), _below("direct.loss", "tau", "ipo_average")),
    Idle("direct.algorithm", ("dpo", "ipo"), _below("direct.loss", "weight_desirable", "weight_undesirable")),
    Idle("direct.algorithm", ("ipo", "kto"), _below("direct.loss", "label_smoothing", "robust")),
    Idle("direct.algorithm", ("ipo",), _below("direct.loss", "beta")),
    Idle("direct.loss.label_smoothing", (0.0,), _below("direct.loss", "robust")),
    Idle(
        "policy.algorithm",
        ("rloo", "grpo", "reinforce"),
        _below("policy", "critic", "critic_head", "critic_warmup_steps", "optimiser.critic_learning_rate")
        + _below("policy.credit", "gamma", "lam", "whiten_advantages")
        + _below("policy.loss", "value_clip_range", "value_coefficient"),
    ),
    Idle("policy.algorithm", ("ppo", "rloo", "reinforce"), ("policy.credit.group_eps", "policy.loss.kl_estimator")),
    Idle("policy.algorithm", ("ppo", "rloo", "grpo"), ("policy.credit.baseline_decay",)),
    Idle("policy.algorithm", ("rloo", "reinforce"), _below("policy.loss", "clip_range", "dual_clip")),
    Idle("policy.critic", ("shared",), ("policy.critic_head",)),
    Idle("policy.epochs", (1,), ("policy.stop_epochs_at_kl_nats",)),
    Idle("policy.pretraining_coefficient", (0.0,), ("policy.pretraining_rows_per_step",)),
    Idle("policy.leash.kind", ("fixed", "scheduled"), (*_STEERING, "policy.watch.max_kl_ratio")),
    Idle("policy.leash.kind", ("adaptive", "fixed"), ("policy.leash.final_beta",)),
    Idle("policy.leash.kind", ("fixed",), _below("policy.leash", "heeds_quality", "slice_limits")),
    Idle("policy.leash.acts_on", ("learning_rate",), _below("policy.leash", "hold_updates", "heeds_quality")),
    Idle("alarms.action", ("none", "hold", "roll_back"), ("policy.raise_beta_factor",)),
    Idle(
        "alarms.comparer",
        (None,),
        _below("alarms", "comparisons_per_evaluation", "raters", "panel", "score_temperature", "judges")
        + _below("policy", "leash.heeds_quality", "watch.patience_evaluations"),
    ),
    Idle("alarms.comparer", ("simulated",), _below("alarms", "score_temperature", "judges")),
    Idle("alarms.comparer", ("judges",), _below("alarms", "score_temperature", "panel")),
    Idle("data.preferences", None, _COMPARING),
    Idle(
        "preferences.comparer",
        ("simulated", "people", "simulated_judge"),
        _below("preferences", "score_temperature", "judges"),
    ),
    Idle("preferences.comparer", ("people", "judges"), _below("preferences", "panel", "bias")),
    Idle("preferences.comparer", ("simulated", "people", "judges"), ("preferences.simulated_judge",)),
    Idle("preferences.comparer", ("simulated", "people"), (*_OF_JUDGES, *_PEOPLE_TOO)),
    Idle("scorer.kind", ("reward_model", "ensemble", "rules"), ("scorer.function",)),
    Idle("scorer.kind", ("reward_model", "ensemble", "function"), ("scorer.rules",)),
    Idle("scorer.kind", ("reward_model",), _below("scorer", "combine", "uncertainty_penalty")),
    Idle(
        "scorer.kind",
        ("function", "rules"),
        (*_OF_REWARD_MODELS, *_ACCEPTED, "policy.score_clip", "policy.critic_head"),
    ),
    Idle("scorer.combine", ("mean", "worst_case"), ("scorer.uncertainty_penalty",)),
    Idle("candidates.picks", (("any",),), ("candidates.pick_from",)),
    Idle("candidates.mix.difficulty", ({},), ("candidates.mix.pool_factor",)),
    Idle("candidates.mix.red_team_wrappers", ((),), ("candidates.mix.red_team_slice",)),
    Idle("model.lora_rank", (0,), _below("model", "lora_alpha", "lora_targets")),
    Idle("suites.code.is_allowed", (False,), _below("suites.code", "seconds", "memory_mib", "without_box")),
    Idle("suites.harness.tasks", ((),), _below("suites.harness", "folder", "batch_size")),
    Idle("refresh.reference", ("sft", "previous"), ("refresh.average_share",)),
    Idle("refresh.extra_rounds", (0,), _below("refresh", "on_alarm", "outside_share")),
    Idle("refresh.replay.max_rows", (None,), ("refresh.replay.balance_by",)),
    *(Idle(f"{adam}.schedule", ("constant",), (f"{adam}.final_share",)) for adam in _OPTIMISERS),
)


def idle_settings(recipe: Settings) -> Iterator[tuple[str, str]]:
    """Yield (name, where) of each setting that was changed and does nothing, and the one whose value makes it so."""
    default = type(recipe)()
    for row in IDLE:
        if row.holds(attrgetter(row.where)(recipe)):
            for name in row.names:
                if attrgetter(name)(recipe) != attrgetter(name)(default):
                    yield name, row.where


def refuse_idle_settings(recipe: Settings, overridden: Collection[str] = (), *, is_begun: bool = False) -> None:
    """Raise SettingsError naming every setting that was changed and does nothing.

    overridden: what was set apart from the recipe's file, by dotted names. What only an override of another setting
    made idle is said on the screen and not refused, so that `--set policy.algorithm=rloo` needs no other recipe; nor is
    anything of a run that is_begun, which must be able to go on as it is.
    """
    faults = []
    for name, where in idle_settings(recipe):
        value, other = attrgetter(name, where)(recipe)
        found = f"{name} is {value!r} and {where} is {other!r}, with which it does nothing"
        if is_begun or (_is_among(where, overridden) and not _is_among(name, overridden)):
            say(f"{found}.")
        else:
            faults.append(f"{found}. Leave {name} out, or change {where}.")
    if faults:
        raise SettingsError("\n".join(faults))


def _is_among(name: str, overridden: Collection[str]) -> bool:
    return any(f"{name}.".startswith(f"{one}.") for one in overridden)
