"""What the pages of labelling and monitor share: headers, base look, templates, charts, visible text."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""Style sheet, icon and scripts that both services serve below /shared."""
