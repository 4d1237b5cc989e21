"""Functions known again: their digest changes with what they do, and with nothing else."""

import functools
import itertools
import linecache
import sys
import types
from pathlib import Path

import pytest

from kleash.errors import SettingsError
from kleash.functions import NAMES_FILE, edited, function_digest, load_function, recorded_functions, register
from kleash.recipe import DataSettings, Recipe
from kleash.scorers.function import FunctionScorer
from kleash.settings import Settings, record_in
from kleash.stages.support.alarming import AlarmSettings
from kleash.stages.support.comparing import PreferencesSettings
from kleash.stages.support.scoring import ScorerSettings

CELLS = itertools.count()


def cell(source, **names):
    """Run source as a notebook does and return its names: functions of __main__ whose lines Python can look up."""
    name = f"<cell {next(CELLS)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace = {"__name__": "__main__", **names}
    exec(compile(source, name, "exec"), namespace)
    return namespace


def digest(source, name="f", **names):
    return function_digest(cell(source, **names)[name]).digest


PLAIN = "def f(prompt, completion):\n    return len(completion)\n"


def test_a_typed_in_function_is_its_source():
    assert digest(PLAIN) == digest(PLAIN)
    assert digest(PLAIN) != digest(PLAIN.replace("len", "-len"))
    assert function_digest(cell(PLAIN)["f"]).name == "__main__:f"


def test_other_lines_of_its_cell_do_not_matter():
    assert digest(PLAIN) == digest(f"steps = 3\n{PLAIN}\nsteps = 4\n")


@pytest.mark.parametrize(
    ("one", "other"),
    [("weight = 2\n", "weight = 3\n"), ("weight = [1, {'a': 2}]\n", "weight = [1, {'a': 3}]\n")],
)
def test_globals_it_names_count(one, other):
    body = "def f(prompt, completion):\n    return len(completion) * weight\n"
    assert digest(one + body) == digest(one + body)
    assert digest(one + body) != digest(other + body)


def test_functions_it_calls_count_down_to_the_last():
    body = "def g(x):\n    return h(x)\ndef f(prompt, completion):\n    return [g(x) for x in completion][0]\n"
    one, other = (f"def h(x):\n    return {number}\n" for number in (1, 2))
    assert digest(one + body) == digest(one + body)
    assert digest(one + body) != digest(other + body)


def test_a_function_that_calls_itself_has_a_digest():
    source = "def f(prompt, completion):\n    return f(prompt, completion[1:]) + 1 if completion else 0\n"
    assert digest(source) == digest(source) is not None


def test_closure_values_count():
    source = (
        "def make(weight):\n    def f(prompt, completion):\n        return weight * len(completion)\n    return f\n"
    )
    make = cell(source)["make"]
    assert function_digest(make(2)).digest == function_digest(cell(source)["make"](2)).digest
    assert function_digest(make(2)).digest != function_digest(make(3)).digest
    assert function_digest(make(object())).digest is None


def test_defaults_count():
    source = "def f(prompt, completion, weight=START):\n    return weight\n"
    assert digest(source, START=1) != digest(source, START=2)


def test_lambdas_of_one_line_differ():
    source = "pair = (lambda p, c: len(c), lambda p, c: -len(c))\n"
    one, other = cell(source)["pair"]
    assert function_digest(one).digest != function_digest(other).digest
    assert function_digest(one).digest == function_digest(cell(source)["pair"][0]).digest


def test_partials_count_their_arguments():
    source = "def f(prompt, completion, weight):\n    return weight\n"
    f = cell(source)["f"]
    one, other = (function_digest(functools.partial(f, weight=weight)).digest for weight in (1, 2))
    assert one != other
    assert one == function_digest(functools.partial(f, weight=1)).digest


def test_objects_count_by_class_and_attributes():
    source = (
        "class Scorer:\n    def __init__(self, weight):\n        self.weight = weight\n"
        "    def __call__(self, prompt, completion):\n        return self.weight\n"
    )
    scorer = cell(source)["Scorer"]
    assert function_digest(scorer(1)).digest == function_digest(cell(source)["Scorer"](1)).digest
    assert function_digest(scorer(1)).digest != function_digest(scorer(2)).digest
    edited_class = cell(source.replace("return self.weight", "return -self.weight"))["Scorer"]
    assert function_digest(scorer(1)).digest != function_digest(edited_class(1)).digest


def test_what_keeps_its_state_out_of_sight_is_unrecorded():
    torch = pytest.importorskip("torch")
    body = "def f(prompt, completion):\n    return weight\n"
    assert digest(body, weight=torch.ones(2)) is None
    assert digest(body, weight=torch.nn.Linear(1, 1)) is None


def test_without_source_a_function_is_unrecorded():
    namespace = {"__name__": "__main__"}
    exec(PLAIN, namespace)
    assert function_digest(namespace["f"]).digest is None


def test_a_named_file_is_its_content(tmp_path):
    (tmp_path / "rewards.py").write_text(PLAIN)
    target = f"{tmp_path}/rewards.py:f"
    before = function_digest(target)
    assert before == function_digest(target)
    (tmp_path / "rewards.py").write_text(PLAIN + "WEIGHT = 2\n")
    assert function_digest(target).digest != before.digest
    with pytest.raises(SettingsError, match=r"nowhere.py:f cannot be read: .*Correct the path"):
        function_digest(f"{tmp_path}/nowhere.py:f")


