"""The closed vocabulary: every word and mark that prompts and demonstrations can contain, in a fixed order."""

from __future__ import annotations

from functools import cache

from kleash.sandbox.knowledge import MAX_NUMBER
from kleash.sandbox.slices import conduct, truth
from kleash.sandbox.style import DO_NOT_KNOW, FILLER_AFTER, FILLER_BEFORE, FLATTERY, OPENERS, REFUSALS, split_words

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"


@cache
def words() -> tuple[str, ...]:
    """Return all words and marks, sorted, numbers first by size; the place of a word is part of every checkpoint."""
    texts = [*FLATTERY, *FILLER_BEFORE, *FILLER_AFTER, *REFUSALS, *DO_NOT_KNOW, *OPENERS]
    for question in (*truth.questions(), *conduct.questions()):
        texts += [question.body, *question.right, *(mistake.text for mistake in question.mistakes)]
    found = {token for text in set(texts) for token in split_words(text)}
    found |= {str(number) for number in range(MAX_NUMBER + 1)}
    return tuple(sorted(found, key=lambda word: (not word.isdigit(), int(word) if word.isdigit() else 0, word)))
