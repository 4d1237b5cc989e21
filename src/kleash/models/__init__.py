"""Hugging Face models as KLeash uses them: language models, scalar heads, chat templates."""
