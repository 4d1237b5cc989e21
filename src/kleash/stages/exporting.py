"""Hand on what was made here: a policy as a plain model folder with its card, preferences in others' formats.

What is written is no artifact any more: ordinary files that transformers, TRL and `kleash data check` read. A folder
appears under its name only when it is whole. The way in is `importing.py`; what a card says is in
`monitor/cards.py`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kleash.artifacts import Artifact, require
from kleash.durable import clear_write_errors, partial_path, publish, write_text
from kleash.errors import ArtifactError, SettingsError
from kleash.formats import write_jsonl
from kleash.formats.canonical import write_parquet, write_trl
from kleash.models.folders import copy_model_files
from kleash.models.heads import RewardNormaliser
from kleash.models.lora import ADAPTER
from kleash.models.reward_models import member_folder, member_folders
from kleash.records import Preference
from kleash.stages.context import ModelSettings, StageContext

PREFERENCE_FORMATS = ("jsonl", "parquet", "trl")
CARD = "README.md"


@dataclass(frozen=True)
class Exported:
    """The file that was written, and what in it is not for training, by reason; TRL's file lacks that, and ties."""

    path: Path
    num_rows: int
    num_left_out: Mapping[str, int]


def export_policy(policy: Path | Artifact, *, output_dir: Path, card: str) -> Path:
    """Write a policy as a Hugging Face folder: safetensors, tokenizer, model card.

    A policy artifact's adapters are merged already, so the weights are copied to the byte. Raises ArtifactError where
    merging was refused.
    """
    source = require(policy, "policy")
    if not any(source.path.glob("*.safetensors")):
        raise ArtifactError(
            f"{source.path} holds an adapter alone: merged into its base it would be another model. Expected weights "
            f"that can be merged. Hand on {source.path / ADAPTER} with its base, or train with model.dtype float32."
        )
    with _whole_folder(output_dir) as folder:
        copy_model_files(source.path, folder)
        write_text(folder / CARD, card)
    return output_dir


def export_reward(reward: Path | Artifact, *, output_dir: Path) -> Path:
    """Write a reward model as a sequence-classification folder with its scale, an adapter merged in, in float32.

    Of an ensemble the first member is the folder itself. Raises ModelError for one that such a folder cannot express.
    """
    source = require(reward, "reward")
    with _whole_folder(output_dir) as folder:
        for number, member in enumerate(member_folders(source.path)):
            model = StageContext(model=ModelSettings(device="cpu")).load_scalar_model(member)
            model.save(member_folder(folder, number), is_portable=True)
            RewardNormaliser.load(member).save(member_folder(folder, number))
    return output_dir


def export_preferences(rows: Sequence[Preference], *, output_dir: Path, format: str, card: str) -> Exported:
    """Write preferences and a card into the folder `into`.

    jsonl, parquet: every row with all it holds, also what is left out of training.  trl: one row of prompt, chosen and
    rejected per decided pair that may be trained on.
    """
    if format not in PREFERENCE_FORMATS:
        raise SettingsError(
            f"There is no export format {format!r}. Expected one of {', '.join(PREFERENCE_FORMATS)}. Use one of them."
        )
    num_rows, num_left_out = len(rows), Counter(row.left_out for row in rows if row.left_out)
    name = "preferences.parquet" if format == "parquet" else "preferences.jsonl"
    with _whole_folder(output_dir) as folder:
        if format == "jsonl":
            write_jsonl(folder / name, rows)
        elif format == "parquet":
            write_parquet(folder / name, rows)
        else:
            num_rows = write_trl(folder / name, rows)
            num_left_out["tie"] = sum(pair.label == 0.5 for row in rows if not row.left_out for pair in row.pairs)
        write_text(folder / CARD, card)
    return Exported(output_dir / name, num_rows, +num_left_out)


@contextmanager
def _whole_folder(output_dir: Path) -> Iterator[Path]:
    """Fill a folder under another name and publish it. Raises ArtifactError if it is there already."""
    if output_dir.exists():
        raise ArtifactError(
            f"{output_dir} exists already. Expected a folder to be made: an export never mixes with what was there. "
            "Choose another name, or remove it."
        )
    partial = partial_path(output_dir)
    with clear_write_errors("export", output_dir):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        publish(partial, output_dir)
