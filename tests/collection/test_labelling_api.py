"""The labeller's routes: blind in every response, deaf to tampering, and each verdict stored once."""

import json
import re
from datetime import timedelta

import pytest

from collection.hostile_outputs import HUGE, SMALL
from collection.made_campaigns import judgement_of
from collection.web import signed_in, stranger
from kleash.collection.app import create_app
from kleash.collection.campaign import CampaignSettings
from kleash.collection.store.assignments import assignment, claim, open_adjudication
from kleash.collection.store.campaigns import add_items, create_campaign, items, set_state, write_rubric
from kleash.collection.store.events import now
from kleash.collection.store.judgements import judgement_in_force, judgements_in_force, submit
from kleash.collection.store.raters import rater_named, raters
from kleash.records import Comparison, Prompt

SOURCES = ("Zanzibar-policy-9b", "Quokka-baseline-2b")
SLICES = {"domain": "Xylophone-domain", "difficulty": "Wombat-near-miss"}
HEARTBEAT = "heartbeat"


@pytest.fixture
def app(database):
    return create_app(database)


def fill(database, *, num_items=12, num_gold=6, name="trial", completions=None, **settings):
    """Make a campaign whose sources, slices and priorities have names that occur nowhere else."""
    comparisons = [
        Comparison(Prompt(f"question {number}", SLICES), completions or (f"left {number}", f"right {number}"), SOURCES)
        for number in range(num_items + num_gold)
    ]
    with database.write() as connection:
        chosen = CampaignSettings(**{"gold_share": 0, "repeat_share": 0, **settings})
        campaign = create_campaign(connection, name, chosen, seed="Platypus-seed", actor="tests")
        gold = {each.id: (2, 1) for each in comparisons[num_items:]}
        priorities = {each.id: 0.73519 for each in comparisons}
        add_items(connection, campaign, comparisons, gold=gold, priorities=priorities, actor="tests")
    return campaign


def verdict(client_key="key-00000001", **said):
    return {"client_key": client_key, "outcome": "ranked", "ranks": [1, 2], "strength": "better", **said}


class Labeller:
    """A labeller's browser in one campaign; keeps every response it gets."""

    def __init__(self, app, campaign, name="ann"):
        self.browser, self.prefix, self.responses = signed_in(app, name), f"/api/label/{campaign.id}", []

    def get(self, path):
        return self._kept(self.browser.get(f"{self.prefix}/{path}"))

    def post(self, path, body):
        return self._kept(self.browser.post(f"{self.prefix}/{path}", json=body))

    def _kept(self, response):
        self.responses.append(response)
        return response

    def tasks(self, limit=2):
        return self.get(f"tasks?limit={limit}").json()["tasks"]

    def answer(self, task, **said):
        return self.post(f"tasks/{task['id']}", verdict(**said))


def task_of(database, task_id, rater="ann"):
    """The task that a token stands for, as the store knows it."""
    with database.read() as connection:
        return assignment(connection, task_id, next(known for known in raters(connection) if known.name == rater))


def stored(database, task_id):
    """The judgement in force of a task of Ann's."""
    with database.read() as connection:
        return judgement_in_force(connection, task_of(database, task_id))


# ------------------------------------------------------------------------------------------------------------- blind
@pytest.mark.slow
def test_no_response_tells_where_an_answer_is_from_or_what_a_task_is_for(app, database):
    campaign = fill(database, gold_share=0.3, repeat_share=0.3, repeat_gap=2)
    ann = Labeller(app, campaign)
    for path in ("/label", f"/label/{campaign.id}", "/static/labelling.js"):
        ann.responses.append(ann.browser.get(path))
    while tasks := ann.tasks():
        number = len(ann.responses)
        ann.get(f"tasks/{tasks[0]['id']}/diff")
        ann.post(HEARTBEAT, {})
        ann.answer(tasks[0], client_key=f"key-{number:08}", aspects={"style": [2, 1]}, rationale="I say so")
        ann.get("last")
        ann.answer(tasks[0], client_key="bad", ranks=[7])
    ann.get("tasks/no-such-task/diff")
    with database.read() as connection:
        given = judgements_in_force(connection, campaign)
        known = items(connection, campaign)
    # The run met every kind of task, or this test would say nothing.
    assert {(entry.is_repeat, known[entry.item_id].is_gold) for entry in given} == {(0, 0), (0, 1), (1, 0)}
    secrets = [*SOURCES, *SLICES.values(), campaign.seed, "0.73519", *(item.comparison.id for item in known.values())]
    words = ["gold", "repeat", "purpose", "permutation", "propensity", "priority", "overlap", "slice", "source", "arm"]
    for response in ann.responses:
        everything = response.text + json.dumps(dict(response.headers)) + str(response.url)
        if "/static/" not in str(response.url):
            assert not [secret for secret in secrets if secret.lower() in everything.lower()]
            assert not re.search(
                rf"\b({'|'.join(words)})\b|_gold|is_repeat|item_id|rater_id", everything, re.IGNORECASE
            )


