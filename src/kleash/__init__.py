"""KLeash: RLHF that people can trust, end to end. Start reading at `kleash.loop`."""

__version__ = "0.2.0"
