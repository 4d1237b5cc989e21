"""A file of preferences, or of answers with thumbs, to the artifact that training reads; imported, or a recipe's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kleash.artifacts import Artifact, read
from kleash.collection.exporting import rows_summary
from kleash.formats import Loaded, kind_of_file, read_labelled, read_preferences, write_jsonl
from kleash.records import LabelledCompletion
from kleash.results import PreferencesSummary
from kleash.settings import Settings
from kleash.stages.context import NOTHING, Plan, StageContext
from kleash.stages.support.encoding import dropped_figures


def freeze_labels(
    context: StageContext,
    settings: Settings,
    *,
    source: str | Path,
    parents: Mapping[str, Artifact],
    output_dir: Path,
    format: str | None = None,
    slice_columns: Sequence[str] = (),
    extra_settings: Mapping[str, Any] = NOTHING,
    **figures: Any,
) -> Artifact:
    """Freeze a file's preferences, or the single answers with a thumb up or down that KTO learns from.

    The artifact is of kind `preferences` or `labelled`. figures: for its summary, beside what the file held.
    """
    kind = "labelled" if kind_of_file(source, format=format) == "labelled" else "preferences"
    plan: Plan = {"kind": kind, "parents": parents, "settings": settings, "extra_settings": extra_settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    reader = read_labelled if kind == "labelled" else read_preferences
    loaded: Loaded[Any] = reader(source, strict=context.is_strict, format=format, slice_columns=slice_columns)
    counts = thumbs_summary(loaded.records) if kind == "labelled" else rows_summary(loaded.records)
    with context.write_artifact(output_dir, **plan) as draft:
        write_jsonl(draft.path / f"{kind}.jsonl", loaded.records)
        figures |= counts | {"format": loaded.format, "dropped": dropped_figures(loaded)}
        draft.summary |= PreferencesSummary(**figures, agreement=None).to_json()
    return read(output_dir)


def thumbs_summary(rows: Sequence[LabelledCompletion]) -> dict[str, Any]:
    """Count single answers by their thumbs."""
    num_up = sum(row.is_desirable for row in rows)
    num_prompts = len({row.prompt.id for row in rows})
    return {"rows": len(rows), "prompts": num_prompts, "thumbs_up": num_up, "thumbs_down": len(rows) - num_up}
