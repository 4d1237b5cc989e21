"""The monitor as a browser meets it: it answers, it only reads, it leads nowhere else, and hostile text stays text."""

import hashlib
import json
from html.parser import HTMLParser

import pytest
from fake_run import make_fake_run, write_rows
from starlette.testclient import TestClient

from collection.hostile_outputs import HUGE, SMALL
from kleash.monitor.app import LOCAL_HOSTS, create_app
from kleash.monitor.read.samples import MAX_SHOWN_CHARACTERS
from kleash.web import PLOTLY

PAGES = ["/", "/run/{}", "/samples/{}", "/samples/{}?moment=40&order=longer&text=clever", "/run/{}?slice=topic%3Dfacts"]
PAGES += [
    "/compare?run={}&slice=topic%3Dfacts",
    "/experiments",
    "/lineage/{}",
    "/labellers/{}",
    "/audit/{}",
    "/aims/{}",
]
DATA = ["/data/runs", "/data/run/{}", "/data/samples/{}", "/data/compare?run={}", "/data/experiments"]
DATA += ["/data/lineage/{}", "/data/labellers/{}", "/data/audit/{}", "/data/aims/{}"]
# fmt: off
HARMLESS = {
    "a", "article", "b", "body", "br", "button", "code", "del", "details", "div", "em", "fieldset", "figcaption",
    "figure", "footer", "form", "h1", "h2", "h3", "h4", "head", "header", "html", "i", "input", "ins", "label",
    "legend", "li", "link", "main", "mark", "meta", "nav", "ol", "option", "p", "path", "pre", "rect", "script",
    "section", "select", "small", "span", "summary", "svg", "table", "tbody", "td", "text", "th", "thead", "time",
    "title", "tr", "ul",
}
ATTRIBUTES = {
    "action", "aria-current", "aria-hidden", "aria-label", "aria-sort", "autocomplete", "charset", "checked", "class",
    "content", "d", "data-figure", "data-key", "data-parameter", "data-source", "datetime", "for",
    "height", "hidden", "href", "id", "lang", "maxlength", "method", "name", "open", "rel", "role", "rx", "scope",
    "selected", "size", "src", "style", "tabindex", "type", "value", "viewbox", "width", "x", "y",
}
# fmt: on


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    make_fake_run(runs, name="hacked", story="hacked")
    make_fake_run(runs, name="early", stages=("sft", "reward"))
    make_fake_run(runs / "group", name="member", stages=("sft", "direct"))
    return runs


@pytest.fixture(scope="module")
def client(runs):
    return TestClient(create_app(runs), base_url="http://localhost", raise_server_exceptions=False)


@pytest.mark.parametrize("run", ["hacked", "early", "group/member"])
def test_every_page_answers_for_a_run_in_any_state(client, run):
    for address in [*PAGES, *DATA]:
        answer = client.get(address.format(run))
        assert answer.status_code == 200, address
        assert client.head(address.format(run)).status_code == 200


def test_the_list_leads_to_the_run_and_the_run_to_its_pages(client):
    assert 'href="/run/group/member"' in client.get("/").text
    page = client.get("/run/group/member").text
    assert 'href="/samples/group/member"' in page
    assert 'data-source="/data/run/group/member"' in page


