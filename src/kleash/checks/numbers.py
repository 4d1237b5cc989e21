"""The number that an answer comes to, in the forms in which people write numbers, or that it cannot be told.

1,234.50 and 1.234,50, 1 000, 1.5e3, 3 x 10^4, 3/4, -$5, an en dash as a minus, LaTeX's boxed results and fractions.
What can be read in two ways, such as 1,5 or {1,2,3}, is not guessed at.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

NOT_READ = Decimal("NaN")
"""Stands for a number that could be one or another."""

_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)\]}%])[-−–])?(?P<money>[$€£¥]\s?)?(?P<inner>(?<=[$€£¥])[-−–])?"
    r"(?:(?P<european>\d{1,3}(?:\.\d{3})+,\d+)|(?P<grouped>\d{1,3}(?:(?:,\d{2})*,\d{3}|(?:,\d{3})+)(?:\.\d+)?(?![\d,]*,?\d))"
    r"|(?P<spaced>(?<!\d[.,])\d{1,3}(?:[   '’]\d{3})+(?:\.\d+)?(?!\d))|(?P<unclear>\d+(?:,\d+)+(?:\.\d+)?)"
    r"|(?:(?P<whole>\d+) )?(?P<over>\d+)/(?P<under>\d+)(?![\d/])|(?P<plain>\d+(?:\.\d+)?|\.\d+))"
    r"(?P<power>[eE][-+−]?\d+|\s*(?:x|×|\*|·)\s*10\s*(?:\^|\*\*)\s*[-+−]?\d+)?"
)
_MARKED = re.compile(r"####\s*([^\n]*)")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
_SET = re.compile(r"\\?\{\s*[-−]?[\d.]+(?:\s*,\s*[-−]?[\d.]+)+\s*\\?\}")
# Numbers that point elsewhere: citations, and steps or equations by number.
_POINTING = re.compile(
    r"\[\d+(?:\s*[,–-]\s*\d+)*\]|\((?:see|cf\.?)\b[^()]*\)"
    r"|\b(?:steps?|eqs?\.|equations?|sections?|lines?|tables?|figures?|fig\.|parts?|examples?) \(?\d+\)?(?!\d|[.,]\d)",
    re.IGNORECASE,
)
_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}"), r"\1/\2"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;:! ]|(?<=\d)\\,?~|\\(?:left|right|text|mathrm)\b"), ""),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\\times|\\cdot"), "×"),
    (re.compile(r"\^\{([-+−]?\d+)\}"), r"^\1"),
)


def last_number(text: str) -> Decimal | None:
    """Return the number that a text comes to: None if there is none, NOT_READ if it can be read in two ways.

    That is the number that begins what stands after the last "####", or else the last one there; else the last one
    in the last box, else the last of the text. Numbers of steps and citations count only where there are no others.
    """
    marked = _MARKED.findall(text)
    if marked and (found := _numbers(marked[-1])):
        begins = re.match(r"[\s*_$€£¥=≈~(\\-]*", marked[-1])
        starts = found[0][0] <= (begins.end() if begins else 0)
        return found[0][1] if starts else found[-1][1]
    boxed = _BOXED.findall(text)
    if boxed and (found := _numbers(boxed[-1])):
        return found[-1][1]
    found = _numbers(text)
    return found[-1][1] if found else None


def expected_number(value: object) -> Decimal | None:
    """Return the number that a suite expects: a number as it is, a text if it holds one that can be read in one way."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return number if number.is_finite() else None
    found = _numbers(value) if isinstance(value, str) else []
    return found[0][1] if len(found) == 1 and not found[0][1].is_nan() else None


def _numbers(text: str) -> list[tuple[int, Decimal]]:
    """Return the numbers of a text, with where each stands, less those that point elsewhere if others remain."""
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    unclear = [(found.start(), NOT_READ) for found in _SET.finditer(text)]
    text = _SET.sub(lambda found: " " * len(found.group()), text)
    kept = _POINTING.sub(lambda found: " " * len(found.group()), text)
    for candidate in (kept, text):
        found = [(match.start(), _value(match)) for match in _NUMBER.finditer(candidate)]
        if found or unclear:
            return sorted([*found, *unclear], key=lambda one: one[0])
    return []


def _value(match: re.Match[str]) -> Decimal:
    part = match.groupdict()
    if part["unclear"]:
        return NOT_READ
    if part["under"]:
        if int(part["under"]) == 0:
            return NOT_READ
        number = Decimal(part["whole"] or 0) + Decimal(part["over"]) / Decimal(part["under"])
    else:
        digits = (part["european"] or "").replace(".", "").replace(",", ".")
        digits = digits or re.sub(r"[,   '’]", "", part["grouped"] or part["spaced"] or part["plain"])
        number = Decimal(digits)
    if part["power"]:
        power = re.sub(r".*(?:[eE]|\^|\*\*)\s*", "", part["power"]).replace("−", "-")
        try:
            number = number.scaleb(int(power))
        except (InvalidOperation, ValueError):
            return NOT_READ
    return -number if part["sign"] or part["inner"] else number
