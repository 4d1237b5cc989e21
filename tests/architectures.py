"""Tiny random models of many architectures, by name: what tests and `scripts/try_architectures` try them with."""

import transformers

import tiny

_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SIZE = _IDS | {"vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 2}
_PLAIN = _SIZE | {"num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 256}
_GROUPED = _PLAIN | {"num_key_value_heads": 1}
_HEADED = _GROUPED | {"head_dim": 8}
_GPT = _IDS | {"vocab_size": 400, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 256}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_SHARED = _EXPERTS | {"shared_expert_intermediate_size": 16}
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_SSM = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 4}
_DELTA = {f"linear_{name}": size for name, size in (("num_value_heads", 2), ("num_key_heads", 2))} | {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_GEMMA_EYES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}

TRANSFORMERS = {
    "gpt2": ("GPT2Config", _GPT),
    "gpt_neox": ("GPTNeoXConfig", _PLAIN),
    "gptj": ("GPTJConfig", _GPT | {"rotary_dim": 4}),
    "opt": ("OPTConfig", _PLAIN | {"ffn_dim": 32, "word_embed_proj_dim": 16}),
    "opt (projected, as OPT-350m)": ("OPTConfig", _PLAIN | {"ffn_dim": 32, "word_embed_proj_dim": 8}),
    "bloom": ("BloomConfig", _SIZE | {"n_layer": 2, "n_head": 2}),
    "falcon": ("FalconConfig", _PLAIN),
    "mpt": ("MptConfig", _IDS | {"vocab_size": 400, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 256}),
    "phi": ("PhiConfig", _PLAIN),
    "phi3": ("Phi3Config", _GROUPED),
    "llama": ("LlamaConfig", _HEADED),
    "mistral (window 6)": ("MistralConfig", _HEADED | {"sliding_window": 6}),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", _HEADED),
    "gemma": ("GemmaConfig", _HEADED),
    "gemma2": ("Gemma2Config", _HEADED | {"final_logit_softcapping": 5.0, "sliding_window": 6}),
    "gemma3_text": ("Gemma3TextConfig", _HEADED | {"sliding_window": 6}),
    "gemma3 (images too)": (
        "Gemma3Config",
        _IDS | {"text_config": _HEADED, "vision_config": _GEMMA_EYES, "mm_tokens_per_image": 4, "image_token_id": 399},
    ),
    "smollm3": ("SmolLM3Config", _GROUPED),
    "granite": ("GraniteConfig", _GROUPED),
    "olmo2": ("Olmo2Config", _GROUPED),
    "cohere": ("CohereConfig", _GROUPED),
    "stablelm": ("StableLmConfig", _GROUPED),
}
WITH_EXPERTS = {
    "mixtral": ("MixtralConfig", _HEADED | _LOCAL),
    "qwen2_moe": ("Qwen2MoeConfig", _GROUPED | _SHARED),
    "qwen3_moe": ("Qwen3MoeConfig", _HEADED | _EXPERTS | {"mlp_only_layers": [0]}),
    "gpt_oss": ("GptOssConfig", _HEADED | _LOCAL),
}
HYBRIDS = {
    "lfm2": ("Lfm2Config", _GROUPED | {"num_hidden_layers": 4, "full_attn_idxs": [2]}),
    "qwen3_next": ("Qwen3NextConfig", _HEADED | _SHARED | _DELTA | {"num_hidden_layers": 4}),
    "jamba": (
        "JambaConfig",
        _GROUPED
        | {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1}
        | {"num_experts": 4, "mamba_d_state": 4, "mamba_dt_rank": 4},
    ),
    "bamba": ("BambaConfig", _GROUPED | _SSM | {"attn_layer_indices": [1], "mamba_expand": 2}),
    "falcon_h1": ("FalconH1Config", _GROUPED | _SSM | {"mamba_d_ssm": 32}),
    "granitemoehybrid": (
        "GraniteMoeHybridConfig",
        _GROUPED | _SSM | _LOCAL | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 16},
    ),
}
REFUSED = {
    "mamba": ("MambaConfig", _SIZE | {"state_size": 4}),
    "mamba2": ("Mamba2Config", _SIZE | {"state_size": 4, "num_heads": 4, "head_dim": 8, "n_groups": 1}),
    "rwkv": ("RwkvConfig", _SIZE | {"attention_hidden_size": 16}),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        _SIZE | {"intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "lru_width": 16},
    ),
}
ALL = TRANSFORMERS | WITH_EXPERTS | HYBRIDS | REFUSED


def random_folder(folder, name, *, model_class=transformers.AutoModelForCausalLM):
    """Write a tiny random model of an architecture of the table, with its tokenizer; return the folder."""
    config_class, settings = ALL[name]
    tokenizer = tiny.tiny_tokenizer()
    config = getattr(transformers, config_class)(**settings)
    text = config.get_text_config()
    text.vocab_size = max(400, len(tokenizer) + 8)
    return tiny.save_tiny(folder, model_class.from_config(config), tokenizer)
