"""The admin pages over HTTP: figures are those computed from the judgements, roles hold, hostile texts stay texts."""

import html
import json
import re
import shutil

import pytest

from collection.demo_campaign import HOSTILE, make_demo_campaign
from collection.made_campaigns import NOON, comparison, make_campaign
from collection.web import signed_in, stranger
from kleash.collection import wording
from kleash.collection.aggregation import AggregationSettings, aggregate
from kleash.collection.app import create_app
from kleash.collection.gates import campaign_gates
from kleash.collection.leaderboard import leaderboard
from kleash.collection.quality import agreement, low_agreement_items, rater_table
from kleash.collection.snapshot import read_snapshot
from kleash.collection.store.accounts import accounts
from kleash.collection.store.campaigns import add_items, campaign_named, items, rubrics
from kleash.collection.store.database import Database
from kleash.collection.store.events import events
from kleash.collection.store.judgements import judgements_in_force
from kleash.collection.store.raters import demote
from kleash.web import PLOTLY

NAME = f"Round {HOSTILE[:40].replace('/', '')}"

OUR_SCRIPTS = {
    '<script src="/shared/figures.js" defer>',
    '<script src="/static/admin.js" defer>',
    f'<script src="/shared/{PLOTLY.name}" defer>',
    '<script type="application/json" id="figures">',
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "labels.db"
    database = Database(path)
    make_demo_campaign(database, name=NAME, num_items=70, hostile=True, now=NOON)
    database.close()
    return path


@pytest.fixture
def app(filled, tmp_path):
    database = Database(shutil.copy(filled, tmp_path / "labels.db"))
    app = create_app(database)
    app.state.runs = tmp_path / "runs"
    yield app
    database.close()


@pytest.fixture
def snapshot(app):
    with app.state.database.read() as connection:
        return read_snapshot(connection, campaign_named(connection, NAME))


@pytest.fixture
def admin(app):
    return signed_in(app, "eve", "admin")


def address(snapshot, rest=""):
    return f"/admin/campaigns/{snapshot.campaign.id}{rest}"


def words_of(response):
    """Return a page's words as a reader sees them, one space between any two."""
    assert response.status_code == 200, response.text
    text = re.sub(r"(?s)<script.*?</script>|<style.*?</style>|<[^>]*>", " ", response.text)
    return one_line(html.unescape(text))


def one_line(text):
    """Make every stretch of white space, also a narrow one before a unit, a single space."""
    return " ".join(text.split())


def share(figure):
    return one_line(f"{wording.percent(figure.value)} {wording.percent_range(figure)}")


def figures_of(response):
    return json.loads(re.search(r'(?s)<script type="application/json" id="figures">(.*?)</script>', response.text)[1])


def every_page(snapshot):
    rest = ["", "/review", "/items", "/held", "/rubric", "/judges", "/export", "/audit", "/raters/Eve%20Strand"]
    item, entry = next(iter(snapshot.items)), snapshot.recorded[0]
    rest += [f"/review/{item}", f"/items/{item}", f"/judgements/{entry.id}"]
    return ["/admin", "/admin/people", "/admin/audit", "/admin/review", *(address(snapshot, part) for part in rest)]


# ------------------------------------------------------------------------------------------------------------ figures
def test_the_overview_shows_what_is_computed_from_the_judgements(admin, snapshot):
    page = admin.get(address(snapshot))
    words, (items, given) = words_of(page), (snapshot.items, snapshot.recorded)
    measured = agreement(items, given)
    plain = measured.percent_without_ties
    assert f"Agreement, ties apart {share(plain)}" in words
    assert f"{wording.number(measured.ac1.value)} AC1 {wording.number_range(measured.ac1)}" in words
    for gate in campaign_gates(measured, items, given):
        assert gate.reason in words
    assert f"To review {len(low_agreement_items(items, given))} items" in words
    assert f"{snapshot.progress.num_full} of {snapshot.progress.target}" in words


def test_the_rater_table_shows_each_raters_own_figures(admin, snapshot):
    words = words_of(admin.get(address(snapshot)))
    rows = rater_table(snapshot.items, snapshot.recorded)
    assert len(rows) == 5
    for row in rows:
        figures = (row.gold_accuracy, row.self_consistency, row.with_others, row.first_position, row.longer)
        cells = [f"{share(f)} · n {f.n}" for f in figures if f.n]
        mine = words[words.index(f"{row.rater} ") :]
        for cell in cells:
            assert cell in mine
            mine = mine[mine.index(cell) :]


def test_the_leaderboard_is_raw_beside_length_controlled(admin, snapshot):
    page = admin.get(address(snapshot))
    board = leaderboard(snapshot.items, snapshot.recorded)
    words = words_of(page)
    for standing in board.standings[:3]:
        two = (standing.strength, standing.length_controlled)
        shown = " ".join(f"{wording.number(f.value)} {wording.number_range(f)}" for f in two)
        assert f"{wording.shortened(standing.source, 500)} {shown}" in words
    drawn = figures_of(page)["board"]["data"]
    assert drawn[0]["x"] == [standing.strength.value for standing in board.standings[::-1]]
    assert drawn[1]["x"] == [standing.length_controlled.value for standing in board.standings[::-1]]


def test_the_overview_changes_with_the_next_judgement_and_is_kept_until_then(admin, app, snapshot):
    before = words_of(admin.get(address(snapshot)))
    kept = app.state.measurements.of(snapshot)
    assert app.state.measurements.of(snapshot) is kept
    with app.state.database.write() as connection:
        demote(connection, "Eve Strand", "rushes", actor="test")
    after = words_of(admin.get(address(snapshot)))
    assert "Eve Strand" in before
    assert "Eve Strand" not in after


def test_the_campaign_list_links_and_sums_up(admin, snapshot):
    page = admin.get("/admin")
    assert f'href="{address(snapshot)}"' in page.text
    assert f"{len(low_agreement_items(snapshot.items, snapshot.recorded))} items to review" in words_of(page)
    assert "5 items held" in words_of(page)


def test_the_export_preview_counts_what_aggregation_keeps(admin, snapshot):
    query = "?method=majority&min_agreement=0.6&min_gold_accuracy=0.7&leave_out_flagged=&leave_out_flagged=unsafe"
    page = words_of(admin.get(address(snapshot, "/export" + query)))
    settings = AggregationSettings(
        method="majority", min_agreement=0.6, min_gold_accuracy=0.7, leave_out_flagged=("unsafe",)
    )
    outcome = aggregate(snapshot.items, snapshot.recorded, settings=settings)
    num_kept = sum(not row.left_out for row in outcome.rows)
    assert f"Rows to train on {num_kept} of {len(outcome.rows)}" in page
    for reason, number in (outcome.rows_left_out | outcome.judgements_left_out).items():
        assert f"{reason.replace('_', ' ')} {number}" in page
    assert """--set method=majority --set min_agreement=0.6 --set min_gold_accuracy=0.7 --set 'leave""" in page


def test_filters_that_do_not_fit_are_named(admin, snapshot):
    refused = admin.get(address(snapshot, "/export?min_agreement=2"))
    assert refused.status_code == 422
    assert "min_agreement: Input should be less than or equal to 1" in refused.text


def test_a_campaign_nobody_has_worked_in_has_all_its_pages(admin, app):
    campaign = make_campaign(app.state.database, num_items=1, name="untouched")
    for part in ("", "/review", "/items", "/held", "/rubric", "/judges", "/export", "/audit"):
        assert admin.get(f"/admin/campaigns/{campaign.id}{part}").status_code == 200, part
    words = words_of(admin.get(f"/admin/campaigns/{campaign.id}"))
    assert "0 of 1" in words
    assert "not begun" in words
    assert words.count("Only 0 to go by, and it takes 10. Collect more.") == 4


# -------------------------------------------------------------------------------------------------------------- roles
def test_labellers_reach_nothing_and_adjudicators_the_review_alone(app, snapshot):
    labeller, adjudicator = signed_in(app, "lou", "labeller"), signed_in(app, "ada", "adjudicator")
    for page in every_page(snapshot):
        assert labeller.get(page).status_code == 403, page
        assert adjudicator.get(page).status_code == (200 if "review" in page else 403), page
        assert stranger(app).get(page).status_code == 303, page


def test_an_adjudicators_pages_name_no_policy(app, snapshot):
    adjudicator = signed_in(app, "ada", "adjudicator")
    sources = {source for item in snapshot.items.values() for source in item.comparison.sources} - {HOSTILE}
    for page in every_page(snapshot):
        if "review" in page:
            text = adjudicator.get(page).text
            assert not [source for source in sources if source in text]


def test_plotly_is_served(admin):
    script = admin.get(f"/shared/{PLOTLY.name}")
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.text[:200].count("* plotly.js (basic - minified) v4.1.1") == 1


def test_only_pages_without_model_text_may_carry_styles(admin, snapshot):
    for page in every_page(snapshot):
        policy = admin.get(page).headers["content-security-policy"]
        is_drawn = page == address(snapshot) or page.endswith(("/judges", "/raters/Eve%20Strand"))
        assert ("style-src 'self' 'unsafe-inline'" in policy) == is_drawn, page
        assert "script-src 'self';" in policy


# ------------------------------------------------------------------------------------------------------ hostile texts
def test_no_text_becomes_an_element_on_any_page(admin, app, snapshot):
    hostile = next(item for item in snapshot.items.values() if item.comparison.prompt.text == HOSTILE)
    with app.state.database.write() as connection:
        demote(connection, "Bob Okafor", HOSTILE, actor=HOSTILE)
    pages = [*every_page(snapshot), *(address(snapshot, f"/{kind}/{hostile.id}") for kind in ("items", "review"))]
    for page in pages:
        text = admin.get(page).text
        assert "<img" not in text, page
        assert "<script>" not in text, page
        assert set(re.findall("<script[^>]*>", text)) <= OUR_SCRIPTS, page
    assert html.escape(HOSTILE[:30]) in admin.get(address(snapshot, f"/items/{hostile.id}")).text.replace("&#34;", '"')


def test_names_in_figures_are_escaped_for_plotly(admin, snapshot):
    drawn = figures_of(admin.get(address(snapshot)))["by_slice"]
    labels = drawn["layout"]["yaxis"]["ticktext"]
    assert all("<" not in label for label in labels)


# --------------------------------------------------------------------------------------------------------------- rules
def worst_item(snapshot):
    return low_agreement_items(snapshot.items, snapshot.recorded)[0].item_id


def key_of(response):
    return re.search(r'name="client_key" value="([^"]+)"', response.text)[1]


def test_a_ruling_is_made_blind_and_takes_the_item_from_the_queue(app, snapshot):
    adjudicator, item_id = signed_in(app, "ada", "adjudicator"), worst_item(snapshot)
    page = address(snapshot, f"/review/{item_id}")
    votes = [b.judgement for b in snapshot.recorded if b.item_id == item_id and b.is_vote]
    before = adjudicator.get(page)
    assert f"{len(votes)} votes, shown after your ruling" in words_of(before)
    assert not [vote for vote in votes if vote.rater in before.text]
    form = {"choice": "b_much", "rationale": "A is wrong.", "flag": ["unsafe"], "client_key": key_of(before)}
    assert adjudicator.post(page, data=form).headers["location"] == page
    assert adjudicator.post(page, data=form).status_code == 303
    after = words_of(adjudicator.get(page))
    assert all(vote.rater in after for vote in votes)
    with app.state.database.read() as connection:
        given = judgements_in_force(connection, snapshot.campaign)
    [ruling] = [entry for entry in given if entry.is_adjudication]
    shown_second = ruling.judgement.permutation[1]
    assert ruling.judgement.ranks[shown_second] == 1
    assert (ruling.judgement.strength, ruling.judgement.rationale) == ("much", "A is wrong.")
    assert ruling.judgement.flags == ("unsafe",)
    assert ruling.judgement.rubric_version == snapshot.campaign.rubric_version
    assert item_id not in [found.item_id for found in low_agreement_items(snapshot.items, given)]


def test_votes_can_be_shown_before_the_ruling_in_the_adjudicators_own_order(app, snapshot):
    adjudicator, item_id = signed_in(app, "ada", "adjudicator"), worst_item(snapshot)
    page = words_of(adjudicator.get(address(snapshot, f"/review/{item_id}?reveal=1")))
    votes = [b.judgement for b in snapshot.recorded if b.item_id == item_id and b.is_vote]
    assert all(vote.rater in page for vote in votes)


def test_a_ruling_without_a_choice_is_refused(app, snapshot):
    adjudicator, page = signed_in(app, "ada", "adjudicator"), address(snapshot, f"/review/{worst_item(snapshot)}")
    refused = adjudicator.post(page, data={"client_key": "k"})
    assert refused.status_code == 400
    assert "A verdict of ranked came with 0 ranks" in refused.text


@pytest.mark.parametrize(
    ("form", "outcome", "ranks_by_place"),
    [
        ({"rank": ["2", "1", "2"]}, "ranked", (2, 1, 2)),
        ({"rank": ["", "1", ""], "choice": "both_bad"}, "both_bad", ()),
    ],
)
def test_more_than_two_answers_are_ranked(app, form, outcome, ranks_by_place):
    campaign = make_campaign(app.state.database, num_items=0, name="ranking")
    with app.state.database.write() as connection:
        add_items(connection, campaign, [comparison(1, num_answers=3)], actor="test")
        [item_id] = items(connection, campaign)
    adjudicator, page = signed_in(app, "ada", "adjudicator"), f"/admin/campaigns/{campaign.id}/review/{item_id}"
    assert adjudicator.get(page).text.count('name="rank"') == 3
    refused = adjudicator.post(page, data={"rank": ["1", "", "2"], "client_key": "k"})
    assert "ranks is [1, 2] for 3 answers. Expected one rank for each" in refused.text
    assert adjudicator.post(page, data={**form, "client_key": "k"}).status_code == 303
    with app.state.database.read() as connection:
        [ruling] = judgements_in_force(connection, campaign)
    said = ruling.judgement
    assert said.outcome == outcome
    assert tuple(said.ranks[index] for index in said.permutation if said.ranks) == ranks_by_place
    assert adjudicator.get(page).status_code == 200


# ------------------------------------------------------------------------------------------------------------- changes
def test_a_campaign_is_paused_with_a_token_and_logged(admin, app, snapshot):
    del admin.headers["X-CSRF-Token"]
    assert admin.post(address(snapshot, "/state"), data={"state": "paused"}).status_code == 403
    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get(address(snapshot)).text)[1]
    sent = admin.post(address(snapshot, "/state"), data={"state": "paused", "csrf_token": token})
    assert sent.headers["location"] == address(snapshot)
    assert "Open the campaign" in admin.get(address(snapshot)).text
    with app.state.database.read() as connection:
        latest = events(connection, campaign_id=snapshot.campaign.id)[0]
    assert (latest.actor, latest.action, latest.before, latest.after) == ("eve", "campaign state", "open", "paused")


