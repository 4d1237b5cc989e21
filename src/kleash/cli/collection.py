"""`kleash collect`: campaigns, the labelling pages, accounts, export, backup; and `kleash judge`: AI judges at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kleash.cli.options import RUNS, RunsFolder, Strict, examples, settings_from
from kleash.errors import DataError, SettingsError
from kleash.screen import remarks, results

if TYPE_CHECKING:
    from kleash.collection.importing import Imported
    from kleash.collection.store.database import Database

app = typer.Typer(
    help="Collect preferences: campaigns, labelling pages, export.",
    epilog=examples("kleash collect new mine --from pairs.jsonl", "kleash collect serve"),
)
users = typer.Typer(help="Who may sign in.", epilog=examples("kleash collect user invite --role labeller"))
app.add_typer(users, name="user")
judging = typer.Typer()

ACTOR = "command line"
Store = Annotated[
    str, typer.Option("--store", envvar="KLEASH_STORE", help="Label database: a file, or postgresql://user@host/name.")
]
STORE = "labels.sqlite"
Name = Annotated[str, typer.Argument(help="The campaign's name.")]
SettingsGiven = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change one setting; may be given often.")
]
Password = Annotated[
    str, typer.Option("--password", prompt=True, hide_input=True, confirmation_prompt=True, help="Asked if left out.")
]
RoleOption = Annotated[str, typer.Option("--role", help="labeller, adjudicator or admin.")]


@app.command(
    epilog=examples(
        "kleash collect new mine --from pairs.jsonl --gold gold.jsonl --set overlap=3",
        "kleash collect new mine --candidates runs/quickstart/round-000/candidates --rubric rubric.md",
        "kleash collect new again --export exported/",
    )
)
def new(
    name: Name,
    file: Annotated[Path | None, typer.Option("--from", help="File of comparisons, judged or not.")] = None,
    candidates: Annotated[Path | None, typer.Option("--candidates", help="Candidates artifact.")] = None,
    export: Annotated[Path | None, typer.Option("--export", help="Folder that `collect export` wrote.")] = None,
    gold: Annotated[
        Path | None, typer.Option("--gold", help="Preference file whose answers are known: calibration items.")
    ] = None,
    rubric: Annotated[Path | None, typer.Option("--rubric", help="Markdown file; without one, a good default.")] = None,
    overrides: SettingsGiven = None,
    strict: Strict = False,
    store: Store = STORE,
) -> None:
    """Make a campaign, or put more items into one that is there."""
    from kleash.collection.campaign import DEFAULT_RUBRIC, CampaignSettings
    from kleash.collection.importing import import_candidates, import_comparisons, import_export, import_gold
    from kleash.collection.store import campaigns as stored

    if sum(source is not None for source in (file, candidates, export)) != 1:
        raise SettingsError(
            "A campaign's items come from one place. Expected one of --from FILE, --candidates FOLDER and --export "
            "FOLDER. Give one of them."
        )
    settings = settings_from(CampaignSettings, overrides)
    text = _read_text(rubric) if rubric else DEFAULT_RUBRIC
    with opened(store) as database, database.write() as connection:
        if export is not None:
            _, imported = import_export(connection, export, name, actor=ACTOR)
        else:
            known = {campaign.name: campaign for campaign in stored.campaigns(connection)}
            if name in known and (overrides or rubric):
                raise SettingsError(
                    f"There is a campaign {name!r} already, and a campaign keeps the settings it was made with. "
                    "Expected neither --set nor --rubric. Leave them out to add items; edit the rubric on its page."
                )
            campaign = known.get(name) or stored.create_campaign(connection, name, settings, rubric=text, actor=ACTOR)
            if file is not None:
                imported = import_comparisons(connection, campaign, file, strict=strict, actor=ACTOR)
            else:
                assert candidates is not None, "checked above"
                imported = import_candidates(connection, campaign, candidates, actor=ACTOR)
            if gold is not None:
                _say_imported("gold", import_gold(connection, campaign, gold, strict=strict, actor=ACTOR))
        shown = store if database.is_sqlite else database.shown_url
    _say_imported(name, imported)
    remarks().print(f"Show it: kleash collect serve --store {shown}", soft_wrap=True)


@app.command(
    epilog=examples(
        "kleash collect serve",
        "kleash collect serve --store postgresql://kleash@db/labels --host 0.0.0.0 --https",
    )
)
def serve(
    store: Store = STORE,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 127.0.0.1 is this machine alone.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8321,
    https: Annotated[bool, typer.Option("--https", help="Behind an HTTPS proxy: cookies over HTTPS alone.")] = False,
    runs_dir: RunsFolder = RUNS,
) -> None:
    """Show the labelling pages until Ctrl-C. The first time it tells how to become the administrator."""
    import uvicorn

    from kleash.collection.app import create_app
    from kleash.collection.store import accounts

    with opened(store) as database:
        app = create_app(database, https_only=https)
        app.state.runs = runs_dir
        address = f"http://{host}:{port}"
        with database.write() as connection:
            if not any(account.role == "admin" for account in accounts.accounts(connection)):
                token = accounts.create_invite(connection, "admin", actor=ACTOR)
                remarks().print(
                    f"There is no administrator yet. Become it: {address}/invite/{token}",
                    style="bold",
                    soft_wrap=True,
                )
        remarks().print(f"Labelling at {address} (Ctrl-C ends it; nothing is lost)", soft_wrap=True)
        # Proxy headers count from this machine alone unless FORWARDED_ALLOW_IPS says otherwise.
        uvicorn.run(app, host=host, port=port, log_level="warning", use_colors=False, proxy_headers=True)


@app.command(epilog=examples("kleash collect status", "kleash collect status mine --store labels.sqlite"))
def status(
    name: Annotated[str | None, typer.Argument(help="One campaign; without a name, all.")] = None, store: Store = STORE
) -> None:
    """Say how far the campaigns are and whether their labels can be trusted."""
    from kleash.cli.tables import beside_people_table, campaigns_table, judges_status_table, rows_table
    from kleash.collection.gates import campaign_gates
    from kleash.collection.judge_quality import beside_people, measure_judges
    from kleash.collection.quality import agreement
    from kleash.collection.store import campaigns as stored
    from kleash.collection.store.calls import judge_calls
    from kleash.collection.store.judgements import judgements_in_force
    from kleash.collection.store.raters import raters

    with opened(store) as database, database.read() as connection:
        found = [stored.campaign_named(connection, name)] if name else stored.campaigns(connection)
        results().print(campaigns_table([(one, stored.progress(connection, one)) for one in found]))
        if name:
            items, recorded = stored.items(connection, found[0]), judgements_in_force(connection, found[0])
            gates = campaign_gates(agreement(items, recorded), items, recorded)
            rows = [(gate.name.replace("_", " "), gate.state, gate.reason) for gate in gates]
            results().print(rows_table(("gate", "state", "why"), rows))
            everything = judgements_in_force(connection, found[0], includes_demoted=True)
            calls = judge_calls(connection, [item.comparison.id for item in items.values()])
            figures = {one.judge: one for one in measure_judges(items, everything, calls, is_weekly=False)}
            if judges := judges_status_table(
                raters(connection, found[0].id), recorded=everything, counting=recorded, figures=figures
            ):
                results().print(judges)
            if beside := beside_people_table(beside_people(items, everything, calls)):
                results().print(beside)


@app.command(
    epilog=examples(
        "kleash collect export mine --into preferences",
        "kleash collect export mine --into preferences --set method=dawid_skene --set min_agreement=0.5",
    )
)
def export(
    name: Name,
    output_dir: Annotated[Path, typer.Option("--into", help="Folder of the preferences artifact to make.")],
    overrides: SettingsGiven = None,
    store: Store = STORE,
) -> None:
    """Freeze a campaign's judgements into a preferences artifact, which `reward` and `direct` train on."""
    from kleash.cli.tables import figures_table
    from kleash.collection.aggregation import AggregationSettings
    from kleash.collection.exporting import freeze

    settings = settings_from(AggregationSettings, overrides)
    with opened(store) as database:
        made = freeze(database, name, output_dir, settings=settings, actor=ACTOR)
    results().print(f"{made.kind} {made.id} in {output_dir}", style="bold", soft_wrap=True)
    results().print(figures_table(made))


