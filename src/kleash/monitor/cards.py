"""The cards of what is exported: what the lineage knows of data, method, KL, evaluation, audit and licences.

Everything is read from manifests; nothing is asked for and nothing is guessed. What the lineage does not know is said
to be unknown, because a reader of the card cannot go and look. Facts and their wording only; files are written by
`stages/exporting.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kleash.artifacts import Artifact
from kleash.estimates import Estimate
from kleash.lineage import Lineage, labels_behind
from kleash.records import Preference
from kleash.results import (
    AuditSummary,
    CampaignSummary,
    EvaluationSummary,
    PolicySummary,
    PreferencesSummary,
    RewardSummary,
    SuitesSummary,
    WorldSummary,
)
from kleash.web.wording import length_alone, number, percent, points

UNKNOWN = "not recorded"
_NOT_STATED = "not stated by whoever exported it"
METHODS = {
    "ppo": "PPO",
    "rloo": "RLOO",
    "grpo": "GRPO",
    "reinforce": "REINFORCE",
    "dpo": "DPO",
    "ipo": "IPO",
    "kto": "KTO",
    "sft": "supervised fine-tuning",
    "import": "made elsewhere and imported",
    "pretrain": "pretraining from random weights",
}


@dataclass(frozen=True)
class Family:
    """A policy with what it was made from, nearest first, and what measured it or its reward models."""

    policy: Artifact
    ancestors: list[Artifact]
    measurements: list[Artifact]

    def of_kind(self, kind: str) -> list[Artifact]:
        """Return the ancestors of a kind, in the order in which they were made."""
        return sorted((one for one in self.ancestors if one.kind == kind), key=lambda one: one.created)

    def measured_by(self, kind: str) -> list[Artifact]:
        return [artifact for artifact in self.measurements if artifact.kind == kind]


def family_of(lineage: Lineage, identity: str) -> Family:
    """Gather what a policy's card speaks of. What measured an ancestor other than a reward model is left aside."""
    policy, ancestors = lineage.artifacts[identity], lineage.ancestors_of(identity)
    subjects = {policy.id, *(artifact.id for artifact in ancestors if artifact.kind == "reward")}
    known = {artifact.id for artifact in ancestors}
    measuring = {"policy", "reward", "policy_0", "reward_0"}
    measurements = [
        artifact
        for artifact in lineage.artifacts.values()
        if artifact.kind not in ("policy", "reward")
        and (artifact.id in known or subjects & {artifact.parents.get(role) for role in measuring})
    ]
    return Family(policy, ancestors, measurements)


def model_card(lineage: Lineage, identity: str, *, name: str, licence: str = "") -> str:
    """Return the README.md of an exported policy, with the front matter that model hubs read."""
    family = family_of(lineage, identity)
    sections = [
        _front_matter(family, licence),
        f"# {name}\n\n{_in_a_sentence(family)}",
        _section("Method", _method(family)),
        _section("Data", _data(lineage, family)),
        _section("Distance from the reference", _distance(family)),
        _section("Evaluation", _evaluation(family)),
        _section("Audit of the reward model", _audit(family)),
        _section("Licences", [f"- this model: {licence or _NOT_STATED}", *_licences_of(family.ancestors)]),
        _section("Use", [_USE]),
        _section("Lineage", _lineage([family.policy, *family.ancestors])),
    ]
    return "\n\n".join(sections) + "\n"


def preferences_card(lineage: Lineage | None, rows: Sequence[Preference], *, name: str, licence: str = "") -> str:
    """Return the README.md of exported preferences; lineage: of the artifact they are from, None for a plain file."""
    num_pairs = sum(len(row.pairs) for row in rows if not row.left_out)
    num_prompts = len({row.prompt.id for row in rows})
    num_left_out = sum(bool(row.left_out) for row in rows)
    front = "---\n" + (f"license: {json.dumps(licence)}\n" if licence else "") + 'tags: ["kleash", "preferences"]\n---'
    sections = [
        front,
        f"# {name}\n\n{num_pairs:,} preference pairs over {num_prompts:,} prompts, from {len(rows):,} rows of which "
        f"{num_left_out:,} are not for training.",
    ]
    if lineage is not None:
        artifact = lineage.artifacts[lineage.focus[0]]
        family = family_of(lineage, artifact.id)
        sections += [
            _section("Raters", [*_preferences(artifact), *_raters(lineage, artifact)]),
            _section(
                "Licences",
                [f"- these preferences: {licence or _NOT_STATED}", *_licences_of([artifact, *family.ancestors])],
            ),
            _section("Lineage", _lineage([artifact, *family.ancestors])),
        ]
    return "\n\n".join(sections) + "\n"