def test_calibration_repeated_and_ordinary_tasks_have_the_same_fields_and_headers(app, database):
    campaign = fill(database, gold_share=0.3, repeat_share=0.3, repeat_gap=2)
    ann = Labeller(app, campaign)
    shapes = {}
    while tasks := ann.tasks(1):
        task = tasks[0]
        assert re.fullmatch(r"[\w-]{22}", task["id"])
        answered = ann.answer(task, client_key=f"key-{len(ann.responses):08}")
        last = ann.get("last").json()["task"]
        headers = frozenset((name, value) for name, value in answered.headers.items() if name != "content-length")
        shape = (_shape(task), _shape(last), frozenset(answered.json()), answered.json()["note"], headers)
        shapes.setdefault(task_of(database, task["id"]).purpose, set()).add(shape)
    assert set(shapes) == {"vote", "gold", "repeat"}
    assert len(set.union(*shapes.values())) == 1


def _shape(content):
    if isinstance(content, dict):
        return tuple(sorted((name, _shape(value)) for name, value in content.items()))
    if isinstance(content, list):
        return ("list", len(content), *{_shape(value) for value in content})
    return type(content).__name__


def test_progress_counts_every_kind_of_task_alike(app, database):
    campaign = fill(database, gold_share=0.3, repeat_share=0.3, repeat_gap=2)
    ann = Labeller(app, campaign)
    counts = []
    while tasks := ann.tasks(1):
        counts.append(ann.answer(tasks[0], client_key=f"key-{len(ann.responses):08}").json()["num_answered"])
    assert counts == list(range(1, len(counts) + 1))
    assert len(counts) > 12
    assert f"You have judged {len(counts)} items" in ann.browser.get("/label").text


def test_a_repeat_is_shown_in_the_opposite_order(app, database):
    campaign = fill(database, num_items=8, num_gold=0, repeat_share=0.5, repeat_gap=1)
    ann = Labeller(app, campaign)
    shown = {}
    while tasks := ann.tasks(1):
        texts = [answer["raw"] for answer in tasks[0]["answers"]]
        shown.setdefault(tasks[0]["prompt"]["raw"], []).append(texts)
        ann.answer(tasks[0], client_key=f"key-{len(ann.responses):08}")
    repeated = [orders for orders in shown.values() if len(orders) == 2]
    assert repeated
    assert all(first == second[::-1] for first, second in repeated)


def test_a_reload_shows_the_same_tasks_in_the_same_order(app, database):
    ann = Labeller(app, fill(database))
    assert ann.tasks(3) == ann.tasks(3)


# ------------------------------------------------------------------------------------------------ from place to rank
@pytest.mark.parametrize(
    ("said", "winner"), [({"ranks": [1, 2]}, 0), ({"ranks": [2, 1]}, 1), ({"ranks": [2, 2], "strength": None}, None)]
)
def test_the_verdict_is_stored_for_the_answer_that_was_seen_there(app, database, said, winner):
    campaign = fill(database, num_items=8, num_gold=0)
    ann = Labeller(app, campaign)
    orders = set()
    for number in range(8):
        task = ann.tasks(1)[0]
        assert ann.answer(task, client_key=f"key-{number:08}", **said).status_code == 200
        entry = stored(database, task["id"])
        orders.add(entry.judgement.permutation)
        if winner is None:
            assert entry.judgement.ranks == (1, 1)
            continue
        with database.read() as connection:
            completions = items(connection, campaign)[entry.item_id].comparison.completions
        assert completions[entry.judgement.ranks.index(1)] == task["answers"][winner]["raw"]
    assert orders == {(0, 1), (1, 0)}


