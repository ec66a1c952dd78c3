"""What plans of a cluster need: ``python benches/scale.py``.

Steps a second of one core, by hidden units; then one and two workers of Ray Data and PySpark on this machine. After
``pip install '.[cli,ray,spark]'``, with Java for Spark. Each run of an engine has a process and an engine of its own,
with as many workers, one thread each, and is timed from the first read to the last write, after a small job
that starts the workers. What comes out is compared with the probabilities of a single process, bit for bit. Prints
tables and writes ``scale.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import clock
import rgru
from compare import about

if TYPE_CHECKING:
    from collections.abc import Callable

INPUT, HIDDEN, CLASSES = 16, 256, 9
RATES = 32, 64, 128, 256, 512, 1024
WORKERS = 1, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=48, help="files (default: %(default)s)")
    parser.add_argument("--sequences", type=int, default=2500, help="in each file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default: %(default)s)")
    parser.add_argument("--engine", choices=[*ENGINES], action="append", help="this one alone; may be repeated")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="FOLDER", help="where the file goes (default: here)"
    )
    parser.add_argument("--job", nargs=3, metavar=("ENGINE", "WORKERS", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        engine, workers, folder = options.job
        print(json.dumps(ENGINES[engine](int(workers), Path(folder))))
        return
    found: dict[str, Any] = {"about": about(1, "ray", "pyspark", "pyarrow"), "rates": rates(options.rounds)}
    with tempfile.TemporaryDirectory(prefix="rgru-scale-") as name:
        folder = Path(name)
        steps = make(folder, options.parts, options.sequences)
        alone, expected = single_process(folder)
        found |= {"steps": steps, "input": INPUT, "hidden": HIDDEN, "single process, one thread": alone}
        print(
            f"{steps:,} steps in {options.parts} files, I={INPUT}, H={HIDDEN}; one process, one thread: {alone:.2f} s"
        )
        for engine in options.engine or ENGINES:
            found[engine] = measure(engine, folder, expected, options.rounds)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"\nwritten: {options.out / 'scale.json'}")


def rates(rounds: int) -> list[dict[str, Any]]:
    """Steps a second of one thread over ragged sequences in memory, for both cells."""
    rgru.set_num_threads(1)
    rng, rows = np.random.default_rng(0), []
    for hidden in RATES:
        lengths = np.maximum(rng.lognormal(np.log(40), 0.6, 512).astype(int), 1)
        x = rgru.Ragged(rng.standard_normal((lengths.sum(), INPUT), dtype=np.float32), np.append(0, lengths.cumsum()))
        row: dict[str, Any] = {"hidden": hidden}
        for cell in ("before", "after"):
            gru = rgru.GRU(INPUT, hidden, reset_after=cell == "after", seed=0)
            gru.final_states(x)
            seconds = [clock.seconds_of(partial(gru.final_states, x), 1) for _ in range(2 * rounds + 1)]
            row[cell] = lengths.sum() / statistics.median(seconds)
        print(f"one core, H={hidden}: {row['before']:,.0f} steps/s before, {row['after']:,.0f} after", flush=True)
        rows.append(row)
    return rows


def measure(engine: str, folder: Path, expected: pa.Table, rounds: int) -> dict[str, Any]:
    """An engine with each number of workers, in turns."""
    seconds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    for _ in range(rounds):
        for workers in WORKERS:
            command = [sys.executable, __file__, "--job", engine, str(workers), str(folder)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds[workers].append(json.loads(told.splitlines()[-1]))
            if not pq.read_table(folder / "out").cast(expected.schema).sort_by("id").equals(expected):
                sys.exit(f"{engine} with {workers} workers: other rows or bits than in a single process")
    medians = {workers: statistics.median(of) for workers, of in seconds.items()}
    ratio = medians[1] / medians[2]
    words = ", ".join(f"{workers} workers {median:.2f} s" for workers, median in medians.items())
    print(f"{engine:8} {words}: {ratio:.2f}x, the same bits as in a single process", flush=True)
    return {"seconds": seconds, "ratio": ratio}


def make(folder: Path, parts: int, sequences: int) -> int:
    """A model and the files of ``folder/data``; gives their steps."""
    rng, steps = np.random.default_rng(0), 0
    few = rng.standard_normal((2 * CLASSES, 5, INPUT), dtype=np.float32)
    classifier = rgru.GRUClassifier(hidden_size=HIDDEN, max_epochs=1, random_state=0)
    classifier.fit(few, np.arange(len(few)) % CLASSES).save(folder / "model.safetensors")
    (folder / "data").mkdir()
    for part in range(parts):
        lengths = np.maximum(rng.lognormal(np.log(40), 0.6, sequences).astype(np.int32), 1)
        offsets = pa.array(np.append(0, np.cumsum(lengths)).astype(np.int32))
        numbers = pa.array(rng.standard_normal(lengths.sum() * INPUT, dtype=np.float32))
        # Lists of lists: Spark has none of fixed size.
        inner = pa.ListArray.from_arrays(pa.array(np.arange(0, len(numbers) + 1, INPUT, dtype=np.int32)), numbers)
        ids = np.arange(part * sequences, (part + 1) * sequences)
        table = pa.table({"id": ids, "x": pa.ListArray.from_arrays(offsets, inner)})
        pq.write_table(table, folder / "data" / f"part-{part:03}.parquet")
        steps += int(lengths.sum())
    return steps


def single_process(folder: Path) -> tuple[float, pa.Table]:
    """The seconds that one thread takes without any engine, and what comes out."""
    rgru.set_num_threads(1)
    model: Any = rgru.load(folder / "model.safetensors")
    start = time.perf_counter()
    table = pq.read_table(folder / "data")
    numbers = pa.array(rgru.arrow.predict(model, table["x"], output="probability"))
    seconds = time.perf_counter() - start
    # As Spark has it: a list.
    proba = pa.array(numbers.cast(pa.list_(pa.float32())))
    return seconds, pa.table({"id": table["id"], "proba": proba}).sort_by("id")


def run_ray(workers: int, folder: Path) -> float:
    # A task a file: Ray's newer reader first looks into all files, and packs small ones together.
    os.environ["RAY_DATA_USE_DATASOURCE_V2"] = "0"
    import ray

    from rgru.integrations.ray import predict

    # The reading and writing beside the actors is for CPUs of its own in Ray's books, so that actors never wait for it.
    ray.init(num_cpus=workers + 1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    os.environ.pop("OMP_NUM_THREADS", None)

    def job(source: Path, output: Path) -> None:
        files = len(list(source.iterdir())) if source.is_dir() else 1
        dataset = ray.data.read_parquet(str(source), override_num_blocks=files)
        pool = ray.data.ActorPoolStrategy(size=workers)
        made = predict(
            dataset,
            folder / "model.safetensors",
            "x",
            outputs={"proba": "probability"},
            keep="id",
            compute=pool,
            num_cpus=1,
            num_threads=1,
        )
        made.write_parquet(str(output), mode="overwrite")

    return timed(job, folder)


def run_spark(workers: int, folder: Path) -> float:
    from pyspark.sql import SparkSession

    from rgru.integrations.spark import predict

    builder = SparkSession.builder.master(f"local[{workers}]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.memory", "4g").config("spark.driver.bindAddress", "127.0.0.1")
    builder = builder.config("spark.driver.host", "127.0.0.1")
    # One file a task, and batches that are not cut too small.
    builder = builder.config("spark.sql.files.maxPartitionBytes", "4m").config("spark.sql.files.openCostInBytes", "4m")
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")

    def job(source: Path, output: Path) -> None:
        frame = spark.read.parquet(str(source))
        made = predict(frame, folder / "model.safetensors", "x", outputs={"proba": "probability"}, keep="id")
        made.write.mode("overwrite").parquet(str(output))

    return timed(job, folder)


def timed(job: Callable[[Path, Path], None], folder: Path) -> float:
    """Seconds of the job over all files, once it has run over the first."""
    job(folder / "data" / "part-000.parquet", folder / "warm")
    start = time.perf_counter()
    job(folder / "data", folder / "out")
    return time.perf_counter() - start


ENGINES: dict[str, Callable[[int, Path], float]] = {"Ray": run_ray, "Spark": run_spark}

if __name__ == "__main__":
    main()