@app.command(epilog=examples("kleash collect prioritise mine --scores scores.jsonl"))
def prioritise(
    name: Name,
    scores: Annotated[
        Path, typer.Option("--scores", help='Lines of {"comparison_id": ..., "first_better": p} or {"suspicion": s}.')
    ],
    store: Store = STORE,
) -> None:
    """Say which items are most worth a rater's time, for campaigns with sampling = uncertain or suspects."""
    from kleash.collection.importing import read_priorities
    from kleash.collection.quality import vote_entropy_by_slice
    from kleash.collection.store import campaigns as stored
    from kleash.collection.store.judgements import judgements_in_force

    with opened(store) as database, database.write() as connection:
        campaign = stored.campaign_named(connection, name)
        items = stored.items(connection, campaign)
        entropies = vote_entropy_by_slice(items, judgements_in_force(connection, campaign))
        priorities = read_priorities(scores, items, entropies)
        stored.set_priorities(connection, campaign, priorities)
    results().print(f"{len(priorities):,} of {len(items):,} items have a priority.")


@app.command(epilog=examples("kleash collect state mine closed"))
def state(name: Name, to: Annotated[str, typer.Argument(help="open, paused or closed.")], store: Store = STORE) -> None:
    """Open, pause or close a campaign. A closed one gives out no tasks and still takes what is being answered."""
    from typing import get_args

    from kleash.collection.campaign import CampaignState
    from kleash.collection.store import campaigns as stored

    if to not in get_args(CampaignState):
        raise SettingsError(
            f"There is no state {to!r}. Expected {', '.join(get_args(CampaignState))}. Use one of them."
        )
    with opened(store) as database, database.write() as connection:
        campaign = stored.campaign_named(connection, name)
        stored.set_state(connection, campaign, to, actor=ACTOR)  # type: ignore[arg-type]
    results().print(f"{name}: {campaign.state} -> {to}")