def test_everything_that_was_said_is_stored_and_shown_again(app, database):
    campaign = fill(database, num_gold=0)
    ann = Labeller(app, campaign)
    assert ann.get("last").json() == {"task": None}
    task = ann.tasks()[0]
    said = {
        "ranks": [2, 1],
        "strength": "slightly",
        "aspects": {"factuality": [1, 1], "style": [1, 2]},
        "flags": ["unsafe", "unreadable", "unsafe"][:2],
        "rationale": "  It is <b>wrong</b>.\0 ",
        "seconds": 12.5,
    }
    ann.answer(task, **said)
    last = ann.get("last").json()["task"]
    assert {**last, "given": None} == task
    assert last["given"] == {
        "outcome": "ranked",
        "ranks": [2, 1],
        "strength": "slightly",
        "aspects": {"factuality": [1, 1], "style": [1, 2]},
        "flags": ["unreadable", "unsafe"],
        "rationale": "It is <b>wrong</b>.\0",
        "skip_reason": "",
    }
    judgement = stored(database, task["id"]).judgement
    assert judgement.seconds == 12.5
    assert judgement.rubric_version == campaign.rubric_version
    assert judgement.rater == "ann"


def test_skips_and_both_bad(app, database):
    campaign = fill(database, num_gold=0)
    ann = Labeller(app, campaign)
    first, second = ann.tasks()
    ann.answer(first, outcome="both_bad", ranks=[], strength=None, client_key="key-bad-0001")
    ann.answer(second, outcome="skipped", ranks=[], strength=None, skip_reason="beyond_me", client_key="key-skip-01")
    assert stored(database, first["id"]).judgement.outcome == "both_bad"
    assert stored(database, second["id"]).skip_reason == "beyond_me"
    assert ann.get("last").json()["task"]["given"]["skip_reason"] == "beyond_me"
    assert {task["id"] for task in ann.tasks()} & {first["id"], second["id"]} == set()


def test_k_answers_are_ranked_with_ties(app, database):
    campaign = fill(database, num_gold=0, completions=("one", "two", "three", "four"))
    ann = Labeller(app, campaign)
    task = ann.tasks(1)[0]
    assert ann.answer(task, ranks=[4, 2, 2, 4], strength=None).status_code == 200
    judgement = stored(database, task["id"]).judgement
    assert judgement.ranks == tuple(2 if judgement.permutation.index(index) in (0, 3) else 1 for index in range(4))


# --------------------------------------------------------------------------------------------- once, changed, too late
def test_the_same_client_key_is_stored_once(app, database):
    campaign = fill(database, num_gold=0)
    ann = Labeller(app, campaign)
    task = ann.tasks()[0]
    first = ann.answer(task)
    again = ann.answer(task, ranks=[2, 1])
    assert again.json() == first.json()
    assert first.json()["num_answered"] == 1
    with database.read() as connection:
        assert len(judgements_in_force(connection, campaign)) == 1
    assert ann.get("last").json()["task"]["given"]["ranks"] == [1, 2]


def test_an_answer_brings_the_next_tasks_along(app, database):
    ann = Labeller(app, fill(database, num_items=3, num_gold=0))
    current, prefetched = ann.tasks()
    batch = ann.answer(current).json()
    assert batch["tasks"][0] == prefetched
    assert len(batch["tasks"]) == 2
    batch = ann.answer(prefetched).json()
    batch = ann.answer(batch["tasks"][0]).json()
    assert (batch["tasks"], batch["num_answered"], batch["state"], batch["note"]) == ([], 3, "open", "")


def test_the_last_answer_can_be_changed_and_the_earlier_one_stays_on_file(app, database):
    campaign = fill(database, num_gold=0)
    ann = Labeller(app, campaign)
    first, second = ann.tasks()
    ann.answer(first)
    last = ann.get("last").json()["task"]
    assert last["id"] == first["id"]
    assert ann.answer(last, client_key="key-changed-1", ranks=[2, 1], strength="much").json()["num_answered"] == 1
    given = ann.get("last").json()["task"]["given"]
    assert (given["ranks"], given["strength"]) == ([2, 1], "much")
    assert ann.tasks()[0]["id"] == second["id"]
    with database.read() as connection:
        (entry,) = judgements_in_force(connection, campaign)
        assert entry.judgement.strength == "much"