# ------------------------------------------------------------------------------------------------------------ polling
def test_a_poll_brings_parts_and_figures_and_then_nothing_until_a_file_changes(tmp_path):
    folder = make_fake_run(tmp_path, story="hacked")
    client = TestClient(create_app(tmp_path), base_url="http://localhost")
    first = client.get("/data/run/quickstart")
    live = first.json()
    assert {"training", "margins", "small-0"} <= set(live["figures"])
    assert "Alarms" in live["html"]["alarms-part"]
    assert live["poll_seconds"] > 0
    etag = {"If-None-Match": first.headers["etag"]}
    same = client.get("/data/run/quickstart", headers=etag)
    assert (same.status_code, same.content) == (304, b"")
    row = {"step": 60, "score_mean": 7.25, "kl_nats_per_sequence": 4.0}
    with open(folder / "round-000" / "policy" / "metrics.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    changed = client.get("/data/run/quickstart", headers=etag)
    assert changed.status_code == 200
    assert 7.25 in changed.json()["figures"]["training"]["data"][4]["y"]


def test_another_choice_is_another_answer(client):
    plain, sliced = (client.get(f"/data/run/hacked{query}") for query in ("", "?slice=topic%3Dfacts"))
    assert plain.headers["etag"] != sliced.headers["etag"]
    drawn = [trace.get("meta") for trace in sliced.json()["figures"]["training"]["data"]]
    assert {"slice": "topic=facts"} in drawn
    assert not any(trace.get("meta") for trace in plain.json()["figures"]["training"]["data"])
    unknown = client.get("/data/run/hacked?slice=no+such")
    assert not any(trace.get("meta") for trace in unknown.json()["figures"]["training"]["data"])


def test_a_round_may_be_chosen(tmp_path):
    folder = make_fake_run(tmp_path)
    (folder / "round-001").mkdir()
    (folder / "round-000" / "policy").rename(folder / "round-001" / "policy")
    client = TestClient(create_app(tmp_path), base_url="http://localhost")
    assert "training" in client.get("/data/run/quickstart").json()["figures"]
    first = client.get("/data/run/quickstart?round=0").json()
    assert "training" not in first["figures"]
    assert '<option value="0" selected>' in first["html"]["stages-part"]


# ------------------------------------------------------------------------------------------------------- what it is not
def test_nothing_but_get_and_head_is_taken(client):
    for route in client.app.routes:
        assert set(getattr(route, "methods", None) or {"GET"}) <= {"GET", "HEAD"}, route.path
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for address in ("/", "/run/hacked", "/data/run/hacked", "/static/live.js", f"/shared/{PLOTLY.name}"):
            answer = client.request(method, address, content="x")
            assert answer.status_code == 405


def tree_of(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[path] = (status.st_mtime_ns, status.st_ctime_ns, status.st_mode, content)
    return found


def test_looking_leaves_every_run_as_it_was(runs, client):
    before = tree_of(runs)
    for run in ("hacked", "early", "group/member", "no such run"):
        for address in [*PAGES, *DATA]:
            client.get(address.format(run))
    assert tree_of(runs) == before


@pytest.fixture(scope="module")
def secret(runs):
    """A run beside the folder of runs, and words that only its pages hold."""
    make_fake_run(runs.parent, name="secret", stages=("sft",))
    client = TestClient(create_app(runs.parent), base_url="http://localhost")
    assert "sft" in client.get("/run/secret").text
    return 'class="stages"'


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "%5c..%5csecret",
        "hacked/../../secret",
        "hacked/%2e%2e",
        "hacked/round-000",
        "hacked/",
        "hacked%00",
        "hacked%ed%a0%bd",
        "/etc",
        "",
        "%2e",
        "*",
        "group",
    ],
)
def test_no_address_leads_out_of_the_runs(client, secret, name):
    for page in ("run", "samples", "data/run", "data/samples", "static", "shared"):
        answer = client.get(f"/{page}/{name}")
        assert answer.status_code == 404, page
        assert secret not in answer.text


def test_another_sites_name_for_this_machine_is_refused(client, runs):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    for host in ("localhost:8322", "127.0.0.1:8322", "[::1]:8322"):
        assert client.get("/", headers={"Host": host}).status_code == 200
    everybody = TestClient(create_app(runs, allowed_hosts=("*",)), base_url="http://any.example")
    assert everybody.get("/").status_code == 200


def test_on_all_addresses_a_number_is_no_strangers_name(runs):
    app = create_app(runs, allowed_hosts=(*LOCAL_HOSTS, "box.home"), allows_addresses=True)
    client = TestClient(app, base_url="http://localhost")
    for host in ("localhost", "192.168.1.5:8322", "[fe80::1]:8322", "box.home:8322"):
        assert client.get("/", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "192.168.1.5.evil.example", "192.168.1", "", "box.home.evil"):
        assert client.get("/", headers={"Host": host}).status_code == 400, host


@pytest.mark.parametrize("address", ["/", "/samples/hacked", "/data/run/hacked", "/no-such", "/static/live.js"])
def test_every_answer_says_that_only_our_own_scripts_may_run(client, address):
    headers = client.get(address).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_only_pages_with_charts_allow_styles_of_their_own(client):
    policy = client.get("/run/hacked").headers["content-security-policy"]
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert "script-src 'self';" in policy


