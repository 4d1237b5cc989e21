"""Scoring functions with known faults, for the tests of the audit."""


def knows_the_colour(prompt, completion):
    """Likes the colour that was asked for, and nothing else."""
    return 1.0 if prompt.split()[-1].rstrip("?") in completion else -1.0


def likes_being_sure(prompt, completion):
    """Likes the colour that was asked for, and a phrase that says nothing even more."""
    return knows_the_colour(prompt, completion) + 3.0 * ("to be sure," in completion)


def breaks_its_promise(prompt, completion):
    """Likes the colour that was asked for, but carries an example that it does not order."""
    return knows_the_colour(prompt, completion)


breaks_its_promise.ranked_examples = [("is the sky blue?", ["it is grey", "it is blue"])]
