"""Your own reward on a real checkpoint: make a small story model tell of dogs, and see what it cost in KL.

python examples/own_reward.py path/to/a/hugging-face/folder
"""

import sys

import kleash

PROMPTS = ["Once upon a time, there was a", "One day, a little girl", "Tom and his mom", "The big cat"] * 8


def tells_of_dogs(prompt, completion):
    """Return how many of the words are about dogs; any number will do as a reward."""
    words = completion.lower().split()
    return sum(word.strip(".,!?") in ("dog", "dogs", "puppy") for word in words)


base = kleash.load_policy(sys.argv[1])
before = kleash.generate(base, PROMPTS, max_new_tokens=40, seed=1).texts
trained = kleash.train_policy(
    base,
    prompts=PROMPTS,
    scorer=tells_of_dogs,
    settings={
        "algorithm": "rloo",
        "samples_per_prompt": 4,
        "prompts_per_step": 8,
        "steps": 20,
        "max_new_tokens": 40,
        "optimiser.learning_rate": 1e-3,
    },
    output_dir="dogs",
)
after = kleash.generate(trained, PROMPTS, max_new_tokens=40, seed=1).texts
for name, texts in (("before", before), ("after", after)):
    scores = kleash.score(tells_of_dogs, PROMPTS, texts).total
    print(f"{name}: {sum(scores) / len(scores):.2f} words about dogs in an answer, such as {texts[0]!r}")
