"""A new algorithm, defined and used in place: learn only from the best answer of each group, as if by imitation.

python examples/own_algorithm.py path/to/a/hugging-face/folder
"""

import sys
from dataclasses import replace

import torch

import kleash
from kleash.algorithms.online import ONLINE_ALGORITHMS, Credit
from kleash.maths.advantages import spread_over_tokens


def credit_the_best(inputs, settings):
    """Give the best answer of each prompt's group the advantage 1, and all others 0."""
    experience = inputs.experience
    score_PG = experience.score_B.view(-1, experience.rollouts.samples_per_prompt)
    best_PG = torch.zeros_like(score_PG).scatter_(1, score_PG.argmax(1, keepdim=True), 1.0)
    return Credit(spread_over_tokens(best_PG.reshape(-1), experience.mask_BT))


BEST_OF_GROUP = replace(
    ONLINE_ALGORITHMS["rloo"],
    name="best_of_group",
    assign_credit=credit_the_best,
    source="this file: best-of-n imitated, after Nakano et al. 2021, arXiv:2112.09332",
)


def has_few_letters(prompt, completion):
    return -len(set(completion.lower()))


trained = kleash.train_policy(
    sys.argv[1],
    prompts=["Once upon a time", "One day", "Tom and his mom", "The big cat"] * 4,
    scorer=has_few_letters,
    settings={
        "algorithm": BEST_OF_GROUP,
        "samples_per_prompt": 8,
        "prompts_per_step": 4,
        "steps": 10,
        "max_new_tokens": 24,
        "optimiser.learning_rate": 1e-3,
    },
    output_dir="best-of-group",
)
scores = kleash.Metrics.of(trained)["score_mean"]
print(f"{trained.summary['algorithm']}: score {scores[0]:.2f} at the first update, {scores[-1]:.2f} at the last")
