"""`kleash data check`: what a file was understood as, what it lost, and what is odd about it, before compute is spent.

`inspect_file` reads and counts; `render` makes a page of it for the terminal. The text of a row is shown as it stands,
never as markup.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kleash import formats
from kleash.data.preferences import usable_pairs
from kleash.data.prompts import Prompted, deduplicate, leaking_prompts, normalise, prompt_of
from kleash.errors import DataError
from kleash.formats import Kind, Loaded
from kleash.maths.intervals import Interval, wilson_interval
from kleash.records import Comparison, Completion, Demonstration, Judgement, LabelledCompletion, Preference, Prompt

NUM_BAD_ROWS_SHOWN = 10
NUM_EXAMPLES_SHOWN = 2
NUM_BINS = 8
BAR_WIDTH = 30
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Lengths:
    """How long the texts of one part of a file are, in one unit."""

    part: str
    unit: str
    values: tuple[int, ...]

    def quantile(self, share: float) -> int:
        ordered = sorted(self.values)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def bins(self) -> list[tuple[int, int, int]]:
        """Return (from, to, how many) for NUM_BINS equal bins up to the 99th percentile and one for the rest."""
        low, high = min(self.values), self.quantile(0.99)
        width = max(1, -(-(high - low + 1) // NUM_BINS))
        counts = Counter(min((value - low) // width, NUM_BINS) for value in self.values)
        edges = [(low + width * index, low + width * (index + 1) - 1) for index in range(NUM_BINS)]
        edges.append((low + width * NUM_BINS, max(self.values)))
        bins = [(start, end, counts[index]) for index, (start, end) in enumerate(edges)]
        return [(start, end, count) for start, end, count in bins if count or start <= high]


@dataclass(frozen=True)
class PreferenceFigures:
    """What the pairs of a file say before any model is trained on them.

    longer_wins: share of pairs with a winner and two lengths in which the longer answer (characters) won: what a
    reward model that only counts would reach. first_wins: share won by the answer that stands first. Empty answers are
    counted once per row. conflicts: pairs of answers that are preferred both ways round in different rows.
    """

    num_rows: int
    num_pairs: int
    num_ties: int
    num_split_votes: int
    longer_wins: Interval
    first_wins: Interval
    num_empty_answers: int
    num_near_identical: int
    num_conflicts: int
    left_out: dict[str, int]
    strengths: dict[str, int]


@dataclass(frozen=True)
class Report:
    """Everything `kleash data check` found out about a file.

    num_normalised_duplicates: repeats but for case, white space and Unicode form; unlike exact ones they are kept.
    desirable: share of thumbs up, of labelled answers only. leaks: prompts that `against` holds too; None = not asked.
    """

    path: str
    kind: Kind
    loaded: Loaded[Any]
    lengths: tuple[Lengths, ...]
    slices: dict[str, dict[str, int]]
    num_prompts: int
    num_normalised_duplicates: int
    preferences: PreferenceFigures | None = None
    desirable: Interval | None = None
    against: str | None = None
    leaks: tuple[Prompt, ...] | None = None


def inspect_file(
    path: str | Path,
    *,
    kind: Kind | None = None,
    tokenizer: str | Path | None = None,
    against: str | Path | None = None,
    format: str | None = None,
    slice_columns: Sequence[str] = (),
    strict: bool = False,
) -> Report:
    """Read a file as what it is mainly kept for, or as `kind`, and measure it.

    tokenizer: a model folder, to measure lengths in tokens. against: a second file, such as the training set of a test
    set, whose prompts should not occur here. Raises DataError when the file, or the tokenizer, cannot be used.
    """
    kind = kind or formats.kind_of_file(path, format=format)
    if kind == "judgements":
        return _report_on_judgements(path, strict=strict, format=format)
    loaded = formats.read(path, kind, strict=strict, format=format, slice_columns=slice_columns)
    records: list[Prompted] = loaded.records
    leaks = None if against is None else tuple(leaking_prompts(records, formats.read(against, "prompts").records))
    thumbs = [row.is_desirable for row in records if isinstance(row, LabelledCompletion)]
    return Report(
        path=str(path),
        kind=kind,
        loaded=loaded,
        lengths=_lengths(records, _num_tokens(tokenizer) if tokenizer else None),
        slices=_slices(records),
        num_prompts=len({prompt_of(record).id for record in records}),
        # Equal samples are no fault, so they are not sought.
        num_normalised_duplicates=0 if kind == "completions" else deduplicate(records).num_normalised,
        preferences=preference_figures([row for row in records if isinstance(row, Preference)])
        if kind == "preferences"
        else None,
        desirable=wilson_interval(sum(thumbs), len(thumbs)) if thumbs else None,
        against=None if against is None else str(against),
        leaks=leaks,
    )


def preference_figures(preferences: Sequence[Preference]) -> PreferenceFigures:
    """Count what the pairs that will be trained on say."""
    num_pairs = num_ties = num_split = num_first = num_longer = num_lengths = num_alike = 0
    directions: dict[tuple[str, frozenset[str]], set[str]] = defaultdict(set)
    strengths: Counter[str] = Counter()
    for row, pair in usable_pairs(preferences):
        first, second = row.completions[pair.first], row.completions[pair.second]
        num_pairs += 1
        num_split += 0 < pair.label < 1 and pair.label != 0.5
        num_alike += normalise(first) == normalise(second)
        strengths.update([pair.strength] if pair.strength else [])
        if pair.label == 0.5:
            num_ties += 1
            continue
        winner, loser = (first, second) if pair.label > 0.5 else (second, first)
        num_first += pair.label > 0.5
        num_lengths += len(winner) != len(loser)
        num_longer += len(winner) > len(loser)
        directions[row.prompt.id, frozenset((first, second))].add(winner)
    return PreferenceFigures(
        num_rows=len(preferences),
        num_pairs=num_pairs,
        num_ties=num_ties,
        num_split_votes=num_split,
        longer_wins=wilson_interval(num_longer, num_lengths),
        first_wins=wilson_interval(num_first, num_pairs - num_ties),
        num_empty_answers=sum(any(not text.strip() for text in row.completions) for row in preferences),
        num_near_identical=num_alike,
        num_conflicts=sum(len(winners) > 1 for winners in directions.values()),
        left_out=dict(Counter(row.left_out for row in preferences if row.left_out)),
        strengths=dict(strengths),
    )


def _report_on_judgements(path: str | Path, *, strict: bool, format: str | None) -> Report:
    loaded: Loaded[Judgement] = formats.read(path, "judgements", strict=strict, format=format)
    slices = {
        name: dict(Counter(str(getattr(row, name)) for row in loaded.records))
        for name in ("rater", "rater_kind", "outcome")
    }
    num_comparisons = len({row.comparison_id for row in loaded.records})
    return Report(str(path), "judgements", loaded, (), slices, num_comparisons, 0)


def _answers_of(record: Prompted) -> tuple[str, ...]:
    match record:
        case Demonstration() | LabelledCompletion():
            return (record.completion,)
        case Completion():
            return (record.text,)
        case Preference() | Comparison():
            return record.completions
    return ()


def _lengths(records: Sequence[Prompted], num_tokens: Callable[[str], int] | None) -> tuple[Lengths, ...]:
    prompts = list({prompt_of(record).id: prompt_of(record).text for record in records}.values())
    answers = [answer for record in records for answer in _answers_of(record)]
    units: dict[str, Callable[[str], int]] = {"characters": len, "words": lambda text: len(text.split())}
    if num_tokens:
        units["tokens"] = num_tokens
    return tuple(
        Lengths(part, unit, tuple(measure(text) for text in texts))
        for part, texts in (("prompt", prompts), ("completion", answers))
        for unit, measure in units.items()
        if any(texts)
    )


def _num_tokens(folder: str | Path) -> Callable[[str], int]:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=Path(folder).exists())
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(" .:")
        raise DataError(
            f"No tokenizer could be loaded from {folder}: {reason}. Expected a model folder with a tokenizer. Name "
            "one, or leave the tokenizer out to measure in characters and words."
        ) from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _slices(records: Iterable[Prompted]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for dimension, value in prompt_of(record).dimensions.items():
            counts[dimension][value] += 1
    return {dimension: dict(counter.most_common()) for dimension, counter in sorted(counts.items())}


def render(report: Report) -> RenderableType:
    """Return the report as something a rich console prints."""
    parts: list[RenderableType] = [_title(report.path), _summary(report)]
    if report.loaded.bad_rows:
        parts += [_title("Bad rows"), _bad_rows(report)]
    parts += [_title("Examples"), _examples(report)]
    if report.preferences:
        parts += [_title("Preferences"), _preference_table(report.preferences)]
    if report.slices:
        parts += [_title("Slices"), _slices_table(report.slices)]
    for lengths in report.lengths:
        middle, high = lengths.quantile(0.5), lengths.quantile(0.95)
        name = f"{lengths.part.capitalize()} length in {lengths.unit}"
        parts += [_title(f"{name}: median {middle:,}, 95 % up to {high:,}"), _histogram(lengths)]
    return Group(*parts)


def _title(words: str) -> Text:
    return Text(f"\n{words}", style="bold")


def _table(*columns: str) -> Table:
    table = Table(box=None, show_header=bool(columns))
    for column in columns or ("", ""):
        table.add_column(column, overflow="fold")
    return table


def _summary(report: Report) -> Table:
    loaded = report.loaded
    table = _table()
    table.add_row("understood as", f"{report.kind} (format {loaded.format})")
    table.add_row("rows", f"{loaded.num_rows:,}")
    table.add_row("records kept", f"{len(loaded.records):,}")
    table.add_row("comparisons" if report.kind == "judgements" else "different prompts", f"{report.num_prompts:,}")
    table.add_row("bad rows left out", Text(f"{len(loaded.bad_rows):,}", style="red" if loaded.bad_rows else "green"))
    table.add_row("exact repeats left out", f"{loaded.num_duplicates:,}")
    table.add_row("repeats but for case and space", f"{report.num_normalised_duplicates:,} (kept)")
    if report.desirable:
        table.add_row("thumbs up", _percent(report.desirable))
    if report.leaks is not None:
        style = "red" if report.leaks else "green"
        table.add_row(f"prompts also in {report.against}", Text(f"{len(report.leaks):,}", style=style))
    if loaded.columns_unused:
        names = ", ".join(loaded.columns_unused)
        table.add_row("columns not used", f"{names} (name some as slice columns to keep them)")
    return table


def _bad_rows(report: Report) -> Table:
    bad_rows = report.loaded.bad_rows
    table = _table("where", "what is wrong", "what to do")
    for row in bad_rows[:NUM_BAD_ROWS_SHOWN]:
        where = f"line {row.line:,}" if row.file == report.path else f"{Path(row.file).name}:{row.line}"
        table.add_row(Text(where), Text(row.reason), Text(row.fix))
    if len(bad_rows) > NUM_BAD_ROWS_SHOWN:
        table.add_row("", f"and {len(bad_rows) - NUM_BAD_ROWS_SHOWN:,} more", "")
    return table


def _examples(report: Report) -> Table:
    table = _table()
    for record in report.loaded.records[:NUM_EXAMPLES_SHOWN]:
        if isinstance(record, Judgement):
            table.add_row(record.rater, f"{record.outcome} {list(record.ranks)}")
            continue
        table.add_row("prompt", Text(_shortened(prompt_of(record).text)))
        for number, answer in enumerate(_answers_of(record), start=1):
            table.add_row(f"answer {number}", Text(_shortened(answer)))
        if isinstance(record, Preference):
            verdicts = [f"{pair.first + 1} over {pair.second + 1}: {pair.label:.2g}" for pair in record.pairs]
            table.add_row("votes for the first", record.left_out or "; ".join(verdicts))
        table.add_row("", "")
    return table


def _preference_table(figures: PreferenceFigures) -> Table:
    table = _table()
    table.add_row("pairs to train on", f"{figures.num_pairs:,} in {figures.num_rows:,} rows")
    table.add_row("ties", f"{figures.num_ties:,}")
    table.add_row("split votes", f"{figures.num_split_votes:,}")
    table.add_row("longer answer wins", _percent(figures.longer_wins))
    table.add_row("first answer wins", _percent(figures.first_wins))
    table.add_row("rows with an empty answer", f"{figures.num_empty_answers:,}")
    table.add_row("pairs alike but for case and space", f"{figures.num_near_identical:,}")
    table.add_row("pairs preferred both ways round", f"{figures.num_conflicts:,}")
    for reason, count in figures.left_out.items():
        table.add_row(f"left out: {reason}", f"{count:,}")
    for strength, count in figures.strengths.items():
        table.add_row(f"strength: {strength}", f"{count:,}")
    return table


def _slices_table(slices: dict[str, dict[str, int]]) -> Table:
    table = _table("dimension", "value", "records")
    for dimension, counts in slices.items():
        for value, count in counts.items():
            table.add_row(Text(dimension), Text(value), f"{count:,}")
    return table


def _histogram(lengths: Lengths) -> Table:
    table = _table()
    bins = lengths.bins()
    most = max(count for _, _, count in bins)
    for start, end, count in bins:
        bar = "█" * round(BAR_WIDTH * count / most) or ("▏" if count else "")
        table.add_row(f"{start:,} to {end:,}" if end > start else f"{start:,}", f"{bar} {count:,}")
    return table


def _percent(interval: Interval) -> str:
    if not interval.n:
        return "none to count"
    return f"{interval.value:.1%} (95 % from {interval.low:.1%} to {interval.high:.1%}, n = {interval.n:,})"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ... ({len(text):,} characters)"
