"""The labeller's page in a real Chromium: thirty items by keyboard, races, reloads, a server that goes away, axe."""

import pytest

from browsing import Service, axe_violations, is_too_wide
from collection.hostile_outputs import SMALL
from collection.web import PASSWORD
from kleash.collection.app import create_app
from kleash.collection.campaign import CampaignSettings
from kleash.collection.store import accounts
from kleash.collection.store.campaigns import add_items, create_campaign, items, set_state, write_rubric
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import judgements_in_force
from kleash.records import Comparison, Message, Prompt

pytestmark = pytest.mark.slow

# A tab that is brought to the front or covered, as far as the page can tell.
SET_VISIBILITY = """state => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture
def server(tmp_path):
    database = Database(tmp_path / "labels.db")
    with database.write() as connection:
        for name in ("ann", "bea"):
            accounts.create_account(connection, name, PASSWORD, "labeller", actor="tests")
    server = Service(create_app(database))
    yield server
    server.stop()
    database.close()


@pytest.fixture
def opened(server, new_page):
    """Open a campaign as a signed-in labeller who knows the rubric; gives the page, and what went wrong on it."""

    def open_page(campaign, *, name="ann", knows_rubric=True, **look):
        page, page.troubles = new_page(server.url, **look)
        page.goto(f"/login?next=/label/{campaign.id}")
        page.fill("[name=name]", name)
        page.fill("[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        if knows_rubric:
            page.locator("#guide-dialog[open]").wait_for()
            page.keyboard.press("Escape")
        return page

    return open_page


def fill(server, *, num_items=40, num_answers=2, texts=None, rubric="Be **fair**.", **settings):
    texts = texts or [f"question {number}" for number in range(num_items)]
    letters = ["one", "two", "three", "four", "five"][:num_answers]
    comparisons = [Comparison(Prompt(text), tuple(f"{text} {letter}" for letter in letters)) for text in texts]
    chosen = CampaignSettings(**{"overlap": 1, "gold_share": 0, "repeat_share": 0, **settings})
    with server.app.state.database.write() as connection:
        campaign = create_campaign(connection, "trial", chosen, rubric=rubric, seed="a seed", actor="tests")
        add_items(connection, campaign, comparisons, actor="tests")
    return campaign


def judgements(server, campaign):
    with server.app.state.database.read() as connection:
        return [entry.judgement for entry in judgements_in_force(connection, campaign)]


def press(page, keys):
    for key in keys.split():
        page.keyboard.press(key)


def at_item(page, number):
    """Wait until the page shows the labeller's so-and-so-many-th item."""
    page.locator("#item", has_text=f"Item {number}").wait_for()
    page.wait_for_function("number => document.getElementById('item').textContent === `Item ${number}`", arg=number)


def sent(page):
    """Wait until the server has taken everything."""
    page.wait_for_function("() => !document.getElementById('progress').textContent.includes('being sent')")


