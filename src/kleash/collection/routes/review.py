"""Item by item: the items raters differ on, ruling on one, and where a judgement came from and went.

An adjudicator rules blind: the raters' verdicts are on the page only after the ruling, or when asked for.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kleash.collection.provenance import shown_answers, used_in
from kleash.collection.quality import low_agreement_items
from kleash.collection.routes.frame import Adjudicator, Admin, Data, Snapshot, campaign_or_404, go, show
from kleash.collection.snapshot import read_snapshot
from kleash.collection.store.assignments import open_adjudication
from kleash.collection.store.campaigns import campaigns, rubrics
from kleash.collection.store.judgements import (
    earlier_judgements,
    exports_of,
    judgement_in_force,
    judgements_in_force,
    submit,
)
from kleash.collection.tasks import FLAGS, PlacedVerdict, judgement_from_places, labelling_task, placed_verdict
from kleash.collection.views import item_lines, verdict_words
from kleash.errors import DataError

router = APIRouter()

ITEMS_PER_PAGE = 50
# As the form sends them; "" where none was chosen.
RANKS = [str(rank) for rank in range(1, 100)]

CHOICES_OF_TWO: Mapping[str, tuple[str, PlacedVerdict]] = {
    "a_much": ("A is much better", PlacedVerdict("ranked", (1, 2), "much")),
    "a_better": ("A is better", PlacedVerdict("ranked", (1, 2), "better")),
    "a_slightly": ("A is slightly better", PlacedVerdict("ranked", (1, 2), "slightly")),
    "tie": ("Tie: either would do", PlacedVerdict("ranked", (1, 1))),
    "b_slightly": ("B is slightly better", PlacedVerdict("ranked", (2, 1), "slightly")),
    "b_better": ("B is better", PlacedVerdict("ranked", (2, 1), "better")),
    "b_much": ("B is much better", PlacedVerdict("ranked", (2, 1), "much")),
    "both_bad": ("Both are bad", PlacedVerdict("both_bad")),
}
"""What an adjudicator may rule on two answers, by the form's values: (words, verdict in terms of places)."""


# ---------------------------------------------------------------------------------------------------------- the queue
@router.get("/review")
def queues(request: Request, database: Data, _: Adjudicator) -> Response:
    with database.read() as connection:
        snapshots = [read_snapshot(connection, campaign) for campaign in campaigns(connection)]
    waiting = [(each.campaign, len(low_agreement_items(each.items, each.recorded))) for each in snapshots]
    return show(request, "admin_queues.html", waiting=waiting[::-1])


@router.get("/campaigns/{campaign_id}/review")
def queue(request: Request, _: Adjudicator, snapshot: Snapshot) -> Response:
    lines = {line.item.id: line for line in item_lines(snapshot.items, snapshot.recorded)}
    ruled = [entry for entry in snapshot.recorded if entry.is_adjudication]
    return show(
        request,
        "admin_review.html",
        campaign=snapshot.campaign,
        waiting=[(item, lines[item.item_id]) for item in low_agreement_items(snapshot.items, snapshot.recorded)],
        ruled=[(entry, lines[entry.item_id]) for entry in reversed(ruled)],
    )


@router.get("/campaigns/{campaign_id}/review/{item_id}")
def adjudication_page(
    request: Request, database: Data, visitor: Adjudicator, campaign_id: int, item_id: str, reveal: bool = False
) -> Response:
    with database.write() as connection:
        campaign = campaign_or_404(connection, campaign_id)
        task = open_adjudication(connection, campaign, item_id, visitor.rater)
        ruling = judgement_in_force(connection, task)
    with database.read() as connection:
        snapshot = read_snapshot(connection, campaign)
    waiting = [item.item_id for item in low_agreement_items(snapshot.items, snapshot.recorded)]
    votes = [entry for entry in snapshot.recorded if entry.item_id == item_id and entry.is_vote]
    is_open = ruling is not None or reveal
    return show(
        request,
        "admin_adjudicate.html",
        campaign=campaign,
        item=snapshot.items[item_id],
        task=labelling_task(task, aspects=(), given=ruling),
        choices=CHOICES_OF_TWO,
        flags=FLAGS,
        client_key=secrets.token_urlsafe(16),
        votes=[(vote, _words(placed_verdict(vote, task.permutation))) for vote in votes] if is_open else [],
        is_open=is_open,
        num_votes=len(votes),
        num_waiting=len(waiting),
        following=next((other for other in waiting if other != item_id), None),
    )


