"""The experiments beside the runs, as parts of a page: over-optimisation and comparisons of methods.

What is shown of each kind is in `overoptimisation_page.py` and `methods_page.py`, whose own pages are files to send.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kleash.errors import RunError
from kleash.monitor.pages import methods_page, overoptimisation_page
from kleash.monitor.pages.rendering import Live, fragment
from kleash.web.plots import Part

PLACE = "experiment"
SHOWN_BY = {page.source: page for page in (overoptimisation_page.PAGE, methods_page.PAGE)}
"""{the file that an experiment leaves: the page that shows it}."""


def experiments_below(folder: Path) -> dict[str, Path]:
    """Return {name: its file} of every experiment in a folder of runs; the folder itself may be one."""
    below = sorted(path for file in SHOWN_BY for path in folder.glob(f"*/{file}"))
    own = [folder.absolute() / file for file in SHOWN_BY if (folder / file).is_file()]
    return {path.parent.name: path for path in [*below, *own]}


def experiment_state(experiments: Mapping[str, Path]) -> object:
    """Return what the page depends on: the experiments' names, and when their figures were written."""
    return [(name, _written(file)) for name, file in experiments.items()]


def live_experiment(experiments: Mapping[str, Path], name: str = "") -> Live:
    """Return what the page shows of one experiment, the first unless another is named."""
    file = experiments.get(name) or next(iter(experiments.values()), None)
    page = SHOWN_BY[file.name] if file else None
    sections, problem = "", ""
    drawn: Mapping[str, Part] = {}
    if file and page:
        try:
            sections, drawn = page.parts_of(page.read(file.parent))
        except RunError as error:
            problem = str(error)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            text = f"{file.parent.name}/{file.name} is not what the experiment writes: {type(error).__name__} {error}."
            problem = f"{text} Run the experiment again."
    title = page.title if page else "Experiments"
    return Live({PLACE: fragment("parts/experiment.html", title=title, sections=sections, problem=problem)}, drawn)


def _written(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