def test_a_verdict_that_comes_too_late_is_thanked_for_and_kept_as_extra(app, database):
    campaign = fill(database, num_items=1, num_gold=0, overlap=1)
    ann = Labeller(app, campaign)
    task = ann.tasks()[0]
    late = now() + timedelta(hours=1)
    with database.write() as connection:
        bea = rater_named(connection, "bea", "person")
        (other,) = claim(connection, campaign, bea, at=late)
        submit(connection, campaign, other, bea, judgement_of(other, bea, ranks=(1, 2)), client_key="x", at=late)
    assert ann.post(HEARTBEAT, {}).json() == {"num_held": 0}
    assert ann.tasks() == []
    answer = ann.answer(task).json()
    assert answer["note"].startswith("Your time on that item had run out")
    assert "kept" in answer["note"]
    assert answer["num_answered"] == 1
    with database.read() as connection:
        assert [entry.is_surplus for entry in judgements_in_force(connection, campaign)] == [False, True]


def test_a_heartbeat_keeps_the_tasks_that_are_held(app, database):
    ann = Labeller(app, fill(database, num_gold=0))
    ann.tasks(2)
    assert ann.post(HEARTBEAT, {}).json() == {"num_held": 2}


def test_the_rubric_that_was_read_is_the_one_that_is_stored(app, database):
    campaign = fill(database, num_gold=0)
    ann = Labeller(app, campaign)
    first, second = ann.tasks()
    with database.write() as connection:
        version = write_rubric(connection, campaign.id, "Shorter is better.", actor="tests")
    assert ann.answer(first, rubric_version=campaign.rubric_version).json()["rubric_version"] == version
    assert stored(database, first["id"]).judgement.rubric_version == campaign.rubric_version
    ann.answer(second, rubric_version="made up")
    assert stored(database, second["id"]).judgement.rubric_version == version
    assert "Shorter is better." in ann.browser.get(f"/label/{campaign.id}").text


@pytest.mark.parametrize("state", ["paused", "closed"])
def test_a_campaign_that_is_not_open_gives_out_nothing_and_takes_what_is_answered(app, database, state):
    campaign = fill(database, num_gold=0)
    ann = Labeller(app, campaign)
    task = ann.tasks()[0]
    with database.write() as connection:
        set_state(connection, campaign, state, actor="tests")
    batch = ann.answer(task).json()
    assert (batch["tasks"], batch["state"], batch["num_answered"]) == ([], state, 1)
    assert campaign.name not in ann.browser.get("/label").text


# --------------------------------------------------------------------------------------------------------- tampering
@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"ranks": [1]}, "ranks is [1] for 2 answers"),
        ({"ranks": [1, 3]}, "ranks is [1, 3] for 2 answers"),
        ({"ranks": [0, 1]}, "ranks.0: Input should be greater than or equal to 1"),
        ({"ranks": [1, 10**30]}, "ranks.1: Input should be less than or equal to 100"),
        ({"ranks": ["1", "2"]}, "ranks.0: Input should be a valid integer"),
        ({"ranks": [True, 2]}, "ranks.0: Input should be a valid integer"),
        ({"ranks": [1] * 101}, "ranks: Tuple should have at most 100 items"),
        ({"ranks": []}, "A verdict of ranked came with 0 ranks"),
        ({"outcome": "skipped"}, "A verdict of skipped came with 2 ranks"),
        ({"outcome": "adjudicated"}, "outcome: Input should be"),
        ({"strength": "enormously"}, "strength: Input should be"),
        ({"ranks": [1, 1]}, "Strength 'better' came with ranks [1, 1]"),
        ({"aspects": {"smell": [1, 2]}}, "Aspect 'smell' is not asked here"),
        ({"aspects": {"style": [1, 2, 3]}}, "style is [1, 2, 3] for 2 answers"),
        ({"aspects": {str(number): [1, 2] for number in range(30)}}, "aspects: Dictionary should have at most 20"),
        ({"flags": ["position_flip"]}, "flags.0: String should match pattern '^(unsafe|unreadable)$'"),
        ({"flags": ["unsafe"] * 3}, "flags: Tuple should have at most 2"),
        ({"rationale": "x" * 4001}, "rationale: String should have at most 4000 characters"),
        ({"skip_reason": "lunch"}, "skip_reason: String should match pattern"),
        ({"seconds": -1}, "seconds: Input should be greater than or equal to 0"),
        ({"seconds": 1e9}, "seconds: Input should be less than or equal to 86400"),
        ({"client_key": "short"}, "client_key: String should match pattern"),
        ({"client_key": "key-0001\n"}, "client_key: String should match pattern"),
        ({"permutation": [0, 1]}, "permutation: Unexpected keyword argument"),
    ],
)
def test_a_verdict_that_does_not_fit_is_refused_by_name_and_not_stored(app, database, said, fault):
    campaign = fill(database, num_gold=0)
    ann = Labeller(app, campaign)
    response = ann.answer(ann.tasks()[0], **said)
    assert response.status_code in (400, 422)
    assert fault in response.json()["error"]
    with database.read() as connection:
        assert judgements_in_force(connection, campaign) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"client_key": "key-00000001"}',
        b'{"seconds": NaN, "ranks": [1, 2]}',
        b"\xff",
        b"[" * 10**5,
        json.dumps(verdict(rationale="half \ud800 pair")).encode(),
    ],
)
def test_a_body_that_is_no_verdict_is_refused(app, database, body):
    campaign = fill(database, num_gold=0)
    ann = Labeller(app, campaign)
    path = f"{ann.prefix}/tasks/{ann.tasks()[0]['id']}"
    response = ann.browser.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.json()["error"]
    with database.read() as connection:
        assert judgements_in_force(connection, campaign) == []


