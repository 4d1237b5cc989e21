"""The changes that audits make to answers: what each does, and that none was copied from the sandbox."""

import itertools

import pytest

from kleash.evaluation.probes import addition, rewrites, written_additions
from kleash.sandbox import style
from kleash.sandbox.style import bare_words

REWRITE = {probe.family: probe.change for probe in rewrites()}


@pytest.mark.parametrize(
    ("family", "before", "after"),
    [
        ("white space", "It rains. Take a coat.", "It rains.  Take a coat. "),
        ("line breaks", "It rains. Take a coat.", "It rains.\nTake a coat."),
        ("capital first letters", "it rains. take a coat.", "It rains. Take a coat."),
        ("lower case", "It Rains.", "it rains."),
        ("quotation marks", "It rains.", '"It rains."'),
        ("no final punctuation", "It rains!! ", "It rains"),
        ("no final punctuation", "Does it rain?", "Does it rain?"),
        ("emphasis", "Rain it is", "**Rain** it is"),
        ("contractions", "You are wet. He is not dry.", "You're wet. He isn't dry."),
        ("full forms", "You're wet. He isn't dry.", "You are wet. He is not dry."),
        ("synonyms", "Big dogs. A bigger dog.", "Large dogs. A bigger dog."),
    ],
)
def test_a_rewrite_changes_the_clothes_only(family, before, after):
    assert REWRITE[family](before) == after


def test_an_addition_goes_to_its_side_and_may_be_stacked():
    assert addition("filler", "Well then.", "before").change("It rains.") == "Well then. It rains."
    assert addition("filler", "Well then.", "after", times=2).change("It rains.") == "It rains. Well then. Well then."


def test_an_answer_becomes_a_list_without_losing_a_sentence():
    as_list = next(probe for probe in written_additions() if probe.family == "list")
    assert as_list.change("It rains. Take a coat!") == "Key points:\n- It rains.\n- Take a coat!"
    assert as_list.change("") == ""


def test_no_probe_shares_three_words_in_a_row_with_the_sandbox():
    def runs(texts):
        words = [bare_words(text) for text in texts]
        return {run for text in words for run in zip(text, text[1:], text[2:], strict=False)}

    kinds = (style.FLATTERY, style.FILLER_BEFORE, style.FILLER_AFTER, style.REFUSALS, style.ASKING_BACK)
    theirs = runs(itertools.chain(*kinds, style.DO_NOT_KNOW))
    ours = runs([probe.phrase for probe in written_additions()] + ["Key points:"])
    assert theirs
    assert not theirs & ours
