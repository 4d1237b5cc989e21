"""The monitor's further pages over HTTP: each answers, is kept up by its data, and shows hostile text as text."""

import re
from urllib.parse import quote

import pytest
from fake_run import make_fake_run
from starlette.testclient import TestClient

from kleash.lineage import lineage_of
from kleash.monitor.app import create_app
from kleash.monitor.pages.comparing import MOST_RUNS

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
PAGES = (
    "/compare?run=one&run=two",
    "/compare",
    "/experiments",
    "/lineage/one",
    "/labellers/one",
    "/audit/one",
    "/aims/one",
)


@pytest.fixture
def client(tmp_path):
    make_fake_run(tmp_path, name="one", hostile_text=HOSTILE)
    make_fake_run(tmp_path, name="two", story="hacked")
    with TestClient(create_app(tmp_path), base_url="http://localhost") as client:
        yield client


def source_of(page):
    return re.search(r'data-source="([^"]*)"', page).group(1).replace("&amp;", "&")


@pytest.mark.parametrize("address", PAGES)
def test_page_and_its_data_answer_and_a_second_look_costs_nothing(client, address):
    page = client.get(address)
    assert page.status_code == 200
    data = client.get(source_of(page.text))
    assert data.status_code == 200
    for identity, html in data.json()["html"].items():
        assert f'id="{identity}"' in page.text
        assert HOSTILE not in html
    assert HOSTILE not in page.text
    again = client.get(source_of(page.text), headers={"If-None-Match": data.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("first", ["lineage", "labellers", "audit", "aims"])
@pytest.mark.parametrize("name", ["three", "../one", "one/../two", HOSTILE])
def test_a_run_that_is_not_on_the_list_is_not_found(client, first, name):
    for address in (f"/{first}/{quote(name, safe='')}", f"/data/{first}/{quote(name, safe='')}"):
        found = client.get(address)
        assert found.status_code == 404
        assert found.headers["Content-Type"] == "application/json" or "<script>alert" not in found.text


def test_no_more_runs_are_compared_than_there_are_colours(client):
    address = "/compare?" + "&".join(["run=one"] * (MOST_RUNS + 1))
    assert client.get(address).status_code == 422
    assert client.get("/compare?run=three").status_code == 404


def test_comparing_a_slice_asks_for_that_slice(client):
    page = client.get("/compare", params={"run": ["one", "two"], "slice": "topic=sums"}).text
    assert '<option value="topic=sums" selected>' in page
    whole, part = (client.get("/data/compare", params={"run": "two", "slice": name}) for name in ("", "topic=sums"))
    assert whole.json()["figures"]["reward"] != part.json()["figures"]["reward"]


def test_a_run_that_goes_on_changes_the_comparison(client, tmp_path):
    before = client.get("/data/compare?run=two")
    with open(tmp_path / "two" / "round-000" / "policy" / "metrics.jsonl", "a") as file:
        file.write('{"step": 60, "score_mean": 9.0, "kl_nats_per_sequence": 5.0}\n')
    after = client.get("/data/compare?run=two", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.json()["figures"]["reward"]["data"][0]["y"][-1] == 9.0


def test_choosing_an_artifact_shows_it(client, tmp_path):
    sft = next(found for found in lineage_of(tmp_path / "two").artifacts.values() if found.path.name == "sft")
    link = next(part for part in re.findall(r'href="([^"]*)"', client.get("/lineage/two").text) if sft.id in part)
    assert "<h2>sft</h2>" in client.get(link).text
