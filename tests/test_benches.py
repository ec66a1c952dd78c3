"""`benches/compare.py` on tiny shapes: every contender computes what rgru does, and tables and files come of it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

import cases
import compare
import contenders


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
    for rows, makers in ((inference, contenders.INFERENCE), (training, contenders.TRAINING)):
        for row in rows:
            times = row["microseconds"]
            lacking = {"torch"} if row["case"].endswith("before") else set()
            assert set(times) == set(makers) - lacking
            best = min(time for name, time in times.items() if name != "rgru")
            assert row["ratio"] == pytest.approx(best / times["rgru"])
    assert [row["case"] for row in inference] == [
        "B=1 T=1 I=3 H=4 before",
        "B=1 T=1 I=3 H=4 after",
        "B=2 T=5 I=3 H=4 before",
        "B=2 T=5 I=3 H=4 after",
    ]
    assert len(training) == 2
    assert (tmp_path / "compare.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("makers", ["INFERENCE", "TRAINING"])
def test_a_contender_that_computes_something_else_is_not_timed(makers):
    ours = getattr(contenders, makers)["rgru"]

    def wrong(case):
        return ours(replace(case, reset_after=not case.reset_after))

    with pytest.raises(SystemExit, match=r"^B=2 T=5 I=3 H=4 after: wrong differs from rgru by "):
        compare.compare(cases.Case(True, 2, 5, 3, 4), {"rgru": ours, "wrong": wrong}, 1, 1)