@app.command(epilog=examples('kleash collect demote judge@1f2e --reason "flips too often"'))
def demote(
    rater: Annotated[str, typer.Argument(help="A rater's name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; an empty reason takes the rater back in.")],
    store: Store = STORE,
) -> None:
    """Take a rater's verdicts out of every count and export from now on; they stay in the database."""
    from kleash.collection.store import raters

    with opened(store) as database, database.write() as connection:
        raters.demote(connection, rater, reason, actor=ACTOR)


@app.command(epilog=examples("kleash collect backup labels-monday.sqlite"))
def backup(
    file: Annotated[Path, typer.Argument(help="File to write; never overwritten.")], store: Store = STORE
) -> None:
    """Copy an SQLite label database, also while people label. PostgreSQL has pg_dump."""
    with opened(store) as database:
        database.back_up(file)
    results().print(f"Backed up to {file}", soft_wrap=True)


@app.command(epilog=examples("kleash collect restore labels-monday.sqlite --store labels.sqlite"))
def restore(file: Annotated[Path, typer.Argument(help="A backup.")], store: Store = STORE) -> None:
    """Replace an SQLite label database by a backup, as one transaction."""
    with opened(store) as database:
        database.restore(file)
    results().print(f"Restored {store} from {file}", soft_wrap=True)


# ------------------------------------------------------------------------------------------------------------ accounts
@users.command("add", epilog=examples("kleash collect user add anna --role labeller"))
def add_user(
    name: Annotated[str, typer.Argument(help="The name to sign in with.")],
    role: RoleOption = "labeller",
    password: Password = "",
    store: Store = STORE,
) -> None:
    """Add an account with a password."""
    from kleash.collection.store import accounts

    with opened(store) as database, database.write() as connection:
        account = accounts.create_account(connection, name, password, role, actor=ACTOR)  # type: ignore[arg-type]
    results().print(f"{account.rater.name} may sign in as {account.role}.")


