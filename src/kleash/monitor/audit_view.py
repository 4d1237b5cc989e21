"""The audit of a run's reward model as parts of a page: the sections of `audit_page.py`, from the run's own files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from kleash.monitor import audit_page
from kleash.monitor.markup import escape
from kleash.monitor.pages import Live
from kleash.monitor.reader import RoundFolder, Run

STAGE = "audit"


def live_audit(run: Run, name: str, *, round_number: int | None = None) -> Live:
    """Return what the audit page of a run shows. round_number: the newest audited round unless given."""
    audited = [found for found in run.rounds if STAGE in found.stages and found.stages[STAGE].is_complete]
    if not audited:
        return Live({STAGE: f'<p class="about">{_nothing(run)}</p>'})
    chosen = next((found for found in audited if found.number == round_number), audited[-1])
    summary, rows = (
        chosen.summary(STAGE),
        {file: list(chosen.rows(STAGE, file)) for file in ("probes", "pairs", "worst")},
    )
    drawn = audit_page.figures(summary, rows["pairs"])
    parts = (
        _other_rounds(audited, chosen, name),
        audit_page.audit_verdict_section(summary),
        _accepted(chosen),
        audit_page.audit_tiles(summary, rows["probes"]),
        audit_page.reasons_section(summary),
        audit_page.probes_section(rows["probes"]),
        audit_page.calibration_section(summary, drawn),
        audit_page.groups_section(summary),
        audit_page.worst_section(rows["worst"]),
    )
    return Live({STAGE: "".join(parts)}, drawn)


def _nothing(run: Run) -> str:
    if any(STAGE in found.stages for found in run.rounds):
        return "The reward model is being audited."
    return (
        "The reward model of this run was not audited. Its accuracy hardly shows what a policy could exploit: put "
        "<code>audit</code> after <code>reward</code> in the recipe's stages, or run <code>kleash audit</code>."
    )


def _other_rounds(audited: list[RoundFolder], chosen: RoundFolder, name: str) -> str:
    if len(audited) < 2:
        return ""
    links = ", ".join(
        f"<b>round {found.number}</b>"
        if found is chosen
        else f'<a href="/audit/{escape(quote(name))}?round={found.number}">round {found.number}</a>'
        for found in audited
    )
    return f'<p class="about">Audits of {links}</p>'


def _accepted(found: RoundFolder) -> str:
    """Say that the policy was trained on a model that failed, and why; nothing where it passed."""
    scorer: Any = found.settings("policy").get("scorer")
    reason = scorer.get("accept_failed_audit") if isinstance(scorer, Mapping) else None
    if found.summary(STAGE).get("verdict") != "fail" or not reason:
        return ""
    return (
        '<section class="checkup"><div class="warnings" role="note"><h3>Used all the same</h3>'
        f"<p>The policy was trained on it. The reason given: {escape(reason)}</p></div></section>"
    )
