"""Predictions of an estimator on the CPU and the GPU, and the share of their time in which kernels run."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import rgru
from gpu.tasks import DEVICES, FEATURES, Sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROBABILITY = 1e-3
"""Bound of the difference of probabilities."""


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
