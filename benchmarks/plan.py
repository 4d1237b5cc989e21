"""Hold `kleash recipe check`'s plan against what a run takes: peak memory above imports, and the median step.

    python benchmarks/plan.py [--smollm2 FOLDER] [--only NAME ...]

Each configuration trains a policy for five updates in a process of its own. Seconds are those of one processor
(`time.process_time`, one thread), which a loaded machine changes little; memory is the peak resident set less that
after the imports. The plan is given the lengths that the run turned out to have.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
UPDATES = 5
SANDBOX, STORIES = ROOT / "src/kleash/sandbox/base", ROOT / "tests/fixtures/stories260k"
SMALL = {"steps": UPDATES, "watch": {"max_kl_ratio": None}, "checkpoint_every": 1000}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "sandbox, PPO": {"base": SANDBOX, "policy": {"max_new_tokens": 26}, "reward": True},
    "sandbox, RLOO of 4": {
        "base": SANDBOX,
        "policy": {"algorithm": "rloo", "samples_per_prompt": 4, "prompts_per_step": 16, "max_new_tokens": 26},
    },
    "stories260k, PPO": {"base": STORIES, "policy": {"prompts_per_step": 32, "max_new_tokens": 48}, "reward": True},
    "SmolLM2, PPO with LoRA": {
        "base": "smollm2",
        "model": {"lora_rank": 16, "lora_roles": "policy"},
        "policy": {"prompts_per_step": 4, "max_new_tokens": 16, "epochs": 1, "max_batch_tokens": 256},
        "reward": True,
    },
    "SmolLM2, RLOO in full": {
        "base": "smollm2",
        "policy": {
            "algorithm": "rloo",
            "samples_per_prompt": 2,
            "prompts_per_step": 4,
            "max_new_tokens": 16,
            "epochs": 1,
            "max_batch_tokens": 512,
        },
    },
}
PROMPTS = ["what is the capital of france ?", "once upon a time there was a", "why is the sky blue ?", "name a colour"]


def recipe_of(configuration: dict[str, Any]) -> Any:
    from kleash.recipe import Recipe
    from kleash.settings import check_settings

    scorer = {} if configuration.get("reward") else {"kind": "function", "function": f"{__file__}:words"}
    given = {
        "stages": ["policy"],
        "model": {"device": "cpu", **configuration.get("model", {})},
        "policy": {**SMALL, **configuration["policy"]},
        "scorer": scorer,
    }
    return check_settings(given, Recipe, source="the benchmark")


def words(prompt: str, completion: str) -> float:
    return float(len(completion.split()))


def measure(configuration: dict[str, Any], out: Path) -> dict[str, float]:
    """Train in this process; return the peak memory above imports, the median step and the lengths there were."""
    time.perf_counter = time.process_time  # of the loop's step_seconds
    from kleash.artifacts import external
    from kleash.models.heads import RewardNormaliser
    from kleash.records import Prompt
    from kleash.stages.context import ModelSettings, StageContext
    from kleash.stages.wiring import make

    recipe, base = recipe_of(configuration), Path(configuration["base"])
    context = StageContext(model=recipe.model)
    prompts = out / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"{text} {n}"}) + "\n" for n in range(40) for text in PROMPTS))
    inputs: dict[str, Any] = {"reference": base, "prompts": prompts}
    if configuration.get("reward"):
        inputs["rewards"] = [out / "reward"]
    if not (out / "reward").is_dir() and configuration.get("reward"):
        plain = StageContext(model=ModelSettings(device="cpu"))
        plain.fresh_scalar_model(external(base, "model"), seed=0).save(
            out / "reward", plain.load_policy(base).tokenizer
        )
        RewardNormaliser(0.0, 1.0).save(out / "reward")
        return {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    artifact = make("policy", recipe, context, inputs, out / "policy")
    rows = [json.loads(line) for line in (artifact.path / "metrics.jsonl").read_text().splitlines()]
    encode = context.load_policy(base).rendering.encode_prompt
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "memory": (peak - before) * 1024,
        "step": median(row["step_seconds"] for row in rows),
        "answer": sum(row["response_tokens_mean"] for row in rows) / len(rows),
        "prompt": sum(len(encode(Prompt(f"{text} 1"))) for text in PROMPTS) / len(PROMPTS),
    }


def predict(configuration: dict[str, Any], found: dict[str, float]) -> tuple[float, float]:
    """Return the plan's bytes and seconds a step, for the lengths found."""
    from kleash.plan import ModelShape, TokenLengths, memory_of, times_of
    from kleash.plan_probe import measure_speeds

    recipe, base = recipe_of(configuration), Path(configuration["base"])
    shape, lengths = ModelShape.of(base), TokenLengths(found["prompt"], found["answer"])
    rows = recipe.policy.prompts_per_step * recipe.policy.samples_per_prompt
    how = {"dtype": recipe.model.dtype, "device": "cpu", "rows": rows, "clock": time.process_time}
    [policy] = times_of(recipe, shape, {"policy": lengths}, measure_speeds(base, shape, lengths, **how), {})
    return memory_of(recipe, shape, lengths).peak, policy.seconds_per_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=Path, help="folder of SmolLM2-135M (make chat-model)")
    parser.add_argument("--only", nargs="*", help="names of configurations")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    for configuration in CONFIGURATIONS.values():
        if configuration["base"] == "smollm2":
            configuration["base"] = given.smollm2
    if given.one:
        print(json.dumps(measure(CONFIGURATIONS[given.one[0]], Path(given.one[1]))))
        return
    print("| configuration | memory: plan | measured | seconds a step: plan | measured |\n|---|---|---|---|---|")
    for name, configuration in CONFIGURATIONS.items():
        if (given.only and name not in given.only) or configuration["base"] is None:
            continue
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, __file__, *(["--smollm2", str(given.smollm2)] if given.smollm2 else [])]
            command += ["--one", name, out]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            for _ in range(2 if configuration.get("reward") else 1):  # the first one makes the reward model
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
        memory, step = predict(configuration, found)
        gap = [f"{100 * (plan / real - 1):+.0f} %" for plan, real in ((memory, found["memory"]), (step, found["step"]))]
        print(
            f"| {name} | {memory / 1e6:.0f} MB ({gap[0]}) | {found['memory'] / 1e6:.0f} MB | {step:.2f} ({gap[1]}) | "
            f"{found['step']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
