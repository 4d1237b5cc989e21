"""What an admin changes: a campaign's state, rubric and held items, which raters count, people and their roles.

Every change is a form; the store writes it into the audit log with who made it.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from kleash.collection.campaign import CampaignState
from kleash.collection.routes.frame import Admin, Data, Snapshot, campaign_or_404, go, show
from kleash.collection.store.accounts import INVITE_LIFETIME, AccountRole, accounts, create_invite, set_active, set_role
from kleash.collection.store.campaigns import rubrics, set_hold, set_state, write_rubric
from kleash.collection.store.judgements import judgements_in_force
from kleash.collection.store.raters import demote, raters
from kleash.collection.views import rubric_versions
from kleash.errors import DataError
from kleash.web.visible import visible_text

router = APIRouter()

Words = Annotated[str, Form(max_length=200)]


# ---------------------------------------------------------------------------------------------------------- campaigns
@router.post("/campaigns/{campaign_id}/state")
def change_state(database: Data, visitor: Admin, campaign_id: int, state: Annotated[CampaignState, Form()]) -> Response:
    with database.write() as connection:
        set_state(connection, campaign_or_404(connection, campaign_id), state, actor=visitor.rater.name)
    return go(f"/admin/campaigns/{campaign_id}")


@router.get("/campaigns/{campaign_id}/rubric")
def rubric_page(request: Request, database: Data, _: Admin, campaign_id: int) -> Response:
    with database.read() as connection:
        campaign = campaign_or_404(connection, campaign_id)
        recorded = judgements_in_force(connection, campaign, includes_demoted=True)
        versions = rubric_versions(rubrics(connection, campaign_id), recorded)
    return show(request, "admin_rubric.html", campaign=campaign, versions=versions)


@router.post("/campaigns/{campaign_id}/rubric")
def change_rubric(
    database: Data, visitor: Admin, campaign_id: int, text: Annotated[str, Form(max_length=50_000)]
) -> Response:
    """Make a text the rubric; one that is the present rubric already makes no version."""
    text = text.replace("\r\n", "\n").strip() + "\n"
    if text == "\n":
        raise DataError("The rubric is empty. Raters need something to go by. Write what makes an answer better.")
    with database.write() as connection:
        if text != campaign_or_404(connection, campaign_id).rubric:
            write_rubric(connection, campaign_id, text, actor=visitor.rater.name)
    return go(f"/admin/campaigns/{campaign_id}/rubric")


@router.get("/campaigns/{campaign_id}/held")
def held_page(request: Request, _: Admin, snapshot: Snapshot) -> Response:
    held = [item for item in snapshot.items.values() if item.hold]
    return show(request, "admin_held.html", campaign=snapshot.campaign, held=held)


@router.post("/campaigns/{campaign_id}/held")
def change_hold(
    database: Data, visitor: Admin, campaign_id: int, item_id: Words, reason: Words = "", target: Words = ""
) -> Response:
    """Release an item, or hold it for a reason. target: "item" leads back to the item's page."""
    with database.write() as connection:
        campaign = campaign_or_404(connection, campaign_id)
        set_hold(connection, campaign, item_id, visible_text(reason.strip()), actor=visitor.rater.name)
    return go(f"/admin/campaigns/{campaign_id}/" + (f"items/{item_id}" if target == "item" else "held"))


@router.post("/campaigns/{campaign_id}/raters")
def change_rater(database: Data, visitor: Admin, campaign_id: int, name: Words, reason: Words = "") -> Response:
    """Leave a rater's verdicts out of every count for a reason, or take them in again without one."""
    with database.write() as connection:
        campaign_or_404(connection, campaign_id)
        if name not in [rater.name for rater in raters(connection, campaign_id)]:
            raise DataError(
                f"{name!r} has judged nothing in this campaign. Expected one of its raters. Choose one from its page."
            )
        demote(connection, name, reason.strip(), actor=visitor.rater.name)
    return go(f"/admin/campaigns/{campaign_id}")


# ------------------------------------------------------------------------------------------------------------- people
@router.get("/people")
def people_page(request: Request, database: Data, _: Admin) -> Response:
    with database.read() as connection:
        everybody = accounts(connection)
    return show(request, "admin_people.html", accounts=everybody, invite="", role="", days=INVITE_LIFETIME.days)


@router.post("/people/invites")
def invite(request: Request, database: Data, visitor: Admin, role: Annotated[AccountRole, Form()]) -> Response:
    """Make an invite and show its link on this one page: only its digest is stored."""
    with database.write() as connection:
        token = create_invite(connection, role, actor=visitor.rater.name)
        everybody = accounts(connection)
    link = f"{str(request.base_url).rstrip('/')}/invite/{token}"
    return show(request, "admin_people.html", accounts=everybody, invite=link, role=role, days=INVITE_LIFETIME.days)


@router.post("/people/role")
def change_role(database: Data, visitor: Admin, name: Words, role: Annotated[AccountRole, Form()]) -> Response:
    with database.write() as connection:
        set_role(connection, name, role, actor=visitor.rater.name)
    return go("/admin/people")


@router.post("/people/active")
def change_active(database: Data, visitor: Admin, name: Words, is_active: Annotated[bool, Form()]) -> Response:
    with database.write() as connection:
        set_active(connection, name, is_active, actor=visitor.rater.name)
    return go("/admin/people")
