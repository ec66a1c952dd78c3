"""What is measured beside the tables of shapes: the pause, share of the peak, one step, ragged batches, threads."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

import cases
import contenders
import rgru
from clock import after, interleaved

NEIGHBOURS = 0.03
"""The largest difference that a contender may make to the next one, as a share of its time."""


def pause(quick: bool) -> dict[str, Any]:
    """Check that the pause between contenders is long enough: a call after each of them by one after a copy in memory.

    The copy empties the caches as a contender does, and leaves no thread behind. Ends the benchmark where a contender
    still slows down the next.
    """
    case = cases.Case(True, 64, 30, 256, 512)
    made = {name: run for name, (run, _) in contenders.made(contenders.INFERENCE, case).items()}
    source, target = np.ones((2, 2**24), np.float32)
    seconds = after(made["rgru"], {"copy": lambda: np.copyto(target, source), **made}, 5 if quick else 41)
    ratios = {name: value / seconds["copy"] for name, value in seconds.items()}
    print(f"{1e3 * seconds['copy']:.1f} ms; after others: " + ", ".join(f"{k} {v:.3f}" for k, v in ratios.items()))
    if not quick and (late := {name: ratio for name, ratio in ratios.items() if ratio > 1 + NEIGHBOURS}):
        sys.exit(f"the pause is too short here: {late}")
    return ratios


def peak(quick: bool) -> dict[str, Any]:
    """Large shapes against the best product of large matrices in this process: PyTorch's and OpenVINO's."""
    import torch

    size = 2048
    left, right = torch.randn(size, size), torch.randn(size, size)
    request = openvino_product(size)
    products = {"torch": lambda: left @ right, "openvino": request.infer}
    rows = []
    for case in cases.cases(cases.LARGE):
        runs = {
            "forward": contenders.rgru_inference(case)[0],
            "training": contenders.rgru_training(case)[0],
            **products,
        }
        seconds = interleaved(runs, 3 if quick else 7)
        best = min(seconds[name] for name in products)
        gflops = {
            "product": 2e-9 * size**3 / best,
            "forward": 1e-9 * case.flops / seconds["forward"],
            "training": 3e-9 * case.flops / seconds["training"],
        }
        row = {"case": case.label} | gflops
        rows.append(row | {f"{name}_of_peak": gflops[name] / gflops["product"] for name in ("forward", "training")})
        print(
            f"{case.label:36} product {gflops['product']:.0f} GFLOP/s  forward {gflops['forward']:.0f}"
            f" ({rows[-1]['forward_of_peak']:.0%})  training {gflops['training']:.0f}"
            f" ({rows[-1]['training_of_peak']:.0%})",
            flush=True,
        )
    return {"rows": rows}


def openvino_product(size: int) -> Any:
    import openvino
    from openvino import opset13 as ops

    left = ops.parameter((size, size), np.float32)
    right = ops.constant(np.random.default_rng(0).standard_normal((size, size), dtype=np.float32))
    model = openvino.Model([ops.matmul(left, right, False, False)], [left], "product")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": rgru.info()["num_threads"]}
    return openvino.Core().compile_model(model, "CPU", settings).create_infer_request()


def step(quick: bool) -> dict[str, Any]:
    """One step of one sequence from Python, and how fast it reads its weights beside plain reading: a dot product by
    NumPy's BLAS, on one thread, or a sum by PyTorch, on all."""
    import torch

    rows = []
    for hidden in (64, 256, 1024):
        case = cases.Case(True, 1, 1, hidden if hidden < 1024 else 64, hidden)
        stream = contenders.our_gru(case).stream()
        x = case.arrays()[0][:, 0]
        weights = np.ones(3 * hidden * (hidden + case.inputs), np.float32)
        reads = {"NumPy": partial(np.dot, weights, weights), "PyTorch": torch.from_numpy(weights).sum}
        runs = {"rgru": partial(stream.step, x), **reads}
        made = contenders.made(contenders.INFERENCE, case)
        peers = {name: run for name, (run, _) in made.items() if name != "rgru"}
        seconds = interleaved(runs | peers, 3 if quick else 9)
        row: dict[str, Any] = {
            "hidden": hidden,
            "microseconds": {name: 1e6 * value for name, value in seconds.items() if name not in reads},
            "gigabytes_a_second": weights.nbytes / seconds["rgru"] / 1e9,
            "read_gigabytes_a_second": weights.nbytes / min(seconds[name] for name in reads) / 1e9,
        }
        rows.append(row)
        times = "  ".join(f"{name} {value:.1f}" for name, value in row["microseconds"].items())
        print(
            f"H={hidden:5}  us: {times}   {row['gigabytes_a_second']:.0f} GB/s of weights; a sum of as many reads"
            f" {row['read_gigabytes_a_second']:.0f} GB/s",
            flush=True,
        )
    return {"rows": rows}


