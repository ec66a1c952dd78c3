"""Estimators and the command line on a device: a fake of NumPy and the core, with CuPy's restrictions."""

from __future__ import annotations

import copy
import pickle
import re
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rgru
from command_line import EPOCHS, fail, make_table, names
from estimator_cases import EITHER, QUICK, fitted, labels, outputs, padded, sequences, sums
from fake_cupy.backend import DeviceArray, FakeBackend
from rgru import GRU, GRUClassifier, GRURegressor, Ragged
from rgru._backends import CPU, find_backend
from rgru._cli import main
from rgru._files.model_file import read_config
from rgru.model import Linear, Model, Pool
from rgru.train._batches import Data
from rgru.train._history import History
from rgru.train._loop import train
from rgru.train._schedule import Schedule


class Devices(dict):
    """The opened devices by name."""

    def __missing__(self, name):
        self[name] = FakeBackend(name)
        return self[name]


@pytest.fixture
def devices(monkeypatch):
    opened = Devices()
    monkeypatch.setattr("rgru._backends.cuda.open_backend", opened.__getitem__)
    return opened


# -- the fake ------------------------------------------------------------------------------------------------------


def test_the_fake_refuses_what_cupy_refuses():
    device = FakeBackend()
    with device.here():
        array = device.array(np.ones(3))
        for convert in (np.asarray, np.concatenate, lambda one: one + np.ones(3), lambda one: np.ones(3) * one, float):
            with pytest.raises(TypeError):
                convert(array)
        assert isinstance(array.sum(), DeviceArray)
        assert array.sum().shape == ()
        assert device.numpy(2 * array[1:] + np.float64(1)).tolist() == [3, 3]
    with pytest.raises(AssertionError, match="current"):
        array + array


# -- choosing a device ---------------------------------------------------------------------------------------------


def test_devices_are_found_by_name(devices):
    assert find_backend("cpu") is CPU
    assert find_backend("cuda") is find_backend("cuda:0") is devices["cuda:0"]
    assert find_backend("cuda:12").device == "cuda:12"


@pytest.mark.parametrize(
    ("device", "error"),
    [
        *((one, ValueError) for one in ("gpu", "cuda:", "cuda:-1", "cuda:0 ", "CPU", "")),
        (None, TypeError),
        (0, TypeError),
    ],
)
@EITHER
def test_bad_devices_are_named(kind, device, error, devices):
    message = r"^device: expected 'cpu', 'cuda' or 'cuda:N' .* got "
    with pytest.raises(error, match=message):
        fitted(kind, device=device)
    estimator = fitted(kind).set_params(device=device)
    with pytest.raises(error, match=message):
        estimator.predict(sequences())
    assert not devices


@EITHER
def test_a_missing_device(kind, monkeypatch):
    def missing(device):
        raise RuntimeError(f"device: {device} is not there")

    monkeypatch.setattr("rgru._backends.cuda.open_backend", missing)
    with pytest.raises(RuntimeError, match="cuda:3 is not there"):
        fitted(kind, device="cuda:3")
    estimator = fitted(kind).set_params(device="cuda:3")
    with pytest.raises(RuntimeError, match="cuda:3 is not there"):
        estimator.predict(sequences())
    assert len(estimator.set_params(device="cpu").predict(sequences())) == 40


# -- the same model ------------------------------------------------------------------------------------------------

OPTIONS = pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "mean", "bidirectional": True, "early_stopping": True},
        {"num_layers": 2, "dropout": 0.3, "reset_after": True, "standardize": False, "max_grad_norm": None},
        {"num_layers": 2, "dropout": 0.3, "bidirectional": True, "max_grad_norm": 0.1},
        {"num_layers": 2, "gru_options": {"zoneout": 0.2, "recurrent_dropout": 0.2, "learned_h0": True}},
    ],
    ids=str,
)


def assert_alike(estimator, other):
    """Check agreement up to rounding in float64."""
    for name, array in estimator._tensors().items():
        np.testing.assert_allclose(other._tensors()[name], array, rtol=1e-7, atol=1e-9, err_msg=name)
    for name in ("train_loss", "validation_loss", "validation_score"):
        found, expected = getattr(other.history_, name), getattr(estimator.history_, name)
        assert all(type(number) is float for number in found)
        assert found == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert other.history_.best_epoch == estimator.history_.best_epoch


