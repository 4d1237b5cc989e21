"""What every stage is given: the model settings, the seed, this process's place among the ranks.

Also the one way in which a stage makes its artifact. Read any stage next; they are all shaped alike: find the finished
artifact, else check the inputs, do the work in a draft that can be resumed, and leave the artifact behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NotRequired, TypedDict, Unpack

from pydantic import Field

from kleash import artifacts
from kleash.artifacts import MANIFEST, Artifact, Draft
from kleash.durable import PARTIAL, partial_path
from kleash.errors import ArtifactError
from kleash.functions import FUNCTIONS, recorded_functions
from kleash.lineage import require_whole
from kleash.models.causal_lm import LanguageModel, load_language_model
from kleash.models.folders import Loading, find_model_folder
from kleash.models.heads import Pooling, ScalarModel
from kleash.models.lora import LoraSettings
from kleash.models.precision import Precision
from kleash.models.rendering import Rendering, RenderingSettings
from kleash.models.reward_models import load_reward_model, reward_model_from
from kleash.models.shared_base import Bases
from kleash.protocols import Scorer
from kleash.scorers.reward_model import load_members
from kleash.screen import say
from kleash.settings import Settings
from kleash.tracking import FanOutTracker, open_trackers
from kleash.training.ranks import Ranks

HUB = "hub:"
NOTHING: Mapping[str, Any] = {}


class ModelSettings(Settings):
    """How models are loaded, the same in every stage."""

    device: str = Field("auto", description="auto (a GPU if there is one), cpu, cuda, cuda:1 ...")
    dtype: Precision = Field(
        "float32", description="bfloat16_autocast: products in bfloat16; bfloat16: weights too (adapters stay float32)"
    )
    gradient_checkpointing: bool = Field(
        False,
        description="keep a layer's input alone, compute the layer again for gradients: less memory, a third more time",
    )
    trust_remote_code: bool = Field(False, description="run Python code that comes with a model folder")
    eos_token: str | int | None = Field(None, description="what ends an answer; none = the tokenizer's own")
    lora_rank: int = Field(0, ge=0, description="train LoRA adapters of this rank; 0 = all weights")
    lora_alpha: float = Field(16.0, gt=0)
    lora_targets: str | tuple[str, ...] = Field(
        "all-linear",
        description='layers that get adapters: all-linear, a name, or several such as ["q_proj", "v_proj"]',
    )
    lora_dropout: float = Field(
        0.0, ge=0, lt=1, description="of the adapters' input while SFT learns; what learns from a reward has none"
    )
    lora_roles: Literal["all", "policy"] = Field(
        "all", description="who trains adapters: policy, reward models and critic on one base, or the policy alone"
    )

    @property
    def loading(self) -> Loading:
        """Everything but LoRA, as the loaders take it."""
        return Loading(
            device=self.device,
            dtype=self.dtype,
            gradient_checkpointing=self.gradient_checkpointing,
            trust_remote_code=self.trust_remote_code,
            eos_token=self.eos_token,
        )

    @property
    def lora(self) -> LoraSettings | None:
        if not self.lora_rank:
            return None
        targets = self.lora_targets if isinstance(self.lora_targets, str) else list(self.lora_targets)
        return LoraSettings(rank=self.lora_rank, alpha=self.lora_alpha, target_modules=targets)


class Plan(TypedDict):
    """What decides an artifact. extra_settings: of helpers that decide it as well, such as the scorer's."""

    kind: str
    parents: Mapping[str, Artifact]
    settings: Settings
    extra_settings: NotRequired[Mapping[str, Any]]


