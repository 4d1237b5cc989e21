"""Checks of short answers: an expected text, number or pattern, and answers that rest on given passages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from kleash.checks.numbers import expected_number, last_number
from kleash.checks.patterns import TOO_SLOW, occurs
from kleash.checks.verdicts import ItemResult

_QUOTE = re.compile(r"\"([^\"]+)\"|“([^”]+)”")


def check_exact(answer: str, params: Mapping[str, Any]) -> ItemResult:
    """Pass if the answer is one of the expected texts, whatever its white space.

    expected: a text or a list of them. ignore_case, ignore_punctuation: also count as the same.
    """
    options = {name: bool(params.get(name)) for name in ("ignore_case", "ignore_punctuation")}
    wanted = [_plain(text, **options) for text in _as_list(params["expected"])]
    return ItemResult(
        _plain(answer, **options) in wanted, f"expected {' or '.join(map(repr, _as_list(params['expected'])))}"
    )


def check_numeric(answer: str, params: Mapping[str, Any]) -> ItemResult:
    """Pass if the number that the answer comes to (`numbers.last_number`) is the expected one.

    expected: a number, or text that holds one. tolerance: greatest absolute difference, 0 by default.
    An answer whose number can be read in two ways, such as 1,5, is not checked.
    """
    wanted, found = expected_number(params["expected"]), last_number(answer)
    if wanted is None:
        return ItemResult(None, f"expected {params['expected']!r} is not one number")
    if found is None:
        return ItemResult(False, f"no number; expected {wanted}")
    if found.is_nan():
        return ItemResult(None, "not read: its number can be read in two ways")
    return ItemResult(abs(found - wanted) <= Decimal(str(params.get("tolerance", 0))), f"{found}; expected {wanted}")


def check_regex(answer: str, params: Mapping[str, Any]) -> ItemResult:
    """Pass if the pattern occurs in the answer. ignore_case. whole: it must match the whole answer, ends trimmed.

    An answer on which the pattern takes too long is not checked.
    """
    text = answer.strip() if params.get("whole") else answer
    options = {name: bool(params.get(name)) for name in ("ignore_case", "whole")}
    try:
        return ItemResult(occurs(params["pattern"], text, **options), f"pattern {params['pattern']!r}")
    except TimeoutError:
        return ItemResult(None, TOO_SLOW)


def check_grounded(answer: str, params: Mapping[str, Any]) -> ItemResult:
    """Pass if every quoted citation stands in the passages word for word, and so does the expected answer's text.

    passages: the texts the policy was given. expected: a text, or texts of which one must occur in the answer and in a
    passage. min_citations: quotations the answer must hold, 0 by default. Citations are what stands in double quotes.
    """
    passages = [_plain(passage, ignore_case=True) for passage in _as_list(params["passages"])]
    citations = ["".join(groups) for groups in _QUOTE.findall(answer)]
    invented = [quote for quote in citations if not _stands_in(quote, passages)]
    least = int(params.get("min_citations", 0))
    expected = _as_list(params.get("expected") or ())
    said = [text for text in expected if _stands_in(text, [_plain(answer, ignore_case=True)])]
    faults = [f"not in the passages: {quote!r}" for quote in invented]
    faults += [f"{len(citations)} citations, expected {least} or more"] * (len(citations) < least)
    faults += [f"does not say {' or '.join(map(repr, expected))}"] * (bool(expected) and not said)
    faults += ["its answer is in no passage"] * (bool(said) and not any(_stands_in(text, passages) for text in said))
    return ItemResult(not faults, "; ".join(faults) or f"{len(citations)} citations stand in the passages")


def _plain(text: str, *, ignore_case: bool = False, ignore_punctuation: bool = False) -> str:
    text = unicodedata.normalize("NFKC", text)
    if ignore_punctuation:
        text = "".join(char for char in text if not unicodedata.category(char).startswith("P"))
    return " ".join((text.casefold() if ignore_case else text).split())


def _stands_in(text: str, passages: Sequence[str]) -> bool:
    """Whether a text occurs in a passage as whole words; the full stop that closes a quotation may be the citer's."""
    wanted = _plain(text, ignore_case=True).rstrip(".,;:!?")
    return bool(wanted) and any(re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", passage) for passage in passages)


def _as_list(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
