"""The admin pages that only show: campaigns, one campaign's overview, its raters and judges, the audit log, exports.

Item by item it goes on in `review.py`; what an admin changes is in `changes.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kleash.collection.aggregation import AggregationSettings, aggregate
from kleash.collection.charts import judge_charts, progress_figure, seconds_figure
from kleash.collection.judge_quality import beside_people, measure_judges
from kleash.collection.quality import low_agreement_items
from kleash.collection.recorded import ordinary_votes
from kleash.collection.routes import changes, review
from kleash.collection.routes.frame import Admin, Data, Snapshot, campaign_or_404, show
from kleash.collection.snapshot import CampaignSnapshot, read_snapshot
from kleash.collection.store.calls import judge_calls
from kleash.collection.store.campaigns import campaigns
from kleash.collection.store.events import events, now
from kleash.collection.store.judgements import judgements_in_force
from kleash.collection.store.raters import raters
from kleash.collection.views import Pace, export_command, pace
from kleash.web.security import allow_inline_styles

router = APIRouter(prefix="/admin")
router.include_router(review.router)
router.include_router(changes.router)

# Charts set styles of their own. These pages hold no text that a model wrote.
drawn = [Depends(allow_inline_styles)]


@router.get("")
def campaign_list(request: Request, database: Data, _: Admin) -> Response:
    at = now()
    with database.read() as connection:
        snapshots = [read_snapshot(connection, campaign) for campaign in campaigns(connection)]
    lines = [
        {
            "campaign": snapshot.campaign,
            "progress": snapshot.progress,
            "pace": _pace(snapshot, now=at),
            "quality": request.app.state.measurements.of(snapshot).quality,
            "num_to_review": len(low_agreement_items(snapshot.items, snapshot.recorded)),
        }
        for snapshot in reversed(snapshots)
    ]
    return show(request, "admin.html", now=at, lines=lines)


@router.get("/campaigns/{campaign_id}", dependencies=drawn)
def overview(request: Request, _: Admin, snapshot: Snapshot) -> Response:
    at = now()
    measured = request.app.state.measurements.of(snapshot)
    present = _pace(snapshot, now=at)
    figures = {**measured.figures, "progress": progress_figure(measured.votes, present, now=at)}
    return show(
        request,
        "admin_campaign.html",
        now=at,
        campaign=snapshot.campaign,
        progress=snapshot.progress,
        pace=present,
        quality=measured.quality,
        board=measured.board,
        num_votes=sum(measured.votes.values()),
        num_to_review=len(low_agreement_items(snapshot.items, snapshot.recorded)),
        num_ruled=len({entry.item_id for entry in snapshot.recorded if entry.is_adjudication}),
        figures={name: figure for name, figure in figures.items() if figure is not None},
    )


def _pace(snapshot: CampaignSnapshot, *, now: datetime) -> Pace:
    return pace(ordinary_votes(snapshot.items, snapshot.recorded), snapshot.progress, now=now)


@router.get("/campaigns/{campaign_id}/raters/{name:path}", dependencies=drawn)
def rater_page(request: Request, database: Data, _: Admin, snapshot: Snapshot, name: str) -> Response:
    campaign = snapshot.campaign
    with database.read() as connection:
        rater = next((one for one in raters(connection, campaign.id) if one.name == name), None)
        everything = judgements_in_force(connection, campaign, includes_demoted=True)
    if rater is None:
        raise HTTPException(
            404, f"{name[:200]!r} has judged nothing in campaign {campaign.name!r}. Expected one of its raters."
        )
    own = [entry for entry in everything if entry.judgement.rater == name]
    seconds = [entry.judgement.seconds for entry in own if entry.judgement.seconds is not None and entry.is_vote]
    figure = seconds_figure(seconds, min_seconds=campaign.settings.min_seconds)
    lines = request.app.state.measurements.of(snapshot).quality.raters
    return show(
        request,
        "admin_rater.html",
        campaign=campaign,
        rater=rater,
        line=next((line for line in lines if line.row.rater == name), None),
        own=own[::-1][:25],
        num_own=len(own),
        items=snapshot.items,
        figures={"seconds": figure} if figure is not None else {},
    )


@router.get("/campaigns/{campaign_id}/judges", dependencies=drawn)
def judges_page(request: Request, database: Data, _: Admin, snapshot: Snapshot) -> Response:
    with database.read() as connection:
        recorded = judgements_in_force(connection, snapshot.campaign, includes_demoted=True)
        comparison_ids = [item.comparison.id for item in snapshot.items.values()]
        calls = judge_calls(connection, comparison_ids) if comparison_ids else []
        judges = [rater for rater in raters(connection, snapshot.campaign.id) if rater.kind == "ai"]
    weeks = measure_judges(snapshot.items, recorded, calls, is_weekly=True)
    return show(
        request,
        "admin_judges.html",
        campaign=snapshot.campaign,
        judges=judges,
        overall=measure_judges(snapshot.items, recorded, calls, is_weekly=False),
        rows=beside_people(snapshot.items, recorded, calls),
        figures=judge_charts(weeks),
    )


@router.get("/audit")
@router.get("/campaigns/{campaign_id}/audit")
def audit(request: Request, database: Data, _: Admin, campaign_id: int | None = None) -> Response:
    with database.read() as connection:
        campaign = None if campaign_id is None else campaign_or_404(connection, campaign_id)
        latest = events(connection, campaign_id=campaign_id)
    return show(request, "admin_audit.html", campaign=campaign, events=latest)


@router.get("/campaigns/{campaign_id}/export")
def export_page(
    request: Request, _: Admin, snapshot: Snapshot, settings: Annotated[AggregationSettings, Query()]
) -> Response:
    """Show what an export with these filters would keep and leave out; the artifact is written by the command shown."""
    # The form sends an empty flag, lest one without any mark be a form that was not filled in.
    flags = tuple(filter(None, settings.leave_out_flagged))
    settings = settings.model_copy(update={"leave_out_flagged": flags})
    outcome = aggregate(snapshot.items, snapshot.recorded, settings=settings)
    kept = [row for row in outcome.rows if not row.left_out]
    labels = [pair.label for row in kept for pair in row.pairs]
    return show(
        request,
        "admin_export.html",
        campaign=snapshot.campaign,
        settings=settings,
        outcome=outcome,
        num_judgements=sum(row.num_judgements for row in kept),
        num_recorded=len(snapshot.recorded),
        soft_share=sum(0 < label < 1 for label in labels) / len(labels) if labels else None,
        command=export_command(snapshot.campaign, settings),
    )
