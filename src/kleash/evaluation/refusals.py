"""The refusal verdicts of `checks/refusals.py` under the address by which evaluation offers them."""

from kleash.checks.refusals import Refusal, classify_refusal, is_refusal, refusal_probability

__all__ = ["Refusal", "classify_refusal", "is_refusal", "refusal_probability"]
