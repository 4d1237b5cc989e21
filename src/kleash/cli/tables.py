"""Results as tables: a stage in a line, a run in a page. Pure layout; the figures come from manifests and summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from kleash.artifacts import Artifact
from kleash.web.wording import duration, length_alone, number, number_range, percent, percent_range

if TYPE_CHECKING:
    from kleash.collection.campaign import Campaign
    from kleash.collection.gates import Gate
    from kleash.collection.store.accounts import Account
    from kleash.collection.store.campaigns import CampaignProgress
    from kleash.raters.monitoring import JudgeFigures

Figures = Mapping[str, Any]


# -------------------------------------------------------------------------------------------------- a stage in a line
def in_a_line(stage: str, artifact: Artifact, *, done_before: bool = False) -> str:
    """Return a finished stage's name, its most telling figures and the time it took."""
    figures = artifact.summary
    told = ", ".join(filter(None, _telling(artifact.kind, figures)))
    time = "done before" if done_before else duration(figures.get("seconds"))
    return f"{stage}: {told} ({time})" if told else f"{stage} ({time})"


def _telling(kind: str, figures: Figures) -> list[str]:
    match kind:
        case "world":
            return [f"{figures['demonstrations']:,} demonstrations", f"{figures['prompts']:,} prompts"]
        case "candidates":
            cut = percent(figures.get("truncation_share"))
            return [f"{figures['answers']:,} answers to {figures['prompts']:,} prompts", f"{cut} cut off"]
        case "preferences":
            agreement = figures.get("agreement")
            pairs = f"{figures['pairs']:,} pairs"
            return [pairs, f"raters agree on {percent(agreement)}" if agreement is not None else ""]
        case "reward":
            return _telling_of_heldout(figures)
        case "audit":
            first = [f"{reason['level']}s by {reason['measure']}" for reason in figures["reasons"][:1]]
            return [figures["verdict"], *first]
        case "suites":
            told = [f"{figures['items']:,} items"]
            broken = figures.get("regression", {}).get("newly_broken")
            return told if broken is None else [*told, f"{broken:,} newly broken"]
        case "evaluation":
            return [f"win rate {rate(figures['win_rate'])} prompts", f"judged by {figures['judge']}"]
    return _telling_of_policy(figures)


def _telling_of_policy(figures: Figures) -> list[str]:
    told = [f"{figures['algorithm'].upper()}"] if "algorithm" in figures else []
    told += [f"{figures['steps']:,} steps"] if "steps" in figures else []
    told += [f"{figures['rows_trained']:,} rows"] if "rows_trained" in figures else []
    if "beta_final" in figures:
        told += [f"beta {number(figures['beta_final'], 3)}", str(figures["outcome"])]
    if "heldout_loss_nats_per_token" in figures:
        told.append(f"held-out loss {number(figures['heldout_loss_nats_per_token'], 3)} nats per token")
    return told + _telling_of_heldout(figures)


def _telling_of_heldout(figures: Figures) -> list[str]:
    if "heldout_accuracy" not in figures:
        return []
    right = f"right on {rate(figures['heldout_accuracy'])} held-out pairs"
    return [right, length_alone(figures.get("longer_wins"))]


def artifact_tables(artifact: Artifact) -> list[Table]:
    """Return what an artifact came to, as its kind is best read."""
    if artifact.kind == "suites":
        from kleash.cli.suite_tables import suite_tables

        return suite_tables(artifact.summary)
    if artifact.kind == "audit":
        return [figures_table(artifact), _reasons(artifact)]
    return [figures_table(artifact)]


def figures_table(artifact: Artifact) -> Table:
    """Return an artifact's own figures, one per row, nested ones left to its manifest."""
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in artifact.summary.items():
        if isinstance(value, int | float | str):
            shown = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
            table.add_row(name.replace("_", " "), Text(shown))
        elif isinstance(value, Mapping) and {"value", "low", "high", "n"} <= value.keys():
            table.add_row(name.replace("_", " "), mean(value))
    return table


def _reasons(audit: Artifact) -> Table:
    """Return why a reward model failed, or what was remarked on, and where the page with the evidence is."""
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for reason in audit.summary["reasons"]:
        table.add_row(reason["level"], Text(reason["text"]))
    table.add_row("page", Text(str(audit.path / "audit.html")))
    return table


# -------------------------------------------------------------------------------------------------- a run in a page
def result_tables(summary: Figures) -> list[Table]:
    """Return what a run came to: the whole, slice by slice with the worst first, and the time it took."""
    tables = [_whole(summary)]
    if summary.get("slices"):
        tables.append(_slices(summary))
    if summary.get("rounds"):
        tables.append(_rounds(summary))
    if summary.get("seconds"):
        tables.append(_times(summary))
    return tables


def rate(interval: Figures) -> str:
    """Return a share with its interval and count, such as 68 % (66 to 70 %) of 2,000."""
    spread = percent_range(interval.get("low"), interval.get("high"))
    return f"{percent(interval['value'])} ({spread}) of {interval['n']:,}"


def mean(interval: Figures) -> str:
    """Return a mean with its 95 % interval and count."""
    spread = number_range(interval.get("low"), interval.get("high"), 3)
    return f"{number(interval['value'], 3)} ({spread}; n = {interval['n']:,})"


