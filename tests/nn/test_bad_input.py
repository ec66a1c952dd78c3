"""Errors about arguments: they name the argument, what was expected and what was passed."""

import numpy as np
import pytest

import rgru
from rgru import Ragged

N, T, I, H = 2, 5, 3, 4  # noqa: E741
X = np.random.default_rng(0).standard_normal((N, T, I)).astype(np.float32)
H0 = np.random.default_rng(1).uniform(-1, 1, (2, N, H)).astype(np.float32)


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def gru(**more):
    return rgru.GRU(I, H, 2, seed=0, **more)


def raises(error, call, *words):
    """Check the error's type, that its message begins with the first word, and holds all others."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error
    assert message.startswith(words[0]), message
    for word in words[1:]:
        assert word in message, message


# -- arrays that are refused -------------------------------------------------------------------------------------------


class OnGpu:
    """What a CuPy array looks like from outside."""

    __cuda_array_interface__ = {"shape": (2, 5, 3), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012


BAD_ARRAYS = [
    (None, TypeError, "None"),
    ("text", TypeError, "str"),
    (np.array(["a"]), TypeError, "str"),
    (object(), TypeError, "object"),
    (np.array([object()]), TypeError, "object"),
    ({1.0}, TypeError, "set"),
    ([[1.0, 2.0], [3.0]], TypeError, "inhomogeneous"),
    ([[None]], TypeError, "object"),
    ([[True]], TypeError, "bool"),
    (X.astype(bool), TypeError, "bool"),
    (X.astype(complex), TypeError, "complex128"),
    (X.astype("float64"), TypeError, "float64; convert it with"),
    (X.astype(np.longdouble), TypeError, "convert it with"),
    (X.astype("int32"), TypeError, "int32; convert it with"),
    (X.astype("int64"), TypeError, "int64; convert it with"),
    (list(X.astype("float64")), TypeError, "float64; convert it with"),
    (X.astype("M8[s]"), TypeError, "datetime64"),
    (np.zeros(3, [("a", "f4")]), TypeError, "void"),
    (np.ma.masked_array(X, X > 0), TypeError, "masked array"),
]


def test_arrays_on_a_gpu_are_refused_with_an_x_on_the_host():
    layer, stream = gru(), gru().stream(N)
    y, _, tape = layer.record(X)
    raises(TypeError, lambda: layer(X, OnGpu()), "h0: expected", "on a GPU", "host")
    raises(TypeError, lambda: layer(X, lengths=OnGpu()), "lengths: expected", "on a GPU", "host")
    raises(TypeError, lambda: tape.backward(OnGpu()), "dy: expected", "host")
    raises(TypeError, lambda: tape.backward(y, OnGpu()), "dh_n: expected", "host")
    raises(TypeError, lambda: stream.step(OnGpu()), "x: expected", "host")
    raises(TypeError, lambda: layer.params.update({"layers.0.fwd.W": OnGpu()}), "layers.0.fwd.W: expected", "host")


@pytest.mark.parametrize(("bad", "error", "word"), BAD_ARRAYS, ids=lambda value: getattr(value, "__name__", None))
def test_arrays_of_another_type_are_refused_everywhere(bad, error, word):
    layer, stream = gru(), gru().stream(N)
    y, _, tape = layer.record(X)
    if bad is not None:
        raises(error, lambda: layer(X, bad), "h0: expected", word)
        raises(error, lambda: layer.record(X, bad), "h0: expected", word)
        raises(error, lambda: layer.stream(N, bad), "h0: expected", word)
        raises(error, lambda: tape.backward(bad), "dy: expected", word)
        raises(error, lambda: tape.backward(y, bad), "dh_n: expected", word)
    raises(error, lambda: layer(bad), "x: expected", word)
    raises(error, lambda: layer.record(bad), "x: expected", word)
    raises(error, lambda: stream.step(bad), "x: expected", word)
    raises(error, lambda: setattr(stream, "h", bad), "h: expected", word)
    raises(error, lambda: layer.params.update({"layers.0.fwd.W": bad}), "layers.0.fwd.W: expected", word)


def test_a_number_too_large_for_float32():
    raises(
        ValueError, lambda: gru()([[[1.0, 1e300, 0.0]]]), "x: expected numbers within the range of float32", "1e+300"
    )
    assert np.isfinite(gru(dtype="float64")([[[1.0, 1e300, 0.0]]])[0]).all()
    assert np.isnan(gru()([[[np.nan, np.inf, 0.0]]])[0]).any()  # not a finite number that became infinite


def test_int64_is_not_exact_in_float64():
    raises(TypeError, lambda: gru(dtype="float64")(zeros(N, T, I, dtype="int64")), "x: expected float64", "int64")


@pytest.mark.parametrize("shape", [(), (3,), (T, I), (1, N, T, I)])
def test_wrong_ranks(shape):
    bad, got = zeros(*shape), f"got shape {shape}"
    y, _, tape = gru().record(X)
    raises(ValueError, lambda: gru()(bad), "x: expected 3 dimensions (N, T, I)", got)
    raises(ValueError, lambda: gru().record(bad), "x: expected 3 dimensions (N, T, I)", got)
    raises(ValueError, lambda: gru()(X, bad), "h0: expected 3 dimensions (L*D, N, H)", got)
    raises(ValueError, lambda: tape.backward(bad), "dy: expected 3 dimensions (N, T, D*H)", got)
    raises(ValueError, lambda: tape.backward(y, bad), "dh_n: expected 3 dimensions (L*D, N, H)", got)
    raises(ValueError, lambda: setattr(gru().stream(), "h", bad), "h: expected 3 dimensions (L, N, H)", got)
    raises(ValueError, lambda: Ragged.from_padded(bad, [1]), "x: expected 3 dimensions (N, T, F)", got)
    if len(shape) != 2:
        raises(ValueError, lambda: gru().stream().step(bad), "x: expected 2 dimensions (N, I)", got)
        raises(ValueError, lambda: Ragged(bad, [0, 1]), "values: expected 2 dimensions (S, F)", got)
        raises(ValueError, lambda: Ragged.from_list([X[0], bad]), "sequences[1]: expected 2 dimensions (T, F)", got)


def test_wrong_sizes():
    layer, ragged = gru(), Ragged(zeros(6, I), [0, 2, 6])
    _, _, tape = layer.record(X)
    _, _, ragged_tape = layer.record(ragged)
    for call in (layer, layer.record):
        raises(ValueError, lambda call=call: call(zeros(N, T, 7)), "x: expected", "3", "7")
        raises(ValueError, lambda call=call: call(zeros(N, T, 0)), "x: expected", "3", "0")
        raises(ValueError, lambda call=call: call(Ragged(zeros(6, 7), [0, 6])), "x: expected", "3", "7")
        raises(ValueError, lambda call=call: call(X, zeros(1, N, H)), "h0: expected", "(2, 2, 4)", "(1, 2, 4)")
        raises(ValueError, lambda call=call: call(X, zeros(2, 9, H)), "h0: expected", "(2, 2, 4)", "(2, 9, 4)")
        raises(ValueError, lambda call=call: call(X, zeros(2, N, 9)), "h0: expected", "(2, 2, 4)", "(2, 2, 9)")
        raises(ValueError, lambda call=call: call(ragged, zeros(2, 3, H)), "h0: expected", "(2, 2, 4)", "(2, 3, 4)")
    raises(ValueError, lambda: tape.backward(zeros(N, T, 9)), "dy: expected", "(2, 5, 4)", "(2, 5, 9)")
    raises(ValueError, lambda: tape.backward(zeros(N, 4, H)), "dy: expected", "(2, 5, 4)", "(2, 4, 4)")
    raises(ValueError, lambda: tape.backward(None, zeros(2, 3, H)), "dh_n: expected", "(2, 2, 4)", "(2, 3, 4)")
    raises(ValueError, lambda: ragged_tape.backward(zeros(7, H)), "dy: expected", "(6, 4)", "(7, 4)")
    other = Ragged(zeros(6, H), [0, 3, 6])
    raises(ValueError, lambda: ragged_tape.backward(other), "dy: expected a Ragged over", "[0 2 6]", "[0 3 6]")
    stream = layer.stream(N)
    raises(ValueError, lambda: stream.step(zeros(3, I)), "x: expected", "2", "3")
    raises(ValueError, lambda: stream.step(zeros(N, 7)), "x: expected", "3", "7")
    raises(ValueError, lambda: setattr(stream, "h", zeros(2, 1, H)), "h: expected", "(2, 2, 4)", "(2, 1, 4)")
    raises(ValueError, lambda: layer.stream(3, H0), "h0: expected", "(2, 3, 4)", "(2, 2, 4)")


def test_a_refused_step_leaves_the_state():
    stream = gru().stream(N)
    stream.step(X[:, 0])
    before = stream.h
    raises(ValueError, lambda: stream.step(zeros(N, 7)), "x: expected")
    raises(TypeError, lambda: stream.step(zeros(N, I, dtype="float64")), "x: expected float32", "float64")
    raises(ValueError, lambda: setattr(stream, "h", zeros(2, 1, H)), "h: expected")
    assert np.array_equal(stream.h, before)


# -- lengths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([5, -1], ValueError, ["-1"]),
        ([6, 5], ValueError, ["5", "6"]),
        ([np.iinfo(np.int64).max, 1], ValueError, ["9223372036854775807"]),
        ([np.iinfo(np.int64).min, 1], ValueError, ["-9223372036854775808"]),
        (np.array([2**64 - 1, 1], np.uint64), ValueError, ["18446744073709551615"]),
        ([5], ValueError, ["2", "1"]),
        ([5, 5, 5], ValueError, ["2", "3"]),
        ([], ValueError, ["2", "0"]),
        (5, ValueError, ["1 dimension (N,)", "()"]),
        ([[5, 5]], ValueError, ["1 dimension (N,)", "(1, 2)"]),
        ([5.0, 2.0], TypeError, ["integers", "float64", "5.0"]),
        ([5, np.nan], TypeError, ["integers", "float64", "nan"]),
        (np.array([], np.float32), TypeError, ["integers", "float32"]),
        ([True, False], TypeError, ["integers", "bool"]),
        (["5", "2"], TypeError, ["integers", "str"]),
        ([2**70, 1], TypeError, ["integers", "object"]),
        ([None, 1], TypeError, ["integers", "object"]),
        ([[1], [1, 2]], TypeError, ["integers", "inhomogeneous"]),
        (np.ma.masked_array([5, 2], [True, False]), TypeError, ["integers", "masked array"]),
        (OnGpu(), TypeError, ["host"]),
        (Ragged(zeros(2, 1), [0, 2]), TypeError, ["integers", "Ragged"]),
    ],
)
def test_bad_lengths(lengths, error, words):
    raises(error, lambda: gru()(X, lengths=lengths), "lengths: expected", *words)
    raises(error, lambda: gru().record(X, lengths=lengths), "lengths: expected", *words)
    raises(error, lambda: Ragged.from_padded(X, lengths), "lengths: expected", *words)


def test_lengths_do_not_go_with_a_ragged():
    ragged = Ragged(zeros(6, I), [0, 6])
    raises(ValueError, lambda: gru()(ragged, lengths=[6]), "lengths: expected None", "[6]")
    raises(ValueError, lambda: gru().record(ragged, lengths=[6]), "lengths: expected None", "[6]")


# -- Ragged ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offsets", "error", "words"),
    [
        ([], ValueError, ["at least one", "none"]),
        ([1, 6], ValueError, ["0 at the start", "1"]),
        ([-1, 6], ValueError, ["0 at the start", "-1"]),
        ([0, 4, 3, 6], ValueError, ["ascending", "4 then 3 at position 2"]),
        ([0, 5], ValueError, ["6 at the end", "5"]),
        ([0, 7], ValueError, ["6 at the end", "7"]),
        ([0], ValueError, ["6 at the end", "0"]),
        ([0, -(2**63), 6], ValueError, ["ascending"]),
        ([[0, 6]], ValueError, ["1 dimension", "(1, 2)"]),
        ([0.0, 6.0], TypeError, ["integers", "float64"]),
        (None, TypeError, ["integers", "None"]),
    ],
)
def test_bad_offsets(offsets, error, words):
    raises(error, lambda: Ragged(zeros(6, I), offsets), "offsets: expected", *words)


@pytest.mark.parametrize("bad", [None, "text", X[0].astype(complex), X[0].astype(bool)])
def test_bad_values(bad):
    raises(TypeError, lambda: Ragged(bad, [0, 5]), "values: expected")
    raises(TypeError, lambda: Ragged.from_padded(bad, [5]), "x: expected")
    raises(TypeError, lambda: Ragged.from_list([X[0], bad]), "sequences[1]: expected")


def test_integers_of_several_features_are_no_ids():
    raises(TypeError, lambda: Ragged(X[0].astype(int), [0, 5]), "values: expected", "int64; convert it with")
    raises(TypeError, lambda: Ragged.from_padded(X.astype(int), [5, 5]), "x: expected", "int64; convert it with")
    raises(TypeError, lambda: Ragged.from_list([X[0].astype(int)]), "sequences[0]: expected", "int64; convert it with")


def test_bad_lists_of_sequences():
    raises(ValueError, lambda: Ragged.from_list([]), "num_features: expected", "None")
    raises(ValueError, lambda: Ragged.from_list([zeros(2, 3), zeros(2, 4)]), "sequences[1]: expected 3", "(2, 4)")
    raises(ValueError, lambda: Ragged.from_list([zeros(2, 3)], num_features=4), "sequences[0]: expected 4", "(2, 3)")
    raises(TypeError, lambda: Ragged.from_list([], num_features=2.0), "num_features: expected", "2.0")
    raises(ValueError, lambda: Ragged.from_list([], num_features=-1), "num_features: expected", "-1")
    doubles = [zeros(2, 3, dtype="float64")]
    raises(TypeError, lambda: Ragged.from_list(doubles, dtype="float32"), "sequences[0]: expected float32", "float64")


def test_bad_padding_and_positions():
    ragged = Ragged(zeros(6, I), [0, 2, 6])
    raises(ValueError, lambda: ragged.to_padded(3), "length: expected at least 4", "3")
    raises(TypeError, lambda: ragged.to_padded(4.0), "length: expected an integer", "4.0")
    raises(TypeError, lambda: ragged.take([0.0]), "indices: expected integers", "float64")
    raises(TypeError, lambda: ragged.take([True, False]), "indices: expected integers", "bool")
    raises(ValueError, lambda: ragged.take(0), "indices: expected 1 dimension", "()")
    raises(IndexError, lambda: ragged.take([2]), "indices: expected", "2")
    raises(IndexError, lambda: Ragged(zeros(0, 1), [0]).take([0]), "indices: expected", "0")


# -- constructor and settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["input_size", "hidden_size", "num_layers"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-3, ValueError),
        (2**63, ValueError),
        (2.0, TypeError),
        (True, TypeError),
        ("3", TypeError),
        (None, TypeError),
        ((3, 4), TypeError),
    ],
)
def test_bad_sizes(name, value, error):
    sizes = {"input_size": 3, "hidden_size": 4, "num_layers": 2, name: value}
    raises(error, lambda: rgru.GRU(**sizes), f"{name}: expected an integer", str(value)[:5])


@pytest.mark.parametrize("name", ["bidirectional", "reset_after", "bias"])
@pytest.mark.parametrize("value", [1, 0, None, "yes", 1.0])
def test_bad_switches(name, value):
    raises(TypeError, lambda: rgru.GRU(3, 4, **{name: value}), f"{name}: expected True or False", repr(value))


@pytest.mark.parametrize(
    ("value", "error", "word"),
    [
        (-0.1, ValueError, "-0.1"),
        (1.0, ValueError, "1.0"),
        (float("nan"), ValueError, "nan"),
        ("0", TypeError, "'0'"),
        (True, TypeError, "True"),
        (None, TypeError, "None"),
    ],
)
def test_bad_dropout(value, error, word):
    raises(error, lambda: rgru.GRU(3, 4, 2, dropout=value), "dropout: expected", word)


def test_dropout_that_would_do_nothing():
    raises(ValueError, lambda: rgru.GRU(3, 4, dropout=0.5), "dropout: expected 0 with num_layers=1", "0.5")


@pytest.mark.parametrize(
    ("value", "error"),
    [("float16", ValueError), ("int32", ValueError), (complex, ValueError), ("nonsense", TypeError), (None, TypeError)],
)
def test_bad_dtype(value, error):
    raises(error, lambda: rgru.GRU(3, 4, dtype=value), "dtype: expected 'float32' or 'float64'", "got")


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (2**64, ValueError), (1.5, TypeError), (True, TypeError), ("1", TypeError)]
)
def test_bad_seed(value, error):
    raises(error, lambda: rgru.GRU(3, 4, seed=value), "seed: expected an integer", str(value))


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "2"])
def test_bad_batch_size_and_threads(value):
    error = ValueError if type(value) is int else TypeError
    raises(error, lambda: gru().stream(value), "batch_size: expected an integer", str(value))
    raises(error, lambda: rgru.set_num_threads(value), "n: expected an integer", str(value))
