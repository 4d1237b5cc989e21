"""Talk to policies: chat with one, sample answers to a file of prompts, compare two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from kleash.cli.options import (
    RUNS,
    Device,
    MaxNewTokens,
    RunsFolder,
    Seed,
    SystemPrompt,
    Temperature,
    TopK,
    TopP,
    TrustRemoteCode,
    TurnsOption,
    examples,
    unfolded,
)
from kleash.errors import SettingsError
from kleash.locations import find_policy
from kleash.screen import remarks, results, show_json
from kleash.web.word_diff import Segment, word_diff

if TYPE_CHECKING:
    from kleash.models.causal_lm import LanguageModel
    from kleash.protocols import Scorer
    from kleash.records import Completion, Prompt
    from kleash.rollout.local import SamplingSettings

app = typer.Typer()

PolicyName = Annotated[str, typer.Argument(metavar="POLICY", help="Model folder, run, RUN/STAGE or hub:owner/name.")]
PromptTexts = Annotated[list[str] | None, typer.Option("--prompt", help="A prompt; may be given often.")]
PromptsFile = Annotated[Path | None, typer.Option("--prompts", help="File of prompts.")]
AsChat = Annotated[bool, typer.Option("--chat", help="The same as --turns chat.")]


@dataclass(frozen=True)
class Asking:
    """How policies are loaded and asked, in every command that has them answer."""

    temperature: Temperature = 1.0
    top_k: TopK = None
    top_p: TopP = 1.0
    max_new_tokens: MaxNewTokens = 256
    seed: Seed = 0
    turns: TurnsOption = "auto"
    system_prompt: SystemPrompt = None
    device: Device = "auto"
    trust_remote_code: TrustRemoteCode = False
    runs_dir: RunsFolder = RUNS

    @property
    def sampling(self) -> SamplingSettings:
        from kleash.rollout.local import SamplingSettings

        return SamplingSettings(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p
        )

    def load(self, name: str) -> LanguageModel:
        from kleash.models.causal_lm import load_language_model
        from kleash.models.rendering import RenderingSettings

        folder = find_policy(name, self.runs_dir)
        remarks().print(f"Loading {folder}", style="dim")
        rendering = RenderingSettings(turns=self.turns, system_prompt=self.system_prompt).model_dump()
        model = load_language_model(folder, device=self.device, trust_remote_code=self.trust_remote_code, **rendering)
        model.model.requires_grad_(False)
        return model

    def answers(self, name: str, prompts: Sequence[Prompt], *, samples: int = 1) -> list[Completion]:
        """Return a policy's answers, those to one prompt behind each other."""
        from kleash.progress import progress
        from kleash.rollout.local import answer_prompts
        from kleash.stages.support.encoding import say_how_prompts_are_read

        model = self.load(name)
        say_how_prompts_are_read(model.rendering, prompts)
        with progress(len(prompts) * samples, f"Answers of {name}") as advance:
            rollouts = answer_prompts(
                model,
                prompts,
                self.sampling,
                seed=self.seed,
                samples_per_prompt=samples,
                policy_id=name,
                on_done=advance,
            )
        return rollouts.completions()


@app.command(epilog=examples("kleash chat quickstart", "kleash chat models/base --temperature 0.7"))
@unfolded
def chat(policy: PolicyName, how: Asking) -> None:
    """Talk to a policy. /reset forgets the conversation, /temperature 0.7 changes the sampling, /quit ends."""
    from kleash.cli.conversation import Conversation, converse

    model = how.load(policy)
    converse(Conversation(model, how.sampling, seed=how.seed))


@app.command(
    epilog=examples(
        'kleash sample quickstart --prompt "what is 2 plus 3 ?" -n 4',
        "kleash sample models/base --prompts prompts.jsonl --json > answers.jsonl",
    )
)
@unfolded
def sample(
    policy: PolicyName,
    prompt: PromptTexts = None,
    prompts: PromptsFile = None,
    samples: Annotated[int, typer.Option("-n", "--samples", min=1, help="Answers per prompt.")] = 1,
    as_chat: AsChat = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON row per answer.")] = False,
    *,
    how: Asking,
) -> None:
    """Sample answers of a policy to prompts."""
    how = replace(how, turns="chat") if as_chat else how
    answers = how.answers(policy, asked_prompts(prompt, prompts), samples=samples)
    screen = results()
    for number, answer in enumerate(answers):
        if as_json:
            from kleash.formats import to_json

            show_json(to_json(answer))
            continue
        if number % samples == 0:
            screen.print(Text(answer.prompt.text, style="bold cyan"))
        cut = Text(" (cut off)", style="yellow") if answer.finish_reason == "length" else Text()
        screen.print(Text(f"  {answer.text}").append_text(cut))


