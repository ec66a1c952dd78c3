"""Estimators on a GPU beside the CPU and PyTorch: ``python benches/gpu/estimators.py --out FOLDER``, in some 40 s.

Trains two tasks with the same seed and settings on the CPU and on the GPU, trains one of them with ``torch.nn.GRU`` on
the same GPU, and predicts for millions of steps. Prints a line for each, and writes ``estimators.json``. What fails
stops nothing, but the exit status is then 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # where `gpu` is found
if find_spec("torch"):
    import torch  # noqa: F401 - before CuPy, so that both use the libraries that PyTorch comes with

import numpy as np

import rgru
from gpu.cases import Deadline
from gpu.contenders import products
from gpu.forms import bound_waits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


class Sizes(NamedTuple):
    """How much is computed."""

    epochs: int = 20
    hidden: int = 64
    sequences: int = 2000
    """Of the tasks, at most."""
    steps: int = 40
    """Of a sequence of the adding problem."""
    compared: tuple[int, ...] = (128, 256, 32)
    """H of the trainings that PyTorch does too,"""
    compared_steps: int = 100
    """and the steps of their sequences."""
    predicted: int = 5_000_000
    """Steps."""


TINY = Sizes(epochs=1, hidden=4, sequences=8, steps=5, compared=(4,), compared_steps=5, predicted=300)
BATCH, RATE, FEATURES = 64, 0.005, 12
DEVICES = ("cpu", "cuda")

FIRST_LOSS = 1e-2
"""Bound of the relative difference of the first epoch's loss on the two devices: later rounding grows."""
PROBABILITY = 1e-3
"""Bound of the difference of probabilities."""


# -- tasks on the CPU and the GPU --------------------------------------------------------------------------------------


