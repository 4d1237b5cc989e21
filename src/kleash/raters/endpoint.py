"""Ask an OpenAI-compatible endpoint one question and say what came back; the one file that imports the openai client.

The client waits and asks again after timeouts, lost connections, 429 and 5xx, and obeys Retry-After; what is left is
told apart here: a reply, a question refused for good, no answer after all retries, or an endpoint that will answer
nothing as it is set up. The key is read once, and is blotted out of every text that leaves this file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
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

    num_throttled: how often it has said 429, "not so fast", retries included.
    Raises SettingsError when the openai package or the key is missing.
    """

    def __init__(self, settings: JudgeSettings) -> None:
        self.settings = settings
        self.num_throttled = 0
        self._key = _read_key(settings.api_key_env)
        self._client = _client(settings, self._key, self._heard)

    def ask(self, messages: ChatMessages) -> Reply:
        """Send messages and wait for the reply, through all retries.

        Raises RunError when the endpoint would refuse every question alike: wrong key, model or address.
        """
        import openai

        sent: Any = [dict(message) for message in messages]
        started = time.monotonic()
        try:
            # The body as it came: what endpoints put where the client expects text is more than its types know.
            raw = self._client.chat.completions.with_raw_response.create(**request_of(self.settings), messages=sent)
            body = json.loads(raw.http_response.content)
        except openai.APIStatusError as error:
            reply = self._turned_down(error)
        except openai.APIConnectionError as error:
            reply = self._no_answer(f"{error} {error.__cause__ or ''}")
        except (openai.APIError, ValueError, RecursionError) as error:
            reply = self._no_answer(f"The body is not a chat completion: {error}")
        else:
            reply = self._answered(body)
        return replace(reply, seconds=time.monotonic() - started)

    def close(self) -> None:
        self._client.close()

    def _heard(self, response: Any) -> None:
        self.num_throttled += response.status_code == 429

    def _answered(self, body: Any) -> Reply:
        choices = _entry(body, "choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message, usage = _entry(choice, "message"), _entry(body, "usage")
        if not isinstance(message, dict):
            return self._no_answer(f"The body is not a chat completion: {str(body)[:200]}")
        return Reply(
            status="answered",
            text=self._blotted(_text_of(message)),
            model=str(_entry(body, "model") or self.settings.model),
            is_cut=_entry(choice, "finish_reason") == "length",
            prompt_tokens=_count(_entry(usage, "prompt_tokens")),
            reply_tokens=_count(_entry(usage, "completion_tokens")),
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


def _text_of(message: Mapping[str, Any]) -> str:
    """Return what a model said: its words, its parts of text joined, or else why there are none.

    A model's refusal to judge is its answer: it was paid for, and it is no verdict. Thoughts without an answer are kept
    as thoughts that never ended, which hold no verdict either.
    """
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    said = "".join(part if isinstance(part, str) else _text(_entry(part, "text")) for part in parts)
    thoughts = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    return said or _text(message.get("refusal")) or (f"<think>{thoughts}" if thoughts else "")


def _entry(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _read_key(variable: str | None, environment: Mapping[str, str] = os.environ) -> str:
    if variable is None:
        return ""
    key = environment.get(variable, "").strip()
    if not key:
        raise SettingsError(
            f"Environment variable {variable} is not set. Expected the judge's key in it, as api_key_env says. Export "
            "it, or leave api_key_env out for an endpoint without a key."
        )
    return key


def _client(settings: JudgeSettings, key: str, hear: Callable[[Any], None]) -> openai.OpenAI:
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
        http_client=openai.DefaultHttpxClient(event_hooks={"response": [hear]}),
    )
