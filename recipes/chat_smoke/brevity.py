"""What recipes/chat_smoke.toml wants of an answer: few words, so that a few updates move it."""


def brevity(prompt: str, completion: str) -> float:
    """Return 0 for an answer of one word, less for each word more; nothing at all is worth as little as ten words."""
    num_words = len(completion.split())
    return 1.0 - num_words if num_words else -9.0
