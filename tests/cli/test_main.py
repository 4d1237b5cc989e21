"""The door: help that starts at once and shows examples, and errors as one paragraph with the right exit code."""

import subprocess
import sys

import pytest
import typer.main

import kleash.cli
from kleash.cli import app
from kleash.errors import KleashError


def every_command(command=None, path=()):
    """Return {words on the command line: its click command}, groups included."""
    command = command or typer.main.get_command(app)
    found = {path: command}
    for name, part in getattr(command, "commands", {}).items():
        found |= every_command(part, (*path, name))
    return found


COMMANDS = every_command()


@pytest.fixture
def failing(monkeypatch, kleash):
    """Run `kleash plugins` with an error in it."""

    def run(error):
        def fail():
            raise error

        monkeypatch.setattr("kleash.plugins.list_plugins", fail)
        return kleash("plugins")

    return run


def test_help_starts_without_torch_and_the_other_heavy_libraries():
    code = (
        "import sys\n"
        "from kleash.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'transformers', 'scipy', 'pyarrow') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", sorted(COMMANDS), ids=" ".join)
def test_every_help_has_an_example_that_can_be_parsed(kleash, words):
    shown = kleash(*words, "--help")
    assert shown.code == 0
    assert "Example" in shown.out
    for line in COMMANDS[words].epilog.split("\n\n")[1:]:
        arguments = line.split(" ")
        assert arguments[0] == "kleash"
        assert tuple(arguments[1 : len(words) + 1]) == words


def test_the_issue_s_commands_are_there():
    names = {words[0] for words in COMMANDS if words}
    stages = {"pretrain", "sft", "candidates", "preferences", "reward", "audit", "policy", "direct", "evaluate"}
    looking = {"summary", "report", "lineage", "verify", "plugins"}
    groups = {"recipe", "data", "sandbox", "collect"}
    assert names >= stages | looking | groups | {"run", "chat", "sample", "compare", "judge"}


@pytest.mark.parametrize("words", [(), ("recipe",), ("data",), ("sandbox",)], ids=" ".join)
def test_a_name_that_needs_a_command_shows_help(kleash, words):
    shown = kleash(*words)
    assert shown.code == 0
    assert "Commands" in shown.out


def test_version(kleash):
    assert kleash("--version").out == f"kleash {kleash_version()}\n"


def kleash_version():
    from kleash import __version__

    return __version__


def test_a_mistyped_command_names_the_nearest(kleash):
    shown = kleash("rum")
    assert (shown.code, shown.out) == (2, "")
    assert shown.err == "No such command 'rum'. Did you mean 'run'? `kleash --help` shows an example.\n"


def test_a_missing_argument_points_to_the_command_s_help(kleash):
    shown = kleash("run")
    assert shown.code == 2
    assert shown.err == "Missing argument 'recipe'. `kleash run --help` shows an example.\n"


def test_a_user_s_error_is_one_paragraph_however_long(failing):
    message = "It is wrong. " * 40
    shown = failing(KleashError(message))
    assert (shown.code, shown.out, shown.err) == (2, "", f"{message}\n")


def test_a_missing_extra_says_how_to_install_it(failing):
    shown = failing(ModuleNotFoundError("No module named 'wandb'", name="wandb"))
    assert shown.code == 2
    assert shown.err == (
        "This needs the package wandb, which is not installed. Install it with `pip install 'kleash[wandb]'`.\n"
    )


def test_a_missing_package_of_the_user_s_own_is_named(failing):
    shown = failing(ModuleNotFoundError("No module named 'judges_of_mine'", name="judges_of_mine.rules"))
    assert "package judges_of_mine, which is not installed" in shown.err


def test_a_module_that_kleash_itself_lacks_is_our_bug(monkeypatch):
    def fail():
        raise ModuleNotFoundError("No module named 'kleash.nothing'", name="kleash.nothing")

    monkeypatch.setattr("kleash.plugins.list_plugins", fail)
    with pytest.raises(ModuleNotFoundError):
        kleash.cli.main(["plugins"])


def test_an_interruption_says_how_to_go_on(failing):
    shown = failing(KeyboardInterrupt())
    assert shown.code == 130
    assert shown.err == "Interrupted. What was saved is whole: run the same command again to go on from there.\n"


def test_out_of_memory_says_what_to_lower(failing):
    import torch

    shown = failing(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."))
    assert shown.code == 2
    assert "Tried to allocate 2 GiB. Expected a batch to fit. Lower max_batch_tokens" in shown.err
    assert "give others with --branch NAME" in shown.err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_a_machine_without_memory_says_what_to_lower_too(failing, error):
    wrapped = KleashError("The model cannot be used.")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        shown = failing(one)
        assert shown.code == 2
        assert shown.err.startswith("Memory ran out: ")
        assert "Lower max_batch_tokens" in shown.err
        assert "cannot be used" not in shown.err


@pytest.mark.parametrize("code", [0, None])
def test_code_that_leaves_does_not_pass_for_success(failing, code):
    shown = failing(SystemExit(code))
    assert shown.code == 2
    assert "called sys.exit(), so the command ended before its work was done" in shown.err
    assert failing(SystemExit(3)).code == 3


def test_a_path_that_no_system_takes_is_an_error_in_words(kleash, tmp_path):
    (tmp_path / "long.toml").write_text(f'base = "{"é" * 300}"\n')
    for line in (["recipe", "check", tmp_path / "long.toml"], ["summary", "é" * 300], ["data", "check", "é" * 300]):
        shown = kleash(*line)
        assert shown.code == 2, line
        assert "File name too long" in shown.err


def test_other_errors_keep_their_traceback(monkeypatch):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr("kleash.plugins.list_plugins", fail)
    with pytest.raises(ZeroDivisionError):
        kleash.cli.main(["plugins"])


def test_only_the_first_rank_speaks_but_any_may_fail(kleash, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert kleash("plugins").out == ""
    assert kleash("summary", "nothing").err.startswith("[rank 1] No run nothing: ")


@pytest.mark.slow
def test_a_reader_that_has_had_enough_is_no_error():
    command = f"{sys.executable} -m kleash recipe explain | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert done.stdout
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
