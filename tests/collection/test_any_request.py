"""Whatever is sent to the service, by anybody, it is never the service that breaks: requests drawn from its schema."""

import hypothesis
import pytest
from hypothesis import HealthCheck

from collection.made_campaigns import answer, claim_one, make_campaign, make_rater
from collection.web import signed_in, stranger
from kleash.collection.app import create_app

EXAMPLES_PER_ROUTE = 6


@pytest.fixture
def places(database):
    """A campaign that somebody works in, and what the routes' paths may name of it."""
    campaign = make_campaign(database, num_items=3, num_gold=1, gold_share=0.5, repeat_share=0.1)
    rater = make_rater(database, "ann")
    answer(database, campaign, claim_one(database, campaign, rater), rater)
    task = claim_one(database, campaign, rater)
    return {
        "campaign_id": campaign.id,
        "item_id": int(task.item_id),
        "task_id": task.id,
        "judgement_id": 1,
        "name": rater.name,
        "token": "no-such-token",
    }


def requests_to(operation, places):
    """Draw requests that fit the schema and some that do not, to places that exist and to any."""
    from schemathesis import GenerationMode

    known = {name: places[name] for name in places if f"{{{name}" in operation.path}
    found = operation.as_strategy() | operation.as_strategy(GenerationMode.NEGATIVE)
    return found | operation.as_strategy(path_parameters=known) if known else found


@pytest.mark.slow
@pytest.mark.parametrize("role", ["stranger", "labeller", "admin"])
def test_no_request_breaks_the_service(database, places, role):
    import requests
    import schemathesis

    app = create_app(database)
    statuses = set()

    def send(case):
        # Afresh each time: some requests sign out.
        browser = stranger(app) if role == "stranger" else signed_in(app, "ann" if role == "labeller" else "eve", role)
        sent = requests.Request(**case.as_transport_kwargs("http://testserver")).prepare()
        headers = {
            name: value for name, value in sent.headers.items() if name.lower() not in ("cookie", "x-csrf-token")
        }
        answered = browser.request(sent.method, sent.url, content=sent.body, headers=headers)
        assert answered.status_code < 500, f"{sent.method} {sent.url} {sent.body!r}: {answered.text}"
        assert "content-security-policy" in answered.headers
        statuses.add(answered.status_code)

    patient = hypothesis.settings(
        max_examples=EXAMPLES_PER_ROUTE,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    for found in schemathesis.openapi.from_dict(app.openapi()).get_all_operations():
        patient(hypothesis.given(case=requests_to(found.ok(), places))(send))()
    assert statuses >= ({200, 303, 400} if role != "admin" else {200, 303, 400, 404, 422})