def adding(count: int, steps: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the adding problem (Hochreiter & Schmidhuber 1997): the sum of the two numbers that are marked."""
    random = np.random.default_rng(seed)
    x = np.zeros((count, steps, 2), np.float32)
    x[..., 0] = random.random((count, steps))
    rows, half = np.arange(count), steps // 2
    first, second = random.integers(0, half, count), random.integers(half, steps, count)
    x[rows, first, 1] = x[rows, second, 1] = 1
    return x, x[rows, first, 0] + x[rows, second, 0]


def vowels(split: Any) -> tuple[Any, NDArray[Any]]:
    """Return Japanese Vowels; without pyarrow, which reads it, a generated task of the same sizes."""
    try:
        return rgru.datasets.load_japanese_vowels(split)
    except ImportError as error:
        print(f"a generated task instead of Japanese Vowels: {error}")
    drifts = np.random.default_rng(0).normal(size=(9, FEATURES))
    random = np.random.default_rng(len(split))
    y = random.integers(0, 9, 270 if split == "train" else 370)
    lengths = random.integers(7, 30, len(y))
    steps = [np.outer(np.arange(n) / n, drifts[one]) for one, n in zip(y, lengths, strict=True)]
    return [(one + random.normal(size=one.shape)).astype(np.float32) for one in steps], y


def shuffled(x: Sequence[Any], y: NDArray[Any]) -> tuple[list[Any], NDArray[Any]]:
    """Return sequences and labels in another order: a part of them has several classes."""
    order = np.random.default_rng(0).permutation(len(y))
    return [x[i] for i in order], y[order]


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


# -- the same training in PyTorch --------------------------------------------------------------------------------------


def against_torch(sizes: Sizes, hidden: int, kind: str) -> dict[str, Any]:
    """Train the adding problem with rgru and PyTorch on the same GPU; the ratio is PyTorch's seconds / rgru's."""
    x, y = adding(sizes.sequences, sizes.compared_steps, 0)
    epochs = max(2, sizes.epochs // 3)
    estimator = rgru.GRURegressor(
        hidden_size=hidden,
        reset_after=True,
        batch_size=BATCH,
        max_epochs=epochs,
        learning_rate=RATE,
        random_state=0,
        device="cuda",
    )
    with products(kind):
        estimator.fit(x, y)
        theirs, loss = torch_epochs(x, y, hidden, epochs)
    history = estimator.history_
    ours = [len(x) / rate for rate in history.sequences_per_second]
    times = {"rgru": median(ours[1:]), "torch": median(theirs[1:])}  # the first epoch warms up
    losses = {"rgru": history.train_loss[-1], "torch": loss}
    return {"hidden": hidden, "kind": kind, "seconds": times, "loss": losses, "ratio": times["torch"] / times["rgru"]}


def torch_epochs(x: NDArray[np.float32], y: NDArray[np.float32], hidden: int, epochs: int) -> tuple[list[float], float]:
    """Train as `rgru.GRURegressor` does, with all data on the GPU; return each epoch's seconds and the last loss."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    gru = torch.nn.GRU(x.shape[-1], hidden, batch_first=True).to(device)
    head = torch.nn.Linear(hidden, 1).to(device)
    parameters = [*gru.parameters(), *head.parameters()]
    batches = -(-len(x) // BATCH)
    adam = torch.optim.Adam(parameters, RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs * batches)
    inputs = torch.from_numpy((x - x.mean((0, 1))) / x.std((0, 1))).to(device)
    targets = torch.from_numpy((y - y.mean()) / y.std())[:, None].to(device)
    seconds, loss = [], float("nan")
    for _ in range(epochs):
        begun, total = time.perf_counter(), torch.zeros((), device=device)
        for rows in torch.randperm(len(x), device=device).split(BATCH):
            adam.zero_grad()
            error = torch.nn.functional.mse_loss(head(gru(inputs[rows])[0][:, -1]), targets[rows])
            error.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            adam.step()
            schedule.step()
            total += error.detach() * len(rows)
        loss = float(total) / len(x)  # waits for the GPU
        seconds.append(time.perf_counter() - begun)
    return seconds, loss


def print_training(row: dict[str, Any]) -> None:
    times, losses = row["seconds"], row["loss"]
    each = ", ".join(f"{name} {1000 * times[name]:.1f} ms an epoch (loss {losses[name]:.2e})" for name in times)
    print(f"training H={row['hidden']} {row['kind']}: {row['ratio']:.2f}x torch's speed: {each}", flush=True)


# -- predictions -------------------------------------------------------------------------------------------------------


def predictions(sizes: Sizes) -> dict[str, Any]:
    """Predict on both devices: from one array, and from a Parquet file by the command line."""
    random = np.random.default_rng(0)
    count = max(1, sizes.predicted // 100)
    lengths = random.integers(50, 151, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    x = rgru.Ragged(random.standard_normal((int(offsets[-1]), FEATURES), np.float32), offsets)
    few = x.take(np.arange(min(count, 18)))
    estimator = rgru.GRUClassifier(hidden_size=sizes.hidden, max_epochs=1, random_state=0)
    estimator.fit(few, np.arange(len(few)) % 9)
    row: dict[str, Any] = {"sequences": count, "steps": len(x.values)}
    found = {}
    for device in DEVICES:
        estimator.set_params(device=device)
        estimator.predict_proba(few)  # compiles
        row[f"array, {device}"], found[device] = timed(partial(estimator.predict_proba, x))
    row["difference"] = float(np.abs(found["cuda"] - found["cpu"]).max())
    row["wrong"] = not row["difference"] <= PROBABILITY
    row["array, kernels' share"] = kernel_share(partial(estimator.predict_proba, x))
    with tempfile.TemporaryDirectory() as folder:
        try:
            row |= from_files(Path(folder), estimator, x)
        except ImportError as error:
            row["Parquet"] = f"not measured: {error}"
    return row


def from_files(folder: Path, estimator: Any, x: rgru.Ragged) -> dict[str, Any]:
    """Run ``rgru predict`` on both devices."""
    import pyarrow as pa
    from pyarrow import parquet

    from rgru._cli import main as rgru_command

    model, data = folder / "model.safetensors", folder / "data.parquet"
    estimator.save(model)
    table = pa.table({"id": np.arange(len(x)), "x": pa.array(x)})
    parquet.write_table(table, data, compression=None)
    row: dict[str, Any] = {}

    def command(device: str) -> None:
        arguments = ["predict", str(model), str(data), "--output", str(folder / device), "--keep", "id"]
        code = rgru_command([*arguments, "--device", device])
        if code:
            raise RuntimeError(f"rgru predict --device {device}: exit code {code}")

    for device in DEVICES:
        row[f"Parquet, {device}"], _ = timed(partial(command, device))
    row["Parquet, kernels' share"] = kernel_share(partial(command, "cuda"))
    labels = [parquet.read_table(folder / device)["prediction"].to_numpy() for device in DEVICES]
    row["equal labels"] = float(np.mean(labels[0] == labels[1]))
    return row


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the shorter of two times in seconds, and the result."""
    times = []
    for _ in range(2):
        begun = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - begun)
    return min(times), result


def kernel_share(run: Callable[[], Any]) -> float | str:
    """Return the share of the time of a call in which a kernel runs, or why it is unknown."""
    try:
        import torch
        from torch.autograd import DeviceType

        if not torch.cuda.is_available():
            return "PyTorch, whose profiler tells, has no GPU"
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            begun = time.perf_counter()
            run()
            seconds = time.perf_counter() - begun
        events = [event for event in profile.events() if event.device_type == DeviceType.CUDA]
        kernels = [event for event in events if not event.name.startswith(("Memcpy", "Memset"))]
        if not kernels:
            return "PyTorch's profiler has seen no kernel"
        return covered([(event.time_range.start, event.time_range.end) for event in kernels]) / (1e6 * seconds)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return the length of the union of intervals."""
    total, end = 0.0, float("-inf")
    for begun, done in sorted(spans):
        total += max(0.0, done - max(begun, end))
        end = max(end, done)
    return total


def print_predictions(row: dict[str, Any]) -> None:
    for what in ("array", "Parquet"):
        if f"{what}, cuda" not in row:
            print(f"predict, {what}: {row.get(what)}", flush=True)
            continue
        rates = (
            f"{device} {row['sequences'] / row[f'{what}, {device}']:,.0f} rows/s, "
            f"{row['steps'] / row[f'{what}, {device}'] / 1e6:.1f} M steps/s"
            for device in DEVICES
        )
        share = row[f"{what}, kernels' share"]
        share = f"unknown ({share})" if isinstance(share, str) else f"{100 * share:.0f}%"
        print(f"predict, {what}: {'; '.join(rates)}; share of the time in kernels: {share}", flush=True)
    print(f"predict: probabilities differ by {row['difference']:.1e}{'  WRONG' if row['wrong'] else ''}", flush=True)


# -- all of it ---------------------------------------------------------------------------------------------------------


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
