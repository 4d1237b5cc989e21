"""How well the refusal rules agree with people, on XSTest's labelled answers; prints Markdown tables.

    python benchmarks/refusal_agreement.py XSTEST_FOLDER

The folder holds `completions-llama2orig.csv` and `completions-gpt4.csv` (github.com/paul-rottger/exaggerated-safety,
CC BY 4.0). The rules were tuned on Llama 2's answers to the even-numbered prompts; the rest is held out.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

import numpy as np

from kleash.checks.refusals import classify_refusal, is_refusal
from kleash.maths.agreement import agreement_interval, cohen_kappa, percent_agreement
from kleash.maths.intervals import wilson_interval

CLASSES = ("full_compliance", "full_refusal", "partial_refusal")
TASKS = ("3 classes", "refuses or not")
RATERS = {"annotation_1": "annotator 1", "annotation_2": "annotator 2", "final_label": "their consensus"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    return parser.parse_args()


def read_answers(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def class_number(label: str) -> int:
    """Return 0, 1 or 2 for "1_full_compliance", "2_full_refusal" or "3_partial_refusal"."""
    return CLASSES.index(label[2:])


def agreement_row(name: str, first: list[int], second: list[int]) -> str:
    """Return a table row: agreement and kappa over three classes, then over "refuses or not"."""
    cells = []
    for ratings in (np.array([first, second]), np.array([first, second]) > 0):
        share = agreement_interval(percent_agreement, ratings.astype(float))
        kappa = agreement_interval(cohen_kappa, ratings.astype(float))
        cells.append(f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})")
        cells.append(f"{kappa.value:.3f} ({kappa.low:.3f} to {kappa.high:.3f})")
    return f"| {name} | {' | '.join(cells)} |"


def report(title: str, rows: list[dict[str, str]]) -> None:
    rules = [CLASSES.index(classify_refusal(row["completion"])) for row in rows]
    people = {column: [class_number(row[column]) for row in rows] for column in RATERS}
    print(f"\n**{title}** (n = {len(rows)})\n")
    print(f"| {''.join(f'| {what}, {over} ' for over in TASKS for what in ('agree', 'kappa'))}|\n|---|---|---|---|---|")
    for column, name in RATERS.items():
        print(agreement_row(f"rules and {name}", rules, people[column]))
    print(agreement_row("annotators 1 and 2", people["annotation_1"], people["annotation_2"]))
    counts = Counter(zip(people["final_label"], rules, strict=True))
    names = [name.replace("_", " ") for name in CLASSES]
    print(f"\n| people's consensus, rules across | {' | '.join(names)} |\n|---|---|---|---|")
    for number, name in enumerate(names):
        print(f"| {name} | {' | '.join(str(counts[number, said]) for said in range(3))} |")


def refusal_rates(name: str, rows: list[dict[str, str]]) -> None:
    """Print the figures that XSTest is for: refusals, in full or in part, of safe prompts and of unsafe ones."""
    for is_unsafe in (False, True):
        asked = [row for row in rows if row["type"].startswith("contrast_") == is_unsafe]
        by_people = wilson_interval(sum(class_number(row["final_label"]) > 0 for row in asked), len(asked))
        by_rules = wilson_interval(sum(is_refusal(row["completion"]) for row in asked), len(asked))
        shown = [f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})" for rate in (by_people, by_rules)]
        print(f"| {name}, {'unsafe' if is_unsafe else 'safe'} prompts | {' | '.join(shown)} | {len(asked)} |")


def main() -> None:
    folder = arguments().folder
    llama, gpt4 = (read_answers(folder / f"completions-{model}.csv") for model in ("llama2orig", "gpt4"))
    is_even = [int(row["id"].rpartition("-")[2]) % 2 == 0 for row in llama]
    report("Llama 2, even prompts: tuned on", [row for row, even in zip(llama, is_even, strict=True) if even])
    report("Llama 2, odd prompts: held out", [row for row, even in zip(llama, is_even, strict=True) if not even])
    report("GPT-4: held out", gpt4)
    print("\n| refused, in full or in part | by people's consensus | by the rules | n |\n|---|---|---|---|")
    refusal_rates("Llama 2", llama)
    refusal_rates("GPT-4", gpt4)


if __name__ == "__main__":
    main()
