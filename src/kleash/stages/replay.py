"""Refresh the preferences that a reward model learns from: earlier rounds' comparisons beside this round's.

The result is a preferences artifact like any other, so the reward stage and the audit need not know of rounds. How old
and fresh rows are mixed is in `data/replay.py`.
"""

from __future__ import annotations

from pathlib import Path

from kleash.artifacts import Artifact, read, require
from kleash.collection.exporting import rows_summary
from kleash.data.replay import ReplaySettings, replayed, tagged
from kleash.formats import read_preferences, write_jsonl
from kleash.results import PreferencesSummary
from kleash.stages.context import Plan, StageContext

PREFERENCES_FILE = "preferences.jsonl"


def replay_preferences(
    context: StageContext, settings: ReplaySettings, *, older: Artifact, fresh: Artifact, version: int, output_dir: Path
) -> Artifact:
    """Mix the buffer of the rounds before (or the first round's preferences) with those of round `version`."""
    parents = {"older": require(older, "preferences"), "fresh": require(fresh, "preferences")}
    extra_settings = {"version": version}
    plan: Plan = {"kind": "preferences", "parents": parents, "settings": settings, "extra_settings": extra_settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    before, now = (read_preferences(parent.path / PREFERENCES_FILE).records for parent in parents.values())
    if PreferencesSummary.of(older).replay is None:
        before = [tagged(row, 0) for row in before]
    mixed = replayed(before, now, settings, version=version, seed=context.seed)
    with context.write_artifact(output_dir, **plan) as draft:
        write_jsonl(draft.path / PREFERENCES_FILE, mixed.rows)
        draft.summary |= PreferencesSummary(
            **rows_summary(mixed.rows),
            agreement=PreferencesSummary.of(fresh).agreement,
            replay={
                "version": version,
                "old": mixed.num_old,
                "fresh": mixed.num_fresh,
                "left_out": dict(mixed.num_left_out),
            },
        ).to_json()
    return read(output_dir)
