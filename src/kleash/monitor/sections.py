"""Write the report's sections around the figures as HTML: head, verdict, tiles, checks, charts, samples.

The tables are in `slice_table.py` and `provenance.py`. Looks are in sections.css, behaviour in report.js; every text
that came from a run passes through `escape`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kleash.monitor import hhh_chart
from kleash.monitor.checks import KL_BAND, RunCheck
from kleash.monitor.findings import Findings, slice_names
from kleash.monitor.markup import arrow, box, dumbbell, escape, interval_bar, mark, num_cases, options, rate_note, track
from kleash.monitor.provenance import stage_seconds
from kleash.monitor.reader import RoundFolder, Run
from kleash.monitor.verdict import RunVerdict
from kleash.web.wording import MISSING, count, duration, length_alone, number, number_range, percent

ABOUT_ONLINE = (
    "The reward must not be believed alone: it is worth what the external quality beneath it says. Reward is the "
    "reward model's score less the SFT answers' mean, over their SD. KL is the k1 estimate: the mean over sampled "
    "answers of the sum over tokens of log p(policy) − log p(SFT). Each point is the batch of one update."
)
ABOUT_DIRECT = "Trained directly on the preference pairs: no reward model stands in between, and the leash is implicit."


def stages_line(run: Run, found: RoundFolder | None) -> str:
    """Return the recipe's stages in order with how long each took; those still to come are faint."""
    stages = found.stages if found else {}
    asked = run.recipe.get("stages")
    names = [str(name) for name in asked] if isinstance(asked, list) else list(stages)
    items = []
    for name in [*names, *(name for name in stages if name not in names)]:
        stage = stages.get(name)
        state = "missing" if stage is None else "done" if stage.is_complete else "unfinished"
        seconds = stage_seconds(run, stage) if stage and stage.is_complete else None
        note = duration(seconds) if seconds is not None else "" if state == "done" else state
        items.append(f'<li class="{state}"><b>{escape(name)}</b> <span>{note}</span></li>')
    return f'<ol class="stages" aria-label="Stages of this round">{"".join(items)}</ol>'


def verdict_section(verdict: RunVerdict) -> str:
    """Return the headline with the sentences that bear it out."""
    claim, colon, rest = verdict.headline.partition(":")
    evidence = " ".join(escape(sentence) for sentence in verdict.evidence)
    return f'<section class="verdict {verdict.mood}"><h2><em>{escape(claim + colon)}</em>{escape(rest)}</h2>' + (
        f"<p>{evidence}</p></section>" if evidence else "</section>"
    )


# ------------------------------------------------------------------------------------------------------------- tiles
def tiles(findings: Findings) -> str:
    """Return the five figures that a reader wants first."""
    makers = (_win_tile, _judge_tile, _kl_tile, _reward_tile, _pairs_tile)
    made = "".join(make(findings) for make in makers)
    return f'<section class="tiles" aria-label="Main figures">{made}</section>'


def _win_tile(findings: Findings) -> str:
    title, rate = "Win rate against SFT", findings.overall.win_rate
    if rate is None and findings.win_rates:
        curve = findings.win_rates[0]
        step, rate = curve.points[-1]
        note = f"{escape(curve.name)}, update {count(step)}: {rate_note(rate)}"
        return tile(title, percent(rate.value), note, interval_bar(rate, even=0.5))
    if rate is None:
        return tile(title, MISSING, "not evaluated yet")
    note, controlled = rate_note(rate), findings.overall.win_rate_at_equal_length
    if controlled is not None:
        note += f"; at equal length {percent(controlled.value)}"
    return tile(title, percent(rate.value), note, interval_bar(rate, even=0.5))


def _judge_tile(findings: Findings) -> str:
    before, after = findings.overall.judge_before, findings.overall.judge_after
    if before is None or after is None:
        return tile("Quality", MISSING, "not evaluated yet")
    title = {"gold": "Gold", "proxy": "Reward (the proxy)"}.get(findings.judge, f"Judge: {findings.judge}")
    unit = "SD" if findings.judge == "proxy" else "mean points"
    span = number_range(after.low, after.high)
    note = f"{unit}, SFT → policy{f'; now {span}' if span else ''}{num_cases(after)}"
    reach = 1.25 * max(abs(before.value), abs(after.value), 0.01)
    start = 0.0 if min(before.value, after.value) >= 0 else -reach
    bar = dumbbell(before.value, after.value, start=start, end=reach)
    return tile(escape(title), arrow(before.value, after.value, 2), note, bar)


