"""Write `report.html`: one file that shows a whole run, works offline and can be sent to anyone.

What holds it together, and hostile text inert, is `single_page.py`. What the sections show is in `sections.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kleash.estimates import finite
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.pages.sections import shown_of
from kleash.monitor.pages.single_page import single_page, write_page
from kleash.monitor.read.findings import findings_of
from kleash.monitor.read.reader import RunFolder, newest_round, read_run
from kleash.monitor.read.samples import Sample
from kleash.monitor.read.verdict import gate_in_words
from kleash.results import GateSummary

REPORT_FILE = "report.html"
SECTIONS = (
    *("verdict", "tiles", "checks", "training", "alarms", "distance", "slices", "terms", "aims", "suites", "judges"),
    *("reward-model", "samples", "rounds", "times", "provenance", "settings"),
)
"""The templates of the sections from top to bottom."""


def write_report(run_folder: Path) -> Path:
    """Write the report of a run, finished or not, into its folder and return the page's path.

    The old page stays whole until the new one is. Raises RunError if there is no run or the disk refuses.
    """
    return write_page("report", Path(run_folder) / REPORT_FILE, render(read_run(Path(run_folder))))


def render(run: RunFolder) -> str:
    """Return the page as text."""
    shown = shown_of(run, newest_round(run))
    shown["rounds"] = [
        (folder.number, findings_of(run, folder), gate_in_words(folder.summary("gate", GateSummary)))
        for folder in (run.rounds if len(run.rounds) > 1 else ())
    ]
    return single_page(
        run.name,
        [fragment(f"parts/{name}.html", **shown) for name in SECTIONS],
        kind="run report",
        figures=shown["drawn"],
        introduction=fragment("parts/stages.html", **shown),
        samples=[sample_json(sample) for sample in shown["findings"].samples],
    )


def sample_json(sample: Sample) -> dict[str, Any]:
    """Return what the samples browser needs of one sample; the page shows each text as text."""
    return vars(sample) | {"gain": sample.gain, "before": _side(sample.before), "after": _side(sample.after)}


# ----------------------------------------------------------------------------------------------------------- inside
def _side(answer: Mapping[str, Any]) -> dict[str, Any]:
    parts = answer.get("judge_parts")
    parts = {str(name): finite(part) for name, part in parts.items()} if isinstance(parts, Mapping) else {}
    is_correct = parts.pop("is_correct", None)
    return {
        "text": str(answer.get("text") or ""),
        "score": finite(answer.get("score")),
        "judge": finite(answer.get("judge")),
        "parts": {name: part for name, part in parts.items() if part},
        "correct": None if is_correct is None else is_correct > 0.5,
        "tokens": finite(answer.get("length_tokens")),
    }
