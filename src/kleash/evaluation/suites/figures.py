"""From checked rows to figures: rates by bucket and slice, and paired differences. Read `history.py` next.

Rows are those of items.jsonl, so that figures can be made again from an artifact. Rates add tallies up: successes over
tries, with Wilson's interval. A suite's measure is named `SUITE/MEASURE`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from kleash.evaluation.side_by_side import as_json
from kleash.maths.intervals import Interval, mean_interval, wilson_interval, win_rate

Row = Mapping[str, Any]
Figures = dict[str, Any]
Paired = tuple[tuple[int, int], tuple[int, int]]

POLICY, REFERENCE = "tallies", "reference_tallies"


def summarise_rows(rows: Sequence[Row]) -> Figures:
    """Return what an artifact says of its items: buckets, the reference's, differences, slices, and what is unchecked.

    differences: policy minus reference over items that both answered.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for dimension, value in row["slices"].items():
            groups[f"{dimension}={value}"].append(row)
    return {
        "items": len(rows),
        **_sides(rows),
        "variants": variant_differences(rows),
        "slices": {name: _sides(group) for name, group in sorted(groups.items())},
        "unchecked": dict(Counter(row["detail"] for row in rows if row["passed"] is None).most_common()),
    }


def rates(rows: Sequence[Row], side: str = POLICY) -> Figures:
    """Return {bucket: {measure: interval}} of one side."""
    totals: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for row in rows:
        for measure, (successes, tries) in row.get(side, {}).items():
            name = f"{row['suite']}/{measure}"
            so_far = totals[row["bucket"]].get(name, (0, 0))
            totals[row["bucket"]][name] = (so_far[0] + successes, so_far[1] + tries)
    return {
        bucket: {name: as_json(wilson_interval(*total)) for name, total in measures.items()}
        for bucket, measures in totals.items()
    }


def differences(rows: Sequence[Row]) -> Figures:
    """Return {bucket: {measure: interval and p_value}} of policy minus reference, paired by item."""
    paired: dict[str, dict[str, list[Paired]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for measure in row[POLICY].keys() & row.get(REFERENCE, {}).keys():
            pair = (tuple(row[POLICY][measure]), tuple(row[REFERENCE][measure]))
            paired[row["bucket"]][f"{row['suite']}/{measure}"].append(pair)
    return {
        bucket: {name: paired_figure(pairs) for name, pairs in sorted(measures.items())}
        for bucket, measures in paired.items()
    }


def variant_differences(rows: Sequence[Row]) -> Figures:
    """Return {bucket: {"SUITE/MEASURE, VARIANT": figure}} of each variant minus the plain item of its pair."""
    plain = {(row["suite"], row["pair"]): row for row in rows if row.get("pair") and not row.get("variant")}
    paired: dict[str, dict[str, list[Paired]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        other = plain.get((row["suite"], row.get("pair")))
        if not row.get("variant") or other is None:
            continue
        for measure in row[POLICY].keys() & other[POLICY].keys():
            pair = (tuple(row[POLICY][measure]), tuple(other[POLICY][measure]))
            paired[row["bucket"]][f"{row['suite']}/{measure}, {row['variant']}"].append(pair)
    return {
        bucket: {name: paired_figure(pairs) for name, pairs in sorted(measures.items())}
        for bucket, measures in paired.items()
    }


def paired_figure(pairs: Sequence[Paired]) -> Figures:
    """Return the difference of two rates over the same items: interval, n items and the p-value of a sign test.

    Of single tries the difference is twice the win rate less one, whose interval stays open when every item comes out
    alike; of items with several tries (IFEval's instructions) it is the mean difference of successes over mean tries.
    """
    gains = [first[0] - second[0] for first, second in pairs]
    wins, losses = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    if all(tries == 1 for pair in pairs for _, tries in pair):
        won = win_rate(wins, len(pairs) - wins - losses, losses)
        found = Interval(2 * won.value - 1, 2 * won.low - 1, 2 * won.high - 1, won.n)
    else:
        mean_tries = sum(first[1] for first, _ in pairs) / len(pairs)
        gain = mean_interval(gains)
        found = Interval(gain.value / mean_tries, gain.low / mean_tries, gain.high / mean_tries, gain.n)
    return {**as_json(found), "p_value": sign_test(wins, losses)}


def sign_test(wins: int, losses: int) -> float:
    """Return how likely a fair coin falls as unevenly, or more so, either way (McNemar's exact test)."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _sides(rows: Sequence[Row]) -> Figures:
    return {"buckets": rates(rows), "reference": rates(rows, REFERENCE), "differences": differences(rows)}
