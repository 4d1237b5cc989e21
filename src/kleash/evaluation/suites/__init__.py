"""Suites: files of prompts whose answers a rule can check, asked of a policy and its reference.

    items.py        SuiteItem, Suite: the records
    reading.py      suite files to items: our own rows, GSM8K's, IFEval's
    given.py        answers made elsewhere, from a file
    variants.py     more items of an item: jailbreaks, stated beliefs, doubts
    running.py      answers to checked rows
    figures.py      rows to rates and differences
    history.py      rows and earlier rounds' rows to what broke since
    harness.py      tasks of lm-evaluation-harness, as rows of the same form

The checkers are in `kleash/checks/`. Read `items.py` next.
"""
