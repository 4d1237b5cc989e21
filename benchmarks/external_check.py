"""Published figures again, by our own evaluation code; and a reward model that nothing here trained, to be audited.

    python benchmarks/external_check.py lengths HH_FOLDER
    python benchmarks/external_check.py train BASE PREFERENCES FOLDER --trained train.jsonl --heldout held.jsonl
    kleash audit FOLDER --preferences held.jsonl --into audit

`lengths` says how often the longer answer was preferred in helpful.jsonl and harmless.jsonl. `train` makes a
sequence-classification folder with transformers and a loop of plain torch, one epoch of Bradley-Terry loss over four
fifths of the prompts; of kleash it uses the reading of the file alone. What came of both: docs/results.md.
"""

import argparse
import json
import random
from pathlib import Path


def show_lengths(folder: Path) -> None:
    from kleash.evaluation.reward_audit import measure_pairs, scored_pairs
    from kleash.formats import read_preferences

    for part in ("helpful", "harmless"):
        rows = read_preferences(folder / f"{part}.jsonl").records
        lengths = [len(text) for row in rows for text in row.completions]
        pairs = scored_pairs(rows, map(float, lengths), lengths)
        print(part, json.dumps(measure_pairs(pairs)["longer_wins"]))


def train_plainly(given: argparse.Namespace) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from kleash.data.prompts import split_by_prompt
    from kleash.formats import read_preferences, write_jsonl

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(given.base)
    model = AutoModelForSequenceClassification.from_pretrained(given.base, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    rows = [row for row in read_preferences(given.preferences).records if row.pairs]
    training, heldout = split_by_prompt(rows, holdout_share=0.2, seed=0)
    for path, part in ((given.trained, training), (given.heldout, heldout)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(path, part)

    def scores(texts: list[str]) -> torch.Tensor:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=508, return_tensors="pt")
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]

    def sides(row) -> tuple[str, str]:
        pair = row.pairs[0]
        first, second = (
            row.prompt.text + row.completions[index] + tokenizer.eos_token for index in (pair.first, pair.second)
        )
        return (first, second) if pair.label > 0.5 else (second, first)

    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    random.Random(0).shuffle(training)
    for start in range(0, len(training), 16):
        chosen, rejected = zip(*map(sides, training[start : start + 16]), strict=True)
        loss = -torch.nn.functional.logsigmoid(scores(list(chosen)) - scores(list(rejected))).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        print(f"{start + len(chosen)} of {len(training)} pairs, loss {loss.item():.3f}", flush=True)
    model.save_pretrained(given.folder)
    tokenizer.save_pretrained(given.folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    lengths = commands.add_parser("lengths")
    lengths.add_argument("folder", type=Path)
    train = commands.add_parser("train")
    for name in ("base", "preferences", "folder"):
        train.add_argument(name, type=Path)
    train.add_argument("--trained", type=Path, required=True)
    train.add_argument("--heldout", type=Path, required=True)
    given = parser.parse_args()
    if given.command == "lengths":
        show_lengths(given.folder)
    else:
        train_plainly(given)
