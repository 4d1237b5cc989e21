"""The scorer that a recipe asks for, and what is recorded of it."""

import pytest

from kleash.errors import SettingsError
from kleash.records import Completion, Prompt
from kleash.settings import load_toml
from kleash.stages.context import StageContext
from kleash.stages.support.scoring import ScorerSettings, build_scorer


def test_rules_of_a_recipe_score_by_weight(tmp_path):
    path = tmp_path / "scorer.toml"
    path.write_text(
        'kind = "rules"\nrules = [{rule = "ends", weight = 2.0}, {rule = "avoids", words = ["um"], weight = 0.5}]\n'
    )
    settings = load_toml(path, ScorerSettings)
    scorer_source = build_scorer(StageContext(), settings)
    answers = [Completion(Prompt("why?"), text) for text in ("because.", "um, because", "because")]
    assert list(scorer_source.scorer.score(answers).total) == [2.5, 0.0, 0.5]
    assert scorer_source.recorded()["scorer"].rules[1].words == ("um",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ScorerSettings(), "there is no reward model. Run the `reward` stage first"),
        (ScorerSettings(kind="function"), "scorer.function is not set. Expected module:attribute"),
        (ScorerSettings(kind="rules"), "There are no rules to score by. Expected one or more in scorer.rules"),
        (ScorerSettings(kind="reward"), "reward"),
    ],
)
def test_a_scorer_that_lacks_what_it_needs_is_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        build_scorer(StageContext(), settings).require()
