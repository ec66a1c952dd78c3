"""Files and parameters of whole models as frameworks write them (tests/goldens/make_model_files.py), without them.

Outputs are the frameworks' own. In float64 they are met to 1e-14, in float32 to 1e-6.
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import rgru
from rgru.convert import equinox, flax

h5py = pytest.importorskip("h5py")

FOLDER = Path(__file__).parents[1] / "goldens" / "models"
NAMES = [f"keras_{version}_names.{suffix}" for version in ("3_3", "3_15") for suffix in ("keras", "h5")]


def arrays(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= (1e-14 if expected.dtype == np.float64 else 1e-6)


# -- PyTorch -----------------------------------------------------------------------------------------------------------


def test_torch_checkpoint():
    """Weights that lie transposed and with gaps in their storage, others in bfloat16, and an LSTM between them."""
    path, golden = FOLDER / "torch_checkpoint.pt", arrays("torch_checkpoint")
    encoder = rgru.from_torch(path, "model.encoder.gru")
    assert repr(encoder) == "GRU(3, 4, num_layers=2, bidirectional=True, reset_after=True, dtype='float64')"
    assert_close(encoder(golden["x"])[0], golden["encoded"])
    decoder = rgru.from_torch(path, prefix="model.decoder.")
    assert_close(decoder(golden["x"].astype("float32"))[0], golden["decoded"])
    with pytest.raises(
        ValueError, match=r"pt: prefix: expected one of 'model\.decoder\.', 'model\.encoder\.gru\.', got"
    ):
        rgru.from_torch(path)


def test_other_tensors_of_a_checkpoint_are_not_read(tmp_path):
    """A checkpoint may be far larger than its GRU; here the embedding's numbers are missing."""
    path, golden = tmp_path / "model.pt", arrays("torch_checkpoint")
    with zipfile.ZipFile(FOLDER / "torch_checkpoint.pt") as archive, zipfile.ZipFile(path, "w") as copy:
        for name in archive.namelist():
            if not name.endswith("/data/0"):
                copy.writestr(name, archive.read(name))
    encoder = rgru.from_torch(path, "model.encoder.gru")
    assert_close(encoder(golden["x"])[0], golden["encoded"])


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_files_of_arrays(tmp_path, suffix):
    gru = rgru.GRU(3, 4, 2, bidirectional=True, reset_after=True, seed=0)
    state = {f"gru.{name}": array for name, array in rgru.convert.torch.to_state_dict(gru).items()}
    state["head.weight"] = np.zeros((2, 8), np.float16)
    path = tmp_path / f"model.{suffix}"
    if suffix == "npz":
        np.savez_compressed(path, **state)
    else:
        from safetensors.numpy import save_file

        save_file(state, path)
    assert np.array_equal(rgru.from_torch(path).params.flat, gru.params.flat)
    assert np.array_equal(rgru.from_torch(str(path), "gru").params.flat, gru.params.flat)


def test_bfloat16_in_safetensors(tmp_path):
    """NumPy has no such numbers: they are the upper halves of those of float32."""
    state = rgru.convert.torch.to_state_dict(rgru.GRU(3, 4, reset_after=True, seed=0))
    halves = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in state.items()}
    header, start = {}, 0
    for name, array in halves.items():
        end = start + array.nbytes
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    path = tmp_path / "half.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(one.tobytes() for one in halves.values()))
    expected = {name: (one.astype(np.uint32) << 16).view(np.float32) for name, one in halves.items()}
    found = rgru.convert.torch.to_state_dict(rgru.from_torch(path))
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_names_of_other_code():
    """Short names, prefixes that end in an underscore, and cells by number."""
    gru = rgru.GRU(3, 4, 2, reset_after=True, seed=0)
    state = rgru.convert.torch.to_state_dict(gru)
    short = {name.replace("weight", "w").replace("bias", "b"): array for name, array in state.items()}
    cells = {f"cells.{name[-1]}.{name[:-3]}": array for name, array in state.items()}
    for source, prefix in (
        ({f"enc_{name}": array for name, array in short.items()} | {"enc_emb": np.zeros((9, 3))}, "enc_"),
        (cells, "cells"),
        (cells, "cells."),
        ({"deep": {"er": state}, "epoch": 1}, "deep.er"),
        ({"deep": {"er": state}}, ""),
    ):
        assert np.array_equal(rgru.from_torch(source, prefix).params.flat, gru.params.flat)
    assert rgru.from_torch(cells, "cells.1").num_layers == 1
    with pytest.raises(ValueError, match=r"^prefix: expected one of 'cells\.0\.', 'cells\.1\.', got ''"):
        rgru.from_torch(cells)
    with pytest.raises(ValueError, match=r"^source: expected weight_ih_l0 once, got w_ih_l0 and weight_ih_l0"):
        rgru.from_torch(short | state)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gru.weight_hr_l0", r"state: expected .*got gru\.weight_hr_l0"),
        ("gru.weight_hh_l0_mask", r"state: expected .*got gru\.weight_hh_l0_mask"),
        ("gru.norm.weight", r"state: expected .*got gru\.norm\.weight"),
    ],
)
def test_arrays_that_change_a_gru_are_refused(name, message):
    state = rgru.convert.torch.to_state_dict(rgru.GRU(3, 4, reset_after=True))
    named = {f"gru.{key}": array for key, array in state.items()}
    with pytest.raises(ValueError, match=message):
        rgru.from_torch(named | {name: np.zeros(3)})
    if "norm" not in name:
        with pytest.raises(ValueError, match=r"state: expected .*got weight_"):
            rgru.from_torch(state | {name[4:]: np.zeros(3)})


