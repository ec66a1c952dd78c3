"""The benchmarks on tiny shapes: every contender computes what rgru does, and tables and files come of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cases
import clock
import compare
import contenders
import onnx_models
import options
import pipeline
import pipeline_jobs
import report
import rgru
import scale


@pytest.mark.peers
def test_a_quick_comparison(monkeypatch, tmp_path):
    for library in ("torch", "onnx", "onnxruntime", "openvino", "jax"):
        pytest.importorskip(library)
    monkeypatch.setattr(cases, "QUICK", [(1, 1, 3, 4), (2, 5, 3, 4)])
    sections = ["--only", "inference", "--only", "training"]
    monkeypatch.setattr(sys, "argv", ["compare.py", "--quick", *sections, "--out", str(tmp_path)])
    compare.main()
    found = json.loads((tmp_path / "compare.json").read_text())
    inference, training = found["inference"]["rows"], found["training"]["rows"]
    measured = (inference, contenders.INFERENCE, contenders.REDUCED), (training, contenders.TRAINING, {})
    for rows, makers, reduced in measured:
        for row in rows:
            times = row["microseconds"]
            lacking = {"torch"} if row["case"].endswith("before") else set()
            assert set(times) == {*makers, *reduced} - lacking
            best = min(time for name, time in times.items() if name not in {"rgru", *reduced})
            assert row["ratio"] == pytest.approx(best / times["rgru"])
    assert [row["case"] for row in inference] == [
        "B=1 T=1 I=3 H=4 before",
        "B=1 T=1 I=3 H=4 after",
        "B=2 T=5 I=3 H=4 before",
        "B=2 T=5 I=3 H=4 after",
    ]
    assert len(training) == 2
    assert (tmp_path / "compare.png").read_bytes()[:4] == b"\x89PNG"


def test_the_picture_of_the_readme(tmp_path):
    def row(cell, **peers):
        return {"case": f"B=1 T=1 I=3 H=4 {cell}", "microseconds": {"rgru": 1.0, **peers}}

    inference = [row("before", onnxruntime=2.0), row("after", onnxruntime=8.0, torch=3.0, openvino_default=0.5)]
    assert report.ratios(inference) == {"torch": [(3.0, "after")], "onnxruntime": [(2.0, "before"), (8.0, "after")]}
    about = {"machine": "a machine", "threads": 2, "date": "2026-01-01", "versions": {"rgru": "0.1.0"}}
    found = {"about": about, "inference": {"rows": inference}, "training": {"rows": [row("after", torch=3.0)]}}
    report.draw_peers(found, tmp_path)
    for theme in ("light", "dark"):
        assert "<svg" in (tmp_path / f"peers-{theme}.svg").read_text("utf-8")


@pytest.mark.parametrize("makers", ["INFERENCE", "TRAINING"])
def test_a_contender_that_computes_something_else_is_not_timed(makers):
    ours = getattr(contenders, makers)["rgru"]

    def wrong(case):
        return ours(replace(case, reset_after=not case.reset_after))

    with pytest.raises(SystemExit, match=r"^B=2 T=5 I=3 H=4 after: wrong differs from rgru by "):
        compare.compare(cases.Case(True, 2, 5, 3, 4), {"rgru": ours, "wrong": wrong}, 1, 1)


def test_a_peer_of_lower_precision_is_checked_and_timed_but_no_part_of_the_ratio(monkeypatch):
    case, ours = cases.Case(True, 2, 5, 3, 4), contenders.rgru_inference
    seconds = {"rgru": 2.0, "peer": 3.0, "reduced": 1.0}
    monkeypatch.setattr(compare, "interleaved", lambda runs, rounds: {name: seconds[name] for name in runs})

    def rounded(case, by):
        run, read = ours(case)
        return run, lambda result: [array + by for array in read(result)]

    peers = {"rgru": ours, "peer": ours}
    row = compare.compare(case, peers, 1, 1, {"reduced": lambda case: rounded(case, 0.01)})
    assert (row["ratio"], row["best_peer"], row["microseconds"]["reduced"]) == (1.5, "peer", 1e6)
    with pytest.raises(SystemExit, match=r"reduced differs from rgru by 1\.0e-01"):
        compare.compare(case, peers, 1, 1, {"reduced": lambda case: rounded(case, 0.1)})


def test_contenders_take_turns_in_changing_order(monkeypatch):
    monkeypatch.setattr(clock, "BLOCK", 1e-6)
    monkeypatch.setattr(clock, "PAUSE", 0.0)
    turns = []
    runs = {name: lambda name=name: turns.append(name) for name in "abc"}
    monkeypatch.setattr(clock, "seconds_of", lambda run, repeats: run() or 1.0)
    assert clock.interleaved(runs, 4) == dict.fromkeys("abc", 1.0)
    rounds = ["".join(turns[i : i + 6 : 2]) for i in range(9, len(turns), 6)]
    assert len(rounds) == 4
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 1


@pytest.mark.peers
def test_no_thread_of_a_contender_works_on_after_the_pause():
    """The processor's time, not the wall's: a thread that spins is seen on a busy machine, too."""
    for library in ("torch", "onnx", "onnxruntime", "openvino"):
        pytest.importorskip(library)
    for name, (run, _) in contenders.made(contenders.INFERENCE, cases.Case(True, 64, 30, 256, 512)).items():
        run()
        time.sleep(clock.PAUSE)
        before = time.process_time()
        time.sleep(0.05)
        assert time.process_time() - before < 0.002, name


@pytest.mark.peers
def test_whole_onnx_models(monkeypatch, capsys):
    """A line for each model and size; outputs that differ end the benchmark."""
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx_models, "SIZES", [(2, 40, 16)])
    monkeypatch.setattr(onnx_models, "VOCABULARY", 50)
    monkeypatch.setattr(clock, "BLOCK", 1e-4)
    monkeypatch.setattr(sys, "argv", ["onnx_models.py", "--rounds", "1", "--threads", "1"])
    onnx_models.main()
    rgru.set_num_threads(None)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.partition(":")[0] for line in lines] == [f"{name} B=2 T=40 H=16" for name in onnx_models.MODELS]
    run = runtime.InferenceSession.run
    monkeypatch.setattr(runtime.InferenceSession, "run", lambda *given: [one + 1 for one in run(*given)])
    with pytest.raises(SystemExit, match=r"onnxruntime differs from rgru by "):
        onnx_models.contenders(onnx_models.embedding(256), 2, 40, 1)


@pytest.mark.peers
def test_modules_for_pytorch_beside_its_own(monkeypatch, tmp_path):
    """A row for each shape, and a picture; a module that computes something else is not timed."""
    pytest.importorskip("torch")
    import torch_module

    monkeypatch.setattr(cases, "INFERENCE", [(1, 1, 3, 4), (2, 5, 3, 4)])
    monkeypatch.setattr(cases, "TRAINING", [(2, 5, 3, 4)])
    monkeypatch.setattr(torch_module, "interleaved", lambda runs, _: {name: len([run()]) for name, run in runs.items()})
    monkeypatch.setattr(sys, "argv", ["torch_module.py", "--rounds", "1", "--out", str(tmp_path)])
    torch_module.main()
    found = json.loads((tmp_path / "torch_module.json").read_text())
    assert [len(found[name]["rows"]) for name in ("inference", "training")] == [2, 1]
    assert found["inference"]["rows"][0]["ratio"] == found["training"]["geometric_mean"] == 1
    assert (tmp_path / "torch_module.png").read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setattr(torch_module.rgru.torch, "GRU", partial(torch_module.rgru.torch.GRU, reset_after=False))
    with pytest.raises(SystemExit, match=r"^B=1 T=1 I=3 H=4 after: module differs from torch by"):
        torch_module.main()


@pytest.mark.peers
def test_a_small_pipeline(monkeypatch, tmp_path):
    """Every contender runs in its own process and gives the same labels, or the benchmark exits."""
    for library in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(library)
    sizes = ["--steps", "3000", "--sequences", "120", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["pipeline.py", *sizes, "--out", str(tmp_path)])
    pipeline.main()
    found = json.loads((tmp_path / "pipeline.json").read_text())
    assert set(found["after"]) == {*pipeline_jobs.JOBS}
    assert set(found["before"]) == {name for name in pipeline_jobs.JOBS if "PyTorch" not in name}
    for cell in ("before", "after"):
        ours = found[cell]["rgru predict"]
        assert 0 < ours["computing"] < ours["seconds"]
        for job in found[cell].values():
            assert job["ratio"] == pytest.approx(job["seconds"] / ours["seconds"])
    assert (tmp_path / "pipeline.png").read_bytes()[:4] == b"\x89PNG"


def test_a_pipeline_that_gives_other_labels_is_not_timed(monkeypatch, tmp_path):
    def shifted(name, model, data, output):
        table = pq.read_table(data, columns=["id"])
        labels = np.arange(len(table)) % 9 + (name != "rgru predict")
        pq.write_table(table.append_column("prediction", pa.array(labels)), output)
        return {"seconds": 1.0, "processor": 1.0, "computing": None, "peak": 1}

    monkeypatch.setattr(pipeline, "in_a_process", shifted)
    with pytest.raises(SystemExit, match=r"^rgru in memory agrees with rgru in 0.0000% of the labels only"):
        pipeline.compare(tmp_path, "after", 300, 30, 1)


def test_the_file_of_a_pipeline_has_the_steps_and_sequences_asked_for(tmp_path):
    _, data = pipeline.make(tmp_path, "before", 5000, 90)
    lengths = pq.read_table(data)["x"].combine_chunks().value_lengths().to_numpy()
    assert (len(lengths), lengths.sum(), lengths.min() >= 0) == (90, 5000, True)


def test_scaling_out_is_held_against_a_single_process(monkeypatch, tmp_path):
    """Other bits, or a row that is missing, end the benchmark."""
    monkeypatch.setattr(scale, "HIDDEN", 4)
    monkeypatch.setattr(scale.rgru, "set_num_threads", lambda n: None)  # would stay for the tests to come
    scale.make(tmp_path, parts=3, sequences=10)
    _, expected = scale.single_process(tmp_path)
    assert expected["id"].to_pylist() == list(range(30))
    (tmp_path / "out").mkdir()
    written = [expected.slice(20), expected.slice(0, 20)]

    def engine(*arguments, **options):
        for i, table in enumerate(written):
            pq.write_table(table, tmp_path / "out" / f"part-{i}.parquet")
        return subprocess.CompletedProcess([], 0, stdout="1.5\n")

    monkeypatch.setattr(scale.subprocess, "run", engine)
    assert scale.measure("Ray", tmp_path, expected, 1) == {"seconds": {1: [1.5], 2: [1.5]}, "ratio": 1.0}
    written[0] = expected.slice(21)
    with pytest.raises(SystemExit, match=r"^Ray with 1 workers: other rows or bits"):
        scale.measure("Ray", tmp_path, expected, 1)


def test_options_are_compared_with_the_plain_cell(monkeypatch, capsys):
    """A row for each option; a loop over pieces that gives something else than resets ends the benchmark."""
    monkeypatch.setattr(options, "SIZES", [(2, 40, 3, 4)])
    monkeypatch.setattr(options, "TURN", 0.0)
    monkeypatch.setattr(sys, "argv", ["options.py", "--rounds", "1"])
    options.main()
    rows = [line[2:].split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    names = [*options.OPTIONS, *options.NORMS, "merge sum", "merge mean", "merge product", "resets, 2% of the steps"]
    names += [options.LOOP, options.IDS, "mask, 10% holes", "the same, outputs repeated", "all_layers", "trace"]
    assert [row[0] for row in rows] == ["reset-before / reset-after", "---", *names]
    assert all(len(row) == 3 for row in rows)  # one size: inference and training
    monkeypatch.setattr(options, "over_pieces", lambda run, gru, x, dy, resets: list(run(gru, x, dy)[:, None]))
    with pytest.raises(SystemExit, match=r"^B=2 T=40 I=3 H=4 after: a loop over pieces differs from resets"):
        options.contenders(cases.Case(True, 2, 40, 3, 4), "training")


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_layers_of_keras_and_jax(monkeypatch, capsys):
    """A row for each framework and pass; outputs that differ end the benchmark."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # at its import Keras asks for TensorFlow otherwise
    for library in ("torch", "keras", "jax", "flax"):
        pytest.importorskip(library)
    import keras_jax

    monkeypatch.setattr(keras_jax, "SHAPES", {"tiny": (2, 3, 4, 5)})
    monkeypatch.setattr(keras_jax, "interleaved", lambda runs, _: {name: len([run()]) for name, run in runs.items()})
    monkeypatch.setattr(sys, "argv", ["keras_jax.py"])
    keras_jax.main()
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [[name, kind] for name in ("Keras", "Flax") for kind in ("inference", "training")]
    with pytest.raises(SystemExit, match=r"^tiny: outputs differ by 1\.0e\+00"):
        keras_jax.check("tiny", np.zeros(2), np.ones(2))
