"""`rgru.torch.GRU` beside `torch.nn.GRU` and rgru's own calls: ``python benches/torch_module.py``.

After ``pip install '.[bench]'``. The modules have the same parameters, and their outputs are compared before they are
timed. Training is a step with Adam. Each module is timed batch first and time first, and the ratio is that of the
faster layout of each. Prints a table in microseconds, and writes ``torch_module.json`` and a picture of it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import cases
import rgru
import rgru.torch
from clock import interleaved
from compare import TOLERANCE, about
from contenders import our_gru, torch_module
from report import draw, geometric_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from cases import Case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where the files go (default: here)")
    options = parser.parse_args()
    threads = rgru.info()["num_threads"]
    torch.set_num_threads(threads)
    found: dict[str, Any] = {"about": about(threads, "torch")}
    print(json.dumps(found["about"], indent=1))
    for name, run_of, own, sizes in (
        ("inference", inference, own_inference, cases.INFERENCE),
        ("training", training, own_training, cases.TRAINING),
    ):
        rows: list[dict[str, Any]] = []
        for case in (cases.Case(True, *size) for size in (cases.QUICK if options.quick else sizes)):
            seconds = measure(case, run_of, own, 3 if options.quick else options.rounds)
            ratio = min(seconds["torch"], seconds["torch TF"]) / min(seconds["module"], seconds["module TF"])
            times = {key: round(1e6 * value, 1) for key, value in seconds.items()}
            rows.append({"case": case.label, "ratio": round(ratio, 3), "microseconds": times})
            print(f"{name} {case.label:36} {ratio:6.2f}x  {times}", flush=True)
        mean = geometric_mean([row["ratio"] for row in rows])
        print(f"{name}: geometric mean {mean:.2f}, least {min(row['ratio'] for row in rows):.2f}")
        found[name] = {"geometric_mean": round(mean, 3), "rows": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "torch_module.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, options.out / "torch_module.png", "torch.nn.GRU's time / rgru.torch.GRU's")


def measure(
    case: Case, run_of: Callable[[Any, Any, Any], Callable[[], Any]], own: Callable[[Case], Any], rounds: int
) -> dict[str, float]:
    """Return the seconds of rgru's own call, and of the modules, batch first and time first (TF)."""
    runs, outputs = {"rgru": own(case)}, {}
    for name, make in (("module", rgru.torch.GRU), ("torch", torch.nn.GRU)):
        for batch_first, key in ((True, name), (False, f"{name} TF")):
            module = make(case.inputs, case.hidden, batch_first=batch_first)
            module.load_state_dict(torch_module(case).state_dict())
            x, dy = (
                torch.tensor(array) if batch_first else torch.tensor(array.swapaxes(0, 1).copy())
                for array in case.arrays()
            )
            with torch.inference_mode():
                outputs[key] = module(x)[0] if batch_first else module(x)[0].transpose(0, 1)
            runs[key] = run_of(module, x, dy)
    for key, output in outputs.items():
        if (difference := (output - outputs["torch"]).abs().max().item()) > TOLERANCE:
            sys.exit(f"{case.label}: {key} differs from torch by {difference:.1e}")
    return interleaved(runs, rounds)


def inference(module: Any, x: Any, _: Any) -> Callable[[], Any]:
    module.eval()

    def run() -> Any:
        with torch.inference_mode():
            return module(x)

    return run


def training(module: Any, x: Any, dy: Any) -> Callable[[], Any]:
    """A step: forward, backward, Adam."""
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-6)

    def run() -> None:
        optimiser.zero_grad()
        module(x)[0].backward(dy)
        optimiser.step()

    return run


def own_inference(case: Case) -> Callable[[], Any]:
    gru, (x, _) = our_gru(case), case.arrays()
    return lambda: gru(x)


def own_training(case: Case) -> Callable[[], Any]:
    """rgru's own step, with its Adam: weights are packed again in each."""
    from rgru import _core

    gru, (x, dy) = our_gru(case), case.arrays()
    adam, parameters = _core.Adam(1e-6, 0.9, 0.999, 1e-8), [gru._flat]

    def run() -> None:
        _, _, tape = gru.record(x)
        adam.step(parameters, [tape.backward(dy).flat], None)
        gru._changed()

    return run


if __name__ == "__main__":
    main()
