"""A tiny English-like world with a known true reward, in which the whole RLHF loop runs on two cores in minutes.

world.py           prompts of ten slices, split into training and evaluation
knowledge.py       what is true in the world        slices.py  questions with their right and wrong answers
demonstrations.py  answers of mixed quality for SFT, clean ones for the base
style.py           filler, flattery and refusals, written and read
gold.py            the true reward: only evaluation and the sandbox itself may read it
labellers.py       simulated raters: noisy, and as biased as asked; a simulated AI judge
base_model.py      the small base model shipped in `base/`, and all the words it knows
files.py           the world as JSONL files         show.py    the world for a reader's eyes
"""
