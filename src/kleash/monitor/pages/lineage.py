"""The lineage of a run as parts of a page: a graph in SVG, and what the chosen artifact was made from and went into.

Parents stand above, children below, in layers by their longest way from a source; a link that passes a layer keeps a
lane free in it, so that no line runs behind a box. Within a layer, boxes move below the middle of their parents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import fmean
from urllib.parse import quote

from kleash.artifacts import MANIFEST, Artifact
from kleash.errors import ArtifactError
from kleash.estimates import estimate
from kleash.lineage import Lineage, lineage_of
from kleash.monitor.pages.rendering import Live, fragment, piece
from kleash.monitor.read.measures import whole
from kleash.web.wording import count, number, percent

BOX_WIDTH, BOX_HEIGHT = 168, 52
LANE_WIDTH = 26
GAP_X, GAP_Y = 18, 44
MARGIN = 10
SWEEPS = 4
# Figures in a summary that are lists or tables of their own are shown on other pages.
LONGEST_VALUE = 300

TELLING_FIGURES = {
    "win_rate": "win rate",
    "heldout_accuracy": "accuracy",
    "verdict": "verdict:",
    "pairs": "pairs",
    "answers": "answers",
    "steps": "updates",
    "prompts": "prompts",
}
"""{figure of a summary: what it is called}, the most telling first; text is shown behind its name, a number before."""


@dataclass(frozen=True)
class Box:
    """One artifact in the drawing; x, y: its upper left corner in pixels."""

    identity: str
    x: float
    y: float


@dataclass(frozen=True)
class Wire:
    """One link in the drawing: the points it runs through, from the parent's lower edge to the child's upper edge."""

    parent_id: str
    child_id: str
    roles: tuple[str, ...]
    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """The points as an SVG path: between layers it swings over; through a layer it runs straight down its lane."""
        (x, y), *others = self.points
        path = f"M{x:.0f},{y:.0f}"
        for index, (to_x, to_y) in enumerate(others):
            middle = (y + to_y) / 2
            curve = f"C{x:.0f},{middle:.0f} {to_x:.0f},{middle:.0f} {to_x:.0f},{to_y:.0f}"
            path += f"V{to_y:.0f}" if index % 2 else curve
            x, y = to_x, to_y
        return path


@dataclass(frozen=True)
class Drawing:
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    width: float
    height: float


def lineage_state(folder: Path) -> object:
    """Return what a run's lineage depends on: its manifests, and which runs lie beside it."""
    manifests = [*folder.glob(f"round-*/*/{MANIFEST}"), *folder.glob(f"*/{MANIFEST}")]
    times = sorted((str(path), path.stat().st_mtime_ns) for path in manifests)
    return times, sorted(path.name for path in folder.absolute().parent.iterdir())


def live_lineage(folder: Path, run: str, *, chosen: str = "") -> Live:
    """Return the lineage page of the run in `folder`. chosen: an artifact's id; the newest result unless given."""
    try:
        lineage = lineage_of(folder)
    except ArtifactError as error:
        return Live(html={"lineage": piece("about", error), "details": ""})
    if chosen not in lineage.artifacts:
        chosen = lineage.focus[-1]
    here = folder.absolute().name

    def address(identity: str) -> str:
        return f"/lineage/{quote(run)}?artifact={quote(identity, safe='')}#details"

    graph = draw(lineage, address, chosen=chosen, here=here)
    return Live(html={"lineage": graph, "details": _details(lineage, chosen, run, here, address)})


def draw(lineage: Lineage, address: Callable[[str], str], *, chosen: str = "", here: str = "") -> str:
    """Return the SVG of a lineage.

    address: where the link of an artifact's box leads. chosen: the artifact that is marked, with the links to its
    parents and children. here: the run whose artifacts need no run's name in the title.
    """
    return fragment(
        "parts/lineage_graph.html",
        drawing=lay_out(lineage),
        artifacts=lineage.artifacts,
        title_of=partial(title_of, here=here),
        note=figure_of,
        address=address,
        chosen=chosen,
        box_width=BOX_WIDTH,
        box_height=BOX_HEIGHT,
    )


def title_of(artifact: Artifact, *, here: str = "") -> str:
    """Return what an artifact is called: its stage, with the run's name where it lies in another run than `here`."""
    if not artifact.created:
        return artifact.path.name or artifact.kind
    place = artifact.path.parent
    run, number = (place.parent.name, round_number(artifact)) if round_number(artifact) is not None else (place.name, 0)
    name = f"{artifact.path.name}, round {number}" if number else artifact.path.name
    return name if run == here else f"{run}: {name}"


def round_number(artifact: Artifact) -> int | None:
    """Return the round that an artifact was made in, None if it lies in none."""
    number = artifact.path.parent.name.removeprefix("round-")
    return int(number) if artifact.created and number.isdecimal() else None


def figure_of(artifact: Artifact) -> str:
    """Return the one figure that says most of an artifact, in a few words."""
    if not artifact.created:
        return f"{artifact.kind}, from outside"
    for key, words in TELLING_FIGURES.items():
        value = artifact.summary.get(key)
        if value is None:
            continue
        if (figure := estimate(value)) is None:
            return f"{words} {value}"
        if key in ("heldout_accuracy", "win_rate"):
            return f"{words} {percent(figure.value)}"
        return f"{number(figure.value, 3) if figure.value % 1 else count(figure.value)} {words}"
    return artifact.kind


