"""What a recipe will need before it runs: bytes by role, and seconds by stage. Pure arithmetic, no torch.

The model is known by its config and its files' headers (`ModelShape`), the machine by a few measured speeds
(`Speeds`, from `plan_probe.py`). Formulas are for transformers that feed forward through a gate, as Llama and Qwen do;
of others (GPT-2, experts) weights are exact and activations an estimate. `benchmarks/plan.py` holds both against
measurements.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kleash.errors import SettingsError
from kleash.evaluation.first_update import REWARD_MODELS
from kleash.settings import with_overrides

if TYPE_CHECKING:
    from kleash.recipe import Recipe

FLOAT, HALF = 4, 2
KEPT_PROBABILITIES = 64 << 20
"""Bytes of probabilities that the head keeps from forward to backward (`models/head_logprobs.py`)."""

SAMPLING_BYTES = 4 + 4 + 4 + 8
"""Of a logit while a token is chosen: logits, log-softmax, probabilities and their float64 sums."""

_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True)
class ModelShape:
    """A model as far as memory and time go. weights: their number, embeddings included; kv, heads: widths of a token's
    keys and of its queries; linear: number of rows plus columns of each kind of linear layer, by name.
    """

    weights: int
    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv: int
    vocabulary: int
    linear: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> ModelShape:
        """Read a model folder's config.json and the headers of its safetensors files."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shapes = dict(_tensor_shapes(folder))
        hidden = _first(config, "hidden_size", "n_embd", "d_model")
        layers = _first(config, "num_hidden_layers", "n_layer", "num_layers")
        num_heads = _first(config, "num_attention_heads", "n_head", "num_heads")
        width = config.get("head_dim") or hidden // num_heads
        linear: dict[str, int] = {}
        for name, shape in shapes.items():
            part = re.search(r"\.(?:layers|h|blocks)\.0\..*?(\w+)\.weight$", name)
            if part and len(shape) == 2:
                linear[part[1]] = sum(shape)
        return cls(
            weights=sum(map(prod, shapes.values())),
            hidden=hidden,
            layers=layers,
            intermediate=config.get("intermediate_size") or config.get("n_inner") or 4 * hidden,
            heads=num_heads * width,
            kv=(config.get("num_key_value_heads") or num_heads) * width,
            vocabulary=_first(config, "vocab_size"),
            linear=linear,
        )

    def adapter_weights(self, rank: int, targets: str | Sequence[str] = "all-linear") -> int:
        """Return the number of LoRA weights: rank x (rows + columns), over the layers adapted."""
        names = self.linear if targets == "all-linear" else [targets] if isinstance(targets, str) else targets
        return rank * self.layers * sum(self.linear.get(name.rpartition(".")[2], 0) for name in names)


