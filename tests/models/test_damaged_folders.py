"""Model folders that contradict themselves or are damaged: an error that names the folder, never a raw traceback."""

import json
import os
import random
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import tiny
from kleash.data.batches import TokenSequence, token_batch
from kleash.errors import KleashError, ModelError, RunError
from kleash.models import folders
from kleash.models.causal_lm import load_language_model
from kleash.models.lora import LoraSettings
from kleash.models.reward_models import load_reward_model, reward_model_from

# `make test-real` sets thousands; each case is a function of its number alone.
NUM_CASES = int(os.environ.get("KLEASH_FUZZ", "60"))


def rewrite(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture
def folder(tmp_path):
    return tiny.tiny_language_model_folder(tmp_path / "model")


@pytest.mark.parametrize("num_layers", [1, 0, -5])
@pytest.mark.parametrize(
    "load", [load_language_model, lambda path, device: reward_model_from(path, seed=0, device=device)]
)
def test_fewer_layers_than_the_file_holds(folder, load, num_layers):
    rewrite(folder / "config.json", num_hidden_layers=num_layers, layer_types=None)
    with pytest.raises(ModelError, match=r"holds \d+ weights that Llama\w+ has no place for \(model\.layers\.[01]"):
        load(folder, device="cpu")


def test_more_layers_than_the_file_holds(folder):
    rewrite(folder / "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"lacks 9 weights"):
        load_language_model(folder, device="cpu")


def test_a_reward_model_is_no_policy(folder, tmp_path):
    reward_model_from(folder, seed=0, device="cpu").save(tmp_path / "reward")
    with pytest.raises(ModelError, match=r"no place for \(score\.weight\).*a reward model given as a policy"):
        load_language_model(tmp_path / "reward", device="cpu")


def test_positions_numbered_from_after_the_padding(tmp_path):
    tokenizer = tiny.tiny_tokenizer()
    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, eos_token_id=2, **settings
    )
    folder = tiny.save_tiny(tmp_path, transformers.AutoModel.from_config(config), tokenizer)
    model = reward_model_from(folder, seed=0, pooling="mean", device="cpu")
    assert model.max_positions == 64
    whole, long = (token_batch([TokenSequence((5,), (6,) * (length - 1))], pad_id=model.pad_id) for length in (64, 65))
    assert torch.isfinite(model.score(whole)).all()
    with pytest.raises(ModelError, match=r"has 65 tokens\. Expected at most 64"):
        model.score(long)


def test_an_encoder_with_its_decoder_is_no_reward_base(tmp_path):
    tokenizer = tiny.tiny_tokenizer()
    config = transformers.T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    folder = tiny.save_tiny(tmp_path, transformers.AutoModel.from_config(config), tokenizer)
    with pytest.raises(ModelError, match="A t5 model gives no state for token ids alone"):
        reward_model_from(folder, seed=0, device="cpu")


@pytest.mark.parametrize("text", ['{"eos_token_id": 2', "[]", "é".encode("latin-1"), "[" * 100_000])
def test_generation_settings_that_cannot_be_read(folder, text):
    (folder / "generation_config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelError, match=r"Cannot read .*generation_config\.json"):
        load_language_model(folder, device="cpu")


@pytest.mark.parametrize("eos", ["x", [], 99_999_999, [2, -1], [2, None], {}, True, 2.0])
def test_end_of_text_ids_that_no_token_has(folder, eos):
    rewrite(folder / "generation_config.json", eos_token_id=eos)
    with pytest.raises(ModelError, match=r"names .* as eos_token_id\. Expected ids of tokens, below the \d+"):
        load_language_model(folder, device="cpu")


def test_all_chat_templates_are_copied(folder, tmp_path):
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ messages }}")
    (tmp_path / "copy").mkdir()
    folders.copy_model_files(folder, tmp_path / "copy")
    assert (tmp_path / "copy" / "additional_chat_templates" / "tool_use.jinja").read_text() == "{{ messages }}"


def test_a_sentencepiece_file_alone_asks_for_its_package(folder, monkeypatch):
    monkeypatch.setattr(folders, "find_spec", lambda name: None)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\x0a")
    with pytest.raises(ModelError, match=r"a sentencepiece file alone .*pip install sentencepiece"):
        folders.load_tokenizer(folder)


