"""From checked rows to figures: rates by bucket and slice, and paired differences. Read `history.py` next.

Rows are those of items.jsonl, so that figures can be made again from an artifact. Rates add tallies up: successes over
tries, with Wilson's interval. A suite's measure is named `SUITE/MEASURE`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kleash.checks.verdicts import Tally
from kleash.evaluation.suites.items import UNWANTED
from kleash.maths.intervals import Interval, mean_interval, wilson_interval, win_rate
from kleash.records import group_by_slice

Row = Mapping[str, Any]
Figures = dict[str, Any]
Paired = tuple[Tally, Tally]

POLICY, REFERENCE = "tallies", "reference_tallies"


def summarise_rows(rows: Sequence[Row]) -> Figures:
    """Return what an artifact says of its items: buckets, the reference's, differences, slices, and what is unchecked.

    differences: policy minus reference over items that both answered.  unwanted: measures of which less is better.
    """
    groups = group_by_slice(row["slices"] for row in rows)
    return {
        "items": len(rows),
        **_sides(rows),
        "variants": variant_differences(rows),
        "slices": {name: _sides([rows[row] for row in group]) for name, group in groups.items()},
        "unwanted": sorted(UNWANTED),
        "unchecked": dict(Counter(row["detail"] for row in rows if row["passed"] is None).most_common()),
    }


def rates(rows: Sequence[Row], side: str = POLICY) -> Figures:
    """Return {bucket: {measure: interval}} of one side."""
    totals: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for row in rows:
        for measure, (successes, tries) in _tallies(row, side).items():
            name = f"{row['suite']}/{measure}"
            so_far = totals[row["bucket"]].get(name, (0, 0))
            totals[row["bucket"]][name] = (so_far[0] + successes, so_far[1] + tries)
    return {
        bucket: {name: vars(wilson_interval(*total)) for name, total in measures.items()}
        for bucket, measures in totals.items()
    }


def differences(rows: Sequence[Row]) -> Figures:
    """Return {bucket: {measure: interval and p_value}} of policy minus reference, paired by item."""
    return _paired((row, _tallies(row, REFERENCE), "") for row in rows)


def variant_differences(rows: Sequence[Row]) -> Figures:
    """Return {bucket: {"SUITE/MEASURE, VARIANT": figure}} of each variant minus the plain item of its pair."""
    plain = {(row["suite"], row["pair"]): row for row in rows if row.get("pair") and not row.get("variant")}
    return _paired(
        (row, _tallies(plain[row["suite"], row["pair"]], POLICY), f", {row['variant']}")
        for row in rows
        if row.get("variant") and (row["suite"], row["pair"]) in plain
    )


def paired_figure(pairs: Sequence[Paired]) -> Figures:
    """Return the difference of two rates over the same items: interval, n items and the p-value of a sign test.

    Of single tries the difference is twice the win rate less one, whose interval stays open when every item comes out
    alike; of items with several tries (IFEval's instructions, the words of an answer) it is that of two ratios of sums,

        R = sum_i s_i / sum_i t_i,   with the spread of  z_i = (s_i - R t_i) / mean t - (s'_i - R' t'_i) / mean t'

    Source: Cochran 1977, Sampling Techniques, section 6.
    """
    shares = [(first[0] / first[1], second[0] / second[1]) for first, second in pairs]
    wins, losses = sum(one > other for one, other in shares), sum(one < other for one, other in shares)
    if all(tries == 1 for pair in pairs for _, tries in pair):
        won = win_rate(wins, len(pairs) - wins - losses, losses)
        found = Interval(2 * won.value - 1, 2 * won.low - 1, 2 * won.high - 1, won.n)
    else:
        found = _difference_of_ratios([first for first, _ in pairs], [second for _, second in pairs])
    return {**vars(found), "p_value": sign_test(wins, losses)}


def sign_test(wins: int, losses: int) -> float:
    """Return how likely a fair coin falls as unevenly, or more so, either way (McNemar's exact test)."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _paired(matches: Iterable[tuple[Row, Mapping[str, Tally], str]]) -> Figures:
    """Compare rows with the tallies each is matched with, measure by measure; the text is added to a measure's name."""
    paired: dict[str, dict[str, list[Paired]]] = defaultdict(lambda: defaultdict(list))
    for row, others, suffix in matches:
        for measure, tally in _tallies(row, POLICY).items():
            if measure in others:
                paired[row["bucket"]][f"{row['suite']}/{measure}{suffix}"].append((tally, others[measure]))
    return {
        bucket: {name: paired_figure(pairs) for name, pairs in measures.items()} for bucket, measures in paired.items()
    }


def _difference_of_ratios(first: Sequence[Tally], second: Sequence[Tally]) -> Interval:
    sides = []
    for side in (first, second):
        ratio = sum(successes for successes, _ in side) / sum(tries for _, tries in side)
        mean_tries = sum(tries for _, tries in side) / len(side)
        sides.append((ratio, mean_tries, [(successes - ratio * tries) / mean_tries for successes, tries in side]))
    value = sides[0][0] - sides[1][0]
    deviations = [one - other for one, other in zip(sides[0][2], sides[1][2], strict=True)]
    # Half a success more and half a one less, for the width alone: items that all come out alike prove no zero.
    half = 0.5 / min(mean_tries for _, mean_tries, _ in sides)
    spread = mean_interval([*deviations, half, -half])
    half_width = (spread.high - spread.low) / 2
    return Interval(value, value - half_width, value + half_width, len(first))


def _tallies(row: Row, side: str) -> dict[str, Tally]:
    """Return a row's tallies of one side; what was tried no time says nothing."""
    return {measure: (tally[0], tally[1]) for measure, tally in row.get(side, {}).items() if tally[1]}


def _sides(rows: Sequence[Row]) -> Figures:
    return {"buckets": rates(rows), "reference": rates(rows, REFERENCE), "differences": differences(rows)}
