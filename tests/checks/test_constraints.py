"""IFEval's instructions, each with an answer that follows it and one that does not."""

import pytest

from kleash.checks.constraints import INSTRUCTIONS, check_constraints, count_sentences

CASES = [
    ("keywords:existence", {"keywords": ["cat", "mat"]}, "The Cat on the MAT", "a cat"),
    ("keywords:frequency", {"keyword": "cat", "relation": "at least", "frequency": 2}, "cat, Cats", "cat"),
    ("keywords:frequency", {"keyword": "cat", "relation": "less than", "frequency": 2}, "cat", "cat cat"),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "category", "a Cat."),
    ("keywords:letter_frequency", {"letter": "A", "let_relation": "at least", "let_frequency": 2}, "Aa", "a"),
    ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2}, "One. Two", "One two."),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, "two words", "now three words"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb\n***\n", "a *** *** b"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"},
        "One.\n\n'So', it is",
        "So\n\nit is",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [place]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Hi.\nP. S. more", "PS: more"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Hi.\np.p.s more", "P.S. more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n**b**"),
    ("detectable_format:constrained_response", {}, "Well. My answer is no.", "no"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b c*", "*a* and * *"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Part", "num_sections": 2},
        "Part 1\nx\nPart 2\ny",
        "Part 1\nx",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<A song>>\nla", "<< >>"),
    ("combination:two_responses", {}, "a\n******\nb", "a\n******\na"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say A."}, "say a. A", "A. Say A."),
    ("startend:end_checker", {"end_phrase": "Any questions?"}, 'Well. "any questions?"', "Any questions? No."),
    ("startend:quotation", {}, ' "quoted" ', '"'),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
        "NOW AND then",
        "NOW and then",
    ),
    ("change_case:english_capital", {}, "NOW, 3!", "Now"),
    ("change_case:english_lowercase", {}, "now, 3!", "Now"),
    ("punctuation:no_comma", {}, "a; b", "a, b"),
]


@pytest.mark.parametrize(("name", "kwargs", "follows", "breaks"), CASES)
def test_an_instruction_tells_what_follows_it_from_what_does_not(name, kwargs, follows, breaks):
    params = {"instructions": [name], "kwargs": [kwargs]}
    assert check_constraints(follows, params).passed is True
    verdict = check_constraints(breaks, params)
    assert verdict.passed is False
    assert verdict.detail == f"not followed: {name}"


def test_every_instruction_has_a_case():
    assert {name for name, *_ in CASES} == set(INSTRUCTIONS)
    assert len(INSTRUCTIONS) == 24, "IFEval has 25, one of which needs a language detector"


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_an_empty_answer_follows_nothing(name):
    kwargs = next(kwargs for case, kwargs, *_ in CASES if case == name)
    assert check_constraints(" \n", {"instructions": [name], "kwargs": [kwargs]}).passed is False


def test_the_four_accuracies_of_an_answer_with_a_chatty_first_line():
    params = {
        "instructions": ["punctuation:no_comma", "startend:quotation", "detectable_format:title"],
        "kwargs": [{"unused": None}, {}, {}],
    }
    verdict = check_constraints('Sure, here it is:\n"a title"', params)
    assert verdict.passed is False
    assert verdict.tallies == {
        "prompt_strict": (0, 1),
        "prompt_loose": (0, 1),
        "instruction_strict": (0, 3),
        "instruction_loose": (2, 3),
    }


def test_an_instruction_nobody_can_check_is_named_and_counts_nowhere():
    verdict = check_constraints("hallo", {"instructions": ["punctuation:no_comma", "language:response_language"]})
    assert verdict.passed is None
    assert verdict.detail == "no check for language:response_language"
    assert verdict.tallies == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two! Three?", 3),
        ("Dr. J. Who came at 3.5 p.m. today. So did I. Then", 3),
        ('He said "Stop!" and went.', 2),
        ("Wait... what? Wait... What?", 3),
        ("e.g. this", 1),
    ],
)
def test_sentences_are_counted(text, count):
    assert count_sentences(text) == count