def test_an_edit_makes_a_rubric_version_and_the_same_text_none(admin, app, snapshot):
    page = address(snapshot, "/rubric")
    changed = snapshot.campaign.rubric.replace("Cite a source", "Cite two sources")
    for text in (changed, changed.replace("\n", "\r\n")):
        assert admin.post(page, data={"text": text}).status_code == 303
    with app.state.database.read() as connection:
        versions = rubrics(connection, snapshot.campaign.id)
    assert len(versions) == 3
    after = words_of(admin.get(page))
    assert "+ 5. Cite two sources" in after
    assert "− 5. Cite a source" in after
    refused = admin.post(page, data={"text": " \n"})
    assert refused.status_code == 400
    assert "The rubric is empty." in refused.text


def test_a_held_item_is_released_and_held_again(admin, app, snapshot):
    held = [item.id for item in snapshot.items.values() if item.hold]
    page = admin.get(address(snapshot, "/held"))
    assert f"{len(held)} items held back" in words_of(page)
    assert admin.post(address(snapshot, "/held"), data={"item_id": held[0]}).status_code == 303
    assert f"{len(held) - 1} items held back" in words_of(admin.get(address(snapshot, "/held")))
    form = {"item_id": held[0], "reason": "says who made it", "target": "item"}
    assert admin.post(address(snapshot, "/held"), data=form | {"reason": "\x00"}).status_code == 303
    assert admin.post(address(snapshot, "/held"), data=form).headers["location"].endswith(f"/items/{held[0]}")
    assert "Held: says who made it" in words_of(admin.get(address(snapshot, f"/items/{held[0]}")))