@dataclass(frozen=True)
class TokenLengths:
    """Tokens of prompts and answers: means for time, for memory what a micro-batch holds. is_assumed: not measured."""

    prompt: float
    answer: float
    is_assumed: bool = False

    @property
    def total(self) -> float:
        return self.prompt + self.answer


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes by what holds them while the policy (or the heaviest other stage) trains, and by what passes."""

    held: Mapping[str, float]
    passing: Mapping[str, float]

    @property
    def peak(self) -> float:
        return sum(self.held.values()) + max(self.passing.values(), default=0.0)


def memory_of(recipe: Recipe, shape: ModelShape, lengths: TokenLengths) -> MemoryNeed:
    """Return what the recipe's heaviest stage holds: the policy's where there is one, else that of what trains.

        frozen role      weights x b                              b = 4, or 2 where model.dtype is bfloat16
        trained role     weights x (b + 4 + 8), + 4 masters at b = 2         gradient, Adam's two moments
        with adapters    weights x b, once for all roles (model.lora_roles); adapters x 16 if trained, x 4 if frozen
        a micro-batch    tokens x `activation_bytes` x (layers + 1), the last for the gradients under way;
                         with gradient checkpointing hidden x 4 a layer, and two layers in full
        sampling         rows x tokens x 2 x layers x kv x b, twice while the cache grows; rows x vocabulary x 20

    lengths: of the policy's prompts and answers.
    """
    model, settings, _ = recipe.model, *_training(recipe)
    element = HALF if model.dtype == "bfloat16" else FLOAT
    frozen = float(shape.weights * element)
    full = frozen + shape.weights * (3 * FLOAT + (FLOAT if element == HALF else 0))
    adapter = shape.adapter_weights(model.lora_rank, model.lora_targets) * FLOAT
    is_shared = bool(adapter) and model.lora_roles == "all"
    rows = settings.batch_size if settings is not recipe.policy else _answers(recipe) / recipe.policy.minibatches
    tokens = min(settings.max_batch_tokens, rows * lengths.total)
    passing = {"updating": _passing(recipe, shape, tokens, is_frozen=bool(adapter))}
    held: dict[str, float] = {"policy": frozen + 4 * adapter if adapter else full}
    if not adapter and {"policy", "direct"} & set(recipe.stages):
        held["reference"] = frozen
    if "policy" in recipe.stages:
        if recipe.scorer.kind in REWARD_MODELS:
            held["reward model"] = (adapter if is_shared else frozen) * recipe.reward.members
        if _has_critic(recipe):
            held["critic"] = 4 * adapter if is_shared else full
            passing["updating the critic"] = _passing(recipe, shape, tokens, is_frozen=is_shared)
        cached = _answers(recipe) * lengths.total * 2 * shape.layers * shape.kv * element
        passing["sampling"] = 2 * cached + _answers(recipe) * shape.vocabulary * SAMPLING_BYTES
    return MemoryNeed(held, passing)


def activation_bytes(shape: ModelShape, *, dtype: str = "float32", is_frozen: bool = False) -> float:
    """Return what one token leaves behind in one layer for the backward pass.

        norms            2 x (input, normed, output)        the normed ones only where the norms are trained
        attention        queries, keys, values, output twice
        feed-forward     gate, its activation, up, product

    In mixed precision the norms' inputs are float32 and all else takes 2 bytes.
    """
    norms = 2 * shape.hidden
    others = 2 * shape.hidden * (1 if is_frozen else 2) + 3 * shape.heads + 2 * shape.kv + 4 * shape.intermediate
    return norms * FLOAT + others * (FLOAT if dtype == "float32" else HALF)


def _passing(recipe: Recipe, shape: ModelShape, tokens: float, *, is_frozen: bool) -> float:
    """Return what one micro-batch needs while it lasts: its layers' activations and one layer's gradients."""
    layer = activation_bytes(shape, dtype=recipe.model.dtype, is_frozen=is_frozen) * tokens
    kept = shape.layers * layer
    if recipe.model.gradient_checkpointing:
        kept = shape.layers * shape.hidden * FLOAT * tokens + layer
    copies = shape.weights * HALF if recipe.model.dtype == "bfloat16_autocast" else 0
    return kept + layer + copies + min(KEPT_PROBABILITIES, tokens * shape.vocabulary * FLOAT)


# --------------------------------------------------------------------------------------------------------------- time
@dataclass(frozen=True)
class Speeds:
    """Measured on this machine, seconds: of one token through the body forwards, and forwards and backwards; through
    the head forwards; of one decoding step, by a fixed part and one per row; of one trained weight's optimiser step.
    """

    forward: float
    both: float
    head: float
    decode_step: float
    decode_row: float
    update_weight: float


@dataclass(frozen=True)
class StageTime:
    """How long a stage takes: so many steps of so many seconds each."""

    stage: str
    steps: int
    seconds_per_step: float

    @property
    def seconds(self) -> float:
        return self.steps * self.seconds_per_step


def times_of(
    recipe: Recipe, shape: ModelShape, lengths: Mapping[str, TokenLengths], speeds: Speeds, rows: Mapping[str, int]
) -> list[StageTime]:
    """Return the time of the stages that a model learns in, of those whose number of rows is known.

        learning a row   S x both + answer x 3 head                              S = prompt + answer
        updating         epochs x (B S both + B answer 3 head), twice with a critic of its own, + steps of Adam
        sampling         prompts S forward + answer x (step + B x row)
        annotating       B (S forward + answer head) for the reference, B S forward for critic and reward model each

    lengths, rows: by stage (sft, reward, direct, policy). 3: the backward pass costs twice the forward one.
    """
    passes = 4 / 3 if recipe.model.gradient_checkpointing else 1.0
    adapters = shape.adapter_weights(recipe.model.lora_rank, recipe.model.lora_targets)
    step_of_adam = (adapters or shape.weights) * speeds.update_weight

    def costs(stage: str) -> tuple[float, float, float]:
        """Return the seconds of an answer learnt, of one read by a body, and of its tokens' log-probabilities."""
        of = lengths[stage]
        told = of.answer * speeds.head
        return of.total * speeds.both * passes + 3 * told, of.total * speeds.forward, told

    times = []
    for stage in ("sft", "reward", "direct"):
        if stage in recipe.stages and stage in rows:
            learnt, read, told = costs(stage)
            per_row = {"sft": learnt, "reward": 2 * (learnt - 3 * told), "direct": 2 * (learnt + read + told)}[stage]
            settings = recipe.setting(stage).fit
            seconds = settings.batch_size * per_row + step_of_adam
            times.append(StageTime(stage, settings.num_steps(rows[stage]), seconds))
    if "policy" in recipe.stages:
        learnt, read, told = costs("policy")
        policy, of, critic, answers = recipe.policy, lengths["policy"], _has_critic(recipe), _answers(recipe)
        sampling = policy.prompts_per_step * of.prompt * speeds.forward
        sampling += of.answer * (speeds.decode_step + answers * speeds.decode_row)
        models_read = 1 + critic + (recipe.scorer.kind in REWARD_MODELS)
        is_shared = adapters and recipe.model.lora_roles == "all"
        updates = step_of_adam + critic * (step_of_adam if is_shared else shape.weights * speeds.update_weight)
        updating = policy.epochs * answers * (learnt + critic * of.total * speeds.both * passes)
        updating += policy.epochs * policy.minibatches * updates
        times.append(StageTime("policy", policy.steps, sampling + answers * (models_read * read + told) + updating))
    return times


