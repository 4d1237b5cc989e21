"""A campaign read whole, and what was measured of it, kept until something is said or taken back.

The bootstraps behind a campaign's figures take a second or two for thousands of votes, and an admin opens the same
page many times. `Measurements` keeps the last outcome per campaign; it lives in `app.state`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from kleash.collection import charts
from kleash.collection.campaign import Campaign
from kleash.collection.leaderboard import Leaderboard, leaderboard
from kleash.collection.recorded import Item, RecordedJudgement, ordinary_votes
from kleash.collection.store import campaigns as stored
from kleash.collection.store.judgements import judgements_in_force
from kleash.collection.views import QualityView, quality_of, votes_by_day
from kleash.web import plots


@dataclass(frozen=True)
class CampaignSnapshot:
    """A campaign with its items and the judgements of raters who count, in one consistent picture."""

    campaign: Campaign
    items: Mapping[str, Item]
    recorded: Sequence[RecordedJudgement]
    progress: stored.CampaignProgress


@dataclass(frozen=True)
class Measured:
    """What does not change until the campaign does. figures: those drawn from it, by name, as plotly's plain data."""

    quality: QualityView
    board: Leaderboard
    votes: Mapping[str, int]
    figures: Mapping[str, plots.Part]


def read_snapshot(connection: Connection, campaign: Campaign) -> CampaignSnapshot:
    """Read all of a campaign."""
    recorded = judgements_in_force(connection, campaign)
    return CampaignSnapshot(
        campaign, stored.items(connection, campaign), recorded, stored.progress(connection, campaign)
    )


def measure(snapshot: CampaignSnapshot) -> Measured:
    """Measure and draw a campaign."""
    items, recorded, min_seconds = snapshot.items, snapshot.recorded, snapshot.campaign.settings.min_seconds
    quality = quality_of(items, recorded, min_seconds=min_seconds)
    board = leaderboard(items, recorded)
    votes = votes_by_day(ordinary_votes(items, recorded))
    seconds = [e.judgement.seconds for e in recorded if e.judgement.seconds is not None and e.is_vote]
    rows = [line.row for line in quality.raters]
    drawn = {
        "daily": charts.daily_figure(votes),
        "over_time": charts.agreement_over_time_figure(quality.over_time),
        "by_slice": charts.agreement_by_slice_figure(quality.by_slice, quality.agreement.percent_without_ties),
        "seconds": charts.seconds_figure(seconds, min_seconds=min_seconds),
        "board": charts.leaderboard_figure(board),
        **charts.rater_figures(rows),
    }
    return Measured(quality, board, votes, {name: figure for name, figure in drawn.items() if figure is not None})


class Measurements:
    """Keeps what was measured of each campaign until another judgement comes in or a rater is counted out."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[object, Measured]] = {}
        self._lock = threading.Lock()

    def of(self, snapshot: CampaignSnapshot) -> Measured:
        """Return what was measured of a campaign as it now is; requests that come meanwhile wait for the outcome."""
        recorded = snapshot.recorded
        stamp = (len(snapshot.items), len(recorded), recorded[-1].id if recorded else "")
        with self._lock:
            kept = self._kept.get(snapshot.campaign.id)
            if kept is None or kept[0] != stamp:
                kept = self._kept[snapshot.campaign.id] = (stamp, measure(snapshot))
        return kept[1]
