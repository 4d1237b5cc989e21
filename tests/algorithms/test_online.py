"""The table of online algorithms: each row's credit by hand, and what the rows promise to the loop."""

import pytest
import torch

from algorithms.made import experience_of
from kleash.algorithms.online import ONLINE_ALGORITHMS, CreditInputs, sequence_reward
from kleash.algorithms.policy_settings import CreditSettings
from kleash.errors import ShapeError

PLAIN = CreditSettings(gamma=1.0, lam=1.0, group_eps=0.0)


def credit(name, experience, *, beta=0.0, baseline=0.0, settings=PLAIN):
    return ONLINE_ALGORITHMS[name].assign_credit(CreditInputs(experience, beta, baseline), settings)


def test_sequence_reward_charges_the_whole_answers_kl():
    experience = experience_of(
        [2, 1], scores=[1.0, 2.0], logprob_BT=[[-1.0, -2.0], [-3.0, 9.0]], reference_BT=[[-1.5, -2.25], [-2.0, 9.0]]
    )
    # KL of row 0: .5 + .25; of row 1: -1 (the cell behind its end does not count).
    torch.testing.assert_close(sequence_reward(experience, 2.0), torch.tensor([1.0 - 1.5, 2.0 + 2.0]))


def test_ppo_with_full_credit_pays_what_is_still_to_come_less_the_value():
    """gamma = lambda = 1: the advantage is the sum of rewards from here on, minus the critic's value."""
    experience = experience_of(
        [3, 1],
        scores=[1.0, -1.0],
        logprob_BT=[[-1.0, -1.0, -1.0], [-1.0, 0.0, 0.0]],
        reference_BT=[[-1.5, -1.0, -2.0], [-3.0, 0.0, 0.0]],
        value_BT=[[0.25, 0.5, 0.75], [0.5, 0.0, 0.0]],
    )
    found = credit("ppo", experience, beta=0.5)
    # Row 0 pays .5 * (.5, 0, 1) = (.25, 0, .5) of KL and earns 1 at its end; row 1 pays .5 * 2 and earns -1.
    torch.testing.assert_close(found.return_BT, torch.tensor([[0.25, 0.5, 0.5], [-2.0, 0.0, 0.0]]))
    torch.testing.assert_close(found.advantage_BT, torch.tensor([[0.0, 0.0, -0.25], [-2.5, 0.0, 0.0]]))


def test_ppo_looks_one_step_ahead_without_lambda():
    experience = experience_of([2], scores=[1.0], value_BT=[[0.5, 0.25]])
    found = credit("ppo", experience, settings=CreditSettings(gamma=0.5, lam=0.0))
    torch.testing.assert_close(found.advantage_BT, torch.tensor([[0.5 * 0.25 - 0.5, 1.0 - 0.25]]))
    torch.testing.assert_close(found.return_BT, torch.tensor([[0.125, 1.0]]))


def test_rloo_compares_with_the_other_answers_of_the_prompt():
    experience = experience_of(
        [1, 2, 1, 1], scores=[1.0, 3.0, 0.0, 0.0], samples_per_prompt=2, reference_BT=[[-0.5, 0.0]] + [[0.0, 0.0]] * 3
    )
    # Row 0's KL is .5 nat at beta 2: rewards (0, 3) and (0, 0).
    found = credit("rloo", experience, beta=2.0)
    assert found.advantage_BT.tolist() == [[-3.0, 0.0], [3.0, 3.0], [0.0, 0.0], [0.0, 0.0]]
    assert found.return_BT is None


def test_grpo_standardises_within_the_group_and_leaves_kl_to_the_loss():
    experience = experience_of([1, 2], scores=[1.0, 3.0], samples_per_prompt=2, reference_BT=[[-5.0, 0.0], [0.0, 0.0]])
    found = credit("grpo", experience, beta=1.0)
    unit = 1 / 2**0.5  # deviations of -1 and 1 over a standard deviation of sqrt(2)
    torch.testing.assert_close(found.advantage_BT, torch.tensor([[-unit, 0.0], [unit, unit]]))


def test_grpo_learns_nothing_from_a_group_of_equals():
    experience = experience_of([1, 1, 1], scores=[2.0, 2.0, 2.0], samples_per_prompt=3)
    found = credit("grpo", experience, settings=CreditSettings())
    assert found.advantage_BT.tolist() == [[0.0]] * 3


def test_reinforce_compares_with_the_running_mean():
    experience = experience_of([1, 2], scores=[1.0, 3.0])
    assert credit("reinforce", experience, baseline=1.5).advantage_BT.tolist() == [[-0.5, 0.0], [1.5, 1.5]]


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_a_group_of_one_cannot_be_compared(name):
    with pytest.raises(ShapeError, match=r"1 sample.s. per prompt, expected at least 2"):
        credit(name, experience_of([1], scores=[1.0]))


def test_rows_say_where_the_kl_acts_and_who_needs_a_critic():
    assert {row.name for row in ONLINE_ALGORITHMS.values() if row.uses_critic} == {"ppo"}
    assert {row.name for row in ONLINE_ALGORITHMS.values() if row.kl_acts_on == "loss"} == {"grpo"}
    assert {row.name for row in ONLINE_ALGORITHMS.values() if row.min_samples_per_prompt > 1} == {"rloo", "grpo"}
    assert all(name == row.name and row.source for name, row in ONLINE_ALGORITHMS.items())
