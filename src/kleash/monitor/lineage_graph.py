"""Lay out a lineage as a layered graph and draw it as SVG: parents above, children below, every box a link.

Boxes stand in layers by their longest way from a source; a link that passes a layer keeps a lane free in it, so that no
line runs behind a box. Within a layer, boxes move below the middle of their parents. Pure: a lineage in, text out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from kleash.artifacts import Artifact
from kleash.lineage import Lineage
from kleash.monitor.markup import escape

BOX_WIDTH, BOX_HEIGHT = 168, 52
LANE_WIDTH = 26
GAP_X, GAP_Y = 18, 44
MARGIN = 10
SWEEPS = 4
LONGEST_TITLE, LONGEST_NOTE = 19, 25


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


@dataclass(frozen=True)
class Drawing:
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    width: float
    height: float


# A place in a layer: an artifact's id, or the lane that a link from parent to child keeps free in this layer.
_Place = str | tuple[str, str]


def lay_out(lineage: Lineage) -> Drawing:
    """Give every artifact a place such that every link runs downwards and crosses no box."""
    layer_of = _layers(lineage)
    roles: dict[tuple[str, str], list[str]] = {}
    for link in lineage.links:
        roles.setdefault((link.parent_id, link.child_id), []).append(link.role)
    layers: list[list[_Place]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for identity, layer in layer_of.items():
        layers[layer].append(identity)
    for parent, child in roles:
        for layer in range(layer_of[parent] + 1, layer_of[child]):
            layers[layer].append((parent, child))
    above = _neighbours(roles, layer_of)
    _untangle(layers, above)
    middles, width = _middles(layers)
    boxes = tuple(
        Box(place, middles[layer][place] - BOX_WIDTH / 2, MARGIN + layer * (BOX_HEIGHT + GAP_Y))
        for layer, places in enumerate(layers)
        for place in places
        if isinstance(place, str)
    )
    wires = tuple(
        Wire(parent, child, tuple(names), _run(parent, child, layer_of, middles))
        for (parent, child), names in roles.items()
    )
    height = 2 * MARGIN + len(layers) * BOX_HEIGHT + max(len(layers) - 1, 0) * GAP_Y
    return Drawing(boxes, wires, width, height)


def draw(
    lineage: Lineage,
    *,
    address: Callable[[str], str],
    note: Callable[[Artifact], str],
    chosen: str = "",
    here: str = "",
) -> str:
    """Return the SVG of a lineage.

    address: where the link of an artifact's box leads. note: the second line in its box. chosen: the artifact that is
    marked, with the links to its parents and children. here: the run whose artifacts need no run's name in the title.
    """
    drawing = lay_out(lineage)
    wires = "".join(_wire(wire, is_chosen=chosen in (wire.parent_id, wire.child_id)) for wire in drawing.wires)
    boxes = "".join(
        _box(lineage.artifacts[box.identity], box, address, note, is_chosen=box.identity == chosen, here=here)
        for box in drawing.boxes
    )
    return (
        f'<svg class="lineage" width="{drawing.width:.0f}" height="{drawing.height:.0f}" '
        f'viewBox="0 0 {drawing.width:.0f} {drawing.height:.0f}" role="group" aria-label="Lineage">{wires}{boxes}</svg>'
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


# ------------------------------------------------------------------------------------------------------------ layout
def _layers(lineage: Lineage) -> dict[str, int]:
    """Return each artifact's layer: one below its lowest parent; sources stand just above their first child."""
    layer_of: dict[str, int] = {}

    def lowest(identity: str) -> int:
        if identity not in layer_of:
            parents = [link.parent_id for link in lineage.parents_of(identity)]
            layer_of[identity] = 1 + max((lowest(parent) for parent in parents), default=-1)
        return layer_of[identity]

    for identity in lineage.artifacts:
        lowest(identity)
    for identity in lineage.artifacts:
        children = [layer_of[link.child_id] for link in lineage.children_of(identity)]
        if not lineage.parents_of(identity) and children:
            layer_of[identity] = min(children) - 1
    return layer_of


def _neighbours(roles: Mapping[tuple[str, str], object], layer_of: Mapping[str, int]) -> dict[_Place, list[_Place]]:
    """Return for every place the places in the layer above that it is joined to."""
    above: dict[_Place, list[_Place]] = {}
    for parent, child in roles:
        lane: _Place = (parent, child)
        num_lanes = layer_of[child] - layer_of[parent] - 1
        if num_lanes:
            # In the first of its layers a lane is joined to the parent, in all others to itself.
            above.setdefault(lane, []).extend([parent, lane] if num_lanes > 1 else [parent])
        above.setdefault(child, []).append(lane if num_lanes else parent)
    return above