# ------------------------------------------------------------------------------------------------------------ sections
_USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```"""


def _front_matter(family: Family, licence: str) -> str:
    tags = ["kleash", "rlhf", *([_method_of(family.policy)] if _method_of(family.policy) in METHODS else [])]
    fields: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": tags}
    if licence:
        fields["license"] = licence
    # JSON is YAML, and quotes whatever needs quotes.
    return "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in fields.items()) + "---"


def _in_a_sentence(family: Family) -> str:
    method = _method_name(family.policy)
    labels = [PreferencesSummary.of(one) for one in family.of_kind("preferences")]
    pairs = sum(one.pairs or 0 for one in labels if one.replay is None)  # a replay mixes what is counted already
    rests = f" It rests on {pairs:,} preference pairs." if pairs else ""
    return f"A language model made with KLeash: {method}.{rests} Every figure below was read from the run's records."


def _method(family: Family) -> Iterator[str]:
    for artifact in [*family.of_kind("policy"), family.policy]:
        yield f"- {_method_name(artifact)}{_size_of_training(artifact)}"
    for artifact in family.of_kind("reward"):
        yield f"- reward model{_size_of_training(artifact)}: {_heldout(RewardSummary.of(artifact))}"


def _data(lineage: Lineage, family: Family) -> Iterator[str]:
    for artifact in family.of_kind("preferences"):
        yield from _preferences(artifact)
    yield from _raters(lineage, family.policy)
    for artifact in family.of_kind("world"):
        yield f"- built-in world: {WorldSummary.of(artifact).demonstrations:,} demonstrations, simulated"
    for artifact in family.ancestors:
        if not artifact.created and artifact.kind not in ("model", "reward model"):
            yield f"- {artifact.kind}: `{artifact.path.name}`, content {artifact.id}"


def _preferences(artifact: Artifact) -> Iterator[str]:
    labels = PreferencesSummary.of(artifact)
    agreement = labels.agreement_interval
    agreed = f"; raters agree on {_interval(agreement, is_share=True)} comparisons" if agreement else ""
    judgements = f" from {labels.judgements:,} judgements" if labels.judgements is not None else ""
    what = "replay of old and fresh preferences" if labels.replay else "preferences"
    yield f"- {what}: {labels.pairs or 0:,} pairs{judgements}{agreed}{_from(artifact)}"


def _raters(lineage: Lineage, artifact: Artifact) -> Iterator[str]:
    names_of: dict[str, set[str]] = {}
    for row in labels_behind(lineage, artifact.id):
        names_of.setdefault(str(row.get("rater_kind", "unknown")), set()).add(str(row.get("rater")))
    if names_of:
        yield "- raters: " + ", ".join(
            f"{len(names)} {_RATERS.get(kind, kind)}" for kind, names in sorted(names_of.items())
        )


_RATERS = {"person": "people", "ai": "AI judges", "simulated": "simulated raters", "rule": "rules"}


def _distance(family: Family) -> Iterator[str]:
    settings, beta = family.policy.settings, PolicySummary.of(family.policy).beta_final
    if "leash" in settings:
        leash = settings["leash"]
        target = f", target {leash['target_nats']:g} nats per answer" if leash["kind"] == "adaptive" else ""
        yield f"- leash: {leash['kind']}{target}; beta ended at {number(beta, 4)}"
    for artifact in family.measured_by("evaluation"):
        measured = EvaluationSummary.of(artifact).kl_nats_per_sequence
        if measured:
            yield f"- KL to the reference (k1, summed over an answer): {_interval(measured)} nats"


def _evaluation(family: Family) -> Iterator[str]:
    for artifact in family.measured_by("evaluation"):
        figures = EvaluationSummary.of(artifact)
        yield f"- wins against its reference, judged by {figures.judge}: {_interval(figures.win_rate, True)}"
        for name, part in figures.slices.items():
            yield f"  - {name}: {_interval(part.win_rate, True)}"
    for artifact in family.measured_by("campaign"):
        latest = {row.rater_kind: row for row in CampaignSummary.of(artifact).checkpoints}
        for kind, row in latest.items():
            by = f"judged blind by {_RATERS.get(kind, kind)} at update {row.step:,}"
            yield f"- wins against where its training began, {by}: {_interval(row.win_rate, True)}"
    for artifact in family.measured_by("suites"):
        suites = SuitesSummary.of(artifact)
        for bucket, measures in suites.buckets.items():
            changes = suites.differences.get(bucket, {})
            for measure, rate in measures.items():
                change = f"; reference {points(-changes[measure].value)}" if measure in changes else ""
                yield f"- {bucket}, {measure}: {_interval(rate, True)}{change}"


def _audit(family: Family) -> Iterator[str]:
    if "audit" in family.policy.settings:
        yield f"- before training: {family.policy.settings['audit']}"
    for artifact in family.measured_by("audit"):
        audit = AuditSummary.of(artifact)
        yield f"- verdict: **{audit.verdict or 'unknown'}**"
        yield from (f"  - {reason.text}" for reason in audit.reasons)


def _licences_of(artifacts: Sequence[Artifact]) -> Iterator[str]:
    # An imported artifact speaks for the file or folder it was copied from.
    spoken_for = {artifact.parents.get("source") for artifact in artifacts if "origin" in artifact.settings}
    for artifact in artifacts:
        if "origin" in artifact.settings:
            known = artifact.settings.get("licence") or UNKNOWN
            yield f"- {artifact.kind} from {artifact.settings['origin']}: {known}"
        elif not artifact.created and artifact.id not in spoken_for:
            yield f"- {artifact.kind} `{artifact.path.name}`: {UNKNOWN}"


def _lineage(artifacts: Sequence[Artifact]) -> Iterator[str]:
    """Name each artifact with its parents by content; where files lay on somebody's disk is nobody else's business."""
    first = artifacts[0]
    packages = ", ".join(f"{name} {version}" for name, version in first.packages.items())
    commit = f", code {first.code_commit[:12]}" if first.code_commit else ""
    yield f"Made {first.created[:10]} with seed {first.seed}{commit}; {packages}.\n"
    for artifact in artifacts:
        made_from = ", ".join(f"{role} `{identity}`" for role, identity in artifact.parents.items())
        yield f"- {artifact.kind} `{artifact.id}`" + (f" from {made_from}" if made_from else "")


# ----------------------------------------------------------------------------------------------------------- inside
def _section(title: str, lines: Iterable[str]) -> str:
    return f"## {title}\n\n" + ("\n".join(lines) or f"{UNKNOWN.capitalize()}.")


def _method_of(policy: Artifact) -> str:
    trained = PolicySummary.of(policy)
    return trained.algorithm or trained.stage or policy.kind


def _method_name(policy: Artifact) -> str:
    return METHODS.get(_method_of(policy), _method_of(policy)) + _from(policy)


def _from(artifact: Artifact) -> str:
    return f", from {artifact.settings['origin']}" if "origin" in artifact.settings else ""


def _size_of_training(artifact: Artifact) -> str:
    trained = PolicySummary.of(artifact)
    sizes = [f"{trained.rows_trained:,} rows"] if trained.rows_trained is not None else []
    sizes += [f"{trained.steps:,} updates"] if trained.steps is not None else []
    return f" ({', '.join(sizes)})" if sizes else ""


def _heldout(trained: RewardSummary) -> str:
    if trained.heldout_accuracy is None:
        return f"accuracy on held-out pairs {UNKNOWN}"
    accuracy = _interval(trained.heldout_accuracy, True)
    return f"right on {accuracy} held-out pairs; {length_alone(trained.longer_wins)}"


def _interval(figure: Estimate | None, is_share: bool = False) -> str:
    """Return a figure with its 95 % interval and how many it rests on."""
    if figure is None:
        return UNKNOWN
    shown = percent if is_share else number
    return f"{shown(figure.value)} ({shown(figure.low)} to {shown(figure.high)}, n {figure.n or 0:,})"
