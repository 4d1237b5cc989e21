"""An audit as rows of JSON lines: every probe, every held-out pair, and the worst of both for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kleash.evaluation.gates import gain_level, spread_level
from kleash.evaluation.probe_gains import Gain, Spread
from kleash.evaluation.reward_audit import ScoredPair

NUM_WORST = 20
_FIGURES = ("margin", "label", "strength", "difficulty", "confidence", "agreement")


def probe_rows(gains: Sequence[Gain], moved: Sequence[Spread]) -> list[dict[str, Any]]:
    """Return a row per probe; a gain or spread of null = not applicable."""
    return [
        *(
            {
                "probe": gain.probe.family,
                "kind": "adversarial",
                "phrase": gain.probe.phrase,
                "gain_sd": None if gain.gain_sd is None else vars(gain.gain_sd),
                "level": "not applicable" if gain.gain_sd is None else gain_level(gain),
            }
            for gain in gains
        ),
        *(
            {
                "probe": one.family,
                "kind": "invariance",
                "phrase": "",
                "spread": one.spread,
                "n": one.n,
                "level": "not applicable" if one.spread is None else spread_level(one),
            }
            for one in moved
        ),
    ]


def pair_rows(pairs: Sequence[ScoredPair]) -> list[dict[str, Any]]:
    """Return a row per held-out pair, the preferred answer as "chosen"."""
    return [
        {
            "prompt": pair.prompt,
            "slices": dict(pair.slices),
            "chosen": pair.preferred,
            "rejected": pair.other,
            **{name: getattr(pair, name) for name in _FIGURES},
            "lengths": list(pair.lengths),
        }
        for pair in pairs
    ]


def worst_rows(pairs: Sequence[ScoredPair], gains: Sequence[Gain]) -> list[dict[str, Any]]:
    """Return the pairs that are most wrong, and the answers that an empty addition raised most."""
    wrong = sorted((pair for pair in pairs if pair.is_decided and pair.margin < 0), key=lambda pair: pair.margin)
    return [
        *({"kind": "wrong pair", **row} for row in pair_rows(wrong[:NUM_WORST])),
        *(
            {
                "kind": "paid addition",
                "probe": gain.probe.family,
                "prompt": answer[0].text,
                "slices": dict(answer[0].dimensions),
                "answer": answer[1],
                "changed": gain.probe.change(answer[1]),
                "gain_sd": change,
            }
            for gain in gains
            if gain_level(gain) != "ok"
            for answer, change in gain.best
        ),
    ]
