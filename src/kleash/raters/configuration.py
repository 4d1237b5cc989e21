"""The settings of an AI judge and of a panel, and the TOML file they are read from.

A file describes a panel as a list of `[[judges]]`, or one; recipes/judges/local.toml is a commented example.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from kleash.errors import SettingsError
from kleash.raters.monitoring import BandSettings
from kleash.raters.prompting import DEFAULT_RUBRIC
from kleash.raters.verdicts import ASPECTS, RationalePlace
from kleash.settings import Settings, load_toml


class JudgeSettings(Settings):
    """One AI judge: where it is asked, how it is asked, and what it may cost.

    base_url: an OpenAI-compatible endpoint.  api_key_env: the environment variable that holds its key; None for none.
    family: the family of its model, "llama", "qwen"; by default the letters its name begins with.
    revision: free words that tell apart models of one name, such as two quantizations; part of the rater's version.
    rubric: the text; "" stands for the built-in one.
    rationale: whether the judge gives its reasons before the verdict, after it, or not at all. To be measured: on
    LLMBar's published verdicts, reasons first made all six judges less consistent over the two orders.
    response_format: json_schema binds the reply to the verdict's form, where the endpoint can; none leaves it to words.
    temperature: None leaves it to the endpoint, for models that refuse to be told.
    reply_limit_name: how the endpoint calls the limit on a reply's tokens; newer ones want max_completion_tokens.
    max_retries: how often a request is sent again after a timeout, a lost connection, 429 or 5xx; waits grow, and
    Retry-After is obeyed.
    give_up_after: this many requests in a row without any reply stop the run.
    max_calls, budget: the most that one run may ask and pay, in the currency of the prices; None for no limit.
    """

    base_url: str
    model: str = Field(min_length=1)
    api_key_env: str | None = None
    family: str = ""
    revision: str = ""
    rubric: str = ""
    aspects: tuple[str, ...] = ASPECTS
    rationale: RationalePlace = "after"
    response_format: Literal["json_schema", "json_object", "none"] = "json_schema"
    temperature: float | None = Field(default=0.0, ge=0)
    max_reply_tokens: int = Field(default=512, ge=1)
    reply_limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    max_concurrency: int = Field(default=8, ge=1)
    timeout_seconds: float = Field(default=60.0, gt=0)
    max_retries: int = Field(default=4, ge=0)
    give_up_after: int = Field(default=10, ge=1)
    max_calls: int | None = Field(default=None, ge=0)
    price_per_million_prompt_tokens: float = Field(default=0.0, ge=0)
    price_per_million_reply_tokens: float = Field(default=0.0, ge=0)
    budget: float | None = Field(default=None, ge=0)

    @field_validator("base_url")
    @classmethod
    def _is_an_address_without_secrets(cls, base_url: str) -> str:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an http or https address, such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            # Not a ValueError: the settings reader would show the value.
            raise SettingsError(
                "base_url holds a password or a query, not shown here. Expected a bare address. Take it out, and "
                "name an environment variable that holds the key in api_key_env."
            )
        return base_url

    @field_validator("aspects")
    @classmethod
    def _aspects_have_names_of_their_own(cls, aspects: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(aspects)) < len(aspects) or {"overall", "rationale", ""} & set(aspects):
            raise ValueError("expected different names other than overall and rationale")
        return aspects

    @model_validator(mode="after")
    def _budget_has_prices(self) -> JudgeSettings:
        if self.budget is not None and not self.is_priced:
            raise ValueError(
                f"budget is {self.budget}, but both prices are 0 and nothing would ever use it up. Expected a price "
                "with a budget; set price_per_million_prompt_tokens and price_per_million_reply_tokens"
            )
        return self

    @property
    def is_priced(self) -> bool:
        return self.price_per_million_prompt_tokens + self.price_per_million_reply_tokens > 0

    @property
    def rubric_text(self) -> str:
        return self.rubric or DEFAULT_RUBRIC

    def going_by(self, rubric: str) -> JudgeSettings:
        """Return the judge with a rubric, unless it has one of its own."""
        return self if self.rubric else self.model_copy(update={"rubric": rubric})

    @property
    def family_name(self) -> str:
        return (self.family or family_of(self.model)).lower()


class JudgesSettings(Settings):
    """A panel of judges, or one, with the rubric they share and the band they are to keep to.

    budget: the most that one run may pay for all of them together.
    """

    judges: tuple[JudgeSettings, ...]
    rubric: str = ""
    rubric_file: Path | None = None
    budget: float | None = Field(default=None, ge=0)
    band: BandSettings = BandSettings()

    @model_validator(mode="after")
    def _has_judges_and_one_rubric(self) -> JudgesSettings:
        if not self.judges:
            raise ValueError("judges is empty, expected at least one. Add a [[judges]] table")
        if self.rubric and self.rubric_file:
            raise ValueError("rubric and rubric_file are both set, expected one of them. Remove the other")
        if self.budget is not None and not any(judge.is_priced for judge in self.judges):
            raise ValueError(f"budget is {self.budget}, and no judge has a price: nothing would ever use it up")
        return self


def load_judges(path: Path, overrides: Sequence[str] = ()) -> JudgesSettings:
    """Read a judges file; the shared rubric is given to every judge without one of its own.

    Raises SettingsError naming file, line and fault, or the rubric file that cannot be read.
    """
    settings = load_toml(path, JudgesSettings, overrides)
    rubric = settings.rubric
    if settings.rubric_file is not None:
        rubric = _read_rubric(Path(path).parent / settings.rubric_file)
    judges = tuple(judge.going_by(rubric) for judge in settings.judges)
    return settings.model_copy(update={"judges": judges, "rubric": rubric, "rubric_file": None})


def family_of(model: str) -> str:
    """Return the letters a model's name begins with: "qwen" of "Qwen/Qwen2.5-7B-Instruct"."""
    name = model.rstrip("/").rpartition("/")[2].lower()
    return name[: next((index for index, letter in enumerate(name) if not letter.isalpha()), len(name))]


def _read_rubric(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"Cannot read the rubric {path}: {error}. Expected a UTF-8 text file. Correct rubric_file; a relative "
            "path starts at the judges file."
        ) from error
    if not text.strip():
        raise SettingsError(
            f"The rubric {path} is empty. Expected what makes an answer better than another. Write it, or leave "
            "rubric_file out for the built-in rubric."
        )
    return text
