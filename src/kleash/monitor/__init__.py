"""Show what a run did and whether it worked: one self-contained HTML page per run.

`reader` reads a run folder as it lies on the disk, `findings` turns it into the typed figures that people ask for,
`verdict` says in words what they mean and checks for trouble, `charts` draws them and `report` writes the page.
No torch anywhere below; its charts are drawn by plotly in the browser.
"""