@users.command("invite", epilog=examples("kleash collect user invite --role labeller"))
def invite_user(
    role: RoleOption = "labeller",
    address: Annotated[str, typer.Option("--address", help="Where the pages are.")] = "http://127.0.0.1:8321",
    store: Store = STORE,
) -> None:
    """Print a link with which one person makes an account. It works once, for a week."""
    from kleash.collection.store import accounts

    with opened(store) as database, database.write() as connection:
        token = accounts.create_invite(connection, role, actor=ACTOR)  # type: ignore[arg-type]
    results().print(f"{address}/invite/{token}", soft_wrap=True)


@users.command("list", epilog=examples("kleash collect user list"))
def list_users(store: Store = STORE) -> None:
    """List who may sign in."""
    from kleash.cli.tables import rows_table
    from kleash.collection.store import accounts

    with opened(store) as database, database.read() as connection:
        known = accounts.accounts(connection)
    rows = [(account.rater.name, account.role, "yes" if account.is_active else "no") for account in known]
    results().print(rows_table(("name", "role", "active"), rows))


@users.command("password", epilog=examples("kleash collect user password anna"))
def reset_password(
    name: Annotated[str, typer.Argument(help="Whose.")],
    password: Password = "",
    store: Store = STORE,
) -> None:
    """Set a new password and end the person's sessions."""
    from kleash.collection.store import accounts

    with opened(store) as database, database.write() as connection:
        accounts.reset_password(connection, name, password, actor=ACTOR)


# ------------------------------------------------------------------------------------------------------------- judges
@judging.command(
    rich_help_panel="Preferences",
    epilog=examples("kleash judge mine --judges judges.toml", "kleash judge mine --judges judges.toml --only 50"),
)
def judge(
    name: Name,
    judges: Annotated[Path, typer.Option("--judges", help="TOML file of one AI judge, or a panel.")],
    only: Annotated[int | None, typer.Option("--only", min=1, help="Judge this many of the waiting items.")] = None,
    budget: Annotated[
        float | None, typer.Option("--budget", min=0, help="Pay at most this much in this run, for all judges.")
    ] = None,
    overrides: SettingsGiven = None,
    store: Store = STORE,
) -> None:
    """Have AI judges work through a campaign, both orders, and hold them to their band beside people.

    Stopped or killed, the same command goes on: what was asked is never paid for twice.
    """
    from kleash.cli.tables import beside_people_table, judges_table
    from kleash.raters.configuration import load_judges
    from kleash.stages.support.judging import judge_campaign

    limits = [] if budget is None else [f"budget={budget}"]
    settings = load_judges(judges, [*(overrides or []), *limits])
    with opened(store) as database:
        done = judge_campaign(database, name, settings, only=only, actor=ACTOR)
    for remark in done.remarks:
        remarks().print(remark, style="yellow", soft_wrap=True)
    unread = f", {done.num_unreadable:,} replies without a verdict" if done.num_unreadable else ""
    results().print(f"{done.num_added:,} judgements added{unread}")
    for name, spending in done.spent.items():
        results().print(f"{name}: {spending.told} in this run", soft_wrap=True)
    results().print(judges_table(done.figures))
    if beside := beside_people_table(done.beside_people):
        results().print(beside)


# ------------------------------------------------------------------------------------------------------------- inside
@contextmanager
def opened(store: str) -> Iterator[Database]:
    """Open the label database and close it in the end."""
    from kleash.collection.store.database import Database

    database = Database(store)
    try:
        yield database
    finally:
        database.close()


def _say_imported(what: str, imported: Imported) -> None:
    screen = remarks()
    for problem in imported.problems:
        screen.print(problem, style="yellow", soft_wrap=True)
    parts = [f"{imported.items.num_added:,} items added"]
    parts += [f"{imported.items.num_known:,} were there"] if imported.items.num_known else []
    parts += [f"{imported.items.num_held:,} held back (they name a model)"] if imported.items.num_held else []
    parts += [f"{imported.num_judgements:,} judgements"] if imported.num_judgements else []
    parts += [f"{len(imported.problems):,} bad rows left out"] if imported.problems else []
    screen.print(f"{what}: {', '.join(parts)}", soft_wrap=True)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the rubric {path}: {error}. Give a UTF-8 text file.") from None
