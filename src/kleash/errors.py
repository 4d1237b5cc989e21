"""The errors a user may meet: each message says what was wrong, what was expected and what to do."""


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