def _whole(summary: Figures) -> Table:
    table = Table(title=f"{summary['name']} (95 % intervals)", box=None, show_header=False, title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    kind = _kind(summary)
    if "win_rate" in summary:
        table.add_row("win rate against SFT", Text(f"{rate(summary['win_rate'])} prompts", style="bold"))
        judge = "" if kind == "gold" else f", judged by {summary['judge']}"
        table.add_row(f"{kind}, SFT", mean(summary["sft"]["interval"]) + judge)
        table.add_row(f"{kind}, policy", Text(mean(summary["policy"]["interval"]) + judge, style="bold"))
        if summary["judge"] == "proxy":
            table.add_row("", Text("the judge is what trained the policy: believe another one", style="yellow"))
        target = summary.get("kl_target_nats")
        wanted = f"; target {number(target)}" if target is not None else ""
        table.add_row("KL to SFT", f"{number(summary['kl_nats_per_sequence'])} nats per answer{wanted}")
    if "beta_final" in summary:
        table.add_row("beta at the end", number(summary["beta_final"], 4))
        table.add_row("training", str(summary["outcome"]))
    for name, who in (("reward_model", "reward model"), ("direct", "implicit reward")):
        if name in summary:
            accuracy = {**summary[name], "value": summary[name]["heldout_accuracy"]}
            baseline = length_alone(summary[name].get("longer_wins"))
            table.add_row(f"{who} right on", f"{rate(accuracy)} held-out pairs; {baseline}")
    if "preferences" in summary:
        figures = summary["preferences"]
        agreement = f", raters agree on {percent(figures['agreement'])}" if figures["agreement"] is not None else ""
        table.add_row("preferences", f"{figures['pairs']:,} pairs{agreement}")
    return table


def _slices(summary: Figures) -> Table:
    kind = _kind(summary)
    rows = sorted(summary["slices"].items(), key=lambda item: item[1]["win_rate"])
    has_truth = all("correct_sft" in figures for _, figures in rows)
    table = Table(title="By slice, worst win rate first", title_justify="left", box=None)
    table.add_column("slice")
    headings = ["n", "win rate", f"{kind} SFT", "policy", "gain", "KL nats", "tokens SFT", "policy"]
    for heading in [*headings, *(["right SFT", "policy"] if has_truth else [])]:
        table.add_column(heading, justify="right")
    for name, figures in rows:
        before, after = figures[f"{kind}_sft"], figures[f"{kind}_policy"]
        cells = [
            f"{figures['n']:,}",
            percent(figures["win_rate"]),
            number(before),
            number(after),
            number(after - before, signed=True),
            number(figures["kl_nats_per_sequence"]),
            number(figures["length_sft"], 1),
            number(figures["length_policy"], 1),
        ]
        if has_truth:
            cells += [percent(figures["correct_sft"]), percent(figures["correct_policy"])]
        table.add_row(Text(name), *cells, style="red" if figures["win_rate"] < 0.5 else None)
    return table


def _rounds(summary: Figures) -> Table:
    from kleash.monitor.read.verdict import gate_told

    headings = ("round", "gate", "pairs", "reward model right on", "win rate against SFT", "KL nats")
    rows = []
    for row in summary["rounds"]:
        rows.append(
            (
                row["round"],
                gate_told(row),
                f"{row['pairs']:,}" if "pairs" in row else "",
                percent(row["heldout_accuracy"]) if "heldout_accuracy" in row else "",
                rate(row["win_rate"]) if "win_rate" in row else "",
                number(row["kl_nats_per_sequence"]) if "kl_nats_per_sequence" in row else "",
            )
        )
    table = rows_table(headings, rows)
    table.title, table.title_justify = "By round", "left"
    return table


def _times(summary: Figures) -> Table:
    table = Table(title="Time and memory", title_justify="left", box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for stage, seconds in summary["seconds"].items():
        table.add_row(stage, duration(seconds))
    if summary.get("peak_rss_mb"):
        table.add_row("peak memory", f"{number(summary['peak_rss_mb'], 0)} MiB")
    return table


def _kind(summary: Figures) -> str:
    return "gold" if summary.get("judge") == "gold" else "judge"


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


def gates_table(gates: Sequence[Gate]) -> Table:
    """Return whether labels can be trusted, gate by gate."""
    return rows_table(
        ("gate", "state", "why"), [(gate.name.replace("_", " "), gate.state, gate.reason) for gate in gates]
    )


def accounts_table(accounts: Sequence[Account]) -> Table:
    """Return who may sign in."""
    return rows_table(
        ("name", "role", "active"),
        [(account.rater.name, account.role, "yes" if account.is_active else "no") for account in accounts],
    )


def judges_table(figures: Sequence[JudgeFigures]) -> Table:
    """Return how AI judges do, one version per row; shares with their interval and count."""
    cells = [
        (
            one.judge,
            ", ".join(f"{count:,} {status}" for status, count in sorted(one.num_by_status.items())),
            *(
                rate(vars(figure)) if figure.n else "-"
                for figure in (
                    one.agreement_without_ties,
                    one.flip_rate,
                    one.length_preference,
                    one.first_position_share,
                    one.parse_failure,
                )
            ),
        )
        for one in figures
    ]
    headings = ("judge", "calls", "agrees with people", "flips", "prefers longer", "prefers first", "unreadable")
    return rows_table(headings, cells)


def rows_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return plain rows of text under headings; texts are shown as they stand, never as markup."""
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
