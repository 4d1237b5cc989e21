"""Is a GPU as right as the CPU? Log-probabilities, the first ratio, a resume after kill -9, and KL, in both precisions.

    python benchmarks/gpu.py                                  # on the GPU if there is one; under four minutes
    python benchmarks/gpu.py --size tiny --device cpu         # what the tests run
    python benchmarks/gpu.py --json figures.json

Correctness only, no speed. It runs from the source tree, beside whatever torch and transformers the machine has; the
model is a random one of the sandbox's vocabulary, so nothing is fetched. Exits with 1 when a figure is out of bounds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))

import torch  # noqa: E402

import kleash  # noqa: E402
from kleash.data.batches import token_batch  # noqa: E402
from kleash.models.forward import kl_to_reference  # noqa: E402
from kleash.sandbox.base_model import build_model, build_tokenizer  # noqa: E402
from kleash.sandbox.world import train_prompts  # noqa: E402

DTYPES = ("float32", "bfloat16_autocast")
SIZES = {
    "tiny": {"width": 32, "num_layers": 2, "num_heads": 2, "num_prompts": 16},
    "small": {"width": 1024, "num_layers": 12, "num_heads": 16, "num_prompts": 64},
}
# What two right implementations may differ by: rounding of sums in float32, 8 bits of mantissa in bfloat16.
LOGPROB_BOUND = {"float32": 1e-3, "bfloat16_autocast": 0.5}
MEAN_LOGPROB_BOUND = {"float32": 1e-4, "bfloat16_autocast": 0.05}
RATIO_BOUND = 1e-4
KL_BOUND = {"float32": 1e-3, "bfloat16_autocast": 0.0}


@dataclass(frozen=True)
class Check:
    """One figure, the bound it must keep to, and both precisions' names."""

    name: str
    dtype: str
    figure: float
    bound: float

    @property
    def is_right(self) -> bool:
        return self.figure <= self.bound


def few_letters(prompt: str, completion: str) -> float:
    """Be a reward that any policy can learn a little of in a step."""
    return -float(len(set(completion)))


def make_model(folder: Path, *, width: int, num_layers: int, num_heads: int) -> Path:
    """Write a random model of the sandbox's vocabulary."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    build_model(tokenizer, width=width, num_layers=num_layers, num_heads=num_heads).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def check_logprobs(folder: Path, device: str, num_prompts: int) -> list[Check]:
    """Compare each response token's log-probability with the CPU's in float32, on answers that the CPU sampled."""
    on_cpu = kleash.load_policy(folder, device="cpu").model
    rollouts = kleash.generate(kleash.load_policy(folder, device="cpu"), prompts_of(num_prompts), max_new_tokens=24)
    batch = token_batch(rollouts.sequences, pad_id=on_cpu.pad_id)
    with torch.no_grad():
        expected_BT = on_cpu.response_outputs(batch).logprob_BT
    checks = []
    for dtype in DTYPES:
        model = kleash.load_policy(folder, device=device, dtype=dtype).model
        there = token_batch(rollouts.sequences, pad_id=model.pad_id, device=model.device)
        with torch.no_grad():
            error_BT = (model.response_outputs(there).logprob_BT.cpu() - expected_BT).abs()
        mean = float(error_BT.sum() / batch.response_mask_BT.sum())
        checks.append(Check("log-prob, largest error (nats)", dtype, float(error_BT.max()), LOGPROB_BOUND[dtype]))
        checks.append(Check("log-prob, mean error (nats)", dtype, mean, MEAN_LOGPROB_BOUND[dtype]))
    return checks


def check_kl(folder: Path, device: str, num_prompts: int) -> list[Check]:
    """Measure the KL of a policy to a reference of the very same weights: it is zero."""
    checks = []
    for dtype in DTYPES:
        policy, reference = (kleash.load_policy(folder, device=device, dtype=dtype) for _ in range(2))
        rollouts = kleash.generate(policy, prompts_of(num_prompts), max_new_tokens=24)
        kl_nats = kl_to_reference(rollouts, policy.model, reference.model, max_tokens=4096)
        largest = max(abs(kl) for kl in kl_nats)
        checks.append(Check("KL to the same weights, largest (nats)", dtype, largest, KL_BOUND[dtype]))
    return checks


def check_training(folder: Path, device: str, num_prompts: int, work: Path) -> list[Check]:
    """Train by PPO: the first minibatch's ratio is 1, and a killed run ends with the weights of a whole one."""
    checks = []
    for dtype in DTYPES:
        arguments = training(folder, device, dtype, num_prompts)
        whole = kleash.train_policy(**arguments, output_dir=work / dtype / "whole")
        kill_after_two_updates(folder, device, dtype, num_prompts, work / dtype / "killed")
        resumed = kleash.train_policy(**arguments, output_dir=work / dtype / "killed")
        weights = [kleash.load_policy(one, device="cpu").model.model.state_dict() for one in (whole, resumed)]
        apart = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
        # One pass in one minibatch: every update's ratio is its first, and the loop's own check would stop at it.
        ratio = max(kleash.Metrics.of(whole)["ratio_error_max"])
        checks.append(Check("first ratio, off 1 by", dtype, ratio, RATIO_BOUND))
        checks.append(Check("killed and resumed, largest weight apart", dtype, apart, 0.0))
    return checks


