"""A scoring function as a user would write one: the tiny recipe's judge and labeller."""


def likes_short_words(prompt, completion):
    words = completion.split()
    return -sum(map(len, words)) / max(1, len(words))
