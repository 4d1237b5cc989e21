"""Make visible what a text hides: control characters, bidirectional overrides, invisible characters."""

from __future__ import annotations

import json
import re

# Control characters, bidirectional overrides and isolates, invisible characters, tags, halves of surrogate pairs.
# The joiners U+200C and U+200D stay: Persian and emoji need them.
_UNSEEN_RANGES = (
    *((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E), (0x200B, 0x200B)),
    *((0x200E, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0xE0000, 0xE007F)),
    (0xD800, 0xDFFF),
)
# ... each with the sign that stands for it: a picture, or its code point.
_SIGNS = {code: f"‹U+{code:04X}›" for first, last in _UNSEEN_RANGES for code in range(first, last + 1)}
_SIGNS |= {code: chr(0x2400 + code) for code in _SIGNS if code < 0x20} | {0x7F: "\u2421"}
_LINE_END = re.compile("\r\n?|\u0085")
_UNSEEN = re.compile(f"[{''.join(map(chr, _SIGNS))}]")


def visible_text(text: str) -> str:
    """Return a text with each character that cannot be seen, or that moves its neighbours, as a visible placeholder.

    Control characters become their pictures (U+2400 ...), others their code point; the result is valid Unicode.
    """
    return _LINE_END.sub("\n", text).translate(_SIGNS)


def visible_json(text: str) -> str:
    """Return JSON that says the same, each such character in its strings written as an escape."""
    return _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], text)
