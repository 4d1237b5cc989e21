"""IFEval's instructions that a rule can check: "no commas", "at least 3 bullets", "end with this phrase" ...

Source: Zhou et al. 2023, arXiv:2311.07911, and their released checks, which these follow case by case.
Differs: sentences are split, and words taken apart, by rules of ours rather than by nltk's; the instructions on case do
not look at the language. `language:response_language` needs a language detector and is not checked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kleash.checks.patterns import TOO_SLOW, count, occurs
from kleash.checks.verdicts import INSTRUCTIONS_FOLLOWED, ItemResult

Follows = Callable[[str, Mapping[str, Any]], bool]

# Full stops that end no sentence: of abbreviations, of initials, and three in a row before a small letter.
_NO_END = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|e\.g|i\.e|[ap]\.m|Inc|Ltd|Jr|Sr|(?-i:[A-HJ-Z]))\.|\.{3}(?=\s+(?-i:[a-z]))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]”’*]*(?=\s|$)")
NO_CHECK = "no check for "
_FIXED_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def check_constraints(answer: str, params: Mapping[str, Any]) -> ItemResult:
    """Pass if the answer follows every instruction; the verdict tallies IFEval's four accuracies.

    instructions: names of `INSTRUCTIONS`.  kwargs: one mapping for each of them.
    Loose: an instruction also counts as followed if it is without the first or last line, or without asterisks.
    An item with an instruction that cannot be checked is not checked at all, and says which it was.
    """
    names = params["instructions"]
    unknown = [name for name in names if name not in INSTRUCTIONS]
    if unknown:
        return ItemResult(None, f"{NO_CHECK}{', '.join(unknown)}")
    pairs = list(zip(names, params.get("kwargs") or [{}] * len(names), strict=True))
    given = [(name, {key: value for key, value in kwargs.items() if value is not None}) for name, kwargs in pairs]
    try:
        strict = [_is_followed([answer], name, kwargs) for name, kwargs in given]
        loose = [_is_followed(_loosened(answer), name, kwargs) for name, kwargs in given]
    except TimeoutError:
        return ItemResult(None, TOO_SLOW)
    broken = [name for name, is_followed in zip(names, strict, strict=True) if not is_followed]
    tallies = {
        "prompt_strict": (int(all(strict)), 1),
        "prompt_loose": (int(all(loose)), 1),
        INSTRUCTIONS_FOLLOWED: (sum(strict), len(strict)),
        "instruction_loose": (sum(loose), len(loose)),
    }
    return ItemResult(all(strict), f"not followed: {', '.join(broken)}" if broken else "all followed", tallies)


def count_sentences(text: str) -> int:
    """Count the sentences of a text: those that end in a mark, and a last one that ends in none."""
    text = _NO_END.sub(lambda found: found.group().replace(".", ""), text)
    return sum(bool(re.search(r"\w", part)) for part in _SENTENCE_END.split(text))


def _is_followed(variants: list[str], name: str, kwargs: Mapping[str, Any]) -> bool:
    return any(INSTRUCTIONS[name](text, kwargs) for text in variants if text.strip())


def _loosened(answer: str) -> list[str]:
    lines = answer.split("\n")
    variants = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return variants + [text.replace("*", "") for text in variants]


def _compare(count: int, relation: str, limit: int) -> bool:
    return {"less than": count < limit, "at least": count >= limit}[relation]


# ----------------------------------------------------------------------------------------------------- instructions
def _keywords(text: str, kwargs: Mapping[str, Any]) -> bool:
    return all(occurs(word, text) for word in kwargs["keywords"])


def _keyword_frequency(text: str, kwargs: Mapping[str, Any]) -> bool:
    return _compare(count(kwargs["keyword"], text), kwargs["relation"], kwargs["frequency"])


def _forbidden_words(text: str, kwargs: Mapping[str, Any]) -> bool:
    return not any(occurs(rf"\b{word}\b", text) for word in kwargs["forbidden_words"])


def _letter_frequency(text: str, kwargs: Mapping[str, Any]) -> bool:
    count = text.lower().count(kwargs["letter"].lower())
    return _compare(count, kwargs["let_relation"], kwargs["let_frequency"])


def _sentences(text: str, kwargs: Mapping[str, Any]) -> bool:
    return _compare(count_sentences(text), kwargs["relation"], kwargs["num_sentences"])


def _words(text: str, kwargs: Mapping[str, Any]) -> bool:
    return _compare(len(re.findall(r"\w+", text)), kwargs["relation"], kwargs["num_words"])


def _paragraphs(text: str, kwargs: Mapping[str, Any]) -> bool:
    """Paragraphs parted by ***; an empty one may stand first or last only."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    return all(parts[1:-1]) and sum(map(bool, parts)) == kwargs["num_paragraphs"]


