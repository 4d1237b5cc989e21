"""The labelling service: campaigns, blind assignment, judgements, their quality, and the web pages for all of it.

`judgements.py` has the nouns; `store/` all SQL; `assignment.py`, `quality.py` and their like are pure; `app.py` and
`routes/` are the web. Nothing here imports torch.
"""
