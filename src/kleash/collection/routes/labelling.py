"""The labeller's pages, and what their script asks for: tasks, verdicts, the last one again, differences.

Calibration items, repeats and ordinary items pass through the same lines here, so that no response tells them apart.
What may leave the server about a task is `tasks.LabellingTask`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field
from sqlalchemy.engine import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kleash.collection.campaign import Campaign
from kleash.collection.markup import shown_text
from kleash.collection.routes.frame import Data, SignedIn, campaign_or_404, render
from kleash.collection.store.assignments import Assignment, assignment, claim, last_answered, num_answered, renew
from kleash.collection.store.campaigns import campaigns, rubrics
from kleash.collection.store.judgements import judgement_in_force, submit
from kleash.collection.store.raters import Rater
from kleash.collection.tasks import SKIP_REASONS, PlacedVerdict, judgement_from_places, labelling_task
from kleash.errors import DataError
from kleash.web.word_diff import word_diff

router = APIRouter()

CampaignId = Annotated[int, Path(ge=1, le=2**31 - 1)]
TaskId = Annotated[str, Path(max_length=40)]
PlaceNumber = Annotated[int, Query(ge=0, le=99)]

# The task on the page, and the one that takes its place at the press of a key.
_NUM_TASKS_AHEAD = 2
_SURPLUS_NOTE = (
    "Your time on that item had run out and it was complete by then. Your verdict is kept as an extra one, thank you."
)


@dataclass(frozen=True, kw_only=True)
class SentVerdict(PlacedVerdict):
    """A verdict as the page sends it. client_key: drawn by the page, so that a verdict sent twice is stored once."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    client_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,80}$")]
    seconds: Annotated[float | None, Field(strict=True, ge=0, le=86_400, allow_inf_nan=False)] = None
    rubric_version: Annotated[str, Field(max_length=64)] = ""


@dataclass(frozen=True)
class _Batch:
    """The tasks a labeller holds now, and how far they have come; read in one transaction, rendered after it."""

    campaign: Campaign
    tasks: Sequence[Assignment]
    num_answered: int

    def as_json(self) -> dict[str, Any]:
        aspects = self.campaign.settings.aspects
        return {
            "tasks": [asdict(labelling_task(task, aspects=aspects)) for task in self.tasks],
            "num_answered": self.num_answered,
            "state": self.campaign.state,
            "rubric_version": self.campaign.rubric_version,
        }


@router.get("/label")
def list_campaigns(request: Request, database: Data, visitor: SignedIn) -> Response:
    with database.read() as connection:
        shown = [
            (campaign, num_answered(connection, campaign, visitor.rater))
            for campaign in campaigns(connection)
            if campaign.state == "open"
        ]
    return render(request, "labelling_campaigns.html", campaigns=shown)


@router.get("/label/{campaign_id}")
def label_page(request: Request, database: Data, visitor: SignedIn, campaign_id: CampaignId) -> Response:
    with database.read() as connection:
        campaign = campaign_or_404(connection, campaign_id)
    rubric = shown_text(campaign.rubric, top_heading=3).html
    return render(request, "labelling_task.html", campaign=campaign, rubric=rubric, skip_reasons=SKIP_REASONS)


@router.get("/api/label/{campaign_id}/tasks")
def give_tasks(
    database: Data,
    visitor: SignedIn,
    campaign_id: CampaignId,
    limit: Annotated[int, Query(ge=1, le=5)] = _NUM_TASKS_AHEAD,
) -> Response:
    with database.write() as connection:
        batch = _claimed(connection, campaign_or_404(connection, campaign_id), visitor.rater, limit)
    return JSONResponse(batch.as_json())


@router.post("/api/label/{campaign_id}/tasks/{task_id}")
def take_verdict(
    database: Data, visitor: SignedIn, campaign_id: CampaignId, task_id: TaskId, sent: SentVerdict
) -> Response:
    """Store a verdict and give out what comes next, in one round trip. Sent twice, it is stored once."""
    with database.write() as connection:
        campaign = campaign_or_404(connection, campaign_id)
        task = _task(connection, campaign, task_id, visitor.rater)
        known_versions = {version for version, _ in rubrics(connection, campaign.id)}
        judgement = judgement_from_places(
            sent,
            task,
            visitor.rater,
            aspects=campaign.settings.aspects,
            seconds=sent.seconds,
            rubric_version=sent.rubric_version if sent.rubric_version in known_versions else campaign.rubric_version,
        )
        key, reason = sent.client_key, sent.skip_reason
        receipt = submit(connection, campaign, task, visitor.rater, judgement, client_key=key, skip_reason=reason)
        batch = _claimed(connection, campaign, visitor.rater, _NUM_TASKS_AHEAD)
    return JSONResponse({"note": _SURPLUS_NOTE if receipt.is_surplus else "", **batch.as_json()})


@router.post("/api/label/{campaign_id}/heartbeat")
def keep_leases(database: Data, visitor: SignedIn, campaign_id: CampaignId) -> Response:
    with database.write() as connection:
        num_held = renew(connection, campaign_or_404(connection, campaign_id), visitor.rater)
    return JSONResponse({"num_held": num_held})


@router.get("/api/label/{campaign_id}/last")
def show_last(database: Data, visitor: SignedIn, campaign_id: CampaignId) -> Response:
    """Show the task answered last with what was said about it, for changing that."""
    with database.read() as connection:
        campaign = campaign_or_404(connection, campaign_id)
        task = last_answered(connection, campaign, visitor.rater)
        given = judgement_in_force(connection, task) if task is not None else None
    if task is None or task.purpose == "adjudication":
        return JSONResponse({"task": None})
    return JSONResponse({"task": asdict(labelling_task(task, aspects=campaign.settings.aspects, given=given))})


@router.get("/api/label/{campaign_id}/tasks/{task_id}/diff")
def show_differences(
    database: Data,
    visitor: SignedIn,
    campaign_id: CampaignId,
    task_id: TaskId,
    first: PlaceNumber = 0,
    second: PlaceNumber = 1,
) -> Response:
    with database.read() as connection:
        task = _task(connection, campaign_or_404(connection, campaign_id), task_id, visitor.rater)
    num_answers = len(task.permutation)
    if not (first < num_answers and second < num_answers):
        raise DataError(
            f"Places {first} and {second} were asked for. The task has {num_answers} answers, from place 0. "
            "Ask for two of them."
        )
    completions = task.comparison.completions
    return JSONResponse(asdict(word_diff(completions[task.permutation[first]], completions[task.permutation[second]])))


def _claimed(connection: Connection, campaign: Campaign, rater: Rater, limit: int) -> _Batch:
    tasks = claim(connection, campaign, rater, limit=limit)
    return _Batch(campaign, tasks, num_answered(connection, campaign, rater))


def _task(connection: Connection, campaign: Campaign, task_id: str, rater: Rater) -> Assignment:
    """Return a rater's task in a campaign; an adjudicator's has another page."""
    task = assignment(connection, task_id, rater)
    if task.campaign_id != campaign.id or task.purpose == "adjudication":
        raise HTTPException(
            404, "This task is not in this campaign. Expected one you were given here. Reload the page."
        )
    return task
