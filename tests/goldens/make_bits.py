"""What rgru computes, to be compared bit by bit between machines: `python tests/goldens/make_bits.py FILE` writes it.

`tests/goldens/bits.npz` is such a file. Whoever changes it changes what the changelog promises about bits.
"""

import sys

import numpy as np

import rgru
from rgru import _core

PRECISIONS = ("float32", "float64")


def numbers(*shape, seed=0, dtype="float64"):
    """In [-1, 1), by integer arithmetic: the same on every machine, whatever becomes of NumPy's generators."""
    index = np.arange(1 + np.prod(shape, dtype=np.uint64), dtype=np.uint64)[1:] + np.uint64(1000 * seed)
    mixed = index * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return ((mixed >> np.uint64(44)).astype(np.int64).reshape(shape) / 2.0**19 - 1.0).astype(dtype)


def ragged(lengths, features, **options):
    return rgru.Ragged(numbers(sum(lengths), features, **options), np.cumsum([0, *lengths]))


def layers():
    """Outputs, states, gradients and streams of both cells."""
    for dtype in PRECISIONS:
        for reset_after in (False, True):
            for bidirectional in (False, True):
                gru = rgru.GRU(5, 19, 2, bidirectional=bidirectional, reset_after=reset_after, dtype=dtype, seed=0)
                for i, (name, array) in enumerate(gru.params.items()):
                    gru.params[name] = numbers(*array.shape, seed=i, dtype=dtype)
                name = f"{dtype}.{'after' if reset_after else 'before'}.{'both' if bidirectional else 'forward'}"
                x = ragged([9, 1, 0, 14], 5, seed=50, dtype=dtype)
                h0 = numbers(4 if bidirectional else 2, 4, 19, seed=51, dtype=dtype)
                y, h_n = gru(x, h0)
                recorded, _, tape = gru.record(x, h0)
                gradients = tape.backward(rgru.Ragged(recorded.values / 2, x.offsets), h_n / 4)
                yield f"{name}.y", y.values
                yield f"{name}.h_n", h_n
                yield f"{name}.dx", gradients.x.values
                yield f"{name}.dh0", gradients.h0
                yield f"{name}.dparams", gradients.flat[::7]
                if not bidirectional:
                    stream = gru.stream(3)
                    steps = numbers(6, 3, 5, seed=52, dtype=dtype)
                    yield f"{name}.stream", np.stack([stream.step(step) for step in steps])


OPTIONS = {
    "hard": {"gate_activation": ("hard_sigmoid", 0.2, 0.5), "activation": "softsign", "clip": 1.5},
    "elu": {"activation": ("elu", 0.7), "state_clip": 0.9, "reset_after": True, "reverse": True},
    "relu": {"activation": "relu", "state_clip": 2.0, "learned_h0": True},
    "merged": {"bidirectional": True, "merge": "mean", "activation": "linear", "clip": 2.0},
    "norm": {"reset_after": True, "layer_norm": "separate"},
    "norm of the sum": {"reset_after": True, "layer_norm": "sum"},
    "random": {"zoneout": 0.2, "recurrent_dropout": 0.3, "dropout": 0.1},
    "ids": {"vocabulary": 9, "embedding_size": 4, "reset_after": True},
}


def options():
    """The options of the cell: outputs, gradients and, where there is a stream, its steps."""
    for dtype in PRECISIONS:
        for name, given in OPTIONS.items():
            gru = rgru.GRU(3, 13, 2, dtype=dtype, seed=0, **given)
            for i, (parameter, array) in enumerate(gru.params.items()):
                gru.params[parameter] = numbers(*array.shape, seed=i, dtype=dtype)
            x = numbers(3, 8, 3, seed=50, dtype=dtype)
            if gru.vocabulary is not None:
                x[..., 0] = np.arange(24).reshape(3, 8) * 5 % 9
            mask = np.arange(24).reshape(3, 8) % 5 != 2
            y, h_n = gru(x, lengths=[8, 0, 5], mask=mask, resets=np.arange(24).reshape(3, 8) % 7 == 3)
            recorded, _, tape = gru.record(x)
            yield f"{dtype}.{name}.y", y
            yield f"{dtype}.{name}.h_n", h_n
            yield f"{dtype}.{name}.recorded", recorded
            yield f"{dtype}.{name}.dparams", tape.backward(recorded / 2, h_n / 4).flat[::5]
            if not (gru.bidirectional or gru.reverse):
                stream = gru.stream(3)
                yield f"{dtype}.{name}.stream", np.stack([stream.step(x[:, t]) for t in range(8)])


