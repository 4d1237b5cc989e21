"""An existing run, opened: its figures, metrics, models, samples and report, from Python or in a notebook."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kleash.artifacts import MANIFEST, Artifact, read
from kleash.durable import read_rows
from kleash.errors import ArtifactError, KleashError
from kleash.locations import find_policy, find_run, newest_round
from kleash.run_summary import RunSummary
from kleash.runs import summary_of
from kleash.stages.table import STAGES
from kleash.tracking import METRICS_FILE


class Run:
    """A run that `kleash.run` or `kleash run` made, finished or not; what it shows is read when it is asked for.

    run: its name below `runs_dir`, or its folder. Raises RunError, with the nearest name, when there is none.
    """

    def __init__(self, run: str | Path, runs_dir: str | Path = "runs") -> None:
        self.folder = find_run(str(run), Path(runs_dir))
        self.name = self.folder.name

    @property
    def summary(self) -> RunSummary:
        """The run's figures, by name and type; of an unfinished run, those there are so far."""
        return summary_of(self.folder)

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """The finished artifacts of the newest round by stage, and the first round's of what all rounds build on."""
        found: dict[str, Artifact] = {}
        for folder in sorted(self.folder.glob("round-*")):
            found |= {name: read(folder / name) for name in STAGES if (folder / name / MANIFEST).is_file()}
        return found

    @property
    def policy(self) -> Artifact:
        """The policy the run stands for: the last that passed its gate. Raises ArtifactError while there is none."""
        return read(find_policy(str(self.folder), self.folder.parent))

    @property
    def reward(self) -> Artifact:
        """The newest reward model. Raises ArtifactError when the run has none."""
        return self._artifact("reward")

    @property
    def metrics(self) -> Metrics:
        """What the training of the policy logged, step by step; of a run without one, of its last training."""
        newest = newest_round(self.folder) or self.folder
        for stage in ("policy", "direct", "sft", "pretrain"):
            for folder in (newest / stage, newest / f"{stage}.partial"):
                if (folder / METRICS_FILE).is_file():
                    return Metrics.of(folder)
        raise ArtifactError(f"{self.folder} has trained no policy yet. Run its recipe to go on.")

    @property
    def samples(self) -> list[dict[str, Any]]:
        """The evaluation's prompts with the answers before and after, and what each was judged."""
        return read_rows(self._artifact("evaluation").path / "samples.jsonl")

    def report(self) -> Path:
        """Write the report, one HTML file that works offline, and return its path."""
        from kleash.monitor.pages.report import write_report

        return write_report(self.folder)

    def _artifact(self, stage: str) -> Artifact:
        artifact = self.artifacts.get(stage)
        if artifact is None:
            raise ArtifactError(
                f"{self.folder} has no finished {stage} stage. Expected one. Run a recipe that has it, or go on with "
                "this one."
            )
        return artifact

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {', '.join(self.artifacts) or 'nothing finished yet'})"

    def _repr_html_(self) -> str:
        """Show the result's tables in a notebook."""
        from io import StringIO

        from kleash.cli.tables import result_tables
        from kleash.screen import Screen

        console = Screen(record=True, file=StringIO(), width=120)
        for table in result_tables(summary_of(self.folder)):
            console.print(table)
        return console.export_html(inline_styles=True, code_format='<pre style="line-height:1.2">{code}</pre>')


class Column(tuple[float, ...]):
    """One metric by step; NaN where a step did not log it."""

    def to_pandas(self) -> Any:
        """Return a pandas Series. Raises KleashError without pandas."""
        return _pandas().Series(list(self))


class Metrics:
    """A table of metrics: `metrics["score_mean"]` is a column, `metrics.rows` are the logged lines."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = list(rows)

    @classmethod
    def of(cls, artifact: Artifact | Path) -> Metrics:
        """Read what the training of an artifact logged."""
        return cls(read_rows((artifact.path if isinstance(artifact, Artifact) else artifact) / METRICS_FILE))

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __getitem__(self, name: str) -> Column:
        """Raises KeyError, with the nearest name, for a metric that was never logged."""
        if name not in self.names:
            nearest = ", ".join(difflib.get_close_matches(name, self.names, n=3)) or ", ".join(self.names[:10])
            raise KeyError(f"no metric {name!r} was logged; did you mean {nearest}?")
        return Column(float("nan") if row.get(name) is None else row[name] for row in self.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.rows)

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame, a row a step. Raises KleashError without pandas."""
        return _pandas().DataFrame(self.rows)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise KleashError("pandas is not installed. to_pandas needs it. Install it: pip install pandas.") from None
    return pandas
