"""What rows of published data sets say that are like no other: lists of rated answers, votes, conversation trees.

One function per format of `shapes.py`, as in `readings.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kleash.formats import conversations, fields
from kleash.formats.fields import Content
from kleash.formats.readings import ABOUT, Reader, Reading, answered, judged, pairs_from_ranks
from kleash.formats.rows import RowProblem
from kleash.records import Comparison, Completion, Judgement, Pair, Prompt


def read_listed(
    ask: str, answers: str, text: str, standing: Sequence[str], *, sign: int, about: Sequence[str] = ()
) -> Reader:
    """One column lists answers as objects with a text and a rank (sign 1, the lowest is best) or a score (sign -1).

    standing: the names under which an object may hold it; the first one that is there counts.
    """

    def read(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
        listed = fields.column(row, answers)
        if (
            not isinstance(listed, list | tuple)
            or not all(isinstance(one, Mapping) for one in listed)
            or len(listed) < 2
        ):
            raise RowProblem(
                f"{answers!r} is {fields.shown(listed)}, not a list of two or more objects", "repair the row"
            )
        asked = fields.content(row, ask, about)
        if isinstance(asked, str) and conversations.is_transcript(asked):
            turns = conversations.transcript_turns(asked, ask)
            asked = turns if turns[-1].content else turns[:-1]
        texts = tuple(fields.text(one, text) for one in listed)
        values = [_standing(one, standing) for one in listed]
        prompt = fields.prompt_of(asked, row, slice_columns)
        sources = tuple(str(one.get("model") or "") for one in listed)
        return [by_standing(prompt, texts, [sign * value for value in values], sources=sources)]

    return read


def _standing(one: Content, names: Sequence[str]) -> float:
    return fields.number(one, next((name for name in names if one.get(name) is not None), names[0]))


def by_standing(prompt: Prompt, texts: tuple[str, ...], standing: Sequence[float], sources: tuple[str, ...]) -> Reading:
    """All pairs of answers by a number each, the lowest best."""
    ranks = [1 + sum(other < own for other in standing) for own in standing]
    best = ranks.index(1)
    return judged(prompt, texts, pairs_from_ranks(ranks), best=best, sources=sources if all(sources) else ())


def read_rated(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    """HelpSteer2: neighbouring rows with one prompt, an answer each, rated apart; the more helpful one is preferred."""
    answers = row["rows"]
    prompt = fields.prompt(answers[0], "prompt", slice_columns)
    texts = tuple(fields.text(one, "response") for one in answers)
    if len(texts) < 2:
        return [Reading(prompt, completions=(Completion(prompt, texts[0]),))]
    return [by_standing(prompt, texts, [-fields.number(one, "helpfulness") for one in answers], sources=())]


def read_flat_tree(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    """OpenAssistant's messages, a row each: those of one tree stand together."""
    nodes = {fields.text(one, "message_id"): {**one, "replies": []} for one in row["rows"]}
    if len(nodes) < len(row["rows"]):
        raise RowProblem("two messages of its tree have one message_id", "give each its own")
    roots = [node for node in nodes.values() if node.get("parent_id") is None]
    for node in nodes.values():
        if node in roots:
            continue
        if fields.text(node, "parent_id") not in nodes:
            raise RowProblem(
                f"message {node['message_id']!r} answers {node['parent_id']!r}, which is not beside it",
                "sort the file by message_tree_id",
            )
        nodes[node["parent_id"]]["replies"].append(node)
    if len(roots) != 1:
        raise RowProblem(f"its tree has {len(roots)} first messages", "sort the file by message_tree_id")
    return read_tree({**row["rows"][0], "prompt": roots[0]}, slice_columns)


PANDALM_RATERS = ("annotator1", "annotator2", "annotator3")
_PANDALM_RANKS = {0: (1, 1), 1: (1, 2), 2: (2, 1)}


def read_pandalm(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.prompt(row, "instruction", slice_columns, ABOUT)
    answers = (_response(row, "response1"), _response(row, "response2"))
    votes = [fields.whole_number(row, rater) for rater in PANDALM_RATERS]
    if not set(votes) <= set(_PANDALM_RANKS):
        raise RowProblem(f"its annotators say {votes}", "write 0 for a tie, 1 or 2 for the better response")
    models = tuple(str(row.get("cmp_key", "")).split("_"))
    sources = models if len(models) == 2 else ()
    comparison = Comparison(prompt, answers, sources)
    judgements = tuple(
        Judgement(comparison.id, rater, "person", (0, 1), "ranked", _PANDALM_RANKS[vote])
        for rater, vote in zip(PANDALM_RATERS, votes, strict=True)
    )
    label = (votes.count(1) + votes.count(0) / 2) / len(votes)
    best = None if label == 0.5 else int(label < 0.5)
    return [
        judged(
            prompt,
            answers,
            (Pair(0, 1, label),),
            best=best,
            sources=sources,
            num_judgements=len(votes),
            judgements=judgements,
        )
    ]


def _response(row: Content, name: str) -> str:
    """Return a response; the published file holds six that were the word true, written without quotes."""
    return str(row[name]).lower() if isinstance(row.get(name), bool) else fields.text(row, name)


def read_tree(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    root = fields.column(row, "prompt")
    if not isinstance(root, Mapping):
        raise RowProblem(f"'prompt' is {fields.shown(root)}, not a message with its replies", "remove the row")
    points: list[Reading] = []
    for point in conversations.branchings(root):
        prompt = fields.prompt_of(point.prompt, row, slice_columns)
        ranked = [index for index, rank in enumerate(point.rank) if rank is not None]
        if len(ranked) < 2:
            points += answered(prompt, point.replies[0], {}, "text") if len(point.replies) == 1 else [Reading(prompt)]
            continue
        ranks = [point.rank[index] or 0 for index in ranked]
        points.append(
            judged(
                prompt,
                tuple(point.replies[index] for index in ranked),
                pairs_from_ranks(ranks),
                best=ranks.index(min(ranks)),
                sources=tuple(point.authors[index] for index in ranked),
            )
        )
    return points
