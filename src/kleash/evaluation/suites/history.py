"""Regression: what each item of a suite came to in earlier rounds, and which items broke since.

An item is the same as long as its suite has the same name and it has the same id; rows without an id of their own get
one from their content, so that a changed question starts a history of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from kleash.maths.intervals import wilson_interval

Row = Mapping[str, Any]

_NUM_NAMED = 50


def with_history(rows: Sequence[dict[str, Any]], previous: Sequence[tuple[str, Sequence[Row]]]) -> list[dict[str, Any]]:
    """Add to each row what the item came to before: [{"artifact": id, "passed": ...}], oldest first.

    previous: (artifact id, its rows), oldest first; a previous row brings its own history along.
    """
    known: dict[tuple[str, str], dict[str, bool | None]] = defaultdict(dict)
    for artifact_id, earlier_rows in previous:
        for row in earlier_rows:
            history = known[row["suite"], row["id"]]
            history |= {entry["artifact"]: entry["passed"] for entry in row.get("history", [])}
            history[artifact_id] = row["passed"]
    return [
        {**row, "history": [{"artifact": name, "passed": passed} for name, passed in history.items()]}
        for row in rows
        for history in [known.get((row["suite"], row["id"]), {})]
    ]


def regression(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what changed since each item was last checked: kept rates by suite, and the items newly broken, by name.

    "kept" is the share of items passed last time that pass now.
    """
    kept: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    broken: list[dict[str, str]] = []
    num_fixed = num_compared = 0
    for row in rows:
        before = next((entry["passed"] for entry in row.get("history", [])[::-1] if entry["passed"] is not None), None)
        if before is None or row["passed"] is None:
            continue
        num_compared += 1
        num_fixed += row["passed"] and not before
        if before:
            kept[row["suite"]][0] += row["passed"]
            kept[row["suite"]][1] += 1
            if not row["passed"]:
                broken.append({name: row[name] for name in ("suite", "id", "prompt", "detail")})
    return {
        "compared": num_compared,
        "newly_broken": len(broken),
        "newly_fixed": num_fixed,
        "kept": {f"{suite}/kept": vars(wilson_interval(*counts)) for suite, counts in sorted(kept.items())},
        "broken": broken[:_NUM_NAMED],
    }
