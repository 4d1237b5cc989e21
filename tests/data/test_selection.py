"""Which pairs raters are asked about in a later round."""

import pytest

from kleash.data.selection import ARM, Scored, SelectionSettings, select_pairs, uncertainty
from kleash.errors import DataError, SettingsError
from kleash.records import Completion, Prompt
from kleash.settings import check_settings


def scored(prompt, text, proxy, *, external=None, members=(), policy="p"):
    answer = Completion(Prompt(prompt, {"topic": "t"}), text, policy_id=policy)
    return Scored(answer, proxy, members=members, external=external)


def made(num_prompts=40):
    """Answers a, b, c to each prompt; a and b are close for even prompts, c is far above for prompts in fives."""
    rows = []
    for number in range(num_prompts):
        rows.append(scored(f"q{number}", "a", 0.0, external=0.5))
        rows.append(scored(f"q{number}", "b", 0.01 if number % 2 == 0 else 2.0, external=0.5))
        rows.append(scored(f"q{number}", "c", 5.0 if number % 5 == 0 else -3.0, external=0.0, policy="q"))
    return rows


def arms(comparisons):
    return [one.prompt.tags[ARM] for one in comparisons]


def test_each_arm_gets_its_share_and_pairs_keep_prompt_sources_and_slices():
    chosen = select_pairs(made(), SelectionSettings(num_pairs=20), seed=0)
    assert [arms(chosen).count(arm) for arm in ("uncertain", "suspect", "control")] == [8, 8, 4]
    assert len({(one.prompt.id, one.completions) for one in chosen}) == 20
    assert all(one.prompt.slices["topic"] == "t" for one in chosen)
    sources = {"a": "p", "b": "p", "c": "q"}
    assert all(one.sources == tuple(sources[text] for text in one.completions) for one in chosen)


def test_uncertain_pairs_are_the_close_ones_and_suspects_those_the_proxy_overrates():
    chosen = select_pairs(made(), SelectionSettings(num_pairs=20), seed=0)
    for one in chosen:
        number = int(one.prompt.text.removeprefix("q"))
        if one.prompt.tags[ARM] == "uncertain":
            assert one.completions == ("a", "b")
            assert number % 2 == 0
        if one.prompt.tags[ARM] == "suspect":
            assert "c" in one.completions
            assert number % 5 == 0


def test_without_an_external_signal_a_high_reward_makes_a_suspect():
    rows = [Scored(one.answer, one.proxy) for one in made()]
    chosen = select_pairs(rows, SelectionSettings(num_pairs=8, uncertain_share=0, suspect_share=1), seed=0)
    assert all("c" in one.completions and int(one.prompt.text[1:]) % 5 == 0 for one in chosen)


def test_the_control_arm_is_blind_to_scores():
    settings = SelectionSettings(num_pairs=15, uncertain_share=0, suspect_share=0)
    rows = made()
    turned = [Scored(one.answer, -one.proxy, external=0.3) for one in rows]
    assert select_pairs(rows, settings, seed=3) == select_pairs(turned, settings, seed=3)
    assert select_pairs(rows, settings, seed=3) != select_pairs(rows, settings, seed=4)


def test_by_default_one_pair_per_prompt_and_never_more_than_there_are():
    assert len(select_pairs(made(7), SelectionSettings(), seed=0)) == 7
    assert len(select_pairs(made(2), SelectionSettings(num_pairs=100), seed=0)) == 6


def test_an_arm_asks_about_other_prompts_before_it_asks_twice_about_one():
    chosen = select_pairs(made(10), SelectionSettings(num_pairs=10, uncertain_share=1, suspect_share=0), seed=0)
    assert len({one.prompt.id for one in chosen}) == 10


def test_uncertainty_by_hand():
    even, ahead = scored("q", "a", 1.0), scored("q", "b", 1.0)
    assert uncertainty(even, ahead) == 0.25
    split = scored("q", "a", 0.0, members=(1.0, -1.0)), scored("q", "b", 0.0, members=(0.0, 0.0))
    agreed = scored("q", "a", 0.0, members=(1.0, 1.0)), scored("q", "b", 0.0, members=(0.0, 0.0))
    assert uncertainty(*split) == pytest.approx(0.25 * 0.30)
    assert uncertainty(*agreed) == pytest.approx(0.25 * 0.05)
    assert uncertainty(scored("q", "a", -1e9), scored("q", "b", 1e9)) < 1e-20


def test_answers_that_are_all_alike_cannot_be_compared():
    with pytest.raises(DataError, match=r"None of the 2 candidates differs from another.*Raise candidates"):
        select_pairs([scored("q", "same", 0.0), scored("q", "same", 1.0)], SelectionSettings(), seed=0)


def test_shares_beyond_the_whole_are_refused():
    with pytest.raises(SettingsError, match="more than the whole"):
        check_settings({"uncertain_share": 0.7, "suspect_share": 0.7}, SelectionSettings, source="recipe.toml")
