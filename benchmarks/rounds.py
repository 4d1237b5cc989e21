"""Three rounds with refresh against one round with as many labels, all with biased labellers: gold at matched KL.

    python benchmarks/rounds.py --seeds 0,1,2 --into runs/rounds-benchmark

Three arms share seed, world and SFT model and spend the same number of comparisons: three rounds; one round; and one
long round, which trains on the reward model of the one round for as many updates as three rounds do. Gold judges
afterwards, in SD of the SFT policy's answers: the kept answers of the watched prompts, at every evaluation of every
round, and each round's last policy on the held-out prompts. An arm's end is the mean of its last four evaluations; what
another arm had at that KL is the mean of its evaluations within half a nat.

The labellers' own taste judges too: what they like and gold does not, no refresh can mend. The reward models before and
after each refresh are tried on pairs that neither learned from: four answers to each evaluation prompt by the SFT
policy (old) and by the policy trained last before the refresh (current), each compared with each by fifteen of the same
labellers, so that a figure says more about the model than about the noise of three. Clear: at least twelve agree. Run
again, it goes on.
"""

import argparse
import json
import shutil
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, pstdev

import torch

from kleash.data.batches import TokenSequence, derived_seed
from kleash.durable import read_rows
from kleash.evaluation.checkpoints import kept_answers
from kleash.experiments import measuring
from kleash.formats import read_prompts
from kleash.locations import find_recipe
from kleash.models.chat import encode_prompt
from kleash.models.forward import sequence_logprobs
from kleash.recipe import load_recipe
from kleash.records import Comparison, Pair, Preference
from kleash.rollout.local import LocalGenerator
from kleash.runs import context_from
from kleash.sandbox.gold import gold_reward
from kleash.sandbox.labellers import SimulatedLabellers
from kleash.stages.round import run_rounds

ARMS = ("three rounds", "one round", "one long round")
ANSWERS, RATERS, CLEAR_MAJORITY = 4, 15, 0.8
SHARED = ("world", "sft", "candidates", "preferences", "reward")


def arms(seed, overrides):
    """Return each arm's recipe: the shipped one, the same with all labels in one round, and with all updates too."""
    several = load_recipe(find_recipe("rounds"), [f"seed={seed}", *overrides])
    candidates = several.candidates.model_copy(update={"num_prompts": several.rounds * several.candidates.num_prompts})
    single = several.model_copy(update={"rounds": 1, "candidates": candidates})
    longer = single.policy.model_copy(update={"steps": several.rounds * several.policy.steps})
    return dict(zip(ARMS, (several, single, single.model_copy(update={"policy": longer})), strict=True))


def watched_points(made, reference):
    """Return every evaluation of every round: KL to the SFT model, and gold and the labellers' taste of the answers."""
    settings = made[0].recipe.preferences
    panel = SimulatedLabellers(settings.panel, bias=settings.bias)

    def taste(answers):
        return [panel.utility(gold_reward(one.prompt.text, one.text)) for one in answers]

    first = kept_answers(made[0].made["policy"])[0]
    yardstick, liked_first = measuring.gold_of(first), taste(first)
    points = []
    for number, one in enumerate(made):
        for step, answers in kept_answers(one.made["policy"]).items():
            kl_nats = kl_to_sft(answers, reference)
            point = measuring.point(step, answers, kl_nats=kl_nats, proxy=0.0, yardstick=yardstick)
            liked = (fmean(taste(answers)) - fmean(liked_first)) / pstdev(liked_first)
            figures = {"kl_nats": point.kl_nats, "gold": point.gold, "liked": liked}
            points.append({"round": number, "update": step, **figures, "flattery": point.num_flattery})
    return points


def kl_to_sft(answers, reference):
    """Return the mean of log pi - log pi_sft over kept answers, whose own are exact in float32."""
    sequences = [TokenSequence(encode_prompt(reference.tokenizer, one.prompt), one.token_ids) for one in answers]
    with torch.no_grad():
        reference_logprob_N = sequence_logprobs(reference, sequences, max_tokens=4096)
    return fmean(sum(one.logprobs) for one in answers) - float(reference_logprob_N.mean())


def held_out(one):
    """Return gold of a round's policy on the held-out prompts, less the SFT policy's and in its SD, and its KL."""
    rows = list(read_rows(one.made["evaluation"].path / "samples.jsonl"))
    before, after = ([row[when]["judge"] for row in rows] for when in ("before", "after"))
    kl_nats = fmean(row["after"]["kl_nats"] for row in rows)
    return {"kl_nats": kl_nats, "gold": (fmean(after) - fmean(before)) / pstdev(before), "n": len(rows)}


def own_pairs(policy, one, context, *, seed):
    """Have many of the arm's own labellers compare a policy's answers to each evaluation prompt, each with each."""
    prompts = read_prompts(one.evaluation_prompts()).records
    generator = LocalGenerator(context.load_policy(policy), max_new_tokens=one.recipe.policy.max_new_tokens)
    answers = generator.generate(
        prompts, samples_per_prompt=ANSWERS, seed=derived_seed(seed, "pairs"), policy_version=0
    )
    settings = one.recipe.preferences
    panel = SimulatedLabellers(settings.panel, bias=settings.bias, num_raters=RATERS, seed=seed)
    rows = []
    for number, prompt in enumerate(prompts):
        different = dict.fromkeys(answers.texts[ANSWERS * number : ANSWERS * (number + 1)])
        for pair in combinations(different, 2):
            verdicts = [judgement.ranks for judgement in panel.judge(Comparison(prompt, pair))]
            votes = [0.5 if a == b else float(a < b) for a, b in verdicts]
            rows.append(Preference(prompt, pair, (Pair(0, 1, fmean(votes)),)))
    return rows


