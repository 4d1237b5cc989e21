"""Time KLeash's training steps on a workload of `peer/make_workload.py`; prints one JSON line, as the peer scripts do.

    python benchmarks/ours.py ppo --workload OUT --steps 5

The same work as the peer's: 64 prompts, at most 64 new tokens, 4 epochs of one optimiser step, separate critic,
reference model, KL in the reward, value loss, float32; 32 rows a step for DPO, reward and SFT.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peer"))


def peak_rss_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm", choices=["ppo", "dpo", "reward", "sft"])
    parser.add_argument("--workload", required=True, type=Path)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-batch-tokens", type=int, default=1024)
    parser.add_argument("--dtype", choices=["float32", "bfloat16_autocast"], default="float32")
    return parser.parse_args()


def rows_of(workload: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (workload / f"{name}.jsonl").read_text().splitlines()]


def run_ppo(given: argparse.Namespace) -> list[dict]:
    from kleash.algorithms.online import ONLINE_ALGORITHMS
    from kleash.algorithms.policy_settings import CreditSettings, OptimiserSettings, PolicySettings
    from kleash.loop import LoopComponents, LoopState, run_loop
    from kleash.maths.kl import FixedLeash
    from kleash.models.causal_lm import load_language_model
    from kleash.models.heads import RewardNormaliser
    from kleash.models.reward_models import load_reward_model
    from kleash.protocols import Scores, WatchDecision
    from kleash.records import Prompt
    from kleash.rollout.local import LocalGenerator
    from kleash.scorers.reward_model import RewardModelScorer
    from kleash.training.local import LocalEngine
    from kleash.training.optimiser import Optimiser

    policy, reference = (load_language_model(given.workload / "policy", device="cpu", dtype=given.dtype) for _ in "ab")
    reference.model.requires_grad_(False)
    reward, critic = (load_reward_model(given.workload / "reward", device="cpu", dtype=given.dtype) for _ in "ab")
    reward.requires_grad_(False)
    optimisers = {
        "policy": Optimiser(policy.trainable_parameters(), learning_rate=1e-5, max_grad_norm=None),
        "critic": Optimiser(critic.named_parameters(), learning_rate=1e-5, max_grad_norm=None),
    }
    engine = LocalEngine(
        policy,
        reference,
        critic,
        optimisers=optimisers,
        temperature=1.0,
        max_batch_tokens=given.max_batch_tokens,
    )
    settings = PolicySettings(
        steps=given.steps + given.warmup,
        prompts_per_step=64,
        epochs=4,
        credit=CreditSettings(missing_eos_penalty=-1.0),
        optimiser=OptimiserSettings(learning_rate=1e-5, final_share=1.0),
    )
    prompts = [Prompt(row["prompt"]) for row in rows_of(given.workload, "prompts")]
    steps: list[dict] = []
    mark = {"start": time.perf_counter(), "generated": 0.0, "scored": 0.0}

    class TimedGenerator(LocalGenerator):
        def generate(self, *args, **kwargs):
            rollouts = super().generate(*args, **kwargs)
            mark["generated"] = time.perf_counter()
            mark["tokens"] = sum(sequence.num_tokens for sequence in rollouts.sequences)
            mark["responses"] = sum(len(sequence.response_ids) for sequence in rollouts.sequences)
            return rollouts

    class TimedScorer(RewardModelScorer):
        def score(self, completions):
            return Scores(super().score(completions).total)

    class NoWatch:
        def observe(self, step, rollouts, metrics):
            return WatchDecision()

    class StepClock:
        def log(self, step, metrics):
            now = time.perf_counter()
            steps.append(
                {
                    "warmup": step < given.warmup,
                    "seconds": now - mark["start"],
                    "samples": 64,
                    "real_tokens": mark["tokens"],
                    "response_tokens": mark["responses"],
                    "generation_s": mark["generated"] - mark["start"],
                    "scoring_and_training_s": now - mark["generated"],
                }
            )
            mark["start"] = time.perf_counter()

    generator = TimedGenerator(policy, max_new_tokens=64)
    scorer = TimedScorer(reward, RewardNormaliser(), max_batch_tokens=given.max_batch_tokens)
    components = LoopComponents(generator, scorer, engine, NoWatch(), StepClock(), ONLINE_ALGORITHMS["ppo"])
    run_loop(
        LoopState(0, FixedLeash(0.05)),
        components,
        settings,
        prompts=lambda step: prompts[64 * step : 64 * (step + 1)],
        seed=0,
    )
    return steps


def run_offline(given: argparse.Namespace) -> list[dict]:
    from kleash.algorithms.direct import DPO, DirectLossSettings
    from kleash.data.batches import TokenSequence
    from kleash.models.causal_lm import load_language_model
    from kleash.models.reward_models import load_reward_model
    from kleash.records import Pair, Preference, Prompt
    from kleash.stages.direct import DecidedPair, PairObjective, PolicyAndReference
    from kleash.stages.reward import BradleyTerryLoss, RewardSettings
    from kleash.stages.support.encoding import Encoded
    from kleash.stages.support.likelihood import CompletionNLL
    from kleash.training.fit import FitSettings, build_trainer, take_step
    from kleash.training.ranks import Ranks

    name = "demonstrations" if given.algorithm == "sft" else "preferences"
    rows = rows_of(given.workload, name)[: 32 * (given.steps + given.warmup)]
    policy = load_language_model(given.workload / "policy", device="cpu", dtype=given.dtype)
    if given.algorithm == "sft":
        sequences = [TokenSequence(tuple(r["prompt_ids"]), tuple(r["completion_ids"])) for r in rows]
        sizes = [sequence.num_tokens for sequence in sequences]
        objective, trained = CompletionNLL(policy, sequences), policy.trainable_parameters()
    else:
        pairs = [
            [TokenSequence(tuple(r["prompt_ids"]), tuple(r[side + "_ids"])) for side in ("chosen", "rejected")]
            for r in rows
        ]
        sizes = [first.num_tokens + second.num_tokens for first, second in pairs]
        if given.algorithm == "dpo":
            reference = load_language_model(given.workload / "policy", device="cpu", dtype=given.dtype)
            reference.model.requires_grad_(False)
            decided = [DecidedPair(first, second, 1.0) for first, second in pairs]
            models = PolicyAndReference(policy, reference)
            objective = PairObjective(models, decided, DirectLossSettings(), algorithm=DPO)
            trained = policy.trainable_parameters()
        else:
            model = load_reward_model(given.workload / "reward", device="cpu", dtype=given.dtype)
            records = [Preference(Prompt(r["prompt"]), (r["chosen"], r["rejected"]), (Pair(0, 1, 1.0),)) for r in rows]
            settings = RewardSettings(centring=0.0)
            objective = BradleyTerryLoss(model, Encoded(records, pairs, 0), settings)
            trained = model.named_parameters()
    settings = FitSettings(learning_rate=1e-5, max_batch_tokens=given.max_batch_tokens)
    trainer = build_trainer({"policy": trained}, settings, Ranks())
    steps = []
    for step in range(given.steps + given.warmup):
        began = time.perf_counter()
        batch = range(32 * step, 32 * (step + 1))
        take_step(objective, batch, trainer)
        steps.append(
            {
                "warmup": step < given.warmup,
                "seconds": time.perf_counter() - began,
                "samples": 32,
                "real_tokens": sum(sizes[row] for row in batch),
            }
        )
    return steps


def main() -> None:
    given = arguments()
    import torch

    torch.set_num_threads(given.threads)
    import kleash.models.causal_lm
    import kleash.models.heads  # noqa: F401

    imports_mb = peak_rss_mb()
    steps = run_ppo(given) if given.algorithm == "ppo" else run_offline(given)
    kept = [step for step in steps if not step.pop("warmup")]
    median = {key: sorted(step[key] for step in kept)[len(kept) // 2] for key in kept[0]}
    report = {
        "library": "kleash",
        "algorithm": given.algorithm,
        "dtype": given.dtype,
        "step_s": [round(step["seconds"], 3) for step in kept],
        "median": {key: round(value, 3) for key, value in median.items()},
        "samples_per_s": round(median["samples"] / median["seconds"], 2),
        "real_tokens_per_s": round(median["real_tokens"] / median["seconds"], 1),
        "imports_rss_mb": imports_mb,
        "peak_rss_mb": peak_rss_mb(),
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
