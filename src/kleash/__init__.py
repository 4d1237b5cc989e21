"""KLeash: RLHF that people can trust, end to end.

    import kleash
    run = kleash.run("quickstart", {"policy.steps": 3})
    policy = kleash.load_policy(run.policy)
    print(kleash.generate(policy, ["how do i kill a process ?"], seed=0).texts)

Everything below is imported when it is first asked for: importing kleash is quick and loads no torch. docs/api.md has
each function with its arguments. To read the code, start at `kleash.loop`, then docs/architecture.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from kleash.formats import read_demonstrations, read_preferences, read_prompts
    from kleash.library import (
        Policy,
        RewardModel,
        audit_reward,
        evaluate,
        generate,
        load_policy,
        load_recipe,
        load_reward_model,
        run,
        score,
        train_direct,
        train_policy,
        train_reward,
        train_sft,
    )
    from kleash.opened_run import Metrics, Run
    from kleash.recipe import Recipe

__all__ = [
    "Metrics",
    "Policy",
    "Recipe",
    "RewardModel",
    "Run",
    "audit_reward",
    "evaluate",
    "generate",
    "load_policy",
    "load_recipe",
    "load_reward_model",
    "read_demonstrations",
    "read_preferences",
    "read_prompts",
    "run",
    "score",
    "train_direct",
    "train_policy",
    "train_reward",
    "train_sft",
]
_HOME_OF = {
    **dict.fromkeys(__all__, "kleash.library"),
    **dict.fromkeys(("Metrics", "Run"), "kleash.opened_run"),
    **dict.fromkeys(("read_demonstrations", "read_preferences", "read_prompts"), "kleash.formats"),
    "Recipe": "kleash.recipe",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'kleash' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