@EITHER
@OPTIONS
def test_fit_and_predict_do_the_same(kind, options, devices):
    options = {**options, "dtype": "float64"}
    there, here = fitted(kind, device="cuda", **options), fitted(kind, **options)
    assert list(devices) == ["cuda:0"]
    assert_alike(here, there)
    for array in (*there._tensors().values(), *there.model_._parameters()):
        assert type(array) is np.ndarray
    X = sequences(seed=5)
    found = outputs(there, X)
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, outputs(here, X), rtol=1e-7, atol=1e-9)
    y = labels(X) if kind is GRUClassifier else sums(X)
    assert there.score(X, y) == pytest.approx(here.score(X, y))
    assert devices["cuda:0"].depth == 0
    assert devices["cuda:0"].machine.idle


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_targets_for_every_step(dropout, devices):
    X = sequences()
    y = [np.cumsum(one[:, :2], axis=0) for one in X]
    options = {**QUICK, "pooling": "every", "dtype": "float64", "dropout": dropout}
    there, here = GRURegressor(device="cuda", **options).fit(X, y), GRURegressor(**options).fit(X, y)
    assert_alike(here, there)
    for found, expected in zip(there.predict(X), here.predict(X), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_float32_and_shapes(devices):
    X = padded()
    for pooling, y in (("every", X[..., :2]), ("last", X.sum(axis=(1, 2))), ("mean", X.sum(axis=1))):
        regressor = GRURegressor(**QUICK, pooling=pooling, device="cuda:1").fit(X, y)
        predicted = regressor.predict(X)
        assert (predicted.shape, predicted.dtype) == (y.shape, np.float64)
        np.testing.assert_allclose(regressor.set_params(device="cpu").predict(X), predicted, rtol=1e-5, atol=1e-5)
    assert list(devices) == ["cuda:1"]


@EITHER
def test_an_empty_batch(kind, devices):
    estimator = fitted(kind, device="cuda")
    assert len(estimator.predict([])) == 0
    empty = np.zeros((0, 3), np.float32)
    np.testing.assert_allclose(
        outputs(estimator, [empty, empty]), outputs(estimator.set_params(device="cpu"), [empty, empty]), rtol=1e-6
    )


@EITHER
def test_splitting_large_batches_does_not_change_the_outputs(kind, devices, monkeypatch):
    estimator, X = fitted(kind, device="cuda", pooling="mean"), sequences(100)
    whole = outputs(estimator, X)
    monkeypatch.setattr("rgru.model._model._NUMBERS_PER_PIECE", 60)
    assert len(list(estimator.model_._pieces(Ragged.from_list(X)))) > 20
    np.testing.assert_allclose(outputs(estimator, X), whole, rtol=1e-5, atol=1e-6)


@EITHER
def test_a_fitted_estimator_moves_and_follows_its_parameters(kind, devices):
    estimator, X = fitted(kind, dtype="float64"), sequences()
    before = outputs(estimator, X)
    for device in ("cuda:0", "cuda:1", "cpu", "cuda:1"):
        np.testing.assert_allclose(outputs(estimator.set_params(device=device), X), before, rtol=1e-9)
    estimator._gru.params["layers.0.fwd.b"] = np.ones(18)
    changed = outputs(estimator, X)
    assert np.abs(changed - before).max() > 1e-3
    estimator._head.bias[0] += 1
    estimator.model_._changed()
    assert np.abs(outputs(estimator, X) - changed).max() > 1e-3
    moved = outputs(estimator, X)
    estimator._head.weight = -estimator._head.weight  # a replaced array needs no call of `changed`
    assert np.abs(outputs(estimator, X) - moved).max() > 1e-3
    np.testing.assert_allclose(outputs(estimator, X), outputs(estimator.set_params(device="cpu"), X), rtol=1e-9)


def test_packed_weights_are_kept_between_predictions(devices, monkeypatch):
    estimator, X = fitted(GRUClassifier, device="cuda"), sequences()
    estimator.predict(X)
    monkeypatch.setattr(FakeBackend, "Weights", None)
    estimator.predict(X)


# -- training ------------------------------------------------------------------------------------------------------


def make_training(device, count=60, dtype="float64"):
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 10, count)
    x = Ragged(rng.normal(size=(lengths.sum(), 2)).astype(dtype), np.cumsum([0, *lengths]))
    model = Model([GRU(2, 8, seed=0, dtype=dtype), Pool("last"), Linear(8, 1, dtype=dtype, seed=0)])
    model._backend = device
    return model, Data(x, np.array([[one[:, 0].mean() if len(one) else 0.0] for one in x], dtype))


