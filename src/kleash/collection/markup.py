"""Turn text that a model wrote into HTML that cannot do anything: markdown in, an allow-list of elements out.

Model text is hostile input. Raw HTML is never passed on, links lead to the web or nowhere and show where they lead,
images are not loaded, characters that reorder or hide a line are made visible, and long texts are cut before they
cost time. LaTeX is shown as its source. `web/visible.py` has the same text for a raw view.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup, escape

from kleash.web.visible import visible_text

# Far beyond what a person compares; markdown of this length takes a fraction of a second at worst.
MAX_RENDERED_CHARACTERS = 20_000
# Markdown takes time quadratic in brackets, and fills up a table's missing cells: what has more is shown unrendered.
_MAX_BRACKETS = 1_000
_MAX_CELLS = 10_000
# markdown-it leaves out whatever lies deeper than this; such a text is shown unrendered instead.
_MAX_NESTING = 60
_MAX_TARGET_CHARACTERS = 200

_TAGS = {"p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "span"}
_TAGS |= {"h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"}
_SCHEMES = {"http", "https", "mailto"}
_LINK_START = re.compile("(?:https?://|mailto:)[^/]", re.IGNORECASE)

# Bodies exclude their own delimiters, so that a line of nothing but delimiters costs no more than any other.
_INLINE_MATH = re.compile(
    r"\$\$(?:[^$\\]|\\.){1,2000}\$\$"
    r"|\$(?![\s$])(?:[^$\\\n]|\\.){1,500}(?<!\s)\$(?!\d)"
    r"|\\\((?:(?!\\[()]).){1,2000}\\\)"
    r"|\\\[(?:(?!\\[\[\]]).){1,2000}\\\]",
    re.DOTALL,
)
_BLOCK_MATH = {"$$": "$$", "\\[": "\\]"}


@dataclass(frozen=True)
class ShownText:
    """A text as safe HTML and as visible characters.  is_cut: the HTML shows only the text's beginning."""

    html: Markup
    raw: str
    is_cut: bool


def shown_text(text: str, *, top_heading: int = 4) -> ShownText:
    """Make a model's text fit to be shown, in time that does not grow with hostile input.

    top_heading: the level of its highest heading; the ones below follow without a gap, so that the page's outline
    stays whole whatever the text's own is.
    """
    raw = visible_text(text)
    html = _safe_html(raw[:MAX_RENDERED_CHARACTERS], top_heading)
    return ShownText(html, raw, len(raw) > MAX_RENDERED_CHARACTERS)


@lru_cache(maxsize=256)
def _safe_html(text: str, top_heading: int) -> Markup:
    unrendered = Markup('<p class="plain">{}</p>').format(text)
    lines = text.split("\n")
    if text.count("[") > _MAX_BRACKETS or max(line.count("|") for line in lines) * len(lines) > _MAX_CELLS:
        return unrendered
    parser = _parser()
    tokens = parser.parse(text)
    if any(token.level >= _MAX_NESTING - 1 for token in tokens):
        return unrendered
    _renumber_headings(tokens, top_heading)
    html = nh3.clean(
        parser.renderer.render(tokens, parser.options, {}),
        tags=_TAGS,
        attributes={"a": {"href"}, "ol": {"start"}},
        allowed_classes={"code": {"math"}, "span": {"target", "image"}, "p": {"language"}},
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
        strip_comments=True,
    )
    # Entities such as &#x202e; became characters only now.
    return Markup(visible_text(html))


def _renumber_headings(tokens: Sequence[Token], top: int) -> None:
    opened = [token for token in tokens if token.type == "heading_open"]
    closed = [token for token in tokens if token.type == "heading_close"]
    levels = sorted({token.tag for token in opened})
    level = top - 1
    for start, end in zip(opened, closed, strict=True):
        level = min(top + levels.index(start.tag), level + 1, 6)
        start.tag = end.tag = f"h{level}"


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    # A definition would vanish from the page, and with it whatever a model wrote into it.
    parser.disable("reference")
    # Only whole addresses of the web are links: a relative one would lead into this service.
    parser.validateLink = lambda url: bool(_LINK_START.match(url))  # type: ignore[method-assign]
    parser.inline.ruler.before("escape", "math", _inline_math)
    parser.block.ruler.before("fence", "math", _block_math, {"alt": ["paragraph", "blockquote", "list"]})
    rules = {"link_open": _link_open, "link_close": _link_close, "image": _image, "fence": _fence, "code_inline": _code}
    for name, rule in rules.items():
        parser.add_render_rule(name, rule)
    return parser


# -------------------------------------------------------------------------------------------------------------- math
def _inline_math(state: StateInline, silent: bool) -> bool:
    match = state.src[state.pos] in "$\\" and _INLINE_MATH.match(state.src, state.pos, state.posMax)
    if not match:
        return False
    if not silent:
        token = state.push("code_inline", "code", 0)
        token.content = match.group()
        token.markup = "$"
    state.pos = match.end()
    return True


def _block_math(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Keep the lines from one that begins with $$ or \\[ to the next that ends with its counterpart."""
    if state.is_code_block(start_line):
        return False
    start = _line(state, start_line)[:2]
    if start not in _BLOCK_MATH:
        return False
    last = next((number for number in range(start_line, end_line) if _stops(state, start, start_line, number)), None)
    if last is None or not _line(state, last).rstrip().endswith(_BLOCK_MATH[start]):
        return False
    if not silent:
        token = state.push("fence", "code", 0)
        token.content = state.getLines(start_line, last + 1, state.blkIndent, False)
        token.markup = start
        token.map = [start_line, last + 1]
        state.line = last + 1
    return True


def _stops(state: StateBlock, start: str, start_line: int, number: int) -> bool:
    """Whether the search for a formula's end is over at this line: it is there, or another formula begins."""
    line = _line(state, number)
    if number == start_line:
        line = line[2:]
    return _BLOCK_MATH[start] in line or line.startswith(start) or state.sCount[number] < state.blkIndent


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


# ------------------------------------------------------------------------------------------------------------- render
# markdown-it calls each with its renderer, all tokens, the number of the one to render, and what is of no use here.
def _link_open(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return f'<a href="{escape(_attribute(tokens[index], "href"))}">'


def _link_close(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    """Close a link and say where it leads, unless its text says so already."""
    start = next(before for before in range(index, -1, -1) if tokens[before].type == "link_open")
    target = _target(tokens[start], "href")
    words = "".join(token.content for token in tokens[start + 1 : index])
    is_said = target in (words, f"mailto:{words}")
    return "</a>" if is_said else f'</a> <span class="target">({escape(target)})</span>'


def _image(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    image = tokens[index]
    return f'<span class="image">[image: {escape(image.content)} ({escape(_target(image, "src"))})]</span>'


def _fence(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    block = tokens[index]
    name = f'<p class="language">{escape(block.info.strip())}</p>' if block.info.strip() else ""
    return f"{name}<pre>{_code(_, tokens, index)}</pre>\n"


def _code(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    kind = ' class="math"' if tokens[index].markup in ("$", *_BLOCK_MATH) else ""
    return f"<code{kind}>{escape(tokens[index].content)}</code>"


def _attribute(token: Token, name: str) -> str:
    return str(token.attrGet(name) or "")


def _target(token: Token, name: str) -> str:
    """Return the address of a link or image, and its title, which a page would otherwise hide."""
    title = _attribute(token, "title")
    return _shortened(_attribute(token, name)) + (f" {_shortened(title)}" if title else "")


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_TARGET_CHARACTERS else text[:_MAX_TARGET_CHARACTERS] + "…"