def parts():
    """Initial values, activations over their whole range, the loss and its gradient, the scaler, Adam."""
    for dtype in PRECISIONS:
        yield f"{dtype}.initial", rgru.GRU(3, 7, bidirectional=True, dtype=dtype, seed=5).params.flat
        wide = numbers(40, 3, seed=1) * np.repeat([0.5, 8.0, 60.0, 800.0], 10)[:, None]
        wide = wide.astype(dtype)
        yield f"{dtype}.softmax", _core.softmax(wide)
        loss, gradient = _core.cross_entropy(wide, np.arange(40) % 3)
        yield f"{dtype}.cross_entropy", np.array(loss)
        yield f"{dtype}.cross_entropy.gradient", gradient
        one = rgru.GRU(1, 1, dtype=dtype, seed=0)
        one.params.update({"layers.0.fwd.W": np.ones((3, 1), dtype), "layers.0.fwd.U": np.zeros((3, 1), dtype)})
        yield f"{dtype}.activations", one(wide.reshape(-1, 1, 1))[0]
        measured = _core.measure(numbers(300, 4, seed=2, dtype=dtype) * np.array([1.0, 1e-30, 1e30, 3.0], dtype) + 7)
        yield f"{dtype}.scaler", np.stack(measured)
        adam, params = _core.Adam(1e-2, 0.9, 0.999, 1e-8), numbers(20, seed=3, dtype=dtype)
        for step in range(30):
            adam.lr = 1e-2 * _core.cosine_decay(step / 40)
            adam.step([params], [numbers(20, seed=4 + step, dtype=dtype)], 1.5)
        yield f"{dtype}.adam", params


def estimators():
    """Fits with a seed, and what they predict."""
    lengths = [1 + 5 * i % 11 for i in range(60)]
    offsets = np.cumsum([0, *lengths])
    for dtype in PRECISIONS:
        x = ragged(lengths, 3, seed=60)
        ends = x.values[offsets[1:] - 1]
        options = {"hidden_size": 9, "max_epochs": 3, "batch_size": 16, "dtype": dtype, "random_state": 3}
        options["early_stopping"] = True
        for pooling in ("last", "mean"):
            classifier = rgru.GRUClassifier(pooling=pooling, dropout=0.2, num_layers=2, **options)
            classifier.fit(x, (ends[:, 0] > 0) + 2 * (ends[:, 1] > 0.5))
            yield f"{dtype}.classifier.{pooling}.params", classifier._gru.params.flat[::7]
            yield f"{dtype}.classifier.{pooling}.proba", classifier.predict_proba(x)
            regressor = rgru.GRURegressor(pooling=pooling, bidirectional=True, **options).fit(x, ends[:, :2] * 5 + 1e6)
            yield f"{dtype}.regressor.{pooling}.params", regressor._gru.params.flat[::7]
            yield f"{dtype}.regressor.{pooling}.predict", regressor.predict(x)
            yield f"{dtype}.regressor.{pooling}.loss", np.array(regressor.history_.train_loss)
        every = rgru.GRURegressor(pooling="every", **options).fit(x, rgru.Ragged(x.values[:, :1] * 2, offsets))
        yield f"{dtype}.regressor.every.predict", np.concatenate(every.predict(x))


def everything():
    return {
        name: np.ascontiguousarray(array) for part in (layers, options, parts, estimators) for name, array in part()
    }


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **everything())
