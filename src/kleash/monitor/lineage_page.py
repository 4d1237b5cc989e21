"""The lineage of a run as parts of a page: the graph, and what the chosen artifact is, was made from and went into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kleash.artifacts import MANIFEST, Artifact
from kleash.errors import ArtifactError
from kleash.lineage import Lineage, Link, lineage_of
from kleash.monitor.lineage_graph import draw, title_of
from kleash.monitor.markup import escape, num_cases
from kleash.monitor.measures import estimate, whole
from kleash.monitor.pages import Live
from kleash.monitor.provenance import flat_settings
from kleash.web.wording import count, number, number_range, percent

# Figures in a summary that are lists or tables of their own are shown on other pages.
LONGEST_VALUE = 300


def lineage_state(folder: Path) -> object:
    """Return what a run's lineage depends on: its manifests, and which runs lie beside it."""
    manifests = [*folder.glob(f"round-*/*/{MANIFEST}"), *folder.glob(f"*/{MANIFEST}")]
    times = sorted((str(path), path.stat().st_mtime_ns) for path in manifests)
    return times, sorted(path.name for path in folder.absolute().parent.iterdir())


def live_lineage(folder: Path, run: str, *, chosen: str = "") -> Live:
    """Return the lineage page of the run in `folder`. chosen: an artifact's id; the newest result unless given."""
    try:
        lineage = lineage_of(folder)
    except ArtifactError as error:
        return Live(html={"lineage": f'<p class="about">{escape(error)}</p>', "details": ""})
    if chosen not in lineage.artifacts:
        chosen = lineage.focus[-1]
    here = folder.absolute().name

    def address(identity: str) -> str:
        return f"/lineage/{quote(run)}?artifact={quote(identity, safe='')}#details"

    graph = draw(lineage, address=address, note=figure_of, chosen=chosen, here=here)
    return Live(html={"lineage": graph, "details": _details(lineage, chosen, run, here)})


def figure_of(artifact: Artifact) -> str:
    """Return the one figure that says most of an artifact, in a few words."""
    told = artifact.summary
    if not artifact.created:
        return f"{artifact.kind}, from outside"
    for key, words in _TELLING.items():
        if told.get(key) is None:
            continue
        if (found := estimate(told[key])) is None:
            return f"{words} {told[key]}"
        is_share = key in ("heldout_accuracy", "win_rate")
        shown = percent(found.value) if is_share else number(found.value, 3) if found.value % 1 else count(found.value)
        return f"{words} {shown}" if is_share else f"{shown} {words}"
    return artifact.kind


_TELLING = {
    "win_rate": "win rate",
    "heldout_accuracy": "accuracy",
    "verdict": "verdict:",
    "pairs": "pairs",
    "answers": "answers",
    "steps": "updates",
    "prompts": "prompts",
}
"""{figure of a summary: what it is called}, the most telling first; text is shown behind its name, a number before."""


# ----------------------------------------------------------------------------------------------------------- details
def _details(lineage: Lineage, chosen: str, run: str, here: str) -> str:
    artifact = lineage.artifacts[chosen]
    facts = [("Kind", escape(artifact.kind)), ("Id", f"<code>{escape(artifact.id)}</code>")]
    facts.append(("Folder", f"<code>{escape('/'.join(artifact.path.parts[-3:]))}</code>"))
    if artifact.created:
        facts.append(("Finished", escape(artifact.created[:19].replace("T", " "))))
        facts.append(("Seed", "none" if artifact.seed is None else escape(artifact.seed)))
        facts.append(("Code", f"<code>{escape(artifact.code_commit[:12] or 'unknown')}</code>"))
    facts.append(("Made from", _links(lineage, lineage.parents_of(chosen), run, here, upwards=True)))
    facts.append(("Went into", _links(lineage, lineage.children_of(chosen), run, here, upwards=False)))
    seen_elsewhere = _other_page(artifact, run, is_here=chosen in lineage.focus)
    return (
        f"<h2>{escape(title_of(artifact, here=here))}</h2>{seen_elsewhere}"
        f'<table class="settings">{"".join(_fact(name, value) for name, value in facts)}</table>'
        + _figures(artifact.summary)
        + _table("Settings", artifact.settings)
    )


def _other_page(artifact: Artifact, run: str, *, is_here: bool) -> str:
    """Link the page of this run that shows more of an artifact of its own."""
    pages = {
        "preferences": ("labellers", "Its labellers"),
        "audit": ("audit", "The audit"),
        "policy": ("run", "How it was trained"),
        "direct": ("run", "How it was trained"),
    }
    if not is_here or artifact.path.name not in pages:
        return ""
    first, title = pages[artifact.path.name]
    return f'<p><a href="/{first}/{escape(quote(run))}">{title}</a></p>'


def _links(lineage: Lineage, links: list[Link], run: str, here: str, *, upwards: bool) -> str:
    found: dict[str, list[str]] = {}
    for link in links:
        found.setdefault(link.parent_id if upwards else link.child_id, []).append(link.role)
    shown = [
        f'<a href="/lineage/{escape(quote(run))}?artifact={escape(quote(identity, safe=""))}#details">'
        f"{escape(title_of(lineage.artifacts[identity], here=here))}</a> <small>as {escape(', '.join(roles))}</small>"
        for identity, roles in found.items()
    ]
    return "<br>".join(shown) or "nothing known"


def _figures(summary: Mapping[str, Any]) -> str:
    """Return a summary's figures, an interval as one of them; what has parts of its own, such as slices, folded."""
    plain, folded = [], []
    for name, value in summary.items():
        if not isinstance(value, Mapping):
            plain.append(_fact(name, escape(_short(value))))
        elif (found := estimate(value)) is not None:
            span = number_range(found.low, found.high, 3)
            plain.append(_fact(name, f"{number(found.value, 3)} <small>{span}{num_cases(found)}</small>"))
        elif value:
            rows = "".join(_fact(part, escape(_short(inner))) for part, inner in flat_settings(value))
            called = f'<summary>{escape(name)}</summary><table class="settings">{rows}</table>'
            folded.append(f'<details id="figures-{escape(name)}">{called}</details>')
    rows = "".join(plain)
    return f'<h3>Figures</h3><table class="settings">{rows}</table>{"".join(folded)}' if plain or folded else ""


def _table(title: str, content: Mapping[str, Any]) -> str:
    rows = "".join(_fact(name, escape(_short(value))) for name, value in flat_settings(content))
    return f'<h3>{title}</h3><table class="settings">{rows}</table>' if rows else ""


def _fact(name: str, value: str) -> str:
    return f'<tr><th scope="row">{escape(name)}</th><td>{value}</td></tr>'


def _short(value: object) -> str:
    if isinstance(value, list):
        # Of reasons and the like, what they say.
        value = " ".join(str(item.get("text", item)) if isinstance(item, Mapping) else str(item) for item in value)
    text = f"{value:.4g}" if isinstance(value, float) and whole(value) != value else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
