"""Suite files to items: rows of our own, and those of public sets in the form they were published in.

A suite is read whole or not at all: a row left out would change the figure. What a row asks for is tried on made-up
answers at once, so that a pattern that does not compile stops the command before anything is sampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from kleash.checks.constraints import NO_CHECK
from kleash.checks.numbers import expected_number
from kleash.checks.table import find_check
from kleash.checks.verdicts import Bucket
from kleash.errors import DataError
from kleash.evaluation.suites.items import Suite, SuiteItem
from kleash.formats import fields, read_prompts
from kleash.formats.rows import Row, RowProblem, rows_of
from kleash.records import content_id

BUILT_IN_FOLDER = Path(__file__).parents[1] / "suites_data"
_NUM_SHOWN = 3
# Made-up answers that come to every part of a check: words, a number, a quotation.
_TRIED = ("x", "1", 'It says "x" there.')


@dataclass(frozen=True)
class SuiteFormat:
    """A layout of rows. read: a row and the suite's name to an item; raises RowProblem or DataError."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[Mapping[str, Any], str], SuiteItem]


def read_suite(path: str | Path) -> Suite:
    """Read a suite: a file, or the name of one that comes with KLeash.

    Raises DataError for a file that is not understood, naming its first faulty rows, and for an id that occurs twice.
    """
    path = find_suite(path)
    rows = list(rows_of(path, own_files=["suite.jsonl"]))
    chosen = _format_of(rows, path)
    items: list[SuiteItem] = []
    faults: list[str] = []
    for row in rows:
        try:
            items.append(_item(row, chosen, path.stem))
        except (RowProblem, DataError) as problem:
            fix = f" ({problem.fix})" if isinstance(problem, RowProblem) else ""
            faults.append(f"{row.file}:{row.line}: {problem}{fix}")
    if faults:
        raise DataError(
            f"{len(faults)} of the {len(rows)} rows of the suite {path} cannot be used: "
            f"{'; '.join(faults[:_NUM_SHOWN])}{' ...' * (len(faults) > _NUM_SHOWN)} Expected rows of the format "
            f"{chosen.name}. Correct or remove them."
        )
    repeated = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path} holds the id {repeated[0]} {'and others ' * (len(repeated) > 1)}more than once. Expected each "
            "item once, so that its history can be followed. Remove repeated rows, or give each its own id."
        )
    return Suite(path.stem, tuple(items))


def require_checks(path: Path) -> int:
    """Return the number of prompts in a file whose answers are to be scored by the checks of its rows.

    Raises DataError naming the first rows with no check, with one that cannot be read, or with one no rule can do.
    """
    items = read_suite(path).items
    verdicts = {item.prompt.text: find_check(item.check, item.params).judge("x", item.params) for item in items}
    faults = [f"{text[:60]!r}: {one.detail}" for text, one in verdicts.items() if one.detail.startswith(NO_CHECK)]
    faults += [f"{prompt.text[:60]!r} brings no check" for prompt in read_prompts(path).records if not prompt.check]
    if faults:
        raise DataError(
            f"{len(faults)} of the {len(items)} prompts of {path} bring no check that a rule can do; all their answers "
            f"would score 0: {'; '.join(faults[:_NUM_SHOWN])}{' ...' * (len(faults) > _NUM_SHOWN)} Expected one "
            "in each row. Take them out."
        )
    return len(items)


def find_suite(name: str | Path) -> Path:
    """Return the file that a name stands for: a path, or a suite that comes with KLeash. Raises DataError."""
    built_in = {path.stem: path for path in sorted(BUILT_IN_FOLDER.glob("*.jsonl"))}
    if Path(name).exists():
        return Path(name)
    if str(name) in built_in:
        return built_in[str(name)]
    raise DataError(
        f"There is no suite {name}: no such file, and none of that name comes with KLeash. Expected a JSONL file or "
        f"one of {', '.join(built_in) or 'none'}. Correct the path."
    )


def _format_of(rows: list[Row], path: Path) -> SuiteFormat:
    first = next((row.content for row in rows if isinstance(row.content, Mapping)), {})
    for candidate in SUITE_FORMATS:
        if all(name in first for name in candidate.columns):
            return candidate
    known = "; ".join(f"{form.name} ({', '.join(form.columns)})" for form in SUITE_FORMATS)
    raise DataError(
        f"{path} is not understood as a suite: its columns are {', '.join(first) or 'none'}. Expected one of: {known}. "
        'Give each row a "prompt" and a "check".'
    )