def test_a_rater_is_left_out_and_taken_in_again(admin, app, snapshot):
    page = address(snapshot, "/raters")
    for reason, num_raters in (("rushes", 4), ("", 5)):
        assert admin.post(page, data={"name": "Eve Strand", "reason": reason}).status_code == 303
        with app.state.database.read() as connection:
            given = judgements_in_force(connection, snapshot.campaign)
        assert len({entry.judgement.rater for entry in given}) == num_raters
        shown = words_of(admin.get(address(snapshot, "/raters/Eve%20Strand")))
        assert ("Does not count: rushes" in shown) == bool(reason)
    refused = admin.post(page, data={"name": "no\x00body", "reason": "x"})
    assert refused.status_code == 400
    assert "has judged nothing in this campaign. Expected one of its raters." in refused.text


def test_people_are_invited_given_roles_and_shut_out(admin, app):
    page = admin.post("/admin/people/invites", data={"role": "adjudicator"})
    link = re.search(r"http://testserver(/invite/[\w-]+)", page.text)[1]
    assert "adjudicator" in stranger(app).get(link).text
    signed_in(app, "lou", "labeller")
    assert admin.post("/admin/people/role", data={"name": "lou", "role": "adjudicator"}).status_code == 303
    assert admin.post("/admin/people/active", data={"name": "lou", "is_active": "false"}).status_code == 303
    with app.state.database.read() as connection:
        [lou] = [account for account in accounts(connection) if account.rater.name == "lou"]
    assert (lou.role, lou.is_active) == ("adjudicator", False)
    refused = admin.post("/admin/people/active", data={"name": "eve", "is_active": "false"})
    assert "is the only administrator" in refused.text


