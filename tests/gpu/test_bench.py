"""The parts of `benches/gpu` that need no GPU: shapes, limits, configurations, summaries, figures, deadlines."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from gpu import cases, checks, forms, measure, report, tune
from gpu.cases import KINDS, Deadline, Limits, Shape, shapes, summary
from rgru._cuda.kernel_config import Chip, Steps
from rgru._cuda.plan import plan

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
