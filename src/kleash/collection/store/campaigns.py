"""Campaigns, their rubric versions and their items."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kleash.collection.campaign import DEFAULT_RUBRIC, Campaign, CampaignSettings, CampaignState
from kleash.collection.recorded import Item
from kleash.collection.store import tables as t
from kleash.collection.store.database import count, insert_row, printable
from kleash.collection.store.events import log_event, now
from kleash.collection.store.locks import lock_campaign
from kleash.errors import DataError
from kleash.records import Comparison, content_id, prompt_from_json
from kleash.settings import check_settings

NO_PRIORITIES: Mapping[str, float] = {}
NO_GOLD: Mapping[str, tuple[int, ...]] = {}
NO_HOLDS: Mapping[str, str] = {}


def create_campaign(
    connection: Connection,
    name: str,
    settings: CampaignSettings,
    *,
    rubric: str = DEFAULT_RUBRIC,
    seed: str | None = None,
    actor: str,
) -> Campaign:
    """Add an empty campaign. seed: of everything drawn at random in it; none = a secret one.

    Raises DataError for a name that is taken, empty or not printable.
    """
    if not name.strip() or not name.isprintable() or len(name) > 200 or "/" in name:
        raise DataError(
            f"{name!r} cannot be a campaign's name. Expected 1 to 200 printable characters without a slash. "
            "Choose another name."
        )
    values = {
        "name": name,
        "state": "open",
        "settings": settings.model_dump(mode="json"),
        "seed": seed or secrets.token_hex(16),
        "created_at": now(),
    }
    try:
        with connection.begin_nested():
            campaign_id = insert_row(connection, t.campaigns, **values)
    except sa.exc.IntegrityError:
        raise DataError(f"There is a campaign {name!r} already. Names are unique. Choose another name.") from None
    log_event(connection, actor, "campaign created", name, campaign_id, after=values["settings"])
    write_rubric(connection, campaign_id, rubric, actor=actor)
    return campaign_named(connection, name)


def campaign_named(connection: Connection, name: str) -> Campaign:
    """Return a campaign. Raises DataError, naming those there are, if there is none of this name."""
    query = sa.select(t.campaigns).where(t.campaigns.c.name == name)
    row = connection.execute(query).one_or_none() if name.isprintable() else None
    if row is None:
        known = ", ".join(connection.execute(sa.select(t.campaigns.c.name)).scalars()) or "none"
        raise DataError(f"There is no campaign {name!r}. There are: {known}. Correct the name, or make the campaign.")
    return _campaign(connection, row)


def campaign_by_id(connection: Connection, campaign_id: int) -> Campaign | None:
    """Return a campaign, or None."""
    row = connection.execute(sa.select(t.campaigns).where(t.campaigns.c.id == campaign_id)).one_or_none()
    return _campaign(connection, row) if row is not None else None


def present_state(connection: Connection, campaign: Campaign) -> CampaignState:
    """Return the state that a campaign is in now, which may have changed since it was read."""
    state: CampaignState = connection.execute(
        sa.select(t.campaigns.c.state).where(t.campaigns.c.id == campaign.id)
    ).scalar_one()
    return state


def campaigns(connection: Connection) -> list[Campaign]:
    """Return all campaigns, oldest first."""
    return [_campaign(connection, row) for row in connection.execute(sa.select(t.campaigns).order_by(t.campaigns.c.id))]


def set_state(connection: Connection, campaign: Campaign, state: CampaignState, *, actor: str) -> None:
    """Open, pause or close a campaign; a paused or closed one gives out no tasks and still takes what is answered."""
    lock_campaign(connection, campaign)
    connection.execute(t.campaigns.update().where(t.campaigns.c.id == campaign.id).values(state=state))
    log_event(connection, actor, "campaign state", campaign.name, campaign.id, before=campaign.state, after=state)


def write_rubric(connection: Connection, campaign_id: int, text: str, *, actor: str) -> str:
    """Make a text the campaign's rubric and return its version; judgements keep the version they were given under."""
    version = content_id("rubric", text)
    connection.execute(t.rubrics.insert().values(campaign_id=campaign_id, version=version, text=text, created_at=now()))
    log_event(connection, actor, "rubric written", version, campaign_id, after=text)
    return version


def rubrics(connection: Connection, campaign_id: int) -> list[tuple[str, str]]:
    """Return (version, text) of every rubric the campaign has had, the present one last."""
    query = sa.select(t.rubrics).where(t.rubrics.c.campaign_id == campaign_id).order_by(t.rubrics.c.id)
    return [(row.version, row.text) for row in connection.execute(query)]


@dataclass(frozen=True)
class Added:
    """What became of comparisons put into a campaign."""

    num_added: int
    num_known: int
    num_held: int