# ---------------------------------------------------------------------------------------------------------- keyboard
def test_thirty_items_by_keyboard_alone(opened, server):
    campaign = fill(server, num_items=30)
    page = opened(campaign)
    rounds = ["1", "2 f 1 3", "3 x", "t", "8 y 2", "9 n", "0", "b f 2", "1 2 9", "s 2"]
    for number in range(30):
        at_item(page, number + 1)
        keys = rounds[number % len(rounds)]
        if number == 4:
            press(page, "r")
            page.keyboard.type("1 because, said?")
            press(page, "Escape")
        press(page, keys if keys.startswith("s") else f"{keys} Enter")
    page.get_by_role("heading", name="That is all for now").wait_for()
    given = judgements(server, campaign)
    with server.app.state.database.read() as connection:
        comparisons = {item.comparison.id: item.comparison for item in items(connection, campaign).values()}
    assert len(given) == len({each.comparison_id for each in given}) == 30
    strengths = ["much", "better", "slightly", None, "slightly", "better", "much", None, "better", None]
    assert [each.strength for each in given] == strengths * 3
    outcomes = ["ranked"] * 7 + ["both_bad", "ranked", "skipped"]
    assert [each.outcome for each in given] == outcomes * 3
    placed = [tuple(each.ranks[index] for index in each.permutation) if each.ranks else () for each in given[:10]]
    assert placed == [(1, 2)] * 3 + [(1, 1)] + [(2, 1)] * 3 + [(), (2, 1), ()]
    style = given[1].aspects
    assert tuple(style["factuality"][index] for index in given[1].permutation) == (1, 2)
    assert tuple(style["style"][index] for index in given[1].permutation) == (2, 1)
    assert given[4].aspects == {"style": (1, 1)}
    assert given[7].aspects == {"factuality": (1, 1)}
    assert (given[2].flags, given[5].flags, given[4].rationale) == (("unsafe",), ("unreadable",), "1 because, said?")
    assert all(each.seconds > 0 for each in given)
    assert len(comparisons) == 30
    assert page.inner_text("#progress") == "30 judged"
    assert page.troubles == []


def test_four_answers_are_ranked_by_digits_arrows_and_buttons(opened, server):
    campaign = fill(server, num_items=3, num_answers=4)
    page = opened(campaign)
    at_item(page, 1)
    press(page, "Enter")
    assert page.inner_text("#status") == "First rank every answer."
    press(page, "ArrowRight 2 1 2 4 Enter")
    at_item(page, 2)
    # To A, B, C and back to B, an aspect for all four, and a button.
    press(page, "ArrowRight ArrowRight ArrowRight ArrowLeft 1 2 3 4 f 4 4 1 1")
    page.get_by_role("button", name="Rank higher: A").click()
    press(page, "Escape Enter")
    at_item(page, 3)
    press(page, "b Enter")
    page.get_by_role("heading", name="That is all for now").wait_for()
    first, second, third = judgements(server, campaign)
    assert [first.ranks[index] for index in first.permutation] == [2, 1, 2, 3]
    # B, C and D in turn, then A, which was left; the button moves A from 4 to 3, a tie with D.
    assert [second.ranks[index] for index in second.permutation] == [3, 1, 2, 3]
    assert [second.aspects["factuality"][index] for index in second.permutation] == [2, 2, 1, 1]
    assert third.outcome == "both_bad"
    assert page.troubles == []


def test_letters_typed_into_a_field_do_nothing_else(opened, server):
    page = opened(fill(server))
    at_item(page, 1)
    press(page, "r")
    page.keyboard.type("1 tbsudgwxn? 890")
    assert page.locator("input:checked").count() == 1  # the shortcuts' own switch
    assert page.locator("dialog[open]").count() == 0
    assert page.input_value("#rationale") == "1 tbsudgwxn? 890"
    press(page, "Escape 9 Control+a")
    assert page.get_by_label("B better").is_checked()
    page.locator("#rationale").focus()
    press(page, "Control+Enter")
    at_item(page, 2)


def test_shortcuts_can_be_turned_off_and_stay_off(opened, server):
    campaign = fill(server)
    page = opened(campaign)
    at_item(page, 1)
    press(page, "?")
    page.get_by_label("Single keys do something").uncheck()
    press(page, "Escape")
    page.reload()
    at_item(page, 1)
    press(page, "1 s ?")
    assert page.locator("dialog[open]").count() == 0
    assert page.locator("#verdict input:checked").count() == 0
    assert not page.locator("kbd").first.is_visible()
    # The page works by Tab, arrows, Space and Enter all the same.
    page.get_by_label("A much better").focus()
    press(page, "Space ArrowRight Enter")
    at_item(page, 2)
    sent(page)
    assert [each.strength for each in judgements(server, campaign)] == ["better"]