def test_somebody_elses_task_is_as_unknown_as_none(app, database):
    campaign = fill(database, num_gold=0)
    ann, bea = Labeller(app, campaign), Labeller(app, campaign, "bea")
    task = ann.tasks()[0]
    for path in (task["id"], "A" * 22, "%00", "..", "%F0%9F%98%80"):
        for response in (bea.post(f"tasks/{path}", verdict()), bea.get(f"tasks/{path}/diff")):
            assert response.status_code in (400, 404)
            assert "left" not in response.text
    assert "There is no task" in bea.post(f"tasks/{task['id']}", verdict()).json()["error"]
    assert bea.post("tasks/" + "A" * 41, verdict()).status_code == 422
    assert bea.get("last").json() == {"task": None}
    with database.read() as connection:
        assert judgements_in_force(connection, campaign) == []


def test_a_task_answers_to_its_own_campaign_only(app, database):
    campaign, other = fill(database, num_gold=0), fill(database, num_gold=0, name="other")
    ann = Labeller(app, campaign)
    task = ann.tasks()[0]
    for response in (Labeller(app, other).answer(task), Labeller(app, other).get(f"tasks/{task['id']}/diff")):
        assert response.status_code == 404
        assert "This task is not in this campaign." in response.json()["error"]


def test_an_adjudicators_ruling_is_no_labellers_task(app, database):
    campaign = fill(database, num_items=1, num_gold=0)
    ann = Labeller(app, campaign)
    with database.write() as connection:
        rater = rater_named(connection, "ann", "person")
        ruling = open_adjudication(connection, campaign, next(iter(items(connection, campaign))), rater)
    response = ann.answer({"id": ruling.id})
    assert response.status_code == 404
    with database.write() as connection:
        said = judgement_of(ruling, rater, ranks=(1, 2))
        submit(connection, campaign, ruling, rater, said, client_key="ruled")
        assert judgement_in_force(connection, ruling) is not None
    assert ann.get("last").json() == {"task": None}
    assert ann.get("tasks").json()["num_answered"] == 0


@pytest.mark.parametrize("number", ["999", "0", "-1", "99999999999999999999", "x"])
def test_a_campaign_that_is_not_there(app, database, number):
    browser = signed_in(app)
    for path in (f"/label/{number}", f"/api/label/{number}/tasks", f"/api/label/{number}/last"):
        assert browser.get(path).status_code in (404, 422)
    assert browser.post(f"/api/label/{number}/heartbeat").status_code in (404, 422)
    assert "There is no campaign 999." in browser.get("/api/label/999/tasks").json()["error"]


@pytest.mark.parametrize("limit", ["0", "6", "-1", "x", "1e9"])
def test_nobody_hoards_tasks(app, database, limit):
    ann = Labeller(app, fill(database))
    assert ann.get(f"tasks?limit={limit}").status_code == 422


