"""A whole job of batch inference, and the same written by hand: ``python benches/pipeline.py``.

A Parquet file of ragged sequences comes in, one of ids and labels goes out. Each contender runs in a process of its own
(after ``pip install '.[bench]'``), in turns; times are those of the job, from opening the input to the output being
complete, with libraries and model loaded. Prints a table and writes ``pipeline.json`` and ``pipeline.png``.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import pipeline_jobs
import rgru
from compare import about

INPUT, HIDDEN, CLASSES = 16, 64, 9
SAME = 0.999
"""The share of labels that all have to agree in: two classes may be equally likely but for rounding."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5_000_000, help="of all sequences (default: %(default)s)")
    parser.add_argument("--sequences", type=int, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where the files go (default: here)")
    parser.add_argument("--job", nargs=4, metavar=("NAME", "MODEL", "IN", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        run_job(*options.job)
        return
    found: dict[str, Any] = {"about": about(pipeline_jobs.threads(), "torch", "onnxruntime", "pyarrow")}
    found |= {"steps": options.steps, "sequences": options.sequences, "input": INPUT, "hidden": HIDDEN}
    with tempfile.TemporaryDirectory(prefix="rgru-pipeline-") as folder:
        for cell in ("after", "before"):
            found[cell] = compare(Path(folder), cell, options.steps, options.sequences, options.rounds)
        found["memory"] = memory(Path(folder), options.steps, options.sequences)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "pipeline.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, options.out / "pipeline.png")
    print(f"\nwritten: {options.out / 'pipeline.json'}, {options.out / 'pipeline.png'}")


def run_job(name: str, model: str, data: str, output: str) -> None:
    """Run one contender in this process, and tell how it went as JSON."""
    work = pipeline_jobs.JOBS[name](model)
    pa.array([0])  # here pyarrow imports pandas, if it is installed
    before, start = time.process_time(), time.perf_counter()
    computing = work(data, output)
    seconds, processor = time.perf_counter() - start, time.process_time() - before
    print(json.dumps({"seconds": seconds, "processor": processor, "computing": computing, "peak": peak_memory()}))


def peak_memory() -> int:
    """Bytes that this process had in memory at most; Linux tells. (What getrusage tells begins at the parent's.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def in_a_process(name: str, model: Path, data: Path, output: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--job", name, str(model), str(data), str(output)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(told.splitlines()[-1])
    return result


def compare(folder: Path, cell: str, steps: int, sequences: int, rounds: int) -> dict[str, Any]:
    """All contenders in turns, over one file."""
    model, data = make(folder, cell, steps, sequences)
    names = [name for name in pipeline_jobs.JOBS if cell == "after" or "PyTorch" not in name]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    labels: dict[str, Any] = {}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(names, len(names)):
            output = folder / "labels.parquet"
            runs[name].append(in_a_process(name, model, data, output))
            labels[name] = pq.read_table(output)
    for name in names:
        table = labels[name]
        same = np.mean(table["prediction"].to_numpy() == labels["rgru predict"]["prediction"].to_numpy())
        if not table["id"].equals(labels["rgru predict"]["id"]) or same < SAME:
            sys.exit(f"{name} agrees with rgru in {same:.4%} of the labels only")
    result: dict[str, Any] = {}
    ours = statistics.median(run["seconds"] for run in runs["rgru predict"])
    print(f"\n== reset-{cell}: {sequences:,} sequences, {steps:,} steps, {data.stat().st_size / 2**20:,.0f} MiB")
    for name, of_name in runs.items():
        mid = {key: statistics.median(run[key] for run in of_name) for key in ("seconds", "processor", "peak")}
        spread = [min(run["seconds"] for run in of_name), max(run["seconds"] for run in of_name)]
        result[name] = mid | {"spread": spread, "ratio": mid["seconds"] / ours}
        words = f"{mid['seconds']:6.2f} s ({spread[0]:.2f} to {spread[1]:.2f})  {mid['seconds'] / ours:5.2f}x"
        if of_name[0]["computing"] is not None:
            result[name]["computing"] = statistics.median(run["computing"] for run in of_name)
            result[name]["share"] = statistics.median(run["computing"] / run["seconds"] for run in of_name)
        if name == "rgru predict":
            words += f"  the model computes {result[name]['share']:.0%} of the time"
        if name == "rgru in memory":
            words = f"{result[name]['computing']:6.2f} s of computing in all of it"
        print(f"{name:24} {words}  {mid['peak'] / 2**20:,.0f} MiB", flush=True)
    return result


def memory(folder: Path, steps: int, sequences: int) -> dict[str, int]:
    """The peak of memory over files of several sizes."""
    peaks = {}
    for share in (4, 2, 1):
        model, data = make(folder, "after", steps // share, sequences // share)
        peaks[f"{steps // share:,} steps"] = in_a_process("rgru predict", model, data, folder / "out.parquet")["peak"]
    print("\nmemory of rgru predict at most: " + ", ".join(f"{k} {v / 2**20:,.0f} MiB" for k, v in peaks.items()))
    return peaks


def make(folder: Path, cell: str, steps: int, sequences: int) -> tuple[Path, Path]:
    """A model, and a file of sequences whose lengths are log-normal, of `steps` steps in all."""
    rng = np.random.default_rng(0)
    few = rng.standard_normal((4 * CLASSES, 5, INPUT), dtype=np.float32)
    options: dict[str, Any] = {"hidden_size": HIDDEN, "reset_after": cell == "after", "standardize": False}
    classifier = rgru.GRUClassifier(max_epochs=3, learning_rate=0.03, random_state=0, **options)
    classifier.fit(few, np.arange(len(few)) % CLASSES).save(folder / "model.safetensors")
    sizes = rng.lognormal(0, 0.6, sequences)
    offsets = np.zeros(sequences + 1, np.int32)
    offsets[1:] = np.maximum(np.round(np.cumsum(sizes) * steps / sizes.sum()), np.arange(1, sequences + 1))
    fields = [("id", pa.int64()), ("x", pa.list_(pa.list_(pa.float32(), INPUT)))]
    with pq.ParquetWriter(folder / "data.parquet", pa.schema(fields), use_dictionary=False) as writer:
        for first in range(0, sequences, pipeline_jobs.ROWS):
            some = offsets[first : first + pipeline_jobs.ROWS + 1]
            numbers = pa.array(rng.standard_normal((some[-1] - some[0]) * INPUT, dtype=np.float32))
            steps_of = pa.FixedSizeListArray.from_arrays(numbers, INPUT)
            column = pa.ListArray.from_arrays(pa.array(some - some[0]), steps_of)
            ids = pa.array(np.arange(first, first + len(column)))
            writer.write_batch(pa.record_batch([ids, column], schema=pa.schema(fields)))
    return folder / "model.safetensors", folder / "data.parquet"


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw the times of the whole job, one bar a contender."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 2.6), sharex=True)
    for axis, cell in zip(axes, ("before", "after"), strict=True):
        jobs = {name: job for name, job in found[cell].items() if name != "rgru in memory"}
        names = list(jobs)[::-1]
        bars = axis.barh(names, [jobs[name]["seconds"] for name in names], color="tab:grey")
        bars[-1].set_color("tab:blue")
        axis.bar_label(
            bars, [f"{jobs[name]['seconds']:.2f} s ({jobs[name]['ratio']:.1f}x)" for name in names], padding=3
        )
        axis.set_title(f"reset-{cell}")
        axis.set_xlabel("seconds of the whole job")
        axis.set_xlim(0, 1.5 * max(job["seconds"] for cell in ("before", "after") for job in found[cell].values()))
    of = found["about"]
    figure.suptitle(
        f"{found['sequences']:,} ragged sequences, {found['steps']:,} steps, I={INPUT}, H={HIDDEN}: Parquet to labels\n"
        f"{of['machine']}, {of['threads']} threads, {of['date']}",
        fontsize=8,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
