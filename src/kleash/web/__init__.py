"""What the pages of labelling and monitor share: headers, base look, templates, figures, wording, visible text."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""Style sheet, icon and scripts that both services serve below /shared."""

PLOTLY = STATIC / "plotly-basic-4.1.1.min.js"
"""What draws the figures: npm's plotly.js-basic-dist-min as published (MIT); all of plotly is four times as large."""