def run(model, data, *, batch_size=8, **options):
    schedule = Schedule(learning_rate=0.01, batch_size=batch_size, max_epochs=4, patience=None, max_grad_norm=1.0)
    options.setdefault("score", lambda outputs, targets: 0.0)
    return train(model, data, model._backend.mean_squared_error, schedule, np.random.default_rng(0), **options)


def test_the_parameters_live_on_the_device_in_training_only():
    device = FakeBackend()
    model, data = make_training(device)
    seen = []

    def score(outputs, targets):
        assert type(outputs) is np.ndarray
        seen.extend(type(array) for array in model._parameters())
        return 0.0

    own = model._parameters()
    before = [array.copy() for array in own]
    run(model, data, validation=data, score=score)
    assert set(seen) == {DeviceArray}
    assert all(one is other for one, other in zip(own, model._parameters(), strict=True))
    assert all(np.abs(one - other).max() > 1e-3 for one, other in zip(own, before, strict=True))
    np.testing.assert_array_equal(model.layers[0].params.flat, own[0])


def test_the_host_waits_for_the_device_once_an_epoch():
    waits = {}
    for batch_size in (60, 2, 1):
        device = FakeBackend()
        run(*make_training(device), batch_size=batch_size)
        waits[batch_size] = device.downloads
    # Each epoch: the losses and norms at once, and the size of three arrays; in the end, these.
    assert set(waits.values()) == {4 * (1 + 3) + 3}


def test_pending_numbers_on_the_device_are_bounded(monkeypatch):
    monkeypatch.setattr("rgru.train._loss_accumulator._MAX_PENDING", 10)
    device, core = FakeBackend(), CPU
    found, expected = (run(*make_training(one), batch_size=1).train_loss for one in (device, core))
    assert found == pytest.approx(expected, rel=1e-9)
    assert device.downloads == 4 * (2 * 60 // 10 + 3) + 3


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_an_error(poison):
    model, data = make_training(FakeBackend())
    data.rows[5] = poison
    with pytest.raises(FloatingPointError, match=r"finite (loss|norm of the gradients), got (nan|inf) in epoch 1"):
        run(model, data)


def test_divergence_of_the_validation_is_an_error():
    model, data = make_training(FakeBackend())
    validation = Data(data.x, np.full_like(data.rows, np.nan))
    with pytest.raises(FloatingPointError, match=r"finite validation loss, got nan in epoch 1"):
        run(model, data, validation=validation)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("where", ["linear_backward", "score"])
def test_the_weights_are_copied_back_however_training_ends(error, where):
    device, calls, histories = FakeBackend(), [], History()
    model, data = make_training(device)

    def fails(*arguments):
        calls.append(None)
        if len(calls) == (2 if where == "score" else 12):  # in the second epoch of eight batches
            raise error
        return 0.0 if where == "score" else type(device).linear_backward(device, *arguments)

    options = {"validation": data, "history": histories}
    if where == "score":
        options["score"] = fails
    else:
        device.linear_backward = fails
    untrained = model._predict(data.x)
    with pytest.raises(error):
        run(model, data, **options)
    assert device.depth == 0
    assert all(type(array) is np.ndarray for array in model._parameters())
    assert len(histories.train_loss) == 1
    predicted = model._predict(data.x)
    assert np.mean((predicted - data.rows) ** 2) == pytest.approx(histories.validation_loss[0])  # the best weights
    assert np.abs(predicted - untrained).max() > 1e-3
    model._backend = CPU
    np.testing.assert_allclose(model._predict(data.x), predicted, rtol=1e-9)


@EITHER
def test_ctrl_c_keeps_a_fitted_estimator(kind, devices, monkeypatch):
    epochs = []

    def interrupting(*arguments, **options):
        epochs.append(None)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return epoch(*arguments, **options)

    from rgru.train import _loop as training

    epoch = training._run_epoch
    monkeypatch.setattr(training, "_run_epoch", interrupting)
    X = sequences()
    estimator = kind(**QUICK, device="cuda")
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, labels(X) if kind is GRUClassifier else sums(X))
    assert estimator.n_iter_ == 2
    assert np.isfinite(outputs(estimator, X)).all()
    assert np.isfinite(outputs(estimator.set_params(device="cpu"), X)).all()


