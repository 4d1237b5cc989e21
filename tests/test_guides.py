"""Every command of the guides is run, in order, in a folder of its own, as a newcomer types them.

In a guide an indented block holds commands, one a line, and `# refused` behind one says that it must be. A fenced block
that begins with a comment naming a file is that file, and is written; other fenced blocks show what appears. Where a
whole run takes minutes, the recipe that the guide names is a smaller one here: `quickstart` is a file of that name.
"""

import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

import tiny
from kleash.cli import main
from kleash.collection.store import campaigns
from kleash.collection.store.database import Database
from kleash.collection.store.recording import record
from kleash.recipe import Recipe, load_recipe
from kleash.records import Judgement
from kleash.settings import dump_toml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GUIDES = ("quickstart", "your-own-data", "labelling-to-policy", "reading-the-report", "troubleshooting")
ALGORITHMS = (DOCS / "algorithms.md").read_text()
FILE_NAME = re.compile(r"# (\S+\.(?:toml|py|md))$")
SETTING = re.compile(rf"`((?:{'|'.join(Recipe.model_fields)})\.(?!safetensors)[a-z_.]+)(?: ?=[^`]*)?`")
FUNCTION = re.compile(r"`([A-Za-z_][\w.]*)(?:\([a-z_]+=\))?`")
TEST_FILE = re.compile(r"`((?:tests/)?(?:\w+/)?test_\w+\.py)`")
PAPER = re.compile(r"arXiv:\d{4}\.\d{5}")
SERVERS = (["kleash", "monitor"], ["kleash", "collect", "serve"])
# What a random audit of so few answers comes to is no matter here; it must not keep a policy from being trained.
SMALLER = (
    "audit.max_rows=40",
    "audit.probe_answers=40",
    "audit.reference_answers=20",
    "audit.stock_phrases=1",
    "policy.steps=4",
    "policy.prompts_per_step=8",
    "policy.evaluate_every=2",
    'scorer.accept_failed_audit="a trial"',
)
SMALLER_SANDBOX = (
    *SMALLER,
    "world.num_demonstrations=200",
    "world.num_prompts=120",
    "world.num_evaluation_per_slice=2",
    "reward.normaliser_samples=32",
    "alarms.comparisons_per_evaluation=8",
)
SMALLER_MODEL = (*SMALLER, "policy.max_new_tokens=8", "audit.max_new_tokens=8", "reward.normaliser_samples=16")


# ----------------------------------------------------------------------------------------------------- reading a guide
@dataclass(frozen=True)
class Command:
    """A line to type. is_refused: it must end with a complaint."""

    line: str
    is_refused: bool = False


@dataclass(frozen=True)
class File:
    """A file that the guide shows in full."""

    name: str
    text: str


def steps_of(text):
    """Return a guide's commands and files in their order."""
    found, fence, before = [], None, ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith("```"):
            if fence and (named := FILE_NAME.match(fence[0])):
                found.append(File(named[1], "\n".join(fence) + "\n"))
            fence = [] if fence is None else None
        elif fence is not None:
            fence.append(line)
        elif line.startswith("    ") and (not before or before.startswith("    ")):
            command, _, remark = line.strip().partition("  # ")
            found.append(Command(command.strip(), is_refused=remark.startswith("refused")))
        before = line
    return found


def test_commands_and_files_are_found_in_their_order():
    text = (
        "Words `kleash run`:\n\n    kleash run x \\\n        --name y\n    cd z  # refused: no z\n\n"
        "- a list\n    goes on\n\n"
        "```toml\n# my.toml\na = 1\n```\n\n```text\n    kleash shown\n```\n"
    )
    assert steps_of(text) == [
        Command("kleash run x --name y"),
        Command("cd z", is_refused=True),
        File("my.toml", "# my.toml\na = 1\n"),
    ]


