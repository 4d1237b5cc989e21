"""The errors a user may meet: each message says what was wrong, what was expected and what to do."""

from __future__ import annotations

import traceback
from pathlib import Path


class KleashError(Exception):
    """A user's mistake or a machine's trouble, worded for a person; the command line prints it and exits with 2."""


class ShapeError(KleashError):
    """Tensors whose shapes do not fit together."""


class SettingsError(KleashError):
    """A recipe or setting that cannot be used: unknown name, wrong type, changed on an existing run."""


class DataError(KleashError):
    """A file or row that cannot be understood; names file, line, reason and fix."""


class ArtifactError(KleashError):
    """An artifact that is missing, incomplete, altered or of the wrong kind."""


class ModelError(KleashError):
    """A model folder that cannot be loaded or does not fit its use."""


class RunError(KleashError):
    """A run that cannot go on: locked by another process, disk full, diverged."""


def memory_words(error: BaseException | None) -> str | None:
    """Return what to say of an error, or of one that it was raised from, where memory ran out; None of any other."""
    ran_out = None
    while error is not None:  # the innermost says it in the fewest words
        said = str(error)
        # torch's own of a graphics card is known by name, so that torch need not be imported; of the CPU's allocator,
        # the system and Rust by what they say.
        is_named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if is_named or any(words in said.lower() for words in ("cannot allocate memory", "can't allocate memory")):
            ran_out = said or type(error).__name__
        error = error.__cause__
    return ran_out and (
        f"Memory ran out: {ran_out} Expected a batch to fit. Lower max_batch_tokens of this stage, train LoRA adapters "
        "(model.lora_rank), or use a smaller model or a larger machine. What was saved is whole. A run keeps the "
        "settings it was begun with: give others with --branch NAME, which takes over every stage that is done."
    )


def damaged(what: str | Path, error: Exception) -> ArtifactError:
    """Return what to say of a run in which something is not as KLeash writes it."""
    found = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f", found by {Path(frame.filename).name}:{frame.lineno}" for frame in found)
    return ArtifactError(
        f"{what} is damaged: something in it is not as KLeash writes it ({raised(error)}{place}). Expected files as "
        "they were written. `kleash verify` names those that were altered: restore them."
    )


def shortened(value: object) -> str:
    """Return a stranger's value as Python writes it, cut, whatever its own way of writing it does."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__}, which cannot be shown: {type(error).__name__}>"
    return text if len(text) <= 100 else text[:100] + "..."


def raised(error: BaseException) -> str:
    """Return what a stranger's code raised: kind and words, as far as it has any."""
    try:
        said = f"{type(error).__name__}: {error}"
    except Exception:
        said = f"{type(error).__name__}, which cannot be shown"
    return said + (", which would end the whole command" if isinstance(error, SystemExit) else "")
