"""What the pages of labelling and monitor share: headers for browsers, the base look, model text made visible."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""Style sheet, icon and scripts that both services serve below /shared."""
