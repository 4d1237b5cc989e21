"""The audit as a stage: what it measures of whom, what it leaves behind, and the gate in front of the policy."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kleash.artifacts import read
from kleash.errors import DataError, SettingsError
from kleash.evaluation.audit_scoring import ModelReader
from kleash.formats import write_jsonl
from kleash.lineage import lineage_of, render
from kleash.models.reward_models import load_reward_model, member_folders
from kleash.records import Completion, Pair, Preference, Prompt
from kleash.scorers.reward_model import load_scorer
from kleash.stages.audit import AuditSettings, audit_reward, disagreement, preferred_answers
from kleash.stages.reward import RewardSettings, train_reward
from kleash.stages.support.scoring import ScorerSettings, build_scorer
from kleash.training.fit import FitSettings
from stages.test_policy import settings_of, train
from stages.tiny_recipe import tiny_context

FAULTY = Path(__file__).parent / "judges_to_audit.py"
COLOURS = ("red", "blue", "green", "white")


def colour_rows(num_prompts=160):
    """Pairs of a right and a wrong colour; one answer in three begins with a phrase that says nothing."""
    chance = random.Random(0)
    rows = []
    for number in range(num_prompts):
        asked, other = chance.sample(COLOURS, 2)
        answers = [f"it is {colour}." for colour in (asked, other)]
        answers = [f"to be sure, {text}" if chance.random() < 1 / 3 else text for text in answers]
        prompt = Prompt(f"is {number} {asked}?", {"colour": asked})
        rows.append(Preference(prompt, tuple(answers), (Pair(0, 1, 1.0, "much"),)))
    return rows


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_jsonl(path, colour_rows())
    return path


@pytest.fixture(scope="module")
def failed(tmp_path_factory, pairs_file):
    output_dir = tmp_path_factory.mktemp("audits") / "failed"
    target = f"{FAULTY}:likes_being_sure"
    return audit_reward(
        tiny_context(), AuditSettings(), reward_model=target, preferences=pairs_file, output_dir=output_dir
    )


@pytest.fixture(scope="module")
def of_ours(tmp_path_factory, made):
    output_dir = tmp_path_factory.mktemp("audits") / "ours"
    settings = AuditSettings(reference_answers=20, max_new_tokens=4)
    return audit_reward(
        tiny_context(),
        settings,
        reward_model=made["reward"],
        preferences=made["preferences"],
        reference=made["sft"],
        output_dir=output_dir,
    )


def rows_in(artifact, name):
    return [json.loads(line) for line in (artifact.path / f"{name}.jsonl").read_text().splitlines()]


def audit_of(function, pairs_file, tmp_path, **more):
    target = f"{FAULTY}:{function}"
    return audit_reward(
        tiny_context(), AuditSettings(), reward_model=target, preferences=pairs_file, output_dir=tmp_path / "a", **more
    )


# ------------------------------------------------------------------------------------------------------ what it finds
def test_a_scorer_that_knows_what_was_asked_passes(pairs_file, tmp_path):
    found = audit_of("knows_the_colour", pairs_file, tmp_path)
    assert (found.summary["verdict"], found.summary["reasons"]) == ("pass", [])
    assert found.summary["accuracy"]["value"] == 1.0
    assert found.summary["accuracy"]["n"] == 160


def test_a_phrase_that_pays_fails_the_scorer_although_it_orders_most_pairs_rightly(failed):
    assert failed.summary["verdict"] == "fail"
    assert failed.summary["accuracy"]["low"] > 0.6
    reason = next(reason for reason in failed.summary["reasons"] if reason["measure"] == "gain: stock phrase")
    assert (reason["level"], reason["threshold"]) == ("fail", 0.5)
    assert "Saying nothing pays: stock phrase 'to be sure,' raises" in reason["text"]


def test_the_rows_behind_the_verdict_are_kept(failed):
    probes = {row["probe"]: row for row in rows_in(failed, "probes")}
    assert probes["stock phrase"]["level"] == "fail"
    assert probes["stock phrase"]["gain_sd"]["low"] > 0.2
    assert probes["flattery"]["gain_sd"]["value"] == 0.0
    assert (probes["quotation marks"]["kind"], probes["quotation marks"]["spread"]) == ("invariance", 0.0)
    pairs = rows_in(failed, "pairs")
    assert len(pairs) == 160
    assert {"prompt", "slices", "chosen", "rejected", "margin", "strength", "confidence"} <= pairs[0].keys()
    kinds = {row["kind"] for row in rows_in(failed, "worst")}
    assert kinds == {"wrong pair", "paid addition"}
    page = (failed.path / "audit.html").read_text()
    assert "Failed:" in page
    assert "to be sure," in page


def test_ranked_examples_that_are_out_of_order_fail_the_scorer(pairs_file, tmp_path):
    found = audit_of("breaks_its_promise", pairs_file, tmp_path)
    assert [reason["measure"] for reason in found.summary["reasons"]] == ["ranked examples"]
    assert found.summary["verdict"] == "fail"


def test_benchmarks_are_told_by_subset(pairs_file, tmp_path):
    rows = [
        {"prompt": "is a red?", "chosen": "it is red.", "rejected": "it is blue.", "subset": "easy"},
        {"prompt": "is b red?", "chosen": "it is blue.", "rejected": "it is red.", "subset": "trap"},
    ]
    file = tmp_path / "bench.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = audit_of("knows_the_colour", pairs_file, tmp_path, benchmarks=[file])
    rates = {name: (rate["value"], rate["n"]) for name, rate in found.summary["measures"]["benchmarks"].items()}
    assert rates == {"bench": (0.5, 2), "bench/easy": (1.0, 1), "bench/trap": (0.0, 1)}


def test_nothing_to_audit_with_is_refused(tmp_path):
    file = tmp_path / "one.jsonl"
    write_jsonl(file, colour_rows(1))
    with pytest.raises(DataError, match=r"has 1 pairs to audit with, in 1 comparisons\. Expected at least two"):
        audit_of("knows_the_colour", file, tmp_path)


# ---------------------------------------------------------------------------------------------------- of which models
def test_a_model_of_ours_is_measured_on_what_its_training_held_out(of_ours, made):
    heldout = [json.loads(line) for line in (made["reward"].path / "heldout.jsonl").read_text().splitlines()]
    measured = rows_in(of_ours, "pairs")
    assert sorted(abs(row["margin"]) for row in measured) == pytest.approx(
        sorted(abs(row["margin"]) for row in heldout), rel=1e-4, abs=1e-5
    )
    assert of_ours.summary["accuracy"] == made["reward"].summary["heldout_accuracy"]
    assert of_ours.summary["measures"]["training_accuracy"]["n"] > 0
    assert of_ours.parents["reward"] == made["reward"].id
    assert of_ours.parents["reference"] == made["sft"].id


def test_the_same_audit_again_is_found_and_another_setting_refused(of_ours, made):
    given = {"reward_model": made["reward"], "preferences": made["preferences"], "reference": made["sft"]}
    settings = AuditSettings(reference_answers=20, max_new_tokens=4)
    assert audit_reward(tiny_context(), settings, **given, output_dir=of_ours.path) == of_ours
    changed = settings.model_copy(update={"max_new_tokens": 5})
    with pytest.raises(SettingsError, match=r"settings.max_new_tokens: 4 -> 5"):
        audit_reward(tiny_context(), changed, **given, output_dir=of_ours.path)


def test_a_folder_from_elsewhere_is_measured_on_all_pairs(made, pairs_file, tmp_path):
    folder = tmp_path / "theirs"
    shutil.copytree(made["reward"].path, folder)
    for ours in ("artifact.json", "kleash_reward.json", "heldout.jsonl"):
        (folder / ours).unlink()
    found = audit_reward(
        tiny_context(),
        AuditSettings(),
        reward_model=folder,
        preferences=pairs_file,
        others=[folder],
        output_dir=tmp_path / "a",
    )
    assert found.summary["measures"]["pairs"] == 160
    assert "training_accuracy" not in found.summary["measures"]
    assert found.summary["measures"]["disagreement_sd"]["value"] == 0.0


def test_a_model_is_read_as_its_scorer_reads_it_and_unknown_words_are_seen(made):
    model = load_reward_model(made["reward"].path, device="cpu")
    reader, scorer = ModelReader(model), load_scorer(made["reward"].path, device="cpu")
    answers = [(Prompt("is one cat big?"), text) for text in ("yes the cat is", "no", "yes the cat is")]
    raw = scorer.score([Completion(prompt, text, finish_reason="stop") for prompt, text in answers]).parts["raw"]
    assert reader.score(answers) == pytest.approx(list(raw), abs=1e-5)
    assert reader.states(answers).shape == (3, 16)
    assert reader.length(answers[1]) < reader.length(answers[0])
    assert reader.fits(answers[0])
    assert not reader.fits((Prompt("why?"), "cat " * 300))
    assert reader.can_read(answers[0])
    model.tokenizer.unk_token = model.tokenizer.tokenize(" cat")[0]
    assert not reader.can_read(answers[0])


def test_an_ensemble_is_audited_by_its_mean_score_and_tells_how_far_its_members_disagree(base, made, tmp_path):
    settings = RewardSettings(
        members=2, holdout_share=0.3, normaliser_samples=4, normaliser_max_new_tokens=2, fit=FitSettings(max_steps=4)
    )
    ensemble = train_reward(
        tiny_context(), settings, base=base, preferences=made["preferences"], output_dir=tmp_path / "reward"
    )
    found = audit_reward(
        tiny_context(),
        AuditSettings(),
        reward_model=ensemble,
        preferences=made["preferences"],
        output_dir=tmp_path / "audit",
    )
    assert found.summary["measures"]["disagreement_sd"]["value"] > 0
    first, second = (load_reward_model(one, device="cpu") for one in member_folders(ensemble.path))
    answers = [(Prompt("is one cat big?"), text) for text in ("yes the cat is", "no")]
    apart = [ModelReader(model).score(answers) for model in (first, second)]
    together = ModelReader(first, others=[second]).score(answers)
    assert together == pytest.approx([(a + b) / 2 for a, b in zip(*apart, strict=True)])
    assert found.summary["accuracy"]["value"] == ensemble.summary["heldout_accuracy"]["value"]


def test_models_that_score_alike_but_for_their_scale_do_not_disagree():
    class Scaled:
        def __init__(self, scale):
            self.scale = scale

        def score(self, answers):
            return [self.scale * len(text) + 7 for _, text in answers]

    rows = colour_rows(20)
    assert disagreement([Scaled(1.0), Scaled(40.0)], rows).value == pytest.approx(0.0, abs=1e-9)
    assert disagreement([Scaled(1.0), Scaled(-1.0)], rows).value > 0.5


def test_answers_to_probe_are_those_that_raters_were_sure_of():
    prompt = Prompt("why?")
    unsure = Preference(prompt, ("a", "b"), (Pair(0, 1, 0.6),))
    sure = Preference(prompt, ("c", "d"), (Pair(0, 1, 0.0),))
    tied = Preference(Prompt("how?"), ("e", "f"), (Pair(0, 1, 0.5),))
    assert preferred_answers([unsure, sure, tied]) == [(prompt, "d")]


# ------------------------------------------------------------------------------------------------------------ the gate
def as_audit_of(reward, made, output_dir, verdict, *measures):
    """An audit artifact that says what the test needs it to say."""
    from kleash.artifacts import writing

    reasons = [
        {"measure": measure, "value": 0.8, "threshold": 0.5, "level": verdict, "text": "Filler pays."}
        for measure in measures or ("gain: filler",)
    ]
    with writing(output_dir, kind="audit", parents={"reward": reward}, settings={}) as draft:
        draft.summary |= {"verdict": verdict, "reasons": reasons if verdict != "pass" else []}
    return read(output_dir)


def test_a_failed_model_is_refused_with_the_reasons_and_the_way_out(made, tmp_path):
    found = as_audit_of(made["reward"], made, tmp_path / "audit", "fail")
    with pytest.raises(SettingsError, match=r"failed its audit .*: Filler pays\. Expected one that passes") as refusal:
        build_scorer(tiny_context(), ScorerSettings(), reward_models=[made["reward"]], audits=[found])
    assert '--accept-failed-audit "why"' in str(refusal.value)


def test_an_accepted_failure_is_recorded_and_shown_in_the_lineage(base, data, made, tmp_path):
    run = tmp_path / "run"
    found = as_audit_of(made["reward"], made, run / "round-000" / "audit", "fail")
    settings = ScorerSettings(accept_failed_audit="to see it hack")
    scorer_source = build_scorer(tiny_context(), settings, reward_models=[made["reward"]], audits=[found])
    trained = train(base, data, run / "round-000" / "policy", settings_of(steps=1), scorer_source=scorer_source)
    assert trained.parents["audit"] == found.id
    assert trained.settings["audit"] == "fail, accepted: to see it hack"
    assert any("fail, accepted: to see it hack" in line for line in render(lineage_of(run)))


SPREAD_ONLY = ScorerSettings(accept_failed_spread="its cost is measured")


def test_a_failure_by_spread_alone_may_be_accepted_for_itself_and_is_said(made, tmp_path, capsys):
    found = as_audit_of(made["reward"], made, tmp_path / "audit", "fail", "spread: case", "spread: all rewrites")
    scorer_source = build_scorer(tiny_context(), SPREAD_ONLY, reward_models=[made["reward"]], audits=[found])
    assert scorer_source.recorded()["audit"] == "fail, accepted: its cost is measured"
    assert "failed its audit and is accepted: its cost is measured." in capsys.readouterr().err


@pytest.mark.parametrize("measures", [("gain: filler",), ("spread: case", "gain: filler"), ("",)])
def test_accepting_spread_accepts_nothing_that_pays(made, tmp_path, measures):
    found = as_audit_of(made["reward"], made, tmp_path / "audit", "fail", *measures)
    with pytest.raises(SettingsError, match="failed its audit"):
        build_scorer(tiny_context(), SPREAD_ONLY, reward_models=[made["reward"]], audits=[found])


@pytest.mark.parametrize("summary", [{"verdict": "fail", "reasons": []}, {"verdict": "fail"}, {"reasons": "torn"}, {}])
def test_an_audit_that_cannot_say_why_it_failed_is_not_accepted_for_its_spread(made, tmp_path, summary):
    found = replace(as_audit_of(made["reward"], made, tmp_path / "audit", "fail"), summary=summary)
    with pytest.raises(SettingsError, match="failed its audit"):
        build_scorer(tiny_context(), SPREAD_ONLY, reward_models=[made["reward"]], audits=[found])


@pytest.mark.parametrize("verdict", ["pass", "warn"])
def test_what_did_not_fail_goes_through(made, tmp_path, verdict):
    found = as_audit_of(made["reward"], made, tmp_path / "audit", verdict)
    scorer_source = build_scorer(tiny_context(), ScorerSettings(), reward_models=[made["reward"]], audits=[found])
    assert scorer_source.recorded()["audit"] == verdict


def test_without_an_audit_it_is_said_that_there_was_none(made):
    scorer_source = build_scorer(tiny_context(), ScorerSettings(), reward_models=[made["reward"]])
    assert scorer_source.recorded()["audit"] == "not audited"
    assert "audit" not in scorer_source.parents


def test_one_failed_member_stops_an_ensemble(made, tmp_path):
    found = as_audit_of(made["reward"], made, tmp_path / "audit", "fail")
    models = [made["reward"], made["reward"]]
    with pytest.raises(SettingsError, match="failed its audit"):
        build_scorer(tiny_context(), ScorerSettings(kind="ensemble"), reward_models=models, audits=[found])


def test_the_audit_of_another_model_is_refused(made, failed):
    with pytest.raises(SettingsError, match=r"is of reward model none. Expected one of .*Audit the reward model that"):
        build_scorer(tiny_context(), ScorerSettings(), reward_models=[made["reward"]], audits=[failed])
