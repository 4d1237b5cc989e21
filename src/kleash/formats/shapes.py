"""What rows mean: one entry in `SHAPES` per accepted layout of columns, each a function from a row to what it says.

A new format is a function that returns `Reading`s, in `readings.py`, and an entry in the table at the end. Instruction
formats give plain text prompts, conversation formats give messages; `data/prompts.py` turns one into the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kleash.formats import conversations, fields, published, readings
from kleash.formats.fields import Content
from kleash.formats.readings import ABOUT, Reader

Kind = Literal["prompts", "demonstrations", "preferences", "labelled", "completions", "comparisons", "judgements"]


@dataclass(frozen=True)
class Shape:
    """A layout of columns.

    gives: the kinds of records in it, first the one that such files are kept for. is_like: a closer look at a row where
    columns alone do not tell. is_tree: a row says many things, or nothing, and neither is a fault.
    group_by: neighbouring rows that agree in this column are read as one, {"rows": [...]}.
    check: a look at a file's first rows together; raises RowProblem where they mean nothing certain.
    is_listed: named in messages; a layout that only varies the names of another is not.
    """

    name: str
    columns: tuple[str, ...]
    gives: tuple[Kind, ...]
    read: Reader
    is_like: Callable[[Content], bool] = lambda row: True
    optional: tuple[str, ...] = ()
    is_tree: bool = False
    group_by: str = ""
    is_listed: bool = True
    check: Callable[[Sequence[Content]], None] = lambda rows: None

    def fits(self, row: Content) -> bool:
        return all(row.get(name) is not None for name in self.columns) and self.is_like(row)


_ANSWERED: tuple[Kind, ...] = ("demonstrations", "prompts", "completions")
_PAIRED: tuple[Kind, ...] = ("preferences", "comparisons", "prompts", "completions", "demonstrations")
_CONTEXT = (*fields.SYSTEM, fields.HISTORY)


def _holds_transcripts(row: Content) -> bool:
    return conversations.is_transcript(row.get("chosen")) or conversations.is_transcript(row.get("rejected"))


def _lists_objects(column: str) -> Callable[[Content], bool]:
    return lambda row: isinstance(row[column], list) and bool(row[column]) and isinstance(row[column][0], dict)


def _answered(name: str, columns: tuple[str, ...], read: Reader, optional: tuple[str, ...] = ()) -> tuple[Shape, Shape]:
    """A layout with one answer, with a thumb and without: only the latter is worth imitating."""
    unpaired = Shape(
        f"{name}-unpaired",
        columns,
        ("labelled", "prompts", "completions"),
        read,
        lambda row: fields.thumb_of(row) is not None,
        optional=(*optional, *_CONTEXT, *fields.THUMBS),
        check=readings.check_thumbs,
        is_listed=False,
    )
    return unpaired, Shape(
        name,
        columns,
        _ANSWERED,
        read,
        lambda row: fields.thumb_of(row) is None,
        optional=(*optional, *_CONTEXT),
        is_listed=name != "-".join(columns) or columns in _NAMES,
    )


def _pair(name: str, ask: str, chosen: str = "chosen", rejected: str = "rejected") -> Shape:
    read = readings.read_pair(ask, chosen, rejected)
    return Shape(name, (ask, chosen, rejected), _PAIRED, read, optional=("strength", *_CONTEXT))


def _transcripts(name: str, read: Reader) -> Shape:
    return Shape(name, ("chosen", "rejected"), _PAIRED, read, _holds_transcripts, optional=("strength",))


def _listed(name: str, ask: str, answers: str, text: str, standing: Sequence[str], *, sign: int) -> Shape:
    """A layout in which one column lists the answers (`published.read_listed`)."""
    read = published.read_listed(ask, answers, text, standing, sign=sign)
    return Shape(name, (ask, answers), _PAIRED, read, _lists_objects(answers), optional=_CONTEXT)


def _two_answers(name: str, columns: tuple[str, str, str, str], label_of: Mapping[str, float]) -> Shape:
    """columns: what asks, the two answers, the verdict."""
    read = readings.read_two_answers(*columns, label_of)
    return Shape(name, columns, _PAIRED, read, optional=("strength",))


# Which columns ask and which answer where a row has one answer; the usual pairs have names of their own.
_ASKS = ("prompt", "instruction", "question", "query", "input")
_ANSWERS = ("completion", "response", "output", "answer")
_NAMES = {
    ("prompt", "completion"): "prompt-completion",
    ("instruction", "output"): "alpaca",
    ("instruction", "response"): "dolly",
    ("question", "answer"): "gsm8k",
}


def _about(ask: str) -> tuple[str, ...]:
    return {"instruction": ABOUT, "question": ("context",)}.get(ask, ())


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
        ("instruction", "response1", "response2", *published.PANDALM_RATERS),
        ("preferences", "comparisons", "judgements", "prompts", "completions", "demonstrations"),
        published.read_pandalm,
        optional=("input", "cmp_key"),
    ),
    Shape(
        "oasst-tree",
        ("message_tree_id", "prompt"),
        _PAIRED,
        published.read_tree,
        is_like=lambda row: isinstance(row["prompt"], dict),
        is_tree=True,
    ),
    Shape(
        "oasst-flat",
        ("message_id", "message_tree_id", "role", "text"),
        _PAIRED,
        published.read_flat_tree,
        optional=("parent_id", "rank", "deleted", "model_name"),
        is_tree=True,
        group_by="message_tree_id",
    ),
    _listed(
        "ultrafeedback", "instruction", "completions", "response", ("overall_score", "fine-grained_score"), sign=-1
    ),
    _listed("nectar", "prompt", "answers", "answer", ("rank",), sign=1),
    Shape("helpsteer2", ("prompt", "response", "helpfulness"), _PAIRED, published.read_rated, group_by="prompt"),
    _two_answers(
        "helpsteer2-preference",
        ("prompt", "response_1", "response_2", "preference_strength"),
        {"-3": 1.0, "-2": 1.0, "-1": 1.0, "0": 0.5, "1": 0.0, "2": 0.0, "3": 0.0},
    ),
    _two_answers("pku-saferlhf", ("prompt", "response_0", "response_1", "better_response_id"), {"0": 1.0, "1": 0.0}),
    _two_answers("shp", ("history", "human_ref_A", "human_ref_B", "labels"), {"1": 1.0, "0": 0.0}),
    _two_answers("llmbar", ("input", "output_1", "output_2", "label"), {"1": 1.0, "2": 0.0}),
    Shape(
        "alpaca-preference",
        ("instruction", "chosen", "rejected"),
        _PAIRED,
        readings.read_alpaca_preference,
        optional=(*ABOUT, "output", "strength", *_CONTEXT),
    ),
    _pair("trl-preference", "prompt"),
    _pair("question-preference", "question"),
    _pair("sharegpt-preference", "conversations"),
    _pair("messages-preference", "messages"),
    _pair("openai-preference", "input", "preferred_output", "non_preferred_output"),
    _transcripts("hh", readings.read_hh),
    _transcripts("hh-text", readings.read_hh_text),
    Shape(
        "trl-preference-implicit",
        ("chosen", "rejected"),
        _PAIRED,
        readings.read_trl_implicit,
        optional=("strength", *_CONTEXT),
    ),
    Shape(
        "two-answers",
        ("prompt", "response_a", "response_b", "winner"),
        _PAIRED,
        readings.read_two_answers("prompt", "response_a", "response_b", "winner"),
        optional=("strength", *_CONTEXT),
        check=readings.check_winner,
    ),
    Shape(
        "trl-unpaired",
        ("prompt", "completion", "label"),
        ("labelled", "prompts", "completions"),
        readings.read_unpaired,
        lambda row: fields.thumb_of(row) is not None,
        optional=(*fields.THUMBS, *_CONTEXT),
        check=readings.check_thumbs,
    ),
    Shape(
        "sampled",
        ("prompt", "completion", "finish_reason"),
        ("completions", "prompts", "demonstrations"),
        readings.read_sampled,
        optional=("token_ids", "logprobs", "policy_id", "policy_version", "temperature", "seed", "tokenizer"),
    ),
    *(
        shape
        for ask in _ASKS
        for answer in _ANSWERS
        for shape in _answered(
            _NAMES.get((ask, answer), f"{ask}-{answer}"),
            (ask, answer),
            readings.read_answered(ask, answer, _about(ask)),
            optional=_about(ask),
        )
    ),
    *_answered("messages", ("messages",), readings.read_messages("messages")),
    *_answered("sharegpt", ("conversations",), readings.read_messages("conversations")),
    *(
        Shape(ask, (ask,), ("prompts",), readings.read_prompt(ask, _about(ask)), optional=(*_about(ask), *_CONTEXT))
        for ask in ("prompt", "question", "instruction")
    ),
    Shape("text", ("text",), ("demonstrations",), readings.read_document),
)
