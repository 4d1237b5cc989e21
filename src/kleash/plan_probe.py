"""Measure how fast this machine computes a model, in a second or two: what `plan.py` reckons time from.

Layers of the model's own shape with random weights are run, one and three of them, and the difference is taken as many
times as the model has layers; its checkpoint is not read. A vocabulary's products are measured on a part of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
import transformers

from kleash.formats import read_demonstrations, read_preferences, read_prompts
from kleash.models.folders import load_config, resolve_device
from kleash.models.rendering import rendering_of_folder
from kleash.plan import ModelShape, Speeds, TokenLengths
from kleash.records import Prompt

if TYPE_CHECKING:
    from kleash.recipe import Recipe

PROBE_TOKENS, PROBE_WORDS, ROWS_READ = 256, 8192, 200
Least = Callable[[Callable[[], Any]], float]
OTHER_WEIGHTS = 1 << 25
FEW, MANY = 1, 3
"""Layers of the two models that are measured."""


def plan_of(recipe: Recipe, folder: Path) -> tuple[ModelShape, dict[str, TokenLengths], dict[str, int], Speeds]:
    """Return what a plan is reckoned from: the model's shape, tokens and rows by stage, and this machine's speeds."""
    shape = ModelShape.of(folder)
    lengths, rows = material_of(recipe, folder)
    speeds = measure_speeds(
        folder,
        shape,
        lengths["policy"],
        dtype=recipe.model.dtype,
        device=recipe.model.device,
        rows=recipe.policy.prompts_per_step * recipe.policy.samples_per_prompt,
    )
    return shape, lengths, rows, speeds


def material_of(recipe: Recipe, folder: Path) -> tuple[dict[str, TokenLengths], dict[str, int]]:
    """Return mean tokens, and rows, by stage, from the recipe's files; of the policy's answers, the longest allowed.

    Where a file is not there yet, prompts are taken for an eighth of their limit, and answers as long as the policy's.
    """
    data, policy = recipe.data, recipe.policy
    rendering = rendering_of_folder(folder, turns=data.turns, system_prompt=data.system_prompt)

    def mean(answered: list[tuple[Prompt, str]]) -> TokenLengths:
        rows = [rendering.encode(prompt, text) for prompt, text in answered[:ROWS_READ]]
        return TokenLengths(fmean(len(row.prompt_ids) for row in rows), fmean(len(row.response_ids) for row in rows))

    assumed = TokenLengths(policy.max_prompt_tokens / 8, policy.max_new_tokens, is_assumed=True)
    lengths, rows = dict.fromkeys(("policy", "sft", "reward", "direct"), assumed), dict[str, int]()
    if data.prompts is not None:
        read = mean([(prompt, "") for prompt in read_prompts(data.prompts).records])
        lengths["policy"] = TokenLengths(read.prompt, policy.max_new_tokens)
    if data.demonstrations is not None:
        shown = read_demonstrations(data.demonstrations).records
        lengths["sft"], rows["sft"] = mean([(row.prompt, row.completion) for row in shown]), len(shown)
    if data.preferences is not None:
        pairs = read_preferences(data.preferences).records
        of_pairs = mean([(row.prompt, text) for row in pairs for text in row.completions])
        lengths |= {"reward": of_pairs, "direct": of_pairs}
        rows |= {"reward": len(pairs), "direct": len(pairs)}
    return lengths, rows


def measure_speeds(
    folder: Path,
    shape: ModelShape,
    lengths: TokenLengths,
    *,
    dtype: str,
    device: str,
    rows: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Speeds:
    """Return this machine's speeds on a model of this shape.

    lengths: of the sequences to run.  rows: answers decoded at once.  Raises ModelError for an unknown architecture.
    """

    def least(work: Callable[[], Any]) -> float:
        return _least(work, where, clock)

    where, width = resolve_device(device), max(int(lengths.total), 2)
    type_ = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    num_sequences = max(PROBE_TOKENS // width, 1)
    ids_BS = torch.randint(0, 64, (num_sequences, width), device=where)
    with torch.autocast(where.type, torch.bfloat16, enabled=dtype == "bfloat16_autocast"):
        models = {number: _layers_of(folder, number).to(where, type_) for number in (FEW, MANY)}
        found = {number: _seconds_of(model, ids_BS, max(rows, 2), least) for number, model in models.items()}
    adam = torch.optim.AdamW(models[MANY].parameters(), fused=True)
    weights = [weight for weight in models[MANY].parameters() if weight.grad is not None]

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=False)

    whole = {
        name: max(few + (shape.layers - FEW) * (found[MANY][name] - few) / (MANY - FEW), few)
        for name, few in found[FEW].items()
    }
    words = min(shape.vocabulary, PROBE_WORDS)
    hidden_ND, weight_DV = torch.randn(64, shape.hidden, device=where), torch.randn(shape.hidden, words, device=where)
    head = least(lambda: (hidden_ND @ weight_DV).softmax(dim=1)) / 64 * shape.vocabulary / words
    per_row = max((whole["many"] - whole["one"]) / (max(rows, 2) - 1), 0.0)
    return Speeds(
        forward=whole["forward"],
        both=whole["both"],
        head=head,
        decode_step=max(whole["one"] - per_row, 0.0),
        decode_row=per_row + 2 * head,  # the logits, and the sums by which one of them is chosen
        update_weight=least(update) / sum(weight.numel() for weight in weights),
    )


# ------------------------------------------------------------------------------------------------------------ inside
def _layers_of(folder: Path, num_layers: int) -> Any:
    """Return a body of so many layers with random weights and a small vocabulary."""
    config = load_config(folder)
    config.num_hidden_layers, config.vocab_size, config.pad_token_id = num_layers, 64, None
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:num_layers]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.AutoModel.from_config(config).eval()


def _seconds_of(model: Any, ids_BS: torch.Tensor, rows: int, least: Least) -> dict[str, float]:
    """Return the seconds of a token forwards and both ways, and of one more token for one row and for many."""
    seconds = {"both": least(lambda: model(ids_BS).last_hidden_state.sum().backward()) / ids_BS.numel()}
    with torch.no_grad():
        seconds["forward"] = least(lambda: model(ids_BS, use_cache=False)) / ids_BS.numel()
        for name, num_rows in (("one", 1), ("many", rows)):
            ids_R1 = ids_BS[:1, :1].expand(num_rows, 1)
            cache = model(ids_BS[:1].expand(num_rows, -1), use_cache=True).past_key_values
            step = partial(model, ids_R1, past_key_values=cache, use_cache=True)
            seconds[name] = least(step)
    return seconds


def _least(work: Callable[[], Any], device: torch.device, clock: Callable[[], float], *, times: int = 3) -> float:
    """Return the seconds of the quickest of some calls: whatever else runs only ever adds to them."""
    seconds, others = [], torch.zeros(OTHER_WEIGHTS, device=device)
    for _ in range(times):
        others.add_(1)  # the caches hold other layers' weights when a layer's turn comes
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(clock() - began)
    return min(seconds)
