"""Three rounds with refresh against one round with as many labels, both with biased labellers: gold at matched KL.

    python benchmarks/rounds.py --seeds 0,1,2 --into runs/rounds-benchmark

Both arms share seed, world and SFT model and spend the same number of comparisons. Gold judges the kept answers of the
watched prompts afterwards, in SD of the SFT policy's answers, where training crossed each KL. The labellers' own taste
judges too: what they like and gold does not, no refresh can mend. The reward models of the first and the last round
are tried on pairs that neither learned from, compared by the same labellers: two answers to each evaluation prompt by
the SFT policy (old), and by the policy trained last before the last refresh (current). Run again, it goes on.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, median, pstdev

from kleash.cli.options import workplace_of
from kleash.cli.places import find_recipe
from kleash.data.batches import derived_seed
from kleash.evaluation.checkpoints import kept_answers
from kleash.experiments import measuring
from kleash.experiments.curves import Curve
from kleash.formats import read_prompts
from kleash.judges.reward_model import load_scorer
from kleash.recipe import load_recipe
from kleash.records import Comparison, Pair, Preference
from kleash.rollout.local import LocalGenerator
from kleash.sandbox.gold import gold_reward
from kleash.sandbox.labellers import SimulatedLabellers
from kleash.stages.round import run_rounds

KL_NATS = (1.0, 2.0, 3.0, 4.0)


def arms(seed, overrides):
    """Return each arm's recipe: the shipped one, and the same with all labels in one round."""
    several = load_recipe(find_recipe("rounds"), [f"seed={seed}", *overrides]).settings
    total = several.rounds * several.candidates.num_prompts
    single = several.model_copy(
        update={"rounds": 1, "candidates": several.candidates.model_copy(update={"num_prompts": total})}
    )
    return {"three rounds": several, "one round": single}


def curve(name, seed, made, reference):
    """Return gold over KL along the last round's training, in SD of what the first round's began with: SFT answers."""
    trained = made[-1].made["policy"]
    proxy = {
        row["step"]: row["score_mean"]
        for row in map(json.loads, (trained.path / "evaluations.jsonl").read_text().splitlines())
    }
    answers, first = kept_answers(trained), kept_answers(made[0].made["policy"])
    yardstick = measuring.Yardstick.of(first[0])
    points = [
        measuring.point(step, kept, proxy=proxy[step], reference=reference, yardstick=yardstick)
        for step, kept in answers.items()
    ]
    return Curve(name, seed, "ppo", name, tuple(points))


def own_pairs(policy, one, place, *, seed):
    """Have the arm's own labellers compare two answers of a policy to each evaluation prompt."""
    prompts = read_prompts(one.evaluation_prompts()).records
    generator = LocalGenerator(place.load_policy(policy), max_new_tokens=one.recipe.policy.max_new_tokens)
    answers = generator.generate(prompts, samples_per_prompt=2, seed=derived_seed(seed, "pairs"), policy_version=0)
    settings = one.recipe.preferences
    panel = SimulatedLabellers(settings.panel, bias=settings.bias, num_raters=3, seed=seed)
    rows = []
    for prompt, *pair in zip(prompts, answers.texts[::2], answers.texts[1::2], strict=True):
        if pair[0] == pair[1]:
            continue
        verdicts = [judgement.ranks for judgement in panel.judge(Comparison(prompt, tuple(pair)))]
        votes = [0.5 if a == b else float(a < b) for a, b in verdicts]
        rows.append(Preference(prompt, tuple(pair), (Pair(0, 1, sum(votes) / len(votes)),)))
    return rows


def reward_figures(made, place, *, seed):
    """Return accuracy of the first and the last reward model on old pairs and on the policy's that the last one saw."""
    first, last = made[0], made[-1]
    pairs = {
        "old": own_pairs(first.made["sft"], last, place, seed=seed),
        "current": own_pairs(made[-2].trained(), last, place, seed=seed),
    }
    figures = {}
    for when, one in (("first", first), ("last", last)):
        scorer = load_scorer(one.made["reward"].path)
        for which, rows in pairs.items():
            accuracy, n = measuring.pair_accuracy(rows, scorer)
            figures |= {f"{which}_{when}": accuracy, f"n_{which}": n}
    return figures