def test_the_rubric_is_shown_once_and_one_key_away(opened, server):
    page = opened(fill(server), knows_rubric=False)
    dialog = page.get_by_role("dialog", name="What to go by")
    dialog.wait_for()
    assert dialog.locator("strong").inner_text() == "fair"
    press(page, "1 Escape")
    assert page.locator("#verdict input:checked").count() == 0
    page.reload()
    at_item(page, 1)
    assert not dialog.is_visible()
    press(page, "g")
    assert dialog.is_visible()


def test_texts_are_shown_rendered_raw_and_compared(opened, server):
    page = opened(fill(server, texts=["a **bold** word"]))
    at_item(page, 1)
    assert page.locator("#answers strong").count() == 2
    press(page, "w")
    assert "a **bold** word" in page.locator(".answer .text").first.inner_text()
    assert page.get_by_role("button", name="Raw text").get_attribute("aria-pressed") == "true"
    press(page, "d")
    page.locator("mark").first.wait_for()
    assert sorted(page.locator("mark").all_inner_texts()) == ["one", "two"]
    press(page, "d")
    assert page.locator("#answers strong").count() == 2
    press(page, "?")
    assert "Mark the words that differ" in page.get_by_role("dialog", name="Keys").inner_text()


# ------------------------------------------------------------------------------------------------------ undo, drafts
def test_the_last_answer_can_be_taken_back_changed_or_left(opened, server):
    campaign = fill(server)
    page = opened(campaign)
    at_item(page, 1)
    press(page, "u")
    page.get_by_text("You have submitted nothing here").wait_for()
    press(page, "1 f 3 x r")
    page.keyboard.type("why")
    press(page, "Escape Enter")
    at_item(page, 2)
    before = page.inner_text("#prompt")
    press(page, "9 u")
    page.get_by_role("heading", name="Your last item again").wait_for()
    assert page.get_by_label("A much better").is_checked()
    assert page.get_by_role("group", name="factuality").get_by_label("B", exact=True).is_checked()
    assert page.get_by_label("Unsafe").is_checked()
    assert page.input_value("#rationale") == "why"
    press(page, "u")
    at_item(page, 2)
    assert page.inner_text("#prompt") == before
    assert page.get_by_label("B better").is_checked()
    press(page, "u")
    page.get_by_role("heading", name="Your last item again").wait_for()
    press(page, "8 Enter")
    at_item(page, 2)
    sent(page)
    (judgement,) = judgements(server, campaign)
    assert (judgement.strength, judgement.rationale, judgement.flags) == ("slightly", "why", ("unsafe",))
    assert tuple(judgement.ranks[index] for index in judgement.permutation) == (2, 1)


def test_a_reload_keeps_the_draft_and_the_time(opened, server):
    campaign = fill(server)
    page = opened(campaign)
    at_item(page, 1)
    press(page, "8 y 1 n r")
    page.keyboard.type("half a sent")
    page.wait_for_timeout(300)
    press(page, "Escape")
    before = page.inner_text("#answers")
    page.reload()
    at_item(page, 1)
    assert page.inner_text("#answers") == before
    assert page.get_by_label("B slightly").is_checked()
    assert page.get_by_role("group", name="style").get_by_label("A", exact=True).is_checked()
    assert page.input_value("#rationale") == "half a sent"
    press(page, "r")
    page.keyboard.type("!")
    press(page, "Escape Enter")
    at_item(page, 2)
    sent(page)
    (judgement,) = judgements(server, campaign)
    assert judgement.rationale == "half a sent!"
    assert judgement.seconds > 0.3
    kept = page.evaluate("Object.keys(localStorage).filter((name) => name.includes('draft'))")
    assert kept == []


def test_time_counts_only_while_the_page_can_be_seen(opened, server):
    campaign = fill(server)
    page = opened(campaign)
    at_item(page, 1)
    page.evaluate(SET_VISIBILITY, "hidden")
    page.wait_for_timeout(3000)
    page.evaluate(SET_VISIBILITY, "visible")
    press(page, "1 Enter")
    at_item(page, 2)
    sent(page)
    assert judgements(server, campaign)[0].seconds < 2.9


