"""Batched decoding with a cache, against forwards without one, and what becomes of rows that end."""

import pytest
import torch

from kleash.errors import RunError
from kleash.rollout.choosing import Among
from kleash.rollout.decoding import Ask, DecodeBatch, sample_answers, stream_tokens

PROMPTS = [(20, 30, 40, 50, 60), (70,), (80, 90, 100), (70,), (20, 30, 40, 50, 61, 62, 63)]
ASKS = [Ask(prompt, 30, seed) for seed, prompt in enumerate(PROMPTS)]


@pytest.fixture
def shapes(wordy):
    """The (rows, columns) of each forward pass, as they happen."""
    seen = []
    hook = wordy.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    yield seen
    hook.remove()


def next_logits(model, ids):
    """The logits after a sequence of tokens, with neither cache nor padding."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "opt"])
def test_cached_padded_logits_are_those_of_each_row_alone(load_wordy, architecture):
    language_model = load_wordy(architecture)
    rows = [list(prompt) for prompt in PROMPTS]
    with torch.no_grad():
        batch = DecodeBatch(language_model, PROMPTS)
        for step in range(70):  # more steps than a cache has room for at first
            if step == 3:
                batch.keep(torch.tensor([1, 2, 4]))
                rows = [rows[1], rows[2], rows[4]]
            token_R = torch.arange(20 + step, 20 + step + len(rows))
            batch.append(token_R)
            for row, token in zip(rows, token_R.tolist(), strict=True):
                row.append(token)
    expected_RV = torch.stack([next_logits(language_model.model, row) for row in rows])
    # float32 sums over 70 cached columns in another order, at logits of about 3
    torch.testing.assert_close(batch.logits_RV, expected_RV, rtol=1e-4, atol=1e-4)


def test_a_prompt_asked_twice_is_read_once_and_ended_rows_leave(wordy, shapes):
    answers = sample_answers(wordy, ASKS, temperature=1.0)
    assert shapes[0] == (4, 7)
    num_rows = [rows for rows, columns in shapes if columns == 1]
    assert num_rows == sorted(num_rows, reverse=True)
    assert num_rows[-1] < len(ASKS)
    assert len(num_rows) == max(len(answer.token_ids) for answer in answers) - 1


def test_an_answer_ends_with_its_first_eos_or_at_its_limit(wordy):
    asks = [Ask(prompt, 6, seed) for seed in range(20) for prompt in PROMPTS]
    answers = sample_answers(wordy, asks, temperature=1.0)
    for answer in answers:
        assert len(answer.token_ids) == len(answer.logprobs)
        assert not set(answer.token_ids[:-1]) & set(wordy.eos_ids)
        assert answer.is_finished == (answer.token_ids[-1] in wordy.eos_ids)
        assert answer.is_finished or len(answer.token_ids) == 6
    assert {answer.is_finished for answer in answers} == {True, False}


def test_each_row_has_a_limit_of_its_own(wordy):
    asks = [Ask(prompt, limit, seed) for seed, (prompt, limit) in enumerate(zip(PROMPTS, [1, 9, 2, 9, 3], strict=True))]
    answers = sample_answers(wordy, asks, temperature=1.0)
    alone = [sample_answers(wordy, [ask], temperature=1.0)[0] for ask in asks]
    assert [answer.token_ids for answer in answers] == [answer.token_ids for answer in alone]
    assert len(answers[0].token_ids) == 1


def test_rows_at_their_limit_leave(wordy, shapes):
    asks = [Ask(prompt, limit, seed) for seed, (prompt, limit) in enumerate(zip(PROMPTS, [1, 1, 1, 1, 9], strict=True))]
    answers = sample_answers(wordy, asks, temperature=1.0)
    assert len(answers[4].token_ids) > 1
    assert shapes[1] == (1, 1)


def test_a_stream_is_the_same_answer_token_by_token(wordy):
    for ask, answer in zip(ASKS, sample_answers(wordy, ASKS, temperature=1.0), strict=True):
        assert tuple(stream_tokens(wordy, ask, temperature=1.0)) == answer.token_ids


def test_of_one_token_the_likeliest_is_left_with_the_full_softmaxs_probability(wordy):
    greedy, cut = (sample_answers(wordy, ASKS, **how) for how in ({"temperature": 0}, {"temperature": 1.0} | ONE))
    assert cut == greedy
    for ask, answer in zip(ASKS, cut, strict=True):
        assert tuple(stream_tokens(wordy, ask, temperature=1.0, **ONE)) == answer.token_ids


ONE = {"among": Among(top_k=1)}


def test_progress_counts_every_answer_once(wordy):
    counts = []
    sample_answers(wordy, ASKS, temperature=1.0, on_done=counts.append)
    assert sum(counts) == len(ASKS)
    assert len(counts) > 1


def test_rows_that_have_ended_at_the_last_position_do_not_read_beyond_it(load_wordy):
    gpt2 = load_wordy("gpt2")
    room = 2
    asks = [Ask(tuple(range(16)) * 16, room, 0)]  # 256 positions: no logits come after the last
    asks = [Ask(asks[0].prompt_ids[: gpt2.max_positions - room], room, 0)]
    asks += [Ask((seed + 20,), 12, seed) for seed in range(8)]
    answers = sample_answers(gpt2, asks, temperature=1.0)
    assert len(answers[0].token_ids) <= room
    assert max(len(answer.token_ids) for answer in answers) > room + 2


def test_a_model_without_probabilities_is_refused(load_wordy):
    broken = load_wordy("llama")
    with torch.no_grad():
        broken.model.model.norm.weight[0] = torch.nan
    with pytest.raises(RunError, match=r"log-probability nan\. Expected a finite number.* Go back to an earlier"):
        sample_answers(broken, ASKS, temperature=1.0)
    with pytest.raises(RunError, match="log-probability nan"):
        next(stream_tokens(broken, ASKS[0], temperature=1.0))
