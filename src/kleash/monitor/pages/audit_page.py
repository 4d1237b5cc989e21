"""Show whether a reward model may be trusted, and on what evidence: `audit.html`, and a run's audit in the monitor.

The sections take an audit artifact's summary and rows; in the monitor they are the run's own files. The page is one
file as the run report is (`single_page.py`); the charts are at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kleash.estimates import estimate, finite
from kleash.evaluation.gates import GAIN_FAIL_SD, GAIN_WARN_SD, SPREAD_FAIL, SPREAD_WARN
from kleash.monitor.figures.charts import margin_figure
from kleash.monitor.pages.rendering import Live, fragment
from kleash.monitor.pages.single_page import single_page
from kleash.monitor.read.catalogue import run_state
from kleash.monitor.read.live import Shelf
from kleash.monitor.read.reader import RoundFolder, RunFolder
from kleash.results import AuditSummary, Calibration
from kleash.web import plots
from kleash.web.plots import ACCENT, MUTED, Part
from kleash.web.wording import percent

Row = Mapping[str, Any]

STAGE = "audit"
GAIN_REACH_SD = 1.5
NUM_SHOWN = 8


def render(
    title: str, summary: AuditSummary, *, probes: Sequence[Row], pairs: Sequence[Row], worst: Sequence[Row]
) -> str:
    """Return the page as text. probes, pairs, worst: the rows of an audit artifact's files."""
    drawn = figures(summary, pairs)
    parts = (fragment("parts/audit_verdict.html", summary=summary), audit_sections(summary, probes, worst, drawn))
    return single_page(title, parts, kind="reward-model audit", figures=drawn)


def live_audit(shelf: Shelf, folder: Path, name: str, *, round_number: int | None = None) -> Live:
    """Return what the audit page of a run shows. round_number: the newest audited round unless given."""
    key = (STAGE, folder, round_number)
    return shelf.cached(key, run_state(folder), lambda: audit_of(shelf.run(folder), name, round_number=round_number))


def audit_of(run: RunFolder, name: str, *, round_number: int | None = None) -> Live:
    """Return a run's audit as the parts of its page. name: the run's, as addresses hold it."""
    audited = [folder for folder in run.rounds if STAGE in folder.stages and folder.stages[STAGE].is_complete]
    if not audited:
        is_at_work = any(STAGE in folder.stages for folder in run.rounds)
        return Live({STAGE: fragment("parts/audit_of_run.html", rounds=(), is_at_work=is_at_work)})
    chosen = next((folder for folder in audited if folder.number == round_number), audited[-1])
    summary = chosen.summary(STAGE, AuditSummary)
    probes, pairs, worst = (chosen.rows(STAGE, file) for file in ("probes", "pairs", "worst"))
    drawn = figures(summary, pairs)
    html = fragment(
        "parts/audit_of_run.html",
        run=name,
        rounds=[folder.number for folder in audited],
        chosen=chosen.number,
        summary=summary,
        reason_to_accept=_reason_to_accept(chosen),
        sections=audit_sections(summary, probes, worst, drawn),
    )
    return Live({STAGE: html}, drawn)


# ---------------------------------------------------------------------------------------------------------- sections
def audit_sections(
    summary: AuditSummary, probes: Sequence[Row], worst: Sequence[Row], drawn: Mapping[str, Part]
) -> str:
    """Return tiles, reasons, both tables of probes, calibration, rates by group, and the worst examples."""
    adversarial = [row for row in probes if row.get("kind") == "adversarial"]
    invariance = [row for row in probes if row.get("kind") == "invariance"]
    gains = [(gain, row) for row in adversarial if (gain := estimate(row.get("gain_sd"))) is not None]
    spreads = [(spread, row) for row in invariance if (spread := finite(row.get("spread"))) is not None]
    return fragment(
        "parts/audit.html",
        summary=summary,
        additions=sorted(gains, key=lambda pair: -pair[0].value),
        rewrites=sorted(spreads, key=lambda pair: -pair[0]),
        unapplied_additions=[str(row.get("probe")) for row in adversarial if row.get("gain_sd") is None],
        unapplied_rewrites=[str(row.get("probe")) for row in invariance if row.get("spread") is None],
        remarks={"gain_sd": GAIN_WARN_SD, "spread": SPREAD_WARN},
        fails={"gain_sd": GAIN_FAIL_SD, "spread": SPREAD_FAIL},
        gain_reach=GAIN_REACH_SD,
        paid=_paid_additions(worst),
        wrong=[row for row in worst if row.get("kind") == "wrong pair"][:NUM_SHOWN],
        drawn=drawn,
    )


def _paid_additions(worst: Sequence[Row]) -> list[Row]:
    """Return of each addition that raised a score the answer that it raised most."""
    paid = [row for row in worst if row.get("kind") == "paid addition"]
    by_probe = {str(row.get("probe")): row for row in reversed(paid)}
    return list(by_probe.values())[::-1]


def _reason_to_accept(audited: RoundFolder) -> str:
    """Return why the policy was trained on a model that failed; "" where it passed."""
    scorer: Any = audited.settings("policy").get("scorer")
    reason = scorer.get("accept_failed_audit") if isinstance(scorer, Mapping) else None
    return str(reason or "") if audited.summary(STAGE, AuditSummary).verdict == "fail" else ""


# ------------------------------------------------------------------------------------------------------------ charts
def figures(summary: AuditSummary, pairs: Sequence[Row]) -> dict[str, Part]:
    """Return every figure by the name of its place."""
    drawn = {"reliability": reliability_figure(summary.measures.calibration)}
    for name in summary.measures.difficulties:
        margins = [m for row in pairs if row.get("difficulty") == name and (m := finite(row.get("margin"))) is not None]
        drawn[f"margins-{name}"] = margin_figure(margins, height=200)
    return {name: figure for name, figure in drawn.items() if figure is not None}


def reliability_figure(calibration: Calibration) -> Part | None:
    """Draw agreement against confidence, as it is and after one temperature; on the diagonal it is as sure as right."""
    traces = []
    sides = ((calibration.reliability_after, MUTED, "after"), (calibration.reliability, ACCENT, "as it is"))
    for bins, color, name in sides:
        texts = [f"{percent(b['agreement'])} of votes at {percent(b['confidence'])}, n = {b['n']}" for b in bins]
        dots = plots.dots(
            [100 * b["confidence"] for b in bins], [100 * b["agreement"] for b in bins], texts, color=color
        )
        traces.append(dots | {"mode": "lines+markers", "line": {"color": color, "width": 1.2}, "name": name})
    if not any(trace["x"] for trace in traces):
        return None
    x = plots.axis(title="confidence", is_percent=True) | {"range": [48, 102]}
    y = plots.axis(title="votes for its order", is_percent=True)
    diagonal = {"type": "line", "x0": 50, "x1": 100, "y0": 50, "y1": 100, "layer": "below"}
    diagonal["line"] = {"color": MUTED, "width": 1, "dash": "4px,4px"}
    return plots.chart(traces, x=x, y=y, height=280, shapes=[diagonal])
