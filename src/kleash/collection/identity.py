"""Find answers that give away who wrote them ("I am ChatGPT"), before raters see them. Pure.

Such an item is held back for a person to look at, so a few false alarms cost little and a miss costs the blindness of
one comparison. Only a text that speaks of *itself* counts: "What is ChatGPT?" and an answer to it are fine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kleash.records import Comparison
from kleash.web.visible import visible_text

# Names that mean nothing but a model, in any case and with any article.
_PLAIN_NAMES = (
    r"(?:chat-?gpt|(?:instruct)?gpt-?[1-9]\w*|gpt|claude[ -](?:\d|instant|opus|sonnet|haiku)|deep-?seek|qwen|mixtral"
    r"|chat-?glm|vicuna|llama[ -]?[1-9]|llama-\w+|open[ -]?assistant|stablelm|wizard-?lm|internlm|baichuan|tongyi"
    r"|ernie bot|bing chat|(?:microsoft|github) copilot|google (?:bard|gemini)|grok-?[1-9]|mistral-?\d\w*"
    r"|gemma-?[1-9]\w*)\b"
)
# Names that people, animals and stars have too: they count with a capital, without an article or a surname.
_SHARED_NAMES = (
    r"(?:Claude|Bard|Gemini|LLaMA|Llama|Mistral|Grok|Copilot|Alpaca|Koala|Falcon|PaLM|Gemma|Kimi|Phi|Bloom|Dolly)"
    r"(?![\w-]|['’]s|\s[A-Z])"
)
_MAKERS = (
    r"(?:open ?ai|anthropic|google|deepmind|meta|facebook|microsoft|alibaba|mistral|deepseek|x\.?ai|cohere|baidu"
    r"|tencent|zhipu|stability ai|hugging ?face|lmsys|laion|bytedance|moonshot)\b"
)
_MADE = r"(?:made|created|trained|developed|built|designed|released|fine-?tuned|programmed)"
_SELF = r"\b(?:i am|i['’]m|im|my name is|call me|this is|you['’]re talking to|you are talking to)"
_MODEL = r"(?:language model|llm|ai|assistant|chatbot|model)"
_QUOTE = r"[\"“'*_]{0,6}"
_CLAUSE_START = r"(?:^|[.!?,;:(] ?)"

_CLUES = tuple(
    re.compile(pattern)
    for pattern in (
        # "I am ChatGPT", "I'm Claude"
        rf"(?i:{_SELF} (?:(?:just|only|actually|called|named|a|an|the) ){{0,3}}{_QUOTE}{_PLAIN_NAMES})",
        rf"(?i:{_SELF} (?:(?:just|only|actually|called|named) ){{0,2}}{_QUOTE}){_SHARED_NAMES}",
        # "As ChatGPT, I ...", "as Claude, made by ..."
        rf"(?i:{_CLAUSE_START}as {_PLAIN_NAMES}[^.!?]{{0,60}}?, (?:i|my|{_MADE})\b)",
        rf"(?i:{_CLAUSE_START}as ){_SHARED_NAMES}(?i:,? (?:i|my|{_MADE})\b)",
        # "I was trained by Google", "As an assistant from OpenAI, I ...", "my developers at Anthropic"
        rf"(?i:\b(?:i am|i['’]m|i was|i have been|i['’]ve been) [^.!?]{{0,80}}?\b{_MADE} (?:and \w+ )?(?:by|at) "
        rf"{_MAKERS})",
        rf"(?i:\bas (?:an?|the) (?:[\w-]+ ){{0,4}}?{_MODEL}\b[^.!?]{{0,40}}?\b(?:by|from|at) {_MAKERS}"
        rf"[^.!?]{{0,20}}, (?:i|my)\b)",
        rf"(?i:\bmy (?:creators?|developers?|makers?)\b[^.!?]{{0,30}}?\b{_MAKERS})",
    )
)
# A transcript's speaker: "Claude: Sure"
_SPEAKER = re.compile(rf"(?im:^ ?{_QUOTE}(?:{_PLAIN_NAMES}|claude|bard|gemini|llama){_QUOTE}:(?=\s))")
_MAX_REASON_CHARACTERS = 200


def named_model(text: str) -> str:
    """Return the words by which a text says which model wrote it or who made that; "" if it does not."""
    visible = visible_text(text)
    sentences = " ".join(visible.split())
    matches = [match for match in (clue.search(sentences) for clue in _CLUES) if match]
    first = min(matches, key=lambda match: match.start(), default=_SPEAKER.search(visible))
    return first.group().strip(".!?,;:( ") if first else ""


def identity_holds(comparisons: Iterable[Comparison]) -> dict[str, str]:
    """Return why comparisons are to be held back, by their id: an answer says which model wrote it."""
    holds = {}
    for comparison in comparisons:
        words = next(filter(None, map(named_model, comparison.completions)), "")
        if words:
            holds[comparison.id] = f"an answer names a model: {words}"[:_MAX_REASON_CHARACTERS]
    return holds
