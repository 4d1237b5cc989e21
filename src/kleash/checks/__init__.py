"""Checkers: rules that say of one answer whether it passes. Suites use them, and so may whatever else scores answers.

    verdicts.py     ItemResult: what a checker says
    table.py        the table of checks, by the name that a suite's rows use
    answers.py      exact, numeric, regex and grounded answers; numbers.py reads numbers, patterns.py runs patterns
    constraints.py  IFEval's checkable instructions
    code.py         unit-tested programs; programs.py finds them in answers, box.py the box that they run in
    conduct.py      safety and honesty; the rules are in refusals.py and honesty.py

A checker knows an answer and its row's parameters, and neither a model nor a suite. A new one is a function and a row
in `table.CHECKS`. Read `verdicts.py` next.
"""