def add_items(
    connection: Connection,
    campaign: Campaign,
    comparisons: Iterable[Comparison],
    *,
    gold: Mapping[str, tuple[int, ...]] = NO_GOLD,
    priorities: Mapping[str, float] = NO_PRIORITIES,
    holds: Mapping[str, str] = NO_HOLDS,
    actor: str,
) -> Added:
    """Put comparisons into a campaign; one that is in it already is left as it is.

    gold: the known ranks of calibration items, by comparison id.  priorities: what the sampling policy goes by.
    holds: why a comparison is not to be given out yet, such as an answer that names its model.
    """
    lock_campaign(connection, campaign)
    query = sa.select(t.items.c.comparison_id).where(t.items.c.campaign_id == campaign.id)
    known = set(connection.execute(query).scalars())
    rows, num_known = [], 0
    kinds: dict[str, list[str]] = {}
    for comparison in comparisons:
        if comparison.id in known:
            num_known += 1
            continue
        known.add(comparison.id)
        kinds[comparison.id] = [] if comparison.id in gold else _slot_kinds(campaign, comparison.id)
        rows.append(
            {
                "campaign_id": campaign.id,
                "comparison_id": comparison.id,
                "prompt": comparison.prompt.content_json(),
                "slices": dict(comparison.prompt.dimensions),
                "completions": list(comparison.completions),
                "sources": list(comparison.sources),
                "gold_ranks": list(gold.get(comparison.id, ())),
                "is_gold": comparison.id in gold,
                "hold": printable(holds.get(comparison.id, "")),
                "overlap": len(kinds[comparison.id]),
                "priority": priorities.get(comparison.id, 0.0),
                "criteria": comparison.prompt.criteria or None,
            }
        )
    if rows:
        connection.execute(t.items.insert(), rows)
        _add_slots(connection, campaign, kinds)
    added = Added(len(rows), num_known, sum(bool(row["hold"]) for row in rows))
    counts = {"added": added.num_added, "known": added.num_known, "held": added.num_held}
    log_event(connection, actor, "items added", campaign.name, campaign.id, after=counts)
    return added


def record_origin(connection: Connection, campaign: Campaign, path: str, *, actor: str) -> None:
    """Remember the candidates artifact that items came from."""
    log_event(connection, actor, "items came from", path, campaign.id)


def origins(connection: Connection, campaign: Campaign) -> list[str]:
    """Return the candidates artifacts that items came from, in the order they were added."""
    query = sa.select(t.events.c.subject).where(
        t.events.c.campaign_id == campaign.id, t.events.c.action == "items came from"
    )
    return list(dict.fromkeys(connection.execute(query.order_by(t.events.c.id)).scalars()))


def set_priorities(
    connection: Connection, campaign: Campaign, priorities: Mapping[str, float], *, actor: str = "command line"
) -> None:
    """Set what the sampling policy goes by, by comparison id; items that were begun are not affected."""
    lock_campaign(connection, campaign)
    updates = [
        {"its_comparison": comparison_id, "its_priority": priority} for comparison_id, priority in priorities.items()
    ]
    if updates:
        statement = t.items.update().where(
            t.items.c.campaign_id == campaign.id, t.items.c.comparison_id == sa.bindparam("its_comparison")
        )
        connection.execute(statement.values(priority=sa.bindparam("its_priority")), updates)
    log_event(connection, actor, "priorities set", campaign.name, campaign.id, after={"items": len(updates)})


def set_hold(connection: Connection, campaign: Campaign, item_id: str, reason: str, *, actor: str) -> None:
    """Hold an item back for a reason, or release it with an empty one."""
    before = connection.execute(sa.select(t.items.c.hold).where(is_item(campaign, item_id))).scalar_one_or_none()
    if before is None:
        raise DataError(f"Campaign {campaign.name!r} has no item {item_id}. Give the id of one of its items.")
    connection.execute(t.items.update().where(is_item(campaign, item_id)).values(hold=printable(reason)))
    log_event(connection, actor, "item held", item_id, campaign.id, before=before, after=reason)


def items(connection: Connection, campaign: Campaign) -> dict[str, Item]:
    """Return a campaign's items by id, in the order they were added."""
    query = sa.select(t.items).where(t.items.c.campaign_id == campaign.id).order_by(t.items.c.id)
    return {str(row.id): item_from_row(row) for row in connection.execute(query)}


def item_from_row(row: sa.Row[tuple[object, ...]]) -> Item:
    """Rebuild an item from its row in the table."""
    prompt = prompt_from_json(row.prompt, row.slices, row.criteria or "")
    return Item(
        id=str(row.id),
        comparison=Comparison(prompt, row.completions, row.sources),
        gold_ranks=row.gold_ranks,
        overlap=row.overlap,
        arm=row.arm,
        propensity=row.propensity,
        hold=row.hold,
    )


