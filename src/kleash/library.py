"""What `import kleash` offers: train, audit, sample, score and evaluate from Python, and run whole recipes.

Every function here makes what the command of the same name makes, through the same table of stages and the same
wiring, so a result from a notebook is the artifact that a recipe would have left. Where a recipe names a function, a
Python callable is accepted too; data may be files in any known format, or lists of records, strings or rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from kleash.artifacts import Artifact, read
from kleash.cli.running import RunOnScreen
from kleash.data.batches import Rollouts
from kleash.durable import write_rows
from kleash.errors import DataError, SettingsError
from kleash.formats import Record, to_json
from kleash.functions import register
from kleash.idle_settings import refuse_idle_settings
from kleash.locations import RECIPE_FILE, find_policy, find_recipe
from kleash.models.causal_lm import LanguageModel
from kleash.models.rendering import RenderingSettings
from kleash.models.reward_models import member_folders
from kleash.opened_run import Run
from kleash.protocols import Scorer, Scores
from kleash.recipe import Recipe, check_order
from kleash.records import Completion, Prompt
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.runs import carry_out, context_from, locked
from kleash.scorers.ensemble import as_one
from kleash.scorers.function import FunctionScorer
from kleash.settings import load_toml, with_overrides
from kleash.stages.context import as_artifact
from kleash.stages.support.encoding import say_how_prompts_are_read
from kleash.stages.support.scoring import as_reward_model
from kleash.stages.table import STAGES
from kleash.stages.wiring import make

RUNS = Path("runs")
NONE: Mapping[str, Any] = {}

Function = Callable[..., Any]
Data = str | Path | Artifact | Sequence[Any]
"""A file, an artifact, or the rows themselves: records, mappings as a file has them, or strings for prompts."""


@dataclass(frozen=True)
class Policy:
    """A language model that was loaded, the artifact or folder it came from, and the [model] settings it was given.

    What is trained from it is loaded by the same settings.
    """

    model: LanguageModel
    artifact: Artifact
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Policy({str(self.artifact.path)!r})"


@dataclass(frozen=True)
class RewardModel:
    """A reward model, or an ensemble of them, that was loaded, and the artifact or folder it came from."""

    scorer: Scorer
    artifact: Artifact

    def __repr__(self) -> str:
        return f"RewardModel({str(self.artifact.path)!r})"


Model = Policy | Artifact | str | Path
"""A policy: loaded, an artifact, a Hugging Face folder, `hub:owner/name`, a run's name or RUN/STAGE."""


# ------------------------------------------------------------------------------------------------------- whole runs
def run(
    recipe: Recipe | str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    branch: str | None = None,
    runs_dir: str | Path = RUNS,
    strict: bool = False,
) -> Run:
    """Run a recipe from its first unfinished stage to the report, as `kleash run` does, and open the run.

    recipe: a file, a shipped recipe's name, or a Recipe.  overrides: settings by dotted name, such as
    {"policy.steps": 40}; a callable where the recipe names a function.  name: of the run, instead of the recipe's.
    branch: of a sibling run that takes over what these settings leave as it is.  strict: refuse files with bad rows.
    The same call again finds the run and goes on with it. Raises KleashError for what cannot run, before any compute.
    """
    changes = {**(overrides or {}), **({"name": name} if name else {})}
    settings = _loaded(recipe, changes)
    check_order(settings)
    begun = Path(runs_dir) / (branch or settings.name) / RECIPE_FILE
    refuse_idle_settings(settings, changes, is_begun=begun.exists())
    source = "The recipe" if not isinstance(recipe, str | Path) else str(find_recipe(str(recipe)))
    folder = carry_out(
        settings, Path(runs_dir), announcer=RunOnScreen(), branch=branch, is_strict=strict, source=source
    )
    return Run(folder)


