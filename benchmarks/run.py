"""Speed and memory of the training steps, side by side with a peer where one is installed; prints a Markdown table.

    python benchmarks/run.py                                    # ours alone
    python benchmarks/run.py --peer-python env-trl/bin/python --trl-path trl-1.12

The peer is TRL: 1.16 for DPO, reward and SFT, 1.12 (put first on the path) for PPO, which later versions dropped. Runs
alternate, one at a time, on the same workload, with the same threads; quote the ratios, not the seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", type=Path, default=Path("build/workload"))
    parser.add_argument("--algorithms", nargs="+", default=["ppo", "dpo", "reward", "sft"])
    parser.add_argument("--rounds", type=int, default=2, help="how often ours and the peer take turns")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--peer-python", help="Python of an environment with TRL")
    parser.add_argument("--trl-path", help="folder that holds TRL 1.12, for PPO")
    return parser.parse_args()


def run(command: list[str]) -> dict:
    """Run one measurement in a process of its own and return its JSON line."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    given = arguments()
    if not (given.workload / "workload.json").exists():
        print("Making the workload (a few minutes, once) ...", file=sys.stderr)
        maker = [sys.executable, str(HERE / "peer" / "make_workload.py"), str(given.workload), "--size", "6m"]
        subprocess.run(maker, check=True, stdout=sys.stderr)
    print("| step | library | s/step | samples/s | real tokens/s | peak RSS, MB | above imports, MB |")
    print("|---|---|---|---|---|---|---|")
    for algorithm in given.algorithms:
        common = [algorithm, "--workload", str(given.workload), "--steps", str(given.steps)]
        commands = {"KLeash": [sys.executable, str(HERE / "ours.py"), *common]}
        if given.peer_python:
            commands["TRL"] = [given.peer_python, str(HERE / "peer" / "peer_trl.py"), *common]
            if algorithm == "ppo" and given.trl_path:
                commands["TRL"] += ["--trl-path", given.trl_path]
            if algorithm == "sft":
                commands["TRL padding-free"] = [*commands["TRL"], "--padding-free"]
        reports: dict[str, list[dict]] = {name: [] for name in commands}
        for _ in range(given.rounds):
            for name, command in commands.items():
                reports[name].append(run(command))
        for name, parts in reports.items():
            seconds = [second for part in parts for second in part["step_s"]]
            above = [part["peak_rss_mb"] - part["imports_rss_mb"] for part in parts if "imports_rss_mb" in part]
            print(
                f"| {algorithm} | {name} | {statistics.median(seconds):.2f} [{min(seconds):.2f}-{max(seconds):.2f}] "
                f"| {statistics.median(part['samples_per_s'] for part in parts):.1f} "
                f"| {statistics.median(part['real_tokens_per_s'] for part in parts):.0f} "
                f"| {max(part['peak_rss_mb'] for part in parts):.0f} | {f'{max(above):.0f}' if above else '-'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
