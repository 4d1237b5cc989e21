"""The list of runs: of each its state, stage, and the few figures that say whether to look closer."""

from __future__ import annotations

from kleash.monitor.catalogue import Catalogue


def list_state(catalogue: Catalogue) -> object:
    return sorted(catalogue.runs())


def rows_of(catalogue: Catalogue) -> list[str]:
    return sorted(catalogue.runs())


def runs_table(rows: list[str]) -> str:
    from urllib.parse import quote

    from kleash.monitor.markup import escape

    return "".join(f'<p><a href="/run/{quote(name)}">{escape(name)}</a></p>' for name in rows)