# ------------------------------------------------------------------------------------------ races, leases, lost lines
def test_two_race_for_the_last_slot(opened, server):
    campaign = fill(server, num_items=1)
    ann = opened(campaign)
    at_item(ann, 1)
    bea = opened(campaign, name="bea")
    bea.get_by_role("heading", name="That is all for now").wait_for()
    press(ann, "1 Enter")
    ann.get_by_role("heading", name="That is all for now").wait_for()
    assert [each.rater for each in judgements(server, campaign)] == ["ann"]
    assert ann.troubles == bea.troubles == []


def test_an_expired_lease_is_said_and_the_verdict_kept_as_extra(opened, server):
    campaign = fill(server, num_items=2, lease_minutes=0.03)
    ann = opened(campaign)
    at_item(ann, 1)
    ann.evaluate(SET_VISIBILITY, "hidden")
    ann.wait_for_timeout(2500)
    bea = opened(campaign, name="bea")
    for number in (1, 2):
        at_item(bea, number)
        press(bea, "2 Enter")
    bea.get_by_role("heading", name="That is all for now").wait_for()
    ann.evaluate(SET_VISIBILITY, "visible")
    ann.get_by_text("Your time on this item ran out").wait_for()
    press(ann, "0 Enter")
    ann.get_by_text("Your verdict is kept as an extra one, thank you.").wait_for()
    with server.app.state.database.read() as connection:
        kept = [(entry.judgement.rater, entry.is_surplus) for entry in judgements_in_force(connection, campaign)]
    assert kept == [("bea", False), ("bea", False), ("ann", True)]


def test_a_server_that_goes_away_loses_nothing(opened, server):
    campaign = fill(server)
    page = opened(campaign)
    at_item(page, 1)
    sent(page)
    server.stop()
    press(page, "1 Enter")
    at_item(page, 2)
    page.get_by_text("The server does not answer. What you submitted (1) is kept on this device").wait_for()
    press(page, "9 Enter")
    page.get_by_text("What you submitted (2)").wait_for()
    server.start()
    page.reload()
    at_item(page, 3)
    sent(page)
    given = judgements(server, campaign)
    assert [each.strength for each in given] == ["much", "better"]
    assert not page.locator("#trouble").is_visible()


def test_an_answer_that_got_lost_is_sent_again_under_its_key(opened, server):
    campaign = fill(server)
    page = opened(campaign)
    at_item(page, 1)
    sent(page)

    def lose_the_answer(route):
        route.fetch()
        route.abort()

    page.route("**/tasks/*", lose_the_answer, times=1)
    press(page, "1 Enter")
    page.get_by_text("The server does not answer.").wait_for()
    assert len(judgements(server, campaign)) == 1
    page.get_by_role("button", name="Try now").click()
    sent(page)
    page.locator("#trouble").wait_for(state="hidden")
    assert len(judgements(server, campaign)) == 1
    assert page.inner_text("#progress") == "1 judged"


def test_a_session_that_ends_leads_to_the_sign_in_and_back_with_everything(opened, server):
    campaign = fill(server)
    page = opened(campaign)
    at_item(page, 1)
    sent(page)
    page.context.clear_cookies()
    press(page, "1 Enter")
    at_item(page, 2)
    press(page, "8 f 1")
    page.get_by_text("Your sign-in has ended. What you submitted (1) is kept").wait_for()
    page.get_by_role("link", name="Sign in again").click()
    page.fill("[name=name]", "ann")
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    at_item(page, 2)
    assert page.get_by_label("B slightly").is_checked()
    assert [each.strength for each in judgements(server, campaign)] == ["much"]


