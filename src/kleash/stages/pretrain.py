"""Make a small model from plain text: learn a tokenizer, start a Llama from scratch, train it on the documents.

For recipes that must not depend on anybody's checkpoint. The training itself is the SFT stage's, on documents without
prompts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from kleash.artifacts import Artifact, read
from kleash.data.batches import TokenSequence, derived_seed
from kleash.durable import partial_path, publish
from kleash.errors import DataError
from kleash.models.causal_lm import LanguageModel
from kleash.results import PolicySummary
from kleash.settings import Settings
from kleash.stages.context import StageContext, as_artifact
from kleash.stages.support.likelihood import CompletionNLL
from kleash.training.fit import FitSettings, build_trainer, fit


class PretrainSettings(Settings):
    """A small model from scratch."""

    vocabulary_size: int = Field(4096, ge=300, description="tokens of the byte-level BPE tokenizer")
    hidden_size: int = Field(192, ge=16)
    num_layers: int = Field(4, ge=1)
    num_heads: int = Field(6, ge=1)
    context_tokens: int = Field(512, ge=16, description="longest sequence the model will ever read")
    window_tokens: int = Field(256, ge=16, description="length of the pieces the documents are cut into")
    fit: FitSettings = FitSettings(epochs=2.0, batch_size=32, learning_rate=1e-3, warmup_share=0.05)


def pretrain(context: StageContext, settings: PretrainSettings, *, documents: Path, output_dir: Path) -> Artifact:
    """Train on a text file or a folder of them; the artifact is an ordinary Hugging Face folder."""
    parents = {"documents": as_artifact(documents, "documents")}
    if done := context.find_finished(output_dir, kind="policy", parents=parents, settings=settings):
        return done
    texts = read_documents(documents)
    with context.write_artifact(output_dir, kind="policy", parents=parents, settings=settings) as draft:
        start = draft.work / "start"
        if context.ranks.is_first and not start.exists():
            write_untrained_model(texts, settings, start, seed=derived_seed(context.seed, "pretrain"))
        context.ranks.barrier()
        model = context.load_policy(start, whole=True)
        windows = cut_into_windows(texts, model, num_tokens=settings.window_tokens)
        tracker = context.open_tracker(draft)
        fit(
            CompletionNLL(model, windows),
            len(windows),
            build_trainer({"policy": model.trainable_parameters()}, settings.fit, context.ranks),
            settings.fit,
            work=draft.work,
            logs=draft.path,
            tracker=tracker,
            seed=context.seed,
            description="Pretraining",
            shown={"loss": "loss_nats_per_token"},
        )
        tracker.close()
        model.save(draft.path)
        draft.summary |= PolicySummary(
            stage="pretrain",
            documents=len(texts),
            tokens=sum(len(window.response_ids) for window in windows),
            parameters=sum(weight.numel() for weight in model.model.parameters()),
        ).to_json()
    return read(output_dir)


def read_documents(path: Path) -> list[str]:
    """Read a text file, or every .txt file of a folder in order of name."""
    files = sorted(Path(path).glob("*.txt")) if Path(path).is_dir() else [Path(path)]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()]
    if not any(text.strip() for text in texts):
        raise DataError(f"{path} holds no text. Expected a .txt file, or a folder of them. Check data.documents.")
    return [re.sub(r"[ \t]*\n[ \t]*", "\n", text).strip() for text in texts]


def write_untrained_model(texts: list[str], settings: PretrainSettings, folder: Path, *, seed: int) -> None:
    """Learn a byte-level BPE tokenizer and write it with a Llama of random weights; the folder appears when whole."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<bos>", "<eos>"]
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    wrapped: Any = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=settings.hidden_size,
        intermediate_size=4 * settings.hidden_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        num_key_value_heads=settings.num_heads,
        max_position_embeddings=settings.context_tokens,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    partial = partial_path(folder)
    partial.mkdir(parents=True, exist_ok=True)
    wrapped.save_pretrained(partial)
    model.save_pretrained(partial)
    publish(partial, folder)


def cut_into_windows(texts: list[str], model: LanguageModel, *, num_tokens: int) -> list[TokenSequence]:
    """Cut documents into windows of num_tokens, each behind a BOS; the last of a document ends with EOS."""
    bos_id = model.tokenizer.bos_token_id
    windows = []
    for text in texts:
        ids = [*model.tokenizer(text, add_special_tokens=False)["input_ids"], model.eos_ids[0]]
        for start in range(0, len(ids), num_tokens - 1):
            windows.append(TokenSequence((bos_id,), tuple(ids[start : start + num_tokens - 1])))
    return windows