@router.post("/campaigns/{campaign_id}/review/{item_id}")
def rule(
    database: Data,
    visitor: Adjudicator,
    campaign_id: int,
    item_id: str,
    client_key: Annotated[str, Form(pattern=r"^[\w-]{1,80}$")],
    choice: Annotated[str, Form()] = "",
    rank: Annotated[list[str], Form()] = [],  # noqa: B006
    flag: Annotated[list[str], Form()] = [],  # noqa: B006
    rationale: Annotated[str, Form(max_length=10_000)] = "",
) -> Response:
    ranks = tuple(int(value) for value in rank if value in RANKS)
    placed = CHOICES_OF_TWO[choice][1] if choice in CHOICES_OF_TWO else PlacedVerdict("ranked", ranks)
    placed = replace(placed, flags=tuple(name for name in FLAGS if name in flag), rationale=rationale)
    with database.write() as connection:
        campaign = campaign_or_404(connection, campaign_id)
        task = open_adjudication(connection, campaign, item_id, visitor.rater)
        judgement = judgement_from_places(
            placed, task, visitor.rater, aspects=(), rubric_version=campaign.rubric_version
        )
        submit(connection, campaign, task, visitor.rater, judgement, client_key=client_key)
    return go(f"/admin/campaigns/{campaign_id}/review/{item_id}")


def _words(placed: PlacedVerdict) -> str:
    return verdict_words(placed.outcome, placed.ranks, placed.strength)


# ---------------------------------------------------------------------------------------------------- items, judgements
@router.get("/campaigns/{campaign_id}/items")
def item_list(
    request: Request, _: Admin, snapshot: Snapshot, state: str = "", text: str = "", page: int = 1
) -> Response:
    lines = item_lines(snapshot.items, snapshot.recorded)
    chosen = [
        line
        for line in lines
        if state in ("", line.state) and text.casefold() in line.item.comparison.prompt.text.casefold()
    ]
    num_pages = max(1, -(-len(chosen) // ITEMS_PER_PAGE))
    page = min(max(page, 1), num_pages)
    return show(
        request,
        "admin_items.html",
        campaign=snapshot.campaign,
        lines=chosen[(page - 1) * ITEMS_PER_PAGE : page * ITEMS_PER_PAGE],
        num_chosen=len(chosen),
        num_all=len(lines),
        states=sorted({line.state for line in lines}),
        state=state,
        text=text,
        page=page,
        num_pages=num_pages,
    )


@router.get("/campaigns/{campaign_id}/items/{item_id}")
def item_page(request: Request, database: Data, _: Admin, snapshot: Snapshot, item_id: str) -> Response:
    with database.read() as connection:
        everything = judgements_in_force(connection, snapshot.campaign, includes_demoted=True)
    item = snapshot.items.get(item_id)
    if item is None:
        raise DataError(
            f"Campaign {snapshot.campaign.name!r} has no item {item_id[:40]}. Expected one of its items. "
            "Choose one from the list."
        )
    [line] = item_lines({item_id: item}, [entry for entry in snapshot.recorded if entry.item_id == item_id])
    return show(
        request,
        "admin_item.html",
        campaign=snapshot.campaign,
        line=line,
        item=item,
        own=[entry for entry in everything if entry.item_id == item_id],
        counted={entry.id for entry in snapshot.recorded},
    )


@router.get("/campaigns/{campaign_id}/judgements/{judgement_id}")
def judgement_page(request: Request, database: Data, _: Admin, snapshot: Snapshot, judgement_id: str) -> Response:
    campaign, runs = snapshot.campaign, getattr(request.app.state, "runs", Path("runs"))
    with database.read() as connection:
        everything = judgements_in_force(connection, campaign, includes_demoted=True)
        entry = next((one for one in everything if one.id == judgement_id), None)
        if entry is None:
            raise HTTPException(
                404,
                f"No judgement {judgement_id[:40]} is in force in campaign {campaign.name!r}. Expected one that its "
                "rater has not replaced since. Choose one from its item's page.",
            )
        earlier, known_rubrics = earlier_judgements(connection, entry.id), dict(rubrics(connection, campaign.id))
        exports = exports_of(connection, entry.id)
    item = snapshot.items[entry.item_id]
    return show(
        request,
        "admin_judgement.html",
        campaign=campaign,
        item=item,
        entry=entry,
        shown=shown_answers(item.comparison, entry.judgement),
        earlier=earlier,
        rubric=known_rubrics.get(entry.judgement.rubric_version.partition("+")[0], ""),
        exports=[(artifact_id, path, used_in(artifact_id, Path(path), runs)) for artifact_id, path in exports],
    )
