"""Small experiences made by hand, for the tests of credit and objectives."""

import torch

from kleash.data.batches import Experience, Rollouts, TokenSequence
from kleash.records import Prompt


def experience_of(
    lengths, *, scores, samples_per_prompt=1, logprob_BT=None, reference_BT=None, value_BT=None, finished=None
):
    """Rows of the given response lengths; log-probabilities are zero where none are given."""
    shape = (len(lengths), max(lengths))
    mask_BT = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]

    def figures(given):
        return torch.zeros(shape) if given is None else torch.as_tensor(given).where(mask_BT, 0.0)

    score_B = torch.tensor(scores)
    rollouts = Rollouts(
        prompts=tuple(Prompt(f"p{row // samples_per_prompt}") for row in range(len(lengths))),
        sequences=tuple(
            TokenSequence((1,) * (1 + row % 2), tuple(range(2, 2 + length))) for row, length in enumerate(lengths)
        ),
        texts=tuple(f"answer {row}" for row in range(len(lengths))),
        logprob_BT=figures(logprob_BT),
        mask_BT=mask_BT,
        is_finished_B=torch.tensor(finished if finished is not None else [True] * len(lengths)),
        samples_per_prompt=samples_per_prompt,
    )
    values = None if value_BT is None else figures(value_BT)
    return Experience(rollouts, score_B, figures(reference_BT), values)
