"""Results as tables: a stage in a line, a run in a page. Pure layout; the figures come from manifests and summaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from kleash.artifacts import Artifact
from kleash.estimates import Estimate, estimate
from kleash.results import SUMMARIES, AuditSummary, JudgeBesidePeople, PolicySummary, Summary
from kleash.run_summary import RunSummary
from kleash.web.wording import MISSING, duration, length_alone, number, number_range, percent, percent_range

if TYPE_CHECKING:
    from kleash.collection.campaign import Campaign
    from kleash.collection.recorded import RecordedJudgement
    from kleash.collection.store.campaigns import CampaignProgress
    from kleash.collection.store.raters import Rater
    from kleash.maths.intervals import Interval
    from kleash.raters.monitoring import JudgeFigures

Figures = Mapping[str, Any]


def rows_table(
    headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Collection[str] = (), **looks: Any
) -> Table:
    """Return rows under headings; texts are shown as they stand. right: headings set to the right.

    looks: what `Table` takes, such as a title.
    """
    table = Table(**({"box": None, "title_justify": "left"} | looks))
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading in right else "left")
    for row in rows:
        table.add_row(*row)
    return table


def facts_table(facts: Iterable[tuple[str, str | Text]], **looks: Any) -> Table:
    """Return (name, what it is) below each other, the names faint. looks: what `Table` takes."""
    table = rows_table(("", ""), facts, show_header=False, **looks)
    table.columns[0].style = "dim"
    return table


# -------------------------------------------------------------------------------------------------- a stage in a line
def in_a_line(stage: str, artifact: Artifact, *, done_before: bool = False) -> str:
    """Return a finished stage's name, its most telling figures and the time it took."""
    summary = SUMMARIES.get(artifact.kind, PolicySummary).of(artifact)
    told = told_of(artifact.kind, summary)
    time = "done before" if done_before else duration(summary.seconds)
    return f"{stage}: {told} ({time})" if told else f"{stage} ({time})"


def told_of(kind: str, summary: Summary) -> str:
    """Return the most telling figures of an artifact of this kind."""
    from kleash.monitor.pages.rendering import fragment

    return fragment("words/stage.md", kind=kind, own=summary).strip()


def figures_table(artifact: Artifact) -> Table:
    """Return an artifact's own figures, one per row, nested ones left to its manifest."""
    facts = []
    for name, value in artifact.summary.items():
        if isinstance(value, int | float | str):
            shown = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
            facts.append((name.replace("_", " "), shown))
        elif isinstance(value, Mapping) and (figure := estimate(value)) is not None:
            facts.append((name.replace("_", " "), mean(figure)))
    return facts_table(facts)


def reasons_table(audit: Artifact) -> Table:
    """Return why a reward model failed, or what was remarked on, and where the page with the evidence is."""
    reasons = [(reason.level, reason.text) for reason in AuditSummary.of(audit).reasons]
    return facts_table([*reasons, ("page", str(audit.path / "audit.html"))])


# -------------------------------------------------------------------------------------------------- a run in a page
def result_tables(summary: RunSummary) -> list[Table]:
    """Return what a run came to: the whole, slice by slice with the worst first, and the time it took."""
    tables = [_whole(summary)]
    if summary.slices:
        tables.append(_slices(summary))
    if summary.rounds:
        tables.append(_rounds(summary))
    if summary.seconds:
        tables.append(_times(summary))
    return tables


def rate(share: Estimate | Interval | None) -> str:
    """Return a share with its interval and count, such as 68 % (66 to 70 %) of 2,000."""
    if share is None:
        return MISSING
    return f"{percent(share.value)} ({percent_range(share.low, share.high)}) of {share.n or 0:,}"


def mean(figure: Estimate | None) -> str:
    """Return a mean with its 95 % interval and count."""
    if figure is None:
        return MISSING
    return f"{number(figure.value, 3)} ({number_range(figure.low, figure.high, 3)}; n = {figure.n or 0:,})"


def _whole(summary: RunSummary) -> Table:
    facts: list[tuple[str, str | Text]] = []
    if summary.win_rate and summary.sft and summary.policy:
        kind, judge = ("gold", "") if summary.judge == "gold" else ("judge", f", judged by {summary.judge}")
        wanted = "" if summary.kl_target_nats is None else f"; target {number(summary.kl_target_nats)}"
        warning = Text("the judge is what trained the policy: believe another one", style="yellow")
        facts += [
            ("win rate against SFT", Text(f"{rate(summary.win_rate)} prompts", style="bold")),
            (f"{kind}, SFT", mean(summary.sft.interval) + judge),
            (f"{kind}, policy", Text(mean(summary.policy.interval) + judge, style="bold")),
            *([("", warning)] if summary.judge == "proxy" else []),
            ("KL to SFT", f"{number(summary.kl_nats_per_sequence)} nats per answer{wanted}"),
        ]
    if summary.beta_final is not None:
        facts += [("beta at the end", number(summary.beta_final, 4)), ("training", summary.outcome)]
    for who, heldout in (("reward model", summary.reward_model), ("implicit reward", summary.direct)):
        if heldout:
            right = f"{rate(heldout.accuracy)} held-out pairs; {length_alone(heldout.longer_wins)}"
            facts.append((f"{who} right on", right))
    if labels := summary.preferences:
        facts.append(("preferences", told_of("preferences", labels)))
    return facts_table(facts, title=f"{summary.name} (95 % intervals)")


