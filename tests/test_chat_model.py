"""A small real chat model through KLeash: what it answers, and the whole loop from SFT to the report."""

from pathlib import Path

import pytest
import torch
import transformers

import kleash
from kleash.cli import main
from kleash.formats import read_prompts
from kleash.records import Message, Prompt

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
QUESTION = "What is the capital of France?"
MAX_NEW_TOKENS = 24


def test_it_answers_within_its_template(chat_model_folder):
    """The one fact about the real model that tests lean on: asked as it was taught to be asked, it knows Paris."""
    prompt = Prompt((Message("user", QUESTION),))
    answers = kleash.generate(chat_model_folder, [prompt], temperature=0, max_new_tokens=MAX_NEW_TOKENS)
    (answer,) = answers.completions()
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"


def test_a_plain_prompt_is_put_into_its_template(chat_model_folder, capsys):
    asked = ["--prompt", QUESTION, "--temperature", "0", "--max-new-tokens", str(MAX_NEW_TOKENS)]
    with pytest.raises(SystemExit) as end:
        main(["sample", str(chat_model_folder), *asked])
    written = capsys.readouterr()
    assert end.value.code == 0, written.err
    assert "Paris" in written.out
    assert "Plain prompts become user turns of the chat template" in written.err


@pytest.fixture
def smoke(chat_model_folder, tmp_path, monkeypatch):
    """The run of recipes/chat_smoke.toml, from the top of the repository as its header says."""
    monkeypatch.chdir(ROOT)
    return kleash.run("recipes/chat_smoke.toml", {"base": str(chat_model_folder)}, runs_dir=tmp_path / "runs")


def test_the_whole_loop_runs_to_the_report_and_what_it_made_is_served_as_trained(smoke, tmp_path):
    """The exported folder, in float32, greedily, answers the same in plain transformers through its template."""
    assert "chat-smoke" in (smoke.folder / "report.html").read_text()
    assert (smoke.summary.outcome, smoke.summary.audit) == ("finished", "not audited")
    assert 0 < abs(smoke.summary.kl_nats_per_sequence) < 1  # from four answers: its sign is chance
    assert smoke.policy.text_format["turns"] == "chat"
    with pytest.raises(SystemExit) as end:
        main(["export", "policy", str(smoke.policy.path), "--into", str(tmp_path / "exported")])
    assert end.value.code == 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "exported")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "exported", dtype=torch.float32)
    prompts = read_prompts(ROOT / "recipes" / "chat_smoke" / "evaluation_prompts.jsonl").records
    served = []
    for prompt in prompts:
        turns = [{"role": "user", "content": prompt.text}]
        asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        ids = model.generate(**asked, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        served.append(tokenizer.decode(ids[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))
    ours = kleash.generate(smoke.policy, prompts, temperature=0, max_new_tokens=MAX_NEW_TOKENS)
    assert list(ours.texts) == served
    assert len(set(served)) == len(prompts)