@pytest.mark.parametrize("gates", [1, 4])
def test_an_lstm_or_a_plain_rnn_is_no_gru(gates):
    state = {"weight_ih_l0": np.zeros((gates * 4, 3)), "weight_hh_l0": np.zeros((gates * 4, 4))}
    with pytest.raises(ValueError, match=r"^source: expected the parameters of a GRU .*got none"):
        rgru.from_torch(state)


def test_sources_of_other_kinds():
    with pytest.raises(TypeError, match=r"^source: expected a torch\.nn\.Module, a mapping .* or a path, got int"):
        rgru.from_torch(1)
    with pytest.raises(TypeError, match=r"^prefix: expected str, got int"):
        rgru.from_torch({}, 1)
    with pytest.raises(TypeError, match=r"^source: expected a Keras layer or model, or a path, got dict"):
        rgru.from_keras({})
    with pytest.raises(TypeError, match=r"^layer: expected str or None, got int"):
        rgru.from_keras("model.keras", 1)
    for read in (rgru.from_torch, rgru.from_keras):
        with pytest.raises(FileNotFoundError):
            read("there is no such file.pt")


# -- Keras -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_keras_layers_by_name(name):
    """Three layers one after the other. Names of layers differ from those of their groups, as ``gru_1`` and ``gru``."""
    golden = arrays(name.rpartition(".")[0])
    grus = [rgru.from_keras(FOLDER / name, layer) for layer in ("gru_7", "gru_1", "gru", "both")]
    assert repr(grus[3]) == "GRU(5, 4, bidirectional=True)"
    assert grus[2].gate_activation == ("hard_sigmoid", 1 / 6, 0.5)
    y, _ = grus[0](golden["x"])
    for gru, layer in zip(grus[1:], ("gru_1", "gru", "both"), strict=True):
        y, _ = gru(y)
        assert_close(y, golden[layer])


@pytest.mark.parametrize("name", NAMES)
def test_keras_layers_that_are_no_stack(name):
    listed = r"'gru_7' \(GRU, 4 units\), 'gru_1' \(GRU, 5 units\), .*, 'both' \(Bidirectional, 4 units\)"
    with pytest.raises(ValueError, match=rf"{name}: expected layers in a row .*; layer= converts a GRU by itself"):
        rgru.from_keras(FOLDER / name)
    with pytest.raises(ValueError, match=rf"layer: expected one of {listed}, got 'dense'"):
        rgru.from_keras(FOLDER / name, "dense")


@pytest.mark.parametrize("name", ["keras_3_3_stack", "keras_3_15_stack"])
def test_keras_stack(name):
    """A whole model: two Bidirectional layers, a Dropout between them, and a Dense."""
    model, golden = rgru.from_keras(FOLDER / f"{name}.keras"), arrays(name)
    options = "bidirectional=True, reset_after=True, activation='softsign', merge='sum'"
    layers = [f"GRU(3, 4, {options})", "Dropout(0.25)", f"GRU(4, 4, {options})", "Linear(4, 2)"]
    assert repr(model) == f"Model([{', '.join(layers)}])"
    assert_close(rgru.Model(model.layers[:3])(golden["x"]), golden["y"])