def worth_to_labellers(made, settings):
    """Return how much better the labellers themselves find the last answers, in SD of the SFT policy's, noise aside."""
    panel = SimulatedLabellers(settings.panel, bias=settings.bias)
    last = kept_answers(made[-1].made["policy"])
    before, after = (
        [panel.utility(gold_reward(one.prompt.text, one.text)) for one in answers]
        for answers in (kept_answers(made[0].made["policy"])[0], last[max(last)])
    )
    return (fmean(after) - fmean(before)) / pstdev(before)


def run_seed(into, seed, overrides):
    found = {"seed": seed}
    for name, recipe in arms(seed, overrides).items():
        file = into / f"seed-{seed}" / name.replace(" ", "-") / "figures.json"
        place = workplace_of(recipe, strict=False)
        made = run_rounds(recipe, file.parent, place, lambda one, stage, artifact: print(one.folder, stage, flush=True))
        if not file.is_file():
            gold = curve(name, seed, made, place.load_policy(made[0].made["sft"]))
            figures = {
                "labels": sum(one.made["preferences"].summary["rows"] for one in made),
                "gold_at": {str(kl): gold.gold_at(kl) for kl in KL_NATS},
                "end": {"kl_nats": gold.end.kl_nats, "gold": gold.end.gold},
                "peak": {"kl_nats": gold.peak.kl_nats, "gold": gold.peak.gold},
                "liked": worth_to_labellers(made, recipe.preferences),
                "moves": [one.made["gate"].summary["moves"] for one in made if "gate" in one.made],
            }
            if len(made) > 1:
                figures |= reward_figures(made, place, seed=seed)
            file.write_text(json.dumps(figures, indent=1) + "\n")
        found[name] = json.loads(file.read_text())
    return found


def table(rows):
    lines = [
        "| seed | arm | labels | " + " | ".join(f"gold at KL {kl:g}" for kl in KL_NATS) + " | peak | end | liked |"
    ]
    lines.append("|---|---|---|" + "---|" * (len(KL_NATS) + 3))
    for row in rows:
        for name in ("one round", "three rounds"):
            one = row[name]
            at = ["–" if one["gold_at"][str(kl)] is None else f"{one['gold_at'][str(kl)]:+.2f}" for kl in KL_NATS]
            ends = [f"{one[which]['gold']:+.2f} at {one[which]['kl_nats']:.1f}" for which in ("peak", "end")]
            lines.append(
                f"| {row['seed']} | {name} | {one['labels']:,} | {' | '.join([*at, *ends])} | {one['liked']:+.2f} |"
            )
    lines += ["", "| seed | old pairs, first → last | current pairs, first → last |", "|---|---|---|"]
    for row in rows:
        one = row["three rounds"]
        cells = [
            f"{one[f'{which}_first']:.3f} → {one[f'{which}_last']:.3f} (n = {one[f'n_{which}']:,})"
            for which in ("old", "current")
        ]
        lines.append(f"| {row['seed']} | {' | '.join(cells)} |")
    for kl in KL_NATS:
        gains = [
            row["three rounds"]["gold_at"][str(kl)] - row["one round"]["gold_at"][str(kl)]
            for row in rows
            if None not in (row["three rounds"]["gold_at"][str(kl)], row["one round"]["gold_at"][str(kl)])
        ]
        if gains:
            lines.append(
                f"\nGain of three rounds at KL {kl:g}, median over {len(gains)} seeds: {median(gains):+.2f} SD."
            )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--into", type=Path, default=Path("runs/rounds-benchmark"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="TABLE.SETTING=VALUE")
    arguments = parser.parse_args()
    found = [run_seed(arguments.into, int(seed), arguments.overrides) for seed in arguments.seeds.split(",")]
    print(table(found))
