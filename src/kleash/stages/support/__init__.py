"""What several stages work with, and none of them is.

freezing: a file of preferences to the artifact that training reads.
encoding, heldout, likelihood: rows to token sequences, and how held-out ones are measured.
scoring, comparing, alarming: who scores, compares and watches, as a recipe's tables say.
judging, rlaif: verdicts by AI judges, kept in the label database.
prompt_mix, refreshing: which prompts are asked, and which pairs are labelled in later rounds.
checkpointing, online_evaluation: what stands around the loop.
"""