def _kl_tile(findings: Findings) -> str:
    kl, target = findings.kl_nats, findings.kl_target_nats
    if kl is None:
        return tile("KL to the SFT model", MISSING, "not measured")
    span = number_range(kl.low, kl.high)
    note = f"nats per answer (k1){f', {span}' if span else ''}{num_cases(kl)}"
    if target is None:
        return tile("KL to the SFT model", number(kl.value), note)
    end = max(2 * target, 1.1 * kl.value)
    band = box("band", (1 - KL_BAND) * target, (1 + KL_BAND) * target, start=0.0, end=end)
    bar = track(band, mark("tick", kl.value, start=0.0, end=end))
    note += f"; target {number(target)} ± {percent(KL_BAND)}"
    return tile("KL to the SFT model", number(kl.value), note, bar)


def _reward_tile(findings: Findings) -> str:
    model = findings.reward_model
    if model is None:
        return tile("Reward model", MISSING, "none in this run yet")
    note = f"of unseen pairs, {rate_note(model.accuracy)}"
    if model.longer_wins is not None:
        note += f"; {length_alone(model.longer_wins)}"
    return tile("Reward model", percent(model.accuracy.value), note, interval_bar(model.accuracy, even=0.5))


def _pairs_tile(findings: Findings) -> str:
    pairs = f"{count(findings.num_pairs)} pairs"
    if findings.num_judgements is not None:
        pairs += f", {count(findings.num_judgements)} judgements"
    if findings.agreement is None:
        note = "no pair has two judgements" if findings.num_pairs else "none yet"
        return tile("Preference pairs", count(findings.num_pairs), note)
    bar = interval_bar(findings.agreement, even=0.5)
    return tile("Raters agree", percent(findings.agreement.value), f"of two votes on one pair; {pairs}", bar)


def tile(title: str, figure: str, note: str, bar: str = "") -> str:
    """Return one tile; all of its parts are HTML."""
    return f'<div class="tile"><h3>{title}</h3><p class="figure">{figure}</p>{bar}<p class="note">{note}</p></div>'


# ------------------------------------------------------------------------------------------------------------ checks
def checks_section(found: Sequence[RunCheck], problems: Sequence[str]) -> str:
    """Return a box with every warning and unreadable file, and folded below it what else was looked at."""
    warnings = [check for check in found if check.status == "warning"]
    quiet = [check for check in found if check.status != "warning"]
    items = [_warning(check.name, check.text, check.remedy) for check in warnings]
    items += [_warning("Unreadable", problem, "") for problem in problems]
    title = "One thing to look at" if len(items) == 1 else f"{len(items)} things to look at"
    boxed = f'<div class="warnings" role="note"><h3>{title}</h3><ul>{"".join(items)}</ul></div>' if items else ""
    rows = "".join(
        f'<li class="{check.status.replace(" ", "-")}"><b>{escape(check.name)}</b> {escape(check.text)}</li>'
        for check in quiet
    )
    num_fine = sum(check.status == "fine" for check in quiet)
    summary = f"{num_fine} {'other ' if items else ''}check{'' if num_fine == 1 else 's'} found nothing wrong"
    if num_fine < len(quiet):
        summary += f", {len(quiet) - num_fine} could not be made"
    folded = f'<details class="checks"><summary>{summary}</summary><ul>{rows}</ul></details>' if rows else ""
    return f'<section class="checkup">{boxed}{folded}</section>' if boxed or folded else ""


def _warning(name: str, text: str, remedy: str) -> str:
    tail = f' <span class="remedy">{escape(remedy)}</span>' if remedy else ""
    return f"<li><b>{escape(name)}.</b> {escape(text)}{tail}</li>"


