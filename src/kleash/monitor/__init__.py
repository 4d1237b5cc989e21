"""Show what a run did and whether it worked: one self-contained HTML page per run, and a web app over all of them.

`read/` reads a run folder as it lies on the disk, turns it into the typed figures that people ask for, says in words
what they mean and looks for trouble; `figures/` draws; `pages/` gathers what each page shows, and `templates/` writes
it as HTML. `app.py` and `routes.py` are the web app, `pages/report.py` is the report. No torch anywhere below; charts
are drawn by plotly in the browser.
"""
