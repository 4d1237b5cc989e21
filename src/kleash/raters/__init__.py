"""Who compares answers without being a person: AI judges behind an endpoint, alone or as a panel, and scorers.

ai_feedback.py     an AI judge as a `Comparer`: start here
configuration.py   its settings, and the judges file
prompting.py       how two answers are put before it
verdicts.py        what it must answer, and how its reply is read
merging.py         verdicts in both orders to one judgement
judge_run.py       one run: questions sent, replies kept, limits held
endpoint.py        one request; the only file that imports the openai client
panel.py           several judges, and what they say together
monitoring.py      how good a judge is: agreement, flips, length; the band it must keep to
drift.py           since when a judge that labels is no longer good enough
score_comparer.py  a scorer as a rater, for rules and experiments
"""
