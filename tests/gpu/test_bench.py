"""The parts of `benches/gpu` that need no GPU: shapes, limits, configurations, summaries, figures, deadlines."""

from __future__ import annotations

import gc
import json
import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import cuda_emulator
import rgru
from cuda_emulator import nvrtc
from gpu import cases, checks, contenders, estimators, forms, measure, one, predictions, report, run, tasks, tune
from gpu.cases import KINDS, Deadline, Limits, Shape, shapes, summary
from gpu.clock import Clock
from rgru._cuda import kernels
from rgru._cuda.kernel_config import Chip, Exchange, Steps
from rgru._cuda.plan import plan

emulator = pytest.mark.skipif(cuda_emulator.missing() is not None, reason="kernels cannot be compiled here")
compiler = pytest.mark.skipif(nvrtc.missing() is not None, reason="no NVRTC")

HOPPER = Chip(capability=90, multiprocessors=132, shared_bytes=232448)


def test_work_and_bytes_of_a_shape():
    shape = Shape("bfloat16", 4, 10, 1024)
    assert shape.inputs == 512
    assert shape.weights == 3 * 1024 * 1536
    assert shape.flops(False) == 2 * 40 * shape.weights
    assert shape.flops(True) == 3 * shape.flops(False)
    assert shape.bytes(False) == 2 * (shape.weights + 40 * 1536)
    assert Shape("tf32", 4, 10, 1024).bytes(False) == 2 * shape.bytes(False)


def test_the_limit_is_what_binds():
    limits = Limits(1e12, dict.fromkeys(KINDS, 1e12))
    few, many = Shape("float32", 1, 1, 64), Shape("float32", 1024, 100, 64)
    assert limits.seconds(few, False) == few.bytes(False) / 1e12
    assert limits.seconds(many, False) == many.flops(False) / 1e12


@pytest.mark.parametrize("training", [False, True])
def test_shapes_come_once_and_the_telling_ones_first(training):
    found = shapes(training)
    assert len(set(found)) == len(found) > 500
    assert {shape.kind for shape in found} == set(KINDS)
    assert {(shape.batch, shape.time) for shape in found[:42]} == {(1, 100), (16, 100), (64, 100)}
    assert set(shapes(training, quick=True)) <= set(found)
    assert all(shape.memory(training) < 100e9 for shape in found)


def test_summary_of_small_batches_and_of_all():
    rows = [
        {"batch": 1, "ratio": 2.0},
        {"batch": 64, "ratio": 8.0},
        {"batch": 256, "ratio": 0.5},
        {"batch": 1, "error": "no memory"},
    ]
    found = summary(rows, "ratio")
    assert found["B<=64"] == {"shapes": 2, "geometric_mean": pytest.approx(4), "least": 2}
    assert found["all"] == {"shapes": 3, "geometric_mean": pytest.approx(2), "least": 0.5}
    assert summary(rows, "ratio_of_graphs") == {}


def test_a_row():
    shape = Shape("float32", 4, 100, 256)
    times = {"rgru": 200.0, "torch": 800.0, "rgru, graph": 100.0, "torch, graph": 700.0}
    row = measure.ratios(times, 10e-6, shape)
    assert row["ratio"] == 4
    assert row["ratio_of_graphs"] == 7
    assert row["microseconds_a_step"] == 1
    assert row["percent_of_limit"] == pytest.approx(10)
    del times["torch, graph"]
    assert "ratio_of_graphs" not in measure.ratios(times, 10e-6, shape)


