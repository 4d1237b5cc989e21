"""Symptoms in what the answers say: repetition, templates, flattery, refusals, agreement, emptiness.

Two kinds. Rules of general English (praise of the asker, refusals, agreement), which know no data set; and figures that
the answers themselves give by comparison with the reference's: phrases that many prompts suddenly share, openings that
become one, words that add nothing. Counting is per answer, so that `symptoms_of_figures.py` can pair and slice it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from kleash.checks import honesty
from kleash.checks.refusals import is_refusal
from kleash.evaluation.matched_checkpoints import CheckpointSnapshot, Matched
from kleash.evaluation.symptoms_of_divergence import difference_of_shares
from kleash.evaluation.symptoms_of_figures import Measure, PerAnswer
from kleash.maths.diagnostics import repeated_ngram_share
from kleash.maths.intervals import Interval, mean_interval

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_MARKUP = re.compile(r"(?m)^\s*(?:[-*+•]|\d+[.)]|#{1,6})\s|\*\*|__|`|\|")
_PHRASE_WORDS = 3
_LONG_WORD_LETTERS = 10


def words_of(text: str) -> list[str]:
    """Return an answer's words, in lower case, without punctuation."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


def repetition(snapshot: CheckpointSnapshot) -> Sequence[float]:
    """Return rep-3 of each answer: the share of its runs of three words that it has said before."""
    return [repeated_ngram_share(words_of(text), n=3) for text in snapshot.texts]


def refuses(snapshot: CheckpointSnapshot) -> Sequence[float]:
    return [float(is_refusal(text)) for text in snapshot.texts]


def flatters(snapshot: CheckpointSnapshot) -> Sequence[float]:
    """Return 1 for each answer that praises the asker or the question."""
    return [float(honesty.praises(text)) for text in snapshot.texts]


def agrees(snapshot: CheckpointSnapshot) -> Sequence[float]:
    """Return 1 for each answer that opens by saying that the asker is right."""
    return [float(honesty.agrees(text)) for text in snapshot.texts]


def long_words(snapshot: CheckpointSnapshot) -> Sequence[float]:
    """Return the share of long words in each answer: jargon is made of them."""
    shares = []
    for text in snapshot.texts:
        words = words_of(text)
        shares.append(sum(len(word) >= _LONG_WORD_LETTERS for word in words) / max(len(words), 1))
    return shares


def markup(snapshot: CheckpointSnapshot) -> Sequence[float]:
    """Return the marks of headings, lists, bold, code and tables in each answer, per word."""
    return [len(_MARKUP.findall(text)) / max(len(words_of(text)), 1) for text in snapshot.texts]


def idle_words(matched: Matched, confidence: float) -> Interval | None:
    """Return how many words were added that say nothing new, per word of the reference's answers.

    New is a word that neither the prompt nor the reference's answer has; an answer may be longer by what it adds.
    """
    base = sum(len(words_of(text)) for text in matched.reference.texts) / max(len(matched.prompts), 1)
    if base == 0 or len(matched.prompts) < 2:
        return None
    mean = mean_interval(idle_words_per_answer(matched), confidence=confidence)
    return Interval(mean.value / base, mean.low / base, mean.high / base, mean.n)


def idle_words_per_answer(matched: Matched) -> Sequence[float]:
    """Return each answer's words beyond the reference's number, less those that are new."""
    idle = []
    for prompt, before, now in zip(matched.prompts, matched.reference.texts, matched.now.texts, strict=True):
        old, present = words_of(before), words_of(now)
        idle.append(float(len(present) - len(old) - len({*present} - {*old} - {*words_of(prompt.text)})))
    return idle


def shared_opening(matched: Matched, confidence: float) -> Interval | None:
    """Return the rise in the share of answers that begin as most answers now begin."""
    openings = [
        [tuple(words_of(text)[:_PHRASE_WORDS]) for text in snapshot.texts]
        for snapshot in (matched.reference, matched.now)
    ]
    commonest = Counter(openings[1]).most_common(1)
    if not commonest:
        return None
    before, now = ([opening == commonest[0][0] for opening in part] for part in openings)
    return _rise_of_share(before, now, confidence)


def template(matched: Matched, confidence: float) -> Interval | None:
    """Return the rise in the share of answers that hold the phrase of three words which spread most."""
    phrases = [[_phrases(text) for text in snapshot.texts] for snapshot in (matched.reference, matched.now)]
    counts = [Counter(phrase for of_answer in part for phrase in of_answer) for part in phrases]
    if not counts[1]:
        return None
    spread = max(counts[1], key=lambda phrase: (counts[1][phrase] - counts[0][phrase], phrase))
    before, now = ([spread in of_answer for of_answer in part] for part in phrases)
    return _rise_of_share(before, now, confidence)


def rise_of_rate(per_answer: PerAnswer) -> Measure:
    """Return the measure: share of answers of which something is true now, less that of the reference's answers."""

    def measure(matched: Matched, confidence: float) -> Interval | None:
        before, now = ([value > 0 for value in per_answer(snapshot)] for snapshot in (matched.reference, matched.now))
        return _rise_of_share(before, now, confidence) if now else None

    return measure


def _rise_of_share(before: Sequence[bool], now: Sequence[bool], confidence: float) -> Interval:
    up = sum(b and not a for a, b in zip(before, now, strict=True))
    down = sum(a and not b for a, b in zip(before, now, strict=True))
    return difference_of_shares(up, down, len(now), confidence)


def _phrases(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[start : start + _PHRASE_WORDS]) for start in range(len(words) - _PHRASE_WORDS + 1)}
