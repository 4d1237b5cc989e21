"""What recipes/chat.toml did to a real chat model, by checks that training did not read: IFEval's, before and after.

    kleash sample START  --prompts IFEVAL_PROMPTS.jsonl --temperature 0 --max-new-tokens 256 --json > before.jsonl
    kleash sample POLICY --prompts IFEVAL_PROMPTS.jsonl --temperature 0 --max-new-tokens 256 --json > after.jsonl
    python benchmarks/chat.py IFEVAL.jsonl before.jsonl after.jsonl

Instructions are told apart by whether their kind was trained (`recipes/chat/make_data.py`: KINDS). A prompt may hold
both; each kind's share is of the instructions followed, strictly and loosely as the published checks have it. Intervals
are 95 % paired bootstraps over prompts. `--write-prompts FILE` writes IFEVAL_PROMPTS.jsonl and ends.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from kleash.checks.constraints import INSTRUCTIONS, check_constraints

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes" / "chat"))
from make_data import KINDS

NUM_RESAMPLES = 5_000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ifeval", type=Path)
    parser.add_argument("answers", type=Path, nargs="*", help="before.jsonl after.jsonl")
    parser.add_argument("--write-prompts", type=Path)
    return parser.parse_args()


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def followed(item: dict, answer: str) -> list[tuple[str, bool, bool]]:
    """Return the name of each instruction that can be checked, and whether it is followed strictly, and loosely."""
    found = []
    for name, kwargs in zip(item["instruction_id_list"], item["kwargs"], strict=True):
        if name in INSTRUCTIONS:
            tallies = check_constraints(answer, {"instructions": [name], "kwargs": [kwargs]}).tallies
            found.append((name, bool(tallies["instruction_strict"][0]), bool(tallies["instruction_loose"][0])))
    return found


def compare(pairs: list[tuple[list, list]], *, kinds: set[str], loosely: bool) -> str:
    """Return both shares of the instructions of some kinds, and their difference with its interval, in points."""
    counts = []
    for before, after in pairs:
        chosen = [(old, new) for old, new in zip(before, after, strict=True) if old[0] in kinds]
        if chosen:
            counts.append(
                (len(chosen), *(sum(side[1 + loosely] for side in sides) for sides in zip(*chosen, strict=True)))
            )
    table = np.array(counts, dtype=float)
    draws = np.random.default_rng(0).integers(len(table), size=(NUM_RESAMPLES, len(table)))
    sums = table[draws].sum(axis=1)
    low, high = np.percentile(100 * (sums[:, 2] - sums[:, 1]) / sums[:, 0], [2.5, 97.5])
    asked, old, new = table.sum(axis=0)
    return (
        f"{100 * old / asked:5.1f} % -> {100 * new / asked:5.1f} %  {100 * (new - old) / asked:+5.1f} points "
        f"({low:+.1f} to {high:+.1f})  {asked:.0f} instructions of {len(table)} prompts"
    )


def main() -> None:
    given = arguments()
    items = {row["prompt"]: row for row in rows(given.ifeval)}
    if given.write_prompts:
        lines = (json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in items)
        given.write_prompts.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    before, after = ({row["prompt"]: row["completion"] for row in rows(path)} for path in given.answers)
    both = [prompt for prompt in items if prompt in before and prompt in after]
    print(f"{len(both)} of {len(items)} prompts were answered by both")
    pairs = [(followed(items[prompt], before[prompt]), followed(items[prompt], after[prompt])) for prompt in both]
    groups = {"trained kinds": set(KINDS), "other kinds": set(INSTRUCTIONS) - set(KINDS)}
    for loosely in (False, True):
        for group, kinds in groups.items():
            print(f"{'loosely' if loosely else 'strictly'}, {group:14} {compare(pairs, kinds=kinds, loosely=loosely)}")
    by_kind: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for old_side, new_side in pairs:
        for old, new in zip(old_side, new_side, strict=True):
            by_kind[old[0]] = [a + b for a, b in zip(by_kind[old[0]], (1, old[1], new[1]), strict=True)]
    for name, (asked, old, new) in sorted(by_kind.items(), key=lambda entry: (entry[0] not in KINDS, entry[0])):
        print(f"  {'*' if name in KINDS else ' '} {name:45} {old:3} -> {new:3} of {asked}")


if __name__ == "__main__":
    main()
