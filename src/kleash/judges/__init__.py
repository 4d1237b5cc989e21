"""Scorers and judges: how an answer is valued."""
