"""The evaluation stage: who judges, KL against a plain forward, samples and checkpoints written down."""

import json

import pytest
import torch
import transformers

from kleash.errors import SettingsError
from kleash.evaluation.checkpoints import judged_checkpoints, kept_answers
from kleash.formats import read_completions
from kleash.results import EvaluationSummary
from kleash.stages.evaluate import EvaluateSettings, build_judge, evaluate_policy
from kleash.stages.support.scoring import ScorerSource
from kleash.testing import FakeScorer
from stages.judge import likes_short_words
from stages.tiny_recipe import JUDGE, tiny_context


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_proxy_judges_only_where_there_is_one():
    scorer = FakeScorer(lambda answer: 1.0)
    assert build_judge(EvaluateSettings(), scorer) is scorer
    with pytest.raises(SettingsError, match=r"judge is \"proxy\" and there is no scorer.*module:attribute"):
        build_judge(EvaluateSettings(), None)


def test_gold_judges_the_sandbox():
    from kleash.evaluation.gold import GoldScorer

    assert isinstance(build_judge(EvaluateSettings(judge="gold"), None), GoldScorer)


def test_samples_hold_both_answers_and_their_verdicts(made):
    folder, figures = made["evaluation"].path, EvaluationSummary.of(made["evaluation"])
    rows = lines_of(folder / "samples.jsonl")
    assert len(rows) == figures.n == 15
    for row in rows:
        for side in ("before", "after"):
            assert row[side]["judge"] == pytest.approx(likes_short_words(row["prompt"], row[side]["text"]))
        assert row["before"]["kl_nats"] == 0.0
    assert figures.win_rate.value == pytest.approx(
        sum({"win": 1, "tie": 0.5, "loss": 0}[row["outcome"]] for row in rows) / 15
    )
    mean_kl = sum(row["after"]["kl_nats"] for row in rows) / 15
    assert figures.kl_nats_per_sequence.value == pytest.approx(mean_kl)
    assert set(figures.slices) == {f"thing={thing}" for thing in ("cat", "dog", "tree", "house", "mat")}


def test_kl_is_that_of_two_plain_forwards(made, data, tmp_path):
    """At a temperature of .7, which divides both policies' logits."""
    policy, reference = (
        transformers.AutoModelForCausalLM.from_pretrained(made[stage].path) for stage in ("direct", "sft")
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(made["sft"].path)
    seen = []
    keeps = FakeScorer(lambda answer: float(seen.append(answer) or 0.0))
    artifact = evaluate_policy(
        tiny_context(),
        EvaluateSettings(max_new_tokens=5, temperature=0.7, num_prompts=4, max_batch_tokens=25),
        policy=made["direct"],
        reference=made["sft"],
        prompts=data["evaluation_prompts"],
        scorer_source=ScorerSource(keeps, {}),
        output_dir=tmp_path / "evaluation",
    )
    rows = lines_of(artifact.path / "samples.jsonl")
    answers = {(answer.prompt.text, answer.text): answer for answer in seen}
    for row in rows:
        answer = answers[row["prompt"], row["after"]["text"]]
        prompt_ids = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt_ids, *answer.token_ids]])
        targets, kl = torch.tensor(answer.token_ids)[:, None], 0.0
        with torch.no_grad():
            for model, sign in ((policy, 1), (reference, -1)):
                logits = model(ids).logits[0, len(prompt_ids) - 1 : -1] / 0.7
                kl += sign * float(torch.log_softmax(logits, -1).gather(1, targets).sum())
        assert row["after"]["kl_nats"] == pytest.approx(kl, abs=1e-4)


def test_a_policy_against_itself_ties(made, data, tmp_path):
    artifact = evaluate_policy(
        tiny_context(),
        EvaluateSettings(judge=JUDGE, max_new_tokens=5),
        policy=made["sft"],
        reference=made["sft"],
        prompts=data["evaluation_prompts"],
        output_dir=tmp_path / "evaluation",
    )
    assert artifact.summary["win_rate"]["value"] == 0.5
    assert artifact.summary["kl_nats_per_sequence"]["value"] == pytest.approx(0.0, abs=1e-4)
    assert "proxy_after" not in artifact.summary
    assert not (artifact.path / "checkpoints.jsonl").exists()


def test_a_judge_that_trained_the_policy_is_said(made, data, tmp_path, capsys):
    """The tiny recipe's judge labelled the pairs that its policy learnt from."""
    for name, is_said in (("policy", True), ("sft", False)):
        evaluate_policy(
            tiny_context(),
            EvaluateSettings(judge=JUDGE, max_new_tokens=2, num_prompts=2),
            policy=made[name],
            reference=made["sft"],
            prompts=data["evaluation_prompts"],
            output_dir=tmp_path / name,
        )
        said = capsys.readouterr().err
        assert ("which labelled the pairs that it learnt from" in said) == is_said


def test_checkpoints_are_judged_against_the_first(made):
    folder = made["policy"].path / "answers"
    judged = judged_checkpoints(
        kept_answers(made["policy"]), FakeScorer(lambda answer: likes_short_words("", answer.text))
    )
    assert [row.step for row in judged] == [0, 1, 2, 3]
    assert judged[0].win_rate.value == 0.5
    values = [
        [likes_short_words("", answer.text) for answer in read_completions(folder / f"step-{step:08d}.jsonl").records]
        for step in (0, 3)
    ]
    wins = sum((b > a) + 0.5 * (b == a) for a, b in zip(*values, strict=True))
    assert judged[3].win_rate.value == pytest.approx(wins / 15)
    assert judged[3].judge_mean.value == pytest.approx(sum(values[1]) / 15)