def test_what_is_not_there_or_does_not_fit_is_said_on_a_page_or_as_json(client):
    page = client.get("/run/nowhere")
    assert page.status_code == 404
    assert "There is no run nowhere. Expected one of those on the list." in page.text
    data = client.get("/data/samples/nowhere")
    assert (data.status_code, list(data.json())) == (404, ["error"])
    for address in ("/run/hacked?round=-1", "/samples/hacked?shown=1000000", "/data/samples/hacked?text=" + "x" * 501):
        answer = client.get(address)
        assert answer.status_code == 422
        assert "The address does not fit." in answer.text


def test_a_mistake_of_ours_is_a_page_too_and_says_nothing_of_the_inside(runs):
    app = create_app(runs)

    @app.get("/broken")
    def broken():
        raise RuntimeError("secret")

    answer = TestClient(app, base_url="http://localhost", raise_server_exceptions=False).get("/broken")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]


# ------------------------------------------------------------------------------------------------------- hostile text
class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.text = ""

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def parsed(html):
    parser = Elements()
    parser.feed(html)
    return parser


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run in which every hostile text stands wherever a model, a prompt, a slice or an alarm can put it."""
    runs = tmp_path_factory.mktemp("hostile")
    folder = make_fake_run(runs, name="</title><script>window.hacked=1</script>", story="hacked", hostile_text="<b x>")
    policy, evaluation = folder / "round-000" / "policy", folder / "round-000" / "evaluation"
    side = {"score": 1.0, "judge": 0.5, "judge_parts": {}, "length_tokens": 3}
    samples, kept, alarms = [], [], []
    for text in SMALL.values():
        slices = {text[:40] or "empty": text[:40]}
        samples.append({"prompt": text, "slices": slices, "outcome": text[:9], "before": side | {"text": ""}})
        samples[-1]["after"] = side | {"text": text}
        kept.append({"prompt": text, "completion": text, "slices": slices})
        suspect = {"prompt": text, "answer": text, "reference_answer": text, "proxy": 1.0, "external": 0.0}
        told = {"symptom": text[:60] or "empty", "slice": text[:60], "unit": text[:60], "evidence": text, "value": 1.0}
        alarms.append(told | {"step": 10, "state": "stop", "remedies": [text], "worst": [suspect], "action": text[:9]})
    write_rows(evaluation / "samples.jsonl", samples)
    write_rows(policy / "answers" / "step-00000060.jsonl", kept)
    write_rows(policy / "alarms.jsonl", alarms)
    return runs


def test_hostile_text_makes_no_element_and_no_attribute(hostile):
    client = TestClient(create_app(hostile), base_url="http://localhost")
    name = "%3C/title%3E%3Cscript%3Ewindow.hacked=1%3C/script%3E"
    pages = {address: client.get(address.format(name) + "&shown=500").text for address in ("/samples/{}?moment=60",)}
    pages |= {address: client.get(address.format(name)).text for address in (*PAGES, "/samples/{}?shown=500")}
    for address in DATA:
        parts = client.get(address.format(name) + ("&" if "?" in address else "?") + "shown=500").json()["html"]
        pages |= {f"{address} {part}": html for part, html in parts.items()}
    for page, html in pages.items():
        for tag, attributes in parsed(html).found:
            assert tag in HARMLESS, page
            assert set(attributes) <= ATTRIBUTES, (page, tag, attributes)
            assert tag != "script" or attributes["src"].startswith("/"), page
            assert tag != "a" or attributes["href"].startswith(("/", "#")), page
    for page in ("/samples/{}?shown=500", "/samples/{}?moment=60", "/run/{}"):
        text = parsed(pages[page]).text
        assert "<script>window.hacked=1</script>" in text
        assert "‹U+202E›" in text
        assert "\u202e" not in text


def test_a_megabyte_of_text_is_cut_on_the_page(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft", "policy"))
    rows = [{"prompt": name, "completion": text} for name, text in HUGE.items()]
    write_rows(folder / "round-000" / "policy" / "answers" / "step-00000060.jsonl", rows)
    client = TestClient(create_app(tmp_path), base_url="http://localhost")
    answer = client.get("/samples/quickstart?shown=100")
    assert f"the first {MAX_SHOWN_CHARACTERS // 1000}\u202f000 of" in answer.text
    assert len(answer.text) < 12 * MAX_SHOWN_CHARACTERS * len(HUGE)
