"""The documentation names all there is, its links lead somewhere, and its commands exist with their options."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

import kleash
from kleash.algorithms.direct import DIRECT_ALGORITHMS
from kleash.algorithms.online import ONLINE_ALGORITHMS
from kleash.cli import app
from kleash.collection.aggregation import AggregationSettings
from kleash.collection.campaign import CampaignSettings
from kleash.formats.shapes import SHAPES
from kleash.plugins import BUILT_INS
from kleash.raters.configuration import JudgesSettings
from kleash.recipe import Recipe
from test_layers import FILES, imports_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_TEXT = "\n".join(page.read_text() for page in PAGES)
GUIDE = (ROOT / "docs" / "labelling.md").read_text()

LINK = re.compile(r"\]\(([^)\s]+)\)")
SPAN = re.compile(r"`(kleash [^`]+)`")
COMMAND_LINE = re.compile(r"\s*([A-Z_]+=\S+ )*(\S*/)?kleash ")
SETTINGS_OF = {
    "kleash collect new": CampaignSettings,
    "kleash collect export": AggregationSettings,
    "kleash judge": JudgesSettings,
}


def commands_of(group, name="kleash"):
    """Return {full name: command} of everything that can be typed, groups left out."""
    found = {}
    for word, command in group.commands.items():
        is_group = hasattr(command, "commands")
        found |= commands_of(command, f"{name} {word}") if is_group else {f"{name} {word}": command}
    return found


COMMANDS = commands_of(typer.main.get_command(app))
TABLES = [name for name, field in Recipe.model_fields.items() if isinstance(field.default, BaseModel)]


# ------------------------------------------------------------------------------------------------------- what is named
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_documented(command):
    assert re.search(rf"\b{command}\b", ALL_TEXT), f"no page says what `{command}` is for"


@pytest.mark.parametrize("kind", BUILT_INS)
def test_a_kind_of_plug_in_is_documented(kind):
    assert f"`{kind}`" in ALL_TEXT


@pytest.mark.parametrize("name", [*ONLINE_ALGORITHMS, *DIRECT_ALGORITHMS])
def test_an_algorithm_is_documented(name):
    assert re.search(rf"\b{name}\b", ALL_TEXT, re.IGNORECASE)


# Named in docs/algorithms.md and called by nobody outside maths/, for a reason.
FOR_USERS = {
    "maths.agreement.cohen_kappa": "of one pair of raters; production means it over pairs, by mean_cohen_kappa",
}


def functions_named(text):
    """Return the dotted names in the "function" column of a page's tables; one without a module is in the last's."""
    found, column = [], None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            column = None
        elif "function" in cells:
            column, module = cells.index("function"), ""
        elif column is not None and not line.startswith("|--"):
            for span in re.findall(r"`([A-Za-z_.]+)(?:\(\w+=\))?`", cells[column]):
                module = span.rpartition(".")[0] or module
                found.append(f"{module}.{span.rpartition('.')[2]}")
    return found


NAMED = functions_named((ROOT / "docs" / "algorithms.md").read_text())


def test_functions_are_read_off_tables():
    table = "| what | function | test |\n|---|---|---|\n| a, `b.c` | `maths.kl.f`, `g(x=)` | `h.i` |\n\n| j | k |\n"
    assert functions_named(table) == ["maths.kl.f", "maths.kl.g"]
    assert len(NAMED) > 30


@pytest.mark.parametrize("name", dict.fromkeys(NAMED))
def test_an_equation_that_is_documented_is_the_one_that_runs(name):
    module, _, function = name.rpartition(".")
    assert function in vars(importlib.import_module(f"kleash.{module}"))
    callers = {file for file in FILES if not file.startswith("maths") and f"kleash.{name}" in imports_of(file)}
    assert not module.startswith("maths") or callers or name in FOR_USERS, f"nothing but tests calls {name}"


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_the_recipe_is_documented(table):
    assert re.search(rf"\[{table}[.\]]|\b{table}\.[a-z]", ALL_TEXT), f"no page shows a setting of [{table}]"


@pytest.mark.parametrize("setting", [*CampaignSettings.model_fields, *AggregationSettings.model_fields])
def test_the_guide_to_labelling_has_every_setting_of_a_campaign_and_an_export(setting):
    assert f"`{setting}`" in GUIDE


# --------------------------------------------------------------------------------------------------------------- links
def anchors_of(text):
    """Return the names by which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_images_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors_of(linked.read_text()), f"{page.name} links to {target}"


def test_a_link_to_a_heading_is_found_and_a_missing_one_is_not():
    assert anchors_of("# One\n## Back up, and restore\n") == {"one", "back-up-and-restore"}


# ------------------------------------------------------------------------------------------------------------ commands
def command_lines(text):
    """Return the command lines of a page's blocks, words as a shell would see them, from `kleash` on."""
    found = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if COMMAND_LINE.match(line):
            words = shlex.split(line, comments=True)
            start = next(index for index, word in enumerate(words) if word.rpartition("/")[2] == "kleash")
            found.append(["kleash", *words[start + 1 :]])
    return found


