"""Record what a stage measures: one JSON line per step, and trackers elsewhere (TensorBoard, W&B, MLflow) by request.

The JSON lines are the record that the monitor, the reports and a resumed run read; the others are views of it. A stage
logs a step *before* it saves the checkpoint that follows it, and after restoring a checkpoint calls `cut(step)`: rows
of the steps to come are dropped and will be written again. Progress on the terminal lives in `progress.py`.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from kleash.durable import clear_write_errors, json_line, read_rows, write_rows, write_text
from kleash.errors import RunError, SettingsError
from kleash.plugins import resolve

METRICS_FILE = "metrics.jsonl"


class ResumableTracker(Protocol):
    """What `open_trackers` needs of a tracker plug-in, a callable `(folder, run_name) -> ResumableTracker`."""

    def log(self, step: int, metrics: Mapping[str, Any]) -> None: ...
    def note(self, step: int, name: str, text: str) -> None: ...
    def cut(self, step: int) -> None: ...
    def close(self) -> None: ...


class JsonlTracker:
    """Append one JSON line per step to a file; each line is on the disk when `log` returns."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append `{"step": step, **metrics}`; a number that is not finite becomes null and keeps its key."""
        row = {"step": step, **{name: _json_value(value) for name, value in metrics.items()}}
        with clear_write_errors("metrics", self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json_line(row))
            file.flush()
            os.fsync(file.fileno())

    def note(self, step: int, name: str, text: str) -> None:
        """Do nothing: an event has its own file, such as alarms.jsonl, with more in it than a sentence."""

    def cut(self, step: int) -> None:
        """Drop the rows of `step` and later, and a last line that a kill tore; call it before the first `log`."""
        rows = self.rows()
        if any(type(row.get("step")) is not int for row in rows):
            raise RunError(
                f"{self.path} holds a row without a step. Expected only what KLeash wrote there. Remove that row."
            )
        kept = [row for row in rows if row["step"] < step]
        with clear_write_errors("metrics", self.path):
            if self.path.exists():
                write_rows(self.path, kept)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows written so far, oldest first; a torn last line is no row."""
        return read_rows(self.path) if self.path.exists() else []

    def close(self) -> None:
        """Do nothing: every line is on the disk already."""


class FanOutTracker:
    """Pass everything on to several trackers, in order."""

    def __init__(self, trackers: Sequence[ResumableTracker]) -> None:
        self.trackers = tuple(trackers)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        for tracker in self.trackers:
            tracker.log(step, metrics)

    def note(self, step: int, name: str, text: str) -> None:
        """Tell of an event, such as an alarm, by a sentence."""
        for tracker in self.trackers:
            tracker.note(step, name, text)

    def cut(self, step: int) -> None:
        for tracker in self.trackers:
            tracker.cut(step)

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.close()


def open_trackers(folder: Path, *, names: Sequence[str] = (), run_name: str = "") -> FanOutTracker:
    """Return the JSON lines in `folder`/metrics.jsonl together with the named tracker plug-ins.

    folder: a stage's draft folder. run_name: what the run is called in the other trackers.
    """
    others = [resolve("tracker", name)(folder, run_name) for name in names]
    return FanOutTracker([JsonlTracker(folder / METRICS_FILE), *others])


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _json_value(item) for name, item in value.items()}
    if hasattr(value, "item"):
        return _json_value(value.item())
    raise TypeError(f"a metric must be a number, text, or a list or mapping of them, not {type(value).__name__}")


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    plain = {name: _json_value(value) for name, value in metrics.items()}
    return {name: float(value) for name, value in plain.items() if isinstance(value, int | float)}


# ---------------------------------------------------------------------------------------------------- other trackers
class TensorBoardTracker:
    """Write event files to `folder`/tensorboard; the steps cut on resume are purged there as well."""

    module = "torch.utils.tensorboard"

    def __init__(self, folder: Path, run_name: str = "") -> None:
        self._module = import_extra(self.module, extra="tensorboard")
        self._folder = str(Path(folder) / "tensorboard")
        self._writer: Any = None
        self._purge_step: int | None = None

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        for name, value in _numbers(metrics).items():
            self._open().add_scalar(name, value, step)
        # Rows older than a checkpoint are not written again after a kill, so they must not wait in a buffer.
        self._open().flush()

    def note(self, step: int, name: str, text: str) -> None:
        """Write to the TEXT tab, which reads Markdown: the text is shown as it is, indented by four."""
        self._open().add_text(name, "    " + text.replace("\n", "\n    "), step)
        self._open().flush()

    def cut(self, step: int) -> None:
        self.close()
        self._purge_step = step

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            self._writer = self._module.SummaryWriter(self._folder, purge_step=self._purge_step)
        return self._writer


class WandbTracker:
    """Log to Weights & Biases; a resumed stage goes on in the same W&B run.

    Project and mode are W&B's own environment variables (WANDB_PROJECT, "kleash" unless set; WANDB_MODE=offline), and
    its files go where W&B puts them. A run's stages are one W&B group.
    """

    module = "wandb"

    def __init__(self, folder: Path, run_name: str = "") -> None:
        self._wandb: Any = import_extra(self.module, extra="wandb")
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "kleash",
            group=run_name.partition("/")[0] or None,
            name=run_name or None,
            id=_remembered_id(folder, "wandb"),
            resume="allow",
        )
        _remember_id(folder, "wandb", self._run.id)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._run.log(_numbers(metrics), step=step)

    def note(self, step: int, name: str, text: str) -> None:
        """Raise a W&B alert, and leave the latest sentence of this name in the run's summary."""
        self._run.alert(title=f"{name}, update {step}", text=text, level=self._wandb.AlertLevel.WARN)
        self._run.summary[name] = f"update {step}: {text}"

    def cut(self, step: int) -> None:
        """Do nothing: W&B keeps the first row of a step, and a resumed run repeats it exactly."""

    def close(self) -> None:
        self._run.finish()


