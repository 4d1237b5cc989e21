"""Ask an OpenAI-compatible endpoint one question and say what came back; the one file that imports the openai client.

The client waits and asks again after timeouts, lost connections, 429 and 5xx, and obeys Retry-After; what is left is
told apart here: a reply, a question refused for good, no answer after all retries, or an endpoint that will answer
nothing as it is set up. The key is read once, and is blotted out of every text that leaves this file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from kleash.errors import RunError, SettingsError
from kleash.raters.configuration import JudgeSettings
from kleash.raters.prompting import ChatMessages
from kleash.raters.verdicts import verdict_schema

if TYPE_CHECKING:
    import openai

# What an endpoint says when not this question but the account, the model's name or the address is wrong.
_SET_UP_WRONGLY = {401: "api_key_env", 402: "the account", 403: "api_key_env", 404: "model and base_url"}


@dataclass(frozen=True)
class Reply:
    """What came back. text: the model's words, or the endpoint's reason for refusing or failing.

    is_cut: the reply ran into max_reply_tokens.  model: the name the endpoint gave, which may be more exact than the
    one asked for.  Tokens are those the endpoint counted; None when it counts none.
    """

    status: Literal["answered", "refused", "failed"]
    text: str
    model: str
    is_cut: bool = False
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    seconds: float = 0.0


class Endpoint:
    """One model at one address. Safe to use from several threads.

    Raises SettingsError when the openai package or the key is missing.
    """

    def __init__(self, settings: JudgeSettings) -> None:
        self.settings = settings
        self._key = _read_key(settings.api_key_env)
        self._client = _client(settings, self._key)

    def ask(self, messages: ChatMessages) -> Reply:
        """Send messages and wait for the reply, through all retries.

        Raises RunError when the endpoint would refuse every question alike: wrong key, model or address.
        """
        import openai

        sent: Any = [dict(message) for message in messages]
        started = time.monotonic()
        try:
            completion = self._client.chat.completions.create(**request_of(self.settings), messages=sent)
        except openai.APIStatusError as error:
            reply = self._turned_down(error)
        except openai.APIConnectionError as error:
            reply = self._no_answer(f"{error} {error.__cause__ or ''}")
        except (openai.APIError, ValueError) as error:
            reply = self._no_answer(f"The body is not a chat completion: {error}")
        else:
            reply = self._answered(completion)
        return replace(reply, seconds=time.monotonic() - started)

    def close(self) -> None:
        self._client.close()

    def _answered(self, completion: Any) -> Reply:
        choices = getattr(completion, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            return self._no_answer(f"The body is not a chat completion: {str(completion)[:200]}")
        message, usage = choices[0].message, getattr(completion, "usage", None)
        return Reply(
            status="answered",
            # A model's refusal to judge is its answer: it was paid for, and it is no verdict.
            text=self._blotted(message.content or getattr(message, "refusal", None) or ""),
            model=str(getattr(completion, "model", None) or self.settings.model),
            is_cut=choices[0].finish_reason == "length",
            prompt_tokens=getattr(usage, "prompt_tokens", None),
            reply_tokens=getattr(usage, "completion_tokens", None),
        )

    def _turned_down(self, error: openai.APIStatusError) -> Reply:
        code, reason = error.status_code, self._blotted(str(error))
        if suspect := _SET_UP_WRONGLY.get(code):
            raise RunError(
                f"{self.settings.base_url} answers {code} for model {self.settings.model}: {reason[:300]}. Expected an "
                f"endpoint that knows the model and takes the key. Check {suspect}; nothing that was answered is lost."
            ) from None
        is_for_good = 400 <= code < 500 and code not in (408, 409, 429)
        return Reply("refused" if is_for_good else "failed", reason, self.settings.model)

    def _no_answer(self, reason: str) -> Reply:
        return Reply("failed", self._blotted(reason.strip()), self.settings.model)

    def _blotted(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def request_of(settings: JudgeSettings) -> dict[str, Any]:
    """Return every field of a request but the messages: the model and what shapes its reply."""
    request: dict[str, Any] = {"model": settings.model, settings.reply_limit_name: settings.max_reply_tokens}
    if settings.temperature is not None:
        request["temperature"] = settings.temperature
    if settings.response_format == "json_schema":
        schema = verdict_schema(settings.aspects, rationale=settings.rationale)
        named = {"name": "verdict", "strict": True, "schema": schema}
        request["response_format"] = {"type": "json_schema", "json_schema": named}
    elif settings.response_format == "json_object":
        request["response_format"] = {"type": "json_object"}
    return request


def _read_key(variable: str | None, environment: Mapping[str, str] = os.environ) -> str:
    if variable is None:
        return ""
    key = environment.get(variable, "").strip()
    if not key:
        raise SettingsError(
            f"Environment variable {variable} is not set. Expected the judge's key in it, as api_key_env says. "
            "Export it, or leave api_key_env out for an endpoint without a key."
        )
    return key


def _client(settings: JudgeSettings, key: str) -> openai.OpenAI:
    try:
        import openai
    except ImportError as error:
        raise SettingsError(
            f"An AI judge needs the openai package, which cannot be imported ({error}). Expected it as part of the "
            "extra kleash[judge]. Install it: pip install 'kleash[judge]'."
        ) from error
    return openai.OpenAI(
        base_url=settings.base_url,
        # The client insists on a key; endpoints without one ignore it.
        api_key=key or "none",
        timeout=settings.timeout_seconds,
        max_retries=settings.max_retries,
    )