def faults_of(words, *, is_whole=True):
    """Say what keeps a command line from being parsed. is_whole: what is required must be there too."""
    name = max((name for name in COMMANDS if words[: len(name.split())] == name.split()), key=len, default=None)
    if name is None:
        return [f"there is no {' '.join(words[:3])}"]
    params = COMMANDS[name].params
    options = {flag: param for param in params for flag in (*param.opts, *param.secondary_opts) if flag[:1] == "-"}
    rest, given, positional, faults = words[len(name.split()) :], set(), 0, []
    while rest:
        word, _, value = rest.pop(0).partition("=")
        if not word.startswith("-"):
            positional += 1
        elif word not in options:
            faults.append(f"{name} has no {word}")
        else:
            param = options[word]
            given.add(param.name)
            if not param.is_flag and not value:
                value = rest.pop(0) if rest else ""
                faults += [] if value or not is_whole else [f"{word} needs a value"]
            if word == "--set" and value:
                faults += unknown_setting(SETTINGS_OF.get(name, Recipe), value.partition("=")[0])
    arguments = [param for param in params if param.param_type_name == "argument"]
    if is_whole:
        asked = [param for param in params if param.required and param not in arguments]
        faults += [f"{name} lacks {param.opts[0]}" for param in asked if param.name not in given]
        faults += [f"{name} lacks an argument"] * (positional < sum(param.required for param in arguments))
    has_room = positional <= len(arguments) or any(param.nargs == -1 for param in arguments)
    return faults + ([] if has_room else [f"{name} takes no {positional} arguments"])


def unknown_setting(model, name):
    """Return [fault] unless a dotted name leads to a setting; what lies inside of plain tables is not looked at."""
    for word in name.split("."):
        if word not in model.model_fields:
            return [f"there is no setting {name}"]
        inner = model.model_fields[word].default
        if not isinstance(inner, BaseModel):
            return []
        model = type(inner)
    return []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_can_be_parsed(page):
    text = page.read_text()
    for words in command_lines(text):
        assert faults_of(words) == [], shlex.join(words)
    for span in SPAN.findall(text.replace("\n", " ")):
        words = [word for word in shlex.split(span) if word != "..."]
        is_group = any(name.startswith(f"{' '.join(words)} ") for name in COMMANDS)
        assert is_group or faults_of(words, is_whole=False) == [], span


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("kleash collect invent", "there is no kleash collect invent"),
        ("kleash collect export mine", "kleash collect export lacks --into"),
        ("kleash collect export --into folder", "kleash collect export lacks an argument"),
        ("kleash collect export mine --into folder --method majority", "kleash collect export has no --method"),
        ("kleash collect new mine --set overlaps=2", "there is no setting overlaps"),
        ("kleash run my.toml --set policy.leash.target=4", "there is no setting policy.leash.target"),
        ("kleash collect new mine theirs", "kleash collect new takes no 2 arguments"),
        ("kleash judge mine --judges", "--judges needs a value"),
    ],
)
def test_a_command_line_that_cannot_be_parsed_is_found(line, fault):
    assert fault in faults_of(line.split())


def test_command_lines_are_found_in_blocks_with_comments_and_continuations():
    text = "Text with `kleash run`.\n\n    A=b kleash run x  # then\n    .venv/bin/kleash chat \\\n        y\n"
    assert command_lines(text) == [["kleash", "run", "x"], ["kleash", "chat", "y"]]
    assert len(command_lines(GUIDE)) > 10


# --------------------------------------------------------------------------------------------------------- the library
def test_the_page_of_the_library_is_what_its_docstrings_say():
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    make_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_api)
    assert make_api.PAGE.read_text() == make_api.api_page(), "run python docs/make_api.py"
    assert {name for names in make_api.SECTIONS.values() for name in names} == set(kleash.__all__)


# ---------------------------------------------------------------------------------------------------------- the README
def test_the_readme_s_file_table_names_what_is_there():
    table = (ROOT / "README.md").read_text().partition("## What is where")[2]
    rows = [re.findall(r"`([^`]+)`", line.split(" | ")[0]) for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) > 15
    for first, *others in rows:
        for path in (ROOT / first, *((ROOT / first).parent / other for other in others)):
            # A folder that only holds what Python left of it has gone.
            has_files = any(file.is_file() for file in path.rglob("*") if "__pycache__" not in file.parts)
            assert path.is_file() or has_files, f"README names {path.relative_to(ROOT)}"


def test_every_layout_of_files_is_in_the_guide():
    page = (ROOT / "docs" / "your-own-data.md").read_text()
    assert [shape.name for shape in SHAPES if shape.is_listed and f"`{shape.name}`" not in page] == []
