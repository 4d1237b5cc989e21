"""A call log in memory, for an AI judge that is asked outside a campaign; a campaign keeps its calls in its store."""

from __future__ import annotations

import threading

from kleash.records import JudgeCall


class MemoryCallLog:
    """A `CallLog` that lasts as long as the process."""

    def __init__(self) -> None:
        self.calls: dict[str, JudgeCall] = {}
        self._lock = threading.Lock()

    def find_call(self, key: str) -> JudgeCall | None:
        with self._lock:
            return self.calls.get(key)

    def add_call(self, call: JudgeCall) -> None:
        with self._lock:
            self.calls[call.key] = call