def training(folder: Path, device: str, dtype: str, num_prompts: int) -> dict:
    settings = {"steps": 4, "prompts_per_step": num_prompts // 2, "max_new_tokens": 16}
    settings |= {"epochs": 1, "minibatches": 1, "check_ratio": False}
    return {
        "policy": folder,
        "prompts": prompts_of(num_prompts),
        "scorer": f"{Path(__file__).resolve()}:few_letters",
        "settings": {**settings, "checkpoint_every": 1, "evaluate_every": 4},
        "overrides": {"model.device": device, "model.dtype": dtype},
    }


def prompts_of(num_prompts: int) -> list[str]:
    return [prompt.text for prompt in train_prompts(num_prompts, seed=0)]


def kill_after_two_updates(folder: Path, device: str, dtype: str, num_prompts: int, output_dir: Path) -> None:
    """Train in a process of its own and kill it (SIGKILL) once two updates are logged."""
    command = [sys.executable, __file__, "--life", str(folder), device, dtype, str(num_prompts), str(output_dir)]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(SOURCE)})
    log = output_dir.with_name(f"{output_dir.name}.partial") / "metrics.jsonl"
    while child.poll() is None:
        if log.is_file() and len(log.read_text().splitlines()) >= 2:
            child.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    child.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--life", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.life:
        folder, device, dtype, num_prompts, output_dir = arguments.life
        kleash.train_policy(**training(Path(folder), device, dtype, int(num_prompts)), output_dir=output_dir)
        return 0
    size = dict(SIZES[arguments.size])
    num_prompts = size.pop("num_prompts")
    with tempfile.TemporaryDirectory() as work:
        folder = make_model(Path(work) / "model", **size)
        checks = check_logprobs(folder, arguments.device, num_prompts)
        checks += check_kl(folder, arguments.device, num_prompts)
        checks += check_training(folder, arguments.device, num_prompts, Path(work))
    for check in checks:
        mark = "✓" if check.is_right else "✗"
        print(f"{mark} {check.dtype:18} {check.name:42} {check.figure:.3g} (at most {check.bound:g})")
    if arguments.json:
        rows = [{**asdict(check), "is_right": check.is_right} for check in checks]
        about = {"torch": torch.__version__, "device": arguments.device, "size": arguments.size}
        arguments.json.write_text(json.dumps({**about, "checks": rows}, indent=1) + "\n")
    return 0 if all(check.is_right for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
