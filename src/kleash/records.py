"""The nouns of RLHF as plain frozen records: prompt, demonstration, completion, comparison, judgement, preference.

No torch here, and nothing of training: files, labelling and training all speak in these. A record's `id` is a hash of
what a reader would see, so the same prompt or comparison has the same id in every file and on every machine.
A slice of the prompts is named "dimension=value" and its metrics "slice/dimension=value/metric"; both are put together
and read back at the end of this file, and nowhere else. Read `formats.py` next for how files become records.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args

from kleash.errors import DataError

Role = Literal["system", "user", "assistant", "tool"]
RaterKind = Literal["person", "ai", "rule", "simulated"]
Strength = Literal["slightly", "better", "much"]
Outcome = Literal["ranked", "both_bad", "skipped"]
Tag = Literal["left_out", "difficulty", "red_team", "selected_by"]

TAGS: tuple[str, ...] = get_args(Tag)
NO_DIMENSIONS: Mapping[str, str] = {}
FigureT = TypeVar("FigureT")


def content_id(*parts: object) -> str:
    """Return 16 hex digits that identify JSON-able parts by content."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Prompt:
    """What a policy is asked: plain text used as it stands, or messages for the tokenizer's chat template.

    slices: {dimension: value}, such as {"topic": "sums"}; they travel with the prompt to the last metric.
    tags: bookkeeping, named in `TAGS`: why an answer stays out, how hard the scorer finds the prompt, which attack it
    is, which arm selected its pair.
    criteria: what this prompt's answers are to be judged by beside the rubric; raters see it, no policy does.
    check: how a rule can check an answer, as a suite's row says it: {"kind": ...} and parameters; campaigns keep none.
    None of these is part of the prompt's id.
    """

    content: str | tuple[Message, ...]
    slices: Mapping[str, str] = field(default_factory=lambda: NO_DIMENSIONS, compare=False)
    tags: Mapping[str, str] = field(default_factory=lambda: NO_DIMENSIONS, compare=False)
    criteria: str = field(default="", compare=False)
    check: Mapping[str, Any] = field(default_factory=lambda: NO_DIMENSIONS, compare=False)

    @property
    def id(self) -> str:
        return content_id("prompt", self.content_json())

    @property
    def text(self) -> str:
        """The prompt as a person would read it."""
        if isinstance(self.content, str):
            return self.content
        if len(self.content) == 1:
            return self.content[0].content
        return "\n\n".join(f"{message.role}: {message.content}" for message in self.content)

    @property
    def dimensions(self) -> Mapping[str, str]:
        """All that figures are told apart by: slices, then tags."""
        return {**self.slices, **self.tags}

    def with_dimensions(self, dimensions: Mapping[str, str]) -> Prompt:
        """Return the same prompt with more dimensions: those named in `TAGS` become tags, the others slices."""
        tags = {name: value for name, value in dimensions.items() if name in TAGS}
        slices = {name: value for name, value in dimensions.items() if name not in TAGS}
        return replace(self, slices={**self.slices, **slices}, tags={**self.tags, **tags})

    def rubric_version(self, version: str) -> str:
        """Return what judgements of this prompt's answers go by: the rubric's version, and the criteria's if any."""
        return f"{version}+{content_id('criteria', self.criteria)}" if self.criteria else version

    def content_json(self) -> str | list[dict[str, str]]:
        if isinstance(self.content, str):
            return self.content
        return [{"role": message.role, "content": message.content} for message in self.content]


@dataclass(frozen=True)
class Demonstration:
    """A prompt with an answer worth imitating."""

    prompt: Prompt
    completion: str


@dataclass(frozen=True)
class Completion:
    """One sampled answer with everything needed to know where it came from.

    token_ids and logprobs (nats, at `temperature`) are as sampled and are never re-tokenized; an answer that no
    policy of ours sampled (a file's) has neither. tokenizer: whose ids they are, as `models.chat.tokenizer_digest`
    has it; to any other model, and where it is not recorded, they mean nothing, and the text is read.
    """

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: Literal["stop", "length", "unknown"] = "unknown"
    policy_id: str = ""
    policy_version: int = 0
    temperature: float = 1.0
    seed: int = 0
    tokenizer: str = ""

    @property
    def id(self) -> str:
        return content_id("completion", self.prompt.content_json(), self.text)


@dataclass(frozen=True)
class Comparison:
    """K >= 2 answers to one prompt, to be ranked by a rater. `sources` names each answer's policy artifact or file."""

    prompt: Prompt
    completions: tuple[str, ...]
    sources: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        # Two pairs of models may give the same two answers: raters judge both, and each counts for its own models.
        sources = [list(self.sources)] if self.sources else []
        criteria = [self.prompt.criteria] if self.prompt.criteria else []
        return content_id("comparison", self.prompt.content_json(), list(self.completions), *sources, *criteria)


UNANSWERED = ("failed", "refused")
"""What became of a request that brought no reply: no answer after all retries, or turned down for good."""


