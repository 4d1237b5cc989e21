"""The name by which others ask what kind of answer a text is; the rules and weights are in `kleash.checks.refusals`."""

from kleash.checks.refusals import classify_refusal

__all__ = ["classify_refusal"]
