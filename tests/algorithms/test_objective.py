"""The loss of a minibatch: any split into micro-batches, and any padding, gives one loss and one gradient."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.made import experience_of
from kleash.algorithms.objective import MinibatchLoss, minibatch_counts
from kleash.algorithms.online import ONLINE_ALGORITHMS, Credit
from kleash.algorithms.policy_settings import LossSettings
from kleash.data.batches import TokenSequence
from kleash.maths.tally import Tally
from kleash.protocols import Outputs

LENGTHS = [3, 1, 4, 2, 4, 1]
TEXTS = (TokenSequence((1,), (2, 3)), TokenSequence((1,), (4, 5, 6, 7, 8)))


def noise(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(*, name="ppo", rows=range(6), texts=(), kl_coefficient=None, trains_policy=True, text_weight=0.25):
    """An objective over noise; its counts are those of its rows, as the loop would give them."""
    algorithm = ONLINE_ALGORITHMS[name]
    shape = (len(LENGTHS), max(LENGTHS))
    experience = experience_of(
        LENGTHS,
        scores=[0.0] * 6,
        samples_per_prompt=2,
        logprob_BT=noise(*shape, seed=1),
        reference_BT=noise(*shape, seed=2),
        value_BT=noise(*shape, seed=3) if algorithm.uses_critic else None,
    )
    returns = noise(*shape, seed=5).where(experience.mask_BT, 0.0) if algorithm.uses_critic else None
    credit = Credit(noise(*shape, seed=4).where(experience.mask_BT, 0.0), returns)
    counts = minibatch_counts(experience, list(rows), algorithm)
    if kl_coefficient is None:
        kl_coefficient = 0.3 if algorithm.kl_acts_on == "loss" else 0.0
    return MinibatchLoss(
        experience=experience,
        credit=credit,
        algorithm=algorithm,
        settings=LossSettings(),
        rows=list(rows),
        texts=texts,
        policy_count=counts["policy"],
        token_count=counts["token"],
        text_weight=text_weight,
        kl_coefficient=kl_coefficient,
        trains_policy=trains_policy,
        tally=Tally(),
    )


def loss_and_gradient(objective, micro_batches, *, apart=False, padding=0):
    """Add up the loss over micro-batches; the model is a table of one log-probability and value per token.

    apart: policy and critic are shown one after the other.  padding: columns more than the rows need.
    """
    sequences = objective.sequences
    width = max(len(sequence.response_ids) for sequence in sequences)
    logprob_RT = noise(len(sequences), width, seed=7).requires_grad_()
    value_RT = noise(len(sequences), width, seed=8).requires_grad_()
    total = torch.zeros(())
    for rows in micro_batches:
        needed = max(len(sequences[row].response_ids) for row in rows)
        length_B = torch.tensor([len(sequences[row].response_ids) for row in rows])
        mask_BT = torch.arange(needed + padding) < length_B[:, None]

        def cut(whole_RT, rows=rows, needed=needed, mask_BT=mask_BT):
            cut_BT = torch.nn.functional.pad(whole_RT[rows][:, :needed], (0, padding))
            return cut_BT.where(mask_BT, 0.0)

        entropy_BT = mask_BT.float()
        values = cut(value_RT) if objective.algorithm.uses_critic else None
        if apart:
            shown = [Outputs(cut(logprob_RT), entropy_BT), *([Outputs(value_BT=values)] if values is not None else [])]
        else:
            shown = [Outputs(cut(logprob_RT), entropy_BT, values)]
        for outputs in shown:
            loss = objective(outputs, rows)
            if loss.requires_grad:
                loss.backward()
            total = total + loss.detach()
    zeros = torch.zeros_like(logprob_RT)
    gradients = [zeros if whole.grad is None else whole.grad for whole in (logprob_RT, value_RT)]
    return total, torch.stack(gradients)


@st.composite
def splits(draw, num_rows):
    order = draw(st.permutations(range(num_rows)))
    cuts = sorted(draw(st.sets(st.integers(1, num_rows - 1))))
    return [list(order[start:stop]) for start, stop in zip([0, *cuts], [*cuts, num_rows], strict=True)]


@pytest.mark.parametrize("texts", [(), TEXTS], ids=["alone", "with texts"])
@pytest.mark.parametrize("name", ONLINE_ALGORITHMS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_split_gives_one_loss_and_one_gradient(name, texts, data):
    objective = made(name=name, texts=texts)
    whole = loss_and_gradient(objective, [list(range(len(objective.sequences)))])
    split = data.draw(splits(len(objective.sequences)))
    torch.testing.assert_close(loss_and_gradient(made(name=name, texts=texts), split), whole)


@pytest.mark.parametrize("name", ONLINE_ALGORITHMS)
def test_two_halves_of_the_rows_add_up_as_two_ranks_do(name):
    """Each rank has its own rows and the counts of both."""
    together = made(name=name)
    total, gradient = loss_and_gradient(together, [[0, 1, 2, 3, 4, 5]])
    parts = []
    for rows in ([0, 2, 5], [1, 3, 4]):
        own = replace(made(name=name, rows=rows), policy_count=together.policy_count, token_count=together.token_count)
        # The same table of log-probabilities, whose row r belongs to row r of the experience.
        whole = replace(together, rows=[0, 1, 2, 3, 4, 5])
        parts.append(loss_and_gradient(whole, [rows]))
        assert own.sequences == [together.sequences[row] for row in rows]
    torch.testing.assert_close(sum(part[0] for part in parts), total)
    torch.testing.assert_close(sum(part[1] for part in parts), gradient)


@pytest.mark.parametrize("name", ONLINE_ALGORITHMS)
def test_extra_padding_changes_nothing(name):
    objective = made(name=name, rows=[1, 3, 5])  # shorter than the longest of the experience
    plain = loss_and_gradient(objective, [[0, 1, 2]])
    torch.testing.assert_close(loss_and_gradient(made(name=name, rows=[1, 3, 5]), [[0, 1, 2]], padding=2), plain)


def test_policy_and_critic_may_be_shown_one_after_the_other():
    objective = made(texts=TEXTS)
    everything = [[0, 3, 6], [1, 2], [4, 5, 7]]
    torch.testing.assert_close(
        loss_and_gradient(objective, everything, apart=True), loss_and_gradient(made(texts=TEXTS), everything)
    )


def test_critic_warm_up_leaves_the_policy_alone():
    _, gradient = loss_and_gradient(made(trains_policy=False), [[0, 1, 2, 3, 4, 5]])
    policy_gradient, critic_gradient = gradient
    assert not policy_gradient.any()
    assert critic_gradient.any()


def test_texts_are_pulled_up_by_their_weight_alone():
    _, gradient = loss_and_gradient(made(texts=TEXTS, trains_policy=False), [[6, 7]])
    expected = torch.zeros_like(gradient[0])
    expected[6, :2] = expected[7, :5] = -0.25
    torch.testing.assert_close(gradient[0], expected)


def test_grpo_weighs_each_answer_alike_and_adds_the_k3_term():
    """At the sampling policy the surrogate's gradient is -A; k3's at d = log p - log q is 1 - exp(-d)."""
    objective = made(name="grpo", rows=[0, 1], kl_coefficient=0.5)
    experience, advantage_BT = objective.experience, objective.credit.advantage_BT
    logprob_RT = experience.logprob_BT[:2, :3].clone().requires_grad_()
    objective(Outputs(logprob_RT), [0, 1]).backward()
    d_RT = logprob_RT.detach() - experience.reference_logprob_BT[:2, :3]
    per_token = -advantage_BT[:2, :3] + 0.5 * (1 - torch.exp(-d_RT))
    expected = per_token / torch.tensor([[3.0], [1.0]]) / 2  # by the answer's length, then by the number of answers
    torch.testing.assert_close(logprob_RT.grad, expected.where(experience.mask_BT[:2, :3], 0.0))


def test_without_a_coefficient_the_kl_is_not_in_the_loss():
    objective = made(name="grpo", rows=[0], kl_coefficient=0.0)
    logprob_RT = objective.experience.logprob_BT[:1, :3].clone().requires_grad_()
    objective(Outputs(logprob_RT), [0]).backward()
    torch.testing.assert_close(logprob_RT.grad, -objective.credit.advantage_BT[:1, :3] / 3)


def test_ppo_averages_over_tokens_and_rloo_over_answers():
    for name, count in (("ppo", 4.0), ("rloo", 2.0)):
        objective = made(name=name, rows=[0, 1])
        logprob_RT = objective.experience.logprob_BT[:2, :3].clone().requires_grad_()
        objective(Outputs(logprob_RT), [0, 1]).backward()
        expected = -objective.credit.advantage_BT[:2, :3] / count
        torch.testing.assert_close(logprob_RT.grad, expected)


def test_tallied_figures_are_those_of_the_first_pass():
    objective = made(rows=[0, 1])
    old_RT = objective.experience.logprob_BT[:2, :3]
    objective(Outputs(old_RT, entropy_BT=torch.full((2, 3), 0.5)), [0, 1])
    means = objective.tally.means()
    assert means["ratio_error_max"] == means["approx_kl_nats_per_token"] == means["clip_fraction"] == 0.0
    assert means["ratio_max"] == 1.0
    assert means["entropy_nats"] == 0.5
    expected = -objective.credit.advantage_BT[:2].sum() / 4
    assert means["policy_loss"] == pytest.approx(float(expected))


def test_the_largest_ratio_is_kept():
    objective = made(rows=[0])
    old_RT = objective.experience.logprob_BT[:1, :3]
    objective(Outputs(old_RT + torch.tensor([[0.0, 0.5, -0.1]])), [0])
    assert objective.tally.means()["ratio_max"] == pytest.approx(2.718281828**0.5)


def test_a_ratio_beyond_the_clip_counts_only_where_the_clip_binds():
    """Both ratios are e^.5: past the clip for the good token, free to be pushed back for the bad one."""
    objective = made(rows=[3])
    old_RT = objective.experience.logprob_BT[3:4, :2]
    advantage_BT = torch.zeros_like(objective.credit.advantage_BT)
    advantage_BT[3, :2] = torch.tensor([-1.0, 1.0])
    replace(objective, credit=replace(objective.credit, advantage_BT=advantage_BT))(Outputs(old_RT + 0.5), [0])
    assert objective.tally.means()["clip_fraction"] == 0.5


def test_a_loss_without_a_clip_clips_nothing():
    objective = made(name="rloo", rows=[0])
    objective(Outputs(objective.experience.logprob_BT[:1, :3] + 0.5), [0])
    assert objective.tally.means()["clip_fraction"] == 0.0


def test_a_rank_without_rows_counts_nothing():
    objective = made(rows=[])
    assert objective.sequences == []
    assert minibatch_counts(objective.experience, [], objective.algorithm) == {"policy": 0.0, "token": 0.0}
