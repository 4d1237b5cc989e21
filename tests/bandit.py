"""A one-token world with a known optimum: four actions under a KL leash, played by the fakes of `kleash.testing`."""

import math

from kleash.testing import FakeGenerator, FakeScorer, TabularPolicy

REFERENCE = (0.4, 0.3, 0.2, 0.1)
REWARD = (0.0, 1.0, 0.5, 2.0)
OPTIMUM = (0.175121, 0.357021, 0.144363, 0.323495)
OPTIMUM_KL_NATS = 0.250205


def bandit_policy():
    return TabularPolicy(REFERENCE)


def bandit_generator(policy):
    """Every action ends the answer."""
    return FakeGenerator(policy, max_new_tokens=1, eos_ids=range(4))


def bandit_scorer():
    return FakeScorer(lambda completion: REWARD[int(completion.text)])


def total_variation(probabilities):
    return 0.5 * sum(abs(float(p) - q) for p, q in zip(probabilities, OPTIMUM, strict=True))


def kl_nats(probabilities):
    return sum(float(p) * math.log(float(p) / q) for p, q in zip(probabilities, REFERENCE, strict=True))
