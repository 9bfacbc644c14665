# SPDX-License-Identifier: Apache-2.0
"""A device in the picture: a card with a coloured edge, in rows of a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nvidia_runtime.topology import svg, words
from nvidia_runtime.topology.devices import Gpu, Leaf, Nic, NvSwitch
from nvidia_runtime.topology.tree import Branch, Child

GAP, PAD, EDGE = 10, 12, 4
LINE, MIG_LINE = 17, 20
COLUMNS, MOST_SMALL = 2, 4

# A text and its class.
Part = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A device, and the bridge that it has for itself."""

    leaf: Leaf
    bridge: str = ""

    @property
    def kind(self) -> str:
        """The class of its edge."""
        kinds = {Gpu: "gpu", Nic: "nic", NvSwitch: "nvswitch"}
        return kinds[type(self.leaf)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cards beside each other, in a number of columns; or a branch by itself."""

    cards: tuple[Card, ...] = ()
    columns: int = COLUMNS
    branch: Branch | None = None


def rows(children: tuple[Child, ...]) -> list[Row]:
    """Put children into rows: cards in their order, and each branch in a row of its own."""
    complete: list[Row] = []
    cards: list[Card] = []
    for child in children:
        if card := _card(child):
            cards.append(card)
        elif isinstance(child, Branch):
            complete += [*_rows(cards), Row(branch=child)]
            cards = []
    return complete + _rows(cards)


def height(card: Card, width: float) -> float:
    """Return what a card needs."""
    lines = len(_lines(card, width))
    migs = card.leaf.migs if isinstance(card.leaf, Gpu) else ()
    return 2 * PAD - 4 + lines * LINE - 4 + (len(migs) * MIG_LINE + 4 if migs else 0)


def draw(card: Card, place: tuple[float, float, float, float]) -> str:
    """Return the marks of a card."""
    x, y, width, size = place
    marks = [
        svg.box(place, "card"),
        svg.box((x, y, EDGE, size), card.kind, round_by=2),
    ]
    left, right = x + EDGE + PAD, x + width - PAD
    baseline = y + PAD + 9.0
    for (said, kind), (more, other) in _lines(card, width):
        marks.append(svg.text(left, baseline, said, kind))
        marks.append(svg.text(right, baseline, more, other, "end"))
        baseline += LINE
    if isinstance(card.leaf, Gpu):
        marks += _migs(card.leaf, (left, baseline - 8, right - left))
    return svg.group(_title(card.leaf), marks)


def _lines(card: Card, width: float) -> list[tuple[Part, Part]]:
    """Return the lines of a card, with what is at the left and at the right, and their classes."""
    leaf, room = card.leaf, width - EDGE - 2 * PAD
    if isinstance(leaf, NvSwitch):
        pairs = [((leaf.name, "name"), ("", "fine")), ((leaf.device.address, "mono"), ("", "fine"))]
    elif isinstance(leaf, Nic):
        interfaces, rdma = (" ".join(leaf.device.interfaces), " ".join(leaf.device.rdma_devices))
        pairs = [
            ((leaf.name, "name"), (interfaces or "no interface", "mono")),
            ((words.model(leaf), "said"), (rdma, "mono")),
            ((leaf.device.address, "mono"), (leaf.device.link, "fine")),
        ]
    else:
        pairs = [
            ((leaf.name, "name"), (leaf.node, "mono")),
            ((words.model(leaf), "said"), ("", "fine")),
            ((leaf.device.address, "mono"), (leaf.device.link, "fine")),
        ]
        if leaf.uuid:
            pairs.append(((leaf.uuid, "fine"), ("", "fine")))
    if card.bridge:
        pairs.append(((card.bridge, "fine"), ("", "fine")))
    if state := words.state(leaf):
        pairs.append(((state, "soft"), ("", "fine")))
    return [_fitted(left, right, room) for left, right in pairs]


def _fitted(left: Part, right: Part, room: float) -> tuple[Part, Part]:
    """Cut what is at the right, then what is at the left, so that they do not touch."""
    most = room if not left[0] else room - min(svg.measured(*left), room * 0.6) - GAP
    more = svg.fitted(right[0], right[1], max(most, 0)) if right[0] else ""
    rest = room - (svg.measured(more, right[1]) + GAP if more else 0)
    return (svg.fitted(left[0], left[1], rest), left[1]), (more, right[1])


def _migs(gpu: Gpu, place: tuple[float, float, float]) -> list[str]:
    x, y, width = place
    marks = []
    for number, device in enumerate(gpu.migs):
        name, _ = words.mig_device(gpu, device)
        top = y + number * MIG_LINE
        where = f"GI {device.gpu_instance}, CI {device.compute_instance}"
        inner = [
            svg.box((x, top, width, MIG_LINE - 4), "mig", round_by=3),
            svg.text(x + 6, top + 12, name, "cell"),
            svg.text(x + width - 6, top + 12, where, "cell", "end"),
        ]
        marks.append(svg.group(device.uuid or name, inner))
    return marks


def _title(leaf: Leaf) -> str:
    """Return what a pointer over a card shows: what may have been cut."""
    parts = [leaf.name, words.model(leaf), leaf.device.address]
    parts.append(leaf.uuid if isinstance(leaf, Gpu) else "")
    parts.append(words.names(leaf) if isinstance(leaf, Nic) else "")
    return ", ".join(filter(None, parts))


def _card(child: Child) -> Card | None:
    """Return the card of a device, also of one that has a bridge for itself."""
    if not isinstance(child, Branch):
        return Card(leaf=child)
    only = child.children[0] if len(child.children) == 1 else None
    if only is None or isinstance(only, Branch):
        return None
    return Card(leaf=only, bridge=f"{child.bridge.role} {child.bridge.device.address}")


def _rows(cards: list[Card]) -> list[Row]:
    """Put cards into rows; one by itself is wide, those of NVSwitches are small."""
    small = [card for card in cards if isinstance(card.leaf, NvSwitch)]
    large = [card for card in cards if not isinstance(card.leaf, NvSwitch)]
    columns = min(COLUMNS, len(large))
    complete = [
        _row(large[at : at + columns], columns) for at in range(0, len(large), columns or 1)
    ]
    if small:
        columns = math.ceil(len(small) / math.ceil(len(small) / MOST_SMALL))
        complete += [
            _row(small[at : at + columns], columns) for at in range(0, len(small), columns)
        ]
    return complete


def _row(cards: list[Card], columns: int) -> Row:
    return Row(cards=tuple(cards), columns=columns)