# --------------------------------------------------------------------------------------------------------------- items
def test_items_are_found_by_state_and_words(admin, snapshot):
    assert "5 of 95 items" in words_of(admin.get(address(snapshot, "/items?state=held")))
    text = snapshot.items["7"].comparison.prompt.text
    assert "1 of 95 items" in words_of(admin.get(address(snapshot, "/items"), params={"text": text.upper()}))
    assert "Page 2 of 2" in words_of(admin.get(address(snapshot, "/items?page=99")))


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("/items/9999", "has no item 9999. Expected one of its items."),
        ("/judgements/9999", "No judgement 9999 is in force in campaign"),
        ("/raters/nobody", "'nobody' has judged nothing in campaign"),
        ("/review/9999", "has no item 9999."),
    ],
)
def test_what_is_not_there_is_said_to_be_not_there(admin, snapshot, rest, message):
    missing = admin.get(address(snapshot, rest))
    assert missing.status_code == 404
    assert message in html.unescape(missing.text)


@pytest.mark.parametrize("campaign_id", [0, 77, 10**30])
def test_an_unknown_campaign_is_no_page(admin, campaign_id):
    missing = admin.get(f"/admin/campaigns/{campaign_id}")
    assert missing.status_code == 404
    assert f"There is no campaign {campaign_id}." in missing.text