def test_one_shape_that_fails(monkeypatch, capsys):
    monkeypatch.setattr(measure, "make_room", lambda: None)
    row = measure.attempt(lambda: 1 // 0, Shape("float32", 4, 100, 256))
    assert row["error"].startswith("ZeroDivisionError")
    report.print_row(row)
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_what_has_been_measured_stays_if_the_gpu_fails_afterwards(monkeypatch, capsys):
    """After some errors every later call of CUDA raises one, also the calls that free memory."""

    def fails():
        raise RuntimeError("unspecified launch failure")

    monkeypatch.setattr(measure, "make_room", fails)
    assert measure.attempt(lambda: {"ratio": 2.0}, Shape("float32", 4, 100, 256)) == {"ratio": 2.0}
    assert "launch failure" in capsys.readouterr().out
    assert measure.attempt(fails, Shape("float32", 4, 100, 256))["error"] == "RuntimeError: unspecified launch failure"


def test_what_is_not_reached_is_not_compiled(monkeypatch):
    compiled, asked = [], []
    monkeypatch.setattr(measure, "planned", lambda _, shape, backward: asked.append(shape) or (shape, backward))
    monkeypatch.setattr(measure, "compile_all", lambda some, _: compiled.extend(some) or [])
    monkeypatch.setattr(measure, "attempt", lambda _, shape: {"case": "a", "error": "none", "kind": shape.kind})
    for seconds, most in ((10, 30), (-1, 0)):
        found = measure.against_torch(measure.Place(None, HOPPER, cases.ASSUMED), True, False, Deadline(seconds))
        assert {shape for shape, _ in compiled} == set(asked) == set(shapes(True)[: len(set(asked))])
        assert most - 1 <= len(set(asked)) <= most
        assert found["skipped"] == len(shapes(True)) - len(found["rows"])
        compiled.clear()
        asked.clear()


def test_problems_are_told_worst_first():
    rows = [
        {"case": "a", "wrong": False, "difference": 0.1},
        {"case": "b", "wrong": True, "difference": 0.2},
        {"case": "c", "wrong": True, "difference": float("nan")},
        {"case": "d", "wrong": True, "error": "no memory"},
        {"case": "e", "wrong": True, "difference": 0.3},
    ]
    sections = {"parity": {"rows": rows}, "training": {"error": "no GPU"}, "tune": {"rows": [{"cycles": 1}]}}
    wrong = [f"WRONG: {one}" for one in ("c: nan", "d: no memory", "e: 0.3", "b: 0.2")]
    assert run.problems(sections) == ["training failed: no GPU", *wrong]
    assert run.problems({"parity": {"rows": rows[:1]}}) == []


@emulator
def test_a_difference_from_the_cpu_ends_no_other_comparison(host, monkeypatch, capsys):
    chip = Chip(capability=90, multiprocessors=8, shared_bytes=232448)
    monkeypatch.setattr(checks, "SIZES", [(2, 3, 4), (3, 2, 5)])
    monkeypatch.setattr(checks, "KINDS", ("float32",))
    monkeypatch.setattr(checks, "compile_all", lambda *_: [])
    honest, calls = checks.differences, []

    def differences(gru, *given):
        calls.append(given)
        found = honest(gru, *given)
        if len(calls) == 1:
            raise RuntimeError("no answer")
        return found | ({"dx": 0.5} if len(calls) == 2 else {"y": np.nan} if len(calls) == 3 else {})

    monkeypatch.setattr(checks, "differences", differences)
    failed, differs, nan, right = checks.parity(chip, 1)
    assert failed["error"] == "RuntimeError: no answer"
    assert (differs["what"], differs["difference"], differs["wrong"]) == ("dx", 0.5, True)
    assert (nan["what"], nan["wrong"]) == ("y", True)
    assert not right["wrong"]
    assert right["of_bound"] < 1
    printed = capsys.readouterr().out.splitlines()
    assert [line.endswith("WRONG") for line in printed] == [True, True, True, False]


@emulator
@pytest.mark.parametrize("training", [False, True])
def test_what_captured_graphs_work_with_is_freed(host, training):
    host.form(Exchange.BLOCK)
    x, dy = (host.cupy.asarray(np.ones((2, 3, n), np.float32)) for n in (4, 5))
    host.machine.synchronize()
    gru, clock, taken = rgru.GRU(4, 5, seed=0), Clock(), []
    for _ in range(2):
        with clock.stream:
            with contenders.released(gru):
                run = contenders.ours(gru, x, dy, training)
                run()
                launch, result = clock.captured_by_cupy(run)
                launch()
                held = gru._on_gpus[0]._held
                assert sum(memory.mem.size for memory in held) > 32 * 2**20  # with the workspace of products
            clock.stream.synchronize()
            del run, launch, result, held
        gc.collect()
        taken.append(host.machine.gpus[0].taken)
    assert taken[1] == taken[0]


def test_rows_are_printed_and_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    rows = []
    for shape in shapes(False)[:30]:
        times = {"rgru": 200.0, "torch": 50.0 * shape.batch, "rgru, graph": 100.0}
        rows.append(
            measure.about(shape)
            | measure.ratios(times, 1e-6, shape)
            | {"form": "grid 64x16 b1 t1", "difference": 0.5, "wrong": True, "torch's graph": "refused"}
        )
    report.print_row(rows[0])
    report.print_summary({"ratio": summary(rows, "ratio")})
    printed = capsys.readouterr().out
    for part in ("0.25x", "WRONG by 5.0e-01", "torch's graph: refused", "grid 64x16", "geometric mean"):
        assert part in printed
    found = {"about": {"title": "a GPU"}, "inference": {"rows": rows}, "training": {"rows": []}}
    report.draw(found, tmp_path / "gpu.png")
    assert (tmp_path / "gpu.png").read_bytes()[:4] == b"\x89PNG"
    report.draw({"about": {}}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_one_figure_of_several_runs(tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(report, "draw", lambda found, path: drawn.append((found, path)))
    summary = {"ratio": {"all": {"geometric_mean": 2.0, "least": 1.0, "shapes": 3}}}
    for name in ("inference", "training"):
        found = {"about": {"title": "a GPU"}, name: {"rows": [], "summary": summary}, "limits": {"copied": 1.0}}
        (tmp_path / name).write_text(json.dumps(found))
    report.main([str(tmp_path / "inference"), str(tmp_path / "training"), "--out", "gpu.png"])
    ((found, path),) = drawn
    assert found.keys() == {"about", "limits", "inference", "training"}
    assert path == Path("gpu.png")
    assert capsys.readouterr().out.count("geometric mean 2.00x, least 1.00x, 3 shapes") == 2


@pytest.mark.parametrize(
    ("kind", "hidden", "count"), [("float32", 64, 16), ("bfloat16", 512, 4), ("float32", 2048, 64)]
)
@pytest.mark.parametrize("backward", [False, True])
def test_the_cheapest_form_offered_is_the_plan_s(kind, hidden, count, backward):
    cell = forms.cell_of(kind, hidden, reset_after=True, backward=backward)
    found = forms.offered(HOPPER, cell, count)
    assert [cost for cost, _ in found] == sorted(cost for cost, _ in found)
    assert found[0][1] == plan(HOPPER, cell, count, 1)
    assert any(isinstance(form, Steps) for _, form in found)
    assert len({forms.name_of(form, full=True) for _, form in found}) > len(found) / 2


def test_forms_to_tune():
    cell = forms.cell_of("bfloat16", 256, reset_after=False, backward=True)
    kinds = forms.of_each_kind(HOPPER, cell, 16)
    assert kinds.keys() >= {"CLUSTER", "GRID", "STEPS"}
    found = tune.candidates(HOPPER, cell, 16, 12)
    assert len(found) == len({form for _, form in found}) == 12
    assert {form for _, form in found} >= set(kinds.values())
    assert found == tune.candidates(HOPPER, cell, 16, 12)
    assert found[0][1] == plan(HOPPER, cell, 16, 1)


def test_the_few_cells_to_tune_are_those_of_the_goals():
    sizes = {(hidden, batch) for _, batch, hidden in cases.QUICKLY_TUNED}
    assert sizes == {(256, 16), (512, 1), (512, 16), (1024, 1), (1024, 16), (1024, 64)}
    assert len(cases.QUICKLY_TUNED) == 2 * len(sizes) + len(cases.SPLIT)
    assert set(cases.QUICKLY_TUNED) <= set(cases.TUNED)


def test_what_the_plan_s_choice_loses():
    rows = [
        {"cell": "a", "form": "grid", "estimate": 5, "cycles": 30.0},
        {"cell": "a", "form": "steps", "estimate": 9, "cycles": 20.0},
        {"cell": "b", "form": "block", "estimate": 1, "cycles": 10.0},
        {"cell": "b", "form": "steps", "estimate": 2, "error": "no room"},
        {"cell": "c", "form": "steps", "estimate": 2, "error": "no room"},
    ]
    a, b = tune.chosen_and_best(rows)
    assert (a["cell"], a["chosen"], a["best"], a["loss"]) == ("a", "grid", "steps", 1.5)
    assert (b["cell"], b["loss"]) == ("b", 1)


def test_a_form_that_is_forced():
    from rgru._cuda.device import Device

    cell = forms.cell_of("float32", 64, reset_after=True, backward=False)
    usual = Device.plan
    with forms.forced(lambda cell, count, directions: Steps(cell)):
        assert Device.plan(None, cell, 3, 1) == Steps(cell)
    assert Device.plan is usual


@compiler
def test_waits_that_are_bounded(monkeypatch):
    """A wait of the benches' kernels ends in an error where it would never end, by a clock: a poll may take long."""
    from rgru._cuda import device

    monkeypatch.setattr(device, "source", device.source)
    forms.bound_waits()
    for exchange in (Exchange.CLUSTER, Exchange.GRID, Exchange.PACKETS):
        cell = forms.cell_of("bfloat16", 64, reset_after=True, backward=False)
        macros = forms.of_each_kind(HOPPER, cell, 4)[exchange.name].macros
        bounded, usual = (nvrtc.ptx(source(), macros, 90) for source in (device.source, kernels.source))
        for means in ("%clock64;", "trap;"):
            assert means in bounded
            assert means not in usual


@emulator
@compiler
def test_a_spin_ends_though_the_timer_stands_still():
    spin, bounds = re.subn("1u << 27", "100", tune.SPIN)
    assert bounds == 1
    text, frozen = re.subn(r"(mov\.u64\s+%\w+), %globaltimer;", r"\1, 0;", nvrtc.ptx(spin, {}, 90))
    assert frozen == 2
    cuda_emulator.compile_ptx(text).launch("spin", grid=1, block=1, args=[np.uint64(5)])


@emulator
def test_one_call_for_a_profiler(host, monkeypatch, capsys):
    monkeypatch.setattr(one, "bound_waits", lambda: None)
    monkeypatch.setitem(sys.modules, "cupyx.profiler", SimpleNamespace(profile=nullcontext))
    one.main(["float32", "2", "8", "BLOCK", "backward", "--steps", "2"])
    assert "backward: block 1x8" in capsys.readouterr().err


def test_time_that_is_up():
    deadline = Deadline(10)
    assert 9 < deadline.left <= 10
    assert Deadline(-1).left < 0
    begun = time.perf_counter()
    with pytest.raises(TimeoutError, match=r"^not done after 0 s$"), measure.at_most(0.05):
        time.sleep(5)
    assert time.perf_counter() - begun < 2
    with measure.at_most(60):
        pass


def test_tables_hold_what_they_should():
    assert set(cases.ASSUMED.flops) == set(measure.BOUNDS) == set(KINDS)
    assert not any(shape.reset_after for shape in cases.RESET_BEFORE)


@pytest.mark.skipif(sys.platform != "linux", reason="the process is looked up in /proc")
def test_a_sanitizer_that_takes_too_long_ends_with_its_target(tmp_path, monkeypatch):
    tool = tmp_path / "compute-sanitizer"
    tool.write_text("#!/bin/sh\nsleep 60 &\necho $!\nwait\n")
    tool.chmod(0o755)
    monkeypatch.setattr(checks.shutil, "which", lambda _: str(tool))
    found = checks.sanitized("memcheck", 0.5)
    assert found["verdict"] == "not done after 0 s"
    state = Path("/proc", found["output"].strip(), "stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_tool_takes_the_place_of_what_compiles_for_it(monkeypatch):
    """Who ends the stage, by its process, ends the tool as well."""
    from rgru._cuda import device

    done = []
    monkeypatch.setattr(device, "open_device", lambda _: SimpleNamespace(chip=HOPPER))
    monkeypatch.setattr(checks, "compile_every_form", lambda chip, _: done.append(chip))
    monkeypatch.setattr(checks.os, "execv", lambda program, command: done.append((program, command)))
    monkeypatch.setattr(checks.shutil, "which", lambda name: f"/there/{name}")
    monkeypatch.setattr(sys, "argv", ["checks.py", "racecheck"])
    checks.main()
    chip, (program, command) = done
    assert chip == HOPPER
    assert program == command[0] == "/there/compute-sanitizer"
    assert command[1:3] == ["--tool", "racecheck"]
    assert command[command.index("--report-api-errors") + 1] == "no"  # "cluster size 16?" "no" is no error
    assert command[-2:] == ["-m", "gpu.checks"]


def test_the_union_of_intervals():
    assert predictions.covered([]) == 0
    assert predictions.covered([(5, 6), (0, 2), (1, 3), (1, 2)]) == 4


def test_the_adding_problem():
    x, y = tasks.adding(50, 8, 0)
    numbers, marks = x[..., 0], x[..., 1]
    assert (marks[:, :4].sum(1) == 1).all()
    assert (marks[:, 4:].sum(1) == 1).all()
    np.testing.assert_allclose((numbers * marks).sum(1), y, rtol=1e-6)


def test_a_task_without_pyarrow(monkeypatch, capsys):
    def missing(_):
        raise ImportError("reading this data set needs pyarrow")

    monkeypatch.setattr(rgru.datasets, "load_japanese_vowels", missing)
    (x, y), (again, same) = tasks.vowels("train"), tasks.vowels("train")
    assert len(x) == len(y) == 270
    assert {len(one) for one in x} == set(range(7, 30))
    assert set(y) == set(range(9))
    assert (y == same).all()
    assert all((one == other).all() for one, other in zip(x, again, strict=True))
    assert "a generated task" in capsys.readouterr().out


def test_what_fails_stops_no_other_measurement(monkeypatch, tmp_path, capsys):
    runs = {"a": lambda: 1 // 0, "b": lambda: {"wrong": False}, "c": lambda: {"wrong": True}}
    monkeypatch.setattr(estimators, "planned", lambda _: {name: (run, print) for name, run in runs.items()})
    monkeypatch.setattr(estimators, "bound_waits", lambda: None)
    assert estimators.main(["--out", str(tmp_path)]) == 1
    assert "2 of 3 failed ['a', 'c']" in capsys.readouterr().out
    assert '"ZeroDivisionError' in (tmp_path / "estimators.json").read_text()
