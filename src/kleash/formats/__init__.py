"""Every accepted file format to records and back. No torch: labelling, the command line and training all read by this.

    reading.py        files to records: `read_preferences` and its like; bad rows, repeats, what was not understood
    shapes.py         the table of formats: one entry per layout of columns
    recognising.py    which of them a file has
    readings.py       what one row of each format says; published.py: of data sets that are like no other
    sources.py        which files are meant: a folder, one split of it, a pattern
    rows.py           JSONL, JSON, CSV, Parquet, Arrow, text and hub sets to rows
    documents.py      plain text to documents
    conversations.py  transcripts and trees to prompts and answers
    fields.py         single columns, checked
    canonical.py      records to our own JSON lines and back, and preferences to Parquet and TRL's rows

Read `reading.py` next.
"""

from kleash.formats.canonical import Record, to_json, write_jsonl
from kleash.formats.reading import (
    Loaded,
    format_names,
    kind_of_file,
    read,
    read_comparisons,
    read_completions,
    read_demonstrations,
    read_judgements,
    read_labelled,
    read_preferences,
    read_prompts,
)
from kleash.formats.readings import pairs_from_ranks
from kleash.formats.recognising import BadRow
from kleash.formats.shapes import Kind

__all__ = [
    "BadRow",
    "Kind",
    "Loaded",
    "Record",
    "format_names",
    "kind_of_file",
    "pairs_from_ranks",
    "read",
    "read_comparisons",
    "read_completions",
    "read_demonstrations",
    "read_judgements",
    "read_labelled",
    "read_preferences",
    "read_prompts",
    "to_json",
    "write_jsonl",
]
