"""Tiny random models with a real tokenizer, made in milliseconds: what tests load instead of a checkpoint."""

from functools import cache
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

transformers.utils.logging.disable_progress_bar()

PAD, BOS, EOS = "<pad>", "<s>", "</s>"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)

_WORDS = (
    "the a cat dog sat on mat and is was good bad very happy sad small big tree house ran to of in it he she they we "
    "one two three four five six seven eight nine ten plus minus is what how why please thanks hello yes no red blue"
)


@cache
def _byte_level_json() -> str:
    """Byte-level BPE: any text comes back exactly; common words, with the space before them, are one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_WORDS, " " + _WORDS] * 3, trainer)
    return tokenizer.to_str()


def tiny_tokenizer(*, chat_template=None):
    """A lossless tokenizer: 259 bytes and specials, and the words above; ids 0, 1, 2 are pad, BOS, EOS; adds no BOS."""
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_byte_level_json()),
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        chat_template=chat_template,
    )


def tiny_config(architecture="llama", *, vocabulary_size):
    """Two layers of 16 dimensions; architecture: a transformers model type of the table."""
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    size = {"vocab_size": vocabulary_size, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    decoder = size | ids | {"intermediate_size": 32, "max_position_embeddings": 256}
    grouped = decoder | {"num_key_value_heads": 1, "head_dim": 8}
    gpt2 = ids | {"vocab_size": vocabulary_size, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 256}
    table = {
        "llama": (transformers.LlamaConfig, grouped | {"tie_word_embeddings": True}),
        # transformers gives Qwen's tokenizers one more token on load; like the real models, spare rows make room
        "qwen2": (transformers.Qwen2Config, grouped | {"vocab_size": vocabulary_size + 8}),
        "gemma2": (transformers.Gemma2Config, grouped | {"final_logit_softcapping": 0.5}),
        "gpt_neox": (transformers.GPTNeoXConfig, decoder),
        "gpt2": (transformers.GPT2Config, gpt2),
        "opt": (
            transformers.OPTConfig,
            size | ids | {"ffn_dim": 32, "word_embed_proj_dim": 16, "max_position_embeddings": 256},
        ),
        "bert": (transformers.BertConfig, decoder),
    }
    config_class, settings = table[architecture]
    return config_class(**settings)


def tiny_language_model_folder(folder, architecture="llama", *, seed=0, spread=0.3, chat_template=None):
    """Write a random language model and its tokenizer as a Hugging Face folder; return the folder.

    spread: standard deviation of the weights; large enough that tokens differ in probability.
    """
    tokenizer = tiny_tokenizer(chat_template=chat_template)
    config = tiny_config(architecture, vocabulary_size=len(tokenizer))
    return save_tiny(folder, transformers.AutoModelForCausalLM.from_config(config), tokenizer, seed=seed, spread=spread)


def save_tiny(folder, model, tokenizer, *, seed=0, spread=0.3):
    """Give a model random weights from a seed and write it with its tokenizer; return the folder."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(1.0 if weight.ndim == 1 else 0.0, spread, generator=generator)
    folder = Path(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