def test_strangers_and_forged_requests_get_nothing(app, database):
    campaign = fill(database, num_gold=0)
    task = Labeller(app, campaign).tasks()[0]
    for path in (f"/api/label/{campaign.id}/tasks", f"/api/label/{campaign.id}/last"):
        assert stranger(app).get(path).status_code == 401
    assert stranger(app).get(f"/label/{campaign.id}").headers["location"] == f"/login?next=/label/{campaign.id}"
    forged = signed_in(app)
    del forged.headers["X-CSRF-Token"]
    answer = forged.post(f"/api/label/{campaign.id}/tasks/{task['id']}", json=verdict())
    assert answer.status_code == 403
    with database.read() as connection:
        assert judgements_in_force(connection, campaign) == []


# ------------------------------------------------------------------------------------------------- differences, texts
def test_differences_are_those_of_the_places_asked_for(app, database):
    ann = Labeller(app, fill(database, num_gold=0, completions=("a one", "a two", "a three")))
    task = ann.tasks(1)[0]
    texts = [answer["raw"] for answer in task["answers"]]
    diff = ann.get(f"tasks/{task['id']}/diff?first=2&second=1").json()
    assert diff["first"] == [{"text": "a ", "is_shared": True}, {"text": texts[2][2:], "is_shared": False}]
    assert "".join(part["text"] for part in diff["second"]) == texts[1]
    response = ann.get(f"tasks/{task['id']}/diff?first=0&second=3")
    assert response.status_code == 404
    assert "Places 0 and 3 were asked for. The task has 3 answers" in response.json()["error"]
    assert ann.get(f"tasks/{task['id']}/diff?first=-1").status_code == 422


@pytest.mark.slow
def test_hostile_texts_arrive_whole_and_harmless(app, database):
    comparisons = [Comparison(Prompt(text), (text, text + "\nother"), SOURCES) for text in SMALL.values()]
    comparisons += [Comparison(Prompt("long"), (text, "short"), SOURCES) for text in list(HUGE.values())[:2]]
    with database.write() as connection:
        settings = CampaignSettings(gold_share=0, repeat_share=0)
        campaign = create_campaign(connection, "hostile", settings, rubric="".join(SMALL.values()), actor="tests")
        add_items(connection, campaign, comparisons, actor="tests")
    ann = Labeller(app, campaign)
    num_shown = 0
    while tasks := ann.tasks(1):
        assert ann.get(f"tasks/{tasks[0]['id']}/diff").status_code == 200
        assert ann.answer(tasks[0], client_key=f"key-{num_shown:08}").status_code == 200
        num_shown += 1
    assert num_shown == len({each.id for each in comparisons})
    page = ann.browser.get(f"/label/{campaign.id}").text
    assert page.count("<script") == 1
    assert "<img" not in page
    assert "{{7*7}} ${7*7}" in page


def test_a_campaigns_name_and_aspects_are_text(app, database):
    campaign = fill(database, num_gold=0, name="<b onclick=x> {{7*7}}", aspects=("<i>", "style"))
    ann = Labeller(app, campaign)
    for path in ("/label", f"/label/{campaign.id}"):
        assert "&lt;b onclick=x&gt; {{7*7}}" in ann.browser.get(path).text
    assert ann.tasks(1)[0]["aspects"] == ["<i>", "style"]


def test_without_an_open_campaign_the_list_says_so(app):
    assert "No campaign is open at the moment." in signed_in(app).get("/label").text


def test_a_prompt_s_own_criteria_are_shown_escaped_and_recorded(database, app):
    hostile = "names a number <script>alert(1)</script>"
    comparison = Comparison(Prompt("question", SLICES, criteria=hostile), ("left", "right"), SOURCES)
    with database.write() as connection:
        chosen = CampaignSettings(gold_share=0, repeat_share=0)
        campaign = create_campaign(connection, "trial", chosen, seed="Platypus-seed", actor="tests")
        add_items(connection, campaign, [comparison], actor="tests")
    labeller = Labeller(app, campaign)
    [task] = labeller.get("tasks").json()["tasks"]
    assert "To be judged by" in task["prompt"]["html"]
    assert "names a number" in task["prompt"]["html"]
    assert "<script" not in task["prompt"]["html"]
    labeller.post(f"tasks/{task['id']}", verdict())
    with database.read() as connection:
        [given] = judgements_in_force(connection, campaign)
    assert given.judgement.rubric_version == comparison.prompt.rubric_version(campaign.rubric_version)
    for response in labeller.responses:
        assert not any(word in response.text for word in (*SOURCES, *SLICES.values()))
