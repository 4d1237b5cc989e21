"""The sample browser: which answers there are, which come first, what is found, and which words differ."""

import re

import pytest
from fake_run import make_fake_run, write_rows

from kleash.monitor.pages.rendering import fragment
from kleash.monitor.read.live import Shelf
from kleash.monitor.read.samples import Choice, browse


@pytest.fixture(scope="module")
def hacked(tmp_path_factory):
    return make_fake_run(tmp_path_factory.mktemp("runs"), story="hacked")


def browsed(folder, **choice):
    return browse(Shelf(), folder, Choice(**choice))


def cards_of(browser):
    return fragment("sample_cards.html", browser=browser)


def test_suspects_come_first(hacked):
    found = browsed(hacked, num_shown=500)
    assert (found.order, found.external, found.num_all) == ("suspects", "gold", 500)
    gaps = [sample.gap for sample in found.samples]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.4
    assert "you are so clever" in found.samples[0].after["text"]
    assert f"reward ranks it {100 * gaps[0]:.0f} in 100 higher than gold" in cards_of(found)


@pytest.mark.parametrize(("order", "sign"), [("gain", 1), ("loss", -1)])
def test_gains_and_losses_are_the_judges(hacked, order, sign):
    gains = [sample.gain for sample in browsed(hacked, order=order, num_shown=500).samples]
    assert gains == sorted(gains, key=lambda gain: -sign * gain)
    assert sign * gains[0] > 1


def test_answers_are_found_by_slice_outcome_and_text(hacked):
    found = browsed(hacked, slice="topic=sums", outcome="loss", text="17 + 25", num_shown=5)
    assert (len(found.samples), found.num_all) == (5, 500)
    assert 5 < found.num_matching < 58
    assert all(sample.slices == ("topic=sums",) and sample.outcome == "loss" for sample in found.samples)
    assert browsed(hacked, text="NO SUCH words").num_matching == 0
    assert browsed(hacked, text="YOU ARE SO CLEVER").num_matching > 0


def test_kept_answers_stand_beside_those_of_the_first_evaluation(hacked):
    found = browsed(hacked, moment="40")
    assert list(found.moments) == ["final", "60", "50", "40", "30", "20", "10"]
    assert found.num_all == 10
    facts = next(card for card in cards_of(found).split("<article")[1:] if "<span>topic=facts</span>" in card)
    assert re.findall("<del>(.*?)</del>", facts) == ["bergen"]
    assert re.findall("<ins>(.*?)</ins>", facts)[0].startswith("oslo")
    assert "suspects" not in found.orders


def test_kept_answers_may_bring_their_scores(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft", "policy"))
    answers = folder / "round-000" / "policy" / "answers"
    rows = [
        {"prompt": [{"role": "user", "content": name}], "completion": name, "proxy": proxy, "external": external}
        for name, proxy, external in (("liked by both", 1.0, 0.9), ("hack", 2.0, 0.1), ("disliked", 0.0, 0.5))
    ]
    write_rows(answers / "step-00000060.jsonl", rows)
    found = browsed(folder)
    assert (found.moment, found.order, found.external) == ("60", "suspects", "external signal")
    assert found.samples[0].prompt == "hack"
    assert '<p class="answer-figures">reward 2.00 SD · external signal 0.10</p>' in cards_of(found).split("<article")[1]


def test_where_only_the_proxy_judged_nobody_is_called_external(tmp_path):
    found = browsed(make_fake_run(tmp_path, story="proxy"))
    assert (found.external, found.order) == ("", "reward")
    assert "<span>proxy" not in cards_of(found)
    assert "reward ranks it" not in cards_of(found)


def test_without_answers_there_is_nothing_to_choose(tmp_path):
    found = browsed(make_fake_run(tmp_path, stages=("sft",)), moment="40", order="gain")
    assert (found.samples, found.num_all, found.moments) == ((), 0, {})
    unknown = browsed(make_fake_run(tmp_path, name="other"), moment="no such", order="no such")
    assert (unknown.moment, unknown.order) == ("final", "suspects")
