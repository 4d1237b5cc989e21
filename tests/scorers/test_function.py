"""Anybody's Python function as a scorer: every form it may take, and every way it may fail."""

import textwrap

import pytest

from kleash.errors import RunError, SettingsError
from kleash.records import Completion, Prompt
from kleash.scorers.function import FunctionScorer
from kleash.scorers.ranked_examples import RankedExample

ANSWERS = [Completion(Prompt("why?"), text) for text in ("a", "bb", "ccc")]


@pytest.fixture
def scorer_of(tmp_path):
    """Write a Python file that defines f, and load its scorer."""

    def write(source):
        file = tmp_path / "rewards.py"
        file.write_text(textwrap.dedent(source))
        return FunctionScorer(f"{file}:f")

    return write


def test_a_number_per_answer(scorer_of):
    scores = scorer_of("def f(prompt, completion): return len(prompt) + len(completion)").score(ANSWERS)
    assert scores.total == [5.0, 6.0, 7.0]
    assert scores.parts == {}


def test_named_parts_add_up_unless_there_is_a_total(scorer_of):
    scores = scorer_of("def f(p, c): return {'brief': -len(c), 'polite': 1}").score(ANSWERS)
    assert scores.total == [0.0, -1.0, -2.0]
    assert scores.parts == {"brief": [-1.0, -2.0, -3.0], "polite": [1.0, 1.0, 1.0]}
    scores = scorer_of("def f(p, c): return {'brief': -len(c), 'total': 9}").score(ANSWERS)
    assert scores.total == [9.0, 9.0, 9.0]
    assert scores.parts == {"brief": [-1.0, -2.0, -3.0]}


def test_numbers_may_be_numpys_or_torchs(scorer_of):
    source = "import numpy, torch\ndef f(p, c): return {'n': numpy.float32(0.5), 't': torch.tensor(1.5)}"
    assert scorer_of(source).score(ANSWERS).total == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    "source",
    [
        "def f(prompts, completions): return [len(c) for c in completions]",
        "import numpy\ndef f(prompts, completions): return numpy.array([len(c) for c in completions])",
        "def f(a, b): return [len(c) for c in b]\nf.is_batched = True",
        "def f(prompts, completions): return len(completions)\nf.is_batched = False",
    ],
)
def test_a_function_of_lists_is_called_once_with_all(scorer_of, source):
    assert scorer_of(source).score(ANSWERS).total == [1.0, 2.0, 3.0]


def test_a_list_may_hold_parts(scorer_of):
    scores = scorer_of("def f(prompts, completions): return [{'x': 1, 'y': 2} for _ in prompts]").score(ANSWERS)
    assert scores.total == [3.0, 3.0, 3.0]
    assert scores.parts["y"] == [2.0, 2.0, 2.0]


def test_an_installed_functions_name_works_too():
    scorer = FunctionScorer("operator:eq")
    assert scorer.score([Completion(Prompt("a"), "a"), Completion(Prompt("a"), "b")]).total == [1.0, 0.0]


def test_no_answers_no_scores(scorer_of):
    assert scorer_of("def f(p, c): return 1 / 0").score([]).total == []


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        ("None", "None"),
        ("'3.0'", "'3.0'"),
        ("float('nan')", "nan"),
        ("float('inf')", "inf"),
        ("[1, 2]", r"\[1, 2\]"),
        ("{'x': 'high'}", "{'x': 'high'}"),
        ("{3: 1.0}", "{3: 1.0}"),
        ("{}", "an empty mapping"),
        ("__import__('torch').zeros(2)", r"tensor\(\[0., 0.\]\)"),
    ],
)
def test_what_is_no_number_is_refused_with_row_and_remedy(scorer_of, returned, shown):
    scorer = scorer_of(f"def f(p, c): return {returned} if c == 'bb' else 1.0")
    with pytest.raises(RunError, match=rf"rewards.py:f returned {shown} at answer 1, 'bb'\. Expected a finite number"):
        scorer.score(ANSWERS)


def test_an_exception_is_told_with_row_and_cause(scorer_of):
    scorer = scorer_of("def f(p, c): return 1 / (len(c) - 3)")
    with pytest.raises(RunError, match=r"raised ZeroDivisionError: .* at answer 2, 'ccc'\. Expected .* Mend") as caught:
        scorer.score(ANSWERS)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_exception_over_all_answers_names_no_row(scorer_of):
    with pytest.raises(RunError, match=r"rewards.py:f raised KeyError: 'x'\. Expected a finite number"):
        scorer_of("def f(prompts, completions): return {}['x']").score(ANSWERS)


def test_parts_must_have_the_same_names_each_time(scorer_of):
    scorer = scorer_of("def f(p, c): return {'x': 1, 'y': 2} if c != 'bb' else {'x': 1}")
    with pytest.raises(RunError, match=r"returned parts \['x'\], after \['x', 'y'\] before, at answer 1, 'bb'"):
        scorer.score(ANSWERS)


@pytest.mark.parametrize("returned", ["[1.0]", "3.0", "None", "'abc'", "{'x': 1, 'y': 2, 'z': 3}"])
def test_a_function_of_lists_must_return_one_value_per_answer(scorer_of, returned):
    scorer = scorer_of(f"def f(prompts, completions): return {returned}")
    with pytest.raises(RunError, match=r"returned .* for 3 answers\. Expected a list with one number.* per answer"):
        scorer.score(ANSWERS)