def _item(row: Row, chosen: SuiteFormat, suite: str) -> SuiteItem:
    if isinstance(row.content, RowProblem):
        raise row.content
    if missing := [name for name in chosen.columns if name not in row.content]:
        raise RowProblem(f"has no {', '.join(missing)}", "fill it or remove the row")
    item = chosen.read(row.content, suite)
    check = find_check(item.check, item.params)
    if item.check == "numeric" and expected_number(item.params["expected"]) is None:
        raise RowProblem(
            f"it expects {fields.shown(item.params['expected'])}, which is not one number", "write a number"
        )
    try:
        for answer in _TRIED:
            check.judge(answer, item.params)
    except Exception as error:
        raise RowProblem(
            f"its check {item.check} fails: {type(error).__name__}: {error}", "correct the check"
        ) from error
    return item


# ---------------------------------------------------------------------------------------------------------- formats
def _own_row(row: Mapping[str, Any], suite: str) -> SuiteItem:
    given = fields.column(row, "check")
    if not isinstance(given, Mapping) or not isinstance(given.get("kind"), str):
        raise RowProblem(f"'check' is {fields.shown(given)}", 'write {"kind": "exact", "expected": ...}')
    params = {name: value for name, value in given.items() if name != "kind"}
    check = find_check(given["kind"], params)
    prompt = fields.prompt(row, "prompt", ())
    texts = {name: fields.text({name: "", **row}, name) for name in ("measure", "follow_up", "pair", "variant")}
    return SuiteItem(
        id=str(row["id"])
        if row.get("id") is not None
        else content_id(prompt.content_json(), dict(given), *texts.values()),
        suite=suite,
        bucket=fields.one_of({"bucket": check.bucket, **row}, "bucket", get_args(Bucket)),  # type: ignore[arg-type]
        prompt=prompt,
        check=given["kind"],
        params=params,
        measure=texts["measure"] or check.measure,
        follow_up=texts["follow_up"],
        pair=texts["pair"],
        variant=texts["variant"],
    )


def _published(
    ask: str, name: str, *, slices: tuple[str, ...] = (), lacks: str = "its columns say nothing to check an answer by"
) -> Callable[[Mapping[str, Any], str], SuiteItem]:
    """Return the reader of a published layout, whose check `fields.check_of` finds. ask, name: of prompt and id."""

    def read(row: Mapping[str, Any], suite: str) -> SuiteItem:
        own = {"id": row.get(name), "prompt": fields.text(row, ask), "check": fields.check_of(row)}
        if not own["check"]:
            raise RowProblem(lacks, "correct the row")
        return _own_row({**own, "slices": {column: fields.text(row, column) for column in slices}}, suite)

    return read


def _mbpp_row(row: Mapping[str, Any], suite: str) -> SuiteItem:
    """Austin et al. 2021, arXiv:2108.07732: a task in a sentence, and its tests, which the prompt shows too."""
    task = fields.text(row, "text" if row.get("text") is not None else "prompt")
    tests, imports = "\n".join(fields.texts(row, "test_list")), row.get("test_imports")
    setup = "\n".join(imports) if imports else row.get("test_setup_code") or ""
    check = {"kind": "code", "tests": f"{setup}\n{tests}\n", "setup": setup}
    prompt = f"{task}\nYour code should pass these tests:\n\n{tests}\n"
    return _own_row({"id": row.get("task_id"), "prompt": prompt, "check": check}, suite)


# Zhou et al. 2023, arXiv:2311.07911; Cobbe et al. 2021, arXiv:2110.14168; Chen et al. 2021, arXiv:2107.03374;
# Röttger et al. 2023, arXiv:2308.01263: unsafe prompts, and safe ones that look like them.
SUITE_FORMATS = (
    SuiteFormat("suite", ("prompt", "check"), _own_row),
    SuiteFormat("ifeval", ("prompt", "instruction_id_list", "kwargs"), _published("prompt", "key")),
    SuiteFormat(
        "gsm8k",
        ("question", "answer"),
        _published("question", "id", lacks="its answer has no '####' before the result"),
    ),
    SuiteFormat("humaneval", ("prompt", "entry_point", "test"), _published("prompt", "task_id")),
    SuiteFormat("mbpp", ("text", "test_list"), _mbpp_row),
    SuiteFormat("mbpp", ("prompt", "test_list"), _mbpp_row),
    SuiteFormat(
        "xstest",
        ("prompt", "type", "label", "focus"),
        _published("prompt", "id", slices=("label", "type"), lacks="its label is neither safe nor unsafe"),
    ),
)