# -------------------------------------------------------------------------------------------------------- typing it
def write(file):
    """Write a file that a guide shows; a recipe with less of everything."""
    Path(file.name).write_text(file.text)
    if file.name.endswith(".toml"):
        Path(file.name).write_text(dump_toml(load_recipe(Path(file.name), SMALLER_MODEL)))


def type_in(line, monkeypatch):
    """Do what a line of a guide says; return the exit code."""
    words = shlex.split(line, comments=True)
    match words:
        case ["cd", folder]:
            os.chdir(folder)
        case ["make", *_]:
            # As in a newcomer's shell, not as below the `make test` that may be running this.
            own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "VENV"}
            return subprocess.run([*words, "--dry-run"], cwd=ROOT, env=own, capture_output=True, check=False).returncode
        case [".", ".venv/bin/activate"]:
            pass  # the tests run in that environment
        case ["kleash", *_] if any(words[: len(server)] == server for server in SERVERS):
            ask_once(words[1:])
        case ["kleash", *rest]:
            monkeypatch.setattr(sys, "stdin", io.StringIO("what is 2 plus 3 ?\n/quit\n"))
            with pytest.raises(SystemExit) as end:
                main(rest)
            return end.value.code or 0
        case _:
            raise AssertionError(f"no test knows how to do what a guide says: {line}")
    return 0


def ask_once(words):
    """Start a server on a port of its own, ask for its first page until it comes, and stop it."""
    port = free_port()
    command = [sys.executable, "-m", "kleash", *words, "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            page = None
            while page is None:
                assert server.poll() is None, f"{shlex.join(words)} ended by itself"
                page = answer_of(f"http://127.0.0.1:{port}/")
        finally:
            server.terminate()
    assert "<html" in page


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answer_of(address):
    """Return a page's text, None while nobody answers there."""
    try:
        return urllib.request.urlopen(address, timeout=60).read().decode()
    except ConnectionError:
        return None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionError):
            return None
        raise


def two_people_label():
    """Do what the guide asks two people to do on the pages: judge every item of the only campaign."""
    with Database("labels.sqlite").write() as connection:
        (campaign,) = campaigns.campaigns(connection)
        judgements = []
        for item in campaigns.items(connection, campaign).values():
            first_is_shorter = len(item.comparison.completions[0]) < len(item.comparison.completions[1])
            ranks = (1, 2) if first_is_shorter else (2, 1)
            judgements += [
                Judgement(item.comparison.id, rater, "person", (0, 1), "ranked", ranks) for rater in ("anna", "ben")
            ]
        record(connection, campaign, judgements)


def follow(guide, monkeypatch, capsys):
    """Do everything a guide says, in the working folder; complain about the first command that ends otherwise."""
    for step in steps_of((DOCS / f"{guide}.md").read_text()):
        if isinstance(step, File):
            write(step)
            continue
        capsys.readouterr()
        code = type_in(step.line, monkeypatch)
        assert code == (2 if step.is_refused else 0), f"{step.line}\n{capsys.readouterr().err}"
        if step.line.startswith("kleash collect serve"):
            two_people_label()


# ------------------------------------------------------------------------------------------------------- the guides
@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty working folder in which `quickstart` is a recipe of seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    small_quickstart()
    return tmp_path


def small_quickstart():
    settings = load_recipe(ROOT / "recipes" / "quickstart.toml", SMALLER_SANDBOX)
    Path("quickstart").write_text(dump_toml(settings))


@pytest.mark.slow
def test_the_quickstart_can_be_followed(desk, monkeypatch, capsys):
    follow("quickstart", monkeypatch, capsys)
    assert (desk / "runs/quickstart/report.html").is_file()
    assert (desk / "runs/firm/round-000/evaluation/artifact.json").is_file()


