"""Anybody's Python function as a scorer: f(prompt, completion) -> a number, or a mapping of named parts.

A function whose parameters are named `prompts` and `completions`, or that carries `is_batched = True`, is called once
with two lists and returns one value per answer. It may carry `ranked_examples`, pairs of a prompt and answers from
best to worst, as a proof that it does what it is meant to (`ranked_examples.py`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from kleash.errors import RunError, SettingsError, raised, shortened
from kleash.functions import load_function, register
from kleash.limits import limited
from kleash.protocols import Scores
from kleash.records import Completion, Prompt
from kleash.scorers.ranked_examples import RankedExample

CALL_TIMEOUT_SECONDS = 3600.0
"""Long enough for a batch that asks a slow service; what takes longer is taken to hang."""

_WANTED = "a function of (prompt, completion), or of the lists (prompts, completions)"


class FunctionScorer:
    """Scores answers by a function of their texts.

    target: the function, or its place: "module:attribute", found beside the recipe too, or "path/file.py:attribute".
    A mapping's entries become parts; its "total" is the score, else their sum.  timeout_seconds: the longest that one
    call may take, of a batch where it takes lists; None = for ever. `limits.py` says what that cannot interrupt.
    Raises SettingsError when there is no such function or it cannot take two arguments.
    """

    def __init__(
        self, target: str | Callable[..., Any], *, timeout_seconds: float | None = CALL_TIMEOUT_SECONDS
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.target = target if isinstance(target, str) else register(target)
        self.function = _load(self.target)
        self.is_batched = _is_batched(self.function)
        self.ranked_examples = _ranked_examples(self.function, self.target)

    def score(self, completions: Sequence[Completion]) -> Scores:
        """Call the function on each answer, or once on all.

        Raises RunError, naming function and row, when it raises or returns anything but finite numbers, and when
        answers have differently named parts.
        """
        if not completions:
            return Scores([])
        values = self._values(completions)
        named = [self._named(value, row, completions) for row, value in enumerate(values)]
        names = named[0].keys() - {"total"}
        for row, parts in enumerate(named):
            own = parts.keys() - {"total"}
            if own != names:
                self._fail(row, completions, f"returned parts {sorted(own)}, after {sorted(names)} before,")
        totals = [parts["total"] for parts in named]
        return Scores(totals, {name: [parts[name] for parts in named] for name in named[0] if name != "total"})

    def _values(self, completions: Sequence[Completion]) -> list[Any]:
        if not self.is_batched:
            return [
                self._call(completion.prompt.text, completion.text, row, completions)
                for row, completion in enumerate(completions)
            ]
        prompts = [completion.prompt.text for completion in completions]
        returned = self._call(prompts, [completion.text for completion in completions], None, completions)
        try:
            values = list(returned)
        except TypeError:
            values = []
        if len(values) != len(completions) or isinstance(returned, Mapping | str):
            raise RunError(
                f"Scoring function {self.target} returned {shortened(returned)} for {len(completions)} answers. "
                "Expected a list with one number, or one mapping of named numbers, per answer, in their order. "
                "Mend the function."
            )
        return values

    def _call(self, prompt: Any, completion: Any, row: int | None, completions: Sequence[Completion]) -> Any:
        try:
            with limited(seconds=self.timeout_seconds):
                return self.function(prompt, completion)
        except (Exception, SystemExit) as error:  # a user's function may raise anything, and says what went wrong
            setting = " (scorer.function_timeout_seconds)" if isinstance(error, TimeoutError) else ""
            self._fail(row, completions, f"raised {raised(error)}{setting}", cause=error)

    def _named(self, value: Any, row: int, completions: Sequence[Completion]) -> dict[str, float]:
        """Return the value's parts, "total" always among them."""
        entries = value if isinstance(value, Mapping) else {"total": value}
        parts: dict[str, float] = {}
        for name, entry in entries.items():
            number = _number(entry)
            if number is None or not isinstance(name, str):
                self._fail(row, completions, f"returned {shortened(value)}")
            parts[name] = number
        if not parts:
            self._fail(row, completions, "returned an empty mapping")
        return parts if "total" in parts else parts | {"total": sum(parts.values())}

    def _fail(
        self, row: int | None, completions: Sequence[Completion], what: str, cause: BaseException | None = None
    ) -> NoReturn:
        answer = "" if row is None else f" at answer {row}, {completions[row].text[:80]!r}"
        raise RunError(
            f"Scoring function {self.target} {what}{answer}. Expected a finite number, or a mapping of named finite "
            'numbers with the same names each time ("total" is the score, else their sum). Mend the function; it must '
            "take any text."
        ) from cause


def _number(value: Any) -> float | None:
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except Exception:  # no number: what it raises is its own business, of a huge one OverflowError
        return None
    return number if math.isfinite(number) else None


def _load(target: str) -> Callable[..., Any]:
    place, _, attribute = target.rpartition(":")
    if not place or not attribute:
        raise SettingsError(
            f"{target!r} names no scoring function. Expected module:attribute or file.py:attribute. "
            "Write the function's place so, such as rewards.py:brevity."
        )
    function = load_function(target)
    if not callable(function):
        raise SettingsError(
            f"{target} is {shortened(function)}. Expected {_WANTED}. Name the function rather than its result."
        )
    try:
        inspect.signature(function).bind("", "")
    except TypeError as error:
        raise SettingsError(
            f"Scoring function {target} cannot be called with a prompt and a completion: {error}. Expected {_WANTED}. "
            "Give further parameters defaults."
        ) from error
    except ValueError:  # some functions written in C tell no signature; the first call will show
        pass
    return function


def _is_batched(function: Callable[..., Any]) -> bool:
    declared = getattr(function, "is_batched", None)
    if declared is not None:
        return bool(declared)
    try:
        names = list(inspect.signature(function).parameters)
    except ValueError:
        return False
    return names[:2] == ["prompts", "completions"]


def _ranked_examples(function: Callable[..., Any], target: str) -> tuple[RankedExample, ...]:
    examples = getattr(function, "ranked_examples", ())
    try:
        return tuple(RankedExample(Prompt(prompt), tuple(completions)) for prompt, completions in examples)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"{target}.ranked_examples cannot be read: {error}. Expected pairs of a prompt and a list of answers, best "
            "first. Write them so."
        ) from error
