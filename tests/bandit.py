"""A one-token world with a known optimum: four actions under a KL leash, played by the fakes of `kleash.testing`.

Here too is the optimum of any such world, in closed form: the yardstick of every online algorithm.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

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


def categorical_kl(logprob_NV: Tensor, reference_logprob_NV: Tensor) -> Tensor:
    """Compute KL(p || p_ref) of whole distributions exactly, (N,) in nats. Gradients flow."""
    return (logprob_NV.exp() * (logprob_NV - reference_logprob_NV)).sum(-1)


@dataclass(frozen=True)
class TiltedPolicy:
    """The exact optimum of E[reward] - beta * KL over one choice: what it earns (reward's unit) and costs (nats)."""

    logprob_V: Tensor
    kl_nats: Tensor
    expected_reward: Tensor
    objective: Tensor


def tilted_policy(reference_logprob_V: Tensor, reward_V: Tensor, *, beta: float) -> TiltedPolicy:
    """Solve the KL-leashed problem of a single choice exactly: the oracle that every online algorithm must reach.

        p*(v) = p_ref(v) exp(r(v) / beta) / Z;   the objective there is beta * log Z

    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 4.
    """
    unnormalised_V = reference_logprob_V + reward_V / beta
    log_z = torch.logsumexp(unnormalised_V, dim=0)
    logprob_V = unnormalised_V - log_z
    kl_nats = categorical_kl(logprob_V.unsqueeze(0), reference_logprob_V.unsqueeze(0)).squeeze(0)
    return TiltedPolicy(logprob_V, kl_nats, (logprob_V.exp() * reward_V).sum(), beta * log_z)
