"""What each option of the cell costs, as a share of the plain cell's time: ``python benches/options.py``.

Both cells, inference and training (a recording and its backward pass). All contenders of a size take turns in one
process, and the smallest time of each counts. Merged directions are compared with concatenated ones, everything else
with the plain cell; so are a Python loop that calls it for each piece between resets, and a cell that reads ids, with
an embedding of I features. Prints a table.
"""

from __future__ import annotations

import argparse
import random
import sys
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

import rgru
from cases import Case
from clock import seconds_of
from compare import cpu_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Run = Callable[[], Any]

SIZES = [(32, 50, 64, 256), (1, 200, 64, 64), (64, 50, 16, 32), (500, 33, 8, 8)]
"""(B, T, I, H)."""

OPTIONS: dict[str, dict[str, Any]] = {
    "gates hard_sigmoid": {"gate_activation": ("hard_sigmoid", 0.2, 0.5)},
    "candidate relu": {"activation": "relu"},
    "candidate elu": {"activation": "elu"},
    "candidate softsign": {"activation": "softsign"},
    "candidate linear": {"activation": "linear"},
    "clip": {"clip": 3.0},
    "state_clip": {"state_clip": 0.5},
    "zoneout": {"zoneout": 0.1},
    "recurrent_dropout": {"recurrent_dropout": 0.1},
    "reverse": {"reverse": True},
    "learned_h0": {"learned_h0": True},
}
NORMS: dict[str, dict[str, Any]] = {
    "layer_norm separate": {"layer_norm": "separate"},
    "layer_norm sum": {"layer_norm": "sum"},
}
"""For reset-after cells alone."""

MERGES = "sum", "mean", "product"
RESETS, HOLES = 0.02, 0.1  # of all steps
LOOP = "a loop over pieces"
IDS = "ids of an embedding"
VOCABULARY = 1000
TURN = 0.03  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of rgru (default: as it chooses); 1 is steady beside other work")
    options = parser.parse_args()
    rgru.set_num_threads(options.threads)
    print(f"{cpu_name()}, {rgru.info()['num_threads']} threads, {rgru.info()['isa']}")
    columns = {}
    for size in SIZES:
        for passes in ("inference", "training"):
            label = f"{Case(False, *size).label.removesuffix(' before')}, {passes}"
            columns[label] = [ratios(Case(after, *size), passes, options.rounds) for after in (False, True)]
            print(f"measured: {label}", flush=True)
    print(f"\n{table(columns)}")


def ratios(case: Case, passes: str, rounds: int) -> dict[str, float]:
    """Return each option's time by that of the cell without it."""
    seconds = fastest(contenders(case, passes), rounds)
    plain, concat = seconds.pop("plain"), seconds.pop("concat")
    return {name: time / (concat if name.startswith("merge ") else plain) for name, time in seconds.items()}


def contenders(case: Case, passes: str) -> dict[str, Run]:
    """Return a call for each option, and for the cells that they are compared with."""
    rng = np.random.default_rng(0)
    steps = case.batch, case.time
    resets, mask = rng.random(steps) < RESETS, rng.random(steps) >= HOLES
    x, dy = case.arrays()
    run = {"inference": inference, "training": training}[passes]

    def made(**settings: Any) -> rgru.GRU:
        return rgru.GRU(case.inputs, case.hidden, reset_after=case.reset_after, seed=0, **settings)

    plain, wide = made(), np.concatenate([dy, dy], axis=2)
    embedding: dict[str, Any] = {"vocabulary": VOCABULARY, "embedding_size": case.inputs}
    words = rgru.GRU(1, case.hidden, reset_after=case.reset_after, seed=0, **embedding)
    ids = rng.integers(0, VOCABULARY, (*steps, 1)).astype(np.float32)
    loop = partial(over_pieces, run, plain, x, dy, resets)
    if not np.array_equal(np.concatenate(loop(), axis=1)[0], plain(x, resets=resets)[0].reshape(-1, case.hidden)):
        sys.exit(f"{case.label}: {LOOP} differs from resets")
    looking: dict[str, Run] = {"all_layers": lambda: plain(x, all_layers=True), "trace": lambda: plain.trace(x)}
    return {
        "plain": partial(run, plain, x, dy),
        "concat": partial(run, made(bidirectional=True), x, wide),
        **{name: partial(run, made(**settings), x, dy) for name, settings in OPTIONS.items()},
        **{name: partial(run, made(**settings), x, dy) for name, settings in NORMS.items() if case.reset_after},
        **{f"merge {merge}": partial(run, made(bidirectional=True, merge=merge), x, dy) for merge in MERGES},
        f"resets, {RESETS:.0%} of the steps": partial(run, plain, x, dy, resets=resets),
        LOOP: loop,
        IDS: partial(run, words, ids, dy),
        f"mask, {HOLES:.0%} holes": partial(run, plain, x, dy, mask=mask),
        "the same, outputs repeated": partial(run, plain, x, dy, mask=mask, masked="repeat"),
        **(looking if passes == "inference" else {}),
    }


def inference(gru: rgru.GRU, x: NDArray[Any], dy: NDArray[Any], **steps: Any) -> NDArray[Any]:
    y: NDArray[Any] = gru(x, **steps)[0]
    return y


def training(gru: rgru.GRU, x: NDArray[Any], dy: NDArray[Any], **steps: Any) -> NDArray[Any]:
    y, _, tape = gru.record(x, **steps)
    tape.backward(dy)
    return y


def over_pieces(
    run: Callable[..., NDArray[Any]], gru: rgru.GRU, x: NDArray[Any], dy: NDArray[Any], resets: NDArray[np.bool_]
) -> list[NDArray[Any]]:
    """Return the outputs of all pieces, each computed by itself."""
    outputs = []
    for n, row in enumerate(resets):
        for first, last in pairwise(np.unique([0, *np.flatnonzero(row), len(row)]).tolist()):
            outputs.append(run(gru, x[n : n + 1, first:last], dy[n : n + 1, first:last]))
    return outputs


def fastest(runs: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """Return the smallest seconds of a call of each contender; they take turns in changing order."""
    order = random.Random(0)
    found = {name: min(seconds_of(run, 1) for _ in range(3)) for name, run in runs.items()}
    for _ in range(rounds):
        for name in order.sample(list(runs), len(runs)):
            calls = 2 + int(TURN / found[name])  # the first finds what the contender before left in the caches
            found[name] = min(found[name], *(seconds_of(runs[name], 1) for _ in range(calls)))
    return found


def figure(ratio: float | None) -> str:
    """Return a ratio as it is printed; a cell may lack an option."""
    return "none" if ratio is None else f"{ratio:.2f}"


def table(columns: Mapping[str, list[dict[str, float]]]) -> str:
    """Return the ratios of both cells in Markdown."""
    rows = [["reset-before / reset-after", *columns], ["---"] * (1 + len(columns))]
    for name in next(iter(columns.values()))[1]:
        rows.append([name, *(" / ".join(figure(cell.get(name)) for cell in cells) for cells in columns.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
