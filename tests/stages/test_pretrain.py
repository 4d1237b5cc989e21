"""Pretraining from plain text: windows, the tokenizer and model it makes, and a start that a kill cannot spoil."""

import pytest
import transformers

from kleash.durable import partial_path
from kleash.errors import DataError, RunError
from kleash.models.causal_lm import load_language_model
from kleash.stages.pretrain import PretrainSettings, cut_into_windows, pretrain, read_documents, write_untrained_model
from kleash.tracking import JsonlTracker
from kleash.training.fit import FitSettings
from stages.tiny_recipe import tiny_context

SMALL = PretrainSettings(
    vocabulary_size=300,
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    context_tokens=64,
    window_tokens=16,
    fit=FitSettings(max_steps=8, batch_size=8, learning_rate=1e-2, checkpoint_every=3, epochs=50),
)
TEXT = "the cat sat on the mat. the dog sat on the cat. " * 8


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "b.txt").write_text("two  \n  lines\n")
    (folder / "a.txt").write_text(TEXT)
    (folder / "notes.md").write_text("not read")
    return folder


def test_documents_are_read_in_order_of_name_and_tidied(documents):
    assert read_documents(documents) == [TEXT.strip(), "two\nlines"]
    assert read_documents(documents / "b.txt") == ["two\nlines"]


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_no_text_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=rf"{name} holds no text. Expected a .txt file, or a folder.*data.documents"):
        read_documents(tmp_path / name)


def test_windows_hold_every_token_once_and_end_with_eos(tmp_path):
    write_untrained_model([TEXT], SMALL, tmp_path / "start", seed=0)
    model = load_language_model(tmp_path / "start", device="cpu")
    windows = cut_into_windows([TEXT, "cat"], model, num_tokens=16)
    assert all(window.prompt_ids == (1,) and len(window.response_ids) <= 15 for window in windows)
    whole = [token for window in windows for token in window.response_ids]
    expected = [
        *model.tokenizer(TEXT, add_special_tokens=False)["input_ids"],
        2,
        *model.tokenizer("cat", add_special_tokens=False)["input_ids"],
        2,
    ]
    assert whole == expected


def test_a_model_is_made_from_nothing(documents, tmp_path):
    artifact = pretrain(tiny_context(), SMALL, documents=documents, output_dir=tmp_path / "pretrain")
    rows = JsonlTracker(artifact.path / "metrics.jsonl").rows()
    assert len(rows) == 8
    assert rows[-1]["loss_nats_per_token"] < rows[0]["loss_nats_per_token"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact.path)
    assert tokenizer.decode(tokenizer("the cat sat.", add_special_tokens=False)["input_ids"]) == "the cat sat."
    assert tokenizer("cat")["input_ids"][0] == tokenizer.bos_token_id
    assert artifact.summary["parameters"] == sum(
        weight.numel() for weight in transformers.AutoModelForCausalLM.from_pretrained(artifact.path).parameters()
    )


def test_the_start_appears_only_when_it_is_whole(documents, tmp_path, file_size_limit):
    """Cut off while the untrained model was being written, a run used to find a folder without weights."""
    start = tmp_path / "pretrain.partial" / "work" / "start"
    with file_size_limit(20_000), pytest.raises(RunError, match="Cannot write the policy artifact"):
        pretrain(tiny_context(), SMALL, documents=documents, output_dir=tmp_path / "pretrain")
    assert partial_path(start).exists()
    assert not start.exists()
    assert pretrain(tiny_context(), SMALL, documents=documents, output_dir=tmp_path / "pretrain").kind == "policy"
