"""Components of somebody else's, as plug-in authors write them: an algorithm, an engine, a generator, raters, scorers.

Recipes of the tests name them as own_components:NAME; nothing in kleash knows of them.
"""

from dataclasses import replace

import torch

from kleash.algorithms.direct import PairAlgorithm
from kleash.algorithms.online import RLOO, Credit, CreditInputs, PolicyLossInputs, sequence_reward
from kleash.evaluation.symptoms import Symptom
from kleash.formats import readings
from kleash.formats.shapes import Shape
from kleash.maths.advantages import spread_over_tokens
from kleash.maths.intervals import wilson_interval
from kleash.maths.policy_losses import PolicyLoss
from kleash.maths.preference_losses import dpo_loss
from kleash.rollout.local import LocalGenerator
from kleash.testing import FakeComparer, FakeScorer
from kleash.training.local import LocalEngine, build_local_engine


# ------------------------------------------------------------------------------------------------ an online algorithm
def best_of_prompt(inputs: CreditInputs, settings) -> Credit:
    """Credit the best sample of each prompt with one, the others with nothing."""
    experience = inputs.experience
    reward_PG = sequence_reward(experience, inputs.beta).view(-1, experience.rollouts.samples_per_prompt)
    is_best_PG = reward_PG == reward_PG.max(dim=1, keepdim=True).values
    return Credit(spread_over_tokens(is_best_PG.float().reshape(-1), experience.mask_BT))


def imitate(inputs: PolicyLossInputs, settings) -> PolicyLoss:
    """Raise the log-probability of what was credited; there is no clip."""
    credited_BT = inputs.advantage_BT * inputs.weight_BT
    total = -(credited_BT * inputs.logprob_BT).where(inputs.mask_BT, 0.0).sum()
    return PolicyLoss(total, inputs.weight_BT.sum(), num_clipped=torch.zeros(()))


BEST_OF = replace(RLOO, name="best_of", assign_credit=best_of_prompt, policy_loss=imitate, source="of the tests")


# ------------------------------------------------------------------------------------------------- a direct algorithm
def hinge(inputs, settings):
    return dpo_loss(inputs.chosen_logratio_N, inputs.rejected_logratio_N, beta=settings.beta)


PLAIN_DPO = PairAlgorithm("plain_dpo", hinge, "of the tests")


# -------------------------------------------------------------------------------------------- an engine, a generator
class CountingEngine(LocalEngine):
    """Counts its steps."""

    num_steps = 0

    def step(self, *rows, **settings):
        CountingEngine.num_steps += 1
        return super().step(*rows, **settings)


def make_engine(policy, reference, critic, **settings):
    """Build what `local` is, of another class."""
    engine = build_local_engine(policy, reference, critic, **settings)
    engine.__class__ = CountingEngine
    return engine


class PoliteGenerator(LocalGenerator):
    """Ends every answer's text with thanks."""

    def generate(self, prompts, **settings):
        rollouts = super().generate(prompts, **settings)
        return replace(rollouts, texts=tuple(f"{text} thanks" for text in rollouts.texts))


# ------------------------------------------------------------------------------------------------- raters and scorers
class LongestWins(FakeComparer):
    def __init__(self, settings, *, seed):
        super().__init__(len, raters=[f"ruler-{number}" for number in range(settings.campaign.overlap)])


def make_longest_wins(settings, seed):
    return LongestWins(settings, seed=seed)


class CountsWords(FakeScorer):
    def __init__(self):
        super().__init__(lambda answer: float(len(answer.text.split())))


def make_counts_words():
    return CountsWords()


counts_words = CountsWords()


def shorter_is_better(prompt, completion):
    return -len(completion)


NO_COMPONENT = 3.0


def make_nothing(*arguments, seed=0):
    return None


# ------------------------------------------------------------------------------------------- an alarm, and a format
def shouting(matched, confidence):
    """Measure the share of answers in capitals."""
    return wilson_interval(sum(text.isupper() for text in matched.now.texts), len(matched.now.texts))


SHOUTING = Symptom("shouting", "share of answers", 0.1, 2.0, shouting, "{value:.0%} of the answers shout")


def read_question(row, slices):
    return readings.read_answered("frage", "antwort")(row, slices)


GERMAN = Shape("german", ("frage", "antwort"), ("demonstrations",), read_question)