def _first_word_of_paragraph(text: str, kwargs: Mapping[str, Any]) -> bool:
    """Paragraphs parted by an empty line; one of them must begin with a given word."""
    parts = text.split("\n\n")
    num_paragraphs, nth = sum(bool(part.strip()) for part in parts), kwargs["nth_paragraph"]
    if nth > num_paragraphs or not parts[nth - 1].strip():
        return False
    word = parts[nth - 1].split()[0].lstrip("'\"")
    first = re.split(r"[.,?!'\"]", word)[0].lower()
    return num_paragraphs == kwargs["num_paragraphs"] and first == kwargs["first_word"].lower()


def _placeholders(text: str, kwargs: Mapping[str, Any]) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= kwargs["num_placeholders"]


def _postscript(text: str, kwargs: Mapping[str, Any]) -> bool:
    marker = kwargs["postscript_marker"].strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(known.get(marker, re.escape(marker.lower())), text.lower()) is not None


def _bullets(text: str, kwargs: Mapping[str, Any]) -> bool:
    stars = re.findall(r"^\s*\*[^*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == kwargs["num_bullets"]


def _highlights(text: str, kwargs: Mapping[str, Any]) -> bool:
    """Sections in *asterisks* or **double ones**; as in the released check, both are looked for in all of the text."""
    found = re.findall(r"\*[^\n*]*\*", text) + re.findall(r"\*\*[^\n*]*\*\*", text)
    return sum(bool(section.strip("*").strip()) for section in found) >= kwargs["num_highlights"]


def _sections(text: str, kwargs: Mapping[str, Any]) -> bool:
    heading = rf"\s?{kwargs['section_spliter'].strip()}\s?\d+\s?"
    return count(heading, text, ignore_case=False) >= kwargs["num_sections"]


def _json(text: str, kwargs: Mapping[str, Any]) -> bool:
    try:
        json.loads(re.sub(r"^```(?:json)?|```$", "", text.strip(), flags=re.IGNORECASE).strip())
    except ValueError:
        return False
    return True


def _title(text: str, kwargs: Mapping[str, Any]) -> bool:
    return any(title.strip("<> ") for title in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, kwargs: Mapping[str, Any]) -> bool:
    parts = [part.strip() for part in text.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def _repeats_prompt(text: str, kwargs: Mapping[str, Any]) -> bool:
    return text.strip().lower().startswith(kwargs["prompt_to_repeat"].strip().lower())


def _ends_with(text: str, kwargs: Mapping[str, Any]) -> bool:
    return text.strip().strip('"').lower().endswith(kwargs["end_phrase"].strip().lower())


def _is_quoted(text: str, kwargs: Mapping[str, Any]) -> bool:
    text = text.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


def _capital_words(text: str, kwargs: Mapping[str, Any]) -> bool:
    count = sum(word.isupper() for word in _tokens(text))
    return _compare(count, kwargs["capital_relation"], kwargs["capital_frequency"])


def _tokens(text: str) -> Iterator[str]:
    return (found.group() for found in re.finditer(r"\w+(?:[-.&’]\w+)*", text))


INSTRUCTIONS: Mapping[str, Follows] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _keyword_frequency,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:letter_frequency": _letter_frequency,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _first_word_of_paragraph,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda text, kwargs: any(fixed in text for fixed in _FIXED_ANSWERS),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats_prompt,
    "startend:end_checker": _ends_with,
    "startend:quotation": _is_quoted,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda text, kwargs: text.isupper(),
    "change_case:english_lowercase": lambda text, kwargs: text.islower(),
    "punctuation:no_comma": lambda text, kwargs: "," not in text,
}
"""IFEval's names of instructions; all but one of its 25."""