def accuracies(rows, scorers):
    """Return each scorer's accuracy on all pairs that are decided, and on those with a clear majority."""
    clear = [row for row in rows if max(row.pairs[0].label, 1 - row.pairs[0].label) >= CLEAR_MAJORITY]
    figures = {}
    for name, part in (("all", rows), ("clear", clear)):
        measured = [measuring.pair_accuracy(part, scorer) for scorer in scorers]
        figures[name] = {"accuracy": [accuracy for accuracy, _ in measured], "n": measured[0][1]}
    return figures


def refresh_figures(made, index, *, seed):
    """Return, for each refresh, what the reward models before and after it make of old and of current pairs."""
    scorers = [one.scorer_source().scorer for one in made]
    old = own_pairs(made[0].made["sft"], made[-1], index, seed=seed)
    figures = []
    for number in range(1, len(made)):
        before_and_after = scorers[number - 1 : number + 1]
        current = own_pairs(made[number - 1].made["policy"], made[-1], index, seed=seed)
        figures.append({"old": accuracies(old, before_and_after), "current": accuracies(current, before_and_after)})
    return figures


def run_arm(name, recipe, folder, seed):
    """Run one arm, or go on with it, and return its figures, which are kept in its folder."""
    context, file = context_from(recipe, strict=False), folder / "figures.json"
    if file.is_file():
        return json.loads(file.read_text())
    made = run_rounds(recipe, folder, context, lambda one, stage, artifact: print(one.folder, stage, flush=True))
    figures = {
        "labels": sum(one.made["preferences"].summary["rows"] for one in made),
        "points": watched_points(made, context.load_policy(made[0].made["sft"])),
        "held_out": [held_out(one) for one in made],
        "moves": [one.made["gate"].summary["moves"] for one in made if "gate" in one.made],
    }
    figures["refreshes"] = refresh_figures(made, context, seed=seed) if len(made) > 1 else []
    file.write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def run_seed(output_dir, seed, overrides):
    found = {"seed": seed}
    folders = {name: output_dir / f"seed-{seed}" / name.replace(" ", "-") for name in ARMS}
    for name, recipe in arms(seed, overrides).items():
        if name == "one long round":
            for stage in SHARED:
                source, copy = (folders[arm] / "round-000" / stage for arm in ("one round", name))
                if not copy.exists():
                    shutil.copytree(source, copy)
        found[name] = run_arm(name, recipe, folders[name], seed)
    return found


def at_the_end(arm):
    return {figure: fmean(point[figure] for point in arm["points"][-4:]) for figure in ("kl_nats", "gold", "liked")}


def near(arm, kl_nats):
    """Return gold where an arm was within half a nat of this KL; None where it never was."""
    golds = [point["gold"] for point in arm["points"] if abs(point["kl_nats"] - kl_nats) <= 0.5]
    return fmean(golds) if golds else None


def signed(value):
    return "–" if value is None else f"{value:+.2f}"


def table(rows):
    lines = [
        "| seed | arm | labels | updates | end: gold at KL | gold at KL of three rounds | liked | held-out prompts |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    gains = {(name, where): [] for name in ARMS[1:] for where in ("watched", "held-out")}
    for row in rows:
        three = row["three rounds"]
        goal = at_the_end(three)
        for name in ARMS:
            arm = row[name]
            end, last = at_the_end(arm), arm["held_out"][-1]
            matched = goal["gold"] if arm is three else near(arm, goal["kl_nats"])
            updates = sum(
                max(p["update"] for p in arm["points"] if p["round"] == number)
                for number in range(len(arm["held_out"]))
            )
            cells = [f"{signed(end['gold'])} at {end['kl_nats']:.1f}", signed(matched), signed(end["liked"])]
            cells.append(f"{signed(last['gold'])} at {last['kl_nats']:.1f} (n = {last['n']:,})")
            lines.append(f"| {row['seed']} | {name} | {arm['labels']:,} | {updates} | {' | '.join(cells)} |")
            if arm is not three:
                gains[name, "held-out"].append(three["held_out"][-1]["gold"] - last["gold"])
                if matched is not None:
                    gains[name, "watched"].append(goal["gold"] - matched)
    lines += ["", "| seed | refresh | old pairs | of them clear | current pairs | of them clear |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        for number, refresh in enumerate(row["three rounds"]["refreshes"], start=1):
            cells = [
                "{:.1f} → {:.1f} % (n = {:,})".format(*(100 * share for share in one["accuracy"]), one["n"])
                for one in (refresh[which][part] for which in ("old", "current") for part in ("all", "clear"))
            ]
            lines.append(f"| {row['seed']} | {number} | {' | '.join(cells)} |")
    lines.append("")
    for (name, where), each in gains.items():
        if each:
            listed = ", ".join(map(signed, each))
            at = "at the same KL" if where == "watched" else "at the end"
            lines.append(f"Three rounds less {name}, {where} prompts {at}: {listed}; median {median(each):+.2f} SD.")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--into", type=Path, default=Path("runs/rounds-benchmark"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="TABLE.SETTING=VALUE")
    arguments = parser.parse_args()
    found = [run_seed(arguments.output_dir, int(seed), arguments.overrides) for seed in arguments.seeds.split(",")]
    print(table(found))
