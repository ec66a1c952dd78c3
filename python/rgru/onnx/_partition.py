"""Cutting a graph at its GRUs into the fewest pieces: what runs before, between and after them."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rgru.convert.onnx._graph import Graph


class Unit(Protocol):
    """What is cut out of a graph: the values that it reads, and those that it can make."""

    reads: set[str]
    writes: set[str]


U = TypeVar("U", bound=Unit)


@dataclass
class Piece:
    """Nodes of a graph.

    Attributes
    ----------
    nodes : list of int
        Their indices, among them those that make the constants that they read.
    reads, writes : list of str
        The values that come from outside, and those that are used outside.
    """

    nodes: list[int]
    reads: list[str]
    writes: list[str]


def partition(graph: Graph, units: Sequence[U]) -> list[tuple[Piece | None, list[U]]]:
    """Return the stages of a run in their order: each has a piece, or none, and then units.

    A node runs as late as the first unit or piece that needs its values allows, so that it is with the nodes that read
    them. Nodes that no unit or output needs are left out.
    """
    maker = {name: k for k, unit in enumerate(units) for name in unit.writes}
    roots = [*graph.outputs, *(name for unit in units for name in unit.reads)]
    # Constants that leave the graph are made by a piece; all others are made again in each piece that reads them.
    made = graph.constants - set(roots)
    nodes = [i for i in graph.needed(roots, maker) if not made.issuperset(graph.nodes[i].output)]
    level, latest = _levels(graph, nodes, units, maker, made)
    stages: list[tuple[Piece | None, list[U]]] = []
    for stage in range(max(level.values()) + 1):
        inside = [i for i in nodes if latest[i] == stage]
        outside = [i for i in nodes if latest[i] != stage]
        piece = _piece(graph, inside, {*roots, *(name for i in outside for name in graph.reads[i])}) if inside else None
        stages.append((piece, [unit for k, unit in enumerate(units) if level[-1 - k] == stage]))
    return stages


def _levels(
    graph: Graph, nodes: list[int], units: Sequence[Unit], maker: dict[str, int], made: set[str]
) -> tuple[dict[int, int], dict[int, int]]:
    """Return for each node the number of units that follow each other before it, and the latest stage for it.

    Units have the keys -1, -2...
    """
    within = set(nodes)

    def makers(names: Iterable[str]) -> set[int]:
        found = {-1 - maker[name] if name in maker else graph.producers.get(name) for name in set(names) - made}
        return {key for key in found if key is not None and (key < 0 or key in within)}

    before = {i: makers(graph.reads[i]) for i in nodes}
    before |= {-1 - k: makers(unit.reads) for k, unit in enumerate(units)}
    order = list(TopologicalSorter(before).static_order())
    level: dict[int, int] = {}
    for key in order:
        level[key] = max((level[one] + (one < 0) for one in before[key]), default=0)
    latest = {key: level[key] if key < 0 else max(level[i] for i in nodes) for key in order}
    for key in reversed(order):
        for one in before[key]:
            if one >= 0:
                latest[one] = min(latest[one], latest[key])
    return level, latest


def _piece(graph: Graph, inside: list[int], used: set[str]) -> Piece:
    produced = {name for i in inside for name in graph.nodes[i].output if name}
    read = {name for i in inside for name in graph.reads[i]} - produced
    constants = [name for name in read if name in graph.constants]
    return Piece(sorted({*inside, *graph.needed(constants)}), sorted(read - graph.constants), sorted(produced & used))
