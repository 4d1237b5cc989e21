"""`kleash import` and `kleash export`: in with a provenance, out with a card, and in again."""

import json

PAIRS = [{"prompt": "why", "chosen": "because", "rejected": "no"}, {"prompt": "how", "chosen": "so", "rejected": "oh"}]


def test_a_policy_comes_in_and_goes_out_with_its_provenance(kleash, workplace):
    came = kleash("import", "policy", "base", "--into", "runs/mine", "--origin", "a talk, 2026", "--licence", "mit")
    assert came.code == 0, came.err
    assert came.out.startswith("policy ")
    went = kleash("export", "policy", "runs/mine", "--into", "out/mine", "--licence", "apache-2.0")
    assert went.code == 0, went.err
    card = (workplace / "out" / "mine" / "README.md").read_text()
    assert "made elsewhere and imported, from a talk, 2026" in card
    assert "- this model: apache-2.0" in card
    assert str(workplace) not in card
    answered = kleash("sample", "out/mine", "--prompt", "why ?", "--max-new-tokens", "2")
    assert answered.code == 0, answered.err
    again = kleash("export", "policy", "runs/mine", "--into", "out/mine")
    assert again.code == 2
    assert "out/mine exists already. Expected a folder to be made" in again.err


def test_preferences_come_in_and_go_out_in_a_form_that_is_read_again(kleash, workplace):
    (workplace / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    came = kleash("import", "preferences", "pairs.jsonl", "--into", "runs/pairs", "--origin", "our desk")
    assert came.code == 0, came.err
    for format in ("jsonl", "parquet", "trl"):
        went = kleash("export", "preferences", "runs/pairs", "--into", f"out/{format}", "--format", format)
        assert went.code == 0, went.err
        file, _, rows = went.out.partition(": ")
        assert rows.strip() == "2 rows"
        assert kleash("data", "check", file, "--kind", "preferences", "--strict").code == 0
    wrong = kleash("export", "preferences", "pairs.jsonl", "--into", "out/csv", "--format", "csv")
    assert (wrong.code, "no export format 'csv'" in wrong.err) == (2, True)


def test_what_is_left_out_of_trls_rows_is_said(kleash, workplace):
    row = {"prompt": "why", "completions": ["a", "b"], "pairs": [{"first": 0, "second": 1, "label": 0.5}]}
    (workplace / "ties.jsonl").write_text(json.dumps(row) + "\n")
    went = kleash("export", "preferences", "ties.jsonl", "--into", "out", "--format", "trl")
    assert "out/preferences.jsonl: 0 rows\n  not for training: 1 (tie)" in went.out


def test_the_scale_of_a_reward_model_needs_both_policy_and_prompts(kleash, workplace):
    refused = kleash("import", "reward", "base", "--into", "reward", "--origin", "x", "--reference", "base")
    assert refused.code == 2
    assert "only one of --reference and --prompts is given" in refused.err