def _untangle(layers: list[list[_Place]], above: Mapping[_Place, Sequence[_Place]]) -> None:
    """Order each layer by what it is joined to in the layer before it, then in the one after, in turn."""
    below: dict[_Place, list[_Place]] = {}
    for place, joined in above.items():
        for other in joined:
            below.setdefault(other, []).append(place)
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 0
        order = layers if downwards else layers[::-1]
        for before, layer in pairwise(order):
            layer[:] = _under(before, layer, above if downwards else below)


def _under(
    before: Sequence[_Place], layer: Sequence[_Place], joined: Mapping[_Place, Sequence[_Place]]
) -> list[_Place]:
    """Order a layer by the mean place, in the layer before, of what each is joined to; others stay where they are."""
    at = {place: index for index, place in enumerate(before)}

    def mean_place(place: _Place) -> float:
        found = [at[other] for other in joined.get(place, ()) if other in at]
        return fmean(found) if found else layer.index(place)

    return sorted(layer, key=mean_place)


def _middles(layers: Sequence[Sequence[_Place]]) -> tuple[list[dict[_Place, float]], float]:
    """Return the horizontal middle of every place, each layer centred, and the width of all."""
    widths = [
        sum(BOX_WIDTH if isinstance(place, str) else LANE_WIDTH for place in layer) + GAP_X * max(len(layer) - 1, 0)
        for layer in layers
    ]
    widest = max(widths, default=0)
    middles: list[dict[_Place, float]] = []
    for layer, width in zip(layers, widths, strict=True):
        x = MARGIN + (widest - width) / 2
        middles.append({})
        for place in layer:
            own = BOX_WIDTH if isinstance(place, str) else LANE_WIDTH
            middles[-1][place] = x + own / 2
            x += own + GAP_X
    return middles, widest + 2 * MARGIN


def _run(
    parent: str, child: str, layer_of: Mapping[str, int], middles: Sequence[Mapping[_Place, float]]
) -> tuple[tuple[float, float], ...]:
    def top(layer: int) -> float:
        return MARGIN + layer * (BOX_HEIGHT + GAP_Y)

    points = [(middles[layer_of[parent]][parent], top(layer_of[parent]) + BOX_HEIGHT)]
    for layer in range(layer_of[parent] + 1, layer_of[child]):
        x = middles[layer][parent, child]
        points += [(x, top(layer)), (x, top(layer) + BOX_HEIGHT)]
    return (*points, (middles[layer_of[child]][child], top(layer_of[child])))


# --------------------------------------------------------------------------------------------------------------- svg
def _wire(wire: Wire, *, is_chosen: bool) -> str:
    (x, y), *others = wire.points
    path = f"M{x:.0f},{y:.0f}"
    for place, (to_x, to_y) in enumerate(others):
        # Between layers a link swings over; through a layer it runs straight down its lane.
        middle = (y + to_y) / 2
        path += f"V{to_y:.0f}" if place % 2 else f"C{x:.0f},{middle:.0f} {to_x:.0f},{middle:.0f} {to_x:.0f},{to_y:.0f}"
        x, y = to_x, to_y
    kind = ' class="chosen"' if is_chosen else ""
    return f'<path{kind} d="{path}"><title>{escape(", ".join(wire.roles))}</title></path>'


def _box(
    artifact: Artifact,
    box: Box,
    address: Callable[[str], str],
    note: Callable[[Artifact], str],
    *,
    is_chosen: bool,
    here: str,
) -> str:
    title, said, x = title_of(artifact, here=here), note(artifact), box.x + 12
    kind = " outside" if not artifact.created else "" if ":" not in title else " elsewhere"
    current = ' aria-current="true"' if is_chosen else ""
    return (
        f'<a href="{escape(address(artifact.id))}"{current} class="box{kind}">'
        f"<title>{escape(f'{title}, {artifact.kind} {artifact.id[:8]}. {said}')}</title>"
        f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="8"/>'
        f'<text x="{x:.0f}" y="{box.y + 22:.0f}">{escape(_shortened(title, LONGEST_TITLE))}</text>'
        f'<text class="note" x="{x:.0f}" y="{box.y + 40:.0f}">{escape(_shortened(said, LONGEST_NOTE))}</text></a>'
    )


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