# ----------------------------------------------------------------------------------------------------------- details
def _details(lineage: Lineage, chosen: str, run: str, here: str, address: Callable[[str], str]) -> str:
    """Return what is known of an artifact; a summary's mappings, such as slices, are folded tables of their own."""
    artifact = lineage.artifacts[chosen]
    return fragment(
        "parts/lineage_details.html",
        artifact=artifact,
        lineage=lineage,
        title_of=partial(title_of, here=here),
        run=run,
        address=address,
        estimate=estimate,
        short=_short,
    )


def _short(value: object) -> str:
    if isinstance(value, list):
        # Of reasons and the like, what they say.
        value = " ".join(str(item.get("text", item)) if isinstance(item, Mapping) else str(item) for item in value)
    text = f"{value:.4g}" if isinstance(value, float) and whole(value) != value else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


# ------------------------------------------------------------------------------------------------------------ layout
# A place in a layer: an artifact's id, or the lane that a link from parent to child keeps free there.
_Place = str | tuple[str, str]


def lay_out(lineage: Lineage) -> Drawing:
    """Give every artifact a place such that every link runs downwards and crosses no box."""
    layer_of = _layers(lineage)
    layers: list[list[_Place]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for identity, layer in layer_of.items():
        layers[layer].append(identity)
    roles: dict[tuple[str, str], list[str]] = {}
    for link in lineage.links:
        roles.setdefault((link.parent_id, link.child_id), []).append(link.role)
    # By link the place that it takes in each layer, from its parent's to its child's.
    routes: dict[tuple[str, str], list[_Place]] = {}
    for parent, child in roles:
        lanes: list[_Place] = [(parent, child)] * (layer_of[child] - layer_of[parent] - 1)
        for layer, lane in enumerate(lanes, start=layer_of[parent] + 1):
            layers[layer].append(lane)
        routes[parent, child] = [parent, *lanes, child]
    _untangle(layers, routes.values())
    middles, width = _middles(layers)
    boxes = tuple(
        Box(place, middles[layer][place] - BOX_WIDTH / 2, _top(layer))
        for layer, places in enumerate(layers)
        for place in places
        if isinstance(place, str)
    )
    wires = []
    for (parent, child), route in routes.items():
        steps = [(middles[layer][place], _top(layer)) for layer, place in enumerate(route, start=layer_of[parent])]
        points = [point for x, y in steps for point in ((x, y), (x, y + BOX_HEIGHT))]
        wires.append(Wire(parent, child, tuple(roles[parent, child]), tuple(points[1:-1])))
    height = _top(len(layers)) - GAP_Y + MARGIN if layers else 2 * MARGIN
    return Drawing(boxes, tuple(wires), width, height)


def _top(layer: int) -> float:
    return MARGIN + layer * (BOX_HEIGHT + GAP_Y)


def _layers(lineage: Lineage) -> dict[str, int]:
    """Return each artifact's layer: one below its lowest parent; sources stand just above their first child."""
    parents = {identity: [link.parent_id for link in lineage.parents_of(identity)] for identity in lineage.artifacts}
    layer_of: dict[str, int] = {}
    for identity in TopologicalSorter(parents).static_order():
        layer_of[identity] = 1 + max((layer_of[parent] for parent in parents[identity]), default=-1)
    for identity in lineage.artifacts:
        children = [layer_of[link.child_id] for link in lineage.children_of(identity)]
        if not parents[identity] and children:
            layer_of[identity] = min(children) - 1
    return {identity: layer_of[identity] for identity in lineage.artifacts}


def _untangle(layers: list[list[_Place]], routes: Iterable[Sequence[_Place]]) -> None:
    """Order each layer by what it is joined to in the layer before it, then in the one after, in turn."""
    above: dict[_Place, list[_Place]] = defaultdict(list)
    below: dict[_Place, list[_Place]] = defaultdict(list)
    for route in routes:
        for upper, lower in pairwise(route):
            above[lower].append(upper)
            below[upper].append(lower)
    for _ in range(SWEEPS // 2):
        for order, joined in ((layers, above), (layers[::-1], below)):
            for before, layer in pairwise(order):
                layer[:] = _under(before, layer, joined)


def _under(
    before: Sequence[_Place], layer: Sequence[_Place], joined: Mapping[_Place, Sequence[_Place]]
) -> list[_Place]:
    """Order a layer by the mean place, in the layer before, of what each is joined to; others stay where they are."""
    at = {place: index for index, place in enumerate(before)}

    def mean_place(place: _Place) -> float:
        places = [at[other] for other in joined.get(place, ()) if other in at]
        return fmean(places) if places else layer.index(place)

    return sorted(layer, key=mean_place)


def _middles(layers: Sequence[Sequence[_Place]]) -> tuple[list[dict[_Place, float]], float]:
    """Return the horizontal middle of every place, each layer centred, and the width of all."""
    widths = [[BOX_WIDTH if isinstance(place, str) else LANE_WIDTH for place in layer] for layer in layers]
    widest = max((sum(own) + GAP_X * (len(own) - 1) for own in widths), default=0)
    middles: list[dict[_Place, float]] = []
    for layer, own in zip(layers, widths, strict=True):
        starts = accumulate(own, lambda start, width: start + width + GAP_X, initial=0)
        left = MARGIN + (widest - sum(own) - GAP_X * (len(own) - 1)) / 2
        middles.append({place: left + x + width / 2 for place, x, width in zip(layer, starts, own, strict=False)})
    return middles, widest + 2 * MARGIN