# ----------------------------------------------------------------------------------------------------------- fitting
def proposals(
    recipe: Recipe, shape: ModelShape, lengths: TokenLengths, limit: float
) -> Iterator[tuple[str, MemoryNeed]]:
    """Yield settings to change, one after the other and all of them kept, until the recipe fits into `limit` bytes.

    In the order of what they cost: gradient checkpointing a third more time, frozen weights in bfloat16 some precision,
    smaller micro-batches speed, and LoRA other weights than full training would reach.
    """
    settings, table = _training(recipe)
    batches = [settings.max_batch_tokens // 2**halved for halved in range(1, 8)]
    wanted: list[tuple[str, Any]] = [("model.gradient_checkpointing", True), ("model.dtype", "bfloat16")]
    wanted += [(f"{table}.max_batch_tokens", size) for size in batches if size >= max(lengths.total, 256)]
    for name, value in [*wanted, *([] if recipe.model.lora_rank else [("model.lora_rank", 16)])]:
        before, changed = memory_of(recipe, shape, lengths), with_overrides(recipe, {name: value})
        if before.peak <= limit:
            return
        if (now := memory_of(changed, shape, lengths)).peak < before.peak:
            recipe = changed
            yield f"{name} = {json.dumps(value)}", now


def bytes_in(text: str) -> float:
    """Return the number of bytes that a text such as 24GB or 512MiB says. Raises SettingsError for another."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([kmg]i?b)\s*", text.lower())
    if not found:
        raise SettingsError(f"{text!r} is no amount of memory. Expected one such as 24GB or 512MiB. Correct it.")
    return float(found[1]) * _UNITS[found[2]]


def size_text(size: float) -> str:
    """Return bytes as a person says them: 340 MB, 5.6 GB."""
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


# ------------------------------------------------------------------------------------------------------------ inside
def _training(recipe: Recipe) -> tuple[Any, str]:
    """Return the settings by which the heaviest stage splits its batches, and the name of their table."""
    if "policy" in recipe.stages:
        return recipe.policy, "policy"
    stage = next((name for name in ("direct", "sft", "reward", "pretrain") if name in recipe.stages), "sft")
    return recipe.setting(stage).fit, f"{stage}.fit"


def _answers(recipe: Recipe) -> int:
    return recipe.policy.prompts_per_step * recipe.policy.samples_per_prompt


def _has_critic(recipe: Recipe) -> bool:
    return recipe.policy.algorithm == "ppo" and recipe.policy.critic == "separate"


def _first(config: Mapping[str, Any], *names: str) -> int:
    found = next((config[name] for name in names if config.get(name)), None)
    if not isinstance(found, int):
        raise SettingsError(
            f"config.json says nothing of {' or '.join(names)}, so that memory and time cannot be worked out. Expected "
            "the config of a transformer."
        )
    return found


def _tensor_shapes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield each weight's name and shape, out of the headers of the safetensors files; no weight is read."""
    for file in sorted(folder.glob("*.safetensors")):
        with open(file, "rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        yield from ((name, entry["shape"]) for name, entry in header.items() if name != "__metadata__")
