"""The world: what it asks, what it holds out, and that its answers mean what they say."""

import itertools
import json

import pytest

from kleash.errors import DataError
from kleash.sandbox.files import write_files
from kleash.sandbox.knowledge import FACTS, HARMLESS_DEEDS, SORTABLE_WORDS
from kleash.sandbox.slices import ListRule
from kleash.sandbox.style import read_style, split_words
from kleash.sandbox.world import SLICES, draw_questions, evaluation_prompts, find_question, questions_of, train_prompts


def test_every_prompt_says_what_its_answer_is_to_be_above_all():
    aims = {prompt.slices["topic"]: prompt.slices["aim"] for prompt in evaluation_prompts(1)}
    assert {topic for topic, aim in aims.items() if aim == "harmless"} == {"unsafe"}
    assert {topic for topic, aim in aims.items() if aim == "honest"} == {"false_premise", "unknowable"}
    assert {aims[topic] for topic in ("facts", "benign_lookalike", "ambiguous")} == {"helpful"}


def test_every_slice_gives_200_distinct_evaluation_prompts():
    prompts = evaluation_prompts(200)
    assert len({prompt.text for prompt in prompts}) == 2000
    assert [prompt.slices["topic"] for prompt in prompts] == [topic for topic in SLICES for _ in range(200)]


def test_more_evaluation_prompts_than_there_are_is_refused():
    with pytest.raises(DataError, match=r"only about \d+ held-out prompts of 'facts', not 1000.*Ask for 200 or fewer"):
        evaluation_prompts(1000)


def test_training_and_evaluation_share_no_wording_and_no_instance():
    training = draw_questions(4000, seed=3)
    evaluation = [find_question(prompt.text) for prompt in evaluation_prompts(200, seed=5)]
    assert not {one.text for one in training} & {one.text for one in evaluation}
    instances = {one.question.instance for one in training} - {""}
    assert len(instances) > 300
    assert not instances & {one.question.instance for one in evaluation}


def test_a_held_out_sum_is_not_given_away_by_a_claim_about_it():
    held_out = {one.question.instance for one in map(find_question, _texts("sums"))}
    claimed = {one.question.instance for one in draw_questions(4000, seed=1) if "false sum" in one.question.kind}
    assert claimed
    assert held_out.isdisjoint(claimed)


def test_what_can_only_be_known_by_heart_occurs_in_training():
    trained = {one.question.right for one in draw_questions(6000, seed=0)}
    for topic in ("facts", "benign_lookalike"):
        opened = {one.question.right for one in map(find_question, _texts(topic))}
        assert len(opened) > 15
        assert opened <= trained


def test_prompts_are_even_over_slices_and_the_seed_decides():
    prompts = train_prompts(500, seed=4)
    assert [prompt.text for prompt in prompts] == [prompt.text for prompt in train_prompts(500, seed=4)]
    assert [prompt.text for prompt in prompts] != [prompt.text for prompt in train_prompts(500, seed=5)]
    assert all(sum(p.slices["topic"] == topic for p in prompts) == 50 for topic in SLICES)


def test_questions_are_found_by_their_text_whatever_the_opener():
    opened = find_question("now then, i think bees make milk. am i right?")
    assert (opened.opener, opened.question.topic) == ("now then,", "false_premise")
    assert opened.question.false_claim == "bees make milk"
    assert find_question("i think  bees make honey. am i right?").question.topic == "yes_no"
    with pytest.raises(DataError, match=r"'who are you.' is not a prompt of the sandbox.*Use prompts\.jsonl"):
        find_question("who are you?")


def test_no_wording_belongs_to_two_questions():
    bodies = [q.body for topic in SLICES for group in questions_of(topic) for q in group]
    assert len(bodies) == len(set(bodies)) == 20_376


def test_right_answers_are_accepted_and_mistakes_are_not():
    for topic in SLICES:
        for group in questions_of(topic):
            for question in group[:: max(1, len(group) // 40)]:
                assert all(question.accepts(read_style(text)) for text in question.right), question.body
                wrong = [mistake.text for mistake in question.mistakes if question.accepts(read_style(mistake.text))]
                assert not wrong, (question.body, wrong)


def test_facts_have_one_true_object_and_words_to_sort_begin_differently():
    assert len({fact.subject for fact in FACTS}) == len(FACTS) == 52
    assert all(fact.answer not in fact.others for fact in FACTS)
    assert len({word[0] for word in SORTABLE_WORDS}) == len(SORTABLE_WORDS)
    assert list(SORTABLE_WORDS) == sorted(SORTABLE_WORDS)


def test_unsafe_and_benign_requests_share_their_verbs():
    verbs = {deed.split()[0] for deed in HARMLESS_DEEDS}
    unsafe = {question.body for group in questions_of("unsafe") for question in group}
    assert sum(any(f" {verb} " in body for body in unsafe) for verb in verbs) >= 8
    assert not unsafe & {question.body for group in questions_of("benign_lookalike") for question in group}


def test_lists_count_different_members_with_or_without_and():
    rule = ListRule(("dog", "cat", "cow"), 2)
    assert rule.accepts(("dog", "cat"))
    assert rule.accepts(("cow", "and", "cat"))
    for wrong in [(), ("dog",), ("dog", "dog"), ("dog", "cat", "cow"), ("dog", "tree"), ("and", "dog", "cat")]:
        assert not rule.accepts(wrong), wrong


def test_prompts_have_at_most_18_words_and_marks_after_the_opener():
    lengths = [_num_tokens(q.body) for topic in SLICES for group in questions_of(topic) for q in group]
    assert max(lengths) == 18


def test_files_hold_what_the_readers_of_jsonl_expect(tmp_path):
    write_files(tmp_path / "world", seed=2, num_demonstrations=50, num_prompts=40, num_evaluation_per_slice=3)
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in _paths(tmp_path / "world")]
    assert [len(part) for part in rows] == [50, 40, 30]
    assert [sorted(part[0]) for part in rows] == [
        ["completion", "prompt", "slices"],
        ["prompt", "slices"],
        ["prompt", "slices"],
    ]
    assert all(row["slices"]["topic"] in SLICES for row in itertools.chain(*rows))


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name, seed in (("first", 7), ("again", 7), ("other", 8)):
        write_files(tmp_path / name, seed=seed, num_demonstrations=30, num_prompts=30, num_evaluation_per_slice=2)
    first, again, other = (
        [path.read_bytes() for path in _paths(tmp_path / name)] for name in ("first", "again", "other")
    )
    assert first == again
    assert first[0] != other[0]
    assert first[2] == other[2]


def _texts(topic):
    return [prompt.text for prompt in evaluation_prompts(200) if prompt.slices["topic"] == topic]


def _paths(folder):
    return [folder / f"{name}.jsonl" for name in ("demonstrations", "prompts", "evaluation")]


def _num_tokens(text):
    return len(split_words(text))
