"""Prompts, demonstrations and preferences: from records to the token batches that models read."""