def test_a_refused_verdict_comes_back_with_its_reason(opened, server):
    page = opened(fill(server))
    at_item(page, 1)
    sent(page)
    before = page.inner_text("#answers")
    refusal = {"status": 400, "json": {"error": "Not like this. Do it otherwise."}}
    page.route("**/tasks/*", lambda route: route.fulfill(**refusal), times=1)
    press(page, "1 x Enter")
    page.get_by_text("Not like this. Do it otherwise.").wait_for()
    assert page.inner_text("#answers") == before
    assert page.get_by_label("A much better").is_checked()
    assert page.get_by_label("Unsafe").is_checked()
    press(page, "Enter")
    at_item(page, 2)


def test_a_changed_rubric_and_a_closed_campaign_are_said(opened, server):
    campaign = fill(server)
    page = opened(campaign)
    at_item(page, 1)
    with server.app.state.database.write() as connection:
        write_rubric(connection, campaign.id, "Be *quick*.", actor="tests")
    press(page, "1 Enter")
    page.get_by_role("link", name="Reload the page to read it").click()
    page.get_by_role("dialog", name="What to go by").wait_for()
    press(page, "Escape")
    at_item(page, 2)
    with server.app.state.database.write() as connection:
        set_state(connection, campaign, "paused", actor="tests")
    press(page, "1 Enter")
    at_item(page, 3)
    press(page, "1 Enter")
    page.get_by_role("heading", name="This campaign is paused").wait_for()
    assert len(judgements(server, campaign)) == 3


# --------------------------------------------------------------------------------------- hostile texts, reach, layout
def test_no_hostile_text_does_anything(opened, server):
    campaign = fill(server, texts=list(SMALL.values()), rubric="\n\n".join(SMALL.values()))
    page = opened(campaign)
    page.on("request", lambda request: page.troubles.append(request.url) if "hacked" in request.url else None)
    for number in range(1, len(SMALL) + 1):
        at_item(page, number)
        for link in page.locator(".text a").all():
            assert link.get_attribute("href").startswith(("http", "mailto:"))
        assert page.locator(".text :is(script, img, svg, iframe, form, input, style, details)").count() == 0
        assert page.locator("#verdict input:checked").count() == 0
        assert not is_too_wide(page)
        press(page, "w d 1 Enter")
    page.get_by_role("heading", name="That is all for now").wait_for()
    assert page.evaluate("window.hacked") is None
    assert len(judgements(server, campaign)) == len(SMALL)
    assert page.troubles == []


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_sticks_out(opened, server, width, scheme):
    text = "# Head\n\n- item\n\n```py\nx = 1\n```\n\n[link](https://x.example) $a$ `b` ![i](http://x.example/i)"
    wide = "|" + "a wide cell|" * 30 + "\n|" + "-|" * 30 + "\n|" + "b|" * 30
    campaign = fill(server, texts=[text, wide, "x" * 30_000])
    many = Comparison(Prompt((Message("system", "Be kind."), Message("user", "Hi"))), ("one", "two", "three"))
    with server.app.state.database.write() as connection:
        add_items(connection, campaign, [many], actor="tests")
    page = opened(campaign, width=width, scheme=scheme, knows_rubric=False)

    def check(what):
        assert axe_violations(page) == [], what
        assert not is_too_wide(page), what

    page.locator("#guide-dialog[open]").wait_for()
    check("rubric")
    press(page, "Escape")
    for number in range(1, 5):
        at_item(page, number)
        check(page.inner_text("#prompt")[:40])
        is_pair = page.locator(".pair").count() == 1
        press(page, "2 f 1 x" if is_pair else "1 2 3 f 1")
        check("answered")
        press(page, "d")
        page.locator("mark").first.wait_for()
        check("differences")
        for key in "?", "s":
            press(page, key)
            check(f"dialog of {key}")
            press(page, "Escape")
        press(page, "Escape Enter")
    page.get_by_role("heading", name="That is all for now").wait_for()
    check("all done")
    press(page, "u")
    page.get_by_role("heading", name="Your last item again").wait_for()
    page.route("**/last", lambda route: route.abort())
    press(page, "u u")
    page.get_by_text("The server does not answer.").wait_for()
    check("trouble")
    page.goto("/label")
    check("list")