@dataclass(frozen=True)
class StageContext:
    """Settings and circumstances shared by the stages of one run. trackers: plug-ins beside the JSON lines."""

    model: ModelSettings = field(default_factory=ModelSettings)
    seed: int = 0
    is_strict: bool = False
    trackers: tuple[str, ...] = ()
    ranks: Ranks = field(default_factory=Ranks)
    rendering: RenderingSettings = field(default_factory=RenderingSettings)
    bases: Bases = field(default_factory=Bases, repr=False, compare=False)

    def loading(self, *, lora: bool) -> Loading:
        """How a model is loaded, whatever its role. lora: whether it is of a role that trains adapters."""
        return Loading(
            **self.model.loading,
            turns=self.rendering.turns,
            system_prompt=self.rendering.system_prompt,
            lora=self.model.lora if lora else None,
            bases=self.bases,
        )

    @property
    def _scalar_loading(self) -> Loading:
        return self.loading(lora=self.model.lora_roles == "all")

    def load_policy(
        self,
        folder: Path | Artifact,
        *,
        trainable: bool = False,
        with_dropout: bool = False,
        role: str = "policy",
        whole: bool = False,
    ) -> LanguageModel:
        """Load a language model. With LoRA settings it is a role on a base, shared with whoever is on the same one.

        with_dropout: of the adapter, drawn from torch's own generator whenever gradients are computed.
        whole: a model of its own with all weights, adapters merged in.
        """
        path = folder.path if isinstance(folder, Artifact) else folder
        loading = self.loading(lora=not whole)
        if loading["lora"] is not None and with_dropout:
            loading["lora"] = loading["lora"].model_copy(update={"dropout": self.model.lora_dropout})
        model = load_language_model(path, is_trained=trainable, role=role, whole=whole, **loading)
        if not trainable and not whole and model.role is None:
            model.model.requires_grad_(False)
        return model

    def fresh_scalar_model(
        self, folder: Artifact, *, seed: int, pooling: Pooling = "last", role: str = "reward"
    ) -> ScalarModel:
        """Start a reward model or critic from a language model's weights, with a fresh head."""
        return reward_model_from(folder.path, seed=seed, pooling=pooling, role=role, **self._scalar_loading)

    def load_scalar_model(self, folder: Path, *, trainable: bool = False, role: str = "reward") -> ScalarModel:
        """Load a reward model as it is: to be scaled, audited, trained further or turned into a critic."""
        return load_reward_model(folder, role=role, is_trained=trainable, **self._scalar_loading)

    def load_scorers(self, folder: Path, *, z_clip: float) -> list[Scorer]:
        """Load a reward model to score with: one scorer per member, most have one."""
        return load_members(folder, z_clip=z_clip, **self._scalar_loading)

    @contextmanager
    def write_artifact(
        self, output_dir: Path, *, language_model: LanguageModel | None = None, **plan: Unpack[Plan]
    ) -> Iterator[Draft]:
        """Make the artifact on the first rank; the others get a scratch draft that shares its checkpoints.

        All ranks leave together, when the artifact is published.
        """
        if not self.ranks.is_first:
            with TemporaryDirectory() as scratch:
                self.ranks.barrier()
                (Path(scratch) / "work").symlink_to((partial_path(output_dir) / "work").absolute())
                yield Draft(Path(scratch), is_resumed=False)
                self.ranks.barrier()
            return
        if language_model is not None:
            require_rendering(language_model.rendering, plan["parents"])
        began = time.perf_counter()
        with artifacts.writing(
            output_dir,
            **self._decided(plan),
            seed=self.seed,
            text_format=language_model.rendering.text_format() if language_model else None,
        ) as draft:
            self.ranks.barrier()
            yield draft
            draft.summary["seconds"] = round(time.perf_counter() - began, 3)
        self.ranks.barrier()

    def open_tracker(self, draft: Draft) -> FanOutTracker:
        """Open the draft's metrics and, on the first rank alone, the trackers elsewhere: a run is one run there.

        It is named there as it lies on the disk, such as quickstart/round-000/policy.
        """
        output_dir = draft.path.absolute()
        parts = output_dir.parts[-3:] if output_dir.parent.match("round-*") else output_dir.parts[-1:]
        names = self.trackers if self.ranks.is_first else ()
        return open_trackers(draft.path, names=names, run_name="/".join(parts).removesuffix(PARTIAL))

    def find_finished(self, output_dir: Path, **plan: Unpack[Plan]) -> Artifact | None:
        """Return the artifact if it is there already; refuses one made with other settings or from other parents.

        Where there is work to do, the parents must be whole: raises ArtifactError naming the altered file.
        """
        found = artifacts.find(output_dir, **self._decided(plan))
        if found is None and self.ranks.is_first:
            require_whole(plan["parents"].values())
        return found

    def resolved(self, settings: Settings, extra_settings: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
        """A stage's settings with what it shares with the others and its functions, as recorded in its artifact."""
        extra = {name: as_plain(value) for name, value in extra_settings.items()}
        named = {"": settings, **{name: value for name, value in extra_settings.items() if isinstance(value, Settings)}}
        functions = dict(extra.pop(FUNCTIONS, {}))
        for name, record in named.items():
            functions |= recorded_functions(record, f"{name}." if name else "")
        shared = {"model": as_plain(self.model), "rendering": as_plain(self.rendering), "seed": self.seed}
        return {**settings.model_dump(mode="json"), **extra, **({FUNCTIONS: functions} if functions else {}), **shared}

    def _decided(self, plan: Plan) -> dict[str, Any]:
        """Return a plan as `artifacts` takes it."""
        settings, extra_settings = plan["settings"], plan.get("extra_settings", NOTHING)
        extra = {name: type(value) for name, value in extra_settings.items() if isinstance(value, Settings)}
        return {
            "kind": plan["kind"],
            "parents": plan["parents"],
            "settings": self.resolved(settings, extra_settings),
            "records": {"": type(settings), "model": ModelSettings, "rendering": RenderingSettings, **extra},
        }


def require_rendering(rendering: Rendering, parents: Mapping[str, Artifact]) -> None:
    """Refuse parents whose texts were put to the same tokenizer in another way; one without a record means "text".

    Raises ArtifactError naming the parent and what to set.
    """
    own = rendering.text_format()
    for role, parent in parents.items():
        recorded = parent.text_format or {}
        if not recorded.get("chat_template") or recorded.get("tokenizer") != own["tokenizer"]:
            continue
        if "turns" not in recorded:
            say(
                f"The {role} {parent.path} was made before KLeash recorded how prompts are read: plain ones outside "
                "the chat template, as they stand."
            )
        for part, meant in (("turns", "text"), ("system_prompt", None)):
            was, now = recorded.get(part, meant), own[part]
            if was != now:
                raise ArtifactError(
                    f"The {role} {parent.path} was made with data.{part} {was!r}, and here it is {now!r}. Expected the "
                    f"same, for one reads other tokens than the other. Set data.{part} to {was!r}, or make the {role} "
                    "again."
                )
        if recorded["chat_template"] != own["chat_template"]:
            raise ArtifactError(
                f"The {role} {parent.path} was made with another chat template than the model's of today "
                f"({recorded['chat_template']}, now {own['chat_template'] or 'none'}). Expected the same, for one "
                f"reads other tokens than the other. Put the template back, or make the {role} again."
            )


def as_plain(settings: Any) -> Any:
    """Return a settings record as JSON holds it, anything else as it is."""
    return settings.model_dump(mode="json") if isinstance(settings, Settings) else settings


def as_artifact(source: Path | Artifact, kind: str) -> Artifact:
    """Return an input as an artifact: one of ours (or the one a file lies in) as it is, anything else by its digest."""
    if isinstance(source, Artifact):
        return source
    if str(source).startswith(HUB):
        source = find_model_folder(str(source))
    folder = Path(source).parent
    return artifacts.read(folder) if (folder / MANIFEST).is_file() else artifacts.external(Path(source), kind)