@dataclass(frozen=True)
class CampaignProgress:
    """How far a campaign has come. A full item has all the judgements it is to have; calibration items do not count."""

    num_items: int
    num_full: int
    num_slots: int
    num_done: int
    num_held: int
    target: int

    @property
    def is_complete(self) -> bool:
        return self.num_full >= self.target


def progress(connection: Connection, campaign: Campaign) -> CampaignProgress:
    """Count a campaign's items and slots."""
    is_ours = (t.items.c.campaign_id == campaign.id) & ~t.items.c.is_gold
    num_items, num_held = count(connection, is_ours), count(connection, is_ours, t.items.c.hold != "")
    done = sa.func.sum(sa.case((t.slots.c.is_done, 1), else_=0))
    per_item = (
        sa.select(sa.func.count().label("slots"), done.label("done"))
        .where(t.slots.c.campaign_id == campaign.id)
        .group_by(t.slots.c.item_id)
        .subquery()
    )
    full = sa.func.sum(sa.case((per_item.c.done >= per_item.c.slots, 1), else_=0))
    row = connection.execute(sa.select(full, sa.func.sum(per_item.c.slots), sa.func.sum(per_item.c.done))).one()
    num_full, num_slots, num_done = (int(value or 0) for value in row)
    target = min(campaign.settings.target_items or num_items, num_items - num_held)
    return CampaignProgress(num_items, num_full, num_slots, num_done, num_held, target)


def _slot_kinds(campaign: Campaign, comparison_id: str) -> list[str]:
    """Say for whom each slot of an item is; with AI judges at work, a random share of the items has some for people."""
    settings = campaign.settings
    if settings.people_share == 0:
        return [""] * settings.overlap
    is_for_people = random.Random(f"{campaign.seed} people {comparison_id}").random() < settings.people_share
    return ["ai"] * settings.overlap + ["person"] * (settings.people_overlap if is_for_people else 0)


def full_comparisons(connection: Connection, campaign: Campaign) -> set[str]:
    """Return the comparisons that have all the judgements they are to have, or are calibration items."""
    waits = sa.exists().where(t.slots.c.item_id == t.items.c.id, ~t.slots.c.is_done)
    query = sa.select(t.items.c.comparison_id).where(t.items.c.campaign_id == campaign.id, ~waits)
    return set(connection.execute(query).scalars())


def shared_comparisons(connection: Connection, campaign: Campaign) -> set[str]:
    """Return the comparisons of an AI-judged campaign with a place that is kept for people, taken or not."""
    kept = (t.slots.c.campaign_id == campaign.id) & (t.slots.c.reserved_for == "person")
    query = sa.select(t.items.c.comparison_id).join(t.slots, t.slots.c.item_id == t.items.c.id).where(kept)
    return set(connection.execute(query).scalars())


def restore_sampling(
    connection: Connection, campaign: Campaign, by_comparison: Mapping[str, Mapping[str, Any]]
) -> None:
    """Set what an export says of each item besides its text: overlap, and the arm and propensity that chose it."""
    for comparison_id, extra in by_comparison.items():
        known = {name: extra[name] for name in ("overlap", "arm", "propensity") if name in extra}
        if known:
            is_it = (t.items.c.campaign_id == campaign.id) & (t.items.c.comparison_id == comparison_id)
            connection.execute(t.items.update().where(is_it).values(known))


def _add_slots(connection: Connection, campaign: Campaign, kinds: Mapping[str, Sequence[str]]) -> None:
    query = sa.select(t.items.c.id, t.items.c.comparison_id).where(t.items.c.campaign_id == campaign.id)
    slots = [
        {"item_id": item_id, "number": number, "campaign_id": campaign.id, "reserved_for": kind, "is_done": False}
        for item_id, comparison_id in connection.execute(query)
        for number, kind in enumerate(kinds.get(comparison_id, ()))
    ]
    if slots:
        connection.execute(t.slots.insert(), slots)


def is_item(campaign: Campaign, item_id: str) -> sa.ColumnElement[bool]:
    """Return the condition for one item of a campaign; whatever is no item's number finds nothing."""
    number = int(item_id) if item_id.isdecimal() and len(item_id) < 19 else -1
    return (t.items.c.id == number) & (t.items.c.campaign_id == campaign.id)


def _campaign(connection: Connection, row: sa.Row[tuple[object, ...]]) -> Campaign:
    rubric_version, rubric = rubrics(connection, row.id)[-1]
    return Campaign(
        id=row.id,
        name=row.name,
        state=row.state,
        settings=check_settings(row.settings, CampaignSettings, source=f"campaign {row.name!r}"),
        seed=row.seed,
        rubric=rubric,
        rubric_version=rubric_version,
        created_at=row.created_at,
    )
