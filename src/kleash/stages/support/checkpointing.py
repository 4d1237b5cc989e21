"""Checkpoints of an online run: everything it needs to go on exactly, and the best weights it has had so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kleash.loop import LoopState
from kleash.maths.kl import Leash
from kleash.protocols import TrainingEngine
from kleash.training import checkpoints


class Memory(Protocol):
    """What a run remembers besides weights, as plain JSON."""

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Checkpointing:
    """Saves where a run stands, and goes on from there.

    memories: whose state is kept beside the engine's, by name.  logs: the folder whose rows a checkpoint rests on.
    """

    folder: Path
    engine: TrainingEngine
    memories: Mapping[str, Memory]
    logs: Path | None = None

    def save(self, state: LoopState) -> None:
        """Write a checkpoint from which the run goes on exactly; the first rank does, for all."""
        if self.engine.rank != 0:
            return
        tensors, engine_state = self.engine.snapshot()
        loop = {"leash": vars(state.leash), "baseline": state.baseline, "outcome": state.outcome}
        remembered = {name: memory.state() for name, memory in self.memories.items()}
        whole = {"engine": engine_state, "loop": loop, **remembered}
        checkpoints.save(self.folder, state.step, tensors, whole, logs=self.logs)

    def resume(self, leash: Leash) -> LoopState:
        """Return the state to go on from, with engine and memories restored; step 0 where there is no checkpoint.

        leash: as the settings describe it, before its first observation.
        """
        path = checkpoints.latest(self.folder)
        if path is None:
            return LoopState(0, leash)
        with checkpoints.restoring(path) as checkpoint:
            self.engine.restore(checkpoint.tensors, checkpoint.state["engine"])
            for name, memory in self.memories.items():
                memory.load_state(checkpoint.state[name])
            loop = checkpoint.state["loop"]
            return LoopState(checkpoint.step, type(leash)(**loop["leash"]), loop["baseline"], loop["outcome"])


@dataclass(frozen=True)
class BestWeights:
    """Keeps the policy's weights of one step: those that the external signal liked best."""

    folder: Path
    engine: TrainingEngine

    def save(self, step: int) -> None:
        """Keep the present weights instead of those kept before; the first rank does, for all."""
        if self.engine.rank == 0:
            checkpoints.save(self.folder, step, self.engine.policy_snapshot(), {}, keep=1)

    def take(self) -> None:
        """Go back to the weights kept."""
        path = checkpoints.latest(self.folder)
        assert path is not None, "the best weights are saved when they are noted"
        self.engine.restore_policy(checkpoints.load(path).tensors)
