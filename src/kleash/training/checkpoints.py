"""Save and restore everything a run needs to go on exactly: tensors, optimiser and plain JSON.

A checkpoint is a folder `step-00000040` that appears under its name only when it is whole on the disk. Tensors are
safetensors, the rest is JSON; nothing is unpickled. What goes into one is decided by the stage or engine; this file
only guarantees that the newest whole one can always be found and gives back the very same bits. A step counts what is
done: the checkpoint of step 40 goes on with step 40, counted from 0. It also remembers the stage's logs as they were: a
run goes on only from a checkpoint whose logs are still there, so that nothing is published with rows missing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kleash.durable import PARTIAL, clear_write_errors, discard, file_digest, partial_path, publish, sync_path
from kleash.errors import RunError
from kleash.records import content_id
from kleash.versions import check_format, format_mark

_TENSORS, _STATE = "tensors.safetensors", "state.json"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What `save` was given, bit for bit; tensors are on the CPU."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


@dataclass(frozen=True)
class Flat:
    """Something stateful as named tensors and plain JSON."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    keep: int = 2,
    logs: Path | None = None,
) -> Path:
    """Write the checkpoint of `step` and return its folder; of those before it `keep` - 1 stay, of later ones none.

    logs: a stage's draft folder, whose rows (*.jsonl) up to here the checkpoint rests on.
    Raises RunError if the disk refuses; earlier checkpoints are then untouched.
    """
    final = Path(folder) / f"step-{step:08d}"
    partial = partial_path(final)
    with clear_write_errors("checkpoint", partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            save_file(_separate(tensors), partial / _TENSORS)
            sync_path(partial / _TENSORS)
            content = {
                "step": step,
                "tensors_sha256": file_digest(partial / _TENSORS),
                "state": dict(state),
                "around": {"threads": torch.get_num_threads(), "logs": _logs_below(logs, final) if logs else {}},
            }
            text = json.dumps({**format_mark(), **content, "digest": _state_digest(content)})
            (partial / _STATE).write_text(text, encoding="utf-8")
            if final.exists():
                discard(final)
            publish(partial, final)
        except BaseException:
            # On a full disk the half-written file would otherwise hold the very space the user has to free.
            shutil.rmtree(partial, ignore_errors=True)
            raise
        finished = _finished(folder)
        # A run that went back has left the future of its old checkpoints: those are never to be resumed from.
        position = finished.index(final)
        for old in finished[:position] + finished[position + max(keep, 1) :]:
            discard(old)
        for debris in Path(folder).glob(f"step-*{PARTIAL}"):
            shutil.rmtree(debris)
    return final


def latest(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, or None; one that does not fit its digest, or its logs, is passed over.

    Raises RunError if a later version of KLeash wrote it, or where whole ones are there and no log fits any.
    """
    lost = ""
    for path in _finished(folder):
        if fault := _fault(path):
            _logger.warning("Checkpoint %s is damaged (%s); going back to the one before it.", path, fault)
        elif fault := _lost_log(path):
            lost = fault
            _logger.warning("Checkpoint %s is left: %s since. Going back to the one before it.", path, fault)
        else:
            return path
    if lost:
        raise RunError(
            f"No checkpoint in {folder} can be gone on from: {lost}. Rows of what was trained would be missing. Put "
            f"the file back, or remove {folder} to train from the start."
        )
    return None


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; raises RunError if it is not whole."""
    path = Path(path)
    if fault := _fault(path):
        raise _damaged(path, fault)
    content = json.loads((path / _STATE).read_text(encoding="utf-8"))
    if "digest" not in content:
        _logger.warning("Checkpoint %s is of a version that recorded no digest of %s; it is trusted.", path, _STATE)
    was, now = content.get("around", {}).get("threads"), torch.get_num_threads()
    if was not in (None, now):
        said = "Checkpoint %s was written with %s threads, and now there are %s: on a CPU the last digits may differ. "
        _logger.warning(f"{said}Set OMP_NUM_THREADS=%s to go on exactly.", path, was, now, was)
    return Checkpoint(step=content["step"], tensors=load_file(path / _TENSORS), state=content["state"])


@contextmanager
def restoring(path: Path) -> Iterator[Checkpoint]:
    """Hand out a checkpoint to be put back; raises RunError if it is not whole, or lacks what is asked of it."""
    try:
        yield load(path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"its state cannot be put back: {type(error).__name__}: {error}") from error


# -------------------------------------------------------------------------------------------------------- optimisers
def flatten_optimizer(optimizer: torch.optim.Optimizer, prefix: str = "optimizer") -> Flat:
    """Return an optimiser's moments as tensors `prefix/<parameter>/<name>` and its groups (rates ...) as JSON."""
    content = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for parameter, entries in content["state"].items():
        for name, value in entries.items():
            target = tensors if isinstance(value, Tensor) else plain
            target[f"{prefix}/{parameter}/{name}"] = value
    return Flat(tensors, {"groups": content["param_groups"], "plain": plain})


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], state: Mapping[str, Any], prefix: str = "optimizer"
) -> None:
    """Put back what `flatten_optimizer` returned, into an optimiser built over the same parameters.

    tensors may hold other names as well. Raises RunError if the parameters are not the ones that were saved.
    """
    current = optimizer.state_dict()["param_groups"]
    saved_sizes, current_sizes = [[len(group["params"]) for group in groups] for groups in (state["groups"], current)]
    if saved_sizes != current_sizes:
        raise _mismatch(f"groups of {saved_sizes} parameters were saved, the optimiser has {current_sizes}")
    groups = [_like(group, now) for group, now in zip(state["groups"], current, strict=True)]
    entries: dict[int, dict[str, Any]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own = {name: value for name, value in tensors.items() if name.startswith(f"{prefix}/")}
    for key, value in {**own, **state["plain"]}.items():
        number, _, name = key.removeprefix(f"{prefix}/").partition("/")
        parameter = parameters[int(number)]
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape != parameter.shape:
            raise _mismatch(f"{key} has shape {tuple(value.shape)}, its parameter {tuple(parameter.shape)}")
        # A clone, because load_state_dict may keep the tensor itself and training would write into the caller's.
        entries.setdefault(int(number), {})[name] = value.clone() if isinstance(value, Tensor) else value
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


# ----------------------------------------------------------------------------------------------------------- inside
def _finished(folder: Path) -> list[Path]:
    found = [path for path in Path(folder).glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def _damaged(path: Path, fault: str) -> RunError:
    return RunError(
        f"Checkpoint {path} is damaged: {fault}. A whole checkpoint is needed. "
        "Remove that folder and run the same command again to go on from an earlier one."
    )


def _fault(path: Path) -> str | None:
    try:
        content = json.loads((path / _STATE).read_text(encoding="utf-8"))
        check_format(content, path / _STATE)
        if content["tensors_sha256"] != file_digest(path / _TENSORS):
            return "its tensors do not fit the recorded sha256"
        # The first format had no digest of the state.
        own = content["digest"] if "format" in content else content.get("digest", _state_digest(content))
        is_whole = own == _state_digest(content) and path.name == f"step-{content['step']:08d}"
        return None if is_whole else f"{_STATE} was altered"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        return str(error)


def _state_digest(content: Mapping[str, Any]) -> str:
    covered = [content[name] for name in ("step", "tensors_sha256", "state")]
    covered += [content["around"]] if "around" in content else []
    # Through JSON, which turns tuples into lists and numbers as keys into texts.
    return content_id(json.loads(json.dumps(covered)))


def _logs_below(draft: Path, checkpoint: Path) -> dict[str, Any]:
    """Return size and sha256 of each log, by its way from the checkpoint; what comes later is appended to them."""
    files = [file for file in sorted(draft.rglob("*.jsonl")) if not file.is_relative_to(draft / "work")]
    return {os.path.relpath(file, checkpoint): [file.stat().st_size, file_digest(file)] for file in files}


def _lost_log(path: Path) -> str:
    """Say which log does not begin with the rows that the checkpoint rests on; "" if all do."""
    content = json.loads((path / _STATE).read_text(encoding="utf-8"))
    for name, (size, digest) in content.get("around", {}).get("logs", {}).items():
        # The system follows `..` from where the checkpoint lies, which another rank reaches by a link.
        file = path / name
        kept = file.read_bytes()[:size] if file.is_file() else b""
        if hashlib.sha256(kept).hexdigest() != digest:
            return f"{file.name} was {'altered' if len(kept) == size else 'cut short or removed'}"
    return ""


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy what safetensors refuses to write: tensors that share their memory with one before them, or have gaps."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        ready = tensor.detach().to("cpu").contiguous()
        if ready.untyped_storage().data_ptr() in seen or ready.untyped_storage().nbytes() != ready.nbytes:
            ready = ready.clone()
        seen.add(ready.untyped_storage().data_ptr())
        separate[name] = ready
    return separate


def _like(saved: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """Turn JSON's lists back into tuples where the optimiser keeps a tuple (Adam's betas)."""
    return {
        name: tuple(value) if isinstance(current.get(name), tuple) and isinstance(value, list) else value
        for name, value in saved.items()
    }


def _mismatch(what: str) -> RunError:
    return RunError(
        f"The checkpoint's optimiser state does not fit this model: {what}. Both must be the same. "
        "Resume with the model that the run was begun with, or start a sibling run with --branch NAME."
    )