# ------------------------------------------------------------------------------------------------------ whatever it is
def damaged_value(value, draw):
    """Return another value in place of a setting: of another kind, of another size, or none."""
    others = [None, "", "x", [], {}, True, -1, 0, 1, 3.5, 1 << 40, float("nan"), [value], {"a": value}, "é" * 300]
    if type(value) is int:
        others += [value + 1, value * 2, value // 2]
    return draw.choice(others)


def damage(file, draw):
    """Damage a file: its bytes, or one of its settings."""
    raw = file.read_bytes()
    how = draw.randrange(8)
    if how < 4 and file.suffix == ".json":
        settings = json.loads(raw)
        name = draw.choice(sorted(settings))
        if draw.random() < 0.2:
            del settings[name]
        elif isinstance(settings[name], dict) and settings[name]:
            inner = draw.choice(sorted(settings[name]))
            settings[name][inner] = damaged_value(settings[name][inner], draw)
        else:
            settings[name] = damaged_value(settings[name], draw)
        file.write_text(json.dumps(settings))
    elif how < 5:
        file.write_bytes(raw[: draw.randrange(len(raw))])
    elif how < 6:
        file.write_bytes(draw.choice([b"", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 5000, b"{}"]))
    elif how < 7:
        file.unlink()
    else:
        at = draw.randrange(min(len(raw), 4096))
        file.write_bytes(raw[:at] + bytes([draw.randrange(256)]) + raw[at + 1 :])


@pytest.fixture(scope="module")
def whole_folders(tmp_path_factory):
    """A policy, an adapter on it and a reward model, each with how it is loaded."""
    place = tmp_path_factory.mktemp("whole")
    policy = tiny.tiny_language_model_folder(place / "policy")
    load_language_model(policy, device="cpu", lora=LoraSettings(rank=2)).role.save(place / "adapter")
    reward_model_from(policy, seed=0, device="cpu").save(place / "reward")
    reward_model_from(policy, seed=0, pooling="mean", device="cpu").save(place / "pooled")
    return {
        policy: load_language_model,
        place / "adapter": load_language_model,
        place / "reward": load_reward_model,
        place / "pooled": load_reward_model,
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", range(0, NUM_CASES, 20))
def test_no_damage_gives_a_raw_traceback(whole_folders, tmp_path, first):
    messages = {}
    for number in range(first, first + 20):
        draw = random.Random(number)
        source = draw.choice(sorted(whole_folders))
        copy = shutil.copytree(source, tmp_path / str(number))
        files = sorted(path for path in copy.rglob("*") if path.is_file())
        file = draw.choice(files)
        damage(file, draw)
        try:
            whole_folders[source](copy, device="cpu")
        except KleashError as error:
            messages[number] = str(error)
        except Exception as error:
            raise AssertionError(f"case {number}: {file} of {source.name}: {type(error).__name__}: {error}") from error
    assert len(messages) > 5
    assert not {number: text for number, text in messages.items() if str(tmp_path / str(number)) not in text}


def test_weights_that_are_no_numbers_are_called_so(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"holds 1 weights that are not finite numbers \(model\.norm\.weight\)"):
        load_language_model(folder, device="cpu")


@pytest.mark.parametrize("place", ["../elsewhere.safetensors", "/tmp/elsewhere.safetensors", "a/b.safetensors", 3])
def test_an_index_may_not_lead_out_of_the_folder(folder, place):
    index = {"metadata": {}, "weight_map": {"model.norm.weight": place}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"index\.json names weights at .*elsewhere|index\.json names weights at"):
        load_language_model(folder, device="cpu")


@pytest.mark.parametrize("content", ["[]", '{"weight_map": 3}', "{", '{"weight_map": {}}'])
def test_an_index_that_is_none(folder, content):
    (folder / "model.safetensors.index.json").write_text(content)
    if content[-1] == "}":
        load_language_model(folder, device="cpu")
    else:
        with pytest.raises(ModelError, match=r"index\.json"):
            load_language_model(folder, device="cpu")


def test_a_link_out_of_the_folder_is_not_copied(folder, tmp_path):
    (tmp_path / "private").write_text("secret")
    (tmp_path / "copy").mkdir()
    (folder / "vocab.txt").symlink_to(tmp_path / "private")
    with pytest.raises(ModelError, match=r"vocab\.txt is a link to .*private, outside the model folder"):
        folders.copy_model_files(folder, tmp_path / "copy")
    assert not (tmp_path / "copy" / "vocab.txt").exists()


def test_links_within_a_folder_and_the_hubs_own_are_copied(folder, tmp_path):
    snapshot = tmp_path / "models--x--y" / "snapshots" / "0123"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    (tmp_path / "models--x--y" / "blobs").mkdir()
    (snapshot / "config.json").rename(tmp_path / "models--x--y" / "blobs" / "abc")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "vocab.txt").symlink_to("tokenizer.json")
    (tmp_path / "copy").mkdir()
    folders.copy_model_files(snapshot, tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["model_type"] == "llama"
    assert (tmp_path / "copy" / "vocab.txt").read_bytes() == (snapshot / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4294967296 bytes."),
    ],
)
@pytest.mark.parametrize("place", ["AutoModelForCausalLM", "AutoTokenizer", "AutoConfig"])
def test_memory_that_ran_out_while_loading_is_called_so(folder, monkeypatch, error, place):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(getattr(transformers, place), "from_pretrained", fail)
    with pytest.raises(RunError, match=r"^Memory ran out: .* Lower max_batch_tokens") as caught:
        load_language_model(folder, device="cpu")
    assert "Check the folder" not in str(caught.value)
