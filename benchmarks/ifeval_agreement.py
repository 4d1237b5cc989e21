"""How often our checks of IFEval's instructions agree with the published ones, as lm-evaluation-harness ships them.

    pip install langdetect immutabledict
    python benchmarks/ifeval_agreement.py IFEVAL_FILE HH_FILE DOLLY_FILE

Every instruction of IFEval's prompts is checked on answers that people and models gave, dressed up so that rare
instructions are met now and then. nltk's tokenizers stand in untrained: its trained ones are a download.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nltk
from nltk.tokenize import TreebankWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer

nltk.data.find = lambda name: name  # else the import below fetches the trained tokenizers
nltk.word_tokenize = TreebankWordTokenizer().tokenize

from lm_eval.tasks.ifeval import instructions_registry, instructions_util  # noqa: E402

from kleash.checks.constraints import INSTRUCTIONS, check_constraints  # noqa: E402

instructions_util.count_sentences = lambda text: len(PunktSentenceTokenizer().tokenize(text))

NUM_ANSWERS = 40
DRESSES: tuple[Callable[[str], str], ...] = (
    str,
    str.upper,
    str.lower,
    lambda text: f'"{text}"',
    lambda text: text.replace(",", ""),
    lambda text: f"<<Title>>\n{text}",
    lambda text: f"{text}\n\nP.S. more",
    lambda text: f"{text}\nP.P.S more",
    lambda text: text.replace(". ", ".\n* "),
    lambda text: text.replace(". ", ".\n\n***\n\n"),
    lambda text: f"{text}\n******\n{text[:30]}",
    lambda text: f"My answer is no.\n{text}",
    lambda text: f"*one* **two** [a] [b] {text} SECTION 1 x SECTION 2 y\n- a\n- b",
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("ifeval", "hh", "dolly"):
        parser.add_argument(name, type=Path)
    return parser.parse_args()


def answers(hh: Path, dolly: Path, *, chance: random.Random) -> list[str]:
    """Return answers of a model and of people, each in one of the dresses."""
    turns = [json.loads(line)["chosen"] for line in hh.read_text(encoding="utf-8").splitlines()[:300]]
    texts = [turn.rpartition("\n\nAssistant:")[2].strip() for turn in turns]
    rows = json.loads(dolly.read_text(encoding="utf-8"))[:300]
    texts += [row.get("output") or row.get("response") or "" for row in rows]
    return [chance.choice(DRESSES)(text) for text in texts if text.strip()]


def theirs(name: str, kwargs: dict[str, Any], prompt: str, answer: str, *, is_loose: bool) -> bool:
    """Ask the published check; loose: of the variants that the published evaluation makes."""
    check = instructions_registry.INSTRUCTION_DICT[name](name)
    check.build_description(**kwargs)
    if "prompt" in (check.get_instruction_args() or {}):
        check.build_description(prompt=prompt)
    lines = answer.split("\n")
    shortened = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])] if is_loose else []
    variants = [answer, *shortened]
    variants += [text.replace("*", "") for text in variants] if is_loose else []
    return any(bool(text.strip() and check.check_following(text)) for text in variants)


def main() -> None:
    given = arguments()
    chance = random.Random(0)
    texts = answers(given.hh, given.dolly, chance=chance)
    num_agreed, num_followed, num_checked = Counter(), Counter(), Counter()
    for line in given.ifeval.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for name, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            # Of a sign that is no letter the published check counts a letter drawn at random.
            if name not in INSTRUCTIONS or not str(kwargs.get("letter", "a")).isalpha():
                continue
            for text in chance.sample(texts, NUM_ANSWERS):
                tallies = check_constraints(text, {"instructions": [name], "kwargs": [kwargs]}).tallies
                for is_loose, measure in ((False, "instruction_strict"), (True, "instruction_loose")):
                    expected = theirs(name, kwargs, row["prompt"], text, is_loose=is_loose)
                    num_checked[name] += 1
                    num_followed[name] += expected
                    num_agreed[name] += expected == bool(tallies[measure][0])
    print("| instruction | checks | followed | agreement |\n|---|---|---|---|")
    for name in sorted(num_checked):
        share = num_agreed[name] / num_checked[name]
        print(f"| `{name}` | {num_checked[name]:,} | {num_followed[name]:,} | {share:.2%} |")
    total = num_checked.total()
    print(f"| all | {total:,} | {num_followed.total():,} | {num_agreed.total() / total:.2%} |")


if __name__ == "__main__":
    main()
