"""Your own reward on a real checkpoint: make a small story model write short sentences.

python examples/own_reward.py path/to/a/hugging-face/folder
"""

import sys

import kleash

PROMPTS = ["Once upon a time, there was a", "One day, a little girl", "Tom and his mom", "The big cat"] * 8


def many_sentences(prompt, completion):
    """Return how many sentences end in the answer; any number will do as a reward."""
    return sum(completion.count(mark) for mark in ".!?")


base = kleash.load_policy(sys.argv[1])
before = kleash.generate(base, PROMPTS, max_new_tokens=40, seed=1).texts
trained = kleash.train_policy(
    base,
    prompts=PROMPTS,
    scorer=many_sentences,
    settings={
        "algorithm": "rloo",
        "samples_per_prompt": 4,
        "prompts_per_step": 8,
        "steps": 20,
        "max_new_tokens": 40,
        "optimiser.learning_rate": 3e-4,
    },
    output_dir="short-sentences",
)
after = kleash.generate(trained, PROMPTS, max_new_tokens=40, seed=1).texts
for name, texts in (("before", before), ("after", after)):
    scores = kleash.score(many_sentences, PROMPTS, texts).total
    print(f"{name}: {sum(scores) / len(scores):.2f} sentences in an answer, such as {texts[0]!r}")