class MlflowTracker:
    """Log to MLflow at MLFLOW_TRACKING_URI, its default experiment; a resumed stage goes on in the same MLflow run."""

    module = "mlflow"

    def __init__(self, folder: Path, run_name: str = "") -> None:
        self._mlflow: Any = import_extra(self.module, extra="mlflow")
        self._client = self._mlflow.MlflowClient()
        self._id = _remembered_id(folder, "mlflow")
        if self._id is None:
            self._id = self._client.create_run(experiment_id="0", run_name=run_name or None).info.run_id
            _remember_id(folder, "mlflow", self._id)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Send the row in as few requests as MLflow allows: one by one, 150 figures take seconds a step."""
        now_milliseconds = time.time_ns() // 1_000_000
        rows = [
            self._mlflow.entities.Metric(_mlflow_name(name), value, now_milliseconds, step)
            for name, value in _numbers(metrics).items()
        ]
        for start in range(0, len(rows), MLFLOW_BATCH):
            self._client.log_batch(self._id, metrics=rows[start : start + MLFLOW_BATCH])

    def note(self, step: int, name: str, text: str) -> None:
        """Set a tag of this name to the latest sentence."""
        self._client.set_tag(self._id, _mlflow_name(name), f"update {step}: {text}")

    def cut(self, step: int) -> None:
        """Do nothing: MLflow cannot take rows back, and a resumed run repeats them exactly."""

    def close(self) -> None:
        self._client.set_terminated(self._id)


MLFLOW_BATCH = 1000
"""How many metrics MLflow takes in one request."""


def _mlflow_name(name: str) -> str:
    """Return a name that MLflow takes; our slices are written slice/dimension=value/metric, with any text as value."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("=", "."), flags=re.ASCII)[:250]


def import_extra(module: str, *, extra: str) -> ModuleType:
    """Import what a tracker needs. Raises SettingsError, with the way to install it, where it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SettingsError(
            f"Tracker {extra!r} needs the package {extra}, which cannot be imported: {error}. "
            f"Install it with `pip install 'kleash[{extra}]'`, or leave {extra!r} out of the trackers."
        ) from error


# The ids are kept in the draft's work folder: they serve only a resumed stage and are no part of the artifact.
def _remembered_id(folder: Path, tracker: str) -> str | None:
    path = folder / "work" / f"{tracker}-id.txt"
    return path.read_text(encoding="utf-8") if path.exists() else None


def _remember_id(folder: Path, tracker: str, identity: str) -> None:
    path = folder / "work" / f"{tracker}-id.txt"
    with clear_write_errors("tracker id", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, identity)