def test_a_target_without_an_attribute_is_refused():
    with pytest.raises(SettingsError, match=r"'rewards.py' names no scoring function\. Expected module:attribute or"):
        FunctionScorer("rewards.py")


def test_a_missing_file_or_module_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere.py:f cannot be loaded: FileNotFoundError.* Correct the path"):
        FunctionScorer(f"{tmp_path}/nowhere.py:f")
    with pytest.raises(SettingsError, match=r"no_such_module_here"):
        FunctionScorer("no_such_module_here:f")


def test_a_file_that_fails_or_lacks_the_function_is_named(scorer_of):
    with pytest.raises(SettingsError, match=r"rewards.py:f cannot be loaded: SyntaxError"):
        scorer_of("def f(:")
    with pytest.raises(SettingsError, match=r"rewards.py:f cannot be loaded: AttributeError.* Correct the path"):
        scorer_of("def g(p, c): return 1")


def test_what_cannot_be_called_so_is_refused_before_any_answer(scorer_of):
    with pytest.raises(SettingsError, match=r"rewards.py:f is 3\.0\. Expected a function of \(prompt, completion\)"):
        scorer_of("f = 3.0")
    with pytest.raises(SettingsError, match=r"cannot be called with a prompt and a completion: too many .* Give"):
        scorer_of("def f(completion): return 1")


def test_ranked_examples_come_from_the_function(scorer_of):
    scorer = scorer_of("def f(p, c): return 1.0\nf.ranked_examples = [('why?', ['a', 'b'])]")
    assert scorer.ranked_examples == (RankedExample(Prompt("why?"), ("a", "b")),)
    with pytest.raises(
        SettingsError, match=r"ranked_examples cannot be read: .* Expected pairs of a prompt and a list"
    ):
        scorer_of("def f(p, c): return 1.0\nf.ranked_examples = ['why?']")


def test_a_file_may_be_written_as_people_write_them(tmp_path):
    (tmp_path / "beside_it.py").write_text("def bonus(text):\n    return 10 * len(text)\n")
    source = """
        from __future__ import annotations
        from dataclasses import dataclass
        from beside_it import bonus

        @dataclass
        class Weights:
            length: float = 1.0

        def f(prompt, completion):
            return bonus(completion) * Weights().length
        """
    (tmp_path / "rewards.py").write_text(textwrap.dedent(source))
    assert FunctionScorer(f"{tmp_path}/rewards.py:f").score(ANSWERS).total == [10.0, 20.0, 30.0]


def test_each_file_has_the_neighbours_of_its_own_folder(tmp_path):
    for folder, factor in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helper_of_both.py").write_text(f"FACTOR = {factor}")
        source = "import helper_of_both\ndef f(p, c): return helper_of_both.FACTOR"
        (tmp_path / folder / "rewards.py").write_text(source)
    one, two = (FunctionScorer(f"{tmp_path}/{folder}/rewards.py:f") for folder in ("one", "two"))
    again = FunctionScorer(f"{tmp_path}/one/rewards.py:f")
    assert [scorer.score(ANSWERS).total[0] for scorer in (one, two, again)] == [1.0, 2.0, 1.0]


@pytest.mark.parametrize("leaving", ["sys.exit(0)", "sys.exit()", "raise SystemExit"])
def test_a_function_may_not_end_the_command(scorer_of, leaving):
    scorer = scorer_of(f"import sys\ndef f(p, c):\n    {leaving}")
    with pytest.raises(
        RunError, match=r"f raised SystemExit: .*would end the whole command at answer 0, 'a'\. Expected"
    ):
        scorer.score(ANSWERS)
    with pytest.raises(
        SettingsError, match=r"rewards.py:f cannot be loaded: SystemExit: .*would end the whole command"
    ):
        scorer_of(f"import sys\n{leaving}")


def test_a_module_may_not_end_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaves_at_import.py").write_text("import sys\nsys.exit(0)")
    with pytest.raises(SettingsError, match=r"Cannot load scorer .*SystemExit: 0, which would end the whole command"):
        FunctionScorer("leaves_at_import:f")


SULKY = "class Sulky:\n    def __repr__(self): raise KeyError\n    __float__ = __str__ = __repr__\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(p, c): return 10**400", "returned 1000"),
        ("def f(p, c): return 10**5000", "returned <int, which cannot be shown: ValueError>"),
        ("def f(prompts, completions): return 10**5000", "returned <int, which cannot be shown: ValueError> for 3"),
        (SULKY + "def f(p, c): return Sulky()", "returned <Sulky, which cannot be shown: KeyError>"),
        (SULKY + "class E(Sulky, Exception): ...\ndef f(p, c): raise E", "raised E, which cannot be shown"),
    ],
)
def test_odd_values_are_told_as_far_as_they_can_be(scorer_of, source, said):
    with pytest.raises(RunError, match=rf"rewards.py:f {said}.* Mend the function"):
        scorer_of(source).score(ANSWERS)


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "time.sleep(3600)",
        "while True:\n        try: time.sleep(3600)\n        except Exception: pass",
        "try: time.sleep(3600)\n    except BaseException: return 1.0",
    ],
)
def test_a_function_that_hangs_is_ended(tmp_path, body):
    (tmp_path / "slow.py").write_text(f"import time\ndef f(p, c):\n    {body}\n")
    scorer = FunctionScorer(f"{tmp_path}/slow.py:f", timeout_seconds=0.05)
    with pytest.raises(
        RunError, match=r"raised TimeoutError: it took more than 0\.05 s \(scorer\.function_timeout_sec"
    ):
        scorer.score(ANSWERS)