@app.command(
    epilog=examples(
        "kleash compare quickstart/sft quickstart/policy --prompts evaluation.jsonl -n 10",
        'kleash compare a b --prompt "how are you ?" --scorer my_judge:score',
    )
)
@unfolded
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A policy.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    prompt: PromptTexts = None,
    prompts: PromptsFile = None,
    num_prompts: Annotated[
        int | None, typer.Option("-n", "--num-prompts", min=1, help="Use the first so many.")
    ] = None,
    scorer: Annotated[
        str | None, typer.Option("--scorer", help="Who scores: a reward artifact, gold, or module:attribute.")
    ] = None,
    as_chat: AsChat = False,
    *,
    how: Asking,
) -> None:
    """Show two policies' answers side by side, with the words that differ in colour."""
    from rich.table import Table

    asked = asked_prompts(prompt, prompts)[:num_prompts]
    how = replace(how, turns="chat") if as_chat else how
    judge = build_judge(scorer, how.runs_dir, how.device, how.trust_remote_code) if scorer else None
    sides = [how.answers(name, asked) for name in (first, second)]
    scores = [list(judge.score(side).total) for side in sides] if judge else None
    table = Table(show_lines=True, expand=True)
    for heading in ("prompt", first, second):
        table.add_column(Text(heading), ratio=2 if heading == "prompt" else 3, overflow="fold")
    for row, (a, b) in enumerate(zip(*sides, strict=True)):
        left, right = word_difference(a.text, b.text)
        if scores is not None:
            left.append(f"\n{scores[0][row]:+.3f}", style="dim")
            right.append(f"\n{scores[1][row]:+.3f}", style="dim")
        table.add_row(Text(a.prompt.text), left, right)
    results().print(table)
    if scores is not None:
        results().print(_verdict(first, second, *scores), soft_wrap=True)


def asked_prompts(texts: Sequence[str] | None, file: Path | None) -> list[Prompt]:
    """Return the prompts to answer: those written out and those of the file. Raises SettingsError without any."""
    from kleash.formats import read_prompts
    from kleash.records import Prompt

    prompts = [Prompt(text) for text in texts or []] + (list(read_prompts(file).records) if file else [])
    if not prompts:
        raise SettingsError("There is nothing to answer. Expected --prompt TEXT or --prompts FILE. Give one of them.")
    return prompts


def build_judge(name: str, runs: Path, device: str, trust_remote_code: bool) -> Scorer:
    """Return who scores: the sandbox's truth, a Python function, or a reward model by its folder or RUN/STAGE."""
    if name == "gold":
        from kleash.evaluation.gold import GoldScorer

        return GoldScorer()
    if ":" in name and not Path(name).exists():
        from kleash.scorers.function import FunctionScorer

        return FunctionScorer(name)
    from kleash.locations import find_run_or_artifact
    from kleash.scorers.ensemble import as_one
    from kleash.scorers.reward_model import load_members

    # A reward model from elsewhere is a plain model folder without a manifest.
    folder = Path(name) if (Path(name) / "config.json").is_file() else find_run_or_artifact(name, runs)
    return as_one(load_members(folder, device=device, trust_remote_code=trust_remote_code))


def word_difference(first: str, second: str) -> tuple[Text, Text]:
    """Return both texts with the words that only one of them has in colour: red in the first, green in the second."""
    found = word_diff(first, second)
    return _coloured(found.first, "red"), _coloured(found.second, "green")


# ----------------------------------------------------------------------------------------------------------- inside
def _coloured(segments: Sequence[Segment], color: str) -> Text:
    return Text.assemble(*((one.text, color if one.is_shared is False else "") for one in segments))


def _verdict(first: str, second: str, scores_first: Sequence[float], scores_second: Sequence[float]) -> str:
    from kleash.cli.tables import rate
    from kleash.maths.intervals import win_rate

    wins = sum(b > a for a, b in zip(scores_first, scores_second, strict=True))
    ties = sum(b == a for a, b in zip(scores_first, scores_second, strict=True))
    found = win_rate(wins, ties, len(scores_first) - wins - ties)
    share = rate(found)
    return f"{second} wins against {first}: {share} prompts ({wins} won, {ties} tied; 95 % interval)"