# -- copies and files ----------------------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy, copy.copy])
def test_copies_keep_the_device_and_none_of_its_arrays(kind, copied, devices):
    estimator, X = fitted(kind, device="cuda:1"), sequences()
    before = outputs(estimator, X)
    twin = copied(estimator)
    assert twin.get_params()["device"] == "cuda:1"
    np.testing.assert_array_equal(outputs(twin, X), before)
    devices.clear()  # as on another machine
    np.testing.assert_allclose(outputs(twin.set_params(device="cpu"), X), before, rtol=1e-5)
    assert not devices


@EITHER
def test_clones_keep_the_device(kind):
    from sklearn.base import clone

    assert clone(kind(device="cuda:1")).device == "cuda:1"
    assert repr(kind(device="cuda:1")) == f"{kind.__name__}(device='cuda:1')"


@EITHER
def test_files_do_not_store_the_device(kind, devices, tmp_path):
    estimator, X = fitted(kind, device="cuda"), sequences()
    estimator.save(tmp_path / "model")
    assert "device" not in read_config(tmp_path / "model")[1]["parameters"]
    devices.clear()
    loaded = rgru.load(tmp_path / "model")
    assert loaded.device == "cpu"
    np.testing.assert_array_equal(outputs(loaded, X), outputs(estimator.set_params(device="cpu"), X))
    assert not devices
    np.testing.assert_allclose(
        outputs(loaded.set_params(device="cuda"), X), outputs(estimator, X), rtol=1e-5, atol=1e-6
    )


# -- the command line ----------------------------------------------------------------------------------------------


def test_fit_and_predict_commands(devices, tmp_path, capsys):
    pq.write_table(make_table(), tmp_path / "data.parquet", row_group_size=20)
    columns = ["--sequence", "values", "--target", "total", "--seed", "0", "--max-epochs", "2"]
    model, data = str(tmp_path / "model"), str(tmp_path / "data.parquet")
    assert main(["fit", data, "-o", model, *columns, "--device", "cuda:1"]) == 0
    assert list(devices) == ["cuda:1"]
    for device in ("cpu", "cuda"):
        assert main(["predict", model, data, "-o", str(tmp_path / device), "--device", device]) == 0
    assert list(devices) == ["cuda:1", "cuda:0"]
    found, expected = (pq.read_table(tmp_path / device) for device in ("cuda", "cpu"))
    assert found.drop_columns("prediction") == expected.drop_columns("prediction")
    np.testing.assert_allclose(found["prediction"].to_numpy(), expected["prediction"].to_numpy(), rtol=1e-5, atol=1e-6)
    assert re.fullmatch(EPOCHS, capsys.readouterr().err)


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize("model", ["classifier", "every", "pairs"])
def test_all_kinds_of_predictions_are_in_the_order_of_the_rows(model, work, tmp_path, monkeypatch):
    monkeypatch.setattr("rgru._cli.readers._BATCH_ROWS", 7)
    monkeypatch.setattr("rgru.model._model._NUMBERS_PER_PIECE", 40)  # some pieces for each batch
    arguments = ["predict", str(work / model), str(work / "data.parquet"), "--sequence", "values"]
    arguments += ["--column", "prediction=label", "--column", "p=probability"] if model == "classifier" else []
    for device in ("cpu", "cuda"):
        assert main([*arguments, "-o", str(tmp_path / device), "--device", device]) == 0
    found, expected = (pq.read_table(tmp_path / device) for device in ("cuda", "cpu"))
    assert found.schema == expected.schema
    assert found["id"].to_pylist() == list(range(50))
    for name in found.column_names:
        if name.startswith("prediction"):
            for one, other in zip(found[name].to_pylist(), expected[name].to_pylist(), strict=True):
                assert one == (other if isinstance(other, str) else pytest.approx(np.array(other), rel=1e-4, abs=1e-5))


