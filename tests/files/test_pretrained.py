"""Folders of models, as Hugging Face's libraries keep them."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import numpy as np
import pytest

import rgru
from estimator_cases import fitted, padded
from rgru.model import Linear, Pool

GRU = rgru.GRU(3, 4, 2, bidirectional=True, activation=("elu", 0.5), seed=0)
MODELS = {
    "GRU": lambda: GRU,
    "Model": lambda: rgru.Model([GRU, Pool("last"), Linear(8, 2, seed=1)]),
    "GRUClassifier": lambda: fitted(rgru.GRUClassifier),
    "GRURegressor": lambda: fitted(rgru.GRURegressor),
}


def outputs(model, x):
    if isinstance(model, rgru.GRUClassifier):
        return model.predict_proba(x)
    found = model.predict(x) if isinstance(model, rgru.GRURegressor) else model(x.astype(np.float32))
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("kind", MODELS)
def test_a_folder_restores_the_bits(kind, tmp_path):
    model, x = MODELS[kind](), padded()
    model.save_pretrained(tmp_path / "a" / "model")
    again = getattr(rgru, kind).from_pretrained(tmp_path / "a" / "model")
    np.testing.assert_array_equal(outputs(again, x), outputs(model, x))
    config = json.loads((tmp_path / "a" / "model" / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("rgru", [kind])
    text = (tmp_path / "a" / "model" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: rgru\n")
    assert f"rgru.{kind}.from_pretrained" in text
    if kind == "GRU":
        assert "| cell | reset-before GRU, 3 features, 2 layers of 4 units in each direction, activation=" in text


def test_saving_again_replaces_the_model_and_keeps_the_readme(tmp_path):
    GRU.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    other = rgru.GRU(2, 3, seed=1)
    other.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert repr(rgru.GRU.from_pretrained(tmp_path)) == repr(other)


def test_what_does_not_fit_is_refused(tmp_path):
    GRU.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model\.safetensors: expected one of Model, got 'GRU'"):
        rgru.Model.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"]["dropout"] = 0.5
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ValueError, match=r"config\.json: expected the configuration in model\.safetensors, got another"
    ):
        rgru.GRU.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: expected JSON"):
        rgru.GRU.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    assert repr(rgru.GRU.from_pretrained(tmp_path)) == repr(GRU)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        rgru.GRU.from_pretrained(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"name: expected a folder, or the name of a repo.*, got '.*/no'"):
        rgru.GRU.from_pretrained(tmp_path / "no")


def test_a_repository_is_downloaded(tmp_path, monkeypatch):
    GRU.save_pretrained(tmp_path)
    asked = {}

    def snapshot_download(name, **options):
        asked.update(options, name=name)
        return str(tmp_path)

    hub = ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    found = rgru.GRU.from_pretrained("someone/a-model", revision="v1", local_files_only=True)
    assert repr(found) == repr(GRU)
    assert asked == {
        "name": "someone/a-model",
        "revision": "v1",
        "local_files_only": True,
        "allow_patterns": ["model.safetensors", "config.json"],
    }
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"huggingface_hub cannot be imported.*\[hub\]"):
        rgru.GRU.from_pretrained("someone/a-model")
