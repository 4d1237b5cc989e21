"""Cut the helpful comparisons of HH in two: one half to compare methods on, one half for a judge of its own.

    python recipes/make_hh_methods.py HH_FOLDER FOLDER

Writes preferences.jsonl, prompts.jsonl and evaluation_prompts.jsonl for `recipes/hh_methods.toml`, and judge.jsonl for
`recipes/hh_judge.py`. A prompt is in one half only. Evaluation prompts are from the judge's half: it knows what people
said of other answers to them, and nothing that learns has seen them.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from kleash.formats import read_preferences, write_jsonl
from kleash.records import Preference


def is_judges(row: Preference) -> bool:
    """Say which half a comparison is in, by a hash of its prompt's text."""
    return hashlib.sha256(row.prompt.text.encode()).digest()[0] % 2 == 1


def main(source: str, folder: str) -> None:
    rows = read_preferences(Path(source) / "helpful.jsonl").records
    trained, judged = [row for row in rows if not is_judges(row)], [row for row in rows if is_judges(row)]
    output_dir = Path(folder)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_jsonl(output_dir / "preferences.jsonl", trained)
    write_jsonl(output_dir / "judge.jsonl", judged)
    for name, half in (("prompts", trained), ("evaluation_prompts", judged)):
        write_jsonl(output_dir / f"{name}.jsonl", list({row.prompt.id: row.prompt for row in half}.values()))
    print(f"{output_dir}: {len(trained)} comparisons to train on, {len(judged)} for the judge")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("Usage: python recipes/make_hh_methods.py HH_FOLDER FOLDER")
    main(sys.argv[1], sys.argv[2])
