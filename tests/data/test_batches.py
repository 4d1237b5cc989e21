"""Batches: packing keeps every row once and within bounds, positions predict the right tokens, seeds never change."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kleash.data.batches import (
    Rollouts,
    TokenSequence,
    batch_rows,
    derived_seed,
    epoch_order,
    pack_by_tokens,
    token_batch,
)
from kleash.errors import DataError
from kleash.records import Prompt

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@given(lengths=LENGTHS, max_tokens=st.integers(1, 200))
def test_packs_hold_each_row_once_and_stay_within_the_budget(lengths, max_tokens):
    packs = pack_by_tokens(lengths, max_tokens=max_tokens)
    assert sorted(row for pack in packs for row in pack) == list(range(len(lengths)))
    for pack in packs:
        area = len(pack) * max(lengths[row] for row in pack)
        assert area <= max_tokens or len(pack) == 1
    longest = [max(lengths[row] for row in pack) for pack in packs]
    assert longest == sorted(longest, reverse=True)


@given(lengths=LENGTHS, max_tokens=st.integers(1, 200))
def test_packs_that_may_pad_are_full_but_for_the_last(lengths, max_tokens):
    packs = pack_by_tokens(lengths, max_tokens=max_tokens, max_padding_share=1.0)
    assert all((len(pack) + 1) * lengths[pack[0]] > max_tokens for pack in packs[:-1])


def test_rows_of_equal_length_keep_their_order():
    assert pack_by_tokens([3, 3, 3, 3], max_tokens=6) == [[0, 1], [2, 3]]


@given(lengths=LENGTHS, share=st.floats(0.0, 0.5), min_tokens=st.integers(0, 300))
def test_packs_hold_each_row_once_and_little_padding(lengths, share, min_tokens):
    groups = pack_by_tokens(lengths, max_padding_share=share, min_tokens=min_tokens)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    for group in groups:
        area = len(group) * max(lengths[row] for row in group)
        num_padding = area - sum(lengths[row] for row in group)
        assert num_padding <= share * area + 1e-9 or area - max(lengths[row] for row in group) < min_tokens


def test_predicting_positions_agree_with_the_obvious_loop():
    sequences = [TokenSequence((5, 6, 7), (8,)), TokenSequence((1,), (2, 3, 4)), TokenSequence((9, 9), (5, 6))]
    batch = token_batch(sequences, pad_id=0)
    expected = [
        (row, len(sequence.prompt_ids) + t - 1, token)
        for row, sequence in enumerate(sequences)
        for t, token in enumerate(sequence.response_ids)
    ]
    row_N, position_N = batch.predicting_positions()
    assert list(zip(row_N.tolist(), position_N.tolist(), batch.response_ids_N().tolist(), strict=True)) == expected
    assert batch.response_mask_BT.tolist() == [[True, False, False], [True, True, True], [True, True, False]]
    assert batch.last_position_B.tolist() == [3, 3, 3]
    assert batch.ids_BS.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4], [9, 9, 5, 6]]
    assert batch.attention_mask_BS.all()


def test_shorter_rows_are_padded_on_the_right():
    batch = token_batch([TokenSequence((5,), (6,)), TokenSequence((1, 2), (3, 4))], pad_id=7)
    assert batch.ids_BS.tolist() == [[5, 6, 7, 7], [1, 2, 3, 4]]
    assert batch.attention_mask_BS.tolist() == [[True, True, False, False], [True] * 4]


def test_a_prompt_without_tokens_is_refused():
    with pytest.raises(DataError, match=r"Sequence 1 of the batch has an empty prompt.*at least one prompt token.*BOS"):
        token_batch([TokenSequence((1,), (2,)), TokenSequence((), (2,))], pad_id=0)


@given(num_rows=st.integers(1, 20), batch_size=st.integers(1, 9), seed=st.integers(0, 3))
def test_batches_walk_through_each_epoch_once_before_the_next(num_rows, batch_size, seed):
    num_steps = -(-2 * num_rows // batch_size)
    steps = [batch_rows(num_rows, batch_size=batch_size, step=step, seed=seed) for step in range(num_steps)]
    stream = [row for rows in steps for row in rows]
    assert sorted(stream[:num_rows]) == sorted(stream[num_rows : 2 * num_rows]) == list(range(num_rows))


def test_epochs_differ_and_repeat_exactly():
    assert epoch_order(50, seed=1, epoch=0) != epoch_order(50, seed=1, epoch=1)
    assert epoch_order(50, seed=1, epoch=0) != epoch_order(50, seed=2, epoch=0)
    first = epoch_order(50, seed=1, epoch=0)
    epoch_order.cache_clear()
    assert epoch_order(50, seed=1, epoch=0) == first


def test_no_rows_are_refused():
    with pytest.raises(DataError, match=r"no rows to draw.*Expected at least one.*kleash data check"):
        batch_rows(0, batch_size=2, step=0, seed=0)


def test_seeds_are_the_same_for_ever():
    """A changed seed would break the resumption of every run under way: these values are never to be edited."""
    assert derived_seed(0, "rollouts", 3) == 2614844459332149937
    assert 0 <= derived_seed(12, "a", 1, "b") < 2**63


def test_seeds_of_different_uses_differ():
    uses = [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1), (0, "a"), (0, 1, "a")]
    assert len({derived_seed(*use) for use in uses}) == len(uses)


def test_completions_carry_what_was_sampled():
    rollouts = Rollouts(
        prompts=(Prompt("a"), Prompt("b")),
        sequences=(TokenSequence((1,), (4,)), TokenSequence((1,), (5, 6))),
        texts=("four", "five six"),
        logprob_BT=torch.tensor([[-0.5, 0.0], [-0.25, -1.0]]),
        mask_BT=torch.tensor([[True, False], [True, True]]),
        is_finished_B=torch.tensor([True, False]),
        policy_id="p",
        policy_version=3,
        temperature=0.7,
        seeds=(7, 8),
    )
    first, second = rollouts.completions()
    assert (first.token_ids, first.logprobs, first.finish_reason) == ((4,), (-0.5,), "stop")
    assert (second.token_ids, second.logprobs, second.finish_reason) == ((5, 6), (-0.25, -1.0), "length")
    assert (second.policy_id, second.policy_version, second.temperature, second.seed) == ("p", 3, 0.7, 8)