@pytest.mark.parametrize("file", ["__init__.py", "short.py"])
def test_a_named_function_is_its_modules_file_and_its_own(tmp_path, monkeypatch, file):
    """One that a package hands on from another file lives in two."""
    package = tmp_path / "package_of_rewards"
    package.mkdir()
    (package / "__init__.py").write_text("from package_of_rewards.short import f\n")
    (package / "short.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(tmp_path)
    before = function_digest("package_of_rewards:f")
    called = function_digest(load_function("package_of_rewards:f"))
    assert called.name == "package_of_rewards.short:f"
    (package / file).write_text((package / file).read_text() + "# edited\n")
    assert function_digest("package_of_rewards:f").digest not in (None, before.digest)
    for name in [name for name in sys.modules if name.startswith("package_of_rewards")]:
        del sys.modules[name]


def test_a_function_itself_is_taken_as_a_scorer_and_found_by_its_name():
    short = cell("def short(prompt, completion):\n    return -len(completion)\n")["short"]
    scorer = FunctionScorer(short)
    assert scorer.target == "__main__:short"
    assert scorer.function is short
    assert FunctionScorer("__main__:short").function is short
    assert function_digest("__main__:short") == function_digest(short)


def test_functions_of_one_name_are_told_apart():
    one, other = cell("pair = (lambda p, c: len(c), lambda p, c: -len(c))\n")["pair"]
    assert register(one) != register(other)
    assert load_function(register(one)) is one
    assert load_function(register(other)) is other


def test_what_can_be_imported_keeps_its_own_name():
    assert register(Path.exists) == "pathlib:Path.exists"


def test_settings_give_the_functions_they_name(tmp_path):
    (tmp_path / "rewards.py").write_text(PLAIN)
    target = f"{tmp_path}/rewards.py:f"

    class Stage(Settings):
        scorer: ScorerSettings = ScorerSettings(kind="function", function=target)
        ours: ScorerSettings = ScorerSettings(kind="kleash.scorers.function:FunctionScorer")

    assert dict(recorded_functions(Stage())) == {"scorer.function": vars(function_digest(target))}


def test_settings_give_the_files_they_name_and_each_of_several_functions(tmp_path):
    """A rubric decides verdicts as a function does; a symptom of one's own decides when a run stops."""
    rubric = tmp_path / "rubric.md"
    rubric.write_text("Shorter is better.")
    was = dict(recorded_functions(PreferencesSettings(rubric=rubric)))
    assert was["rubric"]["name"] == str(rubric)
    rubric.write_text("Longer is better.")
    now = dict(recorded_functions(PreferencesSettings(rubric=rubric)))
    [change] = edited(was, now, place=tmp_path)
    assert change.startswith(f"rubric {rubric} was edited since: digest ")
    symptoms = dict(recorded_functions(AlarmSettings(symptoms=("own_components:SHOUTING",))))
    assert symptoms["symptoms"]["name"] == "own_components:SHOUTING"
    assert symptoms["symptoms"]["digest"]


def test_every_file_that_a_recipe_names_is_known_by_its_content():
    """Inputs of a stage are parents; judges are known by their names and their band; the rest is marked."""
    parents = {f"data.{name}" for name in DataSettings.model_fields} | {
        "candidates.mix.red_team_file",
        "suites.harness.folder",
    }
    judges = {"preferences.judges", "alarms.judges"}
    paths = dict(path_settings(Recipe))
    marked = {name for name, field in paths.items() if field.json_schema_extra == NAMES_FILE}
    assert marked == {"preferences.rubric"}
    assert paths.keys() <= parents | judges | marked


def path_settings(record, prefix=""):
    for name, field in record.model_fields.items():
        if inner := record_in(field.annotation):
            yield from path_settings(inner, f"{prefix}{name}.")
        elif "Path" in str(field.annotation):
            yield f"{prefix}{name}", field


WAS = {"judge": {"name": "judge.py:f", "digest": "a"}}


@pytest.mark.parametrize(
    ("recorded", "wanted", "changes"),
    [
        (WAS, WAS, []),
        ({}, WAS, []),
        (WAS, {"judge": {"name": "judge.py:f", "digest": "b"}}, ["judge judge.py:f was edited since: digest a -> b"]),
        (WAS, {}, ["judge: function judge.py:f -> None"]),
    ],
)
def test_an_edited_function_is_named(recorded, wanted, changes):
    assert edited(recorded, wanted, place=Path("run")) == changes


def test_an_unrecorded_function_is_never_the_same():
    unrecorded = {"judge": {"name": "__main__:f", "digest": None}}
    assert "judge __main__:f is unrecorded" in edited(unrecorded, unrecorded, place=Path("run"))[0]


def test_an_unrecorded_digest_is_said_on_the_screen_once(caplog):
    for _ in range(2):
        edited({}, WAS, place=Path("a run of long ago"))
    assert caplog.text.count("a run of long ago: no digest of judge judge.py:f was recorded") == 1


def test_modules_and_built_in_functions_are_their_names():
    source = "import math\ndef f(prompt, completion):\n    return math.sqrt(len(completion))\n"
    assert digest(source) == digest(source) is not None
    assert digest(source, math=None) == digest(source)
    assert digest("def f(p, c):\n    return m.x\n", m=types.ModuleType("one")) != digest(
        "def f(p, c):\n    return m.x\n", m=types.ModuleType("other")
    )
