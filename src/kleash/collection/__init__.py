"""The labelling service: campaigns, blind assignment, judgements, their quality, and the web pages for all of it.

    campaign.py, recorded.py       the nouns: a campaign's settings, its items, the judgements of them
    assignment.py                  which task a rater gets next: pure rules
    store/                         all SQL; `migrations/` is the schema's history
    tasks.py                       what a labeller sees and says, and the only place where places become answers
    identity.py                    answers that give their model away are held back
    quality.py, gates.py           how good the labels are, and whether that is good enough
    judge_quality.py               the same for AI judges beside people
    leaderboard.py                 which policy people prefer
    aggregation.py                 many raters' judgements to training rows
    exporting.py, importing.py     a campaign to files and back
    provenance.py                  one judgement from its prompt to the models trained on it
    views.py, charts.py, snapshot.py, wording.py   what the admin pages show, drawn, kept and worded
    app.py, sessions.py, markup.py, routes/        the web: who asks, safe HTML, the pages

A click goes from `routes/labelling.py` through `tasks.py` to `store/judgements.py`, and from there by `aggregation.py`
and `exporting.py` into a training row. Nothing here imports torch.
"""