def _slices(summary: RunSummary) -> Table:
    kind = "gold" if summary.judge == "gold" else "judge"
    rows = sorted(summary.slices.items(), key=lambda item: item[1].win_rate or 0.0)
    has_truth = all(figures.correct_sft is not None for _, figures in rows)
    headings = ["n", "win rate", f"{kind} SFT", "policy", "gain", "KL nats", "tokens SFT", "policy"]
    headings += ["right SFT", "policy"] if has_truth else []
    table = rows_table(["slice", *headings], [], right=headings, title="By slice, worst win rate first")
    for name, figures in rows:
        cells = [
            f"{figures.n or 0:,}",
            percent(figures.win_rate),
            number(figures.before),
            number(figures.after),
            number(figures.gain, signed=True),
            number(figures.kl_nats_per_sequence),
            number(figures.length_sft, 1),
            number(figures.length_policy, 1),
        ]
        cells += [percent(figures.correct_sft), percent(figures.correct_policy)] if has_truth else []
        loses = figures.win_rate is not None and figures.win_rate < 0.5
        table.add_row(Text(name), *cells, style="red" if loses else None)
    return table


def _rounds(summary: RunSummary) -> Table:
    from kleash.monitor.read.verdict import gate_in_words

    headings = ("round", "gate", "pairs", "reward model right on", "win rate against SFT", "KL nats")
    rows = [
        (
            row.round,
            gate_in_words(row),
            f"{row.pairs:,}" if row.pairs is not None else "",
            percent(row.heldout_accuracy) if row.heldout_accuracy is not None else "",
            rate(row.win_rate) if row.win_rate else "",
            number(row.kl_nats_per_sequence) if row.kl_nats_per_sequence is not None else "",
        )
        for row in summary.rounds
    ]
    return rows_table(headings, rows, title="By round")


def _times(summary: RunSummary) -> Table:
    facts = [(stage, duration(seconds)) for stage, seconds in summary.seconds.items()]
    if summary.peak_rss_mb:
        facts.append(("peak memory", f"{number(summary.peak_rss_mb, 0)} MiB"))
    table = facts_table(facts, title="Time and memory")
    table.columns[1].justify = "right"
    return table


# -------------------------------------------------------------------------------------------------------- labelling
def campaigns_table(rows: Sequence[tuple[Campaign, CampaignProgress]]) -> Table:
    """Return how far campaigns are, one per row."""
    cells = [
        (
            campaign.name,
            campaign.state,
            f"{progress.num_full:,} of {progress.target:,}",
            f"{progress.num_done:,}",
            f"{progress.num_held:,}" if progress.num_held else "",
        )
        for campaign, progress in rows
    ]
    return rows_table(("campaign", "state", "items full", "judgements", "held back"), cells)


def judges_table(figures: Sequence[JudgeFigures]) -> Table:
    """Return how AI judges do, one version per row; shares with their interval and count."""
    shares = {
        "agrees with people": "agreement_without_ties",
        "flips": "flip_rate",
        "prefers longer": "length_preference",
        "prefers first": "first_position_share",
        "unreadable": "parse_failure",
    }
    rows = [
        (
            one.judge,
            ", ".join(f"{count:,} {status}" for status, count in sorted(one.num_by_status.items())),
            f"{one.prompt_tokens:,} + {one.reply_tokens:,}",
            *(share_or_dash(getattr(one, name)) for name in shares.values()),
        )
        for one in figures
    ]
    return rows_table(("judge", "calls", "tokens", *shares), rows)


def beside_people_table(rows: Sequence[JudgeBesidePeople]) -> Table | None:
    """Return how each judge agrees with people, over all and group by group; None where they met on nothing."""
    lines = []
    for row in rows:
        groups = {"all": row.overall} | {name: found for named in row.groups.values() for name, found in named.items()}
        for name, found in groups.items():
            lines.append((row.judge, name, rate(found.percent), rate(found.decided), mean(found.kappa)))
        for what, own, theirs in (("longer", row.longer, row.people_longer), ("first", row.first, row.people_first)):
            lines.append((row.judge, f"prefers the {what}", rate(own), f"people {rate(theirs)}", ""))
    return rows_table(("judge", "comparisons", "agrees with people", "ties apart", "kappa"), lines) if lines else None


def judges_status_table(
    raters: Sequence[Rater],
    *,
    recorded: Sequence[RecordedJudgement],
    counting: Sequence[RecordedJudgement],
    figures: Mapping[str, JudgeFigures],
) -> Table | None:
    """Return what each AI judge gave and what of it counts; None for a campaign without AI judges.

    recorded, counting: all judgements, and those that demotions left in.  figures: over all time, by judge.
    """
    num_recorded, num_counting = (Counter(one.judgement.rater for one in rows) for rows in (recorded, counting))
    rows = [
        (
            judge.name,
            f"{num_recorded[judge.name]:,}",
            f"{num_counting[judge.name]:,}",
            share_or_dash(figures[judge.name].agreement_without_ties),
            share_or_dash(figures[judge.name].flip_rate),
            judge.demotion or "-",
        )
        for judge in raters
        if judge.kind == "ai"
    ]
    headings = ("judge", "verdicts", "count", "agrees with people", "flips", "demoted")
    return rows_table(headings, rows) if rows else None


def share_or_dash(share: Interval) -> str:
    return rate(share) if share.n else "-"
