"""Put the helpful and the harmless comparisons of HH into one preference file, each row saying which it is.

    python recipes/make_hh_preferences.py HH_FOLDER PREFERENCES.jsonl

HH_FOLDER holds helpful.jsonl and harmless.jsonl, rows of `chosen` and `rejected` transcripts. Their raters had
different tasks and length pulls them apart (the longer answer tends to win on helpful, the shorter on harmless), so a
figure over both says little without the slices.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from kleash.formats import read_preferences, write_jsonl
from kleash.records import Preference, Prompt

SUBSETS = ("helpful", "harmless")


def labelled_preferences(folder: Path) -> list[Preference]:
    """Return both files' comparisons in order, with the slice subset = helpful or harmless."""
    return [
        dataclasses.replace(row, prompt=Prompt(row.prompt.content, {**row.prompt.slices, "subset": subset}))
        for subset in SUBSETS
        for row in read_preferences(folder / f"{subset}.jsonl").records
    ]


def main(folder: str, preferences_file: str) -> None:
    rows = labelled_preferences(Path(folder))
    write_jsonl(Path(preferences_file), rows)
    print(f"{preferences_file}: {len(rows)} comparisons")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("Usage: python recipes/make_hh_preferences.py HH_FOLDER PREFERENCES.jsonl")
    main(sys.argv[1], sys.argv[2])