def test_archives_of_keras_2(tmp_path):
    """Their groups of layers have another name, and their hard sigmoids another slope."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(FOLDER / "keras_3_3_names.keras") as archive, zipfile.ZipFile(path, "w") as copy:
        weights = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(weights, "a") as file:
            file["layers/sequential"].move("layers", "_layer_checkpoint_dependencies")
            file.move("layers", "_layer_checkpoint_dependencies")
        copy.writestr("model.weights.h5", weights.getvalue())
        copy.writestr("config.json", archive.read("config.json"))
        copy.writestr("metadata.json", '{"keras_version": "2.13.1"}')
    for layer in ("gru_7", "gru_1", "both"):
        expected = rgru.from_keras(FOLDER / "keras_3_3_names.keras", layer)
        assert np.array_equal(rgru.from_keras(path, layer).params.flat, expected.params.flat)
    assert rgru.from_keras(path, "gru").gate_activation == ("hard_sigmoid", 0.2, 0.5)


def keras_2_file(path, layers, version="2.2.4"):
    """Write a file as Keras 2 does: a Sequential of layers (class, config, weights)."""
    listed = [{"class_name": kind, "config": config} for kind, config, _ in layers]
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version.encode()
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": listed}).encode()
        for _, config, weights in layers:
            group = file.create_group(f"model_weights/{config['name']}")
            names = [f"{config['name']}/kernel_{i}:0" for i in range(len(weights))]
            group.attrs["weight_names"] = [one.encode() for one in names]
            for one, array in zip(names, weights, strict=True):
                group[one] = array


def keras_2_gru(name, inputs=3, after=False, **config):
    gru = rgru.GRU(inputs, 4, reset_after=after, seed=inputs)
    [(weights, _)] = rgru.convert.keras.to_weights(gru)
    return gru, ("GRU", {"name": name, "units": 4, "recurrent_activation": "sigmoid", **config}, weights)


def test_keras_2_without_reset_after_is_reset_before(tmp_path):
    """Its first versions had only this cell, and did not name it."""
    gru, layer = keras_2_gru("gru")
    keras_2_file(tmp_path / "model.h5", [layer])
    found = rgru.from_keras(tmp_path / "model.h5")
    assert repr(found) == repr(gru)
    assert np.array_equal(found.params.flat, gru.params.flat)


@pytest.mark.parametrize("version", ["2.2.4", "3.1.0"])
def test_the_version_in_a_file_decides_the_slope(tmp_path, version):
    _, layer = keras_2_gru("gru", after=True, recurrent_activation="hard_sigmoid", reset_after=True)
    keras_2_file(tmp_path / "model.h5", [layer], version)
    slope = {"2": 0.2, "3": 1 / 6}[version[0]]
    assert rgru.from_keras(tmp_path / "model.h5").gate_activation == ("hard_sigmoid", slope, 0.5)


def test_keras_layers_that_no_gru_stands_for(tmp_path):
    path = tmp_path / "model.h5"
    gru, layer = keras_2_gru("gru")

    def refuse(match, layers, **options):
        keras_2_file(path, layers, **options)
        with pytest.raises(ValueError, match=match):
            rgru.from_keras(path)

    refuse(r"expected layers in a row .*, got Masking at 'first'", [("Masking", {"name": "first"}, []), layer])
    assert np.array_equal(rgru.from_keras(path, "gru").params.flat, gru.params.flat)
    refuse("got LSTM at 'a'", [("LSTM", {"name": "a"}, []), ("CuDNNGRU", {"name": "b"}, [])])
    refuse("expected a GRU among the layers, got InputLayer", [("InputLayer", {"name": "a"}, [])])
    refuse("keras_version: expected 2 or 3, got 1.2.0", [layer], version="1.2.0")
    second = keras_2_gru("second", 4)[1]
    kernel = np.zeros((4, 4), np.float32)
    between = ("Dense", {"name": "dense", "activation": "selu"}, [kernel])
    refuse("the activation 'selu' at 'dense'", [layer, between, second])
    refuse("no stack", [layer, ("GRU", {**second[1], "activation": "relu"}, second[2])])
    refuse(r"\['activation'\]: expected one of", [("GRU", {**layer[1], "activation": "gelu"}, layer[2])])
    refuse(r"weights: expected 3 arrays, got 2", [("GRU", layer[1], layer[2][:2])])
    keras_2_file(path, [layer, second])
    assert rgru.from_keras(path).num_layers == 2


def test_keras_weights_without_settings(tmp_path):
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group("layers/gru/cell/vars")
    with pytest.raises(
        ValueError, match=r"weights\.h5: expected a model, got weights alone, .*model\.save.*from_weights"
    ):
        rgru.from_keras(path)


# -- Flax and Equinox --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["linen", "nnx"])
def test_flax(form):
    golden = arrays(f"flax_{form}")
    x, y = golden.pop("x"), golden.pop("y")
    params = {}
    for name, array in golden.items():
        layer, _, part = name.partition(".")
        params.setdefault(layer, {})[part] = array
    assert_close(flax.from_params(params)(x)[0], y)
    [[back]] = flax.to_params(flax.from_params(params), form)
    for name, array in golden.items():
        layer, _, part = name.partition(".")
        np.testing.assert_array_equal(back[layer][part], array)


def test_equinox():
    golden = arrays("equinox")
    x, y = golden.pop("x"), golden.pop("y")
    assert_close(equinox.from_cells(golden)(x)[0], y)
    with pytest.raises(ValueError, match=r"^layers: expected weight_ih, .*got none of the name weight_hh"):
        equinox.from_cells({"weight_ih": golden["weight_ih"]})
    with pytest.raises(TypeError, match=r"^layers: expected an equinox\.nn\.GRUCell or a mapping of its arrays, got"):
        equinox.from_cells(1)