def ragged(quick: bool) -> dict[str, Any]:
    """Lengths log-normal (mean 60, at most 500): a valid step against equal lengths and PyTorch's packed sequences."""
    import torch

    random = np.random.default_rng(0)
    batch, inputs, hidden = 512, 32, 128
    sigma = 0.8
    lengths = np.clip(random.lognormal(np.log(60) - sigma**2 / 2, sigma, batch), 1, 500).astype(np.int64)
    case = cases.Case(True, batch, int(lengths.max()), inputs, hidden)
    gru, module = contenders.our_gru(case), contenders.torch_module(case).eval()
    rows = [random.standard_normal((length, inputs), dtype=np.float32) for length in lengths]
    values = rgru.Ragged(np.concatenate(rows), np.concatenate([[0], np.cumsum(lengths)]))
    equal = random.standard_normal((batch, round(lengths.sum() / batch), inputs), dtype=np.float32)
    packed = torch.nn.utils.rnn.pack_sequence([torch.tensor(row) for row in rows], enforce_sorted=False)

    def by_torch() -> Any:
        with torch.inference_mode():
            return module(packed)[0]

    expected = torch.nn.utils.rnn.unpack_sequence(
        torch.nn.utils.rnn.PackedSequence(
            by_torch().data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )
    )
    difference = max(
        np.abs(ours - theirs.numpy()).max() for ours, theirs in zip(gru(values)[0].to_list(), expected, strict=True)
    )
    assert difference < 1e-5, difference
    runs = {"ragged": lambda: gru(values), "equal": lambda: gru(equal), "torch": by_torch}
    seconds = interleaved(runs, 3 if quick else 9)
    a_step = {
        "ragged": seconds["ragged"] / lengths.sum(),
        "equal": seconds["equal"] / (equal.shape[0] * equal.shape[1]),
        "torch_packed": seconds["torch"] / lengths.sum(),
    }
    result = {f"{name}_nanoseconds_a_step": 1e9 * value for name, value in a_step.items()} | {
        "of_equal": a_step["ragged"] / a_step["equal"],
        "times_torch_packed": a_step["torch_packed"] / a_step["ragged"],
    }
    print({name: round(float(value), 3) for name, value in result.items()})
    return {name: float(value) for name, value in result.items()}


def threads(quick: bool) -> dict[str, Any]:
    """All threads against one, and two Python threads at once against one."""
    every = int(str(rgru.info()["num_threads"]))
    rows = []
    sizes = [(1, 100, 512, 512), (32, 100, 128, 128), (64, 30, 512, 512), (512, 10, 512, 512)]
    for case in cases.cases(sizes[:2] if quick else sizes):
        row: dict[str, Any] = {"case": case.label}
        for name, make in (("forward", contenders.rgru_inference), ("training", contenders.rgru_training)):
            run = make(case)[0]

            def alone(run: Any = run) -> None:
                rgru.set_num_threads(1)
                run()

            def together(run: Any = run) -> None:
                rgru.set_num_threads(every)
                run()

            seconds = interleaved({"alone": alone, "together": together}, 3 if quick else 9)
            row[name] = seconds["alone"] / seconds["together"]
        rgru.set_num_threads(None)
        row["two_callers"] = two_callers(case, 1 if quick else 5)
        rows.append(row)
        print(
            f"{case.label:36} {every} threads: forward {row['forward']:.2f}x, training {row['training']:.2f}x of one;"
            f" two Python threads at once: {row['two_callers']:.2f} of the throughput of one",
            flush=True,
        )
    return {"threads": every, "rows": rows}


def two_callers(case: cases.Case, rounds: int) -> float:
    """Calls a second of two Python threads together, by those of one; over spans of many calls, since the first and the
    last call of a span have the machine to themselves for a part."""
    runs = [contenders.rgru_inference(case)[0] for _ in range(2)]

    def rate(run: Any) -> float:
        start, calls = time.perf_counter(), 0
        while time.perf_counter() < start + SPAN:
            run()
            calls += 1
        return calls / (time.perf_counter() - start)

    ratios = []
    with ThreadPoolExecutor(2) as callers:
        for _ in range(rounds):
            one = rate(runs[0])
            ratios.append(sum(callers.map(rate, runs)) / one)
    return float(np.median(ratios))


SPAN = 0.7
"""Seconds that calls are counted for."""
