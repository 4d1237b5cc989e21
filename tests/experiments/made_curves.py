"""Hand-made curves in which every criterion holds; a test spoils one of them."""

import math

from kleash.experiments.curves import Curve, Point

KLS = [0.0, 0.25, 1.0, 2.25, 4.0, 6.25, 9.0]
LEASHED_KLS = [0.0, 0.25, 1.0, 1.0, 1.0]


def curve(name, gold, *, proxy=None, kls=KLS, seed=0, kind="ppo", words=None, extra=None):
    """gold, proxy, words: a value per KL; proxy grows by 1 per sqrt(nat) if not given."""
    proxy = [math.sqrt(kl) for kl in kls] if proxy is None else proxy
    words = [5.0 + index for index in range(len(kls))] if words is None else words
    points = tuple(
        Point(index, kl, proxy[index], gold[index], num_words=words[index], num_flattery=words[index] / 10)
        for index, kl in enumerate(kls)
    )
    return Curve(name, seed, kind, name, points, extra or {})


def law(a, b):
    """d (a - b log d), the law for PPO; 0 at the start."""
    return [math.sqrt(kl) * (a - b * math.log(math.sqrt(kl))) if kl else 0.0 for kl in KLS]


def good_curves(*, seed=0):
    """Return {name: curve} of one seed for which C1 to C9 all hold."""
    kl_4 = KLS[:5]
    best_kls = [0.0, 0.19, 0.64, 1.2, 1.84, 2.5, 3.17]
    best = {
        name: [math.sqrt(kl) * (a - b * math.sqrt(kl)) for kl in best_kls]
        for name, a, b in (("biased", 1.0, 0.4), ("unbiased", 1.0, 0.2))
    }
    biased = [0.0, 0.3, 0.6, 0.5, 0.2, -0.1, -0.5]
    refreshed = {
        "accuracy_current_before": 0.60,
        "accuracy_current_after": 0.70,
        "accuracy_old_before": 0.75,
        "accuracy_old_after": 0.74,
    }
    curves = [
        curve("ppo-biased", biased),
        curve("ppo-unbiased", law(0.9, 0.3)),
        curve("ppo-leashed", [0.0, 0.3, 0.6, 0.6, 0.6], kls=LEASHED_KLS, extra={"target_nats": 1.1}),
        curve("ppo-unbiased-1000", [0.0, 0.2, 0.4, 0.6, 0.6, 0.5, 0.4]),
        curve("ppo-unbiased-250", [0.0, 0.1, 0.2, 0.2, 0.1, 0.0, 0.0]),
        curve("ppo-refreshed", [0.0, 0.3, 0.6, 0.9, 1.0, 1.0, 1.0], extra=refreshed),
        curve("ppo-noisy", [0.0, 0.2, 0.3, 0.2, 0.0], kls=kl_4),
        curve("ppo-noisy-worst", [0.0, 0.2, 0.3, 0.3, 0.3], kls=kl_4),
        curve("ppo-noisy-uncertainty", [0.0, 0.2, 0.3, 0.3, 0.1], kls=kl_4),
        curve("ppo-biased-worst", biased),
        curve("best-of-n-biased", best["biased"], kls=best_kls, kind="best_of_n"),
        curve("best-of-n-unbiased", best["unbiased"], kls=best_kls, kind="best_of_n"),
        *(curve(name, [0.0, 0.4], kls=[0.0, 2.0], kind="direct") for name in ("dpo", "ipo", "kto")),
    ]
    return {made.name: Curve(made.name, seed, made.kind, made.about, made.points, made.extra) for made in curves}
