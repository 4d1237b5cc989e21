"""What a later round asks about: scores, and what an outsider makes of the highest of them."""

from kleash.data.selection import ARM, SelectionSettings
from kleash.evaluation.external_signal import ExternalSignal
from kleash.records import Completion, Prompt
from kleash.stages.support.alarming import AlarmSettings, AlarmSetup
from kleash.stages.support.refreshing import chosen_by, externally_judged, scored
from kleash.stages.support.scoring import ScorerSource
from kleash.testing import FakeComparer, FakeScorer

NUM_PROMPTS = 20


def long_wins():
    return FakeScorer(lambda answer: float(len(answer.text)))


class Outsider(FakeComparer):
    """Likes short answers, and long ones where they are full of x; counts what it was asked."""

    num_asked = 0

    def __init__(self):
        super().__init__(lambda text: text.count("x") * 10 - len(text))

    def compare(self, comparisons):
        self.num_asked += len(comparisons)
        return super().compare(comparisons)


def answers(*, odd="c"):
    """Three answers to each prompt; the longest of prompt n has n + 3 letters, of odd prompts another one."""
    rows = []
    for n in range(NUM_PROMPTS):
        prompt = Prompt(f"q{n}")
        rows += [Completion(prompt, text) for text in ("a", "bb", (odd if n % 2 else "c") * (n + 3))]
    return rows


def test_an_outsider_compares_the_best_by_proxy_with_the_worst_the_highest_first():
    outsider = Outsider()
    judged = externally_judged(scored(long_wins(), answers()), ExternalSignal(outsider, num_comparisons=4))
    assert outsider.num_asked == 4
    external = {(one.answer.prompt.text, one.answer.text[0]): one.external for one in judged}
    for n in range(NUM_PROMPTS):
        is_asked = n >= NUM_PROMPTS - 4
        assert external[f"q{n}", "a"] == (1.0 if is_asked else None)
        assert external[f"q{n}", "c"] == (0.0 if is_asked else None)
        assert external[f"q{n}", "b"] is None


def test_prompts_with_one_answer_are_not_asked_about():
    signal = ExternalSignal(Outsider(), num_comparisons=4)
    alike = [Completion(Prompt("q"), "same"), Completion(Prompt("q"), "same"), Completion(Prompt("r"), "alone")]
    assert [one.external for one in externally_judged(scored(long_wins(), alike), signal)] == [None, None, None]


def test_raters_are_asked_first_about_what_the_outsider_disputes():
    signal = ExternalSignal(Outsider(), num_comparisons=NUM_PROMPTS)
    settings = SelectionSettings(num_pairs=10, uncertain_share=0, suspect_share=1)
    scorer_source, alarms = ScorerSource(long_wins(), {}), AlarmSettings(comparer="simulated")
    chosen = chosen_by(scorer_source, AlarmSetup(alarms, signal), settings, seed=0)
    comparisons = chosen.choose(answers(odd="x"))
    assert {one.prompt.tags[ARM] for one in comparisons} == {"suspect"}
    assert all(int(one.prompt.text[1:]) % 2 == 0 for one in comparisons)
    unaided = chosen_by(scorer_source, AlarmSetup(), settings, seed=0)
    assert sorted(int(one.prompt.text[1:]) for one in unaided.choose(answers(odd="x"))) == list(range(10, 20))
    assert chosen.settings["alarms"].comparer == "simulated"
    assert "alarms" not in unaided.settings


def test_without_a_suspect_arm_nobody_is_asked():
    outsider = Outsider()
    alarm_setup = AlarmSetup(AlarmSettings(comparer="simulated"), ExternalSignal(outsider, num_comparisons=4))
    settings = SelectionSettings(num_pairs=10, uncertain_share=1, suspect_share=0)
    chosen = chosen_by(ScorerSource(long_wins(), {}), alarm_setup, settings, seed=0)
    assert len(chosen.choose(answers())) == 10
    assert outsider.num_asked == 0
    assert "alarms" not in chosen.settings