@dataclass(frozen=True)
class Judgement:
    """What one rater said about one comparison; append-only wherever it is stored.

    permutation: permutation[i] is the index of the completion shown in place i.
    ranks: one rank per completion in the comparison's own order, 1 = best, equal = tied; empty unless `ranked`.
    aspects: the same kind of ranks asked apart, such as {"factuality": (1, 2), "style": (2, 1)}.
    flags: what else was noticed: "unsafe" or "unreadable" by a person, "position_flip" by an AI judge that changed its
    mind when the answers changed places.
    """

    comparison_id: str
    rater: str
    rater_kind: RaterKind
    permutation: tuple[int, ...]
    outcome: Outcome
    ranks: tuple[int, ...] = ()
    strength: Strength | None = None
    aspects: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    rubric_version: str = ""
    seconds: float | None = None
    rationale: str = ""
    flags: tuple[str, ...] = ()

    @property
    def is_unanswered(self) -> bool:
        """Whether an endpoint gave no answer here: an outage, which is nobody's verdict and is asked about again."""
        return self.outcome == "skipped" and bool(set(UNANSWERED) & set(self.flags))


@dataclass(frozen=True)
class JudgeCall:
    """One request to an AI judge and what came back, kept whole whether or not a verdict could be read from it.

    key: hash over model, messages and sampling settings, so that the same question is never paid for twice.
    permutation: the order in which the answers were shown.  status: "ok", or why there is no verdict: "unparsed"
    (a reply without a readable verdict), "refused" (by the endpoint, for good), "failed" (after all retries).
    """

    key: str
    comparison_id: str
    judge: str
    model: str
    prompt_digest: str
    rubric_version: str
    permutation: tuple[int, ...]
    status: Literal["ok", "unparsed", "refused", "failed"]
    reply: str
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """completions[first] against completions[second]; label = share of votes for the first, .5 = tie, in [0, 1]."""

    first: int
    second: int
    label: float
    strength: Strength | None = None


@dataclass(frozen=True)
class Preference:
    """One training row: the answers to one prompt and what the raters made of their pairs.

    All pairs of a prompt's ranking stay in one row, so that they stay in one batch element. A row that is kept for
    the record but not trained on ("both bad", skipped, filtered) says why in `left_out`.
    """

    prompt: Prompt
    completions: tuple[str, ...]
    pairs: tuple[Pair, ...]
    num_judgements: int = 1
    left_out: str = ""
    aspects: Mapping[str, tuple[Pair, ...]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelledCompletion:
    """One answer with a thumb up or down, for KTO and other unpaired losses."""

    prompt: Prompt
    completion: str
    is_desirable: bool


def prompt_from_json(content: Any, dimensions: Mapping[str, str] | None = None, criteria: str = "") -> Prompt:
    """Rebuild a prompt from `Prompt.content_json()`, `Prompt.dimensions` and its criteria."""
    if not isinstance(content, str):
        content = tuple(Message(turn["role"], turn["content"]) for turn in content)
    return Prompt(content, criteria=criteria).with_dimensions(dimensions or {})


def comparisons_of(answers: Sequence[Completion], *, num_completions: int) -> list[Comparison]:
    """Group each prompt's different answers into comparisons of `num_completions`; a lone answer is left over.

    Raises DataError when no prompt has two different answers.
    """
    per_prompt: dict[str, list[Completion]] = defaultdict(list)
    for answer in answers:
        if all(answer.text != other.text for other in per_prompt[answer.prompt.id]):
            per_prompt[answer.prompt.id].append(answer)
    comparisons = [
        Comparison(group[0].prompt, tuple(a.text for a in group), tuple(a.policy_id for a in group))
        for different in per_prompt.values()
        for start in range(0, len(different), num_completions)
        if len(group := different[start : start + num_completions]) >= 2
    ]
    if not comparisons:
        raise DataError(
            f"None of the {len(per_prompt)} prompts has two different answers among its candidates. Expected at least "
            "one pair to compare. Raise candidates.samples_per_prompt or the temperature."
        )
    return comparisons


# ----------------------------------------------------------------------------------------------------------- slices
def slice_names(dimensions: Mapping[str, str]) -> list[str]:
    """Name the slices that something with these dimensions is in: "dimension=value" each."""
    return [f"{dimension}={value}" for dimension, value in dimensions.items()]


def split_slice(name: str) -> tuple[str, str]:
    """Return a slice's (dimension, value); the dimension of a name without "=" is empty."""
    dimension, equals, value = name.partition("=")
    return (dimension, value) if equals else ("", name)


def group_by_slice(dimensions: Iterable[Mapping[str, str]]) -> dict[str, list[int]]:
    """Return the numbers of the rows that are in each slice, by its name. dimensions: one mapping per row."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, of_row in enumerate(dimensions):
        for name in slice_names(of_row):
            groups[name].append(row)
    return dict(sorted(groups.items()))


def slice_metric(name: str, metric: str) -> str:
    """Name a metric of a slice: "slice/dimension=value/metric"; of all prompts, whose name is "", it is the metric."""
    return f"slice/{name}/{metric}" if name else metric


def by_slice(metrics: Mapping[str, FigureT], metric: str) -> dict[str, FigureT]:
    """Return one metric of every slice, {"dimension=value": figure}, from all metrics by name."""
    start, end = "slice/", f"/{metric}"
    of_slices = {name: value for name, value in metrics.items() if name.startswith(start) and name.endswith(end)}
    return {name.removeprefix(start).removesuffix(end): value for name, value in of_slices.items()}
