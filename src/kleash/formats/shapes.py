"""What rows mean: one entry in `SHAPES` per accepted layout of columns, each a function from a row to what it says.

A new format is a function that returns `Reading`s, in `readings.py`, and an entry in the table at the end. Instruction
formats give plain text prompts, conversation formats give messages; `data/prompts.py` turns one into the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from kleash.formats import conversations, fields, readings
from kleash.formats.fields import Content
from kleash.formats.readings import Reading

Kind = Literal["prompts", "demonstrations", "preferences", "labelled", "completions", "comparisons", "judgements"]


@dataclass(frozen=True)
class Shape:
    """A layout of columns.

    gives: the kinds of records in it, first the one that such files are kept for. is_like: a closer look at a row where
    columns alone do not tell. is_tree: a row says many things, or nothing, and neither is a fault.
    """

    name: str
    columns: tuple[str, ...]
    gives: tuple[Kind, ...]
    read: Callable[[Content, Sequence[str]], list[Reading]]
    is_like: Callable[[Content], bool] = lambda row: True
    optional: tuple[str, ...] = ()
    is_tree: bool = False

    def fits(self, row: Content) -> bool:
        return all(row.get(name) is not None for name in self.columns) and self.is_like(row)


_ANSWERED: tuple[Kind, ...] = ("demonstrations", "prompts", "completions")
_PAIRED: tuple[Kind, ...] = ("preferences", "comparisons", "prompts", "completions", "demonstrations")


def _holds_transcripts(row: Content) -> bool:
    return conversations.is_transcript(row.get("chosen")) or conversations.is_transcript(row.get("rejected"))


# The more particular shape comes first: the first one that fits half of a file's rows is taken.
SHAPES: tuple[Shape, ...] = (
    Shape("judgement", ("comparison_id", "rater", "outcome"), ("judgements",), readings.read_judgement),
    Shape(
        "preference",
        ("prompt", "completions", "pairs"),
        ("preferences", "comparisons", "prompts", "completions"),
        readings.read_preference,
        optional=("num_judgements", "left_out", "aspects", "sources"),
    ),
    Shape(
        "ranking",
        ("prompt", "completions", "ranks"),
        _PAIRED,
        readings.read_ranking,
        optional=("strength", "sources"),
    ),
    Shape(
        "comparison",
        ("prompt", "completions"),
        ("comparisons", "prompts", "completions"),
        readings.read_comparison,
        optional=("sources",),
    ),
    Shape(
        "pandalm",
        ("instruction", "response1", "response2", *readings.PANDALM_RATERS),
        ("preferences", "comparisons", "judgements", "prompts", "completions", "demonstrations"),
        readings.read_pandalm,
        optional=("input", "cmp_key"),
    ),
    Shape(
        "oasst-tree",
        ("message_tree_id", "prompt"),
        _PAIRED,
        readings.read_tree,
        is_like=lambda row: isinstance(row["prompt"], dict),
        is_tree=True,
    ),
    Shape(
        "alpaca-preference",
        ("instruction", "chosen", "rejected"),
        _PAIRED,
        readings.read_alpaca_preference,
        optional=("input", "output", "strength"),
    ),
    Shape("trl-preference", ("prompt", "chosen", "rejected"), _PAIRED, readings.read_trl, optional=("strength",)),
    Shape("hh", ("chosen", "rejected"), _PAIRED, readings.read_hh, _holds_transcripts, optional=("strength",)),
    Shape(
        "hh-text",
        ("chosen", "rejected"),
        _PAIRED,
        readings.read_hh_text,
        _holds_transcripts,
        optional=("strength",),
    ),
    Shape(
        "trl-preference-implicit",
        ("chosen", "rejected"),
        _PAIRED,
        readings.read_trl_implicit,
        optional=("strength",),
    ),
    Shape(
        "two-answers",
        ("prompt", "response_a", "response_b", "winner"),
        _PAIRED,
        readings.read_two_answers,
        optional=("strength",),
    ),
    Shape(
        "trl-unpaired",
        ("prompt", "completion", "label"),
        ("labelled", "prompts", "completions"),
        readings.read_unpaired,
        lambda row: fields.is_truth_value(row["label"]),
    ),
    Shape(
        "sampled",
        ("prompt", "completion", "finish_reason"),
        ("completions", "prompts", "demonstrations"),
        readings.read_sampled,
        optional=("token_ids", "logprobs", "policy_id", "policy_version", "temperature", "seed", "tokenizer"),
    ),
    Shape(
        "prompt-completion",
        ("prompt", "completion"),
        _ANSWERED,
        readings.read_prompt_completion,
        lambda row: not fields.is_truth_value(row.get("label")),
    ),
    Shape("messages", ("messages",), _ANSWERED, readings.read_messages("messages")),
    Shape("sharegpt", ("conversations",), _ANSWERED, readings.read_messages("conversations")),
    Shape("alpaca", ("instruction", "output"), _ANSWERED, readings.read_alpaca, optional=("input",)),
    Shape("dolly", ("instruction", "response"), _ANSWERED, readings.read_dolly, optional=("context",)),
    Shape("gsm8k", ("question", "answer"), _ANSWERED, readings.read_gsm8k),
    Shape("prompt", ("prompt",), ("prompts",), readings.read_prompt("prompt")),
    Shape("question", ("question",), ("prompts",), readings.read_prompt("question")),
    Shape(
        "instruction",
        ("instruction",),
        ("prompts",),
        readings.read_instruction,
        optional=("input",),
    ),
    Shape("text", ("text",), ("demonstrations",), readings.read_document),
)
