"""What a model wrote as HTML: nothing in it runs, hides, reorders or costs much, and nothing of it is lost."""

import re
from html.parser import HTMLParser

import pytest

from collection.hostile_outputs import ALL, HUGE, OWNED, SMALL
from kleash.collection.markup import MAX_RENDERED_CHARACTERS, shown_text
from kleash.web.visible import visible_text

# Written out once more, apart from the code's own list.
CLASSED = ["p", "em", "strong", "s", "br", "hr", "pre", "blockquote", "ul", "li", "span", "code", "h4", "h5", "h6"]
ALLOWED = {
    **{tag: {"class"} for tag in CLASSED},
    **{tag: set() for tag in ("table", "thead", "tbody", "tr", "th", "td")},
    "ol": {"start"},
    "a": {"href", "rel", "target"},
}


class Elements(HTMLParser):
    """Collects a page's elements with their attributes, and its text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.text = [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.elements.append(("comment", {}))

    handle_decl = handle_pi = unknown_decl = handle_comment


def html_of(text):
    return str(shown_text(text).html)


def words_of(text):
    return Elements(html_of(text)).text


@pytest.mark.parametrize("name", ALL)
def test_a_hostile_text_becomes_nothing_but_harmless_elements(name):
    shown = shown_text(ALL[name])
    for tag, attributes in Elements(str(shown.html)).elements:
        assert set(attributes) <= ALLOWED[tag]
        if tag == "a":
            assert re.match("https?://|mailto:", attributes["href"])
            assert {"noopener", "nofollow"} <= set(attributes["rel"].split())
        assert set(attributes.get("class", "math").split()) <= {"math", "target", "image", "language", "plain"}


@pytest.mark.parametrize("name", ALL)
def test_what_is_shown_is_valid_and_visible(name):
    shown = shown_text(ALL[name])
    for text in (str(shown.html), shown.raw):
        text.encode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]", text)


@pytest.mark.parametrize("name", ALL)
def test_a_text_is_cut_only_if_it_is_long_and_never_in_its_raw_view(name):
    shown = shown_text(ALL[name])
    assert shown.raw == visible_text(ALL[name])
    assert shown.is_cut == (len(shown.raw) > MAX_RENDERED_CHARACTERS)
    assert shown.is_cut or name not in HUGE


@pytest.mark.parametrize("name", SMALL)
def test_no_word_of_a_text_is_lost(name):
    # Percent signs and entities are the only things that read otherwise than they are written.
    source = re.sub(r"&[#\w]+;|%\w\w", " ", visible_text(SMALL[name]))
    shown = words_of(SMALL[name])
    address = "".join(attributes.get("href", "") for _, attributes in Elements(html_of(SMALL[name])).elements)
    for word in re.findall(r"[^\W_]{2,}", source):
        assert word[:150] in shown + address, word


def test_scripts_are_shown_as_they_are_written():
    assert words_of(f"<script>{OWNED}</script>").strip() == f"<script>{OWNED}</script>"


def test_markdown_becomes_its_elements():
    html = html_of(
        "# Top\n\nA *b* **c** ~~d~~ `e`\n\n1. one\n2. two\n\n> quote\n\n```py\nx < 1\n```\n\n|a|\n|-|\n|b|\n\n---\n"
    )
    for part in (
        "<h4>Top</h4>",
        "<em>b</em> <strong>c</strong> <s>d</s> <code>e</code>",
        "<ol>\n<li>one</li>\n<li>two</li>\n</ol>",
        "<blockquote>\n<p>quote</p>\n</blockquote>",
        '<p class="language">py</p><pre><code>x &lt; 1\n</code></pre>',
        "<th>a</th>",
        "<td>b</td>",
        "<hr>",
    ):
        assert part in html


@pytest.mark.parametrize(
    "source",
    [
        "$x_1*y*z_2$",
        "$$\\sum_i *a*$$",
        "\\(a_b_c \\\\ *d*\\)",
        "\\[d*e*f\\]",
        "$$\na\n- b\n= c\n\n# d\n$$",
        "\\[\n1. a\n\\]",
        "$a \\$ b$",
    ],
)
def test_latex_is_shown_as_its_source(source):
    assert Elements(html_of(source)).text.strip() == source
    assert html_of(source).count('<code class="math">') == 1


@pytest.mark.parametrize(
    "source", ["costs $5 or $10", "a $ b $ c", "$5-$10", "\\$x$", "$$", "\\( open", "$$\nopen *a*"]
)
def test_a_dollar_is_not_always_latex(source):
    assert "math" not in html_of(source)


def test_latex_in_a_list_ends_with_its_list_item():
    html = html_of("- $$\n  a\n  $$\n- b\n")
    assert html.count("<li>") == 2
    assert '<code class="math">$$\na\n$$' in html
    assert "math" not in html_of("- $$\n  a\n\nb $$\n")
    assert "math" not in html_of("    $$\n    a\n    $$\n")


def test_a_link_says_where_it_leads():
    lying = html_of("[https://good.example](https://hacked.example/login)")
    assert '<span class="target">(https://hacked.example/login)</span>' in lying
    assert "target" not in words_of("<https://good.example/x>")
    assert "(https" not in words_of("<https://good.example/x>")
    assert words_of("<ann@good.example>").strip() == "ann@good.example"
    long = words_of("[x](https://hacked.example/" + "a" * 5000 + ")")
    assert "https://hacked.example/aaa" in long
    assert len(long) < 300


def test_an_image_is_named_and_not_loaded():
    html = html_of("![a *cat*](http://x.example/c.png 'title')")
    assert html == '<p><span class="image">[image: a *cat* (http://x.example/c.png title)]</span></p>\n'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\0b", "a␀b"),
        ("\x1b[31m", "␛[31m"),
        ("\x7f", "␡"),
        ("\x85a\r\nb\rc", "\na\nb\nc"),
        ("\u202egpj", "‹U+202E›gpj"),
        ("\ud83d!", "‹U+D83D›!"),
        ("\U000e0041", "‹U+E0041›"),
        ("tab\tstays\nso does a line end", "tab\tstays\nso does a line end"),
        ("\N{WOMAN}\u200d\N{PERSONAL COMPUTER} مرحبا", "\N{WOMAN}\u200d\N{PERSONAL COMPUTER} مرحبا"),
    ],
)
def test_what_cannot_be_seen_gets_a_sign(text, shown):
    assert visible_text(text) == shown


def test_an_override_written_as_an_entity_gets_its_sign_too():
    assert words_of("a &#x202e;b &#8238;c").strip() == "a ‹U+202E›b ‹U+202E›c"


def test_headings_keep_the_page_in_outline():
    levels = re.findall(r"<h(\d)>", html_of("###### a\n# b\n#### c\n## d\n###### e\n# f\n"))
    assert levels == ["4", "4", "5", "5", "6", "4"]
    assert re.findall(r"<h(\d)>", str(shown_text("# a\n### b\n", top_heading=3).html)) == ["3", "4"]


@pytest.mark.parametrize("text", [">" * 80 + " secret", "> - " * 50 + "secret", "[" * 2000 + "secret"])
def test_a_text_nested_too_deep_is_shown_unrendered(text):
    assert html_of(text).startswith('<p class="plain">')
    assert words_of(text) == text


def test_a_huge_text_is_cut_before_it_is_parsed():
    assert len(html_of("word " * 200_000)) == MAX_RENDERED_CHARACTERS - 1 + len("<p></p>\n")
