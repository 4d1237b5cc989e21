"""Metrics that measure the machine rather than the model: no two runs share them, not even a resumed one."""


def is_timing(name):
    return name.startswith("seconds/") or name.endswith(("_seconds", "_per_second"))


def without_timings(row):
    """Return a row's metrics that must be the same in a resumed run as in an uninterrupted one."""
    return {name: value for name, value in row.items() if not is_timing(name)}
