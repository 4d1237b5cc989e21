"""The command line. Commands are thin and import what they need only when they run, so that `--help` starts at once.

A module has the commands that its first line names. Beside them are `options.py`, options that commands share, and
`tables.py`, results as tables. Every error that a user can mend ends here, as one paragraph on standard error and exit
code 2.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from kleash import __version__
from kleash.cli import (
    chat,
    collection,
    data,
    evaluation,
    experiment,
    inspect_runs,
    monitor,
    recipes,
    running,
    sandbox,
    stages,
    transfer,
)
from kleash.cli.options import examples
from kleash.errors import KleashError, damaged, memory_words
from kleash.screen import guarded_streams, results, show_error

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it

_ABOUT_RUNS = {"summary", "report", "lineage", "verify"}
_OF_PATHS = {errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM}

EXTRAS = {
    "openai": "judge",
    "psycopg": "postgres",
    "datasets": "hub",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "lm_eval": "lm-eval",
}
"""Optional packages, and the extra that installs each."""

app = typer.Typer(
    name="kleash",
    pretty_exceptions_enable=False,
    epilog=examples("kleash run quickstart", "kleash recipe new mine.toml", "kleash chat quickstart"),
)
app.add_typer(running.app)
app.add_typer(experiment.comparing)
for part in (chat, inspect_runs, stages, evaluation, monitor):
    app.add_typer(part.app)
app.add_typer(collection.judging)
app.add_typer(collection.app, name="collect")
app.add_typer(recipes.app, name="recipe")
app.add_typer(data.app, name="data")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(transfer.bringing_in, name="import")
app.add_typer(transfer.handing_on, name="export")
app.add_typer(experiment.app, name="experiment")


@app.callback(invoke_without_command=True)
def _about(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False,
) -> None:
    """Train a language model on what people prefer, on a KL leash, and see honestly whether it worked."""
    if version:
        results().print(f"kleash {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 1 something is altered, 2 a user's error, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows "?" and goes on
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given in [[group.name] for group in app.registered_groups]:
        given.append("--help")
    with guarded_streams(is_help="--help" in given):
        sys.exit(_run(given))


def _run(given: list[str]) -> int:
    """Run one command and return how it ended; every error that a user can mend was said."""
    try:
        code = app(given, prog_name="kleash", standalone_mode=False)
    except TyperException as error:
        usage = getattr(error, "ctx", None)
        where = usage.command_path if usage else "kleash"
        message = error.format_message().rstrip(".")
        stop = "" if message.endswith("?") else "."
        return _fail(f"{message}{stop} `{where} --help` shows an example.")
    except ModuleNotFoundError as error:
        return _fail(_missing_package(error))
    except (typer.Abort, EOFError):
        return _fail("Nothing was answered, so nothing was done. Answer the question, or give --yes.")
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has had enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as leaving:
        if leaving.code:  # as a server leaves that finds its port taken, with its own words
            raise
        return _fail(
            "Code that KLeash ran called sys.exit(), so the command ended before its work was done. Expected it to "
            "return. Take the call out of the functions and plug-ins that this command uses."
        )
    except Exception as error:
        said = memory_words(error) or (str(error) if isinstance(error, KleashError) else None)
        if isinstance(error, OSError) and error.errno in _OF_PATHS:
            said = f"{error.filename}: {error.strerror}. Expected a path that can be used. Correct it, or its rights."
        if said is None and given[0] in _ABOUT_RUNS:  # of any kind, by what is damaged
            said = str(damaged(next((one for one in given[1:] if not one.startswith("-")), "The run"), error))
        if said is None:
            raise
        return _fail(said)
    if code == EXIT_INTERRUPTED:
        show_error("Interrupted. What was saved is whole: run the same command again to go on from there.")
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    show_error(message)
    return EXIT_USER_ERROR


def _missing_package(error: ModuleNotFoundError) -> str:
    package = (error.name or str(error)).partition(".")[0]
    if package == "kleash":
        raise error
    wanted = f"kleash[{EXTRAS[package]}]" if package in EXTRAS else package
    return f"This needs the package {package}, which is not installed. Install it with `pip install '{wanted}'`."
