"""Write docs/api.md from the docstrings of what `import kleash` offers; tests/test_docs.py holds the page against them.

    python docs/make_api.py
"""

import inspect
from pathlib import Path

import kleash

PAGE = Path(__file__).with_name("api.md")
SECTIONS = {
    "Whole runs": ("run", "Run", "Metrics", "Recipe", "load_recipe"),
    "Data": ("read_prompts", "read_demonstrations", "read_preferences"),
    "Models": ("load_policy", "load_reward_model", "Policy", "RewardModel"),
    "Training": ("train_sft", "train_reward", "audit_reward", "train_policy", "train_direct"),
    "Sampling, scoring, measuring": ("generate", "score", "evaluate"),
}
HEAD = """# The library

`import kleash` is quick and loads no torch; each name below is imported when it is first used. What a function makes is
the artifact that the command or the recipe of the same settings makes, found again by the same call. Errors that are
yours to mend are `kleash.errors.KleashError`: they say what was wrong, what was expected and what to do. Three whole
scripts are in `examples/`.

```python
import kleash

run = kleash.run("quickstart", {"policy.steps": 3, "world.num_prompts": 400}, name="notebook")
print(run.summary.win_rate, run.summary.kl_nats_per_sequence)
policy = kleash.load_policy(run.policy)
print(kleash.generate(policy, ["how do i kill a process ?"], seed=0).texts)
```

A function of your own stands wherever a recipe names one: as `scorer`, as `judge`, or in `overrides` such as
`{"preferences.comparer": my_function}`. Its digest is recorded, so an edited function is refused when a stage is to go
on; one whose content cannot be told (it holds an open file, say) is "unrecorded", and a stage with it does not go on.

<!-- Below: written by docs/make_api.py from the docstrings. -->
"""


def api_page() -> str:
    parts = [HEAD]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [entry(name, getattr(kleash, name)) for name in names]
    return "\n".join(parts)


def entry(name: str, thing: object) -> str:
    lines = [f"### `kleash.{name}`\n"]
    if inspect.isfunction(thing):
        lines += ["```python", signature(name, thing), "```\n"]
    lines.append(inspect.getdoc(thing) or "")
    if inspect.isclass(thing):
        for attribute, member in vars(thing).items():
            text = inspect.getdoc(member) if not isinstance(member, type) else None
            is_own = inspect.isfunction(member) or isinstance(member, property | classmethod) or hasattr(member, "func")
            if is_own and text and not attribute.startswith("_") and name in ("Run", "Metrics"):
                call = "()" if inspect.isfunction(member) or isinstance(member, classmethod) else ""
                lines.append(f"\n- `.{attribute}{call}`: {text.splitlines()[0]}")
    return "\n".join(lines) + "\n"


def signature(name: str, function: object) -> str:
    parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    shown, seen_star = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not seen_star:
            shown.append("*")
            seen_star = True
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        default = default.replace("PosixPath('runs')", "'runs'")
        shown.append(f"{'**' if parameter.kind is parameter.VAR_KEYWORD else ''}{parameter.name}{default}")
    line = f"{name}({', '.join(shown)})"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(shown) + ",\n)"


if __name__ == "__main__":
    PAGE.write_text(api_page(), encoding="utf-8")
