"""Estimators on a GPU beside the CPU and PyTorch: ``python benches/gpu/estimators.py --out FOLDER``, in some 40 s.

Trains two tasks with the same seed and settings on the CPU and on the GPU, trains one of them with ``torch.nn.GRU`` on
the same GPU, and predicts for millions of steps. Prints a line for each, and writes ``estimators.json``. What fails
stops nothing, but the exit status is then 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # where `gpu` is found
if find_spec("torch"):
    import torch  # noqa: F401 - before CuPy, so that both use the libraries that PyTorch comes with

import rgru
from gpu.cases import Deadline
from gpu.forms import bound_waits
from gpu.predictions import predictions, print_predictions
from gpu.tasks import BATCH, DEVICES, RATE, TINY, Sizes, adding, shuffled, vowels
from gpu.trainings import against_torch, print_training

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIRST_LOSS = 1e-2
"""Bound of the relative difference of the first epoch's loss on the two devices: later rounding grows."""


def tasks(sizes: Sizes) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return the tasks: each trains on both devices and returns a row."""
    common: dict[str, Any] = {
        "hidden_size": sizes.hidden,
        "max_epochs": sizes.epochs,
        "learning_rate": RATE,
        "random_state": 0,
    }

    def classify() -> dict[str, Any]:
        train, test = ([part[: sizes.sequences] for part in shuffled(*vowels(name))] for name in ("train", "test"))
        return on_both(rgru.GRUClassifier(bidirectional=True, **common), train, test)

    def add() -> dict[str, Any]:
        train, test = (adding(sizes.sequences, sizes.steps, seed) for seed in (0, 1))
        return on_both(rgru.GRURegressor(reset_after=True, batch_size=BATCH, **common), train, test)

    return {"vowels, accuracy": classify, "adding problem, R^2": add}


def on_both(estimator: Any, train: Sequence[Any], test: Sequence[Any]) -> dict[str, Any]:
    """Train and test on both devices, with the same seed and settings."""
    row: dict[str, Any] = {"sequences": len(train[0])}
    losses = {}
    for device in DEVICES:
        estimator.set_params(device=device)
        begun = time.perf_counter()
        estimator.fit(*train)
        seconds = time.perf_counter() - begun
        losses[device] = estimator.history_.train_loss
        rate = median(estimator.history_.sequences_per_second)  # the first epoch compiles
        last = {"loss": losses[device][-1], "score": estimator.score(*test)}
        row[device] = {"seconds": seconds, "sequences_per_second": rate, **last}
    cpu, cuda = (losses[device][0] for device in DEVICES)
    row["difference"] = abs(cuda - cpu) / cpu
    row["wrong"] = not row["difference"] <= FIRST_LOSS
    return row


def print_task(name: str, row: dict[str, Any]) -> None:
    each = (
        f"{device} {one['score']:.4f} (loss {one['loss']:.2e}, {one['seconds']:.2f} s, "
        f"{one['sequences_per_second']:,.0f} sequences/s)"
        for device, one in ((device, row[device]) for device in DEVICES)
    )
    print(f"{name}: {', '.join(each)}{'  WRONG: the first losses differ' if row['wrong'] else ''}", flush=True)


def planned(sizes: Sizes) -> dict[str, tuple[Callable[[], dict[str, Any]], Callable[[dict[str, Any]], None]]]:
    """Return what is measured and what prints its row, the most telling first."""
    work: dict[str, Any] = {name: (run, partial(print_task, name)) for name, run in tasks(sizes).items()}
    trainings = {
        kind: {
            f"training H={hidden} {kind}": (partial(against_torch, sizes, hidden, kind), print_training)
            for hidden in sizes.compared
        }
        for kind in ("float32", "tf32")
    }
    if not find_spec("torch"):
        print("training beside PyTorch is left out: it is not installed")
        trainings = {kind: {} for kind in trainings}
    work |= trainings["float32"]
    work["predict"] = partial(predictions, sizes), print_predictions
    return work | trainings["tf32"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all that there is time for; return 1 if something failed or is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="for results (default: here)")
    parser.add_argument("--seconds", type=float, default=120, help="begin nothing later (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, as for an emulator")
    options = parser.parse_args(arguments)
    sizes, deadline = (TINY if options.tiny else Sizes()), Deadline(options.seconds)
    bound_waits()
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"sizes": sizes._asdict()}
    work = planned(sizes)
    for name, (run, show) in work.items():
        if deadline.left < 0:
            found[name] = {"error": "the time was up"}
            print(f"{name}: the time was up")
            continue
        try:
            found[name] = run()
            show(found[name])
        except Exception as error:
            traceback.print_exc(limit=-4)
            found[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
            print(f"{name}: {found[name]['error']}", flush=True)
        (options.out / "estimators.json").write_text(json.dumps(found, indent=1) + "\n")
    failed = [name for name, row in found.items() if "error" in row or row.get("wrong")]
    ratios = {row["hidden"]: round(row["ratio"], 2) for row in found.values() if row.get("kind") == "float32"}
    print(f"estimators: {len(failed)} of {len(work)} failed {failed or ''}; torch / rgru by H, float32: {ratios}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
