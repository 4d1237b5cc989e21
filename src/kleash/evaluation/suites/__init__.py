"""Suites: files of prompts whose answers a rule can check, asked of a policy and its reference.

    items.py        SuiteItem, Verdict, Suite: the records
    checks.py       the table of checks, by the name that a suite's rows use
    answers.py      exact, numeric, regex and grounded answers
    constraints.py  IFEval's checkable instructions
    code.py         unit-tested code, in a closed subprocess
    reading.py      suite files to items: our own rows, GSM8K's, IFEval's
    variants.py     more items of an item: jailbreaks, stated beliefs, doubts
    running.py      answers to checked rows
    figures.py      rows to rates and differences
    history.py      rows and earlier rounds' rows to what broke since
    harness.py      tasks of lm-evaluation-harness, as rows of the same form

A new check is a function and a row in `checks.CHECKS`. Read `items.py` next.
"""
