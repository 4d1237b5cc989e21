"""A whole recipe in a few seconds: thirty prompts, a tiny random model, every stage with a handful of steps."""

import json
import shutil

import torch

from kleash.artifacts import read
from kleash.durable import partial_path
from kleash.recipe import Recipe
from kleash.stages.context import ModelSettings, StageContext
from kleash.stages.round import Round, run_rounds
from kleash.stages.support.alarming import AlarmSettings, AlarmSetup

STAGES = ("sft", "candidates", "preferences", "reward", "policy", "direct", "evaluation")
JUDGE = "stages.judge:likes_short_words"  # by module: a name with a path would draw other labels in each checkout
FIT = {"batch_size": 4, "learning_rate": 1e-3, "checkpoint_every": 2, "epochs": 3.0, "max_steps": 4}
TABLES = {
    "sft": {"holdout_share": 0.2, "fit": FIT},
    "candidates": {"num_prompts": 16, "max_new_tokens": 6},
    "preferences": {"comparer": JUDGE, "score_temperature": 0.5, "campaign": {"overlap": 2}},
    "reward": {"holdout_share": 0.3, "normaliser_samples": 8, "normaliser_max_new_tokens": 6, "fit": FIT},
    "policy": {
        "steps": 4,
        "prompts_per_step": 4,
        "max_new_tokens": 6,
        "epochs": 2,
        "minibatches": 2,
        "evaluate_every": 1,
        "checkpoint_every": 2,
        "optimiser": {"learning_rate": 3e-3},
        "leash": {"hold_updates": 1},
        "watch": {"patience_evaluations": 1},
    },
    "direct": {"fit": FIT},
    "evaluation": {"judge": JUDGE, "max_new_tokens": 6},
}


def write_data(folder):
    """Write demonstrations and two files of prompts; return them as a recipe's [data] table."""
    folder.mkdir(parents=True, exist_ok=True)
    things = ("cat", "dog", "tree", "house", "mat")
    questions = [f"is {number} {thing} big?" for number in ("one", "two", "six") for thing in things]
    rows = {
        "demonstrations": [{"prompt": text, "completion": f"yes the {text[3:8]} is"} for text in questions],
        "prompts": [{"prompt": f"why {text}", "slices": {"thing": text.split()[2]}} for text in questions],
        "evaluation_prompts": [{"prompt": f"how {text}", "slices": {"thing": text.split()[2]}} for text in questions],
    }
    for name, content in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return {name: str(folder / f"{name}.jsonl") for name in rows}


def tiny_recipe(base, data, *, stages=STAGES, seed=0, **tables):
    """tables: settings to change, such as policy={"steps": 2}."""
    changed = {name: {**TABLES.get(name, {}), **tables.get(name, {})} for name in {*TABLES, *tables}}
    return Recipe(name="tiny", base=str(base), data=data, stages=stages, seed=seed, **changed)


def tiny_context(*, seed=0, **model):
    return StageContext(model=ModelSettings(device="cpu", **model), seed=seed)


class ScriptedSignal:
    """An external signal whose win rates are given, by place of the evaluation; the first is the reference's, a half.

    It counts the answers kept in `folder` before an evaluation, so that a resumed run hears what it would have heard.
    """

    def __init__(self, folder, win_rates):
        self.folder, self.win_rates = folder, (0.5, *win_rates)

    def votes(self, prompts, reference, now):
        rate = self.win_rates[len(list((self.folder / "answers").glob("step-*.jsonl")))]
        num_wins = round(rate * len(prompts) - 0.01)
        return [0.5] * len(prompts) if rate == 0.5 else [float(row < num_wins) for row in range(len(prompts))]


def scripted_alarms(output_dir, *win_rates, action="roll_back"):
    """Return alarms with a scripted signal for a policy stage that writes `into`."""
    settings = AlarmSettings(action=action, comparer="simulated")
    return AlarmSetup(settings, ScriptedSignal(partial_path(output_dir), win_rates))


class TinyRound(Round):
    """A round whose policy stage also has an external signal: best after two updates, and by then out of patience."""

    def inputs(self, stage):
        inputs = super().inputs(stage)
        if stage.name != "policy":
            return inputs
        alarm_setup = scripted_alarms(self.folder / "policy", 0.8, 1.0, 0.6)
        return inputs | {"evaluation_prompts": self.evaluation_prompts, "alarm_setup": alarm_setup}


def run_round(base, data, folder, **tables):
    """Run (or go on with) a tiny round in a folder; return its artifacts by stage."""
    torch.set_num_threads(1)
    recipe = tiny_recipe(base, data, **tables)
    return TinyRound(recipe, folder, tiny_context(seed=recipe.seed)).run()


# Two rounds with an ensemble, whose leash hears of slices and of whoever says how the policy does.
ROUNDS = {
    "reward": {"members": 2},
    "scorer": {"kind": "ensemble"},
    "world": {"kind": "stages.tiny_recipe:make_tiny_world"},
    "alarms": {"comparer": JUDGE, "score_temperature": 0.5},
    "policy": {
        "steps": 6,
        "evaluate_every": 2,
        "checkpoint_every": 1,
        "leash": {"heeds_quality": True, "slice_limits": {"thing=cat": 1.5, "*": 3.0}},
        "watch": {"min_kl_nats": -1000.0, "max_kl_ratio": None},
    },
    "refresh": {"selection": {"num_pairs": 12}},
    "gate": {"num_prompts": 3},  # too few to hold anything back
}


def make_tiny_world(context, settings, output_dir):
    """Be a world plug-in that only has prompts to answer while training: no other data file can."""
    if done := context.find_finished(output_dir, kind="world", parents={}, settings=settings):
        return done
    with context.write_artifact(output_dir, kind="world", parents={}, settings=settings) as draft:
        shutil.copy(write_data(draft.work)["evaluation_prompts"], draft.path / "watched_prompts.jsonl")
    return read(output_dir)


def run_two_rounds(base, data, folder):
    """Run (or go on with) two tiny rounds in a run's folder; return them."""
    torch.set_num_threads(1)
    stages = ("world", *(stage for stage in STAGES if stage != "direct"))
    recipe = tiny_recipe(base, data, stages=stages, **ROUNDS).model_copy(update={"rounds": 2})
    return run_rounds(recipe, folder, tiny_context())