@pytest.fixture
def own_files(desk):
    """What a user brings along: a model folder, preferences, prompts kept apart."""
    tiny.tiny_language_model_folder("models/base", chat_template=tiny.CHAT_TEMPLATE)
    things = ("cat", "dog", "tree", "house", "mat", "red one", "blue one", "small cat")
    asked = [f"why is {number} {thing} big?" for number in ("one", "two", "three", "four", "five") for thing in things]
    pairs = [
        {"prompt": prompt, "chosen": f"the {prompt.split()[3]} is good", "rejected": "no", "slices": {"asks": "why"}}
        for prompt in asked
    ]
    Path("data").mkdir()
    for name, rows in (("pairs", pairs), ("evaluation", [{"prompt": f"how {prompt}"} for prompt in asked])):
        Path(f"data/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
@pytest.mark.usefixtures("own_files")
def test_the_guide_to_data_of_your_own_can_be_followed(desk, monkeypatch, capsys):
    follow("your-own-data", monkeypatch, capsys)
    assert (desk / "runs/mine/report.html").is_file()
    assert (desk / "exported/assistant/model.safetensors").is_file()


@pytest.mark.slow
def test_the_walk_from_labelling_to_a_policy_can_be_followed(desk, monkeypatch, capsys):
    follow("labelling-to-policy", monkeypatch, capsys)
    assert "anna entered:" in capsys.readouterr().out
    assert (desk / "runs/walk/report.html").is_file()


@pytest.mark.slow
def test_the_guides_to_report_and_trouble_can_be_followed(desk, monkeypatch, capsys):
    assert type_in("kleash run quickstart", monkeypatch) == 0, capsys.readouterr().err
    follow("reading-the-report", monkeypatch, capsys)
    follow("troubleshooting", monkeypatch, capsys)
    assert (desk / "runs/gentler/report.html").is_file()


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_says_first_what_there_is_in_the_end(guide):
    paragraphs = (DOCS / f"{guide}.md").read_text().split("\n\n")
    assert paragraphs[1].startswith("At the end you ")
    assert "minutes" in " ".join(paragraphs[1:3])


@pytest.mark.parametrize("guide", GUIDES)
def test_settings_that_a_guide_names_exist(guide):
    for name in SETTING.findall((DOCS / f"{guide}.md").read_text()):
        model = Recipe
        for word in name.split("."):
            assert word in model.model_fields, f"{guide}.md names {name}"
            inner = model.model_fields[word].default
            model = type(inner) if isinstance(inner, BaseModel) else BaseModel


def test_a_line_that_nobody_knows_how_to_type_is_found(monkeypatch):
    with pytest.raises(AssertionError, match="brew install kleash"):
        type_in("brew install kleash", monkeypatch)


# --------------------------------------------------------------------------------------- the tables of algorithms.md
def table_rows(text):
    """Return the cells of every row of the page's five-column tables."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if len(row) == 5 and row[0] != "what"]


def test_functions_of_the_table_exist():
    for row in table_rows(ALGORITHMS):
        module = ""
        for name in FUNCTION.findall(row[2]):
            if "." in name:
                module, _, name = name.rpartition(".")
            assert hasattr(importlib.import_module(f"kleash.{module}"), name), f"{row[0]}: no {module}.{name}"


def test_tests_of_the_table_exist():
    known = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for row in table_rows(ALGORITHMS):
        named = TEST_FILE.findall(row[3])
        assert named or "vectors" in row[3] or "bandit oracle" in row[3], f"{row[0]} has no test"
        for file in named:
            assert (ROOT / file).is_file() or file in known, f"{row[0]}: no {file}"


@pytest.mark.parametrize("module", sorted((ROOT / "src/kleash/maths").glob("*.py")), ids=lambda path: path.stem)
def test_papers_of_the_maths_are_in_the_table(module):
    missing = set(PAPER.findall(module.read_text())) - set(PAPER.findall(ALGORITHMS))
    assert not missing, f"algorithms.md lacks {missing}"


def test_the_glossary_is_in_alphabetical_order():
    lines = (DOCS / "glossary.md").read_text().splitlines()
    words = [line.split("|")[1].strip().lower() for line in lines if line.startswith("| ")][1:]
    assert words == sorted(words)