# ------------------------------------------------------------------------------------------------------------ charts
def training_section(findings: Findings, small: Sequence[tuple[str, str]], *, has_main_figure: bool) -> str:
    """Return the places for the training figure and the smaller ones, given as (title, unit)."""
    if not small and not has_main_figure:
        return ""
    label = "Reward, external quality, KL and beta by update, on one axis"
    main = chart_place("training", label) if has_main_figure else ""
    names = slice_names(findings.updates)
    menu = (
        '<p class="controls"><label>Compare with one slice <select id="slice-line" autocomplete="off">'
        f'<option value="">none</option>{options(names)}</select></label></p>'
    )
    figures = "".join(
        f"<figure><figcaption><b>{escape(title)}</b> {escape(unit)}</figcaption>"
        f"{chart_place(f'small-{index}', f'{title} by update')}</figure>"
        for index, (title, unit) in enumerate(small)
    )
    about = ABOUT_ONLINE if findings.method == "policy" else ABOUT_DIRECT
    return (
        f'<section id="training"><h2>Training</h2><p class="about">{about}</p>{menu if names and main else ""}{main}'
        f'<div class="small-charts">{figures}</div></section>'
    )


def hhh_section(findings: Findings) -> str:
    """Return helpful, honest and harmless over the checkpoints, where prompts say which of them they ask for."""
    label = "Helpful against harmless by checkpoint, honest as the colour"
    return hhh_chart.hhh_section(findings.aims, chart_place("hhh", label)) if findings.aims else ""


def reward_model_section(findings: Findings, drawn: Collection[str]) -> str:
    """Return the places for the reward model's figures, those of them that were drawn."""
    model = findings.reward_model
    if model is None or not {"margins", "reward-slices"} & set(drawn):
        return ""
    wanted = (
        (
            "margins",
            f"<b>Margins</b> preferred answer's reward less the other's, {count(len(model.margins))} unseen pairs",
            "Histogram of margins",
        ),
        (
            "reward-slices",
            "<b>Accuracy by slice</b> pairs ordered rightly, 95 % interval; worst at the top",
            "Accuracy by slice with intervals",
        ),
    )
    parts = "".join(
        f"<figure><figcaption>{caption}</figcaption>{chart_place(name, label)}</figure>"
        for name, caption, label in wanted
        if name in drawn
    )
    return (
        '<section id="reward-model"><h2>The reward model on pairs it has not seen</h2><p class="about">Accuracy is the '
        f"share of pairs whose preferred answer scores higher: {percent(model.accuracy.value)}, 95 % interval "
        f"{rate_note(model.accuracy)}. A pair left of zero is ordered wrongly. {escape(model.audit)}</p>"
        f'<div class="pair-charts">{parts}</div></section>'
    )


def chart_place(name: str, label: str) -> str:
    """Return the place where a script draws a figure."""
    return f'<div class="chart" data-figure="{name}" role="img" aria-label="{escape(label)}"></div>'


# ----------------------------------------------------------------------------------------------------------- samples
def samples_section(findings: Findings) -> str:
    """Return the samples browser's controls; report.js fills its list from the embedded data."""
    if not findings.samples:
        return ""
    names = sorted({name for sample in findings.samples for name in sample.slices})
    measure = {"gold": "gold", "proxy": "reward"}.get(findings.judge, "judge's score")
    orders = {"": "slices in turn", "gain": f"biggest gain in {measure}", "loss": f"biggest loss in {measure}"}
    suspects = ""
    if any(sample.gap is not None for sample in findings.samples):
        orders["gap"] = f"reward ranked above {measure}"
        suspects = f" Where the reward ranks an answer far above what {measure} does, suspect the reward model."
    sorting = "".join(f'<option value="{value}">{label}</option>' for value, label in orders.items())
    return (
        '<section id="samples"><h2>Before and after</h2><p class="about">The same prompts answered by the SFT model '
        f"and by the trained policy. Text is shown exactly as the model wrote it.{suspects}</p>"
        '<form class="controls" autocomplete="off">'
        f'<label>Slice <select id="sample-slice"><option value="">all</option>{options(names)}</select></label>'
        '<label>Outcome <select id="sample-outcome"><option value="">all</option>'
        f"{options(['win', 'tie', 'loss'])}</select></label>"
        f'<label>Sort by <select id="sample-order">{sorting}</select></label>'
        '<label>Contains <input id="sample-text" type="search" size="14"></label></form>'
        f'<p id="sample-count" class="about" role="status"></p>'
        f'<div id="sample-list" data-measure="{escape(measure)}"></div>'
        '<button type="button" id="sample-more">Show more</button></section>'
    )