def load_recipe(recipe: Recipe | str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe file, or a shipped recipe by its name. overrides: as for `run`. Raises SettingsError."""
    loaded = _loaded(recipe, overrides)
    refuse_idle_settings(loaded, overrides or NONE)
    return loaded


def _loaded(recipe: Recipe | str | Path, overrides: Mapping[str, Any] | None) -> Recipe:
    loaded = recipe if isinstance(recipe, Recipe) else load_toml(find_recipe(str(recipe)), Recipe)
    return with_overrides(loaded, _named(overrides or NONE))


# ----------------------------------------------------------------------------------------------------------- models
def load_policy(source: Model, *, runs_dir: str | Path = RUNS, **model: Any) -> Policy:
    """Load a policy to sample from or to start training at.

    model: settings of a recipe's [model] table, such as device="cpu" or dtype="bfloat16_autocast".
    Raises ArtifactError or ModelError for what is no policy.
    """
    if isinstance(source, Policy) and not model:
        return source
    artifact = _as_policy(source, runs_dir)
    return Policy(_context(model).load_policy(artifact), artifact, model)


def load_reward_model(source: RewardModel | Artifact | str | Path, **model: Any) -> RewardModel:
    """Load a reward artifact (an ensemble as one), or any sequence-classification folder with one label.

    model: settings of a recipe's [model] table. Scores are z-scores by the constants beside the model, clipped at 5.
    """
    if isinstance(source, RewardModel):
        return source
    artifact = as_artifact(source if isinstance(source, Artifact) else Path(source), "reward model")
    return RewardModel(as_one(_context(model).load_scorers(artifact.path, z_clip=5.0)), artifact)


# --------------------------------------------------------------------------------------------------------- training
def train_sft(
    base: Model,
    demonstrations: Data,
    *,
    output_dir: str | Path,
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
    strict: bool = False,
) -> Artifact:
    """Fine-tune a model on demonstrations; the artifact is an ordinary Hugging Face folder.

    settings: of the recipe's own table, here [sft], such as {"fit.epochs": 2}.  overrides: settings of other tables by
    full name, such as {"seed": 1, "model.device": "cpu"}.  recipe: whose settings to start from.
    The same call again finds the artifact, or goes on where it stopped.
    """
    inputs = {"base": _as_policy(base), "demonstrations": _as_file(demonstrations, "demonstrations", output_dir)}
    return _make("sft", inputs, output_dir, settings, _as_loaded(base, overrides), recipe, strict)


def train_reward(
    base: Model,
    preferences: Data,
    *,
    output_dir: str | Path,
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
    strict: bool = False,
) -> Artifact:
    """Train a Bradley-Terry reward model (an ensemble with settings={"members": n}) and measure it on held-out prompts.

    base: the policy it starts from, whose answers also set the score's scale.  settings: of [reward]; the other
    arguments as for `train_sft`.
    """
    inputs = {"base": _as_policy(base), "preferences": _as_preferences(preferences, output_dir, strict)}
    return _make("reward", inputs, output_dir, settings, _as_loaded(base, overrides), recipe, strict)


def audit_reward(
    reward_model: RewardModel | Artifact | str | Path | Function,
    preferences: Data,
    *,
    output_dir: str | Path,
    reference: Model | None = None,
    benchmarks: Sequence[str | Path] = (),
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
) -> Artifact:
    """Ask whether a reward model, ours or anybody's, may train a policy; summary["verdict"] is pass, warn or fail.

    reward_model: may be a function of (prompt, completion) too.  reference: whose fresh answers it is to judge.
    benchmarks: files of prompt, chosen, rejected.  settings: of [audit]; the others as for `train_sft`.
    """
    target: Any = reward_model.artifact if isinstance(reward_model, RewardModel) else reward_model
    inputs = {
        "reward_model": register(target) if callable(target) else target,
        "preferences": _as_file(preferences, "preferences", output_dir),
        "reference": None if reference is None else _as_policy(reference),
        "benchmarks": [Path(file) for file in benchmarks],
    }
    return _make("audit", inputs, output_dir, settings, overrides, recipe, False)


def train_policy(
    policy: Model,
    *,
    prompts: Data,
    scorer: Function | RewardModel | Artifact | str | Path | Sequence[RewardModel | Artifact | Path],
    output_dir: str | Path,
    audit: Artifact | Path | None = None,
    evaluation_prompts: Data | None = None,
    demonstrations: Data | None = None,
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
    strict: bool = False,
) -> Artifact:
    """Train a policy by reinforcement (PPO, RLOO, GRPO, REINFORCE or your own row) on a KL leash to where it starts.

    scorer: a function of (prompt, completion), its "module:attribute", a reward model, or several for an ensemble.
    audit: of the reward model; one that failed is refused.  evaluation_prompts: answered now and then while training.
    demonstrations: for the pretraining mix.  settings: of [policy], such as {"algorithm": "rloo", "steps": 40}; an
    OnlineAlgorithm is accepted as algorithm.  The others as for `train_sft`.
    """
    rewards, scoring = _as_scorer(scorer)
    inputs = {
        "reference": _as_policy(policy),
        "prompts": _as_file(prompts, "prompts", output_dir),
        "rewards": rewards,
        "audits": [] if audit is None else [audit],
        "evaluation_prompts": _as_file(evaluation_prompts, "evaluation_prompts", output_dir),
        "texts_to_keep": _as_file(demonstrations, "demonstrations", output_dir),
    }
    return _make("policy", inputs, output_dir, settings, _as_loaded(policy, overrides, scoring), recipe, strict)


def train_direct(
    policy: Model,
    preferences: Data,
    *,
    output_dir: str | Path,
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
    strict: bool = False,
) -> Artifact:
    """Train a policy on preferences directly, without a reward model: DPO, IPO or KTO.

    settings: of [direct], such as {"algorithm": "ipo"}; the others as for `train_sft`.
    """
    inputs = {"reference": _as_policy(policy), "preferences": _as_preferences(preferences, output_dir, strict)}
    return _make("direct", inputs, output_dir, settings, _as_loaded(policy, overrides), recipe, strict)


# ------------------------------------------------------------------------------------- sampling, scoring, measuring
def generate(
    policy: Model,
    prompts: Sequence[str | Prompt],
    *,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    samples_per_prompt: int = 1,
    seed: int = 0,
) -> Rollouts:
    """Sample answers; `.texts[p * samples_per_prompt + g]` is answer g to prompt p, `.completions()` are records.

    temperature: 0 takes the likeliest token each time.  top_k, top_p: sample from the likeliest tokens alone.
    The same seed gives the same answers.
    Raises DataError for a prompt that leaves no room for an answer.
    """
    loaded, asked = load_policy(policy).model, _as_prompts(prompts)
    say_how_prompts_are_read(loaded.rendering, asked)
    given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    sampling = with_overrides(SamplingSettings(), given)
    return answer_prompts(loaded, asked, sampling, seed=seed, samples_per_prompt=samples_per_prompt)


def score(
    scorer: Function | RewardModel | Artifact | str | Path, prompts: Sequence[str | Prompt], completions: Sequence[str]
) -> Scores:
    """Score answers, one to each prompt: `.total` in a reward model's z-scores or the function's own unit, `.parts`.

    scorer: as for `train_policy`.
    """
    prompt_records = _as_prompts(prompts)
    if len(prompts) != len(completions):
        raise SettingsError(
            f"There are {len(prompts)} prompts and {len(completions)} completions. Expected one answer to each prompt. "
            "Repeat a prompt that has several."
        )
    records = [Completion(prompt, text) for prompt, text in zip(prompt_records, completions, strict=True)]
    judge: Any = FunctionScorer(scorer) if _is_function(scorer) else load_reward_model(scorer).scorer  # type: ignore[arg-type]
    scores: Scores = judge.score(records)
    return scores


def evaluate(
    policy: Model,
    reference: Model,
    prompts: Data,
    *,
    output_dir: str | Path,
    judge: Function | str | None = None,
    scorer: Function | RewardModel | Artifact | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    recipe: Recipe | str | Path | None = None,
    strict: bool = False,
) -> Artifact:
    """Measure a policy against its reference on fresh prompts: win rate, gains and KL, slice by slice.

    judge: a function of (prompt, completion), its name, "gold" in the sandbox; None = the scorer itself decides.
    scorer: the proxy, as for `train_policy`, shown beside the judge.  settings: of [evaluation]; the others as for
    `train_sft`.
    """
    rewards, scoring = ([], {}) if scorer is None else _as_scorer(scorer)
    inputs = {
        "policy": _as_policy(policy),
        "reference": _as_policy(reference),
        "prompts": _as_file(prompts, "prompts", output_dir),
        "rewards": rewards,
    }
    if judge is not None:
        scoring["evaluation.judge"] = judge
    return _make("evaluation", inputs, output_dir, settings, _as_loaded(policy, overrides, scoring), recipe, strict)


# ----------------------------------------------------------------------------------------------------------- inside
def _make(
    stage: str,
    inputs: Mapping[str, Any],
    output_dir: str | Path,
    settings: Mapping[str, Any] | None,
    overrides: Mapping[str, Any] | None,
    recipe: Recipe | str | Path | None,
    strict: bool,
) -> Artifact:
    own = {f"{STAGES[stage].settings}.{name}": value for name, value in (settings or NONE).items()}
    whole = load_recipe(Recipe() if recipe is None else recipe, {**own, **(overrides or NONE)})
    with locked(Path(output_dir)):
        return make(stage, whole, context_from(whole, strict=strict), inputs, Path(output_dir))


def _context(model: Mapping[str, Any]) -> Any:
    return context_from(with_overrides(Recipe(), _loading_settings(model)), strict=False)


def _loading_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a model is to be loaded as settings of a recipe: [model]'s, and of [data] how prompts are read."""
    return {
        f"{'data' if name in RenderingSettings.model_fields else 'model'}.{name}": value
        for name, value in given.items()
    }


def _as_loaded(source: Model, overrides: Mapping[str, Any] | None, changes: Mapping[str, Any] = NONE) -> dict[str, Any]:
    """Return changes to a recipe: how a policy was loaded, the call's own, and last the user's."""
    loaded = source.settings if isinstance(source, Policy) else NONE
    return {**_loading_settings(loaded), **changes, **(overrides or NONE)}


def _named(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Put a name in the place of each function or other object; this process finds it again by that name."""
    plain = str | int | float | list | tuple | dict | Path | BaseModel | None
    return {name: value if isinstance(value, plain) else register(value) for name, value in overrides.items()}


def _as_policy(source: Model, runs_dir: str | Path = RUNS) -> Artifact:
    if isinstance(source, Policy):
        return source.artifact
    return as_artifact(source if isinstance(source, Artifact) else find_policy(str(source), Path(runs_dir)), "model")


def _is_function(scorer: Any) -> bool:
    """Say whether what scores is a function, or the name of one."""
    return callable(scorer) or (isinstance(scorer, str) and ":" in scorer and not Path(scorer).exists())


def _as_scorer(scorer: Any) -> tuple[list[Artifact], dict[str, Any]]:
    """Return the reward models among what scores, and the settings that say the rest."""
    if _is_function(scorer):
        return [], {"scorer.kind": "function", "scorer.function": scorer}
    several = scorer if isinstance(scorer, Sequence) and not isinstance(scorer, str) else [scorer]
    rewards = [as_reward_model(one.artifact if isinstance(one, RewardModel) else one) for one in several]
    num_members = sum(len(member_folders(one.path)) for one in rewards)
    return rewards, {"scorer.kind": "ensemble"} if num_members > 1 else {}


def _as_file(data: Data | None, name: str, output_dir: str | Path) -> Any:
    """Return data as a file: rows given in Python are written beside the artifact, where its lineage finds them."""
    if data is None or isinstance(data, Artifact):
        return data
    if isinstance(data, str | Path):
        return Path(data)
    if not isinstance(data, Sequence):
        raise DataError(f"{name} is {data!r}. Expected a file, an artifact, or a list of rows. Give one of them.")
    rows = [_as_row(row, f"Row {number} of {name}") for number, row in enumerate(data)]
    folder = Path(f"{output_dir}.inputs")
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / f"{name}.jsonl", rows)
    return folder / f"{name}.jsonl"


def _as_row(row: Any, what: str) -> dict[str, Any]:
    if isinstance(row, str):
        return {"prompt": row}
    if isinstance(row, Mapping):
        return dict(row)
    if isinstance(row, Record):
        return to_json(row)
    raise DataError(
        f"{what} is {row!r}. Expected a record, a mapping with the columns that a file would have, or for a prompt its "
        "text. Write it so, such as {'prompt': ..., 'chosen': ..., 'rejected': ...}."
    )


def _as_preferences(data: Data, output_dir: str | Path, strict: bool) -> Artifact:
    """Return preferences as an artifact: a file's are frozen into one beside the output."""
    file = _as_file(data, "pairs", output_dir)
    if isinstance(file, Artifact):
        return file
    if (file / "artifact.json").is_file():
        return read(file)
    return _make("preferences", {"file": file}, Path(f"{output_dir}.inputs") / "preferences", None, None, None, strict)


def _as_prompts(prompts: Sequence[str | Prompt]) -> list[Prompt]:
    if isinstance(prompts, str):
        raise SettingsError(
            f"prompts is the text {prompts!r}. Expected a list of prompts. Put it into one: [{prompts!r}]."
        )
    return [prompt if isinstance(prompt, Prompt) else Prompt(prompt) for prompt in prompts]
