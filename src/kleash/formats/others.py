"""Preferences to the files that others read: Parquet, and the rows of TRL's trainers.

Our own JSON lines, which lose nothing, are in `canonical.py`; what is written here `reading.py` reads again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kleash.durable import clear_write_errors, write_rows
from kleash.errors import DataError
from kleash.formats.canonical import dimension_columns, to_json
from kleash.records import Pair, Preference, Prompt


def write_parquet(path: Path, rows: Sequence[Preference]) -> None:
    """Write preferences as a Parquet table with the columns of our JSON lines.

    Raises DataError for a mixture of plain prompts and conversations, which no one column can hold.
    """
    import pyarrow
    import pyarrow.parquet

    num_plain = sum(isinstance(row.prompt.content, str) for row in rows)
    if 0 < num_plain < len(rows):
        raise DataError(
            f"{num_plain} of the {len(rows)} prompts are plain text and the rest are conversations. Expected one kind: "
            "a Parquet column holds values of one type. Export as jsonl."
        )
    contents = [to_json(row) for row in rows]
    # Asked for a table of rows, pyarrow would take its columns from the first row alone, and drop all others.
    names = dict.fromkeys(name for content in contents for name in content)
    columns = {name: [content.get(name) for content in contents] for name in names}
    with clear_write_errors("preferences", path):
        pyarrow.parquet.write_table(pyarrow.table(columns), path)


def write_trl(path: Path, rows: Sequence[Preference]) -> int:
    """Write one JSON line (prompt, chosen, rejected) per decided pair that is not left out; return how many.

    A conversation's answers are written as messages, so that TRL applies the chat template to them. TRL knows neither
    ties nor vote shares: a tie is left out, and a majority counts as a verdict.
    """
    usable = [row for row in rows if not row.left_out]
    pairs = [_trl_row(row, pair) for row in usable for pair in row.pairs if pair.label != 0.5]
    with clear_write_errors("preferences", path):
        write_rows(path, pairs)
    return len(pairs)


def _trl_row(row: Preference, pair: Pair) -> dict[str, Any]:
    better, worse = (pair.first, pair.second) if pair.label > 0.5 else (pair.second, pair.first)
    content = {
        "prompt": row.prompt.content_json(),
        "chosen": _answer(row.prompt, row.completions[better]),
        "rejected": _answer(row.prompt, row.completions[worse]),
    }
    more = {"strength": pair.strength, **dimension_columns(row.prompt)}
    return content | {name: value for name, value in more.items() if value}


def _answer(prompt: Prompt, text: str) -> str | list[dict[str, str]]:
    return text if isinstance(prompt.content, str) else [{"role": "assistant", "content": text}]
