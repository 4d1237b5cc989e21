"""The over-optimisation experiments beside the runs, as parts of a page: criteria and curves of each `curves.json`.

What the figures are and how a criterion is worded is `overoptimisation_page.py`, whose own page is one file to send.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kleash.errors import RunError
from kleash.monitor import overoptimisation_page
from kleash.monitor.markup import escape
from kleash.monitor.overoptimisation_page import CURVES_FILE, read_curves
from kleash.monitor.pages import Live

PLACE = "experiment"


def experiments_below(folder: Path) -> dict[str, Path]:
    """Return {name: folder} of every experiment in a folder of runs; the folder itself may be one."""
    found = {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CURVES_FILE}"))}
    if (folder / CURVES_FILE).is_file():
        found[folder.absolute().name] = folder
    return found


def experiment_state(experiments: Mapping[str, Path]) -> object:
    """Return what the page depends on: the experiments' names, and when their curves were written."""
    return [(name, _written(folder / CURVES_FILE)) for name, folder in experiments.items()]


def live_experiment(experiments: Mapping[str, Path], name: str = "") -> Live:
    """Return what the page shows of one experiment, the first unless another is named."""
    folder = experiments.get(name) or next(iter(experiments.values()), None)
    if folder is None:
        return Live({PLACE: f'<p class="about">{_NOTHING}</p>'})
    try:
        content = read_curves(folder)
        drawn = overoptimisation_page.figures_of(content)
        html = "".join(overoptimisation_page.sections_of(content, drawn))
    except RunError as error:
        return Live({PLACE: f'<p class="about">{escape(error)}</p>'})
    except (KeyError, TypeError, ValueError, IndexError) as error:
        text = f"{folder.name}/{CURVES_FILE} is not what the experiment writes: {type(error).__name__} {error}."
        return Live(
            {PLACE: f'<p class="about">{escape(text)} Expected arms and criteria. Run the experiment again.</p>'}
        )
    return Live({PLACE: html}, drawn)


_NOTHING = (
    "No over-optimisation experiment lies beside these runs. <code>kleash experiment overoptimisation</code> makes "
    "one: it trains policies against proxies of known faults and shows gold rise and fall."
)


def _written(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