def test_bad_rows_are_named_and_leave_no_file(devices, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rgru._cli.readers._BATCH_ROWS", 10)
    table = make_table()
    pq.write_table(table, tmp_path / "data.parquet")
    columns = ["--sequence", "values", "--target", "sign", "--max-epochs", "1"]
    assert main(["fit", str(tmp_path / "data.parquet"), "-o", str(tmp_path / "model"), *columns]) == 0
    rows = table["values"].to_pylist()
    rows[33] = [[1.0, float("nan")]]
    values = table.schema.get_field_index("values")
    field = table.schema.field(values)
    pq.write_table(table.set_column(values, field, pa.array(rows, field.type)), tmp_path / "bad.parquet")
    capsys.readouterr()
    arguments = [str(tmp_path / "model"), str(tmp_path / "bad.parquet"), "-o", str(tmp_path / "out.parquet")]
    assert main(["predict", *arguments, "--device", "cuda"]) == 2
    err = capsys.readouterr().err
    assert "bad.parquet, rows 30 to 39: column 'values': expected finite numbers, got nan in sequence 33" in err
    assert sorted(names(tmp_path)) == ["bad.parquet", "data.parquet", "model"]
    assert devices["cuda:0"].depth == 0


def test_prediction_reads_a_few_batches_ahead_and_no_more(work, devices, monkeypatch, tmp_path):
    """Memory stays bounded."""
    from rgru._cli import job
    from rgru._cli import readers as columnar

    monkeypatch.setattr(columnar, "_BATCH_ROWS", 5)
    lock, ahead, most = Lock(), 0, 0
    arrays, input_of = job.prediction_arrays, job.estimator_input

    def count(one):
        nonlocal ahead, most
        with lock:
            ahead += one
            most = max(most, ahead)

    def reading(*arguments, **options):
        count(1)
        return input_of(*arguments, **options)

    def writing(*arguments):
        count(-1)
        return arrays(*arguments)

    monkeypatch.setattr(job, "estimator_input", reading)
    monkeypatch.setattr(job, "prediction_arrays", writing)
    for device, expected in (("cpu", 3), ("cuda", 4)):
        most = 0
        part = job.Part(str(work / "data.parquet"), str(tmp_path / "out"))
        job.Job.load(str(work / "classifier"), device=device).run([part])
        assert ahead == 0
        assert 1 <= most <= expected


@pytest.mark.parametrize("command", ["fit", "predict", "demo"])
def test_bad_devices_of_commands(command, work, tmp_path):
    arguments = {
        "fit": ["fit", work / "data.parquet", "-o", tmp_path / "model"],
        "predict": ["predict", work / "classifier", work / "data.parquet", "-o", tmp_path / "out"],
        "demo": ["demo", "--dir", tmp_path / "demo"],
    }[command]
    fail("error: --device: expected 'cpu', 'cuda' or 'cuda:N'.* got 'gpu'", *arguments, "--device", "gpu")
    assert not list(tmp_path.iterdir())


def test_commands_name_in_one_line_what_a_device_needs(work, tmp_path, monkeypatch, capsys):
    for error in (RuntimeError, ImportError):

        def missing(device, error=error):
            raise error("device: expected a GPU\nand more")

        monkeypatch.setattr("rgru._backends.cuda.open_backend", missing)
        out = tmp_path / "out"
        assert main(["predict", str(work / "classifier"), str(out), "-o", str(out), "--device", "cuda"]) == 2
        assert capsys.readouterr().err == "rgru: error: --device: expected a GPU\n"
